/*
 * The C side of the boundary, seen from inside. What stands between the cdef marks is also declared to Python.
 *
 * The way of a call: a shim collects the arguments (plue_call), posts a request to a lane, and waits for its end with a
 * deadline. Library threads, which alone run Python, take requests from the lanes and finish them. So a host thread
 * never holds the interpreter lock, never runs Python on its stack, and can always be sent home: by its deadline, an
 * abort or a shutdown. Instant functions do not come here at all: they are answered from C memory.
 *
 * Locks are leaves, with one exception: the table's lock may be held when a session's is taken. No lock is held while
 * Python, a callback or the disk is waited for, but the one that lets plue_init and plue_shutdown run one at a time.
 */
#ifndef PLUE_CORE_H
#define PLUE_CORE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "plue_session.h"

_Static_assert(sizeof(void *) == 8, "handles are 64-bit ids: a 32-bit build would have to reuse them");

/* <cdef> */
enum { PLUE_LANE_CONTROL, PLUE_LANE_COMMIT, PLUE_LANE_READ, PLUE_LANE_REMOTE, PLUE_LANE_URGENT, PLUE_LANE_COUNT, PLUE_LANE_NONE = -1 };
enum { PLUE_SIGNAL_REQUESTS = 1, PLUE_SIGNAL_WAKE = 2, PLUE_SIGNAL_MAINTAIN = 4, PLUE_SIGNAL_SHOW = 8 };
enum { PLUE_CONTROL_OPEN = -1, PLUE_CONTROL_FAREWELL = -2, PLUE_CONTROL_CLOSE = -3, PLUE_CONTROL_HANG_UP = -4 };

typedef struct plue_request {
    int operation;
    const char *session; /* the id behind the handle that the call named, or NULL */
    const char *text[3]; /* the call's texts in order; NULL where it passed NULL */
    size_t length[3];
    int number;          /* the call's number (a timeout in ms); of PLUE_CONTROL_OPEN the generation */
    int parse, parsed;   /* the text is to be parsed, no more; under this number it was, 0: it was not */
    int64_t until, span; /* monotonic ns: when its caller goes home, and how long that is in all */
} plue_request;
/* </cdef> */

#define PLUE_TEXTS 3

/* ---- thread.c: what belongs to one thread: its last error, its recently freed memory ---- */
typedef struct plue_thread plue_thread;
struct plue_thread {
    int code;
    int64_t time;           /* of the error, ms since the epoch */
    char *message;          /* heap, or a literal when memory was short */
    char *details;          /* JSON object text or NULL */
    char *json;             /* what plue_get_last_error_json returned last */
    struct plue_held {
        void *block;
        size_t size;
    } held[16 /* HELD in memory.c */]; /* freed, but not yet given back: a double free finds them unowned, not reused */
    unsigned next_held; /* the oldest of them */
    struct subscription *subscription; /* of a thread that runs a callback of the host's: whose */
    int generation;         /* of a library thread: what is not the present one may no longer publish */
};
extern _Thread_local plue_thread *plue_known_thread __attribute__((tls_model("initial-exec"))); /* NULL at first */
plue_thread *plue_this_thread(void); /* NULL when memory is short: not on a thread of ours */
void plue_adopt_thread(plue_thread *made); /* the calling thread's own, from malloc */
void plue_fail(int code, const char *operation, const char *format, ...) __attribute__((format(printf, 3, 4)));
void plue_fail_with(int code, const char *message, const char *details);
void plue_clear_error(void);
int64_t plue_now_ms(void);         /* wall clock */
int64_t plue_monotonic_ns(void);
void plue_deadline(struct timespec *at, int64_t monotonic_ns);
void plue_cond_init(pthread_cond_t *cond); /* waits on the monotonic clock */

/* ---- memory.c: text that belongs to the caller ---- */
char *plue_own(const char *text, size_t length); /* a copy the caller may free; NULL when memory is short */
int plue_own_block(void *block);                 /* 0 when `block` (from malloc) now counts as the caller's */

/* ---- text.c ---- */
void plue_make_utf8(char *text); /* replaces what is not by question marks */
char *plue_quote(const char *text, size_t length, size_t *out_length); /* malloc'ed JSON string literal */

/* ---- state.c: one library state per process ---- */
enum { PLUE_STOPPED, PLUE_STARTING, PLUE_RUNNING, PLUE_STOPPING };
extern atomic_int plue_state;
extern atomic_int plue_forked;
extern atomic_int plue_generation;
int plue_ready(const char *operation); /* 0, or -1 with FORKED or NOT_INITIALIZED set */
int plue_outdated(void); /* is this a library thread of before the last shutdown? it may no longer publish */
int plue_above_stdio(int fd); /* the same, not on 0-2, which the host may have closed and its printf still write to */
int plue_spawn(void *(*run)(void *), void *argument); /* a detached thread with its own stack size and no signals */

/* ---- boot.c: the interpreter ---- */
int plue_only_copy(const char *operation); /* -1 with RUNTIME set: another copy of the library runs in this process */
int plue_boot(const char *operation);      /* once per process; -1 with RUNTIME set */
typedef struct plue_visit {
    int cancel;        /* whether the thread may be cancelled */
    void *interpreter; /* the state of a Python host's thread that holds the interpreter lock, or NULL */
} plue_visit;
plue_visit plue_enter(void);         /* a host's thread is about to wait here, or to hold a lock across what may wait ... */
void plue_leave(plue_visit *visit);  /* ... and is done */
int plue__start_cffi(void);

/* ---- handles.c ---- */
char *plue_session_id_of(plue_session_t handle, const char *operation); /* malloc'ed id, or NULL with the error set */
void plue_drop_all_sessions(void);

/* ---- calls.c ---- */
typedef struct plue_call {
    int operation;
    int failed;
    int generation; /* of the library that it was made to; 0: of any */
    int texts;
    int number;
    int64_t wait_ns; /* how long a function that waits may, 0: as long as any */
    char *session;
    const char *text[PLUE_TEXTS];
    size_t length[PLUE_TEXTS];
} plue_call;
plue_call plue_begin(int operation);
void plue_take_session(plue_call *call, plue_session_t session);
void plue_take_text(plue_call *call, const char *name, const char *text, int required);
void plue_take_timeout(plue_call *call, const char *name, int milliseconds);
void plue_interrupt(plue_call *call); /* sends home the other callers that wait for this call's session */
plue_session_t plue_run_session(plue_call *call);
char *plue_run_text(plue_call *call);
int plue_run_status(plue_call *call);
int plue_run_count(plue_call *call);
int plue_control(int operation, const char *text, int number, int64_t deadline_ns);
char *plue_ask_info(char *session_id); /* from the server; takes the id, which is malloc'ed */

/* ---- lanes.c ---- */
extern atomic_int plue_away; /* sessions live on a server: what may ask it has lanes of its own */
extern atomic_int plue_commits; /* how often our own writer has committed for callers */
int plue_lanes_open(int generation);                 /* starts the lanes' threads */
void plue_lanes_leave_start(int64_t at);             /* a plue_init that runs goes home by then (CLOSED) */
void plue_lanes_shut(void);                          /* nothing is taken any more; who waits is sent home (CLOSED) */
int plue_lanes_end(int64_t deadline_ns);             /* then waits for the threads; -1: some are stuck */

/* ---- events.c ---- */
int plue_events_open(void);
int plue_events_close(int64_t deadline_ns);          /* 0, or -1 when a callback of the host's still runs */


/* ---- queues.c ---- */
int64_t plue_published(void); /* the newest log row that was published here */

/* <cdef> */
/* lanes.c */
void plue__remote(int remote);
int plue__wait(int lane, int generation);
int plue__take(int lane, int generation, plue_request **requests, int room);
void plue__wake(int lane, int signal);
void plue__near(int lane);
void plue__finish_text(plue_request *request, const char *text, size_t length, int array);
int plue__finish_number(plue_request *request, int number);
int plue__finish_session(plue_request *request, uintptr_t handle);
void plue__finish_error(plue_request *request, int code, const char *message, const char *details);

/* calls.c */
void plue__set_timeout(int milliseconds);

/* handles.c, snapshots.c */
uintptr_t plue__session_acquire(const char *id);
void plue__session_release(uintptr_t handle);
int plue__session_known(const char *id);
char *plue__session_ids(void);
void plue__session_publish(const char *id, int64_t rev, const char *info, size_t length);
void plue__session_gone(const char *id);
void plue__session_fresh(const char *id, int64_t monotonic_ns);
void plue__set_ttl(int64_t ns);

/* text.c */
int plue_is_utf8(const char *text, size_t length);

/* queues.c */
void plue__event_publish(int64_t id, int kind, const char *head, size_t head_length, const char *tail, size_t tail_length);
int plue__event_pass(int64_t id);
void plue__event_skip(int64_t id);
void plue__event_lost(int64_t id);
int plue__event_behind(uint64_t *queues, int64_t *after, int room);
int plue__event_refill(uint64_t queue, int64_t id, int kind, const char *head, size_t head_length, const char *tail, size_t tail_length);
int plue__event_refilled(uint64_t queue, int64_t last);
void plue__event_start(int64_t id);

/* watch.c */
int plue__watch(const char *folder, const char *file);
void plue__watch_stop(void);

/* state.c, boot.c */
int plue__leaving(void);
const char *plue__environment(const char *name);
char **plue__environment_block(void);
void plue__adopt(int generation);
void plue__close_on_fork(int fd);
void plue__keep_on_fork(int fd);
const char *plue__library_path(void);
const char *plue__package_root(void);
const char *plue__fingerprint(void);
void plue__boot_failed(const char *message);
void plue__lane_failed(int lane, int generation);
void plue__free(char *text);
/* </cdef> */

#endif
