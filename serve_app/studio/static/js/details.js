// <studio-details>: what is known about a song: its words, its metadata, its seeds and how long it took. Before
// there is a result it shows what was asked for.

import { el } from "./dom.js";
import { clock, metre, moment, number } from "./format.js";
import { writtenAdapters } from "./adapters.js";
import { fieldLabel, languageName, t, valueLabel } from "./i18n.js";

const LONG_TEXT = 600;
const LONG_LINES = 14;

class Details extends HTMLElement {
  #shown = "";

  connectedCallback() {
    if (this.list) return;
    this.setAttribute("role", "region");
    this.setAttribute("aria-label", t("details.title"));
    this.list = el("dl", { class: "facts" });
    this.loudness = el("dd", {});
    this.append(el("h3", { class: "part-title" }, t("details.title")), this.list);
  }

  show(job, record) {
    const result = job?.result ?? record?.result ?? null;
    const known = JSON.stringify([job?.job_id, job?.status, Boolean(result), record?.id]);
    if (known === this.#shown) return;
    this.#shown = known;
    const rows = result ? this.#found(job, record, result) : askedFor(record?.request ?? {});
    const present = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
    this.hidden = !present.length;
    this.list.replaceChildren(
      ...present.flatMap(([name, value, lang]) => [el("dt", {}, name), factOf(value, lang)]),
    );
    if (job?.result) this.list.append(el("dt", {}, t("details.loudness")), this.loudness);
  }

  #found(job, record, result) {
    const { metas } = result;
    return [
      [t("details.message"), messageOf(result), "en"],
      [fieldLabel("caption"), metas.caption],
      [fieldLabel("lyrics"), metas.lyrics],
      [fieldLabel("vocal_language"), metas.language && languageName(metas.language)],
      [fieldLabel("audio_duration"), metas.duration && clock(metas.duration, true)],
      [fieldLabel("bpm"), metas.bpm],
      [fieldLabel("key_scale"), metas.keyscale],
      [fieldLabel("time_signature"), metre(metas.timesignature)],
      [t("details.genres"), metas.genres],
      [fieldLabel("seed"), result.seed_value],
      [fieldLabel("model"), result.dit_model],
      [fieldLabel("lm_model_path"), result.lm_model],
      [t("details.timings"), timingsOf(result)],
      [t("details.made"), job?.finished_at ? moment(job.finished_at) : null],
      [t("details.how"), result.generation_info, "en"],
      [t("details.job"), job?.job_id ?? record?.id],
    ];
  }

  /** Shows the loudness of the take that plays. */
  showTake(deck) {
    const loudness = deck.take?.song?.loudness;
    this.loudness.textContent = Number.isFinite(loudness) ? `${number(loudness, 1)} LUFS` : "–";
  }
}

/** The fields of a request, by their labels. */
function askedFor(request) {
  return Object.entries(request).map(([name, value]) => {
    const label = name === "sample_query" ? t("create.sentence") : fieldLabel(name);
    return [label, name === "adapters" ? writtenAdapters(value) : valueLabel(name, value)];
  });
}

/** A value. A long one scrolls in itself, which must be possible by keyboard, too. */
function factOf(value, lang) {
  const text = String(value);
  const isLong = text.length > LONG_TEXT || text.split("\n").length > LONG_LINES;
  return el("dd", { dir: "auto", lang, class: isLong ? "long" : null, tabindex: isLong ? "0" : null }, text);
}

/** The server's remarks after its word of success, which needs no telling. */
function messageOf(result) {
  return (result.status_message ?? "").replace(/^[^!]*completed successfully!\s*/, "");
}

function timingsOf(result) {
  return Object.entries(result.timings ?? {})
    .map(([stage, seconds]) => `${t(`stage.${stage}`)} ${number(seconds, 2)} s`)
    .join(" · ");
}

customElements.define("studio-details", Details);
