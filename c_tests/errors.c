/* Errors: per thread, by code, in words, and as JSON that is always valid. */
#include "check.h"
#include "json.h"

#include <limits.h>

static plue_session_t session;

/* A session's info must not change, and no event may come, while a call is refused. */
static char *before;

static void begin_refusals(void)
{
    while (plue_free(before), (before = plue_event_poll()) != NULL)
        ;
    before = plue_session_get_info(session);
}

static void end_refusals(void)
{
    CHECK(!strcmp(text(plue_session_get_info(session)), before));
    CHECK_ERROR(!plue_event_poll(), PLUE_OK);
    plue_free(before);
    before = NULL;
}

static void the_json_agrees_with_code_and_text(int code, const char *name, const char *retryable)
{
    const char *json = plue_get_last_error_json();
    char number[16], quoted[64];
    snprintf(number, sizeof number, "%d", code);
    snprintf(quoted, sizeof quoted, "\"%s\"", name);
    CHECK(plue_get_last_error_code() == code);
    CHECK(json_valid(json) && json_is(json, "error.number", number) && json_is(json, "error.code", quoted));
    CHECK(json_is(json, "error.retryable", retryable));
    long long at = json_number(json, "error.timestamp"), now = (long long)time(NULL) * 1000;
    CHECK(at > now - 60000 && at < now + 60000);
    char *message = json_at(json, "error.message"), *same = plue_json_quote(plue_get_last_error());
    CHECK(message && same && !strcmp(message, same));
    CHECK(strlen(plue_get_last_error()) > 20);
    free(message);
    plue_free(same);
}

static void *a_new_thread_has_no_error(void *unused)
{
    CHECK(plue_get_last_error_code() == PLUE_OK);
    CHECK(!strcmp(plue_get_last_error(), "No error") && !strcmp(plue_get_last_error_json(), "{}"));
    CHECK_ERROR(!plue_session_open("session_1"), PLUE_ERROR_NOT_FOUND);
    return unused;
}

static void an_error_stays_in_its_thread(void)
{
    CHECK_ERROR(!plue_session_get_info(PLUE_ALL_SESSIONS), PLUE_ERROR_BAD_HANDLE);
    char *mine = strdup(plue_get_last_error());
    for (int i = 0; i < 8; i++)
        end(run(a_new_thread_has_no_error, NULL));
    CHECK(!strcmp(mine, plue_get_last_error()) && plue_get_last_error_code() == PLUE_ERROR_BAD_HANDLE);
    free(mine);
}

static void a_success_does_not_clear_an_error_but_poll_does(void)
{
    CHECK_ERROR(!plue_session_open("session_1"), PLUE_ERROR_NOT_FOUND);
    CHECK(text(plue_session_list())[0] == '[' && plue_session_count(NULL) >= 0 &&
          plue_session_update_title(session, "t") == 0);
    CHECK(plue_get_last_error_code() == PLUE_ERROR_NOT_FOUND);
    CHECK_SAYS("session_1");
    char *event = plue_event_poll();
    CHECK(event && plue_get_last_error_code() == PLUE_OK && !strcmp(plue_get_last_error(), "No error"));
    CHECK(!strcmp(plue_get_last_error_json(), "{}"));
    plue_free(event);
}

static void codes_have_names_and_messages_have_remedies(void)
{
    CHECK(!plue_session_get_info(PLUE_ALL_SESSIONS));
    the_json_agrees_with_code_and_text(PLUE_ERROR_BAD_HANDLE, "BAD_HANDLE", "false");
    CHECK_SAYS("plue_session_get_info");
    CHECK(!plue_session_open("session_1"));
    the_json_agrees_with_code_and_text(PLUE_ERROR_NOT_FOUND, "NOT_FOUND", "false");
    CHECK_SAYS("plue_session_open session_1");
    CHECK(!plue_session_query("{\"limit\":1"));
    the_json_agrees_with_code_and_text(PLUE_ERROR_JSON_PARSE, "JSON_PARSE", "false");
    CHECK(!plue_session_query("{\"cursor\":\"never one\"}"));
    the_json_agrees_with_code_and_text(PLUE_ERROR_BAD_CURSOR, "BAD_CURSOR", "false");
    CHECK(plue_init(NULL) == -1);
    the_json_agrees_with_code_and_text(PLUE_ERROR_ALREADY_INITIALIZED, "ALREADY_INITIALIZED", "false");
    CHECK(plue_session_validate_share("session_1", "x") == -1);
    the_json_agrees_with_code_and_text(PLUE_ERROR_ACCESS_DENIED, "ACCESS_DENIED", "false");
    CHECK(plue_session_initialize(session, "one", "pair") == 0 &&
          plue_session_initialize(session, "other", "pair") == -1);
    the_json_agrees_with_code_and_text(PLUE_ERROR_CONFLICT, "CONFLICT", "false");
    plue_session_t keyed = plue_session_create_with("{\"key\":\"taken\",\"role\":\"taken\"}");
    CHECK(keyed && !plue_session_create_with("{\"key\":\"taken\"}"));
    the_json_agrees_with_code_and_text(PLUE_ERROR_ALREADY_EXISTS, "ALREADY_EXISTS", "false");
    CHECK_SAYS(text(plue_session_get_id(keyed)));
    CHECK_ERROR(!plue_session_create_with("{\"role\":\"taken\"}"), PLUE_ERROR_ALREADY_EXISTS);
    CHECK_SAYS(text(plue_session_get_id(keyed)));
    plue_session_destroy(keyed);
    /* Whatever a caller sends comes back as valid JSON. */
    CHECK(!plue_session_query("{\"\\u0001\\\"\\\\\\u0000\\ud83d\\ude00\\u007f\":1}"));
    the_json_agrees_with_code_and_text(PLUE_ERROR_INVALID_PARAM, "INVALID_PARAM", "false");
    CHECK(!plue_session_open("a/\"\\\x01\x7f\xf0\x9f\x98\x80"));
    the_json_agrees_with_code_and_text(PLUE_ERROR_INVALID_PARAM, "INVALID_PARAM", "false");
}

static void null_is_refused_where_it_has_no_meaning(void)
{
    begin_refusals();
#define REFUSED(call) CHECK_ERROR(call, PLUE_ERROR_INVALID_PARAM)
    REFUSED(!plue_json_quote(NULL));
    REFUSED(!plue_session_get_or_create(NULL));
    REFUSED(!plue_session_open(NULL));
    REFUSED(plue_session_update_title(session, NULL) == -1);
    REFUSED(plue_session_update(session, NULL) == -1);
    REFUSED(plue_session_initialize(session, NULL, NULL) == -1);
    REFUSED(plue_session_abort_turn(session, NULL) == -1);
    REFUSED(!plue_session_observation(NULL));
    REFUSED(!plue_session_observe(NULL, NULL));
    REFUSED(!plue_session_observer_next(NULL, 0));
    REFUSED(plue_session_observer_fd(NULL) == -1);
    REFUSED(!plue_session_observer_cursor(NULL));
    REFUSED(plue_session_discard_pending(session, NULL) == -1);
    REFUSED(!plue_session_enqueue(session, NULL));
    REFUSED(!plue_session_run_turn(session, NULL, 0));
    REFUSED(!plue_session_run_turn(session, "{\"text\":\"t\"}", -1));
    CHECK_SAYS("timeout_ms is -1, and nothing waits for ever");
    REFUSED(plue_session_reply_permission(session, NULL, "once") == -1);
    REFUSED(plue_session_reply_permission(session, "per_1", NULL) == -1);
    REFUSED(plue_session_reply_question(session, NULL, NULL) == -1);
    REFUSED(!plue_session_cancel_inputs(session, NULL));
    REFUSED(!plue_session_cancel_inputs_from(session, NULL));
    REFUSED(plue_session_relay_attach(session, NULL) == -1);
    REFUSED(plue_session_relay_terminate(NULL, "r") == -1);
    REFUSED(plue_session_relay_clean(NULL) == -1);
    REFUSED(!plue_session_relay_get(NULL));
    REFUSED(!plue_session_relay_next_state(NULL, "SPAWN"));
    REFUSED(!plue_session_relay_next_state("CREATED", NULL));
    REFUSED(!plue_session_metrics(NULL));
    REFUSED(plue_session_sync(-1) == -1);
    CHECK_SAYS("timeout_ms is -1, and nothing waits for ever");
    REFUSED(plue_session_sync(INT_MIN) == -1);
    REFUSED(plue_session_validate_share(NULL, "x") == -1);
    REFUSED(plue_session_validate_share("session_1", NULL) == -1);
    REFUSED(!plue_session_batch(NULL));
    REFUSED(!plue_session_submit(NULL));
    CHECK_ERROR(plue_session_cancel_operation(0) == -1, PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(plue_session_cancel_operation(UINT64_MAX) == -1, PLUE_ERROR_NOT_FOUND);
    REFUSED(plue_event_subscribe(NULL, NULL) == 0);
    end_refusals();
}

static void what_is_not_utf8_is_refused(void)
{
    static const char *const bad[] = {
        "\xff",
        "\x80",
        "\xc3",
        "\xc0\x80",
        "\xc1\xbf",
        "\xe0\x80\x80",
        "\xe2\x82",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xf0\x80\x80\x80",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xf8\x88\x80\x80\x80",
        "good until\xfe",
        "12345678\xc3",
        "1234567\xe2\x82",
    };
    begin_refusals();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        REFUSED(!plue_json_quote(bad[i]));
        REFUSED(!plue_session_create(bad[i]));
        REFUSED(!plue_session_create_with(bad[i]));
        REFUSED(!plue_session_get_or_create(bad[i]));
        REFUSED(!plue_session_open(bad[i]));
        REFUSED(!plue_session_query(bad[i]));
        REFUSED(plue_session_count(bad[i]) == -1);
        REFUSED(plue_session_update_title(session, bad[i]) == -1);
        REFUSED(plue_session_update(session, bad[i]) == -1);
        REFUSED(plue_session_initialize(session, bad[i], "m") == -1);
        REFUSED(plue_session_initialize(session, "p", bad[i]) == -1);
        REFUSED(plue_session_abort_turn(session, bad[i]) == -1);
        REFUSED(!plue_session_fork(session, bad[i]));
        REFUSED(!plue_session_enqueue(session, bad[i]));
        REFUSED(!plue_session_run_turn(session, bad[i], 0));
        REFUSED(!plue_session_messages(session, bad[i]));
        REFUSED(plue_session_reply_permission(session, bad[i], "once") == -1);
        REFUSED(plue_session_reply_permission(session, "per_1", bad[i]) == -1);
        REFUSED(plue_session_reply_question(session, bad[i], NULL) == -1);
        REFUSED(plue_session_reply_question(session, "que_1", bad[i]) == -1);
        REFUSED(!plue_session_diff(session, bad[i]));
        REFUSED(!plue_session_cancel_inputs(session, bad[i]));
        REFUSED(!plue_session_cancel_inputs_from(session, bad[i]));
        REFUSED(plue_session_relay_attach(session, bad[i]) == -1);
        REFUSED(plue_session_relay_terminate(bad[i], "r") == -1);
        REFUSED(plue_session_relay_terminate("session_1", bad[i]) == -1);
        REFUSED(plue_session_relay_clean(bad[i]) == -1);
        REFUSED(!plue_session_relay_get(bad[i]));
        REFUSED(!plue_session_relay_next_state(bad[i], "SPAWN"));
        REFUSED(!plue_session_relay_next_state("CREATED", bad[i]));
        REFUSED(!plue_session_metrics(bad[i]));
        REFUSED(!plue_session_observe(session, bad[i]));
        REFUSED(!plue_session_observe(PLUE_ALL_SESSIONS, bad[i]));
        REFUSED(plue_session_validate_share(bad[i], "x") == -1);
        REFUSED(plue_session_validate_share("session_1", bad[i]) == -1);
        REFUSED(!plue_session_batch(bad[i]));
        REFUSED(!plue_session_submit(bad[i]));
        CHECK(json_valid(plue_get_last_error_json()));
    }
    end_refusals();
}

static void what_is_not_json_is_refused(void)
{
    static const char *const bad[] = {
        "",
        " ",
        "{",
        "}",
        "{]",
        "{\"title\"}",
        "{\"title\":}",
        "{'title':\"x\"}",
        "{\"title\":\"x\",}",
        "{\"title\":\"x\"} x",
        "nul",
        "{\"title\":NaN}",
        "{\"title\":Infinity}",
        "{\"title\":-Infinity}",
        "{\"title\":01}",
        "{\"title\":\"\n\"}",
        "{\"title\":\"\\x\"}",
        "{\"title\":\"\\u12\"}",
        "\xef\xbb\xbf{}",
        "// none\n{}",
        "{\"title\":+1}",
        "{\"title\":.5}",
    };
    begin_refusals();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_ERROR(!plue_session_create_with(bad[i]), PLUE_ERROR_JSON_PARSE);
        CHECK_ERROR(!plue_session_query(bad[i]), PLUE_ERROR_JSON_PARSE);
        CHECK_ERROR(plue_session_count(bad[i]) == -1, PLUE_ERROR_JSON_PARSE);
        CHECK_ERROR(plue_session_update(session, bad[i]) == -1, PLUE_ERROR_JSON_PARSE);
        CHECK_ERROR(!plue_session_enqueue(session, bad[i]), PLUE_ERROR_JSON_PARSE);
        CHECK_ERROR(!plue_session_run_turn(session, bad[i], 0), PLUE_ERROR_JSON_PARSE);
        CHECK_ERROR(!plue_session_messages(session, bad[i]), PLUE_ERROR_JSON_PARSE);
        CHECK_ERROR(plue_session_reply_question(session, "que_1", bad[i]) == -1, PLUE_ERROR_JSON_PARSE);
        CHECK_ERROR(!plue_session_diff(session, bad[i]), PLUE_ERROR_JSON_PARSE);
        CHECK_ERROR(plue_session_relay_attach(session, bad[i]) == -1, PLUE_ERROR_JSON_PARSE);
        CHECK_ERROR(!plue_session_cancel_inputs(session, bad[i]), PLUE_ERROR_JSON_PARSE);
        CHECK_ERROR(!plue_session_cancel_inputs_from(session, bad[i]), PLUE_ERROR_JSON_PARSE);
    }
    static const char *const others[] = {"[]", "1", "\"x\"", "null", "true"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        REFUSED(!plue_session_create_with(others[i]));
        REFUSED(!plue_session_query(others[i]));
        REFUSED(plue_session_update(session, others[i]) == -1);
        REFUSED(!plue_session_enqueue(session, others[i]));
        REFUSED(!plue_session_messages(session, others[i]));
        REFUSED(!plue_session_diff(session, others[i]));
        REFUSED(plue_session_relay_attach(session, others[i]) == -1);
        REFUSED(!plue_session_cancel_inputs_from(session, others[i]));
        if (i) /* an empty array names nothing */
            REFUSED(!plue_session_cancel_inputs(session, others[i]));
    }
    REFUSED(plue_session_update(session, "{\"title\":\"\\ud800\"}") == -1);
    end_refusals();
}

static void unknown_keys_and_wrong_types_are_named(void)
{
    begin_refusals();
#define NAMED(call, name)                                                                                              \
    REFUSED(call);                                                                                                     \
    CHECK_SAYS(name)
    NAMED(!plue_session_create_with("{\"titel\":\"x\"}"), "titel");
    NAMED(!plue_session_create_with("{\"title\":1}"), "title");
    NAMED(!plue_session_create_with("{\"title\":null}"), "title");
    NAMED(!plue_session_create_with("{\"key\":\"session_5\"}"), "key");
    NAMED(!plue_session_create_with("{\"key\":\"ses_abc\"}"), "key");
    NAMED(!plue_session_create_with("{\"key\":\"\"}"), "key");
    NAMED(!plue_session_create_with("{\"parentId\":\"../x\"}"), "parentId");
    NAMED(!plue_session_create_with("{\"tags\":\"x\"}"), "tags");
    NAMED(!plue_session_create_with("{\"tags\":[1]}"), "tags[0]");
    NAMED(!plue_session_create_with("{\"metadata\":[]}"), "metadata");
    NAMED(!plue_session_create_with("{\"provider\":{\"providerId\":\"x\"}}"), "modelId");
    NAMED(!plue_session_create_with("{\"provider\":{\"providerId\":\"x\",\"modelId\":\"y\",\"colour\":1}}"), "colour");
    NAMED(!plue_session_create_with("{\"directory\":\"/nowhere/at/all\"}"), "/nowhere/at/all");
    NAMED(!plue_session_query("{\"state\":\"active\"}"), "state");
    NAMED(!plue_session_query("{\"status\":\"asleep\"}"), "status");
    NAMED(!plue_session_query("{\"limit\":0}"), "limit");
    NAMED(!plue_session_query("{\"limit\":10001}"), "limit");
    NAMED(!plue_session_query("{\"limit\":1.0}"), "limit");
    NAMED(!plue_session_query("{\"sort\":\"size\"}"), "sort");
    NAMED(!plue_session_query("{\"order\":\"up\"}"), "order");
    NAMED(plue_session_count("{\"archived\":1}") == -1, "archived");
    NAMED(plue_session_update(session, "{\"key\":\"new\"}") == -1, "key");
    NAMED(plue_session_update(session, "{\"title\":null}") == -1, "title");
    NAMED(plue_session_update(session, "{\"archived\":\"yes\"}") == -1, "archived");
    NAMED(plue_session_update(session, "{\"base\":{\"id\":1}}") == -1, "base.id");
    NAMED(!plue_session_enqueue(session, "{}"), "nothing to say");
    NAMED(!plue_session_enqueue(session, "{\"text\":\"t\",\"mood\":1}"), "mood");
    NAMED(!plue_session_enqueue(session, "{\"text\":\"t\",\"model\":{\"modelId\":\"m\"}}"), "model.providerId");
    NAMED(!plue_session_enqueue(session,
                                "{\"parts\":[{\"type\":\"file\",\"file\":{\"data\":\"?\",\"mimeType\":\"a/b\"}}]}"),
          "parts[0].file.data");
    NAMED(!plue_session_run_turn(session, "{\"text\":1}", 0), "text");
    NAMED(!plue_session_messages(session, "{\"limit\":101}"), "limit");
    NAMED(!plue_session_cancel_inputs(session, "[{\"id\":\"x\"}]"), "targets[0].id");
    NAMED(!plue_session_cancel_inputs_from(session, "{\"inputId\":1}"), "inputId");
    NAMED(!plue_session_diff(session, "{\"turn\":\"x\"}"), "turn");
    NAMED(plue_session_relay_attach(session, "{\"agent\":{\"kind\":\"host\"}}") == -1, "worktree");
    NAMED(plue_session_relay_attach(session, "{\"worktree\":\"/tmp\"}") == -1, "agent");
    NAMED(plue_session_relay_attach(session, "{\"worktree\":\"/tmp\",\"agent\":{\"kind\":\"x\"}}") == -1, "agent.kind");
    NAMED(plue_session_relay_attach(session, "{\"worktree\":\"/tmp\",\"agent\":{\"kind\":\"acp\"}}") == -1,
          "agent.command");
    NAMED(!plue_session_metrics("xml"), "format");
    CHECK_ERROR(!plue_session_relay_next_state("CREATED", "CLEAN"), PLUE_ERROR_INVALID_TRANSITION);
    CHECK_SAYS("invalid transition: state=CREATED event=CLEAN reason=can only spawn or terminate from CREATED state");
    CHECK_ERROR(!plue_session_relay_next_state("NOWHERE", "CLEAN"), PLUE_ERROR_INVALID_TRANSITION);
    CHECK_SAYS("unknown state");
    CHECK_ERROR(!plue_session_relay_next_state("CREATED", "PAUSE"), PLUE_ERROR_INVALID_TRANSITION);
    CHECK_SAYS("unknown event");
    CHECK_ERROR(plue_session_relay_heartbeat(session) == -1, PLUE_ERROR_INVALID_TRANSITION);
    CHECK_ERROR(plue_session_relay_clean("session_1") == -1, PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(!plue_session_relay_get("nobody"), PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(!plue_session_create_with("{\"template\":\"none such\"}"), PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(!plue_session_create_with("{\"parentId\":\"session_1\"}"), PLUE_ERROR_NOT_FOUND);
    end_refusals();
}

static char *nested(int depth, const char *format)
{
    char *deep = calloc((size_t)depth * 2 + 2, 1), *json;
    memset(deep, '[', (size_t)depth);
    memset(deep + depth, ']', (size_t)depth);
    CHECK(asprintf(&json, format, deep) > 0);
    free(deep);
    return json;
}

static void json_may_be_nested_128_deep(void)
{
    begin_refusals();
    char *deep = nested(127, "{\"metadata\":%s}"); /* the metadata must be an object: known only after parsing */
    REFUSED(plue_session_update(session, deep) == -1);
    free(deep);
    deep = nested(129, "%s");
    CHECK_ERROR(plue_session_update(session, deep) == -1, PLUE_ERROR_JSON_PARSE);
    CHECK_SAYS("128");
    free(deep);
    deep = nested(100000, "%s");
    CHECK_ERROR(!plue_session_query(deep), PLUE_ERROR_JSON_PARSE);
    free(deep);
    deep = nested(127, "{\"metadata\":{\"a\":%s}}"); /* 129 */
    CHECK_ERROR(plue_session_update(session, deep) == -1, PLUE_ERROR_JSON_PARSE);
    free(deep);
    end_refusals();
    deep = nested(126, "{\"metadata\":{\"a\":%s}}"); /* 128 */
    CHECK(plue_session_update(session, deep) == 0);
    free(deep);
    CHECK(plue_session_update(session, "{\"metadata\":{\"brackets\":\"[[[[[[[[[[\"}}") == 0);
}

static void a_text_may_have_64_mib(void)
{
    size_t most = (size_t)64 << 20;
    char *text = malloc(most + 2);
    CHECK(text);
    memset(text, 'x', most + 1);
    text[most + 1] = 0;
    begin_refusals();
    CHECK_ERROR(plue_session_update_title(session, text) == -1, PLUE_ERROR_LIMIT_EXCEEDED);
    CHECK_SAYS("title has 67108865 bytes, a text may have 67108864");
    CHECK_ERROR(!plue_json_quote(text), PLUE_ERROR_LIMIT_EXCEEDED);
    CHECK_SAYS("plue_json_quote: text has 67108865 bytes, a text may have 67108864");
    text[0] = '\xff';
    CHECK_ERROR(!plue_json_quote(text), PLUE_ERROR_LIMIT_EXCEEDED);
    text[most] = 0;
    CHECK_ERROR(!plue_json_quote(text), PLUE_ERROR_INVALID_PARAM);
    CHECK_SAYS("not valid UTF-8");
    end_refusals();
    memset(text, '\n', 20);
    char *quoted = plue_json_quote(text);
    CHECK(quoted && strlen(quoted) == most + 22 && !strncmp(quoted, "\"\\n\\n", 5) &&
          !strcmp(quoted + most + 19, "xx\""));
    plue_free(quoted);
    free(text);
}

static void ids_and_keys_from_outside_are_checked(void)
{
    static const char *const bad[] = {
        "../x",    "a/b",        "a\\b",       ".",          "..",           "a\nb",
        "\x01",    "\x7f",       "session_",   "session_x",  "session_1/..", "ses_",
        "ses_a/b", "session_-1", "session_ 1", "SESSION_\n", "a\xc2\x85",
    };
    char longer[300];
    memset(longer, 'k', sizeof longer);
    longer[201] = 0;
    begin_refusals();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        REFUSED(!plue_session_open(bad[i]));
        REFUSED(!plue_session_create(bad[i]));
        REFUSED(!plue_session_get_or_create(bad[i]));
        REFUSED(plue_session_validate_share(bad[i], "x") == -1);
    }
    REFUSED(!plue_session_open(longer));
    REFUSED(!plue_session_get_or_create(longer));
    REFUSED(!plue_session_open(""));
    REFUSED(!plue_session_get_or_create(""));
    REFUSED(plue_session_validate_share("", "x") == -1);
    REFUSED(!plue_session_get_or_create("session_1"));
    REFUSED(!plue_session_get_or_create("ses_1"));
    REFUSED(!plue_session_create("a key"));
    end_refusals();
    longer[200] = 0;
    plue_session_t keyed = plue_session_get_or_create(longer);
    CHECK(keyed);
    plue_session_destroy(keyed);
}

static void titles_are_kept_byte_for_byte(void)
{
    static const char *const titles[] = {
        "",
        " ",
        "plain",
        "\xc3\xa9\xe2\x82\xac",
        "\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf",
        "e\xcc\x81",
        "\xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d \xe2\x80\xae",
        "\"quotes\" and \\backslashes\\ /",
        "\x01\x02\x1f\t\r\n\b\f\x7f",
        "\xe2\x80\xa8\xe2\x80\xa9\xef\xbb\xbf\xef\xbf\xbf",
        "\\u0041 \\n {}[],:",
        "trailing ",
        "%s %d %n",
        "\xc2\x85\xc2\xa0",
    };
    for (size_t i = 0; i < sizeof titles / sizeof *titles; i++) {
        CHECK(plue_session_update_title(session, titles[i]) == 0);
        const char *info = text(plue_session_get_info(session));
        char *shown = json_at(info, "title"), *quoted = plue_json_quote(titles[i]), *patch;
        CHECK(json_valid(info) && shown && quoted && json_valid(quoted));
        CHECK(asprintf(&patch, "{\"title\":%s,\"base\":{\"title\":%s}}", quoted, shown) > 0);
        CHECK(plue_session_update(session, patch) == 0); /* what is shown and what is quoted are the same text */
        free(patch);
        CHECK(asprintf(&patch, "{\"text\":%s,\"limit\":1}", quoted) > 0);
        CHECK(plue_session_count(patch) >= 1); /* and what is stored is found by it */
        free(patch);
        free(shown);
        plue_free(quoted);
    }
    size_t size = (size_t)part(4 << 20);
    char *huge = malloc(size + 1);
    memset(huge, 'x', size);
    huge[size] = 0;
    CHECK(plue_session_update_title(session, huge) == 0);
    char *title = json_text(text(plue_session_get_info(session)), "title");
    CHECK(title && !strcmp(title, huge));
    free(title);
    free(huge);
    CHECK(plue_session_update_title(session, "small again") == 0);
    CHECK(plue_session_update(session, "{\"title\":\"a\\u0000b\"}") == 0);
    const char *info = text(plue_session_get_info(session));
    CHECK(json_valid(info) && json_is(info, "title", "\"a\\u0000b\""));
}

static void *fail_often(void *which)
{
    int odd = which != NULL;
    for (int i = 0; i < part(2000); i++) {
        CHECK_ERROR(odd ? !plue_session_open("session_1") : !plue_session_get_info(PLUE_CURRENT_SESSION),
                    odd ? PLUE_ERROR_NOT_FOUND : PLUE_ERROR_BAD_HANDLE);
        CHECK(json_valid(plue_get_last_error_json()));
        CHECK(SAYS(plue_get_last_error_json(), odd ? "NOT_FOUND" : "BAD_HANDLE"));
    }
    return NULL;
}

static void threads_do_not_see_each_others_errors(void)
{
    pthread_t threads[8];
    for (int i = 0; i < 8; i++)
        threads[i] = run(fail_often, i % 2 ? &threads : NULL);
    for (int i = 0; i < 8; i++)
        end(threads[i]);
}

int main(void)
{
    start("");
    session = plue_session_create(NULL);
    CHECK(session && plue_get_last_error_code() == PLUE_OK && !strcmp(plue_get_last_error(), "No error"));
    an_error_stays_in_its_thread();
    a_success_does_not_clear_an_error_but_poll_does();
    codes_have_names_and_messages_have_remedies();
    null_is_refused_where_it_has_no_meaning();
    what_is_not_utf8_is_refused();
    what_is_not_json_is_refused();
    unknown_keys_and_wrong_types_are_named();
    json_may_be_nested_128_deep();
    a_text_may_have_64_mib();
    ids_and_keys_from_outside_are_checked();
    titles_are_kept_byte_for_byte();
    threads_do_not_see_each_others_errors();
    plue_session_destroy(session);
    plue_shutdown();
    return 0;
}
