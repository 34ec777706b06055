/* Preloaded: pthread_create fails for everybody once `threads_left(n)` have been made, until `threads_left(-1)`. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

static atomic_int left = -1;

void threads_left(int number)
{
    atomic_store(&left, number);
}

int pthread_create(pthread_t *made, const pthread_attr_t *attributes, void *(*function)(void *), void *argument)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = dlsym(RTLD_NEXT, "pthread_create");
    int now = atomic_load(&left);
    while (now > 0 && !atomic_compare_exchange_weak(&left, &now, now - 1))
        ;
    return now == 0 ? EAGAIN : real(made, attributes, function, argument);
}
