/*
 * Many changes in one call, and none waited for.
 *
 *     bulk FOLDER ROUNDS
 *
 * Rounds of 100 creates, as 100 calls and as one plue_session_batch, in milliseconds, the one and the other first in
 * turn. Then, at rest and beside a thread that lists 2,000 sessions in a loop, plue_session_submit of a create once
 * a millisecond, and a create that is waited for, in microseconds.
 */
#include "bench.h"
#include "plue_session.h"

enum { MANY = 100, ROUNDS = 200, SESSIONS = 2000, CALLS = 400 };

static double one_by_one(void)
{
    int64_t from = now_ns();
    for (int i = 0; i < MANY; i++) {
        plue_session_t made = plue_session_create(NULL);
        if (!made)
            die("plue_session_create", plue_get_last_error());
        plue_session_destroy(made);
    }
    return (double)(now_ns() - from) / 1e6;
}

static double in_one_call(const char *operations)
{
    int64_t from = now_ns();
    char *results = plue_session_batch(operations);
    if (!results)
        die("plue_session_batch", plue_get_last_error());
    double took = (double)(now_ns() - from) / 1e6;
    plue_free_json(results);
    return took;
}

static atomic_int busy;

static void *list_on(void *unused)
{
    while (atomic_load(&busy))
        plue_free_json(plue_session_list());
    return unused;
}

static atomic_int ended;

static void on_event(uint8_t type, const char *event, void *data)
{
    (void)event, (void)data;
    if (type == PLUE_EVENT_OPERATION_COMPLETED)
        atomic_fetch_add(&ended, 1);
}

static void latency(const char *load)
{
    samples submitted = make_samples(CALLS), created = make_samples(CALLS);
    for (int i = 0; i < CALLS; i++) {
        int64_t from = now_ns();
        if (!plue_session_submit("[{\"op\":\"create\"}]"))
            die("plue_session_submit", plue_get_last_error());
        add_sample(&submitted, (double)(now_ns() - from) / 1000);
        while (atomic_load(&ended) <= i)
            sleep_ns(100000);
        from = now_ns();
        plue_session_destroy(plue_session_create(NULL));
        add_sample(&created, (double)(now_ns() - from) / 1000);
        sleep_ns(1000000);
    }
    atomic_store(&ended, 0);
    printf("{\"what\":\"submit\",\"load\":\"%s\",", load);
    print_latency("ours", &submitted);
    printf(",");
    print_latency("peer", &created);
    printf("}\n");
}

int main(int count, char **argument)
{
    if (count != 3)
        die("usage", "bulk FOLDER ROUNDS");
    char config[4096], operations[MANY * 16 + 2] = "[";
    double calls[ROUNDS], batches[ROUNDS];
    int rounds = atoi(argument[2]) > ROUNDS ? ROUNDS : atoi(argument[2]);
    for (int i = 0; i < MANY; i++)
        strcat(operations, i ? ",{\"op\":\"create\"}" : "{\"op\":\"create\"}");
    strcat(operations, "]");
    snprintf(config, sizeof config, "{\"dataDir\":\"%s\"}", argument[1]);
    if (plue_init(config))
        die("plue_init", plue_get_last_error());
    one_by_one();
    in_one_call(operations);
    for (int i = 0; i < rounds; i++) {
        if (i % 2)
            batches[i] = in_one_call(operations);
        calls[i] = one_by_one();
        if (i % 2 == 0)
            batches[i] = in_one_call(operations);
    }
    printf("{\"what\":\"batch\",");
    print_list("ours", batches, rounds);
    printf(",");
    print_list("peer", calls, rounds);
    printf("}\n");
    for (int i = 0; i < SESSIONS / MANY; i++)
        in_one_call(operations);
    if (!plue_event_subscribe(on_event, NULL))
        die("plue_event_subscribe", plue_get_last_error());
    latency("idle");
    pthread_t thread;
    atomic_store(&busy, 1);
    if (pthread_create(&thread, NULL, list_on, NULL))
        die("pthread_create", "failed");
    latency("load");
    atomic_store(&busy, 0);
    pthread_join(thread, NULL);
    plue_shutdown();
    return 0;
}
