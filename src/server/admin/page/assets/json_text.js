// Reads and changes single values in the text of a JSON object. Everything else stays as it was written: a number with
// thirty digits would not survive a way through JavaScript's own numbers.

const STRING = /"(?:[^"\\]|\\.)*"/y;
const SCALAR = /[^\s,\]}]*/y;
const BLANKS = /\s*/y;

function after(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : text.length;
}

/** Where the value that begins here ends. */
function endOf(text, at) {
  if (text[at] === '"') return after(STRING, text, at);
  if (!'{['.includes(text[at])) return after(SCALAR, text, at);
  let depth = 0;
  for (let here = at; here < text.length;) {
    if (text[here] === '"') {
      here = after(STRING, text, here);
      continue;
    }
    if ('{['.includes(text[here])) depth += 1;
    else if ('}]'.includes(text[here])) depth -= 1;
    here += 1;
    if (!depth) return here;
  }
  return text.length;
}

/** The members of the object `text`, which must be one. */
function membersOf(text) {
  const members = [];
  let at = after(BLANKS, text, text.indexOf('{') + 1);
  while (text[at] === '"') {
    const keyEnd = endOf(text, at);
    const from = after(BLANKS, text, after(BLANKS, text, keyEnd) + 1);
    const to = endOf(text, from);
    members.push({ key: JSON.parse(text.slice(at, keyEnd)), begin: at, from, to });
    at = after(BLANKS, text, to);
    if (text[at] === ',') at = after(BLANKS, text, at + 1);
  }
  return members;
}

/** The JSON object in this text; null if the text is not one. */
export function parseObject(text) {
  try {
    const value = JSON.parse(text);
    return value && typeof value === 'object' && !Array.isArray(value) ? value : null;
  } catch { return null; }
}

/** The text of the value at `path` in the object `text`, if it is there. */
export function valueText(text, [key, ...rest]) {
  const member = membersOf(text).find((one) => one.key === key);
  const value = member && text.slice(member.from, member.to);
  return rest.length && value ? (parseObject(value) ? valueText(value, rest) : undefined) : value;
}

function replaceMember(text, key, value) {
  const members = membersOf(text);
  const at = members.findIndex((one) => one.key === key);
  const [member, before, next] = [members[at], members[at - 1], members[at + 1]];
  const cut = (from, to, put = '') => text.slice(0, from) + put + text.slice(to);
  if (member && value !== undefined) return cut(member.from, member.to, value);
  if (member) return before ? cut(before.to, member.to) : cut(member.begin, next?.begin ?? member.to);
  if (value === undefined) return text;
  const last = members.at(-1);
  const added = `${JSON.stringify(key)}: ${value}`;
  if (!last) return cut(text.indexOf('{') + 1, text.indexOf('{') + 1, added);
  // Between two members as between the last ones.
  const between = members.length > 1 ? text.slice(members.at(-2).to, last.begin) : ', ';
  return cut(last.to, last.to, between + added);
}

/** The object `text` with this value at `path`; without the member if it is `undefined`. Objects on the way are made. */
export function withValue(text, [key, ...rest], value) {
  if (!rest.length) return replaceMember(text, key, value === undefined ? undefined : JSON.stringify(value));
  const inner = valueText(text, [key]);
  const changed = withValue(inner && parseObject(inner) ? inner : '{}', rest, value);
  return replaceMember(text, key, membersOf(changed).length ? changed : undefined);
}

/** The object `text` with each member on a line of its own. */
export function onLines(text) {
  const lines = membersOf(text).map(({ key, from, to }) => ` ${JSON.stringify(key)}: ${text.slice(from, to)}`);
  return lines.length ? `{\n${lines.join(',\n')}\n}` : '{}';
}
