/* Threads of the library: how they are made, and for which start of the library they work. */
#include "core.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum { STACK = 4 * 1024 * 1024 };

int core_above_stdio(int fd)
{
    if (fd < 0 || fd > 2)
        return fd;
    int higher = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    close(fd);
    return higher;
}

/* A thread of ours always has its core_thread: whose it is and whether it may publish must not depend on memory. */
struct spawned {
    core_thread thread; /* first: it ends with this */
    void *(*run)(void *);
    void *argument;
};

static void *spawned_main(void *argument)
{
    struct spawned *mine = argument;
    core_adopt_thread(&mine->thread);
    return mine->run(mine->argument);
}

int core_spawn(void *(*run)(void *), void *argument)
{
    struct spawned *made = calloc(1, sizeof *made);
    if (!made)
        return -1;
    made->run = run;
    made->argument = argument;
    /* The host's limits may be tiny and its signals are its own: a send to a closed socket must not kill it by SIGPIPE. */
    sigset_t all, before;
    pthread_attr_t attributes;
    pthread_t thread;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&thread, &attributes, spawned_main, made);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (failed)
        free(made);
    return failed ? -1 : 0;
}

int core_outdated(void)
{
    core_thread *thread = core_this_thread();
    return thread && thread->generation && thread->generation != atomic_load(&core_generation);
}

/* The calling thread, which is not a lane's, works for the library of this generation: see core_outdated(). */
void core__adopt(int generation)
{
    core_thread *thread = core_this_thread();
    if (thread)
        thread->generation = generation;
}
