// Plays the songs of a job ("takes"), one at a time. Changing the take goes on at the same position, and takes
// are turned down to the quietest one, because the louder of two takes would always seem the better.

import { ApiError, pause } from "./api.js";
import { measured } from "./analysis.js";

const RETRY_MILLISECONDS = 3000;

/** Events: "change" after anything but the position became different. The position is read while it plays. */
export class Deck extends EventTarget {
  takes = [];
  current = 0;
  loop = false;
  matched = true;
  /** The selected region `{start, end}` in seconds; it may reach beyond both ends of the song. */
  region = null;
  #generation = 0;
  /** Where and whether the chosen take goes on once it is loaded, if it was chosen before that. */
  #entry = { position: 0, playing: false };

  /**
   * Loads takes, the chosen one first. Each is `{path, name, owner}`, where `owner` says which song it is as
   * `{id, item}`. `again` gets the new path of a take whose signed path has expired.
   */
  async load(takes, chosen, again) {
    this.stop();
    const generation = (this.#generation += 1);
    this.takes = takes.map((take) => ({ ...take, state: "loading", audio: null, song: null }));
    this.current = Math.min(chosen, Math.max(0, takes.length - 1));
    this.region = null;
    this.#entry = { position: 0, playing: false };
    this.#tell();
    const order = [...takes.keys()].sort((a, b) => (b === this.current) - (a === this.current));
    for (const item of order) {
      const take = this.takes[item];
      while (!["ready", "gone"].includes(take.state)) {
        await this.#fetch(take, again);
        if (generation !== this.#generation) return;
        this.#tell();
        if (take.state === "lost") await pause(RETRY_MILLISECONDS);
      }
    }
  }

  /** Fetches a take. Its state is "ready" then, "gone" where the server has it no more, or else "lost". */
  async #fetch(take, again) {
    try {
      take.song = await this.#measured(take, again);
      take.state = "ready";
      this.#prepare(take);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      take.state = error.status === 404 ? "gone" : "lost";
    }
  }

  async #measured(take, again) {
    try {
      return await measured(take.path);
    } catch (error) {
      if (error.status !== 401) throw error;
      take.path = await again(take.owner);
      return measured(take.path);
    }
  }

  #prepare(take) {
    take.audio = new Audio(take.song.url);
    take.audio.preload = "auto";
    for (const event of ["play", "pause", "ended", "loadedmetadata"]) {
      take.audio.addEventListener(event, () => this.#tell());
    }
    take.audio.addEventListener("ended", () => {
      if (this.loop && take === this.take) this.play();
    });
    // A hidden page draws no frames, in which the player turns otherwise.
    take.audio.addEventListener("timeupdate", () => {
      if (document.hidden && take === this.take && this.playing) this.turn();
    });
    this.#setVolumes();
    if (take !== this.take) return;
    this.seek(this.#entry.position);
    if (this.#entry.playing) this.play();
  }

  get take() {
    return this.takes[this.current] ?? null;
  }

  get #audio() {
    return this.take?.audio ?? null;
  }

  get playing() {
    return Boolean(this.#audio && !this.#audio.paused);
  }

  get seconds() {
    const known = this.take?.song?.seconds;
    if (known) return known;
    return Number.isFinite(this.#audio?.duration) ? this.#audio.duration : 0;
  }

  get position() {
    return this.#audio?.currentTime ?? this.#entry.position;
  }

  seek(seconds) {
    if (!this.#audio) return;
    this.#audio.currentTime = Math.min(Math.max(0, seconds), Math.max(0, this.seconds - 0.01));
    this.dispatchEvent(new Event("seek"));
  }

  async play() {
    if (!this.#audio) return;
    const part = this.playedRegion;
    if (part && (this.position < part.start || this.position >= part.end)) this.seek(part.start);
    try {
      await this.#audio.play();
    } catch {
      // The browser cannot play this format, or a pause came first: the button shows that nothing plays.
    }
  }

  pause() {
    this.#audio?.pause();
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  /** Changes to another take at the same position. */
  choose(item) {
    if (item === this.current || !this.takes[item]) return;
    const { playing, position } = this;
    const before = this.#audio;
    this.current = item;
    this.#entry = { position, playing };
    this.seek(position);
    if (playing) this.play();
    before?.pause();
    this.#tell();
  }

  setLoop(loop) {
    this.loop = loop;
    this.#tell();
  }

  setMatched(matched) {
    this.matched = matched;
    this.#setVolumes();
    this.#tell();
  }

  select(region) {
    const seconds = this.seconds;
    this.region = region && seconds && region.end - region.start >= 0.05 ? region : null;
    this.#tell();
  }

  /** The part of the selection that exists already, which a loop plays; null without one. */
  get playedRegion() {
    if (!this.loop) return null;
    const start = Math.max(0, this.region?.start ?? 0);
    const end = Math.min(this.seconds, this.region?.end ?? this.seconds);
    return end - start > 0.05 ? { start, end } : { start: 0, end: this.seconds };
  }

  /** Called for each frame while a song plays: goes back to the start of the loop at its end. */
  turn() {
    const part = this.playedRegion;
    if (part && this.#audio && (this.position >= part.end - 0.02 || this.#audio.ended)) {
      this.seek(part.start);
      this.play();
    }
  }

  stop() {
    this.#generation += 1;
    for (const take of this.takes) {
      if (!take.audio) continue;
      take.audio.pause();
      take.audio.removeAttribute("src");
    }
    this.takes = [];
  }

  #setVolumes() {
    const known = this.takes.map((take) => take.song?.loudness).filter(Number.isFinite);
    const quietest = Math.min(...known);
    for (const take of this.takes) {
      if (!take.audio) continue;
      const excess = this.matched && Number.isFinite(take.song.loudness) ? take.song.loudness - quietest : 0;
      take.audio.volume = 10 ** (-Math.max(0, excess) / 20);
    }
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }
}
