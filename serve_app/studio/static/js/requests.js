// Requests that are made from earlier ones: the same song again, or another one with the same wishes.

const WRITING = ["sample_mode", "sample_query", "use_format", "use_cot_caption", "use_cot_language"];
const SEEDS = ["seed", "use_random_seed"];

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
 * The request that makes the same song again: with the seeds, the words, the metadata and the audio codes of
 * its result, so that the language model chooses nothing anew. `item` asks for that song of the batch alone.
 */
export function exactly(record, item = null) {
  const { metas = {}, seed_value = "", audio_codes, count = 1 } = record.result ?? {};
  const request = without(wishes(record), WRITING);
  const pick = (list) => (item === null ? list : [list[item]]);
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
    // A song that works on a recording follows that, which also says how long it is.
    ...(isOnSource ? {} : known({ audio_duration: metas.duration })),
    ...(isGiven && !isOnSource ? { thinking: true, audio_code_string: codes } : {}),
    batch_size: item === null ? count : 1,
    use_random_seed: false,
    seed: seeds.join(","),
  };
}

/** An object without the names whose values are not known. */
function known(values) {
  return Object.fromEntries(
    Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== ""),
  );
}
