// The comparison: all videos have one playhead, and one of them the sound. Side by side, or one over the other with a
// slider between.
import { addRating, commandKey, rateByKey, undo } from './ratings.js';
import { measureFrames, nextSpeed, remembered, step } from './view.js';

const MAX_DRIFT = 0.07; // seconds
const root = document.querySelector('#compare');
const byId = (id) => document.getElementById(id);

function startComparison() {
  const panes = [...root.querySelectorAll('.pane')];
  const players = panes.map((pane) => pane.querySelector('video, audio')).filter(Boolean);
  const [position, split, speed, loops, playButton] = ['position', 'split', 'speed', 'loops', 'play'].map(byId);
  // In which the time is: the longest. The others wait at their end.
  let leader = players[0];
  let heard = panes[0];
  let over = panes[1] ?? panes[0];
  let isPlaying = false;

  const paneOf = (letter) => panes.find((pane) => pane.dataset.letter === letter);
  const playerOf = (pane) => pane?.querySelector('video, audio');
  const length = () => leader?.duration || 0;

  function seek(time) {
    const to = Math.min(Math.max(time, 0), length());
    for (const player of players) player.currentTime = Math.min(to, player.duration || to);
    showTime(to);
  }

  function showTime(time) {
    if (document.activeElement !== position || isPlaying) position.value = length() ? (1000 * time) / length() : 0;
    byId('time').textContent = `${time.toFixed(1)} / ${length().toFixed(1)} s`;
  }

  function play() {
    isPlaying = true;
    if (leader.currentTime >= length() - 0.05) seek(0);
    for (const player of players) if (!player.ended) player.play().catch(() => {});
    showPlaying();
  }

  function pause() {
    isPlaying = false;
    players.forEach((player) => player.pause());
    // All stop at the same frame.
    seek(leader.currentTime);
    showPlaying();
  }

  function showPlaying() {
    const { play: playText, pause: pauseText } = byId('video-texts').dataset;
    playButton.textContent = isPlaying ? pauseText : playText;
  }

  function follow() {
    if (isPlaying) {
      const now = leader.currentTime;
      for (const player of players) {
        const to = Math.min(now, player.duration || now);
        if (player !== leader && !player.seeking && Math.abs(player.currentTime - to) > MAX_DRIFT) player.currentTime = to;
      }
      showTime(now);
    }
    requestAnimationFrame(follow);
  }

  function hear(pane) {
    heard = pane;
    for (const other of panes) {
      const player = playerOf(other);
      if (player) player.muted = other !== pane;
      other.classList.toggle('heard', other === pane);
    }
    for (const button of byId('sounds').children) button.setAttribute('aria-pressed', String(button.value === (pane?.dataset.letter ?? '')));
  }

  /** A is under the other; the other is shown right of the split. */
  function showSplit(percent) {
    split.value = percent;
    root.style.setProperty('--split', `${percent}%`);
  }

  function lay(layout) {
    const isOver = layout === 'over';
    root.classList.toggle('over', isOver);
    split.hidden = !isOver;
    for (const pane of panes) pane.classList.toggle('shown', pane === panes[0] || pane === over);
    for (const button of byId('layouts').children) button.setAttribute('aria-pressed', String(button.value === layout));
    remembered.set('compare', layout);
  }

  /** The sound of this one; with the slider, its picture alone too. */
  function choose(letter) {
    const pane = paneOf(letter);
    if (!pane) return false;
    hear(pane);
    if (pane !== panes[0]) over = pane;
    if (root.classList.contains('over')) lay('over');
    showSplit(pane === panes[0] ? 100 : 0);
    return true;
  }

  function setSpeed(value) {
    speed.value = String(value);
    players.forEach((player) => { player.playbackRate = value; });
  }

  function compareKey(key) {
    if (/^[a-d]$/.test(key)) return choose(key.toUpperCase());
    if (key === 'u') return undo(), true;
    if (key === 's') return lay(root.classList.contains('over') ? 'side' : 'over'), showSplit(50), true;
    if (key === 'r' && heard) return heard.querySelector('.again')?.click(), true;
    if (heard && rateByKey(key, heard)) return true;
    if (!leader) return false;
    if (key === ' ') isPlaying ? pause() : play();
    else if (key === 'arrowleft' || key === 'arrowright') seek(leader.currentTime + (key === 'arrowright' ? 1 : -1));
    else if (key === ',' || key === '.') {
      if (isPlaying) pause();
      step(leader, key === '.' ? 1 : -1);
      seek(leader.currentTime);
    } else if (key === 'm') hear(heard ? null : panes[0]);
    else if (key === '[' || key === ']') setSpeed(nextSpeed(leader.playbackRate, key === ']' ? 1 : -1));
    else if (key === 'l') loops.checked = !loops.checked;
    else return false;
    return true;
  }

  for (const player of players) {
    [player.loop, player.controls] = [false, false];
    measureFrames(player);
    player.addEventListener('loadedmetadata', () => {
      leader = players.reduce((one, other) => ((other.duration || 0) > (one.duration || 0) ? other : one));
      showTime(leader.currentTime);
    });
    player.addEventListener('ended', () => {
      if (player !== leader || !isPlaying) return;
      if (!loops.checked) return pause();
      seek(0);
      play();
    });
    player.addEventListener('click', () => (isPlaying ? pause() : play()));
  }
  playButton.addEventListener('click', () => (isPlaying ? pause() : play()));
  position.addEventListener('input', () => { if (isPlaying) pause(); seek((position.value / 1000) * length()); });
  split.addEventListener('input', () => showSplit(split.value));
  speed.addEventListener('change', () => setSpeed(Number(speed.value)));
  byId('sounds').addEventListener('click', ({ target }) => { if (target.matches('button')) hear(paneOf(target.value) ?? null); });
  byId('layouts').addEventListener('click', ({ target }) => { if (target.matches('button')) { lay(target.value); showSplit(50); } });
  root.querySelector('.panes').addEventListener('pointermove', (event) => {
    if (!root.classList.contains('over') || event.buttons !== 1) return;
    const { left, width } = event.currentTarget.getBoundingClientRect();
    showSplit(Math.min(Math.max((100 * (event.clientX - left)) / width, 0), 100));
  });
  document.addEventListener('keydown', (event) => {
    if (document.querySelector('dialog[open]')) return;
    const key = commandKey(event);
    const isPressed = key === ' ' && event.target.closest('a, button, summary, input');
    const isSlid = /^arrow/.test(key) && event.target.matches('input');
    if (key && !isPressed && !isSlid && compareKey(key)) event.preventDefault();
  });

  panes.forEach(addRating);
  if (!players.length) root.querySelector('.compare-bar').classList.add('still');
  hear(panes[0]);
  lay(remembered.get('compare', 'side'));
  showSplit(50);
  if (leader) showTime(0);
  requestAnimationFrame(follow);
}

if (root) startComparison();
