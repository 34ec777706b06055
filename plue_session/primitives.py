"""Locks, thread ids and sleep of Python's own, also where a host has had gevent or eventlet replace them: theirs belong
to the thread that made them, and would have ours wait for ever or fail. Nothing is imported for it."""

import _thread
import sys
import time


def _original(module, name):
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    if getattr(gevent, "saved", None):
        return gevent.get_original(module.__name__, name)
    if getattr(eventlet, "already_patched", None):
        return getattr(eventlet.original(module.__name__), name)
    return getattr(module, name)


allocate_lock, get_ident, sleep = (
    _original(_thread, "allocate_lock"),
    _original(_thread, "get_ident"),
    _original(time, "sleep"),
)
