/* A process that does what tests/remote/hosts.py tells it, as tests/remote/host.py does: {"id","call","arguments"} in,
 * {"id","value","error"} out, a line each. JSON is read with the library's own functions. */
#define _GNU_SOURCE
#include <plue_session.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 4 };

/* The arguments of a call, each as whatever its parameter may be. */
typedef struct {
    char *text[MOST];
    int64_t number[MOST];
    int count;
} arguments;

typedef struct {
    enum { NOTHING, NUMBER, OWNED, STATIC, HANDLE } kind;
    int64_t number;
    char *text;
    int failed;
} result;

#define H(i) ((plue_session_t)(uintptr_t)of->number[i])
#define O(i) ((plue_session_observer_t)(uintptr_t)of->number[i])
#define T(i) (of->text[i])
#define I(i) ((int)of->number[i])

/* One line for a function: its name without plue_, what it returns, how it is called. */
#define FUNCTIONS(F)                                                                                                   \
    F(init, NUMBER, (T(0)))                                                                                            \
    F(shutdown, NOTHING, ())                                                                                           \
    F(get_version, STATIC, ())                                                                                         \
    F(version_number, NUMBER, ())                                                                                      \
    F(error_name, STATIC, (I(0)))                                                                                      \
    F(json_quote, OWNED, (T(0)))                                                                                       \
    F(json_text, OWNED, (T(0), T(1)))                                                                                  \
    F(json_int, NUMBER, (T(0), T(1), of->number[2]))                                                                   \
    F(json_count, NUMBER, (T(0), T(1)))                                                                                \
    F(get_app_info, OWNED, ())                                                                                         \
    F(session_create, HANDLE, (T(0)))                                                                                  \
    F(session_create_with, HANDLE, (T(0)))                                                                             \
    F(session_get_or_create, HANDLE, (T(0)))                                                                           \
    F(session_open, HANDLE, (T(0)))                                                                                    \
    F(session_fork, HANDLE, (H(0), T(1)))                                                                              \
    F(session_get_info, OWNED, (H(0)))                                                                                 \
    F(session_peek_info, OWNED, (H(0)))                                                                                \
    F(session_peek_id, OWNED, (T(0)))                                                                                  \
    F(session_get_id, OWNED, (H(0)))                                                                                   \
    F(session_list, OWNED, ())                                                                                         \
    F(session_query, OWNED, (T(0)))                                                                                    \
    F(session_count, NUMBER, (T(0)))                                                                                   \
    F(session_update_title, NUMBER, (H(0), T(1)))                                                                      \
    F(session_update, NUMBER, (H(0), T(1)))                                                                            \
    F(session_initialize, NUMBER, (H(0), T(1), T(2)))                                                                  \
    F(session_delete, NUMBER, (H(0)))                                                                                  \
    F(session_abort, NUMBER, (H(0)))                                                                                   \
    F(session_abort_turn, NUMBER, (H(0), T(1)))                                                                        \
    F(session_create_share, OWNED, (H(0)))                                                                             \
    F(session_unshare, NUMBER, (H(0)))                                                                                 \
    F(session_validate_share, NUMBER, (T(0), T(1)))                                                                    \
    F(session_destroy, NOTHING, (H(0)))                                                                                \
    F(session_batch, OWNED, (T(0)))                                                                                    \
    F(session_sync, NUMBER, (I(0)))                                                                                    \
    F(event_poll, OWNED, ())                                                                                           \
    F(session_observation, OWNED, (H(0)))                                                                              \
    F(session_observe, HANDLE, (H(0), T(1)))                                                                           \
    F(session_observer_next, OWNED, (O(0), I(1)))                                                                      \
    F(session_observer_cursor, OWNED, (O(0)))                                                                          \
    F(session_observer_close, NOTHING, (O(0)))                                                                         \
    F(session_enqueue, OWNED, (H(0), T(1)))                                                                            \
    F(session_run_turn, OWNED, (H(0), T(1), I(2)))                                                                     \
    F(session_cancel_turns, NUMBER, (H(0)))                                                                            \
    F(session_messages, OWNED, (H(0), T(1)))                                                                           \
    F(session_permissions, OWNED, (H(0)))                                                                              \
    F(session_reply_permission, NUMBER, (H(0), T(1), T(2)))                                                            \
    F(session_questions, OWNED, (H(0)))                                                                                \
    F(session_reply_question, NUMBER, (H(0), T(1), T(2)))                                                              \
    F(session_usage, OWNED, (H(0)))                                                                                    \
    F(session_todos, OWNED, (H(0)))                                                                                    \
    F(session_diff, OWNED, (H(0), T(1)))                                                                               \
    F(session_choices, OWNED, (H(0)))                                                                                  \
    F(session_inputs, OWNED, (H(0)))                                                                                   \
    F(session_cancel_inputs, OWNED, (H(0), T(1)))                                                                      \
    F(session_cancel_inputs_from, OWNED, (H(0), T(1)))                                                                 \
    F(session_vacuum, NUMBER, (H(0)))                                                                                  \
    F(session_relay_spawn, NUMBER, (H(0)))                                                                             \
    F(session_relay_attach, NUMBER, (H(0), T(1)))                                                                      \
    F(session_relay_heartbeat, NUMBER, (H(0)))                                                                         \
    F(session_relay_count_message, NUMBER, (H(0)))                                                                     \
    F(session_relay_terminate, NUMBER, (T(0), T(1)))                                                                   \
    F(session_relay_clean, NUMBER, (T(0)))                                                                             \
    F(session_relay_get, HANDLE, (T(0)))                                                                               \
    F(session_relay_next_state, STATIC, (T(0), T(1)))                                                                  \
    F(session_metrics, OWNED, (T(0)))

static char *copy(const char *text)
{
    return text ? strdup(text) : NULL;
}

/* What each kind of result is kept as. */
#define KEEP_NOTHING(call) (call)
#define KEEP_NUMBER(call) (made.number = (call), made.failed = made.number == -1)
#define KEEP_OWNED(call) (made.text = (call), made.failed = !made.text)
#define KEEP_STATIC(call) (made.text = copy(call), made.failed = !made.text)
#define KEEP_HANDLE(call) (made.number = (int64_t)(uintptr_t)(call), made.failed = !made.number)

#define DEFINE(name, kind_of, call)                                                                                    \
    static result do_##name(const arguments *of)                                                                       \
    {                                                                                                                  \
        result made = {kind_of, 0, NULL, 0};                                                                           \
        (void)of;                                                                                                      \
        KEEP_##kind_of(plue_##name call);                                                                              \
        return made;                                                                                                   \
    }
FUNCTIONS(DEFINE)

#define ROW(name, kind, call) {#name, do_##name},
static const struct {
    const char *name;
    result (*call)(const arguments *of);
} functions[] = {FUNCTIONS(ROW)};

static int collect(const char *json, void *given)
{
    arguments *of = given;
    int place = of->count++;
    of->number[place] = plue_json_int(json, "", 0);
    of->text[place] = strcmp(json, "null") == 0 ? NULL : plue_json_text(json, "");
    return 0;
}

static void answer(const char *line, const char *name, const result *made)
{
    const char *error = made->failed && plue_get_last_error_code() ? plue_get_last_error_json() : "{}";
    char *failure = plue_json_text(error, "/error");
    printf("{\"id\":%lld,\"at\":0,\"error\":%s,\"value\":", (long long)plue_json_int(line, "/id", -1),
           failure ? failure : "null");
    if (made->kind == NUMBER || (made->kind == HANDLE && made->number))
        printf("%lld}\n", (long long)made->number);
    else {
        char *quoted = made->text ? plue_json_quote(made->text) : NULL;
        printf("%s}\n", quoted ? quoted : "null");
        plue_free_string(quoted);
    }
    fflush(stdout);
    plue_free_json(failure);
    (void)name;
}

static void perform(const char *line)
{
    arguments of = {{NULL}, {0}, 0};
    char *name = plue_json_text(line, "/call");
    plue_json_each(line, "/arguments", collect, &of);
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (strcmp(functions[i].name, name) == 0) {
            result made = functions[i].call(&of);
            answer(line, name, &made);
            made.kind == STATIC ? free(made.text) : plue_free(made.text);
        }
    for (int i = 0; i < of.count; i++)
        plue_free_string(of.text[i]);
    plue_free_string(name);
}

int main(void)
{
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, stdin) > 0)
        perform(line);
    free(line);
    return 0;
}
