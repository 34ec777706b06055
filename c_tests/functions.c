/* Every function's main path, its options, and the events that tell of it: exactly one for each change, in order. */
#include "check.h"
#include "json.h"

static long long sequence;

/* The next event must be this one. Returns its data's raw text; the last four stay valid. */
static const char *told(const char *type, plue_session_t of)
{
    static char *kept[4], *cursors[2];
    static unsigned next;
    char *event = plue_event_poll(), quoted[64];
    CHECK(event != NULL);
    CHECK(json_valid(event));
    snprintf(quoted, sizeof quoted, "\"%s\"", type);
    if (!json_is(event, "type", quoted)) {
        fprintf(stderr, "expected %s, got %s\n", type, event);
        CHECK(!"the expected event");
    }
    CHECK(json_number(event, "sequence") == sequence);
    sequence++;
    if (of) {
        char *id = json_text(event, "sessionId"), *data_id = json_text(event, "data.id");
        CHECK(id && data_id && !strcmp(id, data_id));
        const char *own = text(plue_session_get_id(of));
        CHECK(!strcmp(own, id) || (!strcmp(own, "(null)") && !strcmp(type, "session.deleted")));
        free(id);
        free(data_id);
    }
    char *cursor = json_text(event, "cursor"), *correlation = json_text(event, "correlationId");
    CHECK(cursor && *cursor && correlation && *correlation && json_number(event, "timestamp") > 1700000000000);
    CHECK(!of || !cursors[0] || strcmp(cursor, cursors[0])); /* each durable event has a place of its own */
    free(cursors[0]);
    cursors[0] = cursor;
    free(correlation);
    char **place = &kept[next++ % 4];
    free(*place);
    *place = json_at(event, "data");
    plue_free(event);
    return *place;
}

static void told_nothing(void)
{
    CHECK_ERROR(!plue_event_poll(), PLUE_OK);
}

static const char *info_of(plue_session_t session)
{
    const char *info = text(plue_session_get_info(session));
    CHECK(json_valid(info));
    CHECK(!strcmp(info, text(plue_session_peek_info(session))));
    return info;
}

static void create_makes_a_session_and_tells(void)
{
    long long before = (long long)time(NULL) * 1000;
    plue_session_t session = plue_session_create(NULL);
    CHECK(session && json_is(told("session.created", session), "parentId", NULL));
    const char *info = info_of(session);
    char *id = plue_session_get_id(session);
    CHECK(!strncmp(id, "session_", 8) && strlen(id) == 21 && json_is(info, "title", "\"Untitled\"") &&
          json_is(info, "parentId", NULL));
    CHECK(json_number(info, "time.created") >= before &&
          json_number(info, "time.created") == json_number(info, "time.updated"));
    CHECK(json_is(info, "tags", "[]") && json_is(info, "metadata", "{}") && json_is(info, "status", "\"active\"") &&
          json_is(info, "aborted", "false"));
    CHECK(json_is(info, "share", NULL) && json_is(info, "key", NULL) && json_is(info, "description", NULL) &&
          json_is(info, "role", NULL));
    CHECK(json_is(info, "relay", NULL) && json_is(info, "residency", NULL) && json_is(info, "provider", NULL) &&
          json_is(info, "directory", NULL));
    CHECK(json_is(info, "backend", "\"embedded\"") && json_is(info, "sync.state", "\"local\"") &&
          json_is(info, "sync.pending", "0"));
    CHECK(json_is(info, "time.archived", NULL) && json_is(info, "version", "\"0.1.0\"") &&
          json_is(info, "messageCount", "0"));
    plue_session_t child = plue_session_create(id), rootless = plue_session_create("");
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\"", id);
    CHECK(child && json_is(told("session.created", child), "parentId", quoted) &&
          json_is(info_of(child), "parentId", quoted));
    CHECK(rootless && json_is(told("session.created", rootless), "parentId", NULL) &&
          json_is(info_of(rootless), "parentId", NULL));
    CHECK_ERROR(!plue_session_create("session_12345"), PLUE_ERROR_NOT_FOUND);
    told_nothing();
    CHECK(plue_session_count(NULL) == 3);
    plue_session_destroy(session);
    plue_session_destroy(child);
    plue_session_destroy(rootless);
    plue_free(id);
}

static void create_with_takes_every_option(void)
{
    char options[1024], real[4096];
    plue_session_t parent = plue_session_create_with(NULL), session;
    CHECK(parent && realpath(data_dir(), real));
    told("session.created", parent);
    snprintf(options, sizeof options,
             "{\"title\":\"T\",\"parentId\":\"%s\",\"key\":\"my "
             "key\",\"tags\":[\"b\",\"a\",\"b\"],\"metadata\":{\"x\":[1,{\"y\":null}]},"
             "\"description\":\"D\",\"role\":\"builder\",\"provider\":{\"providerId\":\"p\",\"modelId\":\"m/"
             "1\"},\"directory\":\"%s/../%s/.\"}",
             text(plue_session_get_id(parent)), data_dir(), strrchr(data_dir(), '/') + 1);
    session = plue_session_create_with(options);
    CHECK(session && !json_is(told("session.created", session), "parentId", NULL));
    const char *info = info_of(session);
    char quoted[4200];
    snprintf(quoted, sizeof quoted, "\"%s\"", real);
    CHECK(json_is(info, "title", "\"T\"") && json_is(info, "key", "\"my key\"") &&
          json_is(info, "tags", "[\"b\",\"a\"]"));
    CHECK(json_is(info, "metadata", "{\"x\":[1,{\"y\":null}]}") && json_is(info, "description", "\"D\"") &&
          json_is(info, "role", "\"builder\""));
    CHECK(json_is(info, "relay.state", "\"CREATED\"") && json_is(info, "directory", quoted));
    CHECK(SAYS(info, "\"p\"") && SAYS(info, "m/1"));
    plue_session_t by_key = plue_session_open("my key"), same = plue_session_get_or_create("my key");
    CHECK(by_key && same && by_key != session &&
          !strcmp(text(plue_session_get_id(by_key)), text(plue_session_get_id(session))));
    CHECK(!strcmp(text(plue_session_get_id(same)), text(plue_session_get_id(session))));
    CHECK_ERROR(!plue_session_open("no such key"), PLUE_ERROR_NOT_FOUND);
    told_nothing();
    plue_session_t made = plue_session_get_or_create("made here");
    CHECK(made && json_is(info_of(made), "key", "\"made here\""));
    told("session.created", made);
    told_nothing();
    plue_session_destroy(parent);
    plue_session_destroy(session);
    plue_session_destroy(by_key);
    plue_session_destroy(same);
    plue_session_destroy(made);
}

static void updates_change_what_they_name(void)
{
    plue_session_t session = plue_session_create_with("{\"tags\":[\"one\"],\"metadata\":{\"a\":1}}"), other;
    told("session.created", session);
    other = plue_session_open(text(plue_session_get_id(session)));
    long long created = json_number(info_of(session), "time.created");
    CHECK(plue_session_update_title(session, "first") == 0 &&
          json_is(told("session.updated", session), "title", "\"first\""));
    CHECK(json_is(info_of(other), "title", "\"first\""));
    CHECK(plue_session_update(session, "{}") == 0);
    told_nothing();
    CHECK(plue_session_update(other, "{\"description\":\"d\",\"addTags\":[\"two\",\"one\"],\"metadata\":{\"b\":2}}") ==
          0);
    CHECK(json_is(told("session.updated", session), "title", NULL));
    const char *info = info_of(session);
    CHECK(json_is(info, "description", "\"d\"") && json_is(info, "tags", "[\"one\",\"two\"]") &&
          json_is(info, "metadata", "{\"b\":2}"));
    CHECK(json_is(info, "title", "\"first\"") && json_number(info, "time.created") == created &&
          json_number(info, "time.updated") >= created);
    CHECK(plue_session_update(session, "{\"description\":null,\"removeTags\":[\"one\"],\"archived\":true}") == 0);
    told("session.updated", session);
    info = info_of(session);
    CHECK(json_is(info, "description", NULL) && json_is(info, "tags", "[\"two\"]") &&
          json_number(info, "time.archived") >= created);
    CHECK(plue_session_update(session, "{\"tags\":[],\"archived\":false}") == 0 &&
          json_is(info_of(session), "tags", "[]"));
    told("session.updated", session);
    CHECK(json_is(info_of(session), "time.archived", NULL));
    /* base: applied only while the fields are as the caller saw them */
    CHECK(plue_session_update(session, "{\"title\":\"second\",\"base\":{\"title\":\"first\",\"description\":null}}") ==
          0);
    told("session.updated", session);
    CHECK_ERROR(plue_session_update(session, "{\"title\":\"third\",\"base\":{\"title\":\"first\"}}") == -1,
                PLUE_ERROR_CONFLICT);
    CHECK_SAYS("title");
    CHECK_SAYS(text(plue_session_get_id(session)));
    CHECK(SAYS(plue_get_last_error_json(), "\"fields\":[\"title\"]"));
    CHECK_ERROR(plue_session_update(session, "{\"title\":\"third\",\"base\":{\"metadata\":{\"b\":3}}}") == -1,
                PLUE_ERROR_CONFLICT);
    CHECK(json_is(info_of(session), "title", "\"second\""));
    told_nothing();
    /* initialize binds once */
    CHECK(plue_session_initialize(session, "anthropic", "claude") == 0);
    told("session.updated", session);
    CHECK(plue_session_initialize(session, "anthropic", "claude") == 0);
    CHECK_ERROR(plue_session_initialize(session, "anthropic", "other") == -1, PLUE_ERROR_CONFLICT);
    CHECK_ERROR(plue_session_initialize(session, "openai", "claude") == -1, PLUE_ERROR_CONFLICT);
    told_nothing();
    CHECK(SAYS(info_of(other), "anthropic"));
    /* abort with nothing running sets the flag, once */
    CHECK(plue_session_abort(session) == 0 && json_is(info_of(other), "aborted", "true"));
    told("session.updated", session);
    CHECK(plue_session_abort(session) == 0);
    CHECK(plue_session_update_title(session, "usable at once") == 0);
    told("session.updated", session);
    told_nothing();
    plue_session_destroy(session);
    plue_session_destroy(other);
}

static void what_needs_a_server_is_nothing_or_unsupported(void)
{
    plue_session_t session = plue_session_create(NULL);
    told("session.created", session);
    CHECK_ERROR(!plue_session_fork(session, NULL), PLUE_ERROR_UNSUPPORTED);
    CHECK_SAYS(text(plue_session_get_id(session)));
    CHECK_ERROR(!plue_session_fork(session, "msg_1"), PLUE_ERROR_UNSUPPORTED);
    CHECK(plue_session_abort_turn(session, "turn_1") == 0 && json_is(info_of(session), "aborted", "false"));
    CHECK_ERROR(plue_session_abort_turn(session, "") == -1, PLUE_ERROR_INVALID_PARAM);
    CHECK_ERROR(plue_session_discard_pending(session, "op_1") == -1, PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(plue_session_discard_pending(session, "") == -1, PLUE_ERROR_INVALID_PARAM);
    CHECK(!strcmp(text(plue_session_messages(session, NULL)), "{\"messages\":[]}"));
    CHECK(!strcmp(text(plue_session_messages(session, "{\"limit\":1,\"parts\":false}")), "{\"messages\":[]}"));
    CHECK(!strcmp(text(plue_session_permissions(session)), "[]") &&
          !strcmp(text(plue_session_questions(session)), "[]") && !strcmp(text(plue_session_todos(session)), "[]"));
    const char *usage = text(plue_session_usage(session));
    CHECK(json_number(usage, "tokens.input") == 0 && json_number(usage, "cost") == 0 && json_is(usage, "models", "[]"));
    CHECK(plue_session_cancel_turns(session) == 0);
    CHECK_ERROR(!plue_session_run_turn(session, "{\"text\":\"x\"}", 0), PLUE_ERROR_UNSUPPORTED);
    CHECK_SAYS(text(plue_session_get_id(session)));
    CHECK_ERROR(!plue_session_diff(session, NULL), PLUE_ERROR_UNSUPPORTED);
    CHECK_ERROR(!plue_session_choices(session), PLUE_ERROR_UNSUPPORTED);
    CHECK_ERROR(plue_session_reply_permission(session, "per_1", "once") == -1, PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(plue_session_reply_permission(session, "per_1", "perhaps") == -1, PLUE_ERROR_INVALID_PARAM);
    CHECK_ERROR(plue_session_reply_question(session, "que_1", "[[\"a\"]]") == -1, PLUE_ERROR_NOT_FOUND);
    CHECK(!strcmp(text(plue_session_inputs(session)), "[]"));
    double begun = seconds();
    CHECK(plue_session_sync(0) == 0 && plue_session_sync(1) == 0 && plue_session_sync(2147483647) == 0 &&
          seconds() - begun < 5);
    CHECK(!strcmp(text(plue_session_sync_status()),
                  "{\"connected\":false,\"pending\":0,\"operations\":[],\"conflicts\":[]}"));
    told_nothing();
    CHECK(plue_session_delete(session) == 0);
    told("session.deleted", NULL);
    CHECK_ERROR(!plue_session_fork(session, NULL), PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(plue_session_abort_turn(session, "turn_1") == -1, PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(!plue_session_messages(session, NULL), PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(!plue_session_permissions(session), PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(!plue_session_questions(session), PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(!plue_session_todos(session), PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(!plue_session_usage(session), PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(plue_session_cancel_turns(session) == -1, PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(!plue_session_run_turn(session, "{\"text\":\"x\"}", 0), PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(!plue_session_diff(session, NULL), PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(!plue_session_choices(session), PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(plue_session_reply_permission(session, "per_1", "once") == -1, PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(plue_session_reply_question(session, "que_1", NULL) == -1, PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(plue_session_discard_pending(session, "op_1") == -1, PLUE_ERROR_NOT_FOUND);
    plue_session_destroy(session);
}

/* The next event tells of inputs: this change of these. */
static void told_of_inputs(const char *change, const char *first, const char *second)
{
    char ids[128];
    snprintf(ids, sizeof ids, second ? "[\"%s\",\"%s\"]" : "[\"%s\"]", first, second);
    const char *data = told("queue.changed", NULL);
    char *told_change = json_text(data, "change");
    CHECK(!strcmp(told_change, change) && json_is(data, "kind", "\"input\"") && json_is(data, "ids", ids));
    free(told_change);
}

/* Whether that is there, as plue_json_text() returns it. */
static int is_at(const char *json, const char *pointer, const char *wanted)
{
    return !strcmp(text(plue_json_text(json, pointer)), wanted);
}

static void inputs_are_queued_listed_and_taken_back(void)
{
    plue_session_t session = plue_session_create(NULL), other = plue_session_open(text(plue_session_get_id(session)));
    told("session.created", session);
    char *first = plue_session_enqueue(session, "{\"text\":\"h\\u00e9\",\"id\":\"mine\",\"agent\":\"build\"}");
    CHECK(first && json_valid(first) && json_is(first, "sourceKey", "\"host:mine\"") &&
          json_is(first, "ingress", "\"nextTurn\"") && json_is(first, "state", "\"deferred_next_turn\"") &&
          json_is(first, "input", "{\"agent\":\"build\",\"text\":\"h\xc3\xa9\"}"));
    char *id = json_text(first, "inputId"), *session_id = json_text(first, "sessionId");
    CHECK(!strcmp(session_id, text(plue_session_get_id(session))) &&
          json_number(first, "enqueuedAt") >= ((long long)time(NULL) - 9) * 1000);
    told_of_inputs("enqueued", id, NULL);
    CHECK(!strcmp(first,
                  text(plue_session_enqueue(other, "{\"agent\":\"build\",\"id\":\"mine\",\"text\":\"h\xc3\xa9\"}"))));
    CHECK_ERROR(!plue_session_enqueue(session, "{\"text\":\"other\",\"id\":\"mine\"}"), PLUE_ERROR_CONFLICT);
    CHECK_SAYS(id);
    char batch[512];
    snprintf(batch, sizeof batch,
             "[{\"op\":\"enqueue\",\"session\":\"%s\",\"input_json\":{\"text\":\"two\"}},"
             "{\"op\":\"enqueue\",\"session\":\"%s\",\"input_json\":{\"command\":\"init\",\"arguments\":\"x\"}}]",
             session_id, session_id);
    char *results = plue_session_batch(batch), *second = plue_json_text(results, "/0/ok/inputId"),
         *third = plue_json_text(results, "/1/ok/inputId");
    CHECK(second && third && plue_json_int(results, "/0/ok/enqueueSeq", 0) > json_number(first, "enqueueSeq") &&
          plue_json_int(results, "/1/ok/enqueueSeq", 0) > plue_json_int(results, "/0/ok/enqueueSeq", 0));
    told_of_inputs("enqueued", second, NULL);
    told_of_inputs("enqueued", third, NULL);
    const char *listed = text(plue_session_inputs(other));
    CHECK(json_count(listed) == 3 && is_at(listed, "/2/input", "{\"arguments\":\"x\",\"command\":\"init\"}"));
    char *observation = plue_session_observation(session), *queue = json_at(observation, "queue");
    CHECK(json_count(queue) == 3 && !strcmp(queue, text(plue_session_inputs(session))));
    free(queue);
    plue_free(observation);
    char targets[256];
    snprintf(targets, sizeof targets, "[{\"inputId\":\"%s\"},{\"sourceKey\":\"none\"},{\"inputId\":\"%s\"}]", second,
             second);
    const char *outcomes = text(plue_session_cancel_inputs(session, targets));
    CHECK(json_count(outcomes) == 3 && is_at(outcomes, "/0/outcome", "cancelled") &&
          is_at(outcomes, "/0/input/state", "cancelled") && is_at(outcomes, "/1/outcome", "not_found") &&
          is_at(outcomes, "/2/outcome", "already_cancelled"));
    told_of_inputs("cancelled", second, NULL);
    CHECK(!strcmp(text(plue_session_cancel_inputs(session, "[]")), "[]"));
    outcomes = text(plue_session_cancel_inputs_from(session, "{\"sourceKey\":\"host:mine\"}"));
    CHECK(json_count(outcomes) == 3 && is_at(outcomes, "/1/outcome", "already_cancelled"));
    told_of_inputs("cancelled", id, third);
    outcomes = text(plue_session_cancel_inputs_from(session, "{\"inputId\":\"none\"}"));
    CHECK(json_count(outcomes) == 1 && is_at(outcomes, "/0/outcome", "anchor_not_found"));
    CHECK(json_is(text(plue_session_enqueue(session, "{\"agent\":\"build\",\"id\":\"mine\",\"text\":\"h\xc3\xa9\"}")),
                  "state", "\"cancelled\""));
    CHECK(!strcmp(text(plue_session_inputs(session)), "[]"));
    CHECK(plue_session_vacuum(session) == 3 && plue_session_vacuum(other) == 0);
    told_nothing();
    CHECK(plue_session_delete(session) == 0);
    told("session.deleted", NULL);
    CHECK_ERROR(!plue_session_enqueue(other, "{\"text\":\"x\"}"), PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(!plue_session_inputs(other), PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(!plue_session_cancel_inputs(other, "[]"), PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(!plue_session_cancel_inputs_from(other, "{\"inputId\":\"input_1\"}"), PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(plue_session_vacuum(other) == -1, PLUE_ERROR_NOT_FOUND);
    plue_session_destroy(session);
    plue_session_destroy(other);
    plue_free(first);
    plue_free(results);
    free(id);
    free(session_id);
    plue_free(second);
    plue_free(third);
}

static void nothing_is_asked_where_no_turn_runs(void)
{
    plue_session_t session = plue_session_create(NULL);
    told("session.created", session);
    CHECK(!strcmp(text(plue_session_permissions(session)), "[]"));
    CHECK(!strcmp(text(plue_session_questions(session)), "[]"));
    CHECK(!strcmp(text(plue_session_todos(session)), "[]"));
    CHECK_ERROR(plue_session_reply_permission(session, "per_1", "once") == -1, PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(plue_session_reply_question(session, "que_1", "[[\"yes\"]]") == -1, PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(plue_session_reply_question(session, "que_1", NULL) == -1, PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(plue_session_reply_permission(session, "per_1", "yes") == -1, PLUE_ERROR_INVALID_PARAM);
    CHECK_ERROR(plue_session_reply_permission(session, "", "once") == -1, PLUE_ERROR_INVALID_PARAM);
    CHECK_ERROR(!plue_session_diff(session, NULL), PLUE_ERROR_UNSUPPORTED);
    CHECK_ERROR(!plue_session_diff(session, "{\"turnId\":\"turn_1\"}"), PLUE_ERROR_UNSUPPORTED);
    CHECK_ERROR(!plue_session_choices(session), PLUE_ERROR_UNSUPPORTED);
    told_nothing();
    CHECK(plue_session_delete(session) == 0);
    told("session.deleted", NULL);
    plue_session_destroy(session);
}

static int base64url(const char *text_, size_t length)
{
    return strlen(text_) == length &&
           strspn(text_, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == length;
}

static void a_share_is_made_checked_and_withdrawn(void)
{
    plue_session_t session = plue_session_create(NULL), other = plue_session_create(NULL);
    told("session.created", session);
    told("session.created", other);
    char *id = plue_session_get_id(session), *other_id = plue_session_get_id(other);
    long long now = (long long)time(NULL) * 1000;
    char *share = plue_session_create_share(session), *again, *url, *secret, *link, *message;
    CHECK(share && json_valid(share));
    url = json_text(share, "url");
    secret = json_text(share, "secret");
    link = json_text(share, "link");
    CHECK(!strncmp(url, "http://localhost:4780/share/", 28) && base64url(url + 28, 22) && base64url(secret, 43));
    CHECK(!strncmp(link, url, strlen(url)) && link[strlen(url)] == '#' && !strcmp(link + strlen(url) + 1, secret));
    CHECK(json_number(share, "expiresAt") >= now + 86400000 && json_number(share, "expiresAt") < now + 86460000);
    const char *data = told("session.shared", session);
    char *told_url = json_text(data, "url");
    CHECK(!strcmp(told_url, url) && !SAYS(data, secret));
    again = plue_session_create_share(session);
    CHECK(again && !strcmp(share, again));
    told_nothing();
    char *shown = json_text(info_of(session), "share.url");
    CHECK(!strcmp(shown, url) && !SAYS(text(plue_session_list()), secret) && !SAYS(info_of(session), secret));
    CHECK(!SAYS(text(plue_session_query(NULL)), secret));
    CHECK(plue_session_validate_share(id, secret) == 0);
    CHECK_ERROR(plue_session_validate_share(id, "wrong") == -1, PLUE_ERROR_ACCESS_DENIED);
    message = strdup(plue_get_last_error());
    secret[10] ^= 1;
    CHECK_ERROR(plue_session_validate_share(id, secret) == -1, PLUE_ERROR_ACCESS_DENIED);
    CHECK(!strcmp(message, plue_get_last_error()));
    secret[10] ^= 1;
    CHECK_ERROR(plue_session_validate_share(id, "") == -1, PLUE_ERROR_ACCESS_DENIED);
    CHECK_ERROR(plue_session_validate_share(other_id, secret) == -1, PLUE_ERROR_ACCESS_DENIED);
    CHECK(!strcmp(message, plue_get_last_error()));
    CHECK_ERROR(plue_session_validate_share("session_1", secret) == -1, PLUE_ERROR_ACCESS_DENIED);
    CHECK(!strcmp(message, plue_get_last_error()));
    CHECK(plue_session_unshare(session) == 0 && json_is(info_of(session), "share", NULL));
    told("session.unshared", session);
    CHECK_ERROR(plue_session_validate_share(id, secret) == -1, PLUE_ERROR_ACCESS_DENIED);
    CHECK(!strcmp(message, plue_get_last_error()));
    CHECK(plue_session_unshare(session) == 0 && plue_session_unshare(other) == 0);
    told_nothing();
    char *fresh = plue_session_create_share(session), *fresh_secret = json_text(fresh, "secret");
    told("session.shared", session);
    CHECK(strcmp(fresh_secret, secret) && plue_session_validate_share(id, fresh_secret) == 0);
    CHECK_ERROR(plue_session_validate_share(id, secret) == -1, PLUE_ERROR_ACCESS_DENIED);
    CHECK(plue_session_delete(session) == 0);
    told("session.deleted", NULL);
    CHECK_ERROR(plue_session_validate_share(id, fresh_secret) == -1, PLUE_ERROR_ACCESS_DENIED);
    CHECK(!strcmp(message, plue_get_last_error()));
    plue_free(share);
    plue_free(again);
    plue_free(fresh);
    plue_free(id);
    plue_free(other_id);
    free(url);
    free(secret);
    free(link);
    free(told_url);
    free(shown);
    free(message);
    free(fresh_secret);
    plue_session_destroy(session);
    plue_session_destroy(other);
}

static int cleanings;

static int clean(const char *session, void *data)
{
    CHECK(data == &cleanings && json_is(session, "relay.state", "\"TERMINATING\""));
    CHECK(json_is(session, "relay.worktree", "\"/tmp\""));
    cleanings++;
    return 1; /* logged, and cleaning goes on */
}

static void relay_states_follow_by_their_table(void)
{
    static const char *const states[] = {"CREATED", "SPAWNING", "ACTIVE", "TERMINATING", "CLEANED"};
    static const char *const events[] = {"SPAWN", "ACTIVATE", "TERMINATE", "CLEAN"};
    static const char *const follow[5][4] = {
        {"SPAWNING", NULL, "TERMINATING", NULL},
        {NULL, "ACTIVE", "TERMINATING", NULL},
        {NULL, NULL, "TERMINATING", NULL},
        {NULL, NULL, "TERMINATING", "CLEANED"},
        {NULL, NULL, NULL, NULL},
    };
    for (int state = 0; state < 5; state++)
        for (int event = 0; event < 4; event++) {
            const char *found = plue_session_relay_next_state(states[state], events[event]);
            CHECK(follow[state][event] ? found && !strcmp(found, follow[state][event]) : !found);
            CHECK(found || plue_get_last_error_code() == PLUE_ERROR_INVALID_TRANSITION);
        }
}

/* The next event tells of this change of the relay's. */
static void relay_went(const char *from, const char *to, const char *reason)
{
    const char *data = told("relay.changed", NULL);
    CHECK(json_is(data, "from", from) && json_is(data, "to", to) && json_is(data, "reason", reason));
}

static void an_agent_of_the_hosts_lives_and_ends(void)
{
    CHECK(plue_session_set_cleaner(clean, &cleanings) == 0);
    plue_session_t session = plue_session_create_with("{\"role\":\"reviewer\"}");
    told("session.created", session);
    CHECK(json_is(info_of(session), "relay.state", "\"CREATED\"") && json_is(info_of(session), "role", "\"reviewer\""));
    char *id = plue_session_get_id(session);
    CHECK_ERROR(!plue_session_create_with("{\"role\":\"reviewer\"}"), PLUE_ERROR_ALREADY_EXISTS);
    CHECK_SAYS(id);
    static const char attached[] = "{\"worktree\":\"/tmp\",\"agent\":{\"kind\":\"host\"}}";
    CHECK_ERROR(plue_session_relay_attach(session, attached) == -1, PLUE_ERROR_INVALID_TRANSITION);
    CHECK_ERROR(plue_session_relay_clean(id) == -1, PLUE_ERROR_INVALID_TRANSITION);
    CHECK(plue_session_relay_spawn(session) == 0);
    relay_went("\"CREATED\"", "\"SPAWNING\"", NULL);
    CHECK_ERROR(plue_session_relay_spawn(session) == -1, PLUE_ERROR_INVALID_TRANSITION);
    CHECK(plue_session_relay_attach(session, attached) == 0);
    relay_went("\"SPAWNING\"", "\"ACTIVE\"", NULL);
    CHECK(json_is(info_of(session), "relay.worktree", "\"/tmp\""));
    plue_session_t found = plue_session_relay_get("reviewer");
    CHECK(found && !strcmp(text(plue_session_get_id(found)), id));
    plue_session_destroy(found);
    for (int i = 0; i < 3; i++) {
        CHECK(plue_session_relay_count_message(session) == 0);
        told("session.updated", session);
    }
    CHECK(plue_session_relay_heartbeat(session) == 0 && json_is(info_of(session), "relay.messageCount", "3"));
    told("session.updated", session);
    char *metrics = plue_session_metrics("json");
    CHECK(metrics && json_valid(metrics) && json_is(metrics, "relay.states.ACTIVE", "1"));
    plue_free_json(metrics);
    CHECK(plue_session_relay_terminate(id, "done \xe2\x9c\x93") == 0 && plue_session_relay_terminate(id, NULL) == 0);
    relay_went("\"ACTIVE\"", "\"TERMINATING\"", "\"done \xe2\x9c\x93\"");
    CHECK(cleanings == 0 && plue_session_relay_clean(id) == 0 && plue_session_relay_clean(id) == 0 && cleanings == 1);
    told("log", NULL);
    relay_went("\"TERMINATING\"", "\"CLEANED\"", NULL);
    CHECK(plue_session_relay_terminate(id, "late") == 0 && plue_session_relay_terminate("session_1", NULL) == 0);
    CHECK_ERROR(plue_session_relay_clean("session_1") == -1, PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(!plue_session_relay_get("reviewer"), PLUE_ERROR_NOT_FOUND);
    plue_session_t next = plue_session_create_with("{\"role\":\"reviewer\"}"); /* it is free again */
    told("session.created", next);
    CHECK(plue_session_relay_terminate(text(plue_session_get_id(next)), NULL) == 0);
    relay_went("\"CREATED\"", "\"TERMINATING\"", NULL);
    CHECK(plue_session_set_cleaner(NULL, NULL) == 0 && plue_session_relay_clean(text(plue_session_get_id(next))) == 0);
    relay_went("\"TERMINATING\"", "\"CLEANED\"", NULL);
    CHECK(cleanings == 1);
    told_nothing();
    plue_free(id);
    plue_session_destroy(session);
    plue_session_destroy(next);
}

static void delete_takes_the_descendants_along(void)
{
    plue_session_t root = plue_session_create(NULL), child[3], grandchild, aside = plue_session_create(NULL);
    int before = plue_session_count(NULL);
    for (int i = 0; i < 3; i++)
        CHECK((child[i] = plue_session_create(text(plue_session_get_id(root)))) != NULL);
    CHECK((grandchild = plue_session_create(text(plue_session_get_id(child[1])))) != NULL);
    for (int i = 0; i < 6; i++)
        told("session.created", NULL);
    char *ids[5] = {plue_session_get_id(root), plue_session_get_id(child[0]), plue_session_get_id(child[1]),
                    plue_session_get_id(child[2]), plue_session_get_id(grandchild)};
    CHECK(plue_session_delete(root) == 0);
    int seen[5] = {0};
    for (int i = 0; i < 5; i++) {
        const char *data = told("session.deleted", NULL);
        char *id = json_text(data, "id");
        for (int j = 0; j < 5; j++)
            if (!strcmp(id, ids[j])) {
                CHECK(!seen[j]++);
                CHECK(j != 0 || i == 4); /* children before their parents */
                CHECK(j != 2 || seen[4]);
            }
        free(id);
    }
    told_nothing();
    for (int i = 0; i < 5; i++)
        CHECK(seen[i] == 1);
    CHECK(plue_session_count(NULL) == before - 1);
    CHECK_ERROR(plue_session_delete(root) == -1, PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(!plue_session_get_info(grandchild), PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(!plue_session_create(ids[0]), PLUE_ERROR_NOT_FOUND);
    told_nothing();
    CHECK(json_valid(info_of(aside)));
    for (int i = 0; i < 5; i++)
        plue_free(ids[i]);
    for (int i = 0; i < 3; i++)
        plue_session_destroy(child[i]);
    plue_session_destroy(root);
    plue_session_destroy(grandchild);
    plue_session_destroy(aside);
}

/* Read all pages; each session once; returns how many, and checks it against count(). */
static int pages(const char *filter, int limit)
{
    char query[2048], *cursor = NULL, *last = NULL;
    int found = 0, rounds = 0;
    do {
        snprintf(query, sizeof query, "{\"limit\":%d%s%s%s%s%s}", limit, *filter ? "," : "", filter,
                 cursor ? ",\"cursor\":\"" : "", cursor ? cursor : "", cursor ? "\"" : "");
        const char *page = text(plue_session_query(query));
        CHECK(json_valid(page));
        char *sessions = json_at(page, "sessions");
        int here = json_count(sessions);
        free(cursor);
        cursor = json_text(page, "nextCursor");
        CHECK(here <= limit && (!cursor || here == limit));
        CHECK(!last || strcmp(last, sessions) || !here);
        free(last);
        last = sessions;
        found += here;
        CHECK(++rounds < 2000);
    } while (cursor);
    free(last);
    snprintf(query, sizeof query, "{%s}", filter);
    CHECK(plue_session_count(query) == found);
    return found;
}

static void a_thousand_sessions_are_queried_and_paged(void)
{
    int count = part(1000) < 20 ? 20 : part(1000), tagged = 0;
    while (1) { /* an empty store again */
        const char *page = text(plue_session_query("{\"limit\":1}"));
        char *id = strstr(page, "session_");
        if (!id)
            break;
        id[strcspn(id, "\"")] = 0;
        plue_session_t old = plue_session_open(id);
        CHECK(old && plue_session_delete(old) == 0);
        plue_session_destroy(old);
    }
    CHECK(!strcmp(text(plue_session_list()), "[]") && !strcmp(text(plue_session_query(NULL)), "{\"sessions\":[]}") &&
          plue_session_count(NULL) == 0);
    plue_session_t parent = NULL, middle = NULL;
    char parent_filter[128] = "";
    long long half = 0;
    for (int i = 0; i < count; i++) {
        char options[512];
        const char *of = i % 100 == 1 && parent ? text(plue_session_get_id(parent)) : "";
        snprintf(options, sizeof options,
                 "{\"title\":\"%s %03d\",\"tags\":[\"all\"%s],\"description\":\"%s\",\"parentId\":\"%s\"%s%d%s}",
                 i % 2 ? "\xc3\x9c"
                         "ber"
                       : "unter",
                 i % 7, i % 3 ? "" : ",\"third\"", i % 5 ? "" : "Quint", of,
                 i % 10 ? ",\"metadata\":{\"i\":" : ",\"key\":\"k", i, i % 10 ? "}" : "\"");
        plue_session_t session = plue_session_create_with(options);
        CHECK(session);
        tagged += i % 3 == 0;
        if (i % 4 == 0)
            CHECK(plue_session_update(session, "{\"archived\":true}") == 0);
        if (i == 0)
            parent = session;
        else if (i == count / 2) {
            middle = session;
            half = json_number(info_of(session), "time.created");
        } else
            plue_session_destroy(session);
    }
    CHECK(json_count(text(plue_session_list())) == count);
    CHECK(pages("", 7) == count && pages("", 100) == count && pages("", 10000) == count);
    static const char *const orders[] = {"\"sort\":\"updated\"",
                                         "\"sort\":\"created\"",
                                         "\"sort\":\"title\"",
                                         "\"sort\":\"artifactCount\"",
                                         "\"order\":\"desc\"",
                                         "\"sort\":\"title\",\"order\":\"desc\"",
                                         "\"sort\":\"created\",\"order\":\"desc\""};
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++)
        CHECK(pages(orders[i], 33) == count);
    CHECK(pages("\"tags\":[\"all\"]", 50) == count && pages("\"tags\":[\"all\",\"third\"]", 50) == tagged &&
          pages("\"tags\":[\"none\"]", 5) == 0);
    CHECK(pages("\"archived\":true", 9) == (count + 3) / 4 &&
          pages("\"archived\":false", 99) == count - (count + 3) / 4);
    CHECK(pages("\"text\":\"\xc3\xbc"
                "BER\"",
                40) == count / 2 &&
          pages("\"text\":\"quint\"", 40) == (count + 4) / 5);
    CHECK(pages("\"key\":\"k10\"", 3) == 1 && pages("\"key\":\"k11\"", 3) == 0 && pages("\"role\":\"none\"", 3) == 0);
    CHECK(pages("\"status\":\"active\"", 200) == count && pages("\"status\":[\"failed\",\"completed\"]", 3) == 0 &&
          pages("\"residency\":\"open\"", 3) == 0);
    CHECK(pages("\"relayState\":[\"CREATED\",\"CLEANED\"]", 3) == 0);
    snprintf(parent_filter, sizeof parent_filter, "\"parentId\":\"%s\"", text(plue_session_get_id(parent)));
    CHECK(pages(parent_filter, 3) == (count + 98) / 100);
    char span[128];
    snprintf(span, sizeof span, "\"createdBefore\":%lld", half);
    int earlier = pages(span, 64);
    snprintf(span, sizeof span, "\"createdAfter\":%lld", half);
    CHECK(earlier + pages(span, 64) == count && earlier <= count / 2);
    snprintf(span, sizeof span, "\"updatedAfter\":0,\"updatedBefore\":%lld", half + 100000000);
    CHECK(pages(span, 64) == count);
    /* the cursor of one query is none of another's */
    char *cursor = json_text(text(plue_session_query("{\"limit\":2}")), "nextCursor"), query[512];
    snprintf(query, sizeof query, "{\"limit\":2,\"sort\":\"title\",\"cursor\":\"%s\"}", cursor);
    CHECK_ERROR(!plue_session_query(query), PLUE_ERROR_BAD_CURSOR);
    snprintf(query, sizeof query, "{\"limit\":2,\"cursor\":\"%sx\"}", cursor);
    CHECK_ERROR(!plue_session_query(query), PLUE_ERROR_BAD_CURSOR);
    free(cursor);
    plue_session_destroy(parent);
    plue_session_destroy(middle);
}

static void a_limit_on_active_sessions_holds(void)
{
    plue_shutdown();
    start(",\"store\":\"memory\",\"limits\":{\"activeSessions\":2},\"share\":{\"auto\":true,\"ttlMs\":null,\"baseUrl\":"
          "\"https://example.org/x\"}");
    sequence = 0;
    told("library.initialized", NULL);
    plue_session_t one = plue_session_create(NULL), two;
    told("session.created", one);
    told("session.shared", one);
    char *url = json_text(text(plue_session_get_info(one)), "share.url");
    CHECK(!strncmp(url, "https://example.org/x/share/", 28) &&
          json_is(text(plue_session_get_info(one)), "share.expiresAt", NULL));
    free(url);
    two = plue_session_create(text(plue_session_get_id(one)));
    CHECK(two && json_is(info_of(two), "share", NULL)); /* child sessions are not shared by themselves */
    told("session.created", two);
    CHECK_ERROR(!plue_session_create(NULL), PLUE_ERROR_LIMIT_EXCEEDED);
    CHECK_SAYS("limits.activeSessions");
    CHECK_ERROR(!plue_session_get_or_create("third"), PLUE_ERROR_LIMIT_EXCEEDED);
    told_nothing();
    CHECK(plue_session_delete(two) == 0);
    told("session.deleted", NULL);
    plue_session_t three = plue_session_get_or_create("third");
    CHECK(three);
    plue_session_destroy(one);
    plue_session_destroy(two);
    plue_session_destroy(three);
}

int main(void)
{
    start("");
    CHECK(json_is(told("library.initialized", NULL), "version", "\"0.1.0\""));
    told_nothing();
    create_makes_a_session_and_tells();
    create_with_takes_every_option();
    updates_change_what_they_name();
    what_needs_a_server_is_nothing_or_unsupported();
    inputs_are_queued_listed_and_taken_back();
    nothing_is_asked_where_no_turn_runs();
    a_share_is_made_checked_and_withdrawn();
    relay_states_follow_by_their_table();
    an_agent_of_the_hosts_lives_and_ends();
    delete_takes_the_descendants_along();
    a_thousand_sessions_are_queried_and_paged();
    a_limit_on_active_sessions_holds();
    plue_shutdown();
    return 0;
}
