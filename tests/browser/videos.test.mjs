// The pages of videos in a real browser: the grid, the viewer and the comparison.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { assertAccessible, Daemon, launchBrowser, PHONE, QUICK, until, visit } from './rig.mjs';

const clip = (name, prompt, more = {}) => ({ model: 'wan2.5-t2v', prompt, duration: 5, ...more, dropreel: { name, labels: { project: 'spring' } } });
const SAKURA = [1, 2, 3, 4].map((seed) => clip(`sakura-${seed}`, '春天的樱花树下', { seed }));
const LIGHTHOUSE = [clip('storm', 'a lighthouse in the storm, waves', { seed: 7 }), clip('dawn', 'a lighthouse at dawn, waves', { seed: 7 })];
const OTHERS = [clip('two', 'a market [sandbox: outputs=2]'), { ...clip('song', 'a song'), model: 'sandbox-music' }, { ...clip('still', 'a picture'), model: 'sandbox-image' }];
let daemon;
let browser;
let jobs;

before(async () => {
  daemon = await Daemon.start({ settings: QUICK });
  browser = await launchBrowser();
  daemon.drop('sakura.json', SAKURA);
  daemon.drop('lighthouse.json', LIGHTHOUSE);
  for (const job of OTHERS) daemon.drop(`${job.dropreel.name}.json`, job);
  jobs = {};
  for (const { dropreel: { name } } of [...SAKURA, ...LIGHTHOUSE, ...OTHERS]) jobs[name] = await daemon.job(name, 'succeeded');
});
after(async () => { await browser?.close(); await daemon?.close(); });

/** Runs a test on the page at this path. */
const at = (path, options, check) => visit(browser, daemon.address + path, options, check);

const item = (name, number = 1) => `${jobs[name].id}.${number}`;
const card = (page, name, number = 1) => page.locator(`[id="o-${item(name, number)}"]`);
const shot = (page, name, number) => card(page, name, number).locator('.shot');
const posterOf = (job, number = 0) => {
  const { path } = job.files[number];
  return join(dirname(path), `.${basename(path)}.poster.jpg`);
};
const view = (page) => page.locator('#viewer-content .view');
const viewed = async (page, name, number = 1) => view(page).and(page.locator(`[data-item="${item(name, number)}"]`)).waitFor();
const ratingOf = async (name, output = 0) => (await daemon.api(`jobs/${jobs[name].id}`)).files[output].rating;
const rated = (name, rating, output) => until(`${name} rated ${rating}`, async () => (await ratingOf(name, output)) === rating || Promise.reject(new Error(String(await ratingOf(name, output)))));
const moves = (media) => until('it plays', () => media.evaluate(async (v) => {
  const before = v.currentTime;
  await new Promise((done) => setTimeout(done, 200));
  return !v.paused && v.currentTime !== before;
}));
/** Closing goes back in the history, which takes a moment. */
const leaveViewer = async (page) => {
  await page.keyboard.press('Escape');
  await until('the address of the grid', () => new URL(page.url()).hash === '');
};
const focused = (page) => page.evaluate(() => document.activeElement.closest('.card')?.dataset.name);

test('posters are drawn once and then spare the videos', async () => {
  await at('/videos', { viewport: { width: 1440, height: 3000 } }, async (page) => {
    const pictured = Object.values(jobs).filter((job) => job !== jobs.song).flatMap((job) => job.files.map((_, number) => posterOf(job, number)));
    for (const poster of pictured) await until(poster, () => existsSync(poster));
    assert.ok(!existsSync(posterOf(jobs.song)), 'a sound has none');
    const requests = [];
    page.on('response', async (response) => { if (response.request().method() === 'GET' && response.url().includes('/media/')) requests.push([new URL(response.url()).pathname, (await response.body().catch(() => '')).length]); });
    await page.reload();
    await page.locator('#connection.on').waitFor();
    await until('the posters', () => requests.length >= 5);
    // What else might be fetched.
    await page.waitForTimeout(500);
    assert.ok(requests.every(([path]) => path.endsWith('/poster')), JSON.stringify(requests));
    assert.ok(requests.every(([, bytes]) => bytes > 500 && bytes < 60_000), JSON.stringify(requests));
  });
});

test('video plays under the mouse through a refresh of the page', async () => {
  await at('/videos', {}, async (page) => {
    await shot(page, 'sakura-1').hover();
    const video = shot(page, 'sakura-1').locator('video');
    await moves(video);
    daemon.drop('beside.json', clip('beside', 'beside'));
    jobs.beside = await daemon.job('beside', 'succeeded');
    await page.getByText(/succeeded 10/).waitFor();
    await moves(video);
    assert.equal(await card(page, 'beside').count(), 0, 'it would push the others away');
    await page.mouse.move(5, 5);
    await until('it stops', async () => (await page.locator('.shot video').count()) === 0);
    await card(page, 'beside').waitFor();
    assert.equal(await page.locator('.card').first().getAttribute('data-name'), 'beside');
  });
});

test('filters are chips in the address', async () => {
  await at('/videos?label=project%3Dspring&q=樱花', {}, async (page) => {
    assert.equal(await page.locator('.card').count(), 4);
    assert.deepEqual((await page.locator('.badges').allTextContents()).sort(), ['seed 1', 'seed 2', 'seed 3', 'seed 4']);
    await page.getByRole('link', { name: 'Remove filter: “樱花”' }).click();
    await page.waitForURL('**/videos?label=project%3Dspring');
    await page.getByLabel('Kind').selectOption('audio');
    await page.waitForURL(/kind=audio/);
    await page.locator('.chips').getByText('Sound').waitFor();
    assert.deepEqual(await page.locator('.card').evaluateAll((all) => all.map((one) => one.dataset.name)), ['song']);
  });
});

test('viewer moves, plays, rates and undoes by keys alone', async () => {
  await at('/videos?label=project%3Dspring&q=樱花', {}, async (page) => {
    const order = await page.locator('.card').evaluateAll((all) => all.map((one) => one.dataset.name));
    await page.keyboard.press('Enter');
    await viewed(page, order[0]);
    const video = view(page).locator('video');
    await moves(video);
    await page.keyboard.press(' ');
    await until('a pause', () => video.evaluate((v) => v.paused));
    const before = await video.evaluate((v) => v.currentTime);
    await page.keyboard.press('.');
    await until('a frame on', async () => { const step = (await video.evaluate((v) => v.currentTime)) - before; return step > 0.01 && step < 0.21; });
    const muted = await video.evaluate((v) => v.muted);
    await page.keyboard.press('m');
    assert.equal(await video.evaluate((v) => v.muted), !muted);
    await page.keyboard.press('l');
    assert.equal(await video.evaluate((v) => v.loop), false);
    await page.keyboard.press('[');
    assert.equal(await video.evaluate((v) => v.playbackRate), 0.5);
    await page.keyboard.press('f');
    await until('the full screen', () => page.evaluate(() => document.fullscreenElement?.id === 'viewer-content'));
    await page.keyboard.press('4');
    await rated(order[0], 4);
    await page.keyboard.press('ArrowRight');
    await viewed(page, order[1]);
    assert.equal(await page.evaluate(() => document.fullscreenElement?.id), 'viewer-content', 'it stays full');
    await page.keyboard.press('f');
    // What was chosen stays.
    assert.deepEqual(await view(page).locator('video').evaluate((v) => [v.playbackRate, v.loop]), [0.5, false]);
    await page.keyboard.press('x');
    await rated(order[1], 0);
    assert.equal(await card(page, order[1]).getAttribute('data-rating'), '0');
    await page.keyboard.press('u');
    await rated(order[1], null);
    await page.keyboard.press('u');
    await viewed(page, order[0]);
    await rated(order[0], null);
    const download = page.waitForEvent('download');
    await page.keyboard.press('d');
    assert.equal((await download).suggestedFilename(), basename(jobs[order[0]].files[0].path));
    await page.keyboard.press('Escape');
    await page.locator('#viewer').waitFor({ state: 'hidden' });
    await until('the focus on its card', async () => (await focused(page)) === order[0]);
    await until('the address of the grid', () => new URL(page.url()).hash === '');
  });
});

test('path is copied with and without a clipboard, and the job opens', async () => {
  for (const isPlain of [false, true]) {
    await at('/videos', { permissions: ['clipboard-read', 'clipboard-write'] }, async (page) => {
      if (isPlain) await page.evaluate(() => Object.defineProperty(navigator, 'clipboard', { value: undefined }));
      await shot(page, 'dawn').click();
      await viewed(page, 'dawn');
      await page.keyboard.press('c');
      await page.locator('#viewer-note').getByText('Path copied').waitFor();
      // Pasted, for the other way to read needs a clipboard.
      await page.evaluate(() => { const field = document.createElement('textarea'); document.querySelector('#viewer').append(field); field.focus(); });
      await page.keyboard.press('Control+V');
      assert.equal(await page.locator('#viewer > textarea').inputValue(), jobs.dawn.files[0].path);
      await page.evaluate(() => document.querySelector('#viewer-content').focus());
      await page.keyboard.press('o');
      await page.waitForURL(`**/jobs/${jobs.dawn.id}`);
    });
  }
});

test('browser button leads from the viewer back to the grid', async () => {
  await at('/videos', {}, async (page) => {
    await shot(page, 'dawn').click();
    await viewed(page, 'dawn');
    await page.keyboard.press('ArrowRight');
    await page.goBack();
    await page.locator('#viewer').waitFor({ state: 'hidden' });
    assert.equal(new URL(page.url()).pathname, '/videos');
    await page.goForward();
    await page.locator('#viewer[open] .view').waitFor();
  });
});

test('second output, picture and sound are shown in the viewer and on the job page', async () => {
  await at('/videos', {}, async (page) => {
    await shot(page, 'two', 2).click();
    await viewed(page, 'two', 2);
    await until('a picture', () => view(page).locator('video').evaluate((v) => v.videoWidth > 0 && v.readyState >= 2));
    assert.equal(await view(page).locator('.all-outputs a').count(), 2);
    await view(page).locator('.all-outputs a').first().click();
    await viewed(page, 'two', 1);
    await page.keyboard.press('3');
    await rated('two', 3, 0);
    assert.equal(await ratingOf('two', 1), null, 'each output has its own');
    await leaveViewer(page);
    await shot(page, 'song').click();
    await moves(view(page).locator('audio'));
    await leaveViewer(page);
    await shot(page, 'still').click();
    await until('the picture', () => view(page).locator('.stage img').evaluate((image) => image.naturalWidth > 0));
    await leaveViewer(page);
    // Sound plays in the grid too; for longer than the two seconds that it has.
    await page.evaluate(() => {
      const { play } = HTMLMediaElement.prototype;
      HTMLMediaElement.prototype.play = function playAgain() { this.loop = true; return play.call(this); };
    });
    const play = page.getByRole('button', { name: 'Play: song' });
    await play.click();
    await until('it sounds', async () => (await play.getAttribute('aria-pressed')) === 'true');
    await play.click();
    assert.equal(await play.getAttribute('aria-pressed'), 'false');
  });
  await at(`/jobs/${jobs.two.id}`, {}, async (page) => {
    for (const video of await page.locator('#outputs video').all()) await until('its picture', () => video.evaluate((v) => v.videoWidth > 0));
  });
});

test('grid is rated and chosen from by keys', async () => {
  await at('/videos?q=樱花', {}, async (page) => {
    const order = await page.locator('.card').evaluateAll((all) => all.map((one) => one.dataset.name));
    await page.keyboard.press('ArrowRight');
    assert.equal(await focused(page), order[0]);
    await page.keyboard.press('5');
    await rated(order[0], 5);
    // The same again clears.
    await page.keyboard.press('5');
    await rated(order[0], null);
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press(' ');
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press(' ');
    await page.getByRole('button', { name: 'Compare 2' }).waitFor();
    await page.keyboard.press('c');
    await page.waitForURL('**/compare?*');
    assert.deepEqual(await page.locator('.pane').evaluateAll((all) => all.map((one) => one.dataset.name)), [order[1], order[2]]);
  });
});

test('rating outlives a page that was fetched before it', async () => {
  await at('/videos?q=樱花', {}, async (page) => {
    const order = await page.locator('.card').evaluateAll((all) => all.map((one) => one.dataset.name));
    let isFetched, release;
    const fetched = new Promise((done) => { isFetched = done; });
    const released = new Promise((done) => { release = done; });
    await page.route((url) => url.pathname === '/videos', async (route) => {
      const response = await route.fetch();
      isFetched();
      await released;
      await route.fulfill({ response });
    }, { times: 1 });
    await daemon.api(`jobs/${jobs.storm.id}/rate`, { rating: 3 });
    await fetched;
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('4');
    await rated(order[0], 4);
    const old = page.evaluate(() => new Promise((done) => { document.addEventListener('dropreel:refreshed', done, { once: true }); }));
    release();
    await old;
    assert.equal(await card(page, order[0]).getAttribute('data-rating'), '4');
    await page.keyboard.press('u');
    await rated(order[0], null);
  });
});

test('visit continues at the first video that was not seen', async () => {
  await at('/videos?q=樱花', {}, async (page) => {
    assert.equal(await page.locator('#watch-unseen span').textContent(), '4');
    await page.locator('#watch-unseen').click();
    await page.locator('#viewer[open] .view').waitFor();
    await until('it counts as seen', async () => (await page.locator('.unseen').count()) === 3);
    await page.keyboard.press('Escape');
    // Closing goes back in the history, which takes a moment.
    await page.waitForURL((url) => url.pathname === '/videos' && !url.hash && [...url.searchParams.keys()].join() === 'q');
    await page.reload();
    await page.locator('#connection.on').waitFor();
    const second = await page.locator('.card').nth(1).getAttribute('data-name');
    assert.equal(await focused(page), second);
  });
});

test('comparison has one playhead and one sound', async () => {
  await at(`/compare?o=${item('storm')}&o=${item('dawn')}`, {}, async (page) => {
    const times = () => page.locator('.pane video').evaluateAll((all) => all.map((video) => video.currentTime));
    const sounds = () => page.locator('.pane video').evaluateAll((all) => all.map((video) => !video.muted));
    await until('both are loaded', () => page.locator('.pane video').evaluateAll((all) => all.every((video) => video.readyState >= 2)));
    assert.deepEqual(await sounds(), [true, false]);
    await page.keyboard.press(' ');
    await until('both play at one playhead', async () => { const [one, other] = await times(); return Math.min(one, other) > 0.3 && Math.abs(one - other) < 0.25; });
    await page.keyboard.press('b');
    assert.deepEqual(await sounds(), [false, true]);
    await page.keyboard.press(' ');
    await until('both stop at one frame', async () => { const [a, b] = await times(); return Math.abs(a - b) < 0.001; });
    await page.locator('#position').fill('500');
    await until('both have sought', async () => { const [a, b] = await times(); return Math.abs(a - b) < 0.01 && a > 1; });
    // The picture of one, then a split.
    await page.keyboard.press('s');
    assert.equal(await page.locator('#split').isVisible(), true);
    await page.keyboard.press('a');
    assert.equal(await page.locator('#split').inputValue(), '100');
    const box = await page.locator('#pane-A video').boundingBox();
    assert.deepEqual(await page.locator('#pane-B video').boundingBox(), box, 'one lies over the other');
    await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width / 4, box.y + box.height / 2);
    await page.mouse.up();
    assert.ok(Math.abs(Number(await page.locator('#split').inputValue()) - 25) < 2);
    assert.deepEqual(await page.locator('mark').allTextContents(), ['in the storm', 'at dawn']);
    await page.keyboard.press('b');
    await page.keyboard.press('2');
    await rated('dawn', 2);
    await page.keyboard.press('u');
    await rated('dawn', null);
  });
});

test('siblings are compared from the job in one step', async () => {
  await at(`/jobs/${jobs['sakura-2'].id}`, {}, async (page) => {
    await page.getByRole('link', { name: 'Compare with 3 from the same file' }).click();
    await page.waitForURL('**/compare?*');
    assert.equal(await page.locator('.pane').count(), 4);
    assert.equal(await page.locator('.pane').first().getAttribute('data-name'), 'sakura-2');
    assert.deepEqual(await page.locator('tbody th').allTextContents(), ['seed']);
    await page.getByText(/\d equal/).click();
    await page.locator('dl').getByText('wan2.5-t2v').waitFor();
  });
});

test('grid continues at its end, and so does the viewer', async () => {
  const many = Array.from({ length: 60 }, (_, n) => clip(`many-${n}`, 'one of many'));
  daemon.drop('many.json', many);
  for (const { dropreel: { name } } of many) await daemon.job(name, 'succeeded');
  const { batch } = await daemon.api('jobs/many-0');
  await at(`/videos?batch=${batch}`, { viewport: { width: 1440, height: 500 } }, async (page) => {
    assert.equal(await page.locator('.card').count(), 48);
    await page.locator('.card').nth(47).locator('.shot').evaluate((shot) => shot.click());
    await page.locator('#viewer[open] .view').waitFor();
    await page.keyboard.press('ArrowRight');
    await until('the rest', async () => (await page.locator('.card').count()) === 60);
    await page.locator('#viewer-place').getByText('49 / 60').waitFor();
    assert.equal(await page.locator('#older a').count(), 0);
  });
  await at(`/videos?batch=${batch}`, { javaScriptEnabled: false }, async (page) => {
    await page.getByRole('link', { name: 'Older' }).click();
    await page.waitForURL(/cursor=/);
    assert.equal(await page.locator('.card').count(), 12);
  });
});

test('without scripts the grid is a list that leads to players and comparisons', async () => {
  await at('/videos?q=lighthouse', { javaScriptEnabled: false }, async (page) => {
    await page.getByLabel('Compare storm').check();
    await page.getByLabel('Compare dawn').check();
    await page.getByRole('button', { name: 'Compare' }).click();
    await page.waitForURL('**/compare?*');
    assert.equal(await page.locator('.pane video[controls]').count(), 2);
    await page.locator('.pane a.name').first().click();
    await page.waitForURL('**/videos/*/*');
    assert.equal(await page.locator('.stage video[controls]').count(), 1);
    assert.equal(await page.locator('.rate').count(), 0);
  });
});

test('hostile texts are shown as text', async () => {
  const texts = readFileSync(new URL('../hostile/injections.txt', import.meta.url), 'utf8').split('\n').filter((line) => line && !line.startsWith('#') && /[<>"'`{]/.test(line));
  const hostile = texts.map((text) => ({ model: 'wan2.5-t2v', prompt: text, [text]: text, dropreel: { name: text, labels: { project: text } } }));
  const accepted = await daemon.api('jobs', hostile);
  assert.equal(accepted.count, texts.length, JSON.stringify(accepted));
  await until('all jobs settled', async () => (await daemon.api('jobs?limit=500')).jobs.every((job) => ['succeeded', 'failed', 'cancelled', 'held'].includes(job.state)), 90);
  const done = (await daemon.api('jobs?limit=500')).jobs.filter((job) => job.batch === accepted.jobs[0].batch && job.state === 'succeeded');
  assert.ok(done.length >= 5, `${done.length}`);
  const paths = ['/videos', `/videos?q=${encodeURIComponent(texts[0])}&label=${encodeURIComponent(`project=${texts[1]}`)}`, `/videos/${done[0].id}/1`, `/compare?${done.slice(0, 4).map((job) => `o=${job.id}.1`).join('&')}`];
  for (const path of paths) {
    await at(path, {}, async (page) => {
      page.on('dialog', () => page.errors.push('a dialog opened'));
      if (path === '/videos') {
        await page.locator('.shot').first().click();
        await page.locator('#viewer[open] .view').waitFor();
      }
      assert.match(await page.title(), / · dropreel$/);
      assert.equal(await page.evaluate(() => document.querySelectorAll('main :is(script, iframe, style, [onerror], [onload], [onclick], [ontoggle])').length), 0);
    });
  }
});

test('pages pass the accessibility checks on every screen', async () => {
  const views = ['/videos', '/videos?q=nothing-like-it', '/videos?q=lighthouse#viewer', `/videos/${jobs.two.id}/2`, `/compare?o=${item('storm')}&o=${item('dawn')}`, '/compare'];
  for (const [screen, options] of [['wide', {}], ['phone', PHONE]]) {
    for (const [colorScheme, locale] of [['light', 'en-US'], ['dark', 'zh-CN']]) {
      for (const path of views) {
        await at(path, { ...options, colorScheme, locale, reducedMotion: 'reduce' }, async (page) => {
          if (path.endsWith('#viewer')) {
            await shot(page, 'dawn').click();
            await viewed(page, 'dawn');
          }
          await assertAccessible(page, `${path} on a ${screen} screen, ${colorScheme}, ${locale}`);
          if (screen === 'phone' && path === '/videos') {
            const small = await page.locator('.card .rate button').evaluateAll((all) => all.filter((one) => one.getBoundingClientRect().width < 44 || one.getBoundingClientRect().height < 44).length);
            assert.equal(small, 0, 'buttons fit a thumb');
          }
        });
      }
    }
  }
});
