#!/bin/sh
# Check form and types. Run every test with coverage, also inside the interpreters that C hosts embed; then say what is proven.
#     scripts/test.sh [pytest arguments]
set -u

python=.venv/bin/python
PLUE_TREE=$(pwd -P)
PLUE_COVERAGE_HOOK=$PLUE_TREE/tests/coverage_hook.py
COVERAGE_PROCESS_START=$PLUE_TREE/tests/coverage.ini
PLUE_PROVEN=$PLUE_TREE/build/proven.json
export PLUE_TREE
rm -rf build/coverage build/proven.json build/proven-after.json
mkdir -p build/coverage

scripts/lint.sh || failed="lint"

# Half as many workers again as processors, up to four: many tests wait for a server, and more would wait for the disk. A worker
# that dies, or that is stuck in a test for five minutes and then ended, ends the run.
workers=$((($(nproc) * 3 + 1) / 2))
if [ "$workers" -gt 2 ]; then
    set -- -n "$((workers < 4 ? workers : 4))" --max-worker-restart=0 "$@"
fi
set -- -o faulthandler_timeout=300 -o faulthandler_exit_on_timeout=true "$@"

PLUE_COVERAGE_HOOK="$PLUE_COVERAGE_HOOK" COVERAGE_PROCESS_START="$COVERAGE_PROCESS_START" PLUE_PROVEN="$PLUE_PROVEN" \
    "$python" -m pytest "$@" || failed="${failed:+$failed, }the tests"
# Whoever was killed has left half a file, or none: combine says so and takes the others.
"$python" -m coverage combine --quiet --rcfile=tests/coverage.ini build/coverage
"$python" -m coverage report --rcfile=tests/coverage.ini
PLUE_AFTER=1 PLUE_PROVEN="$PLUE_TREE/build/proven-after.json" "$python" -m pytest -q tests/after || failed="${failed:+$failed, }coverage"
"$python" scripts/requirements.py || failed="${failed:+$failed, }the requirements"
if [ -n "${failed:-}" ]; then
    echo "FAILED: $failed" >&2
    exit 1
fi
