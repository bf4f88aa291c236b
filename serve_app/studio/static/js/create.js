// <studio-create>: the form that makes songs. In simple mode the language model writes the song from one
// sentence into the same fields, which are shown and can be changed before the song is made.

import { Adapters } from "./adapters.js";
import { ApiError, postJson } from "./api.js";
import { el, newId, setText } from "./dom.js";
import { Field } from "./field.js";
import { metre } from "./format.js";
import { INSTRUMENTAL, Lyrics } from "./lyrics.js";
import { languageName, t } from "./i18n.js";
import { makeSong } from "./making.js";
import { RECORDINGS, TASK, advancedGroups } from "./placement.js";
import { Recording } from "./recording.js";
import { Seed } from "./seed.js";
import { languageModel, musicModel, server, suitedSteps } from "./server.js";
import { readJson, writeJson } from "./settings.js";
import { songs } from "./songs.js";

const KEYS = ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"];
const METRES = ["4/4", "3/4", "2/4", "6/8"];
const STEPS = "inference_steps";
const GUIDANCE = ["guidance_scale", "use_adg", "cfg_interval_start", "cfg_interval_end"];

class Create extends HTMLElement {
  /** The song that the form's wishes came from, as `{id, item}` and the kind of what is made from it. */
  #origin = null;
  /** The music model that the number of steps suits. */
  suited = musicModel("");

  connectedCallback() {
    if (this.form) return;
    this.#makeFields();
    this.form = el("form", {
      novalidate: true,
      "aria-label": t("create.title"),
      submit: (event) => this.#submit(event),
    });
    this.form.append(
      this.#makeModes(),
      this.#makeSentence(),
      this.#makeSong(),
      this.#makeMaking(),
      this.#makeRecordings(),
      this.#makeAdvanced(),
      this.#makeEnd(),
    );
    const heading = el("h2", { class: "pane-title", tabindex: "-1" }, t("create.title"));
    const anew = el(
      "button",
      { type: "button", class: "quiet", click: () => this.edit({}) },
      t("create.anew"),
    );
    this.append(el("div", { class: "pane-head" }, heading, anew), this.form);
    this.form.addEventListener("input", () => this.#changed());
    this.form.addEventListener("change", () => this.#changed());
    this.#restore();
    this.#changed();
  }

  #makeFields() {
    const { vocal_languages: languages } = server.models;
    const choose = { placeholder: t("field.modelChooses"), choosable: true };
    const keys = KEYS.flatMap((key) => [`${key} major`, `${key} minor`]);
    this.lyrics = new Lyrics();
    this.seed = new Seed();
    const fields = [
      new Field("caption", { rows: 4, placeholder: t("create.captionExample") }),
      new Field("vocal_language", {
        options: languages.map((code) => [code, languageName(code)]),
        // Where nothing is chosen, the language model may write in another language.
        unset: t("language.default", { language: languageName(server.fields.get("vocal_language").default) }),
      }),
      new Field("audio_duration", choose),
      new Field("bpm", choose),
      new Field("key_scale", { ...choose, suggestions: keys }),
      new Field("time_signature", { ...choose, suggestions: METRES }),
      new Field("batch_size", { placeholder: String(server.models.default_batch_size) }),
      new Field("audio_format", { options: Object.entries(server.models.audio_formats) }),
      new Field("model", { options: server.models.models.map(({ name }) => [name, name]) }),
      new Field("lm_model_path", { options: server.models.lm_models.map(({ name }) => [name, name]) }),
      new Field("thinking", { label: t("create.thinking") }),
    ];
    const folded = [...TASK, ...advancedGroups(server.fields).flatMap(([, names]) => names)];
    fields.push(
      ...folded
        .filter((name) => server.fields.has(name))
        .map((name) => new Field(name, { openHelp: true, always: name === STEPS })),
    );
    this.fields = new Map(fields.map((field) => [field.name, field]));
    this.#suitSteps();
    this.recordings = RECORDINGS.map((name) => new Recording(name.replace(/_path$/, "")));
    for (const recording of this.recordings) this.fields.set(recording.path.name, recording.path);
    this.fields.set("lyrics", this.lyrics.field);
    this.fields.set("seed", this.seed.field);
    if (Adapters.areThere) this.fields.set("adapters", (this.adapters = new Adapters()));
  }

  #elements(...names) {
    return names.map((name) => this.fields.get(name).element);
  }

  #makeModes() {
    const name = newId("mode");
    const mode = (value) => {
      const radio = el("input", { type: "radio", name, value });
      return el("label", {}, radio, el("span", {}, t(`create.${value}`)));
    };
    this.modes = el(
      "div",
      { role: "radiogroup", "aria-label": t("create.mode"), class: "segments" },
      mode("simple"),
      mode("custom"),
    );
    return this.modes;
  }

  #makeSentence() {
    const id = newId("sentence");
    this.sentence = el("textarea", {
      id,
      rows: 3,
      dir: "auto",
      class: "sentence",
      placeholder: t("create.sentenceExample"),
    });
    this.sentence.maxLength = server.fields.get("sample_query")?.maxLength ?? 2048;
    this.sentenceError = el("p", {
      class: "error",
      role: "alert",
      id: `${id}-error`,
      "data-error-for": "query",
    });
    this.sentence.setAttribute("aria-describedby", `${id}-error`);
    this.write = el(
      "button",
      { type: "button", class: "secondary", click: () => this.#write() },
      t("create.write"),
    );
    this.written = el("p", { class: "note", role: "status" });
    this.cannotWrite = el("p", { class: "note" }, t("create.cannotWrite"));
    this.sentenceBlock = el(
      "section",
      { class: "block" },
      el("label", { for: id, class: "label" }, t("create.sentence")),
      this.sentence,
      this.sentenceError,
      this.cannotWrite,
      el("div", { class: "buttons" }, this.write),
      this.written,
    );
    return this.sentenceBlock;
  }

  #makeSong() {
    this.rewrite = el(
      "button",
      { type: "button", class: "quiet bordered", click: () => this.#rewrite() },
      t("create.rewrite"),
    );
    this.rewritten = el("p", { class: "note", role: "status" });
    this.rewriting = el("div", { class: "buttons" }, this.rewrite);
    this.words = el(
      "div",
      { class: "block" },
      this.#elements("caption", "lyrics"),
      this.rewriting,
      this.rewritten,
    );
    const voice = el(
      "div",
      { class: "block pair voice" },
      this.lyrics.voice,
      this.#elements("vocal_language"),
    );
    this.facts = el(
      "div",
      { class: "block pair" },
      this.#elements("audio_duration", "bpm", "key_scale", "time_signature"),
    );
    return el("div", {}, this.words, voice, this.facts);
  }

  #makeMaking() {
    const names = ["batch_size", "audio_format", "model", "lm_model_path"];
    const [count, format, model, lm] = this.#elements(...names);
    // A choice of one is none: it would only take room.
    model.hidden = server.models.models.length < 2;
    lm.hidden = server.models.lm_models.length < 2;
    this.choices = el("div", { class: "block pair" }, this.seed.element, model, lm);
    this.thinking = el("div", { class: "block" }, this.#elements("thinking"));
    const adapters = this.adapters ? this.adapters.element : null;
    const pair = el("div", { class: "block pair" }, count, format);
    return el("div", {}, pair, this.choices, adapters, this.thinking);
  }

  #makeRecordings() {
    const task = this.#elements(...TASK.filter((name) => this.fields.has(name)));
    this.recordingsBlock = el(
      "details",
      { class: "fold" },
      el("summary", {}, t("create.recordings")),
      el("p", { class: "note" }, t("create.dropHint")),
      ...this.recordings.map((recording) => recording.element),
      ...task,
    );
    return this.recordingsBlock;
  }

  #makeAdvanced() {
    const groups = advancedGroups(server.fields).map(([group, names]) =>
      el("fieldset", {}, el("legend", {}, t(`group.${group}`)), this.#elements(...names)),
    );
    this.advanced = el("details", { class: "fold" }, el("summary", {}, t("create.advanced")), ...groups);
    return this.advanced;
  }

  #makeEnd() {
    this.error = el("p", { class: "error", role: "alert", "data-error-for": "form" });
    this.from = el("p", { class: "note", hidden: true });
    this.make = el("button", { type: "submit", class: "primary" }, t("create.make"));
    return el("div", { class: "form-end" }, this.from, this.error, this.make);
  }

  get #mode() {
    return this.modes.querySelector("input:checked")?.value ?? "custom";
  }

  #setMode(mode) {
    for (const radio of this.modes.querySelectorAll("input")) radio.checked = radio.value === mode;
  }

  /** Shows the parts that belong to the mode, and keeps what is in the form for the next visit. */
  #changed() {
    const isSimple = this.#mode === "simple";
    const isWritten = this.hasAttribute("data-written");
    this.sentenceBlock.hidden = !isSimple;
    const ofTheSong = [this.words, this.facts, this.choices, this.adapters?.element];
    for (const part of ofTheSong.filter(Boolean)) part.hidden = isSimple && !isWritten;
    for (const part of [this.thinking, this.recordingsBlock, this.advanced]) part.hidden = isSimple;
    setText(this.write, t(isWritten ? "create.writeAgain" : "create.write"));
    setText(this.make, t(isSimple && !isWritten ? "create.makeAtOnce" : "create.make"));
    const { trained_tasks: tasks } = languageModel(this.fields.get("lm_model_path").value);
    this.cannotWrite.hidden = tasks.includes("inspire");
    this.rewriting.hidden = !tasks.includes("format");
    this.#followTheModel();
    clearTimeout(this.keeping);
    this.keeping = setTimeout(() => this.#keep(), 300);
  }

  /** Gives the steps the number that suits the chosen music model, and marks the fields that it ignores. */
  #followTheModel() {
    const model = musicModel(this.fields.get("model").value);
    const isOfTheLastModel = this.fields.get(STEPS)?.shown === this.suited.default_steps;
    if (model !== this.suited && isOfTheLastModel) this.#suitSteps();
    this.adapters?.follow(model.name);
    this.suited = model;
    const ignored = [
      ...(model.takes_guidance ? [] : GUIDANCE),
      ...(model.takes_timesteps ? [] : ["timesteps"]),
      ...(model.follows_lyrics ? [] : ["lyric_timestamps"]),
    ];
    for (const name of [...GUIDANCE, "timesteps", "lyric_timestamps"]) {
      const remark = ignored.includes(name) ? t("create.ignored", { model: model.name }) : "";
      this.fields.get(name)?.showRemark(remark);
    }
  }

  #suitSteps() {
    const steps = this.fields.get(STEPS);
    if (steps) steps.value = musicModel(this.fields.get("model").value).default_steps;
  }

  #keep() {
    const values = {};
    for (const [name, field] of this.fields) if (field.value !== undefined) values[name] = field.value;
    const { checked: instrumental } = this.lyrics.instrumental;
    const written = this.hasAttribute("data-written");
    writeJson(
      "draft",
      { mode: this.#mode, sentence: this.sentence.value, instrumental, written, values },
      "sessionStorage",
    );
  }

  #restore() {
    const draft = readJson("draft", "sessionStorage");
    const first = languageModel("").trained_tasks.includes("inspire") ? "simple" : "custom";
    this.#setMode(draft?.mode ?? first);
    if (!draft) return;
    this.sentence.value = draft.sentence ?? "";
    this.toggleAttribute("data-written", draft.written === true);
    this.#fill(draft.values ?? {});
    if (draft.instrumental) this.lyrics.value = INSTRUMENTAL;
  }

  #fill(values) {
    for (const [name, field] of this.fields) {
      if (name in values && !["lyrics", "seed"].includes(name)) field.value = values[name];
    }
    if ("lyrics" in values) this.lyrics.value = values.lyrics;
    if ("seed" in values) this.seed.value = values.seed;
    // Steps that are given are a wish, whatever suits the model.
    if (STEPS in values) this.suited = musicModel(this.fields.get("model").value);
  }

  /**
   * Puts a request into the form, so that it can be changed. `origin` is the song that it came from, and
   * `files` are the recordings that were uploaded for it, by their names.
   */
  edit(request, origin = null, files = {}) {
    for (const field of this.fields.values()) field.value = null;
    for (const recording of this.recordings) recording.take(files[recording.name] ?? null);
    this.#suitSteps();
    this.suited = musicModel("");
    this.lyrics.value = "";
    this.seed.value = "";
    this.toggleAttribute("data-written", false);
    setText(this.written, "");
    this.#clearErrors();
    this.sentence.value = request.sample_query ?? "";
    this.#fill(request);
    if (origin) this.#setMode(request.sample_query ? "simple" : "custom");
    this.#origin = origin;
    this.from.hidden = !origin;
    if (origin) setText(this.from, t("create.from", { title: origin.title }));
    const hasRecording = RECORDINGS.some((name) => request[name]) || Object.values(files).some(Boolean);
    if (hasRecording) this.recordingsBlock.open = true;
    this.#changed();
    this.querySelector("h2").focus();
  }

  /** Takes a recording that was dropped on the page. */
  takeRecording(name, file) {
    this.#setMode("custom");
    this.#changed();
    this.recordingsBlock.open = true;
    const recording = this.recordings.find((candidate) => candidate.name === name);
    recording.take(file);
    recording.input.focus();
  }

  /** Lets the language model write the song. What it wrote before, and what custom mode holds, is no wish. */
  async #write() {
    const { vocal_language, lm_model_path } = this.#values;
    const instrumental = this.lyrics.instrumental.checked;
    const wish = defined({ query: this.sentence.value.trim(), instrumental, vocal_language, lm_model_path });
    if (await this.#takeWritten("v1/music/sample", wish, this.write, this.written)) {
      this.toggleAttribute("data-written", true);
      this.#changed();
      this.fields.get("caption").focus();
    }
  }

  /** Lets the language model rewrite caption and lyrics and complete the facts. */
  async #rewrite() {
    const { caption, vocal_language, audio_duration, bpm, key_scale, time_signature, lm_model_path } =
      this.#values;
    const facts = { vocal_language, audio_duration, bpm, key_scale, time_signature };
    const wish = defined({ caption, lyrics: this.lyrics.value, ...facts, lm_model_path });
    if (await this.#takeWritten("v1/music/format", wish, this.rewrite, this.rewritten)) this.#changed();
  }

  /** Asks for a song as text and puts it into the fields. Returns whether there was one. */
  async #takeWritten(path, wish, button, remarks) {
    if (button.getAttribute("aria-disabled") === "true") return false;
    this.#clearErrors();
    this.#busy(button, true);
    try {
      const song = await postJson(path, wish);
      const { caption, lyrics, vocal_language: language, ...facts } = song;
      this.#fill({ caption, lyrics, ...facts, time_signature: metre(song.time_signature) });
      const isSung = !this.lyrics.instrumental.checked && language !== "unknown";
      if (isSung) this.fields.get("vocal_language").value = language;
      setText(remarks, [t("create.written"), ...song.notes].join(" "));
      return true;
    } catch (error) {
      this.#show(error);
      return false;
    } finally {
      this.#busy(button, false);
    }
  }

  get #values() {
    const values = {};
    for (const [name, field] of this.fields) if (field.value !== undefined) values[name] = field.value;
    return values;
  }

  /** The request for what the form shows. Most fields at their defaults are left to the server. */
  get request() {
    const { seed: _seed, lyrics: _lyrics, ...values } = this.#values;
    const lyrics = this.lyrics.value;
    const common = { ...this.seed.request, ...(lyrics === undefined ? {} : { lyrics }) };
    const format = { audio_format: this.fields.get("audio_format").shown };
    const isSimple = this.#mode === "simple";
    if (isSimple && !this.hasAttribute("data-written")) {
      const { vocal_language, batch_size } = values;
      const instrumental = this.lyrics.instrumental.checked ? { lyrics: INSTRUMENTAL } : {};
      const sentence = this.sentence.value.trim();
      const wish = sentence ? { sample_query: sentence } : { sample_mode: true };
      return defined({ ...wish, vocal_language, batch_size, ...instrumental, ...format, ...suitedSteps("") });
    }
    if (!isSimple) return defined({ ...values, ...common, ...format });
    const names = [
      "caption",
      "vocal_language",
      "audio_duration",
      "bpm",
      "key_scale",
      "time_signature",
      "batch_size",
      "model",
      "lm_model_path",
      "adapters",
    ];
    const song = Object.fromEntries(names.map((name) => [name, values[name]]));
    return defined({ ...song, ...common, ...format, ...suitedSteps(values.model) });
  }

  async #submit(event) {
    event.preventDefault();
    if (this.make.getAttribute("aria-disabled") === "true") return;
    this.#clearErrors();
    const wrong = [...this.fields.values()].find((field) => field.problem);
    if (wrong) {
      wrong.showError(wrong.problem);
      wrong.focus();
      return;
    }
    const isCustom = this.#mode === "custom";
    const files = isCustom
      ? Object.fromEntries(this.recordings.map((recording) => [recording.name, recording.file]))
      : {};
    this.#keep();
    this.#busy(this.make, true);
    const { id, item, kind } = this.#origin ?? {};
    const parent = id && songs.get(id) ? { id, item } : null;
    const making = { request: this.request, files, parent, kind: parent ? kind : "new" };
    try {
      await makeSong(this, making, (error) => this.#show(error));
    } finally {
      this.#busy(this.make, false);
    }
  }

  #busy(button, busy) {
    button.toggleAttribute("data-busy", busy);
    button.setAttribute("aria-disabled", String(busy));
  }

  #clearErrors() {
    for (const field of this.fields.values()) field.showError("");
    for (const recording of this.recordings) recording.showError("");
    setText(this.error, "");
    setText(this.sentenceError, "");
  }

  /** Shows the errors of an answer beside the fields that they name, and the others at the end of the form. */
  #show(error) {
    if (!(error instanceof ApiError)) throw error;
    const rest = [];
    let first = null;
    for (const { field: name, message } of error.fieldErrors) {
      const recording = this.recordings.find((candidate) => candidate.name === name);
      const control = this.fields.get(name) ?? recording;
      const isSentence = ["query", "sample_query"].includes(name);
      if (isSentence) setText(this.sentenceError, message);
      else if (control && !(control.element ?? control).closest("[hidden]")) {
        control.showError(message);
        first ??= control;
      } else rest.push(name ? `${name}: ${message}` : message);
    }
    if (!error.fieldErrors.length) rest.push(error.message);
    setText(this.error, rest.join(" "));
    first?.focus();
  }
}

function defined(values) {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

customElements.define("studio-create", Create);
