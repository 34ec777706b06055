/*
 * The relay's part of C: its states, of which the table is generated (rules/relay.py), and the host's cleaner.
 *
 * A cleaner runs on a thread of the Python half's, without the interpreter lock. Each call of it is listed while it
 * runs, with the number of the setting that it belongs to; so whoever sets another one knows for which calls to wait.
 */
#include "core.h"

#include <errno.h>
#include <string.h>

#include "core_tables.h"

/* ---- states ---- */
static int place_of(const char *const *names, int count, const char *name)
{
    while (count && strcmp(names[count - 1], name))
        count--;
    return count - 1;
}

static int is_text(const char *operation, const char *name, const char *text)
{
    if (text && core_is_utf8(text, strlen(text)))
        return 1;
    core_fail(PLUE_ERROR_INVALID_PARAM, operation, "Invalid parameters: %s is %s. Pass the name of a relay %s.", name,
              text ? "not UTF-8" : "NULL", name);
    return 0;
}

const char *plue_session_relay_next_state(const char *state, const char *event)
{
    static const char *const operation = "plue_session_relay_next_state";
    if (!is_text(operation, "state", state) || !is_text(operation, "event", event))
        return NULL;
    int from = place_of(core_relay_states, CORE_RELAY_STATES, state);
    int by = place_of(core_relay_events, CORE_RELAY_EVENTS, event);
    int next = from < 0 || by < 0 ? -1 : core_relay_next[from][by];
    if (next >= 0)
        return core_relay_states[next];
    const char *reason = from < 0 ? CORE_RELAY_UNKNOWN_STATE
                         : by < 0 ? CORE_RELAY_UNKNOWN_EVENT
                                  : core_relay_reasons[from];
    /* A forked child writes the error's JSON without escapes: no text of the host's goes there. */
    int forked = core_forked();
    core_fail(PLUE_ERROR_INVALID_TRANSITION, operation, CORE_RELAY_REFUSAL, from < 0 && forked ? "?" : state,
              by < 0 && forked ? "?" : event, reason);
    return NULL;
}

/* ---- the cleaner ---- */
typedef struct run {
    struct run *next;
    int64_t setting;
} run;

/* All of it under the lock. */
static pthread_mutex_t cleaner_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cleaner_ended;
static plue_session_cleaner cleaner; /* NULL: there is none */
static void *cleaner_data;
static int64_t setting, first_setting; /* how often it was set; the first one of this life of the library */
static int accepting;
static run *runs;

void core_cleaner_prepare(void)
{
    core_set_up(NULL, &cleaner_ended);
}

static void set_locked(plue_session_cleaner given, void *user_data)
{
    cleaner = given;
    cleaner_data = user_data;
    setting++;
}

/* Does a call run that began in this life of the library, by a setting before this one? What a shutdown has left behind
 * is waited for by nobody. */
static int runs_of_before_locked(int64_t before)
{
    for (run *each = runs; each; each = each->next)
        if (each->setting < before && each->setting >= first_setting)
            return 1;
    return 0;
}

int plue_session_set_cleaner(plue_session_cleaner given, void *user_data)
{
    static const char *const operation = "plue_session_set_cleaner";
    /* One is removed also while the library shuts down: the caller is about to free what it uses. */
    if ((given || atomic_load(&core_state) == CORE_STOPPED || core_forked()) && core_ready(operation))
        return -1;
    core_thread *thread = core_this_thread();
    core_visit visit;
    core_enter_anyway(&visit);
    pthread_mutex_lock(&cleaner_lock);
    int refused = given && !accepting;
    if (!refused)
        set_locked(given, user_data);
    int64_t mine = setting;
    while (!refused && !(thread && thread->cleans) && runs_of_before_locked(mine))
        pthread_cond_wait(&cleaner_ended, &cleaner_lock);
    pthread_mutex_unlock(&cleaner_lock);
    if (refused)
        core_fail(PLUE_ERROR_CLOSED, operation, "the library shut down during the call. Call plue_init() again.");
    core_leave(&visit);
    return refused ? -1 : 0;
}

void core_cleaner_open(void)
{
    pthread_mutex_lock(&cleaner_lock);
    accepting = 1;
    first_setting = ++setting;
    pthread_mutex_unlock(&cleaner_lock);
}

void core_cleaner_shut(void)
{
    pthread_mutex_lock(&cleaner_lock);
    accepting = 0;
    set_locked(NULL, NULL);
    pthread_mutex_unlock(&cleaner_lock);
}

int core_cleaner_close(int64_t deadline_ns)
{
    struct timespec at;
    core_deadline(&at, deadline_ns);
    pthread_mutex_lock(&cleaner_lock);
    int late = 0;
    while (!late && runs_of_before_locked(setting))
        late = pthread_cond_timedwait(&cleaner_ended, &cleaner_lock, &at) == ETIMEDOUT;
    int stuck = runs_of_before_locked(setting);
    pthread_mutex_unlock(&cleaner_lock);
    return stuck ? -1 : 0;
}

/* ---- for Python ---- */
/* Have the cleaner run, if there is one, with what it returns in `result`. */
void core__clean(const char *info, int *result)
{
    core_thread *thread = core_this_thread();
    run mine;
    pthread_mutex_lock(&cleaner_lock);
    plue_session_cleaner run_it = core_outdated() || !accepting ? NULL : cleaner;
    void *user_data = cleaner_data;
    if (run_it) {
        mine = (run){runs, setting};
        runs = &mine;
    }
    pthread_mutex_unlock(&cleaner_lock);
    if (!run_it)
        return;
    if (thread)
        thread->cleans++;
    *result = run_it(info, user_data);
    if (thread)
        thread->cleans--;
    pthread_mutex_lock(&cleaner_lock);
    run **at = &runs;
    while (*at != &mine)
        at = &(*at)->next;
    *at = mine.next;
    pthread_cond_broadcast(&cleaner_ended);
    pthread_mutex_unlock(&cleaner_lock);
}
