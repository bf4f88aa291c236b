// The language of the page. All texts stand in ../texts/, one file for each language, under the same keys.

import { DE } from "../texts/de.js";
import { EN } from "../texts/en.js";
import { readSetting, writeSetting } from "./settings.js";

const LANGUAGES = { en: EN, de: DE };

/** The languages that the page speaks, by the names that they give themselves. */
export const LANGUAGE_NAMES = { en: "English", de: "Deutsch" };

export const language = chosenLanguage();
const texts = LANGUAGES[language];
const plural = new Intl.PluralRules(language);

/** How numbers and times are written: as the browser wishes, if that is in the language of the page. */
export const locale = (navigator.languages ?? []).find((tag) => tag.startsWith(language)) ?? language;

function chosenLanguage() {
  const wished = [readSetting("language"), ...(navigator.languages ?? [])];
  const known = wished.map((tag) => String(tag).slice(0, 2)).find((tag) => tag in LANGUAGES);
  return known ?? "en";
}

/** Remembers the language and loads the page again, which keeps the form and what is selected. */
export function changeLanguage(code) {
  writeSetting("language", code);
  location.reload();
}

/**
 * Returns the text of a key. `{name}` in it is replaced by the value of that name. A text with a plural is an
 * object with the forms `one` and `other`, from which `count` chooses.
 */
export function t(key, values = {}) {
  let text = own(texts.page, key) ?? own(EN.page, key) ?? key;
  if (typeof text === "object") text = text[plural.select(values.count)] ?? text.other;
  return text.replace(/\{(\w+)\}/g, (whole, name) =>
    Object.hasOwn(values, name) ? String(values[name]) : whole,
  );
}

/** Returns the label of a field of the API. A field that the texts do not know yet shows its own name. */
export function fieldLabel(name) {
  return own(texts.fields, name) ?? own(EN.fields, name) ?? capitalized(name.replaceAll("_", " "));
}

/**
 * Returns the help of a field: a translation of what the server says, or else the server's own words. Those
 * speak about JSON; here the names of fields become their labels, and true, false and null what one sees.
 */
export function fieldHelp(name, description) {
  const translated = texts.help[name];
  if (translated) return translated;
  const text = (description ?? "")
    .replace(/`([a-z_]+)`/g, (whole, word) => (word in EN.fields ? `“${fieldLabel(word)}”` : word))
    .replace(/`/g, "")
    .replace(/\btrue: (\w)/g, (_, letter) => `On: ${letter}`)
    .replace(/\bfalse: (\w)/g, (_, letter) => `Off: ${letter}`)
    .replace(/\bnull\b/g, "empty");
  return capitalized(text);
}

/** Returns the name of a value of a field, such as a task; values without a name show themselves. */
export function valueLabel(field, value) {
  if (["true", "false"].includes(String(value))) return t(`value.${value}`);
  return texts.values[`${field}.${value}`] ?? EN.values[`${field}.${value}`] ?? String(value);
}

/** Returns the name of a language of lyrics in the language of the page. */
export function languageName(code) {
  if (code === "unknown") return t("language.unknown");
  try {
    return new Intl.DisplayNames([language], { type: "language" }).of(code) ?? code;
  } catch {
    return code;
  }
}

/** What an object itself has under a name. Names come from files, too, and each object inherits "constructor". */
function own(object, name) {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}

function capitalized(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
