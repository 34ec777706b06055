/*
 * Drives a GTK program as a person would, and measures it: preloaded, it reads commands from stdin, a line each, and
 * answers each with a line of JSON on stdout. The program knows nothing of it.
 *
 *     text            all that is shown: {"shown":[…]} the texts of labels and text views
 *     open N          activate the N-th item of the list
 *     click LABEL     click a button, choose an option
 *     type TEXT       put it in the last entry that takes input, and press Enter
 *     choose N        choose the N-th of a drop-down
 *     picture FILE    write the window as PNG
 *     measure         begin to measure; frames come one after the other from now on
 *     measured        {"calls","p50","p999","max","longest","frames","late","late_by_calls"}; times in µs
 *     close           close the window
 *
 * Measured are all calls of the library on the main thread. A frame is late when it comes one and a half intervals
 * after the one before, and late by a call when without the longest call since then it had not been late.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <gtk/gtk.h>
#include <glib-unix.h>
#include <plue_session.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 1 << 20 };

static gboolean measuring;
static float took[ROOM]; /* µs */
static guint calls, frames, late, late_by_calls;
static double longest, longest_since_frame;
static const char *longest_name = "";
static gint64 frame_before;

/* ---- calls ---- */
static double now_us(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec * 1e6 + (double)at.tv_nsec / 1e3;
}

static void add(const char *name, double us)
{
    if (!measuring || gettid() != getpid())
        return;
    if (calls < ROOM)
        took[calls++] = (float)us;
    longest_since_frame = MAX(longest_since_frame, us);
    if (us > longest) {
        longest = us;
        longest_name = name;
    }
}

#define MEASURED(result, name, parameters, arguments)                                                                  \
    result name parameters                                                                                             \
    {                                                                                                                  \
        static result(*real) parameters;                                                                               \
        if (!real)                                                                                                     \
            *(void **)&real = dlsym(RTLD_NEXT, #name);                                                                 \
        double from = now_us();                                                                                        \
        result made = real arguments;                                                                                  \
        add(#name, now_us() - from);                                                                                   \
        return made;                                                                                                   \
    }
#define MEASURED_VOID(name, parameters, arguments)                                                                     \
    void name parameters                                                                                               \
    {                                                                                                                  \
        static void(*real) parameters;                                                                                 \
        if (!real)                                                                                                     \
            *(void **)&real = dlsym(RTLD_NEXT, #name);                                                                 \
        double from = now_us();                                                                                        \
        real arguments;                                                                                                \
        add(#name, now_us() - from);                                                                                   \
    }
typedef int (*visit_function)(const char *, void *);

MEASURED(int, plue_init, (const char *config), (config))
MEASURED_VOID(plue_shutdown, (void), ())
MEASURED(const char *, plue_get_last_error, (void), ())
MEASURED(int, plue_get_last_error_code, (void), ())
MEASURED_VOID(plue_free_json, (char *json), (json))
MEASURED_VOID(plue_free_string, (char *text), (text))
MEASURED(char *, plue_json_quote, (const char *text), (text))
MEASURED(char *, plue_json_text, (const char *json, const char *pointer), (json, pointer))
MEASURED(int64_t, plue_json_int, (const char *json, const char *pointer, int64_t otherwise), (json, pointer, otherwise))
MEASURED(int, plue_json_count, (const char *json, const char *pointer), (json, pointer))
/* Its visits are the program's: only what they call is measured. */
int plue_json_each(const char *json, const char *pointer, visit_function visit, void *data)
{
    return ((int (*)(const char *, const char *, visit_function, void *))dlsym(RTLD_NEXT, "plue_json_each"))(
        json, pointer, visit, data);
}
MEASURED(plue_session_t, plue_session_open, (const char *id), (id))
MEASURED_VOID(plue_session_destroy, (plue_session_t session), (session))
MEASURED(char *, plue_session_query, (const char *query), (query))
MEASURED(char *, plue_session_observation, (plue_session_t session), (session))
MEASURED(plue_session_observer_t, plue_session_observe, (plue_session_t session, const char *cursor), (session, cursor))
MEASURED(char *, plue_session_observer_next, (plue_session_observer_t observer, int ms), (observer, ms))
MEASURED(int, plue_session_observer_fd, (plue_session_observer_t observer), (observer))
MEASURED_VOID(plue_session_observer_close, (plue_session_observer_t observer), (observer))
MEASURED(uint64_t, plue_session_submit, (const char *operations), (operations))
MEASURED(char *, plue_session_choices, (plue_session_t session), (session))
MEASURED(int, plue_session_reply_permission, (plue_session_t session, const char *id, const char *reply),
         (session, id, reply))
MEASURED(int, plue_session_reply_question, (plue_session_t session, const char *id, const char *answers),
         (session, id, answers))

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double quantile(double part)
{
    guint at = (guint)(part * calls);
    return calls ? took[MIN(at, calls - 1)] : 0;
}

/* ---- frames ---- */
static gboolean on_frame(GtkWidget *widget, GdkFrameClock *clock, gpointer unused)
{
    (void)widget, (void)unused;
    gint64 at = gdk_frame_clock_get_frame_time(clock), interval = 0;
    gdk_frame_clock_get_refresh_info(clock, at, &interval, NULL);
    double most = 1.5 * (double)(interval ? interval : 16667), gap = (double)(at - frame_before);
    if (frame_before) {
        frames++;
        late += gap > most;
        late_by_calls += gap > most && gap - longest_since_frame <= most;
    }
    frame_before = at;
    longest_since_frame = 0;
    return G_SOURCE_CONTINUE;
}

/* ---- widgets ---- */
typedef gboolean (*test_function)(GtkWidget *widget, const char *text);

static GtkWidget *window(void)
{
    GListModel *windows = gtk_window_get_toplevels();
    GtkWidget *found = g_list_model_get_item(windows, 0);
    if (found)
        g_object_unref(found); /* GTK keeps it */
    return found;
}

/* The last widget, in the order of the tree, that passes the test. */
static GtkWidget *find(GtkWidget *from, test_function test, const char *text)
{
    GtkWidget *found = from && gtk_widget_is_visible(from) && test(from, text) ? from : NULL;
    for (GtkWidget *each = from ? gtk_widget_get_first_child(from) : NULL; each;
         each = gtk_widget_get_next_sibling(each)) {
        GtkWidget *inside = find(each, test, text);
        found = inside ? inside : found;
    }
    return found;
}

static gboolean is_labelled(GtkWidget *widget, const char *text)
{
    const char *label = GTK_IS_CHECK_BUTTON(widget) ? gtk_check_button_get_label(GTK_CHECK_BUTTON(widget))
                        : GTK_IS_BUTTON(widget)     ? gtk_button_get_label(GTK_BUTTON(widget))
                                                    : NULL;
    return label && g_str_has_prefix(label, text) && gtk_widget_is_sensitive(widget);
}

static gboolean is_entry(GtkWidget *widget, const char *unused)
{
    (void)unused;
    return GTK_IS_ENTRY(widget) && gtk_widget_is_sensitive(widget);
}

static gboolean is_drop_down(GtkWidget *widget, const char *unused)
{
    (void)unused;
    return GTK_IS_DROP_DOWN(widget);
}

static gboolean is_list(GtkWidget *widget, const char *unused)
{
    (void)unused;
    return GTK_IS_LIST_VIEW(widget) && !gtk_widget_get_ancestor(widget, GTK_TYPE_POPOVER);
}

static void print_text(const char *text, gboolean *comes_first)
{
    char *quoted = plue_json_quote(text);
    printf("%s%s", *comes_first ? "" : ",", quoted);
    *comes_first = FALSE;
    plue_free_string(quoted);
}

static void print_texts(GtkWidget *from, gboolean *comes_first)
{
    if (!from || !gtk_widget_get_visible(from))
        return;
    if (GTK_IS_LABEL(from))
        print_text(gtk_label_get_text(GTK_LABEL(from)), comes_first);
    if (GTK_IS_TEXT_VIEW(from)) {
        GtkTextIter begin, end;
        GtkTextBuffer *buffer = gtk_text_view_get_buffer(GTK_TEXT_VIEW(from));
        gtk_text_buffer_get_bounds(buffer, &begin, &end);
        char *text = gtk_text_buffer_get_text(buffer, &begin, &end, FALSE);
        print_text(text, comes_first);
        g_free(text);
    }
    for (GtkWidget *each = gtk_widget_get_first_child(from); each; each = gtk_widget_get_next_sibling(each))
        print_texts(each, comes_first);
}

static gboolean write_picture(const char *file)
{
    int width = gtk_widget_get_width(window()), height = gtk_widget_get_height(window());
    GdkPaintable *paintable = gtk_widget_paintable_new(window());
    GtkSnapshot *snapshot = gtk_snapshot_new();
    gdk_paintable_snapshot(paintable, GDK_SNAPSHOT(snapshot), width, height);
    GskRenderNode *node = gtk_snapshot_free_to_node(snapshot);
    GdkTexture *texture = node ? gsk_renderer_render_texture(gtk_native_get_renderer(GTK_NATIVE(window())), node, NULL)
                               : NULL;
    gboolean done = texture && gdk_texture_save_to_png(texture, file);
    g_clear_object(&texture);
    g_clear_pointer(&node, gsk_render_node_unref);
    g_object_unref(paintable);
    return done;
}

/* ---- commands ---- */
static gboolean click(const char *label)
{
    GtkWidget *found = find(window(), is_labelled, label);
    if (found && GTK_IS_CHECK_BUTTON(found))
        gtk_check_button_set_active(GTK_CHECK_BUTTON(found), TRUE);
    else if (found)
        g_signal_emit_by_name(found, "clicked");
    return found != NULL;
}

static gboolean enter(const char *text)
{
    GtkWidget *found = find(window(), is_entry, NULL);
    if (found) {
        gtk_editable_set_text(GTK_EDITABLE(found), text);
        g_signal_emit_by_name(found, "activate");
    }
    return found != NULL;
}

static gboolean choose(guint place)
{
    GtkWidget *found = find(window(), is_drop_down, NULL);
    gboolean can = found && place < g_list_model_get_n_items(gtk_drop_down_get_model(GTK_DROP_DOWN(found)));
    if (can)
        gtk_drop_down_set_selected(GTK_DROP_DOWN(found), place);
    return can;
}

static gboolean open_item(guint place)
{
    GtkWidget *found = find(window(), is_list, NULL);
    gboolean can = found &&
                   place < g_list_model_get_n_items(G_LIST_MODEL(gtk_list_view_get_model(GTK_LIST_VIEW(found))));
    if (can)
        g_signal_emit_by_name(found, "activate", place);
    return can;
}

static void begin(void)
{
    calls = frames = late = late_by_calls = 0;
    longest = longest_since_frame = 0;
    frame_before = 0;
    if (!measuring)
        gtk_widget_add_tick_callback(window(), on_frame, NULL, NULL);
    measuring = TRUE;
}

static gboolean obey(char *line)
{
    char *word = strsep(&line, " "), *rest = line ? line : "";
    gboolean done = window() != NULL, comes_first = TRUE;
    if (strcmp(word, "text") == 0) {
        printf("{\"shown\":[");
        print_texts(window(), &comes_first);
        printf("]}\n");
        return TRUE;
    }
    if (strcmp(word, "measured") == 0) {
        qsort(took, calls, sizeof *took, compare);
        printf("{\"calls\":%u,\"p50\":%.3f,\"p999\":%.3f,\"max\":%.3f,\"longest\":\"%s\",\"frames\":%u,\"late\":%u,"
               "\"late_by_calls\":%u}\n",
               calls, quantile(0.5), quantile(0.999), longest, longest_name, frames, late, late_by_calls);
        return TRUE;
    }
    if (strcmp(word, "measure") == 0)
        begin();
    else if (strcmp(word, "close") == 0)
        gtk_window_close(GTK_WINDOW(window()));
    else
        done = strcmp(word, "open") == 0      ? open_item((guint)atoi(rest))
               : strcmp(word, "click") == 0   ? click(rest)
               : strcmp(word, "type") == 0    ? enter(rest)
               : strcmp(word, "choose") == 0  ? choose((guint)atoi(rest))
               : strcmp(word, "picture") == 0 ? write_picture(rest)
                                              : FALSE;
    printf("{\"done\":%s}\n", done ? "true" : "false");
    return TRUE;
}

static gboolean on_command(gint fd, GIOCondition condition, gpointer unused)
{
    (void)fd, (void)condition, (void)unused;
    static char line[65536];
    if (!fgets(line, sizeof line, stdin))
        return G_SOURCE_REMOVE;
    line[strcspn(line, "\n")] = '\0';
    obey(line);
    fflush(stdout);
    return G_SOURCE_CONTINUE;
}

__attribute__((constructor)) static void attach(void)
{
    setvbuf(stdin, NULL, _IONBF, 0); /* what the loop does not see would wait */
    g_unix_fd_add(0, G_IO_IN | G_IO_HUP, on_command, NULL);
}
