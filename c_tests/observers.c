/* Observers: what follows a cursor comes once, in its order, from the log and then live; or a gap says how things
 * stand. */
#include "check.h"
#include "json.h"

#include <poll.h>
#include <stdatomic.h>
#include <sys/resource.h>

typedef plue_session_observer_t observer;

static const observer none;

static observer observe(plue_session_t session, const char *cursor)
{
    observer made = plue_session_observe(session, cursor);
    CHECK(made != none);
    return made;
}

static char *next(observer from)
{
    char *item = plue_session_observer_next(from, 10000);
    CHECK(item && json_valid(item));
    return item;
}

static int is_gap(const char *item)
{
    return json_number(item, "number") == PLUE_EVENT_GAP;
}

/* The number in the title that an item tells of. */
static int number_in(const char *item)
{
    char *title = json_text(item, "data.title");
    int number = title ? atoi(title) : -1;
    free(title);
    return number;
}

static void retitle(plue_session_t session, int from, int to)
{
    char title[16];
    for (int i = from; i < to; i++) {
        snprintf(title, sizeof title, "%d", i);
        CHECK(plue_session_update_title(session, title) == 0);
    }
}

/* Check that these changes come next, numbered from `sequence`, and that the cursor goes along. */
static void expect(observer from, int first, int last, long long sequence)
{
    for (int i = first; i < last; i++) {
        char *item = next(from), *cursor = json_text(item, "cursor");
        CHECK(number_in(item) == i && json_number(item, "sequence") == sequence++);
        CHECK(cursor && !strcmp(cursor, text(plue_session_observer_cursor(from))));
        free(cursor);
        plue_free(item);
    }
}

static void expect_nothing(observer from)
{
    CHECK_ERROR(!plue_session_observer_next(from, 0), PLUE_OK);
    CHECK_ERROR(!plue_session_observer_next(from, 20), PLUE_OK);
}

/* ---- what an observation says ---- */
static void an_observation_has_all_of_it_and_empty_lists(void)
{
    plue_session_t session = plue_session_create(NULL);
    char *before = plue_session_observation(session);
    CHECK(before && json_valid(before));
    static const char *const lists[] = {"messages", "queue", "permissions", "questions", "todos"};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        CHECK(json_is(before, lists[i], "[]"));
    char *info = json_at(before, "session"), *cursor = json_text(before, "cursor");
    CHECK(plue_json_count(before, "/usage/models") == 0 && info && !strcmp(info, text(plue_session_get_info(session))));
    CHECK(json_number(before, "revision") == 1);
    retitle(session, 0, 3);
    CHECK(plue_session_abort(session) == 0);
    char *after = plue_session_observation(session);
    CHECK(json_number(after, "revision") == 5); /* created, renamed three times, aborted */
    observer from = observe(session, cursor);
    CHECK(!strcmp(text(plue_session_observer_cursor(from)), cursor));
    expect(from, 0, 3, 0);
    plue_free(next(from));
    expect_nothing(from);
    plue_session_observer_close(from);
    char *all = plue_session_observation(PLUE_ALL_SESSIONS), *sessions = json_at(all, "sessions"),
         *everybodys = json_text(all, "cursor");
    CHECK(json_count(sessions) == plue_session_count(NULL) && everybodys);
    from = observe(PLUE_ALL_SESSIONS, everybodys);
    expect_nothing(from);
    plue_session_observer_close(from);
    free(info);
    free(cursor);
    free(sessions);
    free(everybodys);
    plue_free(all);
    plue_free(before);
    plue_free(after);
    plue_session_destroy(session);
}

/* ---- who sees what ---- */
static void each_sees_its_session_and_all_see_everything(void)
{
    plue_session_t one = plue_session_create(NULL), two = plue_session_create(NULL);
    observer of_one = observe(one, NULL), of_two = observe(two, NULL), of_all = observe(PLUE_ALL_SESSIONS, NULL);
    expect_nothing(of_one);
    for (int i = 0; i < 20; i++) {
        retitle(one, i, i + 1);
        retitle(two, 100 + i, 101 + i);
    }
    expect(of_one, 0, 20, 0);
    expect(of_two, 100, 120, 0);
    for (int i = 0; i < 20; i++) {
        expect(of_all, i, i + 1, 2 * i);
        expect(of_all, 100 + i, 101 + i, 2 * i + 1);
    }
    expect_nothing(of_one);
    expect_nothing(of_two);
    expect_nothing(of_all);
    /* A cursor of any session's event is one of all. */
    observer on = observe(PLUE_ALL_SESSIONS, text(plue_session_observer_cursor(of_one)));
    expect(on, 119, 120, 0);
    plue_session_observer_close(on);
    char *theirs = plue_session_observer_cursor(of_two), *id_of_one = plue_session_get_id(one),
         *id_of_two = plue_session_get_id(two);
    CHECK_ERROR(!plue_session_observe(one, theirs), PLUE_ERROR_BAD_CURSOR);
    CHECK_SAYS(id_of_one);
    CHECK_SAYS(id_of_two);
    CHECK_ERROR(!plue_session_observe(one, text(plue_session_observer_cursor(of_all))), PLUE_ERROR_BAD_CURSOR);
    static const char *const bad[] = {"",        "x",        "1",       "1.a.1.",
                                      "2.a.1.*", "1.a.-1.*", "1.a.g.*", "1.a.8000000000000000.*"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_ERROR(!plue_session_observe(one, bad[i]), PLUE_ERROR_BAD_CURSOR);
        CHECK_ERROR(!plue_session_observe(PLUE_ALL_SESSIONS, bad[i]), PLUE_ERROR_BAD_CURSOR);
    }
    /* The end of a session is the last that is heard of it. */
    CHECK(plue_session_delete(one) == 0);
    char *end = next(of_one);
    CHECK(json_is(end, "type", "\"session.deleted\""));
    plue_free(end);
    expect_nothing(of_one);
    CHECK_ERROR(!plue_session_observe(one, NULL), PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(!plue_session_observation(one), PLUE_ERROR_NOT_FOUND);
    plue_session_observer_close(of_one);
    plue_session_observer_close(of_two);
    plue_session_observer_close(of_all);
    plue_free(theirs);
    plue_free(id_of_one);
    plue_free(id_of_two);
    plue_session_destroy(one);
    plue_session_destroy(two);
}

/* ---- from the log, and then live ---- */
static atomic_int written;

static void *write_on(void *session)
{
    for (int i = 0; i < part(3000); i++, atomic_store(&written, i))
        retitle(session, i, i + 1);
    return NULL;
}

static void stored_events_and_live_ones_make_one_sequence(void)
{
    plue_session_t session = plue_session_create(NULL);
    char *observation = plue_session_observation(session), *cursor = json_text(observation, "cursor");
    pthread_t writer = run(write_on, session);
    observer all[24];
    for (int i = 0; i < 24; i++) { /* while more is written */
        EVENTUALLY(atomic_load(&written) >= i * part(3000) / 24);
        all[i] = observe(i % 2 ? PLUE_ALL_SESSIONS : session, cursor);
        if (i % 3)
            expect(all[i], 0, 1 + i, 0);
        else
            expect(all[i], 0, 1, 0);
    }
    for (int i = 0; i < 24; i++)
        expect(all[i], i % 3 ? 1 + i : 1, part(3000), i % 3 ? 1 + i : 1);
    end(writer);
    for (int i = 0; i < 24; i++) {
        expect_nothing(all[i]);
        plue_session_observer_close(all[i]);
    }
    free(cursor);
    plue_free(observation);
    plue_session_destroy(session);
}

static void a_cursor_outlives_the_library(void)
{
    plue_session_t session = plue_session_create(NULL);
    char *id = plue_session_get_id(session);
    observer from = observe(session, NULL);
    retitle(session, 0, 10);
    expect(from, 0, 4, 0);
    char *cursor = plue_session_observer_cursor(from);
    plue_shutdown();
    CHECK_ERROR(!plue_session_observer_next(from, 0), PLUE_ERROR_CLOSED);
    start(",\"replay\":{\"limit\":100000,\"ageMs\":100000000}");
    CHECK_ERROR(!plue_session_observer_next(from, 0), PLUE_ERROR_BAD_HANDLE);
    session = plue_session_open(id);
    from = observe(session, cursor);
    retitle(session, 10, 12);
    expect(from, 4, 12, 0);
    expect_nothing(from);
    plue_session_observer_close(from);
    plue_session_destroy(session);
    plue_free(cursor);
    plue_free(id);
}

/* ---- gaps ---- */
static void check_gap(observer from, plue_session_t session, const char *reason, const char *requested, int last)
{
    char *item = next(from), *cursor = json_text(item, "cursor"), *latest = json_text(item, "data.latestCursor"),
         *observed = json_text(item, session ? "data.observation.cursor" : "cursor"), quoted[300];
    snprintf(quoted, sizeof quoted, "\"%s\"", requested);
    CHECK(is_gap(item) && json_is(item, "sequence", NULL) && json_is(item, "data.requestedCursor", quoted));
    snprintf(quoted, sizeof quoted, "\"%s\"", reason);
    CHECK(json_is(item, "data.reason", quoted));
    CHECK(cursor && latest && observed && !strcmp(cursor, latest) && !strcmp(observed, latest));
    CHECK(!strcmp(text(plue_session_observer_cursor(from)), latest));
    CHECK((json_is(item, "sessionId", NULL) != 0) == !session && json_number(item, "data.latestRevision") > 0);
    if (session) {
        snprintf(quoted, sizeof quoted, "\"%d\"", last);
        CHECK(json_is(item, "data.observation.session.title", quoted) && json_is(item, "data.sessions", NULL));
        CHECK(json_number(item, "data.observation.revision") == json_number(item, "data.latestRevision"));
    } else
        CHECK(json_is(item, "data.observation", NULL));
    free(cursor);
    free(latest);
    free(observed);
    plue_free(item);
}

static void behind_the_window_there_is_one_gap_and_it_goes_on(void)
{
    plue_shutdown();
    start(",\"replay\":{\"limit\":20,\"ageMs\":100000000}"); /* it is not trimmed as long as there are so few */
    plue_session_t session = plue_session_create(NULL), other = plue_session_create(NULL);
    observer at = observe(session, NULL);
    retitle(session, 0, 21);
    char *old = plue_session_observer_cursor(at);
    plue_free(next(at));
    char *good = plue_session_observer_cursor(at);
    for (int i = 0; i < 2; i++) {
        observer from = observe(i ? PLUE_ALL_SESSIONS : session, old),
                 within = observe(i ? PLUE_ALL_SESSIONS : session, good);
        check_gap(from, i ? NULL : session, "trimmed", old, 20);
        expect(within, 1, 21, 0);
        expect_nothing(within);
        expect_nothing(from);
        retitle(session, 21, 22);
        expect(from, 21, 22, 0); /* the gap has taken no number */
        expect(within, 21, 22, 20);
        plue_session_observer_close(from);
        plue_session_observer_close(within);
        if (!i) {
            CHECK(plue_session_delete(other) == 0);
            plue_session_destroy(session);
            session = plue_session_create(NULL);
            plue_free(old);
            plue_free(good);
            plue_session_observer_close(at);
            at = observe(PLUE_ALL_SESSIONS, NULL);
            old = plue_session_observer_cursor(at);
            retitle(session, 0, 21);
            plue_free(next(at));
            good = plue_session_observer_cursor(at);
        }
    }
    plue_free(old);
    plue_free(good);
    plue_session_observer_close(at);
    plue_session_destroy(session);
    plue_session_destroy(other);
}

static void what_is_too_old_is_a_gap_but_the_latest_cursor_never_is(void)
{
    plue_shutdown();
    start(",\"replay\":{\"limit\":2048,\"ageMs\":300}");
    plue_session_t session = plue_session_create(NULL);
    observer at = observe(session, NULL);
    char *old = plue_session_observer_cursor(at);
    retitle(session, 0, 3);
    expect(at, 0, 3, 0);
    char *latest = plue_session_observer_cursor(at);
    pause_ms(400);
    observer from = observe(session, old), same = observe(session, latest), all = observe(PLUE_ALL_SESSIONS, latest);
    check_gap(from, session, "trimmed", old, 2);
    expect_nothing(same);
    expect_nothing(all);
    for (int i = 0; i < 600; i++) /* by now it is trimmed, too */
        plue_session_destroy(plue_session_create(NULL));
    observer again = observe(session, latest);
    expect_nothing(again);
    check_gap(observe(session, old), session, "trimmed", old, 2);
    retitle(session, 3, 4);
    expect(from, 3, 4, 0);
    expect(same, 3, 4, 0);
    expect(again, 3, 4, 0);
    plue_free(old);
    plue_free(latest);
    plue_session_destroy(session);
}

static void what_the_log_does_not_know_is_unavailable(void)
{
    char ahead[300], *cursor;
    plue_session_t session = plue_session_create(NULL);
    retitle(session, 7, 8);
    observer at = observe(session, NULL);
    cursor = plue_session_observer_cursor(at);
    char *place = strrchr(cursor, '.'), store[32];
    snprintf(store, sizeof store, "%.10s", cursor);
    snprintf(ahead, sizeof ahead, "%s.7fffffffffffffff%s", store, place);
    observer from = observe(session, ahead), all = observe(PLUE_ALL_SESSIONS, ahead);
    check_gap(from, session, "unavailable", ahead, 7);
    check_gap(all, NULL, "unavailable", ahead, 0);
    retitle(session, 8, 9);
    expect(from, 8, 9, 0);
    expect(all, 8, 9, 0);
    plue_free(cursor);
    plue_shutdown();

    start(",\"store\":\"memory\"");
    session = plue_session_create(NULL);
    cursor = plue_session_observer_cursor(observe(PLUE_ALL_SESSIONS, NULL));
    plue_shutdown();
    start(",\"store\":\"memory\"");
    from = observe(PLUE_ALL_SESSIONS, cursor);
    char *item = next(from);
    CHECK(is_gap(item) && json_is(item, "data.reason", "\"unavailable\"") && json_is(item, "data.sessions", "[]"));
    plue_free(item);
    session = plue_session_create(NULL);
    item = next(from);
    CHECK(json_is(item, "type", "\"session.created\"") && json_number(item, "sequence") == 0);
    plue_free(item);
    plue_free(cursor);
    plue_session_destroy(session);
}

/* ---- waiting ---- */
static atomic_int waiting;

static void *wait_long(void *from)
{
    atomic_fetch_add(&waiting, 1);
    double begun = seconds();
    CHECK(!plue_session_observer_next(from, 60000) && seconds() - begun < 30);
    return (void *)(intptr_t)plue_get_last_error_code();
}

static void who_waits_can_be_woken_and_hears_of_the_end(void)
{
    plue_session_t session = plue_session_create(NULL);
    observer at = observe(session, NULL);
    CHECK_ERROR(!plue_session_observer_next(at, -1), PLUE_ERROR_INVALID_PARAM);
    CHECK_SAYS("timeout_ms");
    plue_session_observer_wake(at); /* it sticks, and once */
    double begun = seconds();
    CHECK_ERROR(!plue_session_observer_next(at, 0), PLUE_OK);
    CHECK_ERROR(!plue_session_observer_next(at, 20000), PLUE_OK);
    CHECK(seconds() - begun < 10);
    begun = seconds();
    CHECK_ERROR(!plue_session_observer_next(at, 50), PLUE_OK);
    CHECK(seconds() - begun > 0.045);

    pthread_t threads[8];
    threads[0] = run(wait_long, at);
    EVENTUALLY(atomic_load(&waiting) == 1);
    pause_ms(20);
    plue_session_observer_wake(at);
    CHECK(end(threads[0]) == (void *)PLUE_OK);
    for (int i = 0; i < 8; i++)
        threads[i] = run(wait_long, at);
    EVENTUALLY(atomic_load(&waiting) == 9);
    pause_ms(20);
    plue_session_observer_close(at);
    for (int i = 0; i < 8; i++)
        CHECK(end(threads[i]) == (void *)(intptr_t)PLUE_ERROR_CLOSED);
    CHECK_ERROR(!plue_session_observer_next(at, 20000), PLUE_ERROR_CLOSED);
    CHECK_ERROR(!plue_session_observer_cursor(at), PLUE_ERROR_CLOSED);
    CHECK_ERROR(plue_session_observer_fd(at) == -1, PLUE_ERROR_CLOSED);
    plue_session_destroy(session);
}

static atomic_int ends, is_over;

static void *count_ends(void *from)
{
    while (!atomic_load(&is_over)) {
        char *item = plue_session_observer_next(from, 60000);
        CHECK(item || plue_get_last_error_code() == PLUE_OK);
        atomic_fetch_add(&ends, !item);
        plue_free(item);
    }
    return NULL;
}

/* Whoever is woken while an item comes gets the item, and is woken the next time. */
static void no_item_takes_the_place_of_a_wake(void)
{
    plue_session_t session = plue_session_create(NULL);
    observer at = observe(session, NULL);
    pthread_t reader = run(count_ends, at);
    for (int i = 0; i < part(600); i++) {
        int before = atomic_load(&ends);
        CHECK(plue_session_update_title(session, "T") == 0);
        plue_session_observer_wake(at);
        EVENTUALLY(atomic_load(&ends) > before);
    }
    atomic_store(&is_over, 1);
    plue_session_observer_wake(at);
    end(reader);
    plue_session_observer_close(at);
    plue_session_destroy(session);
}

static void *read_to_the_end(void *from)
{
    intptr_t count = 0;
    char *item, last[64] = "";
    while ((item = plue_session_observer_next(from, 20000))) {
        char *type = json_text(item, "type");
        snprintf(last, sizeof last, "%s", type);
        free(type);
        plue_free(item);
        count++;
        atomic_fetch_add(&waiting, 1);
    }
    CHECK(plue_get_last_error_code() == PLUE_ERROR_CLOSED);
    CHECK(!strcmp(last, "library.shutdown") || !strcmp(last, "session.updated"));
    CHECK_ERROR(!plue_session_observer_next(from, 20000), PLUE_ERROR_CLOSED);
    return (void *)count;
}

static void a_shutdown_hands_out_what_is_queued(void)
{
    plue_session_t session = plue_session_create(NULL);
    observer of_it = observe(session, NULL), of_all = observe(PLUE_ALL_SESSIONS, NULL);
    pthread_t one = run(read_to_the_end, of_it), all = run(read_to_the_end, of_all);
    atomic_store(&waiting, 0);
    retitle(session, 0, 500);
    EVENTUALLY(atomic_load(&waiting) > 2);
    plue_shutdown();
    CHECK(end(one) == (void *)500);
    intptr_t heard = (intptr_t)end(all);
    CHECK(heard >= 501);                                                   /* and what was logged */
    CHECK_ERROR(!plue_session_observer_next(of_it, 0), PLUE_ERROR_CLOSED); /* this thread has used one */
    start(",\"replay\":{\"limit\":100000,\"ageMs\":100000000}");
}

/* ---- descriptors ---- */
static int eventfds(void)
{
    int count = 0;
    for (int fd = 0; fd < 1024; fd++) {
        char path[64], target[64] = "";
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        count += readlink(path, target, sizeof target - 1) > 0 && strstr(target, "eventfd") != NULL;
    }
    return count;
}

static int is_readable(int fd, int ms)
{
    struct pollfd at = {.fd = fd, .events = POLLIN};
    return poll(&at, 1, ms) == 1 && at.revents == POLLIN;
}

static void the_descriptor_is_readable_while_an_item_waits(void)
{
    plue_session_t session = plue_session_create(NULL);
    int before = eventfds();
    observer at = observe(session, NULL);
    char *cursor = plue_session_observer_cursor(at);
    CHECK(eventfds() == before);
    int fd = plue_session_observer_fd(at);
    CHECK(fd > 2 && plue_session_observer_fd(at) == fd && eventfds() == before + 1 && !is_readable(fd, 0));
    retitle(session, 0, 2);
    CHECK(is_readable(fd, 5000) && is_readable(fd, 0));
    expect(at, 0, 1, 0);
    CHECK(is_readable(fd, 0));
    expect(at, 1, 2, 1);
    EVENTUALLY(!is_readable(fd, 0)); /* who has told of an item may still be at it */
    /* More than the queue holds: what it is filled with is told, too. */
    retitle(session, 0, part(1000));
    for (int i = 0; i < part(1000);) {
        CHECK(is_readable(fd, 5000));
        for (char *item; (item = plue_session_observer_next(at, 0)); plue_free(item))
            CHECK(number_in(item) == i++);
        CHECK(plue_get_last_error_code() == PLUE_OK);
    }
    EVENTUALLY(!is_readable(fd, 0)); /* who has told of an item may still be at it */
    observer replay = observe(session, cursor);
    CHECK(is_readable(plue_session_observer_fd(replay), 5000));
    expect(replay, 0, 1, 0);
    plue_session_observer_close(replay);
    plue_session_observer_close(at);
    EVENTUALLY(eventfds() == before);

    struct rlimit limit, few;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    few = limit;
    few.rlim_cur = 0;
    at = observe(session, NULL);
    CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
    CHECK_ERROR(plue_session_observer_fd(at) == -1, PLUE_ERROR_IO);
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    CHECK(plue_session_observer_fd(at) > 2);
    plue_session_observer_close(at);
    plue_free(cursor);
    plue_session_destroy(session);
}

/* ---- many ---- */
static void a_thousand_observers_are_cheap(void)
{
    enum { MANY = 1000 };
    static observer all[MANY];
    int count = part(MANY), fds = eventfds(), running = threads();
    plue_session_t session = plue_session_create(NULL), quiet = plue_session_create(NULL);
    long before = resident_kib();
    for (int i = 0; i < count; i++)
        all[i] = observe(i % 10 ? session : quiet, NULL);
    CHECK(eventfds() == fds && threads() <= running);
    CHECK(getenv("CHECK_PART") || resident_kib() - before < 8 * 1024);
    retitle(session, 0, 200); /* more than the queue of each holds */
    retitle(quiet, 0, 3);
    for (int i = 0; i < count; i++) {
        expect(all[i], 0, i % 10 ? 200 : 3, 0);
        expect_nothing(all[i]);
        plue_session_observer_close(all[i]);
    }
    plue_session_destroy(session);
    plue_session_destroy(quiet);
}

/* Observers come and go while events do. */
static atomic_int over;

static void *come_and_go(void *session)
{
    while (!atomic_load(&over)) {
        observer made = plue_session_observe(session, NULL), all = plue_session_observe(PLUE_ALL_SESSIONS, NULL);
        CHECK(made && all);
        plue_free(plue_session_observer_next(made, 1));
        plue_session_observer_fd(all);
        plue_session_observer_close(all);
        plue_free(plue_session_observer_next(made, 1));
        plue_session_observer_close(made);
    }
    return NULL;
}

static void observers_come_and_go_while_events_do(void)
{
    plue_session_t session = plue_session_create(NULL);
    observer stays = observe(session, NULL);
    pthread_t guests[4];
    for (int i = 0; i < 4; i++)
        guests[i] = run(come_and_go, session);
    retitle(session, 0, part(2000));
    atomic_store(&over, 1);
    for (int i = 0; i < 4; i++)
        end(guests[i]);
    expect(stays, 0, part(2000), 0);
    plue_session_observer_close(stays);
    plue_session_destroy(session);
}

int main(void)
{
    start(",\"replay\":{\"limit\":100000,\"ageMs\":100000000}");
    an_observation_has_all_of_it_and_empty_lists();
    each_sees_its_session_and_all_see_everything();
    stored_events_and_live_ones_make_one_sequence();
    a_cursor_outlives_the_library();
    who_waits_can_be_woken_and_hears_of_the_end();
    no_item_takes_the_place_of_a_wake();
    a_shutdown_hands_out_what_is_queued();
    the_descriptor_is_readable_while_an_item_waits();
    a_thousand_observers_are_cheap();
    observers_come_and_go_while_events_do();
    behind_the_window_there_is_one_gap_and_it_goes_on();
    what_is_too_old_is_a_gap_but_the_latest_cursor_never_is();
    what_the_log_does_not_know_is_unavailable();
    plue_shutdown();
    return 0;
}
