"""The Server port: the real one and the fake one that the services' tests use do the same."""

import queue
import time
import uuid
from types import SimpleNamespace

import pytest

from plue_session import errors
from plue_session.adapters.opencode.server import Server
from plue_session.config import Settings
from tests.fake_server import FakeServer
from tests.opencode.fixtures import soon


@pytest.fixture(scope="module")
def told():
    return queue.Queue()


@pytest.fixture(scope="module")
def real(server, repository, told):
    values = {
        "url": server.url(soon()),
        "directory": repository,
        "username": server.username,
        "password": server.password,
        "spawn": None,
    }
    connected = queue.Queue()
    made = Server(Settings(values), {})
    made.open(soon())
    made.follow(
        SimpleNamespace(
            snapshot=lambda: None,
            apply_all=lambda changes: [told.put(each) for each in changes],
            knows=lambda session_id: False,
            on_state=connected.put,
        )
    )
    assert connected.get(timeout=20) is None
    yield made
    made.close()


@pytest.fixture(params=["real", "fake"])
def either(request, real, told):
    if request.param == "real":
        return real
    fake = FakeServer()
    fake.tell = told.put
    return fake


def create(server, **fields):
    return server.create(uuid.uuid4().hex, soon(), **fields)


def heard(told, session_id, kind, count=1):
    """Return the values of the next `count` changes of this kind of the session."""
    values = []
    until = time.monotonic() + 10
    while len(values) < count:
        change = told.get(timeout=until - time.monotonic())
        if (change.session_id, change.kind) == (session_id, kind):
            values.append(change.value)
    return values


def test_a_create_is_answered_and_told_with_what_it_was_given(either, told):
    session = create(either, title="T", metadata={"a": [1]})
    assert (session.title, session.metadata, session.parent_id, session.archived, session.share_url) == (
        "T",
        {"a": [1]},
        None,
        None,
        None,
    )
    assert session.token and session.created <= session.updated and session.directory == either.directory
    assert heard(told, session.id, "created") == [session] == [either.get(session.id, soon())]
    assert either.is_automatic(create(either).title) and not either.is_automatic("T")
    assert abs(either.ahead()) < 5000  # it runs on this machine, which may be busy: an answer is late then
    assert create(either, parent_id=session.id).parent_id == session.id


def test_an_unknown_session_is_not_found_by_any_call(either):
    for call in (either.get, either.update, either.delete, either.fork, either.unshare, either.messages):
        with pytest.raises(errors.NotFound) as caught:
            call("ses_unknown", soon(), **({"title": "x"} if call == either.update else {}))
        assert caught.value.details["status"] == 404 and caught.value.session == "ses_unknown"
    with pytest.raises(errors.NotFound):
        create(either, parent_id="ses_unknown")


def test_a_change_of_several_fields_is_told_on_its_way_and_then_as_it_was_answered(either, told):
    session = create(either, title="T")
    answer = either.update(session.id, soon(), title="U", metadata={"b": 2}, archived=5, token=session.token)
    assert (answer.title, answer.metadata, answer.archived, answer.token) == ("U", {"b": 2}, 5, session.token)
    assert heard(told, session.id, "session", 3)[-1] == answer
    assert either.update(session.id, soon(), archived=None).archived is None
    renamed = either.update(session.id, soon(), title="V")
    assert renamed.updated == answer.updated  # a rename makes no session younger


@pytest.mark.requirement("O-078")
def test_what_is_told_of_a_session_is_numbered_from_0_and_repeated_in_its_history(either, told):
    if isinstance(either, FakeServer):
        either.numbered = True
    session = create(either, title="T")
    other = create(either, title="O")
    for title in ("U", "V"):
        either.update(session.id, soon(), title=title)
    assert [each.title for each in heard(told, session.id, "session", 2)] == ["U", "V"] and either.numbered
    found = either.history({session.id: 0, other.id: -1}, soon())
    assert [(each.kind, each.seq, each.value.title) for each in found[session.id]] == [
        ("session", 1, "U"),
        ("session", 2, "V"),
    ]
    assert [(each.kind, each.seq) for each in found[other.id]] == [("created", 0)]


def test_a_survey_lists_one_directory_and_tells_what_has_changed(either, told):
    session = create(either)
    first = either.survey(None, soon())
    assert session.id in first.ids and session in first.changed
    either.update(session.id, soon(), title="U")
    second = either.survey(first, soon())
    assert [each.title for each in second.changed] == ["U"]
    assert either.survey(second, soon()).changed == []
    second.forget([session.id])
    assert [each.id for each in either.survey(second, soon()).changed] == [session.id]


def test_a_fork_is_a_root_with_its_sources_metadata_and_token(either):
    session = create(either, title="T", metadata={"a": 1})
    fork = either.fork(session.id, soon())
    assert (fork.title, fork.metadata, fork.token, fork.parent_id) == ("T (fork #1)", {"a": 1}, session.token, None)


def test_a_delete_takes_the_children_along_and_tells_of_them_first(either, told):
    parent = create(either)
    child = create(either, parent_id=parent.id)
    either.delete(parent.id, soon())
    gone = []
    while len(gone) < 2:
        change = told.get(timeout=5)
        gone += [change.session_id] if change.kind == "deleted" else []
    assert gone == [child.id, parent.id]


def test_what_is_not_running_is_not_ended(either):
    session = create(either)
    assert either.status(soon()).get(session.id) is None and either.abort(session.id, soon()) is False
    assert either.abort(session.id, soon(), turn_id="msg_1") is False
    assert either.messages(session.id, soon()) == ([], None)
    with pytest.raises(errors.ProviderInit):
        either.check_provider("nobody", "nothing", soon())
    either.check_provider("fake", "fake-model", soon())
    with pytest.raises(errors.Unsupported):
        either.share(session.id, soon())
