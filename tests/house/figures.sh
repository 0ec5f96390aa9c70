#!/usr/bin/env bash
# Sizes of the house: functions, files, folders. Prints the numbers; fails with a line for each thing that is too large.
#
#   functions  median at most 12 lines, nine of ten at most 30, none above 100, signature and braces included
#   files      none above 400 lines, of code and scripts
#   folders    at most 20 files
#
# usage: figures.sh [FOLDER]   the source tree; default: the current folder
#
# It reads C by its layout: a function ends with a brace in the first column, and begins with the line in the first column before its opening
# brace, or is one line with both. clang-format keeps it so.
set -euo pipefail
cd "${1:-.}"
export LC_ALL=C
tops="io ranks kernels comm coordinator jobs packaging tests docs"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Inputs of tests that other programs wrote, as many as there are.
find $tops -type f -not -path '*/corpus/*' -not -path '*/fixtures/*' -not -name '*.pyc' -not -name '*.partial' | sort >"$work/all"
grep -E '\.(c|h|cu|cuh|py|sh|bash|cmake|def)$|/CMakeLists\.txt$' "$work/all" >"$work/code"
[ "$(wc -l <"$work/code")" -gt 200 ] || { echo "figures: no source tree in $PWD" >&2; exit 1; }

# LINES FILE:LINE NAME, a function a line.
grep -E '\.(c|h|cu|cuh)$' "$work/code" | xargs awk '
    function report(first, last, text) {
        sub(/\(.*/, "", text)
        sub(/.*[ *]/, "", text)
        print last - first + 1, FILENAME ":" first, text
    }
    FNR == 1 { start = 0; open = 0 }
    /^[a-zA-Z_].*\)[a-z ]*\{.*\}$/ { report(FNR, FNR, $0); start = 0; next }
    /^[a-zA-Z_]/ && !/;$/ && !/^(namespace|struct|typedef|union|enum|extern "C" \{)/ { start = FNR; text = $0; next }
    /^[a-zA-Z_].*;$/ { start = 0 }
    /^\{/ && start { open = start; name = text; next }
    /^\}$/ && open { report(open, FNR, name); open = start = 0; next }
    /^\}/ { open = start = 0 }' >"$work/functions"
grep -E '\.py$' "$work/code" | xargs awk '
    function close_to(depth) {
        while (count && indent[count] >= depth) {
            print last - line[count] + 1, file ":" line[count], name[count]
            count--
        }
    }
    FNR == 1 { close_to(0); file = FILENAME; quoted = 0 }
    /^ *$/ { next }
    { match($0, /^ */); depth = RLENGTH }
    !quoted && !/^ *[)\]}#]/ { close_to(depth) }
    { last = FNR; marks = gsub(/"""/, "&"); if (marks % 2) quoted = !quoted }
    /^ *(async )?def / { count++; indent[count] = depth; line[count] = FNR; name[count] = $2; sub(/\(.*/, "", name[count]) }
    END { close_to(0) }' >>"$work/functions"

sort -n "$work/functions" | awk '{ size[NR] = $1 } END {
    print "functions", NR, "median", size[int((NR + 1) / 2)], "p90", size[int(0.9 * NR)], "longest", size[NR] }' | tee "$work/summary"
xargs wc -l <"$work/code" | grep -v ' total$' | sort -rn >"$work/files"
echo "files $(wc -l <"$work/files") longest $(sed 's/^ *//;q' "$work/files")"
sed 's|/[^/]*$||' "$work/all" | sort | uniq -c | sort -rn >"$work/folders"
echo "folders $(wc -l <"$work/folders") fullest $(sed 's/^ *//;q' "$work/folders")"

{
    awk '$4 > 12 { print "functions: the median has " $4 " lines" } $6 > 30 { print "functions: one of ten has more than " $6 " lines" }' "$work/summary"
    awk '$1 > 100 { print $2 ": " $3 ": " $1 " lines" }' "$work/functions"
    awk '$1 > 400 { print $2 ": " $1 " lines" }' "$work/files"
    awk '$1 > 20 { print $2 ": " $1 " files" }' "$work/folders"
} >"$work/bad"
[ -s "$work/bad" ] || exit 0
cat "$work/bad" >&2
exit 1
