/*
 * The turns that this process has begun, or waits for in plue_session_run_turn, by session: so that asking for their
 * end is instant. Python counts them, and ends those that were asked for (services/turns).
 *
 * An entry is made and freed by Python's threads. The instant function finds it, marks it, and puts it into the list of
 * those that were asked for.
 */
#include "core.h"
#include "session_table.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 1024 };

typedef struct entry {
    struct entry *next, *next_asked;
    int count, is_asked;
    char id[CORE_LONGEST_ID + 1];
} entry;

/* All of it under the lock. */
static pthread_mutex_t turns_lock = PTHREAD_MUTEX_INITIALIZER;
static entry *buckets[BUCKETS], *asked;

static entry **find_locked(const char *id, uint64_t hash)
{
    entry **at = &buckets[hash % BUCKETS];
    while (*at && strcmp((*at)->id, id))
        at = &(*at)->next;
    return at;
}

int plue_session_cancel_turns(plue_session_t session)
{
    static const char *const operation = "plue_session_cancel_turns";
    char *id = core_ready(operation) ? NULL : core_session_id_of(session, operation);
    if (!id)
        return -1;
    uint64_t hash = core_hash(id);
    pthread_mutex_lock(&turns_lock);
    entry *found = *find_locked(id, hash);
    int count = found ? found->count : 0, is_new = count && !found->is_asked;
    if (is_new) {
        found->is_asked = 1;
        found->next_asked = asked;
        asked = found;
    }
    pthread_mutex_unlock(&turns_lock);
    if (is_new)
        core__wake(CORE_EXECUTOR_READ, CORE_SIGNAL_TURNS);
    free(id);
    return count;
}

static void forget_locked(entry *old)
{
    for (entry **at = &asked; *at; at = &(*at)->next_asked)
        if (*at == old) {
            *at = old->next_asked;
            return;
        }
}

/* ---- for Python ---- */
/* Note how many turns of a session there are. -1: memory is short, and nothing has changed. */
int core__turns_count(const char *id, int count)
{
    if (core_outdated() || strlen(id) > CORE_LONGEST_ID)
        return 0;
    entry *made = count ? calloc(1, sizeof *made) : NULL, *gone = NULL;
    if (count && !made)
        return -1;
    uint64_t hash = core_hash(id);
    pthread_mutex_lock(&turns_lock);
    entry **at = find_locked(id, hash);
    if (!*at && made) {
        strcpy(made->id, id);
        *at = made;
        made = NULL;
    }
    if (*at && count)
        (*at)->count = count;
    else if (*at) {
        gone = *at;
        *at = gone->next;
        forget_locked(gone);
    }
    pthread_mutex_unlock(&turns_lock);
    free(made);
    free(gone);
    return 0;
}

/* Take the id of a session whose turns are to end; 0: there is none. */
int core__turns_asked(char *id)
{
    int found = 0;
    if (core_outdated())
        return 0;
    pthread_mutex_lock(&turns_lock);
    if (asked) {
        strcpy(id, asked->id);
        asked->is_asked = 0;
        asked = asked->next_asked;
        found = 1;
    }
    pthread_mutex_unlock(&turns_lock);
    return found;
}

/* Forget all of them: the library has stopped. */
void core_turns_close(void)
{
    for (int i = 0; i < BUCKETS; i++) {
        pthread_mutex_lock(&turns_lock);
        entry *old = buckets[i];
        buckets[i] = NULL;
        asked = NULL;
        pthread_mutex_unlock(&turns_lock);
        while (old) {
            entry *next = old->next;
            free(old);
            old = next;
        }
    }
}
