/*
 * Row 9: readers that fell behind get what they missed.
 *
 *     refill DATA_DIR READERS EVENTS ROUNDS     for one reader and for so many in turns: the time from when their
 *                                               callbacks go on until the last of them has got all events
 */
#include "bench.h"
#include "plue_session.h"

enum { MOST = 64 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int is_open, left;
static long wanted, got[MOST];

static void hear(uint8_t type, const char *event, void *reader)
{
    long *mine = reader;
    (void)event;
    if (type != PLUE_EVENT_SESSION_UPDATED)
        return;
    if (++*mine == 1 || *mine == wanted) {
        pthread_mutex_lock(&lock);
        while (!is_open)
            pthread_cond_wait(&changed, &lock);
        if (*mine == wanted && !--left)
            pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
    }
}

static double round_of(plue_session_t session, int readers)
{
    uint32_t ids[MOST];
    is_open = 0;
    left = readers;
    memset(got, 0, sizeof got);
    for (int i = 0; i < readers; i++)
        if (!(ids[i] = plue_event_subscribe(hear, &got[i])))
            die("plue_event_subscribe", plue_get_last_error());
    for (long i = 0; i < wanted; i++) {
        char title[32];
        snprintf(title, sizeof title, "title %ld", i);
        if (plue_session_update_title(session, title))
            die("plue_session_update_title", plue_get_last_error());
    }
    pthread_mutex_lock(&lock);
    is_open = 1;
    int64_t begun = now_ns();
    pthread_cond_broadcast(&changed);
    while (left)
        pthread_cond_wait(&changed, &lock);
    double took = (double)(now_ns() - begun) / 1e6;
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < readers; i++)
        plue_event_unsubscribe(ids[i]);
    return took;
}

int main(int count, char **arguments)
{
    if (count != 5)
        die("usage", "refill DATA_DIR READERS EVENTS ROUNDS");
    int readers = atoi(arguments[2]), rounds = atoi(arguments[4]);
    char config[4096];
    wanted = atol(arguments[3]);
    snprintf(config, sizeof config, "{\"dataDir\":\"%s\",\"replay\":{\"limit\":%ld,\"ageMs\":86400000}}", arguments[1],
             2 * wanted);
    if (plue_init(config))
        die("plue_init", plue_get_last_error());
    plue_session_t session = plue_session_create(NULL);
    samples one = make_samples((size_t)rounds), all = make_samples((size_t)rounds);
    for (int i = 0; i < rounds; i++) {
        add_sample(&one, round_of(session, 1));
        add_sample(&all, round_of(session, readers));
    }
    printf("{");
    print_list("one", one.value, rounds);
    printf(",");
    print_list("all", all.value, rounds);
    printf("}\n");
    plue_shutdown();
    return 0;
}
