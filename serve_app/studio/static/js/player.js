// <studio-player>: one song. It shows how the song comes to be, plays it, and holds what can be done with it.

import { ApiError, address } from "./api.js";
import "./change.js";
import { Deck } from "./deck.js";
import "./details.js";
import { el, icon, newId, setText } from "./dom.js";
import { clock, moment, number, span, takeName, titleOf } from "./format.js";
import "./history.js";
import { t } from "./i18n.js";
import { makeSong, uploadsOf } from "./making.js";
import { cancelJob } from "./open-jobs.js";
import { ProgressBar } from "./progress.js";
import { exactly } from "./requests.js";
import { say } from "./say.js";
import { server } from "./server.js";
import { songs } from "./songs.js";
import { isOpen, jobs } from "./watch.js";
import "./waveform.js";

class Player extends HTMLElement {
  deck = new Deck();
  #jobId = null;
  #job = null;
  #loaded = null;
  #form = null;

  connectedCallback() {
    if (this.empty) return;
    this.heading = el("h2", { class: "song-title", tabindex: "-1", dir: "auto" });
    this.subline = el("p", { class: "subline" });
    this.empty = el(
      "div",
      { class: "empty" },
      el("p", { class: "empty-title" }, t("player.empty")),
      el("p", {}, t("player.emptyHint")),
    );
    this.#makeStatus();
    this.#makeSound();
    this.change = el("studio-change");
    this.details = el("studio-details");
    this.history = el("studio-history");
    this.change.deck = this.deck;
    this.more = el(
      "div",
      { class: "more" },
      this.change,
      el("div", { class: "more-side" }, this.details, this.history),
    );
    this.append(this.empty, this.heading, this.subline, this.status, this.sound, this.more);
    this.deck.addEventListener("change", () => this.#showDeck());
    this.deck.addEventListener("seek", () => this.#showPosition());
    jobs.addEventListener("change", ({ detail }) => {
      if (this.#jobId && detail.has(this.#jobId)) this.#show();
    });
    setInterval(() => this.bar.tick(), 1000);
    document.addEventListener("keydown", (event) => this.#shortcut(event));
    this.#show();
  }

  get playing() {
    return this.deck.playing;
  }

  get jobId() {
    return this.#jobId;
  }

  /** Shows a song, or the empty player where the id is null. */
  async open(jobId, item = 0) {
    if (jobId === this.#jobId) {
      this.deck.choose(item);
      return;
    }
    this.#jobId = jobId;
    this.#job = null;
    this.#loaded = null;
    this.wanted = item;
    this.deck.load([], 0);
    this.#show();
    if (!jobId) return;
    try {
      await jobs.find(jobId);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (jobId !== this.#jobId) return;
      if (error.isPassing) jobs.addEventListener("connection", () => this.#retry(jobId), { once: true });
    }
    if (jobId === this.#jobId) this.#show();
  }

  #retry(jobId) {
    if (jobId !== this.#jobId || this.#job) return;
    this.#jobId = null;
    this.open(jobId, this.wanted);
  }

  #makeStatus() {
    this.bar = new ProgressBar(t("progress.label"));
    this.statusText = el("p", { class: "status-text", dir: "auto" });
    this.cancel = el(
      "button",
      { type: "button", class: "secondary", click: () => cancelJob(this.#jobId) },
      t("open.cancelShort"),
    );
    this.again = el("button", { type: "button", class: "primary", click: () => this.#makeAgain() });
    this.status = el(
      "div",
      { class: "status" },
      this.bar.element,
      this.statusText,
      el("div", { class: "buttons" }, this.cancel, this.again),
    );
  }

  #makeSound() {
    this.takes = el("div", { role: "radiogroup", "aria-label": t("player.takes"), class: "segments takes" });
    this.waveform = el("studio-waveform");
    this.waveform.deck = this.deck;
    const button = (name, drawing, action) =>
      el(
        "button",
        { type: "button", class: "quiet icon-button", "aria-label": t(name), title: t(name), click: action },
        icon(drawing),
      );
    const toggle = (name, action) =>
      el(
        "button",
        { type: "button", class: "quiet toggle", "aria-pressed": "false", click: action },
        t(name),
      );
    this.playButton = el("button", { type: "button", class: "play", click: () => this.deck.toggle() });
    this.time = el("span", { class: "time" });
    this.loop = toggle("player.loop", () => this.deck.setLoop(!this.deck.loop));
    this.matched = toggle("player.matched", () => this.deck.setMatched(!this.deck.matched));
    this.spectrum = toggle("player.spectrogram", () => this.#toggleSpectrum());
    const transport = el(
      "div",
      { class: "transport" },
      button("player.back", "back", () => this.deck.seek(this.deck.position - 5)),
      this.playButton,
      button("player.forward", "forward", () => this.deck.seek(this.deck.position + 5)),
      this.time,
      el("span", { class: "spacer" }),
      this.loop,
      this.matched,
      this.spectrum,
      button("player.zoomOut", "zoomOut", () => this.waveform.zoom(2)),
      button("player.zoomIn", "zoomIn", () => this.waveform.zoom(0.5)),
    );
    this.soundNote = el("p", { class: "note", role: "status" });
    this.sound = el(
      "div",
      { class: "sound" },
      this.takes,
      this.waveform,
      transport,
      this.soundNote,
      this.#makeSelection(),
    );
  }

  #makeSelection() {
    const edge = (name) => {
      const id = newId(name);
      const input = el("input", {
        type: "number",
        id,
        step: "0.1",
        inputmode: "decimal",
        change: () => this.#selectionTyped(),
      });
      return [el("label", { for: id, class: "label" }, t(`player.${name}`)), input];
    };
    const [fromLabel, from] = edge("from");
    const [toLabel, to] = edge("to");
    this.from = from;
    this.to = to;
    this.clear = el(
      "button",
      { type: "button", class: "quiet", click: () => this.deck.select(null) },
      t("player.clear"),
    );
    this.selectionText = el("span", { class: "selection-text" });
    this.downloadAs = el("select", { id: newId("format"), change: () => this.#showDownload() });
    this.download = el("a", { class: "secondary button", download: true }, t("player.download"));
    this.convert = el(
      "button",
      { type: "button", class: "secondary", click: () => this.#convert() },
      t("player.convert"),
    );
    return el(
      "div",
      { class: "under-wave" },
      el("div", { class: "selection-fields" }, fromLabel, from, toLabel, to, this.clear, this.selectionText),
      el(
        "div",
        { class: "download-fields" },
        el("label", { for: this.downloadAs.id, class: "label" }, t("player.downloadAs")),
        this.downloadAs,
        this.download,
        this.convert,
      ),
    );
  }

  /** Shows the song as the server and the browser know it. */
  #show() {
    const job = (this.#job = jobs.byId.get(this.#jobId) ?? null);
    const record = songs.get(this.#jobId);
    const isEmpty = !this.#jobId;
    this.empty.hidden = !isEmpty;
    for (const part of [this.heading, this.subline]) part.hidden = isEmpty;
    this.toggleAttribute("data-empty", isEmpty);
    if (isEmpty) delete this.dataset.song;
    else this.dataset.song = this.#jobId;
    this.dataset.status = job?.status ?? "unknown";
    if (!isEmpty) {
      setText(this.heading, titleOf(job, record));
      setText(this.subline, sublineOf(job, record));
    }
    this.#showStatus(job, record, isEmpty);
    const paths = job?.result?.audio_paths ?? [];
    this.sound.hidden = !paths.length;
    if (job && !isOpen(job)) songs.finish(job);
    const isKnown = Boolean(job?.result ?? record?.result);
    this.more.hidden = isEmpty || !(isKnown || record);
    this.change.show(job, record);
    this.change.hidden ||= Boolean(job && isOpen(job));
    this.details.show(job, record, this.deck);
    this.history.show(this.#jobId);
    if (paths.length && this.#loaded !== this.#jobId) this.#load(paths);
  }

  #showStatus(job, record, isEmpty) {
    const isMissing = !isEmpty && !job && !isOpen({ status: "unknown" });
    this.status.hidden = isEmpty || job?.status === "succeeded";
    this.bar.element.hidden = !job || !isOpen(job);
    this.cancel.hidden = !job || !isOpen(job);
    const canRepeat = Boolean(record && (record.request || record.result) && uploadsOf(record));
    this.again.hidden = !canRepeat || (job ? isOpen(job) : !isMissing);
    setText(this.again, t(job ? "player.tryAgain" : "change.exactly"));
    if (job) this.bar.update(job);
    let text = "";
    if (isMissing) text = t(jobs.connected ? "player.notThere" : "connection.lost");
    else if (job?.status === "failed") text = job.error ?? t("status.failed");
    else if (job?.status === "cancelled") text = t("player.wasCancelled");
    setText(this.statusText, text);
  }

  async #makeAgain() {
    const record = songs.get(this.#jobId);
    const isKnown = Boolean(record.result);
    const request = isKnown ? exactly(record) : record.request;
    await this.#submit({
      request,
      parent: isKnown ? { id: record.id, item: 0 } : record.parent,
      kind: isKnown ? "exact" : record.kind,
      files: uploadsOf(record) ?? {},
    });
  }

  /** Lets the server make the chosen take once more in another format, and offers it when it is there. */
  async #convert() {
    const { owner } = this.deck.take;
    const record = songs.get(owner.id);
    const request = { ...exactly(record, owner.item), audio_format: this.downloadAs.value };
    await this.#submit({ request, parent: owner, kind: "format", files: uploadsOf(record) ?? {} });
  }

  async #submit(making) {
    try {
      const id = await makeSong(making);
      this.dispatchEvent(new CustomEvent("submitted", { bubbles: true, detail: id }));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      say(error.message);
    }
  }

  async #load(paths) {
    const jobId = (this.#loaded = this.#jobId);
    this.waveform.showSpectrum(this.spectrum.getAttribute("aria-pressed") === "true");
    this.#makeFormats(paths[0]);
    const own = paths.map((path, item) => ({ path, name: takeName(item), owner: { id: jobId, item } }));
    const takes = [...own, ...(await this.#before())];
    if (jobId !== this.#jobId) return;
    this.#makeTakes(takes);
    const again = async ({ id, item }) => (await jobs.find(id, { again: true })).result.audio_paths[item];
    await this.deck.load(takes, this.wanted, again);
  }

  /** The song that this one was made from, to be heard beside it; nothing where the server has it no more. */
  async #before() {
    const parent = songs.get(this.#jobId)?.parent;
    if (!parent) return [];
    try {
      const path = (await jobs.find(parent.id)).result?.audio_paths[parent.item];
      return path ? [{ path, name: t("player.before"), owner: parent }] : [];
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      return [];
    }
  }

  #makeTakes(takes) {
    const name = newId("take");
    const choice = (take, item) => {
      const radio = el("input", { type: "radio", name, value: item, change: () => this.#chooseTake(item) });
      return el("label", {}, radio, el("span", {}, take.name));
    };
    this.takes.replaceChildren(...takes.map(choice));
    this.takes.hidden = takes.length < 2;
    this.matched.hidden = takes.length < 2;
  }

  #chooseTake(item) {
    this.deck.choose(item);
    history.replaceState(null, "", `#/song/${this.#jobId}/${item}`);
  }

  /** Fills the list of formats; the one that the song has is the first. */
  #makeFormats(path) {
    const own = this.#ownFormat(path, this.#jobId);
    const formats = Object.entries(server.models.audio_formats).sort(([a], [b]) => (b === own) - (a === own));
    this.downloadAs.replaceChildren(...formats.map(([name, text]) => el("option", { value: name }, text)));
    this.downloadAs.value = own;
  }

  #ownFormat(path, jobId) {
    const asked = songs.get(jobId)?.request?.audio_format;
    if (asked) return asked;
    const extension = address(path).pathname.split(".").pop();
    return { m4a: "aac" }[extension] ?? extension;
  }

  #showDownload() {
    const { take } = this.deck;
    if (!take) return;
    const { path, owner } = take;
    const isOwn = this.downloadAs.value === this.#ownFormat(path, owner.id);
    this.download.hidden = !isOwn;
    this.convert.hidden = isOwn;
    this.download.href = take.song?.url ?? address(path).href;
    const extension = address(path).pathname.split(".").pop();
    const name =
      titleOf(jobs.byId.get(owner.id), songs.get(owner.id))
        .replace(/[^\p{L}\p{N} _-]/gu, "")
        .trim()
        .slice(0, 60) || "song";
    this.download.setAttribute("download", `${name} ${takeName(owner.item)}.${extension}`);
  }

  #toggleSpectrum() {
    const shown = this.spectrum.getAttribute("aria-pressed") !== "true";
    this.spectrum.setAttribute("aria-pressed", String(shown));
    this.waveform.showSpectrum(shown);
  }

  /** Shows the state of the deck: what plays, the take, the selection. */
  #showDeck() {
    const { deck } = this;
    const { take, region } = deck;
    this.dataset.item = String(deck.current);
    this.playButton.replaceChildren(icon(deck.playing ? "pause" : "play"));
    const name = t(deck.playing ? "player.pause" : "player.play");
    this.playButton.setAttribute("aria-label", name);
    this.playButton.title = name;
    this.playButton.disabled = !take?.audio;
    this.loop.setAttribute("aria-pressed", String(deck.loop));
    this.matched.setAttribute("aria-pressed", String(deck.matched));
    for (const radio of this.takes.querySelectorAll("input"))
      radio.checked = Number(radio.value) === deck.current;
    const notes = { loading: t("player.loading"), gone: t("player.gone"), lost: t("player.lost"), ready: "" };
    const isMute = take?.state === "ready" && !take.song.peaks;
    setText(this.soundNote, isMute ? t("player.noPicture") : (notes[take?.state] ?? ""));
    for (const input of [this.from, this.to]) if (input !== document.activeElement) input.value = "";
    if (region) {
      if (this.from !== document.activeElement)
        this.from.value = region.start.toFixed(2).replace(/\.?0+$/, "");
      if (this.to !== document.activeElement) this.to.value = region.end.toFixed(2).replace(/\.?0+$/, "");
    }
    this.clear.hidden = !region;
    setText(
      this.selectionText,
      region ? t("player.selected", { time: number(region.end - region.start, 1) }) : t("player.dragHint"),
    );
    this.#showDownload();
    this.#showPosition();
    this.details.showTake(deck);
    if (deck.playing) this.#turn();
  }

  #turn() {
    if (this.turning) return;
    const frame = () => {
      this.turning = this.deck.playing ? requestAnimationFrame(frame) : null;
      this.deck.turn();
      this.#showPosition();
      this.waveform.follow();
    };
    this.turning = requestAnimationFrame(frame);
  }

  #showPosition() {
    setText(this.time, `${clock(this.deck.position)} / ${clock(this.deck.seconds)}`);
  }

  #selectionTyped() {
    const start = this.from.valueAsNumber;
    const end = this.to.valueAsNumber;
    if (Number.isFinite(start) && Number.isFinite(end)) this.deck.select({ start, end });
  }

  /** Keys without Ctrl that work wherever nothing is being typed. */
  #shortcut(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented || this.sound.hidden) return;
    const isTyping = event.target.closest(
      "input:not([type=radio], [type=checkbox]), textarea, select, dialog, [contenteditable]",
    );
    if (isTyping || document.documentElement.dataset.shortcuts === "off") return;
    const isPressing = event.target.closest("button, a, summary, input");
    const take = Number(event.key) - 1;
    const actions = {
      " ": () => this.deck.toggle(),
      l: () => this.deck.setLoop(!this.deck.loop),
      s: () => this.#toggleSpectrum(),
      j: () => this.deck.seek(this.deck.position - 5),
      k: () => this.deck.toggle(),
      ";": () => this.deck.seek(this.deck.position + 5),
      i: () => this.#mark("start"),
      o: () => this.#mark("end"),
    };
    const action =
      actions[event.key.toLowerCase()] ?? (this.deck.takes[take] && (() => this.#chooseTake(take)));
    if (!action || (event.key === " " && isPressing)) return;
    event.preventDefault();
    action();
  }

  /** Sets one edge of the selection to the position. */
  #mark(edge) {
    const { region, position, seconds } = this.deck;
    const marked = { start: region?.start ?? 0, end: region?.end ?? seconds, [edge]: position };
    this.deck.select(marked);
  }
}

/** When a song was made, from what, and until when the server keeps it. */
function sublineOf(job, record) {
  const parts = [];
  const created = job?.created_at ?? record?.created;
  if (created) parts.push(moment(created));
  if (record && record.kind !== "new") parts.push(t(`kind.${record.kind}`));
  const left = expiresIn(job);
  if (left !== null)
    parts.push(left > 0 ? t("library.expiresIn", { time: span(left) }) : t("library.expired"));
  return parts.join(" · ");
}

/** Seconds for which the server still keeps the songs of a job; null where it does not say. */
export function expiresIn(job) {
  const kept = server.models.result_seconds;
  if (!kept || !job?.finished_at || job.status !== "succeeded") return null;
  return job.finished_at + kept - Date.now() / 1000;
}

customElements.define("studio-player", Player);
