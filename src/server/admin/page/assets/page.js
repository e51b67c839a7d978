// Starts the scripts of the page: they keep it up to date and send actions. Each script does one thing.
import { followChanges } from './live.js';
import { handleActions } from './actions.js';
import { handleSubmit } from './submit.js';
import { keepTimesCurrent } from './times.js';
import { playClips } from './gallery.js';
import { handleKeys } from './keys.js';

document.documentElement.classList.add('scripts');
keepTimesCurrent();
playClips();
handleActions();
handleSubmit();
followChanges();
handleKeys();

document.addEventListener('keydown', (event) => {
  const menu = document.querySelector('#menu');
  if (event.key === 'Escape' && menu.open) {
    const hadFocus = menu.contains(document.activeElement);
    menu.open = false;
    if (hadFocus) menu.querySelector('summary').focus();
  }
});
document.addEventListener('click', (event) => {
  const menu = document.querySelector('#menu');
  if (!menu.contains(event.target)) menu.open = false;
});
