"""What calls to a server need of the Python that they run in, made sure of at the start: a host's own Python may lack
it, and what lies on the disk later may be of another version."""

import contextlib
import importlib
import sys

from plue_session import errors

#: Everything that is imported by what a call does: the first of them takes a tenth of a second.
MODULES = ("plue_session.adapters.opencode.http", "email.utils", "encodings.idna", "stringprep")
REQUESTS = "requests>=2.31"


def load(places=()):
    """Import it all, from `places` (the library's own folders) before any other; `RUNTIME` says what lacks. They are in
    `sys.path` meanwhile only, which may be the host's, and change under our hands."""
    sys.path[:0] = places
    try:
        for name in MODULES:
            importlib.import_module(name)
    except ImportError as error:
        raise _lacking(
            f"the OpenCode backend needs {error.name or REQUESTS}, which this Python cannot import ({error})"
        ) from None
    except Exception as error:  # whatever a package that is half replaced raises
        raise _lacking(
            f"the OpenCode backend needs {REQUESTS}, which cannot be loaded ({type(error).__name__}: {error})"
        ) from None
    finally:
        for place in places:
            with contextlib.suppress(ValueError):  # the host has taken it out itself
                sys.path.remove(place)


def check_primitives():
    """Fail with `RUNTIME` where gevent or eventlet have replaced the locks and sockets of Python: theirs belong to one
    thread each, and the library has several."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    for name, is_patched in (
        ("gevent", getattr(gevent, "saved", None)),
        ("eventlet", getattr(eventlet, "already_patched", None)),
    ):
        if is_patched:
            raise errors.Runtime(
                f"{name} has replaced Python's locks and sockets in this process, and the "
                "OpenCode backend cannot work with its own",
                f"Use a process without {name}'s monkey patching for it, or the embedded backend.",
            )


def _lacking(cause):
    return errors.Runtime(
        cause, f"Install it for the Python that runs here: {sys.executable or 'python3'} -m pip install '{REQUESTS}'."
    )
