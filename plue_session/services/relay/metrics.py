"""What is counted of the relay (R-078), as JSON and as Prometheus' text format. Labels have few values, whatever
happens: states, events, kinds of agents, names of errors."""

from plue_session import errors
from plue_session.model import EVENT_NUMBER, Query
from plue_session.primitives import allocate_lock
from plue_session.rules import relay as rules
from plue_session.rules.info import told_data
from plue_session.rules.jsontext import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.services.relay.relay import Relay

#: Where failures are met.
PLACES = "call", "attach", "agent", "clean", "cleaner"
#: Upper ends of the buckets: seconds that a session lived, messages that it had.
SECONDS = 1, 10, 60, 600, 3_600, 21_600, 86_400, 604_800
MESSAGES = 0, 1, 10, 100, 1_000, 10_000


class Failures:
    """Counts errors by where they were met, and the reason. Thread-safe."""

    def __init__(self):
        self._lock, self._counts = allocate_lock(), {}

    def count(self, place, reason):
        """Count what was met in one of PLACES: an error of any kind, or a reason of few."""
        key = place, reason if type(reason) is str else errors.known(reason).name
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + 1

    def read(self):
        """Return `(place, reason, count)` of each."""
        with self._lock:
            return [(*key, count) for key, count in sorted(self._counts.items())]


class Histogram:
    """Counts values by the bucket that they are in. One thread at a time adds."""

    def __init__(self, ends):
        self._ends, self._counts, self._sum = ends, [0] * (len(ends) + 1), 0

    def add(self, value):
        place = next((place for place, end in enumerate(self._ends) if value <= end), len(self._ends))
        self._counts[place] += 1
        self._sum += value

    def read(self):
        """Return `[(upper end or None, how many are not above it)]`, the last one of all, and the sum."""
        counts, buckets, below = list(self._counts), [], 0
        for end, count in zip((*self._ends, None), counts, strict=True):
            below += count
            buckets.append((end, below))
        return buckets, self._sum


class Metrics:
    """States and what is attached are those of the store, so of all processes on it; the rest is what this process has
    done since it has opened the store."""

    def __init__(self, relay: "Relay"):
        self._relay, self._lock = relay, allocate_lock()
        self._events = dict.fromkeys(rules.EVENTS, 0)
        self._seconds, self._messages = Histogram(SECONDS), Histogram(MESSAGES)
        relay.writer.hear(EVENT_NUMBER["relay.changed"], self._heard)

    def render(self, format):
        """Return all of it as text: "json" or "prometheus"."""
        found = self._read()
        return _prometheus(found) if format == "prometheus" else dumps(_json(found))

    def _heard(self, row):
        """Count a change that was made here, once it is committed; of a session that is CLEANED, how it was."""
        if row is None or not self._relay.writer.is_ours(row):
            return
        data = told_data(row)
        session = self._relay.store.read(row.session_id) if data["to"] == rules.CLEANED else None
        with self._lock:
            self._events[data["event"]] += 1
            if session is not None:
                self._seconds.add(max(row.time - session.created, 0) / 1000)
                self._messages.add(session.relay_messages)

    def _read(self):
        relay, store = self._relay, self._relay.store
        states = {state: store.count(Query(relay_state=(state,))) for state in rules.STATES}
        attached = dict.fromkeys(((kind, gone) for kind in rules.KINDS for gone in (False, True)), 0)
        agents = []
        for session_id, each in store.read_attachments():
            gone = each.owner is None or not store.is_owner_alive(each.owner)
            attached[each.kind, gone] += 1
            agents.append(rules.shown(session_id, each, gone))
        memory = sum(each.get("memoryBytes", 0) for each in relay.agents.describe().values())
        with self._lock:
            events, seconds, messages = dict(self._events), self._seconds.read(), self._messages.read()
        return states, events, seconds, messages, relay.failures.read(), attached, memory, agents


def _json(found):
    states, events, seconds, messages, failures, attached, memory, agents = found
    return {
        "relay": {
            "states": states,
            "transitions": events,
            "durationSeconds": _histogram_json(*seconds),
            "messagesPerSession": _histogram_json(*messages),
            "errors": [{"place": place, "reason": name, "count": count} for place, name, count in failures],
        },
        "agents": {
            "attached": {kind: attached[kind, False] for kind in rules.KINDS},
            "lost": {kind: attached[kind, True] for kind in rules.KINDS},
            "memoryBytes": memory,
            "sessions": agents,
        },
    }


def _histogram_json(buckets, total):
    shown = [{"count": count} if end is None else {"upTo": end, "count": count} for end, count in buckets]
    return {"count": buckets[-1][1], "sum": total, "buckets": shown}


def _prometheus(found):
    """Write the text format, version 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats."""
    states, events, seconds, messages, failures, attached, memory, _ = found
    out: list = []
    _metric(out, "relay_sessions", "gauge", "Sessions that have a role, by relay state.", [
        ({"state": state}, count) for state, count in states.items()
    ])  # fmt: skip
    _metric(out, "relay_transitions_total", "counter", "Changes of relay states that this process has made.", [
        ({"event": event}, count) for event, count in events.items()
    ])  # fmt: skip
    _metric(out, "relay_errors_total", "counter", "Failures that this process has met, by where and by error code.", [
        ({"place": place, "reason": name}, count) for place, name, count in failures
    ])  # fmt: skip
    about = "Seconds that the sessions lived that this process has cleaned."
    _histogram(out, "relay_session_duration_seconds", about, *seconds)
    _histogram(out, "relay_session_messages", "Messages that these had.", *messages)
    _metric(out, "agents", "gauge", "What is attached to sessions, by kind, and whether it is lost.", [
        ({"kind": kind, "lost": str(gone).lower()}, count) for (kind, gone), count in attached.items()
    ])  # fmt: skip
    _metric(out, "agents_memory_bytes", "gauge", "Memory of this process's agents.", [({}, memory)])
    return "\n".join(out) + "\n"


def _metric(out, name, kind, about, samples):
    out += [f"# HELP plue_session_{name} {about}", f"# TYPE plue_session_{name} {kind}"]
    out += [_sample(name, labels, value) for labels, value in samples]


def _histogram(out, name, about, buckets, total):
    _metric(out, name, "histogram", about, [])
    for end, count in buckets:
        out.append(_sample(f"{name}_bucket", {"le": "+Inf" if end is None else str(end)}, count))
    out += [_sample(f"{name}_sum", {}, total), _sample(f"{name}_count", {}, buckets[-1][1])]


def _sample(name, labels, value):
    shown = ",".join(f'{key}="{text}"' for key, text in labels.items())
    return f"plue_session_{name}{{{shown}}} {value}" if shown else f"plue_session_{name} {value}"
