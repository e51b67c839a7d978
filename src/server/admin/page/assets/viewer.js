// The viewer: shows the videos of the grid one by one, over the page. Each is the page of that video, taken apart; the
// address has its name, so that the browser's button leads back to the grid.
import { commandKey, texts, undo } from './ratings.js';
import { startView, viewKey } from './view.js';

const viewer = document.querySelector('#viewer');
const content = document.querySelector('#viewer-content');
const SEEN_AFTER = 800; // milliseconds
let grid;
let card = null;
let turn = 0;
let seenTimer;

export function startViewer(ofGrid) {
  grid = ofGrid;
  for (const [value, act] of [['previous', () => move(-1)], ['next', () => move(1)], ['close', closeViewer]]) {
    viewer.querySelector(`[value=${value}]`).addEventListener('click', act);
  }
  viewer.addEventListener('close', closed);
  viewer.addEventListener('keydown', onKey, true);
  content.addEventListener('click', onLink);
  addEventListener('popstate', () => {
    const named = document.getElementById(location.hash.slice(1));
    if (named?.matches('.card')) openCard(named, false);
    else closeViewer();
  });
  const named = document.getElementById(location.hash.slice(1));
  if (named?.matches('.card')) openCard(named, false);
  swipe();
}

/** Opens the viewer on a card of the grid. */
export function openCard(next, isNew = true) {
  card = next;
  if (isNew && viewer.open) history.replaceState({ viewer: true }, '', `#${card.id}`);
  else if (isNew) history.pushState({ viewer: true }, '', `#${card.id}`);
  if (!viewer.open) viewer.showModal();
  return openAddress(card.querySelector('.shot').href, card.dataset.item);
}

async function openAddress(address, item) {
  turn += 1;
  const mine = turn;
  clearTimeout(seenTimer);
  const response = await fetch(address).catch(() => null);
  const page = response?.ok && new DOMParser().parseFromString(await response.text(), 'text/html');
  // Meanwhile, another one was opened.
  if (mine !== turn || !viewer.open) return;
  const view = page && page.querySelector('#view');
  clear();
  if (!view) {
    content.textContent = texts().missing;
    return;
  }
  content.replaceChildren(document.adoptNode(view));
  startView(view, true);
  showPlace();
  content.focus();
  seenTimer = setTimeout(() => grid.markSeen(item), SEEN_AFTER);
}

function showPlace() {
  const cards = [...card.parentElement.children];
  const more = document.querySelector('#older a') ? '+' : '';
  viewer.querySelector('#viewer-place').textContent = `${cards.indexOf(card) + 1} / ${cards.length}${more}`;
  viewer.querySelector('[value=previous]').disabled = !card.previousElementSibling;
  viewer.querySelector('[value=next]').disabled = !card.nextElementSibling && !more;
}

async function move(by) {
  if (by > 0 && !card.nextElementSibling) await grid.loadOlder();
  const next = by > 0 ? card.nextElementSibling : card.previousElementSibling;
  if (next) openCard(next);
}

/** Ends the video, and its connection. */
function clear() {
  const player = content.querySelector('.stage :is(video, audio)');
  player?.pause();
  player?.removeAttribute('src');
  player?.load();
  content.replaceChildren();
}

export function closeViewer() {
  if (viewer.open) viewer.close();
}

function closed() {
  // Opened again since: this event comes later than what caused it.
  if (viewer.open) return;
  turn += 1;
  clearTimeout(seenTimer);
  clear();
  if (document.fullscreenElement) document.exitFullscreen();
  if (history.state?.viewer) history.back();
  else if (location.hash) history.replaceState(null, '', location.pathname + location.search);
  const shot = card?.querySelector('.shot');
  shot?.focus({ preventScroll: true });
  shot?.scrollIntoView({ block: 'nearest' });
}

function onKey(event) {
  const key = commandKey(event);
  const view = content.querySelector('.view');
  const isPressed = [' ', 'enter'].includes(key) && event.target.closest('a, button, summary');
  if (!key || !view || isPressed || key === 'escape' || key === 'tab') return;
  if (key === 'arrowleft' || key === 'arrowright') move(key === 'arrowright' ? 1 : -1);
  else if (key === 'u') undone(undo());
  else if (!viewKey(key, view, content)) return;
  event.preventDefault();
  event.stopPropagation();
}

/** Shows whose rating was taken back. */
function undone(item) {
  const other = item && document.getElementById(`o-${item}`);
  if (other && other !== card) openCard(other);
}

/** Another file of the same job opens here too. */
function onLink(event) {
  const link = event.target.closest('.all-outputs a');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const [, job, number] = link.pathname.match(/^\/videos\/([^/]+)\/(\d+)$/);
  const item = `${job}.${number}`;
  const other = document.getElementById(`o-${item}`);
  if (other) openCard(other);
  else openAddress(link.href, item);
}

/** On a phone, a swipe to the side leads to the next. */
function swipe() {
  let from = null;
  content.addEventListener('touchstart', (event) => {
    from = event.touches.length === 1 && event.target.closest('.stage') ? event.touches[0] : null;
  }, { passive: true });
  content.addEventListener('touchend', (event) => {
    if (!from) return;
    const [x, y] = [event.changedTouches[0].clientX - from.clientX, event.changedTouches[0].clientY - from.clientY];
    from = null;
    if (Math.abs(x) > 60 && Math.abs(x) > 2 * Math.abs(y)) move(x < 0 ? 1 : -1);
  });
}
