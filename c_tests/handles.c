/* Handles and pointers of every bad kind: refused by name or ignored, never followed. */
#include "check.h"
#include "json.h"

#include <sys/mman.h>

static void no_observer(plue_session_observer_t handle, int code)
{
    CHECK_ERROR(!plue_session_observer_next(handle, 0), code);
    CHECK_ERROR(!plue_session_observer_next(handle, 10), code);
    CHECK_ERROR(plue_session_observer_fd(handle) == -1, code);
    CHECK_ERROR(!plue_session_observer_cursor(handle), code);
    plue_session_observer_wake(handle);
    plue_session_observer_close(handle);
}

/* Every function that takes a handle refuses this one with `code`; destroy is harmless. */
static void refused_everywhere(plue_session_t handle, int code)
{
    CHECK_ERROR(!plue_session_get_info(handle), code);
    CHECK_ERROR(!plue_session_peek_info(handle), code);
    CHECK_ERROR(!plue_session_get_id(handle), code);
    CHECK_ERROR(plue_session_update_title(handle, "t") == -1, code);
    CHECK_ERROR(plue_session_update(handle, "{\"title\":\"t\"}") == -1, code);
    CHECK_ERROR(plue_session_initialize(handle, "p", "m") == -1, code);
    CHECK_ERROR(plue_session_delete(handle) == -1, code);
    CHECK_ERROR(plue_session_abort(handle) == -1, code);
    CHECK_ERROR(plue_session_abort_turn(handle, "turn") == -1, code);
    CHECK_ERROR(plue_session_discard_pending(handle, "op_1") == -1, code);
    CHECK_ERROR(!plue_session_fork(handle, NULL), code);
    CHECK_ERROR(!plue_session_create_share(handle), code);
    CHECK_ERROR(plue_session_unshare(handle) == -1, code);
    CHECK_ERROR(!plue_session_enqueue(handle, "{\"text\":\"t\"}"), code);
    CHECK_ERROR(!plue_session_run_turn(handle, "{\"text\":\"t\"}", 1), code);
    CHECK_ERROR(plue_session_cancel_turns(handle) == -1, code);
    CHECK_ERROR(!plue_session_messages(handle, NULL), code);
    CHECK_ERROR(!plue_session_permissions(handle), code);
    CHECK_ERROR(plue_session_reply_permission(handle, "per_1", "once") == -1, code);
    CHECK_ERROR(!plue_session_questions(handle), code);
    CHECK_ERROR(plue_session_reply_question(handle, "que_1", NULL) == -1, code);
    CHECK_ERROR(!plue_session_usage(handle), code);
    CHECK_ERROR(!plue_session_todos(handle), code);
    CHECK_ERROR(!plue_session_diff(handle, NULL), code);
    CHECK_ERROR(!plue_session_choices(handle), code);
    CHECK_ERROR(!plue_session_inputs(handle), code);
    CHECK_ERROR(!plue_session_cancel_inputs(handle, "[]"), code);
    CHECK_ERROR(!plue_session_cancel_inputs_from(handle, "{\"inputId\":\"input_1\"}"), code);
    CHECK_ERROR(plue_session_vacuum(handle) == -1, code);
    CHECK_ERROR(plue_session_relay_spawn(handle) == -1, code);
    CHECK_ERROR(plue_session_relay_attach(handle, "{\"worktree\":\"/tmp\",\"agent\":{\"kind\":\"host\"}}") == -1, code);
    CHECK_ERROR(plue_session_relay_heartbeat(handle) == -1, code);
    CHECK_ERROR(plue_session_relay_count_message(handle) == -1, code);
    if (handle != PLUE_ALL_SESSIONS) {
        CHECK_ERROR(!plue_session_observation(handle), code);
        CHECK_ERROR(!plue_session_observe(handle, NULL), code);
    }
}

/* And every function that takes an observer's. */
static void refused_as_any_kind(plue_session_t handle, int code)
{
    refused_everywhere(handle, code);
    no_observer((plue_session_observer_t)handle, code);
}

static void null_is_named(void)
{
    refused_as_any_kind(NULL, PLUE_ERROR_INVALID_PARAM);
    CHECK(!plue_session_get_info(NULL));
    CHECK_SAYS("Session handle is null");
    CHECK(plue_session_update_title(NULL, "t") == -1);
    CHECK_SAYS("Session handle is null");
    CHECK_SAYS("Invalid parameters");
    plue_session_t session = plue_session_create(NULL);
    CHECK_ERROR(plue_session_update_title(session, NULL) == -1, PLUE_ERROR_INVALID_PARAM);
    CHECK_SAYS("Invalid parameters");
    CHECK_ERROR(plue_session_update_title(NULL, NULL) == -1, PLUE_ERROR_INVALID_PARAM);
    CHECK_SAYS("Session handle is null");
    CHECK_ERROR(plue_session_update(session, NULL) == -1, PLUE_ERROR_INVALID_PARAM);
    CHECK_ERROR(plue_session_initialize(session, NULL, "m") == -1, PLUE_ERROR_INVALID_PARAM);
    CHECK_ERROR(plue_session_initialize(session, "p", NULL) == -1, PLUE_ERROR_INVALID_PARAM);
    CHECK_ERROR(plue_session_initialize(session, "", "m") == -1, PLUE_ERROR_INVALID_PARAM);
    CHECK_ERROR(plue_session_initialize(session, "p", "") == -1, PLUE_ERROR_INVALID_PARAM);
    CHECK_ERROR(plue_session_abort_turn(session, NULL) == -1, PLUE_ERROR_INVALID_PARAM);
    CHECK_ERROR(plue_session_discard_pending(session, NULL) == -1, PLUE_ERROR_INVALID_PARAM);
    CHECK_ERROR(!plue_session_enqueue(session, NULL), PLUE_ERROR_INVALID_PARAM);
    CHECK_ERROR(!plue_session_run_turn(session, NULL, 0), PLUE_ERROR_INVALID_PARAM);
    CHECK_ERROR(plue_session_reply_permission(session, NULL, "once") == -1, PLUE_ERROR_INVALID_PARAM);
    CHECK_ERROR(plue_session_reply_permission(session, "per_1", NULL) == -1, PLUE_ERROR_INVALID_PARAM);
    CHECK_ERROR(plue_session_reply_question(session, NULL, NULL) == -1, PLUE_ERROR_INVALID_PARAM);
    CHECK_ERROR(!plue_session_cancel_inputs(session, NULL), PLUE_ERROR_INVALID_PARAM);
    CHECK_ERROR(!plue_session_cancel_inputs_from(session, NULL), PLUE_ERROR_INVALID_PARAM);
    CHECK_ERROR(plue_session_relay_attach(session, NULL) == -1, PLUE_ERROR_INVALID_PARAM);
    CHECK(json_is(text(plue_session_get_info(session)), "provider", NULL));
    plue_session_destroy(NULL);
    plue_session_destroy(session);
}

static void reserved_values_are_no_sessions(void)
{
    refused_as_any_kind(PLUE_ALL_SESSIONS, PLUE_ERROR_BAD_HANDLE);
    refused_as_any_kind(PLUE_CURRENT_SESSION, PLUE_ERROR_BAD_HANDLE);
    plue_session_destroy(PLUE_ALL_SESSIONS);
    plue_session_destroy(PLUE_CURRENT_SESSION);
}

static void stale_and_doubly_destroyed_handles_are_refused(void)
{
    plue_session_t keep = plue_session_create(NULL), gone = plue_session_open(text(plue_session_get_id(keep)));
    CHECK(keep && gone && keep != gone);
    plue_session_destroy(gone);
    plue_session_destroy(gone);
    refused_everywhere(gone, PLUE_ERROR_BAD_HANDLE);
    /* The place is used again, the value is not; a late destroy of the old value must not hit the new one. */
    plue_session_t next = plue_session_open(text(plue_session_get_id(keep)));
    CHECK(next && next != gone);
    plue_session_destroy(gone);
    CHECK(text(plue_session_get_info(next))[0] == '{' && text(plue_session_get_info(keep))[0] == '{');
    plue_session_destroy(next);
    plue_session_destroy(keep);
}

static void forged_handles_are_refused(void)
{
    plue_session_t real = plue_session_create(NULL);
    uint64_t seed = 88172645463325252u, value = (uint64_t)(uintptr_t)real;
    int local;
    CHECK(real);
    for (int bit = 0; bit < 64; bit++) {
        plue_session_t forged = (plue_session_t)(uintptr_t)(value ^ (UINT64_C(1) << bit));
        CHECK_ERROR(!plue_session_get_info(forged), PLUE_ERROR_BAD_HANDLE);
        plue_session_destroy(forged);
    }
    for (int i = 0; i < part(20000); i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        uint64_t bits = i % 2 ? seed : (seed & ~UINT64_C(15)) | 9; /* every second one looks like a handle */
        if (bits == 0 || bits == value)
            continue;
        plue_session_t forged = (plue_session_t)(uintptr_t)bits;
        CHECK_ERROR(!plue_session_peek_info(forged), PLUE_ERROR_BAD_HANDLE);
        plue_session_destroy(forged);
        if (i % 64 == 0)
            refused_everywhere(forged, PLUE_ERROR_BAD_HANDLE);
    }
    refused_as_any_kind((plue_session_t)&local, PLUE_ERROR_BAD_HANDLE);
    refused_as_any_kind((plue_session_t)(uintptr_t)&refused_everywhere, PLUE_ERROR_BAD_HANDLE);
    refused_as_any_kind((plue_session_t)(uintptr_t)-1, PLUE_ERROR_BAD_HANDLE);
    CHECK(text(plue_session_get_info(real))[0] == '{');
    plue_session_destroy(real);
}

/* In bulk sessions are named by their ids: each of these fails alone, with `code`. */
static void refused_in_bulk(const char *id, const char *code)
{
    static const char *const ops[] = {
        "\"get_info\"",
        "\"update_title\",\"title\":\"t\"",
        "\"update\",\"patch_json\":{\"title\":\"t\"}",
        "\"delete\"",
        "\"abort\"",
        "\"abort_turn\",\"turn_id\":\"turn\"",
        "\"fork\"",
        "\"create_share\"",
        "\"initialize\",\"provider_id\":\"p\",\"model_id\":\"m\"",
        "\"unshare\"",
    };
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        char operations[512], expected[64];
        snprintf(operations, sizeof operations, "[{\"op\":%s,\"session\":%s}]", ops[i], id);
        snprintf(expected, sizeof expected, "[{\"error\":{\"code\":\"%s\"", code);
        const char *results = text(plue_session_batch(operations));
        if (strncmp(results, expected, strlen(expected)))
            fprintf(stderr, "%s: %s\n", operations, results);
        CHECK(!strncmp(results, expected, strlen(expected)));
    }
}

static void in_bulk_ids_of_every_bad_kind_are_refused(void)
{
    plue_session_t keep = plue_session_create(NULL), gone = plue_session_create(NULL);
    char deleted[128];
    snprintf(deleted, sizeof deleted, "\"%s\"", text(plue_session_get_id(gone)));
    CHECK(keep && gone && plue_session_delete(gone) == 0);
    refused_in_bulk(deleted, "NOT_FOUND");
    refused_in_bulk("\"session_1\"", "NOT_FOUND");
    static const char *const bad[] = {"null", "\"\"", "\"../x\"", "\"a key\"", "7", "[]", "\"session_1\\u0000\""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused_in_bulk(bad[i], "INVALID_PARAM");
    CHECK(text(plue_session_get_info(keep))[0] == '{');
    plue_session_destroy(gone);
    plue_session_destroy(keep);
}

/* One kind's handle is none of the other's, however it is bent. */
static void observers_and_sessions_are_told_apart(void)
{
    plue_session_t session = plue_session_create(NULL);
    plue_session_observer_t observer = plue_session_observe(session, NULL), gone = plue_session_observe(session, NULL);
    CHECK(session && observer && gone && observer != gone);
    refused_everywhere((plue_session_t)observer, PLUE_ERROR_BAD_HANDLE);
    no_observer((plue_session_observer_t)session, PLUE_ERROR_BAD_HANDLE);
    CHECK_SAYS("observer handle");
    plue_session_observer_close(gone);
    plue_session_observer_close(gone);
    no_observer(gone, PLUE_ERROR_CLOSED);
    plue_session_observer_t next = plue_session_observe(session, NULL);
    CHECK(next && next != gone);
    no_observer(gone, PLUE_ERROR_CLOSED);
    for (int bit = 0; bit < 64; bit++) {
        uintptr_t forged = (uintptr_t)next ^ (uintptr_t)(UINT64_C(1) << bit);
        if (forged == (uintptr_t)observer || forged == (uintptr_t)gone)
            continue;
        CHECK(!plue_session_observer_next((plue_session_observer_t)forged, 0));
        CHECK(plue_get_last_error_code() == PLUE_ERROR_BAD_HANDLE || plue_get_last_error_code() == PLUE_ERROR_CLOSED);
        plue_session_observer_close((plue_session_observer_t)forged);
    }
    CHECK_ERROR(!plue_session_observer_next(next, 0), PLUE_OK);
    CHECK_ERROR(!plue_session_observer_next(observer, 0), PLUE_OK);
    plue_session_observer_close(next);
    plue_session_destroy(session);
    CHECK_ERROR(!plue_session_observer_next(observer, 0), PLUE_OK); /* it does not need the session's handle */
    plue_shutdown();
    start("");
    no_observer(observer, PLUE_ERROR_BAD_HANDLE);
    no_observer(gone, PLUE_ERROR_BAD_HANDLE);
}

static void a_deleted_session_is_not_found_for_ever(void)
{
    plue_session_t one = plue_session_create(NULL), two = plue_session_open(text(plue_session_get_id(one)));
    char *id = plue_session_get_id(one);
    CHECK(one && two && id && plue_session_delete(two) == 0);
    refused_everywhere(one, PLUE_ERROR_NOT_FOUND);
    refused_everywhere(two, PLUE_ERROR_NOT_FOUND);
    CHECK_SAYS(id);
    CHECK_ERROR(!plue_session_open(id), PLUE_ERROR_NOT_FOUND);
    plue_session_destroy(one);
    plue_session_destroy(one);
    refused_everywhere(one, PLUE_ERROR_BAD_HANDLE);
    refused_everywhere(two, PLUE_ERROR_NOT_FOUND);
    plue_session_destroy(two);
    plue_free_string(id);
}

static void many_handles_show_one_session(void)
{
    enum { MANY = 500 };
    static plue_session_t handles[MANY];
    plue_session_t first = plue_session_create(NULL);
    char *id = plue_session_get_id(first);
    for (int i = 0; i < MANY; i++)
        CHECK((handles[i] = plue_session_open(id)) != NULL);
    CHECK(plue_session_update_title(handles[MANY - 1], "seen by all") == 0);
    for (int i = 0; i < MANY; i++)
        CHECK(json_is(text(plue_session_get_info(handles[i])), "title", "\"seen by all\""));
    for (int i = 0; i < MANY; i += 2)
        plue_session_destroy(handles[i]);
    plue_session_destroy(first);
    CHECK(plue_session_abort(handles[1]) == 0);
    for (int i = 1; i < MANY; i += 2) {
        CHECK(json_is(text(plue_session_get_info(handles[i])), "aborted", "true"));
        plue_session_destroy(handles[i]);
    }
    CHECK(SAYS(text(plue_session_list()), id)); /* destroying drops no session */
    plue_free_string(id);
}

static void a_hundred_thousand_handles_are_alive_at_once(void)
{
    int count = part(100000);
    plue_session_t *handles = calloc((size_t)count, sizeof *handles), kept = plue_session_create(NULL);
    char *id = plue_session_get_id(kept);
    CHECK(handles && id);
    for (int i = 0; i < count; i++)
        CHECK((handles[i] = plue_session_open(id)) != NULL);
    CHECK(plue_session_update_title(handles[count / 2], "crowd") == 0);
    for (int i = 0; i < count; i++) {
        char *info = plue_session_peek_info(handles[i]);
        CHECK(info && (i % 1000 || json_is(info, "title", "\"crowd\"")));
        plue_free_json(info);
    }
    for (int i = 0; i < count; i++)
        plue_session_destroy(handles[i]);
    CHECK_ERROR(!plue_session_get_info(handles[0]), PLUE_ERROR_BAD_HANDLE);
    CHECK_ERROR(!plue_session_get_info(handles[count - 1]), PLUE_ERROR_BAD_HANDLE);
    free(handles);
    plue_free_string(id);
    plue_session_destroy(kept);
}

static void *free_it(void *text_of_another_thread)
{
    plue_free(text_of_another_thread);
    plue_free(text_of_another_thread);
    return NULL;
}

static void freeing_what_is_not_ours_is_ignored(void)
{
    plue_session_t session = plue_session_create(NULL);
    char local[32] = "on the stack", *foreign = malloc(32), *mine = plue_session_get_info(session),
         *copied = strdup(mine);
    void *unmapped = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(foreign && mine && copied && unmapped != MAP_FAILED && munmap(unmapped, 4096) == 0);
    plue_free(NULL);
    plue_free_json(NULL);
    plue_free_string(NULL);
    plue_free(local);
    plue_free(foreign);
    plue_free(unmapped);
    plue_free(mine + 1);
    plue_free(mine + 16);
    plue_free((void *)(uintptr_t)1);
    plue_free((void *)(uintptr_t)-1);
    plue_free((void *)(uintptr_t)&free_it);
    plue_free((void *)plue_get_version());
    plue_free((void *)plue_get_last_error());
    CHECK(!strcmp(mine, copied) && !strcmp(local, "on the stack"));
    plue_free_json(mine);
    plue_free_json(mine);
    plue_free_string(mine);
    free(foreign);
    /* A double free right away must not take a block from its next owner. */
    for (int i = 0; i < part(5000); i++) {
        char *once = plue_session_get_id(session);
        plue_free(once);
        char *next = plue_session_get_id(session);
        plue_free(once);
        CHECK(SAYS(next, "session_"));
        plue_free(next);
    }
    for (int i = 0; i < part(200); i++)
        end(run(free_it, plue_session_get_info(session)));
    free(copied);
    plue_session_destroy(session);
}

static void any_number_of_texts_may_be_outstanding(void)
{
    int count = part(100000);
    plue_session_t session = plue_session_create(NULL);
    char **held = calloc((size_t)count, sizeof *held);
    CHECK(held);
    for (int i = 0; i < count; i++)
        CHECK((held[i] = plue_session_get_id(session)) != NULL);
    for (int i = count - 1; i >= 0; i -= 2)
        plue_free_string(held[i]);
    for (int i = count - 2; i >= 0; i -= 2) {
        CHECK(!strcmp(held[i], held[count - 2]) || i == count - 2);
        if (i != count - 2)
            plue_free_string(held[i]);
    }
    if (count > 1)
        plue_free_string(held[count - 2]);
    free(held);
    plue_session_destroy(session);
}

int main(void)
{
    start("");
    null_is_named();
    reserved_values_are_no_sessions();
    stale_and_doubly_destroyed_handles_are_refused();
    forged_handles_are_refused();
    in_bulk_ids_of_every_bad_kind_are_refused();
    observers_and_sessions_are_told_apart();
    a_deleted_session_is_not_found_for_ever();
    many_handles_show_one_session();
    freeing_what_is_not_ours_is_ignored();
    any_number_of_texts_may_be_outstanding();
    a_hundred_thousand_handles_are_alive_at_once();
    plue_shutdown();
    return 0;
}
