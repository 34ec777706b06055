/* Executors: bounded queues of requests, with library threads behind them. Callers are in calls.c, threads in
 * executors.c, the steps of a request in requests.c; awake.c spares both sides a wake-up. */
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
    int overdue;                /* pending for too long: a reader may take it, to check it */
    const char *exclusive;      /* what it locks, a session's id or a key, where the executor excludes; NULL: nothing */
    atomic_int near;            /* awake.c: FAR, NEAR, OVER; written under the executor's lock */
    int leave_code;             /* why its caller leaves at leave_at; 0: its deadline */
    int64_t deadline, leave_at; /* monotonic ns */
    int code;                   /* 0 or the error */
    char *message, *details, *text;
    core_room room; /* for the handle that it returns, if it does */
    uintptr_t handle;
    uint64_t number; /* the result; of text or bytes their length */
    int nothing;     /* the result is NULL, without an error */
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
    atomic_int hint; /* set with each request: a thread that lingers polls it without the lock */
    int open, woken, threads, generation;
    int64_t again; /* when a thread is woken for CORE_SIGNAL_AGAIN; 0: at no time */
} executor;

/* What distinguishes one executor from another. */
typedef struct executor_kind {
    const char *name;
    int threads;
    int lasting;         /* open for the life of the process, also while the library is stopped */
    int remote;          /* only with a server; a call that has begun can still be interrupted */
    int excludes;        /* a request waits while another one with its lock is under way */
    int is_interrupted;  /* what is pending here is sent home by an abort of its session */
    int lingers;         /* its thread and a lone caller stay awake for each other: awake.c */
    int late;            /* the error of a caller whose time is up before its call has begun */
    int64_t grace_ns;    /* how much longer a call that has begun is waited for */
    int queues;          /* what is taken joins the writer's queue, and is begun by core__begin */
    int64_t patience_ns; /* a reader checks what has been pending for so long; 0: none does */
} executor_kind;

extern const executor_kind core_executor_kinds[CORE_EXECUTOR_COUNT];
extern executor core_executors[CORE_EXECUTOR_COUNT];
void core_executors_prepare(void); /* once per process */
/* Send home with ABORTED, at `at`, the callers that wait for the session, but not those of `operation`. */
void core_executors_interrupt(const char *session, int operation, int64_t at);

/* ---- requests.c; under the executor's lock ---- */
int core_executor_closed_locked(const executor *in, int index, int generation);
void core_list_append_locked(list *to, request *added);
void core_list_detach_locked(list *from, request *old);
void core_leave_start_locked(request *each); /* send a start home if a shutdown has asked for that */
void core_list_send_home_locked(list *of, int code, int64_t at); /* its callers leave by `at` */

void core_request_free(request *old);

/* ---- calls.c ---- */
enum { CORE_SUBJECT = 256 };
/* What an error is about: the operation, and the session when the call named one. */
const char *core_call_subject(const core_call *call, char room[CORE_SUBJECT]);
request *core_call_run(core_call *call); /* to its end; NULL with the error set */

/* ---- awake.c ---- */
void core_awake_linger(executor *in); /* its thread, before it waits; without the lock */
void core_awake_wait_locked(executor *in, request *of,
                            int alone); /* a caller, before it waits; `alone`: the executor has no other request */
int core_awake_called_locked(
    const request *of);                   /* has core__near called this caller? Then it waits in that way once more */
void core_awake_over_locked(request *of); /* the request has ended */

#endif
