// <studio-library>: the songs that the server still has, and those that only this browser remembers.

import { ApiError, getJson } from "./api.js";
import { el, newId, setText } from "./dom.js";
import { clock, moment, span, titleOf } from "./format.js";
import { t } from "./i18n.js";
import { expiresIn } from "./player.js";
import { say } from "./say.js";
import { songs } from "./songs.js";
import { isOpen, jobs } from "./watch.js";

const PAGE = 20;
const MOST_ROWS = 300;
const FILTERS = ["all", "succeeded", "failed", "cancelled", "remembered"];
const EXPIRES_SOON = 3600;

class Library extends HTMLElement {
  #cursor = null;
  #current = null;

  connectedCallback() {
    if (this.list) return;
    const searchId = newId("search");
    const filterId = newId("filter");
    this.search = el("input", {
      type: "search",
      id: searchId,
      dir: "auto",
      placeholder: t("library.searchHint"),
      input: () => this.#show(),
    });
    this.filter = el(
      "select",
      { id: filterId, change: () => this.load() },
      FILTERS.map((name) => el("option", { value: name }, t(`library.${name}`))),
    );
    this.list = el("ul", { class: "rows", "aria-labelledby": "library-title" });
    this.note = el("p", { class: "note", role: "status" });
    this.more = el(
      "button",
      { type: "button", class: "secondary", hidden: true, click: () => this.#loadPage() },
      t("library.more"),
    );
    this.append(
      el("h3", { class: "part-title", id: "library-title" }, t("library.title")),
      el(
        "div",
        { class: "library-find" },
        el("label", { for: searchId, class: "visually-hidden" }, t("library.search")),
        this.search,
        el("label", { for: filterId, class: "visually-hidden" }, t("library.show")),
        this.filter,
      ),
      this.list,
      this.note,
      el("div", { class: "buttons" }, this.more),
      this.#makeProject(),
    );
    jobs.addEventListener("change", () => this.#show());
    songs.addEventListener("change", () => this.#show());
    setInterval(() => this.#show(), 60_000);
  }

  #makeProject() {
    const id = newId("project");
    this.file = el("input", {
      type: "file",
      id,
      class: "visually-hidden",
      tabindex: "-1",
      accept: "application/json,.json",
      change: () => this.#import(),
    });
    return el(
      "div",
      { class: "buttons project" },
      el(
        "button",
        { type: "button", class: "quiet bordered", click: () => this.#export() },
        t("library.export"),
      ),
      el(
        "button",
        { type: "button", class: "quiet bordered", click: () => this.file.click() },
        t("library.import"),
      ),
      el("label", { for: id, class: "visually-hidden" }, t("library.file")),
      this.file,
    );
  }

  /** Marks the song that the player shows. */
  mark(jobId) {
    this.#current = jobId;
    this.#show();
  }

  /** Asks the server for its newest songs. */
  async load() {
    this.#cursor = null;
    await this.#loadPage();
  }

  async #loadPage() {
    const status = ["all", "remembered"].includes(this.filter.value) ? "" : `&status=${this.filter.value}`;
    const cursor = this.#cursor ? `&cursor=${this.#cursor}` : "";
    try {
      const page = await getJson(`v1/jobs?limit=${PAGE}${status}${cursor}`);
      for (const job of page.jobs) {
        jobs.take(job);
        if (!isOpen(job) && songs.get(job.job_id)) songs.finish(job);
      }
      this.#cursor = page.next_cursor;
      setText(this.note, "");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      setText(this.note, error.message);
    }
    this.more.hidden = !this.#cursor;
    this.#show();
  }

  #show() {
    const entries = this.#entries();
    const rows = entries.slice(0, MOST_ROWS);
    const key = JSON.stringify([
      rows.map(([job, record]) => [job?.job_id ?? record.id, job?.status, Boolean(record?.result)]),
      this.#current,
      Math.floor(Date.now() / 60_000),
    ]);
    if (key === this.shownKey) return;
    this.shownKey = key;
    const hadFocus = this.list.contains(document.activeElement)
      ? document.activeElement.getAttribute("href")
      : null;
    this.list.replaceChildren(...rows.map(([job, record]) => this.#row(job, record)));
    if (hadFocus) this.list.querySelector(`[href="${CSS.escape(hadFocus)}"]`)?.focus();
    this.list.hidden = rows.length === 0;
    if (!rows.length) setText(this.note, t(this.search.value ? "library.nothingFound" : "library.nothing"));
    else if (this.note.textContent) setText(this.note, "");
  }

  /** The songs to show as pairs of job and record, newest first. */
  #entries() {
    const filter = this.filter.value;
    const ended = [...jobs.byId.values()].filter((job) => !isOpen(job));
    const known = ended.map((job) => [job, songs.get(job.job_id)]);
    const remembered = [...songs.records.values()]
      .filter((record) => !jobs.byId.has(record.id))
      .map((record) => [null, record]);
    const fitting = known.filter(([job]) => filter === "all" || job.status === filter);
    const chosen = filter === "remembered" ? remembered : fitting;
    const wanted = this.search.value.trim().toLowerCase();
    return chosen
      .filter(([job, record]) => !wanted || wordsOf(job, record).includes(wanted))
      .sort(([a, b], [c, d]) => (c?.created_at ?? d.created) - (a?.created_at ?? b.created));
  }

  #row(job, record) {
    const id = job?.job_id ?? record.id;
    const link = el(
      "a",
      {
        class: "row-title",
        href: `#/song/${id}`,
        dir: "auto",
        "aria-current": id === this.#current ? "true" : null,
      },
      titleOf(job, record),
    );
    return el(
      "li",
      { class: "row", "data-job": id, "data-status": job?.status ?? "remembered" },
      link,
      el("p", { class: "row-facts" }, factsOf(job, record)),
    );
  }

  #export() {
    const url = URL.createObjectURL(new Blob([songs.exported()], { type: "application/json" }));
    el("a", { href: url, download: `studio-${new Date().toISOString().slice(0, 10)}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }

  async #import() {
    const [file] = this.file.files;
    if (!file) return;
    try {
      say(t("library.imported", { count: songs.import(await file.text()) }));
      if ([...songs.records.keys()].some((id) => !jobs.byId.has(id))) this.filter.value = "remembered";
      this.#show();
    } catch {
      say(t("library.noProject"));
    }
    this.file.value = "";
  }
}

/** Everything of a song that the search looks at. */
function wordsOf(job, record) {
  const { metas = {} } = job?.result ?? record?.result ?? {};
  const words = [
    titleOf(job, record),
    metas.caption,
    metas.lyrics,
    metas.genres,
    metas.keyscale,
    job?.job_id,
  ];
  return words.filter(Boolean).join("\n").toLowerCase();
}

function factsOf(job, record) {
  const result = job?.result ?? record?.result;
  const parts = [moment(job?.created_at ?? record.created)];
  if (record && record.kind !== "new") parts.push(t(`kind.${record.kind}`));
  if (result?.metas?.duration) parts.push(clock(result.metas.duration));
  const count = job?.result ? job.result.audio_paths.length : 0;
  if (count > 1) parts.push(t("library.takes", { count }));
  if (job && job.status !== "succeeded") parts.push(t(`status.${job.status}`));
  if (job?.result && !count) parts.push(t("library.analysis"));
  const left = expiresIn(job);
  if (left !== null && left <= 0) parts.push(t("library.expired"));
  else if (left !== null) parts.push(t("library.expiresIn", { time: span(left) }));
  const isSoon = left !== null && left > 0 && left < EXPIRES_SOON;
  return parts
    .map((part, at) => [at ? " · " : "", isSoon && at === parts.length - 1 ? el("strong", {}, part) : part])
    .flat();
}

customElements.define("studio-library", Library);
