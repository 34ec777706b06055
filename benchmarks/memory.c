/*
 * Row 6: what handles and sessions take.
 *
 *     memory ours DATA_DIR COUNT     handles to COUNT sessions, then COUNT handles to one
 *     memory peer COUNT LENGTH       a C table of COUNT entries with a mutex and LENGTH bytes of text, and pointers to them
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
    printf("{\"handle\":%.1f,\"session\":%.1f,\"info\":%zu,\"started\":%.0f,\"now\":%.0f}\n", one / total, each / total, strlen(need(info)), started, resident());
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

int main(int count, char **argument)
{
    if (count != 4)
        die("usage", "memory ours DATA_DIR COUNT | memory peer COUNT LENGTH");
    int of_peer = !strcmp(argument[1], "peer");
    total = atoi(argument[of_peer ? 2 : 3]);
    if (of_peer)
        peer((size_t)atol(argument[3]));
    else {
        ids = need(calloc((size_t)total, sizeof *ids));
        handles = need(malloc((size_t)total * sizeof *handles));
        memset(handles, 0xff, (size_t)total * sizeof *handles); /* the array's pages are not counted */
        ours(argument[2]);
    }
    return 0;
}
