/*
 * Sessions that were made while the server was away. Each has an id of its own until the server gives it another; the
 * first one stays an alias for ever.
 *
 * What the handles share goes on to stand for the session under its new id. If somebody was faster and has opened a
 * handle by that one, there are two that stand for one session: the older is succeeded by the other, which answers
 * for its handles from then on.
 */
#include "session_table.h"

#include <stdlib.h>
#include <string.h>

/* Put a name into the table, unless it has that text already; whether it is used. */
static int put_locked(session *of, int which, char *text, int *grows)
{
    uint64_t hash = core_hash(text);
    if (of->names[which].of || core_name_find_locked(text, hash))
        return 0;
    of->names[which].text = text;
    of->names[which].of = of;
    *grows &= core_name_insert_locked(&of->names[which], hash);
    return 1;
}

static void take_out_locked(session *of, int which)
{
    core_name_remove_locked(&of->names[which]);
    of->names[which].of = NULL;
}

/* Have what stands for the session under its old id stand for it under the new one; 0: another one does by now. */
static int take_over(session *first, char **id, char **alias, int *grows)
{
    /* Who finds it by its id takes the table's lock; who has it locks it alone. */
    pthread_mutex_lock(&core_table_lock);
    if (core_name_find_locked(*id, core_hash(*id))) {
        pthread_mutex_unlock(&core_table_lock);
        return 0;
    }
    char *old = first->names[0].text, *named = *id;
    take_out_locked(first, 0);
    put_locked(first, 0, named, grows);
    if (put_locked(first, 1, *alias, grows))
        *alias = NULL;
    pthread_mutex_unlock(&core_table_lock);
    pthread_mutex_lock(&first->lock);
    first->id = named;
    pthread_mutex_unlock(&first->lock);
    *id = old;
    return 1;
}

/* Have the second one answer for the handles of the first (or NULL), and for the alias. */
static void succeed(session *first, session *second, char **alias, int *grows)
{
    pthread_mutex_lock(&core_table_lock);
    int succeeds = first && first != second && first->names[0].of;
    if (succeeds) {
        take_out_locked(first, 0);
        second->references++; /* until the last handle of the first one goes */
    }
    if (put_locked(second, 1, *alias, grows))
        *alias = NULL;
    pthread_mutex_unlock(&core_table_lock);
    if (succeeds) {
        pthread_mutex_lock(&first->lock);
        first->successor = second;
        pthread_mutex_unlock(&first->lock);
    }
}

/*
 * Note that the session with the id `before` has another one, `now`, and the first as its alias. Known already, or
 * nobody holds a handle to it: nothing. -1: memory is short, and nothing has changed. One thread at a time.
 */
int core__session_rename(const char *before, const char *now)
{
    if (core_outdated() || strlen(now) > CORE_LONGEST_ID)
        return 0;
    char *alias = strdup(before), *id = strdup(now);
    int grows = 1, done = 0, short_of_memory = !alias || !id;
    while (!short_of_memory && !done) {
        session *first = core_session_hold(before), *second = core_session_hold(now);
        done = !first || second || take_over(first, &id, &alias, &grows);
        if (second && !(first == second))
            succeed(first, second, &alias, &grows);
        if (first)
            core_session_let_go(first);
        if (second)
            core_session_let_go(second);
    }
    if (!grows)
        core_table_grow();
    free(alias);
    free(id);
    return short_of_memory ? -1 : core__observers_rename(before, now);
}

/* A session that was gone is there again: its handles answer for it. */
void core__session_revive(const char *id)
{
    session *of = core_outdated() ? NULL : core_session_hold(id);
    if (of) {
        pthread_mutex_lock(&of->lock);
        of->gone = 0;
        pthread_mutex_unlock(&of->lock);
        core_session_let_go(of);
    }
}
