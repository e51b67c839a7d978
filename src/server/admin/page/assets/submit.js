// New jobs: files dropped on the page or chosen, or JSON pasted. Checked by the daemon with the rules of the inbox.
import { refresh } from './live.js';
import { send, toast } from './orders.js';

const LINES = /\.(jsonl|ndjson)$/i;

/** One object per line: the whole is no JSON, and each line is. */
function areLines(text) {
  const isJson = (one) => { try { JSON.parse(one); return true; } catch { return false; } };
  const lines = text.split('\n').filter((line) => line.trim());
  return lines.length > 1 && !isJson(text) && lines.every(isJson);
}

/** What is wrong with a file, a line each. */
function problems(error, name) {
  const before = name ? `${name}: ` : '';
  if (!error.errors?.length) return [before + error.detail];
  const place = (one) => document.body.dataset.atLine.replace('{line}', one.line).replace('{column}', one.column);
  return error.errors.map((one) => `${before}${place(one)}: ${one.pointer ? `${one.pointer} ` : ''}${one.message}`);
}

export function takeFiles() {
  const dialog = document.querySelector('#submit');
  const form = dialog.querySelector('form');
  const text = dialog.querySelector('#submit-text');
  const files = dialog.querySelector('#submit-files');
  const list = dialog.querySelector('#submit-problems');
  const button = dialog.querySelector('[type=submit]');
  const curtain = document.querySelector('#drop-here');

  const tell = (lines) => list.replaceChildren(...lines.map((line) => {
    const item = document.createElement('li');
    item.textContent = line;
    return item;
  }));

  const take = async (handed) => {
    button.disabled = true;
    const wrong = [];
    let taken = 0;
    for (const { name, body, lines } of handed) {
      const address = `/api/v1/jobs${name ? `?name=${encodeURIComponent(name)}` : ''}`;
      try {
        taken += (await send(address, body, lines ? 'application/x-ndjson' : 'application/json')).count;
      } catch (error) {
        wrong.push(...problems(error, handed.length > 1 ? name : ''));
      }
    }
    button.disabled = false;
    tell(wrong);
    if (taken) {
      toast(document.body.dataset.taken.replace('{n}', taken));
      refresh();
    }
    if (wrong.length) {
      if (!dialog.open) dialog.showModal();
    } else {
      form.reset();
      dialog.close();
    }
  };
  const handed = (chosen) => [...chosen].map((file) => ({ name: file.name, body: file, lines: LINES.test(file.name) }));

  document.querySelector('#open-submit').addEventListener('click', () => { tell([]); dialog.showModal(); text.focus(); });
  dialog.querySelector('[value=close]').addEventListener('click', () => dialog.close());
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const written = text.value.trim() ? [{ name: '', body: text.value, lines: areLines(text.value) }] : [];
    take([...written, ...handed(files.files)]);
  });

  // Files dropped anywhere on the page.
  const carriesFiles = (event) => event.dataTransfer?.types.includes('Files');
  addEventListener('dragover', (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    curtain.hidden = false;
  });
  addEventListener('dragleave', (event) => { if (!event.relatedTarget) curtain.hidden = true; });
  addEventListener('drop', (event) => {
    curtain.hidden = true;
    if (!carriesFiles(event)) return;
    event.preventDefault();
    take(handed(event.dataTransfer.files));
  });
}
