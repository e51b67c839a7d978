// Takes screenshots with real jobs in a real browser: those of the README, or with `all FOLDER [NAME]` one of each page and
// sheet on each kind of screen, or of those whose names hold NAME. Look at them before you commit what they show.
import { mkdirSync } from 'node:fs';
import { Daemon, launchBrowser, openPage, PHONE, QUICK } from './rig.mjs';

const [mode = 'readme', folder = 'docs/pictures', only = ''] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
const daemon = await Daemon.start({ settings: { ...QUICK, DROPREEL_POLLING__INTERVAL: '1s' } });
const browser = await launchBrowser();
const clip = (name, prompt, plan = '', more = {}) => ({ model: 'wan2.5-t2v', prompt: prompt + (plan && ` [sandbox: ${plan}]`), duration: 5, dropreel: { name, labels: { project: 'spring' } }, ...more });
const DONE = [
  clip('sakura', '春天的樱花树下,花瓣随风飘落'),
  { ...clip('portrait', 'she turns to the camera and smiles'), model: 'wan2.5-i2v', image_urls: ['https://example.com/her.png'] },
  clip('lighthouse', 'a lighthouse in the storm, waves breaking, slow dolly in'),
  clip('old-town', 'the old town from above at dusk, lights going on'),
  clip('night-market', 'a night market in the rain, neon in the puddles'),
  clip('mountain-train', 'a small red train crossing a viaduct in the snow'),
  clip('tea-house', 'steam rising from a bowl of tea, morning light'),
  { ...clip('harbour', 'boats leaving the harbour at dawn'), model: 'wan2.5-i2v', image_urls: ['https://example.com/b.png'] },
];

async function makeJobs() {
  for (const job of DONE) daemon.drop(`${job.dropreel.name}.json`, job);
  for (const job of DONE) await daemon.job(job.dropreel.name, 'succeeded');
  daemon.drop('twin.json', clip('city-flight', 'flying low between towers at night', 'submit=same-id'));
  daemon.drop('fail.json', clip('storm-at-sea', 'a ship in a storm', 'end=upstream_bad_request'));
  daemon.drop('trip.json', [clip('trip-1', 'the road at sunrise, seen from the car', 'run=25s'), clip('trip-2', 'the same road at noon', 'run=40s'), clip('trip-3', 'the same road at night', 'run=60s')]);
  await daemon.job('city-flight', 'held');
  await daemon.job('storm-at-sea', 'failed');
  await daemon.job('trip-3', 'processing');
  await new Promise((done) => setTimeout(done, 9000));
}

/** Forty finished videos in all, and jobs in each state that a person meets. */
async function makeMoreJobs() {
  const shots = Array.from({ length: 32 }, (_, n) => clip(`bridge-${n + 1}`, `a bridge in the fog, take ${n + 1}: cables fade into white, a cyclist crosses`, n % 8 === 7 ? 'outputs=2' : '', { seed: 4700 + n }));
  daemon.drop('bridges.json', shots);
  for (const { dropreel: { name } } of shots) await daemon.job(name, 'succeeded');
  daemon.drop('doubtful.json', [1, 2, 3].map((n) => clip(`doubtful-${n}`, 'a scene that fails', n === 3 ? 'end=failed:content_policy_violation' : 'end=task_failed')));
  daemon.drop('fake.json', clip('not-a-video', 'a host that answers with a page', 'media=html200'));
  daemon.drop('answer.json', clip('no-output', 'an answer that names no output', 'result=none'));
  daemon.drop('later.json', [1, 2].map((n) => clip(`later-${n}`, 'tomorrow', '', { dropreel: { name: `later-${n}`, not_before: '2099-12-24T08:00:00Z' } })));
  for (const n of [1, 2, 3]) await daemon.job(`doubtful-${n}`, 'failed');
  for (const [n, rating] of [[1, 5], [2, 4], [3, 0], [4, 3]]) await daemon.api(`jobs/bridge-${n}/rate`, { rating });
  // Long enough for every screen.
  daemon.drop('long.json', [1, 2, 3].map((n) => clip(`long-${n}`, 'a long road', 'run=1h')));
  await daemon.job('long-1', 'processing');
}

async function take(name, path, options, prepare = async () => {}) {
  const page = await openPage(browser, options);
  await page.goto(daemon.address + path);
  await page.locator('#connection.on').waitFor();
  await prepare(page);
  await page.waitForTimeout(1500);
  // Hide the directives for the simulated provider.
  await page.evaluate(() => document.querySelectorAll('.prompt').forEach((one) => { one.textContent = one.textContent.replace(/ \[sandbox:.*\]/, ''); }));
  await page.screenshot({ path: `${folder}/${name}.png` });
  await page.context().close();
}

async function takeAll() {
  const { id } = await daemon.api('jobs/bridge-1');
  const compared = await Promise.all([1, 2, 3, 4].map(async (n) => `o=${(await daemon.api(`jobs/bridge-${n}`)).id}.1`));
  const tab = (name) => async (page) => {
    await page.locator('#open-submit').click();
    await page.locator(`#tab-${name}`).click();
    if (name === 'form') await page.locator('#form-prompt').fill('a bridge at night');
    if (name === 'json') await page.locator('#submit-text').fill(JSON.stringify(clip('typed', 'a bridge', '', { duration: 7 })));
    if (name === 'files') await page.locator('#submit-files').setInputFiles({ name: 'more.json', mimeType: 'application/json', buffer: Buffer.from(JSON.stringify([clip('more-1', 'one'), clip('more-2', 'two')])) });
  };
  const pages = [
    ['overview', '/'],
    ['jobs', '/jobs'],
    ['jobs-chosen', '/jobs', (page) => page.locator('tbody .check input').first().click()],
    ['job', '/jobs/bridge-8'],
    ['job-failed', '/jobs/doubtful-3'],
    ['job-quarantined', '/jobs/not-a-video', (page) => page.locator('#quarantine').scrollIntoViewIfNeeded()],
    ['job-answer', '/jobs/no-output', async (page) => { await page.locator('#quarantine summary').click(); await page.locator('#quarantine').scrollIntoViewIfNeeded(); }],
    ['videos', '/videos'],
    ['viewer', '/videos?q=bridge', async (page) => { await page.locator('.card .shot').first().click(); await page.locator('#viewer-content .view').waitFor(); }],
    ['view', `/videos/${id}/1`],
    ['compare', `/compare?${compared.slice(0, 2).join('&')}`],
    ['compare-4', `/compare?${compared.join('&')}`],
    ['batches', '/batches'],
    ['new-form', '/', tab('form')],
    ['new-json', '/', tab('json')],
    ['new-files', '/', tab('files')],
    ['again', '/jobs/bridge-1', (page) => page.locator('[data-rework=again]').first().click()],
  ];
  const wide = { viewport: { width: 1440, height: 900 } };
  const screens = [['wide', wide], ['phone', PHONE], ['dark', { ...wide, colorScheme: 'dark' }], ['chinese', { ...wide, locale: 'zh-CN' }], ['phone-chinese', { ...PHONE, colorScheme: 'dark', locale: 'zh-CN' }]];
  for (const [screen, options] of screens) {
    for (const [name, path, prepare] of pages.filter(([name]) => name.includes(only))) await take(`${name}-${screen}`, path, options, prepare);
  }
}

try {
  await makeJobs();
  if (mode === 'all') {
    await makeMoreJobs();
    await takeAll();
  } else {
    await take('overview', '/', { viewport: { width: 1280, height: 860 } });
    await take('videos', '/videos', { viewport: { width: 1280, height: 860 } });
    await take('overview-phone-dark-zh', '/', { ...PHONE, colorScheme: 'dark', locale: 'zh-CN' });
  }
} finally {
  await browser.close();
  await daemon.close();
}
