#!/usr/bin/env bash
# Run every fuzzer of a build folder for some seconds: run.sh BUILD SECONDS. A finding stops it; the input is kept.
set -euo pipefail
build=$1 seconds=$2
corpus_root=$(dirname "$0")/corpus
count=0
# CMakeLists.txt says why (TEST_ENVIRONMENT).
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}intercept_tls_get_addr=0"
for fuzzer in "$build"/fuzz/fuzz_*; do
    name=$(basename "$fuzzer")
    work=$(mktemp -d)
    seeds=$corpus_root/${name#fuzz_}
    [ -d "$seeds" ] || seeds=
    dictionary=$(dirname "$0")/${name#fuzz_}.dict
    echo "== $name"
    "$fuzzer" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -print_final_stats=0 -verbosity=0 \
        -artifact_prefix="$build/" ${dictionary:+$([ -f "$dictionary" ] && echo "-dict=$dictionary")} "$work" $seeds
    rm -rf "$work"
    count=$((count + 1))
done
echo "$count passed, 0 failed"
