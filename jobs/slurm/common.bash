# What the scripts of this folder share; sourced. The job sources it by SLIPSTREAM_JOBS, since Slurm runs a copy of the script.
#
#   SLIPSTREAM         the program (default: build/slipstream of this checkout, else the one on PATH)
#   SLIPSTREAM_IMAGE   an Apptainer image to run it in; then SLIPSTREAM is its name inside (default slipstream)
#   SLIPSTREAM_MPI     srun --mpi=... (default pmix)
#   SLIPSTREAM_WINDOW  seconds before the time limit at which the ranks are asked to drain (default 120, at least 40)
set -u

window=${SLIPSTREAM_WINDOW:-120}
margin=30 # of the window: for the signal's way, for saving and for requeueing
tries=3   # times that a job goes on without a node whose rank was killed

stop() { echo "slipstream: $*" >&2; exit 2; }

find_program() {
    local built
    [ -n "${SLIPSTREAM_IMAGE:-}" ] && { SLIPSTREAM=${SLIPSTREAM:-slipstream}; return; }
    built=$(realpath -m "$SLIPSTREAM_JOBS/../../build/slipstream")
    [ -n "${SLIPSTREAM:-}" ] || { [ -x "$built" ] && SLIPSTREAM=$built || SLIPSTREAM=slipstream; }
    SLIPSTREAM=$(command -v "$SLIPSTREAM") || stop "SLIPSTREAM: there is no such program"
    SLIPSTREAM=$(realpath "$SLIPSTREAM")
}

# The arguments of a submission: sbatch's own options, --, MODEL REQUESTS RESULTS, options of slipstream batch. Sets sbatch_options, model,
# requests, results and batch_options; paths are absolute.
read_arguments() {
    sbatch_options=()
    while [ $# -gt 0 ] && [ "$1" != -- ]; do sbatch_options+=("$1"); shift; done
    [ $# -ge 4 ] || stop "usage: $usage"
    shift
    model=$1 requests=$2 results=$3 batch_options=("${@:4}")
    [ -r "$model" ] || stop "$model: MODEL: cannot be read"
    [ -f "$requests" ] && [ -r "$requests" ] || stop "$requests: REQUESTS: cannot be read, or is no file"
    [ -d "$(dirname "$results")" ] && [ -w "$(dirname "$results")" ] || stop "$results: RESULTS: its folder cannot be written"
    [[ $window =~ ^[0-9]+$ ]] && [ "$window" -ge 40 ] || stop "SLIPSTREAM_WINDOW: $window: must be at least 40 seconds"
    model=$(realpath "$model") requests=$(realpath "$requests") results=$(realpath -m "$results")
    export SLIPSTREAM SLIPSTREAM_JOBS SLIPSTREAM_WINDOW=$window
}

# Requeued by us, not because Slurm saw a failure; logs are appended to.
submit() { # log, more options and the script...
    sbatch --parsable --requeue --open-mode=append --signal="B:USR1@$window" --output="$1" --error="$1" --export=ALL "${@:2}"
}

# The node of the first rank that a signal killed: nothing that a program does to itself on purpose.
killed_node() { # the log of this run
    sed -n 's/^srun: error: \([^: ]*\): tasks\{0,1\} [^:]*: \(Killed\|Bus error\|Segmentation fault\|Aborted\|Out Of Memory\).*/\1/p' "$1" | head -n 1
}

requeue() { # node to leave out, or nothing
    trap '' TERM # the requeue ends this job, and the node must be told and the job released before
    if [ -z "$1" ]; then
        scontrol requeue "$job"
        return
    fi
    scontrol requeuehold "$job" && scontrol update JobId="$job" ExcNodeList="$1" && scontrol release "$job"
}

# Run the ranks and wait for them. On USR1, which Slurm sends us before the time limit, they drain; a job that was told so is requeued.
run_ranks() { # arguments of slipstream...
    local code told='' run node image=()
    job=$SLURM_JOB_ID
    [ -n "${SLURM_ARRAY_JOB_ID:-}" ] && job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
    [ -n "${SLIPSTREAM_IMAGE:-}" ] && image=(apptainer exec --nv "$SLIPSTREAM_IMAGE")
    run=$(mktemp) || exit 1
    echo "# job $job, run $((${SLURM_RESTART_COUNT:-0} + 1)), $(date '+%F %T'), on $SLURM_JOB_NODELIST"
    srun --mpi="${SLIPSTREAM_MPI:-pmix}" --kill-on-bad-exit=1 "${image[@]}" "$SLIPSTREAM" "$@" > >(tee -a "$run") 2>&1 &
    local ranks=$!
    # A trap runs between commands, hence the background job and the loop on wait.
    trap 'told=1; kill -USR1 $ranks' USR1
    trap : TERM # Slurm tells the ranks itself
    while true; do
        wait $ranks
        code=$?
        kill -0 $ranks 2>/dev/null || break
    done
    # srun of Slurm 22.05 ends with 0 when no task could be launched.
    [ "$code" = 0 ] && grep -q '^srun: error: .*launch failed' "$run" && code=1
    node=$(killed_node "$run")
    rm -f "$run"
    echo "# job $job: exit status $code${node:+, a rank was killed on $node}"
    if [ "$code" = 75 ] && [ -n "$told" ]; then
        requeue ''
    elif [ "$code" != 0 ] && [ -n "$node" ] && [ "${SLURM_RESTART_COUNT:-0}" -lt "$tries" ]; then
        echo "# job $job: goes on without $node"
        requeue "$node"
    fi
    exit "$code"
}
