/* Texts that belong to the caller: what a double free may not take, how long one more takes, and what stays when all
 * are freed. */
#include "check.h"
#include "json.h"

#include <sys/resource.h>

enum { LONG = 100 * 1000, LONGER = 1200 * 1000 };

static plue_session_t session;

static char longest[LONGER + 1];

/* A text of the library's with `length` bytes and two quotation marks. Nothing else is allocated for it. */
static char *make(size_t length)
{
    char *made = plue_json_quote(longest + LONGER - length);
    CHECK(made && strlen(made) == length + 2);
    return made;
}

/* ---- double frees ---- */
enum { FREED = 8, TAKEN = 64 };
static char *freed[FREED];

static void *free_some(void *length)
{
    for (int i = 0; i < FREED; i++)
        freed[i] = make((size_t)(uintptr_t)length);
    for (int i = 0; i < FREED; i++)
        plue_free(freed[i]);
    return NULL;
}

static void *take_some(void *length)
{
    char *taken[TAKEN];
    for (int i = 0; i < TAKEN; i++) {
        taken[i] = make((size_t)(uintptr_t)length);
        for (int k = 0; k < FREED; k++)
            CHECK(taken[i] != freed[k] || !"what an ended thread has freed is another one's already");
    }
    for (int k = 0; k < FREED; k++)
        plue_free(freed[k]); /* once more: they are nobody's */
    for (int i = 0; i < TAKEN; i++) {
        CHECK(strlen(taken[i]) == (uintptr_t)length + 2);
        plue_free(taken[i]);
    }
    return NULL;
}

static void what_a_thread_has_freed_is_kept_aside_when_it_ends(void)
{
    for (int round = 0; round < part(20); round++) {
        end(run(free_some, (void *)(uintptr_t)300));
        end(run(take_some, (void *)(uintptr_t)300));
    }
}

static void a_long_text_is_not_freed_twice(size_t length)
{
    char *first = make(length);
    plue_free(first);
    for (int round = 0; round < part(50); round++) {
        char *second = make(length);
        CHECK(second != first);
        plue_free(first);
        CHECK(strlen(second) == length + 2);
        memset(second, 'y', length);
        first = second;
        plue_free(second);
    }
}

static void long_texts_are_not_freed_twice(void)
{
    static const size_t lengths[] = {3000, 6000, 20000, LONG, 200000, LONGER};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        a_long_text_is_not_freed_twice(lengths[i]);
}

static void foreign_pointers_are_ignored(void)
{
    char *own = make(40), *of_a_page = make(LONG), *not_ours = malloc(40), local[64];
    CHECK(not_ours != NULL);
    for (int at = 1; at < 40; at++)
        plue_free(own + at);
    for (int at = -64; at < 20000; at += at < 64 ? 1 : 16)
        if (at)
            plue_free(of_a_page + at);
    plue_free(not_ours);
    plue_free(local);
    plue_free((void *)((uintptr_t)own | UINT64_C(1) << 60));
    plue_free((void *)((uintptr_t)own | UINT64_C(1) << 48));
    for (int shift = 0; shift < 64; shift++)
        plue_free((void *)(UINT64_C(1) << shift));
    plue_free((void *)UINTPTR_MAX);
    CHECK(strlen(own) == 42 && strlen(of_a_page) == LONG + 2);
    plue_free(own);
    plue_free(of_a_page);
    free(not_ours);
}

/* ---- instant means instant ---- */
static long new_pages(void)
{
    struct rusage used;
    CHECK(getrusage(RUSAGE_THREAD, &used) == 0);
    return used.ru_minflt;
}

/* Work that grows with the number of texts needs memory that grows: judged by the pages that one call touches for the
   first time, for a shared machine makes any call slow now and then. */
static void one_more_text_costs_no_more_however_many_there_are(void)
{
    int count = part(1200000);
    char **ids = malloc((size_t)count * sizeof *ids);
    CHECK(ids != NULL);
    memset(ids, 1, (size_t)count * sizeof *ids);
    long most = 0, before = new_pages();
    for (int i = 0; i < count; i++) {
        ids[i] = plue_session_get_id(session);
        long after = new_pages();
        most = after - before > most ? after - before : most;
        before = after;
        CHECK(ids[i] != NULL);
    }
    printf("no get_id of %d took more than %ld new pages\n", count, most);
    CHECK(getenv("CHECK_PART") || most <= 100);
    for (int i = 0; i < count; i++)
        plue_free(ids[i]);
    free(ids);
}

/* ---- what stays ---- */
enum { THREADS = 50 };
static pthread_barrier_t together;

static void *read_and_free(void *unused)
{
    static const size_t lengths[] = {100, 1000, 4000, 9000, 15000, 20000, 40000, LONG};
    char *texts[16];
    plue_free(make(10));
    pthread_barrier_wait(&together); /* all are here ... */
    pthread_barrier_wait(&together); /* ... and measured */
    for (int round = 0; round < 3; round++)
        for (size_t length = 0; length < sizeof lengths / sizeof *lengths; length++) {
            for (int i = 0; i < 16; i++) {
                texts[i] = plue_session_get_info(session); /* a long title */
                CHECK(texts[i] && strlen(texts[i]) > LONG);
                plue_free(texts[i]);
                texts[i] = make(lengths[length]);
            }
            for (int i = 0; i < 16; i++)
                plue_free(texts[i]);
        }
    pthread_barrier_wait(&together);
    pthread_barrier_wait(&together);
    return unused;
}

static void little_stays_of_each_thread(void)
{
    pthread_t threads_[THREADS];
    char *texts[64];
    int count = part(THREADS);
    for (int i = 0; i < 64; i++) /* what the process keeps aside, however many threads there are, it has */
        texts[i] = make(30000);
    for (int i = 0; i < 64; i++)
        plue_free(texts[i]);
    CHECK(pthread_barrier_init(&together, NULL, (unsigned)count + 1) == 0);
    for (int i = 0; i < count; i++)
        threads_[i] = run(read_and_free, NULL);
    pthread_barrier_wait(&together);
    long before = resident_kib();
    pthread_barrier_wait(&together);
    pthread_barrier_wait(&together);
    long after = resident_kib();
    printf("%.1f KiB stay of each of %d threads\n", (double)(after - before) / count, count);
    CHECK(getenv("CHECK_PART") || after - before <= 64L * count);
    pthread_barrier_wait(&together);
    for (int i = 0; i < count; i++)
        end(threads_[i]);
    pthread_barrier_destroy(&together);
}

static long mapped_bytes(void)
{
    long size;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file && fscanf(file, "%ld", &size) == 1);
    fclose(file);
    return size * sysconf(_SC_PAGESIZE);
}

static void a_long_list_is_read_and_freed_as_often_as_one_likes(void)
{
    int count = part(40);
    char *title = malloc((1 << 20) + 1);
    plue_session_t long_ones[40];
    CHECK(title != NULL);
    memset(title, 'x', 1 << 20);
    title[1 << 20] = 0;
    for (int i = 0; i < count; i++)
        CHECK((long_ones[i] = plue_session_create(NULL)) && plue_session_update_title(long_ones[i], title) == 0);
    struct rlimit before, limit;
    CHECK(getrlimit(RLIMIT_AS, &before) == 0);
    plue_free(plue_session_list()); /* what one takes for itself is there */
    limit = before;
    limit.rlim_cur = (rlim_t)(mapped_bytes() + (200L << 20));
    if (!getenv("CHECK_PART"))
        CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    for (int round = 0; round < part(20); round++) {
        char *list = plue_session_list();
        CHECK(list && strlen(list) > (size_t)count << 20);
        plue_free(list);
    }
    CHECK(setrlimit(RLIMIT_AS, &before) == 0);
    for (int i = 0; i < count; i++) {
        CHECK(plue_session_delete(long_ones[i]) == 0);
        plue_session_destroy(long_ones[i]);
    }
    free(title);
}

int main(void)
{
    start(",\"store\":\"memory\"");
    memset(longest, 'x', LONGER);
    CHECK((session = plue_session_create(NULL)) && plue_session_update_title(session, longest + LONGER - LONG) == 0);
    const char *only = getenv("CHECK_ONLY");
    static const struct {
        const char *name;
        void (*run)(void);
    } all[] = {
        {"foreign", foreign_pointers_are_ignored},
        {"long", long_texts_are_not_freed_twice},
        {"ended", what_a_thread_has_freed_is_kept_aside_when_it_ends},
        {"many", one_more_text_costs_no_more_however_many_there_are},
        {"stays", little_stays_of_each_thread},
        {"list", a_long_list_is_read_and_freed_as_often_as_one_likes},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!only || !strcmp(only, all[i].name))
            all[i].run();
    plue_shutdown();
    return 0;
}
