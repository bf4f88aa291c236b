// Watches the jobs of this user. A browser opens six connections to a server, so only two jobs are followed by
// event streams, those that end first; the lists of queued and of running jobs tell about all others.

import { ApiError, bodyOf, getJson, pause, send } from "./api.js";
import { readEvents } from "./events.js";

const STREAMS = 2;
const BUSY_SECONDS = 2;
const IDLE_SECONDS = 4;
/** Newest jobs that are looked at while none is open: short ones may begin and end between two looks. */
const NEWEST = 5;
const LONGEST_RETRY_SECONDS = 10;
const OPEN_STATES = ["running", "queued"];

export function isOpen(job) {
  return OPEN_STATES.includes(job.status);
}

/**
 * The jobs that the page knows, by id, as the server last told.
 *
 * Events: "change" after something became different (at most one per frame; `detail` is the set of ids),
 * "ended" when a job that was open has ended (`detail` is the job), "connection" when the server is lost or
 * found again.
 */
class Jobs extends EventTarget {
  byId = new Map();
  connected = true;
  #streams = new Map();
  #changed = new Set();
  #wake = () => {};

  /** The jobs that wait or run: those that end first are the first. */
  get open() {
    const place = (job) => (job.status === "running" ? -1 / (job.started_at ?? 1) : job.queue_position);
    return [...this.byId.values()].filter(isOpen).sort((a, b) => place(a) - place(b));
  }

  /** Takes in a job as the server shows it. */
  take(job) {
    const before = this.byId.get(job.job_id);
    if (before && !isOpen(before) && isOpen(job)) return; // an answer that was overtaken by a newer one
    this.byId.set(job.job_id, { ...job, told_at: performance.now() });
    this.#announce(job.job_id);
    if (before && isOpen(before) && !isOpen(job))
      this.dispatchEvent(new CustomEvent("ended", { detail: job }));
  }

  /** Takes in a job that was just submitted, and looks at once how it stands. */
  expect(jobId) {
    if (!this.byId.has(jobId)) this.take({ ...JUST_SUBMITTED, job_id: jobId, created_at: Date.now() / 1000 });
    this.#wake();
  }

  /** Returns a job as it stands, asking the server for it where the page does not know it. Throws ApiError. */
  async find(jobId, { again = false } = {}) {
    if (again || !this.byId.has(jobId)) this.take(await getJson(`v1/jobs/${encodeURIComponent(jobId)}`));
    return this.byId.get(jobId);
  }

  /** Cancels a job. Throws ApiError. */
  async cancel(jobId) {
    const answer = await send(`v1/jobs/${encodeURIComponent(jobId)}`, { method: "DELETE" });
    this.take(await bodyOf(answer));
  }

  /** Watches until the page is closed. */
  async run() {
    addEventListener("online", () => this.#wake());
    document.addEventListener("visibilitychange", () => this.#wake());
    for (let failures = 0; ;) {
      try {
        await this.#look();
        this.#connect(true);
        failures = 0;
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        this.#connect(!error.isPassing);
        failures += 1;
      }
      const seconds = this.open.length ? BUSY_SECONDS : IDLE_SECONDS;
      const retry = Math.min(2 ** failures / 2, LONGEST_RETRY_SECONDS);
      await Promise.race([pause((failures ? retry : seconds) * 1000), this.#woken()]);
    }
  }

  #woken() {
    return new Promise((resolve) => (this.#wake = resolve));
  }

  /** Asks for the jobs that wait and run, and for those that did so a moment ago. */
  async #look() {
    const known = this.open.map((job) => job.job_id);
    const lists = await Promise.all(OPEN_STATES.map(allWithStatus));
    const listed = new Set();
    for (const job of lists.flat()) {
      listed.add(job.job_id);
      this.take(job);
    }
    for (const jobId of known.filter((id) => !listed.has(id))) {
      try {
        await this.find(jobId, { again: true });
      } catch (error) {
        if (error.status !== 404) throw error;
        this.byId.delete(jobId);
        this.#announce(jobId);
      }
    }
    if (this.open.length) this.#followTheFirst();
    else (await getJson(`v1/jobs?limit=${NEWEST}`)).jobs.forEach((job) => this.take(job));
  }

  #followTheFirst() {
    for (const job of this.open.slice(0, STREAMS)) {
      if (this.#streams.size >= STREAMS) return;
      if (!this.#streams.has(job.job_id)) this.#follow(job.job_id);
    }
  }

  async #follow(jobId) {
    const stop = new AbortController();
    this.#streams.set(jobId, stop);
    try {
      const path = `v1/jobs/${encodeURIComponent(jobId)}/events`;
      for await (const event of readEvents(path, null, stop.signal)) this.take(event.data);
      this.#streams.delete(jobId);
      this.#followTheFirst();
    } catch {
      // A lost stream is no harm: the next look at the lists tells how the job stands and follows it again.
      this.#streams.delete(jobId);
    }
  }

  #connect(connected) {
    if (connected === this.connected) return;
    this.connected = connected;
    this.dispatchEvent(new Event("connection"));
  }

  #announce(jobId) {
    if (!this.#changed.size) {
      // A hidden page draws no frames, but its title and its player still have to hear of the change.
      const next = document.hidden ? (work) => setTimeout(work, 200) : requestAnimationFrame;
      next(() => {
        const detail = this.#changed;
        this.#changed = new Set();
        this.dispatchEvent(new CustomEvent("change", { detail }));
      });
    }
    this.#changed.add(jobId);
  }
}

const JUST_SUBMITTED = {
  ...{ status: "queued", stage: "queued", progress: 0, queue_position: 0, eta_seconds: null },
  ...{ started_at: null, finished_at: null, result: null, error: null },
};

async function allWithStatus(status) {
  const jobs = [];
  let cursor = null;
  do {
    const page = await getJson(`v1/jobs?status=${status}&limit=100${cursor ? `&cursor=${cursor}` : ""}`);
    jobs.push(...page.jobs);
    cursor = page.next_cursor;
  } while (cursor);
  return jobs;
}

export const jobs = new Jobs();
