// Starts the daemon with the simulated provider, and a browser: one of each for a whole test run.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const BINARY = process.env.DROPREEL_BINARY ?? 'target/debug/dropreel';
const AXE = new URL('node_modules/axe-core/axe.min.js', import.meta.url);

export const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true };
/** Settings with which tasks are polled soon. */
export const QUICK = { DROPREEL_POLLING__CALLBACK_GRACE: '500ms', DROPREEL_POLLING__INTERVAL: '500ms', DROPREEL_POLLING__MAX_INTERVAL: '1s' };

/** A port that nobody uses, below those that the system gives to outgoing connections (ip_local_port_range). */
async function freePort() {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    const server = net.createServer();
    const isFree = await new Promise((done) => {
      server.once('error', () => done(false)).listen(port, '127.0.0.1', () => done(true));
    });
    if (!isFree) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
}

/** Repeats the check until it returns something truthy. */
async function until(what, check, seconds = 30) {
  const end = Date.now() + seconds * 1000;
  let last;
  while (Date.now() < end) {
    try {
      last = await check();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error(`${what}: not within ${seconds} s; last: ${last}`);
}

/** A daemon with its simulated provider. */
export class Daemon {
  static async start({ faults = [], runTime = '1s', settings = {} } = {}) {
    const daemon = new Daemon();
    daemon.folder = mkdtempSync(join(tmpdir(), 'dropreel-browser-'));
    [daemon.provider, daemon.publicPort, daemon.port] = [await freePort(), await freePort(), await freePort()];
    const flags = faults.flatMap((fault) => ['--fault', fault]);
    daemon.sandbox = daemon.spawn(['sandbox', '--listen', `127.0.0.1:${daemon.provider}`, '--run-time', runTime, '--balance', '1000', ...flags], {});
    daemon.settings = {
      DROPREEL_CONFIG: '/dev/null',
      DROPREEL_DATA_DIR: daemon.folder,
      DROPREEL_PROVIDER__BASE_URL: `http://127.0.0.1:${daemon.provider}`,
      DROPREEL_PROVIDER__API_KEY: 'sk-browser',
      DROPREEL_PROVIDER__SUBMIT_PER_SECOND: '100',
      DROPREEL_CALLBACKS__LISTEN: `127.0.0.1:${daemon.publicPort}`,
      DROPREEL_CALLBACKS__PUBLIC_URL: `http://127.0.0.1:${daemon.publicPort}`,
      DROPREEL_ADMIN__LISTEN: `127.0.0.1:${daemon.port}`,
      DROPREEL_DOWNLOADS__ALLOW_PRIVATE_ADDRESSES: 'true',
      DROPREEL_INBOX__SETTLE: '200ms',
      DROPREEL_INBOX__RESCAN: '1s',
      ...settings,
    };
    await until('the provider', async () => (await fetch(`http://127.0.0.1:${daemon.provider}/sandbox/ledger`)).ok);
    await daemon.serve();
    return daemon;
  }

  get address() { return `http://127.0.0.1:${this.port}`; }

  spawn(args, env) {
    const child = spawn(BINARY, args, { env: { PATH: process.env.PATH, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    child.output = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes) => { child.output += bytes; });
    return child;
  }

  async serve() {
    this.process = this.spawn(['serve'], this.settings);
    await until('the daemon', async () => {
      if (this.process.exitCode !== null) throw new Error(this.process.output);
      return (await fetch(`${this.address}/healthz`)).ok;
    });
  }

  async stop() {
    this.process.kill('SIGTERM');
    await once(this.process, 'exit');
  }

  drop(name, content) {
    const text = typeof content === 'string' ? content : JSON.stringify(content);
    writeFileSync(join(this.folder, 'inbox', `${name}.part`), text);
    renameSync(join(this.folder, 'inbox', `${name}.part`), join(this.folder, 'inbox', name));
  }

  async api(path, body) {
    const options = body === undefined ? {} : { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
    const response = await fetch(`${this.address}/api/v1/${path}`, options);
    return response.json();
  }

  /** Waits until the job has this state. */
  job(name, state) {
    return until(`${name} ${state}`, async () => {
      const job = await this.api(`jobs/${encodeURIComponent(name)}`);
      if (job.state === state) return job;
      throw new Error(`${job.state}: ${job.reason ?? JSON.stringify(job.error ?? job.detail)}`);
    });
  }

  async close() {
    this.process.kill('SIGKILL');
    this.sandbox.kill('SIGKILL');
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Debian's Chromium, headless. */
export function launchBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
}

/** A page that collects what the browser reports as errors. */
export async function openPage(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, locale: 'en-US', ...options });
  const page = await context.newPage();
  page.errors = [];
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) page.errors.push(message.text()); });
  page.on('pageerror', (error) => page.errors.push(String(error)));
  page.on('request', (request) => {
    if (!/^http:\/\/(127\.0\.0\.1|localhost):/.test(request.url()) && !request.url().startsWith('data:')) page.errors.push(`foreign request: ${request.url()}`);
  });
  return page;
}

/** Runs a check on the page at this path of a daemon; fails if the browser reported errors. */
export async function visit(browser, address, options, check) {
  const page = await openPage(browser, options);
  try {
    await page.goto(address);
    if (options?.javaScriptEnabled !== false) await page.locator('#connection.on').waitFor();
    await check(page);
    assert.deepEqual(page.errors, []);
  } finally {
    await page.context().close();
  }
}

/** Drops expected errors: the browser reports every answer that is not 2xx. */
export const expectErrors = (page, pattern) => { page.errors = page.errors.filter((text) => !pattern.test(text)); };

/** Fails if axe finds something wrong, or the page is wider than its window. */
export async function assertAccessible(page, where = page.url()) {
  // By the driver, which the content policy of the page does not bind.
  await page.evaluate(readFileSync(AXE, 'utf8'));
  const violations = await page.evaluate(async () => {
    const found = await window.axe.run(document, { resultTypes: ['violations'] });
    return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`);
  });
  assert.deepEqual(violations, [], where);
  await assertFits(page, where);
}

/** Fails if the page is wider than its window. */
export async function assertFits(page, where = page.url()) {
  const beyond = await page.evaluate(() => {
    const wider = document.documentElement.scrollWidth - document.documentElement.clientWidth;
    const culprits = [...document.querySelectorAll('body *')].filter((one) => one.getBoundingClientRect().right > innerWidth);
    return wider > 0 ? [`${wider} pixels`, ...culprits.map((one) => `${one.localName}.${one.className}: ${one.textContent.trim().slice(0, 40)}`)] : [];
  });
  assert.deepEqual(beyond, [], `${where} is too wide`);
}

export { until };
