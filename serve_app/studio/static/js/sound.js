// <studio-sound>: the sound of a song: its waveform, the buttons that play it, its takes, and the selection.

import { el, icon, newId, setText } from "./dom.js";
import "./download.js";
import { clock, number } from "./format.js";
import { t } from "./i18n.js";
import "./timed-lyrics.js";
import "./waveform.js";

const JUMP_SECONDS = 5;

class Sound extends HTMLElement {
  #deck = null;
  #takes = null;

  connectedCallback() {
    if (this.waveform) return;
    this.takes = el("div", { role: "radiogroup", "aria-label": t("player.takes"), class: "segments takes" });
    this.waveform = el("studio-waveform");
    this.waveform.deck = this.#deck;
    this.download = el("studio-download");
    this.download.deck = this.#deck;
    this.note = el("p", { class: "note", role: "status" });
    this.lyrics = el("studio-timed-lyrics");
    this.lyrics.deck = this.#deck;
    const below = el("div", { class: "under-wave" }, this.#makeSelection(), this.download);
    this.append(this.takes, this.waveform, this.#makeTransport(), this.note, this.lyrics, below);
    this.#deck.addEventListener("change", () => this.#show());
    this.#deck.addEventListener("seek", () => this.#showPosition());
    this.#show();
  }

  /** The deck that plays. It has to be set before the element stands in the page. */
  set deck(deck) {
    this.#deck = deck;
  }

  #makeTransport() {
    const deck = this.#deck;
    const button = (name, drawing, click) => {
      const facts = {
        type: "button",
        class: "quiet icon-button",
        "aria-label": t(name),
        title: t(name),
        click,
      };
      return el("button", facts, icon(drawing));
    };
    const toggle = (name, click) => {
      const facts = { type: "button", class: "quiet toggle", "aria-pressed": "false", click };
      return el("button", facts, t(name));
    };
    this.play = el("button", { type: "button", class: "play", click: () => deck.toggle() });
    this.time = el("span", { class: "time" });
    this.loop = toggle("player.loop", () => deck.setLoop(!deck.loop));
    this.matched = toggle("player.matched", () => deck.setMatched(!deck.matched));
    this.spectrum = toggle("player.spectrogram", () => this.toggleSpectrum());
    return el(
      "div",
      { class: "transport" },
      button("player.back", "back", () => deck.seek(deck.position - JUMP_SECONDS)),
      this.play,
      button("player.forward", "forward", () => deck.seek(deck.position + JUMP_SECONDS)),
      this.time,
      el(
        "div",
        { class: "view-options" },
        this.loop,
        this.matched,
        this.spectrum,
        button("player.zoomOut", "zoomOut", () => this.waveform.zoom(2)),
        button("player.zoomIn", "zoomIn", () => this.waveform.zoom(0.5)),
      ),
    );
  }

  #makeSelection() {
    const edge = (name) => {
      const id = newId(name);
      const facts = {
        type: "number",
        id,
        step: "0.1",
        inputmode: "decimal",
        change: () => this.#selectTyped(),
      };
      this[name] = el("input", facts);
      return [el("label", { for: id, class: "label" }, t(`player.${name}`)), this[name]];
    };
    const clear = () => this.#deck.select(null);
    this.clear = el("button", { type: "button", class: "quiet", click: clear }, t("player.clear"));
    this.selected = el("span", { class: "selection-text" });
    return el("div", { class: "selection-fields" }, edge("from"), edge("to"), this.clear, this.selected);
  }

  toggleSpectrum() {
    const shown = this.spectrum.getAttribute("aria-pressed") !== "true";
    this.spectrum.setAttribute("aria-pressed", String(shown));
    this.waveform.showSpectrum(shown);
  }

  /** Shows the state of the deck: what plays, the take, the selection. */
  #show() {
    const deck = this.#deck;
    const name = t(deck.playing ? "player.pause" : "player.play");
    this.play.replaceChildren(icon(deck.playing ? "pause" : "play"));
    this.play.setAttribute("aria-label", name);
    this.play.title = name;
    this.play.disabled = !deck.take?.audio;
    this.loop.setAttribute("aria-pressed", String(deck.loop));
    this.matched.setAttribute("aria-pressed", String(deck.matched));
    setText(this.note, noteOn(deck.take));
    this.#showTakes();
    this.#showSelection();
    this.#showPosition();
    if (deck.playing) this.#turn();
  }

  #showTakes() {
    const { takes, current } = this.#deck;
    if (takes !== this.#takes) {
      this.#takes = takes;
      const name = newId("take");
      const choice = (take, item) => {
        const choose = () => this.#deck.choose(item);
        const radio = el("input", { type: "radio", name, value: item, change: choose });
        return el("label", {}, radio, el("span", {}, take.name));
      };
      this.takes.replaceChildren(...takes.map(choice));
      this.takes.hidden = takes.length < 2;
      this.matched.hidden = takes.length < 2;
    }
    for (const radio of this.takes.querySelectorAll("input")) radio.checked = Number(radio.value) === current;
  }

  #showSelection() {
    const { region } = this.#deck;
    const edges = [
      [this.from, region?.start],
      [this.to, region?.end],
    ];
    for (const [input, seconds] of edges) {
      if (input !== document.activeElement) input.value = region ? Math.round(seconds * 100) / 100 : "";
    }
    this.clear.hidden = !region;
    const length = region ? number(region.end - region.start, 1) : "";
    setText(this.selected, region ? t("player.selected", { time: length }) : t("player.dragHint"));
  }

  #selectTyped() {
    const start = this.from.valueAsNumber;
    const end = this.to.valueAsNumber;
    if (Number.isFinite(start) && Number.isFinite(end)) this.#deck.select({ start, end });
  }

  /** Moves the cursor in each frame while the song plays. */
  #turn() {
    if (this.turning) return;
    const frame = () => {
      this.turning = this.#deck.playing ? requestAnimationFrame(frame) : null;
      this.#deck.turn();
      this.#showPosition();
      this.waveform.follow();
    };
    this.turning = requestAnimationFrame(frame);
  }

  #showPosition() {
    setText(this.time, `${clock(this.#deck.position)} / ${clock(this.#deck.seconds)}`);
    this.lyrics.follow();
  }
}

/** What has to be said about a take; nothing about one that plays. */
function noteOn(take) {
  if (!take) return "";
  if (take.state !== "ready") return t(`player.${take.state}`);
  return take.song.peaks ? "" : t("player.noPicture");
}

customElements.define("studio-sound", Sound);
