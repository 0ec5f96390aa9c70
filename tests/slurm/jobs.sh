#!/usr/bin/env bash
# jobs/slurm on a real Slurm: slurmctld and slurmd of Debian's slurm-wlm, two nodes in network namespaces. Exits 77 without root, Slurm or ip.
. "$(dirname "$0")/../mpi/common.bash"
[ "$QUICK" = 1 ] && { echo "note  a slow build; left out"; exit 77; }
for needed in slurmctld slurmd sbatch ip nsenter unshare; do
    command -v "$needed" >/dev/null || { echo "note  $needed is not there; left out"; exit 77; }
done
[ "$(id -u)" = 0 ] && ip link add slip-test type bridge 2>/dev/null || { echo "note  no network may be made here; left out"; exit 77; }
export SLURM_CONF=$work/slurm.conf OMPI_MCA_mpi_yield_when_idle=1 SLIPSTREAM
end() {
    for pid in "$work"/*.pid; do [ -s "$pid" ] && kill "$(cat "$pid")"; done
    for i in 1 2; do ip netns del "slip-test-$i"; ip link del "slipt$i"; done
    ip link del slip-test
    sleep 1
    rm -rf "$work"
} 2>/dev/null
trap end EXIT
mkdir "$work/state" "$work/tmp-n1" "$work/tmp-n2"
cat >"$SLURM_CONF" <<CONF
ClusterName=slipstream
SlurmctldHost=$(hostname)(10.213.9.1)
SlurmctldPort=16917
SlurmUser=root
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool-%n
SlurmctldPidFile=$work/ctld.pid
SlurmdPidFile=$work/slurmd-%n.pid
SlurmctldLogFile=$work/ctld.log
SlurmdLogFile=$work/slurmd-%n.log
TmpFS=$work/tmp-%n
KillWait=5
SchedulerParameters=sched_interval=2,bf_interval=2
SlurmdParameters=config_overrides
NodeName=n1 NodeAddr=10.213.9.11 CPUs=8
NodeName=n2 NodeAddr=10.213.9.12 CPUs=8
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
CONF
ip addr add 10.213.9.1/24 dev slip-test && ip link set slip-test up
slurmctld -i >"$work/log" 2>&1
for i in 1 2; do
    ip netns add "slip-test-$i"
    ip link add "slipt$i" type veth peer name eth0 netns "slip-test-$i"
    ip link set "slipt$i" master slip-test up
    # Not ip netns exec, which hides /sys/fs/cgroup.
    nsenter --net="/run/netns/slip-test-$i" unshare -u sh -c \
        "ip addr add 10.213.9.1$i/24 dev eth0; ip link set eth0 up; ip link set lo up; hostname n$i; exec slurmd -N n$i" >>"$work/log" 2>&1
done
for i in $(seq 20); do [ "$(sinfo -h -o %T 2>/dev/null)" = idle ] && break; sleep 0.5; done
[ "$(sinfo -h -o %T 2>/dev/null)" = idle ] || { echo "note  Slurm does not start here; left out"; exit 77; }

head -n 6 "$root/jobs/demo/requests.jsonl" | sed 's/"max_tokens": *[0-9]*/"max_tokens": 6/' >"$work/requests.jsonl"
cd "$work" || exit 2 # a submission from elsewhere, with relative paths
submit=$root/jobs/slurm/submit.sh
bash "$submit" -n 1 -- nothing.h5 requests.jsonl none.jsonl >"$work/log" 2>&1
if [ $? = 2 ] && grep -q 'nothing.h5: MODEL' "$work/log"
then ok "arguments are checked before a submission"
else fail "arguments are checked before a submission" "they were not" "$work/log"
fi
bash "$submit" -N 2 -n 2 -t 5 -- "$MODEL" requests.jsonl two.jsonl >"$work/log" 2>&1
bash "$root/jobs/slurm/array.sh" 2 -n 1 -t 5 -- "$MODEL" requests.jsonl array.jsonl >>"$work/log" 2>&1
for i in $(seq 120); do [ -z "$(squeue -h)" ] && break; sleep 0.5; done
for name in two array; do
    if [ "$("$check" whole "$work/$name.jsonl" 2>>"$work/log")" = 6 ]
    then ok "$name: every request has its line"
    else fail "$name: every request has its line" "it has not" "$work/$name.jsonl.log"
    fi
done

# What Slurm does before a time limit: the script is told, drains, and is requeued; the next run goes on to the undisturbed answers.
for i in 1 2 3 4 5 6 7 8; do
    printf '{"custom_id":"r%d","method":"POST","url":"/v1/completions","body":{"prompt":"def f_%d(","max_tokens":400,"temperature":0.8,"seed":%d}}\n' $i $i $i
done >"$work/long.jsonl"
on_ranks 2 batch -m "$MODEL" -i long.jsonl -o reference.jsonl -q 2>"$work/log" || fail "requeued: a run without Slurm" "exit status $?" "$work/log"
id=$(SLIPSTREAM_WINDOW=40 bash "$submit" -N 1 -n 2 -t 5 -- "$MODEL" long.jsonl again.jsonl --sequences 2 2>"$work/log")
for i in $(seq 240); do [ -s "$work/again.jsonl" ] && break; sleep 0.25; done
scancel --batch --signal=USR1 "$id"
restarts=0
for i in $(seq 240); do
    case $(squeue -h -j "$id" -o %T 2>/dev/null) in
    PENDING) [ $((restarts += 1)) = 10 ] && scontrol update JobId="$id" StartTime=now ;; # else Slurm waits for two minutes
    '') break ;;
    esac
    sleep 0.5
done
if [ "$restarts" -gt 0 ] && "$check" same "$work/again.jsonl" "$work/reference.jsonl" 2>"$work/log"
then ok "requeued before a time limit: the undisturbed answers"
else fail "requeued before a time limit: the undisturbed answers" "pending: $restarts" "$work/again.jsonl.log"
fi
finish
