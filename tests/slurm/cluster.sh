#!/bin/bash
# A real SLURM on this machine, all of it in one folder (no systemd, no cgroups, no fixed port):
#   cluster.sh start DIR     prints "export SLURM_CONF=..." ; cluster.sh stop DIR
# apt-get install -y --no-install-recommends slurm-wlm munge slurmdbd mariadb-server-core
# env: SLURM_TEST_NODES (1), SLURM_TEST_CPUS a node (4; may exceed the machine's)
set -euo pipefail
cmd=${1:?start or stop} D=${2:?folder}
NODES=${SLURM_TEST_NODES:-1} CPUS=${SLURM_TEST_CPUS:-4} ME=$(id -un)

pid_of() { cat "$D/$1.pid" 2>/dev/null || true; }
alive() {  # NAME: is the daemon that we started as NAME still there (a zombie is not)
  local p; p=$(pid_of "$1")
  [ -n "$p" ] && [[ "$(grep -sE '^(Name|State):' "/proc/$p/status" | cut -f2 | tr '\n' ' ')" == "${1%%.*} "[!ZX]* ]]
}
daemon() {  # NAME COMMAND...
  local name=$1; shift
  setsid "$@" </dev/null >>"$D/$name.out" 2>&1 &
  local p=$! _; echo $p >"$D/$name.pid"
  for _ in $(seq 200); do   # till it has become that program
    alive "$name" && return; kill -0 $p 2>/dev/null || break; sleep .05
  done
  echo "$name: did not start" >&2; return 1
}
until_ok() {  # NAME COMMAND...: wait for COMMAND to succeed while NAME lives, 60 s at most
  local name=$1 end=$((SECONDS + 60)); shift
  until "$@" >/dev/null 2>&1; do
    sleep .1
    alive "$name" && [ $SECONDS -lt $end ] || { echo "$name: not up" >&2; return 1; }
  done
}
port_open() { timeout 1 bash -c "exec 3<>/dev/tcp/127.0.0.1/$1"; }
all_idle() { [ "$(timeout 5 sinfo -h -N -p main -o %t | sort | uniq -c | tr -s ' ')" = " $NODES idle" ]; }

stop() {
  set +e
  export SLURM_CONF=$D/slurm.conf
  if alive slurmctld; then   # jobs first: a slurmd that ends leaves its jobs running
    timeout 10 scancel --full -u "$ME"; timeout 10 scancel --signal=KILL --full -u "$ME"
    for _ in $(seq 60); do [ -z "$(timeout 5 squeue -h)" ] && break; sleep .25; done
  fi 2>/dev/null
  local n slurm
  slurm="$(cd "$D" && ls slurmd.n*.pid 2>/dev/null | sed 's/.pid$//') slurmctld"
  for n in $slurm; do alive "$n" && kill "$(pid_of "$n")"; done
  for n in $slurm; do for _ in $(seq 50); do alive "$n" || break; sleep .1; done; done
  for n in $slurm slurmdbd mariadbd munged; do alive "$n" && kill -9 "$(pid_of "$n")"; done
  rm -f "$D"/*.pid
  return 0
}

start() {
  mkdir -p "$D"; D=$(cd "$D" && pwd)
  [ ${#D} -le 80 ] || { echo "too long for a unix socket's path: $D" >&2; exit 1; }
  ! alive slurmctld || { echo "already running in $D" >&2; exit 1; }
  rm -rf "${D:?}"/{state,spool.*,db,*.sock*,*.log,*.out}
  chmod 755 "$D"; mkdir "$D/state"; mkdir -m 700 "$D/db"   # munge: all must reach its socket
  ln -sf /dev/null "$D/gpu0"; ln -sf /dev/null "$D/gpu1"   # make-believe GPUs: must be devices
  trap 'trap - EXIT; tail -n 15 "$D"/*.{out,log} >&2; stop; exit 1' EXIT
  local P i
  read -r -a P < <(python3 -c 'import socket, sys
s = [socket.socket() for _ in range(int(sys.argv[1]))]
[x.bind(("127.0.0.1", 0)) for x in s]
print(*[x.getsockname()[1] for x in s])' $((NODES + 3)))

  cat >"$D/slurm.conf" <<CONF
ClusterName=t
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=${P[0]}
SlurmUser=$ME
SlurmdUser=$ME
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$D/munge.sock
StateSaveLocation=$D/state
SlurmdSpoolDir=$D/spool.%n
SlurmctldPidFile=$D/slurmctld.self
SlurmdPidFile=$D/slurmd.%n.self
SlurmctldLogFile=$D/slurmctld.log
SlurmdLogFile=$D/slurmd.%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0,bf_interval=2
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=3
MinJobAge=3600
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=${P[1]}
AccountingStoragePass=$D/munge.sock
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
$(for i in $(seq "$NODES"); do
  echo "NodeName=n$i NodeHostname=localhost NodeAddr=127.0.0.1 Port=${P[2 + i]} CPUs=$CPUS RealMemory=4000 Gres=gpu:2"
done)
PartitionName=main Nodes=ALL Default=YES MaxTime=60 PriorityTier=1 GraceTime=30
PartitionName=high Nodes=ALL MaxTime=60 PriorityTier=10 PreemptMode=OFF
CONF
  echo "Name=gpu File=$D/gpu[0-1]" >"$D/gres.conf"
  (umask 077; cat >"$D/slurmdbd.conf") <<CONF
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=${P[1]}
SlurmUser=$ME
AuthType=auth/munge
AuthInfo=socket=$D/munge.sock
LogFile=$D/slurmdbd.log
PidFile=$D/slurmdbd.self
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=${P[2]}
StorageUser=root
StorageLoc=slurm_acct
CONF
  export SLURM_CONF=$D/slurm.conf

  [ -f "$D/munge.key" ] || (umask 077; head -c 1024 /dev/urandom >"$D/munge.key")
  daemon munged munged --force --foreground --key-file="$D/munge.key" --socket="$D/munge.sock" \
    --pid-file="$D/munged.self" --log-file="$D/munged.log" --seed-file="$D/munge.seed"
  until_ok munged test -S "$D/munge.sock"

  # what mariadb-install-db does, less its need of mariadb-client; in --bootstrap one statement a line
  local my=(mariadbd --no-defaults --user="$ME" --datadir="$D/db" --skip-grant-tables
    --innodb-buffer-pool-size=16M --innodb-log-file-size=8M --innodb-lock-wait-timeout=900
    --innodb-flush-log-at-trx-commit=0)
  { printf 'create database mysql;\nuse mysql;\n'; cat /usr/share/mysql/mysql_system_tables.sql; } |
    "${my[@]}" --bootstrap >"$D/bootstrap.log" 2>&1
  daemon mariadbd "${my[@]}" --socket="$D/mariadb.sock" --pid-file="$D/mariadbd.self" \
    --bind-address=127.0.0.1 --port="${P[2]}"
  until_ok mariadbd port_open "${P[2]}"
  daemon slurmdbd slurmdbd -D
  until_ok slurmdbd port_open "${P[1]}"   # before slurmctld: without a data base it ends at once
  daemon slurmctld slurmctld -D -c
  for i in $(seq "$NODES"); do daemon "slurmd.n$i" slurmd -D -c -N "n$i"; done
  until_ok slurmctld all_idle
  trap - EXIT
  echo "export SLURM_CONF=$SLURM_CONF"
}
"$cmd"
