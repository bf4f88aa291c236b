// Watches the jobs of this user. All tabs together have six connections to a server that speaks HTTP/1.1, and
// an event stream holds one of them. So a tab follows one job by events, the one that ends first, and none while
// it is hidden; the lists of queued and of running jobs tell about all others.

import { ApiError, PATIENCE_MILLISECONDS, bodyOf, getJson, pause, send } from "./api.js";
import { readEvents } from "./events.js";

const BUSY_SECONDS = 2;
const IDLE_SECONDS = 4;
/** Newest jobs that are looked at while none is open: short ones may begin and end between two looks. */
const NEWEST = 5;
const LONGEST_RETRY_SECONDS = 4;
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
  /** Ends the look that goes on, and the event stream that is read. */
  #looking = new AbortController();
  #following = null;
  #brokeAt = -Infinity;
  #changed = new Set();
  /** Whether the next look shall begin at once, and what ends the rest before it. */
  #isWoken = false;
  #stir = () => {};

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
  async find(jobId, { again = false, signal } = {}) {
    if (again || !this.byId.has(jobId))
      this.take(await getJson(`v1/jobs/${encodeURIComponent(jobId)}`, { signal }));
    return this.byId.get(jobId);
  }

  /** Cancels a job. Throws ApiError. */
  async cancel(jobId) {
    const answer = await send(`v1/jobs/${encodeURIComponent(jobId)}`, { method: "DELETE" });
    this.take(await bodyOf(answer));
  }

  /** Watches until the page is closed. */
  async run() {
    addEventListener("online", () => {
      this.#looking.abort(); // it may wait for an answer that a dead connection never brings
      this.#wake();
    });
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.#following?.abort();
      this.#wake();
    });
    for (let failures = 0; ;) {
      this.#isWoken = false;
      try {
        await this.#look();
        this.#connect(true);
        failures = 0;
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        this.#connect(!error.isPassing);
        this.#following?.abort(); // it may be silent for the same reason
        failures += 1;
      }
      const seconds = this.open.length ? BUSY_SECONDS : IDLE_SECONDS;
      const retry = Math.min(2 ** failures / 2, LONGEST_RETRY_SECONDS);
      await this.#rest((failures ? retry : seconds) * 1000);
    }
  }

  #wake() {
    this.#isWoken = true;
    this.#stir();
  }

  /** Waits for the next look. A wake ends it, also one that came during the last look. */
  async #rest(milliseconds) {
    if (this.#isWoken) return;
    await Promise.race([pause(milliseconds), new Promise((resolve) => (this.#stir = resolve))]);
  }

  async #look() {
    const looking = (this.#looking = new AbortController());
    const patience = setTimeout(() => looking.abort(), PATIENCE_MILLISECONDS);
    try {
      await this.#lookAround(looking.signal);
    } finally {
      clearTimeout(patience);
    }
  }

  /** Asks for the jobs that wait and run, and for those that did so a moment ago. */
  async #lookAround(signal) {
    const known = this.open.map((job) => job.job_id);
    const lists = await Promise.all(OPEN_STATES.map((status) => allWithStatus(status, signal)));
    const listed = new Set();
    for (const job of lists.flat()) {
      listed.add(job.job_id);
      this.take(job);
    }
    for (const jobId of known.filter((id) => !listed.has(id))) {
      try {
        await this.find(jobId, { again: true, signal });
      } catch (error) {
        if (error.status !== 404) throw error;
        this.byId.delete(jobId);
        this.#announce(jobId);
      }
    }
    if (this.open.length) this.#followTheFirst();
    else (await getJson(`v1/jobs?limit=${NEWEST}`, { signal })).jobs.forEach((job) => this.take(job));
  }

  #followTheFirst() {
    const [first] = this.open;
    if (first && !this.#following && !document.hidden) this.#follow(first.job_id);
  }

  async #follow(jobId) {
    const following = (this.#following = new AbortController());
    try {
      const path = `v1/jobs/${encodeURIComponent(jobId)}/events`;
      for await (const event of readEvents(path, null, following.signal)) this.take(event.data);
    } catch {
      // A lost stream is no harm: the next look at the lists tells how the job stands and follows it again.
    }
    this.#following = null;
    if (following.signal.aborted) return;
    const job = this.byId.get(jobId);
    if (job && !isOpen(job)) this.#followTheFirst();
    else this.#mindTheBreak();
  }

  /** Looks at once where a stream broke, but not again and again where each new one breaks, too. */
  #mindTheBreak() {
    const now = performance.now();
    if (now - this.#brokeAt >= BUSY_SECONDS * 1000) this.#wake();
    this.#brokeAt = now;
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

async function allWithStatus(status, signal) {
  const jobs = [];
  let cursor = null;
  do {
    const after = cursor ? `&cursor=${cursor}` : "";
    const page = await getJson(`v1/jobs?status=${status}&limit=100${after}`, { signal });
    jobs.push(...page.jobs);
    cursor = page.next_cursor;
  } while (cursor);
  return jobs;
}

export const jobs = new Jobs();
