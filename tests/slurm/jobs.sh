#!/usr/bin/env bash
# jobs/slurm on a real Slurm: what ends a job on a cluster, and that in the end every request has its line, the one of an undisturbed run.
# All jobs run side by side. Those that are to be disturbed sync their results slowly until they have been: they do not end before.
. "$(dirname "$0")/../mpi/common.bash"
[ "$QUICK" = 1 ] && { echo "note  a slow build; left out"; exit 77; }
. "$root/tests/slurm/cluster.bash"
submit=$root/jobs/slurm/submit.sh array=$root/jobs/slurm/array.sh
cd "$work" || exit 2 # submissions from elsewhere, with relative paths

for i in $(seq 80); do
    printf '{"custom_id":"r%d","method":"POST","url":"/v1/completions","body":{"prompt":"def f_%d(","max_tokens":2,"temperature":0.8,"seed":%d}}\n' $i $i $i
done >requests.jsonl
head -n 6 requests.jsonl >few.jsonl
on_ranks 2 batch -m "$MODEL" -i requests.jsonl -o reference.jsonl -q 2>log || fail "a run without Slurm" "exit status $?" log
cat >slowly <<SCRIPT
#!/bin/sh
export LD_PRELOAD=$TOOLS/slow_sync.so SLOW_SYNC_MS=2000
exec "$SLIPSTREAM" "\$@"
SCRIPT
chmod +x slowly
export SLIPSTREAM

start() { # name, options of sbatch...
    local script=$submit
    [ "$1" = array ] && script=$array
    touch "slow-$1"
    SLOW_SYNC_WHILE=$work/slow-$1 SLIPSTREAM=$work/slowly bash "$script" "${@:2}" -- "$MODEL" requests.jsonl "$1.jsonl" --sequences 2
}
is_gone() { [ -z "$(squeue -h -j "$1" 2>/dev/null)" ]; }
all_gone() { [ -z "$(squeue -h)" ]; }
rank_of() { # job, rank
    local process
    for process in $(pgrep -x slipstream); do
        tr '\0' '\n' <"/proc/$process/environ" | grep -c -x -e "SLURM_JOB_ID=$1" -e "SLURM_PROCID=$2" | grep -q 2 && echo "$process"
    done
} 2>/dev/null
judge() { # case, results, what their log must say, one after the other...
    local log=$2.log words name=$1
    "$check" same "$2" reference.jsonl 2>log || { fail "$name" "not the undisturbed answers" log; tail -n 20 "$log"; return; }
    shift 2
    for words; do
        grep -q -e "$words" "$log" || { fail "$name" "the log lacks \"$words\"" "$log"; return; }
    done
    ok "$name: the undisturbed answers"
}

bash "$submit" -n 1 -- nothing.h5 requests.jsonl none.jsonl >log 2>&1
if [ $? = 2 ] && grep -q 'nothing.h5: MODEL' log
then ok "arguments are checked before a submission"
else fail "arguments are checked before a submission" "they were not" log
fi

# The limit of five minutes has its signal 260 seconds before, and Slurm looks every 30 seconds: as soon as it looks.
limit=$(SLIPSTREAM_WINDOW=260 start limit -n 2 -t 5)
low=$(start low -p low -n 2)
killed=$(start killed -p killed -N 1 -n 2)
down=$(start down -p down -N 1 -n 2)
cancelled=$(start cancelled -n 1)
# In an image; Apptainer's place is taken by a script: what is tried is the command that it is given.
mkdir bin
touch image.sif
printf '#!/bin/sh\n[ "$1 $2 $3" = "exec --nv %s/image.sif" ] && shift 3 && exec "$@"\n' "$(realpath "$work")" >bin/apptainer
chmod +x bin/apptainer
PATH=$work/bin:$PATH SLIPSTREAM_IMAGE=image.sif bash "$submit" -N 2 -n 2 -t 5 -- "$MODEL" few.jsonl two.jsonl >log 2>&1
merge=$(start array 2 -n 1)
for name in {limit,low,killed,down,cancelled}.jsonl array.jsonl.shard-1; do
    wait_until "$seconds" test -s $name || fail "$name" "has no answer yet" $name.log
done

kill -KILL "$(rank_of "$killed" 1)"
fail_node n6
sbatch -p high --exclusive -o high.log --wrap "touch $work/preempting" >>log 2>&1
scancel "$cancelled" "$(squeue -h -r -o %i | grep '_1$')"
wait_until "$seconds" test -e preempting || fail "preempted" "it was not" low.jsonl.log
wait_until "$seconds" is_gone "$cancelled" || fail "cancelled" "it goes on" cancelled.jsonl.log
rm slow-low slow-killed slow-down slow-cancelled slow-array
if scontrol show job "$cancelled" | grep -q JobState=CANCELLED && ! "$check" same cancelled.jsonl reference.jsonl 2>/dev/null
then ok "scancel ends a job"
else fail "scancel ends a job" "$(scontrol show job "$cancelled" | grep -o 'JobState=.*')" cancelled.jsonl.log
fi
start cancelled -n 1 >/dev/null
rm slow-cancelled
wait_until "$seconds" is_gone "$merge" || fail "array" "its merge does not end" array.jsonl.log
if grep -q "missing" array.jsonl.log && [ ! -s array.jsonl ]
then ok "a merge names what a cancelled shard lacks"
else fail "a merge names what a cancelled shard lacks" "it does not" array.jsonl.log
fi
start array 2 -n 1 >/dev/null
rm slow-array
wait_until "$seconds" grep -q SIGUSR1 limit.jsonl.log || fail "time limit" "nobody was told" limit.jsonl.log
rm slow-limit
wait_until "$seconds" all_gone || fail "the queue" "is not empty: $(squeue -h -o '%i %P %T %r' | tr '\n' ';')"

judge "requeued before its time limit" limit.jsonl "# job $limit: exit status 75" "# job $limit, run 2"
judge "preempted" low.jsonl SIGTERM "# job $low: exit status 75" "# job $low, run 2"
judge "a rank is killed" killed.jsonl "# job $killed: goes on without n4" "# job $killed, run 2, .* on n5"
judge "a node fails" down.jsonl "# job $down, run 2, .* on n5"
judge "cancelled and submitted again" cancelled.jsonl
judge "array submitted again after a shard was cancelled" array.jsonl
if [ "$("$check" whole two.jsonl 2>>log)" = 6 ]
then ok "two nodes, in an image: every request has its line"
else fail "two nodes, in an image: every request has its line" "it has not" two.jsonl.log
fi
finish
