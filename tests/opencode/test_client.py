"""Every call against the real server."""

import itertools
import os
import uuid

import pytest

from plue_session import errors
from plue_session.adapters.opencode.client import Client
from tests.opencode.fixtures import soon

_numbers = itertools.count(1)


def token():
    return uuid.uuid4().hex


@pytest.fixture
def session(client):
    return client.create(token(), soon(), title=f"Session {next(_numbers)}")


def test_create_answers_with_what_the_server_made(client, repository):
    mark = token()
    session = client.create(mark, soon(), title='Über ‮ 😀 "\\\n')
    assert session.id.startswith("ses_") and session.title == 'Über ‮ 😀 "\\\n' and session.directory == repository
    assert session.version == "1.18.33" and 0 < session.created <= session.updated
    assert (session.archived, session.share_url, session.parent_id) == (None, None, None)
    assert session.token == mark and session.metadata == {}
    assert client.get(session.id, soon()) == session


@pytest.mark.requirement("O-028")
def test_without_a_title_the_servers_own_is_shown(client):
    assert client.create(token(), soon()).title.startswith("New session - 20")


@pytest.mark.requirement("O-017")
def test_a_child_knows_its_parent(client, session):
    child = client.create(token(), soon(), parent_id=session.id)
    assert child.parent_id == session.id and child.title.startswith("Child session - ")
    assert [each.id for each in client.children(session.id, soon()).changed] == [child.id]


@pytest.mark.requirement("O-018")
def test_an_unknown_parent_is_not_found_and_nothing_is_made(client):
    before = {each.id for each in client.list(soon())}
    with pytest.raises(errors.NotFound, match="parent session ses_nobody does not exist"):
        client.create(token(), soon(), parent_id="ses_nobody")
    with pytest.raises(errors.InvalidParam):
        client.create(token(), soon(), parent_id="")
    assert {each.id for each in client.list(soon())} == before


def test_a_session_is_found_by_its_token(client):
    mark = token()
    assert client.find_created(mark, soon()) is None
    session = client.create(mark, soon())
    assert client.find_created(mark, soon()) == session


@pytest.mark.requirement("O-011")
def test_the_directory_is_checked_and_made_canonical_here(client, tmp_path, server):
    (tmp_path / "link").symlink_to(tmp_path)
    assert client.create(token(), soon(), directory=str(tmp_path / "link") + "/.").directory == os.path.realpath(
        tmp_path
    )
    for bad in ("relative", str(tmp_path / "missing")):
        with pytest.raises(errors.InvalidParam):
            client.create(token(), soon(), directory=bad)
        with pytest.raises(errors.InvalidParam):
            Client(server.url, bad)


@pytest.mark.requirement("O-023")
def test_a_list_covers_one_directory_and_reading_by_id_all_of_them(client, tmp_path, session):
    elsewhere = client.create(token(), soon(), directory=str(tmp_path))
    ids = {each.id for each in client.list(soon())}
    assert session.id in ids and elsewhere.id not in ids
    assert elsewhere.id in {each.id for each in client.list(soon(), directory=elsewhere.directory)}
    assert client.get(elsewhere.id, soon()) == elsewhere


@pytest.mark.requirement("O-021")
def test_a_list_has_more_than_the_servers_hundred_and_all_kinds(client, session):
    for _ in range(105):
        client.create(token(), soon())
    child = client.create(token(), soon(), parent_id=session.id)
    archived = client.update(client.create(token(), soon()).id, soon(), archived=1)
    ids = {each.id for each in client.list(soon())}
    assert len(ids) > 105 and {session.id, child.id, archived.id} <= ids
    roots = {each.id for each in client.list(soon(), roots=True)}
    assert session.id in roots and child.id not in roots


@pytest.mark.requirement("P-121")
def test_an_update_changes_what_is_given_and_not_the_time(client, session):
    renamed = client.update(session.id, soon(), title="Other")
    assert (renamed.title, renamed.updated, renamed.token) == ("Other", session.updated, session.token)
    archived = client.update(session.id, soon(), archived=1234567890123)
    assert (archived.title, archived.archived) == ("Other", 1234567890123)
    assert client.update(session.id, soon(), title="").title == ""


@pytest.mark.requirement("O-019")
def test_taking_an_archive_back_sends_zero_and_reads_as_none(client, session):
    client.update(session.id, soon(), archived=5)
    assert client.update(session.id, soon(), archived=None).archived is None
    assert client.get(session.id, soon()).archived is None


def test_an_update_of_nothing_is_a_read(client, session):
    assert client.update(session.id, soon()) == session


@pytest.mark.requirement("O-026")
@pytest.mark.parametrize(
    "title", ["nul \0 inside", "line\nline", "x" * 1_000_000, "́combining"], ids=["nul", "newline", "huge", "combining"]
)
def test_titles_come_back_as_they_went(client, session, title):
    assert client.update(session.id, soon(), title=title).title == title
    assert client.get(session.id, soon()).title == title


@pytest.mark.requirement("O-015")
def test_an_odd_id_never_reaches_the_server(client):
    for bad in ("", "ses_", "SES_1", "ses_../x", "ses_%00", "ses_" + "a" * 100, "x", "ses_é"):
        with pytest.raises(errors.InvalidParam):
            client.get(bad, soon())
    with pytest.raises(errors.NotFound):
        client.get("session_1", soon())


def test_an_unknown_session_is_not_found_by_every_call(client, turns):
    calls = [
        lambda: client.get("ses_nobody", soon()),
        lambda: client.update("ses_nobody", soon(), title="x"),
        lambda: client.delete("ses_nobody", soon()),
        lambda: client.fork("ses_nobody", soon()),
        lambda: client.messages("ses_nobody", soon()),
        lambda: turns.abort("ses_nobody", soon()),
        lambda: client.prompt("ses_nobody", "msg_1", [{"type": "text", "text": "x"}], ("fake", "fake-model"), soon()),
        lambda: turns.delete("ses_nobody", soon()),
        lambda: client.unshare("ses_nobody", soon()),
    ]
    for call in calls:
        with pytest.raises(errors.NotFound) as caught:
            call()
        assert caught.value.details["status"] == 404 and "ses_nobody" in caught.value.details["server"]


def test_a_refusal_carries_the_servers_status_and_text(client):
    with pytest.raises(errors.NotFound) as caught:
        client.get("ses_nobody", soon())
    error = caught.value
    assert error.details == {"status": 404, "error": "NotFoundError", "server": "Session not found: ses_nobody"}
    assert "404 to GET /session/ses_nobody: Session not found: ses_nobody" in error.message("plue_session_open")


@pytest.mark.requirement("O-031")
def test_a_delete_takes_the_descendants_along(client, turns, session):
    child = client.create(token(), soon(), parent_id=session.id)
    grandchild = client.create(token(), soon(), parent_id=child.id)
    turns.delete(session.id, soon())
    for each in (session, child, grandchild):
        with pytest.raises(errors.NotFound):
            client.get(each.id, soon())
    with pytest.raises(errors.NotFound):
        turns.delete(session.id, soon())


def test_a_fork_is_a_root_and_of_an_existing_message_only(client, session):
    fork = client.fork(session.id, soon())
    assert fork.id != session.id and fork.parent_id is None and fork.title == f"{session.title} (fork #1)"
    with pytest.raises(errors.NotFound, match="msg_1"):
        client.fork(session.id, soon(), message_id="msg_1")
    for bad in ("", "x", "msg_/../x"):
        with pytest.raises(errors.InvalidParam):
            client.fork(session.id, soon(), message_id=bad)


def test_a_server_that_does_not_share_says_so_and_unsharing_is_harmless(client, session):
    with pytest.raises(errors.Unsupported, match="does not share") as caught:
        client.share(session.id, soon())
    assert caught.value.details["status"] == 500 and caught.value.details["ref"].startswith("err_")
    assert client.unshare(session.id, soon()).share_url is None


def test_a_provider_is_checked_with_what_is_configured(client):
    client.check_provider("fake", "fake-model", soon())
    with pytest.raises(errors.ProviderInit, match="no provider nobody"):
        client.check_provider("nobody", "fake-model", soon())
    with pytest.raises(errors.ProviderInit, match="no model other"):
        client.check_provider("fake", "other", soon())


@pytest.mark.requirement("O-057")
def test_an_idle_session_has_no_status_and_no_messages(client, session):
    assert session.id not in client.status(soon())
    assert client.messages(session.id, soon()) == ([], None)


@pytest.mark.requirement("O-009")
def test_refused_credentials_name_username_and_password(server, repository):
    for credentials in ((None, None), ("opencode", "wrong"), ("wrong", server.password)):
        stranger = Client(server.url, repository, *credentials)
        with pytest.raises(errors.AccessDenied, match="username and password"):
            stranger.list(soon())
        stranger.close()


def test_a_deadline_that_has_passed_is_a_timeout(client):
    with pytest.raises(errors.Timeout):
        client.list(soon(0))
