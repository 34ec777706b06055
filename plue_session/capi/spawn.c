/*
 * Threads of the library: how they are made, and for which start of the library they work.
 *
 * A new thread inherits from its maker: blocked signals, scheduling, processors, priority of its I/O, rounding, name.
 * The maker may be any thread of the host's, one with real-time priority or one that runs only when nobody else wants
 * to. So each thread of ours has what the process had when the library was loaded, and a stack of its own size: the
 * default is the host's to choose.
 */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <fenv.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { STACK = 4 * 1024 * 1024, NAME = 16, IO_OF_PROCESS = 1 /* IOPRIO_WHO_PROCESS */ };

/* Of the process, that is its first thread, when the library was loaded. */
static struct {
    cpu_set_t processors;
    int has_processors, policy, nice, io, slack;
} begun;

__attribute__((constructor)) static void note_beginning(void)
{
    pid_t process = getpid();
    begun.has_processors = sched_getaffinity(process, sizeof begun.processors, &begun.processors) == 0;
    int policy = sched_getscheduler(process);
    begun.policy = policy == SCHED_BATCH || policy == SCHED_IDLE
                       ? policy
                       : SCHED_OTHER; /* real time is for threads that ask for it */
    errno = 0;
    begun.nice = getpriority(PRIO_PROCESS, (id_t)process);
    if (errno)
        begun.nice = 0;
    begun.slack = prctl(PR_GET_TIMERSLACK);
    begun.io = (int)syscall(SYS_ioprio_get, IO_OF_PROCESS, process);
}

/* A thread of ours always has its core_thread: whose it is and whether it may publish must not depend on memory. */
struct spawned {
    core_thread thread; /* first: it ends with this */
    void *(*run)(void *);
    void *argument;
    char name[NAME];
};

/* What a thread has to set for itself. A process without the right to raise a priority keeps the maker's. */
static void settle(const char *name)
{
    pid_t self = (pid_t)syscall(SYS_gettid);
    (void)prctl(PR_SET_NAME, name);
    (void)fesetenv(FE_DFL_ENV);
    if (begun.slack > 0)
        (void)prctl(PR_SET_TIMERSLACK, begun.slack);
    if (getpriority(PRIO_PROCESS, (id_t)self) != begun.nice)
        (void)setpriority(PRIO_PROCESS, (id_t)self, begun.nice);
    if (begun.io >= 0 && syscall(SYS_ioprio_get, IO_OF_PROCESS, 0) != begun.io)
        (void)syscall(SYS_ioprio_set, IO_OF_PROCESS, 0, begun.io);
}

static void *spawned_main(void *argument)
{
    struct spawned *mine = argument;
    core_adopt_thread(&mine->thread);
    settle(mine->name);
    return mine->run(mine->argument);
}

static int schedule(pthread_attr_t *attributes)
{
    struct sched_param none = {0};
    if (begun.has_processors && pthread_attr_setaffinity_np(attributes, sizeof begun.processors, &begun.processors))
        return -1;
    if (sched_getscheduler(0) == begun.policy)
        return 0;
    return pthread_attr_setinheritsched(attributes, PTHREAD_EXPLICIT_SCHED) ||
                   pthread_attr_setschedpolicy(attributes, begun.policy) ||
                   pthread_attr_setschedparam(attributes, &none)
               ? -1
               : 0;
}

static int inherit(pthread_attr_t *attributes)
{
    return pthread_attr_setinheritsched(attributes, PTHREAD_INHERIT_SCHED) ||
                   pthread_attr_setaffinity_np(attributes, 0, &begun.processors)
               ? -1
               : 0;
}

int core_spawn(const char *name, void *(*run)(void *), void *argument)
{
    struct spawned *made = calloc(1, sizeof *made);
    if (!made)
        return -1;
    made->run = run;
    made->argument = argument;
    strncat(made->name, name, sizeof made->name - 1);
    /* Its signals are the host's own: a send to a closed socket must not kill it by SIGPIPE. */
    sigset_t all, before;
    pthread_attr_t attributes;
    pthread_t thread;
    sigfillset(&all);
    int failed = pthread_attr_init(&attributes);
    if (!failed) {
        failed = pthread_attr_setstacksize(&attributes, STACK) ||
                 pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) ||
                 pthread_sigmask(SIG_SETMASK, &all, &before);
        if (!failed) {
            failed = schedule(&attributes) ? EINVAL : pthread_create(&thread, &attributes, spawned_main, made);
            /* A process may lack the right to what its first thread had, and may have lost processors. */
            if ((failed == EPERM || failed == EINVAL) && inherit(&attributes) == 0)
                failed = pthread_create(&thread, &attributes, spawned_main, made);
            pthread_sigmask(SIG_SETMASK, &before, NULL);
        }
        pthread_attr_destroy(&attributes);
    }
    if (failed)
        free(made);
    return failed ? -1 : 0;
}

int core_above_stdio(int fd)
{
    if (fd < 0 || fd > 2)
        return fd;
    int higher = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    close(fd);
    return higher;
}

int core_outdated(void)
{
    core_thread *thread = core_this_thread();
    return thread && thread->generation && thread->generation != atomic_load(&core_generation);
}

/* The calling thread, which is not an executor's, works for the library of this generation: see core_outdated(). */
void core__adopt(int generation)
{
    core_thread *thread = core_this_thread();
    if (thread)
        thread->generation = generation;
}
