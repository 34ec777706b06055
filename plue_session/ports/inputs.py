"""The queue of inputs. Sessions go by their number; what is loaded or read is a copy, the caller's own."""

from __future__ import annotations

from typing import Protocol

from plue_session.model import Claim, Input


class InputWriter(Protocol):
    """The queue, inside a transaction."""

    def add_input(self, row: Input) -> None:
        """Store an input whose `seq` is larger than any before."""

    def input(self, number: int, seq: int) -> Input | None:
        """Return the input of the session with this `seq`."""

    def input_of_key(self, number: int, source_key: str) -> Input | None:
        """Return the input of the session with this source key, whatever its state."""

    def input_that_wants(self, number: int, turn_id: str) -> Input | None:
        """Return the input of the session whose turn is to have this id, if it is neither cancelled nor completed."""

    def inputs_from(self, number: int, seq: int) -> list[Input]:
        """Return the inputs of the session from this `seq` on, whatever their state, in order."""

    def open_inputs(self, number: int, after: int = 0, limit: int | None = None) -> list[Input]:
        """Return the inputs that are neither cancelled nor completed, in order: those with a larger `seq` than
        `after`."""

    def bare_inputs(self, number: int) -> list[Input]:
        """Return all of them without what they say: their `content`, of which there may be much, is ""."""

    def active_inputs(self, number: int) -> list[Input]:
        """Return those of them that are for a turn which has not ended (`PENDING`), in order, as `bare_inputs` does."""

    def inputs_have_room(self, number: int, most: int) -> bool:
        """Return whether there are less than `most` of these."""

    def keep_input(self, row: Input) -> None:
        """Store what has become of an input: its state, claim and turn, and whether it shares that."""

    def vacuum_inputs(self, number: int) -> int:
        """Remove those that are cancelled or completed, and return how many."""

    def add_claim(self, claim: Claim) -> int:
        """Store a claim and return its id, larger than any before."""

    def claim(self, id: int) -> Claim | None:
        """Return the claim."""

    def keep_claim(self, claim: Claim) -> None:
        """Store until when a claim is good."""

    def drop_claim(self, id: int) -> None:
        """Remove a claim; harmless when it is gone."""


class InputReader(Protocol):
    """The queue as it is committed."""

    def read_inputs(self, session_id: str, now: int) -> list[Input]:
        """Return those that wait, in order: not cancelled, completed or accepted, nor claimed by somebody whose claim
        is still good."""

    def read_next_input(self, session_id: str, now: int) -> Input | None:
        """Return the one of these that comes next: the first for the next turn, or else the first for a turn to
        come."""

    def input_waits(self, session_id: str, seq: int, now: int) -> bool:
        """Return whether the input with this `seq` is one of these."""

    def read_input(self, session_id: str, seq: int) -> Input | None:
        """Return the input of the session with this `seq`, whatever its state."""

    def sessions_with_inputs(self) -> list[str]:
        """Return the ids of the sessions that have inputs which wait, those first whose input is the oldest."""
