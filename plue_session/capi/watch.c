/*
 * Notices that another process has committed to the store, and wakes the writer, which alone reads and publishes.
 *
 * Whoever commits writes the id of the newest log row into a file. The kernel tells of that (inotify), so an idle
 * process sleeps; what this process wrote itself is known by the id and wakes nobody. Where the kernel cannot tell, for
 * want of descriptors or on another system, the file is read every 20 ms instead.
 *
 * The WAL would be the wrong file: SQLite publishes a commit in shared memory after its bytes were written, so whoever
 * is woken by the bytes reads too early, and is not told again.
 */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/inotify.h>
#endif

enum { POLL_MS = 20, OWN_MS = 1, PAUSE_MS = 2, OWN_PAUSE_MS = 10, RARELY_MS = 5000 };

typedef struct watch {
    int file, changes, stop; /* descriptors; -1: not to be had */
    ino_t inode;             /* of the file, and its device: what tells it from another one */
    dev_t device;
    int64_t told; /* the id that the writer was woken for last */
    int commits;  /* those of our own writer when it was last asked for */
    atomic_int stopped, references;
    int over; /* its thread has ended; under ended_lock */
} watch;

static _Atomic(watch *) current;
static pthread_mutex_t ended_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;

/* A host may have closed all descriptors, and opened its own under our numbers: then they are none of ours to read,
 * write or close. */
static int is_ours(int fd, const char *kind)
{
    char path[64], target[64];
    if (fd < 0)
        return 0;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length < 0)
        return access("/proc/self/fd", F_OK) != 0; /* it was closed; without /proc nobody can tell */
    target[length] = 0;
    return !strncmp(target, "anon_inode:", 11) && strstr(target, kind) != NULL;
}

static int is_our_file(const watch *of)
{
    struct stat now;
    return of->file >= 0 && !fstat(of->file, &now) && now.st_ino == of->inode && now.st_dev == of->device;
}

static void release(watch *old)
{
    if (atomic_fetch_sub(&old->references, 1) == 1) {
        if (is_ours(old->changes, "inotify"))
            close(old->changes);
        if (is_ours(old->stop, "[eventfd]"))
            close(old->stop);
        if (is_our_file(old))
            close(old->file);
        free(old);
    }
}

/* Forget what the kernel has told: the file itself says how things stand. */
static void drain(int changes)
{
    char buffer[4096];
    while (changes >= 0 && read(changes, buffer, sizeof buffer) > 0)
        ;
}

/* The id of the newest row of the log. */
static int64_t newest_row(const watch *mine)
{
    unsigned char bytes[8];
    int64_t newest = 0;
    if (pread(mine->file, bytes, sizeof bytes, 0) != sizeof bytes)
        return 0; /* nobody has committed yet */
    for (int i = 7; i >= 0; i--)
        newest = (int64_t)((uint64_t)newest << 8 | bytes[i]);
    return newest;
}

/* Wake the writer when the newest row of the log is none that this process has published. */
static void wake_for_news(watch *mine, struct pollfd *stop)
{
    int64_t newest = newest_row(mine);
    if (newest == mine->told || newest <= core_published())
        return;
    /* Our own writer tells of its commit a moment before it has published it. */
    (void)poll(stop, 1, OWN_MS);
    newest = newest_row(mine);
    if (newest > core_published()) {
        mine->told = newest;
        core__wake(CORE_EXECUTOR_COMMIT, CORE_SIGNAL_WAKE);
    }
}

/* Has our own writer committed since the last time? */
static int own_writer_is_busy(watch *mine)
{
    int before = mine->commits;
    mine->commits = atomic_load_explicit(&core_commits, memory_order_relaxed);
    return mine->commits != before;
}

static void *watch_main(void *argument)
{
    watch *mine = argument;
    struct pollfd wait[2] = {{.fd = mine->stop, .events = POLLIN}, {.fd = mine->changes, .events = POLLIN}};
    struct pollfd *stop = &wait[0], *changes = &wait[1];
    int taken = 0;
    while (!atomic_load(&mine->stopped)) {
        int heard = poll(wait, 2, changes->fd < 0 || stop->fd < 0 ? POLL_MS : RARELY_MS);
        if (atomic_load(&mine->stopped))
            break;
        if ((stop->revents && !is_ours(stop->fd, "[eventfd]")) ||
            (changes->revents && !is_ours(changes->fd, "inotify"))) {
            stop->fd = changes->fd = -1;
            taken = 1; /* the file and the writer's descriptors are gone as well: only the end is still to come */
        }
        if (taken)
            continue;
        if (!heard && changes->fd >= 0) {
            /* A process killed between its commit and its write to the file tells nobody: others find out here. */
            core__wake(CORE_EXECUTOR_COMMIT, CORE_SIGNAL_WAKE);
            continue;
        }
        drain(changes->fd);
        wake_for_news(mine, stop);
        /*
         * Under steady writing the file is read once for several commits. Our own writer reads what others wrote before
         * each change, so while it is busy there is less to find out here, and each time would cost it a wake-up of
         * this thread.
         */
        (void)poll(stop, 1, own_writer_is_busy(mine) ? OWN_PAUSE_MS : PAUSE_MS);
    }
    pthread_mutex_lock(&ended_lock);
    mine->over = 1;
    release(mine); /* before the word of it: whoever waits for that has the last reference */
    pthread_cond_broadcast(&ended);
    pthread_mutex_unlock(&ended_lock);
    return NULL;
}

/* Watch `file` in `folder` until the library stops; -1 with errno when it cannot be. */
int core__watch(const char *folder, const char *file)
{
    char path[PATH_MAX];
    watch *made = calloc(1, sizeof *made);
    if (!made || snprintf(path, sizeof path, "%s/%s", folder, file) >= (int)sizeof path) {
        free(made);
        return -1;
    }
    atomic_init(&made->references, 1);
    made->stop = core_above_stdio(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    made->changes = -1;
#ifdef __linux__
    made->changes = core_above_stdio(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (made->changes >= 0 && inotify_add_watch(made->changes, path, IN_MODIFY) < 0) {
        close(made->changes);
        made->changes = -1;
    }
#endif
    made->file = core_above_stdio(
        open(path, O_RDONLY | O_CLOEXEC)); /* after the watch: what comes in between is seen */
    struct stat about;
    if (made->file < 0 || fstat(made->file, &about)) {
        release(made);
        return -1;
    }
    made->inode = about.st_ino;
    made->device = about.st_dev;
    atomic_init(&made->references, 2);
    if (core_spawn("plue-watch", watch_main, made)) {
        atomic_store(&made->references, 1);
        release(made);
        return -1;
    }
    atomic_store(&current, made);
    return 0;
}

void core__watch_stop(void)
{
    watch *old = atomic_exchange(&current, NULL);
    uint64_t one = 1;
    if (!old)
        return;
    atomic_store(&old->stopped, 1);
    int told = is_ours(old->stop, "[eventfd]");
    if (told && write(old->stop, &one, sizeof one) < 0)
        (void)one; /* an eventfd that is full is readable all the same */
    /* Its thread waits for nothing but this: it and its descriptors are gone in a moment. If a host has closed what
       would have told it, it notices by itself, in a while. */
    pthread_mutex_lock(&ended_lock);
    while ((told || old->stop < 0) && !old->over)
        pthread_cond_wait(&ended, &ended_lock);
    pthread_mutex_unlock(&ended_lock);
    release(old);
}
