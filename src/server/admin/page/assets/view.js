// The player of one output: its keys, and what is remembered of it (sound, speed, loop).
import { addRating, commandKey, note, rateByKey, texts, undo } from './ratings.js';
import { drawPoster } from './posters.js';

const SPEEDS = [0.1, 0.25, 0.5, 1, 1.5, 2, 4];
const DEFAULT_FRAME = 1 / 24; // seconds
export const remembered = {
  get: (name, otherwise) => localStorage.getItem(`dropreel-${name}`) ?? otherwise,
  set: (name, value) => localStorage.setItem(`dropreel-${name}`, value),
};
const playerOf = (view) => view.querySelector('.stage :is(video, audio)');

/** Prepares a view that is on the page now; plays it if `play`. */
export function startView(view, play) {
  addRating(view);
  view.querySelectorAll('.all-outputs canvas').forEach(drawPoster);
  view.querySelector('[data-key=c]').addEventListener('click', () => copyPath(view));
  const media = view.querySelector('.stage :is(video, audio, img)');
  media.addEventListener('error', () => { view.querySelector('.stage .problem').hidden = false; });
  const player = playerOf(view);
  if (!player) return;
  player.muted = remembered.get('muted', 'no') === 'yes';
  player.loop = remembered.get('loop', 'yes') === 'yes';
  player.playbackRate = Number(remembered.get('speed', '1'));
  player.addEventListener('volumechange', () => remembered.set('muted', player.muted ? 'yes' : 'no'));
  player.addEventListener('ratechange', () => remembered.set('speed', player.playbackRate));
  measureFrames(player);
  if (play) start(player);
}

/** Plays; without sound if the browser does not allow it yet. */
function start(player) {
  player.play().catch((error) => {
    if (error.name !== 'NotAllowedError') return;
    player.muted = true;
    player.play().catch(() => {});
  });
}

/** The shortest time between two frames that were shown is the length of one. */
export function measureFrames(video) {
  if (!video.requestVideoFrameCallback) return;
  let last = null;
  const shown = (_, { mediaTime }) => {
    const length = mediaTime - last;
    if (last !== null && length > 0.005) video.frame = Math.min(video.frame ?? 0.2, length);
    last = mediaTime;
    if (video.isConnected) video.requestVideoFrameCallback(shown);
  };
  video.requestVideoFrameCallback(shown);
}

/** Moves by a number of frames. */
export function step(video, frames) {
  video.pause();
  const to = video.currentTime + frames * (video.frame ?? DEFAULT_FRAME);
  video.currentTime = Math.min(Math.max(to, 0), video.duration || 0);
}

export function nextSpeed(now, direction) {
  const at = SPEEDS.findIndex((speed) => speed >= now - 0.001);
  return SPEEDS[Math.min(Math.max(at + direction, 0), SPEEDS.length - 1)];
}

/** Runs the command of a key; returns whether it has one. */
export function viewKey(key, view, fullScreen) {
  const player = playerOf(view);
  const button = /^[adco]$/.test(key) && view.querySelector(`[data-key=${key}]`);
  if (button) button.click();
  else if (rateByKey(key, view)) return true;
  else if (key === 'f') toggleFullScreen(fullScreen);
  else if (!player) return false;
  else if (key === ' ') player.paused ? start(player) : player.pause();
  else if (key === 'm') player.muted = !player.muted;
  else if (key === ',' || key === '.') step(player, key === '.' ? 1 : -1);
  else if (key === '[' || key === ']') {
    player.playbackRate = nextSpeed(player.playbackRate, key === ']' ? 1 : -1);
    note(`${player.playbackRate}×`);
  } else if (key === 'l') {
    player.loop = !player.loop;
    remembered.set('loop', player.loop ? 'yes' : 'no');
    note(player.loop ? '⟳' : '→');
  } else return false;
  return true;
}

function toggleFullScreen(element) {
  if (document.fullscreenElement) document.exitFullscreen();
  else element.requestFullscreen?.().catch(() => {});
}

/** Copies the path. Without https, a browser copies only what is selected in a field. */
async function copyPath(view) {
  const { path } = view.dataset;
  try {
    await navigator.clipboard.writeText(path);
  } catch {
    const field = document.createElement('textarea');
    field.value = path;
    view.append(field);
    field.select();
    document.execCommand('copy');
    field.remove();
  }
  note(`${texts().copied}: ${path}`);
}

// A page of its own, without the grid.
const own = document.querySelector('main > #view');
if (own) {
  startView(own, false);
  document.addEventListener('keydown', (event) => {
    const key = commandKey(event);
    const isPressed = key === ' ' && event.target.closest('a, button, summary, input');
    if (!key || isPressed) return;
    if (key === 'u') undo();
    else if (!viewKey(key, own, own.querySelector('.stage'))) return;
    event.preventDefault();
  }, true);
}
