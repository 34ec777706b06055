"""Links to sessions: the server's own when it gives one, else ours."""

import json
import time

import pytest

from tests.opencode.fixtures import soon
from tests.opencode.stub import reply
from tests.remote.proxy import Sharing, answering, hang_up, stall

SECRET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"


def shared(session):
    return json.loads(session.create_share())


# -- ours --------------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-099", "P-091", "P-092", "P-093", "P-094", "P-095", "P-098", "P-101", "P-102", "O-055")
def test_a_server_that_does_not_share_leaves_it_to_us(quiet, client, proxy, title):
    session = quiet.create_with(title=title)
    mark, asked, now = quiet.mark(), proxy.mark(), int(time.time() * 1000)
    share = shared(session)
    assert (
        share["url"].startswith("http://localhost:4780/share/") and share["link"] == f"{share['url']}#{share['secret']}"
    )
    assert (
        len(share["secret"]) == 43
        and set(share["secret"]) <= set(SECRET)
        and abs(share["expiresAt"] - now - 86_400_000) < 60_000
    )
    assert session.info()["share"] == {"url": share["url"], "expiresAt": share["expiresAt"]}
    assert shared(session) == share
    assert proxy.since(asked) == [f"POST /session/{session.id}/share"]
    assert quiet.call("session_validate_share", session.id, share["secret"]) == 0
    assert session.unshare() == 0 == session.unshare() and "share" not in session.info()
    for session_id, secret in ((session.id, share["secret"]), ("ses_0000000000nobody", share["secret"])):
        assert quiet.fails("session_validate_share", session_id, secret).code == "ACCESS_DENIED"
    quiet.fence(client)
    assert quiet.since(mark) == [
        ("session.shared", {"id": session.id, "url": share["url"]}),
        ("session.unshared", {"id": session.id}),
    ]


@pytest.mark.requirement("P-097", "P-024")
def test_the_secret_of_a_link_is_in_its_answer_and_nowhere_else(connected, client, tmp_path, title):
    host = connected(folder=tmp_path, cacheTtlMs=0, log={"level": "debug", "file": str(tmp_path / "log")})
    mark, session, asked = host.mark(), host.create_with(title=title), host.proxy.mark()
    share = shared(session)
    session.update_title(f"{title} 2")
    host.fence(client)
    secret = share["secret"]
    texts = [
        session.get_info(),
        host.call("session_list"),
        str(host.since(mark)),
        str(host.said(mark, "log")),
        session.fails("initialize", "", "").message,
    ]
    texts += [f"{request} {request.target} {request.headers} {request.body}" for request in host.proxy.requests[asked:]]
    assert not [text for text in texts if secret in text]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 3 and not [path for path in files if secret.encode() in path.read_bytes()]


@pytest.mark.requirement("P-099", "P-161", "O-055")
@pytest.mark.parametrize(
    "answer",
    [
        reply(500, {"name": "UnknownError", "data": {"message": "sharing is disabled"}}),
        reply(500, {"_tag": "InternalServerError"}),
        reply(200, b"<html>", "text/html"),
        hang_up,
        stall,
    ],
    ids=["disabled", "offline", "web page", "hung up", "stalled"],
)
def test_whatever_keeps_the_server_from_sharing_there_is_a_link(hurried, proxy, title, answer):
    session = hurried.create_with(title=title)
    proxy.rules.append(answering("POST", ".*/share", answer))
    share = shared(session)
    assert share["secret"] and hurried.call("session_validate_share", session.id, share["secret"]) == 0


@pytest.mark.requirement("P-093", "P-098")
def test_a_link_of_ours_that_expires_is_replaced_and_one_that_does_not_has_no_end(connected, title):
    brief = connected(cacheTtlMs=600_000, share={"ttlMs": 300, "baseUrl": "https://me.example/s"})
    session = brief.create_with(title=title)
    first = shared(session)
    time.sleep(max(first["expiresAt"] / 1000 + 0.05 - time.time(), 0))
    assert brief.fails("session_validate_share", session.id, first["secret"]).code == "ACCESS_DENIED"
    second = shared(session)
    assert (
        second["url"] != first["url"]
        and second["url"].startswith("https://me.example/s/share/")
        and second["secret"] != first["secret"]
    )
    endless = connected(cacheTtlMs=600_000, share={"ttlMs": None})
    session = endless.create_with(title=title)
    assert "expiresAt" not in shared(session) and "expiresAt" not in session.info()["share"]


# -- the server's ------------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-099", "P-091", "P-098", "P-102", "P-050")
@pytest.mark.parametrize("tells", [("after",), ("before", "after"), ()], ids=["told of", "told of late", "not told of"])
def test_the_servers_link_is_used_and_has_no_secret(older, client, proxy, title, tells):
    proxy.rules.append(sharing := Sharing(tells))
    session, mark = older.create_with(title=title), older.mark()
    older.fence(client)
    share = shared(session)
    url = sharing.links[session.id]
    assert share == {"url": url, "link": url} == shared(session) and session.info()["share"] == {"url": url}
    assert older.fails("session_validate_share", session.id, "x").code == "ACCESS_DENIED"
    older.fence(client)
    older.call("session_sync", 10_000)
    assert session.info()["share"] == {"url": url}
    assert session.unshare() == 0 and sharing.links == {} and "share" not in session.info()
    older.fence(client)
    older.call("session_sync", 10_000)
    assert "share" not in session.info()
    assert older.since(mark, session.id) == [
        ("session.shared", {"id": session.id, "url": url}),
        ("session.unshared", {"id": session.id}),
    ]


@pytest.mark.requirement("P-050", "P-102")
def test_the_share_follows_the_server_at_every_refresh(eager, client, proxy, title):
    proxy.rules.append(sharing := Sharing())
    session, mark = eager.create_with(title=title), eager.mark()
    eager.fence(client)
    sharing.links[session.id] = "https://share.example/theirs"
    assert session.info()["share"] == {"url": "https://share.example/theirs"}
    sharing.links[session.id] = "https://share.example/another"
    assert session.info()["share"] == {"url": "https://share.example/another"}
    sharing.links.clear()
    assert "share" not in session.info()
    assert eager.since(mark, session.id) == [
        ("session.shared", {"id": session.id, "url": "https://share.example/theirs"}),
        ("session.shared", {"id": session.id, "url": "https://share.example/another"}),
        ("session.unshared", {"id": session.id}),
    ]


@pytest.mark.requirement("P-100", "P-101")
def test_a_share_that_the_server_cannot_be_told_to_end_ends_here_and_there_later(quiet, client, proxy, title):
    sharing = Sharing()
    proxy.rules += [
        answering("DELETE", ".*/share", reply(500, {"name": "UnknownError", "data": {"message": "not now"}}), times=1),
        sharing,
    ]
    session = quiet.create_with(title=title)
    quiet.fence(client)
    shared(session)
    mark, asked = quiet.mark(), proxy.mark()
    assert session.unshare() == 0 and "share" not in session.info()
    assert sharing.links or len([each for each in proxy.since(asked) if each.startswith("DELETE")]) > 1
    for _ in range(100):
        quiet.call("session_sync", 10_000)
        assert "share" not in session.info()
        if not sharing.links:
            break
    assert not sharing.links
    assert [
        data
        for data in quiet.said(mark, "log")
        if session.id in data["message"] and "not now" in data["message"] and data["level"] == "warning"
    ]
    assert quiet.since(mark, session.id) == [("session.unshared", {"id": session.id})]
    again = shared(session)
    assert again["url"] == sharing.links[session.id] and session.info()["share"] == {"url": again["url"]}


# -- all by themselves -------------------------------------------------------------------------------------------------
@pytest.mark.requirement("P-051", "P-099", "P-102", "P-132")
@pytest.mark.parametrize("server_shares", [False, True])
def test_share_auto_shares_what_is_made_here_and_has_no_parent(connected, client, title, server_shares):
    host = connected(cacheTtlMs=600_000, share={"auto": True})
    host.await_stream()
    sharing = Sharing()
    host.proxy.rules += [sharing] if server_shares else []
    mark = host.mark()
    root = host.create_with(title=title)
    child = host.create(root.id)
    theirs = client.create(f"token {title}", soon(), title=title)
    host.wait_for("session.created", theirs.id, mark)
    host.fence(client)
    url = root.info()["share"]["url"]
    assert url == sharing.links[root.id] if server_shares else url.startswith("http://localhost:4780/share/")
    assert (
        "share" not in child.info()
        and "share" not in host.open(theirs.id).info()
        and len(sharing.links) == server_shares
    )
    assert host.since(mark) == [
        ("session.created", {"id": root.id}),
        ("session.shared", {"id": root.id, "url": url}),
        ("session.created", {"id": child.id, "parentId": root.id}),
        ("session.created", {"id": theirs.id}),
    ]
    assert shared(root)["url"] == url
