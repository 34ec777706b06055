/*
 * A terminal browser of sessions: it shows them, and what anybody changes, as it happens. One thread, one poll().
 *
 *     cc browser.c $(plue-session-config --cflags --libs) -o browser
 *     ./browser [/path/of/dataDir [http://127.0.0.1:4096]]      the second: sessions of an OpenCode server
 *
 * Commands, a line each: l (list), f TEXT (show those with TEXT in the title), c TITLE (create), r N TITLE (rename the
 * N-th shown), d N (delete it), q (quit).
 */
#include <plue_session.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char filter[256];
static char **ids; /* of the sessions that are shown */
static int count;

static void complain(void)
{
    printf("! %s\n", plue_get_last_error());
}

/* Return `"name":"text"`, whatever is in the text. The caller frees it. */
static char *member(const char *name, const char *text)
{
    char *quoted = plue_json_quote(text), *made = NULL;
    if (quoted && (made = malloc(strlen(name) + strlen(quoted) + 4)))
        sprintf(made, "\"%s\":%s", name, quoted);
    plue_free_json(quoted);
    return made;
}

static int show(const char *info, void *unused)
{
    (void)unused;
    char *id = plue_json_text(info, "/id"), *title = plue_json_text(info, "/title");
    if (id && title && (ids = realloc(ids, (count + 1) * sizeof *ids))) {
        printf("%3d  %s%s\n", count + 1, title, plue_json_int(info, "/time/archived", 0) ? "  (archived)" : "");
        ids[count++] = id;
        id = NULL;
    }
    plue_free_json(title);
    plue_free_json(id);
    return 0;
}

static void list(void)
{
    char query[1024] = "{\"sort\":\"updated\",\"limit\":100}", *search = filter[0] ? member("text", filter) : NULL;
    if (search)
        snprintf(query, sizeof query, "{\"sort\":\"updated\",\"limit\":100,%s}", search);
    free(search);
    while (count)
        plue_free_json(ids[--count]);
    char *page = plue_session_query(query);
    if (!page || plue_json_each(page, "/sessions", show, NULL) < 0)
        complain();
    plue_free_json(page);
}

static void create(const char *title)
{
    char options[1024], *given = member("title", title);
    snprintf(options, sizeof options, "{%s}", given ? given : "");
    free(given);
    plue_session_t made = plue_session_create_with(options);
    if (!made)
        complain();
    plue_session_destroy(made); /* the handle; the session stays */
}

/* Rename the session that is shown with this number, or (no title) delete it. */
static void change(int number, const char *title)
{
    if (number < 1 || number > count) {
        printf("! there is no %d\n", number);
        return;
    }
    plue_session_t session = plue_session_open(ids[number - 1]);
    if (!session || (title ? plue_session_update_title(session, title) : plue_session_delete(session)) != 0)
        complain();
    plue_session_destroy(session);
}

/* Tell what has happened; return whether the program goes on. */
static int hear(void)
{
    char *event = plue_event_poll();
    for (; event; event = plue_event_poll()) {
        char *type = plue_json_text(event, "/type"), *id = plue_json_text(event, "/sessionId");
        char *title = plue_json_text(event, "/data/title"), *info = title || !id ? NULL : plue_session_peek_id(id);
        if (info)
            title = plue_json_text(info, "/title");
        printf("* %s %s %s\n", type ? type : "", id ? id : "", title ? title : "");
        plue_free_json(type);
        plue_free_json(id);
        plue_free_json(title);
        plue_free_json(info);
        plue_free_json(event);
    }
    return plue_get_last_error_code() == PLUE_OK;
}

/* Do what a line says; return whether the program goes on. */
static int obey(char *line)
{
    char *rest = line + 1 + strspn(line + 1, " "), *title;
    int number = (int)strtol(rest, &title, 10);
    title += strspn(title, " ");
    if (*line == 'f')
        snprintf(filter, sizeof filter, "%s", rest);
    if (*line == 'l' || *line == 'f')
        list();
    else if (*line == 'c')
        create(rest);
    else if (*line == 'r' || *line == 'd')
        change(number, *line == 'r' ? title : NULL);
    return *line != 'q';
}

int main(int words, char **word)
{
    char config[4096] = "{", line[512], *folder = words > 1 ? member("dataDir", word[1]) : NULL;
    char *url = words > 2 ? member("url", word[2]) : NULL;
    snprintf(config, sizeof config, url ? "{%s,\"backend\":{\"kind\":\"opencode\",%s}}" : "{%s%s}",
             folder ? folder : "", url ? url : "");
    free(folder);
    free(url);
    if (plue_init(config) != 0) {
        complain();
        return 1;
    }
    struct pollfd places[] = {{STDIN_FILENO, POLLIN, 0}, {plue_event_fd(), POLLIN, 0}};
    setvbuf(stdin, NULL, _IONBF, 0); /* what poll() does not see would wait */
    list();
    for (int on = places[1].fd >= 0; on;) {
        fflush(stdout);
        if (poll(places, 2, -1) < 0)
            continue;
        if (places[1].revents)
            on = hear();
        if (places[0].revents)
            on = on && fgets(line, sizeof line, stdin) && obey(strtok(line, "\n") ? line : "l");
    }
    plue_shutdown();
    return 0;
}
