// The seed with its lock. An empty seed is a random one; the lock keeps the seed of the last song, so that the
// next song differs only by what is changed in the form.

import { el, icon } from "./dom.js";
import { Field } from "./field.js";
import { t } from "./i18n.js";
import { songs } from "./songs.js";

const SEEDS = 2 ** 32;

export class Seed {
  constructor() {
    this.lock = el("button", {
      type: "button",
      class: "quiet icon-button",
      "aria-label": t("seed.lock"),
      title: t("seed.lock"),
      click: () => this.#toggle(),
    });
    this.field = new Field("seed", { placeholder: t("seed.random"), after: this.lock });
    this.field.input.inputMode = "numeric";
    this.field.input.addEventListener("input", () => this.#changed());
    this.#changed();
  }

  get element() {
    return this.field.element;
  }

  /** The fields of the API that the seed stands for. */
  get request() {
    const seed = this.field.input.value.trim();
    return seed ? { use_random_seed: false, seed: /^-?\d+$/.test(seed) ? Number(seed) : seed } : {};
  }

  set value(seed) {
    this.field.value = seed;
    this.#changed();
  }

  #toggle() {
    this.value = this.field.input.value ? "" : lastSeed();
    this.field.input.dispatchEvent(new Event("input", { bubbles: true }));
  }

  #changed() {
    const isLocked = this.field.input.value !== "";
    this.lock.setAttribute("aria-pressed", String(isLocked));
    this.lock.replaceChildren(icon(isLocked ? "lock" : "unlock"));
  }
}

/** The seed of the newest song, or a random one before the first. */
function lastSeed() {
  const newest = [...songs.records.values()]
    .filter((record) => record.result?.seed_value)
    .reduce((a, b) => (a && a.created > b.created ? a : b), null);
  const seed = newest && String(newest.result.seed_value).split(", ")[0];
  return seed ?? String(crypto.getRandomValues(new Uint32Array(1))[0] % SEEDS);
}
