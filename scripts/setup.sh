# Sourced by the other scripts: an environment in .venv with dlfound in it. Safe to run again.
#   setup ''       what dlfound needs
#   setup '[dev]'  and what its tests need

setup() {
  local python=${PYTHON:-python3}
  if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "dlfound needs Python 3.11 or newer; name one with PYTHON=/path/to/python3.11" >&2
    return 2
  fi
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  echo "installing dlfound$1 into .venv (the first time brings torch, several GB) ..." >&2
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".$1" || return
}
