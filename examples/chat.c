/*
 * A conversation in a terminal: one thread, one poll() on what is typed and on what happens.
 *
 *     eval "cc chat.c -o chat $(plue-session-config --cflags --libs)"
 *     ./chat [ID_OR_KEY]    that session or a new one, of the server that PLUE_OPENCODE_URL names
 *
 * Ctrl-C ends the turn, and between two turns the program; so does the end of the input.
 */
#define _GNU_SOURCE
#include <plue_session.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

static plue_session_t session;
static char *turn, *asked;       /* ids: of our turn while it runs, of the permission that it waits for */
static char *part;               /* id of the part that is being said */
static int64_t shown, is_answer; /* its bytes on the screen; whether the model says it */

static void keep(char **id, char *text)
{
    plue_free_string(*id);
    *id = text;
}

static int is(const char *event, const char *pointer, const char *text)
{
    char *found = plue_json_text(event, pointer);
    int same = found && text && strcmp(found, text) == 0;
    plue_free_string(found);
    return same;
}

/* Print a text of the JSON, if it has one there, from its byte `from` on; return the text's length. */
static int64_t print(const char *json, const char *pointer, int64_t from)
{
    char *text = plue_json_text(json, pointer);
    int64_t length = text ? (int64_t)strlen(text) : 0;
    if (from < length)
        fputs(text + from, stdout);
    plue_free_string(text);
    return length;
}

static void ask(void)
{
    char *open = plue_session_permissions(session);
    keep(&asked, plue_json_text(open, "/0/id"));
    if (asked)
        printf("May it? "), print(open, "/0/action", 0), printf(" "), print(open, "/0/title", 0),
            puts(" (once, always, reject)");
    plue_free_json(open);
}

static void hear(const char *event)
{
    switch (plue_json_int(event, "/number", -1)) {
    case PLUE_EVENT_MESSAGE_CREATED:
        is_answer = is(event, "/data/role", "assistant");
        break;
    case PLUE_EVENT_MESSAGE_PART_UPDATED: /* what is new of a part; when it is whole all of it, in case some was lost */
        if (plue_json_int(event, "/data/offset", -1) == 0)
            keep(&part, plue_json_text(event, "/data/partId")), shown = 0;
        if (is(event, "/data/partId", part) && plue_json_int(event, "/data/offset", -1) == shown)
            shown += print(event, "/data/delta", 0);
        else if (is_answer && plue_json_count(event, "/data/part") > 0) {
            print(event, "/data/part/text", is(event, "/data/part/id", part) ? shown : 0);
            print(event, "/data/part/tool/name", 0), puts("");
        }
        break;
    case PLUE_EVENT_PERMISSION_ASKED:
    case PLUE_EVENT_PERMISSION_REPLIED: /* by an abort, a deadline, or another client, too */
        ask();
        break;
    case PLUE_EVENT_TURN_FINISHED:
        if (is(event, "/data/turnId", turn)) {
            print(event, "/data/reason", 0), puts("");
            keep(&turn, NULL);
        }
        break;
    case PLUE_EVENT_GAP: /* more has happened than is kept: this is how things stand */
        if (!is(event, "/data/observation/turn/turnId", turn))
            keep(&turn, NULL);
        ask();
    }
}

/* Begin a turn with what was typed, or let it be the answer to the permission. */
static void say(const char *text)
{
    if (!text)
        return; /* an empty line */
    char *quoted = plue_json_quote(text), *input = NULL, *begun = NULL;
    if (asked && plue_session_reply_permission(session, asked, text) == 0)
        keep(&asked, NULL);
    else if (asked)
        puts(plue_get_last_error());
    else if (quoted && asprintf(&input, "{\"text\":%s}", quoted) > 0 &&
             (begun = plue_session_run_turn(session, input, 0))) /* 0: an event tells of its end */
        keep(&turn, plue_json_text(begun, "/turnId"));
    else
        puts(plue_get_last_error());
    plue_free_json(begun);
    plue_free_string(quoted);
    free(input);
}

int main(int count, char **word)
{
    plue_session_observer_t observer = NULL;
    struct signalfd_siginfo interrupt;
    char *line = NULL, *event;
    size_t room = 0;
    sigset_t held;
    sigemptyset(&held);
    sigaddset(&held, SIGINT);
    sigprocmask(SIG_BLOCK, &held, NULL);
    setvbuf(stdin, NULL, _IONBF, 0); /* what poll() does not see would wait */
    if (plue_init(NULL) || !(session = count > 1 ? plue_session_open(word[1]) : plue_session_create(NULL)) ||
        !(observer = plue_session_observe(session, NULL)))
        return fprintf(stderr, "%s\n", plue_get_last_error()), 1;
    enum { TYPED, HAPPENED, INTERRUPTED };
    struct pollfd places[] = {
        {0, POLLIN, 0}, {plue_session_observer_fd(observer), POLLIN, 0}, {signalfd(-1, &held, SFD_CLOEXEC), POLLIN, 0}};
    for (int goes_on = 1; goes_on; fflush(stdout)) {
        places[TYPED].fd = turn && !asked ? -1 : 0; /* what is typed before its time waits */
        poll(places, 3, -1);
        while ((event = plue_session_observer_next(observer, 0))) {
            hear(event);
            plue_free_json(event);
        }
        if (places[INTERRUPTED].revents && read(places[INTERRUPTED].fd, &interrupt, sizeof interrupt) > 0) {
            goes_on = turn != NULL;
            if (turn && plue_session_abort_turn(session, turn) != 0)
                puts(plue_get_last_error());
        } else if (places[TYPED].revents && getline(&line, &room, stdin) > 0)
            say(strtok(line, "\n"));
        else if (places[TYPED].revents && asked)
            say("reject");
        else if (places[TYPED].revents && !turn)
            goes_on = 0;
    }
    plue_shutdown();
    free(line);
    return 0;
}
