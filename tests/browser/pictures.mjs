// Takes the screenshots of the README with real jobs in a real browser. Look at them before you commit them.
import { mkdirSync } from 'node:fs';
import { Daemon, launchBrowser, openPage } from './rig.mjs';

const FOLDER = 'docs/pictures';
mkdirSync(FOLDER, { recursive: true });
const daemon = await Daemon.start({ settings: { DROPREEL_POLLING__CALLBACK_GRACE: '500ms', DROPREEL_POLLING__INTERVAL: '1s', DROPREEL_POLLING__MAX_INTERVAL: '1s' } });
const browser = await launchBrowser();
const clip = (name, prompt, plan = '', more = {}) => ({ model: 'wan2.5-t2v', prompt: prompt + (plan && ` [sandbox: ${plan}]`), duration: 5, dropreel: { name, labels: { project: 'spring' } }, ...more });
try {
  const done = [
    clip('sakura', '春天的樱花树下,花瓣随风飘落'),
    { ...clip('portrait', 'she turns to the camera and smiles'), model: 'wan2.5-i2v', image_urls: ['https://example.com/her.png'] },
    clip('lighthouse', 'a lighthouse in the storm, waves breaking, slow dolly in'),
    clip('old-town', 'the old town from above at dusk, lights going on'),
    clip('night-market', 'a night market in the rain, neon in the puddles'),
    clip('mountain-train', 'a small red train crossing a viaduct in the snow'),
    clip('tea-house', 'steam rising from a bowl of tea, morning light'),
    { ...clip('harbour', 'boats leaving the harbour at dawn'), model: 'wan2.5-i2v', image_urls: ['https://example.com/b.png'] },
  ];
  for (const job of done) daemon.drop(`${job.dropreel.name}.json`, job);
  for (const job of done) await daemon.job(job.dropreel.name, 'succeeded');
  daemon.drop('twin.json', clip('city-flight', 'flying low between towers at night', 'submit=same-id'));
  daemon.drop('fail.json', clip('storm-at-sea', 'a ship in a storm', 'end=upstream_bad_request'));
  daemon.drop('trip.json', [clip('trip-1', 'the road at sunrise, seen from the car', 'run=25s'), clip('trip-2', 'the same road at noon', 'run=40s'), clip('trip-3', 'the same road at night', 'run=60s')]);
  await daemon.job('city-flight', 'held');
  await daemon.job('storm-at-sea', 'failed');
  await daemon.job('trip-3', 'processing');
  await new Promise((done) => setTimeout(done, 9000));
  const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true };
  const pictures = [
    ['overview', '/', {}],
    ['overview-phone-dark-zh', '/', { ...phone, colorScheme: 'dark', locale: 'zh-CN' }],
  ];
  for (const [name, path, options] of pictures) {
    const page = await openPage(browser, { viewport: { width: 1280, height: 860 }, ...options });
    await page.goto(daemon.address + path);
    await page.locator('#connection.on').waitFor();
    await page.waitForTimeout(1500);
    // Hide the directives for the simulated provider.
    await page.evaluate(() => document.querySelectorAll('.prompt').forEach((one) => { one.textContent = one.textContent.replace(/ \[sandbox:.*\]/, ''); }));
    await page.screenshot({ path: `${FOLDER}/${name}.png` });
    await page.context().close();
  }
} finally {
  await browser.close();
  await daemon.close();
}
