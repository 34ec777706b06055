/* What belongs to one thread: the last error, and the two clocks that everything here is measured with. */
#include "core.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core_tables.h"

/* A shared object's thread-local data is slow to reach unless it is in the static block: this one is eight bytes. */
_Thread_local core_thread *core_known_thread __attribute__((tls_model("initial-exec")));
/* The error of a thread that there was no memory for yet. */
static _Thread_local int bare_code __attribute__((tls_model("initial-exec")));
static _Atomic(int64_t) thread_end = -1; /* the key whose destructor ends a thread's own; -1: none yet */
static char no_memory[] = "out of memory";

/*
 * A forked child allocates nothing, because another thread may have held the allocator's lock. It has one error for all
 * its threads: the one that it begins with reads its own, others may read each other's operation in it.
 */
static char forked_text[256], forked_json[512];

static void thread_ended(void *value)
{
    core_thread *thread = value;
    core_known_thread = NULL;
    if (core_forked())
        return; /* see fail_forked(); what it has is lost */
    core_leave_kept(&thread->kept);
    if (thread->message != no_memory)
        free(thread->message);
    free(thread->details);
    free(thread->json);
    free(thread);
}

static int notice_end(core_thread *of)
{
    int64_t key = atomic_load(&thread_end);
    if (key < 0) {
        pthread_key_t made;
        if (pthread_key_create(&made, thread_ended))
            return -1;
        if (atomic_compare_exchange_strong(&thread_end, &key, (int64_t)made))
            key = (int64_t)made;
        else
            pthread_key_delete(made); /* another thread was faster */
    }
    return pthread_setspecific((pthread_key_t)key, of);
}

/* If the host has taken every key, nobody says when a thread has ended. So each holds a lock as long as it lives, and a
 * new thread takes over what a dead one had: there are never more than threads at one time. */
static _Atomic(core_thread *) unnoticed;

static void live_unnoticed(core_thread *of)
{
    pthread_mutexattr_t robust;
    if (pthread_mutexattr_init(&robust))
        return; /* it is lost at the end of the thread */
    if (!pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST) && !pthread_mutex_init(&of->alive, &robust)) {
        pthread_mutex_lock(&of->alive);
        of->next = atomic_load(&unnoticed);
        while (!atomic_compare_exchange_weak(&unnoticed, &of->next, of))
            ;
    }
    pthread_mutexattr_destroy(&robust);
}

static core_thread *of_a_dead_one(void)
{
    core_thread *of = atomic_load(&unnoticed);
    while (of && pthread_mutex_trylock(&of->alive) != EOWNERDEAD)
        of = of->next;
    if (of) {
        pthread_mutex_consistent(&of->alive);
        of->subscription = NULL;
        of->cleans = 0;
        of->generation = 0;
    }
    return of;
}

static void begin(core_thread *own)
{
    core_known_thread = own;
    if (own->message != no_memory)
        free(own->message);
    own->message = no_memory;
    own->code = bare_code;
}

void core_adopt_thread(core_thread *made)
{
    begin(made);
    made->kept = (core_kept){.blocks = made->kept_blocks, .room = CORE_KEPT};
    made->ends = !notice_end(made);
    if (!made->ends)
        live_unnoticed(made);
}

core_thread *core_this_thread(void)
{
    if (__builtin_expect(core_known_thread == NULL, 0)) {
        core_thread *made = of_a_dead_one();
        if (made)
            begin(made);
        else if ((made = calloc(1, sizeof *made)))
            core_adopt_thread(made);
    }
    return core_known_thread;
}

int core_in_callback(const core_thread *thread)
{
    return thread && (thread->subscription || thread->cleans);
}

int64_t core_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t core_monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void core_deadline(struct timespec *at, int64_t monotonic_ns)
{
    at->tv_sec = monotonic_ns / 1000000000;
    at->tv_nsec = monotonic_ns % 1000000000;
}

int core_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes))
        return -1;
    int failed = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) || pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
    return failed ? -1 : 0;
}

static atomic_int not_set_up;

void core_set_up(pthread_mutex_t *lock, pthread_cond_t *cond)
{
    if ((lock && pthread_mutex_init(lock, NULL)) || (cond && core_cond_init(cond)))
        atomic_store(&not_set_up, 1);
}

int core_is_set_up(void)
{
    return !atomic_load(&not_set_up);
}

static void fail_forked(int code, const char *message)
{
    snprintf(forked_text, sizeof forked_text, "%s", message);
    bare_code = code;
    if (core_known_thread) {
        core_known_thread->message = forked_text;
        core_known_thread->details = NULL;
        core_known_thread->code = code;
    }
}

void core_fail_with(int code, const char *message, const char *details)
{
    if (core_forked()) {
        fail_forked(code, message);
        return;
    }
    core_thread *thread = core_this_thread();
    if (!thread) {
        bare_code = code;
        return;
    }
    char *copy = strdup(message);
    if (thread->message != no_memory)
        free(thread->message);
    free(thread->details);
    if (copy)
        core_make_utf8(copy); /* paths need not be, and a long message was cut anywhere */
    thread->message = copy ? copy : no_memory;
    thread->details = details && *details ? strdup(details) : NULL;
    thread->code = code;
    thread->time = core_now_ms();
}

void core_fail(int code, const char *operation, const char *format, ...)
{
    char cause[1200], message[1400];
    va_list values;
    va_start(values, format);
    vsnprintf(cause, sizeof cause, format, values);
    va_end(values);
    snprintf(message, sizeof message, "%s: %s", operation, cause);
    core_fail_with(code, message, NULL);
}

void core_clear_error(void)
{
    /* Only a thread that has failed before has something to clear. */
    if (core_known_thread)
        core_known_thread->code = PLUE_OK;
    bare_code = PLUE_OK;
}

const char *plue_get_last_error(void)
{
    if (!core_known_thread)
        return bare_code ? core_forked() ? forked_text : no_memory : "No error";
    return core_known_thread->code != PLUE_OK ? core_known_thread->message : "No error";
}

int plue_get_last_error_code(void)
{
    return core_known_thread ? core_known_thread->code : bare_code;
}

static size_t row_of(int code)
{
    size_t row = 0, last = sizeof core_errors / sizeof *core_errors - 1; /* UNKNOWN */
    while (row < last && core_errors[row].number != code)
        row++;
    return row;
}

const char *plue_error_name(int code)
{
    return code == PLUE_OK ? "OK" : core_errors[row_of(code)].name;
}

const char *plue_get_last_error_json(void)
{
    core_thread *thread = core_known_thread;
    int code = plue_get_last_error_code();
    if (core_forked() && code != PLUE_OK && (!thread || thread->message == forked_text)) { /* it needs no escapes */
        snprintf(
            forked_json, sizeof forked_json,
            "{\"error\":{\"code\":\"%s\",\"number\":%d,\"message\":\"%s\",\"retryable\":false,\"timestamp\":%lld}}",
            plue_error_name(code), code, forked_text, (long long)core_now_ms());
        return forked_json;
    }
    static const char plain[] =
        "{\"error\":{\"code\":\"IO\",\"number\":-7,\"message\":\"out of memory\",\"retryable\":false,\"timestamp\":0}}";
    if (!thread)
        return bare_code ? plain : "{}";
    if (thread->code == PLUE_OK)
        return "{}";
    size_t length = strlen(thread->message);
    char *message = malloc(core_quoted_length(thread->message, length) + 1), *json = NULL;
    if (message)
        core_quote(thread->message, length, message);
    if (!message ||
        asprintf(&json,
                 "{\"error\":{\"code\":\"%s\",\"number\":%d,\"message\":%s%s%s,\"retryable\":%s,\"timestamp\":%lld}}",
                 plue_error_name(thread->code), thread->code, message, thread->details ? ",\"details\":" : "",
                 thread->details ? thread->details : "", core_errors[row_of(thread->code)].retryable ? "true" : "false",
                 (long long)thread->time) < 0)
        json = NULL;
    free(message);
    if (!json)
        return plain;
    free(thread->json);
    return thread->json = json;
}
