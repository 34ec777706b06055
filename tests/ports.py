"""What the ports promise, as tests go through it."""

import inspect

from plue_session import ports

#: Methods of a store that never fail (see ports/): what is done when something else did must be possible.
INFALLIBLE = {"is_locked", "rollback", "keep", "written", "wants_maintenance", "lock_fds", "close", "end_replay"}


def methods(port):
    """Return `{name: signature}` of the methods that a port has."""
    found = inspect.getmembers(port, inspect.isfunction)
    return {name: signature(method) for name, method in found if not name.startswith("_")}


def signature(method):
    """Return a method's parameters but for `self`, as (name, default) with how each is passed."""
    parameters = inspect.signature(method).parameters.values()
    return [(each.name, each.default, each.kind) for each in parameters if each.name != "self"]


#: The calls into a store that may fail.
FALLIBLE = methods(ports.Store).keys() - INFALLIBLE
#: Those to a server that carry a question or a change to it.
REQUESTS = {name for name, parameters in methods(ports.Server).items() if "call" in [each for each, *_ in parameters]}
