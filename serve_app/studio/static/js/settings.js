// What the browser remembers. `localStorage` holds what outlives the tab, `sessionStorage` what must not.
// A browser that keeps nothing (private windows, blocked storage) loses comfort only: there even the mention of
// a storage throws, so each storage is named by a text and looked up where that is caught.

const PREFIX = "studio.";

export function readSetting(name, storage = "localStorage") {
  try {
    return globalThis[storage].getItem(PREFIX + name);
  } catch {
    return null;
  }
}

/** Returns whether the browser kept the value; null removes it. */
export function writeSetting(name, value, storage = "localStorage") {
  try {
    if (value === null) globalThis[storage].removeItem(PREFIX + name);
    else globalThis[storage].setItem(PREFIX + name, value);
    return true;
  } catch {
    return false;
  }
}

/** Returns a value that was written as JSON, or null where there is none that can be read. */
export function readJson(name, storage = "localStorage") {
  try {
    return JSON.parse(readSetting(name, storage) ?? "null");
  } catch {
    return null;
  }
}

export function writeJson(name, value, storage = "localStorage") {
  return writeSetting(name, JSON.stringify(value), storage);
}

/** Returns the names of all settings that begin with `prefix`. */
export function settingNames(prefix, storage = "localStorage") {
  try {
    return Object.keys(globalThis[storage])
      .filter((name) => name.startsWith(PREFIX + prefix))
      .map((name) => name.slice(PREFIX.length));
  } catch {
    return [];
  }
}
