/* Event queues, for their owners (events.c, default_queue.c, observers.c) and for what fills them (feed.c). */
#ifndef CORE_QUEUES_H
#define CORE_QUEUES_H

#include "core.h"

/* A queue holds at least one stored event, of any size, the newest passing one of each kind, and as many final ones as
 * there can be (submissions.c). */
enum {
    CORE_QUEUE_CAPACITY = 1024,
    CORE_QUEUE_BYTES = 1 << 20,
    CORE_PASSING_CAPACITY = 64,
    CORE_PASSING_BYTES = 1 << 16,
    CORE_SUBMISSIONS = 512,
    CORE_FINAL_CAPACITY = 2 * CORE_SUBMISSIONS,
    CORE_FINAL_BYTES = 64 << 20,
    CORE_LONGEST_CURSOR = 191
};
enum { CORE_BELLS = 64, CORE_NO_BELL = -1 };

typedef struct core_event core_event;
struct core_event {
    atomic_int references;
    int kind;
    int64_t id;                   /* its row in the log; of a passing one the newest row that was told before it */
    size_t head, length;          /* the sequence number goes between head and tail */
    const char *session;          /* whose event it is, or NULL */
    core_event *dead;             /* the next of those that nobody refers to any more */
    int passing;                  /* it is not in the log */
    size_t cursor, cursor_length; /* where its cursor is in the text */
    size_t requested, requested_length; /* of a gap: where the cursor is that it answers to */
    char text[];
};

typedef struct core_channel core_channel;
typedef struct core_observer core_observer;
typedef struct core_queue core_queue;
struct core_queue {
    core_event **ring; /* from the log, in its order; its owner's */
    unsigned capacity, first, count;
    size_t bytes;
    core_event **passing; /* not stored, the oldest first; its owner's. CORE_PASSING_CAPACITY and the final ones */
    unsigned passing_capacity, passing_count;
    size_t passing_bytes;
    unsigned finals; /* of the passing ones, those that tell how a submission has ended */
    size_t final_bytes;
    int is_read;             /* somebody will take out what is in it */
    int is_full;             /* it is read, and has so many final events that nothing more is to be submitted */
    int64_t full_at;         /* when that began */
    uint64_t dropped;        /* passing events dropped since one was last handed out */
    uint64_t sequence;       /* of the next event */
    int64_t last;            /* log id of the last stored event it got */
    int64_t handed;          /* log id of the last one that was taken out */
    int behind;              /* it was full: live events go past it until it is refilled */
    unsigned portion;        /* how many events it may still get in this round of refills */
    int lapsed;              /* it begins with a gap, of this reason */
    int asked;               /* somebody wants what it does not have yet: it may be refilled */
    int deferred;            /* the log could not be read for it: not before core__event_retry */
    int told;                /* its reader was woken for what a refill has brought */
    int closing;             /* it gets no more than what was published already */
    int waits;               /* its reader waits for its bell */
    int bell;                /* CORE_NO_BELL: nobody waits */
    core_event *failure;     /* why it is not refilled any more, to be told once; its kind is the code */
    core_observer *observer; /* whose it is; NULL: of another kind of reader */
    core_channel *channel;   /* what it hears: all events, or those of one session; NULL: nothing any more */
    core_queue *next, **link, *next_behind, **behind_link;
};

enum { CORE_LAPSE_NONE, CORE_LAPSE_TRIMMED, CORE_LAPSE_UNAVAILABLE };

/* What goes with an event that was taken out. */
typedef struct core_mark {
    uint64_t sequence, dropped;
    size_t need; /* bytes of its text; 0: nothing waits */
} core_mark;

/* feed.c */
/* Guards every queue. plue_event_poll takes it: nothing may take long under it. */
extern pthread_mutex_t core_queues_lock;
/* For all events, from now on. */
void core_queue_open_locked(core_queue *made, int bell);
/* For those of one session, or (NULL) all, that follow `after` in the log. `room` is what core_channel_make has
 * returned for that session; what is returned is to be freed. */
core_channel *core_queue_open_at_locked(core_queue *made, const char *session, core_channel *room, int64_t after);
core_channel *core_channel_make(const char *session); /* NULL: no memory */
/* It is not known any more; twice is harmless. What is returned is to be freed. */
core_channel *core_queue_close_locked(core_queue *old);
void core_readers_wake(uint64_t bells); /* and those of the default queue, if it has something. Needs no lock */

void core_queue_behind_locked(core_queue *of, int behind); /* it is, or is live again */
void core_channel_free(core_channel *old);

/* default_queue.c */
void core_default_prepare(void);                   /* once per process */
int core_default_open(void);                       /* -1: no memory */
core_queue *core_default_read_locked(int64_t now); /* while it holds something and somebody reads it; else NULL */
void core_default_changed(void);                   /* it may have something. Needs no lock */
void core_default_lapse(void);                     /* whoever has not read it for long is no reader */
void core_default_stop(void);                      /* it gets no more */
void core_default_close(int64_t deadline);

/* observers.c */
void core_observers_open(void);
void core_observers_stop(void);  /* they get no more */
void core_observers_lapse(void); /* whoever has not read one for long is no reader */
void core_observers_close(void);
/* The next one after `*at`, of all there are, that holds something and is read; NULL: there is none. */
core_queue *core_observer_read_locked(core_observer **at, int64_t now);
int core_observer_hold_locked(core_observer *of); /* if somebody waits for it; 0: nobody does */
void core_observer_changed(core_observer *of);    /* it may have something; drops the reference. Needs no lock */

/* descriptors.c */
/* A descriptor that says whether there is an answer for who reads a queue. */
typedef struct core_descriptor {
    atomic_int fd;       /* -1: there is none */
    atomic_int changes;  /* to be settled; not 0: a thread is at it */
    int shown;           /* what it says; only the thread that settles knows it */
    atomic_int clearing; /* readers that are about to read it */
    int seen_empty;      /* under core_queues_lock: by a reader; the next answer is to be an edge, too */
} core_descriptor;
/* Under core_queues_lock: is there an answer, and does its queue want to be refilled? */
typedef int (*core_answer)(void *owner, int *hungry);
void core_descriptor_settle(core_descriptor *of, core_answer answer_locked, void *owner);
void core_descriptor_clear(core_descriptor *of, core_answer answer_locked,
                           void *owner); /* by a reader that found nothing */
/* The descriptor, made if there is none; -1: there is no room for one, or `is_over_locked` said so (`*over`). */
int core_descriptor_get(core_descriptor *of, int (*is_over_locked)(void *owner), void *owner, int *over);
void core_descriptor_close(core_descriptor *of, int64_t deadline);

/* queues.c */
void core_queue_discard(core_queue *old); /* after it was closed: frees what is in it. Needs no lock */
int core_queue_push_locked(core_queue *to, core_event *added); /* one from the log; -1: it is full */
void core_queue_push_passing_locked(core_queue *to, core_event *added, core_event **dead);
void core_queue_read_locked(core_queue *of, int is_read); /* somebody reads it, or nobody does any more */
/* Is it full, and has been left so for long? `read_at`: when somebody has read from it last. Then nobody reads it. */
void core_queue_lapse_locked(core_queue *of, int64_t read_at, int64_t now);
int core_queues_are_full(void); /* has a reader so many final events before it that nothing more is to be submitted? */
/* What its reader gets next, or NULL: a passing event waits for those of the log that were told before it. */
core_event *core_queue_next_locked(const core_queue *of);
/* The next event if its text needs no more than `room` bytes; NULL: mark->need says how many, 0: there is none. */
core_event *core_queue_take_locked(core_queue *from, size_t room, core_mark *mark);
int core_queue_wants_locked(const core_queue *of);                 /* it is behind, and has room */
int core_queue_is_hungry_locked(const core_queue *of);             /* Python is to refill it, now */
void core_queue_give_up_locked(core_queue *of, core_event **dead); /* what has not been taken out is to be a gap */
void core_queue_free_dead(core_event *dead);                       /* needs no lock */
core_event *core_event_make(int64_t id, int kind, const char *session, const char *head, size_t head_length,
                            const char *tail, size_t tail_length); /* NULL: no memory */
void core_event_drop(core_event *old);                             /* a reference, or NULL. Needs no lock */
/* As JSON; drops the event. `cursor`: of who gets it, or NULL: what was told beside the log carries it, and a gap
 * answers to it. Needs no lock */
void core_event_print(core_event *of, const core_mark *mark, const char *cursor, char *room);

/* bells.c */
void core_bells_prepare(void);         /* once per process */
void core_bells_ring(uint64_t which);  /* one bit each */
void core_bell_wait(int bell, int ms); /* negative: for ever */
static inline uint64_t core_bell(int bell)
{
    return bell >= 0 ? UINT64_C(1) << bell : 0;
}

#endif
