/*
 * The table of sessions by name: by their ids, and by the aliases of those that were made while the server was away.
 *
 * It grows by one bucket with each name (linear hashing): plue_session_destroy, which is instant, takes the table's
 * lock, and would wait for a whole table that is made anew.
 */
#include "session_table.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST = 256, SEGMENTS = 40 };

pthread_mutex_t core_table_lock = PTHREAD_MUTEX_INITIALIZER;
static session_name *first_segment[FIRST], **segments[SEGMENTS] = {first_segment}; /* each as large as all before it */
static size_t bucket_count = FIRST, name_count;

uint64_t core_hash(const char *id)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (; *id; id++)
        hash = (hash ^ (unsigned char)*id) * UINT64_C(1099511628211);
    return hash ^ hash >> 29;
}

static size_t power_below(size_t count) /* or equal */
{
    return (size_t)1 << (63 - __builtin_clzll(count));
}

static int segment_of(size_t bucket)
{
    return bucket < FIRST ? 0 : 64 - __builtin_clzll(bucket / FIRST);
}

static session_name **bucket_locked(size_t at)
{
    int segment = segment_of(at);
    return &segments[segment][segment ? at - ((size_t)FIRST << (segment - 1)) : at];
}

static session_name **bucket_of_locked(uint64_t hash)
{
    size_t low = power_below(bucket_count), at = hash & (2 * low - 1);
    return bucket_locked(at < bucket_count ? at : at & (low - 1));
}

session_name *core_name_find_locked(const char *text, uint64_t hash)
{
    session_name *found = *bucket_of_locked(hash);
    while (found && (found->hash != hash || strcmp(found->text, text)))
        found = found->next;
    return found;
}

/* Make one more bucket, of one of those there are; 0 when there is no memory for it yet. */
static int split_locked(void)
{
    size_t low = power_below(bucket_count), to = bucket_count;
    if (!segments[segment_of(to)])
        return 0;
    session_name **from = bucket_locked(to - low), **other = bucket_locked(to);
    bucket_count++;
    while (*from) {
        session_name *each = *from;
        if (each->hash & low) {
            *from = each->next;
            each->next = *other;
            *other = each;
        } else
            from = &each->next;
    }
    return 1;
}

int core_name_insert_locked(session_name *name, uint64_t hash)
{
    session_name **bucket = bucket_of_locked(hash);
    name->hash = hash;
    name->next = *bucket;
    *bucket = name;
    name_count++;
    int grows = 1;
    for (int i = 0; i < 2 && grows && name_count > bucket_count; i++) /* two: it catches up after it could not */
        grows = split_locked();
    return grows;
}

void core_name_remove_locked(session_name *name)
{
    session_name **link = bucket_of_locked(name->hash);
    while (*link != name)
        link = &(*link)->next;
    *link = name->next;
    name_count--;
}

void core_table_grow(void)
{
    pthread_mutex_lock(&core_table_lock);
    int segment = segment_of(bucket_count), missing = segment < SEGMENTS && !segments[segment];
    pthread_mutex_unlock(&core_table_lock);
    session_name **made = missing ? calloc((size_t)FIRST << (segment - 1), sizeof *made) : NULL;
    if (!made)
        return;
    pthread_mutex_lock(&core_table_lock);
    if (!segments[segment]) {
        segments[segment] = made;
        made = NULL;
    }
    pthread_mutex_unlock(&core_table_lock);
    free(made);
}
