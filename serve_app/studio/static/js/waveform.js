// <studio-waveform>: the outline of a song, its spectrogram, the position and the selected region. Besides the
// song it shows room before its start and after its end: a region that reaches there asks for more music.

import { el } from "./dom.js";
import { clock } from "./format.js";
import { t } from "./i18n.js";

const AXIS_HEIGHT = 22;
const PEAKS_PER_SECOND = 100;
const CLICK_PIXELS = 4;
const SNAP_PIXELS = 7;
const TICKS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120];

class Waveform extends HTMLElement {
  #deck = null;
  #view = { from: 0, to: 1 };
  #shown = null;
  #anchor = null;

  connectedCallback() {
    if (this.stage) return;
    this.canvas = el("canvas", { class: "wave-canvas", "aria-hidden": "true" });
    this.spectrum = el("canvas", { class: "wave-spectrum", "aria-hidden": "true", hidden: true });
    this.startHandle = el("div", { class: "wave-handle wave-handle-start", "data-edge": "start" });
    this.endHandle = el("div", { class: "wave-handle wave-handle-end", "data-edge": "end" });
    this.selection = el("div", { class: "wave-selection", hidden: true }, this.startHandle, this.endHandle);
    this.cursor = el("div", { class: "wave-cursor", hidden: true });
    this.stage = el(
      "div",
      { class: "wave-stage", role: "slider", tabindex: "0", "aria-label": t("player.position") },
      this.canvas,
      this.spectrum,
      this.selection,
      this.cursor,
    );
    this.append(this.stage);
    this.stage.addEventListener("pointerdown", (event) => this.#press(event));
    this.stage.addEventListener("keydown", (event) => this.#key(event));
    this.stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    new ResizeObserver(() => this.draw()).observe(this.stage);
    addEventListener("themechange", () => this.draw());
  }

  /** The deck whose song is shown. */
  set deck(deck) {
    this.#deck = deck;
    deck.addEventListener("change", () => this.update());
    deck.addEventListener("seek", () => this.follow());
  }

  get #seconds() {
    return this.#deck?.seconds ?? 0;
  }

  /** Seconds shown before and after the song. */
  get #room() {
    return Math.min(30, Math.max(2, this.#seconds * 0.12));
  }

  get #whole() {
    return { from: -this.#room, to: this.#seconds + this.#room };
  }

  showSpectrum(shown) {
    this.spectrum.hidden = !shown;
    this.draw();
  }

  /** Shows a shorter (factor below 1) or longer part of the song around its position. */
  zoom(factor, around = this.#deck.position) {
    const { from, to } = this.#view;
    const length = (to - from) * factor;
    const share = (around - from) / (to - from);
    this.#show(around - length * share, length);
  }

  #show(from, length) {
    const whole = this.#whole;
    const fitting = Math.min(Math.max(length, 1), whole.to - whole.from);
    const start = Math.min(Math.max(from, whole.from), whole.to - fitting);
    this.#view = { from: start, to: start + fitting };
    this.draw();
    this.follow();
  }

  /** Shows what the deck holds now: another song, or another selection. */
  update() {
    const song = this.#deck.take?.song ?? null;
    const seconds = this.#seconds;
    const { region } = this.#deck;
    if (seconds !== this.#shown?.seconds) this.#view = this.#whole;
    const isSame =
      song === this.#shown?.song && seconds === this.#shown?.seconds && region === this.#shown?.region;
    if (song !== this.#shown?.song) this.#anchor = null;
    this.#shown = { song, seconds, region };
    if (!isSame) this.draw();
    this.#placeSelection();
    this.follow();
  }

  /** Moves the cursor to the position, and the shown part after it. */
  follow() {
    const { position } = this.#deck;
    const { from, to } = this.#view;
    const isZoomed = to - from < this.#whole.to - this.#whole.from - 0.01;
    if (this.#deck.playing && isZoomed && (position > to || position < from)) this.#show(position, to - from);
    this.cursor.hidden = !this.#seconds;
    this.cursor.style.transform = `translateX(${this.#x(position)}px)`;
    const shown = Math.round(position * 10) / 10;
    const last = this.#seconds.toFixed(1);
    const isSaid = (name, value) => this.stage.getAttribute(name) === value;
    if (isSaid("aria-valuenow", String(shown)) && isSaid("aria-valuemax", last)) return;
    this.stage.setAttribute("aria-valuemin", "0");
    this.stage.setAttribute("aria-valuemax", last);
    this.stage.setAttribute("aria-valuenow", String(shown));
    const place = t("player.positionOf", {
      position: clock(position, true),
      whole: clock(this.#seconds, true),
    });
    this.stage.setAttribute("aria-valuetext", place);
  }

  #x(seconds) {
    const { from, to } = this.#view;
    return ((seconds - from) / (to - from)) * this.stage.clientWidth;
  }

  #time(event) {
    const { left, width } = this.stage.getBoundingClientRect();
    const { from, to } = this.#view;
    const seconds = from + ((event.clientX - left) / width) * (to - from);
    const snap = (SNAP_PIXELS / width) * (to - from);
    for (const end of [0, this.#seconds]) if (Math.abs(seconds - end) < snap) return end;
    const whole = this.#whole;
    return Math.round(Math.min(Math.max(seconds, whole.from), whole.to) * 100) / 100;
  }

  #placeSelection() {
    const { region } = this.#deck;
    this.selection.hidden = !region;
    if (!region) return;
    const left = this.#x(region.start);
    this.selection.style.transform = `translateX(${left}px)`;
    this.selection.style.width = `${Math.max(1, this.#x(region.end) - left)}px`;
  }

  #press(event) {
    if (event.button !== 0 || !this.#seconds) return;
    const { edge } = event.target.dataset;
    const { region } = this.#deck;
    const begin = this.#time(event);
    const fixed = edge === "start" ? region.end : edge === "end" ? region.start : begin;
    let isDrag = Boolean(edge);
    const drag = (move) => {
      isDrag ||= Math.abs(move.clientX - event.clientX) > CLICK_PIXELS;
      if (!isDrag) return;
      const other = this.#time(move);
      this.#deck.select({ start: Math.min(fixed, other), end: Math.max(fixed, other) });
    };
    const release = () => {
      this.stage.removeEventListener("pointermove", drag);
      this.stage.removeEventListener("pointerup", release);
      this.stage.removeEventListener("pointercancel", release);
      if (!isDrag) this.#deck.seek(begin);
    };
    this.stage.setPointerCapture(event.pointerId);
    this.stage.addEventListener("pointermove", drag);
    this.stage.addEventListener("pointerup", release);
    this.stage.addEventListener("pointercancel", release);
  }

  #key(event) {
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
    const deck = this.#deck;
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Home") deck.seek(0);
    else if (event.key === "End") deck.seek(deck.seconds);
    else if (event.key === "Escape" && deck.region) deck.select(null);
    else if (event.key in steps && event.shiftKey) this.#stretch(steps[event.key]);
    else if (event.key in steps) deck.seek(deck.position + steps[event.key]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Moves one edge of the selection, which begins at the position. */
  #stretch(step) {
    const { region, position } = this.#deck;
    if (!region || !this.#anchor) this.#anchor = { fixed: position, moving: position };
    const whole = this.#whole;
    this.#anchor.moving = Math.min(Math.max(this.#anchor.moving + step, whole.from), whole.to);
    const { fixed, moving } = this.#anchor;
    this.#deck.select({ start: Math.min(fixed, moving), end: Math.max(fixed, moving) });
  }

  #wheel(event) {
    if (!this.#seconds) return;
    const { from, to } = this.#view;
    if (event.ctrlKey) this.zoom(event.deltaY > 0 ? 1.2 : 1 / 1.2, this.#time(event));
    else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      this.#show(from + (event.deltaX / this.stage.clientWidth) * (to - from), to - from);
    } else return;
    event.preventDefault();
  }

  /** Draws both canvases for the shown part, in the colours of the theme. */
  draw() {
    const { clientWidth: width } = this.stage;
    if (!width) return;
    const style = getComputedStyle(this);
    const colour = (name) => style.getPropertyValue(name).trim();
    const pen = sized(this.canvas, width, this.canvas.clientHeight);
    this.#drawAxis(pen, width, colour);
    this.#drawOutline(pen, width, colour);
    if (!this.spectrum.hidden) this.#drawSpectrum(width, colour);
    this.#placeSelection();
    this.follow();
  }

  #drawAxis(pen, width, colour) {
    const height = this.canvas.clientHeight;
    const seconds = this.#seconds;
    pen.fillStyle = colour("--room");
    for (const [from, to] of [
      [0, this.#x(0)],
      [this.#x(seconds), width],
    ]) {
      if (seconds && to > from) pen.fillRect(from, AXIS_HEIGHT, to - from, height - AXIS_HEIGHT);
    }
    if (!seconds) return;
    this.#drawPluses(pen, width, height, colour);
    const { from, to } = this.#view;
    const step = TICKS.find((tick) => (tick / (to - from)) * width > 64) ?? 300;
    pen.font = "11px system-ui, sans-serif";
    pen.textBaseline = "top";
    pen.fillStyle = colour("--muted");
    pen.strokeStyle = colour("--line");
    for (let tick = Math.ceil(from / step) * step; tick < to; tick += step) {
      const at = Math.round(this.#x(tick)) + 0.5;
      pen.beginPath();
      pen.moveTo(at, AXIS_HEIGHT - 5);
      pen.lineTo(at, height);
      pen.stroke();
      const isInside = tick > -0.001 && tick < seconds + 0.001;
      if (isInside && at < width - 30) pen.fillText(clock(tick, step < 1), at + 4, 4);
    }
  }

  /** A plus before and after the song: more music can be asked for there. */
  #drawPluses(pen, width, height, colour) {
    const middle = AXIS_HEIGHT + (height - AXIS_HEIGHT) / 2;
    pen.strokeStyle = colour("--edge");
    pen.lineWidth = 1.5;
    for (const [from, to] of [
      [0, this.#x(0)],
      [this.#x(this.#seconds), width],
    ]) {
      const at = (from + to) / 2;
      if (to - from < 16) continue;
      pen.beginPath();
      pen.moveTo(at - 5, middle);
      pen.lineTo(at + 5, middle);
      pen.moveTo(at, middle - 5);
      pen.lineTo(at, middle + 5);
      pen.stroke();
    }
    pen.lineWidth = 1;
  }

  #drawOutline(pen, width, colour) {
    const peaks = this.#deck.take?.song?.peaks;
    const top = AXIS_HEIGHT;
    const height = this.canvas.clientHeight - top;
    const middle = top + height / 2;
    if (!peaks) return;
    const { region } = this.#deck;
    const [plain, marked] = [colour("--wave"), colour("--accent")];
    const inside = region ? [this.#x(region.start), this.#x(region.end)] : [0, 0];
    const { from, to } = this.#view;
    const perPixel = ((to - from) / width) * PEAKS_PER_SECOND;
    const count = peaks.length / 2;
    const start = Math.max(0, Math.floor(this.#x(0)));
    const stop = Math.min(width, Math.ceil(this.#x(this.#seconds)));
    for (let x = start; x < stop; x += 1) {
      const first = Math.max(0, Math.floor(from * PEAKS_PER_SECOND + x * perPixel));
      const last = Math.min(
        count,
        Math.max(first + 1, Math.floor(from * PEAKS_PER_SECOND + (x + 1) * perPixel)),
      );
      let low = 0;
      let high = 0;
      for (let at = first; at < last; at += 1) {
        low = Math.min(low, peaks[2 * at]);
        high = Math.max(high, peaks[2 * at + 1]);
      }
      const scale = height * 0.47;
      pen.fillStyle = x >= inside[0] && x < inside[1] ? marked : plain;
      pen.fillRect(x, middle - high * scale, 1, Math.max(1, (high - low) * scale));
    }
  }

  #drawSpectrum(width, colour) {
    const spectrum = this.#deck.take?.song?.spectrum;
    const pen = sized(this.spectrum, width, this.spectrum.clientHeight);
    if (!spectrum) return;
    const left = this.#x(0);
    const picture = pictureOf(
      spectrum,
      rgb(colour("--paper")),
      rgb(colour("--accent")),
      rgb(colour("--ink")),
    );
    pen.imageSmoothingEnabled = true;
    pen.drawImage(picture, left, 0, this.#x(this.#seconds) - left, this.spectrum.clientHeight);
  }
}

/** Gives a canvas the pixels of its size on this screen, and returns a pen in units of the page. */
function sized(canvas, width, height) {
  const ratio = Math.min(devicePixelRatio || 1, 2);
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  return pen;
}

const pictures = new WeakMap();

/** The spectrogram as a picture: quiet is the paper, then the accent colour, and loud is the ink. */
function pictureOf(spectrum, paper, accent, ink) {
  const colours = [paper, accent, ink].join();
  const made = pictures.get(spectrum);
  if (made?.colours === colours) return made.canvas;
  const { columns, rows, levels } = spectrum;
  const canvas = el("canvas", { width: columns, height: rows });
  const pen = canvas.getContext("2d");
  const image = pen.createImageData(columns, rows);
  const palette = Array.from({ length: 256 }, (_, level) => {
    const share = level / 255;
    return share < 0.65
      ? mixed(paper, accent, (share / 0.65) ** 1.5)
      : mixed(accent, ink, (share - 0.65) / 0.35);
  });
  for (let column = 0; column < columns; column += 1) {
    for (let row = 0; row < rows; row += 1) {
      const at = 4 * ((rows - 1 - row) * columns + column);
      image.data.set(palette[levels[column * rows + row]], at);
      image.data[at + 3] = 255;
    }
  }
  pen.putImageData(image, 0, 0);
  pictures.set(spectrum, { colours, canvas });
  return canvas;
}

const mixed = (first, second, share) => first.map((value, at) => value + (second[at] - value) * share);

/** The parts of a colour that is written as #rrggbb. */
const rgb = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) || 0);

customElements.define("studio-waveform", Waveform);
