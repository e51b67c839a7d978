// The wall: a film plays, silently, while a pointer rests on it, or from one press to the next.

function set(film, plays) {
  const video = film.querySelector('video');
  film.setAttribute('aria-pressed', String(plays));
  if (plays) video.play().catch(() => film.setAttribute('aria-pressed', 'false'));
  else video.pause();
}

export function playFilms() {
  const rests = (event) => event.target instanceof Element && event.target.closest('button.film');
  document.addEventListener('click', (event) => {
    const film = rests(event);
    if (!film) return;
    // A pointer that rests has begun it already: its press keeps it going.
    const held = film.dataset.kept === 'yes';
    film.dataset.kept = held ? '' : 'yes';
    set(film, !held);
  });
  document.addEventListener('pointerover', (event) => {
    const film = rests(event);
    if (film && event.pointerType === 'mouse') set(film, true);
  });
  document.addEventListener('pointerout', (event) => {
    const film = rests(event);
    const leaves = film && !film.contains(event.relatedTarget);
    if (leaves && event.pointerType === 'mouse' && film.dataset.kept !== 'yes') set(film, false);
  });
}
