/* Event queues, for those who own one: the default queue and the subscriptions (events.c). */
#ifndef CORE_QUEUES_H
#define CORE_QUEUES_H

#include "core.h"

enum { CORE_QUEUE_CAPACITY = 1024, CORE_QUEUE_BYTES = 1 << 20 }; /* it holds at least one event, of any size */

typedef struct core_event {
    atomic_int references;
    int kind;
    size_t head, length; /* the sequence number goes between head and tail */
    char text[];
} core_event;

typedef struct core_queue core_queue;
struct core_queue {
    core_event *ring[CORE_QUEUE_CAPACITY];
    unsigned first, count;
    size_t bytes;
    uint64_t token;    /* names the queue towards Python */
    uint64_t sequence; /* of the next event */
    int64_t last;      /* log id of the last durable event it got */
    int behind;        /* it was full: live events go past it until it is refilled */
    int closing;       /* it gets no more */
    int signal;        /* eventfd, readable while something waits; -1: nobody waits */
    core_queue *next;
};

extern pthread_mutex_t core_queues_lock; /* guards every queue; the functions below want it held */
void core_queue_open_locked(core_queue *made, int signal);
void core_queue_close_locked(core_queue *old);
void core_queue_ring_locked(core_queue *of); /* wakes who waits for its eventfd */
void core_queue_hush_locked(core_queue *of); /* nothing waits in it: its eventfd is not readable any more */
size_t core_queue_room_locked(const core_queue *of); /* that the next event's text takes; 0: there is none */
core_event *core_queue_pop_locked(core_queue *from, uint64_t *sequence); /* NULL: there is none */
void core_event_print(core_event *of, uint64_t sequence, char *room); /* as JSON; drops the event. Needs no lock */

#endif
