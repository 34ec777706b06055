/* The list of sessions: the five hundred that were used last, each item the info of one. */
#include "chat.h"

enum { SOON_MS = 200 }; /* changes that come together are one look */

static GtkStringList *infos;
static gboolean is_due;

static int collect(const char *info, void *strv)
{
    g_strv_builder_add(strv, info);
    return 0;
}

static gpointer read_sessions(char **words)
{
    (void)words;
    char *page = plue_session_query("{\"sort\":\"updated\",\"order\":\"desc\",\"limit\":500}");
    if (!page)
        return NULL;
    GStrvBuilder *found = g_strv_builder_new();
    plue_json_each(page, "/sessions", collect, found);
    plue_free_json(page);
    char **texts = g_strv_builder_end(found);
    g_strv_builder_unref(found);
    return texts;
}

static void show(gpointer texts)
{
    gtk_string_list_splice(infos, 0, g_list_model_get_n_items(G_LIST_MODEL(infos)), (const char *const *)texts);
    g_strfreev(texts);
}

static gboolean refresh(gpointer unused)
{
    (void)unused;
    is_due = FALSE;
    work(read_sessions, show, NULL);
    return G_SOURCE_REMOVE;
}

void sessions_refresh(void)
{
    if (!is_due)
        is_due = g_timeout_add(SOON_MS, refresh, NULL) > 0;
}

static void on_setup(GtkListItemFactory *factory, GtkListItem *item, gpointer unused)
{
    (void)factory, (void)unused;
    GtkWidget *label = gtk_label_new(NULL);
    gtk_label_set_xalign(GTK_LABEL(label), 0);
    gtk_label_set_ellipsize(GTK_LABEL(label), PANGO_ELLIPSIZE_END);
    gtk_list_item_set_child(item, label);
}

static void on_bind(GtkListItemFactory *factory, GtkListItem *item, gpointer unused)
{
    (void)factory, (void)unused;
    char *title = plue_json_text(gtk_string_object_get_string(gtk_list_item_get_item(item)), "/title");
    gtk_label_set_text(GTK_LABEL(gtk_list_item_get_child(item)), title);
    plue_free_string(title);
}

static void on_activate(GtkListView *view, guint place, gpointer unused)
{
    (void)view, (void)unused;
    char *id = plue_json_text(gtk_string_list_get_string(infos, place), "/id");
    session_open(id);
    plue_free_string(id);
}

GtkWidget *sessions_make(void)
{
    GtkListItemFactory *factory = gtk_signal_list_item_factory_new();
    g_signal_connect(factory, "setup", G_CALLBACK(on_setup), NULL);
    g_signal_connect(factory, "bind", G_CALLBACK(on_bind), NULL);
    infos = gtk_string_list_new(NULL);
    GtkSingleSelection *selection = gtk_single_selection_new(G_LIST_MODEL(infos));
    gtk_single_selection_set_autoselect(selection, FALSE);
    GtkWidget *view = gtk_list_view_new(GTK_SELECTION_MODEL(selection), factory);
    gtk_widget_add_css_class(view, "navigation-sidebar");
    gtk_list_view_set_single_click_activate(GTK_LIST_VIEW(view), TRUE);
    g_signal_connect(view, "activate", G_CALLBACK(on_activate), NULL);
    return view;
}
