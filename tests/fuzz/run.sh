#!/usr/bin/env bash
# Run every fuzzer of a build folder for some seconds, a fuzzer a core: run.sh BUILD SECONDS. A finding fails; its input is kept in BUILD.
set -euo pipefail
build=$1 seconds=$2
corpus_root=$(dirname "$0")/corpus
# tests/CMakeLists.txt says why (TEST_ENVIRONMENT).
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}intercept_tls_get_addr=0"

fuzz() { # program
    local name work options=()
    name=$(basename "$1")
    work=$(mktemp -d)
    mkdir "$work/corpus"
    [ -f "$corpus_root/../${name#fuzz_}.dict" ] && options+=("-dict=$corpus_root/../${name#fuzz_}.dict")
    [ -d "$corpus_root/${name#fuzz_}" ] && options+=("$work/corpus" "$corpus_root/${name#fuzz_}") || options+=("$work/corpus")
    if "$1" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=60 -print_final_stats=0 -verbosity=0 \
        -artifact_prefix="$build/" "${options[@]}" >"$work/log" 2>&1; then
        echo "ok    $name"
    else
        cat "$work/log"
        echo "FAIL  $name"
    fi
    rm -rf "$work"
}
export -f fuzz
export build seconds corpus_root

printf '%s\0' "$build"/fuzz/fuzz_* | xargs -0 -P "$(nproc)" -I{} bash -c 'fuzz "$1"' fuzz {} | tee "$build/fuzz.log"
echo "$(grep -c '^ok' "$build/fuzz.log") passed, $(grep -c '^FAIL' "$build/fuzz.log" || true) failed"
! grep -q '^FAIL' "$build/fuzz.log"
