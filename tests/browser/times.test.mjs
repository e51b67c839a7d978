// How long tasks take, the places at the provider and the models on the page; and a page whose updates are paused.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { assertAccessible, Daemon, launchBrowser, PHONE, until, visit } from './rig.mjs';

const clip = (name, plan = '', more = {}) => ({ model: 'wan2.5-t2v', prompt: `a clip of ${name}${plan && ` [sandbox: ${plan}]`}`, duration: 5, dropreel: { name, ...more } });
let daemon;
let browser;

before(async () => {
  daemon = await Daemon.start({ settings: { DROPREEL_PROVIDER__MAX_RUNNING: '3' } });
  browser = await launchBrowser();
  for (const name of ['a', 'b', 'c']) daemon.drop(`${name}.json`, clip(name));
  for (const name of ['a', 'b', 'c']) await daemon.job(name, 'succeeded');
  // These run until the end of the test.
  daemon.drop('long.json', ['d', 'e', 'f', 'g'].map((name) => clip(name, 'run=1h progress=empty')));
  daemon.drop('later.json', clip('later', '', { not_before: '2096-12-24T12:00:00Z' }));
  await until('three run', async () => (await daemon.api('status')).slots.running === 3);
  await daemon.job('later', 'pending');
});
after(async () => { await browser?.close(); await daemon?.close(); });

/** Runs a test on the page at this path, and checks what it leaves. */
const at = (path, options, check) => visit(browser, daemon.address + path, options, async (page) => {
  await check(page);
  await assertAccessible(page);
});

const hasText = (page, selector, pattern) => until(`${selector}: ${pattern}`, async () => {
  const text = (await page.locator(selector).first().innerText()).replace(/\s+/g, ' ');
  if (pattern.test(text)) return text;
  throw new Error(text);
});

test('rows say how long a task takes and that this is unusual', async () => {
  for (const [options, usual, long] of [
    [{}, /^\d+:\d\d · .*usually \d+(–\d+)? s$/, /unusually long/],
    [{ locale: 'zh-CN' }, /^\d+:\d\d · .*通常 \d+(–\d+)? 秒$/, /耗时异常/],
    [PHONE, /usually/, /unusually long/],
  ]) {
    await at('/', options, async (page) => {
      await hasText(page, '#running .timing', usual);
      await hasText(page, '#running .timing', long);
    });
  }
  await at('/jobs/d', {}, (page) => hasText(page, '.job-head .timing', /unusually long · usually/));
});

test('progress that is not reported is marked as an estimate', async () => {
  await at('/', {}, async (page) => {
    const bar = page.locator('#running progress').first();
    assert.match(await bar.getAttribute('class'), /estimated/);
    assert.match(await bar.getAttribute('aria-label'), /^Estimated progress: [def]$/);
    await hasText(page, '#running .percent', /^≈ 95%$/);
  });
});

test('overview counts places, waiting jobs, those with a time, and models', async () => {
  await at('/', {}, async (page) => {
    await hasText(page, '#running .slots', /^3 of 3 slots · 1 waiting · 1 on Dec 2[45], 2096$/);
    await hasText(page, '#models tbody tr', /^wan2.5-t2v 3 \/ 3 100% \d+ s · \$0\.\d\d 100%/);
  });
  await at('/', { locale: 'zh-CN' }, async (page) => {
    await hasText(page, '#running .slots', /^3 个名额已用 3 个 · 1 个等待中 · 1 个定时在 2096年12月2[45]日$/);
  });
  await at('/', PHONE, async (page) => {
    await hasText(page, '#models tbody tr', /^wan2.5-t2v 3 \/ 3 100%/);
    assert.equal(await page.locator('#models .table').evaluate((one) => one.scrollWidth > one.clientWidth), false, 'it does not scroll');
  });
  await at('/jobs?state=pending', {}, (page) => hasText(page, '#list', /waits until Dec 2[45], 2096/));
});

test('paused page stays as it is and says how old it is', async () => {
  await at('/', {}, async (page) => {
    await page.locator('#menu summary').click();
    await page.getByRole('button', { name: 'Pause updates' }).click();
    await hasText(page, '#connection', /^Updates paused; this page is \d+ s old$/);
    assert.equal(await page.evaluate(() => document.activeElement.id), 'resume-updates');
    const before = await page.locator('#counts').innerText();
    const elapsed = await page.locator('#running .elapsed').first().innerText();
    await daemon.api('jobs/g/cancel', {});
    await daemon.job('g', 'cancelled');
    await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
    await page.waitForTimeout(2500);
    assert.equal(await page.locator('#counts').innerText(), before);
    assert.equal(await page.locator('#running .elapsed').first().innerText(), elapsed);
    await page.getByRole('button', { name: 'Resume updates' }).click();
    await page.locator('#count-cancelled').waitFor();
    await page.locator('#connection.on').waitFor();
    assert.equal(await page.locator('#resume-updates').isVisible(), false);
  });
});
