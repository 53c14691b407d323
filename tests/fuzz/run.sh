#!/bin/sh
# Runs the fuzzers of a build: sh tests/fuzz/run.sh BUILD_FOLDER SECONDS [NAME...]. Corpora grow in BUILD_FOLDER/corpus/NAME; a finding is left there
# as crash-*, timeout-* or oom-*, and ends the run.
set -eu

[ $# -ge 2 ] || {
    echo "usage: sh tests/fuzz/run.sh BUILD_FOLDER SECONDS [NAME...]" >&2
    exit 2
}
build=$(cd "$1" && pwd) seconds=$2
shift 2
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- $(ls tests/fuzz/*.cpp | sed 's|.*/||; s|\.cpp$||')

# seeds NAME: the files a target begins with.
seeds() {
    case $1 in
        gguf | gguf_model) find tests/data -name '*.gguf' ;;
        safetensors) find tests/data -name '*.safetensors' ;;
        tokenizer_json) find tests/data/tokenizer/json -name '*.json' ;;
        *) find tests/fuzz/seeds/"$1" -type f 2>/dev/null ;;
    esac
}

for name in "$@"; do
    corpus=$build/corpus/$name
    mkdir -p "$corpus"
    seeds "$name" | while read -r file; do cp "$file" "$corpus/$(echo "$file" | tr / _)"; done
    dictionary=tests/fuzz/$name.dict
    [ -f "$dictionary" ] || dictionary=
    echo "=== $name, $seconds s"
    "$build/bin/fuzz_$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1500 -malloc_limit_mb=512 -print_final_stats=1 -verbosity=0 \
        ${dictionary:+-dict="$dictionary"} -artifact_prefix="$corpus/" "$corpus"
done
