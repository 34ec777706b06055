"""The one tree of errors: a class per C code, and the table that the header, the C side and the reader of a log
share."""


class PlueError(Exception):
    """A failure that a C caller can act on.

    `cause` says what is wrong, `remedy` what to do about it, `session` whose call it was, `details` is a JSON-able
    dict for machines (never a secret). The boundary adds the operation's name in front.
    """

    name = "UNKNOWN"
    number = -99
    retryable = False
    about = "An error without a code of its own; the message tells what happened."

    def __init__(self, cause, remedy="", *, session=None, details=None):
        super().__init__(cause)
        self.cause = cause
        self.remedy = remedy
        self.session = session
        self.details = details or {}

    def message(self, operation):
        """Say operation, session id, cause and remedy in one line of text."""
        subject = f"{operation} {self.session}" if self.session else operation
        text = f"{subject}: {self.cause.rstrip('.')}."
        return " ".join((f"{text} {self.remedy}" if self.remedy else text).splitlines())


#: All of them, in the order of their definition.
ALL: list[type[PlueError]] = []
#: Their names, by number.
NAMES: dict[int, str] = {}


def _error(name, number, about, retryable=False):
    title = "".join(part.capitalize() for part in name.split("_"))
    attributes = {"__doc__": about, "name": name, "number": number, "about": about, "retryable": retryable}
    ALL.append(made := type(title, (PlueError,), attributes))
    NAMES[number] = name
    return made


InvalidParam = _error("INVALID_PARAM", -1, "A parameter is NULL, of the wrong type or value, unknown, or not UTF-8.")
NotFound = _error("NOT_FOUND", -2, "The session (or what else was named) does not exist, or no longer does.")
AlreadyExists = _error("ALREADY_EXISTS", -3, "The key or the live role is taken.")
ProviderAuth = _error("PROVIDER_AUTH", -4, "The model provider refuses its credentials.")
ProviderInit = _error("PROVIDER_INIT", -5, "The provider or the model is not available.")
JsonParse = _error("JSON_PARSE", -6, "The text is not JSON, or, as a parameter, nested deeper than 128.")
StoreIo = _error("IO", -7, "A file or folder cannot be read or written, the disk is full, or memory is short.")
Timeout = _error("TIMEOUT", -8, "The call's time is up.", retryable=True)
Aborted = _error("ABORTED", -9, "plue_session_abort() interrupted this call.")
NotInitialized = _error("NOT_INITIALIZED", -10, "plue_init() has not been called, or plue_shutdown() has.")
AlreadyInitialized = _error("ALREADY_INITIALIZED", -11, "plue_init() was called twice without plue_shutdown().")
BadHandle = _error(
    "BAD_HANDLE", -12, "Not a live handle: destroyed, forged, of another kind, or from before a shutdown."
)
Connection = _error("CONNECTION", -13, "The server cannot be reached.", retryable=True)
Conflict = _error("CONFLICT", -14, "The state is another than the caller assumed; nothing was changed.")
InvalidTransition = _error("INVALID_TRANSITION", -15, "The session's status or relay state does not allow this.")
InUse = _error("IN_USE", -16, "Something still uses it: another handle, a turn, a callback, a process.")
Busy = _error(
    "BUSY", -17, "Another one is at it; the call waited as long as it may. Nothing was changed.", retryable=True
)
LeaseLost = _error("LEASE_LOST", -18, "The right to execute the session went to someone else.", retryable=True)
ClaimExpired = _error("CLAIM_EXPIRED", -19, "The claim is outdated; nothing was changed.")
BadCursor = _error("BAD_CURSOR", -20, "The cursor is malformed, or belongs to another session or query.")
AccessDenied = _error("ACCESS_DENIED", -21, "Refused: wrong credentials, secret, or no grant.")
LimitExceeded = _error("LIMIT_EXCEEDED", -22, "A configured or built-in limit; the message names it.")
Integrity = _error("INTEGRITY", -23, "The store or an artifact is damaged; nothing was overwritten.")
Server = _error("SERVER", -24, "The server failed, or answered what it should not.")
Unsupported = _error("UNSUPPORTED", -25, "This backend, store or session cannot do that.")
Runtime = _error("RUNTIME", -26, "The embedded Python cannot start; the message says why and what to install.")
Forked = _error("FORKED", -27, "The library cannot be used in a forked child before exec.")
Closed = _error("CLOSED", -28, "It was closed, or the library shut down, while the call was under way.")
QueueFull = _error("QUEUE_FULL", -29, "A bounded queue is full; try again when it has drained.", retryable=True)
HookFailed = _error("HOOK_FAILED", -30, "A hook refused, and hooks.strict is set.")
Unknown = _error("UNKNOWN", -99, PlueError.about)


def known(error):
    """Return a failure as one of these; any other is a defect of ours, which must be noticed."""
    if isinstance(error, PlueError):
        return error
    return Unknown(f"internal error, {type(error).__name__}: {error}", "Please report it.")


def closed():
    """Return the error of a call that the shutdown cut short."""
    return Closed("the library shut down during the call", "Call plue_init() again.")


def damaged():
    """Return the error for a store that holds what was never written."""
    return Integrity(
        "the store is damaged: what it holds of a session is not UTF-8",
        "`plue-session doctor` says more; keep a copy of the store.",
    )


def gone(session_id):
    """Return the error for a session that does not exist, or no longer does."""
    return NotFound(
        "the session does not exist, or was deleted", "List the sessions to see what there is.", session=session_id
    )
