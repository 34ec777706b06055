/*
 * The default queue: what plue_event_poll and plue_event_wait hand out, each event to one of them, and its descriptor.
 * While the library stops, what is queued is still handed out.
 */
#include "queues.h"

#include <errno.h>
#include <stdlib.h>

enum { AGAIN_MS = 50 };
#define MS INT64_C(1000000)
#define GRACE_NS (100 * MS) /* so soon a reader comes back that plue_shutdown waits for */

struct default_queue {
    core_queue queue; /* first */
    core_event *ring[CORE_QUEUE_CAPACITY], *passing[CORE_PASSING_CAPACITY + CORE_FINAL_CAPACITY];
};

/* Under core_queues_lock, but for who reads an atomic one in passing. */
static core_queue *queue;
static atomic_int lives;   /* how often it was opened */
static atomic_int waiting; /* readers that sleep, or are about to */
static core_descriptor descriptor = {.fd = -1};
static int64_t read_at; /* when somebody has read from it last, or come to do so */

/* A bell that many sleep on. */
static pthread_mutex_t bell_lock;
static pthread_cond_t bell_rang;
static atomic_uint rings;

void core_default_prepare(void)
{
    core_set_up(&bell_lock, &bell_rang);
}

static void ring(int all)
{
    pthread_mutex_lock(&bell_lock);
    atomic_fetch_add(&rings, 1);
    if (all)
        pthread_cond_broadcast(&bell_rang);
    else
        pthread_cond_signal(&bell_rang);
    pthread_mutex_unlock(&bell_lock);
}

static void sleep_until(unsigned heard, int64_t until)
{
    struct timespec at;
    core_deadline(&at, until);
    pthread_mutex_lock(&bell_lock);
    while (atomic_load(&rings) == heard)
        if (pthread_cond_timedwait(&bell_rang, &bell_lock, &at) == ETIMEDOUT)
            break;
    pthread_mutex_unlock(&bell_lock);
    atomic_fetch_sub(&waiting, 1);
}

static int is_over_locked(void)
{
    return !queue || (queue->closing && !queue->behind && !core_queue_next_locked(queue));
}

static int has_answer_locked(void)
{
    return is_over_locked() || core_queue_next_locked(queue);
}

/* ---- the descriptor ---- */
static int answer_locked(void *unused, int *hungry)
{
    (void)unused;
    *hungry = queue && core_queue_is_hungry_locked(queue);
    return has_answer_locked();
}

static void settle(void)
{
    core_descriptor_settle(&descriptor, answer_locked, NULL);
}

void core_default_changed(void)
{
    if (atomic_load(&waiting)) {
        pthread_mutex_lock(&core_queues_lock);
        int answer = has_answer_locked();
        pthread_mutex_unlock(&core_queues_lock);
        if (answer)
            ring(0);
    }
    settle();
}

/* ---- readers ---- */
static int closed(const char *operation)
{
    core_fail(PLUE_ERROR_CLOSED, operation, "the library was shut down. Call plue_init() again.");
    return -1;
}

/* Also while the library stops; and who has read hears CLOSED when it has stopped meanwhile. */
static int enter(const char *operation)
{
    const core_thread *thread = core_known_thread;
    int state = atomic_load(&core_state); /* once: what runs here may be stopping at the next glance */
    if (core_forked() || state == CORE_STARTING)
        return core_ready(operation);
    if (state == CORE_RUNNING || state == CORE_STOPPING)
        return 0;
    return thread && thread->reads && thread->reads == atomic_load(&lives) ? closed(operation) : core_ready(operation);
}

/* The next event, waited for until then; NULL: none came, or with the error set. */
static char *next(const char *operation, int64_t until)
{
    int life = atomic_load(&lives);
    char *text = NULL;
    core_clear_error();
    for (size_t room = 0;;) {
        core_mark mark = {.need = 0};
        int64_t now = core_monotonic_ns();
        pthread_mutex_lock(&core_queues_lock);
        int over = life != lives || is_over_locked(), hungry = 0, more = 0, waits = 0;
        if (!over && !queue->is_read)
            core_queue_read_locked(queue, 1);
        core_event *taken = over ? NULL : core_queue_take_locked(queue, room, &mark);
        unsigned heard = atomic_load(&rings);
        if (taken) {
            read_at = now;
            more = core_queue_next_locked(queue) != NULL;
        } else if (!over && !mark.need) {
            read_at = now;
            descriptor.seen_empty = 1;
            hungry = core_queue_is_hungry_locked(queue);
            waits = now < until;
            atomic_fetch_add(&waiting, waits);
        }
        pthread_mutex_unlock(&core_queues_lock);
        if (taken) {
            core_thread *thread = core_this_thread();
            if (thread)
                thread->reads = life;
            core_event_print(taken, &mark, NULL, text);
            settle();
            if (more && until && atomic_load(&waiting))
                ring(0);
            return text;
        }
        plue_free(text); /* another caller was faster */
        text = NULL;
        room = 0;
        if (hungry)
            core__wake(CORE_EXECUTOR_READ, CORE_SIGNAL_WAKE);
        if (waits) {
            int64_t again = now + AGAIN_MS * MS; /* a refill that could not be asked for is asked for again */
            sleep_until(heard, hungry && again < until ? again : until);
            continue;
        }
        if (over)
            closed(operation);
        if (!mark.need) {
            if (!over)
                core_descriptor_clear(&descriptor, answer_locked, NULL);
            return NULL;
        }
        /* It leaves the queue only when there is memory to give it away in. */
        text = core_new_text(room = mark.need);
        if (!text) {
            core_fail(PLUE_ERROR_IO, operation, "out of memory. Free some and try again.");
            return NULL;
        }
    }
}

char *plue_event_poll(void)
{
    static const char *const operation = "plue_event_poll";
    return enter(operation) ? NULL : next(operation, 0);
}

char *plue_event_wait(int timeout_ms)
{
    static const char *const operation = "plue_event_wait";
    core_visit visit;
    if (enter(operation) || core_check_timeout(operation, "timeout_ms", timeout_ms))
        return NULL;
    if (!timeout_ms)
        return next(operation, 0);
    if (core_enter(&visit, operation))
        return NULL;
    char *text = next(operation, core_monotonic_ns() + timeout_ms * MS);
    core_leave(&visit);
    return text;
}

static int is_closed_locked(void *unused)
{
    (void)unused;
    return !queue;
}

int plue_event_fd(void)
{
    static const char *const operation = "plue_event_fd";
    int over;
    if (enter(operation))
        return -1;
    int fd = core_descriptor_get(&descriptor, is_closed_locked, NULL, &over);
    pthread_mutex_lock(&core_queues_lock);
    if (queue && fd >= 0) /* who waits for it is about to read */
        core_queue_read_locked(queue, 1);
    pthread_mutex_unlock(&core_queues_lock);
    settle();
    if (over)
        closed(operation);
    else if (fd < 0)
        core_fail(PLUE_ERROR_IO, operation,
                  "no descriptor is left. Close some, or raise the limit on open files (ulimit -n).");
    return fd;
}

/* ---- life ---- */
int core_default_open(void)
{
    struct default_queue *made = calloc(1, sizeof *made);
    if (!made)
        return -1;
    made->queue.ring = made->ring;
    made->queue.capacity = CORE_QUEUE_CAPACITY;
    made->queue.passing = made->passing;
    made->queue.passing_capacity = CORE_PASSING_CAPACITY + CORE_FINAL_CAPACITY;
    pthread_mutex_lock(&core_queues_lock);
    core_queue_open_locked(&made->queue, CORE_NO_BELL);
    queue = &made->queue;
    read_at = 0;
    atomic_fetch_add(&lives, 1);
    pthread_mutex_unlock(&core_queues_lock);
    return 0;
}

core_queue *core_default_read_locked(int64_t now)
{
    int holds = queue && (core_queue_next_locked(queue) || queue->behind);
    return holds && (atomic_load(&waiting) || now - read_at < GRACE_NS) ? queue : NULL;
}

void core_default_lapse(void)
{
    int64_t now = core_monotonic_ns();
    pthread_mutex_lock(&core_queues_lock);
    if (queue && !atomic_load(&waiting))
        core_queue_lapse_locked(queue, read_at, now);
    pthread_mutex_unlock(&core_queues_lock);
}

void core_default_stop(void)
{
    core_thread *thread = core_known_thread;
    pthread_mutex_lock(&core_queues_lock);
    if (thread && thread->reads == atomic_load(&lives)) { /* it cannot read while it stops the library */
        thread->reads = 0;
        read_at = 0;
    }
    if (queue)
        queue->closing = 1;
    pthread_mutex_unlock(&core_queues_lock);
    ring(1);
    settle();
}

void core_default_close(int64_t deadline)
{
    pthread_mutex_lock(&core_queues_lock);
    core_queue *old = queue;
    queue = NULL;
    if (old)
        core_queue_close_locked(old);
    pthread_mutex_unlock(&core_queues_lock);
    ring(1);
    core_descriptor_close(&descriptor, deadline);
    if (old)
        core_queue_discard(old);
    free((struct default_queue *)old);
}
