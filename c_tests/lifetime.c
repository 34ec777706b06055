/* Before, between and after: init, shutdown, and what survives them. */
#include "check.h"
#include "json.h"

#include <dlfcn.h>

static void on_event(uint8_t type, const char *event, void *data)
{
    (void)type;
    (void)event;
    (void)data;
}

static int on_clean(const char *session, void *data)
{
    (void)session;
    (void)data;
    return 0;
}

static void every_function_asks_for_init(void)
{
    plue_session_t any = (plue_session_t)(uintptr_t)0x19;
#define ASKS(call)                                                                                                     \
    CHECK_ERROR(call, PLUE_ERROR_NOT_INITIALIZED);                                                                     \
    CHECK_SAYS("plue_init()")
    ASKS(!plue_get_app_info());
    ASKS(!plue_session_create(NULL));
    ASKS(!plue_session_create_with(NULL));
    ASKS(!plue_session_get_or_create("a"));
    ASKS(!plue_session_get_or_create(NULL));
    ASKS(!plue_session_open("a"));
    ASKS(!plue_session_get_info(any));
    ASKS(!plue_session_get_info(NULL));
    ASKS(!plue_session_peek_info(any));
    ASKS(!plue_session_get_id(any));
    ASKS(!plue_session_list());
    ASKS(!plue_session_query(NULL));
    ASKS(plue_session_count(NULL) == -1);
    ASKS(plue_session_update_title(any, "a") == -1);
    ASKS(plue_session_update(any, "{}") == -1);
    ASKS(plue_session_initialize(any, "a", "b") == -1);
    ASKS(plue_session_delete(any) == -1);
    ASKS(plue_session_abort(any) == -1);
    ASKS(plue_session_abort_turn(any, "a") == -1);
    ASKS(plue_session_discard_pending(any, "a") == -1);
    ASKS(!plue_session_fork(any, NULL));
    ASKS(plue_session_sync(0) == -1);
    ASKS(plue_session_sync(-1) == -1);
    ASKS(!plue_session_sync_status());
    ASKS(!plue_session_create_share(any));
    ASKS(plue_session_unshare(any) == -1);
    ASKS(!plue_session_enqueue(any, "{\"text\":\"t\"}"));
    ASKS(!plue_session_run_turn(any, "{\"text\":\"t\"}", 1));
    ASKS(plue_session_cancel_turns(any) == -1);
    ASKS(!plue_session_messages(any, NULL));
    ASKS(!plue_session_permissions(any));
    ASKS(plue_session_reply_permission(any, "per_1", "once") == -1);
    ASKS(!plue_session_questions(any));
    ASKS(plue_session_reply_question(any, "que_1", NULL) == -1);
    ASKS(!plue_session_usage(any));
    ASKS(!plue_session_todos(any));
    ASKS(!plue_session_diff(any, NULL));
    ASKS(!plue_session_choices(any));
    ASKS(!plue_session_inputs(any));
    ASKS(!plue_session_cancel_inputs(any, "[]"));
    ASKS(!plue_session_cancel_inputs_from(any, "{\"inputId\":\"input_1\"}"));
    ASKS(plue_session_vacuum(any) == -1);
    ASKS(plue_session_relay_spawn(any) == -1);
    ASKS(plue_session_relay_attach(any, "{}") == -1);
    ASKS(plue_session_relay_heartbeat(any) == -1);
    ASKS(plue_session_relay_count_message(any) == -1);
    ASKS(plue_session_relay_terminate("session_1", NULL) == -1);
    ASKS(plue_session_relay_clean("session_1") == -1);
    ASKS(!plue_session_relay_get("a"));
    ASKS(plue_session_set_cleaner(on_clean, NULL) == -1);
    ASKS(!plue_session_metrics("json"));
    ASKS(plue_session_validate_share("session_1", "a") == -1);
    ASKS(!plue_session_batch("[]"));
    ASKS(!plue_session_submit("[]"));
    ASKS(!plue_session_submit(NULL));
    ASKS(plue_session_cancel_operation(1) == -1);
    ASKS(plue_event_subscribe(on_event, NULL) == 0);
    ASKS(!plue_event_poll());
    ASKS(!plue_event_wait(0));
    ASKS(!plue_event_wait(-1));
    ASKS(plue_event_fd() == -1);
    ASKS(!plue_session_peek_id("session_1"));
    ASKS(!plue_session_observation(any));
    ASKS(!plue_session_observation(PLUE_ALL_SESSIONS));
    ASKS(!plue_session_observe(any, NULL));
    ASKS(!plue_session_observe(PLUE_ALL_SESSIONS, ""));
    ASKS(!plue_session_observer_next((plue_session_observer_t)any, 0));
    ASKS(!plue_session_observer_next((plue_session_observer_t)any, 1));
    ASKS(plue_session_observer_fd((plue_session_observer_t)any) == -1);
    ASKS(!plue_session_observer_cursor((plue_session_observer_t)any));
#undef ASKS
}

static void *exempt_functions(void *unused)
{
    /* In a thread of its own, which has no error yet. */
    plue_session_destroy(NULL);
    plue_session_destroy((plue_session_t)(uintptr_t)0x19);
    plue_session_observer_close((plue_session_observer_t)(uintptr_t)0x1a);
    plue_free(NULL);
    plue_free_json((char *)"literal");
    plue_free_string((char *)"literal");
    plue_shutdown();
    CHECK(!strcmp(plue_get_last_error(), "No error"));
    CHECK(!strcmp(plue_get_last_error_json(), "{}"));
    CHECK(plue_get_last_error_code() == PLUE_OK);
    CHECK(!strncmp(plue_get_version(), "0.", 2));
    plue_event_unsubscribe(7);
    CHECK(!strcmp(plue_session_relay_next_state("TERMINATING", "CLEAN"), "CLEANED"));
    return unused;
}

static void a_failed_init_leaves_nothing_behind(void)
{
    static const char *const bad[] = {
        "{",
        "[]",
        "{\"nonsense\":1}",
        "{\"store\":\"papyrus\"}",
        "{\"dataDir\":1}",
        "{\"store\":\"postgresql://nowhere/x\"}",
        "{\"backend\":{\"kind\":\"opencode\",\"url\":\"http://"
        "127.0.0.1:9\"},\"offline\":\"fail\",\"requestTimeoutMs\":200}",
        "{\"requestTimeoutMs\":-1}",
        "{\"dataDir\":\"/proc/nowhere\"}",
        "{\"dataDir\":\"/dev/null\"}",
        "{\"log\":{\"file\":\"/nowhere/at/all\"},\"store\":\"memory\"}",
        "\xff",
    };
    start(""); /* Python stays once it is up: its thread is not what is counted here */
    plue_shutdown();
    int fds = 0, tasks = 0;
    for (int round = 0; round < part(5); round++) {
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            CHECK(plue_init(bad[i]) == -1);
            CHECK(plue_get_last_error_code() != PLUE_OK && strlen(plue_get_last_error()) > 20 &&
                  json_valid(plue_get_last_error_json()));
            CHECK_ERROR(!plue_session_list(), PLUE_ERROR_NOT_INITIALIZED);
        }
        if (round == 0) {
            EVENTUALLY(threads() <= own_threads + 1); /* Python's */
            fds = descriptors();
            tasks = threads();
        }
    }
    EVENTUALLY(threads() == tasks);
    CHECK(descriptors() == fds);
    start("");
}

static void a_second_init_is_refused_and_changes_nothing(void)
{
    CHECK_ERROR(plue_init(NULL) == -1, PLUE_ERROR_ALREADY_INITIALIZED);
    CHECK_ERROR(plue_init("{") == -1, PLUE_ERROR_ALREADY_INITIALIZED);
    CHECK(json_count(text(plue_session_list())) == 0);
}

static void handles_and_text_across_a_shutdown(void)
{
    plue_session_t old = plue_session_create(NULL), other = plue_session_create(NULL);
    char *info = plue_session_get_info(old), *list = plue_session_list(), *id = plue_session_get_id(old),
         *event = plue_event_poll();
    char *copy = strdup(info), *list_copy = strdup(list);
    CHECK(old && other && info && list && id && event);
    plue_session_destroy(old);
    CHECK(!strcmp(info, copy));
    plue_shutdown();
    plue_shutdown();
    CHECK(!strcmp(info, copy) && !strcmp(list, list_copy) && json_valid(event));
    CHECK_ERROR(!plue_session_get_info(other), PLUE_ERROR_NOT_INITIALIZED);
    plue_session_destroy(other);
    plue_free_json(event); /* after the shutdown, and before the next init */
    start("");
    CHECK(!strcmp(info, copy) && !strcmp(list, list_copy));
    plue_session_t again = plue_session_create(NULL);
    CHECK(again && again != old && again != other);
    CHECK_ERROR(!plue_session_get_info(old), PLUE_ERROR_BAD_HANDLE);
    CHECK_ERROR(!plue_session_get_info(other), PLUE_ERROR_BAD_HANDLE);
    CHECK_ERROR(plue_session_update_title(other, "x") == -1, PLUE_ERROR_BAD_HANDLE);
    plue_session_destroy(other); /* must not hit a new handle in the same place */
    plue_session_destroy(old);
    CHECK(text(plue_session_get_info(again))[0] == '{');
    plue_session_t reopened = plue_session_open(id);
    CHECK(reopened && !strcmp(text(plue_session_get_id(reopened)), id));
    plue_free_json(info);
    plue_free_json(list);
    plue_free_string(id);
    free(copy);
    free(list_copy);
    plue_session_destroy(again);
    plue_session_destroy(reopened);
}

static void starting_again_and_again_grows_nothing(void)
{
    plue_shutdown();
    int fds = 0, tasks = 0;
    long kib = 0;
    for (int i = 0; i < part(30); i++) {
        start("");
        plue_session_t session = plue_session_get_or_create("again");
        CHECK(session && plue_event_subscribe(on_event, NULL));
        CHECK(plue_session_update_title(session, "again") == 0);
        plue_shutdown();
        if (i == part(30) / 3) {
            EVENTUALLY(threads() <= own_threads + 1);
            fds = descriptors();
            tasks = threads();
            kib = resident_kib();
        }
    }
    EVENTUALLY(threads() == tasks);
    CHECK(descriptors() == fds);
    if (!getenv("CHECK_PART"))
        CHECK(resident_kib() - kib < 1500);
}

static int opened(const char *kind)
{
    char path[64], target[256];
    int count = 0;
    for (int fd = 0; fd < 256; fd++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(path, target, sizeof target - 1);
        target[length > 0 ? length : 0] = 0;
        count += strstr(target, kind) != NULL;
    }
    return count;
}

/* Not soon, but when plue_shutdown returns: a host may look for leaks then, or exec. */
static void shutdown_ends_the_watch_before_it_returns(void)
{
    EVENTUALLY(threads() <= own_threads + 1);
    int fds = descriptors(), watches = opened("inotify"), bells = opened("eventfd"), locks = opened("sessions.lock");
    CHECK(watches == 0 && bells == 0 && locks == 0);
    for (int i = 0; i < part(30); i++) {
        start("");
        CHECK(opened("inotify") == 1 && opened("sessions.lock") >= 1);
        if (i % 2) /* in the middle of its work, and idle */
            CHECK(plue_session_get_or_create("watched") && plue_event_subscribe(on_event, NULL));
        plue_shutdown();
        CHECK(opened("inotify") == 0 && opened("eventfd") == 0 && opened("sessions.lock") == 0 && descriptors() == fds);
        EVENTUALLY(threads() <= own_threads + 1);
    }
}

static void loading_the_library_twice_is_loading_it_once(void)
{
    Dl_info own;
    CHECK(dladdr((void *)(uintptr_t)&plue_init, &own));
    for (int i = 0; i < 5; i++) {
        void *again = dlopen(own.dli_fname, RTLD_NOW | RTLD_LOCAL);
        CHECK(again && dlsym(again, "plue_init") == (void *)(uintptr_t)&plue_init);
        CHECK(dlclose(again) == 0);
    }
    start("");
    CHECK(text(plue_session_list())[0] == '[');
}

static void app_info_describes_the_library(void)
{
    const char *info = text(plue_get_app_info());
    char quoted[4200];
    snprintf(quoted, sizeof quoted, "\"%s\"", data_dir());
    CHECK(json_valid(info) && json_is(info, "paths.dataDir", quoted) && json_is(info, "backend", "\"embedded\""));
    CHECK(json_is(info, "store", "\"sqlite\"") && json_is(info, "abi", "0") &&
          json_is(info, "server.running", "false"));
    CHECK(json_number(info, "uptimeMs") >= 0 && json_number(info, "uptimeMs") < 600000);
    char *version = json_text(info, "version"), *library = json_text(info, "paths.library"),
         *python = json_text(info, "paths.python");
    CHECK(version && !strcmp(version, plue_get_version()) && !access(library, R_OK) && !access(python, R_OK));
    free(version);
    free(library);
    free(python);
}

int main(void)
{
    end(run(exempt_functions, NULL));
    every_function_asks_for_init();
    a_failed_init_leaves_nothing_behind();
    a_second_init_is_refused_and_changes_nothing();
    handles_and_text_across_a_shutdown();
    starting_again_and_again_grows_nothing();
    shutdown_ends_the_watch_before_it_returns();
    loading_the_library_twice_is_loading_it_once();
    app_info_describes_the_library();
    plue_shutdown();
    every_function_asks_for_init();
    end(run(exempt_functions, NULL));
    plue_shutdown();
    return 0;
}
