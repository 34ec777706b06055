/* What the handles to one session share: see snapshots.c. */
#ifndef CORE_SNAPSHOTS_H
#define CORE_SNAPSHOTS_H

#include "core.h"

typedef struct snapshot {
    atomic_uint references;
    size_t length;
    char text[];
} snapshot;

typedef struct session session;
struct session {
    pthread_mutex_t lock;
    snapshot *info; /* NULL until the first snapshot, after the session is gone, and when there was no memory for the newest */
    int64_t rev;
    int64_t refreshed; /* monotonic ns: when a server last said that this is so; 0: never */
    int gone;
    /* under sessions_lock */
    char *id;
    uint64_t hash;
    uint32_t references;
    session *next; /* in its bucket, or in the pool */
};

/* How many ns a snapshot is as good as the server's word; -1: for ever. Read by every reader: in a cache line of its own. */
extern struct core_fresh_for {
    _Alignas(64) atomic_llong ns;
} core_fresh_for;

/* Guards the table of sessions and all references; a session's own lock is taken inside of it, never around it. */
extern pthread_mutex_t core_sessions_lock;

void core_snapshot_drop(snapshot *old);
/* With core_sessions_lock held: the session with this id that somebody has a handle to, or NULL. */
session *core_session_find_locked(const char *id);
/* With core_sessions_lock held: a new one without references; NULL when memory is short. */
session *core_session_make_locked(const char *id);
/* With core_sessions_lock held: without references it is forgotten. */
void core_session_unreference_locked(session *of);

#endif
