// What the browser remembers about songs beyond what the server tells: the request, and the song that it was
// made from. From these parents and children comes the tree of a song's history.

import { owner } from "./key.js";
import { checkedRecord } from "./records.js";
import { readJson, settingNames, writeJson, writeSetting } from "./settings.js";

const MOST_SONGS = 400;
const LONGEST_CODES = 60_000;
const PROJECT = "acestep-studio";
/** Fields of a request that name an address of the user's own, which no project file carries elsewhere. */
const PRIVATE = ["callback_url", "callback_events"];

/** The songs that this browser remembers, by the ids of their jobs; records.js says what a record is. */
class Songs extends EventTarget {
  #records = null;

  constructor() {
    super();
    // Another tab of the same user remembered something.
    addEventListener("storage", () => {
      this.#records = null;
      this.#tell();
    });
  }

  get records() {
    if (!this.#records) {
      this.#records = new Map();
      for (const name of settingNames(this.#prefix)) {
        const record = checkedRecord(readJson(name));
        if (record && name === this.#prefix + record.id) this.#records.set(record.id, record);
      }
    }
    return this.#records;
  }

  get #prefix() {
    return `song.${owner()}.`;
  }

  get(jobId) {
    return this.records.get(jobId) ?? null;
  }

  /** Remembers a song; what is known already about it stays. */
  remember(record) {
    const known = this.get(record.id);
    const empty = { parent: null, kind: "new", request: null, created: Date.now() / 1000, result: null };
    const complete = { ...empty, ...known, ...record };
    this.records.set(record.id, complete);
    const isToBeKept = () => this.records.has(record.id) && settingNames(this.#prefix).length > 0;
    while (!writeJson(this.#prefix + record.id, complete) && isToBeKept()) this.#forgetOldest();
    while (this.records.size > MOST_SONGS) this.#forgetOldest();
    this.#tell();
  }

  /** Keeps what the server told about a song that has ended. */
  finish(job) {
    if (!job.result || this.get(job.job_id)?.result) return;
    const { audio_codes: codes, audio_paths: paths, adapters, sampling, ...result } = job.result;
    const { metas, seed_value, generation_info, lm_model, dit_model } = result;
    const audio_codes = JSON.stringify(codes).length <= LONGEST_CODES ? codes : [];
    const facts = { metas, seed_value, audio_codes, generation_info, count: paths.length };
    const makers = { lm_model, dit_model, adapters: adapters ?? [], sampling: sampling ?? null };
    this.remember({ id: job.job_id, created: job.created_at, result: { ...facts, ...makers } });
  }

  /** The songs that were made from a song, oldest first. */
  childrenOf(jobId) {
    return [...this.records.values()]
      .filter((record) => record.parent?.id === jobId)
      .sort((a, b) => a.created - b.created);
  }

  /** The first song of the history that a song belongs to: where its chain of parents ends. */
  rootOf(jobId) {
    const seen = new Set();
    let at = jobId;
    while (!seen.has(at)) {
      seen.add(at);
      const parent = this.get(at)?.parent?.id;
      if (!parent || !this.get(parent)) return at;
      at = parent;
    }
    return jobId;
  }

  /** All songs as the text of a project file. */
  exported() {
    const songs = [...this.records.values()].sort((a, b) => a.created - b.created).map(withoutPrivate);
    return JSON.stringify(
      { format: PROJECT, version: 1, exported: new Date().toISOString(), songs },
      null,
      1,
    );
  }

  /**
   * Takes in the songs of a project file and returns their number. What this browser knows already about a song
   * stays. Throws Error where it is none.
   */
  import(text) {
    const project = JSON.parse(text);
    if (project?.format !== PROJECT || !Array.isArray(project.songs)) throw new Error("not a project");
    const records = project.songs.map(checkedRecord).filter(Boolean).map(withoutPrivate);
    for (const record of records) this.remember({ ...record, ...knownOf(this.get(record.id)) });
    return records.length;
  }

  /** Tells once of all changes of a moment. */
  #tell() {
    if (this.telling) return;
    this.telling = true;
    queueMicrotask(() => {
      this.telling = false;
      this.dispatchEvent(new Event("change"));
    });
  }

  #forgetOldest() {
    const oldest = [...this.records.values()].reduce((a, b) => (a.created <= b.created ? a : b));
    this.records.delete(oldest.id);
    writeSetting(this.#prefix + oldest.id, null);
  }
}

function withoutPrivate(record) {
  if (!record.request) return record;
  const shared = Object.entries(record.request).filter(([name]) => !PRIVATE.includes(name));
  return { ...record, request: Object.fromEntries(shared) };
}

/** The parts of a record that this browser knows: not the kind of a song that another program made. */
function knownOf(record) {
  const { kind, uploaded, ...rest } = record ?? {};
  const parts = rest.request ? { ...rest, kind, uploaded } : rest;
  return Object.fromEntries(Object.entries(parts).filter(([, value]) => (value ?? null) !== null));
}

export const songs = new Songs();
