/*
 * Memory runs out: the nth allocation of the library's C code fails, alone or with all that follow, for n = 1, 2, 3, …
 * until a run meets no fault. Each call then succeeds or says why not, what is committed is heard, nothing is left
 * behind, and all goes on when there is memory again. A part of it: not every n.
 */
#include "faults.h"
#include "json.h"

static long walked; /* the n of this run, for who reads of a failed check */
static int persistent;
static const char *scene;
static long refused, runs;
static plue_session_t common;
static long titled; /* acknowledged changes of a title: each is to be heard once by whoever listens */
static atomic_long heard;

static int tells_of_title(const char *event)
{
    return SAYS(event, "session.updated") && SAYS(event, "\"title\":\"walked ");
}

static void count_titles(uint8_t type, const char *event, void *data)
{
    (void)type;
    (void)data;
    CHECK(json_valid(event));
    atomic_fetch_add(&heard, tells_of_title(event));
}

static void ignore(uint8_t type, const char *event, void *data)
{
    (void)type;
    (void)data;
    CHECK(json_valid(event));
}

static _Atomic uint32_t leaving;

/* Ends itself from within, as soon as its id is known: its thread has to know whose it is. */
static void leave(uint8_t type, const char *event, void *data)
{
    ignore(type, event, data);
    plue_event_unsubscribe(atomic_load(&leaving));
}

static int blame(const char *call)
{
    Dl_info where;
    void *at = atomic_load(&faults_at);
    long offset = at && dladdr(at, &where) ? (long)((char *)at - (char *)where.dli_fbase) : 0;
    fprintf(stderr, "%s: %s, allocation %ld%s (libplue_session.so+0x%lx): ", scene, call, walked,
            persistent ? " and all that follow" : "", offset);
    return 0;
}

/* It succeeded; or it says that memory is short, and then a fault was met. */
static int fine(int ok, const char *call)
{
    if (ok)
        return 1;
    const char *message = plue_get_last_error(), *json = plue_get_last_error_json();
    int code = plue_get_last_error_code();
    CHECK((code == PLUE_ERROR_IO && atomic_load(&faults_met) && strlen(message) > 10 && json_valid(json)) ||
          blame(call));
    refused++;
    return 0;
}

#define FINE(call) fine(call, #call)

static int good(char *owned)
{
    CHECK(!owned || json_valid(owned) || !strncmp(owned, "session_", 8));
    plue_free(owned);
    return owned != NULL;
}

static void read_one(plue_session_t session)
{
    FINE(good(plue_session_get_info(session)));
    FINE(good(plue_session_peek_info(session)));
    FINE(good(plue_session_get_id(session)));
}

/* An acknowledged change is read back by the next call, which may say that it cannot, but nothing older. */
static void retitle(void)
{
    char title[32], quoted[40], *info;
    snprintf(title, sizeof title, "walked %ld", titled + 1);
    snprintf(quoted, sizeof quoted, "\"%s\"", title);
    if (FINE(plue_session_update_title(common, title) == 0)) {
        titled++;
        if (FINE((info = plue_session_get_info(common)) != NULL))
            CHECK(json_is(info, "title", quoted) || blame("get_info shows what was before"));
        plue_free(info);
    }
}

static const char *deep_json(void)
{
    static char json[20001];
    memset(json, '[', 10000);
    memset(json + 10000, ']', 10000);
    return json;
}

static int leave_alone(const char *element_json, void *user_data)
{
    return user_data || !json_valid(element_json);
}

static void *make_calls(void *unused)
{
    plue_session_t made, other, same = NULL;
    FINE((made = plue_session_create(NULL)) != NULL);
    FINE((other = plue_session_create_with("{\"title\":\"t\",\"tags\":[\"a\"]}")) != NULL);
    uint32_t subscription;
    FINE((subscription = plue_event_subscribe(leave, NULL)) != 0);
    atomic_store(&leaving, subscription);
    pause_ms(1); /* for its thread to begin: what it allocates has a number of its own, then */
    read_one(common);
    retitle();
    if (made) {
        read_one(made);
        FINE(plue_session_update(made, "{\"description\":\"d\"}") == 0);
        char *id = plue_session_get_id(made);
        if (FINE(id != NULL))
            FINE((same = plue_session_open(id)) != NULL);
        plue_free(id);
        if (same)
            read_one(same);
    }
    FINE(good(plue_session_list()));
    FINE(good(plue_session_query("{\"limit\":1}")));
    FINE(plue_session_count(NULL) >= 0);
    FINE(good(plue_json_quote("a \"quoted\" text\n")));
    FINE(good(plue_json_text("[[\"a\"]]", "/0")));
    FINE(plue_json_count(deep_json(), "") == 1);
    FINE(plue_json_each("[1,2]", "", leave_alone, NULL) == 0);
    FINE(good(plue_get_app_info()));
    retitle();
    /* Calls that must fail say so also when there is no memory for their words. */
    CHECK(plue_session_update(common, "{") == -1 || blame("update with a mistake"));
    CHECK(plue_get_last_error_code() == PLUE_ERROR_JSON_PARSE || !fine(0, "update with a mistake"));
    CHECK(json_valid(plue_get_last_error_json()) && strlen(plue_get_last_error()) > 10);
    CHECK(!plue_session_get_info((plue_session_t)(uintptr_t)77));
    CHECK(plue_get_last_error_code() == PLUE_ERROR_BAD_HANDLE || !fine(0, "get_info of no handle"));
    for (int i = 0; i < 3; i++) {
        char *event = plue_event_poll();
        CHECK(event || plue_get_last_error_code() == PLUE_OK || !fine(0, "plue_event_poll()"));
        atomic_fetch_add((atomic_long *)unused, event && tells_of_title(event));
        CHECK(!event || json_valid(event));
        plue_free(event);
    }
    plue_event_unsubscribe(subscription);
    int deleted = made && FINE(plue_session_delete(made) == 0);
    disarm();
    /* What was refused was not done, and what was done can be undone. */
    if (made && !deleted)
        CHECK(plue_session_delete(made) == 0);
    if (other)
        CHECK(plue_session_delete(other) == 0);
    plue_session_destroy(made);
    plue_session_destroy(other);
    plue_session_destroy(same);
    return NULL;
}

static void in_calls(void)
{
    static atomic_long polled;
    char *event;
    arm(walked, persistent);
    end(run(make_calls, &polled)); /* a thread that the library has not seen before */
    CHECK(plue_session_count(NULL) == 1 || blame("count"));
    /* What could not be shown for want of memory is shown by itself when there is some. */
    double begun = seconds();
    while (!good(plue_session_get_info(common)))
        CHECK(seconds() < begun + 5 || blame("get_info afterwards"));
    retitle();
    for (double until = seconds() + 5; atomic_load(&polled) < titled && seconds() < until;)
        if ((event = plue_event_poll())) {
            atomic_fetch_add(&polled, tells_of_title(event));
            plue_free(event);
        }
    CHECK(atomic_load(&polled) == titled || blame("poll lost an event"));
    for (double until = seconds() + 5; atomic_load(&heard) < titled && seconds() < until;)
        pause_ms(1);
    CHECK(atomic_load(&heard) == titled || blame("the callback lost an event"));
}

static void in_shutdown(void)
{
    start("");
    plue_session_t session = plue_session_get_or_create("kept");
    CHECK(session && plue_event_subscribe(ignore, NULL) && plue_session_update_title(session, "title") == 0);
    arm(walked, persistent);
    plue_shutdown();
    disarm();
    CHECK_ERROR(!plue_session_get_info(session), PLUE_ERROR_NOT_INITIALIZED);
    start("");
    CHECK(plue_session_count(NULL) == 1);
    plue_shutdown();
}

static void in_init(void)
{
    arm(walked, persistent);
    int started = FINE(try_start("") == 0);
    disarm();
    if (!started)
        start("");
    plue_session_t session = plue_session_get_or_create("kept");
    CHECK(session && plue_session_update_title(session, "title") == 0);
    CHECK(json_is(text(plue_session_get_info(session)), "title", "\"title\""));
    plue_shutdown();
}

static void walk(const char *name, void (*one)(void), int step)
{
    scene = name;
    for (persistent = 0; persistent < 2; persistent++) {
        int met = 1, first = -1, tasks = 0;
        for (walked = 1; met; walked += step) {
            one();
            met = atomic_load(&faults_met);
            runs++;
            if (one == in_calls)
                continue;
            EVENTUALLY(threads() <= own_threads + 1 || (walked > 1 && threads() <= tasks));
            if (first < 0) {
                first = descriptors();
                tasks = threads();
            }
            CHECK(descriptors() <= first || blame("descriptors are left over"));
        }
        CHECK(walked > 3);
    }
}

/* Many texts at once: the tables of blocks get new pages, or they cannot and the text is refused. */
static void outstanding_texts(void)
{
    enum { MANY = 100000 };
    static char *texts[MANY];
    int missed = 0;
    scene = "outstanding texts";
    for (int i = 0; i < MANY; i++) {
        int nth = missed < 2 ? 2 : i % 3; /* 1: the text, 2: a page of the tables, when it needs one */
        arm(nth, 0);
        texts[i] = plue_json_quote("x");
        if (!FINE(texts[i] != NULL))
            missed += nth == 2;
        disarm();
    }
    CHECK(missed > 0);
    for (int i = 0; i < MANY; i++) {
        CHECK(!texts[i] || !strcmp(texts[i], "\"x\""));
        plue_free(texts[i]);
    }
}

int main(void)
{
    int step = 100 / part(100);
    prepare_faults();
    start(",\"store\":\"memory\"");
    CHECK((common = plue_session_create(NULL)) && plue_event_subscribe(count_titles, NULL));
    walk("calls", in_calls, step);
    outstanding_texts();
    plue_shutdown();
    walk("shutdown", in_shutdown, step < 3 ? step : 3);
    walk("init", in_init, step < 3 ? step : 3);
    printf("%ld runs, %ld refusals\n", runs, refused);
    return 0;
}
