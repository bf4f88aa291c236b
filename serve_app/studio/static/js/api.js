// Calls of the server's HTTP API. Every URL is relative to the page, so the server may stand below any path.

import { t } from "./i18n.js";
import { apiKey } from "./key.js";

const BASE = new URL(".", document.baseURI);
/** Time for a short answer. A network that fell silent ends no request by itself. */
export const PATIENCE_MILLISECONDS = 15_000;

/** Told, as an event "refused", when the server wants an API key or refuses the one it got. */
export const keyDoor = new EventTarget();

/** An answer of the server that is no success, or no answer at all (`status` 0). */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string | Array<{loc: Array<string>, msg: string}>} detail the server's own words
   */
  constructor(status, detail, retryAfter = null) {
    const fieldErrors = Array.isArray(detail) ? detail : [];
    super(fieldErrors.length ? fieldErrors.map((error) => error.msg).join("; ") : String(detail));
    this.status = status;
    this.fieldErrors = fieldErrors.map((error) => ({ field: fieldOf(error.loc), message: error.msg }));
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may succeed later without a change. */
  get isPassing() {
    return this.status === 0 || this.status >= 500;
  }
}

/** The name of the field in the `loc` of an error: the part after "body"; null where it names none. */
function fieldOf(loc) {
  const names = (loc ?? []).filter((part) => typeof part === "string" && !["body", "query"].includes(part));
  return names[0] ?? null;
}

/** The address of something on this server, from a path such as the API answers them: "/v1/audio/…". */
export function address(path) {
  return new URL(`.${path.startsWith("/") ? "" : "/"}${path}`, BASE);
}

/** Sends a request and returns the response if it is a success. Throws ApiError. */
export async function send(path, { method = "GET", body, headers = {}, signal } = {}) {
  const key = apiKey();
  const all = { ...headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  if (typeof body === "string") all["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(address(path), { method, body, headers: all, signal, cache: "no-cache" });
  } catch {
    throw new ApiError(0, t("error.offline"));
  }
  if (response.ok) return response;
  const error = await errorOf(response);
  if (response.status === 401) keyDoor.dispatchEvent(new Event("refused"));
  throw error;
}

async function errorOf(response) {
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  let detail = null;
  try {
    detail = (await response.json()).detail;
  } catch {
    // A proxy answered, or a server that is only starting: its page says nothing to a musician.
  }
  // A 404 without a detail is no answer of the API: the application is not there (yet).
  const status = response.status === 404 && !detail ? 503 : response.status;
  return new ApiError(status, detail ?? t("error.status", { status: response.status }), retryAfter);
}

/** Reads the body of a response. Throws ApiError where the connection breaks before its end. */
export async function bodyOf(response, form = "json") {
  try {
    return await response[form]();
  } catch {
    throw new ApiError(0, t("error.offline"));
  }
}

export async function getJson(path, { signal = AbortSignal.timeout(PATIENCE_MILLISECONDS) } = {}) {
  return bodyOf(await send(path, { signal }));
}

export async function postJson(path, value, options = {}) {
  return bodyOf(await send(path, { ...options, method: "POST", body: JSON.stringify(value) }));
}

/**
 * Submits a job and returns its id. The files (`src_audio`, `reference_audio`) are uploaded with it. The
 * Idempotency-Key makes it safe to send the request again when the connection broke: there will be one job.
 */
export async function submitJob(request, files = {}) {
  const headers = { "Idempotency-Key": randomName() };
  const uploads = Object.entries(files).filter(([, file]) => file);
  let body = JSON.stringify(request);
  if (uploads.length) {
    body = new FormData();
    for (const [name, value] of Object.entries(request)) {
      if (value === null || value === undefined) continue;
      // A form has texts alone: an array, which may hold objects or texts with commas, is written as JSON.
      body.append(name, typeof value === "object" ? JSON.stringify(value) : String(value));
    }
    for (const [name, file] of uploads) body.append(name, file);
  }
  for (let attempt = 1; ; attempt += 1) {
    try {
      const response = await send("v1/music/generate", { method: "POST", body, headers });
      return (await bodyOf(response)).job_id;
    } catch (error) {
      if (error.status !== 0 || attempt === 4) throw error;
      await pause(attempt * 700);
    }
  }
}

function randomName() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
