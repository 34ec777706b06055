"""What an agent asks for leave to do: a row, announced as a server's permissions are, whose end the agent is told.

Whoever answers commits that, in whichever process; the agent's own process hears of it, and tells the agent.
"""

from plue_session.model import Ask
from plue_session.model.ask import PERMISSION
from plue_session.rules import asks as rules
from plue_session.rules.jsontext import dumps
from plue_session.services.turns import ask_rows, prompt

#: Permissions that an agent may wait for at a time; more are refused.
MOST = 256


class Asking:
    """Of one session's agent, by one thread."""

    def __init__(self, on, session_id, agent, settings):
        self._on, self.session_id, self._agent = on, session_id, agent
        self._deadline_ms, self._default = settings.deadline_ms, rules.BY_DEFAULT.get(settings.default)
        self._waiting = {}  # by the ask's id: what was `Asked`, and its deadline (ms)
        self._stamp = 0

    def __bool__(self):
        """Whether it waits for an answer."""
        return bool(self._waiting)

    @property
    def due(self):
        """Return in how many seconds the next deadline is, or None."""
        if not self._waiting:
            return None
        return max(min(deadline for _, deadline in self._waiting.values()) - self._on.writer.clock(), 0) / 1000

    def ask(self, asked, turn_id, message_id):
        """Announce what the agent asks in a turn; without one (None), or where it asks too much, it is refused."""
        if turn_id is None or len(self._waiting) >= MOST:
            self._agent.answer(asked.request, rules.option_for(rules.REJECT, asked.options))
            return
        self._stamp = max(self._on.writer.clock() << 12, self._stamp + 1)
        ask = Ask(id=prompt.stamped("ask", self._stamp), kind=PERMISSION, turn_id=turn_id, message_id=message_id)
        replies = rules.replies_to(asked.options)
        body = {"id": ask.id, "turnId": turn_id, "action": asked.action}
        if asked.title is not None:
            body["title"] = asked.title
        if asked.patterns:
            body["patterns"] = asked.patterns
        if asked.call_id is not None and message_id is not None:
            body["tool"] = {"messageId": message_id, "callId": asked.call_id}
        is_decided = self._default in replies

        def change(transaction):
            session, store = transaction.load(self.session_id), transaction.store
            ask.number, ask.asked, ask.deadline = session.number, transaction.now, transaction.now + self._deadline_ms
            ask.body = dumps({**body, "replies": replies, "deadline": ask.deadline})
            ask.ended = ask.answer = None
            ask_rows.add(store, session, store.turn(session.number, turn_id), ask)
            told = [rules.asked(ask)]
            if is_decided:
                told.append(ask_rows.end(store, session, ask, rules.HOST, self._default))
            transaction.save_told(session, told)

        self._on.writer.run(change)
        if is_decided:
            self._agent.answer(asked.request, rules.option_for(self._default, asked.options))
        else:
            self._waiting[ask.id] = asked, ask.deadline

    def look(self):
        """Tell the agent of those that have ended, and end those whose time is up."""
        now = self._on.writer.clock()
        for id, (asked, deadline) in list(self._waiting.items()):
            ask = self._on.store.read_ask(self.session_id, id)
            if ask is not None and ask.ended is None:
                if deadline > now:
                    continue
                ask = self._on.writer.run(lambda transaction, id=id: self._end(transaction, id, rules.DEADLINE))
            self._tell(id, asked, ask)

    def withdraw(self, request):
        """Hear that the agent does not ask this any more."""
        for id, (asked, _) in list(self._waiting.items()):
            if asked.request == request:
                self._on.writer.run(lambda transaction, id=id: self._end(transaction, id, rules.OTHER))
                del self._waiting[id]

    def end_all(self):
        """Have all end, for their turn is to: in the store, and then with the agent."""
        if self._waiting:
            ids = list(self._waiting)
            self._on.writer.run(lambda transaction: [self._end(transaction, id, rules.ABORT) for id in ids])
            self.over()

    def over(self):
        """Tell the agent that nobody will answer any more."""
        while self._waiting:
            _, (asked, _) = self._waiting.popitem()
            self._agent.answer(asked.request, None)

    def _end(self, transaction, id, by):
        store, session = transaction.store, transaction.load(self.session_id)
        ask = store.ask(session.number, id)
        if ask is not None and ask.ended is None:
            given = rules.REJECT if by == rules.DEADLINE else None
            transaction.save_told(session, [ask_rows.end(store, session, ask, by, given)])
        return ask

    def _tell(self, id, asked, ask):
        """Tell the agent how one has ended: as it was answered, or else that it is withdrawn."""
        is_answered = ask is not None and ask.ended in (rules.HOST, rules.DEADLINE) and ask.answer is not None
        self._agent.answer(asked.request, rules.option_for(ask.answer, asked.options) if is_answered else None)
        del self._waiting[id]
