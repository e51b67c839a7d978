// What a submit would do, before it is sent: each part with its jobs, price, warnings and errors, and the sum of all.
import { dollars, element, jobs, moment, t } from './texts.js';

const MAX_FINDINGS = 8;
const SOURCES = [
  ['prices', 'by_prices'], ['quote', 'by_quote'], ['own', 'by_own'], ['price_config', 'by_config'], ['list', 'by_list'], ['guess', 'by_guess'],
];

/** Whether a part can be submitted as it is. */
export function isReady(part) {
  const file = part.found?.file;
  return Boolean(file?.ok && (!file.accepted_before || part.again));
}

/** The price of parts, and what else holds for all of them. */
export function total(parts) {
  const sum = { jobs: 0, usd: 0, low: 0, high: 0, sources: {}, ownJobs: 0, models: {}, overMaxCost: 0, budgets: new Map() };
  for (const { found: { file } } of parts) {
    sum.jobs += file.jobs;
    sum.usd += file.estimate_usd;
    sum.low += file.range_usd[0];
    sum.high += file.range_usd[1];
    sum.ownJobs = Math.max(sum.ownJobs, file.own_jobs);
    sum.overMaxCost += file.over_max_cost_jobs;
    for (const [source, n] of Object.entries(file.sources)) sum.sources[source] = (sum.sources[source] ?? 0) + n;
    for (const [model, n] of Object.entries(file.models)) sum.models[model] = (sum.models[model] ?? 0) + n;
    for (const need of file.budgets) {
      const before = sum.budgets.get(need.budget) ?? { ...need, need_usd: 0, waiting_jobs: 0, held_jobs: 0 };
      for (const key of ['need_usd', 'waiting_jobs', 'held_jobs']) before[key] += need[key];
      sum.budgets.set(need.budget, before);
    }
  }
  return sum;
}

/** "about $5.20 ($4.90 to $6.00; 31 quoted, 9 from 212 of your jobs)" */
function priceText({ usd, low, high, sources, ownJobs }) {
  const notes = [];
  // A few per cent are no news.
  if (high - low > usd * 0.05) notes.push(t('range', { low: dollars(low), high: dollars(high) }));
  const known = SOURCES.filter(([source]) => sources[source]);
  notes.push(known.map(([source, key]) => t(key, { n: sources[source], own: ownJobs })).join(t('comma')));
  const text = t('about', { cost: dollars(usd) });
  return notes.some(Boolean) ? t('with_notes', { text, notes: notes.filter(Boolean).join(t('semicolon')) }) : text;
}

const budgetName = (budget) => ({ day: t('budget_of_day'), month: t('budget_of_month') }[budget] ?? t('budget_of_label', { budget }));

/** What does not fit into the budgets, a sentence each. `isOnePart`: the daemon has counted which jobs fit. */
function budgetTexts(sum, isOnePart) {
  const texts = [];
  for (const need of sum.budgets.values()) {
    const values = { budget: budgetName(need.budget), limit: dollars(need.limit_usd), left: dollars(need.left_usd), need: dollars(need.need_usd) };
    const then = need.renewed_at ? t('budget_until', { time: moment(need.renewed_at) }) : t('budget_until_raised');
    if (need.held_jobs) texts.push(t('budget_held', { ...values, jobs: jobs(need.held_jobs) }));
    if (isOnePart && need.waiting_jobs) {
      texts.push(t('budget_waits', { ...values, jobs: jobs(need.waiting_jobs), then }));
    } else if (!isOnePart && need.need_usd > need.left_usd) {
      texts.push(t('budget_short', { ...values, then }));
    }
  }
  if (sum.overMaxCost) texts.push(t('over_max_cost', { jobs: jobs(sum.overMaxCost) }));
  const late = [...sum.budgets.values()].reduce((n, need) => n + need.waiting_jobs + need.held_jobs, sum.overMaxCost);
  if (isOnePart && texts.length) texts.unshift(t('fits', { n: Math.max(sum.jobs - late, 0), jobs: jobs(sum.jobs) }));
  return texts;
}

/** What the balance does not pay. */
function balanceText(sum, { balance_usd: balance, waiting_usd: waiting }) {
  if (balance === null || balance >= sum.usd + waiting) return null;
  const values = { balance: dollars(balance), waiting: dollars(waiting), cost: dollars(sum.usd) };
  return t(waiting > 0 ? 'balance_short_waiting' : 'balance_short', values);
}

/** What holds for all parts. */
export function totalView(parts) {
  const sum = total(parts);
  const cautions = [balanceText(sum, parts.at(-1).found), ...budgetTexts(sum, parts.length === 1)].filter(Boolean);
  const models = Object.entries(sum.models).sort((a, b) => b[1] - a[1]);
  const names = models.map(([model, n]) => (models.length > 1 ? t('of_model', { n, model }) : model));
  return element('div', { className: 'sum' },
    element('p', { className: 'price' }, element('b', {}, jobs(sum.jobs)), t('comma'), priceText(sum)),
    element('p', { className: 'muted' }, names.slice(0, 6).join(t('comma')), names.length > 6 ? ' …' : ''),
    ...cautions.map((text) => element('p', { className: 'caution' }, text)));
}

function findingText({ line, column, pointer, message }, hasPlace) {
  if (!hasPlace) return message;
  // Most messages begin with the key that the pointer ends in.
  const isNamed = message.startsWith(`\`${pointer.slice(1)}\``);
  return `${t('at_line', { line, column })}${t('colon')}${pointer && !isNamed ? `${pointer} ` : ''}${message}`;
}

function findingList(findings, className, hasPlace) {
  if (!findings.length) return null;
  const shown = findings.slice(0, MAX_FINDINGS).map((one) => element('li', {}, findingText(one, hasPlace)));
  const more = findings.length - shown.length;
  return element('ul', { className }, ...shown, more > 0 ? element('li', {}, t('more', { n: more })) : null);
}

/** The first jobs; those that share a prompt, such as by `repeat`, share a line. */
function promptList({ first_jobs: first, jobs: count }, isShort) {
  const groups = [];
  for (const { name, prompt } of first) {
    if (groups.length && groups.at(-1).prompt === prompt) groups.at(-1).names.push(name);
    else groups.push({ prompt, names: [name] });
  }
  const listed = groups.slice(0, isShort ? 1 : 3);
  const shown = listed.map(({ names, prompt }) => element('li', {}, element('b', {}, names.join(t('comma'))), prompt ? ` ${prompt}` : ''));
  const more = count - listed.reduce((n, { names }) => n + names.length, 0);
  return element('ol', { className: 'prompts' }, ...shown, more > 0 ? element('li', { className: 'muted' }, t('more', { n: more })) : null);
}

/** The offer to run a file again that was accepted before. */
function againView(part, index, onAgain) {
  const { file } = part.found;
  const box = element('input', { type: 'checkbox', id: `again-${index}`, checked: Boolean(part.again) });
  box.addEventListener('change', () => onAgain(part, box.checked));
  const first = element('a', { href: `/jobs/${file.accepted_before.first_job}` }, t('first_job'));
  const offer = t('run_again', { cost: dollars(file.estimate_usd) });
  return element('div', { className: 'caution' },
    element('p', {}, t('accepted_before', { time: moment(file.accepted_before.at) }), ' ', first),
    element('label', {}, box, ' ', offer));
}

function runAgainButton(act) {
  const button = element('button', { type: 'button', id: 'run-again-instead', textContent: t('run_again_instead') });
  button.addEventListener('click', act);
  return button;
}

function namesText({ first_jobs: first, jobs: count }) {
  const more = count - first.length;
  return [...first.map(({ name }) => name), ...(more > 0 ? [t('more', { n: more })] : [])].join(t('comma'));
}

/** A part with what was found in it. */
export function partView(part, index, { isOnly, isForm, onAgain, onRemove, onRunAgain }) {
  const { found } = part;
  // The form has no lines.
  const hasPlace = !isForm;
  const file = found?.file;
  const [head, title] = [[], element('p', {})];
  if (part.title) title.append(element('b', { className: 'file-name' }, part.title), ' ');
  if (!part.problem && !found) title.append(element('span', { className: 'muted' }, t('checking')));
  if (file?.ok && !isOnly) title.append(element('span', { className: 'muted' }, jobs(file.jobs), t('comma'), t('about', { cost: dollars(file.estimate_usd) })));
  if (title.hasChildNodes()) head.push(title);
  if (part.title) {
    const remove = element('button', { type: 'button', id: `remove-${index}`, className: 'remove', textContent: '×' });
    remove.setAttribute('aria-label', t('remove', { name: part.title }));
    remove.addEventListener('click', () => onRemove(part));
    head.push(remove);
  }
  const problem = part.problem ?? part.failure ?? found?.problem;
  const isBlocked = file?.accepted_before && !part.again;
  return element('li', { className: 'part' },
    head.length ? element('div', { className: 'part-head' }, ...head) : null,
    problem ? element('p', { className: 'problem' }, problem) : null,
    found?.isTooLate && onRunAgain ? runAgainButton(onRunAgain) : null,
    part.rework && !part.rework.isEdit && isForm && file?.ok ? element('p', { className: 'muted' }, t('new_names', { names: namesText(file) })) : null,
    part.note ? element('p', { className: 'muted' }, part.note) : null,
    part.rise ? element('p', { className: 'caution' }, part.rise) : null,
    file && !file.ok ? findingList(file.errors, 'problem', hasPlace) : null,
    file?.accepted_before ? againView(part, index, onAgain) : null,
    ...(file?.unlisted_models ?? []).map((model) => element('p', { className: 'caution' }, t('unlisted', { model }))),
    file ? findingList(file.warnings, 'caution', file.jobs > 1 && hasPlace) : null,
    file?.ok && !isBlocked && !isForm ? promptList(file, !isOnly) : null);
}
