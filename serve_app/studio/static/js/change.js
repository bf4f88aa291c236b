// <studio-change>: makes a new song from the one that is shown: a part anew, more of it, a cover, or it again.

import { address } from "./api.js";
import { el, newId, setText } from "./dom.js";
import { formatOf } from "./download.js";
import { Field } from "./field.js";
import { clock, titleOf } from "./format.js";
import { t } from "./i18n.js";
import { canRepeat, makeSong, uploadsOf } from "./making.js";
import { anew, exactly, wishes } from "./requests.js";
import { Seed } from "./seed.js";
import { modelsFor, server, suitedSteps } from "./server.js";
import { songs } from "./songs.js";

const KINDS = ["part", "cover", "reference", "again"];
const ADDED_SECONDS = 10;

class Change extends HTMLElement {
  #deck = null;
  #job = null;
  #shownId = null;

  connectedCallback() {
    if (this.kinds) return;
    this.setAttribute("role", "group");
    const title = newId("change");
    this.setAttribute("aria-labelledby", title);
    const name = newId("kind");
    const kind = (value) => {
      const radio = el("input", {
        type: "radio",
        name,
        value,
        checked: value === "part",
        change: () => this.#showKind(),
      });
      return el("label", {}, radio, el("span", {}, t(`change.${value}`)));
    };
    this.kinds = el(
      "div",
      { role: "radiogroup", "aria-label": t("change.what"), class: "segments kinds" },
      KINDS.map(kind),
    );
    this.panels = {
      part: this.#makePart(),
      cover: this.#makeCover(),
      reference: this.#makeReference(),
      again: this.#makeAgain(),
    };
    this.error = el("p", { class: "error", role: "alert", "data-error-for": "change" });
    this.append(
      el("h3", { class: "part-title", id: title }, t("change.title")),
      this.kinds,
      ...Object.values(this.panels),
      this.error,
    );
    this.#showKind();
  }

  set deck(deck) {
    this.#deck = deck;
    deck.addEventListener("change", () => this.#showRegion());
  }

  #makeFields(task, names) {
    const able = modelsFor(task);
    const fields = {
      caption: new Field("caption", { rows: 3 }),
      lyrics: new Field("lyrics", { rows: 5 }),
      ...Object.fromEntries(
        names.filter((name) => server.fields.has(name)).map((name) => [name, new Field(name)]),
      ),
      batch_size: new Field("batch_size", { placeholder: String(server.models.default_batch_size) }),
    };
    if (able.length > 1) fields.model = new Field("model", { options: able.map((model) => [model, model]) });
    return { task, able, fields, seed: new Seed() };
  }

  #makePanel(panel, button, ...first) {
    const { caption, lyrics, ...rest } = panel.fields;
    const form = el("form", { novalidate: true, class: "panel", "aria-label": button.textContent });
    form.append(
      ...first,
      ...(panel.able.length ? [] : [el("p", { class: "note" }, t("change.noModel"))]),
      caption.element,
      lyrics.element,
      el(
        "div",
        { class: "pair" },
        Object.values(rest).map((field) => field.element),
        panel.seed.element,
      ),
      el("div", { class: "buttons" }, button),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      panel.submit();
    });
    return form;
  }

  #makePart() {
    const panel = (this.partFields = this.#makeFields("repaint", ["repaint_mode", "repaint_strength"]));
    this.regionText = el("p", { class: "region-text", role: "status" });
    const add = (name, region) =>
      el(
        "button",
        { type: "button", class: "quiet bordered", click: () => this.#deck.select(region()) },
        t(name),
      );
    const adders = el(
      "div",
      { class: "buttons" },
      add("change.addInFront", () => ({ start: -ADDED_SECONDS, end: 0 })),
      add("change.addAtEnd", () => ({ start: this.#deck.seconds, end: this.#deck.seconds + ADDED_SECONDS })),
    );
    this.partButton = el("button", { type: "submit", class: "primary" }, t("change.repaint"));
    panel.submit = () => this.#submitPart();
    return this.#makePanel(panel, this.partButton, this.regionText, adders);
  }

  #makeCover() {
    const panel = (this.coverFields = this.#makeFields("cover", [
      "audio_cover_strength",
      "cover_noise_strength",
    ]));
    this.coverButton = el("button", { type: "submit", class: "primary" }, t("change.makeCover"));
    panel.submit = () => this.#submitTask(panel, "cover", {});
    return this.#makePanel(panel, this.coverButton, el("p", { class: "note" }, t("change.coverNote")));
  }

  #makeReference() {
    this.referenceButton = el(
      "button",
      { type: "button", class: "primary", click: () => this.#useAsReference() },
      t("change.reference"),
    );
    return el(
      "div",
      { class: "panel" },
      el("p", { class: "note" }, t("change.referenceNote")),
      el("div", { class: "buttons" }, this.referenceButton),
    );
  }

  #makeAgain() {
    const button = (name, action, look = "secondary") =>
      el("button", { type: "button", class: look, click: action }, t(name));
    this.exactButton = button("change.exactly", () => this.#again("exact"));
    this.anewButton = button("change.anew", () => this.#again("again"));
    this.againNote = el("p", { class: "note" });
    return el(
      "div",
      { class: "panel" },
      this.againNote,
      el(
        "div",
        { class: "buttons" },
        this.exactButton,
        this.anewButton,
        button("change.edit", () => this.#edit(), "quiet bordered"),
      ),
    );
  }

  get #kind() {
    return this.kinds.querySelector("input:checked").value;
  }

  get #record() {
    return songs.get(this.#shownId);
  }

  /** The song as the API names it, without the token of a signed address; null where the server has it no more. */
  get #source() {
    const { take } = this.#deck;
    if (!take || take.state === "gone") return null;
    const { pathname } = address(take.path);
    return pathname.slice(pathname.indexOf("/v1/audio/"));
  }

  #showKind() {
    for (const [kind, panel] of Object.entries(this.panels)) panel.hidden = kind !== this.#kind;
    setText(this.error, "");
  }

  /** Shows what can be done with a song. The words of the song are filled in once for each song. */
  show(job, record) {
    this.#job = job;
    const id = job?.job_id ?? record?.id ?? null;
    const metas = job?.result?.metas ?? record?.result?.metas;
    this.hidden = !metas && !record?.request;
    if (id !== this.#shownId || (metas && !this.filled)) {
      this.#shownId = id;
      this.filled = Boolean(metas);
      for (const panel of [this.partFields, this.coverFields]) {
        for (const field of Object.values(panel.fields)) field.value = null;
        panel.fields.caption.value = metas?.caption ?? record?.request?.caption ?? "";
        panel.fields.lyrics.value = metas?.lyrics ?? record?.request?.lyrics ?? "";
        panel.fields.batch_size.value = 1;
        panel.seed.value = "";
      }
      setText(this.error, "");
    }
    this.exactButton.disabled = !canRepeat(record);
    this.anewButton.disabled = !record || !uploadsOf(record);
    const notes = [
      t("change.againNote"),
      record?.request ? "" : t("change.madeElsewhere"),
      record && !uploadsOf(record) ? t("change.uploadGone") : "",
    ];
    setText(this.againNote, notes.filter(Boolean).join(" "));
    this.#showRegion();
  }

  #showRegion() {
    if (!this.partButton) return;
    const { region, seconds } = this.#deck;
    const source = this.#source;
    const isExtending = Boolean(region && (region.start < 0 || region.end > seconds));
    setText(this.partButton, t(isExtending ? "change.extend" : "change.repaint"));
    this.partButton.disabled = !region || !source || !this.partFields.able.length;
    this.coverButton.disabled = !source || !this.coverFields.able.length;
    this.referenceButton.disabled = !source;
    const places = region ? { start: clock(region.start, true), end: clock(region.end, true) } : {};
    const key = !region ? "change.noRegion" : isExtending ? "change.extending" : "change.repainting";
    setText(this.regionText, t(key, places));
  }

  #submitPart() {
    const { region, seconds } = this.#deck;
    if (!region || this.partButton.disabled) return;
    const isExtending = region.start < 0 || region.end > seconds;
    // An end before the song means the part in front of it, which the API asks for with the end 0.
    const window = { repainting_start: region.start, repainting_end: Math.max(region.end, 0) };
    this.#submitTask(this.partFields, isExtending ? "extend" : "repaint", window);
  }

  #submitTask(panel, kind, window) {
    const { metas = {} } = this.#job.result;
    const model = panel.fields.model?.shown ?? panel.able[0];
    const values = Object.fromEntries(
      Object.entries(panel.fields).map(([name, field]) => [name, field.value]),
    );
    const format = formatOf(this.#deck.take);
    const facts = {
      bpm: metas.bpm,
      key_scale: metas.keyscale,
      time_signature: metas.timesignature,
      vocal_language: metas.language,
    };
    const request = {
      task_type: panel.task,
      src_audio_path: this.#source,
      audio_format: format,
      ...facts,
      ...values,
      model,
      ...suitedSteps(model),
      ...window,
      ...panel.seed.request,
    };
    const given = Object.fromEntries(
      Object.entries(request).filter(([, value]) => value !== undefined && value !== null && value !== ""),
    );
    this.#submit({ request: given, parent: this.#deck.take.owner, kind }, panel);
  }

  #again(kind) {
    const record = this.#record;
    const request = kind === "exact" ? exactly(record) : anew(record);
    this.#submit({
      request,
      parent: { id: record.id, item: this.#deck.current },
      kind,
      files: uploadsOf(record) ?? {},
    });
  }

  async #submit(making, panel = null) {
    setText(this.error, "");
    for (const field of Object.values(panel?.fields ?? {})) field.showError("");
    await makeSong(this, making, (error) => this.#showErrors(error, panel));
  }

  #showErrors(error, panel) {
    const rest = error.fieldErrors.length ? [] : [error.message];
    for (const { field: name, message } of error.fieldErrors) {
      const field = name === "seed" ? panel?.seed.field : panel?.fields[name];
      if (field) field.showError(message);
      else rest.push(name ? `${name}: ${message}` : message);
    }
    setText(this.error, rest.join(" "));
  }

  #edit() {
    const record = this.#record;
    const { audio_code_string: _codes, ...wished } = record ? wishes(record) : {};
    this.#toForm(wished, "again", (record && uploadsOf(record)) ?? {});
  }

  #useAsReference() {
    const { caption } = this.#job.result.metas;
    this.#toForm({ caption, reference_audio_path: this.#source }, "reference");
  }

  #toForm(request, kind, files = {}) {
    const origin = {
      id: this.#shownId,
      item: this.#deck.current,
      kind,
      title: titleOf(this.#job, this.#record),
    };
    this.dispatchEvent(new CustomEvent("edit", { bubbles: true, detail: { request, origin, files } }));
  }
}

customElements.define("studio-change", Change);
