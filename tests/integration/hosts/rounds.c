/* argv[1] rounds of create, read, delete, destroy: memory, descriptors and threads are the same after half of them and
 * in the end. */
#include "check.h"

enum { THREADS = 8, READERS = 4 }; /* so that commits are made in groups; descriptors of two connections that read */

static pthread_barrier_t half, measured;

static void *rounds_of_one(void *argument)
{
    int rounds = *(int *)argument;
    for (int i = 0; i < rounds; i++) {
        plue_session_t session = plue_session_create(NULL);
        char *info = plue_session_get_info(session), *id = plue_session_get_id(session), *event;
        CHECK(session && info && strstr(info, id));
        plue_free(info);
        plue_free(id);
        CHECK(plue_session_delete(session) == 0);
        plue_session_destroy(session);
        while ((event = plue_event_poll()))
            plue_free(event);
        if (i == rounds / 2) {
            pthread_barrier_wait(&half);
            pthread_barrier_wait(&measured);
        }
    }
    return NULL;
}

int main(int count, char **arguments)
{
    int rounds = (count > 1 ? atoi(arguments[1]) : 1000) / THREADS;
    pthread_t others[THREADS];
    start(",\"replay\":{\"limit\":64,\"ageMs\":200}");
    pthread_barrier_init(&half, NULL, THREADS + 1);
    pthread_barrier_init(&measured, NULL, THREADS + 1);
    long before = resident_kib();
    for (int i = 0; i < THREADS; i++)
        others[i] = run(rounds_of_one, &rounds);
    pthread_barrier_wait(&half);
    long kib = resident_kib();
    int fds = descriptors(), tasks = threads();
    pthread_barrier_wait(&measured);
    for (int i = 0; i < THREADS; i++)
        end(others[i]);
    long grown = resident_kib() - kib;
    /* The kernel lists a thread for a moment after its end, and one reader more may be needed than at half time. */
    for (double until = seconds() + 5;
         seconds() < until && (descriptors() > fds + READERS || threads() != tasks - THREADS);)
        usleep(1000);
    CHECK(descriptors() <= fds + READERS && threads() == tasks - THREADS && plue_session_count(NULL) == 0);
    if (grown >= 1024 || count > 2)
        fprintf(stderr, "%ld KiB at first, %ld KiB more after half of the rounds, %ld KiB more after all\n", before,
                kib - before, grown);
    CHECK(grown < 1024);
    plue_shutdown();
    return 0;
}
