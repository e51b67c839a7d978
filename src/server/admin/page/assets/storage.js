// What is typed outlives a reload of the page, as long as its tab is open.

/** Without storage, such as in private windows, nothing is remembered. */
export function remember(name, value) {
  try {
    if (value) sessionStorage.setItem(`dropreel-${name}`, value);
    else sessionStorage.removeItem(`dropreel-${name}`);
  } catch { /* Full or forbidden. */ }
}

export function recall(name) {
  try { return sessionStorage.getItem(`dropreel-${name}`) ?? ''; } catch { return ''; }
}

/** What was remembered as JSON. */
export function recallJson(name, otherwise) {
  try { return JSON.parse(recall(name)) ?? otherwise; } catch { return otherwise; }
}
