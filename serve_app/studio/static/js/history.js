// <studio-history>: the tree of the songs that were made from one another, in which one can walk.

import { el } from "./dom.js";
import { clock, moment, takeName, titleOf } from "./format.js";
import { t } from "./i18n.js";
import { songs } from "./songs.js";
import { jobs } from "./watch.js";

class History extends HTMLElement {
  #jobId = null;
  #shownKey = "";

  connectedCallback() {
    if (this.tree) return;
    this.setAttribute("role", "navigation");
    this.setAttribute("aria-label", t("history.title"));
    this.tree = el("ul", { class: "tree" });
    this.append(el("h3", { class: "part-title" }, t("history.title")), this.tree);
    songs.addEventListener("change", () => this.show(this.#jobId));
  }

  /** Shows the tree of a song. It is made anew only where it is another one: that loses what is scrolled. */
  show(jobId) {
    this.#jobId = jobId;
    const root = jobId ? songs.rootOf(jobId) : null;
    this.hidden = !root || (root === jobId && songs.childrenOf(jobId).length === 0);
    if (this.hidden) return;
    const tree = branchOf(root, new Set());
    const key = JSON.stringify([jobId, tree]);
    if (key === this.#shownKey) return;
    this.#shownKey = key;
    const focused = this.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    this.tree.replaceChildren(this.#branch(tree));
    if (focused) this.tree.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus();
  }

  #branch({ id, what, when, branches }) {
    const link = el(
      "a",
      { href: `#/song/${id}`, dir: "auto", "aria-current": id === this.#jobId ? "page" : null },
      el("span", { class: "tree-what" }, what),
      el("span", { class: "tree-when" }, when),
    );
    const below = branches.map((branch) => this.#branch(branch));
    return el("li", {}, link, below.length ? el("ul", {}, below) : null);
  }
}

/** A song with those made from it, as `{id, what, when, branches}`. `seen` are the ids that stand above. */
function branchOf(id, seen) {
  seen.add(id);
  const record = songs.get(id); // null where the browser has forgotten it, but not what was made from it
  const children = songs.childrenOf(id).filter((child) => !seen.has(child.id));
  return {
    id,
    what: record?.parent ? whatItIs(record) : titleOf(jobs.byId.get(id), record),
    when: record ? moment(record.created) : "",
    branches: children.map((child) => branchOf(child.id, seen)),
  };
}

/** What was done to make a song from another one. */
function whatItIs(record) {
  const { repainting_start: start, repainting_end: end } = record.request ?? {};
  const part = Number.isFinite(start) && Number.isFinite(end) ? ` ${clock(start)}–${clock(end)}` : "";
  const take =
    songs.get(record.parent.id)?.result?.count > 1
      ? ` ${t("history.ofTake", { take: takeName(record.parent.item) })}`
      : "";
  return `${t(`kind.${record.kind}`)}${part}${take}`;
}

customElements.define("studio-history", History);
