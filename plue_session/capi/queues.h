/* Event queues, for their owners (events.c, default_queue.c) and for what fills them (feed.c). */
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
    CORE_FINAL_BYTES = 64 << 20
};
enum { CORE_BELLS = 64, CORE_NO_BELL = -1 };

typedef struct core_event core_event;
struct core_event {
    atomic_int references;
    int kind;
    int64_t id;          /* its row in the log; of a passing one the newest row that was told before it */
    size_t head, length; /* the sequence number goes between head and tail */
    const char *session; /* whose event it is, or NULL */
    core_event *dead;    /* the next of those that nobody refers to any more */
    char text[];
};

typedef struct core_queue core_queue;
struct core_queue {
    core_event *ring[CORE_QUEUE_CAPACITY]; /* from the log, in its order */
    unsigned first, count;
    size_t bytes;
    core_event *passing[CORE_PASSING_CAPACITY + CORE_FINAL_CAPACITY]; /* not stored, the oldest first */
    unsigned passing_count;
    size_t passing_bytes;
    unsigned finals; /* of the passing ones, those that tell how a submission has ended */
    size_t final_bytes;
    int is_read;       /* somebody will take out what is in it */
    int is_full;       /* it is read, and has so many final events that nothing more is to be submitted */
    uint64_t dropped;  /* passing events dropped since one was last handed out */
    uint64_t sequence; /* of the next event */
    int64_t last;      /* log id of the last stored event it got */
    int64_t handed;    /* log id of the last one that was taken out */
    int behind;        /* it was full: live events go past it until it is refilled */
    unsigned portion;  /* how many events it may still get in this round of refills */
    int closing;       /* it gets no more than what was published already */
    int waits;         /* its reader waits for its bell */
    int bell;          /* CORE_NO_BELL: nobody waits */
    core_queue *next;
};

/* What goes with an event that was taken out. */
typedef struct core_mark {
    uint64_t sequence, dropped;
    size_t need; /* bytes of its text; 0: nothing waits */
} core_mark;

/* feed.c */
/* Guards every queue. plue_event_poll takes it: nothing may take long under it. */
extern pthread_mutex_t core_queues_lock;
void core_queue_open_locked(core_queue *made, int bell);
void core_queue_close_locked(core_queue *old); /* it is not known any more; twice is harmless */
void core_readers_wake(uint64_t bells);        /* and those of the default queue, if it has something. Needs no lock */

/* default_queue.c */
void core_default_prepare(void);                   /* once per process */
int core_default_open(void);                       /* -1: no memory */
core_queue *core_default_read_locked(int64_t now); /* while it holds something and somebody reads it; else NULL */
void core_default_changed(void);                   /* it may have something. Needs no lock */
void core_default_lapse(void);                     /* whoever has not read it for long is no reader */
void core_default_stop(void);                      /* it gets no more */
void core_default_close(int64_t deadline);

/* queues.c */
void core_queue_discard(core_queue *old); /* after it was closed: frees what is in it. Needs no lock */
int core_queue_push_locked(core_queue *to, core_event *added); /* one from the log; -1: it is full */
void core_queue_push_passing_locked(core_queue *to, core_event *added, core_event **dead);
void core_queue_read_locked(core_queue *of, int is_read); /* somebody reads it, or nobody does any more */
int core_queues_are_full(void); /* has a reader so many final events before it that nothing more is to be submitted? */
/* What its reader gets next, or NULL: a passing event waits for those of the log that were told before it. */
core_event *core_queue_next_locked(const core_queue *of);
/* The next event if its text needs no more than `room` bytes; NULL: mark->need says how many, 0: there is none. */
core_event *core_queue_take_locked(core_queue *from, size_t room, core_mark *mark);
int core_queue_is_hungry_locked(const core_queue *of); /* it is behind, and has room: Python is to refill it */
void core_queue_give_up_locked(core_queue *of, core_event **dead); /* what has not been taken out is to be a gap */
void core_queue_free_dead(core_event *dead);                       /* needs no lock */
core_event *core_event_make(int64_t id, int kind, const char *session, const char *head, size_t head_length,
                            const char *tail, size_t tail_length);        /* NULL: no memory */
void core_event_drop(core_event *old);                                    /* a reference, or NULL. Needs no lock */
void core_event_print(core_event *of, const core_mark *mark, char *room); /* as JSON; drops the event. Needs no lock */

/* bells.c */
void core_bells_prepare(void);         /* once per process */
void core_bells_ring(uint64_t which);  /* one bit each */
void core_bell_wait(int bell, int ms); /* negative: for ever */
static inline uint64_t core_bell(int bell)
{
    return bell >= 0 ? UINT64_C(1) << bell : 0;
}

#endif
