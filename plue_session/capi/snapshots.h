/* What the handles to one session share: see snapshots.c. */
#ifndef CORE_SNAPSHOTS_H
#define CORE_SNAPSHOTS_H

#include "core.h"

enum { CORE_LONGEST_ID = 127 };

typedef struct snapshot {
    atomic_uint references;
    size_t length;
    char text[];
} snapshot;

typedef struct session session;
typedef struct session_name { /* under the table's lock */
    char *text;
    uint64_t hash;
    session *of; /* NULL: it is in no bucket */
    struct session_name *next;
} session_name;

struct session {
    pthread_mutex_t lock;
    snapshot *info; /* NULL until the first snapshot, after the session is gone, and when there was no memory for the
                       newest */
    int64_t rev;
    int64_t refreshed; /* monotonic ns: when a server last said that this is so; 0: never */
    int gone;
    char *id;           /* NULL or empty: it stands for no session at present. Changed only while no bucket has it */
    session *successor; /* who stands for its session by now: its handles are that one's. Set once */
    session *older;     /* of all that were ever made; for good */
    /* under the table's lock */
    session_name names[2]; /* its id, and its alias */
    uint32_t references;
    session *pooled;
};

/* How many ns a snapshot is as good as the server's word; -1: for ever. Read by every reader: in a cache line of its
 * own. */
extern struct core_fresh_for {
    _Alignas(64) atomic_llong ns;
} core_fresh_for;

void core_snapshot_drop(snapshot *old);
/* The session that somebody has a handle to, with a reference to be let go; or NULL. */
session *core_session_hold(const char *id);
/* One that stands for no session yet, and has room for any id; NULL when memory is short. */
session *core_session_blank(void);
void core_session_unused(session *blank);
/* As core_session_hold, or the blank one, which then stands for the session. It is used up; no memory is asked for.
 * NULL: the id is too long. */
session *core_session_hold_or_name(const char *id, session *blank);
/* Without references it is forgotten. */
void core_session_let_go(session *of);

#endif
