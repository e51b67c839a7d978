// The parts of a submit: a text, or a file each. Says what is no job file before anything is sent.
import { t } from './texts.js';

/** Beginnings of files that people drop by mistake. */
const SIGNATURES = [
  ['is_picture', '\x89PNG'], ['is_picture', '\xff\xd8\xff'], ['is_picture', 'GIF8'], ['is_picture', 'BM'],
  ['is_media', '\x1aE\xdf\xa3'], ['is_pdf', '%PDF'], ['is_archive', '\x1f\x8b'], ['is_archive', 'Rar!'], ['is_archive', '7z\xbc\xaf'],
];
const ENDINGS = [
  ['is_picture', /\.(png|jpe?g|gif|webp|bmp|heic|heif|avif|tiff?|svg)$/i],
  ['is_media', /\.(mp4|mov|webm|mkv|avi|mp3|wav|m4a)$/i],
  ['is_spreadsheet', /\.(xlsx?|ods|numbers)$/i],
  ['is_document', /\.(docx?|odt|rtf|pages)$/i],
  ['is_archive', /\.(zip|rar|7z|gz|tgz|tar)$/i],
];
const JOB_FILE = /\.(json|jsonl|ndjson|csv)$/i;
const PROMPTS = /\.prompts\.txt$/i;
const JSON_TYPE = 'application/json';
const LINES_TYPE = 'application/x-ndjson';
const MEDIA_TYPES = { jsonl: LINES_TYPE, ndjson: LINES_TYPE, csv: 'text/csv' };
/** Longer files are refused by the daemon, and need not be read. */
const MAX_BYTES = 256 << 20;

/** Whether each line of the text holds a value of its own; one of them may be wrong. */
export function isLineFormat(text) {
  const parses = (part) => { try { JSON.parse(part); return true; } catch { return false; } };
  const lines = text.split('\n').map((line) => line.trim()).filter(Boolean);
  const begun = lines.filter((line) => line.startsWith('{'));
  return lines.length > 1 && lines[0].startsWith('{') && begun.length * 2 > lines.length && begun.some(parses) && !parses(text);
}

/** The part of a text, or none. */
export function textParts(text) {
  return text.trim() ? [{ id: `text ${text}`, title: '', name: '', body: text, mediaType: isLineFormat(text) ? LINES_TYPE : JSON_TYPE }] : [];
}

/** What a file is, if it is no job file: a sentence for people. */
async function mismatch(file) {
  const byName = ENDINGS.find(([, pattern]) => pattern.test(file.name));
  if (byName) return t(byName[0]);
  const beginning = String.fromCharCode(...new Uint8Array(await file.slice(0, 512).arrayBuffer()));
  const found = SIGNATURES.find(([, signature]) => beginning.startsWith(signature));
  if (found) return t(found[0]);
  if (beginning.slice(4, 8) === 'ftyp') return t('is_media');
  if (beginning.startsWith('RIFF')) return t(beginning.slice(8, 12) === 'WEBP' ? 'is_picture' : 'is_media');
  if (beginning.startsWith('PK\x03\x04')) return t('is_archive');
  if (!JOB_FILE.test(file.name) && !PROMPTS.test(file.name)) return t('is_unknown');
  const isWide = /^(\xff\xfe|\xfe\xff)/.test(beginning);
  return beginning.includes('\0') && !isWide ? t('is_binary') : null;
}

/**
 * The part of a file. Its content is read now: a file may be changed or gone when it is sent. A list of prompts gets the
 * rest of each job from `defaults`.
 */
export async function filePart(file, defaults) {
  const id = `file ${JSON.stringify([file.name, file.size, file.lastModified])}`;
  const mediaType = MEDIA_TYPES[file.name.split('.').pop().toLowerCase()] ?? JSON_TYPE;
  const part = { id, title: file.name, name: file.name, mediaType };
  try {
    part.problem = await mismatch(file);
    if (!part.problem && file.size > MAX_BYTES) part.problem = t('is_too_long');
    if (!part.problem) part.body = new Blob([await file.arrayBuffer()]);
    if (part.body && PROMPTS.test(file.name)) {
      const before = new Blob([JSON.stringify(defaults)]);
      Object.assign(part, { id: `${id} ${JSON.stringify(defaults)}`, mediaType: 'text/x-prompts', defaultsBytes: before.size, body: new Blob([before, part.body]) });
      part.note = t('with_form', { choices: [defaults.model, defaults.duration && t('seconds', { n: defaults.duration }), defaults.resolution, defaults.aspect_ratio].filter(Boolean).join(t('comma')) });
    }
  } catch {
    part.problem = t('is_unreadable');
  }
  return part;
}
