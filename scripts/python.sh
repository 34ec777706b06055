#!/bin/sh
# Print the path of a Python that the library can be built for and run by: 3.10 or newer, with headers, a shared
# libpython, venv and sqlite3. Otherwise say on one line what to install or how to choose, and exit 1.
#
#     scripts/python.sh            the first suitable one
#     PYTHON=… scripts/python.sh   that one or none
set -u

# Prints nothing and succeeds, or prints what is missing.
PROBE='
import os, sys
def missing():
    if sys.version_info < (3, 10):
        return "it is %d.%d, 3.10 or newer is needed" % sys.version_info[:2]
    import sysconfig
    import importlib.util
    get = sysconfig.get_config_var
    if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
        return "it has no headers (Python.h)"
    places = [get("LIBDIR") or "", os.path.join(sys.base_exec_prefix, "lib")]
    if not get("Py_ENABLE_SHARED") or not any(os.path.exists(os.path.join(place, get("LDLIBRARY"))) for place in places):
        return "it has no shared libpython"
    for module in ("ensurepip", "venv", "sqlite3", "_ctypes"):
        if importlib.util.find_spec(module) is None:
            return "it has no module " + module
    import sqlite3
sys.exit(missing() or 0)
'
REMEDY="install one (Debian: apt-get install python3-dev python3-venv; pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install 3.12)
 or choose one (make run PYTHON=/path/to/python3)"
REMEDY=$(printf %s "$REMEDY" | tr -d '\n')

# Explains itself on stdout; the version managers' shims speak on stderr when they have nothing behind them.
probe() {
    "$1" -c "$PROBE" 2>&1
}

# A shim may stand for another Python tomorrow, or in another folder: the real path does not.
print_real() {
    "$1" -c 'import sys; print(sys.executable)'
}

if [ -n "${PYTHON:-}" ]; then
    if ! command -v "$PYTHON" >/dev/null 2>&1; then
        echo "PYTHON=$PYTHON is not a program: $REMEDY." >&2
        exit 1
    fi
    if reason=$(probe "$PYTHON"); then
        print_real "$PYTHON"
        exit 0
    fi
    echo "PYTHON=$PYTHON cannot run the library: $(printf '%s\n' "$reason" | sed -n '/./{p;q;}'); $REMEDY." >&2
    exit 1
fi

search() {
    for name in python3 python3.13 python3.12 python3.11 python3.10; do
        candidate=$(command -v "$name" 2>/dev/null) || continue
        if probe "$candidate" >/dev/null; then
            print_real "$candidate"
            return 0
        fi
    done
    for candidate in "${PYENV_ROOT:-${HOME:-/nonexistent}/.pyenv}"/versions/3.1*/bin/python3 /usr/bin/python3* /usr/local/bin/python3*; do
        case $candidate in *-config | *-dbg) continue ;; esac
        if [ -x "$candidate" ] && probe "$candidate" >/dev/null; then
            print_real "$candidate"
            return 0
        fi
    done
    return 1
}

search && exit 0
if [ "$(id -u)" = 0 ] && [ -f /etc/debian_version ] && command -v apt-get >/dev/null 2>&1; then
    echo "No suitable Python is here: installing python3-dev and python3-venv." >&2
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-dev python3-venv; } >&2
    search && exit 0
fi
echo "No Python >= 3.10 with headers, a shared libpython, venv and sqlite3 was found: $REMEDY." >&2
exit 1
