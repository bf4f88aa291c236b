// Submitting a song and remembering it.

import { ApiError, pause, submitJob } from "./api.js";
import { songs } from "./songs.js";
import { jobs } from "./watch.js";

/** Time in which a second click on a button belongs to the first. */
const DOUBLE_CLICK_MILLISECONDS = 500;

/** Recordings that were uploaded from this page, by job: the browser cannot keep them beyond it. */
const uploads = new Map();

/**
 * Submits a request for a part of the page, which tells of the new job by the event "submitted". `parent` is
 * the song `{id, item}` that it is made from. A double click makes one song. `refused` gets the ApiError.
 */
export async function makeSong(element, making, refused) {
  if (element.hasAttribute("data-busy")) return;
  element.toggleAttribute("data-busy", true);
  try {
    const id = await submitted(making);
    element.dispatchEvent(new CustomEvent("submitted", { bubbles: true, detail: id }));
    await pause(DOUBLE_CLICK_MILLISECONDS);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    refused(error);
  } finally {
    element.toggleAttribute("data-busy", false);
  }
}

async function submitted({ request, files = {}, parent = null, kind = "new" }) {
  const id = await submitJob(request, files);
  const uploaded = Object.keys(files).filter((name) => files[name]);
  if (uploaded.length) uploads.set(id, files);
  songs.remember({ id, parent, kind, request, uploaded, created: Date.now() / 1000 });
  jobs.expect(id);
  return id;
}

/** The uploads that belong to a song's request: null where they are gone with an earlier page. */
export function uploadsOf(record) {
  if (!record.uploaded?.length) return {};
  return uploads.get(record.id) ?? null;
}

/** Whether all is here that making a song again exactly takes. */
export function canRepeat(record) {
  return Boolean(record?.result && uploadsOf(record));
}
