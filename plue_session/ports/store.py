"""The store: everything durable of one backend's sessions."""

from __future__ import annotations

from typing import Protocol

from plue_session.ports.asks import AskReader, AskWriter
from plue_session.ports.attachments import AttachmentReader, AttachmentWriter
from plue_session.ports.inputs import InputReader, InputWriter
from plue_session.ports.log import LogReader, LogWriter
from plue_session.ports.messages import MessageReader, MessageWriter
from plue_session.ports.operations import OperationReader, OperationWriter
from plue_session.ports.outbox import OutboxReader, OutboxWriter
from plue_session.ports.sessions import SessionReader, SessionWriter
from plue_session.ports.shares import Shares
from plue_session.ports.transactions import Transactions
from plue_session.ports.turns import TurnReader, TurnWriter


class Store(
    Transactions,
    LogWriter,
    LogReader,
    SessionWriter,
    SessionReader,
    Shares,
    OperationWriter,
    OperationReader,
    OutboxWriter,
    OutboxReader,
    InputWriter,
    InputReader,
    TurnWriter,
    TurnReader,
    MessageWriter,
    MessageReader,
    AskWriter,
    AskReader,
    AttachmentWriter,
    AttachmentReader,
    Protocol,
):
    """Durable state of one backend's sessions (`scope`), and the log of their events, in one file or in memory.

    The writers' methods are used by one thread at a time, inside a transaction; what they read includes what was
    written. The readers' may be used by any thread at any time, and see only what is committed. Reading does not wait
    for writing, but for a commit that was promised. Other processes may share the store.

    Failures are `errors.Busy` (locked for longer than is sane), `errors.StoreIo` (disk full, unreadable, read-only),
    `errors.Integrity` (damaged: names the file and `plue-session doctor --new-store`).
    """

    #: "sqlite" or "memory"
    name: str
    #: whether a commit waits for a disk
    flushes: bool
    #: 8 lower-case hex digits, random, made with the store: part of every cursor
    store_id: str

    def check(self) -> list[str]:
        """Read everything and return the problems; none when the store is sound. May be slow."""

    def wants_maintenance(self) -> bool:
        """Return whether `maintain` is due. Cheap: call it after each commit. Never fails."""

    def maintain(self) -> None:
        """Do housekeeping that no caller waits for (for SQLite: a passive checkpoint when the WAL is long)."""

    def lock_fds(self) -> list[int]:
        """Return the descriptors of the lock files, which a forked child closes; none once closed. Never fails."""

    def close(self) -> None:
        """Close all connections and locks; who is inside closes its own on the way out. Twice is harmless. Never
        fails."""
