# What the scripts of this folder share; sourced, and no test itself.
#
#   SLIPSTREAM   the program                    (default build/slipstream)
#   MODEL        a checkpoint with a drafter and a tokenizer (default jobs/demo/model.h5)
#   TOOLS        folder with check_results      (default build/tests)
#   DEVICE       what computes in runs through on_ranks (default cpu: that is what these tests hold to its promises)
#   QUICK        1: fewer cases, for builds that are ten times slower
#
# A script prints one line a case and ends with `finish`, which prints the count and gives the exit status.
set -u

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${SLIPSTREAM:=$root/build/slipstream}" "${TOOLS:=$root/build/tests}" "${MODEL:=$root/jobs/demo/model.h5}" "${QUICK:=0}" "${DEVICE:=cpu}"
check=$TOOLS/check_results
script=$(basename "$0")
seconds=600 # a run; ranks that wait for each other for ever must not hang the suite

export LC_ALL=C.UTF-8 # numbers have points
# Open MPI 4 and 5 have different words for "more ranks than cores".
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe OMP_NUM_THREADS=1
# Looking for fabrics takes half of a start's time; tests have none.
export OMPI_MCA_pml=ob1 OMPI_MCA_btl=self,vader,tcp
# Open MPI unloads its plugins before it ends: what they leak cannot be told from ours.
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0"

for needed in "$SLIPSTREAM" "$check"; do
    [ -x "$needed" ] || { echo "$script: $needed is not there" >&2; exit 2; }
done
[ -r "$MODEL" ] || { echo "$script: $MODEL is not there" >&2; exit 2; }
SLIPSTREAM=$(realpath "$SLIPSTREAM") MODEL=$(realpath "$MODEL") check=$(realpath "$check")

work=$(mktemp -d) || exit 2
mkdir "$work/tmp"
export TMPDIR=$work/tmp # mpiruns side by side make and remove one folder in it, and may fail (Open MPI 4)
TOOLS=$(realpath "$TOOLS")
case $TOOLS in *[[:blank:]]*) ln -s "$TOOLS" "$work/tools" && TOOLS=$work/tools ;; esac # LD_PRELOAD takes no blanks
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
passed=0 failed=0

ok() { # name, remark
    passed=$((passed + 1))
    echo "ok    $1${2:+: $2}"
}

fail() { # name, what happened, file with more about it
    failed=$((failed + 1))
    echo "FAIL  $1: $2"
    [ -s "${3:-/dev/null}" ] && tail -n 8 "$3" | sed 's/^/      /'
    return 0
}

# The program on some ranks. mpirun would read our standard input.
on_ranks() { # count, arguments...
    local count=$1 device=()
    case $2 in generate | batch | bench | score) device=(--device "$DEVICE") ;; esac
    timeout "$seconds" mpirun --oversubscribe --bind-to none -n "$count" "$SLIPSTREAM" "$2" "${device[@]}" "${@:3}" </dev/null
}

# ---- a job in the background: `job` is its launcher, `status` what wait_for_end saw ----

job=0 status=0
alive() {
    kill -0 "$job" 2>/dev/null
}

# The process of a rank: mpirun's child that was told so.
rank_process() { # rank
    local child
    for child in $(cat "/proc/$job/task/"*/children); do
        if tr '\0' '\n' <"/proc/$child/environ" | grep -q "^\(PMIX_RANK\|OMPI_COMM_WORLD_RANK\)=$1\$"; then
            echo "$child"
            return
        fi
    done
}

# Until the job has said something in `log`, or has ended.
wait_for_word() { # pattern
    local tries=$((seconds * 10))
    while alive && ! grep -q -- "$1" "$log" 2>/dev/null && [ $((tries -= 1)) -gt 0 ]; do
        sleep 0.1
    done
    grep -q -- "$1" "$log"
}

# Sets `status`; a job that is still there after the given time is taken down and counts as 124.
wait_for_end() { # seconds
    local tries=$(($1 * 10)) child
    while alive && [ $((tries -= 1)) -gt 0 ]; do
        sleep 0.1
    done
    if alive; then
        child=$(cat "/proc/$job/task/"*/children)
        # shellcheck disable=SC2086 # several processes
        kill -KILL $child "$job"
        wait "$job" 2>/dev/null
        status=124
        return
    fi
    wait "$job"
    status=$?
}

# A rank that was killed holds the output until it has ended, which takes a processor.
is_held() {
    [ -e "$output.lock" ] && ! flock -n "$output.lock" true
}
wait_for_release() {
    local tries=$((seconds * 10))
    while is_held && [ $((tries -= 1)) -gt 0 ]; do sleep 0.1; done
}

finish() {
    echo "$passed passed, $failed failed"
    [ "$passed" -gt 0 ] && [ "$failed" -eq 0 ]
    exit
}
