// What the browser remembers about songs beyond what the server tells: the request, and the song that it was
// made from. From these parents and children comes the tree of a song's history.

import { owner } from "./key.js";
import { readJson, settingNames, writeJson, writeSetting } from "./settings.js";

const MOST_SONGS = 400;
const LONGEST_CODES = 60_000;
const PROJECT = "acestep-studio";
const KINDS = ["new", "again", "exact", "repaint", "extend", "cover", "reference", "format"];

/**
 * A record is `{id, parent, kind, request, created, result}`. `parent` is `{id, item}` or null; `kind` is "new",
 * "again", "exact", "repaint", "extend", "cover", "reference" or "format"; `result` is what is worth keeping of
 * the server's result, null before the end.
 */
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
        const record = readJson(name);
        if (isRecord(record)) this.#records.set(record.id, record);
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
    while (!writeJson(this.#prefix + record.id, complete) && this.records.size > 1) this.#forgetOldest();
    while (this.records.size > MOST_SONGS) this.#forgetOldest();
    this.#tell();
  }

  /** Keeps what the server told about a song that has ended. */
  finish(job) {
    if (!job.result || this.get(job.job_id)?.result) return;
    const { metas, seed_value, audio_codes, generation_info, lm_model, dit_model } = job.result;
    const codes = JSON.stringify(audio_codes).length <= LONGEST_CODES ? audio_codes : [];
    const count = job.result.audio_paths.length;
    const result = { metas, seed_value, audio_codes: codes, generation_info, lm_model, dit_model, count };
    this.remember({ id: job.job_id, created: job.created_at, result });
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
    const songs = [...this.records.values()].sort((a, b) => a.created - b.created);
    return JSON.stringify(
      { format: PROJECT, version: 1, exported: new Date().toISOString(), songs },
      null,
      1,
    );
  }

  /** Takes in the songs of a project file and returns their number. Throws Error where it is none. */
  import(text) {
    const project = JSON.parse(text);
    if (project?.format !== PROJECT || !Array.isArray(project.songs)) throw new Error("not a project");
    const records = project.songs.filter(isRecord);
    for (const record of records) {
      this.remember({ ...record, kind: KINDS.includes(record.kind) ? record.kind : "new" });
    }
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

/** Whether something read from a file or from the browser's storage has the form of a record. */
function isRecord(value) {
  const isObject = (thing) => typeof thing === "object" && thing !== null && !Array.isArray(thing);
  const isParent = (thing) => thing === null || (isObject(thing) && typeof thing.id === "string");
  const isPlain = (thing) => thing === null || ["string", "number", "boolean"].includes(typeof thing);
  const isResult = (thing) =>
    isObject(thing) && isObject(thing.metas) && Object.values(thing.metas).every(isPlain);
  return (
    isObject(value) &&
    /^[\w-]{1,64}$/.test(value.id) &&
    isParent(value.parent ?? null) &&
    (value.request === null || isObject(value.request)) &&
    (value.result === null || isResult(value.result)) &&
    Number.isFinite(value.created)
  );
}

export const songs = new Songs();
