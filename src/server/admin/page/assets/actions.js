// Buttons that send an action: a confirmation that names the cost, then the request, then its result.
import { refresh } from './live.js';

export const MAX_NAMED = 1000; // jobs in one request
let toastTimer;

/** Shows a text that disappears by itself, later if it can be taken back. */
export function toast(text, undo) {
  const place = document.querySelector('#toast');
  place.textContent = text;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { place.textContent = ''; }, undo ? 20_000 : 6000);
  if (!undo) return;
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = document.body.dataset.undo;
  button.addEventListener('click', undo, { once: true });
  place.append(' ', button);
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

/** Puts dismissed jobs back on the list of what needs a person. */
async function undismiss(jobs) {
  let done = 0;
  try {
    for (let from = 0; from < jobs.length; from += MAX_NAMED) {
      const some = jobs.slice(from, from + MAX_NAMED);
      done += (await send('/api/v1/jobs/bulk', JSON.stringify({ action: 'undismiss', jobs: some }))).done;
    }
    toast(withJobs(document.body.dataset.undismissed, done));
  } catch (error) {
    toast(error.detail, () => undismiss(jobs));
  }
  refresh();
}

/** Sends an action and shows its result. */
async function act(action) {
  const answer = await send(action.address, action.body);
  if (action.done) {
    const undo = answer.dismissed.length ? () => undismiss(answer.dismissed) : undefined;
    toast(bulkResult(action.done, answer), undo);
    document.dispatchEvent(new CustomEvent('dropreel:bulk-done'));
  } else if (answer.job) {
    // Of a pause or a resumption, the page itself shows the result.
    toast(answer.message, action.address.endsWith('/dismiss') ? () => undismiss([answer.job.id]) : undefined);
  }
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
    try {
      // What can be undone needs no question.
      if (!next.question) {
        await act(next);
        return refresh();
      }
      if (!next.done) return confirm(next);
      // Count the jobs and their cost first. The action then applies to exactly as many at no higher price, or to none.
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
      confirm({ ...next, body: JSON.stringify({ ...request, expect: counted.jobs, max_cost_usd: counted.estimate_usd }) });
    } catch (error) {
      toast(error.detail);
    }
  });

  yes.addEventListener('click', async () => {
    yes.disabled = true;
    try {
      await act(action);
      dialog.close();
    } catch (error) {
      problem.textContent = error.detail;
      yes.disabled = false;
    }
    refresh();
  });
  no.addEventListener('click', () => dialog.close());
  dialog.addEventListener('close', () => { if (opener?.isConnected) opener.focus(); });
}
