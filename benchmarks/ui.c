/*
 * What a UI thread may call, while the library is at its busiest: how long each instant function takes.
 *
 *     ui CONFIG SESSION CALLS           two threads have the library compare its sessions with the server's list, two
 *                                       more ask for the list: its Python is never idle
 *     ui CONFIG turns CALLS WORDS       in one session turns of so many words stream as fast as they can, in another
 *                                       one turns wait that are cancelled; a thread compares all sessions with the
 *                                       server's list; and one computes in Python and never pauses
 *
 * Meanwhile this thread calls an instant function each millisecond, in turns. The peer is malloc, memcpy and free of a
 * session's info in the same turns: what the machine's scheduler alone takes.
 */
#include "bench.h"
#include "plue_session.h"

#include <dlfcn.h>

static atomic_int loading = 1;
static atomic_long syncs, lists;
static plue_session_t session, cancelled; /* `cancelled`: whose turns are ended as soon as they begin */
static plue_session_observer_t observer;
static const char *session_id;
static char *known; /* its info */
static char submitted[256];

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

/* ---- turns ---- */
static int words;
static atomic_long streamed, ended; /* bytes of answers; turns that were cancelled */
static atomic_int is_last;

static void *stream_main(void *unused)
{
    char input[64];
    plue_session_observer_t answers = plue_session_observe(session, NULL);
    if (!answers)
        die("plue_session_observe", plue_get_last_error());
    while (atomic_load(&loading)) {
        snprintf(input, sizeof input, "{\"text\":\"[words=%d] [pause=0.0005]\"}", words);
        plue_free_json(need(plue_session_enqueue(session, input)));
        for (int is_over = 0; !is_over && atomic_load(&loading);) {
            static const char begin[] = "\"delta\":\"", end[] = "\"}}";
            char *item = plue_session_observer_next(answers, 100), *piece = item ? strstr(item, begin) : NULL;
            if (piece)
                atomic_fetch_add(&streamed, (long)(strlen(piece) - strlen(begin) - strlen(end)));
            is_over = item && strstr(item, "\"type\":\"turn.finished\"");
            plue_free_json(item);
        }
    }
    plue_session_observer_close(answers);
    return unused;
}

static void *cancelled_main(void *unused)
{
    while (atomic_load(&loading)) {
        char *turn = plue_session_run_turn(cancelled, "{\"text\":\"[wait]\"}", 60000);
        if (!turn || !strstr(turn, "\"reason\":\"cancelled\""))
            die("plue_session_run_turn", turn ? turn : plue_get_last_error());
        plue_free_json(turn);
        atomic_fetch_add(&ended, 1);
        sleep_ns(100000000);
    }
    atomic_store(&is_last, 1);
    return unused;
}

/* ---- a thread of the host's that is in Python, in the interpreter that the library has started ---- */
static int (*ensure)(void);
static void (*release)(int);
static int (*run_python)(const char *, void *);
static double computed; /* the part of a processor that it has had */

static void python(const char *text)
{
    int state = ensure();
    if (run_python(text, NULL))
        die("Python", text);
    release(state);
}

static void *python_main(void *unused)
{
    struct timespec used;
    int64_t from = now_ns();
    python("while computing: sum(range(100))");
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    computed = ((double)used.tv_sec * 1e9 + (double)used.tv_nsec) / (double)(now_ns() - from);
    return unused;
}

static void find_python(void)
{
    *(void **)&ensure = dlsym(RTLD_DEFAULT, "PyGILState_Ensure");
    *(void **)&release = dlsym(RTLD_DEFAULT, "PyGILState_Release");
    *(void **)&run_python = dlsym(RTLD_DEFAULT, "PyRun_SimpleStringFlags");
    if (!ensure || !release || !run_python)
        die("Python", "is not in this process");
}

/* ---- calls ---- */
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

static void call_submit(void)
{
    if (!plue_session_submit(submitted))
        die("plue_session_submit", plue_get_last_error());
}

static void call_cancel_turns(void)
{
    if (plue_session_cancel_turns(cancelled) < 0)
        die("plue_session_cancel_turns", plue_get_last_error());
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
    {"submit", call_submit}, /* from here on only while turns stream */
    {"cancel_turns", call_cancel_turns},
};
enum { CALLS = sizeof calls / sizeof *calls, WITHOUT_TURNS = CALLS - 2, LOAD = 4 };
static void *(*const listing[LOAD])(void *) = {sync_main, list_main, sync_main, list_main};
static void *(*const talking[LOAD])(void *) = {stream_main, sync_main, cancelled_main, python_main};

static void begin_turns(void)
{
    char *id;
    find_python();
    python("computing = True");
    if (!(session = plue_session_create(NULL)) || !(cancelled = plue_session_create(NULL)) ||
        !(id = plue_session_get_id(session)))
        die("plue_session_create", plue_get_last_error());
    session_id = id;
    snprintf(submitted, sizeof submitted, "[{\"op\":\"get_info\",\"session\":\"%s\"}]", id);
}

static void end_turns(void)
{
    python("computing = False");
    while (!atomic_load(&is_last)) {
        call_cancel_turns();
        sleep_ns(10000000);
    }
    if (plue_session_abort(session))
        die("plue_session_abort", plue_get_last_error());
}

/* What the round has not read, so that neither queue is ever behind. */
static void drain(void)
{
    char *item;
    while ((item = plue_event_poll()) || (item = plue_session_observer_next(observer, 0)))
        plue_free_json(item);
}

int main(int count, char **argument)
{
    pthread_t load[LOAD];
    samples of[CALLS];
    if (count != 4 && count != 5)
        die("usage", "ui CONFIG SESSION CALLS | ui CONFIG turns CALLS WORDS");
    int rounds = atoi(argument[3]), in_turns = count == 5, measured = in_turns ? CALLS : WITHOUT_TURNS;
    session_id = argument[2];
    words = in_turns ? atoi(argument[4]) : 0;
    if (plue_init(argument[1]) || plue_session_sync(60000))
        die("plue_init", plue_get_last_error());
    if (in_turns)
        begin_turns();
    else if (!(session = plue_session_open(session_id)))
        die("plue_session_open", plue_get_last_error());
    if (!(observer = plue_session_observe(PLUE_ALL_SESSIONS, NULL)))
        die("plue_session_observe", plue_get_last_error());
    known = need(plue_session_peek_info(session));
    for (int i = 0; i < measured; i++)
        of[i] = make_samples((size_t)rounds);
    for (int i = 0; i < LOAD; i++) {
        if (pthread_create(&load[i], NULL, (in_turns ? talking : listing)[i], NULL))
            die("pthread_create", "no thread");
        while (in_turns && !atomic_load(&streamed)) { /* the first turn of a server's life takes seconds */
            drain();
            sleep_ns(1000000);
        }
    }
    sleep_ns(200000000);
    long synced = -atomic_load(&syncs), listed = -atomic_load(&lists), told = -atomic_load(&streamed),
         stopped = -atomic_load(&ended);
    int64_t began = now_ns();
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < measured; i++) {
            sleep_ns(1000000);
            int64_t from = now_ns();
            calls[i].call();
            add_sample(&of[i], (double)(now_ns() - from) / 1000);
        }
        if (in_turns)
            drain();
    }
    double took = (double)(now_ns() - began) / 1e9;
    synced += atomic_load(&syncs), listed += atomic_load(&lists), told += atomic_load(&streamed),
        stopped += atomic_load(&ended);
    atomic_store(&loading, 0);
    if (in_turns)
        end_turns();
    for (int i = 0; i < LOAD; i++)
        pthread_join(load[i], NULL);
    printf("{\"seconds\":%.3g,\"syncs\":%ld,\"lists\":%ld,\"bytes\":%ld,\"cancelled\":%ld,\"computed\":%.3g}\n", took,
           synced, listed, told, stopped, computed);
    for (int i = 0; i < measured; i++) {
        printf("{\"name\":\"%s\",", calls[i].name);
        print_latency("us", &of[i]);
        printf("}\n");
    }
    plue_session_observer_close(observer);
    plue_free_json(known);
    plue_shutdown();
    return 0;
}
