// A client of ACE-Step's API for browsers and Node, with fetch alone. usage: node song.mjs BASE_URL FOLDER
import { readFile, writeFile } from "node:fs/promises";

const [base, folder] = process.argv.slice(2);
const json = (body) => ({
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
});

async function data(answer) {
  const body = await answer.json();
  if (!answer.ok || body.code !== 200 || body.error) throw new Error(body.error || `status ${answer.status}`);
  return body.data;
}

async function release(options) {
  return (await data(await fetch(`${base}/release_task`, options))).task_id;
}

async function finish(taskId, name) {
  for (let poll = 0; poll < 600; poll++) {
    const [row] = await data(await fetch(`${base}/query_result`, json({ task_id_list: [taskId] })));
    if (row.status === 2) throw new Error(row.error);
    if (row.status === 1) {
      const [item] = JSON.parse(row.result);
      // Browsers encode the path once more.
      const path = encodeURIComponent(new URL(item.file, base).searchParams.get("path"));
      const song = await fetch(`${base}/v1/audio?path=${path}`);
      if (!song.ok || !song.headers.get("content-type").startsWith("audio/")) throw new Error(`no song: ${path}`);
      await writeFile(`${folder}/${name}`, Buffer.from(await song.arrayBuffer()));
      item.metas.duration.toFixed(1);
      return item;
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error("the task did not end");
}

const save = (url, name) => writeFile(`${folder}/${name}`, Buffer.from(url.split(",")[1], "base64"));

const { models, default_model: model } = await data(await fetch(`${base}/v1/model_inventory`));
if (!models.some((one) => one.is_loaded)) throw new Error("not ready");

const fields = { prompt: "a calm song", audio_duration: 1, batch_size: 1, use_format: false, format: "mp3" };
await finish(await release(json({ ...fields, audio_format: "wav", bpm: null, key_scale: "" })), "json.wav");

const urlencoded = new URLSearchParams({ caption: "a song", duration: "1", batch_size: "1", audio_format: "flac" });
await finish(await release({ method: "POST", body: urlencoded }), "form.flac");

const multipart = new FormData();
const settings = { task_type: "cover", prompt: "louder", batch_size: "1", audio_format: "wav" };
for (const [name, value] of Object.entries(settings)) multipart.append(name, value);
multipart.append("src_audio", new Blob([await readFile(`${folder}/json.wav`)]), "recording.webm");
await finish(await release({ method: "POST", body: multipart }), "cover.wav");

const chat = {
  model: `acestep/${model}`,
  messages: [{ role: "user", content: "<prompt>a song</prompt>" }],
  audio_config: { duration: 1, format: "wav" },
};
const plain = await (await fetch(`${base}/v1/chat/completions`, json(chat))).json();
await save(plain.choices[0].message.audio[0].audio_url.url, "chat.wav");

const stream = await fetch(`${base}/v1/chat/completions`, json({ ...chat, stream: true }));
let rest = "";
let content = "";
let done = false;
for await (const piece of stream.body.pipeThrough(new TextDecoderStream())) {
  const events = (rest + piece).split("\n\n");
  rest = events.pop();
  for (const event of events) {
    if (event === "data: [DONE]") {
      done = true;
      continue;
    }
    const { delta } = JSON.parse(event.slice("data: ".length)).choices[0];
    content += delta.content ?? "";
    for (const part of delta.audio ?? []) await save(part.audio_url.url, "stream.wav");
  }
}
if (!done || !content.includes("## Metadata")) throw new Error(`an unfinished stream: ${content}`);

const [unknown] = await data(await fetch(`${base}/query_result`, json({ task_id_list: ["nothing"] })));
if (unknown.status !== 2) throw new Error("an unknown task runs");
const refused = await fetch(`${base}/release_task`, json({ prompt: { not: "text" } }));
const refusal = await refused.json();
if (refused.status !== 422 || typeof refusal.error !== "string") throw new Error(JSON.stringify(refusal));
