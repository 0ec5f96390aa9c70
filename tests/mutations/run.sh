#!/usr/bin/env bash
# Do the tests notice? Each entry of list.txt changes one line of the code, in a copy; the tests must fail with it.
#
#   bash tests/mutations/run.sh [-u] [NAME...]     all entries, or those named; -u: unit tests alone
#
# An entry's own unit tests run first, then all unit tests, then its own others (with QUICK=1), until one fails. The copy and its build,
# without CUDA, lie in a temporary folder; ccache makes the first build short. One line an entry:
#   caught    by the test named
#   SURVIVED  no test failed: one is missing
#   STALE     the line is not there, or not once, or the changed code does not build: mend the entry
# Exit status 1 when one was not caught. All of them take about a quarter of an hour on two cores.
set -u

root=$(cd "$(dirname "$0")/../.." && pwd)
list=$root/tests/mutations/list.txt
jobs=$(nproc)
unit_seconds=120 mpi_seconds=900 # changed code may wait for ever
unit_only=0
[ "${1:-}" = -u ] && unit_only=1 && shift

work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
tree=$work/tree build=$work/build log=$work/log
export CCACHE_BASEDIR=$work QUICK=1

mkdir "$tree"
(cd "$root" && git ls-files -z --cached --others --exclude-standard | tar --null -T - -cf -) | tar -C "$tree" -xf - || exit 2
launcher=()
command -v ccache >/dev/null && launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache)
{ cmake -S "$tree" -B "$build" -DSLIP_CUDA=OFF "${launcher[@]}" && cmake --build "$build" -j "$jobs"; } >"$log" 2>&1 ||
    { tail -n 20 "$log"; exit 2; }

# Replace `old`, which stands once in the file, by `new`.
change() { # file, old, new
    OLD=$2 NEW=$3 awk '
        BEGIN { old = ENVIRON["OLD"]; fresh = ENVIRON["NEW"] }
        (at = index($0, old)) {
            found++
            rest = substr($0, at + length(old))
            if (index(rest, old)) found++
            $0 = substr($0, 1, at - 1) fresh rest
        }
        { print }
        END { exit found != 1 }' "$1" >"$work/changed" && cat "$work/changed" >"$1"
}

# Names of the tests that failed, of those that match.
failing() { # seconds, pattern
    timeout "$1" ctest --test-dir "$build" -j "$jobs" -R "^($2)\$" --stop-on-failure --no-tests=error >"$log" 2>&1 && return 1
    sed -n 's/^.*Test *#[0-9]*: \([a-z_.0-9]*\) .*\*\*\*.*/\1/p' "$log" | head -n 1 | grep . || echo "timeout of $2"
}

# Who catches the code as it is now? Prints the test; nothing when all pass. Status 2: it does not build.
hunt() { # tests...
    local all="$*" unit=() others=() targets=()
    for name in $all; do
        case $name in unit.*) unit+=("$name") targets+=("${name#unit.}") ;; *) others+=("$name") ;; esac
    done
    pattern() { local IFS='|'; echo "$*"; }
    if [ ${#unit[@]} -gt 0 ]; then
        cmake --build "$build" -j "$jobs" --target "${targets[@]}" >"$log" 2>&1 || return 2
        failing "$unit_seconds" "$(pattern "${unit[@]}")" && return 0
    fi
    cmake --build "$build" -j "$jobs" >"$log" 2>&1 || return 2
    failing "$unit_seconds" 'unit\..*' && return 0
    [ "$unit_only" = 0 ] && [ ${#others[@]} -gt 0 ] && failing "$mpi_seconds" "$(pattern "${others[@]}")"
    return 0
}

caught=0 missed=0
try() { # name, file, old, new, tests...
    local name=$1 file=$tree/$2 start=$SECONDS by status
    [ -d "$file" ] && file=$(grep -rlF -e "$3" "$file") # several: none is of that name
    if ! cp "$file" "$work/original" 2>/dev/null || ! change "$file" "$3" "$4"; then
        missed=$((missed + 1))
        printf 'STALE     %-24s %s does not hold the line once\n' "$name" "$2"
        return
    fi
    by=$(hunt "${@:5}")
    status=$?
    cat "$work/original" >"$file" # newer than what was built of the change
    if [ "$status" != 0 ]; then
        missed=$((missed + 1))
        printf 'STALE     %-24s does not build: %s\n' "$name" "$(grep -m1 'error:' "$log")"
    elif [ -n "$by" ]; then
        caught=$((caught + 1))
        printf 'caught    %-24s by %s (%d s)\n' "$name" "$by" $((SECONDS - start))
    else
        missed=$((missed + 1))
        printf 'SURVIVED  %-24s %s: %s (%d s)\n' "$name" "$2" "$4" $((SECONDS - start))
    fi
}

wanted() { # name, names...
    local name=$1
    shift
    [ $# -eq 0 ] && return 0
    for one in "$@"; do
        [ "$one" = "$name" ] && return 0
    done
    return 1
}

name='' old=''
while IFS= read -r line <&3; do
    case $line in
    '['*) name=${line#[} name=${name%%]*} rest=${line#*] } ;;
    '- '*) old=${line#- } ;;
    '+ '* | '+')
        fresh=${line#+} fresh=${fresh# }
        if wanted "$name" "$@"; then
            read -r file tests <<<"$rest"
            # shellcheck disable=SC2086
            try "$name" "$file" "$old" "$fresh" $tests
        fi
        ;;
    esac
done 3<"$list" # tests may read standard input

echo "$caught caught, $missed not"
[ "$caught" -gt 0 ] && [ "$missed" -eq 0 ]
