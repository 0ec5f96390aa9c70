#!/usr/bin/env bash
# Every key of --json stands in docs/json.md; every line of figures, term of a plan and metric in docs/figures.md.
#
# usage: keys.sh SLIPSTREAM
set -u
program=$1 root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1 # many threads on few cores wait for each other
model=$root/jobs/demo/model.h5 faults=0 seen=0
fault() { echo "keys: $*" >&2; faults=$((faults + 1)); }

# Keys at any depth.
known() { # command, its arguments...
    "$program" "$@" --json >"$work/json" 2>>"$work/log" || fault "slipstream $1: exit status $?"
    for key in $(grep -o '"[a-z_0-9]*":' "$work/json" | tr -d '":' | sort -u); do
        seen=$((seen + 1))
        grep -q "\`$key\`\|\`[a-z.]*\.$key\`" "$root/docs/json.md" || fault "slipstream $1: docs/json.md lacks $key"
    done
}
run() { # arguments...
    "$program" "$@" --device cpu >/dev/null 2>>"$work/log" </dev/null || fault "slipstream $1: exit status $?"
}

head -n 2 "$root/jobs/demo/requests.jsonl" >"$work/in.jsonl"
known plan --shape pro --ranks 8
known inspect "$model" --ranks 2
if [ "${QUICK:-0}" != 1 ]; then
    run batch -m "$model" -i "$work/in.jsonl" -o "$work/out.jsonl" -n 8 --trace "$work/run.h5" --metrics "$work/run.prom"
    known bench -m "$model" --device cpu -n 8
    head -n 8 "$root/tests/data/prompts.txt" >"$work/text"
    known score -m "$model" --device cpu -f "$work/text"
    known report "$work/run.h5"
    known merge "$work/out.jsonl" -i "$work/in.jsonl" -o "$work/merged.jsonl"
    known convert "$model" "$work/copy.h5"
    for metric in $(grep -v '^#' "$work/run.prom" | sed 's/^slipstream_\([a-z_]*\).*/\1/' | sort -u); do
        grep -q "\`${metric%_sum}\`\|\`${metric%_count}\`\|\`${metric}[{]" "$root/docs/figures.md" || fault "docs/figures.md lacks the metric $metric"
    done
fi
"$program" plan --shape pro --ranks 8 >>"$work/log"
derived=$(sed -n '/^## How figures are derived/,$p' "$root/docs/figures.md" | grep '^|')
while read -r line; do
    case $line in checkpoint | output | sampling | warning | signal | merged | slow | state) continue ;; esac # no figures
    seen=$((seen + 1))
    grep -q "| [a-z, ]*\b$line\b" <<<"$derived" || fault "docs/figures.md does not derive \"$line\""
done < <(sed -n 's/^# \([a-z]*\) \{2,\}.*/\1/p; s/^# \(full steps\|slices\).*/\1/p; s/^  \([a-z]*\) .*\(derived\|measured\|the sum\).*/\1/p' "$work/log" | sort -u)
[ "$seen" -gt 40 ] || fault "only $seen keys were found"
[ "$faults" -eq 0 ] && echo "keys: $seen"
exit $((faults > 0))
