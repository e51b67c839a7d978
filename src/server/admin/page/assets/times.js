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
    if (time.dataset.calendar !== undefined) {
      showCalendar(time);
      continue;
    }
    let text = duration(seconds, units) + ago;
    if (seconds < 5) text = justNow;
    if (seconds < 0) text = inBefore + duration(-seconds, units) + inAfter;
    if (time.textContent !== text) time.textContent = text;
    const title = new Date(time.dateTime).toLocaleString(document.documentElement.lang);
    if (time.title !== title) time.title = title;
  }
  updateTimings();
}

/** A day, with its hour while it is near. */
function showCalendar(time) {
  const at = new Date(time.dateTime);
  const isNear = Math.abs(at - Date.now()) < 20 * 3600 * 1000;
  const form = isNear ? { hour: '2-digit', minute: '2-digit' } : { month: 'short', day: 'numeric' };
  if (!isNear && at.getFullYear() !== new Date().getFullYear()) form.year = 'numeric';
  const text = isNear ? at.toLocaleTimeString(document.documentElement.lang, form) : at.toLocaleDateString(document.documentElement.lang, form);
  if (time.textContent !== text) time.textContent = text;
  const title = at.toLocaleString(document.documentElement.lang);
  if (time.title !== title) time.title = title;
}

/** "0:31", "1:02:03": as job/usual_time.rs writes it. */
function stopwatch(seconds) {
  const [hours, minutes, rest] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, String(Math.floor(seconds) % 60).padStart(2, '0')];
  return hours ? `${hours}:${String(minutes).padStart(2, '0')}:${rest}` : `${minutes}:${rest}`;
}

/** How long tasks have been running, and the bars that are estimated from it. Pauses with the updates. */
function updateTimings() {
  if (document.documentElement.classList.contains('updates-paused')) return;
  for (const timing of document.querySelectorAll('.timing[data-since]')) {
    const seconds = Math.max(0, (Date.now() - Date.parse(timing.dataset.since)) / 1000);
    timing.querySelector('.elapsed').textContent = stopwatch(seconds);
    if (!timing.dataset.long) continue;
    timing.classList.toggle('long', seconds > Number(timing.dataset.long));
    const bar = timing.parentElement.querySelector('progress.estimated');
    if (!bar) continue;
    bar.value = Math.floor(Math.min(95, (seconds / Math.max(1, Number(timing.dataset.p90))) * 95));
    bar.nextElementSibling.textContent = `≈ ${bar.value}%`;
  }
}

/** For how long, as in "2 min". */
export function durationText(seconds) {
  return duration(seconds, document.body.dataset.units.split('|')).trim();
}

export function keepTimesCurrent() {
  updateTimes();
  setInterval(updateTimes, 1000);
}
