// The API key. It lives in the session of this tab alone: it is gone when the tab is closed, and other tabs do
// not see it.

import { readSetting, writeSetting } from "./settings.js";

export function apiKey() {
  return readSetting("key", sessionStorage) ?? "";
}

export function keepKey(key) {
  writeSetting("key", key || null, sessionStorage);
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
