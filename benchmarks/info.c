/*
 * Row 1: get_info, answered from C memory, against what it cannot beat: a C table with a mutex for each entry.
 *
 *     info DATA_DIR ROUNDS SLICE_MS CALLS
 *
 * The store holds sessions. For 1, 4 and 16 threads, each with a session of its own or all with one, idle and while the
 * library's Python is kept busy: rounds of a slice of ours and a slice of the table; then single calls, 1 ms apart.
 */
#include "bench.h"
#include "plue_session.h"

enum { THREADS = 16, BURST = 64 };

/* ---- the peer: lock, copy, unlock ---- */
typedef struct entry {
    pthread_mutex_t lock;
    char *text;
    size_t length;
} entry;

static entry *table[THREADS];
static plue_session_t handles[THREADS];

__attribute__((noinline)) static char *table_get(int index)
{
    entry *of = table[index];
    pthread_mutex_lock(&of->lock);
    char *copy = malloc(of->length + 1);
    if (copy) {
        memcpy(copy, of->text, of->length);
        copy[of->length] = 0;
    }
    pthread_mutex_unlock(&of->lock);
    return copy;
}

__attribute__((noinline)) static void table_free(char *text)
{
    __asm__ volatile("" : : "r"(text) : "memory"); /* or the compiler sees that nobody reads it */
    free(text);
}

static inline void call_ours(int index)
{
    char *info = plue_session_get_info(handles[index]);
    if (!info)
        die("plue_session_get_info", plue_get_last_error());
    plue_free_json(info);
}

static inline void call_peer(int index)
{
    table_free(need(table_get(index)));
}

/* ---- load: two host threads that ask for the list keep both of the library's readers, and so its Python, busy ---- */
static atomic_int loading;
static atomic_long lists;

static void *load_main(void *unused)
{
    (void)unused;
    while (atomic_load(&loading)) {
        char *list = plue_session_list();
        if (!list)
            die("plue_session_list", plue_get_last_error());
        plue_free_json(list);
        atomic_fetch_add(&lists, 1);
    }
    return NULL;
}

/* ---- throughput ---- */
typedef struct caller {
    pthread_t thread;
    int peer, index;
    _Alignas(64) long calls;
} caller;

static pthread_barrier_t start;
static atomic_int stop;

static void *caller_main(void *argument)
{
    caller *mine = argument;
    long calls = 0;
    pthread_barrier_wait(&start);
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        if (mine->peer)
            for (int i = 0; i < BURST; i++)
                call_peer(mine->index);
        else
            for (int i = 0; i < BURST; i++)
                call_ours(mine->index);
        calls += BURST;
    }
    mine->calls = calls;
    return NULL;
}

/* Calls per second of all threads together. */
static double slice(int peer, int threads, int hot, int64_t ns)
{
    static caller callers[THREADS];
    long calls = 0;
    atomic_store(&stop, 0);
    pthread_barrier_init(&start, NULL, (unsigned)threads + 1);
    for (int i = 0; i < threads; i++) {
        callers[i] = (caller){.peer = peer, .index = hot ? 0 : i};
        if (pthread_create(&callers[i].thread, NULL, caller_main, &callers[i]))
            die("pthread_create", "failed");
    }
    pthread_barrier_wait(&start);
    int64_t from = now_ns();
    sleep_ns(ns);
    atomic_store(&stop, 1);
    int64_t to = now_ns();
    for (int i = 0; i < threads; i++) {
        pthread_join(callers[i].thread, NULL);
        calls += callers[i].calls;
    }
    pthread_barrier_destroy(&start);
    return (double)calls * 1e9 / (double)(to - from);
}

static void throughput(int threads, int hot, const char *load, int rounds, int64_t ns)
{
    double result[2][64];
    slice(0, threads, hot, ns / 2);
    slice(1, threads, hot, ns / 2);
    for (int i = 0; i < rounds; i++)
        for (int side = 0; side < 2; side++) {
            int peer = side ^ (i & 1); /* A B B A: neither is always first */
            result[peer][i] = slice(peer, threads, hot, ns);
        }
    printf("{\"what\":\"rate\",\"threads\":%d,\"hot\":%d,\"load\":\"%s\",", threads, hot, load);
    print_list("ours", result[0], rounds);
    printf(",");
    print_list("peer", result[1], rounds);
    printf("}\n");
}

/* ---- one call now and then, as a user interface makes it ---- */
static void latency(const char *load, int calls)
{
    samples of[2] = {make_samples((size_t)calls), make_samples((size_t)calls)};
    for (int i = 0; i < calls; i++)
        for (int peer = 0; peer < 2; peer++) {
            sleep_ns(1000000);
            int64_t from = now_ns();
            if (peer)
                call_peer(0);
            else
                call_ours(0);
            add_sample(&of[peer], (double)(now_ns() - from) / 1000);
        }
    printf("{\"what\":\"latency\",\"load\":\"%s\",", load);
    print_latency("ours", &of[0]);
    printf(",");
    print_latency("peer", &of[1]);
    printf("}\n");
}

static void measure(const char *load, int rounds, int64_t ns, int calls)
{
    static const int threads[] = {1, 4, 16};
    for (int hot = 0; hot < 2; hot++)
        for (int i = hot; i < 3; i++) /* one thread is the same, hot or not */
            throughput(threads[i], hot, load, rounds, ns);
    latency(load, calls);
}

int main(int count, char **argument)
{
    if (count != 5)
        die("usage", "info DATA_DIR ROUNDS SLICE_MS CALLS");
    char config[4096];
    int rounds = atoi(argument[2]) > 64 ? 64 : atoi(argument[2]), calls = atoi(argument[4]);
    int64_t ns = atoll(argument[3]) * 1000000;
    snprintf(config, sizeof config, "{\"dataDir\":\"%s\"}", argument[1]);
    if (plue_init(config))
        die("plue_init", plue_get_last_error());
    char *page = plue_session_query("{\"limit\":16}"), *at = page;
    for (int i = 0; i < THREADS; i++) {
        char id[64] = "";
        if (!at || !(at = strstr(at, "{\"id\":\"")) || sscanf(at += 7, "%63[^\"]", id) != 1 ||
            !(handles[i] = plue_session_open(id)))
            die("plue_session_open", plue_get_last_error());
        char *info = plue_session_get_info(handles[i]);
        table[i] = need(aligned_alloc(64, (sizeof(entry) + 63) / 64 * 64)); /* no two entries share a cache line */
        pthread_mutex_init(&table[i]->lock, NULL);
        table[i]->text = need(strdup(need(info)));
        table[i]->length = strlen(info);
        plue_free_json(info);
    }
    plue_free_json(page);
    printf("{\"what\":\"bytes\",\"bytes\":%zu}\n", table[0]->length);

    measure("idle", rounds, ns, calls);
    pthread_t loaders[2];
    atomic_store(&loading, 1);
    for (int i = 0; i < 2; i++)
        if (pthread_create(&loaders[i], NULL, load_main, NULL))
            die("pthread_create", "failed");
    int64_t from = now_ns();
    measure("load", rounds, ns, calls);
    double seconds = (double)(now_ns() - from) / 1e9;
    printf("{\"what\":\"load\",\"lists_per_s\":%.4g}\n", (double)atomic_load(&lists) / seconds);
    atomic_store(&loading, 0);
    for (int i = 0; i < 2; i++)
        pthread_join(loaders[i], NULL);
    plue_shutdown();
    return 0;
}
