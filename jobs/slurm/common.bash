# What the scripts of this folder share; sourced. The job sources it by SLIPSTREAM_JOBS, since Slurm runs a copy of the script.
# Variables: jobs/mpirun/arguments.bash, and
#
#   SLIPSTREAM_MPI     srun --mpi=... (default pmix)
# shellcheck source=../mpirun/arguments.bash
. "$SLIPSTREAM_JOBS/../mpirun/arguments.bash"

tries=3 # times that a job goes on without a node whose rank was killed

# Requeued by us, not because Slurm saw a failure; logs are appended to.
submit() { # log, more options and the script...
    export SLIPSTREAM SLIPSTREAM_JOBS SLIPSTREAM_WINDOW=$window
    sbatch --parsable --requeue --open-mode=append --signal="B:USR1@$window" --output="$1" --error="$1" --export=ALL "${@:2}"
}

# The node of the first rank that a signal killed: nothing that a program does to itself on purpose.
killed_node() { # the log of this run
    sed -n 's/^srun: error: \([^: ]*\): tasks\{0,1\} [^:]*: \(Killed\|Bus error\|Segmentation fault\|Aborted\|Out Of Memory\).*/\1/p' "$1" | head -n 1
}

# Slurm preempts with SIGTERM to the ranks unless preempt_send_user_signal is set: then nobody tells the script.
is_preempted() {
    scontrol show job "$job" | grep -q ' PreemptTime=[0-9]'
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
    local code told='' run node
    job=$SLURM_JOB_ID
    [ -n "${SLURM_ARRAY_JOB_ID:-}" ] && job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
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
    if [ "$code" = 75 ] && { [ -n "$told" ] || is_preempted; }; then
        requeue ''
    elif [ "$code" != 0 ] && [ -n "$node" ] && [ "${SLURM_RESTART_COUNT:-0}" -lt "$tries" ]; then
        echo "# job $job: goes on without $node"
        requeue "$node"
    fi
    exit "$code"
}
