"""Run by C in the interpreter before anything else of the library (start.c): `emit` embeds this text. Nothing here may
print."""

import sys


def set_up():
    """Make an interpreter of our own ready: no standard streams, which are bound to whatever the host has on 0, 1 and
    2, and the environment's site, which runs code (.pth files, sitecustomize) that may print, and complains about
    itself on stderr."""
    import io

    sys.stdin = sys.__stdin__ = None
    sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = io.StringIO()
    try:
        if "site" not in sys.modules:
            import site

            site.main()
    finally:
        sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = None
    import _signal  # noqa: F401  (now, while SIGINT is guarded: interrupt.c)


def load_cffi(*places):
    """Import cffi's module, from one of `places` if it is there: the host's may be an unsuitable one, or none.
    `sys.path` stays as it is."""
    if "_cffi_backend" in sys.modules:
        return
    from _frozen_importlib import _load
    from _frozen_importlib_external import PathFinder

    spec = PathFinder.find_spec("_cffi_backend", list(places))
    if spec is None:
        import _cffi_backend  # noqa: F401
    else:
        _load(spec)
