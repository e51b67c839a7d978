// Keeps what is shown as new as what is known: when the stream says that something changed, the page is asked for
// again, and only the differences are taken over. So scroll, focus, open menus and playing films stay as they are.
import { Idiomorph } from './idiomorph.js';
import { tellTimes } from './times.js';

const REST = 700; // milliseconds between two looks, at least
const AGAIN = 3000; // milliseconds until a lost connection is tried again
let asked = false;
let busy = false;

/** Looks now or soon; many calls at once are one look. */
export function refresh() {
  if (asked) return;
  asked = true;
  setTimeout(look, busy ? REST : 60);
}

async function look() {
  // The look that is under way may have missed what was told since: there is another when it is through.
  if (busy) return;
  asked = false;
  // A hidden page is looked at when it is seen again.
  if (document.hidden) return;
  busy = true;
  try {
    const answer = await fetch(location.href, { headers: { accept: 'text/html' } });
    if (answer.ok || answer.status === 404) takeOver(await answer.text());
  } catch {
    // The stream tells when the connection is gone.
  }
  setTimeout(() => { busy = false; if (asked) look(); }, REST);
}

function takeOver(text) {
  const fresh = new DOMParser().parseFromString(text, 'text/html');
  for (const shown of document.querySelectorAll('[data-morph]')) {
    const next = fresh.getElementById(shown.id);
    if (next) Idiomorph.morph(shown, next, { callbacks: { beforeNodeMorphed: mayMorph } });
  }
  const title = fresh.querySelector('title');
  if (title) document.title = title.textContent;
  tellTimes();
}

/** A film stays as it is: its picture is drawn, its place kept, it may be playing. */
function mayMorph(old, next) {
  if (old.nodeName === 'VIDEO') return old.getAttribute('src') !== next.getAttribute('src');
  if (old.nodeName === 'BUTTON' && old.dataset.src) return old.dataset.src !== next.dataset?.src;
  return true;
}

/** Follows the stream of changes for as long as the page is open, and says when it cannot. */
export function follow() {
  const sign = document.querySelector('#connection');
  let lost = null;
  let stream;
  const open = () => {
    stream = new EventSource('/api/v1/events');
    stream.addEventListener('hello', () => {
      sign.textContent = document.body.dataset.live;
      sign.className = 'connection needs-scripts on';
      // What happened meanwhile was not told.
      if (lost) refresh();
      lost = null;
    });
    stream.addEventListener('job', refresh);
    stream.addEventListener('status', refresh);
    stream.onerror = () => {
      stream.close();
      lost ??= new Date();
      const time = lost.toLocaleTimeString(document.documentElement.lang, { hour: '2-digit', minute: '2-digit' });
      sign.textContent = document.body.dataset.notLive.replace('{time}', time);
      sign.className = 'connection needs-scripts off';
      setTimeout(open, AGAIN);
    };
  };
  open();
  document.addEventListener('visibilitychange', () => { if (!document.hidden) refresh(); });
  addEventListener('pagehide', () => stream.close());
  addEventListener('pageshow', (event) => { if (event.persisted) { open(); refresh(); } });
}
