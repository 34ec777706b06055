"""Programs that are started so that they are no children of the host's (children.c)."""

import errno
import os


class Children:
    """Starts them, from any library thread."""

    def __init__(self, ffi, lib):
        self._ffi, self._lib = ffi, lib

    def start(self, program, arguments, environment, folder, streams):
        """Start a program in a folder, with an environment (a dict), its descriptors 0 to 3 being `streams`. Return a
        function that waits for its end, or only looks (`wait(False)`), and returns whether it has ended; not to be
        called after that. `OSError` as of `subprocess`; `NotImplementedError`
        where the system cannot do this."""
        new, keep = self._ffi.new, []

        def text(value):
            value = os.fsencode(value)
            if b"\0" in value:
                raise ValueError("embedded null byte")
            keep.append(new("char[]", value))
            return keep[-1]

        def texts(values):
            keep.append(new("char *[]", [*map(text, values), self._ffi.NULL]))
            return keep[-1]

        if any("=" in name for name in environment):
            raise ValueError("illegal environment variable name")
        variables = [f"{name}={value}" for name, value in environment.items()]
        failure, stage = new("int *"), new("int *")
        made = self._lib.core__child_start(
            text(program), texts(arguments), texts(variables), text(folder), new("int[]", streams), failure, stage
        )
        if failure[0] == errno.ENOSYS:
            raise NotImplementedError
        if failure[0]:
            raise OSError(failure[0], os.strerror(failure[0]), folder if stage[0] == 1 else program)
        # NULL: the keeper has ended already
        return lambda patient: not made or bool(self._lib.core__child_end(made, patient))
