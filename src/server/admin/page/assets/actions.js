// Buttons that send an action: a confirmation that names the cost, then the request, then its result.
import { refresh } from './live.js';

let toastTimer;

/** Shows a text that disappears by itself. */
export function toast(text) {
  const place = document.querySelector('#toast');
  place.textContent = text;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { place.textContent = ''; }, 6000);
}

/** "1 job" or "3 jobs". */
function countJobs(n) {
  const { oneJob, nJobs } = document.body.dataset;
  return n === 1 ? oneJob : nJobs.replace('{n}', n);
}

/** Replaces `{jobs}` by a number of jobs. */
export const withJobs = (text, n) => text.replace('{jobs}', countJobs(n));

/** Posts to the API. Resolves to the answer, or throws an object with `detail` and perhaps `errors`. */
export const send = (address, body, headers = {}) => request(address, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body });

/** Reads from the API, like [`send`]. */
export const read = (address) => request(address, {});

async function request(address, options) {
  let response;
  try {
    response = await fetch(address, options);
  } catch {
    throw { detail: document.body.dataset.unreachable, isUnreachable: true };
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    const { detail = `${document.body.dataset.requestFailed} (${response.status})`, type, errors } = answer;
    throw { detail, type, errors };
  }
  return answer;
}

/** The result of a bulk action. */
function bulkResult(done, answer) {
  const parts = [];
  if (answer.done || !answer.rejected.length) parts.push(withJobs(done, answer.done));
  const rejected = answer.rejected.length && answer.jobs - answer.done;
  if (rejected) parts.push(`${withJobs(document.body.dataset.rejected, rejected)}: ${answer.rejected[0].reason}`);
  return parts.join(' · ');
}

/** Handles all buttons with `data-address`, also those added later. */
export function handleActions() {
  const dialog = document.querySelector('#confirm');
  const problem = dialog.querySelector('#confirm-problem');
  const [yes, no] = ['yes', 'no'].map((value) => dialog.querySelector(`[value=${value}]`));
  let action = null;
  let opener = null;

  const confirm = (next) => {
    action = next;
    dialog.querySelector('#confirm-question').textContent = next.question;
    problem.textContent = '';
    [yes.textContent, no.textContent] = [next.confirm, next.decline];
    yes.disabled = false;
    dialog.showModal();
    no.focus();
  };

  document.addEventListener('click', async (event) => {
    const button = event.target.closest('button[data-address]');
    if (!button) return;
    const menu = document.querySelector('#menu');
    // What is in a closed menu cannot take the focus back.
    opener = menu.contains(button) ? menu.querySelector('summary') : button;
    menu.open = false;
    const next = { ...button.dataset };
    if (!next.done) return confirm(next);
    try {
      // Count the jobs and their cost first. The action then applies to exactly as many, or to none.
      const request = JSON.parse(next.body);
      const counted = await send(next.address, JSON.stringify({ ...request, dry_run: true }));
      delete request.dry_run;
      next.question = withJobs(next.question, counted.jobs);
      const { lastCost, aboutCost } = document.body.dataset;
      if (request.action === 'retry' && counted.cost_usd > 0) {
        next.question += lastCost.replace('{cost}', `$${counted.cost_usd.toFixed(2)}`);
      }
      if (counted.estimate_usd > 0) {
        const cost = `$${counted.estimate_usd.toFixed(2)}`;
        next.confirm = aboutCost.replace('{label}', next.confirm).replace('{cost}', cost);
      }
      confirm({ ...next, body: JSON.stringify({ ...request, expect: counted.jobs }) });
    } catch (error) {
      toast(error.detail);
    }
  });

  yes.addEventListener('click', async () => {
    yes.disabled = true;
    try {
      const answer = await send(action.address, action.body);
      dialog.close();
      // Of a pause or a resumption, the page itself shows the result.
      if (action.done) {
        toast(bulkResult(action.done, answer));
        document.dispatchEvent(new CustomEvent('dropreel:bulk-done'));
      }
      else if (answer.job) toast(answer.message);
    } catch (error) {
      problem.textContent = error.detail;
      yes.disabled = false;
    }
    refresh();
  });
  no.addEventListener('click', () => dialog.close());
  dialog.addEventListener('close', () => { if (opener?.isConnected) opener.focus(); });
}
