// What a record of a song is, and the check of those that come from a file or from the browser's storage: these
// may hold anything.

const KINDS = ["new", "again", "exact", "repaint", "extend", "cover", "reference", "format"];
const UPLOADS = ["src_audio", "reference_audio"];
const DAY = 86_400;
const MOST_TAKES = 1000;

const isText = (value) => typeof value === "string";
const isPlain = (value) => isText(value) || typeof value === "boolean" || Number.isFinite(value);
const isNull = (value) => value === null || value === undefined;
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const isId = (value) => isText(value) && /^[\w-]{1,64}$/.test(value);
const isCount = (value) => Number.isInteger(value) && value >= 0 && value <= MOST_TAKES;
const isListOf = (fits) => (value) => Array.isArray(value) && value.every(fits);
const isAdapter = (value) =>
  isObject(value) && isText(value.name) && (isNull(value.scale) || Number.isFinite(value.scale));

/** What the result of a song holds, and how each part of it has to be. */
const RESULT = {
  metas: isObject,
  seed_value: isPlain,
  audio_codes: isListOf((codes) => codes === null || isText(codes)),
  generation_info: isText,
  count: isCount,
  lm_model: isText,
  dit_model: isText,
  adapters: isListOf(isAdapter),
  sampling: isText,
};
const NUMBERS = ["bpm", "duration"];

/**
 * Returns a record `{id, parent, kind, request, uploaded, created, result}` with what is sound of `value`, or
 * null where that is no record. `parent` is `{id, item}` or null; `kind` is one of KINDS; `request` is null of a
 * song that another program made; `uploaded` names the recordings that were sent with it; `result` is what is
 * worth keeping of the server's result, null before the end.
 */
export function checkedRecord(value) {
  if (!isObject(value) || !isId(value.id) || !isDate(value.created)) return null;
  const { id, parent, created, uploaded } = value;
  const isParent = isObject(parent) && isId(parent.id) && isCount(parent.item);
  return {
    id,
    parent: isParent ? { id: parent.id, item: parent.item } : null,
    kind: KINDS.includes(value.kind) ? value.kind : "new",
    request: isObject(value.request) ? fitting(value.request, isValue) : null,
    uploaded: Array.isArray(uploaded) ? UPLOADS.filter((name) => uploaded.includes(name)) : [],
    created,
    result: checkedResult(value.result),
  };
}

function checkedResult(value) {
  if (!isObject(value) || !isObject(value.metas)) return null;
  const result = fitting(value, (part, name) => Object.hasOwn(RESULT, name) && RESULT[name](part));
  const isMeta = (meta, name) => (NUMBERS.includes(name) ? Number.isFinite(meta) : isPlain(meta));
  return { ...result, metas: fitting(value.metas, isMeta) };
}

/** Whether a time is one at which a song may have been made. A clock may go wrong by a day. */
function isDate(seconds) {
  return Number.isFinite(seconds) && seconds >= 0 && seconds <= Date.now() / 1000 + DAY;
}

/** Whether a request may have a value under a name. */
function isValue(value, name) {
  return name === "adapters" ? isListOf(isAdapter)(value) : isPlain(value) || isListOf(isPlain)(value);
}

function fitting(values, fits) {
  return Object.fromEntries(Object.entries(values).filter(([name, value]) => fits(value, name)));
}
