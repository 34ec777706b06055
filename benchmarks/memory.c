/*
 * Row 6: what handles and sessions take, and what texts leave when they are freed.
 *
 *     memory ours DATA_DIR COUNT     handles to COUNT sessions, then COUNT handles to one
 *     memory peer COUNT LENGTH       a C table of COUNT entries with a mutex and LENGTH bytes of text,
 *                                    and pointers to them
 *     memory threads WHOSE COUNT     COUNT threads each take texts of all lengths and free them: what stays then
 *     memory texts WHOSE COUNT       COUNT texts that nobody frees: the processor's time of the longest call
 *     memory lists WHOSE COUNT       a list of 40 MB, taken and freed COUNT times: the addresses that it has taken then
 *
 * WHOSE is a folder, or "peer": malloc, memcpy and free of the same lengths.
 */
#include <malloc.h>

#include "bench.h"
#include "plue_session.h"

enum { OPENERS = 4 };

static int total;
static char (*ids)[40];
static plue_session_t *handles;
static atomic_int next_one;

static void *open_main(void *to_one)
{
    int i;
    while ((i = atomic_fetch_add(&next_one, 1)) < total)
        if (!(handles[i] = plue_session_open(ids[to_one ? 0 : i])))
            die("plue_session_open", plue_get_last_error());
    return NULL;
}

/* Open all and return the bytes that came with it. */
static double open_all(int to_one)
{
    pthread_t threads[OPENERS];
    malloc_trim(0);
    double before = resident();
    atomic_store(&next_one, 0);
    for (int i = 0; i < OPENERS; i++)
        if (pthread_create(&threads[i], NULL, open_main, to_one ? &total : NULL))
            die("pthread_create", "failed");
    for (int i = 0; i < OPENERS; i++)
        pthread_join(threads[i], NULL);
    malloc_trim(0);
    return resident() - before;
}

static void ours(const char *data_dir)
{
    char config[4096], query[2048] = "{\"limit\":1000}", cursor[1024];
    snprintf(config, sizeof config, "{\"dataDir\":\"%s\"}", data_dir);
    if (plue_init(config))
        die("plue_init", plue_get_last_error());
    double started = resident();
    for (int found = 0; found < total;) {
        char *page = plue_session_query(query), *at = page;
        if (!page)
            die("plue_session_query", plue_get_last_error());
        for (; found < total && (at = strstr(at, "{\"id\":\"")); found++)
            sscanf(at += 7, "%39[^\"]", ids[found]);
        at = strstr(page, "\"nextCursor\":\"");
        if (found < total && (!at || sscanf(at + 14, "%1023[^\"]", cursor) != 1))
            die("memory", "the store has fewer sessions");
        snprintf(query, sizeof query, "{\"limit\":1000,\"cursor\":\"%s\"}", cursor);
        plue_free_json(page);
    }
    int all = total;
    total = total < 2000 ? total : 2000; /* once around: what the first opens take for themselves is not the handles' */
    open_all(1);
    for (int i = 0; i < total; i++)
        plue_session_destroy(handles[i]);
    total = all;
    double one = open_all(1);
    for (int i = 0; i < total; i++)
        plue_session_destroy(handles[i]);
    double each = open_all(0);
    char *info = plue_session_get_info(handles[total / 2]);
    printf("{\"handle\":%.1f,\"session\":%.1f,\"info\":%zu,\"started\":%.0f,\"now\":%.0f}\n", one / total, each / total,
           strlen(need(info)), started, resident());
    plue_free_json(info);
    for (int i = 0; i < total; i++)
        plue_session_destroy(handles[i]);
    plue_shutdown();
}

struct entry {
    pthread_mutex_t lock;
    char *text;
    size_t length;
};

static void peer(size_t length)
{
    struct entry **table = need(malloc((size_t)total * sizeof *table));
    memset(table, 1, (size_t)total * sizeof *table);
    malloc_trim(0);
    double before = resident();
    for (int i = 0; i < total; i++) {
        table[i] = need(malloc(sizeof **table));
        pthread_mutex_init(&table[i]->lock, NULL);
        table[i]->text = need(malloc(length + 1));
        memset(table[i]->text, 'x', length);
        table[i]->text[length] = 0;
        table[i]->length = length;
    }
    double after = resident();
    printf("{\"session\":%.1f}\n", (after - before) / total + sizeof *table);
}

/* ---- texts ---- */
enum { MEGABYTE = 1 << 20, LIST = 40, TAKEN = 16 };

static int of_peer;
static plue_session_t one;
static char letters[MEGABYTE + 1];

static void begin(const char *whose)
{
    char config[4096];
    memset(letters, 'x', MEGABYTE);
    of_peer = !strcmp(whose, "peer");
    if (of_peer)
        return;
    snprintf(config, sizeof config, "{\"dataDir\":\"%s\",\"store\":\"memory\"}", whose);
    if (plue_init(config) || !(one = plue_session_create(NULL)))
        die("plue_init", plue_get_last_error());
}

static char *take(size_t length)
{
    char *copy;
    if (!of_peer)
        return need(plue_json_quote(letters + MEGABYTE - length));
    copy = need(malloc(length + 3));
    memcpy(copy, letters + MEGABYTE - length, length + 1);
    return copy;
}

static void give(char *text)
{
    if (of_peer)
        free(text);
    else
        plue_free(text);
}

static void take_and_give(size_t length)
{
    char *taken[TAKEN];
    for (int i = 0; i < TAKEN; i++)
        taken[i] = take(length);
    for (int i = 0; i < TAKEN; i++)
        give(taken[i]);
}

static pthread_barrier_t together;

static void *texts_main(void *unused)
{
    static const size_t lengths[] = {30, 300, 1000, 4000, 9000, 20000, 50000, 100000};
    take_and_give(10);
    pthread_barrier_wait(&together);
    pthread_barrier_wait(&together);
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
            take_and_give(lengths[i]);
    pthread_barrier_wait(&together);
    pthread_barrier_wait(&together);
    return unused;
}

static void threads(void)
{
    pthread_t *made = need(malloc((size_t)total * sizeof *made));
    pthread_barrier_init(&together, NULL, (unsigned)total + 1);
    for (int i = 0; i < total; i++)
        if (pthread_create(&made[i], NULL, texts_main, NULL))
            die("pthread_create", "failed");
    pthread_barrier_wait(&together);
    double before = resident();
    pthread_barrier_wait(&together);
    pthread_barrier_wait(&together);
    printf("{\"each\":%.1f}\n", (resident() - before) / total);
    pthread_barrier_wait(&together);
    for (int i = 0; i < total; i++)
        pthread_join(made[i], NULL);
}

static double spent_us(void)
{
    struct timespec at;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
    return (double)at.tv_sec * 1e6 + (double)at.tv_nsec / 1e3;
}

static void texts(void)
{
    samples all = make_samples((size_t)total);
    char **taken = need(malloc((size_t)total * sizeof *taken));
    memset(taken, 1, (size_t)total * sizeof *taken);
    for (int i = 0; i < total; i++) {
        double from = spent_us();
        taken[i] = of_peer ? take(30) : need(plue_session_get_id(one));
        add_sample(&all, spent_us() - from);
    }
    printf("{");
    print_latency("us", &all);
    printf("}\n");
}

static double mapped(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld", &pages) != 1)
        die("/proc/self/statm", "cannot be read");
    fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static void lists(void)
{
    double before = 0, length = 0;
    for (int i = 0; i < LIST && !of_peer; i++) {
        plue_session_t made = plue_session_create(NULL);
        if (!made || plue_session_update_title(made, letters))
            die("plue_session_update_title", plue_get_last_error());
        plue_session_destroy(made);
    }
    for (int i = -3; i < total; i++) { /* what the first ones take for themselves is not theirs */
        char *list = of_peer ? need(malloc((size_t)LIST * MEGABYTE)) : need(plue_session_list());
        if (of_peer)
            memset(list, 'x', (size_t)LIST * MEGABYTE);
        length = of_peer ? LIST * MEGABYTE : (double)strlen(list);
        give(list);
        if (i == -1)
            before = mapped();
    }
    printf("{\"more\":%.0f,\"length\":%.0f}\n", mapped() - before, length);
}

int main(int count, char **argument)
{
    if (count != 4)
        die("usage",
            "memory ours DATA_DIR COUNT | memory peer COUNT LENGTH | memory threads|texts|lists DATA_DIR|peer COUNT");
    const char *what = argument[1];
    total = atoi(argument[strcmp(what, "peer") ? 3 : 2]);
    if (!strcmp(what, "peer"))
        peer((size_t)atol(argument[3]));
    else if (!strcmp(what, "ours")) {
        ids = need(calloc((size_t)total, sizeof *ids));
        handles = need(malloc((size_t)total * sizeof *handles));
        memset(handles, 0xff, (size_t)total * sizeof *handles); /* the array's pages are not counted */
        ours(argument[2]);
    } else {
        begin(argument[2]);
        (!strcmp(what, "threads") ? threads : !strcmp(what, "texts") ? texts : lists)();
        if (!of_peer)
            plue_shutdown();
    }
    return 0;
}
