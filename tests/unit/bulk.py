"""Batches over the services of a test's world, as the library makes them, and what becomes of them."""

import json
import math
import queue
from types import SimpleNamespace

from plue_session import errors
from plue_session.capi import bulk
from plue_session.services.batches import Batch, Batches


class Told(Batch):
    """A batch as a submission is one: remembers what its host would hear."""

    function = "plue_session_submit"

    def __init__(self, *operations):
        super().__init__(json.dumps(operations), math.inf)
        self.heard, self.over = [], queue.SimpleQueue()

    def refuse(self, error):
        self.over.put(error)

    def progress(self, step, done):
        self.heard.append((step.tag, done))

    def end(self):
        self.over.put(None)

    def wait(self, seconds=10):
        """Wait for the end, and return the results; raises what it was refused with."""
        error = self.over.get(timeout=seconds)
        if error:
            raise error
        return [json.loads(each) for each in self.results]


class Bulk:
    """The batches over services; `sent_home` are the sessions whose callers an abort has sent home."""

    def __init__(self, world, sessions, seconds=5.0, fresh_info=None, **server):
        self.sent_home = []
        inputs = getattr(world.inputs, "services", world.inputs)
        runtime = SimpleNamespace(sessions=sessions, inputs=inputs, turns=world.turns)
        server = {"calls": world.calls, "resolve": sessions.resolve, **server}
        functions = bulk.functions(runtime, self.sent_home.append, fresh_info)

        def refusal(error, function, session_id):
            return bulk.render(errors.known(error), function, session_id)

        self.batches = Batches(functions, world.writer, seconds, refusal, lambda: None, **server)

    def start(self, *operations):
        batch = Told(*operations)
        self.batches.start(batch)
        return batch

    def run(self, *operations):
        """Run operations as plue_session_batch does, and return the results."""
        return self.run_text(json.dumps(operations))

    def run_text(self, text):
        ended = queue.SimpleQueue()
        self.batches.run(text).then(ended.put)
        outcome = ended.get(timeout=10)
        if isinstance(outcome, BaseException):
            raise outcome
        return json.loads(outcome)


def codes(results):
    """Return "OK" or the error of each."""
    return [each["error"]["code"] if "error" in each else "OK" for each in results]
