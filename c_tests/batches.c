/* Operations in bulk, and without waiting: a result each, and exactly one last event for what was submitted. */
#include "faults.h"
#include "json.h"

#define CREATE "{\"op\":\"create\"}"

/* ---- what a subscriber hears of submissions ---- */
enum { MOST = 1 << 16, OPEN_AT_MOST = 512 };
enum { COMPLETED = 1, FAILED = 2, CANCELLED = 4 };

typedef struct news {
    _Atomic(unsigned char) ended[MOST]; /* how, by the id modulo MOST: ids of these tests do not reach further */
    atomic_int finals, twice, progress, late, is_over, held, hold;
    uint32_t id;
} news;

static news told;

static void on_news(uint8_t type, const char *event, void *data)
{
    news *mine = data;
    int how = type == PLUE_EVENT_OPERATION_COMPLETED   ? COMPLETED
              : type == PLUE_EVENT_OPERATION_FAILED    ? FAILED
              : type == PLUE_EVENT_OPERATION_CANCELLED ? CANCELLED
                                                       : 0;
    if (how) {
        long long number = json_number(event, "data.operation");
        CHECK(number > 0 && number < MOST);
        mine->late += mine->is_over;
        mine->twice += atomic_exchange(&mine->ended[number], (unsigned char)how) != 0;
        atomic_fetch_add(&mine->finals, 1);
    }
    mine->progress += type == PLUE_EVENT_OPERATION_PROGRESS;
    mine->is_over |= type == PLUE_EVENT_LIBRARY_SHUTDOWN;
    if (atomic_load(&mine->hold)) {
        atomic_store(&mine->held, 1);
        while (atomic_load(&mine->hold))
            pause_ms(1);
        atomic_store(&mine->held, 0);
    }
}

static void begin(const char *more)
{
    start(more);
    told = (news){.id = 0};
    CHECK((told.id = plue_event_subscribe(on_news, &told)) != 0);
}

static int ended(uint64_t operation)
{
    EVENTUALLY(atomic_load(&told.ended[operation]));
    return told.ended[operation];
}

/* ---- at once ---- */
static void each_operation_has_a_result_in_order(void)
{
    plue_session_t session = plue_session_create(NULL);
    char *id = plue_session_get_id(session), operations[1024], title[64];
    snprintf(
        operations, sizeof operations,
        "[{\"op\":\"update_title\",\"session\":\"%s\",\"title\":\"one\"},{\"op\":\"delete\",\"session\":\"session_1\"},"
        "{\"op\":\"get_info\",\"session\":\"%s\",\"tag\":\"t\",\"timeoutMs\":1000},{\"op\":\"nonsense\"},"
        "{\"op\":\"update\",\"session\":\"%s\",\"patch_json\":{\"tags\":[\"a\"]}},"
        "{\"op\":\"update\",\"session\":\"%s\",\"patch_json\":\"{\\\"addTags\\\":[\\\"b\\\"]}\"},"
        "{\"op\":\"create_with\",\"options_json\":{\"title\":\"made\",\"key\":\"made\"}},"
        "{\"op\":\"create_with\",\"options_json\":{\"key\":\"made\"}},{\"op\":\"query\",\"query_json\":{\"key\":"
        "\"made\"}}]",
        id, id, id, id);
    char *results = plue_session_batch(operations);
    static const struct {
        const char *pointer, *expected;
    } all[] = {
        {"/0/ok", "true"},
        {"/1/error/code", "NOT_FOUND"},
        {"/1/error/number", "-2"},
        {"/1/error/retryable", "false"},
        {"/2/ok/title", "one"},
        {"/3/error/code", "INVALID_PARAM"},
        {"/4/ok", "true"},
        {"/5/ok", "true"},
        {"/6/ok/title", "made"},
        {"/7/error/code", "ALREADY_EXISTS"},
        {"/8/ok/sessions/0/title", "made"},
    };
    CHECK(json_count(results) == 9);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const char *found = text(plue_json_text(results, all[i].pointer));
        if (strcmp(found, all[i].expected))
            fprintf(stderr, "%s: %s\n", all[i].pointer, found);
        CHECK(!strcmp(found, all[i].expected));
    }
    CHECK(SAYS(text(plue_json_text(results, "/3/error/message")), "nonsense") &&
          SAYS(text(plue_json_text(results, "/1/error/message")), "plue_session_delete session_1"));
    CHECK(!strcmp(text(plue_json_text(results, "/7/error/details/sessionId")),
                  text(plue_json_text(results, "/6/ok/id"))));
    /* All of it is seen by handles at once. */
    CHECK(!strcmp(text(plue_json_text(text(plue_session_peek_info(session)), "/title")), "one") &&
          json_is(text(plue_session_peek_info(session)), "tags", "[\"a\",\"b\"]"));
    snprintf(title, sizeof title, "[{\"op\":\"delete\",\"session\":\"%s\"}]", id);
    CHECK(!strcmp(text(plue_session_batch(title)), "[{\"ok\":true}]"));
    CHECK_ERROR(!plue_session_peek_info(session), PLUE_ERROR_NOT_FOUND);
    plue_session_destroy(session);
    plue_free(results);
    plue_free(id);
}

static char *repeated(const char *operation, int count)
{
    size_t length = strlen(operation) + 1;
    char *made = malloc(length * (size_t)count + 3), *to = made;
    *to++ = '[';
    for (int i = 0; i < count; i++, to += length) {
        memcpy(to, operation, length - 1);
        to[length - 1] = i + 1 < count ? ',' : ']';
    }
    *to = 0;
    return made;
}

static void what_is_wrong_as_a_whole_does_nothing(void)
{
    static const struct {
        const char *operations;
        int code;
    } bad[] = {
        {"", PLUE_ERROR_JSON_PARSE},
        {"[" CREATE, PLUE_ERROR_JSON_PARSE},
        {"[" CREATE "]]", PLUE_ERROR_JSON_PARSE},
        {CREATE, PLUE_ERROR_INVALID_PARAM},
        {"null", PLUE_ERROR_INVALID_PARAM},
        {"[" CREATE ",\"\\ud800\"]", PLUE_ERROR_INVALID_PARAM},
    };
    int before = plue_session_count(NULL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_ERROR(!plue_session_batch(bad[i].operations), bad[i].code);
        uint64_t operation = plue_session_submit(bad[i].operations);
        CHECK(operation && ended(operation) == FAILED);
    }
    char *many = repeated(CREATE, 1001), *enough = repeated("7", 1000);
    CHECK_ERROR(!plue_session_batch(many), PLUE_ERROR_LIMIT_EXCEEDED);
    CHECK_SAYS("at most 1000");
    CHECK(json_count(text(plue_session_batch(enough))) == 1000);
    CHECK(!strcmp(text(plue_session_batch(" [ ] ")), "[]") && plue_session_count(NULL) == before);
    free(many);
    free(enough);
}

static void many_changes_keep_their_order(void)
{
    char *many = repeated("{\"op\":\"create_with\",\"options_json\":{\"tags\":[\"many\"]}}", 1000);
    char *results = plue_session_batch(many);
    CHECK(results && json_count(results) == 1000 && plue_session_count("{\"tags\":[\"many\"]}") == 1000);
    char before[64] = "";
    for (int i = 0; i < 1000; i += 37) {
        char pointer[32];
        snprintf(pointer, sizeof pointer, "/%d/ok/id", i);
        const char *id = text(plue_json_text(results, pointer));
        CHECK(strcmp(before, id) < 0);
        snprintf(before, sizeof before, "%s", id);
    }
    plue_free(results);
    free(many);
}

/* ---- without waiting ---- */
static void what_was_submitted_ends_with_one_event(void)
{
    int before = told.progress;
    uint64_t good = plue_session_submit(
                 "[{\"op\":\"create\",\"tag\":\"a\"},{\"op\":\"delete\",\"session\":\"session_1\"}]"),
             none = plue_session_submit("[{\"op\":\"nonsense\"},{\"op\":\"abort\"}]"),
             empty = plue_session_submit("[]");
    CHECK(good && none && empty && good != none && none != empty);
    CHECK(ended(good) == COMPLETED && ended(none) == FAILED && ended(empty) == COMPLETED);
    EVENTUALLY(told.progress - before == 4);
    CHECK_ERROR(plue_session_cancel_operation(good) == -1, PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(plue_session_cancel_operation(none) == -1, PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(plue_session_cancel_operation(good + OPEN_AT_MOST) == -1, PLUE_ERROR_NOT_FOUND);
    /* The default queue has them, too, in the order in which they came. */
    int done = 0;
    for (char *event; (event = plue_event_wait(0)); plue_free(event)) {
        if (json_number(event, "data.operation") != (long long)good)
            continue;
        CHECK(json_is(event, "data.tag", json_is(event, "data.done", "2") ? NULL : "\"a\"") &&
              !SAYS(event, "sessionId"));
        if (json_is(event, "type", "\"operation.progress\""))
            CHECK(json_number(event, "data.done") == ++done && json_number(event, "data.of") == 2);
        else
            CHECK(done == 2 && ++done && json_is(event, "type", "\"operation.completed\"") &&
                  SAYS(text(plue_json_text(event, "/data/results/0/ok/id")), "session_") &&
                  !strcmp(text(plue_json_text(event, "/data/results/1/error/code")), "NOT_FOUND"));
    }
    CHECK(done == 3);
}

static void no_event_has_the_secret_of_a_share(void)
{
    plue_session_t session = plue_session_create(NULL);
    char operations[256];
    for (char *event; (event = plue_event_poll());)
        plue_free(event);
    snprintf(operations, sizeof operations, "[{\"op\":\"create_share\",\"session\":\"%s\"}]",
             text(plue_session_get_id(session)));
    CHECK(SAYS(text(plue_session_batch(operations)), "\"secret\""));
    CHECK(ended(plue_session_submit(operations)) == COMPLETED);
    for (char *event; (event = plue_event_poll()); plue_free(event))
        CHECK(!SAYS(event, "secret") && !SAYS(event, "\"link\""));
    plue_session_destroy(session);
}

static void cancelling_is_a_request(void)
{
    char *many = repeated(CREATE, 1000);
    int cancelled = 0;
    for (int i = 0; i < 20; i++) {
        uint64_t operation = plue_session_submit(many);
        CHECK(operation);
        pause_ms(i / 4);
        int asked = plue_session_cancel_operation(operation), how = ended(operation);
        CHECK(how == CANCELLED || how == COMPLETED);
        CHECK(asked == 0 || (how == COMPLETED && plue_get_last_error_code() == PLUE_ERROR_NOT_FOUND));
        cancelled += how == CANCELLED;
    }
    CHECK(cancelled);
    free(many);
}

/* ---- when memory is short ---- */
static atomic_int is_short;

static void *short_malloc(size_t size)
{
    if (size < 1 << 20 || !atomic_load(&is_short))
        return malloc(size);
    atomic_fetch_add(&faults_met, 1);
    return NULL;
}

/* Results that no event has room for: the last event comes without them. */
static void the_last_event_comes_where_there_is_no_memory_for_the_results(void)
{
    char *title = malloc(400001), *operations = malloc(401000), *eight;
    memset(title, 't', 400000);
    title[400000] = 0;
    plue_session_t session = plue_session_create(NULL);
    CHECK(plue_session_update_title(session, title) == 0);
    snprintf(operations, 401000, "{\"op\":\"get_info\",\"session\":\"%s\"}", text(plue_session_get_id(session)));
    eight = repeated(operations, 8);
    atomic_store(&is_short, 1);
    uint64_t operation = plue_session_submit(eight);
    CHECK(operation && ended(operation) == COMPLETED && atomic_load(&faults_met));
    atomic_store(&is_short, 0);
    operation = plue_session_submit(eight);
    CHECK(operation && ended(operation) == COMPLETED);
    CHECK(plue_session_delete(session) == 0);
    plue_session_destroy(session);
    free(title);
    free(operations);
    free(eight);
}

static int finals_in_the_default_queue(void)
{
    int count = 0;
    for (char *event; (event = plue_event_wait(100)); plue_free(event))
        count += SAYS(event, "\"type\":\"operation.") && !SAYS(event, "operation.progress");
    return count;
}

/* A reader that holds still, and a flood of progress: no last event is lost, and no more is taken than there is room
 * for. */
static void a_reader_that_is_far_behind_gets_each_last_event(void)
{
    int before = told.finals, taken = 0;
    atomic_store(&told.hold, 1);
    CHECK(plue_session_submit("[]"));
    EVENTUALLY(atomic_load(&told.held));
    for (double until = seconds() + 60; seconds() < until; taken++)
        while (!plue_session_submit("[" CREATE ",{\"op\":\"nonsense\"}]")) {
            CHECK(plue_get_last_error_code() == PLUE_ERROR_QUEUE_FULL);
            if (SAYS(plue_get_last_error(), "a reader of events"))
                goto full;
            pause_ms(1);
        }
    CHECK(!"a queue that gets full");
full:
    CHECK(taken >= OPEN_AT_MOST && taken <= 2 * OPEN_AT_MOST);
    atomic_store(&told.hold, 0);
    for (double until = seconds() + 60; told.finals - before < taken + 1 && seconds() < until;)
        pause_ms(1);
    CHECK(told.finals - before == taken + 1);
    CHECK(finals_in_the_default_queue() == taken + 1);
    EVENTUALLY(plue_session_submit("[]"));
    EVENTUALLY(told.finals - before == taken + 2);
    CHECK(!told.twice);
}

/* Submit until a reader of events has so much before it that nothing more is taken; the default queue is read
 * meanwhile. Returns how many were taken. */
static int submit_until_full(void)
{
    int taken = 0;
    for (double until = seconds() + 30; seconds() < until; taken++) {
        for (char *event; (event = plue_event_poll()); plue_free(event))
            ;
        while (!plue_session_submit("[]")) {
            if (SAYS(plue_get_last_error(), "a reader of events"))
                return taken;
            pause_ms(1);
        }
    }
    return -1;
}

/* So it is with an observer of all sessions, from when it is opened, and however long there was nothing to read. */
static void an_observer_that_is_far_behind_gets_each_last_event(void)
{
    plue_session_observer_t observer = plue_session_observe(PLUE_ALL_SESSIONS, NULL);
    CHECK(observer);
    for (int round = 0; round < 2; round++) {
        int taken = submit_until_full(), told_of = 0;
        CHECK(taken >= OPEN_AT_MOST && taken <= 2 * OPEN_AT_MOST);
        for (double until = seconds() + 60; told_of < taken && seconds() < until;) {
            char *event = plue_session_observer_next(observer, 200);
            CHECK(!event || !SAYS(event, "\"dropped\""));
            told_of += event && SAYS(event, "operation.completed");
            plue_free(event);
        }
        CHECK(told_of == taken && !plue_session_observer_next(observer, 200));
        (void)finals_in_the_default_queue(); /* what ended after the last poll is there */
        if (!round)
            pause_ms(5500);
    }
    plue_session_observer_close(observer);
    CHECK(plue_session_submit("[]"));
}

/* Nobody may ever read the default queue: it keeps the newest, and holds up nobody. Who asks for its descriptor reads.
 */
static void the_default_queue_is_waited_for_once_its_descriptor_was_asked_for(void)
{
    start("");
    uint64_t all[3 * OPEN_AT_MOST];
    for (int taken = 0; taken < 3 * OPEN_AT_MOST;)
        if ((all[taken] = plue_session_submit("[]")))
            taken++;
        else
            CHECK(!SAYS(plue_get_last_error(), "a reader of events")), pause_ms(1);
    for (int i = 0; i < 3 * OPEN_AT_MOST; i++)
        EVENTUALLY(plue_session_cancel_operation(all[i])); /* it has ended */
    pause_ms(100);
    CHECK(plue_event_fd() >= 0);
    CHECK_ERROR(!plue_session_submit("[]"), PLUE_ERROR_QUEUE_FULL);
    CHECK(SAYS(plue_get_last_error(), "a reader of events"));
    CHECK(finals_in_the_default_queue() == 2 * OPEN_AT_MOST);
    CHECK(plue_session_submit("[]"));
    plue_shutdown();
}

/* What a queue that nobody reads keeps has an end, also when each event is large. */
static void a_queue_that_nobody_reads_keeps_no_more_than_its_bytes(void)
{
    enum { TITLE = 1 << 20, EACH = 16, MANY = 8 };
    char *title = malloc(TITLE + 1), *operations;
    memset(title, 't', TITLE);
    title[TITLE] = 0;
    plue_session_t session = plue_session_create(NULL);
    CHECK(plue_session_update_title(session, title) == 0);
    snprintf(title, TITLE, "{\"op\":\"get_info\",\"session\":\"%s\"}", text(plue_session_get_id(session)));
    operations = repeated(title, EACH);
    for (double until = seconds() + 10; seconds() < until && !plue_session_submit("[]");)
        pause_ms(1);
    pause_ms(5500); /* who has read it before is no reader any more */
    for (int i = 0, before = told.finals; i < MANY; i++) {
        while (!plue_session_submit(operations))
            CHECK(plue_get_last_error_code() == PLUE_ERROR_QUEUE_FULL), pause_ms(1);
        EVENTUALLY(told.finals - before == i + 1);
    }
    CHECK(finals_in_the_default_queue() * EACH * TITLE <= 64 << 20);
    CHECK(plue_session_delete(session) == 0);
    plue_session_destroy(session);
    free(title);
    free(operations);
}

/* However much there is to read before it, an abort does not wait for that. */
static void an_abort_waits_for_none_that_are_yet_to_be_read(void)
{
    int many = part(300);
    plue_session_t session = plue_session_create(NULL);
    char *long_ = repeated("{\"op\":\"get_info\",\"session\":\"session_1\",\"tag\":\"of many that are long\"}", 200),
         abort[128];
    snprintf(abort, sizeof abort, " [ {\"session\":\"%s\", \"op\":\"abort\"}]", text(plue_session_get_id(session)));
    int before = told.finals, overtaken;
    for (int i = 0; i < many; i++)
        CHECK(plue_session_submit(long_));
    uint64_t operation = plue_session_submit(abort);
    CHECK(ended(operation) == COMPLETED);
    overtaken = many + 1 - (told.finals - before);
    CHECK(overtaken > many / 2 || getenv("CHECK_PART"));
    for (double until = seconds() + 60; told.finals - before < many + 1 && seconds() < until;)
        pause_ms(1);
    CHECK(told.finals - before == many + 1);
    plue_session_destroy(session);
    free(long_);
}

/* Who has stopped reading the default queue keeps nobody from submitting for ever; the oldest events go. */
static void a_default_queue_that_nobody_reads_is_not_waited_for(void)
{
    int before = told.finals, taken = 0, waited = 0;
    for (double until = seconds() + 30; taken < 1500 && seconds() < until;)
        if (plue_session_submit("[]"))
            taken++;
        else
            pause_ms(1), waited = 1;
    CHECK(taken == 1500 && (waited || getenv("CHECK_PART"))); /* a tool may take as long by itself */
    EVENTUALLY(told.finals - before == taken);
    CHECK(finals_in_the_default_queue() == 2 * OPEN_AT_MOST);
}

/* ---- with everything at once ---- */
static atomic_int running, given;
static _Atomic(unsigned char) submitted[MOST];

static void *submit_on(void *argument)
{
    static const char *const all[] = {"[" CREATE "," CREATE ",{\"op\":\"query\"}]", "[]", "[{\"op\":\"nonsense\"}]",
                                      "{", "[{\"op\":\"abort\",\"session\":\"session_1\"}]"};
    unsigned seed = (unsigned)(uintptr_t)argument;
    uint64_t mine[8] = {0};
    /* Under a slow tool fewer: what is open at a shutdown has its 7 s to end. */
    for (unsigned n = 0, most = (unsigned)part(700); atomic_load(&running) && n < most; n++) {
        seed = seed * 1664525u + 1013904223u;
        uint64_t operation = plue_session_submit(all[(seed >> 8) % 5]);
        if (operation) {
            CHECK(operation < MOST && !atomic_exchange(&submitted[operation], 1));
            atomic_fetch_add(&given, 1);
        } else {
            int code = plue_get_last_error_code();
            CHECK(code == PLUE_ERROR_QUEUE_FULL || code == PLUE_ERROR_NOT_INITIALIZED || code == PLUE_ERROR_CLOSED);
            if (code != PLUE_ERROR_QUEUE_FULL)
                break;
            pause_ms(1);
        }
        if (seed & 1 << 20)
            (void)plue_session_cancel_operation(mine[(seed >> 24) % 8]);
        mine[n % 8] = operation;
    }
    return NULL;
}

static void shutdown_in_the_middle(unsigned seed)
{
    enum { THREADS = 8 };
    pthread_t threads_[THREADS];
    begin(seed % 2 ? ",\"store\":\"memory\"" : "");
    memset((void *)submitted, 0, sizeof submitted);
    atomic_store(&given, 0);
    atomic_store(&running, 1);
    for (uintptr_t i = 0; i < THREADS; i++)
        threads_[i] = run(submit_on, (void *)(i * 7919 + seed * 104729 + 1));
    pause_ms((int)(seed * 7 % 40));
    double at = seconds();
    plue_shutdown();
    CHECK(seconds() - at < 7);
    atomic_store(&running, 0);
    for (int i = 0; i < THREADS; i++)
        end(threads_[i]);
    for (int i = 0; i < MOST; i++)
        CHECK(!submitted[i] == !told.ended[i]);
    CHECK(told.finals == given && !told.twice && !told.late && told.is_over);
}

int main(void)
{
    redirect_to("malloc", (void *)short_malloc);
    prepare_faults();
    begin("");
    each_operation_has_a_result_in_order();
    what_is_wrong_as_a_whole_does_nothing();
    many_changes_keep_their_order();
    what_was_submitted_ends_with_one_event();
    no_event_has_the_secret_of_a_share();
    cancelling_is_a_request();
    the_last_event_comes_where_there_is_no_memory_for_the_results();
    (void)finals_in_the_default_queue();
    a_reader_that_is_far_behind_gets_each_last_event();
    (void)finals_in_the_default_queue();
    a_default_queue_that_nobody_reads_is_not_waited_for();
    an_observer_that_is_far_behind_gets_each_last_event();
    a_queue_that_nobody_reads_keeps_no_more_than_its_bytes();
    an_abort_waits_for_none_that_are_yet_to_be_read();
    plue_shutdown();
    the_default_queue_is_waited_for_once_its_descriptor_was_asked_for();
    for (unsigned seed = 0; seed < (unsigned)part(40); seed++)
        shutdown_in_the_middle(seed);
    printf("%d submissions of the last round ended with one event each\n", given);
    return 0;
}
