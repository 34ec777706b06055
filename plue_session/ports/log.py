"""The log of events. Its ids are one sequence for all scopes of a store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from plue_session.model import LogRow
from plue_session.rules.replay import Window


class LogWriter(Protocol):
    """The log, inside a transaction."""

    def last_log_id(self) -> int:
        """Return the id of the newest row ever appended (0: none), as the writer sees it."""

    def append(self, *rows: LogRow) -> None:
        """Append rows whose ids follow `last_log_id()` and each other."""

    def trim(self, limit: int, older_than_ms: int, sessions: Iterable[str], now_ms: int | None = None) -> None:
        """Trim the log: per session of `sessions` keep the newest `limit` rows; of all rows drop a bounded number of
        those with `time < older_than_ms`, or as far ahead of `now_ms`: the clock was set back. Old rows behind young
        ones may stay until those are old. The newest row of the whole log always stays. Remember the largest id
        trimmed, see `log_state`."""


class LogReader(Protocol):
    """The log as it is committed."""

    def events_after(
        self, log_id: int, limit: int, size: int | None = None, session_id: str | None = None
    ) -> list[LogRow]:
        """Return at most `limit` rows of this scope, or of one session of it, with an id above `log_id`, ascending, and
        none after those whose tails have `size` characters together. The ids may have gaps, and the newest id need not
        be a row of this scope."""

    def window(self, log_id: int, session_id: str | None, limit: int) -> Window:
        """Return what can be had of the events after `log_id` (rules/replay.py), at one moment: of the session's, or
        (None) of all of this scope. More than `limit` events of a session are not counted exactly."""

    def log_state(self) -> tuple[int, int]:
        """Return `(floor, last)`: the largest id of this scope's that trimming removed (0: none), and the newest id of
        all scopes. `floor` does not count rows that `erase` removed."""
