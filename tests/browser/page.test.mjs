// The page in a real browser, against the real daemon and the simulated provider: node --test tests/browser
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { assertAccessible, Daemon, expectErrors, launchBrowser, PHONE, QUICK, until, visit } from './rig.mjs';

const clip = (name, plan = '', more = {}) => ({ model: 'wan2.5-t2v', prompt: `a clip of ${name}${plan && ` [sandbox: ${plan}]`}`, duration: 5, dropreel: { name, labels: { project: 'spring' }, ...more } });
let daemon;
let browser;

before(async () => {
  daemon = await Daemon.start({ settings: QUICK });
  browser = await launchBrowser();
  for (const name of ['sakura', 'lighthouse', 'old-town', 'tea-house']) daemon.drop(`${name}.json`, clip(name));
  for (const name of ['sakura', 'lighthouse', 'old-town', 'tea-house']) await daemon.job(name, 'succeeded');
});
after(async () => { await browser?.close(); await daemon?.close(); });

/** Runs a test on the page at this path. */
const at = (path, options, check) => visit(browser, daemon.address + path, options, check);

const toast = (page) => page.locator('#toast').textContent();
const confirmAction = async (page) => {
  await page.locator('#confirm [value=yes]').click();
  await page.locator('#confirm').waitFor({ state: 'hidden' });
};
const plays = (page, video) => until('the clip plays', async () => {
  const [first, second] = [await video.evaluate((v) => v.currentTime), await (async () => { await page.waitForTimeout(200); return video.evaluate((v) => v.currentTime); })()];
  return second > first && first >= 0;
});

test('gallery plays a clip under the mouse and after a click', async () => {
  await at('/', {}, async (page) => {
    const button = page.getByRole('button', { name: 'Play: sakura' });
    const video = button.locator('video');
    await button.scrollIntoViewIfNeeded();
    await until('its poster', () => button.locator('canvas, img').evaluate((shown) => (shown.naturalWidth ?? shown.width) > 0));
    assert.equal(await video.getAttribute('src'), null, 'a clip that does not play holds no connection');
    assert.equal(await video.evaluate((v) => v.paused), true);
    await button.hover();
    await plays(page, video);
    await page.mouse.move(0, 0);
    await until('the clip stops', () => video.evaluate((v) => v.paused));
    await button.focus();
    await page.keyboard.press('Enter');
    await plays(page, video);
    assert.equal(await button.getAttribute('aria-pressed'), 'true');
    // A change elsewhere on the page does not interrupt it.
    daemon.drop('beside.json', clip('beside'));
    await page.getByRole('button', { name: 'Play: beside' }).waitFor();
    assert.equal(await video.evaluate((v) => v.paused), false);
    await page.keyboard.press('Enter');
    await until('the clip stops', () => video.evaluate((v) => v.paused));
  });
  await at('/jobs/sakura', {}, async (page) => {
    const video = page.locator('#outputs video');
    await video.evaluate((v) => { v.muted = true; return v.play(); });
    await plays(page, video);
    await video.evaluate((v) => { v.currentTime = 2; });
    await until('the video has sought', () => video.evaluate((v) => v.currentTime >= 2 && !v.seeking));
    await page.getByText('SHA-256').waitFor();
  });
});

test('progress updates without moving scroll or focus', async () => {
  daemon.drop('long.json', clip('long-shot', 'run=12s'));
  await at('/', { viewport: { width: 1440, height: 500 } }, async (page) => {
    const bar = page.getByRole('progressbar', { name: 'Progress: long-shot', exact: true });
    await bar.waitFor();
    await page.locator('#search').focus();
    await page.keyboard.type('half a wor');
    await page.evaluate(() => scrollTo(0, 220));
    const first = Number(await bar.getAttribute('value'));
    await until('the bar moves', async () => Number(await bar.getAttribute('value', { timeout: 1000 })) > first);
    assert.equal(await page.evaluate(() => Math.round(scrollY)), 220);
    assert.equal(await page.locator('#search').inputValue(), 'half a wor');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'search');
    await page.getByRole('button', { name: 'Play: long-shot' }).waitFor({ timeout: 40000 });
  });
});

test('jobs that need attention come first with their actions', async () => {
  daemon.drop('twin.json', clip('twin', 'submit=same-id'));
  daemon.drop('storm.json', clip('storm', 'end=task_failed'));
  const held = await daemon.job('twin', 'held');
  await daemon.job('storm', 'failed');
  await at('/', {}, async (page) => {
    const attention = page.locator('#attention');
    await attention.getByText('already made for another submit').waitFor();
    await attention.getByText('the task failed (task_failed)').waitFor();
    assert.equal(await attention.locator('.badge').textContent(), '2');
    // Nothing happens before the question is answered, and it can be declined.
    await attention.getByRole('button', { name: 'Release: twin' }).click();
    assert.match(await page.locator('#confirm-question').textContent(), /^Release twin\? It is not billed again\.$/);
    await page.locator('#confirm [value=no]').click();
    assert.equal((await daemon.api(`jobs/${held.id}`)).state, 'held');
    await attention.getByRole('button', { name: 'Cancel: twin' }).click();
    await confirmAction(page);
    await daemon.job('twin', 'cancelled');
    await attention.getByRole('button', { name: 'Retry: storm' }).click();
    assert.match(await page.locator('#confirm-question').textContent(), /^Retry storm\? It is submitted as a new task and may be billed again\.$/);
    await confirmAction(page);
    await until('the second attempt', async () => (await daemon.api('jobs/storm')).history.some((entry) => entry.event === 'retried'));
    await daemon.job('storm', 'failed');
  });
});

test('rejected action shows the reason', async () => {
  daemon.drop('slow.json', clip('slow', 'queue=60s'));
  await daemon.job('slow', 'queued');
  await at('/', {}, async (page) => {
    await page.getByRole('button', { name: 'Cancel: slow' }).click();
    await daemon.api('jobs/slow/cancel', {});
    await daemon.job('slow', 'cancelled');
    await page.locator('#confirm [value=yes]').click();
    await page.getByText('too late: it was cancelled').waitFor();
    await page.keyboard.press('Escape');
    expectErrors(page, /409/);
  });
});

const submitButton = (page) => page.locator('#submit [type=submit]');
const readyButton = async (page, text) => {
  await page.locator('#submit [type=submit]:enabled').filter({ hasText: text }).waitFor();
  return submitButton(page);
};
const openText = async (page, text) => {
  await page.getByRole('button', { name: 'New job' }).click();
  await page.getByRole('tab', { name: 'JSON' }).click();
  await page.locator('#submit-text').fill(text);
};
/** Drops files, given as name and content, onto the page. */
const dropFiles = async (page, files) => {
  const dropped = await page.evaluateHandle((entries) => {
    const transfer = new DataTransfer();
    for (const [name, content] of entries) transfer.items.add(new File([typeof content === 'string' ? content : new Uint8Array(content)], name));
    return transfer;
  }, files);
  await page.dispatchEvent('#main', 'dragover', { dataTransfer: dropped });
  await page.getByText('Drop job files or pictures here').waitFor();
  await page.dispatchEvent('#main', 'drop', { dataTransfer: dropped });
};
const jobsNamed = async (name) => (await daemon.api(`jobs?q=${encodeURIComponent(name)}`)).jobs.length;
const preview = (name, more = {}) => ({ model: 'wan2.5-preview', prompt: `a clip of ${name}`, resolution: '480p', duration: 5, dropreel: { name, ...more } });

test('pasted jobs are priced and submitted by the button with the price', async () => {
  await at('/', {}, async (page) => {
    await openText(page, '{"model": "wan2.5-t2v",\n "prompt": "x", "duration": "long",\n "dropreel": {"naem": "a"}}');
    await page.getByText('line 2, column 29: `duration` must be').waitFor();
    await page.getByText(/line 3, column .*naem.*name/).waitFor();
    assert.equal(await submitButton(page).isDisabled(), true);
    const text = page.locator('#submit-text');
    await text.fill(JSON.stringify(preview('pasted', { repeat: 3 })));
    const button = await readyButton(page, 'Submit 3 jobs, about $0.57');
    await page.locator('#review').getByText('3 by list price').waitFor();
    await page.locator('#review').getByText('a clip of pasted').first().waitFor();
    assert.equal(await jobsNamed('pasted'), 0, 'nothing is submitted before the button');
    await button.click();
    await page.locator('#submit').waitFor({ state: 'hidden' });
    assert.equal(await toast(page), '3 jobs added');
    await until('the jobs', async () => await jobsNamed('pasted') === 3);

    await openText(page, [clip('line-1'), clip('line-2')].map((job) => JSON.stringify(job)).join('\n'));
    await readyButton(page, 'Submit 2 jobs');
    await text.press('Control+Enter');
    await daemon.job('line-2', 'succeeded');
    // One wrong line is named; the rest is not called one document.
    await openText(page, `${JSON.stringify(clip('line-3'))}\n{"model": "wan2.5-t2v", "prompt" "x"}\n${JSON.stringify(clip('line-4'))}`);
    await page.locator('#review').getByText(/^line 2, column 34: `:` must follow the key/).waitFor();
    assert.equal(await page.locator('#review .problem li').count(), 1);
    await text.fill('');
  });
});

test('dropped files are reviewed in one sheet and the good ones submitted', async () => {
  await at('/', {}, async (page) => {
    await dropFiles(page, [
      ['dropped.json', JSON.stringify(preview('dropped'))],
      ['broken.json', '{"model": '],
      ['lines.jsonl', `${JSON.stringify(preview('of-lines', { repeat: 2 }))}\n`],
      ['photo.png', [0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]],
      ['frame.json', [0xff, 0xd8, 0xff, 0xe0]],
      ['notes.txt', 'buy milk'],
    ]);
    const row = (name) => page.locator('#review .part').filter({ hasText: name });
    await row('broken.json').getByText(/^line 1, column 11: .*cut short/).waitFor();
    await row('dropped.json').getByText('1 job, about $0.19').waitFor();
    await row('lines.jsonl').getByText('2 jobs, about $0.38').waitFor();
    await row('photo.png').getByText('A picture, not a job file.').waitFor();
    await row('frame.json').getByText('A picture, not a job file.').waitFor();
    await row('notes.txt').getByText('Not a job file by its name').waitFor();
    const button = await readyButton(page, 'Submit 3 jobs, about $0.57');
    assert.equal(await page.evaluate(() => document.activeElement.type), 'submit', 'Enter submits what is shown');
    await row('photo.png').getByRole('button', { name: 'Remove photo.png' }).click();
    await button.click();
    await until('the jobs', async () => await jobsNamed('of-lines') === 2 && await jobsNamed('dropped') === 1);
    // The good ones have left the sheet, the bad ones are still there.
    await row('lines.jsonl').waitFor({ state: 'detached' });
    assert.deepEqual(await page.locator('#review .file-name').allTextContents(), ['broken.json', 'frame.json', 'notes.txt']);
    await page.getByRole('button', { name: 'Don’t submit' }).click();
    // Another drop begins again.
    await dropFiles(page, [['other.json', JSON.stringify(preview('other'))]]);
    await readyButton(page, 'Submit 1 job, about $0.19');
    assert.deepEqual(await page.locator('#review .file-name').allTextContents(), ['other.json']);
    await page.keyboard.press('Enter');
    await page.locator('#submit').waitFor({ state: 'hidden' });
    assert.equal(await jobsNamed('other'), 1);

    await page.getByRole('button', { name: 'New job' }).click();
    await page.getByRole('tab', { name: 'Files' }).click();
    writeFileSync(join(daemon.folder, 'chosen.jsonl'), `${JSON.stringify(clip('chosen'))}\n`);
    await page.locator('#submit-files').setInputFiles(join(daemon.folder, 'chosen.jsonl'));
    await (await readyButton(page, 'Submit 1 job')).click();
    await daemon.job('chosen', 'succeeded');
  });
});

test('table and list of prompts are job files', async () => {
  await at('/', {}, async (page) => {
    await page.getByRole('button', { name: 'New job' }).click();
    await page.locator('#form-length').selectOption('10');
    await page.locator('#form-labels').fill('project=prompts');
    await page.keyboard.press('Escape');
    await dropFiles(page, [['rows.csv', 'model,prompt,duration,dropreel.name\nwan2.5-t2v,a row,5,row-1\nwan2.5-t2v,another,5,row-2\n'], ['ideas.prompts.txt', 'a first idea\n\n# not this\na second one\n']]);
    const row = (name) => page.locator('#review .part').filter({ hasText: name });
    await row('rows.csv').getByText('2 jobs, about').waitFor();
    await row('ideas.prompts.txt').getByText('with the choices of the form: wan2.5-t2v, 10 s, 720p').waitFor();
    await row('ideas.prompts.txt').getByText('2 jobs, about').waitFor();
    await (await readyButton(page, 'Submit 4 jobs')).click();
    await page.locator('#submit').waitFor({ state: 'hidden' });
    assert.equal(await jobsNamed('row-'), 2);
    const { jobs } = await daemon.api('jobs?label=project%3Dprompts');
    assert.equal(jobs.length, 2);
    const { request } = await daemon.api(`jobs/${jobs[0].id}`);
    assert.deepEqual({ ...request }, { prompt: 'a second one', model: 'wan2.5-t2v', duration: 10, resolution: '720p' });
  });
});

test('repeated file is run again only on request', async () => {
  await at('/', {}, async (page) => {
    const file = ['twice.json', JSON.stringify(preview('twice'))];
    await dropFiles(page, [file]);
    await (await readyButton(page, 'Submit 1 job')).click();
    await page.locator('#submit').waitFor({ state: 'hidden' });
    await dropFiles(page, [file]);
    await page.getByText('This file was already submitted at').waitFor();
    assert.equal(await submitButton(page).isDisabled(), true);
    await page.getByRole('checkbox', { name: 'Run it again, about $0.19 more' }).check();
    await (await readyButton(page, 'Submit 1 job, about $0.19')).click();
    await page.locator('#submit').waitFor({ state: 'hidden' });
    assert.equal(await jobsNamed('twice'), 2);
  });
});

test('a second press after a lost answer submits nothing twice', async () => {
  await at('/', {}, async (page) => {
    const press = async () => (await readyButton(page, 'Submit 1 job')).click();
    // The answer to the first request is lost; the daemon has made its job.
    let isLost = false;
    await page.route(/\/api\/v1\/jobs\?/, async (route) => {
      if (isLost || route.request().method() !== 'POST') return route.continue();
      isLost = true;
      await route.fetch();
      return route.abort();
    });
    await openText(page, JSON.stringify(clip('answer-lost')));
    await press();
    await page.locator('#review').getByText('The daemon cannot be reached.').waitFor();
    assert.equal(await jobsNamed('answer-lost'), 1);
    // Neither Esc nor a reload loses what was typed, or its key.
    await page.keyboard.press('Escape');
    await page.reload();
    await page.locator('#connection.on').waitFor();
    await page.getByRole('button', { name: 'New job' }).click();
    await press();
    await page.locator('#submit').waitFor({ state: 'hidden' });
    assert.equal(await jobsNamed('answer-lost'), 1);
    await page.getByRole('button', { name: 'New job' }).click();
    assert.equal(await page.locator('#submit-text').inputValue(), '');
    expectErrors(page, /ERR_FAILED|Failed to load/);
  });
});

test('price that rises after the sheet is not paid unasked', async () => {
  await at('/', {}, async (page) => {
    await page.route(/\/api\/v1\/estimate/, async (route) => {
      const answer = await route.fetch();
      const body = await answer.json();
      // What an older estimate would have said.
      if (!isShown) for (const one of [body, ...body.files]) Object.assign(one, { estimate_usd: 0.1, range_usd: [0.1, 0.1] });
      await route.fulfill({ response: answer, json: body });
    });
    let isShown = false;
    await openText(page, JSON.stringify(preview('dearer')));
    const button = await readyButton(page, 'Submit 1 job, about $0.10');
    isShown = true;
    await button.click();
    await page.getByText('the price has changed from about $0.10 to about $0.19').waitFor();
    assert.equal(await jobsNamed('dearer'), 0);
    await (await readyButton(page, 'Submit 1 job, about $0.19')).click();
    await page.locator('#submit').waitFor({ state: 'hidden' });
    assert.equal(await jobsNamed('dearer'), 1);
    expectErrors(page, /422/);
  });
});

test('form makes a job with the price on its button', async () => {
  await at('/', {}, async (page) => {
    await page.getByRole('button', { name: 'New job' }).click();
    const field = (name) => page.locator(`#form-${name}`);
    assert.equal(await page.evaluate(() => document.activeElement.id), 'form-prompt');
    await field('prompt').fill('a form at dawn');
    await readyButton(page, 'Submit 1 job, about');
    await field('model').selectOption({ label: 'wan2.5-t2v' });
    assert.deepEqual(await field('length').locator('option').allTextContents(), ['5 s', '10 s']);
    await field('resolution').selectOption('480p');
    assert.equal(await field('ratio').locator('option').count(), 4, '480p exists in three shapes');
    assert.equal(await field('picture').isVisible(), false);
    await field('length').selectOption('10');
    await field('repeat').fill('3');
    await field('labels').fill('client');
    await page.locator('#review').getByText('Labels are written as key=value').waitFor();
    await field('labels').fill('client=acme, project=spring');
    await field('name').fill('dawn');
    await readyButton(page, 'Submit 3 jobs, about');
    // Another model, with other fields.
    await field('model').selectOption({ label: 'Another model …' });
    assert.deepEqual([await field('other').isVisible(), await field('seconds').isVisible(), await field('resolution').isVisible()], [true, true, false]);
    await page.locator('#review').getByText('`model` must not be empty').waitFor();
    await field('model').selectOption({ label: 'wan2.5-t2v' });
    await field('length').selectOption('10');
    await field('resolution').selectOption('480p');
    await readyButton(page, 'Submit 3 jobs, about');
    // What was typed outlives Esc and a reload.
    await page.keyboard.press('Escape');
    await page.reload();
    await page.locator('#connection.on').waitFor();
    await page.getByRole('button', { name: 'New job' }).click();
    assert.deepEqual([await field('prompt').inputValue(), await field('length').inputValue(), await field('resolution').inputValue()], ['a form at dawn', '10', '480p']);
    await (await readyButton(page, 'Submit 3 jobs, about')).click();
    await page.locator('#submit').waitFor({ state: 'hidden' });
    const job = await daemon.api('jobs/dawn-2');
    assert.deepEqual(job.labels, { client: 'acme', project: 'spring' });
    const { seed, ...request } = job.request;
    assert.deepEqual(request, { model: 'wan2.5-t2v', prompt: 'a form at dawn', duration: 10, resolution: '480p' });
    assert.equal(typeof seed, 'number');
    // The next clip often differs in its prompt only.
    await page.getByRole('button', { name: 'New job' }).click();
    assert.deepEqual([await field('prompt').inputValue(), await field('name').inputValue(), await field('labels').inputValue()], ['', '', 'client=acme, project=spring']);
    assert.equal(await submitButton(page).isDisabled(), true);
  });
});

test('sheet is in Chinese with its warnings', async () => {
  await at('/', { locale: 'zh-CN' }, async (page) => {
    await page.getByRole('button', { name: '新建任务' }).click();
    await page.getByRole('tab', { name: 'JSON' }).click();
    await page.locator('#submit-text').fill(JSON.stringify({ ...preview('中文'), duration: 7 }));
    await page.locator('#submit [type=submit]:enabled').filter({ hasText: '提交 1 个任务，约 $0.26' }).waitFor();
    await page.getByText('`duration` 为 7：wan2.5-preview 只支持 5 或 10 秒').waitFor();
    await page.getByText('1 个按标价').waitFor();
    await page.getByRole('button', { name: '不提交' }).click();
  });
});

test('filters are in the address and bulk actions name their count', async () => {
  for (const name of ['gone-1', 'gone-2', 'gone-3']) daemon.drop(`${name}.json`, clip(name, 'end=task_failed', { labels: { batch: 'nine' } }));
  for (const name of ['gone-1', 'gone-2', 'gone-3']) await daemon.job(name, 'failed');
  await at('/', {}, async (page) => {
    await page.keyboard.press('/');
    await page.keyboard.type('gone-');
    await page.keyboard.press('Enter');
    await page.waitForURL('**/jobs?q=gone-');
    await page.locator('#connection.on').waitFor();
    assert.equal(await page.locator('.job-row').count(), 3);
    await page.locator('.tag', { hasText: 'batch=nine' }).first().click();
    await page.waitForURL('**/jobs?label=batch%3Dnine');
    await page.locator('select[name=state]').selectOption('failed');
    await page.waitForURL(/state=failed&label=batch%3Dnine/);
    await page.locator('#choose-page').click();
    await page.getByRole('button', { name: 'Retry · $0.45' }).click();
    await page.getByText('Retry 3 jobs?').waitFor();
    await confirmAction(page);
    assert.equal(await toast(page), '3 jobs resubmitted');
    for (const name of ['gone-1', 'gone-2', 'gone-3']) {
      await until('retried', async () => (await daemon.api(`jobs/${name}`)).history.some((entry) => entry.event === 'retried'));
    }
    await page.goBack();
    // The page of the earlier address is loaded after the browser has gone back.
    await until('the fields of the earlier address', async () => (await page.locator('select[name=state]').inputValue()) === '');
  });
});

test('overview has the balance beside what waiting jobs need', async () => {
  await daemon.api('status');
  await at('/', {}, async (page) => {
    await page.getByText(/^Balance \$\d+\.\d\d/).waitFor();
  });
});

test('pause is shown on every page until resumed', async () => {
  await at('/jobs', {}, async (page) => {
    await page.locator('#menu summary').click();
    await page.getByRole('button', { name: 'Pause submitting' }).click();
    await confirmAction(page);
    await page.locator('#suspension-paused_submits').waitFor();
    await page.goto(`${daemon.address}/jobs/sakura`);
    await page.locator('#connection.on').waitFor();
    await page.locator('#suspension-paused_submits').getByRole('button', { name: 'Resume' }).click();
    await confirmAction(page);
    await page.locator('#suspension-paused_submits').waitFor({ state: 'detached' });
  });
});

test('change during a refresh is shown too', async () => {
  await at('/jobs', {}, async (page) => {
    let resumed = false;
    await page.route(`${daemon.address}/jobs`, async (route) => {
      const answer = await route.fetch();
      // Another change may have refreshed the page before the pause.
      if (!resumed && (await answer.text()).includes('suspension-paused_submits')) {
        // After the answer is made, before the page receives it.
        resumed = true;
        await daemon.api('resume', {});
        await new Promise((done) => setTimeout(done, 300));
      }
      await route.fulfill({ response: answer });
    });
    await daemon.api('pause', {});
    await page.locator('#suspension-paused_submits').waitFor();
    await page.locator('#suspension-paused_submits').waitFor({ state: 'detached' });
    await page.unrouteAll({ behavior: 'ignoreErrors' });
  });
});

test('page shows a lost connection and reconnects', async () => {
  await at('/', {}, async (page) => {
    await daemon.stop();
    await page.getByText(/^Disconnected since .*; reconnecting$/).waitFor();
    await page.locator('#menu summary').click();
    await page.getByRole('button', { name: 'Pause submitting' }).click();
    await page.locator('#confirm [value=yes]').click();
    await page.locator('#confirm-problem').getByText('The daemon cannot be reached.').waitFor();
    assert.equal(await page.locator('#confirm [value=yes]').isEnabled(), true, 'it can be tried again');
    await page.locator('#confirm [value=no]').click();
    await openText(page, JSON.stringify(clip('offline')));
    await page.locator('#review').getByText('The daemon cannot be reached.').waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: 'New job' }).click();
    await daemon.serve();
    daemon.drop('after.json', clip('after'));
    // What was typed is checked once the daemon is back.
    await readyButton(page, 'Submit 1 job');
    await page.keyboard.press('Escape');
    await page.locator('#connection.on').waitFor();
    await page.getByRole('button', { name: 'Play: after' }).waitFor();
    expectErrors(page, /ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET/);
  });
});

test('page follows the browser language and the chosen one', async () => {
  await at('/', { locale: 'zh-CN' }, async (page) => {
    await page.getByRole('heading', { name: '最新视频' }).waitFor();
    assert.match(await page.locator('.gallery time').first().textContent(), /前|刚刚/);
    await page.locator('#menu summary').click();
    await page.getByRole('link', { name: 'English' }).click();
    await page.getByRole('heading', { name: 'Newest videos' }).waitFor();
    await page.goto(`${daemon.address}/jobs`);
    await page.getByRole('heading', { name: 'Jobs' }).waitFor();
  });
});

test('everything can be reached by keyboard', async () => {
  await at('/', {}, async (page) => {
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.className), 'skip');
    await page.keyboard.press('Enter');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
    const names = new Set();
    for (let step = 0; step < 250 && !names.has('Menu'); step += 1) {
      await page.keyboard.press('Tab');
      const seen = await page.evaluate(() => {
        const it = document.activeElement;
        const style = getComputedStyle(it);
        return { name: it.getAttribute('aria-label') ?? it.textContent.trim(), outlined: it === document.body || style.outlineStyle !== 'none' };
      });
      assert.ok(seen.outlined, `${seen.name} has a visible focus`);
      names.add(seen.name);
    }
    for (const name of ['Play: sakura', 'Retry all: ', 'New job', 'Menu']) {
      assert.ok([...names].some((one) => one.startsWith(name)), `${name} is among ${[...names]}`);
    }
    await page.getByRole('button', { name: 'New job' }).focus();
    await page.keyboard.press('Enter');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'form-prompt');
    await page.keyboard.press('Shift+Tab');
    await page.keyboard.press('ArrowRight');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'tab-json');
    await page.keyboard.press('Escape');
    assert.equal(await page.locator('#submit').isVisible(), false);
    assert.equal(await page.evaluate(() => document.activeElement.id), 'open-submit');
    await page.locator('#menu summary').focus();
    await page.keyboard.press('Enter');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Escape');
    assert.deepEqual(await page.evaluate(() => [document.querySelector('#menu').open, document.activeElement.localName]), [false, 'summary']);
  });
});

test('hostile texts are shown as text', async () => {
  const texts = readFileSync(new URL('../hostile/injections.txt', import.meta.url), 'utf8').split('\n').filter((line) => line && !line.startsWith('#'));
  const marks = texts.filter((text) => /[<>"'`{]/.test(text));
  assert.ok(texts.length >= 25 && marks.length >= 10);
  const wrong = await daemon.api('jobs', texts.map((text) => ({ model: 'wan2.5-t2v', prompt: text, dropreel: { name: text, labels: { project: text } } })));
  assert.equal(wrong.count, texts.length, JSON.stringify(wrong));
  daemon.drop('hostile-error.json', clip('hostile-error', `end=failed:<img/src=x/onerror=document.title='hit'>`));
  await until('all jobs settled', async () => (await daemon.api('jobs?limit=500')).jobs.every((job) => ['succeeded', 'failed', 'cancelled', 'held'].includes(job.state)), 90);
  for (const path of ['/', '/jobs', `/jobs?q=${encodeURIComponent(marks[0])}`, `/jobs/${wrong.jobs[0].id}`, '/jobs/hostile-error']) {
    await at(path, {}, async (page) => {
      page.on('dialog', () => page.errors.push('a dialog opened'));
      await page.waitForTimeout(200);
      assert.match(await page.title(), / · dropreel$/);
      assert.equal(await page.evaluate(() => document.querySelectorAll('main script, main iframe, main [onerror], main [onload], main [onclick], main style, main [style]').length), 0);
    });
  }
  await at('/', {}, async (page) => {
    page.on('dialog', () => page.errors.push('a dialog opened'));
    const hostile = marks.map((text) => ({ ...preview(text), prompt: text, labels: text, [text]: text }));
    await dropFiles(page, [[`${marks[0].replaceAll('/', ' ')}.json`, JSON.stringify(hostile)], [`${marks[1].replaceAll('/', ' ')}.png`, 'x']]);
    await page.locator('#review .part').nth(1).waitFor();
    await until('the review', async () => !(await page.locator('#review').textContent()).includes('Checking'));
    assert.equal(await page.evaluate(() => document.querySelectorAll('#submit :is(script, iframe, img, [onerror], [onload], [onclick], style, [style])').length), 0);
    assert.match(await page.title(), / · dropreel$/);
  });
});

test('pages pass the accessibility checks on every screen', async () => {
  daemon.drop('shown.json', [clip('shown-1', 'run=60s'), clip('shown-2', 'submit=same-id'), clip('shown-3')]);
  await daemon.job('shown-1', 'processing');
  await daemon.job('shown-2', 'held');
  for (const [screen, options] of [['wide', {}], ['phone', PHONE]]) {
    for (const colorScheme of ['light', 'dark']) {
      for (const path of ['/', '/jobs?state=failed', '/jobs/shown-2', '/jobs/sakura', '/jobs?q=nothing-like-it']) {
        await at(path, { ...options, colorScheme, reducedMotion: 'reduce' }, async (page) => {
          const checkPage = (where) => assertAccessible(page, `${where} on a ${screen} screen, ${colorScheme}`);
          await checkPage(path);
          if (path === '/') {
            await page.getByRole('button', { name: 'New job' }).click();
            await page.locator('#form-prompt').fill('checked');
            await readyButton(page, 'Submit 1 job');
            await checkPage('the form');
            await page.keyboard.press('Escape');
            await openText(page, JSON.stringify({ ...preview('checked'), duration: 7, seed: 'x' }));
            await page.locator('#review .problem').waitFor();
            await checkPage('the sheet with errors');
            await page.locator('#submit-text').fill(JSON.stringify({ ...preview('checked'), duration: 7 }));
            await readyButton(page, 'Submit 1 job');
            await checkPage('the sheet with a price');
            await page.keyboard.press('Escape');
            await dropFiles(page, [['good.json', JSON.stringify(preview('good'))], ['photo.png', 'x'], ['sakura.json', JSON.stringify(clip('sakura'))]]);
            await readyButton(page, 'Submit 1 job');
            await page.getByText('Run it again').waitFor();
            await checkPage('the sheet with files');
            await page.keyboard.press('Escape');
            await page.locator('#attention').getByRole('button', { name: 'Release: shown-2' }).click();
            await checkPage('the confirmation');
          }
        });
      }
    }
  }
  await daemon.api('jobs/shown-1/cancel', {});
});

test('page can be read without scripts', async () => {
  await at('/jobs?q=sakura', { javaScriptEnabled: false }, async (page) => {
    // With scripts disabled by the driver, the browser still hides noscript: so look at the source.
    assert.match(await page.content(), /<noscript>.*Without JavaScript this page shows/s);
    await page.getByRole('link', { name: 'sakura', exact: true }).first().click();
    await page.getByRole('heading', { name: 'History' }).waitFor();
    await page.waitForLoadState();
    assert.equal(await page.locator('button:visible').count(), 0);
  });
});
