#!/usr/bin/env bash
# Installs what the tests need and runs them; arguments go to pytest: bash scripts/test.sh tests/optim
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/setup.sh
setup '[dev]'
# Real data for some tests, where they stand beside the checkout.
if [ -z "${DLFOUND_DATA:-}" ] && [ -d ../shared/data ]; then
  DLFOUND_DATA=$(cd ../shared/data && pwd)
  export DLFOUND_DATA
fi
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/python -m pytest -n 2 --dist worksteal "$@"
