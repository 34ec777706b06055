#!/bin/sh
# See that .venv is there and belongs to this folder and, if PYTHON names one, to that Python; else make it anew.
# .venv/.base tells whose it is; it changes only when .venv does.
set -eu

works() {
    [ -x .venv/bin/python ] && .venv/bin/python -c "import pip, sqlite3" 2>/dev/null
}

if [ -z "${PYTHON:-}" ] && works; then
    python=.venv/bin/python
else
    python=$(scripts/python.sh)
fi
base=$("$python" -c "import os, sys; print(os.path.join(sys.base_exec_prefix, 'bin', 'python%d.%d' % sys.version_info[:2]))")
owner="$(pwd -P): $base"
if [ "$(cat .venv/.base 2>/dev/null)" != "$owner" ] || ! works; then
    echo "Making .venv with $base"
    rm -rf .venv .tools
    "$base" -m venv .venv
    printf '%s\n' "$owner" >.venv/.base
fi
