/*
 * A library whose sessions live on a server: who waits where, for how long, and who is sent home.
 *
 * The library runs with c_tests/remote.py in the place of its runtime: the title that a call sets tells the "server"
 * what to do. There are six threads for calls, and sixteen for aborts. Under a slow tool all times are longer.
 */
#include "check.h"
#include "json.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/wait.h>

enum { CALLS = 6 };
#define SLOW (getenv("CHECK_PART") ? 2 : 1)

static plue_session_t crowd[CALLS], busy, other; /* busy is the first of the crowd */

typedef struct call {
    plue_session_t session;
    const char *title;
    int result, code;
    double seconds;
    char *error;
} call;

/* A title that makes the server wait; it stays valid. */
static const char *command(const char *word, int ms)
{
    static char kept[16][32];
    static unsigned next;
    char *made = kept[next++ % 16];
    snprintf(made, sizeof kept[0], "%s %d", word, ms * SLOW);
    return made;
}

/* Seconds, as they would be without a slow tool. */
static double since(double begun)
{
    return (seconds() - begun) / SLOW;
}

static void rest(int ms)
{
    pause_ms(ms * SLOW);
}

static void *update(void *argument)
{
    call *mine = argument;
    double begun = seconds();
    mine->result = plue_session_update_title(mine->session, mine->title);
    mine->seconds = since(begun);
    mine->code = mine->result ? plue_get_last_error_code() : PLUE_OK;
    mine->error = strdup(plue_get_last_error());
    return mine;
}

static int asked(const char *info)
{
    CHECK(json_valid(info));
    return (int)json_number(info, "asked");
}

/* Keep all six threads busy; what they were told to do ends by itself or not. */
static void occupy(call calls[CALLS], pthread_t threads_[CALLS], const char *title)
{
    EVENTUALLY(json_number(text(plue_get_app_info()), "running") ==
               0); /* what an earlier test left behind has ended as well */
    for (int i = 0; i < CALLS; i++) {
        calls[i] = (call){.session = crowd[i], .title = title};
        threads_[i] = run(update, &calls[i]);
    }
    EVENTUALLY(json_number(text(plue_get_app_info()), "running") == CALLS);
}

static void abort_all(void)
{
    for (int i = 0; i < CALLS; i++)
        CHECK(plue_session_abort(crowd[i]) == 0);
}

static void leave(call calls[CALLS], pthread_t threads_[CALLS], int code)
{
    for (int i = 0; i < CALLS; i++) {
        end(threads_[i]);
        CHECK(calls[i].code == code);
        free(calls[i].error);
    }
}

static void the_runtime_is_started_in_order_and_knows_the_host(void)
{
    const char *info = text(plue_get_app_info());
    char quoted[4200];
    snprintf(quoted, sizeof quoted, "\"%s\"", data_dir());
    CHECK(json_is(info, "steps", "[\"watched\", \"greet\", \"begin\"]") && json_is(info, "folder", quoted) &&
          json_is(info, "none", "null"));
    setenv("NONE", "a=b", 1);
    CHECK(json_is(text(plue_get_app_info()), "none", "\"a=b\""));
    unsetenv("NONE");
    /* four threads as ever, six for calls and sixteen for aborts */
    EVENTUALLY(threads() == own_threads + 1 + 3 + 22);
}

static void a_snapshot_is_fresh_for_its_time_and_then_asked_for(void)
{
    plue_session_t session = plue_session_create(NULL), same = plue_session_open(text(plue_session_get_id(session)));
    CHECK(session && same);
    CHECK(asked(text(plue_session_get_info(session))) == 1); /* nobody has said when it was refreshed */
    CHECK(asked(text(plue_session_get_info(session))) == 1 && asked(text(plue_session_get_info(same))) == 1);
    rest(250);
    CHECK(asked(text(plue_session_peek_info(same))) == 1);
    CHECK(asked(text(plue_session_get_info(same))) == 2);
    CHECK(asked(text(plue_session_peek_info(session))) == 2 && asked(text(plue_session_get_info(session))) == 2);
    rest(250);
    CHECK(plue_session_delete(session) == 0);
    /* a server that was asked now would answer with an internal error */
    CHECK_ERROR(!plue_session_get_info(same), PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(!plue_session_get_info(session), PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(plue_session_update_title(session, "x") == -1, PLUE_ERROR_NOT_FOUND);
    plue_session_destroy(session);
    plue_session_destroy(same);
}

static void the_precise_error_comes_before_the_general_one(void)
{
    call waiting = {.session = other, .title = command("wait", 5000)},
         deaf = {.session = other, .title = command("deaf", 1500)};
    update(&waiting);
    CHECK(waiting.code == PLUE_ERROR_TIMEOUT && strstr(waiting.error, "the stand-in was asked to wait for longer") &&
          waiting.seconds < 1.8);
    update(&deaf);
    CHECK(deaf.code == PLUE_ERROR_TIMEOUT && strstr(deaf.error, "the server gave no answer in time") &&
          deaf.seconds < 1.4 + 2);
    CHECK(!strstr(deaf.error, "store") && strstr(deaf.error, "plue_session_update_title ses_"));
    free(waiting.error);
    free(deaf.error);
    rest(600);
}

static void what_never_began_says_so_and_aborts_and_reads_do_not_wait(void)
{
    call calls[CALLS], late = {.session = other, .title = "never"};
    pthread_t threads_[CALLS];
    occupy(calls, threads_, command("deaf", 1600));
    pthread_t waiting = run(update, &late);
    double begun = seconds();
    CHECK(plue_session_count(NULL) >= 2 && !strcmp(text(plue_session_sync_status()), "{}") &&
          text(plue_session_peek_info(busy))[0] == '{');
    CHECK(plue_session_abort_turn(busy, "turn") == 0 && since(begun) < 0.8);
    end(waiting);
    CHECK(late.code == PLUE_ERROR_TIMEOUT && strstr(late.error, "kept it waiting") &&
          strstr(late.error, "nothing was changed") && !strstr(late.error, "store"));
    leave(calls, threads_, PLUE_ERROR_TIMEOUT);
    rest(800);
    CHECK(plue_session_update_title(other, "later") == 0 &&
          json_is(text(plue_session_peek_info(other)), "title", "\"later\""));
    free(late.error);
}

/* Whoever waits for its session's lock takes up no thread, and all get it. */
static void calls_of_one_session_are_made_one_after_the_other_and_leave_the_threads_to_others(void)
{
    enum { MANY = CALLS + 3 };
    call calls[MANY];
    pthread_t threads_[MANY];
    EVENTUALLY(json_number(text(plue_get_app_info()), "running") ==
               0); /* what an earlier test left behind has ended as well */
    double begun = seconds();
    for (int i = 0; i < MANY; i++) {
        calls[i] = (call){.session = i % 3 ? busy : crowd[1], .title = command("wait", 150)};
        threads_[i] = run(update, &calls[i]);
    }
    EVENTUALLY(json_number(text(plue_get_app_info()), "running") == 2);
    for (int i = 0; i < 20; i++) {
        double before = seconds();
        CHECK(plue_session_update_title(other, "between") == 0 && since(before) < 0.14);
        CHECK(json_number(text(plue_get_app_info()), "running") <= 2);
        rest(10);
    }
    for (int i = 0; i < MANY; i++) {
        end(threads_[i]);
        CHECK(calls[i].code == PLUE_OK);
        free(calls[i].error);
    }
    CHECK(since(begun) > 0.85 && since(begun) < 3);
}

static void *get_or_create(void *key)
{
    plue_session_t session = plue_session_get_or_create(key);
    CHECK(session);
    plue_session_destroy(session);
    return NULL;
}

static void calls_of_one_key_are_made_one_after_the_other_and_leave_the_threads_to_others(void)
{
    enum { MANY = CALLS + 1 };
    pthread_t threads_[MANY];
    EVENTUALLY(json_number(text(plue_get_app_info()), "running") == 0);
    const char *key = command("wait", 100);
    double begun = seconds();
    for (int i = 0; i < MANY; i++)
        threads_[i] = run(get_or_create, (void *)key);
    EVENTUALLY(json_number(text(plue_get_app_info()), "running") == 1);
    for (int i = 0; i < 20; i++) {
        double before = seconds();
        CHECK(plue_session_update_title(other, "between") == 0 && since(before) < 0.09);
        CHECK(json_number(text(plue_get_app_info()), "running") <= 1);
        rest(10);
    }
    for (int i = 0; i < MANY; i++)
        end(threads_[i]);
    CHECK(since(begun) > 0.1 * MANY - 0.05);
}

static void an_abort_ends_what_waits_and_what_runs(void)
{
    call calls[CALLS], late = {.session = other, .title = "never"};
    pthread_t threads_[CALLS];
    occupy(calls, threads_, command("wait", 5000));
    pthread_t waiting = run(update, &late);
    rest(50);
    CHECK(plue_session_abort(other) == 0);
    end(waiting);
    CHECK(late.code == PLUE_ERROR_ABORTED && strstr(late.error, "nothing was changed") && late.seconds < 2);
    CHECK(json_is(text(plue_session_peek_info(other)), "title", "\"new\""));
    abort_all();
    leave(calls, threads_, PLUE_ERROR_ABORTED);
    free(late.error);
}

static void a_call_that_begins_within_the_grace_of_an_abort_is_sent_home_all_the_same(void)
{
    call calls[CALLS], late = {.session = other, .title = command("deaf", 2000)};
    pthread_t threads_[CALLS];
    occupy(calls, threads_, command("wait", 5000));
    pthread_t waiting = run(update, &late);
    rest(50);
    CHECK(plue_session_abort(other) == 0);
    abort_all(); /* now there are threads for it */
    leave(calls, threads_, PLUE_ERROR_ABORTED);
    end(waiting);
    CHECK(late.code == PLUE_ERROR_ABORTED && strstr(late.error, "will be seen") && late.seconds < 1.9);
    free(late.error);
    rest(1600);
}

static void what_comes_after_its_caller_has_left_is_thrown_away(void)
{
    char options[64];
    snprintf(options, sizeof options, "{\"title\":\"%s\"}", command("deaf", 1300));
    CHECK_ERROR(!plue_session_create_with(options), PLUE_ERROR_TIMEOUT);
    rest(600);
    char *known = json_at(text(plue_get_app_info()), "known");
    CHECK(json_count(known) == CALLS + 1 &&
          plue_session_count(NULL) >= CALLS + 2); /* it was made, and nobody holds it */
    free(known);
}

static void a_sync_waits_as_long_as_it_is_told(void)
{
    double begun = seconds();
    CHECK(plue_session_sync(0) == 0 && since(begun) < 0.8);
    begun = seconds();
    CHECK_ERROR(plue_session_sync(300 * SLOW) == -1, PLUE_ERROR_TIMEOUT);
    CHECK(since(begun) > 0.29 && since(begun) < 1.0);
    begun = seconds();
    CHECK_ERROR(plue_session_sync(1500 * SLOW) == -1, PLUE_ERROR_TIMEOUT); /* longer than requestTimeoutMs */
    CHECK(since(begun) > 1.49);
    CHECK_SAYS("it goes on. See plue_session_sync_status().");
}

static void a_server_that_is_away_shows_in_every_session(void)
{
    plue_session_t late = NULL;
    CHECK(json_is(text(plue_session_peek_info(busy)), "sync.state", "\"synced\""));
    CHECK(plue_session_update_title(other, "away") == 0);
    CHECK(json_is(text(plue_session_peek_info(busy)), "sync.state", "\"stale\"") &&
          json_is(text(plue_session_peek_info(other)), "sync.state", "\"stale\""));
    CHECK(plue_session_update_title(busy, "changed meanwhile") == 0 && (late = plue_session_create(NULL)) != NULL);
    CHECK(json_is(text(plue_session_peek_info(busy)), "sync.state", "\"stale\"") &&
          json_is(text(plue_session_peek_info(late)), "sync.state", "\"stale\""));
    CHECK(json_is(text(plue_session_peek_info(busy)), "title", "\"changed meanwhile\""));
    CHECK(plue_session_update_title(other, "back") == 0);
    CHECK(json_is(text(plue_session_peek_info(busy)), "sync.state", "\"synced\"") &&
          json_is(text(plue_session_peek_info(late)), "sync.state", "\"synced\""));
    CHECK(json_is(text(plue_session_peek_info(busy)), "title", "\"changed meanwhile\""));
    plue_session_destroy(late);
}

static atomic_int switching;

static void *switch_often(void *unused)
{
    while (atomic_load(&switching))
        CHECK(plue_session_update_title(other, "away") == 0 && plue_session_update_title(other, "back") == 0);
    return unused;
}

static void no_change_brings_an_old_state_back(void)
{
    atomic_store(&switching, 1);
    pthread_t switcher = run(switch_often, NULL);
    for (int i = 0; i < part(300); i++)
        CHECK(plue_session_update_title(busy, "t") == 0);
    atomic_store(&switching, 0);
    end(switcher);
    CHECK(json_is(text(plue_session_peek_info(busy)), "sync.state", "\"synced\"") &&
          json_is(text(plue_session_peek_info(other)), "sync.state", "\"synced\""));
}

static void a_forked_child_lets_go_of_the_lifeline(void)
{
    int lifeline = (int)json_number(text(plue_get_app_info()), "lifeline");
    CHECK(fcntl(lifeline, F_GETFD) >= 0);
    pid_t child = fork();
    if (!child) { /* what another program ends with no tool looks into */
        execl("/bin/sh", "sh", "-c", fcntl(lifeline, F_GETFD) < 0 ? "exit 0" : "exit 1", (char *)NULL);
        _exit(2);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void shutdown_hangs_up(const char *word, double most)
{
    call calls[CALLS], late = {.session = other, .title = "never"};
    pthread_t threads_[CALLS];
    occupy(calls, threads_, command(word, 1500));
    pthread_t waiting = run(update, &late);
    rest(50);
    double begun = seconds();
    plue_shutdown();
    CHECK(since(begun) < most);
    end(waiting);
    leave(calls, threads_, PLUE_ERROR_CLOSED);
    CHECK(late.code == PLUE_ERROR_CLOSED && strstr(late.error, "nothing was changed"));
    for (int i = 0; i < CALLS; i++)
        CHECK(calls[i].seconds < 1.5);
    free(late.error);
}

static void begin(int timeout_ms)
{
    char more[128];
    snprintf(more, sizeof more, ",\"requestTimeoutMs\":%d,\"cacheTtlMs\":%d", timeout_ms * SLOW, 200 * SLOW);
    start(more);
    for (int i = 0; i < CALLS; i++)
        CHECK(crowd[i] = plue_session_create(NULL));
    busy = crowd[0];
    other = plue_session_create("");
    CHECK(busy && other && !strcmp(text(plue_session_get_id(busy)), "ses_1"));
}

/* What a thread of a runtime that is gone tells reaches nobody, though its sessions had the same ids. */
static void a_runtime_that_is_gone_tells_nothing(void)
{
    CHECK(plue_session_update_title(busy, command("late", 400)) == 0);
    plue_shutdown();
    begin(1000);
    while (text(plue_event_poll())[0] == '{')
        ;
    rest(800);
    CHECK(json_is(text(plue_session_peek_info(busy)), "title", "\"new\"") &&
          json_is(text(plue_session_peek_info(busy)), "sync.state", "\"synced\""));
    CHECK_ERROR(!plue_event_poll(), PLUE_OK);
}

int main(void)
{
    begin(1000);
    the_runtime_is_started_in_order_and_knows_the_host();
    a_snapshot_is_fresh_for_its_time_and_then_asked_for();
    the_precise_error_comes_before_the_general_one();
    what_never_began_says_so_and_aborts_and_reads_do_not_wait();
    what_comes_after_its_caller_has_left_is_thrown_away();
    a_sync_waits_as_long_as_it_is_told();
    a_runtime_that_is_gone_tells_nothing();
    plue_shutdown();
    begin(10000);
    an_abort_ends_what_waits_and_what_runs();
    a_call_that_begins_within_the_grace_of_an_abort_is_sent_home_all_the_same();
    calls_of_one_session_are_made_one_after_the_other_and_leave_the_threads_to_others();
    calls_of_one_key_are_made_one_after_the_other_and_leave_the_threads_to_others();
    a_server_that_is_away_shows_in_every_session();
    no_change_brings_an_old_state_back();
    a_forked_child_lets_go_of_the_lifeline();
    shutdown_hangs_up("wait", 1.5);
    EVENTUALLY(threads() <= own_threads + 1);
    begin(10000);
    shutdown_hangs_up("deaf", 3);
    EVENTUALLY(threads() <= own_threads + 1);
    return 0;
}
