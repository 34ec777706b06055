/* What the files of the window share. All of it is of the main thread, but for the calls that work() makes. */
#ifndef CHAT_H
#define CHAT_H

#include <gtk/gtk.h>
#include <plue_session.h>

/* work.c: a call that may wait, on a thread of its own; `done` is called on the main thread with what it has returned.
 * When that is NULL, the window shows why instead. */
typedef gpointer (*call_function)(char **words);
typedef void (*done_function)(gpointer result);
void work(call_function call, done_function done, ...) G_GNUC_NULL_TERMINATED; /* words for the call */
gpointer done_if(int code);                                                    /* what an int of the library's is */

/* sessions.c: the list of sessions */
GtkWidget *sessions_make(void);
void sessions_refresh(void);

/* session.c: the one that is open */
void session_open(const char *id);
void session_say(const char *text, const char *model);
void session_stop(void);
const char *session_id(void); /* NULL: none is open */

/* transcript.c: what was said. Parts are known by their ids; of a part that is said twice the later text counts. */
GtkWidget *transcript_make(void);
void transcript_clear(void);
void transcript_add(const char *part, const char *look, gint64 offset, const char *delta);
void transcript_set(const char *part, const char *look, const char *text);
char *transcript_text(const char *part_json, const char *role, const char **look); /* of any thread; free it */

/* asks.c: permissions and questions that the turn waits for */
GtkWidget *asks_make(void);
void asks_clear(void);
void asks_add(const char *json); /* either */
void asks_remove(const char *id);

/* window.c: what holds all of it */
void window_make(GtkApplication *application);
void window_begin(void); /* the library has started */
void window_show_status(const char *text);
void window_show_title(const char *title);
void window_show_plan(const char *todos);    /* JSON */
void window_show_models(const char *models); /* JSON */
void window_show_turn(gboolean runs);

/* events.c: an observer's items, taken when its descriptor is readable */
guint events_watch(plue_session_observer_t observer, void (*hear)(int number, const char *event));

#endif
