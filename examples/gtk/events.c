/* A source of the main loop for an observer's items. */
#include "chat.h"
#include <glib-unix.h>

enum { AT_ONCE = 64 }; /* items; then it is the loop's turn, and a frame's */

typedef struct {
    plue_session_observer_t observer;
    void (*hear)(int number, const char *event);
} watch;

static gboolean on_events(gint fd, GIOCondition condition, gpointer given)
{
    (void)fd, (void)condition;
    watch *of = given;
    plue_session_observer_t observer = of->observer;
    void (*hear)(int, const char *) = of->hear; /* hear() may open another session, which ends this watch */
    for (int taken = 0; taken < AT_ONCE; taken++) {
        char *event = plue_session_observer_next(observer, 0);
        if (!event)
            return plue_get_last_error_code() == PLUE_OK ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
        hear((int)plue_json_int(event, "/number", -1), event);
        plue_free_json(event);
    }
    return G_SOURCE_CONTINUE;
}

guint events_watch(plue_session_observer_t observer, void (*hear)(int number, const char *event))
{
    watch *of = g_new(watch, 1);
    *of = (watch){observer, hear};
    /* After a redraw: however many events come, no frame waits for them. */
    return g_unix_fd_add_full(GDK_PRIORITY_REDRAW + 10, plue_session_observer_fd(observer), G_IO_IN, on_events, of,
                              g_free);
}
