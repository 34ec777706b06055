/*
 * What attached agents cost. The agent is speaker.c.
 *
 *     attached deltas DATA_DIR SPEAKER PIECES   from the agent's line to the observer, µs
 *     attached bare SPEAKER PIECES              from the agent's line to a read of its standard output, µs
 *     attached attach DATA_DIR SPEAKER TIMES    create_with that attaches one, ms; the first by itself
 *     attached greet SPEAKER TIMES              starting it, initialize and session/new over bare pipes, ms
 *     attached memory DATA_DIR SPEAKER COUNT    resident bytes that an attachment takes, here and of its guard
 */
#include <signal.h>
#include <sys/wait.h>

#include "bench.h"
#include "plue_session.h"

/* Pieces come so far apart that none is held back for the one before it. */
#define INTERVAL_US "50000"

static plue_session_t attach(const char *speaker, const char *pieces)
{
    char options[4096];
    snprintf(options, sizeof options,
             "{\"agent\":{\"kind\":\"acp\",\"worktree\":\"/tmp\",\"command\":[\"%s\",\"%s\",\"" INTERVAL_US "\"]}}",
             speaker, pieces);
    plue_session_t made = plue_session_create_with(options);
    if (!made)
        die("plue_session_create_with", plue_get_last_error());
    return made;
}

static void start(const char *folder)
{
    char config[4096];
    snprintf(config, sizeof config, "{\"dataDir\":\"%s\"}", folder);
    if (plue_init(config))
        die("plue_init", plue_get_last_error());
}

static void drop(plue_session_t session)
{
    if (plue_session_delete(session))
        die("plue_session_delete", plue_get_last_error());
    plue_session_destroy(session);
}

/* The time that a piece tells, as it stands in a line of JSON after this key; 0 if there is none. */
static int64_t told(const char *json, const char *key)
{
    const char *found = strstr(json, key);
    return found ? strtoll(found + strlen(key), NULL, 10) : 0;
}

static void deltas(const char *folder, const char *speaker, const char *pieces)
{
    samples took = make_samples((size_t)atoi(pieces));
    start(folder);
    plue_session_t session = attach(speaker, pieces);
    plue_session_observer_t observer = plue_session_observe(session, NULL);
    char *begun = plue_session_run_turn(session, "{\"text\":\"go\"}", 0), *event;
    if (!begun)
        die("plue_session_run_turn", plue_get_last_error());
    plue_free_json(begun);
    for (int ended = 0; !ended;) {
        if (!(event = plue_session_observer_next(observer, 20000)))
            die("plue_session_observer_next", plue_get_last_error());
        int64_t at = now_ns(), said = told(event, "\"delta\":\"");
        if (said)
            add_sample(&took, (double)(at - said) / 1e3);
        ended = plue_json_int(event, "/number", -1) == PLUE_EVENT_TURN_FINISHED;
        plue_free_json(event);
    }
    drop(session);
    plue_shutdown();
    printf("{");
    print_latency("us", &took);
    printf("}\n");
}

/* An agent over bare pipes. */
typedef struct {
    pid_t pid;
    FILE *to, *from;
    char *line;
    size_t room;
} pipes;

static pipes begin(const char *speaker, const char *pieces)
{
    int in[2], out[2];
    if (pipe(in) || pipe(out))
        die("pipe", "cannot be made");
    pipes made = {.pid = fork()};
    if (!made.pid) {
        dup2(in[0], STDIN_FILENO), dup2(out[1], STDOUT_FILENO);
        close(in[0]), close(in[1]), close(out[0]), close(out[1]);
        execl(speaker, speaker, pieces, INTERVAL_US, (char *)NULL);
        _exit(127);
    }
    close(in[0]), close(out[1]);
    made.to = fdopen(in[1], "w"), made.from = fdopen(out[0], "r");
    return made;
}

static void ask(pipes *of, const char *request)
{
    fputs(request, of->to), fputc('\n', of->to), fflush(of->to);
}

static const char *hear(pipes *of)
{
    if (getline(&of->line, &of->room, of->from) <= 0)
        die("the agent", "has ended");
    return of->line;
}

static void greet(pipes *of)
{
    ask(of, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{\"protocolVersion\":1}}");
    hear(of);
    ask(of,
        "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"session/new\",\"params\":{\"cwd\":\"/tmp\",\"mcpServers\":[]}}");
    hear(of);
}

static void finish(pipes *of)
{
    fclose(of->to), fclose(of->from), free(of->line);
    kill(of->pid, SIGKILL), waitpid(of->pid, NULL, 0);
}

static void bare(const char *speaker, const char *pieces)
{
    samples took = make_samples((size_t)atoi(pieces));
    pipes agent = begin(speaker, pieces);
    greet(&agent);
    ask(&agent,
        "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"session/prompt\",\"params\":{\"sessionId\":\"s\",\"prompt\":[]}}");
    for (;;) {
        const char *line = hear(&agent);
        int64_t at = now_ns(), said = told(line, "\"text\":\"");
        if (!said)
            break;
        add_sample(&took, (double)(at - said) / 1e3);
    }
    finish(&agent);
    printf("{");
    print_latency("us", &took);
    printf("}\n");
}

static void attach_times(const char *folder, const char *speaker, int times)
{
    samples took = make_samples((size_t)times);
    double first = 0;
    start(folder);
    for (int i = 0; i <= times; i++) {
        int64_t begun = now_ns();
        plue_session_t session = attach(speaker, "0");
        double ms = (double)(now_ns() - begun) / 1e6;
        if (i)
            add_sample(&took, ms);
        else
            first = ms;
        drop(session);
    }
    plue_shutdown();
    printf("{\"first\":%.6g,", first);
    print_latency("ms", &took);
    printf("}\n");
}

static void greet_times(const char *speaker, int times)
{
    samples took = make_samples((size_t)times);
    for (int i = 0; i < times; i++) {
        int64_t begun = now_ns();
        pipes agent = begin(speaker, "0");
        greet(&agent);
        add_sample(&took, (double)(now_ns() - begun) / 1e6);
        finish(&agent);
    }
    printf("{");
    print_latency("ms", &took);
    printf("}\n");
}

/* What the guards of the speakers take, each its own share of what they have in common. */
static double guards(void)
{
    char line[256];
    double bytes = 0;
    FILE *said = popen("cat $(ps -o ppid= -C speaker | sed 's|[^ ]*$|/proc/&/smaps_rollup|')", "r");
    while (said && fgets(line, sizeof line, said))
        if (!strncmp(line, "Pss:", 4))
            bytes += strtod(line + 4, NULL) * 1024;
    if (said)
        pclose(said);
    return bytes;
}

static void memory(const char *folder, const char *speaker, int count)
{
    start(folder);
    plue_session_t *made = need(calloc((size_t)count + 1, sizeof *made));
    made[0] = attach(speaker, "0"); /* what the first one loads is no attachment's */
    double before = resident();
    for (int i = 1; i <= count; i++)
        made[i] = attach(speaker, "0");
    double here = (resident() - before) / count, beside = guards() / (count + 1);
    for (int i = 0; i <= count; i++)
        drop(made[i]);
    free(made);
    plue_shutdown();
    printf("{\"here\":%.6g,\"guard\":%.6g}\n", here, beside);
}

int main(int count, char **word)
{
    const char *what = count > 3 ? word[1] : "";
    if (!strcmp(what, "deltas") && count == 5)
        deltas(word[2], word[3], word[4]);
    else if (!strcmp(what, "bare") && count == 4)
        bare(word[2], word[3]);
    else if (!strcmp(what, "attach") && count == 5)
        attach_times(word[2], word[3], atoi(word[4]));
    else if (!strcmp(what, "greet") && count == 4)
        greet_times(word[2], atoi(word[3]));
    else if (!strcmp(what, "memory") && count == 5)
        memory(word[2], word[3], atoi(word[4]));
    else
        die("attached", "see the first lines of attached.c");
    return 0;
}
