#!/bin/sh
# The main job on the tiny model of the repository. BIN: where qwen3edge is installed.
set -eu
BIN=${BIN:-.venv/bin}
MODEL=build/demo/tiny-int4.q3e
mkdir -p build/demo
say() { printf '\n\033[1m$ qwen3edge %s\033[0m\n' "$*"; }
step() { say "$@"; "$BIN/qwen3edge" "$@"; }

step convert tests/data/tiny-qwen3 "$MODEL" --quant int4
step plan "$MODEL" --context 1024
# On a terminal thoughts are dimmed; elsewhere only JSON shows them.
[ -t 1 ] && THOUGHTS= || THOUGHTS=--json
step run "$MODEL" "What is 47 + 38?" --thinking $THOUGHTS
step run "$MODEL" "Anna is 41 years old and lives in Berlin. Answer in JSON: name, age, city." --no-thinking
step bench "$MODEL" --prompt 256 --generate 64

# A server on a port that is free, and one answer of it.
say serve "$MODEL" --port 0
"$BIN/qwen3edge" serve "$MODEL" --port 0 > build/demo/server.txt &
SERVER=$!
trap 'kill $SERVER; wait $SERVER 2> /dev/null || true' EXIT
until [ -s build/demo/server.txt ]; do
  kill -0 $SERVER || exit 1
  sleep 0.05
done
cat build/demo/server.txt
URL=$(sed -n 's/.*(OpenAI: \(.*\))$/\1/p' build/demo/server.txt)/chat/completions
BODY='{"messages": [{"role": "user", "content": "What is 12 + 7?"}], "temperature": 0}'
printf '\n\033[1m$ curl %s -d '"'%s'"'\033[0m\n' "$URL" "$BODY"
"$BIN/python" - "$URL" "$BODY" <<'END'
import json, sys, urllib.request
answer = json.load(urllib.request.urlopen(sys.argv[1], sys.argv[2].encode(), timeout=60))
print(json.dumps(answer["choices"][0]["message"], indent=2))
END
