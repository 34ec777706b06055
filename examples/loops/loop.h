/* What the examples in C share: a change that a loop sees, and what it does when the descriptor is readable. */
#include <plue_session.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_t worker;
static plue_session_observer_t observer; /* of all sessions, from its start on */
static int has_worker, events, wakeups;

static void fail(void)
{
    fprintf(stderr, "Error: %s\n", plue_get_last_error());
    exit(1);
}

/* These calls may wait for the disk, or for a server: not on the loop's thread. */
static void *change(void *unused)
{
    plue_session_t session = plue_session_create(NULL);
    if (!session || plue_session_update_title(session, "Made elsewhere") || plue_session_delete(session))
        fail();
    plue_session_destroy(session);
    return unused;
}

/* Start the library and, if nobody else is to make the change, the thread that does. Returns the descriptor. */
static int begin(int alone)
{
    int fd;
    if (plue_init(NULL) || !(observer = plue_session_observe(PLUE_ALL_SESSIONS, NULL)) ||
        (fd = plue_session_observer_fd(observer)) < 0)
        fail();
    printf("watching\n");
    fflush(stdout);
    has_worker = alone && !pthread_create(&worker, NULL, change, NULL);
    return fd;
}

/*
 * Take all events that there are. Returns whether to wait for more: until a session is deleted.
 *
 * Who needs no cursors may read the default queue: with plue_event_fd() and plue_event_poll() the rest is the same.
 */
static int take(void)
{
    int more = 1;
    wakeups++;
    for (char *event; (event = plue_session_observer_next(observer, 0)); plue_free_json(event)) {
        char *type = plue_json_text(event, "/type");
        if (!type)
            fail();
        printf("%s\n", type);
        events++;
        more = more && strcmp(type, "session.deleted");
        plue_free_string(type);
    }
    if (plue_get_last_error_code() != PLUE_OK)
        fail();
    fflush(stdout);
    return more;
}

/* The descriptor is out of the loop by now: with the observer it is closed. */
static int finish(void)
{
    if (has_worker)
        pthread_join(worker, NULL);
    plue_session_observer_close(observer);
    plue_shutdown();
    printf("%d events, %d wake-ups\n", events, wakeups);
    return 0;
}
