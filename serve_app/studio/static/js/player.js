// <studio-player>: the view of one song: how it comes to be, its sound, and what is known about it and can be
// done with it.

import { ApiError, pause } from "./api.js";
import "./change.js";
import { Deck } from "./deck.js";
import "./details.js";
import { el, setText } from "./dom.js";
import { moment, span, takeName, titleOf } from "./format.js";
import "./history.js";
import { t } from "./i18n.js";
import { makeSong, uploadsOf } from "./making.js";
import { cancelJob } from "./open-jobs.js";
import { ProgressBar } from "./progress.js";
import { exactly } from "./requests.js";
import { say } from "./say.js";
import { server } from "./server.js";
import { onShortcut } from "./shortcuts.js";
import { songs } from "./songs.js";
import "./sound.js";
import { isOpen, jobs } from "./watch.js";

const RETRY_MILLISECONDS = 3000;

class Player extends HTMLElement {
  deck = new Deck();
  #jobId = null;
  #job = null;
  #loaded = null;
  /** How the question after the song went: "asked", "unanswered" or "answered". */
  #question = "answered";

  connectedCallback() {
    if (this.empty) return;
    this.heading = el("h2", { class: "song-title", tabindex: "-1", dir: "auto" });
    this.subline = el("p", { class: "subline" });
    this.told = el("p", { class: "visually-hidden", role: "status" });
    this.empty = el(
      "div",
      { class: "empty" },
      el("p", { class: "empty-title" }, t("player.empty")),
      el("p", {}, t("player.emptyHint")),
    );
    this.#makeStatus();
    this.sound = el("studio-sound");
    this.sound.deck = this.deck;
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
    this.append(this.empty, this.heading, this.subline, this.told, this.status, this.sound, this.more);
    this.deck.addEventListener("change", () => this.#showTake());
    jobs.addEventListener("change", ({ detail }) => {
      if (this.#jobId && detail.has(this.#jobId)) this.#show();
    });
    setInterval(() => this.bar.tick(), 1000);
    onShortcut(this.deck, this.sound);
    this.#show();
  }

  get playing() {
    return this.deck.playing;
  }

  get jobId() {
    return this.#jobId;
  }

  /** Tells those who do not see the page what became of the shown song. */
  tell(text) {
    setText(this.told, text);
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
    this.#question = jobId ? "asked" : "answered";
    this.wanted = item;
    this.tell("");
    this.deck.load([], 0);
    this.#show();
    if (!jobId) return;
    while (jobId === this.#jobId && this.#question !== "answered") {
      const question = await askedFor(jobId);
      if (jobId !== this.#jobId) return;
      this.#question = question;
      this.#show();
      if (question === "unanswered") await pause(RETRY_MILLISECONDS);
    }
  }

  #makeStatus() {
    this.bar = new ProgressBar(t("progress.label"));
    this.statusText = el("p", { class: "status-text", role: "status", dir: "auto" });
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
    const isMissing = !isEmpty && !job && this.#question === "answered";
    this.status.hidden = isEmpty || job?.status === "succeeded";
    this.bar.element.hidden = !job || !isOpen(job);
    this.cancel.hidden = !job || !isOpen(job);
    const isRepeatable = Boolean(record && (record.request || record.result) && uploadsOf(record));
    this.again.hidden = !isRepeatable || (job ? isOpen(job) : !isMissing);
    setText(this.again, t(job ? "player.tryAgain" : "change.exactly"));
    if (job) this.bar.update(job);
    let text = "";
    if (isMissing) text = t("player.notThere");
    else if (!job) text = isEmpty ? "" : t(this.#question === "asked" ? "player.loading" : "error.offline");
    else if (job?.status === "failed") text = job.error ?? t("status.failed");
    else if (job?.status === "cancelled") text = t("player.wasCancelled");
    setText(this.statusText, text);
  }

  async #makeAgain() {
    const record = songs.get(this.#jobId);
    const isKnown = Boolean(record.result);
    const request = isKnown ? exactly(record) : record.request;
    const making = {
      request,
      parent: isKnown ? { id: record.id, item: 0 } : record.parent,
      kind: isKnown ? "exact" : record.kind,
      files: uploadsOf(record) ?? {},
    };
    await makeSong(this, making, (error) => say(error.message));
  }

  async #load(paths) {
    const jobId = (this.#loaded = this.#jobId);
    const own = paths.map((path, item) => ({ path, name: takeName(item), owner: { id: jobId, item } }));
    const takes = [...own, ...(await this.#before())];
    if (jobId !== this.#jobId) return;
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

  /** Notes the take that plays, in the page's address, too. */
  #showTake() {
    const { current, takes } = this.deck;
    this.dataset.item = String(current);
    this.details.showTake(this.deck);
    if (takes.length && this.#jobId === this.#loaded && current !== this.wanted) {
      this.wanted = current;
      history.replaceState(null, "", `#/song/${this.#jobId}/${current}`);
    }
  }
}

/** Asks the server for a song. Returns "answered", also where it has none, or "unanswered". */
async function askedFor(jobId) {
  try {
    await jobs.find(jobId);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.isPassing) return "unanswered";
  }
  return "answered";
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
  if (!job?.expires_at || job.status !== "succeeded") return null;
  // Where the songs are deleted already, the server tells when the job itself will be.
  const latest = job.result?.audio_paths.length ? job.finished_at + server.models.result_seconds : Infinity;
  return Math.min(job.expires_at, latest) - Date.now() / 1000;
}

customElements.define("studio-player", Player);
