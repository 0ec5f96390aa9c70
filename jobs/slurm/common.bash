# What the scripts of this folder share; sourced. The job sources it by SLIPSTREAM_JOBS, since Slurm runs a copy of the script.
# Variables: jobs/mpirun/arguments.bash, and
#
#   SLIPSTREAM_MPI     srun --mpi=... (default pmix)
# shellcheck source=../mpirun/arguments.bash
. "$SLIPSTREAM_JOBS/../mpirun/arguments.bash"

tries=3 # times that a job goes on without a node whose rank was killed, and runs that may answer nothing before their time limit

# Seconds of a time as sbatch takes it: MINUTES, MINUTES:SECONDS, HOURS:MINUTES:SECONDS, DAYS-HOURS[:MINUTES[:SECONDS]]. 0: no time, or no limit.
seconds_of() { # time
    local days=0 parts=0:$1:0
    [[ $1 =~ ^([0-9]+-)?[0-9]+(:[0-9]+){0,2}$ ]] || { echo 0; return; }
    case $1 in
    *-*) days=${1%%-*} parts=${1#*-}:0:0 ;;
    *:*:*) parts=$1 ;;
    esac
    IFS=: read -r -a parts <<<"$parts"
    echo $(((10#$days * 24 + 10#${parts[0]}) * 3600 + 10#${parts[1]} * 60 + 10#${parts[2]}))
}

# A job with no more time than the window would be told to drain as soon as it begins.
check_limit() { # time
    local limit
    limit=$(seconds_of "$1")
    [ "$limit" = 0 ] || [ "$limit" -gt "$window" ] || stop "-t $1: the time limit must be longer than SLIPSTREAM_WINDOW ($window seconds)"
}

# The time limit among options of sbatch, the last one: that of a partition is seen when the job runs.
limit_among() { # options...
    local limit=${SBATCH_TIMELIMIT:-}
    while [ $# -gt 0 ]; do
        case $1 in
        -t | --time) limit=${2:-} ;;
        -t*) limit=${1#-t} ;;
        --time=*) limit=${1#--time=} ;;
        esac
        shift
    done
    echo "$limit"
}

# Among options of sbatch, those that say who pays and where jobs may run: a job beside the ranks' needs them too, but not their nodes and GPUs.
# Sets `placed`.
place_among() { # options...
    placed=()
    while [ $# -gt 0 ]; do
        case $1 in
        -A | -p | -q | -M | --account | --partition | --qos | --clusters | --reservation) placed+=("$1" "${2:-}"); shift ;;
        -A?* | -p?* | -q?* | -M?* | --account=* | --partition=* | --qos=* | --clusters=* | --reservation=*) placed+=("$1") ;;
        esac
        shift
    done
}

# Requeued by us, not because Slurm saw a failure; logs are appended to.
submit() { # log, more options and the script...
    export SLIPSTREAM SLIPSTREAM_JOBS SLIPSTREAM_WINDOW=$window
    sbatch --parsable --requeue --open-mode=append --signal="B:USR1@$window" --output="$1" --error="$1" --export=ALL "${@:2}"
}

# The node of the first rank that a signal killed: nothing that a program does to itself on purpose. Where a rank has ended itself, srun kills
# the others and says so too, but its own exit status is that rank's.
killed_node() { # the log of this run, srun's exit status
    [ "$2" -gt 128 ] || return
    sed -n 's/^srun: error: \([^: ]*\): tasks\{0,1\} [^:]*: \(Killed\|Bus error\|Segmentation fault\|Aborted\|Out Of Memory\).*/\1/p' "$1" | head -n 1
}

# Slurm preempts with SIGTERM to the ranks unless preempt_send_user_signal is set: then nobody tells the script.
is_preempted() {
    scontrol show job "$job" | grep -q ' PreemptTime=[0-9]'
}

# A field of the job without blanks.
field() { scontrol show job "$job" | sed -n "s/^\(.* \)\{0,1\}$1=\([^ ]*\).*/\2/p" | head -n 1; }

# A time limit that leaves no time to answer must not requeue for ever. The log may be elsewhere, by an option of sbatch.
is_barren() { # progress before this run
    local log
    [ "$(progress)" = "$1" ] || return
    echo "# job $job: nothing was answered"
    log=$(scontrol show job "$job" | sed -n 's/^ *StdOut=//p')
    [ -r "$log" ] || log=$results.log
    [ "$(grep -c "^# job $job: nothing was answered" "$log")" -ge "$tries" ]
}

# What is left out already, by the user or by an earlier run, and one node more.
excluded_with() { # node
    local before
    before=$(field ExcNodeList)
    [ "$before" = "(null)" ] && before=''
    echo "${before:+$before,}$1"
}

requeue() { # nodes to leave out, or nothing
    trap '' TERM # the requeue ends this job, and the node must be told and the job released before
    if [ -z "$1" ]; then
        scontrol requeue "$job"
        return
    fi
    scontrol requeuehold "$job" && scontrol update JobId="$job" ExcNodeList="$1" && scontrol release "$job"
}

# Run the ranks and wait for them. On USR1, which Slurm sends us before the time limit, they drain; a job that was told so is requeued.
run_ranks() { # arguments of slipstream...
    local code told='' ranks='' run node before
    trap 'told=1; [ -z "$ranks" ] || kill -USR1 "$ranks"' USR1
    trap : TERM # Slurm tells the ranks itself
    before=$(progress)
    job=$SLURM_JOB_ID
    [ -n "${SLURM_ARRAY_JOB_ID:-}" ] && job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
    check_limit "$(field TimeLimit)"
    run=$(mktemp) || exit 1
    echo "# job $job, run $((${SLURM_RESTART_COUNT:-0} + 1)), $(date '+%F %T'), on $SLURM_JOB_NODELIST"
    # In the background: a trap runs between commands.
    srun --mpi="${SLIPSTREAM_MPI:-pmix}" --kill-on-bad-exit=1 "${image[@]}" "$SLIPSTREAM" "$@" > >(tee -a "$run") 2>&1 &
    ranks=$!
    [ -z "$told" ] || kill -USR1 "$ranks"
    # A signal ends a wait; the ranks may end in the same moment.
    while kill -0 "$ranks" 2>/dev/null; do wait "$ranks"; done
    wait "$ranks"
    code=$?
    # srun of Slurm 22.05 ends with 0 when no task could be launched.
    [ "$code" = 0 ] && grep -q '^srun: error: .*launch failed' "$run" && code=1
    node=$(killed_node "$run" "$code")
    rm -f "$run"
    echo "# job $job: exit status $code${node:+, a rank was killed on $node}"
    case $code in
    75 | 138 | 143) # drained, or a signal came before there was a rank to hear it
        if is_preempted; then
            requeue ''
        elif [ -n "$told" ]; then
            is_barren "$before" || requeue ''
        fi
        ;;
    0) ;;
    *)
        if [ -n "$node" ] && [ "${SLURM_RESTART_COUNT:-0}" -lt "$tries" ]; then
            node=$(excluded_with "$node")
            echo "# job $job: goes on without $node"
            requeue "$node"
        fi
        ;;
    esac
    exit "$code"
}
