// The grid of videos: the next page when the end is near, new videos on top, playing under the mouse, moving by arrow
// keys, choosing for a comparison. What was seen is remembered in this browser.
import { addRating, commandKey, note, rateByKey, ratedSince, show, texts, undo } from './ratings.js';
import { drawPoster } from './posters.js';
import { remembered } from './view.js';
import { closeViewer, openCard, startViewer } from './viewer.js';

const MAX_SEEN = 5000;
const MAX_COMPARED = 4;
const HOVER = 150; // milliseconds before a video plays under the mouse
const grid = document.querySelector('#grid');
const pick = document.querySelector('#pick');
const unseen = document.querySelector('#watch-unseen');
const seen = new Set(JSON.parse(remembered.get('seen', '[]')));
const cards = () => [...grid.children];
const shotOf = (card) => card.querySelector('.shot');

function adopt(card) {
  addRating(card);
  card.classList.toggle('unseen', !seen.has(card.dataset.item));
  card.querySelectorAll('canvas').forEach(drawPoster);
  if (card.dataset.kind === 'audio') addSoundButton(card);
}

function markSeen(item) {
  if (seen.has(item)) return;
  seen.add(item);
  remembered.set('seen', JSON.stringify([...seen].slice(-MAX_SEEN)));
  document.getElementById(`o-${item}`)?.classList.remove('unseen');
  countUnseen();
}

function countUnseen() {
  const count = grid.querySelectorAll('.unseen').length;
  unseen.hidden = count === 0;
  unseen.querySelector('span').textContent = older() ? `${count}+` : count;
}

// A choice acts at once, a text after Enter.
document.querySelector('#videos .filters').addEventListener('change', (event) => {
  if (event.target.matches('select, [type=date]')) event.target.form.requestSubmit();
});

/* The next page. */

let loading = null;
const older = () => document.querySelector('#older a');

/** Loads the next page, if there is one; resolves once it is there. */
function loadOlder() {
  const link = older();
  if (link && !loading) loading = fetchOlder(link).catch(() => {}).finally(() => { loading = null; observeEnd(); });
  return loading ?? Promise.resolve();
}

async function fetchOlder(link) {
  const response = await fetch(link.href);
  if (!response.ok) return link.classList.add('failed');
  const page = new DOMParser().parseFromString(await response.text(), 'text/html');
  for (const card of [...page.querySelector('#grid').children]) {
    if (document.getElementById(card.id)) continue;
    grid.append(card);
    adopt(card);
  }
  const [empty, still] = [pick.querySelector('.empty'), page.querySelector('#pick .empty')];
  if (grid.children.length) empty?.remove();
  else if (empty && still) empty.textContent = still.textContent;
  document.querySelector('#older').replaceChildren(...page.querySelector('#older').childNodes);
  countUnseen();
  updatePick();
}

const end = new IntersectionObserver((entries) => {
  if (entries.some((entry) => entry.isIntersecting)) loadOlder();
}, { rootMargin: '600px' });

function observeEnd() {
  end.disconnect();
  if (older() && !older().classList.contains('failed')) end.observe(older());
}

/* New videos, from the page that live.js has fetched again. They come once no video plays under the mouse: it would be
   pushed away. */

const REST = 1000; // milliseconds
let refreshed = null;
let restTimer;

document.addEventListener('dropreel:refreshed', ({ detail }) => {
  refreshed = detail;
  if (!hovered) takeOver();
});

function takeOverSoon() {
  clearTimeout(restTimer);
  if (refreshed) restTimer = setTimeout(() => { if (!hovered) takeOver(); }, REST);
}

function takeOver() {
  const fresh = [...(refreshed?.page.querySelector('#grid')?.children ?? [])];
  const asked = refreshed?.asked;
  refreshed = null;
  const known = (card) => document.getElementById(card.id);
  const added = 'newest' in grid.dataset ? fresh.filter((card) => !known(card)) : [];
  // More new ones than a page has: what lies between is not known.
  if (grid.children.length && fresh.length && added.length === fresh.length) return location.reload();
  for (const card of fresh.filter(known)) {
    const { item, rating } = card.dataset;
    if (known(card).dataset.rating !== rating && !ratedSince(item, asked)) show(item, rating === '' ? null : Number(rating));
  }
  grid.prepend(...added);
  added.forEach(adopt);
  if (added.length) pick.querySelector('.empty')?.remove();
  countUnseen();
  updatePick();
}

/* Playing in the grid: one video or sound at a time. */

const video = document.createElement('video');
Object.assign(video, { loop: true, playsInline: true, tabIndex: -1 });
const sound = new Audio();
let hovered = null;
let hoverTimer;

function playUnderMouse(card) {
  stopVideo();
  hovered = card;
  if (card.dataset.kind !== 'video') return;
  hoverTimer = setTimeout(() => {
    video.muted = remembered.get('grid-sound', 'no') !== 'yes';
    video.src = card.dataset.media;
    shotOf(card).append(video);
    video.play().catch(() => { video.muted = true; video.play().catch(() => {}); });
  }, HOVER);
}

/** Closes the connection too. */
function stopVideo() {
  clearTimeout(hoverTimer);
  hovered = null;
  takeOverSoon();
  if (!video.hasAttribute('src')) return;
  video.pause();
  video.removeAttribute('src');
  video.load();
  video.remove();
}

grid.addEventListener('pointerover', (event) => {
  const card = event.target.closest('.shot')?.closest('.card');
  if (card && event.pointerType === 'mouse' && card !== hovered) playUnderMouse(card);
});
grid.addEventListener('pointerout', (event) => {
  const shot = event.target.closest('.shot');
  if (shot && event.pointerType === 'mouse' && !shot.contains(event.relatedTarget)) stopVideo();
});

function addSoundButton(card) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'play-sound';
  button.textContent = '▶';
  button.setAttribute('aria-label', `${texts().play}: ${card.dataset.name}`);
  button.setAttribute('aria-pressed', 'false');
  button.addEventListener('click', () => toggleSound(button, card));
  card.append(button);
}

function toggleSound(button, card) {
  const isPlaying = button.getAttribute('aria-pressed') === 'true';
  stopSound();
  if (isPlaying) return;
  sound.src = card.dataset.media;
  sound.play().catch(stopSound);
  button.setAttribute('aria-pressed', 'true');
  button.textContent = '❚❚';
  markSeen(card.dataset.item);
}

function stopSound() {
  sound.pause();
  for (const button of grid.querySelectorAll('.play-sound[aria-pressed=true]')) {
    button.setAttribute('aria-pressed', 'false');
    button.textContent = '▶';
  }
}
sound.addEventListener('ended', stopSound);

/* Choosing for a comparison. */

function updatePick() {
  const chosen = pick.querySelectorAll('input:checked').length;
  const bar = pick.querySelector('.pick-bar');
  const button = bar.querySelector('button');
  bar.hidden = chosen === 0;
  button.disabled = chosen < 2 || chosen > MAX_COMPARED;
  button.textContent = texts().compare.replace('{n}', chosen);
  bar.classList.toggle('too-many', chosen > MAX_COMPARED);
}
pick.addEventListener('change', updatePick);

/* Keys. */

/** The card to act on: the one with the focus, else the one under the mouse. */
const currentCard = () => document.activeElement.closest?.('#grid > .card') ?? hovered;

function moveFocus(key) {
  const all = cards();
  const now = currentCard();
  if (!now) return all.length > 0 && (shotOf(all[0]).focus(), true);
  const columns = all.filter((card) => card.offsetTop === all[0].offsetTop).length;
  const by = { arrowleft: -1, arrowright: 1, arrowup: -columns, arrowdown: columns }[key];
  const next = all[all.indexOf(now) + by];
  if (!next) return key === 'arrowdown' || key === 'arrowright';
  shotOf(next).focus();
  return true;
}

function gridKey(key, event) {
  const card = currentCard();
  const isOnShot = event.target.closest('.shot');
  if (/^arrow/.test(key)) return (isOnShot || event.target === document.body) && moveFocus(key);
  if (key === 'u') return undo(), true;
  if (key === 'm') return toggleMuted(), true;
  if (key === 'enter' && event.target === document.body) return openUnseen();
  if (key === 'c') return compareChosen();
  if (key === ' ' && isOnShot) return card.querySelector('input').click(), true;
  return Boolean(card) && rateByKey(key, card);
}

function compareChosen() {
  const button = pick.querySelector('.pick-bar button');
  if (pick.querySelectorAll('input:checked').length < 2 || button.disabled) note(pick.querySelector('.pick-bar .muted').textContent);
  else pick.requestSubmit();
  return true;
}

/** Sound under the mouse is off until it is asked for. */
function toggleMuted() {
  video.muted = remembered.get('grid-sound', 'no') === 'yes';
  remembered.set('grid-sound', video.muted ? 'no' : 'yes');
  note(video.muted ? '🔇' : '🔊');
}

function openUnseen() {
  const card = grid.querySelector('.unseen') ?? grid.firstElementChild;
  if (card) openCard(card);
  return Boolean(card);
}

document.addEventListener('keydown', (event) => {
  if (document.querySelector('dialog[open]')) return;
  const key = commandKey(event);
  if (key && gridKey(key, event)) event.preventDefault();
});
grid.addEventListener('click', (event) => {
  const shot = event.target.closest('.shot');
  if (!shot || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  stopVideo();
  stopSound();
  openCard(shot.closest('.card'));
});
unseen.addEventListener('click', openUnseen);
document.addEventListener('dropreel:rated', ({ detail }) => markSeen(detail));
addEventListener('pagehide', () => { stopVideo(); closeViewer(); });

cards().forEach(adopt);
startViewer({ loadOlder, markSeen });
countUnseen();
updatePick();
observeEnd();
// Continue where the last visit ended.
const first = grid.querySelector('.unseen');
if (first && first !== grid.firstElementChild && !location.hash) shotOf(first).focus();
