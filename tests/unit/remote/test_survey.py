"""A list of everything, told apart from the one before."""

import json

import pytest

from plue_session import errors
from plue_session.adapters.opencode.survey import Survey
from tests.server_twin import ServerTwin
from tests.unit.test_opencode_shapes import SESSION


def body(*sessions):
    return json.dumps([{**SESSION, **each} for each in sessions]).encode()


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
    survey = Survey(text)
    assert [each.id for each in survey.changed] == ["ses_one", "ses_two"] and survey.unreadable == ["ses_odd"] and "ses_odd" in survey.ids
    again = Survey(text + b" ", survey)
    assert (again.changed, again.unreadable) == ([], [])


@pytest.mark.parametrize("bad", [b"{}", b"", b"[", b"[1", b"[{}]", b"[1]", b"[]x", b"[{},]", b"null", b"[" * 100_000, body({})[:-1], body({}) + b","])
def test_what_is_no_list_of_sessions_is_the_servers_fault(bad):
    with pytest.raises(errors.Server):
        Survey(bad)


def test_the_twin_is_told_apart_from_the_real_one_by_nothing_that_the_services_use():
    port = {name for name in dir(__import__("plue_session.ports", fromlist=["Server"]).Server) if not name.startswith("_")}
    assert port <= set(dir(ServerTwin))
