// Which field of the API stands in which part of the form. Fields that are not named here, because a newer
// server has them, appear by themselves in the group "other" of the advanced fields.

/** Fields that the page fills in by controls of its own: the mode, and the seed with its lock. */
export const HANDLED = ["sample_mode", "sample_query", "use_random_seed"];

/** Fields of the song and of its making, which always stand in the open. */
export const OPEN = [
  ...["caption", "lyrics", "vocal_language", "audio_duration", "bpm", "key_scale", "time_signature"],
  ...["batch_size", "seed", "audio_format", "model", "lm_model_path", "adapters", "thinking"],
];

export const RECORDINGS = ["src_audio_path", "reference_audio_path"];

/** The fields of what is done to a recording. */
export const TASK = [
  ...["task_type", "repainting_start", "repainting_end", "repaint_mode", "repaint_strength"],
  ...["audio_cover_strength", "cover_noise_strength", "track_name", "track_classes", "global_caption"],
  ...["chunk_mask_mode", "cover_nofsq", "allow_silent_source"],
];

const ADVANCED = {
  writing: ["use_format", "use_cot_caption", "use_cot_language", "output"],
  music: [
    ...["inference_steps", "guidance_scale", "shift", "timesteps", "infer_method", "use_adg"],
    ...["cfg_interval_start", "cfg_interval_end", "instruction", "sampling", "sampler_mode"],
    ...["velocity_norm_threshold", "velocity_ema_factor"],
  ],
  correction: ["dcw_enabled", "dcw_mode", "dcw_scaler", "dcw_high_scaler", "dcw_wavelet"],
  variation: ["retake_variance", "retake_seed"],
  morph: [
    ...["flow_edit_morph", "flow_edit_source_caption", "flow_edit_source_lyrics"],
    ...["flow_edit_n_min", "flow_edit_n_max", "flow_edit_n_avg"],
  ],
  finish: [
    ...["enable_normalization", "normalization_db", "fade_in_duration", "fade_out_duration"],
    ...["latent_rescale", "latent_shift", "lyric_timestamps", "embed_request"],
  ],
  language: [
    ...["lm_temperature", "lm_cfg_scale", "lm_top_k", "lm_top_p", "lm_repetition_penalty"],
    ...["lm_negative_prompt", "lm_guide_metadata", "lm_backend", "audio_code_string"],
  ],
  delivery: ["priority", "start_within_seconds", "keep_seconds", "callback_url", "callback_events"],
};

/** The advanced fields that a server has, by group: `[["music", ["shift", …]], …, ["other", […]]]`. */
export function advancedGroups(fields) {
  const placed = new Set([...HANDLED, ...OPEN, ...RECORDINGS, ...TASK, ...Object.values(ADVANCED).flat()]);
  const other = [...fields.keys()].filter((name) => !placed.has(name));
  return Object.entries({ ...ADVANCED, other })
    .map(([group, names]) => [group, names.filter((name) => fields.has(name))])
    .filter(([, names]) => names.length);
}
