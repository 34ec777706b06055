"""A list of everything, told apart from the one before."""

import json
import mmap
import tracemalloc

import pytest

from plue_session import errors
from plue_session.adapters.opencode import survey
from plue_session.adapters.opencode.survey import Survey
from tests.fake_server import FakeServer
from tests.unit.test_opencode_shapes import SESSION

#: As OpenCode writes JSON, and as others might.
COMPACT, SPACED = (",", ":"), (", ", ": ")


def body(*sessions, separators=SPACED):
    return json.dumps([{**SESSION, **each} for each in sessions], separators=separators).encode()


@pytest.mark.parametrize("separators", [COMPACT, SPACED])
@pytest.mark.parametrize("piece", [1, 7, 1 << 16])
def test_only_what_has_changed_is_told_however_the_list_is_written(monkeypatch, separators, piece):
    monkeypatch.setattr(survey, "PIECE", piece)
    decoded, parse, scan = [], survey.shapes.parse, survey.shapes.scan
    monkeypatch.setattr(survey.shapes, "parse", lambda data: (decoded.append(data), parse(data))[1])
    monkeypatch.setattr(survey.shapes, "scan", lambda *text: (decoded.append(text), scan(*text))[1])
    tricky = {"metadata": {"a": [{"id": "ses_inner"}, {"id": "ses_other"}], "b": '},{"id":"ses_text"'}}
    for odd in ({}, {"title": '},{"id":"ses_x"'}, tricky):
        sessions = [{"id": f"ses_{number}"} for number in range(5)]
        first = Survey(body(*sessions, {"id": "ses_odd", **odd}, separators=separators))
        assert [each.id for each in first.changed] == [*[f"ses_{number}" for number in range(5)], "ses_odd"]
        assert first.changed[-1].metadata == odd.get("metadata", first.changed[0].metadata)
        decoded.clear()
        sessions[2]["title"] = "changed"
        second = Survey(body(*sessions[1:], {"id": "ses_odd", **odd}, separators=separators), first)
        assert [(each.id, each.title) for each in second.changed] == [("ses_2", "changed")]
        assert sorted(second.ids) == ["ses_1", "ses_2", "ses_3", "ses_4", "ses_odd"]
        if separators is COMPACT and odd is not tricky:
            assert len(decoded) < 4  # as bytes, and as text
        assert Survey(body(separators=separators), second).ids == set()


def test_a_survey_tells_what_has_changed_since_the_one_before():
    one, two = {"id": "ses_one"}, {"id": "ses_two"}
    first = Survey(body(one, two))
    assert [each.id for each in first.changed] == ["ses_one", "ses_two"] == sorted(first.ids)
    same = Survey(body(one, two), first)
    assert same.changed == [] and same.ids == first.ids
    renamed = Survey(body(one, {**two, "title": "x"}), same)
    assert [each.title for each in renamed.changed] == ["x"]
    renamed.forget(["ses_one", "ses_three"])
    assert [each.id for each in Survey(body(one, {**two, "title": "x"}), renamed).changed] == ["ses_one"]
    assert Survey(b" [ ] ").changed == [] and not Survey(b"[]").ids
    assert sorted(Survey(body(one, {"id": "../x"}, {"id": ""})).ids) == ["ses_one"]


@pytest.mark.requirement("O-026")
@pytest.mark.parametrize("odd", [{"time": {"created": 1.5, "updated": 2}}, {"time": 5}, {"metadata": "deep"}])
@pytest.mark.parametrize("depth", [200, 5_000])
def test_a_session_that_cannot_be_read_costs_itself_alone(odd, depth):
    text = json.dumps([{**SESSION, "id": "ses_one"}, {**SESSION, "id": "ses_odd", **odd}, {**SESSION, "id": "ses_two"}])
    text = text.replace('"deep"', '{"a":' * depth + '"}]"' + "}" * depth).encode()
    found = Survey(text)
    assert (
        [each.id for each in found.changed] == ["ses_one", "ses_two"]
        and found.unreadable == ["ses_odd"]
        and "ses_odd" in found.ids
    )
    again = Survey(text + b" ", found)
    assert (again.changed, again.unreadable) == ([], [])


@pytest.mark.parametrize(
    "bad",
    [
        b"{}",
        b"",
        b"[",
        b"[1",
        b"[{}]",
        b"[1]",
        b"[]x",
        b"[{},]",
        b"null",
        b"[" * 100_000,
        body({})[:-1],
        body({}) + b",",
    ],
)
def test_what_is_no_list_of_sessions_is_the_servers_fault(bad):
    with pytest.raises(errors.Server):
        Survey(bad)


@pytest.mark.parametrize("piece", [1, 2, 7, 64, 1000])
def test_a_list_says_the_same_in_whatever_pieces_it_is_read(monkeypatch, piece):
    title = 'a "quoted" \\\\ \u00e9\u6587\U0001f600 [{]},' * 3
    text = (
        b" \n"
        + json.dumps(
            [{**SESSION, "id": f"ses_{n}", "title": title * n} for n in range(12)], ensure_ascii=False, indent=1
        ).encode()
        + b"\r\n"
    )
    odd = text.replace(b'"ses_3"', b'"ses_3", "metadata": ' + b'{"a":' * 2_000 + b"1" + b"}" * 2_000)
    whole, oddly = Survey(text), Survey(odd)
    monkeypatch.setattr(survey, "PIECE", piece)
    pieces = Survey(text)
    assert pieces.changed == whole.changed and list(pieces.ids) == list(whole.ids) and len(whole.ids) == 12
    assert Survey(text + b" ", whole).changed == [] and Survey(odd).unreadable == ["ses_3"] == oddly.unreadable
    for end in (len(text) // 2, len(text) - 3):
        with pytest.raises(errors.Server):
            Survey(text[:end])


def test_a_long_list_is_read_from_memory_of_its_own_and_is_not_in_memory_twice():
    """With 5,000 sessions the text was there three times, and what it says besides."""
    text = json.dumps([{**SESSION, "id": f"ses_{n}", "title": "x" * 1000} for n in range(5_000)]).encode()
    body = mmap.mmap(-1, len(text))
    body[:] = text
    known = Survey(text)
    text += b" "
    tracemalloc.start()
    try:
        Survey(body, known)
        same = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        assert Survey(text, known).changed == []
        again = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert same < 100_000 and again < len(text) / 2


def test_the_twin_is_told_apart_from_the_real_one_by_nothing_that_the_services_use():
    port = {
        name for name in dir(__import__("plue_session.ports", fromlist=["Server"]).Server) if not name.startswith("_")
    }
    assert port <= set(dir(FakeServer))
