// Fetching a song and measuring it: decoded by the browser, measured by the worker.

import { ApiError, address, bodyOf, send } from "./api.js";
import { t } from "./i18n.js";

/** Samples per second that a song is decoded to for measuring; it plays from the original file. */
const RATE = 32_000;
/** Songs whose measures are kept; more than the largest batch has. */
const KEPT = 80;

// The server's policy lets only this page's own policy name scripts, and this is the only script that is named.
const untouched = { createScriptURL: (url) => url };
const trusted = globalThis.trustedTypes?.createPolicy("studio", untouched) ?? untouched;

let worker = null;
let lastId = 0;
const waiting = new Map();
const kept = new Map();

/**
 * Returns `{url, seconds, peaks, loudness, spectrum}` of a song; `url` plays it. `peaks` and all that follows
 * are null where the browser cannot decode the format. Throws ApiError, with status 404 where the song is gone.
 */
export function measured(path) {
  const name = address(path).pathname;
  if (!kept.has(name)) {
    const work = measure(path);
    work.catch(() => kept.delete(name));
    kept.set(name, work);
    if (kept.size > KEPT) forget(kept.keys().next().value);
  }
  return kept.get(name);
}

function forget(name) {
  kept.get(name).then(
    (song) => URL.revokeObjectURL(song.url),
    () => {},
  );
  kept.delete(name);
}

async function measure(path) {
  const blob = await songFile(path);
  const url = URL.createObjectURL(blob);
  let sound;
  try {
    sound = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(await blob.arrayBuffer());
  } catch {
    return { url, blob, seconds: null, peaks: null, loudness: null, spectrum: null };
  }
  const channels = [];
  for (let at = 0; at < Math.min(2, sound.numberOfChannels); at += 1)
    channels.push(sound.getChannelData(at).slice());
  return { url, blob, seconds: sound.duration, ...(await asked(channels, sound.sampleRate)) };
}

/** The file of a song. The signed path opens it without a key, and a storage elsewhere must not see the key. */
async function songFile(path) {
  const url = address(path);
  if (!url.searchParams.has("token")) return bodyOf(await send(path), "blob");
  let response;
  try {
    response = await fetch(url);
  } catch {
    throw new ApiError(0, t("error.offline"));
  }
  if (!response.ok) throw new ApiError(response.status, t("error.status", { status: response.status }));
  return bodyOf(response, "blob");
}

function asked(channels, rate) {
  if (!worker) {
    worker = new Worker(trusted.createScriptURL(new URL("./analysis-worker.js", import.meta.url).href));
    worker.onmessage = ({ data: { id, ...measures } }) => {
      waiting.get(id)(measures);
      waiting.delete(id);
    };
  }
  lastId += 1;
  return new Promise((resolve) => {
    waiting.set(lastId, resolve);
    worker.postMessage(
      { id: lastId, channels, rate },
      channels.map((samples) => samples.buffer),
    );
  });
}
