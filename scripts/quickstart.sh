#!/usr/bin/env bash
# From a fresh clone to a trained net: makes .venv, installs, trains on the digits in the package.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/setup.sh
setup ''
.venv/bin/dlfound train model=mlp optim=adam
cat <<'END'

The curves:       .venv/bin/dlfound board
Change one word:  .venv/bin/dlfound train activation=tanh
Every word:       .venv/bin/dlfound options
END
