/* Who listens to events: what a subscriber keeps, and how the default queue is read. */
#ifndef LISTENER_H
#define LISTENER_H

#include "check.h"
#include "json.h"

#include <stdatomic.h>

/* What a subscriber of these tests keeps: how many came, that none is missing, and a place to wait. */
typedef struct listener {
    pthread_mutex_t lock;
    pthread_cond_t news;
    atomic_int calls, updates, gaps, broken;
    long long next;
    uint32_t id;
    char last_title[64];
    atomic_int hold, held, inside; /* hold: stay in the callback until it is 0 */
    void (*then)(struct listener *, uint8_t, const char *);
    plue_session_t session;
} listener;

static inline void heard(uint8_t type, const char *event, void *data)
{
    listener *mine = data;
    if (atomic_fetch_add(&mine->inside, 1))
        mine->broken = 1; /* one event at a time */
    pthread_mutex_lock(&mine->lock);
    mine->calls++;
    mine->updates += type == PLUE_EVENT_SESSION_UPDATED;
    mine->gaps += type == PLUE_EVENT_GAP;
    if (!json_valid(event) || json_number(event, "number") != type)
        mine->broken = 2;
    if (type != PLUE_EVENT_GAP && json_number(event, "sequence") != mine->next++)
        mine->broken = 3;
    char *title = json_text(event, "data.title");
    if (title)
        snprintf(mine->last_title, sizeof mine->last_title, "%s", title);
    free(title);
    pthread_cond_broadcast(&mine->news);
    pthread_mutex_unlock(&mine->lock);
    if (mine->then)
        mine->then(mine, type, event);
    if (atomic_load(&mine->hold)) {
        atomic_store(&mine->held, 1);
        while (atomic_load(&mine->hold))
            pause_ms(1);
        atomic_store(&mine->held, 0);
    }
    atomic_fetch_sub(&mine->inside, 1);
}

static inline void listen_to_events(listener *made)
{
    memset(made, 0, sizeof *made);
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->news, NULL);
}

static inline void subscribe(listener *made)
{
    made->id = plue_event_subscribe(heard, made);
    CHECK(made->id > 0);
}

static inline void wait_for_updates(listener *mine, int count)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    pthread_mutex_lock(&mine->lock);
    while (mine->updates < count && !mine->broken)
        CHECK(pthread_cond_timedwait(&mine->news, &mine->lock, &until) == 0);
    pthread_mutex_unlock(&mine->lock);
    if (mine->broken || mine->updates != count)
        fprintf(stderr, "broken %d, updates %d of %d\n", mine->broken, mine->updates, count);
    CHECK(!mine->broken && mine->updates == count);
}

static inline void wait_for_title(listener *mine, int number)
{
    pthread_mutex_lock(&mine->lock);
    while (atoi(mine->last_title) != number)
        pthread_cond_wait(&mine->news, &mine->lock);
    pthread_mutex_unlock(&mine->lock);
}

static inline void retitle(plue_session_t session, int from, int to)
{
    char title[32];
    for (int i = from; i < to; i++) {
        snprintf(title, sizeof title, "%d", i);
        CHECK(plue_session_update_title(session, title) == 0);
    }
}

/* The next event of the default queue; a refill may be under way, and poll has nothing to wait on. */
static inline char *next_event(void)
{
    char *event;
    for (double until = seconds() + 10; !(event = plue_event_poll()) && seconds() < until;)
        pause_ms(1);
    CHECK(event != NULL);
    return event;
}

/* Read the default queue up to here. NULL would only say that a refill is under way: the end is marked. */
static inline void drain(void)
{
    plue_session_t mark = plue_session_create_with("{\"title\":\"mark\"}");
    char *id = plue_session_get_id(mark);
    CHECK(id);
    for (int seen = 0; !seen;) {
        char *event = next_event();
        seen = SAYS(event, id);
        plue_free(event);
    }
    CHECK_ERROR(!plue_event_poll(), PLUE_OK);
    plue_free(id);
    plue_session_destroy(mark);
}

#endif
