// The dialogs of the page: the API key, what a dropped file is for, and the keys of the keyboard.

import { el, newId, setText } from "./dom.js";
import { fieldLabel, t } from "./i18n.js";
import { apiKey, keepKey, usableKey } from "./key.js";
import { writeSetting } from "./settings.js";

/** Opens a dialog and returns what closes it. The promise has the value of the button that was pressed. */
function open(title, body, { closable = true } = {}) {
  const id = newId("dialog");
  const close =
    closable &&
    el(
      "button",
      { type: "button", class: "quiet", value: "", click: () => dialog.close("") },
      t("dialog.close"),
    );
  const dialog = el(
    "dialog",
    { "aria-labelledby": id },
    el("h2", { id }, title),
    body,
    close ? el("div", { class: "buttons" }, close) : null,
  );
  if (!closable) dialog.addEventListener("cancel", (event) => event.preventDefault());
  document.body.append(dialog);
  const done = new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue);
    });
  });
  dialog.showModal();
  return { dialog, done };
}

let asking = null;

/**
 * Asks for the API key, and resolves when one was given, or when the dialog was closed where it is `closable`.
 * `wasRefused` says that the last one was wrong.
 */
export function askForKey(wasRefused, { closable = false } = {}) {
  asking ??= ask(wasRefused, closable).finally(() => (asking = null));
  return asking;
}

async function ask(wasRefused, closable) {
  const id = newId("key");
  const input = el("input", {
    type: "password",
    id,
    autocomplete: "off",
    spellcheck: "false",
    required: true,
  });
  const error = el("p", { class: "error", role: "alert", id: `${id}-error` });
  input.setAttribute("aria-describedby", `${id}-help ${id}-error`);
  const form = el(
    "form",
    { method: "dialog", class: "panel" },
    el("p", { id: `${id}-help` }, t("key.why")),
    el("label", { for: id, class: "label" }, t("key.title")),
    input,
    error,
    el("div", { class: "buttons" }, el("button", { type: "submit", class: "primary" }, t("key.use"))),
  );
  const { done } = open(t("key.title"), form, { closable });
  form.addEventListener("submit", (event) => {
    const key = usableKey(input.value);
    if (key !== null) return keepKey(key);
    event.preventDefault();
    setText(error, t("key.unusable"));
  });
  setText(error, wasRefused ? t("key.refused") : "");
  await done;
}

/** Shows that a key is in use, and forgets it on demand. Resolves with whether it was forgotten. */
export async function showKey() {
  const forget = el(
    "button",
    { type: "button", class: "secondary", click: () => dialog.close("forget") },
    t("key.forget"),
  );
  const { dialog, done } = open(
    t("key.title"),
    el("div", { class: "panel" }, el("p", {}, t("key.inUse")), forget),
  );
  const isForgotten = (await done) === "forget" && apiKey() !== "";
  if (isForgotten) keepKey("");
  return isForgotten;
}

/** Asks what a dropped recording is for: "src_audio", "reference_audio", or "" for nothing. */
export async function askPurpose(file) {
  const choice = (name) =>
    el("button", { type: "button", class: "secondary", click: () => dialog.close(name) }, fieldLabel(name));
  const body = el(
    "div",
    { class: "panel" },
    el("p", { class: "file-name", dir: "auto" }, file.name),
    el("p", { class: "note" }, t("drop.explained")),
    el("div", { class: "buttons" }, choice("src_audio"), choice("reference_audio")),
  );
  const { dialog, done } = open(t("drop.title"), body);
  return done;
}

const SHORTCUTS = [
  ["Space, K", "keys.play"],
  ["J, ;", "keys.jump"],
  ["1–9", "keys.take"],
  ["L", "keys.loop"],
  ["S", "keys.spectrogram"],
  ["I, O", "keys.mark"],
  ["← →", "keys.seek"],
  ["Shift + ← →", "keys.stretch"],
  ["Esc", "keys.clear"],
];

/** Shows the keys, and a switch for those that work without Ctrl, which can disturb speech input. */
export function showShortcuts() {
  const root = document.documentElement;
  const box = el("input", {
    type: "checkbox",
    checked: root.dataset.shortcuts !== "off",
    change: () => {
      root.dataset.shortcuts = box.checked ? "on" : "off";
      writeSetting("shortcuts", root.dataset.shortcuts);
    },
  });
  const rows = SHORTCUTS.flatMap(([keys, what]) => [
    el("dt", {}, el("kbd", {}, keys)),
    el("dd", {}, t(what)),
  ]);
  open(
    t("keys.title"),
    el(
      "div",
      { class: "panel" },
      el("dl", { class: "facts" }, rows),
      el("label", { class: "switch" }, box, t("keys.on")),
    ),
  );
}
