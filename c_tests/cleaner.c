/* The relay from C: the table of states at any time, the host's cleaner, and 64 threads that spawn, attach, terminate
 * and clean the same sessions. */
#include "check.h"
#include "json.h"

#include <stdatomic.h>
#include <sys/wait.h>

#define HOST "{\"worktree\":\"/\",\"agent\":{\"kind\":\"host\"}}"

/* ---- states ---- */
static const char *const states[] = {"CREATED", "SPAWNING", "ACTIVE", "TERMINATING", "CLEANED"};
static const char *const events[] = {"SPAWN", "ACTIVATE", "TERMINATE", "CLEAN"};
static const char *const next[5][4] = {
    {"SPAWNING", NULL, "TERMINATING", NULL},
    {NULL, "ACTIVE", "TERMINATING", NULL},
    {NULL, NULL, "TERMINATING", NULL},
    {NULL, NULL, "TERMINATING", "CLEANED"},
    {NULL, NULL, NULL, NULL},
};
static const char *const reasons[] = {
    "can only spawn or terminate from CREATED state",
    "can only activate or terminate from SPAWNING state",
    "can only terminate from ACTIVE state",
    "can only clean from TERMINATING state",
    "CLEANED is terminal state, no transitions allowed",
};

static void all_pairs(void)
{
    char says[300];
    for (int from = 0; from < 5; from++)
        for (int by = 0; by < 4; by++) {
            const char *found = plue_session_relay_next_state(states[from], events[by]);
            snprintf(says, sizeof says, "invalid transition: state=%s event=%s reason=%s", states[from], events[by],
                     reasons[from]);
            if (next[from][by])
                CHECK(found && !strcmp(found, next[from][by]));
            else {
                CHECK_ERROR(!found, PLUE_ERROR_INVALID_TRANSITION);
                CHECK_SAYS(says);
            }
        }
}

static void what_is_no_state(void)
{
    static char longest[100000];
    memset(longest, 'x', sizeof longest - 1);
    CHECK_ERROR(!plue_session_relay_next_state("", "SPAWN"), PLUE_ERROR_INVALID_TRANSITION);
    CHECK_SAYS("state= event=SPAWN reason=unknown state");
    CHECK_ERROR(!plue_session_relay_next_state("CREATED", "spawn"), PLUE_ERROR_INVALID_TRANSITION);
    CHECK_SAYS("state=CREATED event=spawn reason=unknown event");
    CHECK_ERROR(!plue_session_relay_next_state(longest, longest), PLUE_ERROR_INVALID_TRANSITION);
    CHECK_SAYS("reason=unknown state");
    CHECK_ERROR(!plue_session_relay_next_state(NULL, "SPAWN"), PLUE_ERROR_INVALID_PARAM);
    CHECK_ERROR(!plue_session_relay_next_state("CREATED", NULL), PLUE_ERROR_INVALID_PARAM);
    CHECK_ERROR(!plue_session_relay_next_state("CREATED", "\xff"), PLUE_ERROR_INVALID_PARAM);
}

static void in_a_forked_child(void)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (!child) {
        alarm(10);
        CHECK(!strcmp(plue_session_relay_next_state("CREATED", "SPAWN"), "SPAWNING"));
        CHECK_ERROR(!plue_session_relay_next_state("CREATED", "CLEAN"), PLUE_ERROR_INVALID_TRANSITION);
        CHECK(json_valid(plue_get_last_error_json()) && strstr(plue_get_last_error_json(), "INVALID_TRANSITION"));
        CHECK_ERROR(!plue_session_relay_next_state("\"", "\""), PLUE_ERROR_INVALID_TRANSITION);
        CHECK(json_valid(plue_get_last_error_json()));
        CHECK_ERROR(!plue_session_relay_next_state(NULL, NULL), PLUE_ERROR_INVALID_PARAM);
        CHECK_ERROR(plue_session_set_cleaner(NULL, NULL) == -1, PLUE_ERROR_FORKED);
        raise(SIGKILL); /* a tool that looks for leaks would look for the parent's here */
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* ---- the cleaner ---- */
typedef struct watched {
    atomic_int calls, inside, hold;
    int result;
    char info[4096], id[128];
    pthread_t thread;
    void (*then)(struct watched *);
} watched;

static int clean_up(const char *session_json, void *data)
{
    watched *mine = data;
    atomic_fetch_add(&mine->inside, 1);
    snprintf(mine->info, sizeof mine->info, "%s", session_json);
    mine->thread = pthread_self();
    if (mine->then)
        mine->then(mine);
    atomic_fetch_add(&mine->calls, 1);
    while (atomic_load(&mine->hold))
        pause_ms(1);
    atomic_fetch_sub(&mine->inside, 1);
    return mine->result;
}

/* Make a session that is to be cleaned; its id is in `id`. */
static void terminated(char *id, const char *role)
{
    char options[100], *made;
    snprintf(options, sizeof options, "{\"role\":\"%s\"}", role);
    plue_session_t session = plue_session_create_with(options);
    CHECK(session && plue_session_relay_spawn(session) == 0 && plue_session_relay_attach(session, HOST) == 0);
    CHECK((made = plue_session_get_id(session)) != NULL);
    snprintf(id, 128, "%s", made);
    plue_free(made);
    CHECK(plue_session_relay_terminate(id, "test") == 0);
    plue_session_destroy(session);
}

static void it_gets_the_info_once_and_its_result_is_not_ours(void)
{
    static watched mine;
    mine.result = 3; /* logged; the session is cleaned all the same */
    CHECK(plue_session_set_cleaner(clean_up, &mine) == 0);
    terminated(mine.id, "once");
    for (int i = 0; i < 3; i++)
        CHECK(plue_session_relay_clean(mine.id) == 0);
    CHECK(mine.calls == 1 && !pthread_equal(mine.thread, pthread_self()));
    CHECK(json_valid(mine.info) && !strcmp(text(plue_json_text(mine.info, "/id")), mine.id));
    CHECK(!strcmp(text(plue_json_text(mine.info, "/relay/state")), "TERMINATING"));
    CHECK_ERROR(!plue_session_relay_get("once"), PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(plue_session_relay_clean("session_5") == -1, PLUE_ERROR_NOT_FOUND);
    CHECK_SAYS("session not found: session_5");
}

static watched other;

static void use_the_library(watched *mine)
{
    CHECK(plue_session_count(NULL) > 0 && plue_session_relay_terminate("session_5", NULL) == 0);
    plue_session_t made = plue_session_create_with("{\"role\":\"made inside\"}");
    CHECK(made && plue_session_relay_heartbeat(made) == 0 && plue_session_delete(made) == 0);
    plue_session_destroy(made);
    CHECK(strstr(text(plue_session_metrics("prometheus")), "plue_session_relay_sessions") != NULL);
    terminated(other.id, "inside");
    CHECK(plue_session_relay_clean(other.id) == 0); /* which is a call of this cleaner in the midst of one */
    CHECK_ERROR(plue_init(NULL) == -1, PLUE_ERROR_ALREADY_INITIALIZED);
    plue_shutdown();
    CHECK(plue_get_last_error_code() == PLUE_ERROR_IN_USE);
    CHECK(plue_session_set_cleaner(NULL, NULL) == 0); /* it does not wait for itself */
    mine->then = NULL;
}

static int clean_or_enter(const char *session_json, void *data)
{
    watched *mine = data;
    if (!strstr(session_json, mine->id)) {
        atomic_fetch_add(&other.calls, 1);
        return 0;
    }
    return clean_up(session_json, data);
}

static void it_may_use_the_library_and_remove_itself(void)
{
    static watched mine;
    mine.then = use_the_library;
    terminated(mine.id, "user");
    CHECK(plue_session_set_cleaner(clean_or_enter, &mine) == 0);
    CHECK(plue_session_relay_clean(mine.id) == 0 && mine.calls == 1 && other.calls == 1);
    char id[128];
    terminated(id, "after");
    CHECK(plue_session_relay_clean(id) == 0 && mine.calls == 1 && other.calls == 1);
}

static void *clean_it(void *data)
{
    CHECK(plue_session_relay_clean(((watched *)data)->id) == 0);
    return NULL;
}

static atomic_int removed;

static void *remove_it(void *data)
{
    CHECK(plue_session_set_cleaner(clean_up, data) == 0);
    atomic_store(&removed, 1);
    return NULL;
}

static void who_replaces_it_waits_for_a_call_that_runs(void)
{
    static watched old, new;
    terminated(old.id, "old");
    terminated(new.id, "new");
    old.hold = 1;
    CHECK(plue_session_set_cleaner(clean_up, &old) == 0);
    pthread_t cleaning = run(clean_it, &old);
    EVENTUALLY(old.calls == 1);
    pthread_t replacing = run(remove_it, &new);
    pause_ms(50);
    CHECK(!removed && old.inside == 1);
    CHECK(plue_session_relay_clean(new.id) == 0 && new.calls == 1); /* the new one is there already */
    atomic_store(&old.hold, 0);
    end(replacing);
    CHECK(removed && old.inside == 0);
    end(cleaning);
    CHECK(old.calls == 1 && plue_session_set_cleaner(NULL, NULL) == 0);
}

/* ---- 64 threads ---- */
enum { THREADS = 64, SESSIONS = 8 };
static char raced[SESSIONS][128];
static plue_session_t handles[SESSIONS];
static atomic_int cleaned[SESSIONS], spawned[SESSIONS], attached[SESSIONS];

static int count_clean(const char *session_json, void *data)
{
    (void)data;
    for (int i = 0; i < SESSIONS; i++)
        if (strstr(session_json, raced[i])) /* ids have the same length */
            atomic_fetch_add(&cleaned[i], 1);
    return 0;
}

/* What is refused is refused for one reason alone. */
static int made(int result)
{
    if (result)
        CHECK(plue_get_last_error_code() == PLUE_ERROR_INVALID_TRANSITION);
    return result == 0;
}

static void *race(void *data)
{
    unsigned seed = (unsigned)(uintptr_t)data;
    for (int round = 0; round < SESSIONS * 3; round++) {
        int i = (int)(rand_r(&seed) % SESSIONS);
        switch (rand_r(&seed) % 6) {
        case 0:
            spawned[i] += made(plue_session_relay_spawn(handles[i]));
            break;
        case 1:
            attached[i] += made(plue_session_relay_attach(handles[i], HOST));
            break;
        case 2:
            CHECK(plue_session_relay_heartbeat(handles[i]) == 0 && plue_session_relay_count_message(handles[i]) == 0);
            break;
        case 3:
            if (round > SESSIONS)
                CHECK(plue_session_relay_terminate(raced[i], "race") == 0);
            break;
        default:
            made(plue_session_relay_clean(raced[i]));
        }
    }
    return NULL;
}

static void each_session_is_spawned_attached_and_cleaned_once_whoever_races(void)
{
    pthread_t racing[THREADS];
    CHECK(plue_session_set_cleaner(count_clean, NULL) == 0);
    for (int i = 0; i < SESSIONS; i++) {
        char options[100], *id;
        snprintf(options, sizeof options, "{\"role\":\"race %d\"}", i);
        CHECK((handles[i] = plue_session_create_with(options)) != NULL && (id = plue_session_get_id(handles[i])));
        snprintf(raced[i], sizeof raced[i], "%s", id);
        plue_free(id);
    }
    int count = part(THREADS) < 8 ? 8 : part(THREADS);
    for (int i = 0; i < count; i++)
        racing[i] = run(race, (void *)(uintptr_t)(i + 1));
    for (int i = 0; i < count; i++)
        end(racing[i]);
    for (int i = 0; i < SESSIONS; i++) {
        CHECK(plue_session_relay_terminate(raced[i], NULL) == 0 && plue_session_relay_clean(raced[i]) == 0);
        CHECK(cleaned[i] == 1 && spawned[i] <= 1 && attached[i] <= spawned[i]);
        CHECK(strstr(text(plue_session_get_info(handles[i])), "\"state\":\"CLEANED\"") != NULL);
        plue_session_destroy(handles[i]);
    }
    const char *metrics = text(plue_session_metrics("json"));
    CHECK(json_valid(metrics) && strstr(metrics, "\"ACTIVE\":0,\"TERMINATING\":0") &&
          strstr(metrics, "\"attached\":{\"host\":0,\"acp\":0}"));
}

static void a_shutdown_removes_it(void)
{
    static watched mine;
    CHECK(plue_session_set_cleaner(clean_up, &mine) == 0);
    terminated(mine.id, "shutdown");
    plue_shutdown();
    CHECK_ERROR(plue_session_set_cleaner(NULL, NULL) == -1, PLUE_ERROR_NOT_INITIALIZED);
    start("");
    CHECK(plue_session_relay_clean(mine.id) == 0 && mine.calls == 0); /* the state has outlived the library */
}

static void *clean_until_closed(void *data)
{
    CHECK_ERROR(plue_session_relay_clean(((watched *)data)->id) == -1, PLUE_ERROR_CLOSED);
    atomic_store(&((watched *)data)->hold, 0);
    return NULL;
}

/* The caller is sent home, the cleaner is waited for, and the session is CLEANED: it does not run again. */
static void a_shutdown_waits_for_one_that_runs(void)
{
    static watched mine;
    mine.hold = 1;
    CHECK(plue_session_set_cleaner(clean_up, &mine) == 0);
    terminated(mine.id, "last");
    pthread_t cleaning = run(clean_until_closed, &mine);
    EVENTUALLY(mine.calls == 1);
    plue_shutdown();
    CHECK(mine.inside == 0);
    end(cleaning);
    start("");
    CHECK(plue_session_set_cleaner(clean_up, &mine) == 0);
    CHECK(plue_session_relay_clean(mine.id) == 0 && mine.calls == 1);
    plue_shutdown();
}

int main(void)
{
    all_pairs();
    what_is_no_state();
    CHECK_ERROR(plue_session_set_cleaner(clean_up, NULL) == -1, PLUE_ERROR_NOT_INITIALIZED);
    start("");
    all_pairs();
    in_a_forked_child();
    it_gets_the_info_once_and_its_result_is_not_ours();
    it_may_use_the_library_and_remove_itself();
    who_replaces_it_waits_for_a_call_that_runs();
    each_session_is_spawned_attached_and_cleaned_once_whoever_races();
    a_shutdown_removes_it();
    a_shutdown_waits_for_one_that_runs();
    all_pairs();
    return 0;
}
