/*
 * Submissions: operations that a host has handed over without waiting. Python carries them out (submissions.py).
 *
 * A submission is PENDING until it is taken, then OPEN, then ENDING, when its last event is about to be told: whoever
 * has it end is the one that tells. It keeps its place until that is done. The places are fixed, and an id says which
 * one it has, so nothing is looked for: submit and cancel are instant.
 */
#include "queues.h"
#include "reader.h"

#include <stdlib.h>
#include <string.h>

enum { FREE, PENDING, OPEN, ENDING };
enum { NONE = -1, PLACES = CORE_SUBMISSIONS };

typedef struct submission {
    int state, is_cancelled, next;
    uint64_t uses; /* how often the place was used: no id comes twice */
    char *text;
    size_t length;
} submission;

/* All of it under the lock. */
static pthread_mutex_t submissions_lock = PTHREAD_MUTEX_INITIALIZER;
static submission places[PLACES];
static int first_free = NONE, first_pending = NONE, last_pending = NONE, used; /* `used`: places that were ever used */
static size_t bytes;                                                           /* of the texts of all */
static int accepting;

static uint64_t id_of(int place)
{
    return (places[place].uses - 1) * PLACES + (uint64_t)place + 1;
}

/* The submission with this id, while it has not ended; NULL: there is none. */
static submission *find_locked(uint64_t id)
{
    submission *found = &places[(id - 1) % PLACES];
    return id && found->state != FREE && id_of((int)(found - places)) == id ? found : NULL;
}

static int take_place_locked(void)
{
    int place = first_free;
    if (place != NONE)
        first_free = places[place].next;
    else if (used < PLACES)
        place = used++;
    return place;
}

static void leave_place_locked(int place)
{
    bytes -= places[place].length;
    places[place].state = FREE;
    places[place].text = NULL;
    places[place].next = first_free;
    first_free = place;
}

static int tell_urgent(const char *operation, void *unused)
{
    static const char urgent[] = "\"abort"; /* and abort_turn */
    core_reader of;
    (void)unused;
    return core_reader_prepare(&of, operation, "/op") || core_read(&of) || strncmp(of.found, urgent, sizeof urgent - 1)
               ? 2
               : 1;
}

/* Does it begin with an abort? Then those that are pending do not keep it back. */
static int is_urgent(const char *operations)
{
    core_reader of = {.answer = 0};
    if (core_reader_prepare(&of, operations, ""))
        return 0;
    of.visit = tell_urgent;
    (void)core_read(&of);
    free(of.element);
    return of.answer == 1;
}

/* Take a place for the text; 0: there is none. */
static uint64_t add_locked(char *text, size_t length, int urgent)
{
    int place = bytes + length > CORE_LONGEST ? NONE : take_place_locked();
    if (place == NONE)
        return 0;
    submission *made = &places[place];
    *made = (submission){.state = PENDING, .next = NONE, .uses = made->uses + 1, .text = text, .length = length};
    bytes += length;
    if (first_pending == NONE) {
        first_pending = last_pending = place;
    } else if (urgent) {
        made->next = first_pending;
        first_pending = place;
    } else {
        places[last_pending].next = place;
        last_pending = place;
    }
    return id_of(place);
}

uint64_t plue_session_submit(const char *operations_json)
{
    static const char *const operation = "plue_session_submit";
    size_t length = operations_json ? strlen(operations_json) : 0;
    if (core_ready(operation) || core_refuse_gone(operation))
        return 0;
    if (!operations_json) {
        core_fail(PLUE_ERROR_INVALID_PARAM, operation, "Invalid parameters: operations_json is NULL. Pass text.");
        return 0;
    }
    if (core_check_text(operation, NULL, "operations_json", operations_json, length))
        return 0;
    int unread = core_queues_are_full();
    char *text = unread ? NULL : malloc(length + 1);
    if (!text && !unread) {
        core_fail(PLUE_ERROR_IO, operation, "out of memory. Free some and try again.");
        return 0;
    }
    int urgent = text && is_urgent(operations_json);
    if (text)
        memcpy(text, operations_json, length + 1);
    pthread_mutex_lock(&submissions_lock);
    int open = accepting;
    uint64_t id = open && text ? add_locked(text, length, urgent) : 0;
    pthread_mutex_unlock(&submissions_lock);
    if (id) {
        core__wake(CORE_EXECUTOR_READ, CORE_SIGNAL_SUBMITTED);
        return id;
    }
    free(text);
    if (!open)
        core_fail(PLUE_ERROR_CLOSED, operation, "the library shut down during the call. Call plue_init() again.");
    else if (unread)
        core_fail(
            PLUE_ERROR_QUEUE_FULL, operation,
            "a reader of events has not taken how the last submissions ended, %d of them or %d MiB. Try again when it "
            "has.",
            PLACES, CORE_FINAL_BYTES >> 20);
    else
        core_fail(PLUE_ERROR_QUEUE_FULL, operation,
                  "%d submissions, or %d MiB of them, are open already. Try again when some have ended.", PLACES,
                  CORE_LONGEST >> 20);
    return 0;
}

int plue_session_cancel_operation(uint64_t id)
{
    static const char *const operation = "plue_session_cancel_operation";
    if (core_ready(operation))
        return -1;
    pthread_mutex_lock(&submissions_lock);
    submission *found = find_locked(id);
    int open = found && found->state != ENDING, is_new = open && !found->is_cancelled;
    if (is_new)
        found->is_cancelled = 1;
    pthread_mutex_unlock(&submissions_lock);
    if (is_new)
        core__wake(CORE_EXECUTOR_READ, CORE_SIGNAL_SUBMITTED);
    if (!open)
        core_fail(PLUE_ERROR_NOT_FOUND, operation,
                  "operation %llu has ended, or never was. Its last event says what has become of it.",
                  (unsigned long long)id);
    return open ? 0 : -1;
}

/* ---- life ---- */
void core_submissions_open(void)
{
    pthread_mutex_lock(&submissions_lock);
    accepting = 1;
    pthread_mutex_unlock(&submissions_lock);
}

/* No more are taken, and those that are open are to end. */
void core_submissions_shut(void)
{
    pthread_mutex_lock(&submissions_lock);
    accepting = 0;
    for (int i = 0; i < used; i++)
        places[i].is_cancelled = 1;
    pthread_mutex_unlock(&submissions_lock);
}

/* Nobody will have what is left end. */
void core_submissions_close(void)
{
    for (int i = 0; i < PLACES; i++) {
        pthread_mutex_lock(&submissions_lock);
        char *text = places[i].text;
        if (places[i].state != FREE)
            leave_place_locked(i);
        first_pending = last_pending = NONE;
        pthread_mutex_unlock(&submissions_lock);
        free(text);
    }
}

/* ---- for Python ---- */
/* Take the next one: its text is the caller's, for core__submission_forget; NULL: there is none. */
char *core__submission_take(uint64_t *id, size_t *length)
{
    char *text = NULL;
    if (core_outdated())
        return NULL;
    pthread_mutex_lock(&submissions_lock);
    int place = first_pending;
    if (place != NONE) {
        submission *taken = &places[place];
        first_pending = taken->next;
        taken->state = OPEN;
        *id = id_of(place);
        *length = taken->length;
        text = taken->text;
        taken->text = NULL;
    }
    pthread_mutex_unlock(&submissions_lock);
    return text;
}

void core__submission_forget(char *text)
{
    free(text);
}

/* Is it to end before its time? */
int core__submission_is_cancelled(uint64_t id)
{
    pthread_mutex_lock(&submissions_lock);
    const submission *found = find_locked(id);
    int is_cancelled = !found || found->is_cancelled;
    pthread_mutex_unlock(&submissions_lock);
    return is_cancelled;
}

/* Have it end: from now on it cannot be cancelled. -1: it has ended, or is about to, by another thread's doing. */
int core__submission_end(uint64_t id)
{
    pthread_mutex_lock(&submissions_lock);
    submission *found = find_locked(id);
    int ends = found && found->state == OPEN;
    if (ends)
        found->state = ENDING;
    pthread_mutex_unlock(&submissions_lock);
    return ends ? 0 : -1;
}

/* Its last event has been told: its place is free. */
void core__submission_leave(uint64_t id)
{
    pthread_mutex_lock(&submissions_lock);
    submission *found = find_locked(id);
    if (found && found->state == ENDING)
        leave_place_locked((int)(found - places));
    pthread_mutex_unlock(&submissions_lock);
}
