/*
 * Sessions that somebody holds a handle to, and their snapshots.
 *
 * A session is what all handles to one id share: its snapshot (the info JSON that Python published last) behind a lock
 * of its own. Session memory is pooled and keeps its type for ever: a reader that lost a race against
 * plue_session_destroy locks a session that may have become another one's, sees that its handle is gone, and leaves. So
 * does who walks over all of them.
 *
 * When its last handle goes, so does the snapshot. Python is not told, because it keeps nothing per handle; what it
 * publishes of a session that nobody holds is dropped.
 *
 * They are found by id in a table (session_table.c). How one gets another id: aliases.c.
 */
#include "session_table.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_ID = 100 };

struct core_fresh_for core_fresh_for = {-1};
static _Atomic(session *) newest; /* all that were ever made */

static session *pool; /* under the table's lock */

void core_snapshot_drop(snapshot *old)
{
    if (old && atomic_fetch_sub(&old->references, 1) == 1)
        free(old);
}

/* ---- sessions ---- */
static session *take_from_pool(void)
{
    pthread_mutex_lock(&core_table_lock);
    session *made = pool;
    if (made)
        pool = made->pooled;
    pthread_mutex_unlock(&core_table_lock);
    if (!made && (made = calloc(1, sizeof *made))) {
        pthread_mutex_init(&made->lock, NULL);
        made->older = atomic_load(&newest);
        while (!atomic_compare_exchange_weak(&newest, &made->older, made))
            ;
    }
    return made;
}

/* It is in no bucket, and nobody refers to it. */
static void put_into_pool(session *old)
{
    pthread_mutex_lock(&old->lock);
    snapshot *info = old->info;
    char *id = old->id, *alias = old->names[1].text;
    old->info = NULL;
    old->id = old->names[0].text = old->names[1].text = NULL;
    old->successor = NULL;
    old->rev = 0;
    old->refreshed = 0;
    old->gone = 0;
    pthread_mutex_unlock(&old->lock);
    core_snapshot_drop(info);
    free(id);
    free(alias);
    pthread_mutex_lock(&core_table_lock);
    old->pooled = pool;
    pool = old;
    pthread_mutex_unlock(&core_table_lock);
}

session *core_session_hold(const char *id)
{
    uint64_t hash = core_hash(id);
    pthread_mutex_lock(&core_table_lock);
    session_name *name = core_name_find_locked(id, hash);
    session *of = name ? name->of : NULL;
    if (of)
        of->references++;
    pthread_mutex_unlock(&core_table_lock);
    return of;
}

session *core_session_blank(void)
{
    session *made = take_from_pool();
    char *id = made ? calloc(1, CORE_LONGEST_ID + 1) : NULL;
    if (made && !id) {
        core_session_unused(made);
        return NULL;
    }
    if (made) {
        pthread_mutex_lock(&made->lock);
        made->id = id;
        pthread_mutex_unlock(&made->lock);
    }
    return made;
}

void core_session_unused(session *blank)
{
    put_into_pool(blank);
}

session *core_session_hold_or_name(const char *id, session *blank)
{
    session *of = core_session_hold(id);
    if (of || strlen(id) > CORE_LONGEST_ID) {
        put_into_pool(blank);
        return of;
    }
    char *fitting = strdup(id), *roomy = blank->id; /* without memory it keeps the room for the longest */
    pthread_mutex_lock(&blank->lock);
    blank->id = fitting ? fitting : strcpy(roomy, id);
    pthread_mutex_unlock(&blank->lock);
    if (fitting)
        free(roomy);

    uint64_t hash = core_hash(id);
    int grows = 1;
    pthread_mutex_lock(&core_table_lock);
    session_name *found = core_name_find_locked(id, hash); /* somebody may have been faster */
    of = found ? found->of : blank;
    if (!found) {
        of->references = 0;
        of->names[0].text = of->id;
        of->names[0].of = of;
        grows = core_name_insert_locked(&of->names[0], hash);
    }
    of->references++;
    pthread_mutex_unlock(&core_table_lock);
    if (of != blank)
        put_into_pool(blank);
    if (!grows)
        core_table_grow();
    return of;
}

void core_session_let_go(session *of)
{
    while (of) {
        pthread_mutex_lock(&core_table_lock);
        int last = --of->references == 0;
        session *successor = last ? of->successor : NULL;
        for (int i = 0; last && i < 2; i++)
            if (of->names[i].of)
                core_name_remove_locked(&of->names[i]), of->names[i].of = NULL;
        pthread_mutex_unlock(&core_table_lock);
        if (last)
            put_into_pool(of);
        of = successor; /* it was held for this one's handles */
    }
}

/* ---- for callers ---- */
/* As rules/ids.py has it: an instant function cannot ask there. */
static int is_id(const char *text)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", digits[] = "0123456789";
    size_t length = strnlen(text, MOST_ID + 1), numbered = !strncmp(text, "session_", 8);
    if (length > MOST_ID || !(numbered || !strncmp(text, "ses_", 4)))
        return 0;
    const char *at = text + (numbered ? 8 : 4);
    for (; *at && (strchr(digits, *at) || (!numbered && strchr(letters, *at))); at++)
        ;
    return !*at && length > (numbered ? 8 : 4);
}

char *plue_session_peek_id(const char *session_id)
{
    static const char *const operation = "plue_session_peek_id";
    if (core_ready(operation))
        return NULL;
    if (!session_id || !is_id(session_id)) {
        core_fail(
            PLUE_ERROR_INVALID_PARAM, operation,
            "Invalid parameters: session_id is %s. Ids look like session_1767225600000 or ses_7fK2, of at most %d "
            "characters.",
            session_id ? "malformed" : "NULL", MOST_ID);
        return NULL;
    }
    session *of = core_session_hold(session_id);
    core_clear_error();
    if (!of)
        return NULL;
    pthread_mutex_lock(&of->lock);
    snapshot *info = of->info;
    int missing = !info && !of->gone && of->rev; /* else nothing was shown yet, or nothing is any more */
    if (info)
        atomic_fetch_add(&info->references, 1);
    pthread_mutex_unlock(&of->lock);
    char *copy = info ? core_own(info->text, info->length) : NULL;
    if (missing)
        core__wake(CORE_EXECUTOR_COMMIT, CORE_SIGNAL_SHOW);
    if (missing || (info && !copy))
        core_fail(PLUE_ERROR_IO, operation, "out of memory. Free some and try again.");
    core_snapshot_drop(info);
    core_session_let_go(of);
    return copy;
}

/* ---- for Python ---- */
int core__session_known(const char *id)
{
    uint64_t hash = core_hash(id);
    pthread_mutex_lock(&core_table_lock);
    int known = core_name_find_locked(id, hash) != NULL;
    pthread_mutex_unlock(&core_table_lock);
    return known;
}

/*
 * Put ids of sessions that somebody holds a handle to into `to`, each with a line feed, as many as there is room for;
 * returns their length, 0: that was all. `*after` is where it goes on, at first 0. A session that comes or goes
 * meanwhile may be left out, or be named once more. It takes no lock but each session's own: there may be very many.
 */
size_t core__session_ids(uintptr_t *after, char *to, size_t room)
{
    size_t used = 0;
    session *each = *after ? ((session *)*after)->older : atomic_load(&newest);
    for (; each && used + CORE_LONGEST_ID + 1 <= room; each = each->older) {
        pthread_mutex_lock(&each->lock);
        size_t length = each->id ? strlen(each->id) : 0;
        if (length)
            memcpy(to + used, each->id, length);
        pthread_mutex_unlock(&each->lock);
        if (length) {
            used += length;
            to[used++] = '\n';
        }
        *after = (uintptr_t)each;
    }
    return used;
}

/* Set what every handle of the session shows, unless that is newer already. Without memory for it they show nothing,
   rather than what was before: see read_info(). */
void core__session_publish(const char *id, int64_t rev, const char *info, size_t length)
{
    if (core_outdated())
        return;
    snapshot *copy = malloc(sizeof *copy + length + 1), *old = copy;
    if (copy) {
        atomic_init(&copy->references, 1);
        copy->length = length;
        memcpy(copy->text, info, length);
        copy->text[length] = 0;
    }
    session *of = core_session_hold(id);
    if (of) {
        pthread_mutex_lock(&of->lock);
        if (!of->gone && rev >= of->rev && (copy || rev > of->rev)) {
            old = of->info;
            of->info = copy;
            of->rev = rev;
        }
        pthread_mutex_unlock(&of->lock);
        core_session_let_go(of);
    }
    core_snapshot_drop(old);
}

void core__session_gone(const char *id)
{
    if (core_outdated())
        return;
    session *of = core_session_hold(id);
    if (of) {
        pthread_mutex_lock(&of->lock);
        snapshot *old = of->info;
        of->info = NULL;
        of->gone = 1;
        pthread_mutex_unlock(&of->lock);
        core_snapshot_drop(old);
        core_session_let_go(of);
    }
}

/* Note that the server was asked about the session at this time: its snapshot is as old as that. */
void core__session_fresh(const char *id, int64_t monotonic_ns)
{
    if (core_outdated())
        return;
    session *of = core_session_hold(id);
    if (of) {
        pthread_mutex_lock(&of->lock);
        if (monotonic_ns > of->refreshed)
            of->refreshed = monotonic_ns;
        pthread_mutex_unlock(&of->lock);
        core_session_let_go(of);
    }
}

void core__set_ttl(int64_t ns)
{
    atomic_store(&core_fresh_for.ns, ns);
}
