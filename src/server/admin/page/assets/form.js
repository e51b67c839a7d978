// The form for a job: its fields are those that the chosen model takes. A new job is made of them; of a job that is run again
// or edited, they show the text and change single values in it.
import { parseObject, withValue } from './json_text.js';
import { PictureField, isPicture } from './picture_field.js';
import { recallJson, remember } from './storage.js';
import { element, t } from './texts.js';

const RATIOS = ['16:9', '9:16', '1:1', '4:3', '3:4'];
const FORM = 'form';
const OTHER = 'other'; // the choice of a model that is not in the table
const NAMES = ['model', 'other', 'prompt', 'length', 'seconds', 'resolution', 'ratio', 'seed', 'repeat', 'name', 'labels'];
const PICTURES = [['picture', 'image_urls'], ['first', 'first_frame'], ['last', 'last_frame']];
/** Where the value of each field is in the text of a job. */
const PATHS = {
  prompt: ['prompt'], picture: ['image_urls'], first: ['first_frame'], last: ['last_frame'], length: ['duration'], seconds: ['duration'],
  resolution: ['resolution'], ratio: ['aspect_ratio'], name: ['dropreel', 'name'], labels: ['dropreel', 'labels'],
};
/** What a choice of another model may change. */
const OF_MODEL = ['length', 'resolution', 'ratio'];

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

const writeLabels = (labels) => Object.entries(labels ?? {}).map(([key, value]) => `${key}=${value}`).join(', ');
const asList = (value) => (Array.isArray(value) ? value : [value]).filter((one) => typeof one === 'string' && one);

export class JobForm {
  /** `changed` is called when the job has changed. */
  constructor(panel, changed) {
    const field = (name) => panel.querySelector(`#form-${name}`);
    this.fields = Object.fromEntries(NAMES.map((name) => [name, field(name)]));
    this.changed = changed;
    this.pictures = Object.fromEntries(PICTURES.map(([name, key]) => [name, new PictureField(field(name), key, () => this.edited(name))]));
    this.models = JSON.parse(panel.dataset.models);
    // The job whose text is shown; none: the fields make a new one.
    this.rework = null;
    const listed = this.models.map(({ name }) => [name, name]);
    setOptions(this.fields.model, [...listed, [OTHER, t('other_model')]]);
    this.restore();
    panel.addEventListener('input', (event) => {
      const name = NAMES.find((one) => this.fields[one] === event.target);
      if (name) this.edited(name);
    });
  }

  get model() { return this.models.find(({ name }) => name === this.fields.model.value); }

  /** What was typed for a new job. */
  restore() {
    this.rework = null;
    const typed = recallJson(FORM, {});
    for (const [name, field] of Object.entries(this.fields)) {
      if (name === 'model') field.selectedIndex = 0;
      else if (field.matches('select')) field.replaceChildren();
      else field.value = field.defaultValue;
    }
    // Twice: the options of a model exist once it is chosen.
    for (let round = 0; round < 2; round += 1) {
      for (const name of NAMES) if (typed[name] !== undefined) this.fields[name].value = typed[name];
      this.update();
    }
    for (const [name] of PICTURES) this.pictures[name].value = asList(typed[name]);
    this.update();
  }

  save() {
    if (this.rework) return;
    const typed = Object.entries(this.fields).map(([name, field]) => [name, field.value]);
    const pictures = PICTURES.map(([name]) => [name, this.pictures[name].value]);
    remember(FORM, JSON.stringify(Object.fromEntries([...typed, ...pictures])));
  }

  /** Shows a job that is run again or edited. */
  show(rework) {
    this.rework = rework;
    const { fields } = this;
    const job = parseObject(rework.text) ?? {};
    const own = parseObject(JSON.stringify(job.dropreel ?? {})) ?? {};
    const text = (value) => (['string', 'number'].includes(typeof value) ? String(value) : '');
    setOptions(fields.seed, [
      ['keep', job.seed === undefined ? t('seed_none') : t('seed_keep', { seed: text(job.seed) })], ['new', t('seed_new')],
      ...(rework.isEdit ? [] : [['three', t('seed_three')]]),
    ]);
    const isKnown = this.models.some(({ name }) => name === job.model);
    Object.assign(fields.model, { value: isKnown ? job.model : OTHER });
    fields.other.value = isKnown ? '' : text(job.model);
    fields.prompt.value = text(job.prompt);
    fields.name.value = text(own.name);
    fields.labels.value = writeLabels(own.labels);
    this.shownLabels = fields.labels.value;
    [fields.seed.value, fields.repeat.value] = [rework.seed, rework.times];
    for (const [name, key] of PICTURES) this.pictures[name].show(asList(job[key]), rework.pictures);
    // What the model does not make is shown as it is.
    this.shown = { model: text(job.model), length: text(job.duration), resolution: text(job.resolution), ratio: text(job.aspect_ratio) };
    this.update();
    for (const name of OF_MODEL) fields[name].value = this.shown[name];
    fields.seconds.value = this.shown.length;
    this.update();
  }

  /** The choices of a field; of a job that is shown also its own. */
  options(name, options) {
    const own = this.rework && this.shown.model === (this.model?.name ?? this.fields.other.value) ? this.shown[name] : undefined;
    const isNew = own !== undefined && !options.some(([value]) => value === own);
    return isNew ? [[own, own === '' ? t('any_ratio') : own], ...options] : options;
  }

  /** Shows the fields that the model takes, with its choices. */
  update() {
    const { model, fields, pictures, rework } = this;
    const show = (name, isShown) => { (fields[name] ?? pictures[name].input).closest('.field, label').hidden = !isShown; };
    show('other', !model);
    show('picture', !model || model.takes_picture || pictures.picture.value.length);
    for (const name of ['first', 'last']) show(name, model?.takes_frames || pictures[name].value.length);
    show('seed', rework);
    show('repeat', !rework?.isEdit);
    pictures.picture.most = model?.max_pictures ?? Infinity;
    const lengths = model?.lengths ?? {};
    show('length', Boolean(lengths.one_of));
    show('seconds', !lengths.one_of);
    if (lengths.one_of) setOptions(fields.length, this.options('length', lengths.one_of.map((s) => [String(s), t('seconds', { n: s })])));
    fields.seconds.min = lengths.from ?? 1;
    fields.seconds.max = lengths.to ?? '';
    const resolutions = model?.resolutions ?? [];
    show('resolution', resolutions.length);
    setOptions(fields.resolution, this.options('resolution', resolutions.map(({ name }) => [name, name])), '720p');
    const isByPicture = model?.picture_decides_ratio && pictures.picture.value.length;
    show('ratio', !isByPicture || (rework && this.shown.ratio));
    const ratios = resolutions.find(({ name }) => name === fields.resolution.value)?.ratios ?? [];
    setOptions(fields.ratio, this.options('ratio', [['', t('any_ratio')], ...(ratios.length ? ratios : RATIOS).map((ratio) => [ratio, ratio])]));
  }

  edited(name) {
    const { fields, rework } = this;
    if (name === 'seed' && fields.seed.value === 'three') fields.repeat.value = 3;
    if (name === 'repeat' && fields.seed.value === 'three' && fields.repeat.value !== '3') fields.seed.value = 'new';
    this.update();
    if (rework) this.write(name);
    this.save();
    this.changed();
  }

  /** Writes a changed field into the text of the job. */
  write(name) {
    const { fields, rework } = this;
    const { model, dropreel, ...values } = this.job;
    const set = (path, value) => { rework.text = withValue(rework.text, path, value); };
    if (name === 'model' || name === 'other') {
      set(['model'], model);
      for (const one of OF_MODEL) set(PATHS[one], values[PATHS[one][0]]);
    } else if (name === 'seed' || name === 'repeat') {
      [rework.seed, rework.times] = [fields.seed.value, Math.max(1, Number(fields.repeat.value) || 1)];
    } else if (name === 'labels') {
      const labels = parseLabels(fields.labels.value);
      if (labels) set(PATHS.labels, Object.keys(labels).length ? labels : undefined);
    } else {
      const [key, own] = PATHS[name];
      set(PATHS[name], own ? dropreel?.[own] : values[key]);
    }
  }

  /** The job as it would be in a job file. */
  get job() {
    const isHidden = (name) => this.fields[name].closest('label').hidden;
    const value = (name) => (isHidden(name) ? '' : this.fields[name].value.trim());
    const whole = (name) => (/^\d+$/.test(value(name)) ? Number(value(name)) : undefined);
    const list = (name) => (this.pictures[name].isHidden ? [] : this.pictures[name].value);
    const repeat = this.rework ? undefined : whole('repeat');
    const labels = parseLabels(value('labels'));
    const own = { name: value('name') || undefined, labels: labels && Object.keys(labels).length ? labels : undefined, repeat: repeat > 1 ? repeat : undefined };
    return {
      model: this.model?.name ?? value('other'),
      prompt: value('prompt') || undefined,
      image_urls: list('picture').length ? list('picture') : undefined,
      first_frame: list('first')[0],
      last_frame: list('last')[0],
      duration: whole('length') ?? whole('seconds'),
      resolution: value('resolution') || undefined,
      aspect_ratio: value('ratio') || undefined,
      dropreel: Object.values(own).some((one) => one !== undefined) ? own : undefined,
    };
  }

  /** What it says besides the clip itself: the defaults of a list of prompts. */
  get defaults() {
    const { prompt, image_urls: pictures, first_frame: first, last_frame: last, dropreel, ...choices } = this.job;
    return { ...choices, dropreel: dropreel?.labels ? { labels: dropreel.labels } : undefined };
  }

  /** What keeps it from being submitted, in a sentence. */
  get problem() {
    const { value } = this.fields.labels;
    // Labels with commas in them cannot be typed here, but kept.
    if (!parseLabels(value) && !(this.rework && value === this.shownLabels)) return t('bad_labels');
    return Object.values(this.pictures).some((picture) => picture.isUploading) ? t('uploading') : undefined;
  }

  /** Its part; none while it is empty. */
  parts() {
    const pictures = Object.values(this.pictures);
    const isEmpty = !this.fields.prompt.value.trim() && pictures.every((picture) => !picture.value.length && !picture.isUploading);
    if (isEmpty) return [];
    const body = JSON.stringify(this.job, null, 1);
    return [{ id: `form ${body}`, title: '', name: '', body, mediaType: 'application/json', isForm: true, problem: this.problem }];
  }

  /** Takes pictures that were dropped or pasted at this place. Returns whether the form has a field for them. */
  takePictures(files, place) {
    const pictures = files.filter(isPicture);
    if (!this.model?.takes_picture && !this.model?.takes_frames && this.model && !this.rework) {
      const fitting = this.models.find((one) => one.takes_picture);
      if (!fitting) return false;
      this.fields.model.value = fitting.name;
      this.update();
    }
    const shown = Object.values(this.pictures).filter((picture) => !picture.isHidden);
    // Without a place: first `image_urls`, as many as the model takes.
    const target = shown.find((picture) => picture.field.contains(place)) ?? shown.find((picture) => picture.value.length < picture.most) ?? shown[0];
    target?.take(pictures);
    return Boolean(target);
  }

  /** After a submit: the next clip often differs in its prompt only. */
  clear() {
    for (const name of ['prompt', 'name']) this.fields[name].value = '';
    this.save();
  }
}
