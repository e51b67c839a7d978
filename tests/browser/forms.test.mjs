// A job run again, edited, and made with pictures, in a real browser.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { deflateSync } from 'node:zlib';
import { assertAccessible, Daemon, expectErrors, launchBrowser, PHONE, QUICK, until, visit } from './rig.mjs';

// With a number that would not survive a way through JavaScript's own.
const clip = (name, prompt = `a clip of ${name}`) => JSON.stringify({ model: 'wan2.5-t2v', prompt, duration: 5, resolution: '480p', seed: 17, scale: 1, dropreel: { name, labels: { project: 'spring' } } }).replace('"scale":1', '"scale": 1.10');
let daemon;
let browser;

before(async () => {
  daemon = await Daemon.start({ settings: { ...QUICK, DROPREEL_MEDIA__SERVE: 'true' } });
  browser = await launchBrowser();
  for (const name of ['sakura', 'harbour']) daemon.drop(`${name}.json`, clip(name));
  for (const name of ['sakura', 'harbour']) await daemon.job(name, 'succeeded');
});
after(async () => { await browser?.close(); await daemon?.close(); });

/** Runs a test on the page at this path. */
const at = (path, options, check, address = daemon.address) => visit(browser, address + path, options, check);

const field = (page, name) => page.locator(`#form-${name}`);
const ready = async (page, text) => {
  const button = page.locator('#submit [type=submit]:enabled').filter({ hasText: text });
  await button.waitFor();
  return button;
};
const closed = (page) => page.locator('#submit').waitFor({ state: 'hidden' });
const reload = async (page) => {
  await page.reload();
  await page.locator('#connection.on').waitFor();
};
function crc32(bytes) {
  let sum = ~0;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit += 1) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return ~sum >>> 0;
}
/** A picture of one colour. */
function png(red, width = 640, height = 480) {
  const chunk = (type, data) => {
    const [length, sum, body] = [Buffer.alloc(4), Buffer.alloc(4), Buffer.concat([Buffer.from(type), data])];
    length.writeUInt32BE(data.length);
    sum.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, sum]);
  };
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, 2], 8);
  const row = Buffer.concat([Buffer.from([0]), Buffer.alloc(width * 3, red)]);
  const pixels = deflateSync(Buffer.concat(Array(height).fill(row)));
  return Buffer.concat([Buffer.from([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]), chunk('IHDR', head), chunk('IDAT', pixels), chunk('IEND', Buffer.alloc(0))]);
}
const file = (name, buffer, mimeType = 'image/png') => ({ name, mimeType, buffer });
const chooser = (page, name) => page.locator(`.field:has(#form-${name}) [type=file]`);
const thumbs = (page, name) => page.locator(`.field:has(#form-${name}) li img`);
/** Whether every picture is drawn. */
const drawn = (images) => until('the pictures', () => images.evaluateAll((all) => all.length > 0 && all.every((image) => image.complete && image.naturalWidth > 0)));
/** Sends a paste or a drop of files, as the browser does. */
const transfer = (page, event, target, files) => page.evaluate(([type, selector, entries]) => {
  const data = new DataTransfer();
  for (const [name, mime, bytes] of entries) data.items.add(new File([new Uint8Array(bytes)], name, { type: mime }));
  const options = { bubbles: true, cancelable: true };
  const made = type === 'paste' ? new ClipboardEvent(type, { ...options, clipboardData: data }) : new DragEvent(type, { ...options, dataTransfer: data });
  document.querySelector(selector).dispatchEvent(made);
}, [event, target, files.map(({ name, mimeType, buffer }) => [name, mimeType, [...buffer]])]);

test('another prompt takes three steps from every page', async () => {
  const press = (page) => page.getByRole('button', { name: 'Run again…: harbour', exact: true }).click();
  const [{ id: harbour }, { id: sakura }] = await Promise.all(['harbour', 'sakura'].map((name) => daemon.api(`jobs/${name}`)));
  const comparison = `/compare?o=${harbour}.1&o=${sakura}.1`;
  const pages = [
    ['/jobs/harbour', press],
    ['/jobs', press],
    ['/', press],
    ['/videos', press],
    [comparison, press],
    [comparison, (page) => page.keyboard.press('r')],
    ['/videos', async (page) => page.keyboard.press('a'), async (page) => {
      await page.locator('.card[data-name=harbour] .shot').click();
      await page.locator('#viewer-content .view').waitFor();
    }],
  ];
  for (const [turn, [path, open, prepare]] of pages.entries()) {
    await at(path, {}, async (page) => {
      await prepare?.(page);
      // One: open. Two: type. Three: press the button with the price.
      await open(page);
      await until('the prompt', () => page.evaluate(() => document.activeElement.id === 'form-prompt' && document.activeElement.value !== ''));
      await page.keyboard.type(` at ${turn} o’clock`);
      await page.locator('#review').getByText(`New: harbour-v${turn + 2}`).waitFor();
      await (await ready(page, 'Submit 1 job, about $')).click();
      await closed(page);
      await page.locator('#toast').getByText(`Added: harbour-v${turn + 2}`).waitFor();
      const job = await daemon.job(`harbour-v${turn + 2}`, 'succeeded');
      assert.equal(job.prompt, `a clip of harbour at ${turn} o’clock`);
      assert.deepEqual([job.labels, job.request.seed], [{ project: 'spring' }, 17]);
      assert.match(job.text, /"scale": 1\.10,/, 'the rest is as it was written');
    });
  }
  // Both jobs link to each other.
  await at('/jobs/harbour-v2', {}, async (page) => {
    await page.locator('dl').getByRole('link', { name: 'harbour', exact: true }).click();
    await page.locator('dl').getByRole('link', { name: 'harbour-v2', exact: true }).waitFor();
  });
});

test('seed is kept, new, or three new ones', async () => {
  await at('/jobs/sakura', {}, async (page) => {
    await page.getByRole('button', { name: 'Run again…' }).click();
    await page.locator('#review').getByText('the same request with the same seed as before').waitFor();
    await field(page, 'repeat').fill('2');
    await page.locator('#review').getByText('the same request several times without a new seed').waitFor();
    await field(page, 'seed').selectOption('three');
    assert.equal(await field(page, 'repeat').inputValue(), '3');
    await page.locator('#review').getByText('New: sakura-v2, sakura-v3, sakura-v4').waitFor();
    await until('no warning', async () => await page.locator('#review .caution').count() === 0);
    await page.getByRole('tab', { name: 'JSON' }).click();
    assert.match(await page.locator('#submit-text').inputValue(), /^\{\n "model": "wan2.5-t2v",\n.*\n "scale": 1\.10,\n/s);
    await page.locator('#submit-text').fill('{"model": ');
    await page.locator('#review').getByText(/^line 1, column 11: /).waitFor();
    assert.equal(await page.getByRole('tab', { name: 'Form' }).isDisabled(), true, 'the form cannot show it');
    await page.getByRole('button', { name: 'Start over' }).click();
    assert.equal(await field(page, 'prompt').inputValue(), 'a clip of sakura');
    await field(page, 'seed').selectOption('three');
    await (await ready(page, 'Submit 3 jobs')).click();
    await closed(page);
    const seeds = new Set([17]);
    for (const name of ['sakura-v2', 'sakura-v3', 'sakura-v4']) seeds.add((await daemon.job(name, 'succeeded')).request.seed);
    assert.equal(seeds.size, 4);
    // The browser reports what the checks refused.
    expectErrors(page, /422/);
  });
});

test('what was typed outlives Esc, a reload and a lost answer', async () => {
  await at('/jobs/sakura', {}, async (page) => {
    const open = async () => {
      await page.getByRole('button', { name: 'Run again…' }).click();
      await page.getByRole('heading', { name: 'Run sakura again' }).waitFor();
    };
    await open();
    await field(page, 'prompt').fill('a clip of sakura in the rain');
    await field(page, 'length').selectOption('10');
    await page.keyboard.press('Escape');
    // A new job knows nothing of it.
    await page.getByRole('button', { name: 'New job' }).click();
    assert.equal(await field(page, 'prompt').inputValue(), '');
    await page.keyboard.press('Escape');
    await reload(page);
    await open();
    assert.deepEqual([await field(page, 'prompt').inputValue(), await field(page, 'length').inputValue()], ['a clip of sakura in the rain', '10']);
    let isLost = false;
    await page.route(/\/again\?/, async (route) => {
      if (isLost) return route.continue();
      isLost = true;
      await route.fetch();
      return route.abort();
    });
    await (await ready(page, 'Submit 1 job')).click();
    await page.locator('#review').getByText('The daemon cannot be reached.').waitFor();
    await reload(page);
    await open();
    await (await ready(page, 'Submit 1 job')).click();
    await closed(page);
    const { jobs } = await daemon.api('jobs?q=rain');
    assert.equal(jobs.length, 1, 'pressed twice, made once');
    await open();
    assert.equal(await field(page, 'prompt').inputValue(), 'a clip of sakura');
    expectErrors(page, /ERR_FAILED|Failed to load/);
  });
});

test('waiting job is edited, and its history keeps the old request', async () => {
  await daemon.api('pause', { what: 'submits' });
  daemon.drop('later.json', clip('later'));
  await daemon.job('later', 'pending');
  await at('/jobs/later', {}, async (page) => {
    await page.getByRole('button', { name: 'Edit…' }).click();
    await field(page, 'prompt').fill('a later clip');
    assert.equal(await field(page, 'repeat').isVisible(), false);
    await field(page, 'length').selectOption('10');
    await field(page, 'labels').fill('project=autumn');
    await (await ready(page, 'Save, about $')).click();
    await closed(page);
    await page.getByText('The request before').click();
    await page.locator('.history pre').getByText('"prompt": "a clip of later"').waitFor();
    const job = await daemon.api('jobs/later');
    assert.deepEqual([job.prompt, job.request.duration, job.labels, job.state], ['a later clip', 10, { project: 'autumn' }, 'pending']);
    // The submit is faster than the second edit: nothing typed is lost.
    await page.getByRole('button', { name: 'Edit…' }).click();
    await field(page, 'prompt').fill('too late');
    await ready(page, 'Save');
    await daemon.api('resume', {});
    await daemon.job('later', 'succeeded');
    await page.locator('#submit [type=submit]').click();
    await page.locator('#review .problem').getByText('too late: it succeeded').waitFor();
    await page.getByRole('button', { name: 'Run again with this text' }).click();
    assert.equal(await field(page, 'prompt').inputValue(), 'too late');
    await (await ready(page, 'Submit 1 job')).click();
    await closed(page);
    assert.equal((await daemon.job('later-v2', 'succeeded')).prompt, 'too late');
    expectErrors(page, /409/);
  });
});

test('refused content offers to edit the prompt first', async () => {
  daemon.drop('refused.json', clip('refused', 'a bad word [sandbox: end=failed:content_policy_violation]'));
  await daemon.job('refused', 'failed');
  await at('/', {}, async (page) => {
    const buttons = page.locator('.job-row').filter({ hasText: 'content_policy_violation' }).locator('.actions button');
    assert.equal(await buttons.first().textContent(), 'Edit prompt…');
    await buttons.first().click();
    await until('the prompt', () => page.evaluate(() => document.activeElement.id === 'form-prompt'));
    await field(page, 'prompt').fill('a good word');
    await (await ready(page, 'Submit 1 job')).click();
    await closed(page);
    await daemon.job('refused-v2', 'succeeded');
  });
});

test('pictures are chosen, pasted, dropped and named by address', async () => {
  await at('/', {}, async (page) => {
    await page.getByRole('button', { name: 'New job' }).click();
    await field(page, 'prompt').fill('petals');
    await field(page, 'model').selectOption('wan2.5-i2v');
    await field(page, 'name').fill('petals');
    await chooser(page, 'picture').setInputFiles([file('a.png', png(10)), file('b.png', png(20))]);
    await transfer(page, 'paste', '#form-prompt', [file('image.png', png(30))]);
    await until('three pictures', async () => await thumbs(page, 'picture').count() === 3);
    await transfer(page, 'drop', '#form-last', [file('last.png', png(35))]);
    await drawn(thumbs(page, 'last'));
    await page.keyboard.press('Escape');
    await transfer(page, 'drop', '#main', [file('c.png', png(40))]);
    await until('four pictures', async () => await thumbs(page, 'picture').count() === 4);
    await drawn(page.locator('.field li img'));
    // The same content once, and what is no picture never.
    await chooser(page, 'picture').setInputFiles(file('again.png', png(10)));
    await chooser(page, 'picture').setInputFiles(file('drawing.png', Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>')));
    await page.locator('#says-picture').getByText('drawing.png: the picture is an SVG drawing').waitFor();
    await page.getByRole('button', { name: 'Remove drawing.png' }).click();
    await reload(page);
    await page.getByRole('button', { name: 'New job' }).click();
    await drawn(page.locator('.field li img'));
    assert.equal(await page.locator('.field li img').count(), 5, 'uploaded pictures outlive a reload');
    await page.locator('.field:has(#form-last) li button').click();
    await field(page, 'picture').fill('https://example.com/d.png');
    await (await ready(page, 'Submit 1 job')).click();
    await closed(page);
    const job = await daemon.job('petals', 'succeeded');
    assert.equal(job.request.image_urls.length, 5);
    assert.equal(job.request.last_frame, undefined);
    assert.equal(job.request.image_urls.at(-1), 'https://example.com/d.png');

    await page.goto(`${daemon.address}/jobs/petals`);
    await page.locator('#connection.on').waitFor();
    await drawn(page.locator('.pictures img'));
    await page.getByRole('button', { name: 'Run again…' }).click();
    await drawn(thumbs(page, 'picture'));
    await page.getByRole('button', { name: /^Remove [0-9a-f]/ }).first().click();
    await (await ready(page, 'Submit 1 job')).click();
    await closed(page);
    assert.deepEqual((await daemon.job('petals-v2', 'succeeded')).request.image_urls, job.request.image_urls.slice(1));
    expectErrors(page, /422/);
  });
});

test('first and last frame are pictures too, and a lost upload is repeated', async () => {
  await at('/', {}, async (page) => {
    await page.getByRole('button', { name: 'New job' }).click();
    await field(page, 'prompt').fill('between');
    await field(page, 'model').selectOption('wan2.5-i2v');
    await field(page, 'name').fill('between');
    let isLost = false;
    await page.route(/\/api\/v1\/pictures$/, (route) => {
      if (isLost) return route.continue();
      isLost = true;
      return route.abort();
    });
    await chooser(page, 'first').setInputFiles(file('first.png', png(50)));
    await page.locator('#says-first').getByText('The daemon cannot be reached.').waitFor();
    await page.getByRole('button', { name: 'Upload first.png again' }).click();
    await chooser(page, 'last').setInputFiles(file('last.png', png(60)));
    await drawn(thumbs(page, 'first'));
    await drawn(thumbs(page, 'last'));
    await (await ready(page, 'Submit 1 job')).click();
    await closed(page);
    const { request } = await daemon.job('between', 'succeeded');
    assert.match(`${request.first_frame} ${request.last_frame}`, /^[0-9a-f]{64}\.png [0-9a-f]{64}\.png$/);
    assert.equal(request.image_urls, undefined);
    expectErrors(page, /ERR_FAILED/);
  });
});

test('pictures that are not served say which setting is missing', async () => {
  const other = await Daemon.start({ settings: QUICK });
  try {
    await at('/', {}, async (page) => {
      await page.getByRole('button', { name: 'New job' }).click();
      await field(page, 'model').selectOption('wan2.5-i2v');
      await chooser(page, 'picture').setInputFiles(file('a.png', png(70)));
      await page.locator('#says-picture').getByText('set `media.serve = true`').waitFor();
    }, other.address);
  } finally {
    await other.close();
  }
});

test('sheet of a job works by keyboard, on a phone and in Chinese', async () => {
  await at('/jobs/sakura', {}, async (page) => {
    await page.getByRole('button', { name: 'Run again…' }).focus();
    await page.keyboard.press('Enter');
    await until('the prompt', () => page.evaluate(() => document.activeElement.id === 'form-prompt'));
    await page.keyboard.type(' by keyboard');
    await ready(page, 'Submit 1 job');
    await page.keyboard.press('Shift+Tab');
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('ArrowRight');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'tab-form', 'there are two tabs');
    await page.keyboard.press('Control+Enter');
    await closed(page);
    await until('the job', async () => (await daemon.api('jobs?q=keyboard')).jobs.length === 1);
  });
  await at('/jobs/sakura', { ...PHONE, locale: 'zh-CN' }, async (page) => {
    await page.getByRole('button', { name: '再次运行……' }).tap();
    await page.locator('#review').getByText('请求和种子都与之前相同').waitFor();
    await field(page, 'prompt').fill('雨中的樱花');
    await page.locator('#review').getByText('新任务：sakura-v').waitFor();
    await (await ready(page, '提交 1 个任务，约 $')).tap();
    await closed(page);
    await until('the job', async () => (await daemon.api(`jobs?q=${encodeURIComponent('雨中的樱花')}`)).jobs.length === 1);
  });
});

test('sheet of a job passes the accessibility checks, and shows hostile texts as texts', async () => {
  const hostile = '<img src=x onerror=document.title=1>"\'`${1}';
  const { jobs: [{ id }] } = await daemon.api('jobs', { model: 'wan2.5-i2v', prompt: hostile, image_urls: ['https://example.com/a.png'], seed: 1, dropreel: { name: hostile, labels: { project: `${hostile}, x` } } });
  for (const [screen, options] of [['wide', {}], ['phone', PHONE]]) {
    for (const colorScheme of ['light', 'dark']) {
      await at(`/jobs/${id}`, { ...options, colorScheme, reducedMotion: 'reduce' }, async (page) => {
        await page.locator('[data-rework=again]').first().click();
        await ready(page, 'Submit 1 job');
        await chooser(page, 'first').setInputFiles(file('a.png', png(80)));
        await drawn(thumbs(page, 'first'));
        await ready(page, 'Submit 1 job');
        assert.equal(await field(page, 'prompt').inputValue(), hostile);
        assert.match(await page.title(), / · dropreel$/);
        assert.equal(await page.evaluate(() => document.querySelectorAll('#submit :is(script, iframe, [onerror], [style])').length), 0);
        await assertAccessible(page, `on a ${screen} screen, ${colorScheme}`);
        const wider = await page.locator('#submit').evaluate((dialog) => dialog.scrollWidth - dialog.clientWidth);
        assert.ok(wider <= 0, `the sheet is ${wider} pixels too wide`);
      });
    }
  }
});
