// The gallery: each clip shows its poster, and plays without sound while the mouse is over it, or with sound if it is
// nothing else, after a click. A browser opens six connections to a server; if every clip held one, nothing else could
// load. So only playing clips are connected.
import { drawPoster } from './posters.js';

const playerOf = (clip) => clip.querySelector('video, audio');
const isHovered = (clip) => clip.dataset.hovered === 'yes' && clip.dataset.kind === 'video';
const shouldPlay = (clip) => clip.dataset.clicked === 'yes' || isHovered(clip);

/** Starts or stops the clip. */
function update(clip) {
  const [player, plays] = [playerOf(clip), shouldPlay(clip)];
  clip.setAttribute('aria-pressed', String(plays));
  if (plays) {
    if (!player.hasAttribute('src')) player.src = clip.dataset.src;
    player.play().catch(() => {});
    return;
  }
  // This closes its connection.
  player.pause();
  player.removeAttribute('src');
  player.load();
}

export function playClips() {
  const draw = (root) => root.querySelectorAll?.('.clip canvas').forEach(drawPoster);
  draw(document);
  new MutationObserver((changes) => {
    for (const change of changes) for (const node of change.addedNodes) draw(node);
  }).observe(document.querySelector('main'), { childList: true, subtree: true });

  const clipOf = (event) => event.target instanceof Element && event.target.closest('button.clip');
  document.addEventListener('click', (event) => {
    const clip = clipOf(event);
    if (!clip) return;
    // A clip under the mouse plays already: the first click keeps it playing.
    clip.dataset.clicked = clip.dataset.clicked === 'yes' ? '' : 'yes';
    if (!clip.dataset.clicked) clip.dataset.hovered = '';
    update(clip);
  });
  const hover = (event, isOver) => {
    const clip = clipOf(event);
    if (!clip || event.pointerType !== 'mouse' || (clip.dataset.hovered === 'yes') === isOver) return;
    clip.dataset.hovered = isOver ? 'yes' : '';
    if (clip.dataset.kind === 'video') update(clip);
  };
  document.addEventListener('pointerover', (event) => hover(event, true));
  document.addEventListener('pointerout', (event) => {
    if (!clipOf(event)?.contains(event.relatedTarget)) hover(event, false);
  });
}
