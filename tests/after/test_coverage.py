"""What can be judged only when all other tests have run; collected by scripts/test.sh alone (see tests/conftest.py)."""

import io

import coverage
import pytest

from tests import support

#: Percent of the branches, inside the embedded interpreters included.
LEAST = 95.0


@pytest.mark.requirement("P-180")
def test_the_tests_cover_the_python_half():
    measured = coverage.Coverage(config_file=str(support.ROOT / "tests" / "coverage.ini"))
    measured.load()
    table = io.StringIO()
    percent = measured.report(file=table, show_missing=False, skip_covered=True)
    assert percent > LEAST, f"\n{table.getvalue()}"
