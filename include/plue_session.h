/*
 * plue_session 0.1.0: AI-coding sessions for native programs.
 *
 * Generated from plue_session/capi/surface by `make header`; do not edit. MIT licence.
 *
 *     plue_init(NULL);
 *     plue_session_t session = plue_session_create(NULL);
 *     char *info = plue_session_get_info(session);
 *     puts(info);
 *     plue_free_json(info);
 *     plue_session_destroy(session);
 *     plue_shutdown();
 *
 * Results.  A function that returns a pointer returns NULL on failure; one that returns int returns 0 on success and -1
 *   on failure, unless it returns a count (>= 0). What went wrong is in plue_get_last_error(), per thread. Beside the
 *   errors that a function lists, each may fail with NOT_INITIALIZED (but for those that say that they work at any time),
 *   FORKED or IO (no memory), and one that is not instant
 *   with CLOSED (the library shut down meanwhile), QUEUE_FULL (4096 calls wait already), BUSY (its time was up before it
 *   began: nothing was changed) or TIMEOUT (its time was up after it began: the session's state tells what became of it;
 *   with a server also before it began: the message tells which).
 * Text.     UTF-8, NUL-terminated. Parameters are copied; each may have 64 MiB (else LIMIT_EXCEEDED). `char *` results are
 *   yours: free them with plue_free_json(), plue_free_string() or plue_free(), which are the same. `const char *` results
 *   belong to the library.
 * Threads.  Every function may be called from any thread at any time. None is a cancellation point: a thread that is cancelled
 *   (pthread_cancel, deferred) ends its call first.
 * Time.     Each function says how long it may take: instant, local, remote, waits.
 * Process.  The library never exits the process, prints, or changes its signal handlers, locale, environment or
 *   working directory. In a forked child (fork, _Fork, clone) every function fails with FORKED until exec, but for
 *   those that say that they work there. Its threads have the process's own scheduling, whoever calls. Of two copies
 *   in one process one runs, the other gets RUNTIME. In a host that is Python itself calls fail with RUNTIME once
 *   its interpreter is finalized, and from a sub-interpreter that holds the lock. More: docs/guide.md, "The process
 *   it runs in".
 * JSON.     Keys are camelCase, times are milliseconds since the Unix epoch, absent values are omitted. In what you pass, an
 *   unknown key is an error; in what you get, ignore keys that you do not know: later versions add some. Read it with
 *   plue_json_text() and its like; plue_json_quote() makes a JSON string of any text.
 */
#ifndef PLUE_SESSION_H
#define PLUE_SESSION_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef PLUE_API
#if defined(__GNUC__) || defined(__clang__)
#define PLUE_API __attribute__((visibility("default")))
#else
#define PLUE_API
#endif
#endif

/* 100 * major + minor: functions and numbers are only ever added. */
#define PLUE_API_VERSION 1
/* 10000 * major + 100 * minor + patch, of this header; plue_version_number() is the library's. */
#define PLUE_VERSION_NUMBER 100

/* Error codes. Append-only; retryable ones may succeed when the same call is made again. */
#define PLUE_OK 0
#define PLUE_ERROR_INVALID_PARAM         (-1)  /* A parameter is NULL, of the wrong type or value, unknown, or not UTF-8. */
#define PLUE_ERROR_NOT_FOUND             (-2)  /* The session (or what else was named) does not exist, or no longer does. */
#define PLUE_ERROR_ALREADY_EXISTS        (-3)  /* The key or the live role is taken. */
#define PLUE_ERROR_PROVIDER_AUTH         (-4)  /* The model provider refuses its credentials. */
#define PLUE_ERROR_PROVIDER_INIT         (-5)  /* The provider or the model is not available. */
#define PLUE_ERROR_JSON_PARSE            (-6)  /* The text is not JSON, or, as a parameter, nested deeper than 128. */
#define PLUE_ERROR_IO                    (-7)  /* A file or folder cannot be read or written, the disk is full, or memory is short. */
#define PLUE_ERROR_TIMEOUT               (-8)  /* The call's time is up. Retryable. */
#define PLUE_ERROR_ABORTED               (-9)  /* plue_session_abort() interrupted this call. */
#define PLUE_ERROR_NOT_INITIALIZED       (-10) /* plue_init() has not been called, or plue_shutdown() has. */
#define PLUE_ERROR_ALREADY_INITIALIZED   (-11) /* plue_init() was called twice without plue_shutdown(). */
#define PLUE_ERROR_BAD_HANDLE            (-12) /* Not a live handle: destroyed, forged, of another kind, or from before a shutdown. */
#define PLUE_ERROR_CONNECTION            (-13) /* The server cannot be reached. Retryable. */
#define PLUE_ERROR_CONFLICT              (-14) /* The state is another than the caller assumed; nothing was changed. */
#define PLUE_ERROR_INVALID_TRANSITION    (-15) /* The session's status or relay state does not allow this. */
#define PLUE_ERROR_IN_USE                (-16) /* Something still uses it: another handle, a turn, a callback, a process. */
#define PLUE_ERROR_BUSY                  (-17) /* Another one is at it; the call waited as long as it may. Nothing was changed. Retryable. */
#define PLUE_ERROR_LEASE_LOST            (-18) /* The right to execute the session went to someone else. Retryable. */
#define PLUE_ERROR_CLAIM_EXPIRED         (-19) /* The claim is outdated; nothing was changed. */
#define PLUE_ERROR_BAD_CURSOR            (-20) /* The cursor is malformed, or belongs to another session or query. */
#define PLUE_ERROR_ACCESS_DENIED         (-21) /* Refused: wrong credentials, secret, or no grant. */
#define PLUE_ERROR_LIMIT_EXCEEDED        (-22) /* A configured or built-in limit; the message names it. */
#define PLUE_ERROR_INTEGRITY             (-23) /* The store or an artifact is damaged; nothing was overwritten. */
#define PLUE_ERROR_SERVER                (-24) /* The server failed, or answered what it should not. */
#define PLUE_ERROR_UNSUPPORTED           (-25) /* This backend, store or session cannot do that. */
#define PLUE_ERROR_RUNTIME               (-26) /* The embedded Python cannot start; the message says why and what to install. */
#define PLUE_ERROR_FORKED                (-27) /* The library cannot be used in a forked child before exec. */
#define PLUE_ERROR_CLOSED                (-28) /* It was closed, or the library shut down, while the call was under way. */
#define PLUE_ERROR_QUEUE_FULL            (-29) /* A bounded queue is full; try again when it has drained. Retryable. */
#define PLUE_ERROR_HOOK_FAILED           (-30) /* A hook refused, and hooks.strict is set. */
#define PLUE_ERROR_UNKNOWN               (-99) /* An error without a code of its own; the message tells what happened. */

/* Events, by number; see the section Events. Append-only. */
#define PLUE_EVENT_SESSION_CREATED 0
#define PLUE_EVENT_SESSION_UPDATED 1
#define PLUE_EVENT_SESSION_DELETED 2
#define PLUE_EVENT_MESSAGE_CREATED 3
#define PLUE_EVENT_MESSAGE_UPDATED 4
#define PLUE_EVENT_MESSAGE_PART_UPDATED 5
#define PLUE_EVENT_PROVIDER_CHANGED 6
#define PLUE_EVENT_CONFIG_CHANGED 7
#define PLUE_EVENT_ERROR 8
#define PLUE_EVENT_LIBRARY_INITIALIZED 9
#define PLUE_EVENT_LIBRARY_SHUTDOWN 10
#define PLUE_EVENT_SESSION_SHARED 11
#define PLUE_EVENT_SESSION_UNSHARED 12
#define PLUE_EVENT_SESSION_STATE_CHANGED 13
#define PLUE_EVENT_SESSION_COMPLETED 14
#define PLUE_EVENT_TURN_STARTED 15
#define PLUE_EVENT_TURN_ACTIVITY 16
#define PLUE_EVENT_TURN_FINISHED 17
#define PLUE_EVENT_QUEUE_CHANGED 18
#define PLUE_EVENT_ARTIFACT_ADDED 19
#define PLUE_EVENT_ARTIFACT_DELETED 20
#define PLUE_EVENT_RESOURCE_CHANGED 21
#define PLUE_EVENT_RELAY_CHANGED 22
#define PLUE_EVENT_SYNC_STATE 23
#define PLUE_EVENT_SYNC_CONFLICT 24
#define PLUE_EVENT_OPERATION_PROGRESS 25
#define PLUE_EVENT_OPERATION_COMPLETED 26
#define PLUE_EVENT_OPERATION_FAILED 27
#define PLUE_EVENT_OPERATION_CANCELLED 28
#define PLUE_EVENT_PERMISSION_ASKED 29
#define PLUE_EVENT_PERMISSION_REPLIED 30
#define PLUE_EVENT_HOOK_FAILED 31
#define PLUE_EVENT_LOG 32
#define PLUE_EVENT_GAP 33
#define PLUE_EVENT_QUESTION_ASKED 34
#define PLUE_EVENT_QUESTION_REPLIED 35
#define PLUE_EVENT_TODO_UPDATED 36

/* A handle to a session: opaque, never an address, never reused. */
typedef struct plue_session *plue_session_t;

/* Reserved values with a meaning of their own for functions that say so; all others answer BAD_HANDLE to them. */
#define PLUE_ALL_SESSIONS ((plue_session_t)(uintptr_t)1)
#define PLUE_CURRENT_SESSION ((plue_session_t)(uintptr_t)2)

/* A handle to an observer: opaque, never an address, never reused. */
typedef struct plue_session_observer *plue_session_observer_t;

/* What a subscription calls: the event's number (PLUE_EVENT_*), its JSON, and the user_data of the subscription. */
typedef void (*plue_event_callback)(uint8_t type, const char *event_json, void *user_data);

/* What cleans up after a session whose agent has ended: gets its info; 0 = it is done. */
typedef int (*plue_session_cleaner)(const char *session_json, void *user_data);

/* ========================================================================
 * Library: start, stop, errors, memory.
 *
 * plue_init() starts the library, plue_shutdown() stops it, and in between every function may be called from any thread
 * at any time. One library state per process.
 * ======================================================================== */

/**
 * Start the library.
 *
 * Starts the embedded Python (once per process, about 30 ms, isolated from PYTHONHOME, PYTHONPATH, user site and the
 * working directory), opens the store, and looks for the server or spawns it. A failed plue_init() leaves nothing behind
 * and may be tried again.
 *
 * Configuration keys, all optional; an unknown one is an error that names it:
 *   dataDir      folder of the store (mode 0700); default $XDG_DATA_HOME/plue_session, else $HOME/.local/share/plue_session,
 *                else the same in the home of the passwd database; a variable that is no absolute path counts as unset
 *   store        "sqlite" (default: durable, one file, shared by any number of processes) or "memory" (gone at shutdown)
 *   backend      {"kind":"embedded"} (default): sessions live in the store, no server
 *                {"kind":"opencode","url","directory","username" "opencode","password"}: on this OpenCode server;
 *                directory is the project, by default the working directory
 *                {"kind":"opencode","spawn":{"command" ["opencode"],"directory","env"}}: on a server of our own, with a
 *                port and a password of its own; it is started again should it die. Processes with the same dataDir,
 *                command, directory and env share one, unless store is "memory": the first starts it, and it ends with
 *                the last in any case. "serve --hostname 127.0.0.1 --port 0" is added to a command without "serve"
 *   requestTimeoutMs  how long a call may take, default 30000
 *   cacheTtlMs   how old what is known of a server's session may be before the server is asked again, default 5000
 *   syncIntervalMs  every so often all sessions of the server are looked at, default 30000
 *   offline      "queue" (default): plue_init() succeeds while the server is away; changes wait until it is back, reads
 *                answer what was last known. "fail": plue_init() fails, and so does what needs the server
 *   retry        {"baseMs" 1000, "maxMs" 30000}: after how long a change is sent again that the server was sick of; twice
 *                as long each time
 *   share        {"baseUrl" "http://localhost:4780", "ttlMs" 86400000 or null for ever, "auto" false}
 *   replay       {"limit" 2048, "ageMs" 120000}: how many events of a session stay readable, and how long
 *   defaultModel {"providerId","modelId"}: the model of turns whose input and session name none; else the server's own default
 *   lease        {"ttlMs" 30000, "renewMs" 10000}: for how long a process that runs a turn claims its inputs at a time, and how
 *                often it does so again; ttlMs is at least three times as long
 *   limits       {"activeSessions"}: refuse to create more; none by default
 *   log          {"level" "warning", "file"}: "debug", "info", "warning" or "error"; without a file nothing is written
 *                anywhere. "debug" adds, to the file alone, each call that a thread of the library has carried out and each
 *                request to the server, with times and outcomes and without any text of yours
 * What the argument leaves out comes from the JSON file named by PLUE_SESSION_CONFIG, then from PLUE_SESSION_DATA_DIR,
 * PLUE_OPENCODE_URL, OPENCODE_SERVER_USERNAME, OPENCODE_SERVER_PASSWORD and PLUE_SESSION_LOG ("<level>:<file>"), then from
 * the defaults.
 *
 * @param config_json a JSON object, or NULL for the defaults; copied.
 * @return 0, or -1.
 * Errors: ALREADY_INITIALIZED; INVALID_PARAM, JSON_PARSE (the configuration); RUNTIME (no usable Python: says
 *     what to install; another copy of the library runs in this process; a host's own Python is finalized);
 *     LIMIT_EXCEEDED (more than 64 MiB); INTEGRITY (damaged store, see `plue-session doctor`); IO;
 *     UNSUPPORTED; CONNECTION (no server, with offline "fail"; a server that cannot be spawned); ACCESS_DENIED
 *     (the server refuses our credentials); SERVER (what answers there is no OpenCode); TIMEOUT (30 s); BUSY
 *     (another program keeps the store locked); CLOSED (another thread called plue_shutdown() meanwhile).
 * OpenCode: GET /global/health
 * Takes: local: tens of milliseconds. With a server remote, whatever requestTimeoutMs is: a second when it is
 *     away, three with offline "fail", at most 30 s when it is spawned.
 */
PLUE_API int plue_init(const char *config_json);

/**
 * Stop the library: finish what is committing, flush, end its threads, stop a spawned server that no other process uses.
 *
 * Calls in flight on other threads return CLOSED, also a plue_init() that takes long. Every handle is freed; the same value is
 * BAD_HANDLE for ever. Text that was returned stays valid until it is freed. Twice, or without plue_init(), is harmless. Afterwards plue_init()
 * works again; Python itself stays loaded until the process ends. Not needed before exit(): whatever was acknowledged
 * is durable already.
 *
 * Takes at most 7 s; what is stuck by then is abandoned and can no longer write or publish. From a callback it is
 * refused: the last error is IN_USE. If a callback of yours still runs at the end, the last error is TIMEOUT, and what that
 * callback uses must stay until it returns.
 *
 * Takes: waits, as described, at most as long as stated.
 */
PLUE_API void plue_shutdown(void);

/**
 * Return the library's version, such as "0.1.0". Static; works at any time.
 *
 * Takes: instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.
 */
PLUE_API const char *plue_get_version(void);

/**
 * Return the library's version as 10000 * major + 100 * minor + patch. Works at any time, and in a forked child.
 *
 * PLUE_VERSION_NUMBER is that of the header that a program was compiled with.
 *
 * Takes: instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.
 */
PLUE_API int plue_version_number(void);

/**
 * Describe the running library, for an about box or a bug report.
 *
 * @return {"version","abi","python","paths":{"library","python","dataDir","dataDirRule"},"backend","store",
 *     "uptimeMs","server":{"running","url"?,"pid"?}}; free it with plue_free_json(). `dataDirRule` says what
 *     chose dataDir: "config", "environment" (PLUE_SESSION_DATA_DIR), "XDG_DATA_HOME", "HOME" or "passwd".
 *     `running`: the server answered when it was last asked; `pid`: of a server of our own.
 * Errors: NOT_INITIALIZED.
 * Takes: local: may wait for the local store; typically under a millisecond, at most requestTimeoutMs (10 s
 *     more to learn how a commit that has begun ends). No network.
 */
PLUE_API char *plue_get_app_info(void);

/**
 * Return what went wrong in the calling thread's last failing call: operation, session id, cause, remedy.
 *
 * @return "No error" when there is none, never NULL; valid until this thread's next failing call.
 * Takes: instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.
 */
PLUE_API const char *plue_get_last_error(void);

/**
 * Return the calling thread's last error as {"error":{"code","number","message","details"?,"retryable","timestamp"}}.
 *
 * @return {} when there is none; valid until this thread's next failing call or call of this function.
 * Takes: instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.
 */
PLUE_API const char *plue_get_last_error_json(void);

/**
 * Return the number of the calling thread's last error (PLUE_ERROR_*), PLUE_OK when there is none.
 *
 * A success does not clear it, except in functions whose NULL can mean "nothing yet": those clear it first.
 *
 * Takes: instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.
 */
PLUE_API int plue_get_last_error_code(void);

/**
 * Return the name of an error's number, such as "NOT_FOUND" for PLUE_ERROR_NOT_FOUND, and "OK" for PLUE_OK.
 *
 * Works at any time, and in a forked child.
 *
 * @return "UNKNOWN" for a number that is none; static.
 * Takes: instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.
 */
PLUE_API const char *plue_error_name(int code);

/**
 * Free text or memory that the library returned as `char *` or `void *`.
 *
 * NULL, a pointer that the library does not own, and a double free are ignored.
 *
 * Takes: instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.
 */
PLUE_API void plue_free_json(char *json);

/**
 * The same as plue_free_json().
 *
 * Takes: instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.
 */
PLUE_API void plue_free_string(char *text);

/**
 * The same as plue_free_json().
 *
 * Takes: instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.
 */
PLUE_API void plue_free(void *memory);

/**
 * Return `text` as a JSON string literal, quotes included, ready to be pasted into a JSON document.
 *
 * Works at any time, so for the text of plue_init() as well.
 *
 * @param text UTF-8.
 * @return free it with plue_free_string().
 * Errors: INVALID_PARAM (NULL, or not UTF-8); LIMIT_EXCEEDED; IO (no memory).
 * Takes: instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.
 */
PLUE_API char *plue_json_quote(const char *text);

/* ========================================================================
 * Reading JSON: what the library returns, and any other.
 *
 * These functions work at any time: without plue_init(), and after plue_shutdown(). `json` is one value (RFC 8259) of at
 * most 64 MiB, nested as deep as it likes. The time grows with its length, about a millisecond per MB. `pointer` names a
 * value in it (RFC 6901): "" is the whole, "/sessions/0/title" the title of the first of "sessions"; in a key, ~1 stands
 * for a slash and ~0 for a tilde.
 *
 * The whole of `json` is checked. Of equal keys the last one counts. An escape for half a surrogate pair means U+FFFD.
 * ======================================================================== */

/**
 * Return a string's text, without quotes and escapes; any other value as the JSON text that it is.
 *
 * @return free it with plue_free_string().
 * Errors: JSON_PARSE; NOT_FOUND (nothing is there); INVALID_PARAM (NULL; a malformed pointer; a string with a
 *     NUL in it, which no C text can hold); LIMIT_EXCEEDED.
 * Takes: instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.
 */
PLUE_API char *plue_json_text(const char *json, const char *pointer);

/**
 * Return a number, cut towards zero; 1 for true and 0 for false.
 *
 * Never sets an error. Works in a forked child, too.
 *
 * @return `otherwise` in every other case: also for a number that does not fit, and where something is wrong.
 * Takes: instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.
 */
PLUE_API int64_t plue_json_int(const char *json, const char *pointer, int64_t otherwise);

/**
 * Return a number, whatever the locale is.
 *
 * Never sets an error. Works in a forked child, too.
 *
 * @return `otherwise` in every other case: also for a number beyond all doubles, and where something is wrong.
 * Takes: instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.
 */
PLUE_API double plue_json_double(const char *json, const char *pointer, double otherwise);

/**
 * Count the elements of an array, or the members of an object, equal keys included.
 *
 * @return the count, or -1.
 * Errors: JSON_PARSE; NOT_FOUND (nothing is there); INVALID_PARAM (NULL; a malformed pointer; neither array
 *     nor object); LIMIT_EXCEEDED.
 * Takes: instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.
 */
PLUE_API int plue_json_count(const char *json, const char *pointer);

/**
 * Call `visit` with each element of an array, or each member of an object as {"key":…,"value":…}, in order.
 *
 * A visit may call any function of the library, and leaves `json` as it is. It must return, or the memory of one
 * element is lost. With the pointer "" the text is checked as it is visited: where it turns out to be no JSON, some
 * visits have been made.
 *
 * @param visit gets the element's JSON text, which is valid until it returns; any result but 0 ends the
 *     visits.
 * @param user_data handed to `visit`.
 * @return 0 after the last visit; what a visit ended with (let it be positive); or -1.
 * Errors: JSON_PARSE; NOT_FOUND (nothing is there); INVALID_PARAM (NULL; a malformed pointer; neither array
 *     nor object); LIMIT_EXCEEDED.
 * Takes: instant, but for the visits.
 */
PLUE_API int plue_json_each(const char *json, const char *pointer, int (*visit)(const char *element_json, void *user_data), void *user_data);

/* ========================================================================
 * Sessions.
 *
 * A plue_session_t is a token for a session, not its address: it may be stale, forged or NULL, and the call then fails
 * with BAD_HANDLE or INVALID_PARAM instead of crashing. Many handles may refer to one session; they see the same state.
 * Each is freed with plue_session_destroy(), which leaves the session alone; plue_session_delete() erases the session.
 * After that its handles answer NOT_FOUND for ever and are still yours to destroy.
 *
 * Every change is durable before its call returns, visible through every handle at once, and told to other processes on
 * the same store within 50 ms. (Of a change that a server keeps, the server and a note on disk have it then, from which the
 * next process recovers it; its events follow its commit.) A failed call changes nothing and emits no event, but for what plue_session_abort() and
 * plue_session_delete() say. A parameter that is wrong by itself is refused at once, also while another process holds the
 * store, or the server does not answer.
 *
 * With an OpenCode server (`backend` in plue_init()) a session is the server's, its id begins with "ses_", and the store keeps
 * what the server does not: keys, tags, descriptions, providers, shares of our own. What changes a session asks the server
 * first. Then each function marked "OpenCode:" may also fail with CONNECTION (the server is away), TIMEOUT (it gave no answer in
 * time), ACCESS_DENIED (it refuses our credentials) or SERVER (it failed, or answered what it should not). While it is away,
 * reads answer what was last known (`sync.state` is "stale"; with `offline` "fail" those that would ask it fail), and changes
 * are queued: create, create_with, get_or_create, update_title, update, delete and unshare are stored, shown (`sync.state`
 * "pending"), return success, and are sent in order when it is back; what it then refuses is taken back, with an event. At most
 * 10,000 changes wait (QUEUE_FULL). The rest
 * fail with CONNECTION, and with `offline` "fail" all changes do. A session made so has an id like "session_1763640000000" until the server
 * gives it its own; one session.updated then carries both, and the first one stays valid as an alias (`aliases` in its info).
 * ======================================================================== */

/**
 * Create a session titled "Untitled", or as the server titles it.
 *
 * A create whose answer is lost is found again by a token that it carries, not made twice.
 *
 * @param parent_id the id of an existing session to be its parent; NULL or "" for none.
 * @return a handle for plue_session_destroy(), or NULL.
 * Errors: INVALID_PARAM (malformed id); NOT_FOUND (no such parent); LIMIT_EXCEEDED; BUSY; IO.
 * OpenCode: POST /session
 * Takes: remote: may talk to the server; at most requestTimeoutMs. Embedded backend: as local.
 */
PLUE_API plue_session_t plue_session_create(const char *parent_id);

/**
 * Create a session with options.
 *
 * Keys, all optional: title; parentId; key (your own unique name for it, 1-200 characters, not beginning with
 * "session_" or "ses_"); tags (array of strings, kept as a set in order); metadata (any JSON object of yours);
 * description; role (the session starts with relay state CREATED; one live session per role); agent (one to be attached, as
 * plue_session_relay_attach() has it, with its `worktree` in it, default the session's directory: role, default the session's id,
 * plue_session_relay_spawn() and plue_session_relay_attach() in one call, which is undone as one, also if the process is
 * killed meanwhile: by the next one to start); provider {"providerId","modelId"} (as plue_session_initialize()); directory (an existing
 * folder, stored absolute and without symlinks). The server gets title, parentId, directory and metadata (in which
 * "plue_session" is the library's own name); the rest is kept here.
 *
 * @param options_json a JSON object, or NULL for plue_session_create(NULL).
 * @return a handle for plue_session_destroy(), or NULL.
 * Errors: INVALID_PARAM and JSON_PARSE (name the key); NOT_FOUND (parent); ALREADY_EXISTS (key or live role:
 *     names the session that has it); PROVIDER_INIT (the server has no such provider or model);
 *     LIMIT_EXCEEDED; BUSY; IO; and with an agent those of plue_session_relay_attach().
 * OpenCode: POST /session
 * Takes: remote: may talk to the server, and waits for an agent to be ready; at most requestTimeoutMs.
 *     Embedded backend without one: as local.
 */
PLUE_API plue_session_t plue_session_create_with(const char *options_json);

/**
 * Return the session with this key, creating it if there is none: one session per key, also when threads and
 * processes race. Keys are kept here: a server is asked only for what is new.
 *
 * @param key 1-200 characters; no control characters, no slashes, not beginning with "session_" or "ses_".
 * @return a handle for plue_session_destroy(), or NULL.
 * Errors: INVALID_PARAM; LIMIT_EXCEEDED; BUSY; IO.
 * OpenCode: POST /session
 * Takes: remote: may talk to the server; at most requestTimeoutMs. Embedded backend: as local.
 */
PLUE_API plue_session_t plue_session_get_or_create(const char *key);

/**
 * Return a new handle to an existing session; never creates one.
 *
 * A session of the server's that is not known here yet is fetched.
 *
 * @param id_or_key a session's id, or its key.
 * @return a handle for plue_session_destroy(), or NULL.
 * Errors: INVALID_PARAM (malformed); NOT_FOUND; BUSY; IO.
 * OpenCode: GET /session/{id}
 * Takes: remote: may talk to the server; at most requestTimeoutMs. Embedded backend: as local.
 */
PLUE_API plue_session_t plue_session_open(const char *id_or_key);

/**
 * Create a session that begins with a copy of this one's messages; its parentId is this one's id.
 *
 * It is a session of its own: deleting the source leaves it, and its parentId then names a session that is gone.
 *
 * @param message_id only what is before this message is copied; NULL copies all.
 * @return a handle for plue_session_destroy(), or NULL.
 * Errors: INVALID_PARAM (NULL handle, empty id); BAD_HANDLE; NOT_FOUND (deleted, no such message); UNSUPPORTED
 *     (embedded backend); LIMIT_EXCEEDED; ABORTED; BUSY; IO.
 * OpenCode: POST /session/{id}/fork
 * Takes: remote: may talk to the server; at most requestTimeoutMs. Embedded backend: as local.
 */
PLUE_API plue_session_t plue_session_fork(plue_session_t session, const char *message_id);

/**
 * Return what is known of the session, as JSON.
 *
 * {"id","aliases"?,"title","parentId"?,"time":{"created","updated","archived"?},"share"?:{"url","expiresAt"?},"version","key"?,
 * "description"?,"tags":[],"metadata":{},"status":"active","aborted","backend":"embedded|opencode","directory"?,
 * "provider"?:{"providerId","modelId"},"role"?,"relay"?:{"state":"CREATED","messageCount","lastActive"},"messageCount",
 * "artifactCount","sync":{"state":"local|synced|stale|pending|conflict","pending"}}
 *
 * With the embedded backend the answer is always fresh and always instant, like plue_session_peek_info(). With a server
 * it is instant until cacheTtlMs after the server was last heard about this session; then the server is asked. While it is
 * away the answer is what was last known, with `sync.state` "stale".
 *
 * @return free it with plue_free_json(); NULL on failure.
 * Errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted); with a server BUSY and IO, too.
 * OpenCode: GET /session/{id}
 * Takes: remote: may talk to the server; at most requestTimeoutMs. Embedded backend: as local.
 */
PLUE_API char *plue_session_get_info(plue_session_t session);

/**
 * Return what was last known of the session, in the form of plue_session_get_info(), without ever asking anybody.
 *
 * @return free it with plue_free_json(); NULL on failure.
 * Errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted).
 * Takes: instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.
 */
PLUE_API char *plue_session_peek_info(plue_session_t session);

/**
 * As plue_session_peek_info(), by id: of a session that somebody in this process holds a handle to.
 *
 * @param session_id a session's id, not its key.
 * @return free it with plue_free_json(). NULL with plue_get_last_error_code() PLUE_OK: nobody here holds a
 *     handle to it, or it was deleted; NULL with another code: failure.
 * Errors: INVALID_PARAM (NULL or malformed); IO (no memory).
 * Takes: instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.
 */
PLUE_API char *plue_session_peek_id(const char *session_id);

/**
 * Return the session's id, such as "session_1763640000000", or with a server "ses_1b2c3d4e5f6aBcDeFgHiJkLmNo".
 *
 * @return free it with plue_free_string(); NULL on failure.
 * Errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted).
 * Takes: instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.
 */
PLUE_API char *plue_session_get_id(plue_session_t session);

/**
 * Return every session as a JSON array of infos, by the time of their creation; [] when there are none.
 *
 * Takes about a millisecond per thousand sessions; plue_session_query() reads pages. A server is asked first for its
 * sessions in the configured directory.
 *
 * @return free it with plue_free_json(); NULL on failure.
 * Errors: BUSY; IO; INTEGRITY; LIMIT_EXCEEDED (it has more than 1 GB; the server's has more than 64 MB).
 * OpenCode: GET /session
 * Takes: remote: may talk to the server; at most requestTimeoutMs. Embedded backend: as local.
 */
PLUE_API char *plue_session_list(void);

/**
 * Return one page of the sessions that match: {"sessions":[…],"nextCursor"?}.
 *
 * Filters, all of which must hold: status ("active"), relayState ("CREATED"); role; key; parentId; tags (array of at most 100: all of them); createdAfter, updatedAfter (>=, ms); createdBefore, updatedBefore (<, ms);
 * archived (true or false); text (found in title or description, ignoring case). Order: sort "updated" (default),
 * "created" or "title"; order "asc" (default) or "desc". Page: limit 1-10000 (default 100); cursor, the
 * nextCursor of the page before, together with the same query. A page costs the same however many sessions there are.
 * No server is asked: this is what is known here.
 *
 * @param query_json a JSON object, or NULL for the first 100 by time of update.
 * @return free it with plue_free_json(); NULL on failure.
 * Errors: INVALID_PARAM and JSON_PARSE (name the key); BAD_CURSOR; BUSY; IO.
 * Takes: local: may wait for the local store; typically under a millisecond, at most requestTimeoutMs (10 s
 *     more to learn how a commit that has begun ends). No network.
 */
PLUE_API char *plue_session_query(const char *query_json);

/**
 * Return how many sessions match a query; sort, order, limit and cursor do not matter.
 *
 * @param query_json as for plue_session_query(); NULL counts all.
 * @return the number (>= 0), or -1.
 * Errors: INVALID_PARAM and JSON_PARSE (name the key); BUSY; IO.
 * Takes: local: may wait for the local store; typically under a millisecond, at most requestTimeoutMs (10 s
 *     more to learn how a commit that has begun ends). No network.
 */
PLUE_API int plue_session_count(const char *query_json);

/**
 * Set the session's title. It is kept byte for byte; "" is a title. A server's automatic title never replaces it.
 *
 * @param title UTF-8; copied.
 * @return 0, or -1.
 * Errors: INVALID_PARAM (NULL, or not UTF-8); BAD_HANDLE; NOT_FOUND (deleted); ABORTED; BUSY; IO.
 * OpenCode: PATCH /session/{id}
 * Takes: remote: may talk to the server; at most requestTimeoutMs. Embedded backend: as local.
 */
PLUE_API int plue_session_update_title(plue_session_t session, const char *title);

/**
 * Change some of the session's fields in one step; what the patch leaves out stays.
 *
 * Keys: title; description (null removes it); tags (replaces them), addTags, removeTags; metadata (replaces the object);
 * archived (true or false); base: an object with the fields as you saw them (null: it was absent): the patch is applied
 * only if they still hold. The server gets title, metadata and archived, and `base` is compared with what it has now.
 *
 * @param patch_json a JSON object; {} changes nothing and emits nothing.
 * @return 0, or -1.
 * Errors: INVALID_PARAM and JSON_PARSE (name the key); CONFLICT (base no longer holds: names the fields);
 *     BAD_HANDLE; NOT_FOUND (deleted); ABORTED; BUSY; IO.
 * OpenCode: PATCH /session/{id}
 * Takes: remote: may talk to the server; at most requestTimeoutMs. Embedded backend: as local.
 */
PLUE_API int plue_session_update(plue_session_t session, const char *patch_json);

/**
 * Bind the session to a provider and a model: each of its turns names them. Runs nothing. A server is asked whether it
 * has them.
 *
 * @param provider_id such as "anthropic"; not empty.
 * @param model_id such as "claude-sonnet-4-5"; not empty.
 * @return 0, also when it is bound to this pair already; -1.
 * Errors: INVALID_PARAM; CONFLICT (bound to another pair); PROVIDER_INIT (the server has no such provider or
 *     model); BAD_HANDLE; NOT_FOUND (deleted); ABORTED; BUSY; IO.
 * OpenCode: GET /config/providers
 * Takes: remote: may talk to the server; at most requestTimeoutMs. Embedded backend: as local.
 */
PLUE_API int plue_session_initialize(plue_session_t session, const char *provider_id, const char *model_id);

/**
 * Erase the session, its descendants and all that belongs to them, in one commit; one session.deleted each.
 *
 * All handles to them answer NOT_FOUND for ever. This handle stays yours to destroy. On a server their turns are aborted
 * first (not those that another server on the same database runs: see plue_session_abort); should it then refuse, the
 * sessions are as before, without these turns.
 *
 * @return 0, or -1 (nothing was erased).
 * Errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted before); ABORTED; BUSY; IO.
 * OpenCode: POST /session/{id}/abort, DELETE /session/{id}
 * Takes: remote: may talk to the server; at most requestTimeoutMs. Embedded backend: as local.
 */
PLUE_API int plue_session_delete(plue_session_t session);

/**
 * End what is in flight for the session.
 *
 * Sets `aborted` in its info (one session.updated; the start of the next turn clears it) and interrupts calls of other
 * threads that are blocked on this session: those that have not finished half a second later return ABORTED, even if
 * this call then fails itself. With nothing running, which is always so with the embedded backend, that is all. On a
 * server the turn that it runs is ended; the flag shows even if the server cannot be told, and no
 * other call to the server is waited for. While another process keeps the store locked the server is told all the same; the
 * call fails with BUSY, and the flag follows. A turn of ours has ended, stopped/cancelled, and turn.finished was told when
 * this returns; one that was not sent yet never is. Inputs in the queue stay, and go on from then on; until then none is sent, by no process.
 * A server that has run no turn since it started ends its first one only when the model's message is there: that takes up to 10 s.
 * What another server on the same database runs cannot be seen or ended from here: then 0 says only that this one is idle.
 *
 * @return 0 (the server's turn is known to have ended), or -1.
 * Errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted); BUSY; IO.
 * OpenCode: POST /session/{id}/abort
 * Takes: remote: may talk to the server; at most requestTimeoutMs. Embedded backend: as local.
 */
PLUE_API int plue_session_abort(plue_session_t session);

/**
 * End this turn of the session and no other; what else is in flight goes on, and `aborted` stays as it is.
 *
 * @param turn_id as in turn.started; or the id of the user's message that began the turn, such as "msg_…".
 * @return 0, also when the turn is over already or unknown; -1.
 * Errors: INVALID_PARAM (NULL handle, empty or malformed id); BAD_HANDLE; NOT_FOUND (session deleted);
 *     ABORTED; BUSY; IO.
 * OpenCode: POST /session/{id}/abort
 * Takes: remote: may talk to the server; at most requestTimeoutMs. Embedded backend: as local.
 */
PLUE_API int plue_session_abort_turn(plue_session_t session, const char *turn_id);

/**
 * Share the session: {"url","secret"?,"link","expiresAt"?}. A shared session returns the same share again.
 *
 * `link` is `url` + "#" + `secret`: what a person pastes; the fragment keeps the secret out of server logs. The secret
 * is in this answer and nowhere else: not in infos, lists, events, logs or the database. share.ttlMs after its creation
 * the share expires: its secret is refused, info goes on showing its url and expiresAt, and the next call makes a new one.
 * A server that shares gives a `url` of its own, which is the `link`: then there is neither secret nor end. One that does
 * not share, or is away, leaves it to us.
 *
 * @return free it with plue_free_json(); NULL on failure.
 * Errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted); ABORTED; BUSY; IO (the share key's
 *     file).
 * OpenCode: POST /session/{id}/share
 * Takes: remote: may talk to the server; at most requestTimeoutMs. Embedded backend: as local.
 */
PLUE_API char *plue_session_create_share(plue_session_t session);

/**
 * Withdraw the session's share: its secret is refused at once. A server that cannot be told now is told later.
 *
 * @return 0, also when it was not shared; -1.
 * Errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted); ABORTED; BUSY; IO.
 * OpenCode: DELETE /session/{id}/share
 * Takes: remote: may talk to the server; at most requestTimeoutMs. Embedded backend: as local.
 */
PLUE_API int plue_session_unshare(plue_session_t session);

/**
 * Tell whether `secret` opens the session's share, in constant time.
 *
 * @param session_id the id of the session that is said to be shared.
 * @param secret as plue_session_create_share() gave it.
 * @return 0 when it does; -1.
 * Errors: ACCESS_DENIED, with one and the same message whether the session is unknown, not shared, its share
 *     expired or withdrawn, or the secret wrong; INVALID_PARAM (NULL, malformed id); BUSY; IO.
 * Takes: local: may wait for the local store; typically under a millisecond, at most requestTimeoutMs (10 s
 *     more to learn how a commit that has begun ends). No network.
 */
PLUE_API int plue_session_validate_share(const char *session_id, const char *secret);

/**
 * Do many operations in one call, one after the other: an array of {"op",…} in, an array of one {"ok"} or {"error"}
 * each out, in the same order. One that fails does not stop the others, and what came before it stays.
 *
 * `op` is a function's name without "plue_session_": create, create_with, fork, get_info, list, query, update_title, update,
 * initialize, delete, abort, abort_turn, create_share, unshare, enqueue, cancel_inputs, run_turn. Its arguments stand beside it by
 * the names of the function's parameters; `session` is a session's id; the value of a parameter that ends in "_json" may be a JSON
 * object or array, or a string with its text; `timeout_ms` is a number. What is left out, or null, is NULL. `timeoutMs` limits
 * one operation within the time of the call, which is requestTimeoutMs; `tag` (a string of at most 200 characters) is yours, for plue_session_submit().
 * An example: [{"op":"create_with","options_json":{"title":"Parser"}},{"op":"update_title","session":"session_1","title":"b"}]
 *
 * `ok` is what the function returns; of those that return a handle the info of the session; of those that return 0 true.
 * `error` is as in plue_get_last_error_json(): {"code","number","message","details"?,"retryable","timestamp"}. An
 * operation that is wrong by itself (unknown, or with an argument that is missing, unknown or malformed) fails alone with
 * INVALID_PARAM or JSON_PARSE; only what is no array, or has more than 1000 elements, fails as a whole, and then nothing is
 * done. With the embedded backend neighbouring changes share a commit: a hundred take little longer than ten.
 *
 * run_turn waits for the end of its turn, and what stands behind it waits for that: at most `timeout_ms`, `timeoutMs` and the
 * time of the call. Then its error is TIMEOUT; the turn goes on, and so do the operations. For a longer turn submit it, or pass 0.
 *
 * @param operations_json a JSON array of at most 1000 objects; [] gives []. Copied.
 * @return free it with plue_free_json(); NULL on failure. More than 64 MiB are not returned: an operation
 *     whose result would be beyond that was done, and has the error LIMIT_EXCEEDED.
 * Errors: INVALID_PARAM (NULL, no array); JSON_PARSE; LIMIT_EXCEEDED (more than 1000 operations); TIMEOUT; IO.
 * OpenCode: as the functions that the operations name
 * Takes: remote: may talk to the server; at most requestTimeoutMs. Embedded backend: as local.
 */
PLUE_API char *plue_session_batch(const char *operations_json);

/**
 * Have operations done without waiting for them: as plue_session_batch(), but the results come as an event.
 *
 * Of each submission tell, to this process alone, operation.progress now and then, and in the end exactly one of
 * operation.completed; operation.failed: nothing was done, because the text, or each of its operations, is wrong by itself;
 * operation.cancelled: it was cut short by plue_session_cancel_operation() or plue_shutdown(). These may come before this function
 * has returned. Submissions run side by side (32 of them; the next ones wait), the operations of one in their
 * order; one that begins with an abort waits for none. One whose run_turn waits is not among the 32 meanwhile, nor is
 * requestTimeoutMs its limit, but `timeout_ms` and `timeoutMs`; an abort of its session ends that wait (ABORTED).
 *
 * Nothing of it is durable before it is done: what is still open at plue_shutdown() is cancelled, and told before
 * library.shutdown; what is open when the process dies is lost. An operation may take its `timeoutMs`, else requestTimeoutMs.
 * The event of create_share has neither `secret` nor the `link` with it: plue_session_create_share() gives them.
 *
 * @param operations_json as for plue_session_batch(); only whether it is UTF-8 is looked at here. Copied.
 * @return the operation's id for plue_session_cancel_operation() and in its events, never used twice in a
 *     process; 0 on failure.
 * Errors: INVALID_PARAM (NULL, not UTF-8); LIMIT_EXCEEDED (more than 64 MiB); QUEUE_FULL (512 submissions, or
 *     64 MiB of them, are open, or a reader of events has not yet taken the last events of so many; a default
 *     queue or an observer that is left so for 5 s is not waited for, and loses the oldest; see Events for who
 *     is a reader); CLOSED; RUNTIME (a host's own Python is finalized); IO (no memory).
 * Takes: instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.
 */
PLUE_API uint64_t plue_session_submit(const char *operations_json);

/**
 * Ask that a submission end: what it has not begun is not done, and what waits for the server is cut short.
 *
 * That is a request. Its last event says what has become of it: operation.cancelled, whose results tell of each operation
 * whether it was done (those that were not have ABORTED); or operation.completed, if all was done by then. A run_turn is no longer
 * waited for (ABORTED); its turn goes on: plue_session_abort_turn() and plue_session_cancel_turns() end it.
 *
 * @param operation what plue_session_submit() returned.
 * @return 0, also when it was asked before; -1.
 * Errors: NOT_FOUND (it has ended, or there never was one with this id).
 * Takes: instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.
 */
PLUE_API int plue_session_cancel_operation(uint64_t operation);

/**
 * Synchronise with the server now: every session of the configured directory, as it is there.
 *
 * That happens by itself when the library starts, every syncIntervalMs, and when the server is back. Embedded backend:
 * 0 at once.
 *
 * However many threads wait here, they hold up no other call.
 *
 * @param timeout_ms how long to wait for the end; requestTimeoutMs does not matter. 0 begins one and returns 0
 *     at once.
 * @return 0, or -1.
 * Errors: INVALID_PARAM (negative: nothing waits for ever); TIMEOUT (it goes on); CONNECTION; ACCESS_DENIED;
 *     SERVER; BUSY; IO.
 * OpenCode: GET /session
 * Takes: waits, as described, at most as long as stated.
 */
PLUE_API int plue_session_sync(int timeout_ms);

/**
 * Tell how things stand with the server: {"connected","lastSync"?,"pending","operations":[],"conflicts":[],"server"?}.
 *
 * `server`: {"url"?,"pid"?,"events","error"?}; `pid` of a server of our own; `events`: it tells of changes by
 * itself, else they are seen when it is asked; `error`: why it is away, or what the last synchronisation failed with.
 *
 * `lastSync` is when the last full synchronisation ended. `operations` are the changes that the server has yet to be told, at
 * most 10,000, in order: {"id","session","op":"create|update|delete|unshare","state":"pending|sending","since","error"?}; `pending` is
 * how many, `error` why one was sent in vain. `conflicts` are updates whose `base` no longer held when they were sent: the same with
 * "fields":[{"field","ours","theirs"}]. An update with the new `base`, or one that sets the same fields, settles one, and so does
 * plue_session_discard_pending(). Embedded backend: {"connected":false,"pending":0,"operations":[],"conflicts":[]}.
 *
 * @return free it with plue_free_json(); NULL on failure.
 * Errors: BUSY; IO.
 * Takes: local: may wait for the local store; typically under a millisecond, at most requestTimeoutMs (10 s
 *     more to learn how a commit that has begun ends). No network.
 */
PLUE_API char *plue_session_sync_status(void);

/**
 * Drop a change that waits for the server, or is in conflict, and what it shows, with an event: session.updated; of a
 * create session.deleted, and all that depends on it goes, too.
 *
 * @param operation_id as in plue_session_sync_status(), such as "op_7".
 * @return 0, or -1.
 * Errors: INVALID_PARAM (NULL or empty); BAD_HANDLE; NOT_FOUND (no such change of this session, or it was
 *     sent; session deleted); IN_USE (it is being sent, or another process on the store is sending); BUSY; IO.
 * Takes: local: may wait for the local store; typically under a millisecond, at most requestTimeoutMs (10 s
 *     more to learn how a commit that has begun ends). No network.
 */
PLUE_API int plue_session_discard_pending(plue_session_t session, const char *operation_id);

/**
 * Free a handle. The session stays, and so do other handles to it.
 *
 * NULL, a handle that was destroyed before, any other value, and a call before plue_init() are ignored.
 *
 * Takes: instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.
 */
PLUE_API void plue_session_destroy(plue_session_t session);

/* ========================================================================
 * Events.
 *
 * {"type","number","sessionId"?,"cursor","sequence","dropped"?,"timestamp","correlationId","causeId"?,"data"}
 *
 * An event tells of a change that is durable already, made by this process or by another one on the same store. Events of
 * one session come in the order of its changes. `sequence` counts the events of one subscription, or of the default queue,
 * from 0. `cursor` is opaque text. `correlationId` is common to the events of one operation.
 *
 * No event is lost silently. Queues are bounded (1024 events, 1 MiB); a reader that falls behind is refilled from the store's log,
 * and if the log no longer holds what it needs (see `replay`), it gets one event of type "gap" with the current state in
 * its data, and goes on from there. Deleting a session removes its events from the log, all but session.deleted: a reader that
 * was behind, or in another process, may hear of the deletion alone.
 *
 * sync.state, operation.*, library.* and log come to this process alone and are not in the log. Each queue has a small room for them (64 events,
 * 64 KiB), beside the one for the others: they come in their place among these, however late. When it is full the oldest is let go of
 * which there is a newer one of its type, and the next one has "dropped": how many were. A gap for want of time, at
 * plue_shutdown(), has the reason "unavailable".
 *
 * The last events of submissions have a room of their own (1024). While a reader has 512 of them before it, or 64 MiB,
 * plue_session_submit() answers QUEUE_FULL, so none is lost. A callback is such a reader, and an observer of all sessions from
 * when it is opened; the default queue has one only from the first plue_event_poll(), plue_event_wait() or plue_event_fd() on, so
 * a program that lives by callbacks is not held up. An observer or a default queue that is left so for 5 s is waited for no longer until
 * it is read again: as where nobody reads, the oldest are let go of ("dropped").
 *
 * What `data` holds:
 *   session.created      {"id","parentId"?,"role"?}
 *   session.updated      {"id","aliases"?,"fields","title"?}
 *   session.deleted      {"id","aliases"?}
 *   session.shared       {"id","url"}
 *   session.unshared     {"id"}
 *   queue.changed        {"change":"enqueued|cancelled|claimed|completed","kind":"input","ids"}
 *   message.created      {"id","role",…}: the message, as plue_session_messages() has it; without `parts` if they have more than 64 KB
 *   message.updated      {"id","role",…}: the same
 *   message.part.updated  {"messageId","turnId"?,"partId","offset","delta"} while its text is written, and once it is whole
 *                        {"messageId","turnId"?,"part"}
 *   turn.started         {"turnId","inputIds"}
 *   turn.finished        {"turnId","inputIds","outcome":"finished|stopped","reason"?,"error"?}
 *   permission.asked     {"id","turnId"?,"action","title"?,"patterns"?,"tool"?,"deadline"}
 *   permission.replied   {"id","reply","by":"host|deadline|abort|other"}
 *   question.asked       {"id",…}: the question, as plue_session_questions() has it
 *   question.replied     {"id","answers"?,"by"}, without answers: it was rejected
 *   todo.updated         {"todos"}
 *   relay.changed        {"from","to","event":"SPAWN|ACTIVATE|TERMINATE|CLEAN","reason"?}: the relay state, see Agents
 *   turn.activity        {"turnId"?,"kind":"status|retry|step|tool","attempt"?,"next"?,"text"?}
 *   sync.state           {"connected","reason"?}
 *   operation.progress   {"operation","tag"?,"done","of"}
 *   operation.completed  {"operation","tag"?,"results":[{"ok"} or {"error"} each]}
 *   operation.failed     {"operation","tag"?,"results"}
 *   operation.cancelled  {"operation","tag"?,"results"}
 *   sync.conflict        {"operation","field","ours","theirs"}
 *   library.initialized  {"version"}
 *   library.shutdown     {}
 *   log                  {"level","message"}
 *   gap                  {"reason":"trimmed|unavailable","requestedCursor","latestCursor","latestRevision","sessions":[infos]}
 * `fields` names the keys of the info that changed, such as "title", "tags", "metadata", "aborted", "time.archived" or
 * "time.updated"; `aliases` is there when a session that was made while the server was away gets the server's id. sync.conflict: a
 * change that had waited met another client's of the same field. It was made over that one; or, if it had a `base`, it waits in
 * conflict (plue_session_sync_status()). Of the operations of a submission the `tag` in its progress is that of the one just done, in
 * its last event the first that there is; a text that is wrong as a whole has one result. session.shared and session.unshared alone
 * tell of `share`, and relay.changed alone of the relay state.
 * A piece of text comes at once, or with those of 40 ms; `offset` counts bytes (UTF-8) of the part's text. Pieces and turn.activity are
 * not stored, so not repeated either: who misses one has the whole part. A part that changes after that is told whole again. Of messages
 * that are read because somebody asks for old ones nothing is told.
 * With a server the session events also tell of what other clients of it do, and sync.state tells that it is away or back.
 * ======================================================================== */

/**
 * Call `callback` for every event from now on.
 *
 * Each subscription has a thread of its own on which its callback runs, one event at a time, with no library lock held
 * and all signals blocked. The callback may call any function but plue_shutdown(); `event_json` is valid during the
 * call. A slow callback delays nobody else. It has to return: neither pthread_exit() nor a C++ exception may end it.
 *
 * plue_shutdown() has every callback hear what was told before, and library.shutdown last. What cannot be handed out within some
 * 3.5 s is one "gap"; a call that has not returned after 4.5 s is left behind.
 *
 * @param callback must not be NULL.
 * @param user_data passed to each call; yours.
 * @return an id for plue_event_unsubscribe(), > 0; 0 on failure.
 * Errors: INVALID_PARAM (NULL callback); LIMIT_EXCEEDED (64 subscriptions); IO (no thread or memory left).
 * Takes: local: may wait for the local store; typically under a millisecond, at most requestTimeoutMs (10 s
 *     more to learn how a commit that has begun ends). No network.
 */
PLUE_API uint32_t plue_event_subscribe(plue_event_callback callback, void *user_data);

/**
 * End a subscription. After this returns the callback runs no more.
 *
 * Waits for a call that is running, for as long as that takes, so hold no lock that the callback takes; inside that very call it
 * does not wait. An unknown id is ignored.
 *
 * Takes: local: may wait for the local store; typically under a millisecond, at most requestTimeoutMs (10 s
 *     more to learn how a commit that has begun ends). No network.
 */
PLUE_API void plue_event_unsubscribe(uint32_t id);

/**
 * Return the next event of the default queue, which holds all events since plue_init().
 *
 * Each event goes to one reader among this and plue_event_wait().
 *
 * @return free it with plue_free_json(). NULL with plue_get_last_error_code() PLUE_OK: nothing yet; NULL with
 *     another code: failure.
 * Errors: NOT_INITIALIZED; CLOSED (the library shut down meanwhile); IO (no memory).
 * Takes: instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.
 */
PLUE_API char *plue_event_poll(void);

/**
 * Return the next event of the default queue, and wait for it if there is none yet.
 *
 * Any number of threads may wait. While plue_shutdown() runs, it hands out what is queued, library.shutdown last, and
 * then fails with CLOSED; a reader that does not come back within 100 ms is left behind.
 *
 * @param timeout_ms how long to wait; 0: not at all, as plue_event_poll().
 * @return free it with plue_free_json(). NULL with plue_get_last_error_code() PLUE_OK: none came; NULL with
 *     another code: failure.
 * Errors: INVALID_PARAM (negative time); CLOSED (the library shut down meanwhile); IO (no memory).
 * Takes: waits, as described, at most as long as stated.
 */
PLUE_API char *plue_event_wait(int timeout_ms);

/**
 * Return a descriptor that is readable while plue_event_poll() would return an event, or an error: for poll(),
 * epoll and the like. Made at the first call, and the same until plue_shutdown() closes it; take it out of your loop
 * first. Never read or close it.
 *
 * It is level-triggered; with EPOLLET, poll until NULL. While the queue is refilled from the log it may be quiet: so
 * is plue_event_poll().
 *
 * @return the descriptor, close-on-exec; -1 on failure.
 * Errors: CLOSED (the library shut down meanwhile); IO (no descriptor left).
 * Takes: instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.
 */
PLUE_API int plue_event_fd(void);

/* ========================================================================
 * Observation.
 *
 * An observation is how a session stands, and a cursor: the place in the log of events from which all that follows can be had.
 * An observer hands out what follows, one item at a time: stored events first, then live ones, none lost and none twice. Save
 * its cursor, and go on from there after a restart, in this process or in another one on the same store.
 *
 *     plue_session_observer_t observer = plue_session_observe(session, saved_cursor);
 *     char *item = plue_session_observer_next(observer, 1000);
 *
 * Items are events as in the section Events; `sequence` counts those of one observer from 0. An observer of a session gets the
 * events of that session alone; one of PLUE_ALL_SESSIONS gets all of them, and sync.state, library.* and log. These last ones carry
 * the observer's cursor.
 *
 * A cursor is good for as long as the log has what follows it: of each session the newest `replay.limit` events (2048), none older
 * than `replay.ageMs` (two minutes). The newest cursor is always good. In place of what it can no longer have, an observer
 * gets one item of type "gap", and goes on from its latestCursor by itself:
 *
 *   gap  {"reason":"trimmed|unavailable","requestedCursor","latestCursor","latestRevision","observation"}
 *
 * "trimmed": the cursor is older than that; "unavailable": it is ahead of the log, or of another store (the store "memory" does not
 * survive a restart). `observation` is how things stand at latestCursor; the gap of an observer of all has "sessions", the infos,
 * in its place, and as latestRevision a number that rises with each change. A gap has no `sequence`.
 *
 * A slow reader loses nothing: its queue (64 events, 1 MiB) is filled again from the log as it reads.
 * When the log cannot be read, plue_session_observer_next() says why once, and CLOSED from then on.
 * ======================================================================== */

/**
 * Return how a session stands, and the cursor that goes with it, read at one moment.
 *
 * {"cursor","revision","session":info,"messages","nextCursor"?,"usage","queue","permissions","questions","todos","turn"?}
 *
 * `messages` are the newest 100 that are known here, as plue_session_messages() has them, but that one with more than 64 KB of
 * parts has no `parts`; nextCursor leads to older ones there. `queue` is what plue_session_inputs() returns. `revision` is the
 * number of durable changes of the session. Lists are empty where there is nothing, not absent. Of
 * PLUE_ALL_SESSIONS: {"cursor","sessions":[infos]}. While the server is away, infos say "stale".
 *
 * @param session a session's handle, or PLUE_ALL_SESSIONS.
 * @return free it with plue_free_json(); NULL on failure.
 * Errors: INVALID_PARAM (NULL); BAD_HANDLE; NOT_FOUND (deleted); INTEGRITY (the store is damaged).
 * Takes: local: may wait for the local store; typically under a millisecond, at most requestTimeoutMs (10 s
 *     more to learn how a commit that has begun ends). No network.
 */
PLUE_API char *plue_session_observation(plue_session_t session);

/**
 * Observe a session, or all of them, from a cursor on.
 *
 * Observers are cheap: a thousand in one process are no burden. When the session is deleted, its observer hands out
 * session.deleted, and nothing after it.
 *
 * @param session a session's handle, or PLUE_ALL_SESSIONS. The handle may be destroyed while the session is
 *     observed.
 * @param cursor a cursor of the session's events, observation or observers; for all sessions any cursor of
 *     this store. NULL: from now on.
 * @return the observer, to be closed with plue_session_observer_close(); NULL on failure.
 * Errors: INVALID_PARAM (NULL session); BAD_HANDLE; NOT_FOUND (deleted); BAD_CURSOR (malformed, or of another
 *     session: the message names both); INTEGRITY; IO (no memory).
 * Takes: local: may wait for the local store; typically under a millisecond, at most requestTimeoutMs (10 s
 *     more to learn how a commit that has begun ends). No network.
 */
PLUE_API plue_session_observer_t plue_session_observe(plue_session_t session, const char *cursor);

/**
 * Return the next item, and wait for it if there is none yet.
 *
 * With a timeout of 0 it is instant: it never waits for Python, disk or network. While the observer is filled from the log
 * there is nothing yet. Any number of threads may wait; each item goes to one of them. While plue_shutdown() runs it
 * hands out what is queued, to all-sessions observers library.shutdown last, and then fails with CLOSED.
 *
 * @param timeout_ms how long to wait; 0: not at all.
 * @return free it with plue_free_json(). NULL with plue_get_last_error_code() PLUE_OK: nothing came, or
 *     plue_session_observer_wake() was called; NULL with another code: failure.
 * Errors: INVALID_PARAM (NULL observer, negative time); BAD_HANDLE; CLOSED (closed, or the library shut down);
 *     IO (no memory: the item stays); once, what the log could not be read for (INTEGRITY, IO, BUSY).
 * Takes: waits, as described, at most as long as stated.
 */
PLUE_API char *plue_session_observer_next(plue_session_observer_t observer, int timeout_ms);

/**
 * Return a descriptor that is readable while plue_session_observer_next() would return an item, or an error: for
 * poll(), epoll and the like. Made at the first call, so observers without one cost none. Never read or close it; take
 * it out of your loop before plue_session_observer_close(), which closes it.
 *
 * It is level-triggered; with EPOLLET, read until NULL.
 *
 * @return the descriptor, close-on-exec; -1 on failure.
 * Errors: INVALID_PARAM (NULL); BAD_HANDLE; CLOSED; IO (no descriptor left).
 * Takes: instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.
 */
PLUE_API int plue_session_observer_fd(plue_session_observer_t observer);

/**
 * Return where the observer is: the cursor of the last item that it has handed out (of a gap its latestCursor), at
 * first the one that it was opened with, or of that moment.
 *
 * @return free it with plue_free_string(); NULL on failure.
 * Errors: INVALID_PARAM (NULL); BAD_HANDLE; CLOSED; IO (no memory).
 * Takes: instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.
 */
PLUE_API char *plue_session_observer_cursor(plue_session_observer_t observer);

/**
 * Have the calls of plue_session_observer_next() that wait return NULL with PLUE_OK; if none does, the next one that
 * would wait.
 *
 * Errors: INVALID_PARAM (NULL); BAD_HANDLE; CLOSED.
 * Takes: instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.
 */
PLUE_API void plue_session_observer_wake(plue_session_observer_t observer);

/**
 * Close an observer. Calls of plue_session_observer_next() that wait return NULL with CLOSED, and so do later ones.
 *
 * NULL, what is no live observer, and one that is closed already are ignored. plue_shutdown() closes those that are left.
 *
 * Takes: instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.
 */
PLUE_API void plue_session_observer_close(plue_session_observer_t observer);

/* ========================================================================
 * Turns.
 *
 * A turn is what was said to a session, answered by the model. With an OpenCode server, and in a session that an agent is attached
 * to (plue_session_relay_attach()), the library runs the turns: an input is stored in the session's queue, taken when the session is idle, sent once, and answered there; its text arrives in events while
 * the model writes it, and is kept here as messages. The next input waits for the end of the turn.
 *
 *     plue_session_observer_t observer = plue_session_observe(session, NULL);
 *     plue_free_json(plue_session_enqueue(session, "{\"text\":\"Hello\"}"));
 *     while ((item = plue_session_observer_next(observer, 60000)) …   message.part.updated, … turn.finished
 *
 * An input is {"text" or "parts" or "command","arguments"?,"id"?,"turnId"?,"ingress"?,"model"?,"agent"?}. parts: an array of {"type":"text","text"} and
 * {"type":"file","file":{"path"|"data" (base64)|"url","mimeType","name"?}}. command: one of plue_session_choices(), without a
 * slash, or "compact", which shortens the context; `arguments` is its text. model: {"providerId","modelId"}, else the session's
 * (plue_session_initialize()), else `defaultModel`, else the server's default; it is always sent. ingress: "nextTurn", or {"activeTurn":{"turnId","boundary":
 * "afterWork"|"beforeCompletion"}}: for the turn that runs; OpenCode takes nothing in the middle of one, and it is said after it, and so is what
 * names a turn that has ended. `id` is your own name for the input: the same once more with the same content is the same input, not a
 * second one. turnId is the id that the turn is to have.
 *
 * Each input ends in a named state, also when this process, another one, or the server dies: "completed" (its turn has ended) or
 * "cancelled". A turn ends with an outcome: "finished"; or "stopped" with a reason: cancelled, incomplete (cut off: the server died,
 * or the answer reached its limit), invalid_input, max_turns, tool_failure, tool_error, provider_error (the model refuses or fails; `error` says why),
 * plugin_abort, runtime_error, submitted_error (the server did not take the input). `error` is {"code","message","status"?,"remedy"}, code
 * as of the errors: PROVIDER_AUTH, BUSY (rate limit), LIMIT_EXCEEDED (the context is full: send the command "compact"), …
 *
 * The embedded backend has no model: without an agent what is enqueued waits for a host that claims it, messages are empty, and what
 * needs a model is UNSUPPORTED. An agent's command is what its user would type with a slash. While an agent is lost, inputs wait
 * for the next one.
 * ======================================================================== */

/**
 * Put an input into the session's queue; it is on disk before this returns. Its turn begins when those before it have ended.
 *
 * {"inputId","sessionId","enqueueSeq","sourceKey"?,"ingress","state":"pending_active|deferred_next_turn|accepted|cancelled|completed",
 * "enqueuedAt","input"}. enqueueSeq rises; sourceKey is "host:" and the `id`. pending_active: for a turn that has not ended. accepted: a turn has
 * taken it. An input with an `id` that was enqueued before, with the same content, ingress and turnId, is returned as it stands now.
 * Up to 64 inputs that wait and name the same model and agent make one turn; one that is a command, or names a turnId, has its own.
 * The server is not asked, so that it may be away. At most 10,000 wait in a session. One queue.changed tells of it.
 *
 * @param input_json an input, as above, of at most 16 Mi characters. Copied; files that go by a path are read
 *     when they are sent: one that is no regular file, has more than 20 MiB, or does not answer ends the turn
 *     (`invalid_input`).
 * @return free it with plue_free_json(); NULL on failure.
 * Errors: INVALID_PARAM and JSON_PARSE (name the key); CONFLICT (the `id` is taken by another content: names
 *     its inputId; the turnId is taken); BAD_HANDLE; NOT_FOUND (deleted); QUEUE_FULL (10,000 wait);
 *     LIMIT_EXCEEDED (it is too long); BUSY; IO.
 * Takes: local: may wait for the local store; typically under a millisecond, at most requestTimeoutMs (10 s
 *     more to learn how a commit that has begun ends). No network.
 */
PLUE_API char *plue_session_enqueue(plue_session_t session, const char *input_json);

/**
 * Enqueue an input that has a turn of its own, and wait for the end of that turn.
 *
 * {"turnId","outcome":"finished|stopped","reason"?,"error"?,"messages":[Message],"usage"}, messages and usage of this turn alone. Turns of one
 * session run one at a time: those before it are waited for, too. However many threads wait here, they hold up no other call.
 * An input whose `id` was enqueued before gets a turn of its own by this, unless a turn has taken it: then it is that one's end.
 *
 * @param timeout_ms how long to wait; the turn goes on after that. 0: starts it, and returns
 *     {"turnId","inputId"} at once.
 * @return free it with plue_free_json(); NULL on failure.
 * Errors: as plue_session_enqueue(); INVALID_PARAM (negative: nothing waits for ever); TIMEOUT (it goes on);
 *     ABORTED (by plue_session_abort()); UNSUPPORTED (embedded backend, and no agent: the host runs turns, by
 *     claiming inputs); NOT_FOUND (deleted meanwhile).
 * OpenCode: POST /session/{id}/prompt_async
 * Takes: waits, as described, at most as long as stated.
 */
PLUE_API char *plue_session_run_turn(plue_session_t session, const char *input_json, int timeout_ms);

/**
 * Ask the session's turns that this process has begun, or has waiting in plue_session_run_turn(), to end as stopped/cancelled.
 *
 * That is a request; the server is told in the background, and turn.finished tells of each. Other inputs stay in the queue. `aborted`
 * does not change.
 *
 * @return how many turns were asked to; 0: none runs. -1 on failure.
 * Errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted).
 * Takes: instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.
 */
PLUE_API int plue_session_cancel_turns(plue_session_t session);

/**
 * Return a page of what was said: {"messages":[Message],"nextCursor"?}.
 *
 * Message: {"id","role":"user|assistant","turnId"?,"parts":[Part],"time":{"created","completed"?},"model"?,"error"?}. Part: {"id","type":
 * "text|reasoning|tool|file|other","text"?,"tool"?:{"callId","name","state":"pending|running|completed|error","input","output"?},"file"?,"raw"?}; a file is as
 * an input has it: its `data`, `path` or `url`, mimeType and name; `raw` is what the server has of another part. The first page has the
 * newest, nextCursor leads to older ones; within a page they ascend. A page costs the same however many there are. A text that is
 * being written is there as far as it was heard. What is known here is answered without the server, also while it is away; older pages than
 * that are fetched, once, and the newest each time where the server's event stream does not come through.
 *
 * @param query_json {"limit" 1-100 (100),"cursor","parts" (true)}, all optional; NULL for the newest 100.
 * @return free it with plue_free_json(); NULL on failure.
 * Errors: INVALID_PARAM and JSON_PARSE (name the key); BAD_CURSOR (also another session's); BAD_HANDLE;
 *     NOT_FOUND (deleted); CONNECTION (they are not known here, and the server is away); ABORTED; BUSY; IO.
 * OpenCode: GET /session/{id}/message
 * Takes: remote: may talk to the server; at most requestTimeoutMs. Embedded backend: as local.
 */
PLUE_API char *plue_session_messages(plue_session_t session, const char *query_json);

/**
 * Return the permissions that turns of the session wait for, in order: [{"id","turnId","action","title"?,"patterns"?,"tool"?,"replies"?,"deadline"}].
 *
 * `tool`: {"messageId","callId"}. `replies`: what an attached agent takes, of "once", "always" and "reject". Each ends by plue_session_reply_permission(), by another client, with its turn, or is rejected at
 * `deadline` (permissions.deadlineMs). permission.asked announces it as it is listed, permission.replied {"id","reply","by":"host|deadline|abort|
 * other"} tells its end; a reply that nobody knows counts as "reject". With `permissions.default` "allow" or "deny" those of turns that inputs
 * from here began, and of the agents that these call, are answered at once, "once" or "reject", by "host". OpenCode runs most
 * tools unasked by default: what it does not ask for is not held back.
 *
 * @return free it with plue_free_json(); NULL on failure.
 * Errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted); BUSY; IO.
 * Takes: local: may wait for the local store; typically under a millisecond, at most requestTimeoutMs (10 s
 *     more to learn how a commit that has begun ends). No network.
 */
PLUE_API char *plue_session_permissions(plue_session_t session);

/**
 * Answer a permission. It counts as answered only when the server has taken it; that of an attached agent when it is committed, in
 * whichever process the agent is.
 *
 * "always" is "once" for an agent that offers no more; another reply that it does not offer is refused.
 *
 * @param permission_id as in permission.asked.
 * @param reply "once", "always" or "reject".
 * @return 0, or -1.
 * Errors: INVALID_PARAM (another reply, or one that the agent does not offer); BAD_HANDLE; NOT_FOUND (no such
 *     permission, answered already; session deleted); CONFLICT (it ended by its deadline or an abort, or its
 *     agent is gone); ABORTED; BUSY; IO.
 * OpenCode: POST /permission/{id}/reply
 * Takes: remote: may talk to the server; at most requestTimeoutMs. Embedded backend: as local.
 */
PLUE_API int plue_session_reply_permission(plue_session_t session, const char *permission_id, const char *reply);

/**
 * Return the questions that turns of the session wait for, in order:
 * [{"id","turnId","questions":[{"header","question","options":[{"label","description"}],"multiple","custom"}],"deadline"}].
 *
 * `custom`: other text is an answer, too. They end as permissions do, but for permissions.default. question.asked announces each, question.replied
 * {"id","answers"?,"by"} tells its end; without answers it was rejected.
 *
 * @return free it with plue_free_json(); NULL on failure.
 * Errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted); BUSY; IO.
 * Takes: local: may wait for the local store; typically under a millisecond, at most requestTimeoutMs (10 s
 *     more to learn how a commit that has begun ends). No network.
 */
PLUE_API char *plue_session_questions(plue_session_t session);

/**
 * Answer a question, or reject it. It counts as answered only when the server has taken it.
 *
 * @param answers_json [["label",…],…]: one list of labels for each of its questions, in order; NULL rejects
 *     it.
 * @return 0, or -1.
 * Errors: INVALID_PARAM (not as many lists; several labels without `multiple`; other text without `custom`);
 *     JSON_PARSE; BAD_HANDLE; NOT_FOUND (no such question, answered already; session deleted); CONFLICT (it
 *     ended by its deadline or an abort); ABORTED; BUSY; IO.
 * OpenCode: POST /question/{id}/reply, POST /question/{id}/reject
 * Takes: remote: may talk to the server; at most requestTimeoutMs. Embedded backend: as local.
 */
PLUE_API int plue_session_reply_question(plue_session_t session, const char *question_id, const char *answers_json);

/**
 * Return what the messages that are known here have used: {"tokens":{"input","output","reasoning","cacheRead","cacheWrite"},"cost","models":[{"providerId",
 * "modelId","tokens","cost"}]}.
 *
 * @return free it with plue_free_json(); NULL on failure.
 * Errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted); BUSY; IO.
 * Takes: local: may wait for the local store; typically under a millisecond, at most requestTimeoutMs (10 s
 *     more to learn how a commit that has begun ends). No network.
 */
PLUE_API char *plue_session_usage(plue_session_t session);

/**
 * Return the agent's plan: [{"content","status":"pending|in_progress|completed|cancelled","priority"}]; [] without one.
 *
 * Where the plan is not known here, or a change may have been missed, the server is asked, once; then todo.updated tells of each.
 *
 * @return free it with plue_free_json(); NULL on failure.
 * Errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted); CONNECTION and TIMEOUT (it is not
 *     known here, and the server is away); ABORTED; BUSY; IO.
 * OpenCode: GET /session/{id}/todo
 * Takes: local: may wait for the local store; typically under a millisecond, at most requestTimeoutMs (10 s
 *     more to learn how a commit that has begun ends). No network.
 */
PLUE_API char *plue_session_todos(plue_session_t session);

/**
 * Return what turns of the session have changed in its directory: {"files":[{"file","status","additions","deletions","patch","turnId"?}]}.
 *
 * @param query_json {"turnId"} or {"messageId"} (the turn's user message); NULL or {}: of all turns in order,
 *     an entry for each turn and file.
 * @return free it with plue_free_json(); NULL on failure.
 * Errors: INVALID_PARAM and JSON_PARSE (name the key); NOT_FOUND (no such turn; session deleted); UNSUPPORTED
 *     (embedded backend); BAD_HANDLE; ABORTED; BUSY; IO.
 * OpenCode: GET /session/{id}/diff
 * Takes: remote: may talk to the server; at most requestTimeoutMs. Embedded backend: as local.
 */
PLUE_API char *plue_session_diff(plue_session_t session, const char *query_json);

/**
 * Return what an input of the session may name: {"models":[{"providerId","modelId","name","contextLimit"?}],"agents":[{"name","description"}],
 * "commands":[{"name","description"}],"default"?:{"providerId","modelId"}}. For an attached agent that is what it offers, its modes as
 * agents, in the process that has it.
 *
 * @return free it with plue_free_json(); NULL on failure.
 * Errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted); UNSUPPORTED (embedded backend without
 *     an agent; the agent is lost, or another process's); ABORTED; BUSY; IO.
 * OpenCode: GET /config/providers, GET /agent, GET /command
 * Takes: remote: may talk to the server; at most requestTimeoutMs. Embedded backend: as local.
 */
PLUE_API char *plue_session_choices(plue_session_t session);

/**
 * Return the inputs that wait, in order, as plue_session_enqueue() returns them: not those that a turn has taken, or that have ended.
 *
 * @return free it with plue_free_json(); NULL on failure.
 * Errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted); BUSY; IO.
 * Takes: local: may wait for the local store; typically under a millisecond, at most requestTimeoutMs (10 s
 *     more to learn how a commit that has begun ends). No network.
 */
PLUE_API char *plue_session_inputs(plue_session_t session);

/**
 * Cancel inputs that no turn has taken yet, all in one step: an array of {"outcome","inputId"?,"sourceKey"?,"turnId"?,"claim"?:{"claimId","owner",
 * "expiresAt"},"input"?}, one for each target, in order.
 *
 * outcome: cancelled, already_claimed (its turn, `turnId`, can be ended with plue_session_abort_turn()), already_completed, already_cancelled,
 * not_found. `input` is the record as it is now, as of plue_session_enqueue(). One queue.changed names those that were cancelled; it
 * does not come when none was.
 *
 * @param targets_json an array of {"inputId"} or {"sourceKey"}, at most 1000.
 * @return free it with plue_free_json(); NULL on failure.
 * Errors: INVALID_PARAM and JSON_PARSE (name the key); BAD_HANDLE; NOT_FOUND (session deleted); BUSY; IO.
 * Takes: local: may wait for the local store; typically under a millisecond, at most requestTimeoutMs (10 s
 *     more to learn how a commit that has begun ends). No network.
 */
PLUE_API char *plue_session_cancel_inputs(plue_session_t session, const char *targets_json);

/**
 * Cancel an input and all that were enqueued after it, in one step: outcomes as of plue_session_cancel_inputs(); [{"outcome":"anchor_not_found"}] when there is no
 * such input.
 *
 * @param anchor_json {"inputId"} or {"sourceKey"}.
 * @return free it with plue_free_json(); NULL on failure.
 * Errors: INVALID_PARAM and JSON_PARSE (name the key); BAD_HANDLE; NOT_FOUND (session deleted); BUSY; IO.
 * Takes: local: may wait for the local store; typically under a millisecond, at most requestTimeoutMs (10 s
 *     more to learn how a commit that has begun ends). No network.
 */
PLUE_API char *plue_session_cancel_inputs_from(plue_session_t session, const char *anchor_json);

/**
 * Forget the inputs that were cancelled or are completed; until then they are known by their `id`.
 *
 * @return how many (>= 0), or -1.
 * Errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted); BUSY; IO.
 * Takes: local: may wait for the local store; typically under a millisecond, at most requestTimeoutMs (10 s
 *     more to learn how a commit that has begun ends). No network.
 */
PLUE_API int plue_session_vacuum(plue_session_t session);

/* ========================================================================
 * Agents.
 *
 * A session with a role (plue_session_create_with()) may have an agent attached, which runs its turns. Its relay state tells how far that
 * is: CREATED, SPAWNING while the agent is made ready, ACTIVE while it is attached, TERMINATING from its end on until all is cleaned
 * up, CLEANED. Then the role is free again.
 *
 *     plue_session_t session = plue_session_create_with("{\"role\":\"reviewer\"}");
 *     plue_session_relay_spawn(session);
 *     plue_session_relay_attach(session, "{\"worktree\":\"/work/tree\",\"agent\":{\"kind\":\"acp\",\"command\":\"codex-acp\"}}");
 *     …   turns, as with a server
 *     plue_session_relay_terminate(id, "done");
 *     plue_session_relay_clean(id);
 *
 * An agent of kind "acp" is a program that speaks the Agent Client Protocol on its standard streams: it is started in the worktree, and ends
 * with the host, however that ends. One of kind "host" is yours: the library keeps its state, and you run its turns. What is
 * refused is INVALID_TRANSITION and changes nothing; calls on a session without a role are, too. relay.changed tells of each change,
 * to every process on the store. A session whose agent has died stays ACTIVE, with "isLost":true in the relay of its info: session.updated
 * tells of that.
 * ======================================================================== */

/**
 * Note that an agent is being made ready: CREATED to SPAWNING.
 *
 * @return 0, or -1.
 * Errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted); INVALID_TRANSITION; BUSY; IO.
 * Takes: local: may wait for the local store; typically under a millisecond, at most requestTimeoutMs (10 s
 *     more to learn how a commit that has begun ends). No network.
 */
PLUE_API int plue_session_relay_spawn(plue_session_t session);

/**
 * Attach an agent: SPAWNING to ACTIVE. An "acp" agent is started, and 0 says that it is ready.
 *
 * Also an ACTIVE session takes one whose agent has gone, or whose host has: it goes on where that was, if the agent can.
 * Terminated meanwhile, the session stays so, and the agent is ended.
 *
 * agent_json: {"worktree","agent":{"kind","command"?,…}}:
 *   worktree    the absolute path of an existing directory; the agent is started there
 *   kind        "acp", or "host": yours
 *   command     of "acp": the program and its arguments, as an array; or a string, split into words as a shell would
 *   env         variables to be set beside the process's own: {"NAME":"value"}. Not stored, shown or logged
 *   files       "none" (default), "read" or "write": what the agent may ask the library to do with files of the worktree, and of nothing
 *               outside it. What it does by itself is up to it
 *   startMs     how long it may take to be ready, default requestTimeoutMs
 *   silenceMs   a turn in which the agent says nothing for so long is cancelled, and the agent ended if that does not help; default
 *               600000. Waiting for your answers does not count
 *   idleMs      the session is terminated when no turn ran, and nothing was noted, for so long; off by default
 *   messagesPerSecond  of more that are enqueued, or counted, the rest is refused with LIMIT_EXCEEDED; off by default. One of more than
 *               1 MiB always is
 *   restore     true (default): a session that had a conversation gets it back, or the call fails; false begins a new one
 *
 * @param agent_json a JSON object. Copied.
 * @return 0, or -1.
 * Errors: INVALID_PARAM and JSON_PARSE (name the key); INVALID_TRANSITION; IO (the command cannot be run);
 *     SERVER (it ended, or answered what it should not; its last words are in the message); PROVIDER_AUTH (it
 *     wants a login); TIMEOUT (it is not ready in time); UNSUPPORTED (it speaks another version, or cannot
 *     restore); IN_USE (another call is attaching one, or a turn runs); BAD_HANDLE; NOT_FOUND (deleted, or the
 *     agent has forgotten the conversation); ABORTED; BUSY.
 * Takes: remote: waits for the agent to be ready; at most requestTimeoutMs. Kind "host": as local.
 */
PLUE_API int plue_session_relay_attach(plue_session_t session, const char *agent_json);

/**
 * Note that the agent lives: relay.lastActive in the info is now. In any relay state.
 *
 * @return 0, or -1.
 * Errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted); INVALID_TRANSITION (no role); BUSY;
 *     IO.
 * Takes: local: may wait for the local store; typically under a millisecond, at most requestTimeoutMs (10 s
 *     more to learn how a commit that has begun ends). No network.
 */
PLUE_API int plue_session_relay_heartbeat(plue_session_t session);

/**
 * Count a message to the agent or of its: relay.messageCount grows by one, and relay.lastActive is now. Of an
 * agent of kind "acp" the library counts what is said to it.
 *
 * @return 0, or -1.
 * Errors: INVALID_PARAM (NULL handle); BAD_HANDLE; NOT_FOUND (deleted); INVALID_TRANSITION (no role);
 *     LIMIT_EXCEEDED (messagesPerSecond); BUSY; IO.
 * Takes: local: may wait for the local store; typically under a millisecond, at most requestTimeoutMs (10 s
 *     more to learn how a commit that has begun ends). No network.
 */
PLUE_API int plue_session_relay_count_message(plue_session_t session);

/**
 * Begin the end of a session's agent: to TERMINATING, from any relay state but CLEANED. Its turn is cancelled, no other begins; the
 * agent itself is ended by plue_session_relay_clean().
 *
 * @param session_id an id, not a handle: whoever terminates need not have one.
 * @param reason told in relay.changed and logged; at most 1000 characters; NULL: none.
 * @return 0, also when it is TERMINATING or CLEANED already, or there is no such session; -1.
 * Errors: INVALID_PARAM (NULL or malformed id; reason); INVALID_TRANSITION (no role); BUSY; IO.
 * Takes: local: may wait for the local store; typically under a millisecond, at most requestTimeoutMs (10 s
 *     more to learn how a commit that has begun ends). No network.
 */
PLUE_API int plue_session_relay_terminate(const char *session_id, const char *reason);

/**
 * End a terminated session's agent and what is left of it: TERMINATING to CLEANED.
 *
 * The agent's pipes are closed, then its process group gets SIGTERM, and after 5 s SIGKILL; in whichever process it is. Then the
 * cleaner runs (plue_session_set_cleaner()), once, however many threads and processes call this; if it fails, that is logged.
 * The worktree stays as it is. Should the process die in between, the next call begins anew.
 *
 * @return 0 (CLEANED, also if it was before), or -1.
 * Errors: INVALID_PARAM (NULL or malformed id); NOT_FOUND; INVALID_TRANSITION (not terminated: nothing was
 *     done); TIMEOUT; BUSY; IO.
 * Takes: waits, for the agent's end and the cleaner, at most requestTimeoutMs.
 */
PLUE_API int plue_session_relay_clean(const char *session_id);

/**
 * Open the session that holds a role.
 *
 * @param role as plue_session_create_with() was given it.
 * @return a new handle, to be destroyed by you; NULL on failure.
 * Errors: INVALID_PARAM (NULL or empty role); NOT_FOUND (no session has it, or it is CLEANED); BUSY; IO.
 * Takes: local: may wait for the local store; typically under a millisecond, at most requestTimeoutMs (10 s
 *     more to learn how a commit that has begun ends). No network.
 */
PLUE_API plue_session_t plue_session_relay_get(const char *role);

/**
 * Tell which relay state follows another by an event, and change nothing.
 *
 * Works at any time: without plue_init(), after plue_shutdown(), and in a forked child.
 *
 * States: CREATED, SPAWNING, ACTIVE, TERMINATING, CLEANED. Events: SPAWN, ACTIVATE, TERMINATE, CLEAN.
 *
 *                SPAWN        ACTIVATE     TERMINATE    CLEAN
 *   CREATED      SPAWNING     -            TERMINATING  -
 *   SPAWNING     -            ACTIVE       TERMINATING  -
 *   ACTIVE       -            -            TERMINATING  -
 *   TERMINATING  -            -            TERMINATING  CLEANED
 *   CLEANED      -            -            -            -
 *
 * @return the state, which belongs to the library; NULL when there is none.
 * Errors: INVALID_TRANSITION (the message has the state, the event and the reason; an unknown state or event,
 *     too); INVALID_PARAM (NULL, not UTF-8).
 * Takes: instant: never waits for Python, disk or network; microseconds. Safe on a UI thread.
 */
PLUE_API const char *plue_session_relay_next_state(const char *state, const char *event);

/**
 * Have `cleaner` called for each session that plue_session_relay_clean() cleans in this process, after its agent has ended.
 *
 * It gets the session's info, valid during the call, on a thread of the library's, with no library lock held and all signals blocked, and
 * may call any function but plue_shutdown(); plue_session_relay_clean() of the same session would wait for the cleaner itself, until
 * TIMEOUT. Sessions that are cleaned at the same time have calls at the same time. Any result but 0 says that it has failed: that is
 * logged, and the session is CLEANED all the same. It has to return: neither pthread_exit() nor a C++ exception may end it.
 *
 * Once this has returned, no call of the cleaner that was set before begins, and none runs: it waits for those that do, so hold no lock
 * that the cleaner takes. Called by a cleaner, it waits for none. plue_shutdown() removes it.
 *
 * @param cleaner NULL removes it: then cleaning goes without.
 * @param user_data passed to each call; yours.
 * @return 0, or -1.
 * Errors: CLOSED (the library shuts down).
 * Takes: local: may wait for the local store; typically under a millisecond, at most requestTimeoutMs (10 s
 *     more to learn how a commit that has begun ends). No network.
 */
PLUE_API int plue_session_set_cleaner(plue_session_cleaner cleaner, void *user_data);

/**
 * Return what is counted: sessions by relay state, agents attached and lost, changes, errors by reason, and how long cleaned sessions
 * lived and how many messages they had.
 *
 * States and agents are those of the store, of all processes on it; the rest is what this process has done since plue_init().
 *
 * @param format "json":
 *     {"relay":{"states","transitions","durationSeconds","messagesPerSession","errors"},"agents":{"attached","lost",
 *     "memoryBytes","sessions":[{"session","kind","command","worktree","isLost","pid"?,"error"?}]}}; or
 *     "prometheus": its text format, version 0.0.4, names beginning with plue_session_.
 * @return free it with plue_free_string(); NULL on failure.
 * Errors: INVALID_PARAM (NULL, another format); BUSY; IO.
 * Takes: local: may wait for the local store; typically under a millisecond, at most requestTimeoutMs (10 s
 *     more to learn how a commit that has begun ends). No network.
 */
PLUE_API char *plue_session_metrics(const char *format);

/* ========================================================================
 * Reserved.
 *
 * Checked, without effect until a later version. They are there so that programs need not be built anew for it.
 *
 * Configuration: retry.attempts, artifacts, sessions, hooks.
 * Options of plue_session_create_with(): template (NOT_FOUND: this version can define none).
 * Queries, a string or an array of alternatives: status "suspended", "completed", "failed"; residency "open", "parked", "closed":
 * no session matches. sort "artifactCount": all have the same.
 * Info: artifactCount is 0; time.ended and residency do not occur.
 * Handles: PLUE_CURRENT_SESSION (BAD_HANDLE everywhere).
 * Errors that nothing fails with: LEASE_LOST, CLAIM_EXPIRED, HOOK_FAILED.
 * Events that nothing sends: provider.changed, config.changed, error, session.state_changed, session.completed, artifact.added,
 * artifact.deleted, resource.changed, hook.failed.
 * ======================================================================== */

#ifdef __cplusplus
}
#endif

#endif /* PLUE_SESSION_H */
