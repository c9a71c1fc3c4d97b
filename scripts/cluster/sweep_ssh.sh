#!/usr/bin/env bash
# One sweep on several machines by plain ssh: the same command on each of them, in the same folder.
#   bash scripts/cluster/sweep_ssh.sh "ada grace alan" /shared/dlfound optim=adam,sgd search.trials=200 run.dir=/shared/sweeps/first
# The first word names the machines, the second the checkout, with dlfound installed in its .venv on each. Where run.dir is no
# folder that they share, a database that all of them reach joins them: search.storage=postgresql://sweeper@ada/sweeps
# Ctrl-C ends all of them; the same words go on.
set -euo pipefail
machines=$1 checkout=$2
shift 2
command="cd $(printf %q "$checkout") && exec .venv/bin/dlfound sweep $(printf '%q ' "$@")"
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true' INT TERM
for machine in $machines; do
  # A terminal (-tt), so that the command over there ends with this one.
  ssh -tt "$machine" "$command" </dev/null 2>&1 | sed -u "s/^/$machine: /" &
  pids+=($!)
done
wait
