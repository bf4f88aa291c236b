// Submitting a song and remembering it.

import { submitJob } from "./api.js";
import { songs } from "./songs.js";
import { jobs } from "./watch.js";

/** Recordings that were uploaded from this page, by job: the browser cannot keep them beyond it. */
const uploads = new Map();

/**
 * Submits a request and returns the id of its job. `parent` is the song `{id, item}` that it is made from.
 * Throws ApiError.
 */
export async function makeSong({ request, files = {}, parent = null, kind = "new" }) {
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
