#!/usr/bin/env bash
# A client of ACE-Step's API with curl alone. usage: song.sh BASE_URL FOLDER
set -euo pipefail
base=$1 folder=$2
ask() { curl -sS --fail-with-body --max-time 60 "$@"; }
# The value of a key in JSON; the second form is for JSON inside of a JSON text.
value() { sed -nE "s/.*\"$1\": *\"?([^\",}]*).*/\1/p"; }
inner() { sed -nE "s/.*\\\\\"$1\\\\\": *\\\\\"([^\"\\\\]*).*/\1/p"; }

finish() { # TASK_ID NAME: wait for a task and fetch its first song
  local row status
  for _ in $(seq 600); do
    row=$(ask "$base/query_result" -H 'Content-Type: application/json' -d "{\"task_id_list\": \"[\\\"$1\\\"]\"}")
    status=$(sed -nE 's/.*"task_id": "[^"]*", "status": ([0-9]).*/\1/p' <<<"$row")
    [ "$status" = 0 ] || break
    sleep 0.2
  done
  [ "$status" = 1 ] || { echo "$row" >&2; exit 1; }
  ask -o "$folder/$2" "$base$(inner file <<<"$row")"
}

[ "$(ask "$base/health" | value models_initialized)" = true ]
model=$(ask "$base/v1/models" | sed -nE 's/.*"data": \[\{"id": "acestep\/([^"]*)".*/\1/p')

task=$(ask "$base/release_task" -H 'Content-Type: application/json' -d "{
  \"prompt\": \"a calm song\", \"lyrics\": \"[verse]\\nla la\", \"model\": \"acestep/$model\", \"audio_format\": \"wav\",
  \"param_obj\": {\"duration\": 1, \"bpm\": 90}, \"batch_size\": 1, \"thinking\": false}" | value task_id)
finish "$task" json.wav

task=$(ask "$base/release_task" --data-urlencode 'caption=a song & more' -d 'audio_duration=1&batch_size=1&audioFormat=flac' | value task_id)
finish "$task" form.flac

task=$(ask "$base/release_task" -F task_type=cover -F prompt=louder -F audio_format=wav -F batch_size=1 \
  -F "ctx_audio=@$folder/json.wav;type=application/octet-stream" | value task_id)
finish "$task" cover.wav

chat='{"messages": [{"role": "user", "content": "<prompt>a song</prompt>"}], "audio_config": {"duration": 1, "format": "wav"}'
ask "$base/v1/chat/completions" -H 'Content-Type: application/json' -d "$chat}" |
  sed -nE 's/.*data:audio\/wav;base64,([^"]*).*/\1/p' | base64 -d >"$folder/chat.wav"
ask -N "$base/v1/chat/completions" -H 'Content-Type: application/json' -d "$chat, \"stream\": true}" >"$folder/events"
sed -nE 's/^data: .*data:audio\/wav;base64,([^"]*).*/\1/p' "$folder/events" | base64 -d >"$folder/stream.wav"
[ "$(grep -v '^$' "$folder/events" | tail -n 1)" = 'data: [DONE]' ]

# An unknown task has failed, so nobody polls for it for ever; a file of the machine is none.
ask "$base/query_result" -d task_id_list=nothing | grep -q '"status": 2'
[ "$(curl -sS -o /dev/null -w '%{http_code}' "$base/v1/audio?path=/etc/passwd")" = 404 ]
