// Ratings of outputs: 1 to 5 stars, 0 rejects, the same again clears. Each element with `data-item` that shows an output
// shows its rating, and what was changed last can be undone.
import { send, toast } from './actions.js';

export { commandKey } from './keys.js';

const changes = [];
// By item: how many ratings are on their way, and when the last one was answered.
const onTheWay = new Map();
const answered = new Map();
let sending = Promise.resolve();
let noteTimer;

/** The texts of these pages. */
export const texts = () => document.querySelector('#video-texts').dataset;
export const itemsOf = (item) => document.querySelectorAll(`[data-item="${CSS.escape(item)}"]`);
const ratingOf = (element) => (element.dataset.rating === '' ? null : Number(element.dataset.rating));

/** Shows a short text where it can be seen: the viewer covers the rest of the page. */
export function note(text) {
  const place = document.querySelector('#viewer[open] #viewer-note');
  if (!place) return toast(text);
  place.textContent = text;
  clearTimeout(noteTimer);
  noteTimer = setTimeout(() => { place.textContent = ''; }, 4000);
}

/** Adds the buttons to an element that shows an output. */
export function addRating(element) {
  const buttons = document.querySelector('#rate-buttons').content.firstElementChild.cloneNode(true);
  buttons.setAttribute('aria-label', buttons.dataset.label.replace('{name}', () => element.dataset.name));
  (element.querySelector('.rate-place') ?? element).append(buttons);
  show(element.dataset.item, ratingOf(element));
}

/** Shows a rating on every element of this output. */
export function show(item, rating) {
  for (const element of itemsOf(item)) {
    element.dataset.rating = rating ?? '';
    for (const button of element.querySelectorAll('.rate button')) {
      button.setAttribute('aria-pressed', String(button.value === element.dataset.rating));
    }
  }
}

/** Whether a page fetched at that time may have an older rating of this item than the one shown. */
export const ratedSince = (item, time) => onTheWay.get(item) > 0 || answered.get(item) >= time;

export function rate(element, rating) {
  const { item, job, output } = element.dataset;
  const before = ratingOf(element);
  changes.push({ item, job, output, rating: before });
  change({ item, job, output, rating: before === rating ? null : rating }, before);
  document.dispatchEvent(new CustomEvent('dropreel:rated', { detail: item }));
}

/** Takes back the last rating, and returns whose it was. */
export function undo() {
  const last = changes.pop();
  if (!last) return note(texts().nothingToUndo);
  change(last, ratingOf(itemsOf(last.item)[0] ?? { dataset: { rating: '' } }));
  note(texts().undone);
  return last.item;
}

/** Shows the rating at once, and sends it after those before it. */
function change({ item, job, output, rating }, before) {
  show(item, rating);
  onTheWay.set(item, (onTheWay.get(item) ?? 0) + 1);
  sending = sending.then(async () => {
    try {
      await send(`/api/v1/jobs/${job}/rate`, JSON.stringify({ rating, output }));
    } catch (error) {
      show(item, before);
      note(`${texts().notRated}: ${error.detail}`);
    }
    onTheWay.set(item, onTheWay.get(item) - 1);
    answered.set(item, performance.now());
  });
}

/** Rates this output if the key says so. */
export function rateByKey(key, element) {
  if (/^[1-5]$/.test(key)) rate(element, Number(key));
  else if (key === 'x') rate(element, 0);
  else return false;
  return true;
}

document.addEventListener('click', (event) => {
  const button = event.target.closest('.rate button');
  if (!button) return;
  rate(button.closest('[data-item]'), Number(button.value));
  // Otherwise the space bar, which plays, would press it again.
  if (event.detail) button.blur();
});
