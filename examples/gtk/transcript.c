/* What was said, as a text view: each part lies between two marks and ends its own line. */
#include "chat.h"
#include <string.h>

typedef struct {
    GtkTextMark *begin, *end;
    gint64 bytes;
} part;

static GtkWidget *view;
static GtkTextBuffer *buffer;
static GHashTable *parts; /* id -> part */
static GtkTextMark *bottom;

static void forget(gpointer given)
{
    part *of = given;
    gtk_text_buffer_delete_mark(buffer, of->begin);
    gtk_text_buffer_delete_mark(buffer, of->end);
    g_free(of);
}

static part *find(const char *id)
{
    part *found = g_hash_table_lookup(parts, id);
    if (found)
        return found;
    GtkTextIter at;
    found = g_new(part, 1);
    gtk_text_buffer_get_end_iter(buffer, &at);
    found->begin = gtk_text_buffer_create_mark(buffer, NULL, &at, TRUE);
    gtk_text_buffer_insert(buffer, &at, "\n", 1);
    gtk_text_iter_backward_char(&at);
    found->end = gtk_text_buffer_create_mark(buffer, NULL, &at, FALSE); /* moves with what is put there */
    found->bytes = 0;
    g_hash_table_insert(parts, g_strdup(id), found);
    return found;
}

static void append(part *of, const char *look, const char *text)
{
    GtkTextIter at;
    gtk_text_buffer_get_iter_at_mark(buffer, &at, of->end);
    gtk_text_buffer_insert_with_tags_by_name(buffer, &at, text, -1, look, NULL);
    of->bytes += (gint64)strlen(text);
    gtk_text_view_scroll_to_mark(GTK_TEXT_VIEW(view), bottom, 0, FALSE, 0, 1);
}

void transcript_add(const char *id, const char *look, gint64 offset, const char *delta)
{
    part *of = find(id);
    if (offset == of->bytes) /* else one was lost: the whole part will come */
        append(of, look, delta);
}

void transcript_set(const char *id, const char *look, const char *text)
{
    part *of = find(id);
    GtkTextIter begin, end;
    gtk_text_buffer_get_iter_at_mark(buffer, &begin, of->begin);
    gtk_text_buffer_get_iter_at_mark(buffer, &end, of->end);
    char *shown = gtk_text_buffer_get_text(buffer, &begin, &end, FALSE);
    if (g_str_has_prefix(text, shown))
        append(of, look, text + strlen(shown));
    else {
        gtk_text_buffer_delete(buffer, &begin, &end);
        of->bytes = 0;
        append(of, look, text);
    }
    g_free(shown);
}

char *transcript_text(const char *json, const char *role, const char **look)
{
    char *type = plue_json_text(json, "/type"), *text = plue_json_text(json, "/text");
    char *name = plue_json_text(json, "/tool/name"), *state = plue_json_text(json, "/tool/state");
    char *input = plue_json_text(json, "/tool/input/command"), *file = plue_json_text(json, "/file/name"), *made = NULL;
    *look = g_strcmp0(role, "user") == 0 ? "user" : g_strcmp0(type, "reasoning") == 0 ? "reasoning" : "model";
    if (name) {
        *look = "tool";
        made = g_strdup_printf("%s, %s%s%s", name, state ? state : "", input ? ": " : "", input ? input : "");
    } else if (text)
        made = g_strdup(text);
    else if (file)
        made = g_strdup(file);
    plue_free_string(type);
    plue_free_string(text);
    plue_free_string(name);
    plue_free_string(state);
    plue_free_string(input);
    plue_free_string(file);
    return made;
}

void transcript_clear(void)
{
    g_hash_table_remove_all(parts);
    gtk_text_buffer_set_text(buffer, "", 0);
}

GtkWidget *transcript_make(void)
{
    GtkTextIter end;
    parts = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, forget);
    view = gtk_text_view_new();
    gtk_text_view_set_editable(GTK_TEXT_VIEW(view), FALSE);
    gtk_text_view_set_cursor_visible(GTK_TEXT_VIEW(view), FALSE);
    gtk_text_view_set_wrap_mode(GTK_TEXT_VIEW(view), GTK_WRAP_WORD_CHAR);
    gtk_text_view_set_left_margin(GTK_TEXT_VIEW(view), 12);
    gtk_text_view_set_right_margin(GTK_TEXT_VIEW(view), 12);
    buffer = gtk_text_view_get_buffer(GTK_TEXT_VIEW(view));
    gtk_text_buffer_create_tag(buffer, "user", "weight", PANGO_WEIGHT_BOLD, "pixels-above-lines", 10, NULL);
    gtk_text_buffer_create_tag(buffer, "model", "pixels-above-lines", 4, NULL);
    gtk_text_buffer_create_tag(buffer, "reasoning", "style", PANGO_STYLE_ITALIC, "foreground", "#777", NULL);
    gtk_text_buffer_create_tag(buffer, "tool", "family", "monospace", "foreground", "#26a", NULL);
    gtk_text_buffer_get_end_iter(buffer, &end);
    bottom = gtk_text_buffer_create_mark(buffer, NULL, &end, FALSE);
    return view;
}
