// Posters: a picture of each output that has none is drawn here once, and kept by the daemon. Two are drawn at a time,
// for a browser opens six connections to a server.

const MAX_DRAWN = 2;
const TIMEOUT = 10000; // milliseconds
const LONGEST_SIDE = 480; // pixels
const QUALITY = 0.8;
const FRAME = 0.5; // seconds: many videos begin black
const waiting = [];
let drawn = 0;
// Not again after a failure: the library is read-only, or this browser may only read.
let isKept = true;

const visible = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    visible.unobserve(target);
    waiting.push(target);
  }
  drawWaiting();
}, { rootMargin: '200px' });

/** Draws the poster of this canvas once it is near the window. */
export const drawPoster = (canvas) => visible.observe(canvas);

function drawWaiting() {
  while (drawn < MAX_DRAWN && waiting.length) {
    const canvas = waiting.shift();
    if (!canvas.isConnected) continue;
    drawn += 1;
    draw(canvas).catch(() => {}).finally(() => { drawn -= 1; drawWaiting(); });
  }
}

async function draw(canvas) {
  const { media, kind } = canvas.closest('[data-media]').dataset;
  const source = kind === 'image' ? await loadImage(media) : await loadFrame(media);
  const [width, height] = [source.videoWidth || source.naturalWidth, source.videoHeight || source.naturalHeight];
  if (!width || !height) return release(source);
  const scale = Math.min(1, LONGEST_SIDE / Math.max(width, height));
  [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
  canvas.getContext('2d').drawImage(source, 0, 0, canvas.width, canvas.height);
  release(source);
  const jpeg = await new Promise((done) => canvas.toBlob(done, 'image/jpeg', QUALITY));
  if (!jpeg || !isKept) return;
  const answer = await fetch(`${media}/poster`, { method: 'PUT', headers: { 'content-type': 'image/jpeg' }, body: jpeg });
  isKept = answer.ok;
}

function happens(target, ...events) {
  return new Promise((done) => {
    for (const event of events) target.addEventListener(event, done, { once: true });
    setTimeout(done, TIMEOUT);
  });
}

async function loadImage(address) {
  const image = new Image();
  image.src = address;
  await happens(image, 'load', 'error');
  return image;
}

async function loadFrame(address) {
  const video = document.createElement('video');
  [video.muted, video.preload] = [true, 'auto'];
  video.src = `${address}#t=${FRAME}`;
  await happens(video, 'loadeddata', 'error');
  if (video.seeking) await happens(video, 'seeked', 'error');
  return video;
}

/** Closes the connection of a video. */
function release(source) {
  if (source.nodeName !== 'VIDEO') return;
  source.removeAttribute('src');
  source.load();
}
