#!/usr/bin/env bash
# A Slurm of its own on this machine, for tests: two nodes of two CPUs and two fake GPUs each, without systemd.
# cluster.sh check | start DIR | stop DIR; as root. DIR: short, without blanks. Clients need SLURM_CONF=DIR/slurm.conf.
set -eu
PATH=$PATH:/usr/sbin
PACKAGES="slurmctld slurmd slurm-client munge"
fail() {
    echo "error: $*" >&2
    exit 2
}

check() {
    [ "$(id -u)" = 0 ] || fail "a Slurm for tests has to be started by root"
    for program in munged slurmctld slurmd sbatch; do
        command -v $program >/dev/null || fail "$program is missing: apt-get install --no-install-recommends $PACKAGES"
    done
}

configure() {
    # Listen on 127.0.0.1 alone where the host's name leads there; else on all addresses (munge keeps others out).
    local=""
    case $(getent ahostsv4 "$host" | head -1) in 127.*) local="CommunicationParameters=NoInAddrAny,NoCtldInAddrAny" ;; esac
    cat >"$dir/slurm.conf" <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# cred_expire: a requeued job starts again after this many seconds (120 by default)
AuthInfo=socket=$dir/munge.socket,cred_expire=5
$local
# Without cgroups
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=100000,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
# More CPUs than the machine has
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=3600
KillWait=5
MailProg=/bin/true
PropagateResourceLimits=NONE
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool.%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.%n.log
GresTypes=gpu
NodeName=n0 NodeHostname=$host NodeAddr=127.0.0.1 Port=26818 CPUs=2 RealMemory=2000 State=UNKNOWN Gres=gpu:2
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=26819 CPUs=2 RealMemory=2000 State=UNKNOWN Gres=gpu:2
PartitionName=gpu Nodes=n0,n1 Default=YES MaxTime=INFINITE State=UP
END
    # A device that does nothing: links, since a plain file is no device and would leave CUDA_VISIBLE_DEVICES unset.
    ln -s /dev/null "$dir/fake0"
    ln -s /dev/null "$dir/fake1"
    for node in n0 n1; do echo "NodeName=$node Name=gpu Count=2 File=$dir/fake[0-1]"; done >"$dir/gres.conf"
}

start() {
    [ ${#dir} -lt 60 ] || fail "$dir: a shorter folder is needed, sockets lie in it"
    mkdir -p "$dir/state" "$dir/spool.n0" "$dir/spool.n1"
    chmod 755 "$dir"
    configure
    head -c 128 /dev/urandom >"$dir/munge.key"
    chmod 600 "$dir/munge.key"
    munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" \
        --log-file="$dir/munged.log" --seed-file="$dir/munged.seed"
    slurmctld -f "$SLURM_CONF"
    for node in n0 n1; do slurmd -f "$SLURM_CONF" -N $node; done
    for _ in $(seq 100); do
        [ "$(sinfo --noheader --Node --format=%T 2>/dev/null | grep -c idle)" = 2 ] && return
        sleep 0.1
    done
    fail "Slurm did not start within 10 s; see $dir/*.log"
}

stop() {
    scancel --user=root 2>/dev/null || true
    for _ in $(seq 100); do # jobs ignore TERM: KillWait
        [ -z "$(squeue --noheader 2>/dev/null)" ] && break
        sleep 0.1
    done
    for file in "$dir"/slurmd.n*.pid "$dir/slurmctld.pid" "$dir/munged.pid"; do
        [ -s "$file" ] || continue
        pid=$(cat "$file")
        kill "$pid" 2>/dev/null || continue
        while [ -e "/proc/$pid/exe" ]; do sleep 0.05; done
    done
}

command=${1:-}
dir=${2:-}
host=$(hostname -s)
export SLURM_CONF=$dir/slurm.conf
case $command in
check) check ;;
start | stop) check && $command ;;
*) fail "cluster.sh check | start DIR | stop DIR" ;;
esac
