/*
 * Sessions on an OpenCode server: create, rename and delete one, and hear of it, and of all that other clients do.
 *
 *     eval "cc opencode.c $(plue-session-config --cflags --libs) -lpthread -o opencode"
 *     ./opencode http://127.0.0.1:4096    a server that runs; OPENCODE_SERVER_PASSWORD is its password
 *     ./opencode                          one of our own: the program `opencode` is started, and ends with this one
 *
 * The sessions are those of the working directory, which is the project. No model is asked.
 */
#include <plue_session.h>
#include <stdio.h>
#include <string.h>

static int fail(void)
{
    fprintf(stderr, "%s\n", plue_get_last_error());
    plue_shutdown();
    return 1;
}

int main(int count, char **words)
{
    char config[4096] = "{\"backend\":{\"kind\":\"opencode\",\"spawn\":{}}}";
    if (count > 1) { /* offline "fail": without the server this program has nothing to do */
        char *url = plue_json_quote(words[1]);
        if (!url)
            return fail();
        snprintf(config, sizeof config, "{\"offline\":\"fail\",\"backend\":{\"kind\":\"opencode\",\"url\":%s}}", url);
        plue_free_string(url);
    }
    if (plue_init(config) != 0)
        return fail();

    plue_session_t session = plue_session_create(NULL);
    if (!session || plue_session_update_title(session, "My Coding Session") != 0)
        return fail();

    char *info = plue_session_get_info(session); /* instant: what was changed here is known */
    printf("info: %s\n", info ? info : plue_get_last_error());
    char *title = plue_json_text(info, "/title");
    printf("title: %s\n", title ? title : plue_get_last_error());
    plue_free_string(title);
    plue_free_json(info);

    if (plue_session_delete(session) != 0)
        return fail();
    plue_session_destroy(session);

    /* A program with a loop of its own would put plue_event_fd() into that, and call plue_event_poll(). */
    int heard = 0;
    for (char *event; !heard && (event = plue_event_wait(10000)); plue_free_json(event)) {
        printf("event: %s\n", event);
        heard = strstr(event, "\"type\":\"session.deleted\"") != NULL;
    }
    plue_shutdown();
    return !heard;
}
