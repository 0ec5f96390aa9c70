# What the scripts of this folder share, on top of tests/mpi/common.bash. They run on one rank and one GPU, and skip (exit status 77)
# where the program has no CUDA or the machine no GPU that it runs on.
DEVICE=cuda
. "$(dirname "${BASH_SOURCE[0]}")/../mpi/common.bash"

# Without a launcher: Open MPI's takes two seconds to end when a rank has failed.
timeout "$seconds" "$SLIPSTREAM" score --device "$DEVICE" -m "$MODEL" -f "$root/tests/data/text.py" --context 64 --quiet >"$work/probe" 2>&1 </dev/null || {
    grep -q -e "--device cuda:" "$work/probe" && { echo "skipped: $(grep -m 1 -e "--device cuda:" "$work/probe")"; exit 77; }
    cat "$work/probe"
    exit 1
}

# Of a tool that prints a line a case.
tool_says() { # tool, what it is about, what a build needs for it
    [ -x "$TOOLS/$1" ] || { echo "skipped: this build has no $3"; exit 77; }
    if timeout 120 "$TOOLS/$1" </dev/null >"$work/out" 2>"$work/log"; then
        ok "$2" "$(grep -c '^ok' "$work/out") cases"
    else
        fail "$2" "$(grep -m 1 '^FAIL' "$work/out")" "$work/log"
    fi
}
