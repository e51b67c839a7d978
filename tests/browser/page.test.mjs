// The page in a real browser, against the real daemon and the simulated provider: node --test tests/browser
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { House, browse, open, until } from './rig.mjs';

const AXE = readFileSync(new URL('node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true };
const film = (name, plan = '', more = {}) => ({ model: 'wan2.5-t2v', prompt: `a film of ${name}${plan && ` [sandbox: ${plan}]`}`, duration: 5, dropreel: { name, labels: { project: 'spring' }, ...more } });
let house;
let browser;

before(async () => {
  house = await House.open({ settings: { DROPREEL_POLLING__CALLBACK_GRACE: '500ms', DROPREEL_POLLING__INTERVAL: '500ms', DROPREEL_POLLING__MAX_INTERVAL: '1s' } });
  browser = await browse();
  for (const name of ['sakura', 'lighthouse', 'old-town', 'tea-house']) house.drop(`${name}.json`, film(name));
  for (const name of ['sakura', 'lighthouse', 'old-town', 'tea-house']) await house.job(name, 'succeeded');
});
after(async () => { await browser?.close(); await house?.close(); });

/** A page at that address; what the browser complained of is judged at its end. */
async function at(path, options, judge) {
  const page = await open(browser, options);
  try {
    await page.goto(house.address + path);
    if (options?.javaScriptEnabled !== false) await page.locator('#connection.on').waitFor();
    await judge(page);
    assert.deepEqual(page.complaints, []);
  } finally {
    await page.context().close();
  }
}

/** What the browser says of answers that a test wants: it says so of each that is not 2xx. */
const excuse = (page, pattern) => { page.complaints = page.complaints.filter((text) => !pattern.test(text)); };
const said = (page) => page.locator('#toast').textContent();
const confirmed = async (page) => {
  await page.locator('#confirm [value=yes]').click();
  await page.locator('#confirm').waitFor({ state: 'hidden' });
};
const plays = (page, video) => until('the film plays', async () => {
  const [first, second] = [await video.evaluate((v) => v.currentTime), await (async () => { await page.waitForTimeout(200); return video.evaluate((v) => v.currentTime); })()];
  return second > first && first >= 0;
});

test('the wall plays a stored video under a pointer, and from one press to the next', async () => {
  await at('/', {}, async (page) => {
    const button = page.getByRole('button', { name: 'Play: sakura' });
    const video = button.locator('video');
    await button.scrollIntoViewIfNeeded();
    const isDrawn = (c) => c.width > 0 && c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((byte, place) => place % 4 < 3 && byte > 30);
    await until('its first picture', () => button.locator('canvas').evaluate(isDrawn));
    assert.equal(await video.getAttribute('src'), null, 'what does not play holds no connection');
    assert.equal(await video.evaluate((v) => v.paused), true);
    await button.hover();
    await plays(page, video);
    await page.mouse.move(0, 0);
    await until('it rests', () => video.evaluate((v) => v.paused));
    await button.focus();
    await page.keyboard.press('Enter');
    await plays(page, video);
    assert.equal(await button.getAttribute('aria-pressed'), 'true');
    // What happens elsewhere on the page does not disturb it.
    house.drop('beside.json', film('beside'));
    await page.getByRole('button', { name: 'Play: beside' }).waitFor();
    assert.equal(await video.evaluate((v) => v.paused), false);
    await page.keyboard.press('Enter');
    await until('it rests', () => video.evaluate((v) => v.paused));
  });
  await at('/jobs/sakura', {}, async (page) => {
    const video = page.locator('#outputs video');
    await video.evaluate((v) => { v.muted = true; return v.play(); });
    await plays(page, video);
    await video.evaluate((v) => { v.currentTime = 2; });
    await until('it has been sought', () => video.evaluate((v) => v.currentTime >= 2 && !v.seeking));
    await page.getByText('SHA-256').waitFor();
  });
});

test('a running job moves by itself, and scroll and focus stay where they are', async () => {
  house.drop('long.json', film('long-shot', 'run=6s'));
  await at('/', { viewport: { width: 1440, height: 500 } }, async (page) => {
    const bar = page.getByRole('progressbar', { name: 'Progress: long-shot' });
    await bar.waitFor();
    await page.locator('#search').focus();
    await page.keyboard.type('half a wor');
    await page.evaluate(() => scrollTo(0, 220));
    const first = Number(await bar.getAttribute('value'));
    await until('it moves', async () => Number(await bar.getAttribute('value')) > first + 15);
    assert.equal(await page.evaluate(() => Math.round(scrollY)), 220);
    assert.equal(await page.locator('#search').inputValue(), 'half a wor');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'search');
    await page.getByRole('button', { name: 'Play: long-shot' }).waitFor({ timeout: 20000 });
  });
});

test('what needs a person comes first, with what helps', async () => {
  house.drop('twin.json', film('twin', 'submit=same-id'));
  house.drop('storm.json', film('storm', 'end=task_failed'));
  const held = await house.job('twin', 'held');
  await house.job('storm', 'failed');
  await at('/', {}, async (page) => {
    const needs = page.locator('#needs');
    await needs.getByText('belongs to another job').waitFor();
    await needs.getByText('the task failed (task_failed)').waitFor();
    assert.equal(await needs.locator('.badge').textContent(), '2');
    // Nothing is done before the question is answered, and no is an answer.
    await needs.getByRole('button', { name: 'Release: twin' }).click();
    assert.match(await page.locator('#confirm-ask').textContent(), /may be billed a second time/);
    await page.locator('#confirm [value=no]').click();
    assert.equal((await house.api(`jobs/${held.id}`)).state, 'held');
    await needs.getByRole('button', { name: 'Cancel: twin' }).click();
    await confirmed(page);
    await house.job('twin', 'cancelled');
    await needs.getByRole('button', { name: 'Retry: storm' }).click();
    assert.match(await page.locator('#confirm-ask').textContent(), /Submit storm again\? It is billed as a new task\./);
    await confirmed(page);
    await until('the second try', async () => (await house.api('jobs/storm')).history.some((entry) => entry.event === 'retried'));
    await house.job('storm', 'failed');
  });
});

test('an order that is refused says why', async () => {
  house.drop('slow.json', film('slow', 'queue=60s'));
  await house.job('slow', 'queued');
  await at('/', {}, async (page) => {
    await page.getByRole('button', { name: 'Cancel: slow' }).click();
    await house.api('jobs/slow/cancel', {});
    await house.job('slow', 'cancelled');
    await page.locator('#confirm [value=yes]').click();
    await page.getByText('too late: it was cancelled').waitFor();
    await page.keyboard.press('Escape');
    excuse(page, /409/);
  });
});

test('jobs are submitted by pasting, with the places of what is wrong, and by dropping files', async () => {
  await at('/', {}, async (page) => {
    await page.getByRole('button', { name: 'New job' }).click();
    const text = page.locator('#submit-text');
    await text.fill('{"model": "wan2.5-t2v",\n "prompt": "x", "duration": "long",\n "dropreel": {"naem": "a"}}');
    await page.locator('#submit [type=submit]').click();
    await page.getByText('line 2, column 29: /duration').waitFor();
    await page.getByText(/line 3, column .*naem.*name/).waitFor();
    await text.fill(JSON.stringify(film('pasted')));
    await page.locator('#submit [type=submit]').click();
    await page.locator('#submit').waitFor({ state: 'hidden' });
    assert.equal(await said(page), 'Taken in: 1');
    await house.job('pasted', 'succeeded');

    await page.getByRole('button', { name: 'New job' }).click();
    await text.fill([film('line-1'), film('line-2')].map((job) => JSON.stringify(job)).join('\n'));
    await page.locator('#submit [type=submit]').click();
    await house.job('line-2', 'succeeded');

    const dropped = await page.evaluateHandle(([good, bad]) => {
      const files = new DataTransfer();
      files.items.add(new File([good], 'dropped.json', { type: 'application/json' }));
      files.items.add(new File([bad], 'broken.json', { type: 'application/json' }));
      return files;
    }, [JSON.stringify(film('dropped')), '{"model": ']);
    await page.dispatchEvent('#main', 'dragover', { dataTransfer: dropped });
    await page.getByText('Drop job files here').waitFor();
    await page.dispatchEvent('#main', 'drop', { dataTransfer: dropped });
    await page.getByText(/^broken\.json: /).waitFor();
    await house.job('dropped', 'succeeded');

    await page.locator('#submit [value=close]').click();
    await page.getByRole('button', { name: 'New job' }).click();
    writeFileSync(join(house.folder, 'chosen.jsonl'), `${JSON.stringify(film('chosen'))}\n`);
    await page.locator('#submit-files').setInputFiles(join(house.folder, 'chosen.jsonl'));
    await page.locator('#submit [type=submit]').click();
    await house.job('chosen', 'succeeded');
    excuse(page, /422|400/);
  });
});

test('filters and search are in the address, and orders for all of a filter name their count', async () => {
  for (const name of ['gone-1', 'gone-2', 'gone-3']) house.drop(`${name}.json`, film(name, 'end=task_failed', { labels: { batch: 'nine' } }));
  for (const name of ['gone-1', 'gone-2', 'gone-3']) await house.job(name, 'failed');
  await at('/', {}, async (page) => {
    await page.keyboard.press('/');
    await page.keyboard.type('gone-');
    await page.keyboard.press('Enter');
    await page.waitForURL('**/jobs?q=gone-');
    await page.locator('#connection.on').waitFor();
    assert.equal(await page.locator('.line').count(), 3);
    await page.locator('.tag', { hasText: 'batch=nine' }).first().click();
    await page.waitForURL('**/jobs?label=batch%3Dnine');
    await page.locator('select[name=state]').selectOption('failed');
    await page.getByRole('button', { name: 'Filter', exact: true }).click();
    await page.waitForURL(/state=failed&label=batch%3Dnine/);
    await page.locator('#connection.on').waitFor();
    await page.getByRole('button', { name: 'Retry all of these' }).click();
    await page.getByText('Submit 3 jobs again?').waitFor();
    await confirmed(page);
    assert.equal(await said(page), '3 jobs');
    for (const name of ['gone-1', 'gone-2', 'gone-3']) {
      await until('retried', async () => (await house.api(`jobs/${name}`)).history.some((entry) => entry.event === 'retried'));
    }
    await page.goBack();
    assert.equal(await page.locator('select[name=state]').inputValue(), '');
  });
});

test('a pause is ordered, shown on every page, and ended', async () => {
  await at('/jobs', {}, async (page) => {
    await page.locator('#menu summary').click();
    await page.getByRole('button', { name: 'Pause submits' }).click();
    await confirmed(page);
    await page.locator('#stop-paused_submits').waitFor();
    await page.goto(`${house.address}/jobs/sakura`);
    await page.locator('#connection.on').waitFor();
    await page.locator('#stop-paused_submits').getByRole('button', { name: 'Resume' }).click();
    await confirmed(page);
    await page.locator('#stop-paused_submits').waitFor({ state: 'detached' });
  });
});

test('what changes while the page looks is shown too', async () => {
  await at('/jobs', {}, async (page) => {
    let resumed = false;
    await page.route(`${house.address}/jobs`, async (route) => {
      const answer = await route.fetch();
      if (!resumed) {
        // After the answer was made, and before the page has it.
        resumed = true;
        await house.api('resume', {});
        await new Promise((done) => setTimeout(done, 300));
      }
      await route.fulfill({ response: answer });
    });
    await house.api('pause', {});
    await page.locator('#stop-paused_submits').waitFor();
    await page.locator('#stop-paused_submits').waitFor({ state: 'detached', timeout: 10_000 });
  });
});

test('when the daemon is gone the page says since when, and goes on when it is back', async () => {
  await at('/', {}, async (page) => {
    await house.stop();
    await page.getByText(/^Not live since .*; trying again$/).waitFor();
    await page.getByRole('button', { name: 'New job' }).click();
    await page.locator('#submit-text').fill('{}');
    await page.locator('#submit [type=submit]').click();
    await page.getByText('The daemon cannot be reached.').waitFor();
    await page.keyboard.press('Escape');
    await house.serve();
    house.drop('after.json', film('after'));
    await page.locator('#connection.on').waitFor();
    await page.getByRole('button', { name: 'Play: after' }).waitFor();
    excuse(page, /ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET/);
  });
});

test('it speaks Chinese to who wants it, and remembers who chose otherwise', async () => {
  await at('/', { locale: 'zh-CN' }, async (page) => {
    await page.getByRole('heading', { name: '最新视频' }).waitFor();
    assert.match(await page.locator('.wall time').first().textContent(), /前|刚刚/);
    await page.locator('#menu summary').click();
    await page.getByRole('link', { name: 'English' }).click();
    await page.getByRole('heading', { name: 'Newest videos' }).waitFor();
    await page.goto(`${house.address}/jobs`);
    await page.getByRole('heading', { name: 'Jobs' }).waitFor();
  });
});

test('all of it can be reached by the keyboard', async () => {
  await at('/', {}, async (page) => {
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.className), 'skip');
    await page.keyboard.press('Enter');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
    const names = new Set();
    for (let step = 0; step < 80; step += 1) {
      await page.keyboard.press('Tab');
      const seen = await page.evaluate(() => {
        const it = document.activeElement;
        const style = getComputedStyle(it);
        return { name: it.getAttribute('aria-label') ?? it.textContent.trim(), outlined: it === document.body || style.outlineStyle !== 'none' };
      });
      assert.ok(seen.outlined, `${seen.name} shows that it has the focus`);
      names.add(seen.name);
    }
    for (const name of ['Play: sakura', 'Retry: storm', 'New job', 'Menu']) assert.ok(names.has(name), `${name} is among ${[...names]}`);
    await page.getByRole('button', { name: 'New job' }).focus();
    await page.keyboard.press('Enter');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'submit-text');
    await page.keyboard.press('Escape');
    assert.equal(await page.locator('#submit').isVisible(), false);
    assert.equal(await page.evaluate(() => document.activeElement.id), 'open-submit');
  });
});

test('texts that want to be obeyed are shown and nothing more', async () => {
  const texts = readFileSync(new URL('../hostile/injections.txt', import.meta.url), 'utf8').split('\n').filter((line) => line && !line.startsWith('#'));
  const marks = texts.filter((text) => /[<>"'`{]/.test(text));
  assert.ok(texts.length >= 25 && marks.length >= 10);
  const wrong = await house.api('jobs', texts.map((text) => ({ model: 'wan2.5-t2v', prompt: text, dropreel: { name: text, labels: { project: text } } })));
  assert.equal(wrong.count, texts.length, JSON.stringify(wrong));
  house.drop('speaks.json', film('speaks', `end=failed:<img/src=x/onerror=document.title='hit'>`));
  await until('all at rest', async () => (await house.api('jobs?limit=500')).jobs.every((job) => ['succeeded', 'failed', 'cancelled', 'held'].includes(job.state)));
  for (const path of ['/', '/jobs', `/jobs?q=${encodeURIComponent(marks[0])}`, `/jobs/${wrong.jobs[0].id}`, '/jobs/speaks']) {
    await at(path, {}, async (page) => {
      page.on('dialog', () => page.complaints.push('a dialog was opened'));
      await page.waitForTimeout(200);
      assert.match(await page.title(), / · dropreel$/);
      assert.equal(await page.evaluate(() => document.querySelectorAll('main script, main iframe, main [onerror], main [onload], main [onclick], main style, main [style]').length), 0);
    });
  }
});

test('it is no hindrance to anybody, in no light, on no screen', async () => {
  house.drop('shown.json', [film('shown-1', 'run=60s'), film('shown-2', 'submit=same-id'), film('shown-3')]);
  await house.job('shown-1', 'processing');
  await house.job('shown-2', 'held');
  for (const [screen, options] of [['wide', {}], ['phone', PHONE]]) {
    for (const colorScheme of ['light', 'dark']) {
      for (const path of ['/', '/jobs?state=failed', '/jobs/shown-2', '/jobs/sakura', '/jobs?q=nothing-like-it']) {
        await at(path, { ...options, colorScheme, bypassCSP: true, reducedMotion: 'reduce' }, async (page) => {
          const look = async (where) => {
            const found = await page.evaluate(async (source) => {
              if (!window.axe) (0, eval)(source);
              const { violations } = await window.axe.run(document, { resultTypes: ['violations'] });
              return violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.target.join(' ')).join(', ')}`);
            }, AXE);
            assert.deepEqual(found, [], `${where} on a ${screen} screen, ${colorScheme}`);
          };
          await look(path);
          if (path === '/') {
            await page.getByRole('button', { name: 'New job' }).click();
            await look('the dialog for new jobs');
            await page.keyboard.press('Escape');
            await page.locator('#needs button').first().click();
            await look('the question');
          }
          const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
          assert.ok(wider <= 0, `${path} is ${wider} pixels wider than a ${screen} screen`);
        });
      }
    }
  }
  await house.api('jobs/shown-1/cancel', {});
});

test('without scripts it can be read', async () => {
  await at('/jobs?q=sakura', { javaScriptEnabled: false }, async (page) => {
    // The browser that is told not to run scripts still reads as one that could: what it would show is in the text.
    assert.match(await page.content(), /<noscript>.*Without scripts this page shows/s);
    await page.getByRole('link', { name: 'sakura' }).first().click();
    await page.getByRole('heading', { name: 'History' }).waitFor();
    assert.equal(await page.locator('button:visible').count(), 0);
  });
});
