// Keeps relative times current while the page is open. format.rs formats them in the same way.

function duration(seconds, [s, min, h, d]) {
  const [minutes, hours] = [Math.floor(seconds / 60), Math.floor(seconds / 3600)];
  if (seconds < 60) return `${Math.floor(seconds)}${s}`;
  if (minutes < 60) return `${minutes}${min}`;
  if (hours < 10 && minutes % 60 > 0) return `${hours}${h} ${minutes % 60}${min}`;
  if (hours < 24) return `${hours}${h}`;
  return `${Math.floor(hours / 24)}${d}`;
}

export function updateTimes() {
  const units = document.body.dataset.units.split('|');
  const [inBefore, inAfter, ago, justNow] = document.body.dataset.relative.split('|');
  const now = Date.now();
  for (const time of document.querySelectorAll('time')) {
    const seconds = (now - Date.parse(time.dateTime)) / 1000;
    if (Number.isNaN(seconds)) continue;
    let text = duration(seconds, units) + ago;
    if (seconds < 5) text = justNow;
    if (seconds < 0) text = inBefore + duration(-seconds, units) + inAfter;
    if (time.textContent !== text) time.textContent = text;
    const title = new Date(time.dateTime).toLocaleString(document.documentElement.lang);
    if (time.title !== title) time.title = title;
  }
}

export function keepTimesCurrent() {
  updateTimes();
  setInterval(updateTimes, 1000);
}
