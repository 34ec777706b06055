"""What the tests of a store put into it, and how they look at what is there."""

from plue_session.model import LogRow, Session

FIELDS = {
    "key": "k",
    "parent_id": "session_1",
    "title": "Tïtle",
    "description": "About",
    "tags": ["a", "b\nc", "ü"],
    "metadata": '{"a":1}',
    "created": 11,
    "updated": 12,
    "archived": 13,
    "ended": 14,
    "version": "0.1.0",
    "status": "suspended",
    "aborted": True,
    "backend": "embedded",
    "directory": "/x",
    "provider_id": "p",
    "model_id": "m",
    "role": "r",
    "relay_state": "ACTIVE",
    "relay_messages": 3,
    "relay_active": 15,
    "residency": "resident",
    "message_count": 4,
    "artifact_count": 5,
    "share_url": "https://x/share/y",
    "share_expires": 16,
    "rev": 17,
    "remote_updated": 18,
    "token": "t",
    "title_defended_at": 19,
    "unshare_pending": True,
    "abort_mark": "msg_1",
    "is_fork": True,
    "imported": True,
    "aliased": True,
    "outbox": "1 0",
    "beneath": '{"title":"T"}',
    "turn": '{"turnId":"turn_1"}',
    "held_until": 20,
    "info": '{"id":"session_10"}',
}


def session(number, **fields):
    """Return a session with this number and plain values for what the store must have."""
    plain = {
        "id": f"session_{number}",
        "created": number,
        "updated": number,
        "version": "1",
        "info": f'{{"id":"session_{number}"}}',
    }
    return Session(number=number, **{**plain, **fields})


def values(record):
    return {name: getattr(record, name) for name in record.__slots__}


class transaction:
    """Begin, and commit at the end; roll back when the body raises."""

    def __init__(self, store):
        self.store = store

    def __enter__(self):
        self.store.begin()
        return self.store

    def __exit__(self, kind, *_):
        self.store.rollback() if kind else self.store.commit()


def put(store, *sessions):
    with transaction(store):
        for each in sessions:
            store.insert(each)


def log(store, *session_ids, time=0, kind=1):
    with transaction(store):
        for session_id in session_ids:
            store.append(LogRow(store.last_log_id() + 1, session_id, kind, time, ',"data":{}}'))


def numbers(infos):
    return [int(info[len('{"id":"session_') : -2]) for info in infos]


def ids(store):
    return [row.id for row in store.events_after(0, 10_000)]
