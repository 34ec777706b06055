#!/bin/sh
# Check form and types: ruff (format, rules), mypy and clang-format, as pyproject.toml and .clang-format say.
set -u

bin=.venv/bin
"$bin/ruff" format --check --quiet || failed="ruff format"
"$bin/ruff" check --quiet --output-format concise || failed="${failed:+$failed, }ruff check"
"$bin/mypy" --no-error-summary || failed="${failed:+$failed, }mypy"
# Not include/: the table makes the header. plue_session/include/ is its copy.
find benchmarks c_tests examples plue_session tests -name '*.[ch]' ! -path 'plue_session/include/*' \
    -exec "$bin/clang-format" --dry-run -Werror {} + || failed="${failed:+$failed, }clang-format"
if [ -n "${failed:-}" ]; then
    echo "FAILED: $failed" >&2
    exit 1
fi
