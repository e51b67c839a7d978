// The wall: each film shows its first picture, and plays, silently, while a pointer rests on it or from one press to the
// next. A browser opens six connections to a server: a wall of films that all hold one would leave none for anything
// else. So pictures are fetched two at a time, drawn, and let go; only what plays is connected.

const AT_ONCE = 2;
const PATIENCE = 8000; // milliseconds for a first picture
const waiting = [];
let fetching = 0;

const videoOf = (film) => film.querySelector('video');
const isWanted = (film) => film.dataset.kept === 'yes' || film.dataset.rests === 'yes';

/** Lets the connection go. What was drawn stays. */
function release(video) {
  video.pause();
  video.removeAttribute('src');
  video.load();
}

function fetchNext() {
  while (fetching < AT_ONCE && waiting.length) {
    const film = waiting.shift();
    if (!film.isConnected || isWanted(film)) continue;
    fetching += 1;
    picture(film).finally(() => { fetching -= 1; fetchNext(); });
  }
}

/** Draws the first picture. */
async function picture(film) {
  const video = videoOf(film);
  video.src = `${film.dataset.src}#t=0.1`;
  await new Promise((done) => {
    for (const event of ['loadeddata', 'error', 'abort']) video.addEventListener(event, done, { once: true });
    setTimeout(done, PATIENCE);
  });
  draw(film);
  if (!isWanted(film)) release(video);
}

function draw(film) {
  const [video, canvas] = [videoOf(film), film.querySelector('canvas')];
  if (video.readyState < 2 || !video.videoWidth) return;
  canvas.width = Math.min(video.videoWidth, 640);
  canvas.height = Math.round(canvas.width * video.videoHeight / video.videoWidth);
  canvas.getContext('2d').drawImage(video, 0, 0, canvas.width, canvas.height);
  film.classList.add('pictured');
}

/** Plays it, or lets it be, as is wanted now. */
function settle(film) {
  const [video, plays] = [videoOf(film), isWanted(film)];
  film.setAttribute('aria-pressed', String(plays));
  if (!plays) {
    draw(film);
    return release(video);
  }
  if (!video.hasAttribute('src')) video.src = film.dataset.src;
  video.play().catch(() => {});
}

export function playFilms() {
  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      waiting.push(target);
    }
    fetchNext();
  }, { rootMargin: '200px' });
  const watch = (root) => root.querySelectorAll?.('button.film').forEach((film) => seen.observe(film));
  watch(document);
  new MutationObserver((changes) => {
    for (const change of changes) for (const node of change.addedNodes) watch(node);
  }).observe(document.querySelector('main'), { childList: true, subtree: true });

  const film = (event) => event.target instanceof Element && event.target.closest('button.film');
  document.addEventListener('click', (event) => {
    const pressed = film(event);
    if (!pressed) return;
    // A pointer that rests has begun it already: its press keeps it going.
    pressed.dataset.kept = pressed.dataset.kept === 'yes' ? '' : 'yes';
    if (!pressed.dataset.kept) pressed.dataset.rests = '';
    settle(pressed);
  });
  document.addEventListener('pointerover', (event) => {
    const under = film(event);
    if (!under || event.pointerType !== 'mouse' || under.dataset.rests === 'yes') return;
    under.dataset.rests = 'yes';
    settle(under);
  });
  document.addEventListener('pointerout', (event) => {
    const left = film(event);
    if (!left || event.pointerType !== 'mouse' || left.contains(event.relatedTarget)) return;
    left.dataset.rests = '';
    settle(left);
  });
}
