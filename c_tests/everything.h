/* Hosts that use all of the library: once, and often. */
#ifndef EVERYTHING_H
#define EVERYTHING_H

#include "check.h"
#include "json.h"

#include <stdatomic.h>

static atomic_int heard_events;

static inline void on_event(uint8_t type, const char *event, void *data)
{
    (void)type;
    (void)data;
    CHECK(event[0] == '{');
    atomic_fetch_add(&heard_events, 1);
}

static inline int on_clean(const char *session, void *data)
{
    CHECK(session[0] == '{' && !data);
    return 0;
}

static inline int on_element(const char *element_json, void *user_data)
{
    CHECK(!user_data && plue_json_count(element_json, "") == 2);
    return 1;
}

/* Every function once, on a thread with any stack. */
static inline void *use_everything(void *unused)
{
    uint32_t subscription = plue_event_subscribe(on_event, NULL);
    plue_session_t session = plue_session_create(NULL),
                   other = plue_session_create_with("{\"title\":\"t\",\"tags\":[\"a\"]}"), same;
    char *id = plue_session_get_id(session), *share, *secret, *quoted = plue_json_quote("q\n");
    CHECK(subscription && session && other && id && quoted);
    CHECK(plue_session_update_title(session, "title") == 0 &&
          plue_session_update(session, "{\"description\":\"d\"}") == 0);
    CHECK(plue_session_initialize(session, "p", "m") == 0 && plue_session_abort(session) == 0);
    share = plue_session_create_share(session);
    CHECK(share && (secret = json_text(share, "secret")) != NULL);
    CHECK(plue_session_validate_share(id, secret) == 0 && plue_session_unshare(session) == 0);
    CHECK_ERROR(plue_session_validate_share(id, secret) == -1, PLUE_ERROR_ACCESS_DENIED);
    CHECK((same = plue_session_open(id)) != NULL);
    CHECK_ERROR(!plue_session_open("session_1"), PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(!plue_session_create_with("{"), PLUE_ERROR_JSON_PARSE);
    CHECK_ERROR(!plue_session_get_info((plue_session_t)(uintptr_t)77), PLUE_ERROR_BAD_HANDLE);
    CHECK(strlen(plue_get_last_error_json()) > 2 && strlen(plue_get_last_error()) > 2);
    char *texts[] = {plue_session_get_info(same),
                     plue_session_peek_info(same),
                     plue_session_list(),
                     plue_session_query("{\"limit\":1}"),
                     plue_get_app_info(),
                     plue_event_poll(),
                     plue_session_peek_id(id),
                     plue_event_wait(1000),
                     plue_session_batch("[{\"op\":\"list\"}]")};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        CHECK(texts[i] != NULL);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        plue_free(texts[i]);
    plue_session_observer_t observer = plue_session_observe(session, NULL);
    CHECK(observer && plue_session_observer_fd(observer) > 2 && plue_session_update_title(session, "seen") == 0);
    char *observed[] = {plue_session_observation(PLUE_ALL_SESSIONS), plue_session_observer_next(observer, 1000),
                        plue_session_observer_cursor(observer)};
    for (size_t i = 0; i < sizeof observed / sizeof *observed; i++) {
        CHECK(observed[i] != NULL);
        plue_free(observed[i]);
    }
    plue_session_observer_wake(observer);
    CHECK_ERROR(!plue_session_observer_next(observer, 1000), PLUE_OK);
    plue_session_observer_close(observer);
    CHECK_ERROR(!plue_session_observer_next(observer, 0), PLUE_ERROR_CLOSED);
    CHECK(plue_event_fd() > 2 && plue_session_count(NULL) >= 2 && plue_session_delete(other) == 0);
    plue_session_destroy(same);
    CHECK((same = plue_session_create_with("{\"agent\":{\"kind\":\"host\",\"worktree\":\"/tmp\"}}")) != NULL);
    char *attached = plue_session_get_id(same), *metrics = plue_session_metrics("prometheus");
    CHECK(attached && metrics && plue_session_set_cleaner(on_clean, NULL) == 0);
    CHECK(plue_session_relay_spawn(same) == -1 && plue_session_relay_attach(same, "{}") == -1);
    plue_session_t found = plue_session_relay_get(attached);
    CHECK(found && found != same);
    plue_session_destroy(found);
    CHECK(plue_session_relay_heartbeat(same) == 0 && plue_session_relay_count_message(same) == 0);
    CHECK(plue_session_relay_terminate(attached, "used") == 0 && plue_session_relay_clean(attached) == 0);
    CHECK(plue_session_set_cleaner(NULL, NULL) == 0 && plue_session_delete(same) == 0);
    CHECK(!strcmp(plue_session_relay_next_state("CREATED", "SPAWN"), "SPAWNING"));
    plue_session_destroy(same);
    plue_free(attached);
    plue_free(metrics);
    uint64_t submitted = plue_session_submit("[{\"op\":\"create\"}]");
    CHECK(submitted);
    (void)plue_session_cancel_operation(submitted); /* it may have ended by now */
    plue_session_destroy(session);
    plue_session_destroy(other);
    plue_event_unsubscribe(subscription);
    plue_free(id);
    char *plain = plue_json_text(quoted, "");
    CHECK(plain && !strcmp(plain, "q\n") && plue_json_each(share, "", on_element, NULL) == 1);
    CHECK(plue_json_int("[1]", "/0", 0) == 1 && plue_json_double("0.5", "", 0) == 0.5);
    CHECK_ERROR(!plue_json_text(share, "/nothing"), PLUE_ERROR_NOT_FOUND);
    CHECK(!strcmp(plue_error_name(-2), "NOT_FOUND") && plue_version_number() == PLUE_VERSION_NUMBER);
    plue_free(plain);
    plue_free(share);
    plue_free(quoted);
    free(secret);
    return unused;
}

static inline void use(void)
{
    start("");
    use_everything(NULL);
    plue_shutdown();
}

#endif
