"""The ledger of requirements: what counts as proven, and what the tool does not let pass."""

import importlib.util
import json
import sys

import pytest

from tests import support

SPEC = importlib.util.spec_from_file_location("requirements_tool", support.ROOT / "scripts" / "requirements.py")
tool = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tool)

DOCUMENT = """
| Id | | Requirement |
|---|---|---|
|P-001|must|One|
|P-002|should|Two, see P-001|
|O-001|Three, in a part that is all must|
|T-01|must|Four|
"""


@pytest.fixture
def ledger(tmp_path, monkeypatch, capsys):
    """Run the tool over `DOCUMENT` and a record; returns exit code, output and errors."""

    def run(record, *arguments, after=None):
        (tmp_path / "requirements.md").write_text(DOCUMENT)
        (tmp_path / "proven.json").write_text(json.dumps(record))
        monkeypatch.setattr(tool, "DOCUMENT", tmp_path / "requirements.md")
        monkeypatch.setattr(tool, "RECORD", tmp_path / "proven.json")
        monkeypatch.setattr(tool, "AFTER", tmp_path / "after.json")
        if after:
            (tmp_path / "after.json").write_text(json.dumps(after))
        code = tool.main(list(arguments))
        told = capsys.readouterr()
        return code, told.out.splitlines(), told.err

    return run


def test_a_requirement_is_proven_by_tests_that_passed(ledger):
    record = {"ran": True, "claims": {"P-001": ["a", "b"], "P-002": ["a"]}, "outcomes": {"a": "passed", "b": "passed"}}
    assert ledger(record) == (
        0,
        [
            "P-001 must PROVEN by 2 tests",
            "P-002 should PROVEN by 1 test",
            "O-001 must … MISSING",
            "T-01 must … MISSING",
            "1 of 3 musts and 1 of 1 shoulds are proven.",
        ],
        "",
    )
    assert ledger(record, "--missing")[1][:-1] == ["O-001 must … MISSING", "T-01 must … MISSING"]


@pytest.mark.parametrize(
    "outcome, code, line",
    [
        ("passed", 0, "P-001 must PROVEN by 2 tests"),
        ("failed", 1, "P-001 must FAILED: 1 of 2 tests did not pass, first b"),
    ],
)
def test_what_is_judged_when_all_has_run_counts_too(ledger, outcome, code, line):
    record, after = (
        {"ran": True, "claims": {"P-001": [name]}, "outcomes": {name: how}}
        for name, how in (("a", "passed"), ("b", outcome))
    )
    found, lines, _ = ledger(record, after=after)
    assert (found, lines[0]) == (code, line)


@pytest.mark.parametrize("outcome", ["failed", "skipped", None])
def test_one_test_that_did_not_pass_spoils_the_proof(ledger, outcome):
    outcomes = {"a": "passed", **({"b": outcome} if outcome else {})}
    code, lines, errors = ledger({"ran": True, "claims": {"P-001": ["a", "b"]}, "outcomes": outcomes})
    assert code == 1 and lines[0] == "P-001 must FAILED: 1 of 2 tests did not pass, first b" and "P-001" in errors


def test_what_was_only_collected_is_said_to_be(ledger):
    code, lines, _ = ledger({"ran": False, "claims": {"P-001": ["a"]}, "outcomes": {}})
    assert code == 0 and lines[0] == "P-001 must PROVEN by 1 test" and "have not been run" in lines[-1]


def test_a_claim_of_what_is_not_required_is_an_error(ledger):
    code, _, errors = ledger({"ran": True, "claims": {"P-999": ["a"]}, "outcomes": {"a": "passed"}})
    assert code == 1 and errors == "error: P-999 is claimed by a but is not in docs/requirements.md\n"


def test_an_id_is_there_once():
    with pytest.raises(ValueError, match="P-001 is there twice"):
        tool.read_requirements(DOCUMENT + "|P-001|must|Again|\n")


def test_the_projects_own_document_is_read_whole():
    found = tool.read_requirements((support.ROOT / "docs" / "requirements.md").read_text())
    assert len(found) > 500 and found["P-001"] == found["O-001"] == found["T-10"] == "must"


PROBE = """
import pytest

@pytest.mark.requirement("P-001", "P-002")
@pytest.mark.parametrize("number", [1, 2])
def test_both(number):
    assert number < 2

@pytest.mark.requirement("X-001")
def test_absent():
    pytest.skip("the machine lacks it")
"""
#: As scripts/test.sh has it.
WORKERS = ("-n2", "--max-worker-restart=0")


@pytest.mark.parametrize("workers", [(), WORKERS], ids=["alone", "workers"])
@pytest.mark.parametrize("ci, skipped", [("false", "skipped"), ("true", "failed")])
def test_pytest_records_claims_and_outcomes_and_under_ci_a_skip_fails(tmp_path, workers, ci, skipped):
    (tmp_path / "test_probe.py").write_text(PROBE)
    record = tmp_path / "record" / "proven.json"
    done = support.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-ra",
            "-p",
            "no:cacheprovider",
            "-p",
            "tests.proofs",
            *workers,
            tmp_path,
        ],
        code=1,
        env={"PLUE_PROVEN": str(record), "CI": ci, "PATH": "", "PYTHONPATH": str(support.ROOT)},
        cwd=tmp_path,
    )
    written = json.loads(record.read_text())
    one, two = "test_probe.py::test_both[1]", "test_probe.py::test_both[2]"
    assert written["ran"] and written["claims"] == {
        "P-001": [one, two],
        "P-002": [one, two],
        "X-001": ["test_probe.py::test_absent"],
    }
    assert written["outcomes"] == {one: "passed", two: "failed", "test_probe.py::test_absent": skipped}
    assert ("was skipped: under CI every test runs" in done.out) == (ci == "true")
    assert f"FAILED {two}" in done.out


DYING = """
import os
import pytest

@pytest.mark.requirement("P-001")
def test_fatal():
    os._exit(1)

@pytest.mark.requirement("P-002")
@pytest.mark.parametrize("number", range(4))
def test_fine(number):
    pass
"""


def test_a_worker_that_dies_fails_the_run_and_no_claim_is_lost(tmp_path):
    (tmp_path / "test_probe.py").write_text(DYING)
    record = tmp_path / "proven.json"
    done = support.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.proofs", *WORKERS, tmp_path],
        code=1,
        env={"PLUE_PROVEN": str(record), "PATH": "", "PYTHONPATH": str(support.ROOT)},
        cwd=tmp_path,
        timeout=60,
    )
    written = json.loads(record.read_text())
    assert written["claims"] == {
        "P-001": ["test_probe.py::test_fatal"],
        "P-002": [f"test_probe.py::test_fine[{number}]" for number in range(4)],
    }
    assert written["outcomes"]["test_probe.py::test_fatal"] == "failed" and "crashed while running" in done.out


SHARING = """
import os
import pytest

@pytest.fixture(scope="session")
def server(tmp_path_factory):
    with open(os.environ["STARTED"], "a") as file:
        file.write("server\\n")

@pytest.fixture
def client(server):
    pass

@pytest.mark.parametrize("number", range(6))
def test_with(client, number):
    pass

@pytest.mark.parametrize("number", range(6))
def test_without(number):
    pass
"""


@pytest.mark.parametrize("workers", [(), WORKERS], ids=["alone", "workers"])
def test_what_stands_on_one_server_runs_beside_it(tmp_path, workers):
    (tmp_path / "test_probe.py").write_text(SHARING)
    started = tmp_path / "started"
    support.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.spread", *workers, tmp_path],
        env={"STARTED": str(started), "PATH": "", "PYTHONPATH": str(support.ROOT)},
        cwd=tmp_path,
    )
    assert started.read_text() == "server\n"
