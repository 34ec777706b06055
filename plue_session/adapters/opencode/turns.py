"""Ending turns for certain: an abort that returns when the turn has ended, a delete that leaves nothing running."""

import time

from plue_session import errors

#: Newest messages among which the running one is looked for.
NEWEST = 8
#: Seconds that an abort waits for the assistant message of a turn that has only begun. Aborted before it exists, the first
#: turn of a server's life leaves a session whose later prompts are stored and never run (O-068).
BEGINNING = 0.5
#: Seconds that the end of a message may come after the session is idle (60 ms were measured). Later it never comes: the
#: server was killed in mid-turn (O-048).
TRAILING = 1.0
#: Seconds after which an abort that has had no effect is sent again.
AGAIN = 1.0
#: Seconds between two looks: from the first to the longest.
LOOKS = 0.02, 0.2


class Turns:
    """The turns of one client's sessions. Thread-safe; `heard` shortens the waiting, but only a GET is proof."""

    def __init__(self, client, heard):
        self._client, self._heard = client, heard

    def abort(self, session_id, until, cancel=None, directory=None, turn_id=None):
        """End the turn that the session runs now, and return whether there was one. Returns only after its end. With a
        `turn_id`, which is the id of the user's message that began it, only if it is that one.

        Ended: its assistant message is completed or failed, and the session is idle or at a turn that began later, which is
        not touched. Neither the server's answer nor the first `session.idle` is such an end (O-033), and no event tells the
        end of a retry but idle (O-035). A session that is deleted meanwhile has ended. `TIMEOUT` when the end is not seen
        in time. OpenCode: POST /session/{id}/abort, GET /session/status, GET /session/{id}/message.
        """
        look = _Look(self._client, self._heard, session_id, until, cancel, directory or self._directory(session_id, until, cancel))
        try:
            ended = self._abort(look, turn_id)
            if ended:
                self._client.refuse_permissions(session_id, until, cancel, look.directory)
            return ended
        except errors.NotFound as error:
            if look.begun:  # deleted while we were at it
                return True
            raise error

    def _abort(self, look, turn_id=None):
        turn = look.running()
        if turn is None:
            if not look.busy() or turn_id is not None and look.asked() != turn_id:
                return False
            look.until_true(lambda: look.running() is not None or not look.busy(), min(look.until, time.monotonic() + BEGINNING))
            turn = look.running()
            if turn is None and not look.busy():
                return True
        if turn_id is not None and turn is not None and turn.parent_id != turn_id:
            return False
        look.begun = True
        while True:
            try:
                self._client.stop_turn(look.session_id, look.until, look.cancel, look.directory)
            except (errors.Connection, errors.Timeout):
                pass  # whether it arrived shows below; a server that died has ended the turn
            if look.until_true(lambda: look.over(turn), min(look.until, time.monotonic() + AGAIN)):
                return True
            if time.monotonic() >= look.until:
                raise errors.Timeout("the server did not end the turn in time", "Try again; the session stays aborted.", session=look.session_id)

    def delete(self, session_id, until, cancel=None, directory=None, elsewhere=()):
        """Delete the session and its descendants, after ending what runs in them: deleted while busy, a turn would run on
        and fail in the database (O-030). `elsewhere`: in which other directories descendants are. `NOT_FOUND` means the
        session itself. OpenCode: DELETE /session/{id}."""
        directory, busy = directory or self._directory(session_id, until, cancel), set()
        for each in dict.fromkeys((directory, *elsewhere)):  # each directory knows what runs in it, and no more (O-057)
            busy.update(self._client.status(until, cancel, each))
        if busy:
            for each, where in self._family(session_id, until, cancel, directory).items():
                if each in busy:
                    try:
                        self.abort(each, until, cancel, where)
                    except errors.NotFound:  # another client was faster
                        if each == session_id:
                            raise
        self._client.delete(session_id, until, cancel, directory)

    def _family(self, session_id, until, cancel, directory):
        """Return `{id: directory}` of the session and its descendants."""
        family, left = {}, [(session_id, directory)]
        while left:
            each, where = left.pop()
            if each in family:
                continue
            family[each] = where
            try:
                left += [(child.id, child.directory) for child in self._client.children(each, until, cancel, where)]
            except errors.NotFound:
                if each == session_id:
                    raise
                del family[each]
        return family

    def _directory(self, session_id, until, cancel):
        """Ask where the session is: its state (busy or not) is known there only."""
        return self._client.get(session_id, until, cancel).directory


class _Look:
    """One abort's view of one session."""

    def __init__(self, client, heard, session_id, until, cancel, directory):
        self.client, self.heard, self.session_id, self.until, self.cancel, self.directory = client, heard, session_id, until, cancel, directory
        self.begun, self.idle_since = False, None

    def busy(self):
        return self.session_id in self.client.status(self.until, self.cancel, self.directory)

    def running(self):
        """Return the newest assistant message if it has not ended, else None."""
        page, _ = self.client.messages(self.session_id, self.until, self.cancel, self.directory, limit=NEWEST)
        newest = next((message for message, _ in reversed(page) if message.role == "assistant"), None)
        return None if newest is None or newest.ended else newest

    def asked(self):
        """Return the id of the newest message of the user's, or None."""
        page, _ = self.client.messages(self.session_id, self.until, self.cancel, self.directory, limit=NEWEST)
        return next((message.id for message, _ in reversed(page) if message.role == "user"), None)

    def ended(self, turn):
        """Return whether the message has ended, or was removed."""
        try:
            return self.client.message(self.session_id, turn.id, self.until, self.cancel, self.directory).ended
        except errors.NotFound:
            return True

    def over(self, turn):
        """Return whether the turn is over, as the server's store and its status say. No answer says nothing."""
        try:
            if turn is not None and not self.ended(turn):
                return not self.busy() and self._trailed()
            if not self.busy():
                return True
            # Busy with what? A message that began later, of another prompt, is a turn that we must not wait for.
            running = self.running()
            return turn is not None and running is not None and running.parent_id != turn.parent_id
        except (errors.Connection, errors.Timeout):
            return False

    def _trailed(self):
        """Idle, but the message is open: give its end the time it may take, then take it for cut off by a crash (O-048). A turn
        that another server on the same database runs looks the same from here."""
        self.idle_since = self.idle_since or time.monotonic()
        return time.monotonic() - self.idle_since > TRAILING

    def until_true(self, condition, until):
        """Look again and again, at once when something is heard; returns whether `condition` came true by `until`."""
        pause, longest = LOOKS
        if self.cancel is not None:
            self.cancel.watch(self.heard.wake)
        try:
            while True:
                count = self.heard.count
                if condition():
                    return True
                now = time.monotonic()
                if now >= until:
                    return False
                self.heard.wait(count, min(until, now + pause))
                if self.cancel is not None:
                    self.cancel.check()
                pause = min(pause * 2, longest)
        finally:
            if self.cancel is not None:
                self.cancel.unwatch(self.heard.wake)
