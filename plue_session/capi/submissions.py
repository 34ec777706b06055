"""What hosts have submitted, seen from Python: submissions.c has the list of it."""

import math
from time import monotonic

from plue_session.errors import Aborted, closed
from plue_session.rules.jsontext import dumps, loads, quote
from plue_session.rules.steps import first_tag
from plue_session.services.batches import Batch

#: ns that the last events are told before the time of the shutdown is up.
MARGIN = 200_000_000


class Submission(Batch):
    """Operations that were submitted. `lists` is the `Submissions` that it is of."""

    function = "plue_session_submit"

    def __init__(self, number, lists):
        super().__init__("", math.inf)
        self.number, self._lists = number, lists

    def shown(self, op, answer):
        """Leave out of the event what is in the answer of plue_session_create_share() alone."""
        if op.name == "create_share" and "secret" in (share := loads(answer)):
            return dumps({name: value for name, value in share.items() if name not in ("secret", "link")})
        return answer

    def progress(self, step, done):
        data = f'{self._head(step.tag)},"done":{done},"of":{len(self.steps)}}}'
        self._lists.guarded(lambda: self._lists.tell("progress", data), "plue_session_submit")

    def refuse(self, error):
        if self.has_run:  # it failed on the way: memory is short, most likely
            self.abandon(error)
        else:
            self._last("failed", [self._lists.refusal(error)])

    def end(self):
        is_over = self.has_run or not self.steps
        self._last("cancelled" if self.is_cut else "completed" if is_over else "failed", self.results)

    def abandon(self, error):
        """End what is stuck: `error` is the result of what has none yet."""
        results, count = list(self.results), 1 if self.steps is None else len(self.steps)
        self._last("cancelled", results + [self._lists.refusal(error)] * (count - len(results)))

    def _head(self, tag):
        return f'{{"operation":{self.number}' + ("" if tag is None else f',"tag":{quote(tag)}')

    def _last(self, kind, results):
        """Tell the last event, unless that was done. Never raises."""
        lists = self._lists
        if not lists.end(self.number):
            return
        head = self._head(first_tag(self.steps or ()))
        try:
            try:
                lists.tell(kind, f'{head},"results":[{",".join(results)}]}}')
            except Exception as error:  # of memory, most likely
                short = f'{head},"results":[{lists.refusal(error)}]}}'
                lists.guarded(lambda: lists.tell(kind, short), self.function)
        finally:
            lists.leave(self.number)


class Submissions:
    """The submissions of a runtime, run by its `batches`. Thread-safe."""

    def __init__(self, boundary, runtime):
        self._boundary, self._ffi, self._lib, self._runtime = boundary, boundary.ffi, boundary.lib, runtime
        #: does what nobody waits for; a failure is logged
        self.guarded = boundary.guarded
        self._open = {}

    def look(self):
        """Begin what was submitted, and end what was cancelled."""
        self._begin()
        for number, each in list(self._open.items()):
            if self._lib.core__submission_is_cancelled(number):
                error = Aborted("plue_session_cancel_operation() ended it", "Submit again what is still wanted.")
                self._runtime.batches.stop(each, error)

    def close(self, until):
        """Tell how each has ended, before the library says farewell; `until`: by then, ns of the monotonic clock."""
        error = closed()
        for each in self._runtime.batches.close(error, (until - MARGIN) / 1e9 - monotonic()):
            if isinstance(each, Submission):
                each.abandon(error)
        self._begin()

    def _begin(self):
        lib, number, length = self._lib, self._ffi.new("uint64_t *"), self._ffi.new("size_t *")
        while True:
            made = Submission(0, self)  # before one is taken, which from then on is to end
            text = lib.core__submission_take(number, length)
            if not text:
                return
            made.number = number[0]
            try:
                self._open[made.number] = made
                try:
                    made.text = str(self._ffi.buffer(text, length[0]), "utf-8")
                finally:
                    lib.core__submission_forget(text)
                self._runtime.batches.start(made)
            except Exception as error:  # of memory: it may be a long text
                made.refuse(error)

    # -- for one of them -----------------------------------------------------------------------------------------------
    def tell(self, kind, data):
        if not self._runtime.tell(f"operation.{kind}", data):
            raise MemoryError

    def refusal(self, error):
        """Return the result of what was refused as a whole."""
        return f'{{"error":{self._boundary.describe(error, Submission.function, None)}}}'

    def end(self, number):
        """Have one end. False: it has ended."""
        self._open.pop(number, None)
        return self._lib.core__submission_end(number) == 0

    def leave(self, number):
        """Note that it has been told how one has ended."""
        self._lib.core__submission_leave(number)
