# A Slurm of Debian's slurm-wlm with six nodes, each in a network namespace, all in namespaces of their own: when the script that sources this
# ends, nothing is left of it. Exits 77 without root, Slurm or ip. To be sourced behind tests/mpi/common.bash.
#
#   main        n1, n2
#   low, high   n3: a job of high preempts one of low, which has two minutes to end
#   killed      n4, then n5
#   down        n6, then n5
for needed in slurmctld slurmd sbatch ip unshare pgrep; do
    command -v "$needed" >/dev/null || { echo "note  $needed is not there; left out"; exit 77; }
done
if [ -z "${APART:-}" ]; then
    apart=(unshare --net --uts --mount --pid --fork --kill-child --mount-proc)
    "${apart[@]}" ip link add bridge type bridge 2>/dev/null || { echo "note  no namespaces may be made here; left out"; exit 77; }
    TMPDIR=$work APART=1 "${apart[@]}" bash "$0" # its files are removed here, when its last process is gone
    exit
fi
trap - EXIT
# Open MPI names its shared memory by host, user and job, which are those of every such cluster on this machine.
mount -t tmpfs slipstream-shm /dev/shm

export SLURM_CONF=$work/slurm.conf OMPI_MCA_mpi_yield_when_idle=1
nodes="n1 n2 n3 n4 n5 n6"
# Preemption by SIGTERM to the ranks alone, the way Slurm has it unless preempt_send_user_signal is set. A node is down when we say so, however
# slow the machine. A requeued job waits for as long as credentials are good, which is 5 seconds at least.
cat >"$SLURM_CONF" <<CONF
ClusterName=slipstream
SlurmctldHost=$(hostname)(10.213.9.1)
SlurmctldPort=16917
SlurmUser=root
AuthType=auth/none
AuthInfo=cred_expire=5
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool-%n
SlurmctldPidFile=$work/ctld.pid
SlurmdPidFile=$work/slurmd-%n.pid
SlurmctldLogFile=$work/ctld.log
SlurmdLogFile=$work/slurmd-%n.log
SlurmdTimeout=600
TmpFS=$work/tmp-%n
KillWait=5
SchedulerParameters=sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
NodeName=DEFAULT CPUs=8
NodeName=n[1-4] NodeAddr=10.213.9.[11-14] Weight=1
NodeName=n6 NodeAddr=10.213.9.16 Weight=1
NodeName=n5 NodeAddr=10.213.9.15 Weight=2
PartitionName=main Nodes=n1,n2 Default=YES
PartitionName=low Nodes=n3 PriorityTier=1 GraceTime=120
PartitionName=high Nodes=n3 PriorityTier=2 PreemptMode=OFF
PartitionName=killed Nodes=n4,n5
PartitionName=down Nodes=n5,n6
CONF

wait_until() { # seconds, command...
    local until=$((SECONDS + $1))
    while [ "$SECONDS" -lt "$until" ]; do
        "${@:2}" >/dev/null 2>&1 && return
        sleep 0.2
    done
    return 1
}

start_node() { # name
    mkdir "$work/spool-$1" "$work/tmp-$1"
    unshare --net --uts sh -c "hostname $1; echo \$\$ >$work/$1.process; until ip link set eth0 up 2>/dev/null; do sleep 0.05; done
        ip addr add 10.213.9.1${1#n}/24 dev eth0; ip link set lo up; exec slurmd -D -N $1" >>"$work/log" 2>&1 &
    wait_until 120 test -s "$work/$1.process"
    ip link add "to-$1" type veth peer name eth0 netns "$(cat "$work/$1.process")" && ip link set "to-$1" master bridge up
}

# Everything that runs there is gone at once, and Slurm hears of it.
fail_node() { # name
    local process net
    net=$(readlink "/proc/$(cat "$work/$1.process")/ns/net")
    for process in /proc/[0-9]*; do
        [ "$(readlink "$process/ns/net")" = "$net" ] && kill -KILL "${process#/proc/}"
    done
    scontrol update NodeName="$1" State=DOWN Reason=test
} 2>/dev/null

all_idle() {
    sinfo -h -N -o "%N %T" >"$work/nodes" && [ "$(sort -u "$work/nodes" | grep -c ' idle$')" = 6 ]
}

mkdir "$work/state"
ip link set lo up
ip link add bridge type bridge && ip addr add 10.213.9.1/24 dev bridge && ip link set bridge up
slurmctld -i >"$work/log" 2>&1
for node in $nodes; do start_node "$node"; done
wait_until 120 all_idle || { echo "note  Slurm does not start here; left out"; exit 77; }
