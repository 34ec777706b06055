/*
 * Sessions in a window: talk to a model, see what it says as it comes, allow or refuse what it wants to do, stop it.
 *
 *     eval "cc *.c -o chat $(plue-session-config --cflags --libs) $(pkg-config --cflags --libs gtk4)"
 *     PLUE_OPENCODE_URL=http://127.0.0.1:4096 ./chat
 *
 * The main thread makes no call that may wait. What is `instant` it calls itself: it takes events (events.c) and
 * submits operations, of which events tell (session.c). For the rest there are threads (work.c).
 */
#include "chat.h"

static plue_session_observer_t all;
static guint source;

static int complain(const char *result, void *unused)
{
    (void)unused;
    char *message = plue_json_text(result, "/error/message");
    if (message)
        window_show_status(message);
    plue_free_string(message);
    return message != NULL;
}

static void hear(int number, const char *event)
{
    char *text = NULL;
    switch (number) {
    case PLUE_EVENT_SESSION_CREATED:
    case PLUE_EVENT_SESSION_UPDATED:
    case PLUE_EVENT_SESSION_DELETED:
    case PLUE_EVENT_GAP:
        sessions_refresh();
        break;
    case PLUE_EVENT_SYNC_STATE:
        window_show_status(plue_json_int(event, "/data/connected", 1) ? "" : "The server is away.");
        break;
    case PLUE_EVENT_OPERATION_COMPLETED:
    case PLUE_EVENT_OPERATION_FAILED:
        if ((text = plue_json_text(event, "/data/results/0/ok/id"))) /* of all that we submit only a create has one */
            session_open(text);
        plue_json_each(event, "/data/results", complain, NULL);
    }
    plue_free_string(text);
}

static gpointer start(char **words)
{
    (void)words;
    return plue_init(NULL) == 0 && (all = plue_session_observe(PLUE_ALL_SESSIONS, NULL)) ? done_if(0) : NULL;
}

static void started(gpointer unused)
{
    (void)unused;
    window_begin();
    source = events_watch(all, hear);
    sessions_refresh();
}

static void on_activate(GtkApplication *application)
{
    window_make(application);
    work(start, started, NULL);
}

int main(int count, char **words)
{
    GtkApplication *application = gtk_application_new("org.example.plue.chat", G_APPLICATION_NON_UNIQUE);
    g_signal_connect(application, "activate", G_CALLBACK(on_activate), NULL);
    int status = g_application_run(G_APPLICATION(application), count, words);
    g_clear_handle_id(&source, g_source_remove);
    g_object_unref(application);
    plue_shutdown(); /* may take seconds: the window is gone */
    return status;
}
