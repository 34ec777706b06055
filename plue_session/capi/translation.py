"""Any exception as an error that a C caller can act on."""

from plue_session import errors


def describe(error):
    """Say what an unexpected exception was and where it came from."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    place = f" ({trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno})" if trace else ""
    return f"{type(error).__name__}: {error}{place}"


def translate(error):
    """Return the `PlueError` that a C caller gets for any exception."""
    if isinstance(error, errors.PlueError):
        return error
    if isinstance(error, MemoryError) or isinstance(error, RuntimeError) and str(error).startswith("can't allocate"):
        return errors.StoreIo("out of memory", "Free some and try again.")
    if isinstance(error, OSError):
        return errors.StoreIo(
            f"{error.strerror or error}{f' ({error.filename})' if error.filename else ''}",
            "Check the file, its permissions and the free space, and try again.",
        )
    return errors.Unknown(f"internal error, {describe(error)}", "Please report it.")
