// Requests that are made from earlier ones: the same song again, or another one with the same wishes.

import { server } from "./server.js";

const WRITING = ["sample_mode", "sample_query", "use_format", "use_cot_caption", "use_cot_language"];
const SEEDS = ["seed", "use_random_seed"];
const SEED_COUNT = 2 ** 32;

function without(request, names) {
  return Object.fromEntries(Object.entries(request).filter(([name]) => !names.includes(name)));
}

/**
 * The wishes behind a song: the request as it was sent. Of a song that was not made in this browser only the
 * words are known, which the server's result quotes.
 */
export function wishes(record) {
  if (record.request) return { ...record.request };
  const { requested_caption: caption, requested_lyrics: lyrics } = record.result?.metas ?? {};
  return known({ caption, lyrics });
}

/** The request that makes another song from the same wishes. */
export function anew(record) {
  return { ...without(wishes(record), [...SEEDS, "audio_code_string"]), use_random_seed: true };
}

/**
 * The request that makes the same song again: with the seeds, the words, the metadata, the audio codes and the
 * models of its result, so that nothing is chosen anew. `item` asks for that song of the batch alone.
 */
export function exactly(record, item = null) {
  const { metas = {}, seed_value = "", audio_codes, count = 1 } = record.result ?? {};
  const request = without(wishes(record), WRITING);
  const pick = (list) => (item === null ? list : list.slice(item, item + 1));
  const codes = pick(Array.isArray(audio_codes) ? audio_codes : []);
  const seeds = pick(String(seed_value).split(", ").filter(Boolean));
  const isOnSource = Boolean(request.task_type && request.task_type !== "text2music");
  const isGiven = codes.length && codes.every(Boolean);
  return {
    ...request,
    ...known({
      caption: metas.caption,
      lyrics: metas.lyrics,
      vocal_language: metas.language,
      bpm: metas.bpm,
      key_scale: metas.keyscale,
      time_signature: metas.timesignature,
    }),
    ...madeBy(record.result ?? {}, request),
    // A song that works on a recording follows that, which also says how long it is.
    ...(isOnSource ? {} : known({ audio_duration: metas.duration })),
    ...(isGiven && !isOnSource ? { thinking: true, audio_code_string: codes } : {}),
    // An analysis has no songs, and what it repeats is its own request.
    ...(count ? { batch_size: item === null ? count : 1 } : {}),
    ...(seeds.length ? { use_random_seed: false, seed: seeds.join(",") } : {}),
    ...retakeOf(record, item),
  };
}

/** What made a song, where its request left that to the server, and the server still has it. */
function madeBy({ dit_model, adapters = [], sampling }, request) {
  const has = (list, name) => (list ?? []).some((one) => one.name === name);
  const usable = (server.models.adapters ?? []).filter(({ problem }) => !problem);
  const used = adapters.filter(({ name }) => has(usable, name)).map(({ name, scale }) => ({ name, scale }));
  const versions = server.fields.get("sampling")?.options ?? [];
  const made = known({
    model: has(server.models.models, dit_model) ? dit_model : null,
    adapters: used.length ? used : null,
    sampling: versions.includes(sampling) ? sampling : null,
  });
  return without(made, Object.keys(known(request)));
}

/** The strength and the seeds of a variation: those that the result tells, or else as the request gave them. */
function retakeOf({ request, result }, item) {
  const [, variance, used] = /Retake: (\S+) of seeds ([\d ]*\d)/.exec(result?.generation_info ?? "") ?? [];
  if (used) {
    const seeds = used.split(" ");
    return { retake_variance: Number(variance), retake_seed: item === null ? seeds.join(",") : seeds[item] };
  }
  if (item === null) return {};
  const given = String(request?.retake_seed ?? "").split(",");
  const [first] = given;
  if (given.length > 1) return known({ retake_seed: given[item]?.trim() });
  const isFirst = first.trim() !== "" && Number(first) >= 0; // song i uses retake_seed + i
  return isFirst ? { retake_seed: String((Number(first) + item) % SEED_COUNT) } : {};
}

/** An object without the names whose values are not known. */
function known(values) {
  return Object.fromEntries(
    Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== ""),
  );
}
