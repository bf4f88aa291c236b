// <studio-open-jobs>: the jobs that wait or run, each with its progress and a button that cancels it.

import { ApiError } from "./api.js";
import { el, icon, setText } from "./dom.js";
import { titleOf } from "./format.js";
import { t } from "./i18n.js";
import { ProgressBar } from "./progress.js";
import { say } from "./say.js";
import { songs } from "./songs.js";
import { jobs } from "./watch.js";

class OpenJobs extends HTMLElement {
  #rows = new Map();

  connectedCallback() {
    if (this.list) return;
    this.count = el("span", { class: "count" });
    this.list = el("ul", { class: "rows", "aria-labelledby": "open-jobs-title" });
    this.append(
      el("h3", { class: "part-title", id: "open-jobs-title" }, t("open.title"), " ", this.count),
      this.list,
    );
    jobs.addEventListener("change", () => this.#show());
    songs.addEventListener("change", () => this.#show());
    setInterval(() => this.#tick(), 1000);
    this.#show();
  }

  #show() {
    const open = jobs.open;
    this.hidden = open.length === 0;
    setText(this.count, open.length ? String(open.length) : "");
    const gone = new Set(this.#rows.keys());
    let before = null;
    for (const job of open) {
      gone.delete(job.job_id);
      const row = this.#rows.get(job.job_id) ?? this.#makeRow(job);
      row.show(job);
      // A row is only moved where it stands wrong: moving it would take the focus from its button.
      const place = before ? before.nextElementSibling : this.list.firstElementChild;
      if (place !== row.element) this.list.insertBefore(row.element, place);
      before = row.element;
    }
    for (const jobId of gone) {
      this.#rows.get(jobId).element.remove();
      this.#rows.delete(jobId);
    }
  }

  #makeRow(job) {
    const bar = new ProgressBar(t("progress.label"));
    const link = el("a", { class: "row-title", href: `#/song/${job.job_id}`, dir: "auto" });
    const cancel = el(
      "button",
      { type: "button", class: "quiet icon-button", click: () => cancelJob(job.job_id) },
      icon("close"),
    );
    const head = el("div", { class: "row-head" }, link, cancel);
    const element = el("li", { class: "row", "data-job": job.job_id }, head, bar.element);
    const row = {
      element,
      bar,
      show(now) {
        const title = titleOf(now, songs.get(now.job_id));
        setText(link, title);
        cancel.setAttribute("aria-label", t("open.cancel", { title }));
        cancel.title = t("open.cancelShort");
        element.dataset.status = now.status;
        bar.update(now);
      },
    };
    this.#rows.set(job.job_id, row);
    return row;
  }

  #tick() {
    if (document.hidden) return;
    for (const row of this.#rows.values()) row.bar.tick();
  }
}

/** Cancels a job and says so; a job that has just ended is no error. */
export async function cancelJob(jobId) {
  try {
    await jobs.cancel(jobId);
    say(t("open.cancelled"));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    say(error.message);
    jobs.find(jobId, { again: true }).catch(() => {});
  }
}

customElements.define("studio-open-jobs", OpenJobs);
