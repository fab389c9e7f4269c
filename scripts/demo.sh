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
