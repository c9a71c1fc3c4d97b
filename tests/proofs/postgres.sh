#!/usr/bin/env bash
# Run a command beside a temporary PostgreSQL server. The command finds the server's address in DLFOUND_STORAGE:
#   bash tests/proofs/postgres.sh python tests/proofs sweeps --storage server
# The script installs the server with apt (as root) and the driver with pip (in a temporary folder) if they are missing.
# It ends with exit code 77 and the reason if it cannot start a server.
set -euo pipefail

give_up() { echo "no PostgreSQL server: $1" >&2; exit 77; }
programs() { dirname "$(command -v initdb || ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -V | tail -1)"; }

python=${PYTHON:-$(command -v python || command -v python3)}
if [ ! -x "$(programs)/initdb" ]; then
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || give_up "initdb is missing, and only root can install it"
  { apt-get update && apt-get install -y --no-install-recommends postgresql; } >/dev/null 2>&1 || give_up "apt-get cannot install PostgreSQL"
fi
bin=$(programs)
[ -x "$bin/postgres" ] || bin=$(dirname "$(readlink -f "$bin/initdb")")
place=$(mktemp -d /tmp/dlfound-postgres-XXXXXX)
trap 'stop' EXIT

as_owner() {  # the server refuses to run as root
  if [ "$(id -u)" != 0 ]; then "$@"; else (cd / && setpriv --reuid=postgres --regid=postgres --clear-groups "$@"); fi
}
stop() {
  as_owner "$bin/pg_ctl" -D "$place/data" -m immediate stop >/dev/null 2>&1 || true
  rm -rf "$place"
}

if ! "$python" -c 'import psycopg' 2>/dev/null; then
  pip=("$python" -m pip); "${pip[@]}" --version >/dev/null 2>&1 || pip=("$(command -v pip || command -v pip3)")
  "${pip[@]}" install --quiet --disable-pip-version-check --target "$place/driver" 'psycopg[binary]>=3.2,<4' >/dev/null 2>&1 ||
    give_up "pip cannot install the driver psycopg"
  export PYTHONPATH="$place/driver${PYTHONPATH:+:$PYTHONPATH}"
fi

port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
echo secret >"$place/password"
[ "$(id -u)" != 0 ] || chown -R postgres "$place"
chmod 755 "$place"
as_owner "$bin/initdb" -D "$place/data" -U sweeper --pwfile="$place/password" --auth=scram-sha-256 >/dev/null ||
  give_up "initdb failed"
as_owner "$bin/pg_ctl" -D "$place/data" -w -l "$place/data/log" -o "-p $port -k $place/data -c listen_addresses=127.0.0.1 -c fsync=off" \
  start >/dev/null || give_up "the server did not start"
export DLFOUND_STORAGE="postgresql://sweeper:secret@127.0.0.1:$port/postgres"
"$@"
