// The pictures of the README, made as a person would: real jobs, a real browser. To be looked at before they are kept.
import { mkdirSync } from 'node:fs';
import { House, browse, open } from './rig.mjs';

const FOLDER = 'docs/pictures';
mkdirSync(FOLDER, { recursive: true });
const house = await House.open({ settings: { DROPREEL_POLLING__CALLBACK_GRACE: '500ms', DROPREEL_POLLING__INTERVAL: '1s', DROPREEL_POLLING__MAX_INTERVAL: '1s' } });
const browser = await browse();
const film = (name, prompt, plan = '', more = {}) => ({ model: 'wan2.5-t2v', prompt: prompt + (plan && ` [sandbox: ${plan}]`), duration: 5, dropreel: { name, labels: { project: 'spring' } }, ...more });
try {
  const done = [
    film('sakura', '春天的樱花树下,花瓣随风飘落'),
    { ...film('portrait', 'she turns to the camera and smiles'), model: 'wan2.5-i2v', image_urls: ['https://example.com/her.png'] },
    film('lighthouse', 'a lighthouse in the storm, waves breaking, slow dolly in'),
    film('old-town', 'the old town from above at dusk, lights going on'),
    film('night-market', 'a night market in the rain, neon in the puddles'),
    film('mountain-train', 'a small red train crossing a viaduct in the snow'),
    film('tea-house', 'steam rising from a bowl of tea, morning light'),
    { ...film('harbour', 'boats leaving the harbour at dawn'), model: 'wan2.5-i2v', image_urls: ['https://example.com/b.png'] },
  ];
  for (const job of done) house.drop(`${job.dropreel.name}.json`, job);
  for (const job of done) await house.job(job.dropreel.name, 'succeeded');
  house.drop('twin.json', film('city-flight', 'flying low between towers at night', 'submit=same-id'));
  house.drop('fail.json', film('storm-at-sea', 'a ship in a storm', 'end=upstream_bad_request'));
  house.drop('trip.json', [film('trip-1', 'the road at sunrise, seen from the car', 'run=25s'), film('trip-2', 'the same road at noon', 'run=40s'), film('trip-3', 'the same road at night', 'run=60s')]);
  await house.job('city-flight', 'held');
  await house.job('storm-at-sea', 'failed');
  await house.job('trip-3', 'processing');
  await new Promise((done) => setTimeout(done, 9000));
  const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true };
  const pictures = [
    ['overview', '/', {}],
    ['overview-phone-dark-zh', '/', { ...phone, colorScheme: 'dark', locale: 'zh-CN' }],
  ];
  for (const [name, path, options] of pictures) {
    const page = await open(browser, { viewport: { width: 1280, height: 860 }, ...options });
    await page.goto(house.address + path);
    await page.locator('#connection.on').waitFor();
    await page.waitForTimeout(1500);
    // The prompts' orders to the simulated provider are nothing for a picture.
    await page.evaluate(() => document.querySelectorAll('.prompt').forEach((one) => { one.textContent = one.textContent.replace(/ \[sandbox:.*\]/, ''); }));
    await page.screenshot({ path: `${FOLDER}/${name}.png` });
    await page.context().close();
  }
} finally {
  await browser.close();
  await house.close();
}
