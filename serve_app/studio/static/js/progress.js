// How a job stands, in words and as a bar. The expected time counts down between two messages of the server.

import { el, setText } from "./dom.js";
import { span } from "./format.js";
import { t } from "./i18n.js";

/** Seconds until the job is expected to end, counted down since the server told; null where it did not. */
export function secondsLeft(job) {
  if (job.eta_seconds === null || job.eta_seconds === undefined) return null;
  return Math.max(0, job.eta_seconds - (performance.now() - job.told_at) / 1000);
}

/** The stage of a job in words: its place in the queue, or what is being done for it. */
export function stageText(job) {
  if (job.status === "queued") {
    return job.queue_position ? t("stage.queuedAt", { n: job.queue_position }) : t("stage.queued");
  }
  return t(job.status === "running" ? `stage.${job.stage}` : `status.${job.status}`);
}

export function timeText(job) {
  const seconds = secondsLeft(job);
  if (seconds === null) return "";
  return seconds < 1 ? t("progress.soon") : t("progress.left", { time: span(seconds) });
}

/** A bar with the words of a job under it. `update(job)` shows how it stands now, `tick()` only the time. */
export class ProgressBar {
  #job = null;

  constructor(label) {
    this.fill = el("div", { class: "bar-fill" });
    this.bar = el(
      "div",
      {
        class: "bar",
        role: "progressbar",
        "aria-label": label,
        "aria-valuemin": "0",
        "aria-valuemax": "100",
      },
      this.fill,
    );
    this.stage = el("span", { class: "stage" });
    this.percent = el("span", { class: "percent" });
    this.time = el("span", { class: "time-left" });
    this.element = el(
      "div",
      { class: "progress" },
      this.bar,
      el("p", { class: "progress-text" }, this.stage, this.percent, this.time),
    );
  }

  update(job) {
    this.#job = job;
    const percent = Math.round(job.progress * 100);
    this.bar.setAttribute("aria-valuenow", String(percent));
    this.bar.setAttribute("aria-valuetext", `${stageText(job)}, ${percent} %`);
    this.fill.style.transform = `scaleX(${job.progress})`;
    setText(this.stage, stageText(job));
    setText(this.percent, job.status === "running" ? `${percent} %` : "");
    this.tick();
  }

  tick() {
    if (this.#job) setText(this.time, timeText(this.#job));
  }
}
