/*
 * The C side of the boundary, seen from inside. What stands between the cdef marks is also declared to Python.
 *
 * A call: a shim collects the arguments (core_call), posts a request to an executor, and waits for its end with a
 * deadline. Library threads, which alone run Python, take requests from the executors and finish them. So a host thread
 * never holds the interpreter lock, never has Python on its stack, and can always be sent home: by its deadline, an
 * abort or a shutdown. Instant functions do not come here: they are answered from C memory.
 *
 * Locks are leaves: who holds one takes no other, and waits for neither Python, a callback nor the disk. One exception
 * lets plue_init and plue_shutdown run one at a time. Under a lock that an instant function takes, nothing may take
 * long: no memory is got or given back, no thread started, no list walked that grows with use (c_tests/instant.c).
 */
#ifndef CORE_H
#define CORE_H

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
enum {
    CORE_EXECUTOR_CONTROL,
    CORE_EXECUTOR_COMMIT,
    CORE_EXECUTOR_READ,
    CORE_EXECUTOR_REMOTE,
    CORE_EXECUTOR_URGENT,
    CORE_EXECUTOR_COUNT,
    CORE_EXECUTOR_NONE = -1,
    CORE_EXECUTOR_WORK = -2
};
enum {
    CORE_SIGNAL_REQUESTS = 1,
    CORE_SIGNAL_WAKE = 2,
    CORE_SIGNAL_MAINTAIN = 4,
    CORE_SIGNAL_SHOW = 8,
    CORE_SIGNAL_RELEASED = 16,
    CORE_SIGNAL_CHECK = 32,
    CORE_SIGNAL_LEAD = 64,
    CORE_SIGNAL_SUBMITTED = 128,
    CORE_SIGNAL_TURNS = 256,
    CORE_SIGNAL_AGAIN = 512
};
enum {
    CORE_CONTROL_OPEN = -1,
    CORE_CONTROL_FAREWELL = -2,
    CORE_CONTROL_CLOSE = -3,
    CORE_CONTROL_HANG_UP = -4,
    CORE_CONTROL_REFILL = -5,
    CORE_CONTROL_GAP = -6,
    CORE_CONTROL_PING = -7
};

typedef struct core_request {
    int operation;
    const char *session; /* the id behind the handle that the call named, or NULL */
    const char *text[3]; /* the call's texts and bytes in order; NULL where it passed NULL for a text */
    size_t length[3];
    int number;          /* the call's number (a timeout in ms); of CORE_CONTROL_OPEN the generation, of
                            CORE_CONTROL_CLOSE the error that plue_shutdown ends with, or 0 */
    uint64_t value;      /* any other number of the call's; of an object's handle, the object's; of plue_init and
                            plue_shutdown when they began, in monotonic ns */
    int slow;            /* its check takes long: only a reader takes it, and prepares it */
    int64_t until, span; /* monotonic ns: when its caller goes home, and how long that is in all */
} core_request;
/* </cdef> */

#define CORE_TEXTS 3

/* ---- thread.c: what belongs to one thread: its last error, its recently freed memory ---- */
enum { CORE_KEPT = 16 };
typedef struct core_kept { /* texts that were freed, but not yet given back: a double free finds them unowned, not
                              reused */
    struct core_kept_block {
        void *block;
        size_t size;
    } *blocks;
    unsigned room, first, count;
    size_t bytes;
} core_kept;

typedef struct core_thread core_thread;
struct core_thread {
    int code;
    int ends;              /* its end will be noticed, and what it has is freed then; 0: there was no key for that */
    pthread_mutex_t alive; /* without one: locked by it ... */
    core_thread *next;     /* ... and listed */
    int64_t time;          /* of the error, ms since the epoch */
    char *message;         /* heap, or a literal when memory was short */
    char *details;         /* JSON object text or NULL */
    char *json;            /* what plue_get_last_error_json returned last */
    core_kept kept;
    struct core_kept_block kept_blocks[CORE_KEPT];
    struct subscription *subscription; /* of a thread that runs a callback of the host's: whose */
    int cleans;                        /* how many calls of the host's cleaner it is in */
    int reads;                         /* which life of the default queue it has read from; 0: none */
    int observes;                      /* in which life of the library it has used an observer last; 0: none */
    int generation;                    /* of a library thread: what is not the present one may no longer publish */
};
extern _Thread_local core_thread *core_known_thread __attribute__((tls_model("initial-exec"))); /* NULL at first */
core_thread *core_this_thread(void);             /* NULL when memory is short: not on a thread of ours */
int core_in_callback(const core_thread *thread); /* does it run code of the host's that the library has called? */
void core_adopt_thread(core_thread *made);       /* the calling thread's own, from malloc */
void core_fail(int code, const char *operation, const char *format, ...) __attribute__((format(printf, 3, 4)));
void core_fail_with(int code, const char *message, const char *details);
void core_clear_error(void);
int64_t core_now_ms(void); /* wall clock */
int64_t core_monotonic_ns(void);
void core_deadline(struct timespec *at, int64_t monotonic_ns);
int core_cond_init(pthread_cond_t *cond); /* waits on the monotonic clock; -1 when there is no memory */
/* What is made once per process: when that fails, no start can succeed (core_is_set_up). */
void core_set_up(pthread_mutex_t *lock, pthread_cond_t *cond); /* either may be NULL */
int core_is_set_up(void);

/* ---- memory.c: text that belongs to the caller ---- */
/* Room for a text the caller may free, as may we (plue_free); NULL when memory is short. */
char *core_new_text(size_t size);
char *core_own(const char *text, size_t length); /* the same, with a copy in it */
/* The same, of what this thread has freed, if it fits: takes neither memory nor a lock; NULL: there is none. */
char *core_spare_text(size_t size);
void core_leave_kept(core_kept *of); /* its thread ends: what it has kept aside is kept a while longer */

/* ---- text.c ---- */
enum { CORE_LONGEST = 64 << 20 }; /* how many bytes a text of the host's may have */
void core_make_utf8(char *text);  /* replaces what is not by question marks */
/* Of a text of the host's: 0, or -1 with the error set: too long, or not UTF-8. `session`: the id that the call is
 * about, or NULL. */
int core_check_text(const char *operation, const char *session, const char *name, const char *text, size_t length);
size_t core_quoted_length(const char *text, size_t length);
void core_quote(const char *text, size_t length,
                char *to); /* as a JSON string literal, of core_quoted_length bytes and a NUL */
int core_hex(char c);      /* -1: it is no digit */
/* Of what stands between the quotation marks of a valid literal: the bytes, at most four, that `*at` means, which moves
 * on; all of it, with a NUL, in no more room than it has (-1: there is a NUL in it). */
size_t core_decode(const char **at, char *to);
int core_unescape(const char *at, const char *end, char *to);

/* ---- lifecycle.c: one library state per process ---- */
enum { CORE_STOPPED, CORE_STARTING, CORE_RUNNING, CORE_STOPPING };
extern atomic_int core_state;
extern atomic_int core_generation;
int core_ready(const char *operation); /* 0, or -1 with FORKED or NOT_INITIALIZED set */

/* ---- forks.c ---- */
extern _Atomic(atomic_int *) core_parent; /* 0 in a forked child */
static inline int core_forked(void)
{
    return __builtin_expect(
        !atomic_load_explicit(atomic_load_explicit(&core_parent, memory_order_acquire), memory_order_relaxed), 0);
}
int core_watch_forks(void);                  /* once is enough; -1 when there is no way to */
int core_refuse_fork(const char *operation); /* 0, or -1 with FORKED set */

/* ---- spawn.c ---- */
int core_outdated(void);      /* is this a library thread of before the last shutdown? it may no longer publish */
int core_above_stdio(int fd); /* the same, not on 0-2, which the host may have closed and its printf still write to */
/* A detached thread without signals; the name has 15 bytes at most. */
int core_spawn(const char *name, void *(*run)(void *), void *argument);

/* ---- copies.c ---- */
/* -1 with RUNTIME set: another copy of the library runs in this process. */
int core_claim_process(const char *operation);
/* Who needs the claim: a library that runs; Python that starts; what is asked of it, though its caller has left. */
enum { CORE_CLAIM_LIFE = 1, CORE_CLAIM_BOOT = 2, CORE_CLAIM_CONTROL = 4 };
void core_hold_claim(int holder);
void core_drop_claim(int holder); /* the last one gives it up */

/* ---- start.c, host.c, pythread.c: the interpreter, and hosts that have one ---- */
int core_boot(const char *operation, int64_t deadline); /* once per process; -1 with the error set */
void core_boot_leave(int64_t at);                       /* who waits for that goes home by then (CLOSED) */
int core_booted(void);
int core_python_is_hosts(void); /* the interpreter is that of a host that is Python itself */
void core_stay_if_gone(void);   /* a thread that would go back to an interpreter that is gone, or another one by now,
                                   sleeps for ever instead */
int core_python_gone(void);     /* was the interpreter finalized by its host, or is it just ending? */
int core_refuse_gone(const char *operation); /* 0, or -1 with RUNTIME set: it was */
typedef struct core_visit {
    int cancel;        /* whether the thread may be cancelled */
    void *interpreter; /* the state of a Python host's thread that holds the interpreter lock, or NULL */
} core_visit;
/* A host's thread is about to wait here, or to hold a lock across what may wait. -1 with RUNTIME set: it would wait for
 * itself, or for the dead. */
int core_enter(core_visit *visit, const char *operation);
void core_enter_anyway(core_visit *visit); /* the same for what needs no Python: never refused */
void core_leave(core_visit *visit);        /* it is done */
/* A thread that serves an executor (core_python_serve) and then calls `ended`; -1: none can be started, or memory is
 * short. */
int core_spawn_python(const char *name, int executor, int number, void (*ended)(int executor, int number));
int core__start_cffi(void);

/* ---- handles.c ---- */
enum { CORE_KIND_SESSION, CORE_KIND_OBSERVER }; /* the first of core_kinds */
/* What one more handle to a session takes. It is got before the call that opens or makes the session begins: none may
 * be lacking afterwards. */
typedef struct core_room {
    struct session *session; /* NULL: there is none, or it is used up */
    uint32_t slot;
} core_room;
int core_room_take(core_room *room); /* -1: memory, or slots, are used up */
void core_room_leave(core_room *room);
uintptr_t core_room_handle(core_room *room, const char *id); /* uses it up; 0 after the end of this library */
char *core_session_id_of(plue_session_t handle, const char *operation); /* malloc'ed id, or NULL with the error set */
/* The number of the object behind a handle of that kind (core_kinds); -1 with the error set. */
int core_object_of(uintptr_t handle, int kind, const char *operation, uint64_t *number);
void core_destroy(uintptr_t handle, int kind); /* for the host: what is no live handle of that kind is ignored */
void core_drop_all_handles(void);
/* What that observer's handle stands for; NULL: none was ever given, or it is of before the last shutdown. It may be
 * closed, and be another one's by now: it knows whose it is. */
void *core_observer_at(uintptr_t handle);
void core_observer_release(void *object); /* its handle has gone; observers.c */
void core_observers_forked(void);         /* in a forked child: closes their descriptors */

/* ---- calls.c ---- */
typedef struct core_call {
    int operation;
    int failed;
    int generation; /* of the library that it was made to; 0: of any */
    int texts;
    int number;
    int64_t wait_ns; /* how long a function that waits may, 0: as long as any */
    uint64_t value;
    char *session;
    const char *text[CORE_TEXTS];
    size_t length[CORE_TEXTS];
    void **data; /* where the bytes go that it returns, and their number */
    size_t *size;
} core_call;
core_call core_begin(int operation);
void core_take_session(core_call *call, plue_session_t session);
void core_take_text(core_call *call, const char *name, const char *text, int required);
void core_take_bytes(core_call *call, const char *name, const void *data, size_t length);
void core_take_timeout(core_call *call, const char *name, int milliseconds);
int core_check_timeout(const char *subject, const char *name, int milliseconds); /* -1 with the error set: negative */
void core_take_handle(core_call *call, int kind, uintptr_t handle);
void core_take_room(core_call *call, void **data, size_t *length);
void core_take_session_or_all(core_call *call, plue_session_t session);
void core_interrupt(core_call *call); /* sends home the other callers that wait for this call's session */
void *core_run_handle(core_call *call);
char *core_run_text(core_call *call);
char *core_run_maybe_text(core_call *call); /* NULL with PLUE_OK: there is none */
int core_run_bytes(core_call *call);
int core_run_count(core_call *call);       /* -1 on failure */
uint64_t core_run_number(core_call *call); /* 0 on failure */
int core_control(int operation, const char *text, int number, int64_t deadline_ns);
int core_control_since(int operation, const char *text, int number, int64_t begun_ns, int64_t deadline_ns);
char *core_ask_info(char *session_id); /* from the server; takes the id, which is malloc'ed */

/* ---- executors.c ---- */
extern atomic_int core_away; /* sessions live on a server: what may ask it has executors of its own */
int core_executor_is_open(int executor, int generation);
int core_executors_open(int generation); /* starts the executors' threads */
void core_executors_leave_start(
    int64_t at);                   /* the plue_init that runs goes home by then (CLOSED); 0: at its own time */
void core_executors_abandon(void); /* nothing that was asked for will be done: everybody goes home (RUNTIME) */
void core_executors_shut(void);    /* nothing is taken any more; who waits is sent home (CLOSED) */
int core_executors_end(int64_t deadline_ns); /* then waits for the threads; -1: some are stuck */

/* ---- awake.c ---- */
extern atomic_int core_commits; /* how often our own writer has committed for callers */

/* ---- events.c ---- */
void core_events_prepare(void); /* once per process */
int core_events_open(void);
int core_events_close(int64_t deadline_ns); /* 0, or -1 when a callback of the host's still runs */

/* ---- submissions.c ---- */
void core_submissions_open(void);
void core_submissions_shut(void);
void core_submissions_close(void);

/* ---- turns.c ---- */
void core_turns_close(void);

/* ---- relay.c ---- */
void core_cleaner_prepare(void); /* once per process */
void core_cleaner_open(void);
void core_cleaner_shut(void);                /* none begins any more */
int core_cleaner_close(int64_t deadline_ns); /* 0, or -1 when one still runs */

/* ---- feed.c ---- */
int64_t core_published(void); /* the newest log row that was published here */

/* <cdef> */
/* executors.c */
void core__remote(int remote);
int core__wait(int executor, int generation);
int core__take(int executor, int generation, core_request **requests, int room);
int core__take_overdue(int executor, int generation, core_request **requests, int room);
int core__begin(core_request *request);
void core__put_back(core_request *request);
int core__is_left(const core_request *request);
int core__wake(int executor, int signal);
void core__wake_again(int executor, int ms);
void core__finish_text(core_request *request, const char *text, size_t length, int array);
int core__finish_number(core_request *request, uint64_t number);
int core__finish_handle(core_request *request, uintptr_t handle);
void core__finish_error(core_request *request, int code, const char *message, const char *details);

/* awake.c */
void core__near(int executor);

/* calls.c */
void core__set_timeout(int milliseconds);
void core__interrupt(const char *session);

/* submissions.c */
char *core__submission_take(uint64_t *id, size_t *length);
void core__submission_forget(char *text);
int core__submission_is_cancelled(uint64_t id);
int core__submission_end(uint64_t id);
void core__submission_leave(uint64_t id);

/* turns.c */
int core__turns_count(const char *id, int count);
int core__turns_asked(char *id);

/* relay.c */
void core__clean(const char *info, int *result);

/* handles.c, snapshots.c */
uintptr_t core__session_acquire(core_request *request, const char *id);
uintptr_t core__handle_make(int kind, uint64_t number);
void core__handle_release(uintptr_t handle);
int core__handle_released(uint64_t *number);
int core__session_known(const char *id);
size_t core__session_ids(uintptr_t *after, char *to, size_t room);
void core__session_publish(const char *id, int64_t rev, const char *info, size_t length);
void core__session_gone(const char *id);
void core__session_fresh(const char *id, int64_t monotonic_ns);
void core__set_ttl(int64_t ns);

/* aliases.c */
int core__session_rename(const char *before, const char *now);
void core__session_revive(const char *id);

/* text.c */
int core_is_utf8(const char *text, size_t length);

/* feed.c */
int core__event_publish(int64_t id, int kind, const char *session, const char *head, size_t head_length,
                        const char *tail, size_t tail_length);
typedef struct core_told {
    int64_t id, kind, head, tail; /* of an event; lengths of its texts */
} core_told;
void core__events_publish(const core_told *told, size_t count, const char *texts);
int core__event_pass(int64_t id);
void core__event_skip(int64_t id);
void core__event_lost(int64_t id);
int core__event_behind(int64_t *after, char *session, size_t room, int *lapsed, int *wanted);
int core__event_refill(const char *channel, int64_t after, int64_t id, int kind, const char *session, const char *head,
                       size_t head_length, const char *tail, size_t tail_length);
int core__event_lapse(const char *channel, int lapsed, int64_t id, int kind, const char *session, const char *head,
                      size_t head_length, const char *tail, size_t tail_length);
void core__event_no_lapse(const char *channel, int lapsed);
void core__event_refilled(const char *channel, int64_t after, int64_t last);
void core__event_refuse(const char *channel, int64_t after, int lapsed, int code, const char *message, size_t length);
void core__event_retry(void);
void core__event_start(int64_t id);

/* observers.c, channels.c */
uintptr_t core__observer_open(const char *session, int64_t after, int lapsed, const char *cursor);
int core__observers_rename(const char *old, const char *renamed);

/* watch.c */
int core__watch(const char *folder, const char *file);
void core__watch_stop(void);

/* children.c */
typedef struct core_child core_child;
core_child *core__child_start(const char *program, char **arguments, char **environment, const char *folder,
                              const int *streams, int *failure, int *stage);
int core__child_end(core_child *child, int patient);

/* lifecycle.c, find.c, start.c, host.c, forks.c, spawn.c */
int core__leaving(void);
const char *core__environment(const char *name);
char **core__environment_block(void);
void core__adopt(int generation);
int core__start_thread(const char *name, int number);
int core__close_on_fork(int fd);
void core__keep_on_fork(int fd);
const char *core__library_path(void);
const char *core__package_root(void);
const char *core__site(void);
const char *core__fingerprint(void);
void core__boot_failed(const char *message);
/* </cdef> */

#endif
