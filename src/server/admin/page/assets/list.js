// The list of jobs: filters that act at once, the selection with what can be done to it, labels, and moving by keys.
import { MAX_NAMED, send, toast, withJobs } from './actions.js';
import { refresh } from './live.js';
import { commandKey } from './keys.js';
import { dollars, element } from './texts.js';

const TYPING = 300; // milliseconds of silence before a search begins
const list = document.querySelector('#list');
const bar = document.querySelector('#chosen');
const form = document.querySelector('#filters');
const rows = () => [...list.querySelectorAll('tr.job-row')];
const boxOf = (row) => row.querySelector('.check input');

/* Filters. */

let typing;

/** Shows what the form selects, and names it in the address. */
function applyFilters(isNew) {
  clearTimeout(typing);
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(form)) {
    if (value && !(name === 'sort' && value === 'created')) query.append(name, value);
  }
  const address = query.size ? `/jobs?${query}` : '/jobs';
  if (address === location.pathname + location.search) return;
  history[isNew ? 'pushState' : 'replaceState'](null, '', address);
  choose(null);
  refresh();
}

form.addEventListener('change', () => applyFilters(true));
form.addEventListener('submit', (event) => { event.preventDefault(); applyFilters(true); });
form.addEventListener('input', (event) => {
  if (event.isComposing || event.target.nodeName === 'SELECT') return;
  clearTimeout(typing);
  // A label is complete once it has a value.
  if (event.target.name === 'label' && event.target.value && !event.target.value.includes('=')) return;
  typing = setTimeout(() => applyFilters(false), TYPING);
});
form.addEventListener('compositionend', () => { typing = setTimeout(() => applyFilters(false), TYPING); });
// The fields of an earlier address are those of its page.
addEventListener('popstate', () => location.reload());

/* The selection. */

const chosen = new Set();
let isAll = false;
let last = null;
let counting = 0;
const filter = () => JSON.parse(list.dataset.filter);
/** What the API selects the jobs by. */
const selection = () => (isAll ? filter() : { jobs: [...chosen] });

/** Selects these jobs and no others; `null`: none. */
function choose(ids) {
  isAll = false;
  last = null;
  chosen.clear();
  for (const id of ids ?? []) chosen.add(id);
  show();
}

function toggle(row, isChosen) {
  isAll = false;
  if (isChosen) chosen.add(row.dataset.job);
  else chosen.delete(row.dataset.job);
}

/** Shows the selection, also on rows that the page was just given. */
function show() {
  const shown = rows();
  for (const row of shown) boxOf(row).checked = isAll || chosen.has(row.dataset.job);
  const page = document.querySelector('#choose-page');
  if (page) {
    const count = shown.filter((row) => boxOf(row).checked).length;
    [page.checked, page.indeterminate] = [count > 0 && count === shown.length, count > 0 && count < shown.length];
  }
  bar.hidden = !isAll && chosen.size === 0;
  document.querySelector('#choose-all').hidden = isAll || !list.querySelector('.pages a');
  if (!isAll) showCount('some', chosen.size);
  if (!bar.hidden) count();
}

function showCount(kind, n) {
  const place = document.querySelector('#chosen-count');
  const text = place.dataset[kind].replace('{n}', n);
  if (place.textContent !== text) place.textContent = text;
}

/** Asks what the selected jobs allow, and shows it on the buttons. */
async function count() {
  const turn = ++counting;
  let answer;
  try {
    answer = await send('/api/v1/jobs/bulk', JSON.stringify({ ...selection(), dry_run: true }));
  } catch (error) {
    if (turn === counting) toast(error.detail);
    return;
  }
  if (turn !== counting || bar.hidden) return;
  if (isAll) showCount('all', answer.matched);
  const possible = new Map(answer.possible.map((one) => [one.action, one]));
  for (const button of bar.querySelectorAll('[data-action]')) {
    const one = possible.get(button.dataset.action);
    button.hidden = !one;
    if (!one) continue;
    button.dataset.label ??= button.textContent;
    const price = one.estimate_usd > 0 ? ` · ${dollars(one.estimate_usd)}` : '';
    const of = one.jobs === answer.matched ? '' : ` ${one.jobs}`;
    button.textContent = `${button.dataset.label}${of}${price}`;
    button.dataset.body = JSON.stringify({ ...selection(), action: one.action, dry_run: false });
  }
}

list.addEventListener('click', (event) => {
  const box = event.target.closest('.check input');
  if (!box) return;
  if (box.id === 'choose-page') {
    rows().forEach((row) => toggle(row, box.checked));
    return show();
  }
  const [all, row] = [rows(), box.closest('tr')];
  const from = event.shiftKey && last ? all.findIndex((other) => other.dataset.job === last) : -1;
  const at = all.indexOf(row);
  const range = from < 0 ? [row] : all.slice(Math.min(from, at), Math.max(from, at) + 1);
  range.forEach((one) => toggle(one, box.checked));
  last = row.dataset.job;
  if (chosen.size > MAX_NAMED) chosen.delete(row.dataset.job);
  show();
});
document.querySelector('#choose-all').addEventListener('click', () => { choose(null); isAll = true; show(); });
document.querySelector('#choose-none').addEventListener('click', () => choose(null));
document.addEventListener('dropreel:bulk-done', () => choose(null));
document.addEventListener('dropreel:refreshed', show);

/* Labels. */

const labels = document.querySelector('#labels');
const field = labels.querySelector('#label-text');
const problem = labels.querySelector('#labels-problem');

document.querySelector('#open-labels').addEventListener('click', async () => {
  problem.textContent = '';
  field.value = '';
  const there = labels.querySelector('#labels-there');
  const found = new Set();
  for (const row of rows()) {
    if (boxOf(row).checked) row.querySelectorAll('.tag').forEach((tag) => found.add(tag.textContent));
  }
  const button = (label) => element('button', { type: 'button', value: label, ariaLabel: there.dataset.remove.replace('{label}', () => label), textContent: `${label} ✕` });
  there.replaceChildren(...[...found].sort().map((label) => element('li', {}, button(label))));
  const title = labels.querySelector('#labels-title');
  try {
    const { matched } = await send('/api/v1/jobs/bulk', JSON.stringify({ ...selection(), dry_run: true }));
    labels.dataset.count = matched;
    title.textContent = withJobs(title.dataset.title, matched);
    labels.showModal();
    field.focus();
  } catch (error) {
    toast(error.detail);
  }
});
labels.querySelector('[value=close]').addEventListener('click', () => labels.close());
labels.querySelector('form').addEventListener('submit', (event) => {
  event.preventDefault();
  const [, key, value] = /^([^=]+)=(.*)$/s.exec(field.value.trim()) ?? [];
  if (!key) {
    problem.textContent = problem.dataset.wrong;
    return field.focus();
  }
  setLabels({ [key.trim()]: value.trim() });
});
labels.querySelector('#labels-there').addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button) setLabels({ [button.value.split('=')[0]]: null });
});

async function setLabels(changes) {
  const body = { ...selection(), set_labels: changes, dry_run: false, expect: Number(labels.dataset.count) };
  try {
    const answer = await send('/api/v1/jobs/bulk', JSON.stringify(body));
    labels.close();
    toast(withJobs(problem.dataset.changed, answer.done));
    choose(null);
    refresh();
  } catch (error) {
    problem.textContent = error.detail;
  }
}

/* Keys. */

/** Moves to the next row, or the one before; the first key goes to the first row. */
function move(by) {
  const all = rows();
  const at = all.indexOf(document.activeElement?.closest?.('tr.job-row'));
  const next = all[at < 0 ? 0 : at + by];
  next?.querySelector('.name').focus();
  next?.scrollIntoView({ block: 'nearest' });
}

document.addEventListener('keydown', (event) => {
  const key = commandKey(event);
  const row = event.target.closest?.('tr.job-row');
  if (key === 'j' || key === 'k') move(key === 'j' ? 1 : -1);
  else if (key === 'x' && row) boxOf(row).click();
  else if (key === 'escape' && !bar.hidden && !document.querySelector('dialog[open]')) choose(null);
  else return;
  event.preventDefault();
});
show();
