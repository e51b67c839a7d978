// Batches and what needs a person, in a real browser: cards with actions and prices, dismissal and its undo, quarantine.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { existsSync, readFileSync, readdirSync, symlinkSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { assertAccessible, Daemon, launchBrowser, PHONE, QUICK, until, visit } from './rig.mjs';

const CHINESE = { locale: 'zh-CN', colorScheme: 'dark' };
const clip = (name, plan = '', own = {}) => ({ model: 'wan2.5-t2v', prompt: `a clip of ${name}${plan && ` [sandbox: ${plan}]`}`, duration: 5, dropreel: { name, ...own } });
const GOOD = Array.from({ length: 28 }, (_, n) => clip(`good-${n}`));
const BAD = [1, 2, 3].map((n) => clip(`bad-${n}`, 'end=task_failed'));
const LATER = Array.from({ length: 9 }, (_, n) => clip(`later-${n}`, '', { not_before: '2099-12-24T08:00:00Z' }));
const BATCH = 'forty <b>shots.json';
let daemon;
let browser;

before(async () => {
  daemon = await Daemon.start({ settings: QUICK });
  browser = await launchBrowser();
  daemon.drop(BATCH, [...GOOD, ...BAD, ...LATER]);
  for (const { dropreel: { name } } of [...GOOD, ...BAD]) await daemon.job(name, name.startsWith('good') ? 'succeeded' : 'failed');
});
after(async () => { await browser?.close(); await daemon?.close(); });

/** Runs a test on the page at this path. */
const at = (path, options, check) => visit(browser, daemon.address + path, options, check);

const needs = (page) => page.locator('#attention');
const toast = (page) => page.locator('#toast');
// At once: waiting for a badge that has just gone would take up all the time.
const count = (page, n) => until(`${n} need a person`, async () => ((await needs(page).locator('.badge').allTextContents())[0] ?? '0') === n);
const answer = (page, value) => page.locator(`#confirm [value=${value}]`).click();
const dismissed = async () => (await Promise.all(BAD.map(({ dropreel: { name } }) => daemon.api(`jobs/${name}`)))).filter((job) => job.dismissed_at).length;

test('card of a running batch says how far it is and what its actions cost', async () => {
  for (const path of ['/', '/batches']) {
    await at(path, {}, async (page) => {
      await until('the title', async () => (await page.title()).startsWith('31/40 · '));
      const card = page.locator('.batch', { hasText: 'forty' });
      assert.equal(await card.locator('.name').textContent(), BATCH);
      assert.match(await card.locator('.facts').textContent(), /^31 of 40 · 3 failed · \$\d+\.\d\d of about \$\d+\.\d\d/);
      const retry = card.getByRole('button', { name: /^Retry the failed: .* \(about \$0\.45\)$/ });
      await retry.click();
      await page.getByText('Retry 3 jobs?').waitFor();
      assert.match(await page.locator('#confirm [value=yes]').textContent(), /about \$0\.45/);
      await answer(page, 'no');
      await card.getByRole('button', { name: /^Cancel the rest: / }).click();
      await page.getByText('Cancel 9 jobs?').waitFor();
      await answer(page, 'no');
    });
  }
});

test('jobs with one cause are one card, with the price of all', async () => {
  await at('/', {}, async (page) => {
    await count(page, '3');
    assert.equal(await needs(page).locator('.job-row').count(), 1);
    await needs(page).getByRole('link', { name: '3 × task_failed', exact: true }).waitFor();
    await needs(page).getByRole('button', { name: 'Retry all: 3 × task_failed (about $0.45)' }).click();
    await page.getByText('Retry 3 jobs?').waitFor();
    assert.match(await page.locator('#confirm [value=yes]').textContent(), /about \$0\.45/);
    await answer(page, 'no');
    await needs(page).getByRole('link', { name: /^Show all 3/ }).click();
    await page.waitForURL(/cause=task_failed/);
    assert.equal(await page.locator('tr.job-row').count(), 3);
  });
});

test('dismissal of all is taken back by Undo', async () => {
  for (const options of [{}, { ...PHONE, ...CHINESE }]) {
    const t = options.locale ? { dismiss: '全部忽略', done: '已忽略 3 个任务', undo: '撤销', undone: '已移回待处理' } : { dismiss: 'Dismiss all', done: '3 jobs dismissed', undo: 'Undo', undone: '3 jobs back on the list of what needs you' };
    await at('/', options, async (page) => {
      await count(page, '3');
      await needs(page).getByRole('button', { name: t.dismiss }).click();
      await answer(page, 'yes');
      await toast(page).getByText(t.done).waitFor();
      await count(page, '0');
      assert.equal(await dismissed(), 3);
      await assertAccessible(page);
      await toast(page).getByRole('button', { name: t.undo }).click();
      await toast(page).getByText(t.undone).waitFor();
      await count(page, '3');
      assert.equal(await dismissed(), 0);
    });
  }
});

test('job is dismissed without a question, and put back later', async () => {
  await at('/jobs/bad-2', {}, async (page) => {
    await page.getByRole('button', { name: 'Dismiss: bad-2' }).click();
    await toast(page).getByText('taken off the list of what needs a person').waitFor();
    await page.getByRole('button', { name: 'Undo dismiss: bad-2' }).waitFor();
    assert.equal(await dismissed(), 1);
    await toast(page).getByRole('button', { name: 'Undo' }).click();
    await page.getByRole('button', { name: 'Dismiss: bad-2', exact: true }).waitFor();
    assert.equal(await dismissed(), 0);
    await page.getByRole('button', { name: 'Dismiss: bad-2', exact: true }).click();
    await page.getByRole('button', { name: 'Undo dismiss: bad-2' }).waitFor();
    await page.reload();
    await page.locator('#connection.on').waitFor();
    await page.getByRole('button', { name: 'Undo dismiss: bad-2' }).click();
    await page.getByRole('button', { name: 'Dismiss: bad-2', exact: true }).waitFor();
    assert.equal(await dismissed(), 0);
    assert.deepEqual((await page.locator('.history b').allTextContents()).filter((text) => text.includes('dismissed')).slice(-4), ['dismissed', 'undismissed', 'dismissed', 'undismissed']);
  });
});

test('retry of a batch leaves out what was dismissed', async () => {
  await daemon.api('jobs/bad-2/dismiss', {});
  await at('/batches', {}, async (page) => {
    await page.getByRole('button', { name: /^Retry the failed: .* \(about \$0\.30\)$/ }).click();
    await page.getByText('Retry 2 jobs?').waitFor();
    await answer(page, 'no');
  });
  await daemon.api('jobs/bad-2/undismiss', {});
});

test('overview and batches are accessible and fit, in both languages', async () => {
  for (const options of [{}, PHONE, { colorScheme: 'dark' }, { ...PHONE, ...CHINESE }]) {
    for (const path of ['/', '/batches', '/jobs/bad-1']) {
      await at(path, options, async (page) => {
        await assertAccessible(page);
        assert.equal(await page.locator('.batch .name b').count(), 0);
      });
    }
  }
});

test('answer that cannot be used is shown, and sent as a file that is not displayed', async () => {
  daemon.drop('none.json', clip('none', 'result=none'));
  const { id } = await daemon.job('none', 'downloading');
  const name = `answer-${id}.json`;
  await until('the answer', () => existsSync(join(daemon.folder, 'quarantine', name)));
  for (const options of [{}, { ...PHONE, ...CHINESE }]) {
    await at(`/jobs/${id}`, options, async (page) => {
      const entry = page.locator(`li[id="/quarantine/${id}/${name}"]`);
      await entry.getByText(options.locale ? '最近一次无法使用的应答' : 'that could not be used').waitFor();
      await entry.locator('summary').click();
      await entry.getByText('HTTP 200').waitFor();
      await assertAccessible(page);
      const download = page.waitForEvent('download');
      await entry.getByRole('link').click();
      assert.equal((await download).suggestedFilename(), name);
    });
  }
  await daemon.api(`jobs/${id}/cancel`, {});
});

test('rejected download is explained, and sent as a file that is not displayed', async () => {
  daemon.drop('fake.json', clip('<img src=x onerror=alert(1)> fake', 'media=html200'));
  const id = await until('the job', async () => (await daemon.api('jobs?q=fake')).jobs[0]?.id);
  await until('a rejected download', async () => (await daemon.api(`jobs/${id}`)).history.some(({ event }) => event === 'quarantined'), 90);
  for (const options of [{}, { colorScheme: 'dark' }, { ...PHONE, ...CHINESE }]) {
    await at(`/jobs/${id}`, options, async (page) => {
      const section = page.locator('#quarantine');
      await section.getByText(options.locale ? '已隔离' : 'In quarantine').waitFor();
      // Each try adds an entry above the others, so the first one now need not be the first one later.
      const address = await section.locator('li').first().getAttribute('id');
      const entry = section.locator(`li[id="${address}"]`);
      await entry.locator('summary').click();
      await entry.getByText('video/mp4').waitFor();
      // What is open stays open when the page changes.
      const label = `at-${Date.now()}`;
      await daemon.api('jobs/bulk', { jobs: [id], set_labels: { [label]: 'x' } });
      await page.getByText(`${label}=x`).first().waitFor();
      await entry.locator('details[open]').waitFor();
      await assertAccessible(page);
      const download = page.waitForEvent('download');
      await entry.locator('a').first().click();
      const file = await download;
      assert.match(file.suggestedFilename(), /fake-video-0.*\.bin$/);
      assert.match(readFileSync(await file.path(), 'utf8'), /^<!doctype html|^<html/i);
    });
  }
  // Nobody downloads it any more.
  await daemon.api(`jobs/${id}/cancel`, {});
  const folder = join(daemon.folder, 'quarantine');
  const name = readdirSync(folder).find((one) => one.endsWith('.bin'));
  const get = (job, file) => fetch(`${daemon.address}/quarantine/${job}/${encodeURIComponent(file)}`);
  const answer = await get(id, name);
  const header = (key) => answer.headers.get(key);
  assert.deepEqual([answer.status, header('content-type'), header('x-content-type-options')], [200, 'application/octet-stream', 'nosniff']);
  assert.match(header('content-disposition'), /^attachment/);
  assert.match(header('content-security-policy'), /sandbox/);
  const other = (await daemon.api('jobs/bad-1')).id;
  for (const [job, file] of [[other, name], [id, `${name}.evidence.json`], [id, '../dropreel.db'], [id, '..'], ['x', name]]) {
    assert.equal((await get(job, file)).status, 404, `${job} ${file}`);
  }
  unlinkSync(join(folder, name));
  symlinkSync('/etc/passwd', join(folder, name));
  assert.equal((await get(id, name)).status, 404, 'a link');
});
