/* Sixteen threads on the same sessions and handles, with destroy, delete, abort, shutdown and init in between. */
#include "check.h"
#include "json.h"

#include <stdatomic.h>

enum { THREADS = 16, SHARED = 8 };

static _Atomic(plue_session_t) shared[SHARED];
static atomic_int running, refused;
static atomic_long calls;

static unsigned dice(unsigned *seed, unsigned sides)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % sides;
}

/* A call on a handle that others destroy and whose session others delete may fail, but only so. */
static void expect(int ok, int stopping)
{
    atomic_fetch_add(&calls, 1);
    if (ok)
        return;
    int code = plue_get_last_error_code();
    atomic_fetch_add(&refused, 1);
    if (code == PLUE_ERROR_BAD_HANDLE || code == PLUE_ERROR_NOT_FOUND || code == PLUE_ERROR_INVALID_PARAM ||
        code == PLUE_ERROR_ABORTED)
        return;
    if (stopping && (code == PLUE_ERROR_NOT_INITIALIZED || code == PLUE_ERROR_CLOSED)) {
        pause_ms(1); /* room for the one that starts it again: being refused costs nothing */
        return;
    }
    CHECK(!"one of the errors that belong here");
}

static void ignore(uint8_t type, const char *event, void *data)
{
    (void)type;
    (void)event;
    (void)data;
}

static int good(char *owned)
{
    int valid = owned && (json_valid(owned) || !strncmp(owned, "session_", 8));
    CHECK(!owned || valid);
    plue_free(owned);
    return valid;
}

static void *hammer(void *argument)
{
    unsigned seed = (unsigned)(uintptr_t)argument * 7919 + 17;
    int stopping = ((uintptr_t)argument & 256) != 0;
    while (atomic_load(&running)) {
        unsigned place = dice(&seed, SHARED);
        plue_session_t session = atomic_load(&shared[place]), made;
        char title[64], *id = plue_session_peek_info(session);
        if (!id) { /* mostly alive, so that it is the races that are met and not what others left behind */
            made = plue_session_create(NULL);
            expect(made != NULL, stopping);
            plue_session_destroy(atomic_exchange(&shared[place], made));
        }
        plue_free(id);
        snprintf(title, sizeof title, "%u \"title\" %u", seed, place);
        switch (dice(&seed, 20)) {
        case 0:
        case 1:
        case 2:
            expect(good(plue_session_get_info(session)), stopping);
            break;
        case 3:
            expect(good(plue_session_peek_info(session)), stopping);
            break;
        case 4:
            expect(good(plue_session_get_id(session)), stopping);
            break;
        case 5:
        case 6:
            expect(plue_session_update_title(session, title) == 0, stopping);
            break;
        case 7:
            expect(plue_session_update(session, "{\"addTags\":[\"hammered\"]}") == 0, stopping);
            break;
        case 8:
            expect(good(plue_session_list()), stopping);
            break;
        case 9:
            expect(good(plue_session_query("{\"limit\":5,\"order\":\"desc\"}")), stopping);
            break;
        case 10:
            expect(plue_session_count(NULL) >= 0, stopping);
            break;
        case 11:
            made = plue_session_create(NULL);
            expect(made != NULL, stopping);
            /* Others still use the old handle: destroying it under them is what is tested. */
            plue_session_destroy(atomic_exchange(&shared[place], made));
            break;
        case 12:
            id = plue_session_get_id(session);
            if (id) {
                made = plue_session_open(id);
                expect(made != NULL, stopping);
                plue_session_destroy(made);
                plue_free(id);
            }
            break;
        case 13:
            expect(plue_session_delete(session) == 0, stopping);
            break;
        case 14:
            expect(plue_session_abort(session) == 0, stopping);
            expect(plue_session_abort_turn(session, "turn") == 0, stopping);
            CHECK(plue_session_discard_pending(session, "op_1") == -1 && plue_session_relay_spawn(session) == -1);
            expect(plue_session_sync((int)dice(&seed, 2)) == 0 && good(plue_session_sync_status()), stopping);
            break;
        case 15:
            expect(good(plue_session_create_share(session)), stopping);
            expect(plue_session_unshare(session) == 0, stopping);
            expect(good(plue_session_enqueue(session, "{\"text\":\"x\"}")), stopping);
            expect(good(plue_session_inputs(session)), stopping);
            expect(good(plue_session_cancel_inputs(session, "[{\"inputId\":\"input_1\"}]")), stopping);
            expect(good(plue_session_cancel_inputs_from(session, "{\"inputId\":\"input_2\"}")), stopping);
            expect(plue_session_vacuum(session) >= 0, stopping);
            expect(plue_session_cancel_turns(session) == 0, stopping);
            expect(good(plue_session_messages(session, NULL)), stopping);
            expect(good(plue_session_permissions(session)), stopping);
            expect(good(plue_session_questions(session)), stopping);
            expect(good(plue_session_todos(session)), stopping);
            break;
        case 16:
            good(plue_event_poll());
            expect(good(plue_get_app_info()), stopping);
            expect(good(plue_session_batch("[{\"op\":\"create\"},{\"op\":\"query\",\"query_json\":{\"limit\":1}}]")),
                   stopping);
            (void)plue_session_cancel_operation(plue_session_submit("[{\"op\":\"query\"},{\"op\":\"create\"}]"));
            break;
        case 17: {
            uint32_t subscription = plue_event_subscribe(ignore, NULL);
            expect(subscription != 0, stopping);
            plue_event_unsubscribe(subscription);
            break;
        }
        case 18:
            snprintf(title, sizeof title, "key %u", dice(&seed, 6));
            made = plue_session_get_or_create(title);
            expect(made != NULL, stopping);
            expect(!made || plue_session_delete(made) == 0, stopping);
            plue_session_destroy(made);
            break;
        default:
            good(plue_json_quote(title));
            CHECK(json_valid(plue_get_last_error_json()));
            plue_session_destroy(dice(&seed, 16) ? NULL : session);
        }
    }
    return NULL;
}

static void run_hammers(int count, uintptr_t flag, double seconds_, void (*meanwhile)(double until))
{
    pthread_t threads_[THREADS];
    atomic_store(&running, 1);
    for (int i = 0; i < count; i++)
        threads_[i] = run(hammer, (void *)((uintptr_t)i | flag));
    meanwhile(seconds() + seconds_);
    atomic_store(&running, 0);
    for (int i = 0; i < count; i++)
        end(threads_[i]);
}

static void just_wait(double until)
{
    while (seconds() < until)
        pause_ms(10);
}

static void stop_and_start(double until)
{
    while (seconds() < until) {
        pause_ms(20);
        plue_shutdown();
        start("");
    }
}

/* Submissions of the hammers may still create some. */
static void list_and_count_agree(void)
{
    double until = seconds() + 20;
    while (json_count(text(plue_session_list())) != plue_session_count(NULL)) {
        CHECK(seconds() < until);
        pause_ms(10);
    }
}

static void sixteen_threads_share_sessions(double time)
{
    for (int i = 0; i < SHARED; i++)
        atomic_store(&shared[i], plue_session_create(NULL));
    run_hammers(THREADS, 0, time, just_wait);
    list_and_count_agree();
}

static void calls_in_flight_survive_shutdown_and_init(double time)
{
    run_hammers(8, 256, time, stop_and_start);
    list_and_count_agree();
}

static void *raced_create(void *key)
{
    plue_session_t made = plue_session_get_or_create(key);
    CHECK(made);
    char *id = plue_session_get_id(made);
    plue_session_destroy(made);
    return id;
}

static void raced_get_or_create_makes_one_session(void)
{
    for (int round = 0; round < part(20); round++) {
        char key[32], query[64];
        snprintf(key, sizeof key, "raced %d", round);
        snprintf(query, sizeof query, "{\"key\":\"%s\"}", key);
        pthread_t racers[THREADS];
        char *first = NULL;
        for (int i = 0; i < THREADS; i++)
            racers[i] = run(raced_create, key);
        for (int i = 0; i < THREADS; i++) {
            char *id = end(racers[i]);
            CHECK(id && (!first || !strcmp(first, id)));
            if (first)
                plue_free(id);
            else
                first = id;
        }
        CHECK(plue_session_count(query) == 1);
        plue_free(first);
    }
}

static void *create_many(void *unused)
{
    int count = part(100);
    char **ids = calloc((size_t)count + 1, sizeof *ids);
    (void)unused;
    for (int i = 0; i < count; i++) {
        plue_session_t made = plue_session_create(NULL);
        CHECK(made && plue_session_update_title(made, "made") == 0 && (ids[i] = plue_session_get_id(made)));
        plue_session_destroy(made);
    }
    return ids;
}

static int by_text(const void *one, const void *other)
{
    return strcmp(*(char *const *)one, *(char *const *)other);
}

static void ids_are_unique_and_the_list_is_complete(void)
{
    int before = plue_session_count(NULL), count = part(100), all = 0;
    char **every = calloc((size_t)(THREADS * count), sizeof *every);
    pthread_t makers[THREADS];
    for (int i = 0; i < THREADS; i++)
        makers[i] = run(create_many, NULL);
    for (int i = 0; i < THREADS; i++) {
        char **ids = end(makers[i]);
        for (int j = 0; j < count; j++)
            every[all++] = ids[j];
        free(ids);
    }
    qsort(every, (size_t)all, sizeof *every, by_text);
    for (int i = 1; i < all; i++)
        CHECK(strcmp(every[i - 1], every[i]));
    CHECK(plue_session_count(NULL) == before + all && json_count(text(plue_session_list())) == before + all);
    for (int i = 0; i < all; i++)
        plue_free(every[i]);
    free(every);
}

static void *first_call(void *unused)
{
    (void)unused;
    int result = try_start("");
    CHECK(result == 0 || plue_get_last_error_code() == PLUE_ERROR_ALREADY_INITIALIZED);
    CHECK(plue_session_count(NULL) == 0);
    return result == 0 ? (void *)&running : NULL;
}

static void sixteen_threads_race_to_start_the_library(void)
{
    pthread_t racers[THREADS];
    int started = 0;
    for (int i = 0; i < THREADS; i++)
        racers[i] = run(first_call, NULL);
    for (int i = 0; i < THREADS; i++)
        started += end(racers[i]) != NULL;
    CHECK(started == 1);
}

static void *until_cancelled(void *session)
{
    for (unsigned seed = (unsigned)(uintptr_t)pthread_self();; pthread_testcancel()) {
        switch (dice(&seed, 4)) {
        case 0:
            plue_session_update_title(session, "by one that is cancelled");
            break;
        case 1:
            plue_free_json(plue_session_list());
            break;
        case 2:
            plue_event_unsubscribe(plue_event_subscribe(ignore, NULL));
            break;
        default:
            plue_free_json(plue_event_poll());
        }
    }
    return NULL;
}

/* A thread that ended while it waited would take along the lock that it waits with. */
static void a_cancelled_thread_ends_its_call_first(void)
{
    plue_session_t session = plue_session_create(NULL);
    for (int i = 0; i < 24; i++) {
        pthread_t thread = run(until_cancelled, session);
        pause_ms(2 + i % 5);
        CHECK(pthread_cancel(thread) == 0);
        end(thread);
        CHECK(plue_session_update_title(session, "still there") == 0);
        plue_free_json(plue_session_list());
        plue_free_json(plue_event_poll());
    }
    plue_session_destroy(session);
}

static void *stop(void *unused)
{
    plue_shutdown();
    return unused;
}

static void everything_ends(void)
{
    pthread_t stoppers[4];
    for (int i = 0; i < 4; i++)
        stoppers[i] = run(stop, NULL);
    for (int i = 0; i < 4; i++)
        end(stoppers[i]);
    EVENTUALLY(threads() <= own_threads + 1); /* Python's */
}

int main(void)
{
    const char *time = getenv("CHECK_SECONDS");
    double each = time ? atof(time) : 2;
    sixteen_threads_race_to_start_the_library();
    sixteen_threads_share_sessions(each);
    raced_get_or_create_makes_one_session();
    ids_are_unique_and_the_list_is_complete();
    a_cancelled_thread_ends_its_call_first();
    calls_in_flight_survive_shutdown_and_init(each);
    everything_ends();
    printf("%ld calls, %d refused\n", atomic_load(&calls), atomic_load(&refused));
    return 0;
}
