// <studio-history>: the tree of the songs that were made from one another, in which one can walk.

import { el } from "./dom.js";
import { clock, moment, takeName, titleOf } from "./format.js";
import { t } from "./i18n.js";
import { songs } from "./songs.js";
import { jobs } from "./watch.js";

class History extends HTMLElement {
  #jobId = null;

  connectedCallback() {
    if (this.tree) return;
    this.setAttribute("role", "navigation");
    this.setAttribute("aria-label", t("history.title"));
    this.tree = el("ul", { class: "tree" });
    this.append(el("h3", { class: "part-title" }, t("history.title")), this.tree);
    songs.addEventListener("change", () => this.show(this.#jobId));
  }

  show(jobId) {
    this.#jobId = jobId;
    const root = jobId ? songs.rootOf(jobId) : null;
    this.hidden = !root || (root === jobId && songs.childrenOf(jobId).length === 0);
    if (this.hidden) return;
    this.tree.replaceChildren(this.#branch(songs.get(root), new Set()));
  }

  #branch(record, seen) {
    seen.add(record.id);
    const children = songs.childrenOf(record.id).filter((child) => !seen.has(child.id));
    const isShown = record.id === this.#jobId;
    const link = el(
      "a",
      { href: `#/song/${record.id}`, dir: "auto", "aria-current": isShown ? "page" : null },
      el("span", { class: "tree-what" }, whatItIs(record)),
      el("span", { class: "tree-when" }, moment(record.created)),
    );
    const below = children.length
      ? el(
          "ul",
          {},
          children.map((child) => this.#branch(child, seen)),
        )
      : null;
    return el("li", {}, link, below);
  }
}

/** What was done to make a song: of the first one its title. */
function whatItIs(record) {
  if (!record.parent) return titleOf(jobs.byId.get(record.id), record);
  const { repainting_start: start, repainting_end: end } = record.request ?? {};
  const part = Number.isFinite(start) && Number.isFinite(end) ? ` ${clock(start)}–${clock(end)}` : "";
  const take =
    songs.get(record.parent.id)?.result?.count > 1
      ? ` ${t("history.ofTake", { take: takeName(record.parent.item) })}`
      : "";
  return `${t(`kind.${record.kind}`)}${part}${take}`;
}

customElements.define("studio-history", History);
