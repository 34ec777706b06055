"""Measure coverage in a process that the tests start, embedded interpreters included. Run from a .pth file in .venv.

An embedded interpreter is never finalized, so nothing saves what was measured when its host exits: it is saved each
time the runtime closes. The product knows nothing of this.
"""

import importlib.abc
import importlib.machinery
import sys

import coverage

WATCHED = "plue_session.runtime"


class SaveWhenClosed(importlib.abc.MetaPathFinder):
    """Finds `plue_session.runtime` like everybody else, and has `Runtime.close` save what was measured so far."""

    def find_spec(self, name, path=None, target=None):
        if name != WATCHED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec:
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                close = module.Runtime.close

                def close_and_save(runtime, *call):
                    try:
                        close(runtime, *call)
                    finally:
                        coverage.Coverage.current().save()

                module.Runtime.close = close_and_save

            spec.loader.exec_module = exec_module
        return spec


coverage.process_startup()
if not sys.orig_argv:  # embedded: an interpreter that was started as a program saves at exit by itself
    sys.meta_path.insert(0, SaveWhenClosed())
