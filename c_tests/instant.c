/*
 * What is instant waits for nobody. Whoever else is at work in the library is stopped wherever it gets memory, gives it
 * back, starts a thread or calls the kernel, one place after the other: meanwhile every instant function is served. And
 * the locks that these take: nobody holds another one with them, and nobody holds them for long, measured in processor
 * time, which a busy machine does not lengthen. Runs with c_tests/telling.py.
 */
#define MORE_FAULTS                                                                                                    \
    {"free", (void *)stopping_free}, {"close", (void *)stopping_close}, {"write", (void *)stopping_write},             \
        {"madvise", (void *)stopping_madvise}, {"eventfd", (void *)stopping_eventfd},                                  \
        {"pthread_mutex_lock", (void *)noting_lock}, {"pthread_mutex_trylock", (void *)noting_trylock},                \
        {"pthread_mutex_unlock", (void *)noting_unlock}, {"pthread_cond_wait", (void *)noting_wait},                   \
        {"pthread_cond_timedwait", (void *)noting_timedwait},

#include "check.h"

#include <sys/eventfd.h>

static void stopping_free(void *block);
static int stopping_close(int fd);
static long stopping_write(int fd, const void *from, size_t count);
static int stopping_madvise(void *from, size_t size, int advice);
static int stopping_eventfd(unsigned first, int flags);
static int noting_lock(pthread_mutex_t *lock), noting_trylock(pthread_mutex_t *lock),
    noting_unlock(pthread_mutex_t *lock);
static int noting_wait(pthread_cond_t *cond, pthread_mutex_t *lock);
static int noting_timedwait(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *at);

#include "faults.h"
#include "json.h"

enum { LARGE = 1 << 20, CROWD = 60000, KNOWN = 1 << 18, LONGEST_US = 3000 };

/* ---- who is at work is stopped at its nth place, or where it gets much memory ---- */
static atomic_long places_left, much = LONG_MAX;
static atomic_int stopped;
static _Thread_local int exempt; /* the test itself, and who is to be served */

static void place(size_t size)
{
    long left = atomic_load(&places_left);
    if (exempt)
        return;
    while (left > 1 && !atomic_compare_exchange_weak(&places_left, &left, left - 1))
        ;
    int here = left == 1 && atomic_compare_exchange_strong(&places_left, &left, 0);
    if (!here && (long)size >= atomic_load(&much)) {
        atomic_store(&much, LONG_MAX);
        here = 1;
    }
    if (here) {
        atomic_store(&stopped, 1);
        while (atomic_load(&stopped))
            pause_ms(1);
    }
}

static void *stopping_malloc(size_t size)
{
    place(size);
    return malloc(size);
}

static void *stopping_calloc(size_t count, size_t size)
{
    place(count * size);
    return calloc(count, size);
}

static char *stopping_strdup(const char *of)
{
    place(0);
    return strdup(of);
}

static int stopping_create(pthread_t *made, const pthread_attr_t *attributes, void *(*function)(void *), void *argument)
{
    place(0);
    return pthread_create(made, attributes, function, argument);
}

static void stopping_free(void *block)
{
    if (block)
        place(0);
    free(block);
}

static int stopping_close(int fd)
{
    place(0);
    return close(fd);
}

static long stopping_write(int fd, const void *from, size_t count)
{
    place(0);
    return write(fd, from, count);
}

static int stopping_madvise(void *from, size_t size, int advice)
{
    place(0);
    return madvise(from, size, advice);
}

static int stopping_eventfd(unsigned first, int flags)
{
    place(0);
    return eventfd(first, flags);
}

/* ---- which locks instant functions take, who holds another with one, and how long each is held ---- */
typedef struct lock_note {
    _Atomic(void *) lock;
    atomic_int instant, nested;
    atomic_long longest; /* ns of processor time */
} lock_note;

static lock_note notes[KNOWN];
static atomic_int noting;
static _Thread_local int instant,
    starting; /* inside such a function; in plue_init or plue_shutdown, which have a lock around all */
static _Thread_local struct {
    pthread_mutex_t *lock;
    long since;
} held[4];
static _Thread_local int depth;

static long own_time(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * 1000000000 + now.tv_nsec;
}

static lock_note *note_of(void *lock)
{
    for (size_t at = (size_t)lock / 16 * 2654435761u % KNOWN, n = 0; n < KNOWN; n++, at = (at + 1) % KNOWN) {
        void *none = NULL;
        if (atomic_load(&notes[at].lock) == lock || atomic_compare_exchange_strong(&notes[at].lock, &none, lock) ||
            none == lock)
            return &notes[at];
    }
    CHECK(!"room for more locks");
    return NULL;
}

static void taken(pthread_mutex_t *lock)
{
    if (!atomic_load(&noting))
        return;
    lock_note *note = note_of(lock);
    if (instant)
        atomic_store(&note->instant, 1);
    if (depth > starting) {
        atomic_store(&note->nested, 1);
        atomic_store(&note_of(held[depth - 1].lock)->nested, 1);
    }
    CHECK(depth < 4);
    held[depth].lock = lock;
    held[depth++].since = own_time();
}

static void let_go(pthread_mutex_t *lock)
{
    int at = depth - 1;
    while (at >= 0 && held[at].lock != lock)
        at--;
    if (at < 0)
        return;
    long took = own_time() - held[at].since;
    atomic_long *longest = &note_of(lock)->longest;
    for (long before = atomic_load(longest); took > before && !atomic_compare_exchange_weak(longest, &before, took);)
        ;
    for (depth--; at < depth; at++)
        held[at] = held[at + 1];
}

static int noting_lock(pthread_mutex_t *lock)
{
    int failed = pthread_mutex_lock(lock);
    if (!failed)
        taken(lock);
    return failed;
}

static int noting_trylock(pthread_mutex_t *lock)
{
    int failed = pthread_mutex_trylock(lock);
    if (!failed)
        taken(lock);
    return failed;
}

static int noting_unlock(pthread_mutex_t *lock)
{
    let_go(lock);
    return pthread_mutex_unlock(lock);
}

static int noting_wait(pthread_cond_t *cond, pthread_mutex_t *lock)
{
    let_go(lock);
    int failed = pthread_cond_wait(cond, lock);
    taken(lock);
    return failed;
}

static int noting_timedwait(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *at)
{
    let_go(lock);
    int failed = pthread_cond_timedwait(cond, lock, at);
    taken(lock);
    return failed;
}

/* ---- what is to be served ---- */
static plue_session_t large, other, spare; /* spare: to be destroyed */
static char *other_id, *unread;            /* a text that was returned before */
static char title[LARGE + 1];
static atomic_int served;
static plue_session_observer_t watched, everybodys, leaving; /* leaving: to be closed */

static int no_number(const char *element_json, void *user_data)
{
    return user_data || *element_json != '1';
}

static void *call_what_is_instant(void *unused)
{
    exempt = instant = 1;
    plue_session_t all[2] = {other, large};
    for (int i = 0; i < 2; i++) {
        char *texts[] = {plue_session_peek_info(all[i]), plue_session_get_info(all[i]), plue_session_get_id(all[i])};
        for (int n = 0; n < 3; n++) {
            CHECK(i || texts[n]); /* what becomes of the large one is up to who was stopped */
            plue_free(texts[n]);
        }
        CHECK(plue_session_cancel_turns(all[i]) == 0);
    }
    plue_session_destroy(spare);
    CHECK_ERROR(!plue_session_get_id(spare), PLUE_ERROR_BAD_HANDLE);
    CHECK(plue_get_last_error() && plue_get_last_error_json() && plue_get_version());
    char *event = plue_event_poll(), *quoted = plue_json_quote("text"), *plain = plue_json_text(quoted, "");
    char *peeked = plue_session_peek_id(other_id);
    CHECK(quoted && plain && plue_json_int("[1]", "/0", 0) == 1 && plue_json_double("[1]", "/0", 0) == 1);
    CHECK(plue_json_count("[1]", "") == 1 && plue_json_each("[1]", "", no_number, NULL) == 0);
    CHECK(plue_session_relay_next_state("CREATED", "SPAWN"));
    CHECK(plue_error_name(PLUE_OK) && plue_version_number() && peeked && plue_event_fd() >= 0);
    uint64_t submitted = plue_session_submit("[{\"op\":\"list\"}]");
    /* Who is stopped may be the one that would take it, until the queue is full. */
    CHECK(submitted || plue_get_last_error_code() == PLUE_ERROR_QUEUE_FULL);
    (void)plue_session_cancel_operation(submitted);
    CHECK(plue_session_cancel_turns(other) == 0);
    plue_session_observer_t observers[2] = {watched, everybodys};
    for (int i = 0; i < 2; i++) {
        char *item = plue_session_observer_next(observers[i], 0), *cursor = plue_session_observer_cursor(observers[i]);
        CHECK(cursor && plue_session_observer_fd(observers[i]) > 2 &&
              (item || plue_get_last_error_code() == PLUE_OK || plue_get_last_error_code() == PLUE_ERROR_IO));
        plue_session_observer_wake(observers[i]);
        plue_free(item);
        plue_free(cursor);
    }
    plue_session_observer_close(leaving);
    CHECK_ERROR(!plue_session_observer_next(leaving, 0), PLUE_ERROR_CLOSED);
    plue_free_string(plain);
    plue_free(peeked);
    plue_free_json(event);
    plue_free_string(quoted);
    plue_free(unread);
    exempt = instant = 0;
    atomic_store(&served, 1);
    return unused;
}

static void all_are_served(const char *while_who)
{
    atomic_store(&served, 0);
    pthread_t caller = run(call_what_is_instant, NULL);
    for (double until = seconds() + 30; !atomic_load(&served) && seconds() < until;)
        pause_ms(1);
    if (!atomic_load(&served))
        fprintf(stderr, "not served: %s\n", while_who);
    CHECK(atomic_load(&served));
    end(caller);
}

/* ---- who is at work ---- */
static void never(uint8_t type, const char *event, void *data)
{
    (void)type;
    (void)event;
    (void)data;
}

static void subscribe_and_leave(void)
{
    uint32_t id = plue_event_subscribe(never, NULL);
    CHECK(id);
    plue_event_unsubscribe(id);
}

static void create_and_delete(void)
{
    plue_session_t made = plue_session_create(NULL);
    CHECK(made && plue_session_delete(made) == 0);
    plue_session_destroy(made);
}

static void change_the_large_one(void)
{
    static char letter = 'a';
    letter = letter == 'z' ? 'a' : letter + 1;
    memset(title, letter, LARGE);
    CHECK(plue_session_update_title(large, title) == 0);
}

static void read_the_large_one(void)
{
    char *info = plue_session_get_info(large), *id = plue_session_get_id(large), *list = plue_session_list();
    CHECK(info && id && list);
    plue_free(info);
    plue_free(id);
    plue_free(list);
}

static void open_and_destroy(void)
{
    plue_session_t made = plue_session_create_with("{\"title\":\"short\"}"),
                   again = plue_session_open(text(plue_session_get_id(made)));
    CHECK(made && again && plue_session_update_title(made, title) == 0);
    plue_session_destroy(made);
    plue_session_destroy(again); /* nobody holds it, and its snapshot is freed */
}

static void poll_events(void)
{
    change_the_large_one();
    for (char *event; (event = plue_event_poll());)
        plue_free(event);
}

static void do_in_bulk(void)
{
    uint64_t submitted = plue_session_submit("[{\"op\":\"create\"},{\"op\":\"list\"}]");
    plue_free(plue_session_batch("[{\"op\":\"create\"}]"));
    (void)plue_session_cancel_operation(submitted);
}

static void observe_and_leave(void)
{
    plue_session_observer_t made = plue_session_observe(large, NULL),
                            all = plue_session_observe(PLUE_ALL_SESSIONS, NULL);
    CHECK(made && all && plue_session_observer_fd(made) > 2);
    change_the_large_one();
    for (char *item; (item = plue_session_observer_next(all, 1000)); plue_free(item))
        if (SAYS(item, "session.updated")) {
            plue_free(item);
            break;
        }
    plue_free(plue_session_observer_next(made, 1000));
    plue_session_observer_close(made);
    plue_session_observer_close(all);
}

static void look_at_all(void)
{
    CHECK(plue_session_update_title(other, "survey") == 0);
}

static atomic_int done;

static void *do_it(void *what)
{
    ((void (*)(void))what)();
    atomic_store(&done, 1);
    return NULL;
}

static void before_each(void)
{
    CHECK((spare = plue_session_open(other_id)) && (unread = plue_session_get_info(other)));
    CHECK((leaving = plue_session_observe(other, NULL)) && plue_session_observer_fd(leaving) > 2);
    for (char *event; (event = plue_event_poll());)
        plue_free(event);
}

/* Does it meet the nth place? Then everybody else is served while it stands there. */
static int stand_at(long nth, void (*what)(void), const char *name)
{
    before_each();
    atomic_store(&done, 0);
    atomic_store(&places_left, nth);
    pthread_t worker = run(do_it, (void *)what);
    while (!atomic_load(&done) && !atomic_load(&stopped))
        pause_ms(1);
    atomic_store(&places_left, 0);
    pause_ms(1);
    int met = atomic_load(&stopped);
    all_are_served(name);
    atomic_store(&stopped, 0);
    end(worker);
    return met;
}

static void wherever_one_is_stopped_what_is_instant_is_served(void)
{
    static const struct {
        const char *name;
        void (*what)(void);
    } all[] = {
        {"subscribe", subscribe_and_leave},
        {"create", create_and_delete},
        {"read", read_the_large_one},
        {"open", open_and_destroy},
        {"change", change_the_large_one},
        {"poll", poll_events},
        {"bulk", do_in_bulk},
        {"survey", look_at_all},
        {"observe", observe_and_leave},
    };
    CHECK(plue_event_subscribe(never, NULL));
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        long nth = 1, step = 100 / part(100);
        while (stand_at(nth, all[i].what, all[i].name))
            nth += step;
        printf("%s: %ld places\n", all[i].name, nth - 1);
    }
}

/* Much memory is got when the tables of sessions and handles grow. */
static plue_session_t *crowd;
static int crowded;

static void create_many(void)
{
    while (!atomic_load(&stopped) && crowded < 600)
        CHECK((crowd[crowded++] = plue_session_create(NULL)) != NULL);
}

static void while_tables_grow_what_is_instant_is_served(void)
{
    before_each();
    atomic_store(&done, 0);
    atomic_store(&much, 2048);
    pthread_t worker = run(do_it, (void *)create_many);
    while (!atomic_load(&done) && !atomic_load(&stopped))
        pause_ms(1);
    CHECK(atomic_load(&stopped));
    all_are_served("tables grow");
    atomic_store(&much, LONG_MAX);
    atomic_store(&stopped, 0);
    end(worker);
}

/* ---- how long locks are held when there is much ---- */
static atomic_int busy, next_one;

static void *create_part(void *unused)
{
    for (int i; (i = atomic_fetch_add(&next_one, 1)) < part(CROWD);)
        CHECK((crowd[i] = plue_session_create(NULL)) != NULL);
    return unused;
}

static void *survey_on(void *unused)
{
    while (atomic_load(&busy))
        look_at_all();
    return unused;
}

static int by_size(const void *one, const void *two)
{
    return (*(const double *)one > *(const double *)two) - (*(const double *)one < *(const double *)two);
}

static void destroy_many_beside_a_survey(int from, int to)
{
    double *took = calloc((size_t)(to - from), sizeof *took);
    atomic_store(&busy, 1);
    pthread_t survey = run(survey_on, NULL);
    instant = 1;
    for (int i = from; i < to; i++) {
        double at = seconds();
        plue_session_destroy(crowd[i]);
        took[i - from] = seconds() - at;
        if (i % 16 == 0)
            plue_free(plue_event_poll());
    }
    instant = 0;
    atomic_store(&busy, 0);
    end(survey);
    qsort(took, (size_t)(to - from), sizeof *took, by_size);
    printf("destroy beside surveys of %d sessions: median %.2f us, 99.9 %% %.0f us, worst %.0f us\n", to,
           took[(to - from) / 2] * 1e6, took[(to - from) * 999L / 1000] * 1e6, took[to - from - 1] * 1e6);
    free(took);
}

/* How long the longest hold of a lock of theirs was, us. */
static double judge_the_locks(void)
{
    int count = 0, nested = 0;
    long longest = 0;
    for (size_t i = 0; i < KNOWN; i++)
        if (atomic_load(&notes[i].instant)) {
            long each = atomic_exchange(&notes[i].longest, 0);
            count++;
            nested += atomic_load(&notes[i].nested);
            longest = each > longest ? each : longest;
        }
    printf("%d locks of instant functions, %d of them with another one, held for at most %.1f us\n", count, nested,
           (double)longest / 1e3);
    CHECK(count >= 4 && nested == 0);
    return (double)longest / 1e3;
}

static double use_much_of_all(void)
{
    pthread_t creators[4];
    atomic_store(&next_one, 0);
    for (int i = 0; i < 4; i++)
        creators[i] = run(create_part, NULL);
    for (int i = 0; i < 4; i++)
        end(creators[i]);
    destroy_many_beside_a_survey(0, part(CROWD) / 2);
    starting = 1;
    plue_shutdown(); /* with the other half */
    starting = 0;
    return judge_the_locks();
}

static void begin(void)
{
    starting = 1;
    start(",\"store\":\"memory\"");
    starting = 0;
    CHECK((large = plue_session_create(NULL)) && (other = plue_session_create(NULL)) &&
          (other_id = plue_session_get_id(other)));
    CHECK((watched = plue_session_observe(large, NULL)) &&
          (everybodys = plue_session_observe(PLUE_ALL_SESSIONS, NULL)));
    CHECK(plue_session_observer_fd(watched) > 2 && plue_session_observer_fd(everybodys) > 2);
}

int main(void)
{
    faulty[0].instead = (void *)stopping_malloc;
    faulty[1].instead = (void *)stopping_calloc;
    faulty[2].instead = (void *)stopping_strdup;
    faulty[4].instead = (void *)stopping_create;
    prepare_faults();
    crowd = calloc(CROWD + 600, sizeof *crowd);
    CHECK(crowd);
    atomic_store(&noting, 1);
    begin();
    wherever_one_is_stopped_what_is_instant_is_served();
    while_tables_grow_what_is_instant_is_served();
    for (int i = 0; i < crowded; i++)
        plue_session_destroy(crowd[i]);

    /* A virtual processor that is away for a while counts that as its time, now and then: what is too long is so each
     * time. */
    double longest = use_much_of_all();
    for (int more = 3; more && longest > LONGEST_US && !getenv("CHECK_PART");
         more--) { /* a tool takes time of its own */
        plue_free(other_id);
        begin();
        longest = use_much_of_all();
    }
    CHECK(getenv("CHECK_PART") || longest <= LONGEST_US);
    plue_free(other_id);
    free(crowd);
    return 0;
}
