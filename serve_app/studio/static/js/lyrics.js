// The lyrics: a text with buttons for the tags of sections, a counter, and "instrumental", which sings nothing.

import { el, setText } from "./dom.js";
import { Field } from "./field.js";
import { number } from "./format.js";
import { t } from "./i18n.js";

export const INSTRUMENTAL = "[Instrumental]";
const TAGS = {
  intro: "[Intro]",
  verse: "[Verse]",
  prechorus: "[Pre-Chorus]",
  chorus: "[Chorus]",
  bridge: "[Bridge]",
  break: "[Instrumental Break]",
  outro: "[Outro]",
};

export class Lyrics {
  constructor({ rows = 8 } = {}) {
    this.field = new Field("lyrics", { rows, placeholder: t("lyrics.placeholder") });
    this.field.input.classList.add("lyrics");
    this.counter = el("span", { class: "counter" });
    this.instrumental = el("input", { type: "checkbox", change: () => this.#changed() });
    const buttons = Object.entries(TAGS).map(([name, tag]) =>
      el("button", { type: "button", class: "tag", click: () => this.#insert(tag) }, t(`lyrics.${name}`)),
    );
    this.tags = el("div", { role: "group", "aria-label": t("lyrics.tags"), class: "tags" }, buttons);
    this.field.input.before(this.tags);
    this.field.element.querySelector(".control-line").classList.add("lyrics-line");
    this.field.error.before(el("div", { class: "under" }, this.counter));
    this.voice = el("label", { class: "switch" }, this.instrumental, t("lyrics.instrumental"));
    this.field.input.addEventListener("input", () => this.#changed());
    this.#changed();
  }

  get element() {
    return this.field.element;
  }

  /** The lyrics to send: undefined where none are given. */
  get value() {
    return this.instrumental.checked ? INSTRUMENTAL : this.field.value;
  }

  set value(text) {
    const isInstrumental = /^\s*\[(inst|instrumental)\]\s*$/i.test(text ?? "");
    this.instrumental.checked = isInstrumental;
    if (!isInstrumental) this.field.value = text ?? "";
    this.#changed();
  }

  #changed() {
    const { maxLength } = this.field.facts;
    const length = Array.from(this.field.input.value).length;
    const counts = { n: number(length), max: number(maxLength ?? 0) };
    setText(this.counter, t(maxLength ? "lyrics.counter" : "lyrics.counterOpen", counts));
    this.counter.classList.toggle("too-long", Boolean(maxLength) && length > maxLength);
    const isOff = this.instrumental.checked;
    this.field.input.disabled = isOff;
    for (const button of this.tags.children) button.disabled = isOff;
    this.field.element.classList.toggle("is-off", isOff);
  }

  /** Puts a tag on a line of its own, after an empty line if there is text before it. */
  #insert(tag) {
    const { input } = this.field;
    const before = input.value.slice(0, input.selectionStart);
    const gap =
      before.trim() === "" ? "" : before.endsWith("\n\n") ? "" : before.endsWith("\n") ? "\n" : "\n\n";
    input.setRangeText(`${gap}${tag}\n`, input.selectionStart, input.selectionEnd, "end");
    input.dispatchEvent(new Event("input", { bubbles: true }));
    input.focus();
  }
}
