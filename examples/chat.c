/* A conversation: `chat [ID_OR_KEY]`, with the server that PLUE_OPENCODE_URL names, or in this folder with the agent
 * whose command is PLUE_AGENT: codex-acp, claude-agent-acp, gemini --experimental-acp. Ctrl-C ends the turn, then this.
 */
#include <plue_session.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t stopped;
static int64_t shown;                 /* bytes of the part that is being said */
static int runs, is_answer, is_asked; /* is_asked: the turn waits for a permission */

static void stop(int signal)
{
    stopped = signal;
}

/* Print a text of the JSON, if there is one, from its byte `from` on; return how long it is. */
static int64_t print(const char *json, const char *pointer, int64_t from)
{
    char *text = plue_json_text(json, pointer);
    int64_t length = text ? (int64_t)strlen(text) : 0;
    fputs(from < length ? text + from : "", stdout);
    plue_free_string(text);
    return length;
}

static void hear(const char *event)
{
    int64_t number = plue_json_int(event, "/number", -1), offset = plue_json_int(event, "/data/offset", -1);
    if (number == PLUE_EVENT_MESSAGE_CREATED)
        is_answer = strstr(event, "\"role\":\"assistant\"") != NULL;
    else if (number == PLUE_EVENT_MESSAGE_PART_UPDATED && offset >= 0) /* a piece of a part; some may be lost */
        shown += offset == shown ? print(event, "/data/delta", 0) : 0;
    else if (number == PLUE_EVENT_MESSAGE_PART_UPDATED && is_answer) /* the whole of it */
        print(event, "/data/part/text", shown), print(event, "/data/part/tool/name", shown = 0), puts("");
    else if (number == PLUE_EVENT_PERMISSION_ASKED)
        is_asked = 1, fputs("May it? ", stdout), print(event, "/data/action", 0), puts(" (once, always, reject)");
    else if (number == PLUE_EVENT_PERMISSION_REPLIED)
        is_asked = 0;
    else if (number == PLUE_EVENT_TURN_FINISHED)
        print(event, "/data/reason", shown = runs = 0), puts("");
}

static int answer(plue_session_t session, const char *reply)
{
    char *asked = plue_session_permissions(session), *id = plue_json_text(asked, "/0/id");
    is_asked = plue_session_reply_permission(session, id, reply) != 0;
    plue_free_json(asked), plue_free_string(id);
    return is_asked;
}

static int begin(plue_session_t session, const char *text)
{
    char input[1 << 16], *quoted = plue_json_quote(text), *begun;
    snprintf(input, sizeof input, "{\"text\":%s}", quoted ? quoted : "null");
    runs = (begun = plue_session_run_turn(session, input, 0)) != NULL; /* 0: an event tells of its end */
    plue_free_json(begun), plue_free_string(quoted);
    return !runs;
}

/* The session of this name; without one a new session, with the agent if there is one. */
static plue_session_t find(const char *name)
{
    char options[1 << 14], *folder, *in, *command, *agent = getenv("PLUE_AGENT");
    if (name || !agent)
        return name ? plue_session_open(name) : plue_session_create(NULL);
    in = plue_json_quote(folder = getcwd(NULL, 0)), command = plue_json_quote(agent);
    snprintf(options, sizeof options, "{\"agent\":{\"kind\":\"acp\",\"worktree\":%s,\"command\":%s}}", in, command);
    plue_free_string(in), plue_free_string(command), free(folder);
    return plue_session_create_with(options);
}

int main(int count, char **word)
{
    char line[8192], *event;
    plue_session_t session = NULL;
    plue_session_observer_t observer = NULL;
    if (plue_init(NULL) || !(session = find(count > 1 ? word[1] : NULL)) ||
        !(observer = plue_session_observe(session, NULL)))
        return fprintf(stderr, "%s\n", plue_get_last_error()), 1;
    signal(SIGINT, stop), setvbuf(stdin, NULL, _IONBF, 0); /* poll() sees nothing of what is in a buffer */
    for (struct pollfd on[] = {{0, POLLIN, 0}, {plue_session_observer_fd(observer), POLLIN, 0}};; fflush(stdout)) {
        on[0].fd = runs && !is_asked ? -1 : 0; /* one turn at a time */
        poll(on, 2, 1000);
        while ((event = plue_session_observer_next(observer, 0)))
            hear(event), plue_free_json(event);
        if (stopped && (stopped = 0, !plue_session_cancel_turns(session)))
            break;
        if (on[0].fd || !on[0].revents)
            continue;
        if (!fgets(line, sizeof line, stdin))
            break;
        line[strcspn(line, "\n")] = 0;
        if (line[0] && (is_asked ? answer(session, line) : begin(session, line)))
            puts(plue_get_last_error());
    }
    plue_shutdown();
    return 0;
}
