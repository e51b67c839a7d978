// What the scripts of the page add to what the server renders: they keep it new, and carry orders. Each does one thing.
import { follow } from './live.js';
import { takeOrders } from './orders.js';
import { takeFiles } from './submit.js';
import { keepTimes } from './times.js';
import { playFilms } from './films.js';

document.documentElement.classList.add('scripts');
keepTimes();
playFilms();
takeOrders();
takeFiles();
follow();

// `/` goes to the search, as people of the web expect.
document.addEventListener('keydown', (event) => {
  const writes = event.target.closest('input, textarea, select, dialog');
  if (event.key === '/' && !writes && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    document.querySelector('#search').focus();
  }
  if (event.key === 'Escape') document.querySelector('#menu').open = false;
});
document.addEventListener('click', (event) => {
  const menu = document.querySelector('#menu');
  if (!menu.contains(event.target)) menu.open = false;
});
