// One field of the API as a control: label, help, input and the server's error, all from its description.

import { el, newId, setText } from "./dom.js";
import { fieldHelp, fieldLabel, locale, t, valueLabel } from "./i18n.js";
import { field as describe } from "./server.js";

/** A control for the field `name`. `value` is undefined while it stands at the server's default. */
export class Field {
  /**
   * `options` replaces the choices, as pairs of value and text. `suggestions` offers values without limiting
   * to them. `rows` makes a text of several lines. `choosable` marks a field that the model fills in where it
   * is empty. `openHelp` shows the help at all times instead of behind a button. `unset` is the text of a
   * first choice that chooses nothing, where the server tells the default from nothing. `always` sends the
   * default, too.
   */
  constructor(
    name,
    { label, options, suggestions, rows, placeholder, choosable, openHelp, after, unset, always } = {},
  ) {
    this.name = name;
    this.always = Boolean(always);
    this.unset = unset ?? null;
    this.facts = describe(name);
    this.label = label ?? fieldLabel(name);
    const id = newId(name);
    this.remark = el("p", { class: "note", role: "status" });
    this.error = el("p", { class: "error", role: "alert", id: `${id}-error`, "data-error-for": name });
    this.helpText = el("p", { class: "help", id: `${id}-help`, hidden: !openHelp }, this.#help());
    this.input = this.#makeInput(id, { options, suggestions, rows, placeholder: placeholder ?? "" });
    this.input.setAttribute("aria-describedby", `${id}-help ${id}-error`);
    this.input.addEventListener("input", () => this.#changed());
    this.initial = this.#read();
    const isFlag = this.facts.kind === "flag";
    const isGroup = this.facts.kind === "choices";
    const labelled = isGroup
      ? el("span", { class: "label", id: `${id}-label` }, this.label)
      : el("label", { for: id, class: "label" }, this.label);
    if (isGroup) this.input.setAttribute("aria-labelledby", `${id}-label`);
    this.chooser = choosable ? this.#makeChooser() : null;
    const line = el("div", { class: "control-line" }, this.input, this.chooser, after);
    const head = el("div", { class: "field-head" }, labelled, openHelp ? null : this.#makeHelpButton(id));
    const parts = isFlag ? [el("div", { class: "flag-line" }, this.input, head)] : [head, line];
    this.element = el(
      "div",
      { class: isFlag ? "field field-flag" : "field", "data-field": name },
      ...parts,
      this.helpText,
      this.remark,
      this.error,
    );
    this.#changed();
  }

  /** The value to send, or undefined where the server's default is meant. */
  get value() {
    const value = this.#read();
    const isGiven = value !== "" && value !== null && (this.always || !same(value, this.initial));
    return isGiven ? value : undefined;
  }

  /** The value as the control shows it, also where it is the default. */
  get shown() {
    return this.#read();
  }

  set value(value) {
    this.#write(value ?? this.#first);
    this.#changed();
  }

  /** What the control shows where nothing is given. */
  get #first() {
    return this.unset === null ? this.facts.default : "";
  }

  /** Shows the server's words about the value; the empty text takes them away. */
  showError(message) {
    setText(this.error, message);
    if (message) this.input.setAttribute("aria-invalid", "true");
    else this.input.removeAttribute("aria-invalid");
  }

  /** Shows a remark of the page about the field; the empty text takes it away. */
  showRemark(text) {
    setText(this.remark, text);
  }

  /** A sentence about what the number would have to be, where the text in the control is no number. */
  get problem() {
    return this.input.validity?.badInput ? t("field.notANumber") : "";
  }

  focus() {
    const folded = this.element.closest("details");
    for (let at = folded; at; at = at.parentElement.closest("details")) at.open = true;
    (this.input.matches("input, select, textarea") ? this.input : this.input.querySelector("input")).focus();
  }

  #help() {
    const { name, description, min, max, kind, default: first } = this.facts;
    const facts = [];
    const written = (value) => (typeof value === "number" ? value.toLocaleString(locale) : value);
    if (kind === "number" && min !== null && max !== null) {
      facts.push(t("field.range", { min: written(min), max: written(max) }));
    } else if (kind === "number" && max !== null) facts.push(t("field.max", { max: written(max) }));
    const isShort = ["number", "choice", "text"].includes(kind);
    const isNone = kind === "number" ? first === null : textOf(first) === "";
    if (isShort && !isNone) facts.push(t("field.default", { value: valueLabel(name, written(first)) }));
    return [fieldHelp(name, description), ...facts].filter(Boolean).join(" ");
  }

  #makeInput(id, { options, suggestions, rows, placeholder }) {
    const { name, kind, min, max, step, options: allowed, nullable } = this.facts;
    if (kind === "flag") return el("input", { type: "checkbox", id, checked: this.facts.default === true });
    if (kind === "choices") return this.#makeChecks(id, allowed);
    const choices =
      options ??
      (allowed && [
        ...(nullable ? [["", t("field.modelChooses")]] : []),
        ...allowed.map((value) => [value, valueLabel(name, value)]),
      ]);
    if (choices) {
      const select = el(
        "select",
        { id },
        this.unset === null ? null : el("option", { value: "" }, this.unset),
        choices.map(([value, text]) => el("option", { value }, text)),
      );
      select.value = this.#first ?? "";
      if (select.selectedIndex < 0) select.selectedIndex = 0;
      return select;
    }
    if (kind === "number") {
      const fine = min !== null && max !== null && max - min <= 1 ? "0.01" : step === "any" ? "0.5" : step;
      const input = el("input", {
        type: "number",
        id,
        min,
        max,
        step: fine,
        inputmode: "decimal",
        placeholder,
      });
      input.value = this.facts.default ?? "";
      return input;
    }
    const lines = rows ?? (kind === "long text" ? 2 : 0);
    const input = lines
      ? el("textarea", { id, rows: lines, dir: "auto", placeholder, spellcheck: "false" })
      : el("input", { type: "text", id, dir: "auto", placeholder, autocomplete: "off", spellcheck: "false" });
    input.value = textOf(this.facts.default);
    if (suggestions) {
      const list = el(
        "datalist",
        { id: `${id}-list` },
        suggestions.map((value) => el("option", { value })),
      );
      input.setAttribute("list", list.id);
      this.datalist = list;
      queueMicrotask(() => input.after(list));
    }
    return input;
  }

  #makeChecks(id, allowed) {
    const boxes = allowed.map((value) => {
      const box = el("input", { type: "checkbox", value });
      return el("label", { class: "chip" }, box, valueLabel(this.name, value));
    });
    return el("div", { role: "group", id, class: "chips" }, boxes);
  }

  #makeHelpButton(id) {
    const about = t("field.about", { field: this.label });
    const button = el(
      "button",
      {
        type: "button",
        class: "help-button",
        "aria-label": about,
        "aria-expanded": "false",
        "aria-controls": `${id}-help`,
        click: () => {
          this.helpText.hidden = !this.helpText.hidden;
          button.setAttribute("aria-expanded", String(!this.helpText.hidden));
        },
      },
      "?",
    );
    return button;
  }

  #makeChooser() {
    const button = el(
      "button",
      {
        type: "button",
        class: "quiet chooser",
        click: () => {
          this.value = null;
          this.input.dispatchEvent(new Event("input", { bubbles: true }));
          this.input.focus();
        },
      },
      t("field.auto"),
    );
    button.setAttribute("aria-label", t("field.letModelChoose", { field: this.label }));
    return button;
  }

  #changed() {
    if (this.error.textContent) this.showError("");
    if (this.chooser) this.chooser.hidden = this.input.value === "";
  }

  #read() {
    const { kind } = this.facts;
    if (kind === "flag") return this.input.checked;
    if (kind === "choices")
      return Array.from(this.input.querySelectorAll("input:checked"), (box) => box.value);
    if (kind === "number") return this.input.value === "" ? null : this.input.valueAsNumber;
    return this.input.value;
  }

  #write(value) {
    const { kind } = this.facts;
    if (kind === "flag") this.input.checked = value === true;
    else if (kind === "choices") {
      const chosen = textOf(value).split(/,\s*/);
      for (const box of this.input.querySelectorAll("input")) box.checked = chosen.includes(box.value);
    } else if (this.input.tagName === "SELECT") {
      this.input.value = value ?? "";
      if (this.input.selectedIndex < 0) this.input.selectedIndex = 0;
    } else if (kind === "number") this.input.value = value ?? "";
    else this.input.value = textOf(value);
  }
}

/**
 * The value of a field that is no number, as text. An array is written as the server reads it, and a seed of -1
 * is none at all.
 */
function textOf(value) {
  if (value === null || value === undefined || value === -1) return "";
  return Array.isArray(value) ? value.join(",") : String(value);
}

function same(first, second) {
  return Array.isArray(first) ? first.join() === second.join() : first === second;
}
