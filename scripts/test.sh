#!/usr/bin/env bash
# Install what the tests need and run them; arguments go to pytest: bash scripts/test.sh tests/optim
# Without arguments, everything but the proofs, which take long: bash scripts/test.sh tests/proofs
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/setup.sh
setup '[dev]'
# Some tests use real data, if they are in a folder beside the checkout.
if [ -z "${DLFOUND_DATA:-}" ] && [ -d ../shared/data ]; then
  DLFOUND_DATA=$(cd ../shared/data && pwd)
  export DLFOUND_DATA
fi
.venv/bin/ruff check .
.venv/bin/ruff format --check .
[ $# -gt 0 ] || set -- --ignore tests/proofs
.venv/bin/python -m pytest -n 2 --dist worksteal "$@"
