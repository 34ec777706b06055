/*
 * A host for sanitizers: three threads make, change and delete sessions, a callback hears of it, and the library is
 * stopped and started again. With -DRETURNS it ends while the library runs. Its own faults, to be found: -DLEAK, a text
 * that nobody frees; -DRACE, a number that a callback and a thread change without a lock.
 */
#include <plue_session.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

struct sink {
    int calls; /* one event at a time; read when no callback runs any more */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int created;
#ifdef RACE
static int unlocked;
#endif
static atomic_int called;

static void on_event(uint8_t type, const char *event_json, void *user_data)
{
    struct sink *sink = user_data;
    sink->calls += *event_json == '{';
    pthread_mutex_lock(&lock);
    created += type == PLUE_EVENT_SESSION_CREATED;
    pthread_mutex_unlock(&lock);
#ifdef RACE
    unlocked++;
#endif
    atomic_store_explicit(&called, 1, memory_order_relaxed); /* orders nothing */
}

static void *await_call(void *unused)
{
    while (!atomic_load_explicit(&called, memory_order_relaxed))
        ;
#ifdef RACE
    unlocked++;
#endif
    return unused;
}

static void *work(void *title)
{
    for (int round = 0; round < 10; round++) {
        plue_session_t session = plue_session_create(NULL);
        if (!session || plue_session_update_title(session, title))
            abort();
        char *info = plue_session_get_info(session);
#ifndef LEAK
        plue_free_json(info);
#endif
        plue_free_json(plue_session_peek_info(session));
        plue_free_json(plue_event_poll());
        if (round % 2 && plue_session_delete(session))
            abort();
        plue_session_destroy(session);
    }
    return NULL;
}

static int run(int unsubscribe)
{
    pthread_t threads[4];
    struct sink *sink = calloc(1, sizeof *sink);
    if (plue_init(NULL))
        return fprintf(stderr, "%s\n", plue_get_last_error()), 1;
    uint32_t subscription = plue_event_subscribe(on_event, sink);
    pthread_create(&threads[0], NULL, await_call, NULL);
    for (int each = 1; each < 4; each++)
        pthread_create(&threads[each], NULL, work, "one of three");
    for (int each = 0; each < 4; each++)
        pthread_join(threads[each], NULL);
    plue_free_json(plue_session_list());
    if (unsubscribe)
        plue_event_unsubscribe(subscription);
    plue_shutdown();
    int heard = sink->calls;
    free(sink);
    return !heard;
}

int main(void)
{
#ifdef RETURNS
    return plue_init(NULL) || !plue_session_create(NULL);
#else
    return run(0) || run(1);
#endif
}
