"""What the library's threads do when they are woken: a failure ends neither them nor the rest of what is to be done."""

from types import SimpleNamespace

from plue_session.capi import executors
from plue_session.capi.boundary import Boundary
from plue_session.errors import NotFound


class Lib:
    """C, in as far as a reader needs it: sessions whose turns were asked to end."""

    def __init__(self, *asked):
        self.asked, self.signals = [each.encode() for each in asked], [self.CORE_SIGNAL_TURNS]

    CORE_EXECUTOR_COMMIT, CORE_EXECUTOR_REMOTE, CORE_EXECUTOR_URGENT = range(3)
    CORE_SIGNAL_CHECK, CORE_SIGNAL_WAKE, CORE_SIGNAL_REQUESTS, CORE_SIGNAL_SUBMITTED = 1, 2, 4, 8
    CORE_SIGNAL_TURNS, CORE_SIGNAL_MAINTAIN, CORE_SIGNAL_RELEASED, CORE_SIGNAL_AGAIN = 16, 32, 64, 128
    core__take = core__take_overdue = None

    def core__wait(self, executor, generation):
        return self.signals.pop() if self.signals else 0

    def core__turns_asked(self, id):
        if not self.asked:
            return 0
        id[:] = [self.asked.pop(0)]
        return 1


def test_turns_of_a_session_that_cannot_be_cancelled_do_not_keep_those_of_others():
    cancelled, noted = [], []

    def cancel(session_id):
        cancelled.append(session_id)
        if session_id == "ses_1":
            raise NotFound("it is gone", "", session=session_id)

    ffi = SimpleNamespace(new=lambda *_: [], string=lambda id: id[0])
    runtime = SimpleNamespace(turns=SimpleNamespace(cancel=cancel), store=SimpleNamespace(maintain=None))
    boundary = SimpleNamespace(
        lib=Lib("ses_1", "ses_2", "ses_3"),
        ffi=ffi,
        runtime=runtime,
        note=lambda level, message: noted.append(message),
        refilling=SimpleNamespace(refill=None),
        submissions=SimpleNamespace(look=None),
        held=SimpleNamespace(collect=None),
    )
    boundary.guarded = lambda *given: Boundary.guarded(boundary, *given)
    executors.read(boundary, 3, 1)
    assert cancelled == ["ses_1", "ses_2", "ses_3"]
    assert len(noted) == 1 and "it is gone" in noted[0]
