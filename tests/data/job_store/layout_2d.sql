BEGIN TRANSACTION;
CREATE TABLE checkpoints (sequence INTEGER PRIMARY KEY, content TEXT NOT NULL);
INSERT INTO "checkpoints" VALUES(41,'{"plan":{"task":"repaint","metadata":{"bpm":120,"key_scale":"C Major","time_signature":"4/4","duration":null,"caption":null,"language":null,"genres":null},"durations":[20.5,20.5],"span":{"start":0.0,"end":1.5,"pad_left":1.5,"pad_right":0.0},"lm_answered":true,"notes":[],"is_fallback":false,"words":null},"codes":[[5,6],null],"timings":{"planning":0.5}}');
CREATE TABLE jobs (
        job_id TEXT NOT NULL UNIQUE,
        sequence INTEGER PRIMARY KEY,
        client TEXT NOT NULL,
        idempotency_key TEXT,
        state TEXT NOT NULL,
        is_open INTEGER NOT NULL,
        finished_at REAL,
        has_files INTEGER NOT NULL,
        stored_bytes INTEGER NOT NULL,
        record TEXT NOT NULL
    , keep_until REAL);
INSERT INTO "jobs" VALUES('8c1f0000-0000-4000-8000-000000000011',41,'alice','k-1','running',1,NULL,0,1234,'{"version":2,"job":{"job_id":"8c1f0000-0000-4000-8000-000000000011","work":{"jobs":1,"calls":[1.0,2.0,2.0,2.0,1.0],"units":[0.0,100.0,320.0,40.0,41.0],"item_units":[0.0,0.0,0.0,0.0,0.0],"models":{"denoising/acestep-v15-turbo":[2.0,320.0,0.0]}},"place":[-3,12.5,41,52.5],"created_at":1700000000.25,"client":"alice","uploaded_bytes":1234,"idempotency":{"key":"k-1","fingerprint":"ffffffff"},"state":"running","stage":"denoising","progress":0.375,"steps":null,"best_progress":0.0,"started_at":1700000001.5,"finished_at":null,"attempt":2,"forgiven":1,"lease_token":"token","lease_expires_at":31.5,"error":null,"files":[],"file_bytes":0,"tidy_at":null,"callback":null,"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","queued_at":1700000000.5,"claimed_at":1700000001.75,"submitted_at":1700000000.0,"start_by":1700000060.25,"keep_until":null,"request_id":"request-1","counted":null,"batch":{"batch_id":"b41.2.00112233445566778899","callback_url":"https://example.org/batch"},"batch_callback":null,"purged":false}}',NULL);
INSERT INTO "jobs" VALUES('8c1f0000-0000-4000-8000-000000000012',42,'bob',NULL,'succeeded',1,1700000009.0,1,9000,'{"version":2,"job":{"job_id":"8c1f0000-0000-4000-8000-000000000012","work":{"jobs":1,"calls":[1.0,1.0,1.0,1.0,1.0],"units":[0.0,50.0,160.0,20.0,20.0],"item_units":[0.0,0.0,0.0,0.0,0.0],"models":{}},"place":[0,1.0,42,41.0],"created_at":1700000002.0,"client":"bob","uploaded_bytes":0,"idempotency":null,"state":"succeeded","stage":"done","progress":1.0,"steps":null,"best_progress":0.0,"started_at":1700000003.0,"finished_at":1700000009.0,"attempt":1,"forgiven":0,"lease_token":null,"lease_expires_at":null,"error":null,"files":["results/b/0.mp3"],"file_bytes":9000,"tidy_at":null,"callback":{"due_at":1700000011.0,"attempts":1},"traceparent":null,"queued_at":null,"claimed_at":null,"submitted_at":1700000002.0,"start_by":null,"keep_until":1700003609.0,"request_id":null,"counted":{"day":"2023-11-14","usage":{"succeeded":1,"failed":0,"cancelled":0,"audio_ms":20000,"codes":50,"language_model_ms":10,"generator_ms":2500,"codec_ms":20}},"batch":{"batch_id":"b41.2.00112233445566778899","callback_url":"https://example.org/batch"},"batch_callback":{"due_at":1700000012.0,"attempts":2},"purged":false}}',1700003609.0);
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT INTO "meta" VALUES('epoch',1);
INSERT INTO "meta" VALUES('next_sequence',43);
INSERT INTO "meta" VALUES('secret',X'0000000000000000000000000000000000000000000000000000000000000000');
CREATE TABLE results (sequence INTEGER PRIMARY KEY, content TEXT NOT NULL);
INSERT INTO "results" VALUES(42,'{"bpm":120,"timings":{"denoising":2.5}}');
CREATE TABLE set_aside (
        job_id TEXT PRIMARY KEY,
        state TEXT NOT NULL,
        reason TEXT NOT NULL,
        set_aside_at REAL NOT NULL,
        record BLOB NOT NULL
    , sequence INTEGER);
CREATE TABLE specs (sequence INTEGER PRIMARY KEY, content TEXT NOT NULL);
INSERT INTO "specs" VALUES(41,'{"request":{"caption":"ein ruhiges Klavier ♯","lyrics":"[verse]\nLa la","thinking":true,"vocal_language":"de","audio_format":"mp3","bpm":120,"key_scale":"B♭ dorian","time_signature":"6","audio_duration":20.5,"sample_mode":false,"sample_query":"","use_format":false,"use_cot_caption":false,"use_cot_language":false,"output":"songs","audio_code_string":["1,2","<|audio_code_3|>"],"inference_steps":8,"guidance_scale":7.0,"retake_variance":0.0,"retake_seed":"-1","use_random_seed":false,"seed":"7,8","batch_size":2,"model":null,"lm_model_path":null,"lm_backend":"vllm","lm_temperature":0.85,"lm_cfg_scale":2.0,"lm_guide_metadata":false,"lm_negative_prompt":"NO USER INPUT","lm_top_k":40,"lm_top_p":0.9,"lm_repetition_penalty":1.0,"reference_audio_path":null,"src_audio_path":"/v1/audio/x","allow_silent_source":false,"task_type":"repaint","instruction":"Fill the audio semantic mask based on the given conditions:","repainting_start":-1.5,"repainting_end":3.0,"audio_cover_strength":1.0,"shift":2.0,"timesteps":[0.97,0.5,0.0],"sampling":"2026-08","infer_method":"ode","sampler_mode":"euler","velocity_norm_threshold":0.0,"velocity_ema_factor":0.0,"dcw_enabled":null,"dcw_mode":"double","dcw_scaler":0.05,"dcw_high_scaler":0.02,"dcw_wavelet":"haar","latent_rescale":1.0,"latent_shift":0.0,"lyric_timestamps":false,"adapters":[],"use_adg":false,"cfg_interval_start":0.0,"cfg_interval_end":1.0,"cover_noise_strength":0.0,"repaint_mode":"balanced","repaint_strength":0.5,"chunk_mask_mode":"auto","cover_nofsq":false,"global_caption":"","track_name":null,"track_classes":["drums","bass"],"flow_edit_morph":false,"flow_edit_source_caption":"","flow_edit_source_lyrics":"","flow_edit_n_min":0.0,"flow_edit_n_max":1.0,"flow_edit_n_avg":1,"enable_normalization":true,"normalization_db":-1.0,"fade_in_duration":0.0,"fade_out_duration":0.0,"embed_request":false,"callback_url":"https://example.org/done","callback_events":["started","finished"],"priority":3,"start_within_seconds":60.0,"keep_seconds":3600.0},"seeds":[7,8],"codes":[[1,2],[3]],"source":{"uri":"uploads/a.wav","seconds":20.25,"codes":[],"silent":false},"reference":null,"dit":"acestep-v15-turbo","retake_seeds":[],"notes":["A note."]}');
INSERT INTO "specs" VALUES(42,'{"request":{"caption":"","lyrics":"","thinking":false,"vocal_language":"en","audio_format":"mp3","bpm":null,"key_scale":"","time_signature":"","audio_duration":null,"sample_mode":false,"sample_query":"","use_format":false,"use_cot_caption":false,"use_cot_language":false,"output":"songs","audio_code_string":"","inference_steps":8,"guidance_scale":7.0,"retake_variance":0.0,"retake_seed":"-1","use_random_seed":true,"seed":"-1","batch_size":null,"model":null,"lm_model_path":null,"lm_backend":"vllm","lm_temperature":0.85,"lm_cfg_scale":2.0,"lm_guide_metadata":false,"lm_negative_prompt":"NO USER INPUT","lm_top_k":null,"lm_top_p":0.9,"lm_repetition_penalty":1.0,"reference_audio_path":null,"src_audio_path":null,"allow_silent_source":false,"task_type":"text2music","instruction":"Fill the audio semantic mask based on the given conditions:","repainting_start":0.0,"repainting_end":null,"audio_cover_strength":1.0,"shift":null,"timesteps":null,"sampling":"2026-08","infer_method":"ode","sampler_mode":"euler","velocity_norm_threshold":0.0,"velocity_ema_factor":0.0,"dcw_enabled":null,"dcw_mode":"double","dcw_scaler":0.05,"dcw_high_scaler":0.02,"dcw_wavelet":"haar","latent_rescale":1.0,"latent_shift":0.0,"lyric_timestamps":false,"adapters":[],"use_adg":false,"cfg_interval_start":0.0,"cfg_interval_end":1.0,"cover_noise_strength":0.0,"repaint_mode":"balanced","repaint_strength":0.5,"chunk_mask_mode":"auto","cover_nofsq":false,"global_caption":"","track_name":null,"track_classes":[],"flow_edit_morph":false,"flow_edit_source_caption":"","flow_edit_source_lyrics":"","flow_edit_n_min":0.0,"flow_edit_n_max":1.0,"flow_edit_n_avg":1,"enable_normalization":true,"normalization_db":-1.0,"fade_in_duration":0.0,"fade_out_duration":0.0,"embed_request":false,"callback_url":"https://example.org/done","callback_events":["finished"],"priority":0,"start_within_seconds":null,"keep_seconds":null},"seeds":[9],"codes":[],"source":null,"reference":null,"dit":null,"retake_seeds":[],"notes":[]}');
CREATE TABLE usage (
        day TEXT NOT NULL,
        client TEXT NOT NULL,
        succeeded INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0, cancelled INTEGER NOT NULL DEFAULT 0, audio_ms INTEGER NOT NULL DEFAULT 0, codes INTEGER NOT NULL DEFAULT 0, language_model_ms INTEGER NOT NULL DEFAULT 0, generator_ms INTEGER NOT NULL DEFAULT 0, codec_ms INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (client, day)
    ) WITHOUT ROWID;
INSERT INTO "usage" VALUES('2023-11-14','bob',1,0,0,20000,50,10,2500,20);
CREATE INDEX jobs_of_client ON jobs (client);
CREATE INDEX jobs_in_state ON jobs (state);
CREATE INDEX jobs_of_client_in_state ON jobs (client, state);
CREATE INDEX jobs_by_key ON jobs (client, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX jobs_open ON jobs (sequence) WHERE is_open;
CREATE INDEX jobs_ended ON jobs (finished_at) WHERE NOT is_open;
CREATE INDEX jobs_with_files ON jobs (finished_at) WHERE NOT is_open AND has_files;
CREATE INDEX jobs_stored ON jobs (client, stored_bytes) WHERE stored_bytes > 0;
CREATE INDEX jobs_kept ON jobs (keep_until) WHERE NOT is_open AND keep_until IS NOT NULL;
CREATE INDEX usage_of_day ON usage (day);
COMMIT;
PRAGMA user_version = 3;
