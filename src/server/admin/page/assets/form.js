// The form for a new job: its fields are those that the chosen model takes, and its part is the job as JSON.
import { recallJson, remember } from './storage.js';
import { element, t } from './texts.js';

const RATIOS = ['16:9', '9:16', '1:1', '4:3', '3:4'];
const FORM = 'form';
const OTHER = 'other'; // the choice of a model that is not in the table

function setOptions(select, options, preferred) {
  const before = select.value;
  select.replaceChildren(...options.map(([value, text]) => element('option', { value, textContent: text })));
  const values = options.map(([value]) => value);
  select.value = [before, preferred, values[0]].find((value) => values.includes(value)) ?? '';
}

/** "project=spring, client=acme" as an object; `null` if a pair has no key or no value. */
export function parseLabels(text) {
  const pairs = text.split(/[,，]/).map((pair) => pair.trim()).filter(Boolean).map((pair) => pair.split(/=(.*)/s).map((part) => part?.trim()));
  return pairs.every(([key, value]) => key && value) ? Object.fromEntries(pairs.map(([key, value]) => [key, value])) : null;
}

export class JobForm {
  /** `changed` is called when the job has changed. */
  constructor(panel, changed) {
    const field = (name) => panel.querySelector(`#form-${name}`);
    const names = ['model', 'other', 'prompt', 'picture', 'length', 'seconds', 'resolution', 'ratio', 'repeat', 'name', 'labels'];
    this.fields = Object.fromEntries(names.map((name) => [name, field(name)]));
    this.models = JSON.parse(panel.dataset.models);
    const listed = this.models.map(({ name }) => [name, name]);
    setOptions(this.fields.model, [...listed, [OTHER, t('other_model')]]);
    const typed = recallJson(FORM, {});
    const restore = () => { for (const [name, value] of Object.entries(typed)) if (this.fields[name]) this.fields[name].value = value; };
    // Twice: the options of a model exist once it is chosen.
    restore();
    this.update();
    restore();
    this.update();
    panel.addEventListener('input', () => {
      this.update();
      this.save();
      changed();
    });
  }

  get model() { return this.models.find(({ name }) => name === this.fields.model.value); }

  save() {
    const typed = Object.entries(this.fields).map(([name, field]) => [name, field.value]);
    remember(FORM, JSON.stringify(Object.fromEntries(typed)));
  }

  /** Shows the fields that the model takes, with its choices. */
  update() {
    const { model, fields } = this;
    const show = (name, isShown) => { fields[name].closest('label').hidden = !isShown; };
    show('other', !model);
    show('picture', !model || model.takes_picture);
    fields.picture.required = Boolean(model?.needs_picture);
    const lengths = model?.lengths ?? {};
    show('length', Boolean(lengths.one_of));
    show('seconds', !lengths.one_of);
    if (lengths.one_of) setOptions(fields.length, lengths.one_of.map((s) => [String(s), t('seconds', { n: s })]));
    fields.seconds.min = lengths.from ?? 1;
    fields.seconds.max = lengths.to ?? '';
    const resolutions = model?.resolutions ?? [];
    show('resolution', resolutions.length);
    setOptions(fields.resolution, resolutions.map(({ name }) => [name, name]), '720p');
    const isByPicture = model?.picture_decides_ratio && fields.picture.value.trim();
    show('ratio', !isByPicture);
    const ratios = resolutions.find(({ name }) => name === fields.resolution.value)?.ratios ?? [];
    setOptions(fields.ratio, [['', t('any_ratio')], ...(ratios.length ? ratios : RATIOS).map((ratio) => [ratio, ratio])]);
  }

  /** The job as it would be in a job file. */
  get job() {
    const value = (name) => (this.fields[name].closest('label').hidden ? '' : this.fields[name].value.trim());
    const whole = (name) => (/^\d+$/.test(value(name)) ? Number(value(name)) : undefined);
    const repeat = whole('repeat');
    const labels = parseLabels(value('labels'));
    const own = { name: value('name') || undefined, labels: labels && Object.keys(labels).length ? labels : undefined, repeat: repeat > 1 ? repeat : undefined };
    return {
      model: this.model?.name ?? value('other'),
      prompt: value('prompt') || undefined,
      image_urls: value('picture') ? [value('picture')] : undefined,
      duration: whole('length') ?? whole('seconds'),
      resolution: value('resolution') || undefined,
      aspect_ratio: value('ratio') || undefined,
      dropreel: Object.values(own).some((one) => one !== undefined) ? own : undefined,
    };
  }

  /** What it says besides the clip itself: the defaults of a list of prompts. */
  get defaults() {
    const { prompt, image_urls: pictures, dropreel, ...choices } = this.job;
    return { ...choices, dropreel: dropreel?.labels ? { labels: dropreel.labels } : undefined };
  }

  /** Its part; none while it is empty. */
  parts() {
    const { prompt, picture, labels } = this.fields;
    if (!prompt.value.trim() && !picture.value.trim()) return [];
    const body = JSON.stringify(this.job, null, 1);
    const problem = parseLabels(labels.value) ? undefined : t('bad_labels');
    return [{ id: `form ${body}`, title: '', name: '', body, mediaType: 'application/json', isForm: true, problem }];
  }

  /** After a submit: the next clip often differs in its prompt only. */
  clear() {
    for (const name of ['prompt', 'name']) this.fields[name].value = '';
    this.save();
  }
}
