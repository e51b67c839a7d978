// The texts that scripts put together, in the language of the page, and amounts in it.

let texts;

/** The text of this key, with its placeholders filled: `t('fits', { n: 3 })`. */
export function t(key, values = {}) {
  texts ??= JSON.parse(document.body.dataset.texts);
  return texts[key].replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** "1 job" or "3 jobs". */
export const jobs = (n) => (n === 1 ? t('one_job') : t('n_jobs', { n }));

/** Dollars and cents, as the daemon prints them. */
export function dollars(usd) {
  const cents = Math.round(usd * 100);
  return cents === 0 && usd > 0 ? '<$0.01' : `$${(cents / 100).toFixed(2)}`;
}

/** A moment in the near future or past: with its date if it is not today. */
export function moment(iso) {
  const [time, now] = [new Date(iso), new Date()];
  const isToday = time.toDateString() === now.toDateString();
  const date = isToday ? {} : { month: 'short', day: 'numeric' };
  return time.toLocaleString(document.documentElement.lang, { ...date, hour: '2-digit', minute: '2-digit' });
}

/** An element with these properties and children; texts stay texts. */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}
