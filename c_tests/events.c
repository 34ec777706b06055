/* Events: callbacks on threads of their own, and queues that lose nothing however late they are read. */
#include "check.h"
#include "json.h"

#include <semaphore.h>
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

static void heard(uint8_t type, const char *event, void *data)
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

static void listen_to_events(listener *made)
{
    memset(made, 0, sizeof *made);
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->news, NULL);
}

static void subscribe(listener *made)
{
    made->id = plue_event_subscribe(heard, made);
    CHECK(made->id > 0);
}

static void wait_for_updates(listener *mine, int count)
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

static void wait_for_title(listener *mine, int number)
{
    pthread_mutex_lock(&mine->lock);
    while (atoi(mine->last_title) != number)
        pthread_cond_wait(&mine->news, &mine->lock);
    pthread_mutex_unlock(&mine->lock);
}

static void retitle(plue_session_t session, int from, int to)
{
    char title[32];
    for (int i = from; i < to; i++) {
        snprintf(title, sizeof title, "%d", i);
        CHECK(plue_session_update_title(session, title) == 0);
    }
}

/* The next event of the default queue; a refill may be under way, and poll has nothing to wait on. */
static char *next_event(void)
{
    char *event;
    for (double until = seconds() + 10; !(event = plue_event_poll()) && seconds() < until;)
        pause_ms(1);
    CHECK(event != NULL);
    return event;
}

/* Read the default queue up to here. NULL would only say that a refill is under way: the end is marked. */
static void drain(void)
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
    CHECK(made && plue_session_abort(made) == 0 && text(plue_session_create_share(made))[0] == '{' && plue_session_delete(made) == 0);
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

/* More than a queue's MiB: it is behind after the first, and each comes all the same. */
static void large_events_come_from_the_log(void)
{
    plue_session_t session = plue_session_create(NULL);
    size_t size = 700 * 1024;
    char *title = malloc(size + 1);
    memset(title, 'x', size);
    title[size] = 0;
    drain();
    for (int i = 0; i < 5; i++) {
        title[0] = (char)('0' + i);
        CHECK(plue_session_update_title(session, title) == 0);
    }
    for (int i = 0; i < 5; i++) {
        char *event = NULL, *told;
        for (int waited = 0; !event && waited < 20000; waited++) {
            event = plue_event_poll();
            if (!event)
                pause_ms(1);
        }
        CHECK(event);
        told = json_text(event, "data.title");
        CHECK(told && told[0] == '0' + i && strlen(told) == size);
        free(told);
        plue_free(event);
    }
    free(title);
    plue_session_delete(session);
    plue_session_destroy(session);
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

static void five_thousand_changes_are_polled_once_each(void)
{
    enum { SESSIONS = 5 };
    int each = part(1000), next[SESSIONS] = {0};
    plue_session_t sessions[SESSIONS];
    char *ids[SESSIONS];
    for (int i = 0; i < SESSIONS; i++) {
        sessions[i] = plue_session_create(NULL);
        ids[i] = plue_session_get_id(sessions[i]);
    }
    drain();
    for (int n = 0; n < each; n++)
        for (int i = 0; i < SESSIONS; i++)
            retitle(sessions[i], n, n + 1);
    long long sequence = -1;
    for (int seen = 0; seen < each * SESSIONS; seen++) {
        char *event = next_event(), *id = json_text(event, "sessionId"), *title = json_text(event, "data.title");
        CHECK(json_is(event, "type", "\"session.updated\"") && id && title);
        CHECK(sequence < 0 || json_number(event, "sequence") == sequence + 1);
        sequence = json_number(event, "sequence");
        int which = 0;
        while (which < SESSIONS && strcmp(id, ids[which]))
            which++;
        CHECK(which < SESSIONS && atoi(title) == next[which]);
        next[which]++;
        free(id);
        free(title);
        plue_free(event);
    }
    retitle(sessions[0], -1, 0); /* live again, and nothing in between */
    char *event = next_event();
    CHECK(json_is(event, "data.title", "\"-1\"") && json_number(event, "sequence") == sequence + 1);
    plue_free(event);
    CHECK_ERROR(!plue_event_poll(), PLUE_OK);
    for (int i = 0; i < SESSIONS; i++) {
        plue_free(ids[i]);
        plue_session_destroy(sessions[i]);
    }
}

static void *poll_some(void *counts)
{
    int *seen = counts;
    for (double until = seconds() + 20; seconds() < until && __atomic_load_n(&seen[0], __ATOMIC_SEQ_CST) < seen[1];) {
        char *event = plue_event_poll();
        if (!event) {
            pause_ms(1);
            continue;
        }
        long long sequence = json_number(event, "sequence");
        CHECK(sequence >= 0 && sequence < seen[2]);
        __atomic_fetch_add(&seen[3 + sequence], 1, __ATOMIC_SEQ_CST);
        __atomic_fetch_add(&seen[0], 1, __ATOMIC_SEQ_CST);
        plue_free(event);
    }
    return NULL;
}

static void several_pollers_share_the_queue(void)
{
    plue_shutdown();
    start("");
    int count = part(2400);
    int *seen = calloc((size_t)count + 8, sizeof *seen);
    plue_session_t sessions[2] = {plue_session_create(NULL), plue_session_create(NULL)};
    seen[1] = count + 3; /* and library.initialized and two session.created */
    seen[2] = seen[1];
    pthread_t pollers[3];
    for (int i = 0; i < 3; i++)
        pollers[i] = run(poll_some, seen);
    retitle(sessions[0], 0, count / 2);
    retitle(sessions[1], 0, count - count / 2);
    for (int i = 0; i < 3; i++)
        end(pollers[i]);
    CHECK(seen[0] == seen[1]);
    for (int i = 0; i < seen[1]; i++)
        CHECK(seen[3 + i] == 1);
    free(seen);
    plue_session_destroy(sessions[0]);
    plue_session_destroy(sessions[1]);
}

static void behind_the_replay_window_there_is_one_gap(void)
{
    plue_shutdown();
    start(",\"replay\":{\"limit\":100}");
    int count = 2000;
    static listener mine;
    plue_session_t session = plue_session_create(NULL);
    char *id = plue_session_get_id(session);
    drain();
    listen_to_events(&mine);
    atomic_store(&mine.hold, 1);
    subscribe(&mine);
    retitle(session, 0, count);
    atomic_store(&mine.hold, 0);
    int updates = 0, gaps = 0, last = -1;
    while (last < count - 1) {
        char *event = next_event();
        CHECK(json_valid(event));
        if (json_number(event, "number") == PLUE_EVENT_GAP) {
            gaps++;
            char *sessions = json_at(event, "data.sessions"), *requested = json_text(event, "data.requestedCursor"), *latest = json_text(event, "data.latestCursor");
            CHECK(json_is(event, "sequence", NULL) && json_is(event, "data.reason", "\"trimmed\"") && json_count(sessions) >= 1 && SAYS(sessions, id));
            CHECK(requested && latest && strcmp(requested, latest) && json_number(event, "data.latestRevision") > 0);
            char *state = strstr(sessions, id), *title = strstr(state, "\"title\":\"");
            CHECK(title);
            last = atoi(title + 9); /* the state that the gap hands over stands for what is missing */
            free(sessions);
            free(requested);
            free(latest);
        } else {
            char *title = json_text(event, "data.title");
            updates++;
            CHECK(title && atoi(title) == last + 1);
            last = atoi(title);
            free(title);
        }
        plue_free(event);
    }
    CHECK(gaps == 1 && updates >= 1024 && updates < count);
    EVENTUALLY(mine.gaps == 1);
    CHECK(!mine.broken);
    retitle(session, count, count + 1);
    char *event = next_event(), number[16];
    snprintf(number, sizeof number, "\"%d\"", count);
    CHECK(json_is(event, "data.title", number));
    plue_free(event);
    wait_for_title(&mine, count);
    plue_event_unsubscribe(mine.id);
    plue_free(id);
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
    unsubscribe_waits_also_while_the_library_shuts_down();
    large_events_come_from_the_log();
    a_slow_callback_delays_nobody_and_misses_nothing();
    there_are_64_subscriptions();
    five_thousand_changes_are_polled_once_each();
    several_pollers_share_the_queue();
    if (!getenv("CHECK_PART"))
        behind_the_replay_window_there_is_one_gap();
    shutdown_is_told_and_waits_for_callbacks();
    return 0;
}
