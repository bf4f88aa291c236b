// Reading Server-Sent Events with `fetch`, because the browser's EventSource cannot send an API key.

import { send } from "./api.js";

/**
 * Yields `{id, data}` for each event of a stream until the server ends it. `lastId` is the id of the last event
 * that is known already; the server does not send it again. Throws ApiError.
 */
export async function* readEvents(path, lastId, signal) {
  const headers = { Accept: "text/event-stream", ...(lastId ? { "Last-Event-ID": lastId } : {}) };
  const response = await send(path, { headers, signal });
  if (response.status === 204) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) {
      const event = parse(block);
      if (event) yield event;
    }
  }
}

/** The event in a block of lines; null for a comment, by which the server keeps the connection open. */
function parse(block) {
  const data = [];
  let id = null;
  for (const line of block.split(/\r?\n/)) {
    if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
    if (line.startsWith("id:")) id = line.slice(3).trim();
  }
  return data.length ? { id, data: JSON.parse(data.join("\n")) } : null;
}
