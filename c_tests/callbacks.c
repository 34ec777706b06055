/* Callbacks: each subscriber's run on a thread of its own, miss nothing, and may use the library, or leave. */
#include "listener.h"

static void subscribers_hear_everything_in_order(void)
{
    enum { MANY = 8 };
    static listener all[MANY];
    plue_session_t session = plue_session_create(NULL);
    for (int i = 0; i < MANY; i++) {
        listen_to_events(&all[i]);
        subscribe(&all[i]);
    }
    retitle(session, 0, 50);
    for (int i = 0; i < MANY; i++)
        wait_for_updates(&all[i], 50);
    for (int i = 0; i < MANY; i++) {
        CHECK(!strcmp(all[i].last_title, "49") && all[i].calls == 50);
        plue_event_unsubscribe(all[i].id);
        plue_event_unsubscribe(all[i].id); /* unknown by now: ignored */
    }
    retitle(session, 50, 51);
    for (int i = 0; i < MANY; i++)
        CHECK(all[i].calls == 50);
    plue_session_destroy(session);
}

static void reenter(listener *mine, uint8_t type, const char *event)
{
    (void)event;
    if (type != PLUE_EVENT_SESSION_UPDATED || mine->updates != 1)
        return;
    /* Every function but shutdown may be called; changing something here tells this very callback again. */
    CHECK(text(plue_session_list())[0] == '[' && plue_session_count(NULL) > 0);
    CHECK(json_valid(text(plue_session_get_info(mine->session))));
    CHECK(plue_session_update_title(mine->session, "from inside") == 0);
    plue_session_t made = plue_session_create(NULL);
    CHECK(made && plue_session_abort(made) == 0 && text(plue_session_create_share(made))[0] == '{' &&
          plue_session_delete(made) == 0);
    plue_session_destroy(made);
    CHECK_ERROR(plue_init(NULL) == -1, PLUE_ERROR_ALREADY_INITIALIZED);
    plue_shutdown();
    CHECK(plue_get_last_error_code() == PLUE_ERROR_IN_USE);
    CHECK(plue_session_count(NULL) > 0);
    listener other;
    listen_to_events(&other);
    subscribe(&other);
    plue_event_unsubscribe(other.id);
}

static void a_callback_may_call_the_library(void)
{
    static listener mine;
    listen_to_events(&mine);
    mine.then = reenter;
    mine.session = plue_session_create(NULL);
    subscribe(&mine);
    CHECK(plue_session_update_title(mine.session, "from outside") == 0);
    wait_for_updates(&mine, 3); /* two titles and the abort */
    CHECK(!strcmp(mine.last_title, "from inside"));
    plue_event_unsubscribe(mine.id);
    plue_session_destroy(mine.session);
}

static void leave(listener *mine, uint8_t type, const char *event)
{
    (void)type;
    (void)event;
    plue_event_unsubscribe(mine->id);
    plue_event_unsubscribe(mine->id);
}

static void *unsubscribe_it(void *data)
{
    listener *mine = data;
    plue_event_unsubscribe(mine->id);
    CHECK(!atomic_load(&mine->inside)); /* after it returns, the callback runs no more */
    return NULL;
}

static void a_callback_may_unsubscribe_itself(void)
{
    static listener mine;
    plue_session_t session = plue_session_create(NULL);
    listen_to_events(&mine);
    mine.then = leave;
    mine.hold = 1;
    /* The id is known only after subscribe has returned: the first event comes after that. */
    subscribe(&mine);
    retitle(session, 0, 5);
    EVENTUALLY(atomic_load(&mine.held));
    /* Unsubscribed, but still running: another thread that unsubscribes waits all the same. */
    pthread_t other = run(unsubscribe_it, &mine);
    pause_ms(50);
    atomic_store(&mine.hold, 0);
    end(other);
    CHECK(mine.calls == 1);
    plue_session_destroy(session);
}

static void unsubscribe_waits_for_a_running_call(void)
{
    static listener mine;
    plue_session_t session = plue_session_create(NULL);
    listen_to_events(&mine);
    subscribe(&mine);
    atomic_store(&mine.hold, 1);
    retitle(session, 0, 3);
    EVENTUALLY(atomic_load(&mine.held));
    pthread_t one = run(unsubscribe_it, &mine), two = run(unsubscribe_it, &mine);
    pause_ms(30);
    CHECK(atomic_load(&mine.inside));
    atomic_store(&mine.hold, 0);
    end(one);
    end(two);
    CHECK(mine.calls == 1); /* what was queued behind it is dropped */
    plue_session_destroy(session);
}

static void *shut_down(void *unused)
{
    plue_shutdown();
    return unused;
}

static void a_cancelled_thread_unsubscribes_first(void)
{
    static listener mine;
    plue_session_t session = plue_session_create(NULL);
    listen_to_events(&mine);
    atomic_store(&mine.hold, 1);
    subscribe(&mine);
    retitle(session, 0, 1);
    EVENTUALLY(atomic_load(&mine.held));
    pthread_t thread = run(unsubscribe_it, &mine);
    pause_ms(50);
    CHECK(pthread_cancel(thread) == 0);
    pause_ms(50);
    plue_free_json(plue_event_poll());
    atomic_store(&mine.hold, 0);
    end(thread);
    CHECK(!atomic_load(&mine.inside));
    retitle(session, 1, 2);
    CHECK(mine.updates == 1);
    plue_session_destroy(session);
}

static void unsubscribe_waits_also_while_the_library_shuts_down(void)
{
    static listener mine;
    plue_session_t session = plue_session_create(NULL);
    listen_to_events(&mine);
    subscribe(&mine);
    atomic_store(&mine.hold, 1);
    retitle(session, 0, 1);
    EVENTUALLY(atomic_load(&mine.held));
    pthread_t stopping = run(shut_down, NULL);
    EVENTUALLY(plue_session_count(NULL) == -1 && plue_get_last_error_code() == PLUE_ERROR_NOT_INITIALIZED);
    pthread_t one = run(unsubscribe_it, &mine);
    pause_ms(50);
    CHECK(atomic_load(&mine.inside));
    atomic_store(&mine.hold, 0);
    end(one);
    end(stopping);
    start("");
}

static void a_slow_callback_delays_nobody_and_misses_nothing(void)
{
    static listener slow, quick;
    int count = part(2400);
    plue_session_t sessions[2] = {plue_session_create(NULL), plue_session_create(NULL)};
    drain();
    listen_to_events(&slow);
    listen_to_events(&quick);
    atomic_store(&slow.hold, 1);
    subscribe(&slow);
    subscribe(&quick);
    double begun = seconds();
    retitle(sessions[0], 0, count / 2); /* far more than a queue holds */
    retitle(sessions[1], 0, count / 2);
    wait_for_updates(&quick, count / 2 * 2);
    CHECK(seconds() - begun < 60 && slow.calls <= 1);
    atomic_store(&slow.hold, 0);
    wait_for_updates(&slow, count / 2 * 2);
    CHECK(slow.gaps == 0 && slow.calls == quick.calls && !strcmp(slow.last_title, quick.last_title));
    retitle(sessions[0], 7, 8); /* live again */
    wait_for_updates(&slow, count / 2 * 2 + 1);
    plue_event_unsubscribe(slow.id);
    plue_event_unsubscribe(quick.id);
    plue_session_destroy(sessions[0]);
    plue_session_destroy(sessions[1]);
}

static void there_are_64_subscriptions(void)
{
    static listener all[65];
    for (int i = 0; i < 64; i++) {
        listen_to_events(&all[i]);
        subscribe(&all[i]);
        CHECK(i == 0 || all[i].id != all[i - 1].id);
    }
    int fds = descriptors();
    for (int i = 0; i < 20; i++)
        CHECK_ERROR(plue_event_subscribe(heard, &all[64]) == 0, PLUE_ERROR_LIMIT_EXCEEDED);
    CHECK_SAYS("64");
    CHECK(descriptors() == fds);
    plue_event_unsubscribe(all[13].id);
    listen_to_events(&all[64]);
    subscribe(&all[64]);
    plue_session_t session = plue_session_create(NULL);
    retitle(session, 0, 2);
    for (int i = 0; i < 65; i++)
        if (i != 13) {
            wait_for_updates(&all[i], 2);
            plue_event_unsubscribe(all[i].id);
        }
    plue_event_unsubscribe(0);
    plue_event_unsubscribe(UINT32_MAX);
    plue_session_destroy(session);
}

static void shutdown_is_told_and_waits_for_callbacks(void)
{
    static listener mine, stuck;
    plue_shutdown();
    start("");
    listen_to_events(&mine);
    subscribe(&mine);
    plue_shutdown();
    CHECK(mine.calls == 1 && !mine.broken && !mine.inside); /* library.shutdown, once */
    plue_shutdown();
    CHECK(mine.calls == 1);
    start("");
    plue_session_t session = plue_session_create(NULL);
    listen_to_events(&stuck);
    atomic_store(&stuck.hold, 1);
    subscribe(&stuck);
    retitle(session, 0, 2);
    EVENTUALLY(atomic_load(&stuck.held));
    double begun = seconds();
    plue_shutdown();
    CHECK(plue_get_last_error_code() == PLUE_ERROR_TIMEOUT && seconds() - begun < 7.5);
    start(""); /* and all the same it works again */
    session = plue_session_create(NULL);
    CHECK(session);
    atomic_store(&stuck.hold, 0);
    EVENTUALLY(!atomic_load(&stuck.inside));
    retitle(session, 0, 2);
    CHECK(stuck.calls == 1);
    plue_shutdown();
}

int main(void)
{
    start("");
    subscribers_hear_everything_in_order();
    a_callback_may_call_the_library();
    a_callback_may_unsubscribe_itself();
    unsubscribe_waits_for_a_running_call();
    a_cancelled_thread_unsubscribes_first();
    unsubscribe_waits_also_while_the_library_shuts_down();
    a_slow_callback_delays_nobody_and_misses_nothing();
    there_are_64_subscriptions();
    shutdown_is_told_and_waits_for_callbacks();
    return 0;
}
