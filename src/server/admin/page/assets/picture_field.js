// A field for pictures: dropped, pasted or chosen ones are uploaded, others are named by their public addresses.
import { send } from './actions.js';
import { element, t } from './texts.js';

const TYPES = ['image/png', 'image/jpeg', 'image/webp', 'image/bmp'];
const MAX_BYTES = 20 << 20;
const UPLOADED = /^[0-9a-f]{64}\.(png|jpg|webp|bmp)$/;

/** Whether a file is named or typed as a picture. */
export const isPicture = (file) => file.type.startsWith('image/') || /\.(png|jpe?g|gif|webp|bmp|heic|heif|avif|tiff?|svg)$/i.test(file.name);

/** A picture by what a request names it by; as a thumbnail if dropreel has it. */
function pictureView(name, content) {
  return UPLOADED.test(content)
    ? element('img', { src: `/pictures/${content}`, alt: '', title: name })
    : element('span', { className: 'picture-name', textContent: name });
}

export class PictureField {
  /** `changed` is called when the pictures have. */
  constructor(input, key, changed) {
    const field = input.closest('.field');
    const find = (selector) => field.querySelector(selector);
    Object.assign(this, { input, field, changed, most: key === 'image_urls' ? Infinity : 1, chosen: [], list: find('ul'), says: find('[role=status]') });
    this.isServed = field.dataset.served === 'true';
    input.addEventListener('input', () => this.changed());
    const file = find('[type=file]');
    file.addEventListener('change', () => {
      this.take([...file.files]);
      // The same file may be chosen again.
      file.value = '';
    });
  }

  get isHidden() { return this.field.hidden; }

  get isUploading() { return this.chosen.some(({ name, failure }) => !name && !failure); }

  /** What requests name them by. */
  get value() {
    return [...this.chosen.map(({ name }) => name).filter(Boolean), ...this.input.value.split(/\s+/).filter(Boolean)];
  }

  set value(names) { this.show(names, {}); }

  /** Shows these pictures; `contents` has the contents of those that are named by their paths. */
  show(names, contents) {
    // Public addresses can be changed as text.
    const isText = (name) => /^https?:/i.test(name);
    this.chosen = names.filter((name) => !isText(name)).map((name) => ({ name, content: contents[name] ?? name }));
    this.input.value = names.filter(isText).join(' ');
    this.says.textContent = '';
    this.render();
  }

  async take(files) {
    if (!this.isServed) {
      this.says.textContent = t('pictures_off');
      return;
    }
    const fits = this.most === 1 ? files.slice(0, 1) : files;
    if (this.most === 1) {
      this.chosen = [];
      this.input.value = '';
    }
    const added = fits.map((file) => ({ file }));
    this.chosen.push(...added);
    await Promise.all(added.map((one) => this.upload(one)));
  }

  async upload(one) {
    one.failure = one.file.size > MAX_BYTES ? t('picture_too_large') : null;
    this.render();
    this.changed();
    if (!one.failure) {
      try {
        const type = TYPES.includes(one.file.type) ? one.file.type : TYPES[0];
        const { name, warnings } = await send('/api/v1/pictures', one.file, { 'content-type': type });
        Object.assign(one, { name, warnings });
        // The same picture counts once.
        this.chosen = this.chosen.filter((other) => other === one || other.name !== name);
      } catch (error) {
        one.failure = error.detail;
        one.canRetry = error.isUnreachable;
      }
    }
    this.render();
    this.changed();
  }

  render() {
    this.list.replaceChildren(...this.chosen.map((one) => this.view(one)));
    const said = this.chosen.flatMap(({ file, failure, warnings }) => [...(failure ? [`${file.name}${t('colon')}${failure}`] : []), ...(warnings ?? []).map((text) => t('picture_warning', { text }))]);
    this.says.textContent = this.isUploading ? t('uploading') : said.join(' ');
    this.says.className = this.chosen.some(({ failure }) => failure) ? 'problem' : 'caution';
  }

  view(one) {
    const name = one.file?.name ?? one.name;
    const button = (text, label, act) => {
      const made = element('button', { type: 'button', textContent: text });
      made.setAttribute('aria-label', label);
      made.addEventListener('click', act);
      return made;
    };
    const remove = () => {
      this.chosen = this.chosen.filter((other) => other !== one);
      this.render();
      this.input.focus();
      this.changed();
    };
    return element('li', {},
      one.name ? pictureView(one.name, one.content ?? one.name) : element('span', { className: 'picture-name', textContent: name }),
      one.canRetry && one.failure ? button('↻', t('upload_again', { name }), () => this.upload(one)) : null,
      button('×', t('remove', { name }), remove));
  }
}
