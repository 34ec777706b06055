/*
 * A terminal browser of sessions: it shows them, and what anybody changes, as it happens. One thread, one poll().
 *     cc browser.c $(plue-session-config --cflags --libs) -o browser
 *     ./browser [/path/of/dataDir [http://127.0.0.1:4096]]      the second: sessions of an OpenCode server
 *
 * Commands, a line each: l (list), f TEXT (show those with TEXT in title or description; none: all), c TITLE (create),
 * r N TITLE (rename the N-th shown), d N (delete it), q (quit).
 */
#include <plue_session.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char filter[256];
static plue_session_t shown[100]; /* handles of what is listed: they keep plue_session_peek_id() up to date */
static int count;

static int complain(void)
{
    printf("! %s\n", plue_get_last_error());
    return -1;
}

/* Return `"name":"text"`, whatever is in the text; the caller frees it. NULL: it is not UTF-8. */
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
    plue_session_t session = plue_session_open(id);
    if (session) { /* else it has just been deleted */
        shown[count++] = session;
        printf("%3d  %s%s\n", count, title, plue_json_int(info, "/time/archived", 0) ? "  (archived)" : "");
    }
    plue_free_json(title);
    plue_free_json(id);
    return 0;
}

static void list(void)
{
    char query[2048], *search = member("text", filter); /* no text: all */
    snprintf(query, sizeof query, "{\"sort\":\"updated\",\"limit\":100,%s}", search ? search : "");
    while (count)
        plue_session_destroy(shown[--count]); /* the handle; the session stays */
    char *page = search ? plue_session_query(query) : NULL;
    if (!page || plue_json_each(page, "/sessions", show, NULL) < 0)
        complain();
    plue_free_json(page);
    free(search);
}

static void create(const char *title)
{
    char options[4096], *given = member("title", title);
    snprintf(options, sizeof options, "{%s}", given ? given : "");
    plue_session_t made = given ? plue_session_create_with(options) : NULL;
    if (!made)
        complain();
    plue_session_destroy(made);
    free(given);
}

/* Rename the session that is shown with this number, or (no title) delete it. */
static void change(int number, const char *title)
{
    plue_session_t session = number > 0 && number <= count ? shown[number - 1] : NULL;
    if (!session)
        printf("! there is no %d\n", number);
    else if ((title ? plue_session_update_title(session, title) : plue_session_delete(session)) != 0)
        complain();
}

/* Tell what has happened; return whether the program goes on. */
static int hear(void)
{
    int stale = 0;
    for (char *event; (event = plue_event_poll()); plue_free_json(event)) {
        char *type = plue_json_text(event, "/type"), *id = plue_json_text(event, "/sessionId");
        char *info = id ? plue_session_peek_id(id) : NULL, *title = plue_json_text(info, "/title");
        printf("* %s %s %s\n", type, id ? id : "", title ? title : "");
        stale = stale || strcmp(type, "session.created") == 0 || strcmp(type, "session.deleted") == 0;
        plue_free_json(type);
        plue_free_json(id);
        plue_free_json(title);
        plue_free_json(info);
    }
    if (plue_get_last_error_code() != PLUE_OK)
        return 0;
    if (stale)
        list(); /* the numbers are others */
    return 1;
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
    char config[8192], *line = NULL, *folder = words > 1 ? member("dataDir", word[1]) : NULL;
    char *url = words > 2 ? member("url", word[2]) : NULL;
    size_t room = 0;
    snprintf(config, sizeof config, url ? "{%s,\"backend\":{\"kind\":\"opencode\",%s}}" : "{%s%s}",
             folder ? folder : "", url ? url : "");
    int failed = (words > 1 && !folder) || (words > 2 && !url) || plue_init(config) != 0;
    free(folder);
    free(url);
    if (failed)
        return complain();
    struct pollfd places[] = {{0, POLLIN, 0}, {plue_event_fd(), POLLIN, 0}};
    setvbuf(stdin, NULL, _IONBF, 0); /* what poll() does not see would wait */
    if (plue_session_sync(10000) != 0)
        complain();
    list();
    for (int on = places[1].fd >= 0; on;) {
        fflush(stdout);
        if (poll(places, 2, -1) < 0)
            continue;
        if (places[1].revents)
            on = hear();
        if (places[0].revents)
            on = on && getline(&line, &room, stdin) > 0 && obey(strtok(line, "\n") ? line : "l");
    }
    plue_shutdown();
    free(line);
    return 0;
}
