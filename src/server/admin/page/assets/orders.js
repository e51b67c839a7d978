// Buttons that order something: one question, which names the cost, then the API's own answer.
import { refresh } from './live.js';

let toasting;

/** A word to the reader that goes away by itself. */
export function toast(text) {
  const place = document.querySelector('#toast');
  place.textContent = text;
  clearTimeout(toasting);
  toasting = setTimeout(() => { place.textContent = ''; }, 6000);
}

/** Sends JSON to the API. Resolves to its answer, or throws what is to be told. */
export async function send(address, body, type = 'application/json') {
  let answer;
  try {
    answer = await fetch(address, { method: 'POST', headers: { 'content-type': type }, body });
  } catch {
    throw { detail: document.body.dataset.unreachable };
  }
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw { detail: said.detail ?? `${document.body.dataset.failed} (${answer.status})`, errors: said.errors };
  return said;
}

/** Listens to every such button, those that come later too. */
export function takeOrders() {
  const dialog = document.querySelector('#confirm');
  const problem = dialog.querySelector('#confirm-problem');
  const yes = dialog.querySelector('[value=yes]');
  let order = null;

  const ask = (text, next) => {
    dialog.querySelector('#confirm-ask').textContent = text;
    problem.textContent = '';
    yes.disabled = false;
    order = next;
    dialog.showModal();
    dialog.querySelector('[value=no]').focus();
  };

  document.addEventListener('click', async (event) => {
    const button = event.target.closest('button[data-post]');
    if (!button) return;
    document.querySelector('#menu').open = false;
    const { post, body, ask: question } = button.dataset;
    if (!('count' in button.dataset)) return ask(question, { post, body });
    try {
      // How many would it be, and what did they cost? If there are others by then, nothing is done.
      const dry = await send(post, JSON.stringify({ ...JSON.parse(body), dry_run: true }));
      const text = question.replace('{n}', dry.jobs).replace('{cost}', `$${dry.cost_usd.toFixed(2)}`);
      ask(text, { post, body: JSON.stringify({ ...JSON.parse(body), expect: dry.jobs }) });
    } catch (error) {
      toast(error.detail);
    }
  });

  yes.addEventListener('click', async () => {
    yes.disabled = true;
    try {
      const said = await send(order.post, order.body);
      dialog.close();
      if (said.message) toast(said.message);
    } catch (error) {
      problem.textContent = error.detail;
    }
    refresh();
  });
  dialog.querySelector('[value=no]').addEventListener('click', () => dialog.close());
}
