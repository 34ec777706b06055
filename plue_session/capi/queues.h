/* Event queues, for those who own one: the default queue and the subscriptions (events.c). */
#ifndef PLUE_QUEUES_H
#define PLUE_QUEUES_H

#include "core.h"

enum { PLUE_QUEUE_CAPACITY = 1024, PLUE_QUEUE_BYTES = 1 << 20 }; /* it holds at least one event, of any size */

typedef struct plue_event {
    atomic_int references;
    int kind;
    size_t head, length; /* the sequence number goes between head and tail */
    char text[];
} plue_event;

typedef struct plue_queue plue_queue;
struct plue_queue {
    plue_event *ring[PLUE_QUEUE_CAPACITY];
    unsigned first, count;
    size_t bytes;
    uint64_t token;    /* names the queue towards Python */
    uint64_t sequence; /* of the next event */
    int64_t last;      /* log id of the last durable event it got */
    int behind;        /* it was full: live events go past it until it is refilled */
    int closing;       /* it gets no more */
    int signal;        /* eventfd, readable while something waits; -1: nobody waits */
    plue_queue *next;
};

extern pthread_mutex_t plue_queues_lock; /* guards every queue; the functions below want it held */
void plue_queue_open(plue_queue *made, int signal);
void plue_queue_close(plue_queue *old);
void plue_queue_ring(plue_queue *of); /* wakes who waits for its eventfd */
void plue_queue_hush(plue_queue *of); /* nothing waits in it: its eventfd is not readable any more */
char *plue_queue_room(const plue_queue *of); /* malloc'ed, for the text of the next event; NULL: there is none, or no memory. It stays, then */
plue_event *plue_queue_pop(plue_queue *from, uint64_t *sequence);
void plue_event_print(plue_event *of, uint64_t sequence, char *room); /* as JSON; drops the event. Needs no lock */

#endif
