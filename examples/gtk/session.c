/* The session that is open: how it stood when it was opened, and all that happens from then on. */
#include "chat.h"
#include <string.h>

enum { LONGEST = 20000 }; /* bytes of a part of before that are shown */

typedef struct {
    char *id, *part, *look, *text;
} said;

/* What a thread brings. */
typedef struct {
    plue_session_t session;
    plue_session_observer_t observer;
    char *id, *observation;
    GPtrArray *parts; /* of said: what can be long was read there */
    const char *role; /* of the message that is being read */
} opened;

static plue_session_t session;
static plue_session_observer_t observer;
static guint source;
static char *id, *turn;
static GHashTable *roles; /* of messages */

const char *session_id(void)
{
    return id;
}

/* ---- on a thread ---- */
static void said_free(gpointer given)
{
    said *of = given;
    g_free(of->part);
    g_free(of->look);
    g_free(of->text);
    g_free(of);
}

static int read_part(const char *json, void *given)
{
    opened *to = given;
    const char *look;
    char *part = plue_json_text(json, "/id"), *text = transcript_text(json, to->role, &look);
    if (part && text) {
        said *of = g_new(said, 1);
        *of = (said){NULL, g_strdup(part), g_strdup(look), g_utf8_make_valid(text, strnlen(text, LONGEST))};
        g_ptr_array_add(to->parts, of);
    }
    g_free(text);
    plue_free_string(part);
    return 0;
}

static int read_message(const char *json, void *given)
{
    opened *to = given;
    char *role = plue_json_text(json, "/role");
    to->role = role;
    plue_json_each(json, "/parts", read_part, to);
    plue_free_string(role);
    return 0;
}

static gpointer open_session(char **words)
{
    opened *made = g_new0(opened, 1);
    char *cursor = NULL;
    if ((made->session = plue_session_open(words[0])) &&
        (made->observation = plue_session_observation(made->session)) &&
        (cursor = plue_json_text(made->observation, "/cursor")) &&
        (made->observer = plue_session_observe(made->session, cursor))) {
        made->id = g_strdup(words[0]);
        made->parts = g_ptr_array_new_with_free_func(said_free);
        plue_json_each(made->observation, "/messages", read_message, made);
    } else {
        plue_session_destroy(made->session);
        plue_free_json(made->observation);
        g_clear_pointer(&made, g_free);
    }
    plue_free_string(cursor);
    return made;
}

static gpointer read_choices(char **words)
{
    plue_session_t of = plue_session_open(words[0]);
    char *choices = of ? plue_session_choices(of) : NULL;
    plue_session_destroy(of);
    return choices;
}

/* ---- on the main thread ---- */
static void show_choices(gpointer choices)
{
    window_show_models(choices);
    plue_free_json(choices);
}

static void set_turn(char *now)
{
    plue_free_string(turn);
    turn = now;
    window_show_turn(turn != NULL);
}

static void hear_part(const char *event)
{
    char *message = plue_json_text(event, "/data/messageId"), *part = plue_json_text(event, "/data/partId");
    char *whole = part ? NULL : plue_json_text(event, "/data/part");
    if (part) {
        char *delta = plue_json_text(event, "/data/delta");
        transcript_add(part, "model", plue_json_int(event, "/data/offset", -1), delta ? delta : "");
        plue_free_string(delta);
    } else if (whole) {
        const char *look, *role = message ? g_hash_table_lookup(roles, message) : NULL;
        char *text = transcript_text(whole, role, &look), *of = plue_json_text(whole, "/id");
        if (text && of)
            transcript_set(of, look, text);
        plue_free_string(of);
        g_free(text);
    }
    plue_free_string(message);
    plue_free_string(part);
    plue_free_json(whole);
}

static void hear_message(const char *event)
{
    char *message = plue_json_text(event, "/data/id"), *role = plue_json_text(event, "/data/role");
    if (message && role)
        g_hash_table_insert(roles, g_strdup(message), g_strdup(role));
    plue_free_string(message);
    plue_free_string(role);
}

static void hear_end(const char *event)
{
    char *reason = plue_json_text(event, "/data/reason"), *error = plue_json_text(event, "/data/error/message");
    char *text = reason ? g_strdup_printf("Stopped: %s%s%s", reason, error ? ": " : "", error ? error : "") : NULL;
    window_show_status(text ? text : "");
    set_turn(NULL);
    g_free(text);
    plue_free_string(reason);
    plue_free_string(error);
}

static void hear(int number, const char *event)
{
    char *text = NULL;
    switch (number) {
    case PLUE_EVENT_MESSAGE_PART_UPDATED:
        hear_part(event);
        break;
    case PLUE_EVENT_MESSAGE_CREATED:
        hear_message(event);
        break;
    case PLUE_EVENT_TURN_STARTED:
        window_show_status("");
        set_turn(plue_json_text(event, "/data/turnId"));
        break;
    case PLUE_EVENT_TURN_FINISHED:
        hear_end(event);
        break;
    case PLUE_EVENT_PERMISSION_ASKED:
    case PLUE_EVENT_QUESTION_ASKED:
        text = plue_json_text(event, "/data");
        asks_add(text);
        break;
    case PLUE_EVENT_PERMISSION_REPLIED:
    case PLUE_EVENT_QUESTION_REPLIED:
        text = plue_json_text(event, "/data/id");
        asks_remove(text);
        break;
    case PLUE_EVENT_TODO_UPDATED:
        text = plue_json_text(event, "/data/todos");
        window_show_plan(text);
        break;
    case PLUE_EVENT_SESSION_UPDATED:
        if ((text = plue_json_text(event, "/data/title")))
            window_show_title(text);
        break;
    case PLUE_EVENT_GAP: /* too much has happened: look again */
        session_open(id);
    }
    plue_free_string(text);
}

static int add_ask(const char *json, void *unused)
{
    (void)unused;
    asks_add(json);
    return 0;
}

static void leave(void)
{
    g_clear_handle_id(&source, g_source_remove); /* before the descriptor is closed */
    plue_session_observer_close(observer);
    plue_session_destroy(session);
    observer = NULL;
    session = NULL;
    transcript_clear();
    asks_clear();
    g_clear_pointer(&roles, g_hash_table_unref);
    g_clear_pointer(&id, g_free);
    set_turn(NULL);
}

static void show(gpointer given)
{
    opened *of = given;
    leave();
    session = of->session;
    observer = of->observer;
    id = of->id;
    roles = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    for (guint i = 0; i < of->parts->len; i++) {
        said *each = g_ptr_array_index(of->parts, i);
        transcript_set(each->part, each->look, each->text);
    }
    char *title = plue_json_text(of->observation, "/session/title"), *plan = plue_json_text(of->observation, "/todos");
    plue_json_each(of->observation, "/permissions", add_ask, NULL);
    plue_json_each(of->observation, "/questions", add_ask, NULL);
    set_turn(plue_json_text(of->observation, "/turn/turnId"));
    window_show_title(title);
    window_show_plan(plan);
    source = events_watch(observer, hear);
    work(read_choices, show_choices, id, NULL);
    plue_free_string(title);
    plue_free_json(plan);
    plue_free_json(of->observation);
    g_ptr_array_unref(of->parts);
    g_free(of);
}

void session_open(const char *which)
{
    work(open_session, show, which, NULL);
}

/* ---- what is asked for without waiting; operation.* events tell what has come of it ---- */
void session_say(const char *text, const char *model)
{
    char *quoted = plue_json_quote(text);
    char *operation = g_strdup_printf("[{\"op\":\"enqueue\",\"session\":\"%s\",\"input_json\":{\"text\":%s%s%s}}]", id,
                                      quoted, model ? ",\"model\":" : "", model ? model : "");
    if (!plue_session_submit(operation))
        window_show_status(plue_get_last_error());
    g_free(operation);
    plue_free_string(quoted);
}

void session_stop(void)
{
    char *operation = g_strdup_printf("[{\"op\":\"abort_turn\",\"session\":\"%s\",\"turn_id\":\"%s\"}]", id,
                                      turn ? turn : "");
    if (turn && !plue_session_submit(operation))
        window_show_status(plue_get_last_error());
    g_free(operation);
}
