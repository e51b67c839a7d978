// The gallery: each clip shows its first frame, and plays without sound while the mouse is over it or after a click. A
// browser opens six connections to a server; if every clip held one, nothing else could load. So first frames are
// fetched two at a time, drawn and released, and only playing clips stay connected.

const MAX_FETCHES = 2;
const FRAME_TIMEOUT = 8000; // milliseconds
const waiting = [];
let fetching = 0;

const videoOf = (clip) => clip.querySelector('video');
const shouldPlay = (clip) => clip.dataset.clicked === 'yes' || clip.dataset.hovered === 'yes';

/** Closes the connection; the drawn frame stays. */
function release(video) {
  video.pause();
  video.removeAttribute('src');
  video.load();
}

function fetchFrames() {
  while (fetching < MAX_FETCHES && waiting.length) {
    const clip = waiting.shift();
    if (!clip.isConnected || shouldPlay(clip)) continue;
    fetching += 1;
    fetchFrame(clip).finally(() => { fetching -= 1; fetchFrames(); });
  }
}

async function fetchFrame(clip) {
  const video = videoOf(clip);
  video.src = `${clip.dataset.src}#t=0.1`;
  await new Promise((done) => {
    for (const event of ['loadeddata', 'error', 'abort']) video.addEventListener(event, done, { once: true });
    setTimeout(done, FRAME_TIMEOUT);
  });
  drawFrame(clip);
  if (!shouldPlay(clip)) release(video);
}

function drawFrame(clip) {
  const [video, canvas] = [videoOf(clip), clip.querySelector('canvas')];
  if (video.readyState < 2 || !video.videoWidth) return;
  canvas.width = Math.min(video.videoWidth, 640);
  canvas.height = Math.round(canvas.width * video.videoHeight / video.videoWidth);
  canvas.getContext('2d').drawImage(video, 0, 0, canvas.width, canvas.height);
}

/** Starts or stops the clip. */
function update(clip) {
  const [video, plays] = [videoOf(clip), shouldPlay(clip)];
  clip.setAttribute('aria-pressed', String(plays));
  if (!plays) {
    drawFrame(clip);
    return release(video);
  }
  if (!video.hasAttribute('src')) video.src = clip.dataset.src;
  video.play().catch(() => {});
}

export function playClips() {
  const visible = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      visible.unobserve(target);
      waiting.push(target);
    }
    fetchFrames();
  }, { rootMargin: '200px' });
  const observe = (root) => root.querySelectorAll?.('button.clip').forEach((clip) => visible.observe(clip));
  observe(document);
  new MutationObserver((changes) => {
    for (const change of changes) for (const node of change.addedNodes) observe(node);
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
  document.addEventListener('pointerover', (event) => {
    const clip = clipOf(event);
    if (!clip || event.pointerType !== 'mouse' || clip.dataset.hovered === 'yes') return;
    clip.dataset.hovered = 'yes';
    update(clip);
  });
  document.addEventListener('pointerout', (event) => {
    const clip = clipOf(event);
    if (!clip || event.pointerType !== 'mouse' || clip.contains(event.relatedTarget)) return;
    clip.dataset.hovered = '';
    update(clip);
  });
}
