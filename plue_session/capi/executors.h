/* Executors: bounded queues of requests with library threads behind them. Callers are in calls.c, threads in
 * executors.c, what spares both a wake-up in awake.c. */
#ifndef CORE_EXECUTORS_H
#define CORE_EXECUTORS_H

#include "core.h"

enum { PENDING, TAKEN, STARTED, DONE, ABANDONED };
#define MS INT64_C(1000000)

typedef struct request request;
struct request {
    core_request view; /* first: Python sees this part */
    request *next, **link;
    pthread_cond_t ended;
    int executor, state;
    int overdue;                /* it waits for too long to be left unchecked: a reader takes it, too */
    int slow;                   /* a reader alone takes it: to check it takes long */
    const char *exclusive;      /* with a server: its lock, a session's id or a key; NULL: it needs none */
    atomic_int near;            /* awake.c: FAR, NEAR, OVER; written under the executor's lock */
    int leave_code;             /* why the caller is to go home at leave_at, when not for its deadline */
    int64_t deadline, leave_at; /* monotonic ns */
    int code;                   /* 0 or the error */
    char *message, *details, *text;
    core_room room; /* for the handle that it returns, if it does */
    uintptr_t handle;
    uint64_t number; /* the result; of text or bytes their length */
    int nothing;     /* the result is NULL, and no failure */
    char storage[];  /* copies of the texts */
};

typedef struct list {
    request *first, **last;
    int count;
} list;

typedef struct executor {
    pthread_mutex_t lock;
    pthread_cond_t arrived, emptied;
    list pending, taken, started;
    atomic_int hint; /* something may have come: what a thread looks at while it lingers */
    int open, woken, threads, generation;
} executor;

/* What distinguishes one executor from another. */
typedef struct executor_kind {
    const char *name;
    int threads;
    int lasting;         /* of the process: it is open before the library starts and after it has stopped */
    int remote;          /* only with a server. What has begun here waits for it, and can be interrupted */
    int excludes;        /* a request waits while another one with the same lock is under way */
    int is_interrupted;  /* what is pending here is sent home by an abort of its session */
    int lingers;         /* its thread, and who waits for it alone, stay awake for a moment: awake.c */
    int late;            /* the error of who leaves, its time being up, before its call has begun */
    int64_t grace_ns;    /* how long after that a call that has begun is waited for */
    int queues;          /* what was taken here is queued once more, and begun by core__begin */
    int64_t patience_ns; /* a call that has not begun by then is checked by a reader; 0: it is not */
} executor_kind;

extern const executor_kind core_executor_kinds[CORE_EXECUTOR_COUNT];
extern executor core_executors[CORE_EXECUTOR_COUNT];
void core_executors_prepare(void); /* once per process */
/* Callers that wait for the session go home with ABORTED at `at`, but for those of one operation. */
void core_executors_interrupt(const char *session, int operation, int64_t at);

/* ---- requests.c; under the executor's lock ---- */
int core_executor_closed_locked(const executor *in, int index, int generation);
void core_list_append_locked(list *to, request *added);
void core_list_detach_locked(list *from, request *old);
void core_leave_start_locked(request *each); /* a start goes home when whoever shuts down has said so */
void core_list_send_home_locked(list *of, int code, int64_t at); /* its callers, at the latest at `at` */

void core_request_free(request *old);

/* ---- calls.c ---- */
enum { CORE_SUBJECT = 256 };
/* What an error is about: the operation, and the session when the call named one. */
const char *core_call_subject(const core_call *call, char room[CORE_SUBJECT]);
request *core_call_run(core_call *call); /* to its end; NULL with the error set */

/* ---- awake.c ---- */
void core_awake_linger(executor *in); /* a thread that is about to wait for what comes; without the lock */
void core_awake_wait_locked(executor *in, request *of,
                            int alone); /* a caller that is about to wait for its request; `alone`: nobody else does */
int core_awake_called_locked(
    const request *of);                   /* is a caller that waits called by core__near? then it waits so again */
void core_awake_over_locked(request *of); /* the request has ended */

#endif
