// A job's own request in the sheet: it is run again with changes, or edited before it is submitted.
import { read, send } from './actions.js';
import { onLines, parseObject, valueText, withValue } from './json_text.js';
import { recallJson, remember } from './storage.js';
import { t } from './texts.js';

/** The request of a job with what was changed of it. Its text is all there is: the form shows it, too. */
export class Rework {
  constructor(kind, job, name, base, pictures) {
    const typed = recallJson(`${kind} ${job}`, {});
    // What was typed belongs to the text as it was then.
    const isCurrent = typed.base === base;
    Object.assign(this, { kind, job, name, base, pictures, text: base, seed: 'keep', times: 1 }, isCurrent ? typed : {});
  }

  /** Reads the request. Throws an object with `detail`. */
  static async of(kind, job) {
    const view = await read(`/api/v1/jobs/${job}`);
    let text = onLines(view.text);
    if (kind === 'again') {
      // The new job has a name and a time of its own.
      if (valueText(text, ['dropreel', 'name']) === JSON.stringify(view.name)) text = withValue(text, ['dropreel', 'name'], undefined);
      text = withValue(text, ['dropreel', 'not_before'], undefined);
    }
    return new Rework(kind, view.id, view.name, text, view.pictures ?? {});
  }

  get isEdit() { return this.kind === 'edit'; }

  get isChanged() { return this.text !== this.base || this.seed !== 'keep' || this.times !== 1; }

  /** Whether the form can show it. */
  get isObject() { return parseObject(this.text) !== null; }

  get title() { return t(this.isEdit ? 'edit_title' : 'again_title', { name: this.name }); }

  reset() { Object.assign(this, { text: this.base, seed: 'keep', times: 1 }); }

  /** The same changes for a new job: it was submitted before the edit was saved. */
  toAgain() {
    const text = withValue(this.text, ['dropreel', 'name'], undefined);
    const base = withValue(this.base, ['dropreel', 'name'], undefined);
    this.forget();
    const again = new Rework('again', this.job, this.name, base, this.pictures);
    return Object.assign(again, { text, seed: this.seed === 'three' ? 'new' : this.seed });
  }

  save() {
    const { base, text, seed, times } = this;
    remember(`${this.kind} ${this.job}`, this.isChanged ? JSON.stringify({ base, text, seed, times }) : '');
  }

  forget() { remember(`${this.kind} ${this.job}`, ''); }

  part(problem) {
    const request = { text: this.text, new_seed: this.seed !== 'keep', ...(this.isEdit ? {} : { times: this.times }) };
    const address = `/api/v1/jobs/${this.job}/${this.kind}`;
    return {
      id: `${this.kind} ${this.job} ${JSON.stringify(request)}`, title: '', name: '', rework: this, isForm: true, problem,
      check: () => send(address, JSON.stringify({ ...request, dry_run: true })),
      submit: (most, key) => send(`${address}${this.isEdit ? '' : `?max_cost_usd=${most}`}`, JSON.stringify(request), this.isEdit ? {} : { 'idempotency-key': key }),
    };
  }
}
