#!/usr/bin/env bash
# Includes point down: a folder includes the floors below it, never one above. What names a model family stays in its folder: the
# registry (ranks/model/families.def) alone knows which there are. Fails with the includes that break a rule, or that make a circle of
# files or of folders.
#
# usage: arrows.sh [FOLDER]   the source tree; default: the current folder
set -euo pipefail
cd "${1:-.}"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# FILE INCLUDED, for every include of a file of ours.
find io ranks kernels comm coordinator jobs -type f \( -name '*.c' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' \) | sort |
    xargs awk 'match($0, /^[ \t]*#[ \t]*include[ \t]*"[^"]+"/) {
        name = $0; sub(/^[^"]*"/, "", name); sub(/".*/, "", name); print FILENAME, name }' >"$work/includes"
[ "$(wc -l <"$work/includes")" -gt 100 ] || { echo "arrows: no source tree in $PWD" >&2; exit 1; }

# ---- floors, from the ground: a room may include the rooms named before it ----
awk '
    BEGIN {
        split("io/base ranks/model io/checkpoint io/text io/openai io/report comm kernels ranks coordinator jobs", order, " ")
        for (i = 1; i in order; i++)
            floor[order[i]] = i
        # These are neighbours: they see the ground floor, and of one another only what is listed.
        for (i = floor["io/checkpoint"]; i <= floor["kernels"]; i++)
            neighbour[order[i]] = 1
        allowed["io/report io/checkpoint"] = allowed["kernels comm"] = 1
    }
    function room(file,   r) {
        for (r = file; r ~ /\//; ) {
            sub(/\/[^\/]*$/, "", r)
            if (r in floor)
                return r
        }
        return ""
    }
    {
        from = room($1); to = room($2)
        if (from == "" || to == "") {
            print $1 ": includes " $2 ": it belongs to no floor"
            next
        }
        if (from == to)
            next
        if (floor[to] > floor[from] || (neighbour[from] && neighbour[to] && !allowed[from " " to]))
            print $1 ": includes " $2 ": " from " must not see " to
    }' "$work/includes" >"$work/bad"

# ---- families ----
while read -r family; do
    folder=ranks/model/$family
    [ -d "$folder" ] || echo "$folder: is not there, and ranks/model/families.def lists it"
    while read -r file included; do
        [[ $included == "$folder"/* && $file != "$folder"/* ]] || continue
        echo "$file: includes $included: only the family's folder names it"
    done <"$work/includes"
done < <(sed -n 's/^FAMILY(\(.*\))$/\1/p' ranks/model/families.def) >>"$work/bad"

# Drafters are named by families, and by nobody else.
awk '$2 ~ /^ranks\/model\/dflash\// && $1 !~ /^ranks\/model\/[^\/]*\// { print $1 ": includes " $2 ": only families name it" }' \
    "$work/includes" >>"$work/bad"

# ---- circles: of files, and of folders (a family's folder counts as part of ranks/model) ----
circles() { tsort 2>&1 >/dev/null | sed 's/^tsort: //' | grep -v 'input contains a loop' || true; }
circles <"$work/includes" | sed 's/$/: in a circle of files/' >>"$work/bad"
awk '
    function folder(file) { sub(/\/[^\/]*$/, "", file); return file ~ /^ranks\/model\// ? "ranks/model" : file }
    { from = folder($1); to = folder($2); if (from != to) print from, to }' "$work/includes" | sort -u |
    circles | sed 's/$/: in a circle of folders/' >>"$work/bad"

if [ -s "$work/bad" ]; then
    cat "$work/bad" >&2
    echo "arrows: $(wc -l <"$work/bad") includes break the rules of $0" >&2
    exit 1
fi
echo "arrows: $(wc -l <"$work/includes") includes, all of them downwards"
