// The sheet for new jobs: a form, pasted JSON, or files dropped onto the page or chosen; and for a job that is run again or
// edited. What it holds is checked and priced at once; nothing is submitted before the button with the price is pressed.
import { refresh } from './live.js';
import { send, toast } from './actions.js';
import { JobForm } from './form.js';
import { isPicture } from './picture_field.js';
import { filePart, textParts } from './parts.js';
import { isReady, partView, total, totalView } from './review.js';
import { Rework } from './rework.js';
import { recall, recallJson, remember } from './storage.js';
import { dollars, jobs, t } from './texts.js';

const TYPING_PAUSE = 400; // milliseconds
const RETRY_AFTER = 3000; // milliseconds
const MAX_CHECKS = 3; // at a time
const REJECTED = 'urn:dropreel:problem:action-rejected';
const [TEXT, KEYS, TAB] = ['text', 'keys', 'tab'];

/** A key for each part, until the daemon has accepted it: a part that is sent again makes no second job. */
class Keys {
  constructor() { this.keys = new Map(recallJson(KEYS, [])); }

  of(part) {
    const id = `${part.id}${part.again ? ' again' : ''}`;
    if (!this.keys.has(id)) this.keys.set(id, crypto.getRandomValues(new Uint32Array(4)).join('-'));
    remember(KEYS, JSON.stringify([...this.keys].slice(-50)));
    return this.keys.get(id);
  }

  forget(part) {
    for (const id of [part.id, `${part.id} again`]) this.keys.delete(id);
    remember(KEYS, JSON.stringify([...this.keys]));
  }
}

function address(path, part, parameters = {}) {
  const query = new URLSearchParams(Object.entries({
    name: part.name, again: part.again ? 'true' : '', defaults_bytes: part.defaultsBytes ?? '', defaults_name: part.defaultsBytes ? t('the_form') : '', ...parameters,
  }).filter(([, value]) => value));
  return `/api/v1/${path}${query.size ? `?${query}` : ''}`;
}
const mediaType = (part) => ({ 'content-type': part.mediaType });
// Without `again`: then a file that was accepted before is named.
const checkPart = (part) => (part.check ? part.check() : send(address('estimate', { ...part, again: false }), part.body, mediaType(part)));
const submitPart = (part, most, key) => (part.submit
  ? part.submit(most, key)
  : send(address('jobs', part, { max_cost_usd: most }), part.body, { ...mediaType(part), 'idempotency-key': key }));

class Sheet {
  constructor(dialog) {
    const find = (selector) => dialog.querySelector(selector);
    Object.assign(this, {
      dialog, keys: new Keys(), tab: recall(TAB) || 'form', parted: { form: [], json: [], files: [] }, isBusy: false, timer: null, round: 0,
      title: find('#submit-title'), text: find('#submit-text'), chosen: find('#submit-files'), review: find('#review'),
      status: find('#review-status'), button: find('[type=submit]'), tabs: [...dialog.querySelectorAll('[role=tab]')],
      // The job that is run again or edited; none: new jobs.
      rework: null, close: find('[value=close]'), startOver: find('#start-over'), newTitle: find('#submit-title').textContent,
    });
    this.text.value = recall(TEXT);
    this.form = new JobForm(find('#panel-form'), () => (this.rework ? this.reworked() : this.typing('form', this.form.parts())));
    Object.assign(this.parted, { form: this.form.parts(), json: textParts(this.text.value), rework: [] });
  }

  /** The parts that the button submits: those of the open tab. */
  get parts() { return this.parted[this.rework ? 'rework' : this.tab]; }

  get ready() { return this.parts.filter(isReady); }

  /** Whether some are not checked yet. */
  get isWaiting() { return this.parts.some((part) => !part.problem && !part.found); }

  open(tab) {
    if (this.rework) this.leave();
    this.show(tab);
    if (!this.dialog.open) this.dialog.showModal();
    ({ form: this.form.fields.prompt, json: this.text, files: this.title })[tab].focus();
    this.changed(0);
  }

  /** Opens on the request of a job. */
  async openRework(kind, job) {
    try {
      this.enter(await Rework.of(kind, job));
    } catch (error) {
      return toast(error.detail);
    }
    if (!this.dialog.open) this.dialog.showModal();
    const { prompt } = this.form.fields;
    (this.tab === 'form' ? prompt : this.text).focus();
    prompt.setSelectionRange(prompt.value.length, prompt.value.length);
  }

  enter(rework) {
    this.rework = rework;
    this.dialog.dataset.kind = rework.kind;
    this.show(rework.isObject ? 'form' : 'json');
    this.text.value = rework.text;
    if (rework.isObject) this.form.show(rework);
    this.reworked(0);
  }

  /** Shows what is typed for new jobs again. */
  leave() {
    this.rework = null;
    delete this.dialog.dataset.kind;
    this.parted.rework = [];
    this.text.value = recall(TEXT);
    this.form.restore();
    this.show(recall(TAB) || 'form');
  }

  /** The request of the job has changed. */
  reworked(pause = TYPING_PAUSE) {
    const { rework } = this;
    rework.save();
    this.startOver.hidden = !rework.isChanged;
    if (this.tab === 'form') this.text.value = rework.text;
    this.tabs.find((tab) => tab.dataset.tab === 'form').disabled = !rework.isObject;
    const part = rework.part(rework.isObject ? this.form.problem : undefined);
    const [before] = this.parted.rework;
    if (before?.id === part.id && before?.problem === part.problem) return;
    this.parted.rework = [part];
    this.changed(pause);
  }

  show(tab) {
    this.tab = tab;
    if (!this.rework) remember(TAB, tab);
    if (this.rework && tab === 'form') this.form.show(this.rework);
    this.title.textContent = this.rework?.title ?? this.newTitle;
    this.close.textContent = t(this.rework?.isEdit ? 'no_save' : 'no_submit');
    this.startOver.hidden = !this.rework?.isChanged;
    for (const one of this.tabs) {
      const isOpen = one.dataset.tab === tab;
      one.hidden = Boolean(this.rework) && one.dataset.tab === 'files';
      if (!this.rework) one.disabled = false;
      one.setAttribute('aria-selected', isOpen);
      one.tabIndex = isOpen ? 0 : -1;
      document.getElementById(one.getAttribute('aria-controls')).hidden = !isOpen;
    }
  }

  async add(files) {
    const known = new Set(this.parted.files.map((part) => part.id));
    for (const part of await Promise.all([...files].map((file) => filePart(file, this.form.defaults)))) if (!known.has(part.id)) this.parted.files.push(part);
    this.changed(0);
  }

  /** What is typed in a tab has changed. */
  typing(tab, parts) {
    if (parts[0]?.id === this.parted[tab][0]?.id && parts[0]?.problem === this.parted[tab][0]?.problem) return;
    this.parted[tab] = parts;
    this.changed(TYPING_PAUSE);
  }

  /** Something else is to be checked, after a pause. Meanwhile, what was found before stays. */
  changed(pause) {
    clearTimeout(this.timer);
    this.round += 1;
    if (pause && this.parts.length) this.renderButton();
    else this.render();
    this.timer = setTimeout(() => this.check(this.round), pause);
  }

  /** Checks and prices the parts that are not yet. */
  async check(round) {
    const waiting = this.parts.filter((part) => !part.problem && !part.found);
    const work = async () => {
      for (let part = waiting.shift(); part && round === this.round; part = waiting.shift()) {
        try {
          const answer = await checkPart(part);
          part.found = { ...answer, file: answer.files[0] };
        } catch (error) {
          if (error.isUnreachable) {
            part.failure = error.detail;
            waiting.length = 0;
            if (this.dialog.open && round === this.round) this.timer = setTimeout(() => this.check(round), RETRY_AFTER);
          } else {
            part.found = error.errors ? { file: { ok: false, errors: error.errors, warnings: [] } } : { problem: error.detail, isTooLate: error.type === REJECTED };
          }
        }
        if (part.found) part.failure = null;
        this.compare(part);
        this.render();
      }
    };
    await Promise.all(Array.from({ length: MAX_CHECKS }, work));
    if (round === this.round) this.render();
  }

  /** Says if the price has risen since the button was pressed. */
  compare(part) {
    if (part.pressedAt === undefined || !part.found?.file?.ok) return;
    part.rise = t('price_risen', { before: dollars(part.pressedAt), now: dollars(part.found.file.estimate_usd) });
    delete part.pressedAt;
  }

  render() {
    const focused = document.activeElement?.id;
    const { parts, ready, isWaiting } = this;
    const options = {
      isOnly: parts.length === 1,
      isForm: this.tab === 'form',
      onAgain: (part, again) => { part.again = again; this.render(); },
      onRemove: (part) => { this.drop(part); this.changed(0); this.chosen.focus(); },
      // What was typed for an edit that comes too late is not lost.
      onRunAgain: this.rework?.isEdit && this.rework.isObject ? () => { this.enter(this.rework.toAgain()); this.form.fields.prompt.focus(); } : null,
    };
    const list = document.createElement('ul');
    list.append(...parts.map((part, index) => partView(part, index, options)));
    this.review.replaceChildren(...(parts.length ? [list] : []), ...(ready.length && !isWaiting ? [totalView(ready)] : []));
    if (focused && document.activeElement?.id !== focused) document.getElementById(focused)?.focus();
    this.renderButton();
    // After a drop, Enter submits what is shown.
    if (!this.button.disabled && document.activeElement === this.title) this.button.focus();
  }

  renderButton() {
    const { ready, isWaiting } = this;
    const sum = total(ready);
    const { isEdit } = this.rework ?? {};
    const priced = t(isEdit ? 'save_job' : 'submit_jobs', { jobs: jobs(sum.jobs), cost: dollars(sum.usd) });
    const label = ready.length && !isWaiting ? priced : t(isEdit ? 'save' : 'submit');
    this.button.textContent = this.isBusy ? t(isEdit ? 'saving' : 'submitting') : label;
    this.button.disabled = this.isBusy || isWaiting || !ready.length;
    const status = isWaiting ? t('checking') : (ready.length ? label : '');
    if (this.status.textContent !== status) this.status.textContent = status;
    this.review.className = isWaiting ? 'stale' : '';
  }

  /** Submits each part by itself. What is accepted leaves the sheet, so that another press does not submit it again. */
  async submit() {
    const parts = this.ready;
    if (this.isBusy || this.button.disabled || !parts.length) return;
    this.isBusy = true;
    this.render();
    let [added, said] = [0, null];
    for (const part of parts) {
      Object.assign(part, { failure: null, rise: null });
      const { file } = part.found;
      // Nobody pays more than was shown: above it, the daemon accepts nothing and the new price is shown.
      const most = Math.max(file.range_usd[1], file.estimate_usd).toFixed(6);
      try {
        const answer = await submitPart(part, most, this.keys.of(part));
        added += answer.count ?? 0;
        said = part.rework && (answer.job ? t('saved', { name: answer.job.name }) : t('added_as', { names: answer.jobs.map(({ name }) => name).join(t('comma')) }));
        this.accepted(part);
      } catch (error) {
        if (error.type === 'urn:dropreel:problem:too-expensive') part.pressedAt = file.estimate_usd;
        else if (error.type !== 'urn:dropreel:problem:duplicate-job') part.failure = error.detail;
        // What the daemon refused is looked at again; a lost answer changes nothing.
        if (!error.isUnreachable) part.found = null;
      }
    }
    this.isBusy = false;
    if (added || said) {
      toast(said || t('added', { jobs: jobs(added) }));
      refresh();
    }
    const isDone = !this.parts.length;
    if (isDone && this.rework) this.leave();
    if (isDone) this.dialog.close();
    else if (!this.dialog.open) this.dialog.showModal();
    this.changed(0);
    if (!isDone) this.button.focus();
  }

  /** A part leaves the sheet. */
  drop(part) {
    for (const tab of Object.keys(this.parted)) this.parted[tab] = this.parted[tab].filter((one) => one !== part);
  }

  accepted(part) {
    this.keys.forget(part);
    this.drop(part);
    if (part.rework) return part.rework.forget();
    // What was typed meanwhile stays.
    if (textParts(this.text.value)[0]?.id === part.id) {
      this.text.value = '';
      remember(TEXT, '');
    }
    if (this.form.parts()[0]?.id === part.id) this.form.clear();
  }

  decline() {
    if (this.tab === 'files') this.parted.files = [];
    this.dialog.close();
  }
}

/** Moves between tabs with the arrow keys. */
function handleTabs(sheet) {
  const select = (tab) => { sheet.show(tab.dataset.tab); tab.focus(); sheet.changed(0); };
  for (const tab of sheet.tabs) {
    tab.addEventListener('click', () => select(tab));
    tab.addEventListener('keydown', (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const usable = sheet.tabs.filter((one) => !one.hidden && !one.disabled);
      if (step) select(usable.at((usable.indexOf(tab) + step) % usable.length));
    });
  }
}

/** The buttons that open the sheet on a job, also those added later. */
function handleReworks(sheet) {
  document.addEventListener('click', (event) => {
    const button = event.target.closest('[data-rework]');
    if (button) sheet.openRework(button.dataset.rework, button.dataset.job);
  });
  sheet.dialog.addEventListener('close', () => { if (sheet.rework && !sheet.isBusy) sheet.leave(); });
  sheet.startOver.addEventListener('click', () => {
    sheet.rework.reset();
    sheet.enter(sheet.rework);
    sheet.form.fields.prompt.focus();
  });
}

export function handleSubmit() {
  const sheet = new Sheet(document.querySelector('#submit'));
  const dropTarget = document.querySelector('#drop-here');
  handleTabs(sheet);
  handleReworks(sheet);
  document.querySelector('#open-submit').addEventListener('click', () => sheet.open(recall(TAB) || 'form'));
  sheet.close.addEventListener('click', () => sheet.decline());
  const textTyped = () => {
    if (sheet.rework) {
      sheet.rework.text = sheet.text.value;
      return sheet.reworked();
    }
    remember(TEXT, sheet.text.value);
    sheet.typing('json', textParts(sheet.text.value));
  };
  sheet.text.addEventListener('input', textTyped);
  sheet.dialog.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) sheet.submit();
  });
  sheet.chosen.addEventListener('change', () => {
    sheet.add([...sheet.chosen.files]);
    // The same file may be chosen again.
    sheet.chosen.value = '';
  });
  sheet.dialog.querySelector('form').addEventListener('submit', (event) => {
    event.preventDefault();
    sheet.submit();
  });
  const takeFiles = (files, place) => {
    if (files.every(isPicture) && takePictures(files, place)) return;
    // Files of an earlier drop that was not submitted are not bought with these.
    if (!sheet.dialog.open) sheet.parted.files = [];
    sheet.open('files');
    sheet.add(files);
  };

  /** Pictures go into the form, if the job of the sheet can have them. */
  const takePictures = (files, place) => {
    if (!sheet.dialog.open) sheet.open('form');
    return sheet.tab === 'form' && sheet.form.takePictures(files, place);
  };

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
    takeFiles([...event.dataTransfer.files], event.target);
  });
  // So may be pasted files, and JSON.
  document.addEventListener('paste', (event) => {
    const isTyping = event.target.closest('input, textarea');
    if (!sheet.dialog.open && (isTyping || document.querySelector('dialog:modal'))) return;
    const [files, text] = [[...event.clipboardData.files], event.clipboardData.getData('text').trim()];
    // A text that is copied from a document has a picture of itself beside it.
    if (isTyping && (text || !files.length)) return;
    if (files.length) {
      event.preventDefault();
      takeFiles(files, event.target);
    } else if (!sheet.rework && /^[{[]/.test(text)) {
      event.preventDefault();
      sheet.text.value = [sheet.text.value.trim(), text].filter(Boolean).join('\n');
      textTyped();
      sheet.open('json');
    }
  });
}
