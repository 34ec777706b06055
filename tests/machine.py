"""A model of the library and what may be done with it, for Hypothesis: the same results, the same state, the same
events.

The library runs in processes of its own (tests/peers.py). With two of them on one store, each step is made by either,
and both must know the same.
"""

import json
import shutil
import tempfile
import time
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import note
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests import support
from tests.peers import Peer

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
keys = st.sampled_from(["alpha", "beta", "gamma delta", "ünï", "session", "k" * 200])
bad_names = st.sampled_from(["", "../x", "a/b", "a\\b", "session_", "session_x", "ses_a/b", "k" * 201, "a\nb", "."])
tags = st.lists(st.sampled_from(["a", "b", "c", "ü"]), max_size=4)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
metadata = st.dictionaries(texts, values, max_size=3)
patches = st.fixed_dictionaries(
    {},
    optional={
        "title": texts,
        "description": st.none() | texts,
        "tags": tags,
        "addTags": tags,
        "removeTags": tags,
        "metadata": metadata,
        "archived": st.booleans(),
    },
)
picks = st.integers(0, 10**6)


def unique(items):
    return list(dict.fromkeys(items))


class Model(RuleBasedStateMachine):
    """The library as its header tells it, and the library. `count` processes share the store."""

    count = 1

    @initialize()
    def begin(self):
        self.folder = Path(tempfile.mkdtemp(prefix="plue-model-"))
        self.peers = [Peer(support.library(), self.folder) for _ in range(self.count)]
        self.sessions = {}  # id: what info must show
        self.handles = [[] for _ in self.peers]  # [handle, id, alive] per process
        self.gone = set()
        self.events = []  # (type, session id, title or None) since the process's last poll; one process only
        self.secrets = {}
        self.told_from = 1  # library.initialized

    def teardown(self):
        for peer in getattr(self, "peers", []):
            peer.kill()
        shutil.rmtree(getattr(self, "folder", "/nonexistent"), ignore_errors=True)

    # -- helpers -------------------------------------------------------------------------------------------------------
    def pick(self, pick):
        """A process and one of its handles, dead ones included."""
        which = pick % self.count
        handles = self.handles[which]
        return (self.peers[which], handles[pick // self.count % len(handles)]) if handles else (self.peers[which], None)

    def tell(self, kind, session_id, title=None):
        self.events.append((kind, session_id, title))

    def refused(self, handle, answer):
        """Whether the call has to fail for its handle's sake; then it must have failed so."""
        value, session_id, alive = handle
        code = "BAD_HANDLE" if not alive else "NOT_FOUND" if session_id not in self.sessions else None
        if code:
            error = answer.failure()
            if self.count > 1 and code == "BAD_HANDLE" or self.count == 1:
                assert error.code == code, error
            else:
                assert error.code == "NOT_FOUND", error
        return code

    def made(self, which, value, session_id, info):
        self.handles[which].append([value, session_id, True])
        self.sessions[session_id] = info

    def added(self, which, value, title="Untitled", parent=None, **more):
        session_id = self.peers[which].session_get_id(value)
        assert session_id not in self.sessions and session_id not in self.gone
        self.made(
            which,
            value,
            session_id,
            {"title": title, "tags": [], "metadata": {}, "parentId": parent, "aborted": False, **more},
        )
        self.tell("session.created", session_id)

    # -- making and finding --------------------------------------------------------------------------------------------
    @rule(pick=picks, child=st.booleans())
    def create(self, pick, child):
        which = pick % self.count
        known = sorted(self.sessions)
        parent = known[pick % len(known)] if child and known else None
        self.added(which, self.peers[which].session_create(parent), parent=parent)

    @rule(pick=picks, title=texts, description=texts, tags=tags, metadata=metadata, key=st.none() | keys)
    def create_with(self, pick, title, description, tags, metadata, key):
        which = pick % self.count
        options = {
            "title": title,
            "description": description,
            "tags": tags,
            "metadata": metadata,
            **({"key": key} if key else {}),
        }
        answer = self.peers[which].start("session_create_with", json.dumps(options), wait=False)
        holder = next(
            (session_id for session_id, info in self.sessions.items() if key and info.get("key") == key), None
        )
        if holder:
            error = answer.failure()
            assert error.code == "ALREADY_EXISTS" and holder in error.message
        else:
            more = {"key": key} if key else {}
            self.added(
                which, answer.result(), title, description=description, tags=unique(tags), metadata=metadata, **more
            )
            self.sessions[self.handles[which][-1][1]]["tags"] = unique(tags)
            self.sessions[self.handles[which][-1][1]]["metadata"] = metadata

    @rule(pick=picks, key=keys)
    def get_or_create(self, pick, key):
        which = pick % self.count
        value = self.peers[which].session_get_or_create(key)
        holder = next((session_id for session_id, info in self.sessions.items() if info.get("key") == key), None)
        if holder:
            assert self.peers[which].session_get_id(value) == holder
            self.handles[which].append([value, holder, True])
        else:
            self.added(which, value, key=key)

    @rule(pick=picks, by_key=st.booleans())
    def open(self, pick, by_key):
        which = pick % self.count
        names = sorted(self.gone) + [
            info["key"] if by_key and "key" in info else session_id
            for session_id, info in sorted(self.sessions.items())
        ]
        if not names:
            return
        name = names[pick % len(names)]
        answer = self.peers[which].start("session_open", name, wait=False)
        if name in self.gone:
            assert answer.failure().code == "NOT_FOUND"
        else:
            session_id = next(
                session_id for session_id, info in self.sessions.items() if name in (session_id, info.get("key"))
            )
            self.handles[which].append([answer.result(), session_id, True])
            assert self.peers[which].session_get_id(self.handles[which][-1][0]) == session_id

    @rule(pick=picks, name=bad_names)
    def bad_name(self, pick, name):
        peer = self.peers[pick % self.count]
        for call in ("session_open", "session_get_or_create", *(("session_create",) if name else ())):
            assert peer.start(call, name, wait=False).failure().code == "INVALID_PARAM"

    # -- changing ------------------------------------------------------------------------------------------------------
    @rule(pick=picks, title=texts)
    def update_title(self, pick, title):
        peer, handle = self.pick(pick)
        if handle:
            answer = peer.start("session_update_title", handle[0], title, wait=False)
            if not self.refused(handle, answer):
                answer.result()
                self.sessions[handle[1]]["title"] = title
                self.tell("session.updated", handle[1], title)

    @rule(pick=picks, patch=patches, base=st.sampled_from([None, "right", "wrong"]))
    def update(self, pick, patch, base):
        peer, handle = self.pick(pick)
        if not handle:
            return
        info = self.sessions.get(handle[1], {})
        sent = dict(patch)
        if base:
            sent["base"] = {
                "title": info.get("title", "") if base == "right" else info.get("title", "") + "!",
                "description": info.get("description"),
            }
        answer = peer.start("session_update", handle[0], json.dumps(sent), wait=False)
        if self.refused(handle, answer):
            return
        if base == "wrong":
            assert answer.failure().code == "CONFLICT"
            return
        answer.result()
        if "title" in patch:
            info["title"] = patch["title"]
        if "description" in patch:
            info["description"] = patch["description"]
        if "tags" in patch:
            info["tags"] = unique(patch["tags"])
        if "addTags" in patch:
            info["tags"] = unique(info["tags"] + patch["addTags"])
        if "removeTags" in patch:
            info["tags"] = [tag for tag in info["tags"] if tag not in patch["removeTags"]]
        if "metadata" in patch:
            info["metadata"] = patch["metadata"]
        if "archived" in patch:
            info["archived"] = patch["archived"]
        if patch:
            self.tell("session.updated", handle[1], patch.get("title"))

    @rule(pick=picks, model=st.sampled_from(["one", "two", ""]))
    def initialize_session(self, pick, model):
        peer, handle = self.pick(pick)
        if not handle:
            return
        answer = peer.start("session_initialize", handle[0], "provider", model, wait=False)
        if self.refused(handle, answer):
            return
        call_context = self.sessions[handle[1]].get("provider")
        if not model:
            assert answer.failure().code == "INVALID_PARAM"
        elif call_context not in (None, model):
            assert answer.failure().code == "CONFLICT"
        else:
            answer.result()
            if call_context is None:
                self.sessions[handle[1]]["provider"] = model
                self.tell("session.updated", handle[1])

    @rule(pick=picks)
    def abort(self, pick):
        peer, handle = self.pick(pick)
        if handle:
            answer = peer.start("session_abort", handle[0], wait=False)
            if not self.refused(handle, answer):
                answer.result()
                if not self.sessions[handle[1]]["aborted"]:
                    self.sessions[handle[1]]["aborted"] = True
                    self.tell("session.updated", handle[1])

    @rule(pick=picks)
    def share(self, pick):
        peer, handle = self.pick(pick)
        if not handle:
            return
        answer = peer.start("session_create_share", handle[0], wait=False)
        if self.refused(handle, answer):
            return
        share = json.loads(answer.result())
        info = self.sessions[handle[1]]
        if "share" in info:
            assert share == self.secrets[handle[1]]
        else:
            assert all(share["secret"] != other["secret"] for other in self.secrets.values())
            self.secrets[handle[1]], info["share"] = share, share["url"]
            self.tell("session.shared", handle[1])

    @rule(pick=picks)
    def unshare(self, pick):
        peer, handle = self.pick(pick)
        if handle:
            answer = peer.start("session_unshare", handle[0], wait=False)
            if not self.refused(handle, answer):
                answer.result()
                if self.sessions[handle[1]].pop("share", None):
                    self.tell("session.unshared", handle[1])

    @precondition(lambda self: self.secrets)
    @rule(pick=picks, other=picks)
    def validate(self, pick, other):
        ids = sorted(self.secrets)
        session_id, of = ids[pick % len(ids)], ids[other % len(ids)]
        answer = self.peers[pick % self.count].start(
            "session_validate_share", session_id, self.secrets[of]["secret"], wait=False
        )
        if session_id == of and "share" in self.sessions.get(session_id, {}):
            answer.result()
        else:
            assert answer.failure().code == "ACCESS_DENIED"

    @rule(pick=picks)
    def delete(self, pick):
        peer, handle = self.pick(pick)
        if not handle:
            return
        answer = peer.start("session_delete", handle[0], wait=False)
        if self.refused(handle, answer):
            return
        answer.result()
        family = [handle[1]]
        for parent in family:
            family += [session_id for session_id, info in self.sessions.items() if info["parentId"] == parent]
        self.tell("deleted", frozenset(family))
        for session_id in family:
            del self.sessions[session_id]
        self.gone.update(family)

    @rule(pick=picks)
    def destroy(self, pick):
        peer, handle = self.pick(pick)
        if handle:
            peer.session_destroy(handle[0])
            handle[2] = False

    # -- reading -------------------------------------------------------------------------------------------------------
    def same(self, info, session_id):
        model = self.sessions[session_id]
        shown = {
            "title": info["title"],
            "tags": info["tags"],
            "metadata": info["metadata"],
            "parentId": info.get("parentId"),
            "aborted": info["aborted"],
        }
        wanted = {name: model[name] for name in shown}
        assert (
            info["id"] == session_id
            and info.get("key") == model.get("key")
            and info.get("description") == model.get("description")
        )
        assert shown == wanted
        assert ("archived" in info["time"]) == bool(model.get("archived"))
        assert info.get("share", {}).get("url") == model.get("share")
        assert (model.get("provider") or "") in json.dumps(info.get("provider", ""))
        assert info["time"]["created"] <= info["time"]["updated"]

    @rule(pick=picks)
    def show(self, pick):
        peer, handle = self.pick(pick)
        if not handle:
            return
        until = time.monotonic() + 2
        while True:
            answer = peer.start("session_get_info", handle[0], wait=False)
            try:
                if not self.refused(handle, answer):
                    self.same(json.loads(answer.result()), handle[1])
                return
            except AssertionError:
                # What another process did may take a moment; what this one did may not.
                if self.count == 1 or time.monotonic() > until:
                    raise
                time.sleep(0.002)

    @rule(pick=picks)
    def list_all(self, pick):
        peer = self.peers[pick % self.count]
        infos = peer.list()
        assert {info["id"] for info in infos} == set(self.sessions)
        for info in infos:
            self.same(info, info["id"])
        times = [info["time"]["created"] for info in infos]
        assert times == sorted(times)
        assert peer.session_count(None) == len(infos)

    @rule(
        pick=picks,
        tag=st.sampled_from(["a", "b", "c"]),
        limit=st.integers(1, 4),
        sort=st.sampled_from(["updated", "created", "title"]),
        order=st.sampled_from(["asc", "desc"]),
        archived=st.none() | st.booleans(),
    )
    def page(self, pick, tag, limit, sort, order, archived):
        peer = self.peers[pick % self.count]
        query = {
            "tags": [tag],
            "sort": sort,
            "order": order,
            "limit": limit,
            **({} if archived is None else {"archived": archived}),
        }
        wanted = {
            session_id
            for session_id, info in self.sessions.items()
            if tag in info["tags"] and (archived is None or bool(info.get("archived")) == archived)
        }
        found, cursor = [], None
        while True:
            page = json.loads(peer.session_query(json.dumps({**query, **({"cursor": cursor} if cursor else {})})))
            found += [info["id"] for info in page["sessions"]]
            cursor = page.get("nextCursor")
            if not cursor:
                break
            assert len(page["sessions"]) == limit
        assert len(found) == len(set(found)) and set(found) == wanted
        assert peer.session_count(json.dumps(query)) == len(wanted)

    @precondition(lambda self: self.count == 1)
    @rule()
    def poll(self):
        peer = self.peers[0]
        if self.told_from:
            assert self.next_event(peer)["type"] == "library.initialized"
            self.told_from = 0
        for kind, session_id, title in self.events:
            if kind == "deleted":
                family = set()
                for _ in session_id:
                    event = self.next_event(peer)
                    assert event["type"] == "session.deleted"
                    family.add(event["sessionId"])
                assert family == session_id
            else:
                event = self.next_event(peer)
                note(event)
                assert (event["type"], event["sessionId"], event["data"]["id"]) == (kind, session_id, session_id)
                assert event["data"].get("title") == title
        self.events.clear()
        assert self.next_event(peer) is None

    @staticmethod
    def next_event(peer):
        event = peer.event_poll()
        return json.loads(event) if event else None

    @rule(pick=picks)
    def restart(self, pick):
        which = pick % self.count
        peer = self.peers[which]
        peer.shutdown()
        assert peer.start("session_list", wait=False).failure().code == "NOT_INITIALIZED"
        peer.init(peer.config)
        for handle in self.handles[which]:
            handle[2] = False
        if self.count == 1:
            self.events.clear()
            self.told_from = 1


class TwoProcesses(Model):
    count = 2
