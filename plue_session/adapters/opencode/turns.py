"""Ending turns for certain: an abort that returns when the turn has ended, a delete that leaves nothing running."""

import time

from plue_session import errors

#: Messages that are asked for at first, and then at a time, to find the model's newest: prompts may be queued behind
#: it.
NEWEST, FURTHER = 2, 16
#: Seconds that each question before an abort may take, and at most a quarter of what is left: the abort is sent in any
#: case.
BEFORE = 2.0
#: Seconds that an abort waits for the assistant message of a turn that has only begun; at most half of what is left.
#: Aborted before it exists, the first turn of a server's life leaves a server that stores all later prompts of the
#: directory and runs none, until it is restarted (O-068). That message takes a cold one up to 4 s, others a few ms.
BEGINNING = 10.0
#: Seconds that the end of a message may come after the session is idle (60 ms were measured). Later it never comes: the
#: server was killed in mid-turn (O-048).
TRAILING = 1.0
#: Seconds after which an abort that has had no effect is sent again.
AGAIN = 1.0
#: Seconds between two questions: from the first to the longest.
PAUSES = 0.02, 0.2
#: Seconds that refusing what an ended turn had asked may take: its end is certain without it.
REFUSING = 1.0
#: What can be wrong with one answer of a server that runs a turn all the same.
UNREADABLE = (errors.Server, errors.LimitExceeded, errors.Connection, errors.Timeout)


class Turns:
    """The turns of one client's sessions. Thread-safe; `heard` shortens the waiting, but only a GET is proof."""

    def __init__(self, client, heard):
        self._client, self._heard = client, heard

    def abort(self, session_id, call, directory=None, turn_id=None, seen=None):
        """End the turn that the session runs now, and return whether there was one. Returns only after its end. With a
        `turn_id`, which is the id of the user's message that began it, only if it is that one. `seen(message_id)` is
        called with the model's newest message as of then ("": there is none) if that is known: by now there may be one
        of the next turn.

        Ended: its assistant message is completed or failed, and the session is idle or at a turn that began later,
        which is not touched. Neither the server's answer nor the first `session.idle` is such an end (O-033), and no
        event tells the end of a retry but idle (O-035). A session that is deleted meanwhile has ended. Where the
        transcript cannot be read, the status alone decides, and the abort is sent once, for a second one could meet a
        later turn; with a `turn_id` it is not sent, for whose turn runs is not known. Fails with what the questions
        met, or `TIMEOUT`, when the end is not seen in time. OpenCode: POST /session/{id}/abort, GET /session/status,
        GET /session/{id}/message.
        """
        state = _TurnState(
            self._client,
            self._heard,
            session_id,
            call,
            directory or self._directory(session_id, call),
            patient=turn_id is not None,
        )
        try:
            if not self._is_to_be_ended(state, turn_id):
                if seen and state.newest is not None:
                    seen(state.newest)
                return False
            if not state.is_over:
                self._end(state)
            if seen and state.turn is not None:
                seen(state.turn.id)
        except errors.NotFound:
            if state.begun:  # deleted while we were at it
                return True
            raise
        self._refuse(state)
        return True

    @staticmethod
    def _is_to_be_ended(state, turn_id):
        """Find the turn that runs; returns whether it is one to be ended."""
        try:
            if not state.find():
                if not state.busy(state.soon()):
                    return False
                # The model's message is about to begin.
                state.until_true(
                    lambda: state.find() or not state.busy(state.soon()),
                    state.call.within(min(BEGINNING, state.call.left / 2)),
                )
                state.is_over = state.turn is None and not state.busy(state.soon())
        except UNREADABLE:
            if turn_id is not None:
                raise
            state.turn = state.prompt = state.newest = None
        if turn_id is not None:
            return state.prompt == turn_id
        if state.prompt is not None:
            return True
        try:
            return state.busy(state.soon())
        except UNREADABLE:
            return True  # it may run

    def _end(self, state):
        """Send the abort and await the end of the turn."""
        while True:
            if (
                state.prompt is not None or not state.begun
            ):  # a second one could meet a later turn where nobody knows which one runs
                state.begun = True
                try:
                    half = state.call.within((state.call.deadline - time.monotonic()) / 2)
                    self._client.stop_turn(state.session_id, half, state.directory)
                except (errors.Connection, errors.Timeout) as error:
                    # Whether it arrived shows below; a server that died has ended the turn.
                    if state.prompt is None and not error.details.get("sent", True):
                        raise
            if state.until_true(state.over, state.call.within(AGAIN)):
                return
            is_late = time.monotonic() >= state.call.deadline
            if state.failure is not None and (is_late or state.prompt is None and not state.answered):
                raise state.failure
            if is_late:
                raise errors.Timeout(
                    "the server did not end the turn in time",
                    "Try again; the session stays aborted.",
                    session=state.session_id,
                )

    def _refuse(self, state):
        """Refuse what the ended turn had asked, as well as that goes: it has ended, whatever becomes of its
        questions."""
        call = state.call.within(REFUSING)
        for refuse in (self._client.refuse_permissions, self._client.refuse_questions):
            try:
                refuse(
                    state.session_id,
                    lambda message_id: state.asks_no_more(message_id, call),
                    call,
                    state.directory,
                )
            except (errors.NotFound, *UNREADABLE):
                continue

    def delete(self, session_id, call, directory=None, elsewhere=()):
        """Delete the session and its descendants, after ending what runs in them: deleted while busy, a turn would run
        on and fail in the database (O-030). `elsewhere`: in which other directories descendants are. `NOT_FOUND` means
        the session itself. OpenCode: DELETE /session/{id}."""
        directory, busy = directory or self._directory(session_id, call), set()
        for each in dict.fromkeys((directory, *elsewhere)):  # each directory knows what runs in it, and no more (O-057)
            busy.update(self._client.status(call, each))
        if busy:
            for each, where in self._family(session_id, call, directory).items():
                if each in busy:
                    try:
                        self.abort(each, call, where)
                    except errors.NotFound:  # another client was faster
                        if each == session_id:
                            raise
        self._client.delete(session_id, call, directory)

    def _family(self, session_id, call, directory):
        """Return `{id: directory}` of the session and its descendants."""
        family, left = {}, [(session_id, directory)]
        while left:
            each, where = left.pop()
            if each in family:
                continue
            family[each] = where
            try:
                children = self._client.children(each, call, where)
                left += [(child.id, child.directory) for child in children.changed] + [
                    (child, where) for child in children.unreadable
                ]
            except errors.NotFound:
                if each == session_id:
                    raise
                del family[each]
        return family

    def _directory(self, session_id, call):
        """Ask where the session is: its state (busy or not) is known there only."""
        return self._client.get(session_id, call).directory


class _TurnState:
    """One abort's view of one session: `turn` is the model's open message, `prompt` the id of the user's that it
    answers, or None where the transcript cannot be read."""

    def __init__(self, client, heard, session_id, call, directory, patient):
        self.client, self.heard, self.session_id, self.call, self.directory = client, heard, session_id, call, directory
        self.patient = patient
        self.turn = self.prompt = self.newest = self.failure = self.idle_since = None
        self.begun = self.is_over = self.answered = False

    def soon(self):
        """Return the part of the call that a question may take before the abort is sent; who must know whose turn it is
        has all the time."""
        left = self.call.deadline - time.monotonic()
        return self.call if self.patient else self.call.within(min(BEFORE, left / 4))

    def busy(self, call=None):
        is_busy = self.session_id in self.client.status(call or self.call, self.directory)
        if is_busy:
            self.idle_since = None
        return is_busy

    def find(self):
        """Find the turn that runs, or the prompt of the one that would; returns whether its message is there."""
        newest, asked = self._newest(self.soon())
        self.newest = newest.id if newest else ""
        self.turn = None if newest is None or newest.ended else newest
        self.prompt = asked if self.turn is None else self.turn.parent_id
        return self.turn is not None

    def _newest(self, call):
        """Return the newest assistant message, or None, and the id of the newest message of the user's."""
        asked = before = None
        limit = NEWEST
        while True:
            page, before = self.client.messages(self.session_id, call, self.directory, limit=limit, before=before)
            for message, _ in reversed(page):
                if message.role == "assistant":
                    return message, asked or message.parent_id
                if message.role == "user":
                    asked = asked or message.id
            if before is None:
                return None, asked
            limit = FURTHER

    def asks_no_more(self, message_id, call):
        """Return whether the message is of the turn that was ended, or has ended itself."""
        try:
            message = self.client.message(self.session_id, message_id, call, self.directory)
        except errors.NotFound:
            return True
        except errors.InvalidParam:
            return False
        return message.ended or self.prompt is not None and message.parent_id == self.prompt

    def over(self):
        """Return whether the turn is over, as the server's store and its status say. No answer says nothing."""
        try:
            is_over = self._over()
        except UNREADABLE as error:
            if time.monotonic() < self.call.deadline:  # else it had no time to learn anything
                self.failure = error
            return False
        self.answered, self.failure = True, None
        return is_over

    def _over(self):
        if self.prompt is None or self.turn is not None and not self._ended():
            return not self.busy() and self._trailed()
        if not self.busy():
            return True
        # Busy with what? With a prompt that came later, and that we must neither wait for nor touch?
        newest, asked = self._newest(self.call)
        if newest is None or newest.ended:
            return asked != self.prompt
        if newest.parent_id == self.prompt:
            self.turn = newest
        return newest.parent_id != self.prompt

    def _ended(self):
        """Return whether the message has ended, or was removed; one that cannot be read has not."""
        try:
            return self.client.message(self.session_id, self.turn.id, self.call, self.directory).ended
        except errors.NotFound:
            return True
        except (errors.Server, errors.LimitExceeded):
            return False

    def _trailed(self):
        """Idle, but the message is open, or cannot be read: give its end the time it may take, then take it for cut off
        by a crash (O-048). A turn that another server on the same database runs looks the same from here."""
        self.idle_since = self.idle_since or time.monotonic()
        return time.monotonic() - self.idle_since > TRAILING

    def until_true(self, condition, call):
        """Ask again and again, at once when something is heard; returns whether `condition` came true
        within the call."""
        pause, longest = PAUSES
        while True:
            count = self.heard.count
            if condition():
                return True
            if time.monotonic() >= call.deadline:
                return False
            self.heard.wait(count, call.within(pause))
            pause = min(pause * 2, longest)
