/* A host that has every pthread key: none of them is touched, and what the library can do without one it does. */
#include "check.h"

#include <limits.h>
#include <stdatomic.h>

static pthread_key_t keys[PTHREAD_KEYS_MAX + 1];
static int own[PTHREAD_KEYS_MAX + 1], count;
static atomic_int ended, foreign;

static void host_ended(void *value)
{
    atomic_fetch_add(&ended, 1);
    if (value < (void *)own || value >= (void *)(own + PTHREAD_KEYS_MAX))
        atomic_fetch_add(&foreign, 1);
}

/* Everything that a thread may come to own: an error, its JSON, freed texts. */
static void *use(void *session)
{
    for (int i = 0; i < count; i++)
        CHECK(pthread_setspecific(keys[i], &own[i]) == 0);
    for (int i = 0; i < 40 && session; i++)
        plue_free(plue_session_get_info(session));
    CHECK_ERROR(!plue_session_open("no such session"), session ? PLUE_ERROR_NOT_FOUND : PLUE_ERROR_NOT_INITIALIZED);
    CHECK(strstr(plue_get_last_error_json(), session ? "NOT_FOUND" : "NOT_INITIALIZED"));
    plue_free(&count);
    for (int i = 0; i < count; i++)
        CHECK(pthread_getspecific(keys[i]) == &own[i]);
    return NULL;
}

static double use_by_threads(plue_session_t session, int threads_)
{
    atomic_store(&ended, 0);
    end(run(use, session));
    long before = resident_kib();
    for (int i = 1; i < threads_; i++)
        end(run(use, session));
    CHECK(atomic_load(&ended) == threads_ * count && atomic_load(&foreign) == 0);
    return (double)(resident_kib() - before) / threads_;
}

static void take_all_keys(void)
{
    while (count <= PTHREAD_KEYS_MAX && pthread_key_create(&keys[count], host_ended) == 0)
        count++;
    CHECK(count > 100 && count <= PTHREAD_KEYS_MAX);
    for (int i = 0; i < count; i++)
        CHECK(pthread_setspecific(keys[i], &own[i]) == 0);
}

int main(void)
{
    int some = part(5000);
    take_all_keys();
    double left = use_by_threads(NULL, some);
    printf("%.2f KiB stay of a thread without a key\n", left);
    CHECK(getenv("CHECK_PART") || left < 0.25);
    CHECK_ERROR(try_start(",\"store\":\"memory\"") == -1, PLUE_ERROR_RUNTIME); /* Python needs keys too */
    for (int i = 0; i < count; i++)
        CHECK(pthread_getspecific(keys[i]) == &own[i]);
    for (int i = 0; i < 8; i++)
        CHECK(pthread_key_delete(keys[--count]) == 0);
    start(",\"store\":\"memory\"");
    take_all_keys();
    plue_session_t session = plue_session_create(NULL);
    CHECK(session != NULL);
    left = use_by_threads(session, some);
    printf("%.2f KiB stay of a thread with one\n", left);
    CHECK(getenv("CHECK_PART") || left < 0.25);
    plue_session_destroy(session);
    plue_shutdown();
    for (int i = 0; i < count; i++)
        CHECK(pthread_getspecific(keys[i]) == &own[i]);
    CHECK(atomic_load(&foreign) == 0);
    return 0;
}
