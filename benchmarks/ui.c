/*
 * What a UI thread may call, while the library is at its busiest: how long each instant function takes.
 *
 *     ui CONFIG SESSION CALLS
 *
 * Two threads have the library compare its sessions with the server's list, two more ask for the list: its Python is
 * never idle. Meanwhile this thread calls every instant function once a millisecond. The peer is malloc, memcpy and
 * free of a session's info in the same turns: what the machine's scheduler alone takes.
 */
#include "bench.h"
#include "plue_session.h"

static atomic_int loading = 1;
static atomic_long syncs, lists;
static plue_session_t session;
static plue_session_observer_t observer;
static const char *session_id;
static char *known; /* its info */

static void *sync_main(void *unused)
{
    (void)unused;
    while (atomic_load(&loading)) {
        if (plue_session_sync(30000))
            die("plue_session_sync", plue_get_last_error());
        atomic_fetch_add(&syncs, 1);
    }
    return NULL;
}

static void *list_main(void *unused)
{
    (void)unused;
    while (atomic_load(&loading)) {
        char *list = plue_session_list();
        if (!list)
            die("plue_session_list", plue_get_last_error());
        plue_free_json(list);
        atomic_fetch_add(&lists, 1);
    }
    return NULL;
}

static void nothing_failed(const char *what)
{
    if (plue_get_last_error_code() != PLUE_OK)
        die(what, plue_get_last_error());
}

static void call_peer(void)
{
    size_t size = strlen(known) + 1;
    char *copy = need(malloc(size));
    memcpy(copy, known, size);
    __asm__ volatile("" : : "r"(copy) : "memory"); /* or the compiler sees that nobody reads it */
    free(copy);
}

static void call_peek_info(void)
{
    plue_free_json(need(plue_session_peek_info(session)));
}

static void call_peek_id(void)
{
    plue_free_json(need(plue_session_peek_id(session_id)));
}

static void call_get_id(void)
{
    plue_free_string(need(plue_session_get_id(session)));
}

static void call_poll(void)
{
    plue_free_json(plue_event_poll());
}

static void call_observer_next(void)
{
    char *item = plue_session_observer_next(observer, 0);
    if (!item)
        nothing_failed("plue_session_observer_next");
    plue_free_json(item);
}

static void call_observer_cursor(void)
{
    plue_free_string(need(plue_session_observer_cursor(observer)));
}

static void call_observer_fd(void)
{
    if (plue_session_observer_fd(observer) < 0)
        die("plue_session_observer_fd", plue_get_last_error());
}

static void call_json_int(void)
{
    if (plue_json_int(known, "/time/created", -1) < 0)
        die("plue_json_int", "no number");
}

static void call_handle(void)
{
    plue_session_destroy((plue_session_t)(uintptr_t)0x123456789); /* of nobody's */
}

static const struct {
    const char *name;
    void (*call)(void);
} calls[] = {
    {"peer", call_peer},
    {"peek_info", call_peek_info},
    {"peek_id", call_peek_id},
    {"get_id", call_get_id},
    {"event_poll", call_poll},
    {"observer_next(0)", call_observer_next},
    {"observer_cursor", call_observer_cursor},
    {"observer_fd", call_observer_fd},
    {"json_int", call_json_int},
    {"destroy", call_handle},
};
enum { CALLS = sizeof calls / sizeof *calls, LOAD = 4 };

int main(int count, char **argument)
{
    pthread_t load[LOAD];
    samples of[CALLS];
    if (count != 4)
        die("usage", "ui CONFIG SESSION CALLS");
    int rounds = atoi(argument[3]);
    session_id = argument[2];
    if (plue_init(argument[1]) || plue_session_sync(60000))
        die("plue_init", plue_get_last_error());
    if (!(session = plue_session_open(session_id)) || !(observer = plue_session_observe(PLUE_ALL_SESSIONS, NULL)))
        die("plue_session_open, plue_session_observe", plue_get_last_error());
    known = need(plue_session_peek_info(session));
    for (int i = 0; i < CALLS; i++)
        of[i] = make_samples((size_t)rounds);
    for (int i = 0; i < LOAD; i++)
        if (pthread_create(&load[i], NULL, i % 2 ? list_main : sync_main, NULL))
            die("pthread_create", "no thread");
    sleep_ns(200000000);
    int64_t began = now_ns();
    for (int round = 0; round < rounds; round++)
        for (int i = 0; i < CALLS; i++) {
            sleep_ns(1000000);
            int64_t from = now_ns();
            calls[i].call();
            add_sample(&of[i], (double)(now_ns() - from) / 1000);
        }
    double took = (double)(now_ns() - began) / 1e9;
    double synced = (double)atomic_load(&syncs) / took, listed = (double)atomic_load(&lists) / took;
    atomic_store(&loading, 0);
    for (int i = 0; i < LOAD; i++)
        pthread_join(load[i], NULL);
    for (int i = 0; i < CALLS; i++) {
        printf("{\"name\":\"%s\",\"syncs_per_s\":%.3g,\"lists_per_s\":%.3g,", calls[i].name, synced, listed);
        print_latency("us", &of[i]);
        printf("}\n");
    }
    plue_session_observer_close(observer);
    plue_free_json(known);
    plue_shutdown();
    return 0;
}
