/*
 * A host that does what it is told: a line in, a line of JSON out. Told by tests/robust/host.py.
 *
 * In: "<number>\t<a|s>\t<name>\t<argument>…", a: on a thread of its own; an argument of \1 is NULL. Out:
 * {"id","value","code","error","at","took"}, times in seconds of the monotonic clock, and {"event","at"} for what a
 * subscription hears. Names are those of the functions without "plue_", and what a host may do besides: latency, fork,
 * exit, abort, subscribe.
 */
#include "check.h"

#include <sys/wait.h>

enum { ARGUMENTS = 4 };

typedef struct {
    char *line, *number, *name, *argument[ARGUMENTS];
} command;

static pthread_mutex_t printing = PTHREAD_MUTEX_INITIALIZER;

static void put_text(const char *text)
{
    if (!text) {
        fputs("null", stdout);
        return;
    }
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else if ((unsigned char)*text < 0x20)
            printf("\\u%04x", *text);
        else
            putchar(*text);
    }
    putchar('"');
}

typedef struct {
    const char *text;
    unsigned long long number;
    int is_text, code;
    double began;
} answer;

static void say(const command *told, answer given)
{
    double at = seconds();
    pthread_mutex_lock(&printing);
    printf("{\"id\":%s,\"value\":", told->number);
    if (given.is_text)
        put_text(given.text);
    else
        printf("%llu", given.number);
    printf(",\"code\":%d,\"error\":", given.code);
    put_text(given.code ? plue_get_last_error() : NULL);
    printf(",\"at\":%.6f,\"took\":%.6f}\n", at, at - given.began);
    fflush(stdout);
    pthread_mutex_unlock(&printing);
}

static void on_event(uint8_t number, const char *event, void *data)
{
    (void)number, (void)data;
    double at = seconds();
    pthread_mutex_lock(&printing);
    printf("{\"event\":%s,\"at\":%.6f}\n", event, at);
    fflush(stdout);
    pthread_mutex_unlock(&printing);
}

static int by_size(const void *left, const void *right)
{
    double difference = *(const double *)left - *(const double *)right;
    return (difference > 0) - (difference < 0);
}

/* How long the functions take that never wait, called for so many milliseconds: microseconds, the 99th of 100 and the
 * slowest. */
static void latency(const command *told)
{
    enum { MOST = 200000 };
    static double took[4][MOST];
    plue_session_t session = (plue_session_t)strtoull(told->argument[1], NULL, 10);
    plue_session_observer_t observer = plue_session_observe(PLUE_ALL_SESSIONS, NULL);
    double began = seconds(), until = began + atoi(told->argument[0]) / 1000.0;
    int count = 0;
    char line[256];
    for (; count < MOST && seconds() < until; count++) {
        double t0 = seconds();
        plue_free(plue_session_peek_info(session));
        double t1 = seconds();
        plue_free(plue_session_get_id(session));
        double t2 = seconds();
        plue_free(plue_event_poll());
        double t3 = seconds();
        plue_free(plue_session_observer_next(observer, 0));
        double t4 = seconds();
        took[0][count] = t1 - t0, took[1][count] = t2 - t1, took[2][count] = t3 - t2, took[3][count] = t4 - t3;
        if (count % 64 == 0)
            pause_ms(1);
    }
    plue_session_observer_close(observer);
    for (int i = 0; i < 4; i++)
        qsort(took[i], (size_t)count, sizeof(double), by_size);
    snprintf(line, sizeof line,
             "{\"count\":%d,\"peek_info\":%.1f,\"get_id\":%.1f,\"poll\":%.1f,\"observer_next\":%.1f}", count,
             took[0][count * 99 / 100] * 1e6, took[1][count * 99 / 100] * 1e6, took[2][count * 99 / 100] * 1e6,
             took[3][count * 99 / 100] * 1e6);
    say(told, (answer){.is_text = 1, .text = line, .began = began});
}

/* A child that tries the library, tells what it said, and lives until it is killed. Its pid is the value; what the
 * library said, the code. */
static void fork_child(const command *told)
{
    double began = seconds();
    int pipe_[2], code = 0;
    CHECK(pipe(pipe_) == 0);
    pid_t child = fork();
    if (child == 0) {
        alarm(120);
        plue_free(plue_session_list());
        code = plue_get_last_error_code();
        CHECK(write(pipe_[1], &code, sizeof code) == sizeof code);
        close(0); /* the test waits for the end of what the host reads and writes */
        close(1);
        close(2);
        for (;;)
            pause();
    }
    close(pipe_[1]);
    CHECK(read(pipe_[0], &code, sizeof code) == sizeof code);
    close(pipe_[0]);
    char line[64];
    snprintf(line, sizeof line, "{\"pid\":%d,\"code\":%d}", (int)child, code);
    say(told, (answer){.is_text = 1, .text = line, .began = began});
}

static int is(const command *told, const char *name)
{
    return !strcmp(told->name, name);
}

/* The functions, by what they take and give. */
#define SESSION_OF_TEXT(X)                                                                                             \
    X(session_create) X(session_create_with) X(session_get_or_create) X(session_open) X(session_relay_get)
#define TEXT_OF_NOTHING(X) X(session_list) X(session_sync_status) X(get_app_info) X(event_poll)
#define TEXT_OF_SESSION(X)                                                                                             \
    X(session_get_info) X(session_peek_info) X(session_get_id) X(session_create_share) X(session_observation)
#define TURNS_OF_SESSION(X)                                                                                            \
    X(session_inputs) X(session_permissions) X(session_questions) X(session_usage) X(session_todos) X(session_choices)
#define TEXT_OF_SESSION_AND_TEXT(X)                                                                                    \
    X(session_enqueue) X(session_cancel_inputs) X(session_cancel_inputs_from) X(session_messages) X(session_diff)
#define STATUS_OF_SESSION(X)                                                                                           \
    X(session_delete)                                                                                                  \
    X(session_abort)                                                                                                   \
    X(session_unshare)                                                                                                 \
    X(session_vacuum)                                                                                                  \
    X(session_cancel_turns) X(session_relay_spawn) X(session_relay_heartbeat) X(session_relay_count_message)
#define STATUS_OF_SESSION_AND_TEXT(X)                                                                                  \
    X(session_update_title) X(session_update) X(session_abort_turn) X(session_discard_pending) X(session_relay_attach)
#define STATUS_OF_TEXT(X) X(init) X(session_count) X(session_relay_clean)

static void *perform(void *argument)
{
    command *told = argument;
    char **given = told->argument;
    plue_session_t session = given[0] ? (plue_session_t)strtoull(given[0], NULL, 10) : NULL;
    plue_session_observer_t observer = (plue_session_observer_t)session;
    answer result = {.began = seconds()};
    char *owned = NULL;
    int status = 0;
    if (is(told, "latency"))
        latency(told);
    else if (is(told, "fork"))
        fork_child(told);
    else if (is(told, "exit"))
        exit(7);
    else if (is(told, "abort"))
        abort();
    else {
        if (is(told, "subscribe"))
            result.number = plue_event_subscribe(on_event, NULL);
        else if (is(told, "shutdown"))
            plue_shutdown();
        else if (is(told, "session_destroy"))
            plue_session_destroy(session);
        else if (is(told, "session_fork"))
            status = -!(result.number = (uintptr_t)plue_session_fork(session, given[1]));
        else if (is(told, "session_initialize"))
            status = plue_session_initialize(session, given[1], given[2]);
        else if (is(told, "session_run_turn"))
            owned = plue_session_run_turn(session, given[1], atoi(given[2])), result.is_text = 1;
        else if (is(told, "session_reply_permission"))
            status = plue_session_reply_permission(session, given[1], given[2]);
        else if (is(told, "session_reply_question"))
            status = plue_session_reply_question(session, given[1], given[2]);
        else if (is(told, "session_sync"))
            status = plue_session_sync(atoi(given[0]));
        else if (is(told, "session_query"))
            owned = plue_session_query(given[0]), result.is_text = 1;
        else if (is(told, "session_batch"))
            owned = plue_session_batch(given[0]), result.is_text = 1;
        else if (is(told, "session_submit"))
            status = -!(result.number = plue_session_submit(given[0]));
        else if (is(told, "session_cancel_operation"))
            status = plue_session_cancel_operation(strtoull(given[0], NULL, 10));
        else if (is(told, "session_relay_terminate"))
            status = plue_session_relay_terminate(given[0], given[1]);
        else if (is(told, "session_metrics"))
            owned = plue_session_metrics(given[0]), result.is_text = 1;
        else if (is(told, "session_peek_id"))
            owned = plue_session_peek_id(given[0]), result.is_text = 1;
        else if (is(told, "session_observe"))
            status = -!(result.number = (uintptr_t)plue_session_observe(session, given[1]));
        else if (is(told, "session_observer_next"))
            owned = plue_session_observer_next(observer, atoi(given[1])), result.is_text = 1;
        else if (is(told, "session_observer_cursor"))
            owned = plue_session_observer_cursor(observer), result.is_text = 1;
        else if (is(told, "session_observer_close"))
            plue_session_observer_close(observer);
#define CASE(NAME) else if (is(told, #NAME)) status = -!(result.number = (uintptr_t)plue_##NAME(given[0]));
        SESSION_OF_TEXT(CASE)
#undef CASE
#define CASE(NAME) else if (is(told, #NAME)) owned = plue_##NAME(), result.is_text = 1;
        TEXT_OF_NOTHING(CASE)
#undef CASE
#define CASE(NAME) else if (is(told, #NAME)) owned = plue_##NAME(session), result.is_text = 1;
        TEXT_OF_SESSION(CASE)
#undef CASE
#define CASE(NAME) else if (is(told, #NAME)) owned = plue_##NAME(session), result.is_text = 1;
        TURNS_OF_SESSION(CASE)
#undef CASE
#define CASE(NAME) else if (is(told, #NAME)) status = plue_##NAME(session), result.number = (unsigned)status;
        STATUS_OF_SESSION(CASE)
#undef CASE
#define CASE(NAME) else if (is(told, #NAME)) owned = plue_##NAME(session, given[1]), result.is_text = 1;
        TEXT_OF_SESSION_AND_TEXT(CASE)
#undef CASE
#define CASE(NAME) else if (is(told, #NAME)) status = plue_##NAME(session, given[1]);
        STATUS_OF_SESSION_AND_TEXT(CASE)
#undef CASE
#define CASE(NAME) else if (is(told, #NAME)) status = plue_##NAME(given[0]), result.number = (unsigned)status;
        STATUS_OF_TEXT(CASE)
#undef CASE
        else CHECK(!"a name that is known");
        result.text = owned;
        result.code = status < 0 || (result.is_text && !owned) ? plue_get_last_error_code() : 0;
        say(told, result);
        plue_free(owned);
    }
    free(told->line);
    free(told);
    return NULL;
}

static char *field(char **rest)
{
    char *found = strsep(rest, "\t");
    return found && strcmp(found, "\1") ? found : NULL;
}

int main(void)
{
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, stdin) > 0) {
        line[strcspn(line, "\n")] = 0;
        command *told = calloc(1, sizeof *told);
        char *rest = told->line = strdup(line);
        told->number = field(&rest);
        char *how = field(&rest);
        told->name = field(&rest);
        for (int i = 0; i < ARGUMENTS && rest; i++)
            told->argument[i] = field(&rest);
        if (*how == 'a')
            CHECK(pthread_detach(run(perform, told)) == 0);
        else
            perform(told);
    }
    free(line);
    /* exit() flushes without a lock: a thread that is still inside its own flush would have its line written twice. */
    pthread_mutex_lock(&printing);
    return 0;
}
