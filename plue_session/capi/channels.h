/* Which queues hear of an event: see channels.c. */
#ifndef CORE_CHANNELS_H
#define CORE_CHANNELS_H

#include "queues.h"

enum { CORE_DELIVERY = 32 };

/* What is brought to the queues of a channel, and whom to wake for it. */
typedef struct core_delivery {
    core_event *made; /* NULL: there was no memory for it */
    int64_t id, after;
    int kind, last, waiting;
    core_event *dead;
    uint64_t rung;
    unsigned count;
    core_observer *observers[CORE_DELIVERY];
} core_delivery;
typedef void (*core_visit_queue)(core_queue *each, core_delivery *with);

core_channel *
core_channel_of_locked(const char *session); /* NULL or "": that of all events; NULL: nobody observes it */
int core_has_channels_locked(void);          /* is some session observed by itself? */
core_queue *core_channel_first_locked(const core_channel *of); /* of NULL there is none */
const char *core_channel_session(const core_channel *of);      /* "": it is that of all events */
/* `room`: what is needed if there is no such channel yet; it is returned if it was not, to be freed. */
core_channel *core_queue_join_locked(core_queue *made, const char *session, core_channel *room);
core_queue *core_queues_behind_locked(void);
/* Visit each queue of a channel, if there is one. The lock is let go of now and then to wake readers; the last ones are
 * for core_tell_locked to wake. */
void core_visit_each_locked(core_channel *over, core_visit_queue visit, core_delivery *with);
/* The same, and wake them all. */
void core_walk_locked(core_channel *over, core_visit_queue visit, core_delivery *with);
void core_walk_all_locked(core_visit_queue visit, core_delivery *with);
void core_tell_locked(core_delivery *with);                       /* wakes them, without the lock meanwhile */
void core_wake_later_locked(core_queue *of, core_delivery *with); /* in a visit */

#endif
