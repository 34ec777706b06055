/*
 * GLib (GTK, GNOME): a source of the main loop. Build it with
 *
 *     eval "cc glib.c -o glib -pthread $(plue-session-config --cflags --libs) $(pkg-config --cflags --libs glib-2.0)"
 *
 * Alone, a thread of it makes a session and deletes it. With an argument it waits for somebody who does:
 * plue-session create; plue-session delete ID
 */
#include "loop.h"

#include <glib-unix.h>

static gboolean on_events(gint fd, GIOCondition condition, gpointer loop)
{
    (void)fd;
    (void)condition;
    if (take())
        return G_SOURCE_CONTINUE;
    g_main_loop_quit(loop);
    return G_SOURCE_REMOVE; /* before finish() closes the descriptor */
}

int main(int count, char **words)
{
    (void)words;
    GMainLoop *loop = g_main_loop_new(NULL, FALSE);
    g_unix_fd_add(begin(count == 1), G_IO_IN, on_events, loop);
    g_main_loop_run(loop);
    g_main_loop_unref(loop);
    return finish();
}
