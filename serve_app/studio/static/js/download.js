// <studio-download>: saves the take that plays. A format that the song does not have is made by the server,
// which makes the same song again in it.

import { address } from "./api.js";
import { el, newId } from "./dom.js";
import { takeName, titleOf } from "./format.js";
import { t } from "./i18n.js";
import { canRepeat, makeSong, uploadsOf } from "./making.js";
import { exactly } from "./requests.js";
import { say } from "./say.js";
import { server } from "./server.js";
import { songs } from "./songs.js";
import { jobs } from "./watch.js";

const LONGEST_NAME = 60;

class Download extends HTMLElement {
  #deck = null;
  #take = null;

  connectedCallback() {
    if (this.formats) return;
    this.classList.add("download-fields");
    this.formats = el("select", { id: newId("format"), change: () => this.#showFormat() });
    this.link = el("a", { class: "secondary button", download: true }, t("player.download"));
    const convert = () => this.#convert();
    this.button = el("button", { type: "button", class: "secondary", click: convert }, t("player.convert"));
    const label = el("label", { for: this.formats.id, class: "label" }, t("player.downloadAs"));
    this.append(label, this.formats, this.link, this.button);
    this.#deck.addEventListener("change", () => this.#show());
    this.#show();
  }

  /** The deck whose take is saved. It has to be set before the element stands in the page. */
  set deck(deck) {
    this.#deck = deck;
  }

  #show() {
    const { take } = this.#deck;
    this.hidden = !take;
    if (!take) return;
    if (take !== this.#take) {
      this.#take = take;
      this.#makeFormats();
    }
    this.#showFormat();
  }

  /** Fills the list of formats; the one that the song has is the first. */
  #makeFormats() {
    const own = formatOf(this.#take);
    const formats = Object.entries(server.models.audio_formats).sort(([a], [b]) => (b === own) - (a === own));
    this.formats.replaceChildren(...formats.map(([name, text]) => el("option", { value: name }, text)));
    this.formats.value = own;
  }

  #showFormat() {
    const { path, owner, song } = this.#take;
    const isOwn = this.formats.value === formatOf(this.#take);
    this.link.hidden = !isOwn;
    this.button.hidden = isOwn;
    const record = songs.get(owner.id);
    this.button.disabled = !canRepeat(record);
    this.button.title = record && !uploadsOf(record) ? t("change.uploadGone") : "";
    this.link.href = song?.url ?? address(path).href;
    const title = titleOf(jobs.byId.get(owner.id), record);
    const letters = title.replace(/[^\p{L}\p{N} _-]/gu, "").trim();
    const name = Array.from(letters).slice(0, LONGEST_NAME).join("") || "song";
    this.link.setAttribute("download", `${name} ${takeName(owner.item)}.${extensionOf(path)}`);
  }

  async #convert() {
    const { owner } = this.#take;
    const record = songs.get(owner.id);
    if (!canRepeat(record)) return;
    const request = { ...exactly(record, owner.item), audio_format: this.formats.value };
    const making = { request, parent: owner, kind: "format", files: uploadsOf(record) };
    await makeSong(this, making, (error) => say(error.message));
  }
}

const extensionOf = (path) => address(path).pathname.split(".").pop();

/** The format of a take, by the name that the API gives it. */
export function formatOf({ path, owner }) {
  const extension = extensionOf(path);
  return songs.get(owner.id)?.request?.audio_format ?? { m4a: "aac" }[extension] ?? extension;
}

customElements.define("studio-download", Download);
