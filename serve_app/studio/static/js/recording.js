// A recording that a song works on: a file of this computer, or a path on the server (a song of it, for example).

import { el, newId, setText } from "./dom.js";
import { Field } from "./field.js";
import { fieldLabel, t } from "./i18n.js";
import { number } from "./format.js";
import { server } from "./server.js";

export class Recording {
  /** `name` is "src_audio" or "reference_audio". */
  constructor(name) {
    this.name = name;
    this.path = new Field(`${name}_path`, { placeholder: t("recording.path"), rows: 0 });
    const id = newId("file");
    this.input = el("input", {
      type: "file",
      id,
      accept: "audio/*,video/mp4,.flac,.opus,.w64,.caf,.mka",
      change: () => this.#changed(),
    });
    this.chosen = el("span", { class: "file-name", dir: "auto" });
    const remove = () => {
      this.take(null);
      this.input.focus();
    };
    this.remove = el("button", { type: "button", class: "quiet", hidden: true, click: remove });
    this.remove.append(t("recording.remove"));
    this.remove.setAttribute("aria-label", t("recording.removeOf", { field: fieldLabel(name) }));
    this.error = el("p", { class: "error", role: "alert", "data-error-for": name });
    this.element = el(
      "div",
      { class: "recording", "data-recording": name },
      el("label", { for: id, class: "label" }, fieldLabel(name)),
      el("div", { class: "file-line" }, this.input, this.remove),
      this.chosen,
      this.error,
      this.path.element,
    );
  }

  /** The chosen file; null without one. */
  get file() {
    return this.input.files[0] ?? null;
  }

  /** Takes a file that was dropped on the page or sent before; null takes away what was chosen. */
  take(file) {
    const carrier = new DataTransfer();
    if (file) carrier.items.add(file);
    this.input.files = carrier.files;
    this.#changed();
  }


  showError(message) {
    setText(this.error, message);
  }

  focus() {
    this.path.focus();
    this.input.focus();
  }

  #changed() {
    const { file } = this;
    this.remove.hidden = !file;
    setText(this.chosen, file ? t("recording.size", { mb: number(file.size / 1e6, 1) }) : "");
    const most = server.models.max_upload_bytes;
    const isTooLarge = file && file.size > most;
    this.showError(isTooLarge ? t("recording.tooLarge", { mb: number(most / 1e6) }) : "");
    this.path.element.hidden = Boolean(file);
    this.element.dispatchEvent(new Event("input", { bubbles: true }));
  }
}
