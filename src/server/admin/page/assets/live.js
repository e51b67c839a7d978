// Keeps the page up to date: when the event stream reports a change, the page is fetched again, and only the differences
// are taken over. So scroll position, focus, open menus and playing videos stay as they are.
import { Idiomorph } from './idiomorph.js';
import { durationText, updateTimes } from './times.js';

const MIN_PAUSE = 700; // milliseconds between two fetches
const RECONNECT_AFTER = 3000; // milliseconds
let isRequested = false;
let isBusy = false;
let isPaused = false;

/** Fetches the page soon; many calls at once cause one fetch. */
export function refresh() {
  if (isRequested || isPaused) return;
  isRequested = true;
  setTimeout(fetchPage, isBusy ? MIN_PAUSE : 60);
}

async function fetchPage() {
  // A fetch in progress may miss the latest change: another one follows it.
  if (isBusy) return;
  isRequested = false;
  // A hidden page is fetched when it becomes visible.
  if (document.hidden || isPaused) return;
  isBusy = true;
  const asked = performance.now();
  try {
    const response = await fetch(location.href, { headers: { accept: 'text/html' } });
    const html = await response.text();
    // It may have been paused meanwhile.
    if ((response.ok || response.status === 404) && !isPaused) morphPage(html, asked);
  } catch {
    // The event stream reports a lost connection.
  }
  setTimeout(() => { isBusy = false; if (isRequested) fetchPage(); }, MIN_PAUSE);
}

/** What a reader has opened stays open. */
const mayUpdate = (name, element) => !(name === 'open' && element.nodeName === 'DETAILS');

function morphPage(html, asked) {
  const fresh = new DOMParser().parseFromString(html, 'text/html');
  for (const element of document.querySelectorAll('[data-morph]')) {
    const next = fresh.getElementById(element.id);
    if (next) Idiomorph.morph(element, next, { callbacks: { beforeNodeMorphed: mayMorph, beforeAttributeUpdated: mayUpdate } });
  }
  const title = fresh.querySelector('title');
  if (title) document.title = title.textContent;
  // Pages that take over more than these elements listen. What changed here after `asked` is newer than the fetched page.
  document.dispatchEvent(new CustomEvent('dropreel:refreshed', { detail: { page: fresh, asked } }));
  updateTimes();
}

/** A clip is left alone: its picture is drawn, and it may be playing. */
function mayMorph(old, next) {
  if (old.nodeName === 'VIDEO') return old.getAttribute('src') !== next.getAttribute('src');
  if (old.nodeName === 'BUTTON' && old.dataset.src) return old.dataset.src !== next.dataset?.src;
  return true;
}

/** A button that stops all updates: the page stays as it is, and says how old it is. */
function offerPause(indicator, { connect, disconnect }) {
  const [pause, resume] = ['#pause-updates', '#resume-updates'].map((id) => document.querySelector(id));
  let timer;
  const setPaused = (paused) => {
    isPaused = paused;
    document.documentElement.classList.toggle('updates-paused', paused);
    pause.hidden = paused;
    resume.hidden = !paused;
    clearInterval(timer);
  };
  pause.addEventListener('click', () => {
    setPaused(true);
    disconnect();
    const since = Date.now();
    const showAge = () => {
      const text = document.body.dataset.updatesPaused.replace('{time}', durationText((Date.now() - since) / 1000));
      if (indicator.textContent !== text) indicator.textContent = text;
    };
    indicator.className = 'connection paused';
    showAge();
    timer = setInterval(showAge, 20_000);
    document.querySelector('#menu').open = false;
    resume.focus();
  });
  resume.addEventListener('click', () => {
    setPaused(false);
    indicator.textContent = '…';
    connect();
    refresh();
    document.querySelector('#menu summary').focus();
  });
}

/** Follows the event stream while the page is open, and shows whether it is connected. */
export function followChanges() {
  const indicator = document.querySelector('#connection');
  let lostAt = null;
  let stream;
  const connect = () => {
    if (isPaused) return;
    stream = new EventSource('/api/v1/events');
    stream.addEventListener('hello', () => {
      indicator.textContent = document.body.dataset.live;
      indicator.className = 'connection on';
      // Changes during the interruption were not reported.
      if (lostAt) refresh();
      lostAt = null;
    });
    stream.addEventListener('job', refresh);
    stream.addEventListener('status', refresh);
    stream.onerror = () => {
      stream.close();
      lostAt ??= new Date();
      const time = lostAt.toLocaleTimeString(document.documentElement.lang, { hour: '2-digit', minute: '2-digit' });
      indicator.textContent = document.body.dataset.disconnected.replace('{time}', time);
      indicator.className = 'connection off';
      setTimeout(connect, RECONNECT_AFTER);
    };
  };
  connect();
  offerPause(indicator, { connect, disconnect: () => stream.close() });
  document.addEventListener('visibilitychange', () => { if (!document.hidden) refresh(); });
  addEventListener('pagehide', () => stream.close());
  addEventListener('pageshow', (event) => { if (event.persisted) { connect(); refresh(); } });
}
