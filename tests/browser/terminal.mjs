// Takes the screenshot of the terminal: the real demo in a pseudo-terminal, rendered by a terminal emulator.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { launchBrowser, openPage } from './rig.mjs';

const BINARY = process.env.DROPREEL_BINARY ?? 'target/debug/dropreel';
const [COLUMNS, ROWS, MOMENT] = [116, 8, 5500];
const asset = (name) => readFileSync(new URL(`node_modules/@xterm/xterm/${name}`, import.meta.url), 'utf8');

const chunks = [];
const began = Date.now();
const demo = spawn('script', ['-qec', `stty cols ${COLUMNS} rows ${ROWS}; PS1= ; printf '\\033[1m$\\033[0m dropreel demo\\r\\n'; ${BINARY} demo`, '/dev/null'], {
  env: { PATH: process.env.PATH, TERM: 'xterm-256color', LANG: 'C.UTF-8' }, stdio: ['ignore', 'pipe', 'inherit'],
});
demo.stdout.on('data', (bytes) => chunks.push([Date.now() - began, bytes]));
await new Promise((done) => demo.on('exit', done));

const browser = await launchBrowser();
const page = await openPage(browser, { viewport: { width: 1060, height: 240 }, deviceScaleFactor: 1.5 });
await page.setContent('<body style="margin:0;background:#16181b"><div id="screen" style="display:inline-block;padding:14px"></div>');
await page.addStyleTag({ content: asset('css/xterm.css') });
await page.addScriptTag({ content: asset('lib/xterm.js') });
const shown = chunks.filter(([at]) => at < MOMENT).map(([, bytes]) => bytes.toString('base64'));
await page.evaluate(async ([columns, rows, parts]) => {
  const terminal = new window.Terminal({ cols: columns, rows, fontSize: 14, fontFamily: 'DejaVu Sans Mono, monospace', theme: { background: '#16181b' }, cursorStyle: 'bar' });
  terminal.open(document.querySelector('#screen'));
  for (const part of parts) await new Promise((done) => terminal.write(Uint8Array.from(atob(part), (c) => c.charCodeAt(0)), done));
}, [COLUMNS, ROWS, shown]);
await page.waitForTimeout(500);
await page.locator('#screen').screenshot({ path: 'docs/pictures/demo.png' });
await browser.close();
