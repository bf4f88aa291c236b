// The API key. It lives in the session of this tab alone: it is gone when the tab is closed, and other tabs do
// not see it.

import { readSetting, writeSetting } from "./settings.js";

/** What a header can carry: no request with another character ever leaves the browser. */
const SENDABLE = /^[\x20-\x7e\xa0-\xff]+$/;

/** The key in a browser that keeps nothing: it lasts until the page is loaded again. */
let unkept = "";

export function apiKey() {
  return usableKey(readSetting("key", "sessionStorage") ?? unkept) ?? "";
}

export function keepKey(key) {
  unkept = key;
  writeSetting("key", key || null, "sessionStorage");
}

/** A typed key without the invisible characters that copied text brings along; null where it cannot be sent. */
export function usableKey(text) {
  const key = text.replace(/\p{C}/gu, "").trim();
  return SENDABLE.test(key) ? key : null;
}

/**
 * Returns a short name for whoever uses the page, under which the browser remembers their songs, so that two
 * users of one browser do not see each other's. The key cannot be computed from it.
 */
export function owner() {
  const key = apiKey();
  if (!key) return "open";
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(key)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash.toString(36);
}
