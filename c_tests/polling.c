/* The default queue: it loses nothing, however late it is read, and says so where the log does not reach back. */
#include "listener.h"

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
    for (double until = seconds() + 90; seconds() < until && __atomic_load_n(&seen[0], __ATOMIC_SEQ_CST) < seen[1];) {
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
            char *sessions = json_at(event, "data.sessions"), *requested = json_text(event, "data.requestedCursor"),
                 *latest = json_text(event, "data.latestCursor");
            CHECK(json_is(event, "sequence", NULL) && json_is(event, "data.reason", "\"trimmed\"") &&
                  json_count(sessions) >= 1 && SAYS(sessions, id));
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

int main(void)
{
    start("");
    large_events_come_from_the_log();
    five_thousand_changes_are_polled_once_each();
    several_pollers_share_the_queue();
    if (!getenv("CHECK_PART"))
        behind_the_replay_window_there_is_one_gap();
    plue_shutdown();
    return 0;
}
