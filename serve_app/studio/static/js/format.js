// Times and names as people read them.

import { locale, t } from "./i18n.js";

/** Seconds as minutes and seconds: 83.4 → "1:23"; with `tenths` "1:23.4". Before zero with a minus sign. */
export function clock(seconds, tenths = false) {
  if (!Number.isFinite(seconds)) return String(seconds); // a project file may hold anything
  const unit = tenths ? 10 : 1;
  const whole = Math.round(Math.abs(seconds) * unit) / unit;
  const minutes = Math.floor(whole / 60);
  const rest = (whole - minutes * 60).toFixed(tenths ? 1 : 0).padStart(tenths ? 4 : 2, "0");
  return `${seconds < 0 && whole > 0 ? "−" : ""}${minutes}:${rest}`;
}

/** A span of time in its largest fitting unit: "12 s", "3 min", "5 h", "2 d". */
export function span(seconds) {
  if (seconds < 60) return t("span.seconds", { n: Math.max(0, Math.round(seconds)) });
  if (seconds < 5400) return t("span.minutes", { n: Math.round(seconds / 60) });
  if (seconds < 129_600) return t("span.hours", { n: Math.round(seconds / 3600) });
  const n = Math.round(seconds / 86_400);
  return t("span.days", { n, count: n });
}

const shortTime = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
const today = new Intl.DateTimeFormat(locale, { timeStyle: "short" });

/** A moment, given in epoch seconds: the time of today, or else the date. */
export function moment(seconds) {
  const date = new Date(seconds * 1000);
  return date.toDateString() === new Date().toDateString() ? today.format(date) : shortTime.format(date);
}

export function number(value, digits = 0) {
  return value.toLocaleString(locale, { maximumFractionDigits: digits, minimumFractionDigits: digits });
}

const LONGEST_TITLE = 70;

/** The name of a song: the beginning of its description. */
export function titleOf(job, record) {
  const metas = job?.result?.metas ?? record?.result?.metas ?? {};
  const request = record?.request ?? {};
  const words = metas.requested_caption || request.caption || request.sample_query || metas.caption || "";
  const first = String(words)
    .trim()
    .split(/[\n.!?。]/)[0]
    .trim();
  const letters = Array.from(first);
  if (letters.length > LONGEST_TITLE) return `${letters.slice(0, LONGEST_TITLE).join("").trim()}…`;
  const created = job?.created_at ?? record?.created;
  return first || (created ? t("title.ofTime", { time: moment(created) }) : t("title.unknown"));
}

const METRES = { 2: "2/4", 3: "3/4", 4: "4/4", 6: "6/8" };

/** A time signature as musicians write it; the language model writes "3" for "3/4". */
export function metre(text) {
  return METRES[text] ?? text;
}

/** The letter of a song of a batch: A, B, C, … */
export function takeName(item) {
  return item < 26 ? String.fromCharCode(65 + item) : String(item + 1);
}
