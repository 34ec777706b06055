"""The log of the relay (R-040, R-079): what this process has changed, once it is committed."""

from plue_session.model import EVENT_NUMBER
from plue_session.rules import relay as rules
from plue_session.rules.info import told_data
from plue_session.rules.jsontext import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.services.relay.relay import Relay

CREATED, UPDATED, CHANGED = (EVENT_NUMBER[name] for name in ("session.created", "session.updated", "relay.changed"))
#: What an event says of a session that has a role; and of one of which nothing but the relay has changed.
_ROLE, _MESSAGE = ',"role":', ',"fields":["relay"]'
#: What is written of a state that was reached.
NAMES = {rules.SPAWNING: "spawned", rules.ACTIVE: "ready", rules.TERMINATING: "terminated", rules.CLEANED: "cleaned"}


class Records:
    """Writes a record for each change."""

    def __init__(self, relay: "Relay"):
        self._relay = relay
        hear = relay.writer.hear
        hear(CREATED, self._created)
        hear(CHANGED, self._changed)
        if relay.log.trace:
            hear(UPDATED, self._counted)

    def _created(self, row):
        if row is not None and _ROLE in row.tail and self._is_wanted(row):
            self._write(self._info, row, f"{rules.CREATED} (created)")

    def _changed(self, row):
        if row is None or not self._is_wanted(row):
            return
        data = told_data(row)
        reason = f", {quote(data['reason'])}" if "reason" in data else ""
        self._write(self._info, row, f"{data['from']} → {data['to']} ({data['event']}{reason})", NAMES[data["to"]])

    def _counted(self, row):
        if row is not None and _MESSAGE in row.tail and self._relay.writer.is_ours(row):
            self._write(self._relay.log.trace, row, "message or heartbeat")

    def _info(self, message):
        self._relay.log.write("info", message)

    def _is_wanted(self, row):
        return self._relay.log.wants("info") and self._relay.writer.is_ours(row)

    def _write(self, write, row, what, name=""):
        session = self._relay.store.read(row.session_id)
        more = ""
        if session is not None:
            duration = max(row.time - session.created, 0)
            more = f": role={quote(session.role)} durationMs={duration} messages={session.relay_messages}"
        write(f"relay {name + ' ' if name else ''}{row.session_id} {what}{more}")
