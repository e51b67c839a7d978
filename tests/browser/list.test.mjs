// The list of jobs in a real browser: filters, order, selection, labels and keys.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { assertAccessible, assertFits, Daemon, expectErrors, launchBrowser, PHONE, QUICK, until, visit } from './rig.mjs';

const clip = (name, plan = '', own = {}, root = {}) => ({ model: 'wan2.5-t2v', prompt: `${name} in the evening, 春天的樱花树下${plan && ` [sandbox: ${plan}]`}`, duration: 5, ...root, dropreel: { name, ...own } });
const SHOTS = [1, 2, 3, 4].map((n) => clip(`shot-${n}`, '', { labels: { project: 'spring' } }, { seed: 40 + n }));
const FAILED = ['gone-1', 'gone-2', 'gone-3'].map((name) => clip(name, 'end=task_failed', { labels: { project: 'autumn' } }));
const LATER = [clip('later-1', '', { not_before: '2099-12-24T08:00:00Z' }), clip('later-2', '', { not_before: '2099-12-24T08:00:00Z' })];
let daemon;
let browser;

before(async () => {
  daemon = await Daemon.start({ settings: QUICK });
  browser = await launchBrowser();
  daemon.drop('shots.json', SHOTS);
  daemon.drop('gone.json', FAILED);
  daemon.drop('later.json', LATER);
  for (const { dropreel: { name } } of SHOTS) await daemon.job(name, 'succeeded');
  for (const { dropreel: { name } } of FAILED) await daemon.job(name, 'failed');
  for (const { dropreel: { name } } of LATER) await daemon.job(name, 'pending');
  await daemon.api('jobs/shot-2/rate', { rating: 5 });
});
after(async () => { await browser?.close(); await daemon?.close(); });

/** Runs a test on the page at this path. */
const at = (path, options, check) => visit(browser, daemon.address + path, options, check);

const names = (page) => page.locator('tr.job-row .name').allTextContents();
const shows = (page, expected) => until(`the rows ${expected}`, async () => JSON.stringify((await names(page)).sort()) === JSON.stringify([...expected].sort()));
const box = (page, name) => page.getByRole('checkbox', { name: new RegExp(`(Select|选择) ${name}$`) });
const bar = (page) => page.locator('#chosen');
const offered = (page) => bar(page).locator('[data-action]:visible').allTextContents();
const SHOT_NAMES = SHOTS.map((job) => job.dropreel.name);
const FAILED_NAMES = FAILED.map((job) => job.dropreel.name);

test('filters act at once and stay in the address', async () => {
  await at('/jobs', {}, async (page) => {
    await page.keyboard.press('/');
    await page.keyboard.type('EVENING 花 -shot');
    await shows(page, [...FAILED_NAMES, 'later-1', 'later-2']);
    assert.match(page.url(), /q=EVENING/);
    await page.getByLabel('State').selectOption('failed');
    await shows(page, FAILED_NAMES);
    await page.locator('.tag', { hasText: 'project=autumn' }).first().click();
    await page.waitForURL('**/jobs?label=project%3Dautumn');
    await shows(page, FAILED_NAMES);
    await page.goBack();
    await shows(page, FAILED_NAMES);
    assert.equal(await page.getByLabel('State').inputValue(), 'failed');
    assert.equal(await page.locator('#search').inputValue(), 'EVENING 花 -shot');
    await page.getByRole('link', { name: 'Remove filter: failed' }).click();
    await page.getByRole('link', { name: 'Remove filter: “EVENING 花 -shot”' }).click();
    await page.waitForURL('**/jobs');
  });
});

test('columns show seed, file, cost and rating, and their heads sort', async () => {
  await at('/jobs?q=shot', {}, async (page) => {
    const row = page.locator('tr.job-row', { hasText: 'shot-2' });
    assert.deepEqual((await row.locator('td').allTextContents()).slice(3, 8).map((text) => text.trim().replace(/^Seed /, '')), ['wan2.5-t2v', '42', 'shots.json', '$0.15', '★★★★★']);
    await page.getByRole('link', { name: 'Rating', exact: true }).click();
    await page.waitForURL(/sort=rating/);
    assert.equal((await names(page))[0], 'shot-2');
    await page.getByRole('link', { name: 'Name', exact: true }).click();
    await page.waitForURL(/sort=name/);
    assert.deepEqual(await names(page), SHOT_NAMES);
    assert.equal(await page.locator('th[aria-sort]').textContent(), 'Name');
  });
});

test('selection offers what its jobs allow with count and price', async () => {
  await at('/jobs?sort=name', {}, async (page) => {
    await box(page, 'gone-1').click();
    await until('one retry', async () => (await offered(page)).join() === 'Retry · $0.15,Dismiss');
    await box(page, 'later-2').click({ modifiers: ['Shift'] });
    await bar(page).getByText('5 selected').waitFor();
    await until('what five allow', async () => (await offered(page)).join() === 'Retry 3 · $0.45,Cancel 2,Dismiss 3');
    // A change elsewhere keeps the selection.
    daemon.drop('beside.json', clip('beside', '', { not_before: '2099-12-24T08:00:00Z' }));
    await page.locator('tr.job-row', { hasText: 'beside' }).waitFor();
    assert.equal(await box(page, 'gone-2').isChecked(), true);
    await bar(page).getByRole('button', { name: 'Retry 3' }).click();
    await page.getByText('Retry 3 jobs?').waitFor();
    assert.match(await page.locator('#confirm [value=yes]').textContent(), /about \$0\.45/);
    await page.locator('#confirm [value=no]').click();
    await bar(page).getByRole('button', { name: 'Dismiss 3' }).click();
    await page.locator('#confirm [value=yes]').click();
    await page.getByText('3 jobs dismissed').waitFor();
    assert.equal(await bar(page).isVisible(), false);
    assert.equal(await page.locator('.check input:checked').count(), 0);
    for (const name of FAILED_NAMES) assert.ok((await daemon.api(`jobs/${name}`)).dismissed_at);
  });
});

test('all that match are selected over pages', async () => {
  const many = Array.from({ length: 60 }, (_, n) => clip(`many-${n}`, '', { not_before: '2099-12-24T08:00:00Z' }));
  daemon.drop('many.json', many);
  await daemon.job('many-59', 'pending');
  await at('/jobs?q=many-', {}, async (page) => {
    await page.getByRole('checkbox', { name: 'Select all on this page' }).click();
    await bar(page).getByText('50 selected').waitFor();
    await page.getByRole('button', { name: 'Select all that match' }).click();
    await bar(page).getByText('All 60 that match selected').waitFor();
    await bar(page).getByRole('button', { name: 'Cancel', exact: true }).click();
    await page.getByText('Cancel 60 jobs?').waitFor();
    await page.locator('#confirm [value=yes]').click();
    await page.getByText('Cancellation requested for 60 jobs').waitFor();
    await daemon.job('many-0', 'cancelled');
    await daemon.job('many-59', 'cancelled');
  });
});

test('labels of the selection are set and removed', async () => {
  await at('/jobs?q=shot', {}, async (page) => {
    await box(page, 'shot-1').click();
    await box(page, 'shot-3').click();
    await page.getByRole('button', { name: 'Label…' }).click();
    await page.getByRole('heading', { name: 'Label 2 jobs' }).waitFor();
    await page.keyboard.type('client');
    await page.keyboard.press('Enter');
    await page.getByText('Write a label as KEY=VALUE').waitFor();
    await page.keyboard.type('=<b>Ann & Co</b>');
    await page.keyboard.press('Enter');
    await page.getByText('Labels of 2 jobs changed').waitFor();
    await until('the labels', async () => (await page.locator('.tag', { hasText: 'client=<b>Ann & Co</b>' }).count()) === 2);
    assert.equal((await daemon.api('jobs/shot-3')).labels.client, '<b>Ann & Co</b>');
    await box(page, 'shot-1').click();
    await page.getByRole('button', { name: 'Label…' }).click();
    await page.getByRole('button', { name: 'Remove project=spring' }).click();
    await page.getByText('Labels of 1 job changed').waitFor();
    assert.deepEqual((await daemon.api('jobs/shot-1')).labels, { client: '<b>Ann & Co</b>' });
  });
});

test('keys move, select, open and are listed', async () => {
  await at('/jobs?sort=name&q=shot', {}, async (page) => {
    const keys = async (...all) => { for (const key of all) await page.keyboard.press(key); };
    await keys('j', 'j', 'x', 'k', 'x');
    await bar(page).getByText('2 selected').waitFor();
    assert.deepEqual(await page.locator('tbody .check input').evaluateAll((all) => all.map((one) => one.checked)), [true, true, false, false]);
    await keys('Escape');
    assert.equal(await bar(page).isVisible(), false);
    await keys('?');
    await page.getByRole('heading', { name: 'Keys of this page' }).waitFor();
    assert.deepEqual((await page.locator('#keys kbd').allTextContents()).slice(0, 3), ['J K', 'Enter', 'X']);
    await keys('Escape', 'Enter');
    await page.waitForURL(`**/jobs/${(await daemon.api('jobs/shot-1')).id}`);
  });
  for (const path of ['/videos', `/compare?o=${(await daemon.api('jobs/shot-1')).id}.1`]) {
    await at(path, {}, async (page) => {
      await page.keyboard.press('?');
      await page.locator('#keys li', { hasText: 'rate' }).waitFor();
      await page.keyboard.press('Escape');
      assert.equal(await page.locator('#keys').isVisible(), false);
    });
  }
});

test('each step of a review is one key', async () => {
  await at('/videos?q=shot', { permissions: ['clipboard-read', 'clipboard-write'] }, async (page) => {
    const press = async (...keys) => { for (const key of keys) await page.keyboard.press(key); };
    const shown = () => page.locator('#viewer .view').getAttribute('data-name');
    const order = await page.locator('.card').evaluateAll((all) => all.map((card) => card.dataset.name));
    await press('Enter');
    await until('the first plays', async () => (await shown()) === order[0]);
    // Play the next: one key.
    await press('ArrowRight');
    await until('the next plays', async () => (await shown()) === order[1]);
    await until('it runs', () => page.locator('#viewer video').evaluate((video) => video.currentTime > 0));
    // Mark it: one key.
    await press('4');
    await until('its rating', async () => (await daemon.api(`jobs/${order[1]}`)).rating === 4);
    // Its path, and its file: one key each.
    await press('c');
    const path = await page.locator('#viewer .view').getAttribute('data-path');
    await until('its path', async () => (await page.evaluate(() => navigator.clipboard.readText())) === path);
    const download = page.waitForEvent('download');
    await press('d');
    await (await download).cancel();
    // Compare two: choose, choose, compare.
    await press('Escape');
    await page.locator('#viewer').waitFor({ state: 'hidden' });
    await page.locator('.card .shot').first().focus();
    await press(' ', 'ArrowRight', ' ', 'c');
    await page.waitForURL('**/compare?*');
    assert.equal(await page.locator('.pane').count(), 2);
  });
});

test('job page has its path, its attempts and the time it waits for', async () => {
  await at('/jobs/shot-1', {}, async (page) => {
    await page.getByRole('heading', { name: 'Timeline' }).waitFor();
    const path = (await page.locator('.timeline li').allTextContents()).map((text) => text.trim());
    assert.match(path[0], /^pending 0:\d\d$/);
    assert.match(path.at(-1), /^downloading \d+:\d\d$/);
    assert.match(await page.locator('.attempts li').textContent(), /estimated \$\d\.\d\d · charged \$0\.15/);
  });
  await at('/jobs/later-1', {}, async (page) => {
    await page.getByText('waits until').first().waitFor();
    assert.equal(await page.locator('.timeline .timing').count(), 1);
  });
});

test('four videos are rated on a phone by buttons that can be touched', async () => {
  const ids = await Promise.all(SHOT_NAMES.map(async (name) => (await daemon.api(`jobs/${name}`)).id));
  await at(`/compare?${ids.map((id) => `o=${id}.1`).join('&')}`, PHONE, async (page) => {
    const sizes = await page.locator('.pane .rate button').evaluateAll((all) => all.map((one) => Math.min(one.offsetWidth, one.offsetHeight)));
    assert.equal(sizes.length, 24);
    assert.ok(Math.min(...sizes) >= 44, sizes.join());
  });
});

test('name of several jobs leads to each of them', async () => {
  daemon.drop('twice.json', [clip('twice', '', { not_before: '2099-12-24T08:00:00Z' }), clip('twice', '', { not_before: '2099-12-24T08:00:00Z' })]);
  await daemon.api('jobs?q=twice').then(() => until('both', async () => (await daemon.api('jobs?q=twice')).jobs.length === 2));
  await at('/', {}, async (page) => {
    await page.goto(`${daemon.address}/jobs/twice`);
    await page.getByRole('heading', { name: 'Several jobs match' }).waitFor();
    expectErrors(page, /300|409/);
    await page.getByRole('link', { name: 'twice', exact: true }).first().click();
    await page.getByRole('heading', { name: 'Timeline' }).waitFor();
  });
});

test('menu gives the focus back after a question', async () => {
  await at('/', {}, async (page) => {
    await page.locator('#menu summary').focus();
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: 'Pause submitting' }).focus();
    await page.keyboard.press('Enter');
    await page.locator('#confirm').waitFor();
    await page.keyboard.press('Escape');
    await until('the focus', () => page.evaluate(() => document.activeElement.matches('#menu summary')));
  });
});

test('phone shows cards that can be touched, in Chinese too', async () => {
  for (const options of [PHONE, { ...PHONE, locale: 'zh-CN', colorScheme: 'dark' }]) {
    await at('/jobs?q=shot', options, async (page) => {
      await assertFits(page);
      const header = await page.locator('body > header').boundingBox();
      assert.ok(header.height < 844 / 7, `the header is ${header.height} high`);
      await box(page, 'shot-1').tap();
      await bar(page).waitFor();
      const button = await bar(page).getByRole('button', { name: /Label…|标签……/ }).boundingBox();
      assert.ok(button.height >= 44, `${button.height}`);
    });
  }
});

test('list can be filtered and sorted without scripts', async () => {
  await at('/jobs', { javaScriptEnabled: false }, async (page) => {
    await page.getByLabel('State').selectOption('failed');
    await page.getByLabel('Order').selectOption('name');
    await page.getByRole('button', { name: 'Filter' }).click();
    await page.waitForURL(/state=failed/);
    assert.deepEqual(await names(page), FAILED_NAMES);
    assert.equal(await page.locator('.check:visible').count(), 0);
  });
});

test('list passes the accessibility checks on every screen', async () => {
  const screens = [{}, { colorScheme: 'dark' }, PHONE, { locale: 'zh-CN' }];
  for (const options of screens) {
    await at('/jobs', options, async (page) => {
      await page.locator('tbody .check input').first().click();
      await until('the buttons', async () => (await offered(page)).length > 0);
      await assertAccessible(page);
      await page.locator('#open-labels').click();
      await page.locator('#labels').waitFor();
      await assertAccessible(page);
    });
  }
});
