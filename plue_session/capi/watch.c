/*
 * Notices that another process has written to the store, and wakes the writer, which alone reads and publishes.
 *
 * The kernel tells (inotify on the folder): an idle process sleeps. Where it cannot, for want of descriptors or on
 * another system, the writer is woken every 25 ms instead.
 */
#include "core.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/inotify.h>
#endif

enum { POLL_MS = 25, PAUSE_MS = 8 };

typedef struct watch {
    int changes, stop; /* descriptors; -1: not to be had */
    char file[64];
    atomic_int stopped, references;
} watch;

static watch *current;

static void release(watch *old)
{
    if (atomic_fetch_sub(&old->references, 1) == 1) {
        if (old->changes >= 0)
            close(old->changes);
        if (old->stop >= 0)
            close(old->stop);
        free(old);
    }
}

/* Read what has happened in the folder; 1 when it concerns the file. */
static int concerns(watch *mine)
{
    int found = 0;
#ifdef __linux__
    _Alignas(struct inotify_event) char buffer[4096];
    ssize_t got;
    while ((got = read(mine->changes, buffer, sizeof buffer)) > 0) {
        for (char *at = buffer; at < buffer + got;) {
            struct inotify_event *event = (struct inotify_event *)at;
            found |= event->mask & IN_Q_OVERFLOW || (event->len && !strcmp(event->name, mine->file));
            at += sizeof *event + event->len;
        }
    }
#else
    (void)mine;
#endif
    return found;
}

static void *watch_main(void *argument)
{
    watch *mine = argument;
    while (!atomic_load(&mine->stopped)) {
        struct pollfd wait[2] = {{.fd = mine->stop, .events = POLLIN}, {.fd = mine->changes, .events = POLLIN}};
        int ready = poll(wait, 2, mine->changes < 0 ? POLL_MS : mine->stop < 0 ? 1000 : -1);
        if (atomic_load(&mine->stopped))
            break;
        if (mine->changes < 0)
            plue__wake(PLUE_LANE_COMMIT, PLUE_SIGNAL_WAKE);
        else if (ready > 0 && wait[1].revents && concerns(mine)) {
            plue__wake(PLUE_LANE_COMMIT, PLUE_SIGNAL_WAKE);
            /* A commit is several writes, and this process's own count too: one look for all of them. */
            wait[1].fd = -1;
            (void)poll(wait, 2, PAUSE_MS);
        }
    }
    release(mine);
    return NULL;
}

/* Watch `file` in `folder` until the library stops; -1 when not even a thread can be had. */
int plue__watch(const char *folder, const char *file)
{
    watch *made = calloc(1, sizeof *made);
    if (!made || strlen(file) >= sizeof made->file) {
        free(made);
        return -1;
    }
    strcpy(made->file, file);
    made->stop = plue_above_stdio(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    made->changes = -1;
#ifdef __linux__
    made->changes = plue_above_stdio(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (made->changes >= 0 && inotify_add_watch(made->changes, folder, IN_MODIFY | IN_CREATE) < 0) {
        close(made->changes);
        made->changes = -1;
    }
#endif
    atomic_init(&made->references, 2);
    if (plue_spawn(watch_main, made)) {
        atomic_store(&made->references, 1);
        release(made);
        return -1;
    }
    current = made;
    return 0;
}

void plue_watch_stop(void)
{
    watch *old = current;
    uint64_t one = 1;
    current = NULL;
    if (!old)
        return;
    atomic_store(&old->stopped, 1);
    if (old->stop >= 0 && write(old->stop, &one, sizeof one) < 0)
        (void)one; /* an eventfd that is full is readable all the same */
    release(old);
}
