// <studio-timed-lyrics>: the lines of the lyrics where the server knows when they are sung. The line of the
// moment is marked while the song plays, a click on a line goes there, and the lines can be saved as LRC.

import { el } from "./dom.js";
import { clock } from "./format.js";
import { t } from "./i18n.js";
import { jobs } from "./watch.js";

class TimedLyrics extends HTMLElement {
  #deck = null;
  #timed = null;
  #shownKey = "";
  #current = -1;

  connectedCallback() {
    if (this.list) return;
    this.setAttribute("role", "group");
    this.setAttribute("aria-label", t("timed.title"));
    this.list = el("ol", { class: "timed-lines" });
    this.save = el("button", { type: "button", class: "quiet", click: () => this.#save() }, t("timed.save"));
    this.append(this.list, this.save);
    this.#deck.addEventListener("change", () => this.#show());
    jobs.addEventListener("change", () => this.#show());
    this.#show();
  }

  /** The deck that plays. It has to be set before the element stands in the page. */
  set deck(deck) {
    this.#deck = deck;
  }

  /** Marks the line that is sung at the deck's position. */
  follow() {
    const { lines = [] } = this.#timed ?? {};
    const at = lineAt(lines, this.#deck.position);
    if (at === this.#current) return;
    this.#current = at;
    for (const [index, row] of [...this.list.children].entries()) {
      if (index === at) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
    const row = this.list.children[at];
    if (row) this.list.scrollTop = row.offsetTop - (this.list.clientHeight - row.offsetHeight) / 2;
  }

  #show() {
    const { take } = this.#deck;
    const timed = (this.#timed = timedLyricsOf(take));
    // Each poll brings the same lines anew, and to make them anew would lose the focus and what is scrolled.
    const key = timed ? [take.owner.id, take.owner.item, timed.lrc].join(" ") : "";
    if (key !== this.#shownKey) {
      this.#shownKey = key;
      this.#current = -1;
      this.list.replaceChildren(...(timed?.lines ?? []).map((line) => this.#row(line)));
    }
    this.hidden = !timed?.lines.length;
    this.follow();
  }

  #row({ text, start }) {
    const go = () => this.#deck.seek(start);
    const line = el("span", { dir: "auto", class: "timed-text" }, text);
    return el("li", {}, el("button", { type: "button", click: go }, el("span", {}, clock(start)), line));
  }

  #save() {
    const url = URL.createObjectURL(new Blob([`${this.#timed.lrc}\n`], { type: "text/plain" }));
    el("a", { href: url, download: "song.lrc" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }
}

/** What the server knows about when the lyrics of a take are sung; null where it knows nothing. */
function timedLyricsOf(take) {
  const { id, item } = take?.owner ?? {};
  return jobs.byId.get(id)?.result?.lyric_timestamps?.[item] ?? null;
}

/** The number of the line that is sung at a time, the last one that has begun; -1 before the first one. */
function lineAt(lines, seconds) {
  return lines.filter((line) => line.start <= seconds + 0.01).length - 1;
}

customElements.define("studio-timed-lyrics", TimedLyrics);
