/* The table of sessions by name: see session_table.c. */
#ifndef CORE_SESSION_TABLE_H
#define CORE_SESSION_TABLE_H

#include "snapshots.h"

extern pthread_mutex_t core_table_lock; /* guards the table, and all references to sessions */
uint64_t core_hash(const char *text);
session_name *core_name_find_locked(const char *text, uint64_t hash); /* or NULL */
/* Put it in; 0 when the table wants to grow and cannot: core_table_grow() then, without the lock. */
int core_name_insert_locked(session_name *name, uint64_t hash);
void core_name_remove_locked(session_name *name);
/* Without memory the buckets that there are get longer; the next session asks again. */
void core_table_grow(void);

#endif
