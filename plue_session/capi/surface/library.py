"""Library: start, stop, errors, memory.

plue_init() starts the library, plue_shutdown() stops it, and in between every function may be called from any thread
at any time. One library state per process.
"""

from __future__ import annotations

from plue_session.capi.surface.table import export


@export(time="remote")
def plue_init(config_json: Configuration) -> Status:
    """Start the library.

    Starts the embedded Python (once per process, about 30 ms, isolated from PYTHONHOME, PYTHONPATH, user site and the
    working directory), opens the store, and looks for the server or spawns it. A failed plue_init() leaves nothing behind
    and may be tried again.

    Configuration keys, all optional; an unknown one is an error that names it:
      dataDir      folder of the store (mode 0700); default $XDG_DATA_HOME/plue_session, else $HOME/.local/share/plue_session,
                   else the same in the home of the passwd database; a variable that is no absolute path counts as unset
      store        "sqlite" (default: durable, one file, shared by any number of processes) or "memory" (gone at shutdown)
      backend      {"kind":"embedded"} (default): sessions live in the store, no server
                   {"kind":"opencode","url","directory","username" "opencode","password"}: on this OpenCode server;
                   directory is the project, by default the working directory
                   {"kind":"opencode","spawn":{"command" ["opencode"],"directory","env"}}: on a server of our own, with a
                   port and a password of its own; it is started again should it die. Processes with the same dataDir,
                   command, directory and env share one, unless store is "memory": the first starts it, and it ends with
                   the last in any case. "serve --hostname 127.0.0.1 --port 0" is added to a command without "serve"
      requestTimeoutMs  how long a call may take, default 30000
      cacheTtlMs   how old what is known of a server's session may be before the server is asked again, default 5000
      syncIntervalMs  every so often all sessions of the server are looked at, default 30000
      offline      "queue" (default): plue_init() succeeds while the server is away; changes wait until it is back, reads
                   answer what was last known. "fail": plue_init() fails, and so does what needs the server
      retry        {"baseMs" 1000, "maxMs" 30000}: after how long a change is sent again that the server was sick of; twice
                   as long each time
      share        {"baseUrl" "http://localhost:4780", "ttlMs" 86400000 or null for ever, "auto" false}
      replay       {"limit" 2048, "ageMs" 120000}: how many events of a session stay readable, and how long
      defaultModel {"providerId","modelId"}: the model of turns whose input and session name none; else the server's own default
      lease        {"ttlMs" 30000, "renewMs" 10000}: for how long a process that runs a turn claims its inputs at a time, and how
                   often it does so again; ttlMs is at least three times as long
      limits       {"activeSessions"}: refuse to create more; none by default
      log          {"level" "warning", "file"}: "debug", "info", "warning" or "error"; without a file nothing is written
                   anywhere. "debug" adds, to the file alone, each call that a thread of the library has carried out and each
                   request to the server, with times and outcomes and without any text of yours
    What the argument leaves out comes from the JSON file named by PLUE_SESSION_CONFIG, then from PLUE_SESSION_DATA_DIR,
    PLUE_OPENCODE_URL, OPENCODE_SERVER_USERNAME, OPENCODE_SERVER_PASSWORD and PLUE_SESSION_LOG ("<level>:<file>"), then from
    the defaults.

    :param config_json: a JSON object, or NULL for the defaults; copied.
    :returns: 0, or -1.
    :errors: ALREADY_INITIALIZED; INVALID_PARAM, JSON_PARSE (the configuration); RUNTIME (no usable Python: says what
        to install; another copy of the library runs in this process; a host's own Python is finalized); LIMIT_EXCEEDED (more than 64 MiB); INTEGRITY (damaged store, see `plue-session doctor`); IO; UNSUPPORTED; CONNECTION (no server, with
        offline "fail"; a server that cannot be spawned); ACCESS_DENIED (the server refuses our credentials); SERVER (what
        answers there is no OpenCode); TIMEOUT (30 s); BUSY (another program keeps the store locked);
        CLOSED (another thread called plue_shutdown() meanwhile).
    :opencode: GET /global/health
    :takes: local: tens of milliseconds. With a server remote, whatever requestTimeoutMs is: a second when it is away, three with
        offline "fail", at most 30 s when it is spawned.
    """


@export(time="waits")
def plue_shutdown() -> Nothing:
    """Stop the library: finish what is committing, flush, end its threads, stop a spawned server that no other process uses.

    Calls in flight on other threads return CLOSED, also a plue_init() that takes long. Every handle is freed; the same value is
    BAD_HANDLE for ever. Text that was returned stays valid until it is freed. Twice, or without plue_init(), is harmless. Afterwards plue_init()
    works again; Python itself stays loaded until the process ends. Not needed before exit(): whatever was acknowledged
    is durable already.

    Takes at most 7 s; what is stuck by then is abandoned and can no longer write or publish. From a callback it is
    refused: the last error is IN_USE. If a callback of yours still runs at the end, the last error is TIMEOUT, and what that
    callback uses must stay until it returns.
    """


@export(time="instant")
def plue_get_version() -> StaticText:
    """Return the library's version, such as "0.1.0". Static; works at any time."""


@export(time="instant")
def plue_version_number() -> Code:
    """Return the library's version as 10000 * major + 100 * minor + patch. Works at any time, and in a forked child.

    PLUE_VERSION_NUMBER is that of the header that a program was compiled with.
    """


@export(time="local", executor="read")
def plue_get_app_info(runtime) -> OwnedText:
    """Describe the running library, for an about box or a bug report.

    :returns: {"version","abi","python","paths":{"library","python","dataDir","dataDirRule"},"backend","store",
        "uptimeMs","server":{"running","url"?,"pid"?}}; free it with plue_free_json(). `dataDirRule` says what chose dataDir:
        "config", "environment" (PLUE_SESSION_DATA_DIR), "XDG_DATA_HOME", "HOME" or "passwd". `running`: the server answered
        when it was last asked; `pid`: of a server of our own.
    :errors: NOT_INITIALIZED.
    """
    return runtime.app_info()


@export(time="instant")
def plue_get_last_error() -> StaticText:
    """Return what went wrong in the calling thread's last failing call: operation, session id, cause, remedy.

    :returns: "No error" when there is none, never NULL; valid until this thread's next failing call.
    """


@export(time="instant")
def plue_get_last_error_json() -> StaticText:
    """Return the calling thread's last error as {"error":{"code","number","message","details"?,"retryable","timestamp"}}.

    :returns: {} when there is none; valid until this thread's next failing call or call of this function.
    """


@export(time="instant")
def plue_get_last_error_code() -> Code:
    """Return the number of the calling thread's last error (PLUE_ERROR_*), PLUE_OK when there is none.

    A success does not clear it, except in functions whose NULL can mean "nothing yet": those clear it first.
    """


@export(time="instant")
def plue_error_name(code: Code) -> StaticText:
    """Return the name of an error's number, such as "NOT_FOUND" for PLUE_ERROR_NOT_FOUND, and "OK" for PLUE_OK.

    Works at any time, and in a forked child.

    :returns: "UNKNOWN" for a number that is none; static.
    """


@export(time="instant")
def plue_free_json(json: Owned) -> Nothing:
    """Free text or memory that the library returned as `char *` or `void *`.

    NULL, a pointer that the library does not own, and a double free are ignored.
    """


@export(time="instant")
def plue_free_string(text: Owned) -> Nothing:
    """The same as plue_free_json()."""


@export(time="instant")
def plue_free(memory: Memory) -> Nothing:
    """The same as plue_free_json()."""


@export(time="instant")
def plue_json_quote(text: Text) -> OwnedText:
    """Return `text` as a JSON string literal, quotes included, ready to be pasted into a JSON document.

    Works at any time, so for the text of plue_init() as well.

    :param text: UTF-8.
    :returns: free it with plue_free_string().
    :errors: INVALID_PARAM (NULL, or not UTF-8); LIMIT_EXCEEDED; IO (no memory).
    """
