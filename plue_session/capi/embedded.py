"""Run by cffi when it starts in the interpreter: `emit` embeds this text and a call of `begin`. It must never raise:
cffi would print the traceback into the host's stderr."""


def begin():
    """Answer the C side. The package is imported by the first call, not here: loading may be tried again when it
    failed."""
    from _plue_session import ffi, lib

    boundary = None

    def load():
        import os
        import sys

        root = ffi.string(lib.core__package_root()).decode("utf-8", "surrogateescape")
        if "plue_session" not in sys.modules:  # not by sys.path: that is the host's
            from _frozen_importlib import _load
            from _frozen_importlib_external import PathFinder

            spec = PathFinder.find_spec("plue_session", [root])
            if spec is None:
                raise ImportError(f"there is no package plue_session in {root}")
            _load(spec)
        from plue_session.capi import boundary as module

        place = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(module.__file__))))
        if os.path.realpath(place) != os.path.realpath(root):
            raise RuntimeError(
                f"this process has loaded plue_session from {place}, the library belongs to the one in {root}"
            )
        return module.Boundary(ffi, lib)

    @ffi.def_extern(name="core_python_serve", error=-1)
    def serve(executor, number):
        nonlocal boundary
        try:
            if boundary is None:
                boundary = load()
            return boundary.run(executor, number)
        except BaseException as error:
            lib.core__boot_failed(
                (
                    f"the library's Python half cannot be loaded: {type(error).__name__}: {error}. "
                    "Install the package again (pip install plue-session)."
                ).encode("utf-8", "replace")
            )
            return -1
