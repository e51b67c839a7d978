// Measures the pages with 1,000 and 20,000 jobs: time of the server, and what a browser loads. Copies of a few real jobs
// fill the database, and share their posters. `ci/browser weights` prints a table.
import { execFileSync } from 'node:child_process';
import { Daemon, launchBrowser, openPage, until } from './rig.mjs';

const ROUNDS = 15;
const REAL = 20;

/** Copies every job until there are `jobs`. The outputs of a copy keep the time of their job. */
const COPY = `
import os, sqlite3, sys
path, real, jobs, library = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
db = sqlite3.connect(path)
db.execute('PRAGMA foreign_keys = OFF')
shift = {('jobs', 'nr'), ('outputs', 'job'), ('requests', 'job'), ('attempts', 'job'), ('labels', 'job')}
unique = {('attempts', 'key'), ('attempts', 'task_id'), ('outputs', 'path'), ('outputs', 'task_id'), ('jobs', 'name')}
times = {'created_at', 'submitted_at', 'completed_at', 'finished_at', 'stored_at'}
def expression(table, column):
    if (table, column) in shift: return f'{column} + k * {real}'
    if (table, column) == ('jobs', 'id'): return "printf('%08x-%04x-7000-8000-%012x', 1795500000 + k, nr, k * 1000 + nr)"
    if (table, column) == ('jobs', 'last_change'): return 'last_change + k * 1000'
    if (table, column) in unique: return f"{column} || '-' || k"
    return f'{column} - k * 60000' if column in times else column
for table in ['jobs', 'requests', 'attempts', 'outputs', 'labels']:
    columns = [row[1] for row in db.execute(f'PRAGMA table_info({table})')]
    values = ', '.join(expression(table, column) for column in columns)
    db.execute(f'INSERT INTO {table} ({", ".join(columns)}) WITH RECURSIVE copies (k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM copies LIMIT {jobs // real - 1}) SELECT {values} FROM copies, (SELECT * FROM {table})')
db.commit()
poster = lambda file: os.path.join(library, os.path.dirname(file), '.' + os.path.basename(file) + '.poster.jpg')
for (file,) in db.execute("SELECT path FROM outputs WHERE path LIKE '%.mp4-%'"):
    os.link(poster(file.rsplit('-', 1)[0]), poster(file))
`;

const median = (numbers) => numbers.toSorted((one, other) => one - other)[Math.floor(numbers.length / 2)];

async function serverTime(address) {
  const times = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const began = performance.now();
    await (await fetch(address)).arrayBuffer();
    times.push(performance.now() - began);
  }
  return median(times);
}

async function weight(browser, address) {
  const page = await openPage(browser);
  const session = await page.context().newCDPSession(page);
  await session.send('Network.enable');
  let bytes = 0;
  session.on('Network.loadingFinished', (event) => { bytes += event.encodedDataLength; });
  await page.goto(address);
  await page.locator('#connection.on').waitFor();
  await page.waitForTimeout(1500);
  await page.context().close();
  return bytes;
}

/** Draws all posters, which the copies share. */
async function drawPosters(browser, daemon) {
  const page = await openPage(browser, { viewport: { width: 1440, height: 4000 } });
  await until('the posters', async () => {
    await page.goto(`${daemon.address}/videos`);
    return (await page.locator('.shot img').count()) === REAL;
  });
  await page.context().close();
}

const browser = await launchBrowser();
console.log('| page | 1,000 jobs: server, ms | a browser loads, KiB | 20,000 jobs: server, ms | a browser loads, KiB |\n| --- | --- | --- | --- | --- |');
const rows = new Map();
for (const jobs of [1000, 20000]) {
  const daemon = await Daemon.start({ settings: { DROPREEL_POLLING__INTERVAL: '500ms', DROPREEL_POLLING__MAX_INTERVAL: '1s' } });
  try {
    const file = Array.from({ length: REAL }, (_, n) => ({ model: 'wan2.5-t2v', prompt: `a clip, take ${n}`, seed: n, dropreel: { name: `clip-${n}`, labels: { project: 'spring' } } }));
    daemon.drop('clips.json', file);
    for (const { dropreel: { name } } of file) await daemon.job(name, 'succeeded');
    await drawPosters(browser, daemon);
    const [{ id }] = (await daemon.api('jobs?limit=1')).jobs;
    await daemon.stop();
    execFileSync('python3', ['-c', COPY, `${daemon.folder}/dropreel.db`, String(REAL), String(jobs), `${daemon.folder}/videos`]);
    await daemon.serve();
    const compared = (await daemon.api('jobs?limit=2')).jobs.map((job) => `o=${job.id}.1`).join('&');
    const pages = [['overview', '/'], ['list of jobs', '/jobs'], ['list of jobs, by cost', '/jobs?sort=cost'], ['list of jobs, a text that is rare', '/jobs?q=none-such'], ['batches', '/batches'], ['videos', '/videos'], ['videos, by rating', '/videos?sort=rating'], ['videos, by cost', '/videos?sort=cost'], ['videos, a text that is rare', '/videos?q=none-such'], ['a video', `/videos/${id}/1`], ['a comparison', `/compare?${compared}`]];
    for (const [name, path] of pages) {
      const cells = [(await serverTime(daemon.address + path)).toFixed(1), ((await weight(browser, daemon.address + path)) / 1024).toFixed(0)];
      rows.set(name, [...(rows.get(name) ?? []), ...cells]);
    }
  } finally {
    await daemon.close();
  }
}
for (const [name, cells] of rows) console.log(`| ${name} | ${cells.join(' | ')} |`);
await browser.close();
