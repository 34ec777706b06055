/* What the turn waits for: a row with buttons for each permission, one with choices for each question. */
#include "chat.h"

static GtkWidget *box;
static GHashTable *rows; /* id -> row */

/* ---- answers, which the server takes: on a thread of their own ---- */
static gpointer reply_permission(char **words)
{
    plue_session_t session = plue_session_open(words[0]);
    int code = session ? plue_session_reply_permission(session, words[1], words[2]) : -1;
    plue_session_destroy(session);
    return done_if(code);
}

static gpointer reply_question(char **words)
{
    plue_session_t session = plue_session_open(words[0]);
    int code = session ? plue_session_reply_question(session, words[1], words[2]) : -1;
    plue_session_destroy(session);
    return done_if(code);
}

/* ---- permissions ---- */
static void on_reply(GtkButton *button, gpointer id)
{
    work(reply_permission, NULL, session_id(), id, g_object_get_data(G_OBJECT(button), "reply"), NULL);
}

static GtkWidget *add_button(GtkWidget *row, const char *label, GCallback clicked, const char *id)
{
    GtkWidget *button = gtk_button_new_with_label(label);
    g_signal_connect_data(button, "clicked", clicked, g_strdup(id), (GClosureNotify)(void *)g_free, 0);
    gtk_box_append(GTK_BOX(row), button);
    return button;
}

static GtkWidget *permission_row(const char *id, const char *json)
{
    static const struct {
        const char *label, *reply;
    } replies[] = {{"Allow once", "once"}, {"Always allow", "always"}, {"Reject", "reject"}};
    GtkWidget *row = gtk_box_new(GTK_ORIENTATION_HORIZONTAL, 6);
    char *title = plue_json_text(json, "/title"), *action = plue_json_text(json, "/action");
    char *pattern = plue_json_text(json, "/patterns/0");
    char *text = g_strdup_printf("%s: %s", action, title ? title : pattern ? pattern : "");
    GtkWidget *label = gtk_label_new(text);
    gtk_label_set_xalign(GTK_LABEL(label), 0);
    gtk_label_set_ellipsize(GTK_LABEL(label), PANGO_ELLIPSIZE_MIDDLE);
    gtk_widget_set_hexpand(label, TRUE);
    gtk_box_append(GTK_BOX(row), label);
    for (gsize i = 0; i < G_N_ELEMENTS(replies); i++)
        g_object_set_data(G_OBJECT(add_button(row, replies[i].label, G_CALLBACK(on_reply), id)), "reply",
                          (gpointer)replies[i].reply);
    g_free(text);
    plue_free_string(title);
    plue_free_string(action);
    plue_free_string(pattern);
    return row;
}

/* ---- questions ---- */
static void add_label(GString *to, const char *label)
{
    char *quoted = plue_json_quote(label);
    g_string_append_printf(to, "%s%s", to->len && to->str[to->len - 1] == '[' ? "" : ",", quoted ? quoted : "\"\"");
    plue_free_string(quoted);
}

/* Each question is a box: its text, a check button for each option, and perhaps an entry. */
static void on_answer(GtkButton *button, gpointer id)
{
    GtkWidget *row = gtk_widget_get_parent(gtk_widget_get_parent(GTK_WIDGET(button)));
    GString *answers = g_string_new("[");
    for (GtkWidget *each = gtk_widget_get_first_child(row); each; each = gtk_widget_get_next_sibling(each)) {
        if (!g_object_get_data(G_OBJECT(each), "is-question"))
            continue;
        g_string_append(answers, answers->len > 1 ? ",[" : "[");
        for (GtkWidget *part = gtk_widget_get_first_child(each); part; part = gtk_widget_get_next_sibling(part))
            if (GTK_IS_CHECK_BUTTON(part) && gtk_check_button_get_active(GTK_CHECK_BUTTON(part)))
                add_label(answers, g_object_get_data(G_OBJECT(part), "label"));
            else if (GTK_IS_ENTRY(part) && *gtk_editable_get_text(GTK_EDITABLE(part)))
                add_label(answers, gtk_editable_get_text(GTK_EDITABLE(part)));
        g_string_append(answers, "]");
    }
    g_string_append(answers, "]");
    work(reply_question, NULL, session_id(), id, answers->str, NULL);
    g_string_free(answers, TRUE);
}

static void on_reject(GtkButton *button, gpointer id)
{
    (void)button;
    work(reply_question, NULL, session_id(), id, NULL); /* the words end there: no answers */
}

typedef struct {
    GtkWidget *box;
    GtkCheckButton *first; /* of a group, where one option is to be chosen */
    gboolean is_multiple;
} choices;

static int add_option(const char *json, void *given)
{
    choices *of = given;
    char *label = plue_json_text(json, "/label"), *about = plue_json_text(json, "/description");
    char *text = g_strdup_printf("%s%s%s", label, about && *about ? ": " : "", about ? about : "");
    GtkWidget *check = gtk_check_button_new_with_label(text);
    g_object_set_data_full(G_OBJECT(check), "label", g_strdup(label), g_free);
    if (!of->is_multiple && of->first)
        gtk_check_button_set_group(GTK_CHECK_BUTTON(check), of->first);
    of->first = of->first ? of->first : GTK_CHECK_BUTTON(check);
    gtk_box_append(GTK_BOX(of->box), check);
    g_free(text);
    plue_free_string(label);
    plue_free_string(about);
    return 0;
}

static int add_question(const char *json, void *row)
{
    char *text = plue_json_text(json, "/question");
    GtkWidget *label = gtk_label_new(text);
    choices of = {gtk_box_new(GTK_ORIENTATION_VERTICAL, 2), NULL, plue_json_int(json, "/multiple", 0) != 0};
    gtk_label_set_xalign(GTK_LABEL(label), 0);
    gtk_label_set_wrap(GTK_LABEL(label), TRUE);
    gtk_box_append(GTK_BOX(of.box), label);
    plue_json_each(json, "/options", add_option, &of);
    if (plue_json_int(json, "/custom", 0))
        gtk_box_append(GTK_BOX(of.box), gtk_entry_new());
    g_object_set_data(G_OBJECT(of.box), "is-question", GINT_TO_POINTER(1));
    gtk_box_append(GTK_BOX(row), of.box);
    plue_free_string(text);
    return 0;
}

static GtkWidget *question_row(const char *id, const char *json)
{
    GtkWidget *row = gtk_box_new(GTK_ORIENTATION_VERTICAL, 6), *buttons = gtk_box_new(GTK_ORIENTATION_HORIZONTAL, 6);
    plue_json_each(json, "/questions", add_question, row);
    add_button(buttons, "Answer", G_CALLBACK(on_answer), id);
    add_button(buttons, "Do not answer", G_CALLBACK(on_reject), id);
    gtk_box_append(GTK_BOX(row), buttons);
    return row;
}

/* ---- both ---- */
void asks_add(const char *json)
{
    char *id = plue_json_text(json, "/id");
    if (id && !g_hash_table_contains(rows, id)) {
        gboolean is_question = plue_json_count(json, "/questions") > 0;
        GtkWidget *row = is_question ? question_row(id, json) : permission_row(id, json);
        gtk_box_append(GTK_BOX(box), row);
        g_hash_table_insert(rows, g_strdup(id), row);
    }
    plue_free_string(id);
}

void asks_remove(const char *id)
{
    GtkWidget *row = g_hash_table_lookup(rows, id);
    if (row)
        gtk_box_remove(GTK_BOX(box), row);
    g_hash_table_remove(rows, id);
}

void asks_clear(void)
{
    for (GtkWidget *row; (row = gtk_widget_get_first_child(box));)
        gtk_box_remove(GTK_BOX(box), row);
    g_hash_table_remove_all(rows);
}

GtkWidget *asks_make(void)
{
    rows = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    box = gtk_box_new(GTK_ORIENTATION_VERTICAL, 6);
    return box;
}
