/* Threads end that have thread-local data of a module loaded at run time, with stacks that glibc does not keep. */
#include <pthread.h>

#ifdef MODULE
static __thread long counter;
long count(void);
long count(void)
{
    return ++counter;
}
#else
#include <dlfcn.h>
#include <stdlib.h>

enum { MAKERS = 4, THREADS = 200 };

static long (*count)(void);

static void *counting(void *unused)
{
    (void)unused;
    return count() == 1 ? NULL : (abort(), NULL);
}

static void *making(void *unused)
{
    (void)unused;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    for (int made = 0; made < THREADS; made++) {
        pthread_t thread;
        /* Of many sizes: glibc keeps 40 MB of stacks, and makes room by freeing those of others. */
        pthread_attr_setstacksize(&attributes, (size_t)(1 + made % 16) << 20);
        if (pthread_create(&thread, &attributes, counting, NULL))
            abort();
    }
    pthread_attr_destroy(&attributes);
    return NULL;
}

int main(int argc, char **argv)
{
    void *module = argc == 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
    if (!module)
        return 2;
    *(void **)&count = dlsym(module, "count");
    pthread_t makers[MAKERS];
    for (int each = 0; each < MAKERS; each++)
        if (pthread_create(&makers[each], NULL, making, NULL))
            abort();
    for (int each = 0; each < MAKERS; each++)
        pthread_join(makers[each], NULL);
    return 0;
}
#endif
