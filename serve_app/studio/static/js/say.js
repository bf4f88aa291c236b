// Short messages at the edge of the page, which screen readers read aloud.

import { el } from "./dom.js";

const SHOWN_MILLISECONDS = 6000;

export const messages = el("div", { class: "messages", role: "status", "aria-live": "polite" });

export function say(text) {
  const message = el("p", { class: "message" }, text);
  messages.append(message);
  while (messages.children.length > 3) messages.firstElementChild.remove();
  setTimeout(() => message.remove(), SHOWN_MILLISECONDS);
}
