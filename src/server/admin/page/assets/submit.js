// New jobs: files dropped onto the page or chosen, or pasted JSON. The daemon checks them with the rules of the inbox.
import { refresh } from './live.js';
import { send, toast, withJobs } from './actions.js';

const LINE_FILE = /\.(jsonl|ndjson)$/i;

/** Whether the text has one JSON value per line and is not JSON as a whole. */
function isLineFormat(text) {
  const isJson = (part) => { try { JSON.parse(part); return true; } catch { return false; } };
  const lines = text.split('\n').filter((line) => line.trim());
  return lines.length > 1 && !isJson(text) && lines.every(isJson);
}

/** The problems of a file, a line each. */
function problemLines(error, name) {
  const prefix = name ? `${name}: ` : '';
  if (!error.errors?.length) return [prefix + error.detail];
  const place = ({ line, column }) => document.body.dataset.atLine.replace('{line}', line).replace('{column}', column);
  return error.errors.map((one) => `${prefix}${place(one)}: ${one.pointer ? `${one.pointer} ` : ''}${one.message}`);
}

export function handleSubmit() {
  const dialog = document.querySelector('#submit');
  const form = dialog.querySelector('form');
  const text = dialog.querySelector('#submit-text');
  const chosen = dialog.querySelector('#submit-files');
  const list = dialog.querySelector('#submit-problems');
  const button = dialog.querySelector('[type=submit]');
  const dropTarget = document.querySelector('#drop-here');

  const showProblems = (lines) => list.replaceChildren(...lines.map((line) => {
    const item = document.createElement('li');
    item.textContent = line;
    return item;
  }));

  const submit = async (uploads) => {
    button.disabled = true;
    const problems = [];
    let added = 0;
    for (const { name, body, isLines } of uploads) {
      const address = `/api/v1/jobs${name ? `?name=${encodeURIComponent(name)}` : ''}`;
      try {
        added += (await send(address, body, isLines ? 'application/x-ndjson' : 'application/json')).count;
      } catch (error) {
        problems.push(...problemLines(error, uploads.length > 1 ? name : ''));
      }
    }
    button.disabled = false;
    showProblems(problems);
    if (added) {
      toast(withJobs(document.body.dataset.added, added));
      refresh();
    }
    if (problems.length) {
      if (!dialog.open) dialog.showModal();
    } else {
      form.reset();
      dialog.close();
    }
  };
  const fileUploads = (files) => [...files].map((file) => ({ name: file.name, body: file, isLines: LINE_FILE.test(file.name) }));

  document.querySelector('#open-submit').addEventListener('click', () => {
    showProblems([]);
    dialog.showModal();
    text.focus();
  });
  dialog.querySelector('[value=close]').addEventListener('click', () => dialog.close());
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const pasted = text.value.trim() ? [{ name: '', body: text.value, isLines: isLineFormat(text.value) }] : [];
    submit([...pasted, ...fileUploads(chosen.files)]);
  });

  // Files may be dropped anywhere on the page.
  const hasFiles = (event) => event.dataTransfer?.types.includes('Files');
  addEventListener('dragover', (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    dropTarget.hidden = false;
  });
  addEventListener('dragleave', (event) => { if (!event.relatedTarget) dropTarget.hidden = true; });
  addEventListener('drop', (event) => {
    dropTarget.hidden = true;
    if (!hasFiles(event)) return;
    event.preventDefault();
    submit(fileUploads(event.dataTransfer.files));
  });
}
