/* Hosts that fork, or end in the middle: argv[1] says how. Each ends with 0 and has printed nothing, unless it says
 * what is wrong. */
#include "everything.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static _Atomic int go_on = 1;

static void *keep_busy(void *unused)
{
    while (atomic_load(&go_on)) {
        plue_session_t session = plue_session_create(NULL);
        plue_session_update_title(session, "busy");
        plue_free(plue_session_list());
        plue_session_delete(session);
        plue_session_destroy(session);
        plue_free(plue_event_poll());
    }
    return unused;
}

static int in_child(const char *program)
{
    /* Whatever another thread held at the fork, nothing here may wait: the alarm would kill. */
    signal(SIGALRM, SIG_DFL);
    alarm(10);
    plue_session_t any = (plue_session_t)(uintptr_t)0x19;
#define FORKED(call) CHECK_ERROR(call, PLUE_ERROR_FORKED)
    FORKED(plue_init(NULL) == -1);
    FORKED(!plue_get_app_info());
    FORKED(!plue_json_quote("a"));
    FORKED(!plue_json_text("\"a\"", ""));
    FORKED(plue_json_count("[]", "") == -1);
    FORKED(plue_json_each("[]", "", on_element, NULL) == -1);
    static char deep[100000];
    memset(deep, '[', sizeof deep - 1);
    memset(deep + sizeof deep / 2, ']', sizeof deep / 2 - 1);
    CHECK(plue_json_int("[7]", "/0", 0) == 7 && plue_json_double("[0.5]", "/0", 0) == 0.5);
    CHECK(plue_json_int(deep, "/0", 4) == 4 && plue_json_int("[", "", 4) == 4);
    CHECK(plue_version_number() == PLUE_VERSION_NUMBER && !strcmp(plue_error_name(PLUE_ERROR_FORKED), "FORKED"));
    FORKED(!plue_session_create(NULL));
    FORKED(!plue_session_create_with("{}"));
    FORKED(!plue_session_get_or_create("a"));
    FORKED(!plue_session_open("a"));
    FORKED(!plue_session_get_info(any));
    FORKED(!plue_session_peek_info(any));
    FORKED(!plue_session_get_id(any));
    FORKED(!plue_session_list());
    FORKED(!plue_session_query(NULL));
    FORKED(plue_session_count(NULL) == -1);
    FORKED(plue_session_update_title(any, "a") == -1);
    FORKED(plue_session_update(any, "{}") == -1);
    FORKED(plue_session_initialize(any, "a", "b") == -1);
    FORKED(plue_session_delete(any) == -1);
    FORKED(plue_session_abort(any) == -1);
    FORKED(plue_session_abort_turn(any, "a") == -1);
    FORKED(plue_session_discard_pending(any, "a") == -1);
    FORKED(!plue_session_fork(any, NULL));
    FORKED(plue_session_sync(0) == -1);
    FORKED(plue_session_sync(-1) == -1);
    FORKED(!plue_session_sync_status());
    FORKED(!plue_session_create_share(any));
    FORKED(plue_session_unshare(any) == -1);
    FORKED(!plue_session_enqueue(any, "{\"text\":\"t\"}"));
    FORKED(!plue_session_run_turn(any, "{\"text\":\"t\"}", 1));
    FORKED(plue_session_cancel_turns(any) == -1);
    FORKED(!plue_session_messages(any, NULL));
    FORKED(!plue_session_permissions(any));
    FORKED(plue_session_reply_permission(any, "per_1", "once") == -1);
    FORKED(!plue_session_questions(any));
    FORKED(plue_session_reply_question(any, "que_1", NULL) == -1);
    FORKED(!plue_session_usage(any));
    FORKED(!plue_session_todos(any));
    FORKED(!plue_session_diff(any, NULL));
    FORKED(!plue_session_choices(any));
    FORKED(!plue_session_inputs(any));
    FORKED(!plue_session_cancel_inputs(any, "[]"));
    FORKED(!plue_session_cancel_inputs_from(any, "{\"inputId\":\"input_1\"}"));
    FORKED(plue_session_vacuum(any) == -1);
    FORKED(plue_session_relay_spawn(any) == -1);
    FORKED(plue_session_relay_attach(any, "{}") == -1);
    FORKED(plue_session_relay_heartbeat(any) == -1);
    FORKED(plue_session_relay_count_message(any) == -1);
    FORKED(plue_session_relay_terminate("session_1", NULL) == -1);
    FORKED(plue_session_relay_clean("session_1") == -1);
    FORKED(!plue_session_relay_get("a"));
    FORKED(plue_session_set_cleaner(on_clean, NULL) == -1);
    FORKED(!plue_session_metrics("json"));
    CHECK(!strcmp(plue_session_relay_next_state("CREATED", "SPAWN"), "SPAWNING"));
    FORKED(plue_session_validate_share("session_1", "a") == -1);
    FORKED(!plue_session_batch("[]"));
    FORKED(!plue_session_submit("[]"));
    FORKED(plue_session_cancel_operation(1) == -1);
    FORKED(plue_event_subscribe(on_event, NULL) == 0);
    FORKED(!plue_event_poll());
    FORKED(!plue_event_wait(1));
    FORKED(plue_event_fd() == -1);
    FORKED(!plue_session_peek_id("session_1"));
    FORKED(!plue_session_observation(any));
    FORKED(!plue_session_observation(PLUE_ALL_SESSIONS));
    FORKED(!plue_session_observe(any, NULL));
    FORKED(!plue_session_observe(PLUE_ALL_SESSIONS, ""));
    FORKED(!plue_session_observer_next((plue_session_observer_t)any, 0));
    FORKED(!plue_session_observer_next((plue_session_observer_t)any, 1));
    FORKED(plue_session_observer_fd((plue_session_observer_t)any) == -1);
    FORKED(!plue_session_observer_cursor((plue_session_observer_t)any));
    plue_event_unsubscribe(1);
    plue_session_destroy(any);
    plue_session_observer_wake((plue_session_observer_t)any);
    plue_session_observer_close((plue_session_observer_t)any);
    plue_shutdown();
    plue_free((char *)"x");
    CHECK(plue_get_version()[0] == '0' && json_valid(plue_get_last_error_json()) &&
          strstr(plue_get_last_error(), "exec"));
    if (program) {
        execl(program, program, "use", NULL);
        return 3;
    }
    return 0;
}

static void wait_for(pid_t child)
{
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void forked(char **arguments)
{
    pid_t child = fork(); /* before the library was used, a child is a process like any other */
    if (child == 0) {
        use();
        _exit(0);
    }
    wait_for(child);
    start("");
    plue_session_t session = plue_session_create(NULL);
    char *info = plue_session_get_info(session);
    pthread_t busy[4];
    for (int i = 0; i < 4; i++)
        busy[i] = run(keep_busy, NULL);
    for (int i = 0; i < 30; i++) {
        child = fork();
        if (child == 0) {
            plue_free(info);
            _exit(in_child(i % 10 ? NULL : arguments[0]));
        }
        wait_for(child);
    }
    atomic_store(&go_on, 0);
    for (int i = 0; i < 4; i++)
        end(busy[i]);
    plue_free(info);
    use_everything(NULL);
    CHECK(plue_session_update_title(session, "the parent goes on") == 0);
    child = fork();
    if (child == 0)
        exit(in_child(NULL)); /* with all exit handlers */
    wait_for(child);
    plue_shutdown();
    child = fork(); /* the library is stopped, but Python is there */
    if (child == 0)
        _exit(in_child(NULL));
    wait_for(child);
}

/* Children that no handler of pthread_atfork() sees. */
static void *allocate(void *unused)
{
    while (atomic_load(&go_on))
        free(malloc(64 + (size_t)rand() % 4096));
    return unused;
}

static int is_refused(plue_session_t session)
{
    signal(SIGALRM, SIG_DFL);
    alarm(10);
    CHECK_ERROR(!plue_session_get_info(session), PLUE_ERROR_FORKED);
    CHECK_SAYS("forked child");
    CHECK(strstr(plue_get_last_error_json(), "\"FORKED\""));
    CHECK_ERROR(!plue_session_create(NULL), PLUE_ERROR_FORKED);
    CHECK_ERROR(!plue_json_text("{}", ""), PLUE_ERROR_FORKED);
    CHECK(plue_json_int("[7]", "/0", 0) == 7 && plue_json_double("[0.5]", "/0", 0) == 0.5);
    CHECK_ERROR(plue_init(NULL) == -1, PLUE_ERROR_FORKED);
    plue_shutdown();
    return 0;
}

static void cloned(char **arguments)
{
    start("");
    plue_session_t session = plue_session_create(NULL);
    pthread_t busy[2] = {run(allocate, NULL), run(allocate, NULL)};
    for (int i = 0; i < 60; i++) { /* whatever they hold in the allocator, nothing waits for it */
        pid_t child = i % 2 ? (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL) : _Fork();
        if (child == 0)
            _exit(is_refused(session));
        wait_for(child);
    }
    atomic_store(&go_on, 0);
    end(busy[0]);
    end(busy[1]);
    for (int i = 0; i < 20; i++) {
        pid_t child = i % 2 ? (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL) : _Fork();
        if (child == 0)
            _exit(in_child(i < 2 ? arguments[0] : NULL));
        wait_for(child);
    }
    use_everything(NULL);
    plue_shutdown();
}

/* A forked child outlives its parent: it must not keep the store locked. Prints both pids, then waits to be killed. */
static void orphan(void)
{
    start("");
    CHECK(plue_session_create(NULL));
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    printf("%d\n", (int)child);
    fflush(stdout);
    pause();
}

static void *exit_from_thread(void *unused)
{
    (void)unused;
    exit(0);
}

static int leave_in_the_middle(const char *how)
{
    start("");
    CHECK(plue_event_subscribe(on_event, NULL));
    for (int i = 0; i < 8; i++)
        run(keep_busy, NULL);
    pause_ms(50);
    if (!strcmp(how, "exit"))
        exit(0);
    if (!strcmp(how, "_exit"))
        _exit(0);
    if (!strcmp(how, "thread")) {
        run(exit_from_thread, NULL);
        pthread_exit(NULL);
    }
    return 0;
}

int main(int count, char **arguments)
{
    CHECK(count >= 2);
    const char *how = arguments[1];
    if (!strcmp(how, "use"))
        use();
    else if (!strcmp(how, "forked"))
        forked(arguments);
    else if (!strcmp(how, "cloned"))
        cloned(arguments);
    else if (!strcmp(how, "orphan"))
        orphan();
    else if (!strcmp(how, "leave"))
        return leave_in_the_middle(arguments[2]);
    else
        CHECK(!"a way that this program knows");
    return 0;
}
