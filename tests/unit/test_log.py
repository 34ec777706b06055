"""The library's own log: a file of the host's choosing, events, and never more than the host asked for."""

import os
import re

import pytest

from plue_session.adapters.log import Log
from plue_session.errors import StoreIo


@pytest.fixture
def told():
    return []


@pytest.fixture
def open_log(told):
    logs = []

    def open_log(level="warning", path=None):
        logs.append(Log(level, path, lambda *record: told.append(record)))
        return logs[-1]

    yield open_log
    for log in logs:
        log.close()


def test_records_below_the_level_are_neither_written_nor_told(open_log, told, tmp_path):
    log = open_log("warning", str(tmp_path / "log"))
    log.write("info", "quiet")
    log.write("warning", "loud")
    log.write("error", "louder")
    assert told == [("warning", "loud"), ("error", "louder")]
    assert [line.split(" ", 2)[2] for line in (tmp_path / "log").read_text().splitlines()] == ["loud", "louder"]


def test_a_record_is_one_line_with_its_time_in_utc(open_log, tmp_path):
    open_log("debug", str(tmp_path / "log")).write("debug", "two\nlines")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z debug two lines\n", (tmp_path / "log").read_text())


def test_the_file_is_the_owners_alone_and_is_appended_to(open_log, tmp_path):
    path = tmp_path / "log"
    for text in ("one", "two"):
        log = open_log("info", str(path))
        log.write("info", text)
        log.close()
        log.close()
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert len(path.read_text().splitlines()) == 2


def test_without_a_file_there_are_only_events(open_log, told, capfd):
    open_log("info").write("info", "hello")
    assert told == [("info", "hello")]
    assert capfd.readouterr() == ("", "")


@pytest.mark.requirement("X-022")
def test_debug_records_go_to_the_file_alone(open_log, told, tmp_path):
    log = open_log("debug", str(tmp_path / "log"))
    log.trace("what was called")
    assert told == [] and (tmp_path / "log").read_text().endswith("Z debug what was called\n")
    log.close()
    log.trace("too late")
    assert open_log("debug").trace is None and open_log("info", str(tmp_path / "other")).trace is None


@pytest.mark.requirement("T-09")
def test_a_file_that_cannot_be_opened_is_an_error_with_its_name(open_log, tmp_path):
    with pytest.raises(StoreIo, match="the log file .*nowhere/log cannot be opened: No such file"):
        open_log("info", str(tmp_path / "nowhere" / "log"))


def test_a_disk_that_fills_up_costs_the_line_and_not_the_work(open_log, told):
    log = open_log("info", "/dev/full")
    log.write("info", "one")
    log.write("info", "two")
    assert told == [("info", "one"), ("info", "two")]


@pytest.mark.parametrize("problem", [StoreIo("the disk fails"), MemoryError(), OSError(24, "no descriptor is left")])
def test_an_event_that_cannot_be_sent_costs_the_event_and_not_the_work(tmp_path, problem):
    """The executor of a library thread that met the trouble, and tells of it, must go on."""

    def tell(level, message):
        raise problem

    log = Log("info", str(tmp_path / "log"), tell)
    log.write("warning", "what is the matter")
    log.close()
    assert "what is the matter" in (tmp_path / "log").read_text()
