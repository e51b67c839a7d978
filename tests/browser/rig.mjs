// The real daemon, the real simulated provider, a real browser. One of each for a whole run of tests.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const BINARY = process.env.DROPREEL_BINARY ?? 'target/debug/dropreel';

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

async function until(what, look, seconds = 30) {
  const end = Date.now() + seconds * 1000;
  let last;
  while (Date.now() < end) {
    try {
      last = await look();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error(`${what}: not within ${seconds} s; last seen: ${last}`);
}

/** A provider and a daemon. */
export class House {
  static async open({ faults = [], runTime = '1s', settings = {} } = {}) {
    const house = new House();
    house.folder = mkdtempSync(join(tmpdir(), 'dropreel-browser-'));
    [house.provider, house.publicPort, house.port] = [await freePort(), await freePort(), await freePort()];
    const flags = faults.flatMap((fault) => ['--fault', fault]);
    house.sandbox = house.start(['sandbox', '--listen', `127.0.0.1:${house.provider}`, '--run-time', runTime, '--balance', '1000', ...flags], {});
    house.settings = {
      DROPREEL_CONFIG: '/dev/null',
      DROPREEL_DATA_DIR: house.folder,
      DROPREEL_PROVIDER__BASE_URL: `http://127.0.0.1:${house.provider}`,
      DROPREEL_PROVIDER__API_KEY: 'sk-browser',
      DROPREEL_PROVIDER__SUBMIT_PER_SECOND: '100',
      DROPREEL_CALLBACKS__LISTEN: `127.0.0.1:${house.publicPort}`,
      DROPREEL_CALLBACKS__PUBLIC_URL: `http://127.0.0.1:${house.publicPort}`,
      DROPREEL_ADMIN__LISTEN: `127.0.0.1:${house.port}`,
      DROPREEL_DOWNLOADS__ALLOW_PRIVATE_ADDRESSES: 'true',
      DROPREEL_INBOX__SETTLE: '200ms',
      DROPREEL_INBOX__RESCAN: '1s',
      ...settings,
    };
    await until('the provider', async () => (await fetch(`http://127.0.0.1:${house.provider}/sandbox/ledger`)).ok);
    await house.serve();
    return house;
  }

  get address() { return `http://127.0.0.1:${this.port}`; }

  start(args, env) {
    const child = spawn(BINARY, args, { env: { PATH: process.env.PATH, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    child.said = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes) => { child.said += bytes; });
    return child;
  }

  async serve() {
    this.daemon = this.start(['serve'], this.settings);
    await until('the daemon', async () => {
      if (this.daemon.exitCode !== null) throw new Error(this.daemon.said);
      return (await fetch(`${this.address}/healthz`)).ok;
    });
  }

  async stop() {
    this.daemon.kill('SIGTERM');
    await once(this.daemon, 'exit');
  }

  drop(name, content) {
    const text = typeof content === 'string' ? content : JSON.stringify(content);
    writeFileSync(join(this.folder, 'inbox', `${name}.part`), text);
    renameSync(join(this.folder, 'inbox', `${name}.part`), join(this.folder, 'inbox', name));
  }

  async api(path, body) {
    const options = body === undefined ? {} : { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
    const answer = await fetch(`${this.address}/api/v1/${path}`, options);
    return answer.json();
  }

  /** The job of that name, once it is in that state. */
  job(name, state) {
    return until(`${name} ${state}`, async () => {
      const job = await this.api(`jobs/${encodeURIComponent(name)}`);
      if (job.state === state) return job;
      throw new Error(`${job.state}: ${job.reason ?? JSON.stringify(job.error ?? job.detail)}`);
    });
  }

  async close() {
    this.daemon.kill('SIGKILL');
    this.sandbox.kill('SIGKILL');
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Debian's browser, without a window. */
export function browse() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
}

/** A page that remembers every complaint of the browser's. */
export async function open(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, locale: 'en-US', ...options });
  const page = await context.newPage();
  page.complaints = [];
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) page.complaints.push(message.text()); });
  page.on('pageerror', (error) => page.complaints.push(String(error)));
  page.on('request', (request) => {
    if (!/^http:\/\/(127\.0\.0\.1|localhost):/.test(request.url()) && !request.url().startsWith('data:')) page.complaints.push(`asked ${request.url()}`);
  });
  return page;
}

export { until };
