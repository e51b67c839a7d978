// Keys that are commands, and the list of those of a page, shown by `?`.
import { element } from './texts.js';

/** The key of a command, unless it is typed into a field or pressed with others. */
export function commandKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return '';
  const isTyping = event.target.closest('input:not([type=checkbox], [type=range]), textarea, select, dialog:not(#viewer)');
  return isTyping ? '' : event.key.toLowerCase();
}

/** Handles `?`, and `/`, which focuses the search field, as on many web sites. */
export function handleKeys() {
  document.addEventListener('keydown', (event) => {
    const key = commandKey(event);
    if (key === '?') showKeys();
    else if (key === '/' && !event.target.closest('dialog')) document.querySelector('#search, [type=search]').focus();
    else return;
    event.preventDefault();
  });
}

function showKeys() {
  const dialog = document.querySelector('#keys');
  const page = document.querySelector('#viewer[open] .keys') ?? document.querySelector('main .keys');
  const texts = [page?.textContent, dialog.dataset.everywhere].filter(Boolean).join(' · ').split(' · ');
  dialog.querySelector('ul').replaceChildren(...[...new Set(texts)].map(line));
  dialog.showModal();
}

/** "[ ] speed": the keys are its first words. */
function line(text) {
  const words = text.trim().split(' ');
  let count = 1;
  while (count < words.length - 1 && /^[\x21-\x7e]$/.test(words[count])) count += 1;
  return element('li', {}, element('kbd', { textContent: words.slice(0, count).join(' ') }), ` ${words.slice(count).join(' ')}`);
}
