#!/usr/bin/env bash
# Run one sweep on several machines over ssh: the same command on each machine, in the same folder.
#   bash scripts/cluster/sweep_ssh.sh "ada grace alan" /shared/dlfound optim=adam,sgd search.trials=200 run.dir=/shared/sweeps/first
# The first argument lists the machines. The second is the checkout, which has dlfound installed in its .venv on each machine.
# If the machines do not share run.dir, use a database that all of them reach: search.storage=postgresql://sweeper@ada/sweeps
# Ctrl-C stops all machines; rerun the same command to resume.
set -euo pipefail
machines=$1 checkout=$2
shift 2
command="cd $(printf %q "$checkout") && exec .venv/bin/dlfound sweep $(printf '%q ' "$@")"
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true' INT TERM
for machine in $machines; do
  # With a terminal (-tt), the remote command ends together with ssh.
  ssh -tt "$machine" "$command" </dev/null 2>&1 | sed -u "s/^/$machine: /" &
  pids+=($!)
done
wait
