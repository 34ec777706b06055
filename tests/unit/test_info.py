"""The info JSON: what is in it, in which order, and that every text survives it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plue_session.model import Session
from plue_session.rules import info

SMALL = dict(id="session_5", number=5, created=5, updated=6, version="0.1.0")
FULL = dict(
    SMALL,
    parent_id="ses_a",
    title="T",
    archived=7,
    ended=8,
    share_url="https://x/share/a",
    share_expires=9,
    key="k",
    description="",
    tags=["a", "b"],
    metadata='{"n":1}',
    status="failed",
    aborted=True,
    directory="/d",
    provider_id="p",
    model_id="m",
    role="r",
    relay_state="ACTIVE",
    relay_messages=3,
    relay_active=4,
    residency="parked",
    message_count=11,
    artifact_count=12,
)


def rendered(**fields):
    return json.loads(info.render(Session(**fields)))


@pytest.mark.requirement("P-040", "P-047")
def test_a_plain_session_shows_no_optional_key():
    assert rendered(**SMALL) == {
        "id": "session_5",
        "title": "Untitled",
        "time": {"created": 5, "updated": 6},
        "version": "0.1.0",
        "tags": [],
        "metadata": {},
        "status": "active",
        "aborted": False,
        "backend": "embedded",
        "messageCount": 0,
        "artifactCount": 0,
        "sync": {"state": "local", "pending": 0},
    }


@pytest.mark.requirement("P-040")
def test_a_full_session_shows_every_key_in_the_order_of_the_contract():
    shown = rendered(**FULL)
    assert list(shown) == [
        "id",
        "title",
        "parentId",
        "time",
        "share",
        "version",
        "key",
        "description",
        "tags",
        "metadata",
        "status",
        "aborted",
        "backend",
        "directory",
        "provider",
        "role",
        "relay",
        "residency",
        "messageCount",
        "artifactCount",
        "sync",
    ]
    assert shown["time"] == {"created": 5, "updated": 6, "archived": 7, "ended": 8}
    assert shown["share"] == {"url": "https://x/share/a", "expiresAt": 9}
    assert shown["provider"] == {"providerId": "p", "modelId": "m"}
    assert shown["relay"] == {"state": "ACTIVE", "messageCount": 3, "lastActive": 4}
    lost = rendered(**{**FULL, "relay_lost": True, "relay_worktree": "/w"})["relay"]
    assert lost == {"state": "ACTIVE", "worktree": "/w", "messageCount": 3, "lastActive": 4, "isLost": True}
    assert shown["description"] == "" and shown["aborted"] is True and shown["metadata"] == {"n": 1}


def test_a_share_without_end_has_no_expiry():
    assert rendered(**SMALL, share_url="https://x/share/a")["share"] == {"url": "https://x/share/a"}


@pytest.mark.requirement("P-045")
@given(st.text())
def test_every_title_round_trips(title):
    assert rendered(**SMALL, title=title)["title"] == title


@given(
    st.fixed_dictionaries(
        {
            name: st.text(min_size=1)
            for name in ("key", "description", "directory", "provider_id", "model_id", "role", "version", "share_url")
        }
    ),
    st.lists(st.text(min_size=1), unique=True),
)
def test_every_free_text_round_trips(texts, tags):
    shown = rendered(**{**SMALL, **texts, "tags": tags})
    flat = {
        **shown,
        "share_url": shown["share"]["url"],
        "provider_id": shown["provider"]["providerId"],
        "model_id": shown["provider"]["modelId"],
    }
    assert {name: flat[name] for name in texts} == texts and shown["tags"] == tags


def test_the_text_has_neither_blanks_between_tokens_nor_a_line_end():
    text = info.render(Session(**FULL))
    assert text == json.dumps(json.loads(text), separators=(",", ":"))
