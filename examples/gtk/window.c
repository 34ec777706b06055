/* The window: sessions at the left, what is said in the middle, the plan at the right. */
#include "chat.h"

static GtkWidget *window, *title, *status, *plan, *entry, *stop, *create;
static GtkStringList *models; /* "provider/model"; the first is the session's own */
static GtkWidget *model;

void window_begin(void)
{
    window_show_status("");
    gtk_widget_set_sensitive(create, TRUE);
}

void window_show_status(const char *text)
{
    gtk_label_set_text(GTK_LABEL(status), text);
}

void window_show_title(const char *text)
{
    gtk_label_set_text(GTK_LABEL(title), text);
}

void window_show_turn(gboolean runs)
{
    gtk_widget_set_sensitive(stop, runs);
    gtk_widget_set_sensitive(entry, session_id() != NULL);
}

static int add_todo(const char *json, void *text)
{
    static const char *const signs[][2] = {{"completed", "✔"}, {"in_progress", "▶"}, {"cancelled", "✘"}};
    char *content = plue_json_text(json, "/content"), *state = plue_json_text(json, "/status");
    const char *sign = "○";
    for (gsize i = 0; i < G_N_ELEMENTS(signs); i++)
        if (g_strcmp0(state, signs[i][0]) == 0)
            sign = signs[i][1];
    g_string_append_printf(text, "%s %s\n", sign, content);
    plue_free_string(content);
    plue_free_string(state);
    return 0;
}

void window_show_plan(const char *todos)
{
    GString *text = g_string_new(NULL);
    plue_json_each(todos, "", add_todo, text);
    gtk_label_set_text(GTK_LABEL(plan), text->str);
    g_string_free(text, TRUE);
}

static int add_model(const char *json, void *unused)
{
    (void)unused;
    char *provider = plue_json_text(json, "/providerId"), *name = plue_json_text(json, "/modelId");
    char *text = g_strdup_printf("%s/%s", provider, name);
    gtk_string_list_append(models, text);
    g_free(text);
    plue_free_string(provider);
    plue_free_string(name);
    return 0;
}

void window_show_models(const char *choices)
{
    gtk_string_list_splice(models, 1, g_list_model_get_n_items(G_LIST_MODEL(models)) - 1, NULL);
    plue_json_each(choices, "/models", add_model, NULL);
}

/* The chosen model as an input names it, NULL for the session's own; free it. */
static char *chosen(void)
{
    guint place = gtk_drop_down_get_selected(GTK_DROP_DOWN(model));
    if (place == 0 || place == GTK_INVALID_LIST_POSITION)
        return NULL;
    char **names = g_strsplit(gtk_string_list_get_string(models, place), "/", 2);
    char *provider = plue_json_quote(names[0]), *name = plue_json_quote(names[1]);
    char *made = g_strdup_printf("{\"providerId\":%s,\"modelId\":%s}", provider, name);
    plue_free_string(provider);
    plue_free_string(name);
    g_strfreev(names);
    return made;
}

static void on_say(GtkEntry *unused)
{
    (void)unused;
    const char *text = gtk_editable_get_text(GTK_EDITABLE(entry));
    char *with = chosen();
    if (*text && session_id())
        session_say(text, with);
    gtk_editable_set_text(GTK_EDITABLE(entry), "");
    g_free(with);
}

static void on_new(GtkButton *unused)
{
    (void)unused;
    if (!plue_session_submit("[{\"op\":\"create\",\"tag\":\"new\"}]"))
        window_show_status(plue_get_last_error());
}

static GtkWidget *scrolled(GtkWidget *child, int width)
{
    GtkWidget *made = gtk_scrolled_window_new();
    gtk_scrolled_window_set_child(GTK_SCROLLED_WINDOW(made), child);
    gtk_widget_set_size_request(made, width, -1);
    gtk_widget_set_vexpand(made, TRUE);
    return made;
}

static GtkWidget *header(void)
{
    GtkWidget *bar = gtk_header_bar_new();
    const char *const first[] = {"The session's model", NULL};
    title = gtk_label_new("plue_session");
    gtk_header_bar_set_title_widget(GTK_HEADER_BAR(bar), title);
    create = gtk_button_new_with_label("New session");
    gtk_widget_set_sensitive(create, FALSE);
    g_signal_connect(create, "clicked", G_CALLBACK(on_new), NULL);
    gtk_header_bar_pack_start(GTK_HEADER_BAR(bar), create);
    stop = gtk_button_new_with_label("Stop");
    gtk_widget_set_sensitive(stop, FALSE);
    g_signal_connect(stop, "clicked", G_CALLBACK(session_stop), NULL);
    gtk_header_bar_pack_end(GTK_HEADER_BAR(bar), stop);
    models = gtk_string_list_new(first);
    model = gtk_drop_down_new(G_LIST_MODEL(models), NULL);
    gtk_header_bar_pack_end(GTK_HEADER_BAR(bar), model);
    return bar;
}

static GtkWidget *middle(void)
{
    GtkWidget *box = gtk_box_new(GTK_ORIENTATION_VERTICAL, 6), *said = scrolled(transcript_make(), 420);
    gtk_widget_set_hexpand(said, TRUE);
    gtk_box_append(GTK_BOX(box), said);
    gtk_box_append(GTK_BOX(box), asks_make());
    entry = gtk_entry_new();
    gtk_entry_set_placeholder_text(GTK_ENTRY(entry), "Say something");
    gtk_widget_set_sensitive(entry, FALSE);
    g_signal_connect(entry, "activate", G_CALLBACK(on_say), NULL);
    gtk_box_append(GTK_BOX(box), entry);
    gtk_widget_set_margin_bottom(box, 6);
    status = gtk_label_new("Starting …");
    gtk_label_set_xalign(GTK_LABEL(status), 0);
    gtk_label_set_wrap(GTK_LABEL(status), TRUE);
    gtk_box_append(GTK_BOX(box), status);
    return box;
}

void window_make(GtkApplication *application)
{
    GtkWidget *panes = gtk_box_new(GTK_ORIENTATION_HORIZONTAL, 6);
    window = gtk_application_window_new(application);
    gtk_window_set_title(GTK_WINDOW(window), "plue_session");
    gtk_window_set_default_size(GTK_WINDOW(window), 980, 600);
    gtk_window_set_titlebar(GTK_WINDOW(window), header());
    gtk_box_append(GTK_BOX(panes), scrolled(sessions_make(), 220));
    gtk_box_append(GTK_BOX(panes), middle());
    plan = gtk_label_new("");
    gtk_label_set_xalign(GTK_LABEL(plan), 0);
    gtk_label_set_yalign(GTK_LABEL(plan), 0);
    gtk_label_set_wrap(GTK_LABEL(plan), TRUE);
    gtk_widget_set_margin_top(plan, 9);
    gtk_widget_set_margin_start(plan, 6);
    gtk_box_append(GTK_BOX(panes), scrolled(plan, 220));
    gtk_window_set_child(GTK_WINDOW(window), panes);
    gtk_window_present(GTK_WINDOW(window));
}
