// The adapters of a song: one line with a strength for each, and a choice of those that fit the music model.
// It has the members of a Field, so that the form treats it as one.

import { el, newId, setText } from "./dom.js";
import { fieldLabel, t } from "./i18n.js";
import { server } from "./server.js";

const STRENGTH = 1;

export class Adapters {
  name = "adapters";
  problem = "";
  #model = "";
  /** The input for the strength of each chosen adapter, by the adapter's name. */
  #chosen = new Map();

  constructor() {
    this.limits = server.fields.get(this.name).items.properties.scale;
    const id = newId(this.name);
    this.lines = el("div", {});
    this.choice = el("select", { id, input: () => this.#take() });
    this.remark = el("p", { class: "note", role: "status" });
    this.error = el("p", {
      class: "error",
      role: "alert",
      id: `${id}-error`,
      "data-error-for": this.name,
    });
    this.choice.setAttribute("aria-describedby", this.error.id);
    const label = el("label", { for: id, class: "label" }, fieldLabel(this.name));
    this.element = el(
      "div",
      { class: "block field", "data-field": this.name },
      label,
      this.lines,
      this.choice,
      this.remark,
      this.error,
    );
  }

  /** The adapters to send, or undefined where there are none. */
  get value() {
    return this.#chosen.size ? this.shown : undefined;
  }

  get shown() {
    return [...this.#chosen].map(([name, input]) => ({ name, scale: input.valueAsNumber }));
  }

  set value(adapters) {
    this.#chosen.clear();
    this.lines.replaceChildren();
    for (const { name, scale } of adapters ?? []) this.#add(name, scale ?? STRENGTH);
    this.#offer();
  }

  /** Offers the adapters that fit a music model. */
  follow(model) {
    if (model === this.#model) return;
    this.#model = model;
    this.#offer();
  }

  showError(message) {
    setText(this.error, message);
  }

  showRemark(text) {
    setText(this.remark, text);
  }

  focus() {
    this.choice.focus();
  }

  /** Whether the server has any adapter that can be used. */
  static get areThere() {
    return (server.models.adapters ?? []).some((adapter) => !adapter.problem);
  }

  #offer() {
    const fits = ({ models, problem }) => !problem && (!models.length || models.includes(this.#model));
    const names = server.models.adapters.filter(fits).map(({ name }) => name);
    const rest = names.filter((name) => !this.#chosen.has(name));
    this.choice.replaceChildren(
      el("option", { value: "" }, t("adapters.add")),
      ...rest.map((name) => el("option", { value: name }, name)),
    );
    this.choice.disabled = !rest.length;
  }

  #take() {
    const name = this.choice.value;
    if (!name) return;
    this.#add(name, STRENGTH);
    this.#offer();
    this.showError("");
    this.#chosen.get(name).focus();
  }

  #add(name, scale) {
    const id = newId("strength");
    const { minimum: min, maximum: max } = this.limits;
    const input = el("input", {
      type: "number",
      id,
      min,
      max,
      step: "0.05",
      inputmode: "decimal",
      "aria-label": t("adapters.strength", { name }),
    });
    input.value = scale;
    const line = el(
      "div",
      { class: "control-line" },
      el("label", { for: id }, name),
      input,
      el(
        "button",
        {
          type: "button",
          class: "quiet",
          "aria-label": t("adapters.remove", { name }),
          click: () => {
            line.remove();
            this.#chosen.delete(name);
            this.#offer();
            this.choice.dispatchEvent(new Event("input", { bubbles: true }));
            this.focus();
          },
        },
        "×",
      ),
    );
    this.lines.append(line);
    this.#chosen.set(name, input);
  }
}

/** Adapters as one reads them: their names with their strengths. */
export function writtenAdapters(adapters) {
  return adapters.map(({ name, scale }) => `${name} × ${scale ?? STRENGTH}`).join(", ");
}
