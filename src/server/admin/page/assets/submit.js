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

/** A key for each part of the form, until the daemon has accepted it: a part that is sent again makes no second job. */
const keys = new Map();

function keyOf(part) {
  if (!keys.has(part.id)) keys.set(part.id, crypto.getRandomValues(new Uint32Array(4)).join('-'));
  return keys.get(part.id);
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

  /** Submits each part by itself. What is accepted leaves the form, so that another press does not submit it again. */
  const submit = async (parts) => {
    button.disabled = true;
    const problems = [];
    let added = 0;
    for (const part of parts) {
      const address = `/api/v1/jobs${part.name ? `?name=${encodeURIComponent(part.name)}` : ''}`;
      const type = part.isLines ? 'application/x-ndjson' : 'application/json';
      try {
        added += (await send(address, part.body, { 'content-type': type, 'idempotency-key': keyOf(part) })).count;
        keys.delete(part.id);
        part.isAccepted = true;
      } catch (error) {
        problems.push(...problemLines(error, parts.length > 1 ? part.name : ''));
      }
    }
    button.disabled = false;
    showProblems(problems);
    if (added) {
      toast(withJobs(document.body.dataset.added, added));
      refresh();
    }
    if (!problems.length) {
      form.reset();
      dialog.close();
      return;
    }
    // What was typed or chosen meanwhile stays.
    const accepted = new Set(parts.filter((part) => part.isAccepted).map((part) => part.id));
    if (pastedParts().some((part) => accepted.has(part.id))) text.value = '';
    const rest = new Map([...fileParts(chosen.files), ...parts.filter((part) => part.file)].map((part) => [part.id, part]));
    const files = new DataTransfer();
    for (const part of rest.values()) if (!accepted.has(part.id)) files.items.add(part.file);
    chosen.files = files.files;
    if (!dialog.open) dialog.showModal();
  };
  const pastedParts = () => (text.value.trim()
    ? [{ id: text.value, name: '', body: text.value, isLines: isLineFormat(text.value) }]
    : []);
  const fileParts = (files) => [...files].map((file) => ({
    id: JSON.stringify([file.name, file.size, file.lastModified]), name: file.name, body: file, file, isLines: LINE_FILE.test(file.name),
  }));

  document.querySelector('#open-submit').addEventListener('click', () => {
    showProblems([]);
    dialog.showModal();
    text.focus();
  });
  dialog.querySelector('[value=close]').addEventListener('click', () => dialog.close());
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    submit([...pastedParts(), ...fileParts(chosen.files)]);
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
    submit(fileParts(event.dataTransfer.files));
  });
}
