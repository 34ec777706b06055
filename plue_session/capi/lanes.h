/* Lanes: bounded queues of requests with library threads behind them. Callers are in calls.c, threads in lanes.c. */
#ifndef CORE_LANES_H
#define CORE_LANES_H

#include "core.h"

enum { PENDING, STARTED, DONE, ABANDONED };
enum { FAR, NEAR, OVER }; /* its end: far, near and awaited by a thread that does not sleep, not awaited in this way */
#define MS INT64_C(1000000)

typedef struct request request;
struct request {
    core_request view; /* first: Python sees this part */
    request *next, **link;
    pthread_cond_t ended;
    int lane, state;
    const char *turn; /* with a server: not beside another one of the same name, a session's id or a key; or NULL */
    atomic_int near; /* FAR, NEAR, OVER; written under the lane's lock */
    int leave_code;             /* why the caller is to go home at leave_at, when not for its deadline */
    int64_t deadline, leave_at; /* monotonic ns */
    int code;                   /* 0 or the error */
    char *message, *details, *text;
    uintptr_t handle;
    int number; /* the result */
    char storage[]; /* copies of the texts */
};

typedef struct list {
    request *first, **last;
    int count;
} list;

typedef struct lane {
    pthread_mutex_t lock;
    pthread_cond_t arrived, emptied;
    list pending, started;
    atomic_int hint; /* something may have come: what a thread looks at while it lingers */
    int open, woken, threads, generation;
} lane;

extern lane core_lanes[CORE_LANE_COUNT];
void core_lanes_prepare(void); /* once per process */

/* Under the lane's lock. */
void core_list_append_locked(list *to, request *added);
void core_list_detach_locked(list *from, request *old);
void core_leave_start_locked(request *each); /* a start goes home when whoever shuts down has said so */
void core_list_send_home_locked(list *of, int code, int64_t at); /* its callers, at the latest at `at` */

void core_request_free(request *old);

#endif
