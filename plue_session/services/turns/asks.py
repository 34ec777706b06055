"""What turns ask for and wait for: permissions and questions. They are announced when they are heard of, answered by a
host, by what it has configured or at their deadline, and end with their turn, here and on the server.

Every process on the store hears the same, and records it if no other has. Who answers one says so in its row before the
server is asked: only he records how it ended, unless he does not come back.
"""

import threading
from functools import partial

from plue_session import errors
from plue_session.model import Ask
from plue_session.model.ask import PERMISSION, QUESTION
from plue_session.model.turn import ENDED
from plue_session.rules import asks as rules
from plue_session.rules.ids import is_given_here
from plue_session.rules.jsontext import dumps, loads
from plue_session.services.naming import named
from plue_session.services.sync.memory import remember
from plue_session.services.turns import ask_rows
from plue_session.services.turns.heard import AGAIN, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from plue_session.ports import Server, Store

#: Seconds between two looks at what another one is about to answer, and the longest that it is left to him.
LOOK, CLAIM = 0.02, 60.0
#: Seconds that a claim lasts beyond the call that it is for: until what the server has done is recorded.
RECORDING = 1.0
#: How an answer fails that the server has not taken, unless `sent` says that it may have.
UNSENT = (errors.Connection, errors.Server, errors.InvalidParam, errors.AccessDenied, errors.LimitExceeded, errors.Busy)
#: How deep sessions of agents that call others are.
DEPTH = 32


class Asks:
    """The permissions and questions of one server's sessions. Thread-safe; `resolve` returns the id that a session has
    by now, `views` shows the rest of what turns show."""

    def __init__(self, server: "Server", store: "Store", writer, link, jobs, settings, log, views):
        self._server, self._store, self._writer, self._link, self._jobs = server, store, writer, link, jobs
        self._deadline_ms, self._default = settings.deadline_ms, rules.BY_DEFAULT.get(settings.default)
        self._log, self._over = log, {}
        self.resolve = lambda session_id: session_id
        self.todos, self.diff, self.choices = views.todos, views.diff, views.choices
        #: what is to be called with what the server tells, by its kind (`Inbox.hearers`)
        self.hearers = {
            "permission.asked": self._heard_asked,
            "permission.replied": self._heard_replied,
            "question.asked": self._heard_asked,
            "question.replied": self._heard_replied,
        }

    # -- what callers ask for --------------------------------------------------------------------------------------
    def permissions(self, session_id):
        """Return what the session's turns wait for leave to do, as JSON."""
        return self._listed(session_id, PERMISSION)

    def questions(self, session_id):
        """Return the questions that the session's turns wait for, as JSON."""
        return self._listed(session_id, QUESTION)

    def _listed(self, session_id, kind):
        asks = named(self.resolve, session_id, lambda now: self._store.read_asks(self._there(now), kind))
        return f"[{','.join(ask.body for ask in asks)}]"

    def _known(self, session_id):
        return named(self.resolve, session_id, self._there)

    def _there(self, session_id):
        if self._store.info(session_id) is None:
            raise errors.gone(session_id)
        return session_id

    def reply_permission(self, session_id, permission_id, reply):
        """Answer a permission: "once", "always" or "reject"."""
        if rules.is_local(permission_id):
            return partial(self._reply_here, session_id, permission_id, reply)
        return partial(self._reply, session_id, permission_id, PERMISSION, reply)

    def reply_question(self, session_id, question_id, answers):
        """Answer a question with a list of labels for each of its parts, or (None) reject it."""
        return partial(self._reply, session_id, question_id, QUESTION, answers)

    def _reply_here(self, session_id, id, given, call):
        """Answer what an agent of ours asks: whoever has it hears of that."""
        self._writer.run(lambda transaction: ask_rows.reply(transaction, self.resolve(session_id), id, given), call)

    def _reply(self, session_id, id, kind, given, call):
        session_id = self._known(session_id)
        while True:
            ask = self._store.read_ask(session_id, id)
            if ask is None or ask.kind != kind:
                raise rules.unknown(kind, id)
            if ask.ended is not None:
                raise rules.over(ask)
            if kind == QUESTION and given is not None:
                rules.check_answers(loads(ask.body)["questions"], given)
            if self._answer(session_id, ask, rules.HOST, given, call):
                return
            # Somebody else is about to: what comes of that decides.
            if not call.left:
                raise errors.Timeout(f"another call is answering the {kind} {id}", "See whether it still waits.")
            call.within(LOOK).wait(threading.Condition(), lambda: None)

    # -- answering -------------------------------------------------------------------------------------------------
    def _answer(self, session_id, ask, by, given, call):
        """Answer one: say so in its row, ask the server, and record that. Returns False if another one is about to."""
        until = self._writer.clock() + round((min(call.left, CLAIM) + RECORDING) * 1000)
        claim = rules.claim(by, given, until)
        if not self._writer.run(partial(self._claim, session_id, ask.id, claim), call):
            return False
        # What becomes of it should this not be recorded; see `rules.ending`.
        is_open = True
        try:
            with self._link.asking():
                directory = self._store.read(session_id)
                self._send(ask, given, call, directory and directory.directory)
            self._writer.run(partial(self._record, session_id, ask.id, by, given), call)
            is_open = False
        except errors.NotFound:
            is_open = False
            self._writer.run(partial(self._refused, session_id, ask.id, claim), call)
            raise self._ended(session_id, ask) from None
        except (errors.Conflict, *UNSENT) as error:
            is_open = error.details.get("sent", False)
            if not is_open:
                self._writer.run_later(partial(self._unclaim, session_id, ask.id, claim))
            raise
        finally:
            if is_open:
                self._look_again(until)
        return True

    def _send(self, ask, given, call, directory):
        """OpenCode: POST /permission/{id}/reply, POST /question/{id}/reply, POST /question/{id}/reject."""
        if ask.kind == PERMISSION:
            self._server.reply_permission(ask.id, given, call, directory)
        else:
            self._server.reply_question(ask.id, given, call, directory)

    def _claim(self, session_id, id, claim, transaction):
        """Note who is about to answer; returns False if somebody else is."""
        _, ask = self._load(transaction, session_id, id)
        if ask is None or ask.ended is not None or rules.is_claimed(ask, transaction.now):
            return False  # the next look says which
        ask.answer = claim
        transaction.store.keep_ask(ask)
        return True

    def _unclaim(self, session_id, id, claim, transaction):
        """Take back that somebody is about to answer: the server has not heard of it."""
        _, ask = self._load(transaction, session_id, id)
        if ask is not None and ask.answer == claim:
            ask.answer = None
            transaction.store.keep_ask(ask)

    def _record(self, session_id, id, by, given, transaction):
        """Record that the server has taken an answer, if the turn did not end meanwhile."""
        session, ask = self._load(transaction, session_id, id)
        if ask is not None and ask.ended is None:
            self._end(transaction, session, ask, by, given)
        elif ask is not None and ask.ended != by:
            raise rules.over(ask)

    def _refused(self, session_id, id, claim, transaction):
        """Record that the server waits no more for what was about to be answered."""
        session, ask = self._load(transaction, session_id, id)
        if ask is not None and ask.ended is None and ask.answer == claim:
            ask.answer = None
            self._end(transaction, session, ask, *self._ending(transaction.store, ask))

    def _ended(self, session_id, ask):
        """Return the error of an answer that came too late."""
        found = self._store.read_ask(session_id, ask.id)
        return rules.unknown(ask.kind, ask.id) if found is None or found.ended is None else rules.over(found)

    def _look_again(self, until):
        self._jobs.add("asks", after=max(until - self._writer.clock(), 0) / 1000)

    # -- what the server tells -------------------------------------------------------------------------------------
    def _heard_asked(self, change):
        record(self._writer, partial(self._open, change.value, None), self._missed, self._opened)

    def _heard_replied(self, change):
        record(self._writer, partial(self._close, change.session_id, change.value), self._missed)

    def _missed(self, error):
        """Make up for what could not be recorded: what waits is asked for again. The session of an ask may have no
        record yet."""
        if not isinstance(error, errors.NotFound):
            self._log.write("warning", errors.known(error).message("sync asks"))
        self._jobs.add("asks", after=AGAIN)

    def _open(self, asked, parent_id, transaction):
        """Record and announce what a turn asks, once; returns whether it did. `parent_id` is the user's message that
        its turn answers, "" if nobody knows; None: that was not asked for yet."""
        store, session = transaction.store, transaction.load(asked.session_id)
        if store.ask(session.number, asked.id) is not None or asked.id in self._over:
            return False
        turn_id = self._turn_id(store, session.number, asked, parent_id)
        if turn_id is None and parent_id is None and asked.message_id is not None:
            self._jobs.add("asks")
            return False
        turn = turn_id and store.turn(session.number, turn_id)
        if turn and turn.state == ENDED:
            return False
        deadline = transaction.now + self._deadline_ms
        listed = {"id": asked.id} if turn_id is None else {"id": asked.id, "turnId": turn_id}
        ask = Ask(session.number, asked.id, asked.kind, turn_id, asked.message_id)
        ask.body = dumps({**listed, **asked.body, "deadline": deadline})
        ask.asked, ask.deadline = transaction.now, deadline
        ask_rows.add(store, session, turn, ask)
        transaction.save_told(session, [rules.asked(ask)])
        return True

    def _opened(self, is_new):
        """Have what was announced be answered in time; now that it is committed, it is found."""
        if is_new:
            self._jobs.add("deadline", after=self._deadline_ms / 1000 if self._default is None else 0.0)

    @staticmethod
    def _turn_id(store, number, asked, parent_id):
        """Return the id of the turn that asks, None if nobody knows."""
        message = asked.message_id and store.message(number, asked.message_id)
        if message and message.turn_id:
            return message.turn_id
        if parent_id:
            turn = store.turn_of_message(number, parent_id)
            return turn.id if turn else parent_id
        turn = store.open_turn(number)
        return turn.id if turn else None

    def _close(self, session_id, replied, transaction):
        """Record that one was answered, if nobody of ours is about to."""
        session, ask = self._load(transaction, session_id, replied.id)
        if ask is None:
            remember(self._over, replied.id, True)
        elif ask.ended is None and not self._is_left(ask, transaction.now):
            self._end(transaction, session, ask, *self._ending(transaction.store, ask, replied.given))

    def _missing(self, session_id, id, transaction):
        """Record that the server waits for one no more, if nobody of ours is about to answer it."""
        session, ask = self._load(transaction, session_id, id)
        if ask is not None and ask.ended is None and not self._is_left(ask, transaction.now):
            self._end(transaction, session, ask, *self._ending(transaction.store, ask))

    @staticmethod
    def _ending(store, ask, *given):
        """Return `(by, given)` of an ask that nobody waits for any more: see `rules.ending`."""
        by, given = rules.ending(ask, *given)
        turn = ask.turn_id and store.turn(ask.number, ask.turn_id)
        return (rules.ABORT if by == rules.OTHER and turn and turn.cancelled else by), given

    def _is_left(self, ask, now):
        """Return whether the end of an ask is left to who is about to answer it; should he die, it is seen to later."""
        if not rules.is_claimed(ask, now):
            return False
        self._look_again(rules.claimed_until(ask))
        return True

    @staticmethod
    def _load(transaction, session_id, id):
        session = transaction.load(session_id)
        return session, transaction.store.ask(session.number, id)

    @staticmethod
    def _end(transaction, session, ask, by, given):
        transaction.save_told(session, [ask_rows.end(transaction.store, session, ask, by, given)])

    # -- the end of turns ------------------------------------------------------------------------------------------
    def withdraw(self, session_id, call):
        """Refuse on the server what ended turns of the session had asked: it keeps that (O-037). What a turn asks that
        runs by now is left alone; while it asks for a permission, none is refused, for the server takes that for all.
        """
        session = self._store.read(session_id)
        if session is None:
            return
        asked = [each for each in self._server.pending(call, session.directory) if each.session_id == session_id]
        over = {each.id for each in asked if self._is_over(each, call, session.directory)}
        live = any(each.kind == PERMISSION and each.id not in over for each in asked)
        for each in asked:
            if each.id in over and not (live and each.kind == PERMISSION):
                try:
                    self._send(each, rules.refusal(each), call, session.directory)
                except errors.NotFound:  # refused with another one, or by another process
                    continue

    def _is_over(self, asked, call, directory):
        """Return whether nothing waits for this any more, though the server lists it."""
        known = self._store.read_ask(asked.session_id, asked.id)
        if known is not None and known.ended is not None:
            return True
        return self._parent(asked, call, directory) is None

    def _parent(self, asked, call, directory):
        """Return the user's message that is answered by the one which asks, "" if nobody knows; None: it has ended."""
        if asked.message_id is None:
            return ""
        try:
            message = self._server.read_message(asked.session_id, asked.message_id, call, directory)
        except errors.NotFound:
            return None
        except errors.InvalidParam:  # an id that is none of a message's
            return ""
        return None if message.ended else message.parent_id or ""

    # -- jobs ------------------------------------------------------------------------------------------------------
    def read(self, _, call):
        """See what the server waits for: announce what is new, and end what it waits for no more. OpenCode: GET
        /permission, GET /question, GET /session/{id}/message/{messageID}."""
        before = self._open_asks()
        places = {where or self._server.directory for id, where in self._store.ids() if not is_given_here(id)}
        listed, changes = {}, []
        for directory in sorted({self._server.directory, *places}):
            listed.update({each.id: (each, directory) for each in self._server.pending(call, directory)})
        for session_id, ask in before:
            if ask.id not in listed:
                changes.append(partial(self._missing, session_id, ask.id))
        for asked, directory in listed.values():
            known = self._store.read_ask(asked.session_id, asked.id)
            if self._store.info(asked.session_id) is None or known is not None and known.ended is not None:
                continue
            parent_id = self._parent(asked, call, directory)
            if known is not None and parent_id is None:
                changes.append(partial(self._missing, asked.session_id, asked.id))
            elif known is None and parent_id is not None:
                changes.append(partial(self._open, asked, parent_id))
        for outcome in self._writer.run_all(changes, call):
            if isinstance(outcome, Exception) and not isinstance(outcome, errors.NotFound):
                raise outcome
        if self._default is not None:
            self._jobs.add("deadline")
        self._schedule()

    def _open_asks(self):
        """Return `(session id, ask)` of all that the server waits for."""
        return [each for each in self._store.open_asks() if not rules.is_local(each[1].id)]

    def _schedule(self):
        """Have the next deadline kept."""
        due = [
            max(ask.deadline, rules.claimed_until(ask)) if rules.is_claimed(ask, self._writer.clock()) else ask.deadline
            for _, ask in self._open_asks()
        ]
        if due:
            self._jobs.add("deadline", after=max(min(due) - self._writer.clock(), 0) / 1000)

    def settle(self, _, call):
        """Answer what is due: what has waited until its deadline, and what `permissions.default` decides."""
        failure = None
        for session_id, ask in self._open_asks():
            now = self._writer.clock()
            if rules.is_claimed(ask, now):
                continue
            try:
                if ask.deadline <= now:
                    self._answer(session_id, ask, rules.DEADLINE, rules.refusal(ask), call)
                elif ask.kind == PERMISSION and self._default is not None and self._is_ours(session_id, ask):
                    self._answer(session_id, ask, rules.HOST, self._default, call)
            except (errors.NotFound, errors.Conflict):  # it has ended meanwhile
                continue
            except errors.PlueError as error:
                failure = error
        self._schedule()
        if failure is not None:
            raise failure

    def _is_ours(self, session_id, ask):
        """Return whether an input of ours is behind it: that of its turn, or of one that has called its agent."""
        turn = ask.turn_id and self._store.read_turn(session_id, ask.turn_id)
        if turn and turn.inputs != "[]":
            return True
        running = {each for each, turn in self._store.read_open_turns() if turn.inputs != "[]"}
        for _ in range(DEPTH):
            session = self._store.read(session_id)
            if session is None or session.parent_id is None:
                return False
            session_id = session.parent_id
            if session_id in running:
                return True
        return False
