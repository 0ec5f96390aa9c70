#!/usr/bin/env bash
# jobs/mpirun, and what of jobs/slurm needs no Slurm: a batch that is started again when a rank dies, stops in time when it is told, and ends with the undisturbed answers.
# A job that is to be disturbed syncs its results slowly until it has been: it does not end before.
#
# Settings: tests/mpi/common.bash.
. "$(dirname "$0")/../mpi/common.bash"

script=$root/jobs/mpirun/batch.sh
cd "$work" || exit 2 # relative paths, from elsewhere
for i in $(seq 40); do
    printf '{"custom_id":"r%d","method":"POST","url":"/v1/completions","body":{"prompt":"def f_%d(","max_tokens":2,"temperature":0.8,"seed":%d}}\n' $i $i $i
done >requests.jsonl
cat >slowly <<SCRIPT
#!/bin/sh
[ -n "\${LD_PRELOAD:-}" ] || export LD_PRELOAD=$TOOLS/slow_sync.so SLOW_SYNC_MS=3000 SLOW_SYNC_WHILE=$work/slow
exec "$SLIPSTREAM" "\$@"
SCRIPT
chmod +x slowly

# The script in the background: `job`. An empty file is no progress: the tests wait for the first answer.
start() { # results, environment...
    env SLIPSTREAM="$work/slowly" "${@:2}" bash "$script" -n 2 --oversubscribe --bind-to none -- "$MODEL" requests.jsonl "$1" --device cpu \
        --sequences 2 2>said &
    job=$!
}
wait_for() { # seconds, command...
    local tries=$(($1 * 10))
    until "${@:2}" 2>/dev/null; do
        [ $((tries -= 1)) -gt 0 ] && alive || return
        sleep 0.1
    done
}
kill_rank() { # rank
    local process
    for process in $(pgrep -x slipstream); do
        tr '\0' '\n' <"/proc/$process/environ" | grep -c -x -e "SLOW_SYNC_WHILE=$work/slow" -e "PMIX_RANK=$1" | grep -q 2 && kill -KILL "$process"
    done
} 2>/dev/null
expect() { # case, exit status, words of the log, results to compare with the undisturbed ones (else results.jsonl, not compared)
    if [ "$status" != "$2" ] || ! grep -q -e "$3" "${4:-results.jsonl}.log"; then
        fail "$1" "exit status $status" "${4:-results.jsonl}.log"
    elif [ -n "${4:-}" ] && ! "$check" same "$4" reference.jsonl 2>log; then
        fail "$1" "not the undisturbed answers" log
    else
        ok "$1"
    fi
}

refused=0
for words in "SLIPSTREAM_LIMIT=100:LIMIT" "SLIPSTREAM_WINDOW=10:WINDOW" "MPIRUN=nothing:MPIRUN" "SLIPSTREAM=nothing:no such program"; do
    env "${words%%:*}" bash "$script" -n 1 -- "$MODEL" requests.jsonl none.jsonl 2>said
    [ $? = 2 ] && grep -q "${words#*:}" said && refused=$((refused + 1))
done
bash "$script" -n 1 -- "$MODEL" nothing.jsonl none.jsonl 2>said
if [ $? = 2 ] && grep -q "nothing.jsonl: REQUESTS" said && [ $refused = 4 ] && [ ! -e none.jsonl.log ]
then ok "arguments are checked before a run"
else fail "arguments are checked before a run" "$refused of 4" said
fi

bash "$script" -n 1 -- "$MODEL" requests.jsonl none.jsonl --sequences many 2>said
if [ $? = 2 ] && grep -q -e "--sequences .*\"many\"" said && [ ! -e none.jsonl ]
then ok "options of batch are checked before a run"
else fail "options of batch are checked before a run" "they were not" said
fi
refused=0
for words in --trace --metrics --sequences -o "-o other.jsonl" --help; do
    # shellcheck disable=SC2086 # words
    bash "$script" -n 1 -- "$MODEL" requests.jsonl none.jsonl $words 2>said
    [ $? = 2 ] && grep -q -e "${words%% *}" said && ! grep -q -e --dry-run said && refused=$((refused + 1))
done
if [ $refused = 6 ] && [ ! -e none.jsonl ] && [ ! -e other.jsonl ] && [ ! -e ./--dry-run ]
then ok "an option without its value, or one that the script sets, begins nothing"
else fail "an option without its value, or one that the script sets, begins nothing" "$refused of 6" said
fi

# What of jobs/slurm comes before sbatch.
mkdir fake
printf '#!/bin/sh\necho "$@" >>%s/submitted\necho 7\n' "$work" >fake/sbatch
chmod +x fake/sbatch
submit() { PATH="$work/fake:$PATH" bash "$root/jobs/slurm/submit.sh" "$@" 2>said; }
refused=0
for words in "-t 2" "-t1:30" "--time=0-0:2" "--time 0:02:00" "-n 1 --bad=1 -t 1 -t 1:0:0 -t 2"; do
    # shellcheck disable=SC2086 # words
    submit $words -- "$MODEL" requests.jsonl none.jsonl
    [ $? = 2 ] && grep -q "time limit must be longer than SLIPSTREAM_WINDOW (120 seconds)" said && refused=$((refused + 1))
done
submit --array=0-3 -- "$MODEL" requests.jsonl none.jsonl
[ $? = 2 ] && grep -q "array.sh" said && refused=$((refused + 1))
if [ $refused = 6 ] && [ ! -e submitted ] && submit -t 3 -- "$MODEL" requests.jsonl none.jsonl >said && submit -t 1-0 -- "$MODEL" requests.jsonl none.jsonl >said
then ok "a time limit within the window, or an array, is not submitted"
else fail "a time limit within the window, or an array, is not submitted" "$refused of 6" said
fi

# The merge job stands in the same queue as the shards, and takes none of their nodes. Where it is refused, the user can merge.
rm -f submitted
place="-p gpus --account=me -A you -qlong --reservation week"
PATH="$work/fake:$PATH" bash "$root/jobs/slurm/array.sh" 2 $place -N 2 -n 4 --gres=gpu:2 -t 9 -- "$MODEL" requests.jsonl parts.jsonl >said 2>&1
if [ $? = 0 ] && [ "$(cat said)" = 7 ] && grep -q -e "$place -N 2 -n 4 --gres=gpu:2 -t 9 --array=0-1" submitted &&
    grep -e "merge.sbatch" submitted | grep -e "$place --dependency=afterany:7" | grep -q -v -e "-N\|-n\|gres\|-t"
then ok "a merge job runs where the shards may"
else fail "a merge job runs where the shards may" "$(cat said)" submitted
fi
printf '#!/bin/sh\ncase "$*" in *merge.sbatch*) exit 1 ;; esac\necho "7;here"\n' >fake/sbatch
PATH="$work/fake:$PATH" bash "$root/jobs/slurm/array.sh" 2 -n 4 -- "$MODEL" requests.jsonl parts.jsonl >said 2>&1
if [ $? = 1 ] && grep -q "job 7 answers the shards" said && grep -q "merge $work/parts.jsonl.shard-{0..1} -i $work/requests.jsonl -o $work/parts.jsonl" said
then ok "a merge job that is refused"
else fail "a merge job that is refused" "no word of it" said
fi

start barren.jsonl SLIPSTREAM=/bin/false
wait_for_end "$seconds"
if [ "$status" = 1 ] && grep -q "answered nothing" said && ! grep -q "^# run 2" barren.jsonl.log
then ok "no progress: it is not started again"
else fail "no progress: it is not started again" "exit status $status" barren.jsonl.log
fi

# A program that answers one request more in each run, of three that all have their lines from the first run on.
cat >turns <<SCRIPT
#!/bin/sh
[ "\${OMPI_COMM_WORLD_RANK:-\${PMI_RANK:-0}}" = 0 ] || exit 0
case "\$*" in *--dry-run*) exit 0 ;; esac
turn=\$(grep -c '"answered"' $work/turns.jsonl 2>/dev/null)
for i in 0 1 2; do
    if [ \$i -le "\${turn:-0}" ]; then echo '{"response":"answered"}'; else echo '{"response":null}'; fi
done >$work/turns.new
mv $work/turns.new $work/turns.jsonl
[ "\${turn:-0}" = 2 ]
SCRIPT
chmod +x turns
start turns.jsonl SLIPSTREAM="$work/turns"
wait_for_end "$seconds"
if [ "$status" = 0 ] && grep -q "^# run 2: exit status 1, 2 lines" turns.jsonl.log && grep -q "^# run 3: exit status 0, 3 lines" turns.jsonl.log
then ok "lines of requests that never ran are no answers"
else fail "lines of requests that never ran are no answers" "exit status $status" turns.jsonl.log
fi

# A run that fails while one of its ranks takes some seconds more to end.
cat >lingers <<SCRIPT
#!/bin/sh
[ "\${OMPI_COMM_WORLD_RANK:-\${PMI_RANK:-0}}" = 0 ] || exit 0
case "\$*" in *--dry-run*) exit 0 ;; esac
echo '{"response":"answered"}' >>$work/lingers.jsonl
[ ! -e $work/lingers.again ] || exec flock -n -E 2 $work/lingers.jsonl.lock true
touch $work/lingers.again
setsid flock $work/lingers.jsonl.lock sh -c 'touch $work/lingers.held; sleep 5' >/dev/null 2>&1 &
while [ ! -e $work/lingers.held ]; do sleep 0.1; done
exit 1
SCRIPT
chmod +x lingers
start lingers.jsonl SLIPSTREAM="$work/lingers"
wait_for_end "$seconds"
if [ "$status" = 0 ] && grep -q "^# run 1: exit status 1, 1 lines" lingers.jsonl.log && grep -q "^# run 2: exit status 0, 2 lines" lingers.jsonl.log
then ok "a rank of the run before that is slow to end"
else fail "a rank of the run before that is slow to end" "exit status $status" lingers.jsonl.log
fi

# Slurm's word on a rank that was killed counts where a signal ended the job, and nodes that are left out stay so.
words=$(
    SLIPSTREAM_JOBS=$root/jobs/slurm
    . "$root/jobs/slurm/common.bash"
    job=7
    scontrol() { printf 'JobId=7 JobName=x\n   ReqNodeList=(null) ExcNodeList=%s\n' "$left_out"; }
    printf 'srun: error: n1: task 0: Exited with exit code 1\nsrun: error: n2: tasks 1-2: Killed\n' >errors
    echo "[$(killed_node errors 1)] [$(killed_node errors 137)]"
    left_out='n[4-5]' && excluded_with n7
    left_out='(null)' && excluded_with n7
)
if [ "$words" = "[] [n2]
n[4-5],n7
n7" ]
then ok "which nodes are left out"
else fail "which nodes are left out" "$words"
fi

# The job of jobs/slurm, with scripts in Slurm's place: every run is told of its time limit before it has answered anything.
printf '#!/bin/sh\ntrap "kill \\$!; exit 75" USR1\nsleep 60 &\nkill -USR1 $PPID\nwait\n' >fake/srun
printf '#!/bin/sh\necho "$@" >>%s/asked\n' "$work" >fake/scontrol
chmod +x fake/*
for run in 0 1 2; do
    env PATH="$work/fake:$PATH" SLIPSTREAM="$SLIPSTREAM" SLIPSTREAM_JOBS="$root/jobs/slurm" SLURM_JOB_ID=7 SLURM_JOB_NODELIST=n1 SLURM_RESTART_COUNT=$run \
        bash "$root/jobs/slurm/batch.sbatch" "$MODEL" requests.jsonl "$work/told.jsonl" >>told.jsonl.log 2>&1
done
if [ $? = 75 ] && [ "$(grep -c "^requeue 7" asked)" = 2 ] && [ "$(grep -c "nothing was answered" told.jsonl.log)" = 3 ]
then ok "a time limit too short to answer anything: requeued twice, then no more"
else fail "a time limit too short to answer anything" "$(cat asked)" told.jsonl.log
fi

printf '#!/bin/sh\necho "$@"\n' >fake/srun
words=$(env PATH="$work/fake:$PATH" SLIPSTREAM="$SLIPSTREAM" SLIPSTREAM_JOBS="$root/jobs/slurm" SLIPSTREAM_SHARDS=4 SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=2 \
    SLURM_JOB_ID=9 SLURM_JOB_NODELIST=n1 bash "$root/jobs/slurm/batch.sbatch" "$MODEL" requests.jsonl "$work/told.jsonl" \
    --trace /x.y/run.h5 --sequences 2 --metrics=run 2>&1)
if echo "$words" | grep -q -e "-o $work/told.jsonl.shard-2 .* --shard 2/4 --trace /x.y/run.shard-2.h5 --sequences 2 --metrics=run.shard-2\$"
then ok "a shard has files of its own"
else fail "a shard has files of its own" "$words"
fi

[ "$QUICK" = 1 ] && finish # sanitizers and a preloaded library do not go together
on_ranks 2 batch -m "$MODEL" -i requests.jsonl -o reference.jsonl -q 2>log || fail "a run of its own" "exit status $?" log
touch slow
start killed.jsonl
wait_for "$seconds" test -s killed.jsonl
kill_rank 1
wait_for "$seconds" grep -q "^# run 2," killed.jsonl.log
rm slow
wait_for_end "$seconds"
expect "a rank is killed: started again, the undisturbed answers" 0 "^# run 2: exit status 0" killed.jsonl

touch slow
start results.jsonl
wait_for "$seconds" test -s results.jsonl
kill -TERM "$job"
wait_for_end "$seconds"
expect "SIGTERM drains" 75 "^# signal .*SIGUSR1"
start results.jsonl SLIPSTREAM_WINDOW=40 SLIPSTREAM_LIMIT=43
wait_for_end "$seconds"
expect "a time limit drains" 75 "^# run 1: exit status"
rm slow
# Apptainer's place is taken by a script: what is tried is the command that it is given.
mkdir bin
touch image.sif
printf '#!/bin/sh\n[ "$1 $2 $3" = "exec --nv %s/image.sif" ] && shift 3 && exec "$@"\n' "$(realpath "$work")" >bin/apptainer
chmod +x bin/apptainer
start results.jsonl SLIPSTREAM_LIMIT=100000 SLIPSTREAM_IMAGE=image.sif PATH="$work/bin:$PATH"
wait_for_end "$seconds"
expect "the same command, in an image, goes on to the undisturbed answers" 0 "^# run 1: exit status 0, 40 lines" results.jsonl

finish
