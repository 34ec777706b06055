/* The default queue as loops read it: its descriptor in poll(2) and epoll, and threads that wait. */
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/epoll.h>

enum { WAITERS = 8 };

static int readable(int fd, int ms)
{
    struct pollfd each = {.fd = fd, .events = POLLIN};
    int found = poll(&each, 1, ms);
    CHECK(found >= 0 && !(each.revents & ~POLLIN));
    return found;
}

static void the_descriptor_says_what_poll_would(void)
{
    start("");
    int fd = plue_event_fd();
    CHECK(fd > 2 && fcntl(fd, F_GETFD) == FD_CLOEXEC && plue_event_fd() == fd);
    CHECK(readable(fd, 0)); /* library.initialized waits */
    plue_session_t session = plue_session_create(NULL);
    drain();
    CHECK(!readable(fd, 0));
    CHECK_ERROR(!plue_event_poll(), PLUE_OK);
    for (int i = 0; i < part(1000); i++) {
        int count = 1 + i % 3;
        retitle(session, 0, count);
        for (; count; count--) {
            CHECK(readable(fd, 0) && readable(fd, 0));
            char *event = i % 2 ? plue_event_poll() : plue_event_wait(0);
            CHECK(event);
            plue_free(event);
        }
        CHECK(!readable(fd, 0));
    }
    CHECK_ERROR(plue_session_update_title(NULL, "") == -1, PLUE_ERROR_INVALID_PARAM);
    CHECK_ERROR(!plue_event_wait(0), PLUE_OK); /* nothing came: no error is left either */
    CHECK_ERROR(!plue_event_wait(10), PLUE_OK);
    CHECK_ERROR(!plue_event_wait(-1), PLUE_ERROR_INVALID_PARAM);
    CHECK_SAYS("timeout_ms is -1");
    plue_session_destroy(session);
    plue_shutdown();
    CHECK(fcntl(fd, F_GETFD) == -1 && errno == EBADF);
    CHECK_ERROR(plue_event_fd() == -1, PLUE_ERROR_NOT_INITIALIZED);
    CHECK_ERROR(!plue_event_wait(1), PLUE_ERROR_NOT_INITIALIZED);
}

static void *change(void *session)
{
    retitle(session, 0, part(5000));
    return NULL;
}

/* More than the queue holds, so that it is refilled meanwhile; edge: as loops with EPOLLET do, which poll until NULL.
 */
static void a_loop_hears_each_event_once(int edge)
{
    start(",\"store\":\"memory\",\"replay\":{\"limit\":20000}");
    int loop = epoll_create1(EPOLL_CLOEXEC), fd = plue_event_fd(), next = 0;
    struct epoll_event of = {.events = EPOLLIN | (edge ? EPOLLET : 0)};
    CHECK(loop >= 0 && epoll_ctl(loop, EPOLL_CTL_ADD, fd, &of) == 0);
    plue_session_t session = plue_session_create(NULL);
    drain();
    pthread_t changer = run(change, session);
    for (int idle = 0; next < part(5000);) {
        if (epoll_wait(loop, &of, 1, 20000) == 0)
            idle++;
        CHECK(!idle);
        for (char *event; (event = plue_event_poll());) {
            char *title = json_text(event, "data.title");
            CHECK(title && atoi(title) == next++);
            free(title);
            plue_free(event);
            if (!edge && next % 7 == 0)
                break;
        }
        CHECK(plue_get_last_error_code() == PLUE_OK);
    }
    end(changer);
    CHECK(!readable(fd, 0));
    close(loop);
    plue_session_destroy(session);
    plue_shutdown();
}

/* ---- waiters ---- */
static atomic_int taken_events, last_heard, closed, wrong;
static atomic_uchar seen[1 << 16];

static void *wait_on(void *unused)
{
    for (;;) {
        char *event = plue_event_wait(60000);
        if (!event)
            break;
        long long sequence = json_number(event, "sequence");
        if (sequence < 0 || sequence >= (long long)sizeof seen || atomic_fetch_add(&seen[sequence], 1))
            atomic_store(&wrong, 1);
        atomic_fetch_add(&taken_events, 1);
        atomic_fetch_add(&last_heard, json_number(event, "number") == PLUE_EVENT_LIBRARY_SHUTDOWN);
        plue_free(event);
    }
    if (plue_get_last_error_code() == PLUE_ERROR_CLOSED)
        atomic_fetch_add(&closed, 1);
    else
        fprintf(stderr, "a waiter ended with %s\n", plue_get_last_error());
    return unused;
}

static void begin_counting(void)
{
    atomic_store(&taken_events, 0);
    atomic_store(&last_heard, 0);
    atomic_store(&closed, 0);
    for (size_t i = 0; i < sizeof seen; i++)
        atomic_store(&seen[i], 0);
}

/* What is told in the last moment is handed out, and each waiter then hears that this was all. */
static void each_event_goes_to_one_of_eight_waiters(int count, int with_fd)
{
    pthread_t waiters[WAITERS];
    begin_counting();
    start(",\"store\":\"memory\",\"replay\":{\"limit\":20000}");
    int fd = with_fd ? plue_event_fd() : -1;
    for (int i = 0; i < WAITERS; i++)
        waiters[i] = run(wait_on, NULL);
    plue_session_t session = plue_session_create(NULL);
    retitle(session, 0, count);
    double began = seconds();
    plue_shutdown();
    CHECK(seconds() - began < 5);
    for (int i = 0; i < WAITERS; i++)
        end(waiters[i]);
    CHECK(seconds() - began < 5);
    if (atomic_load(&taken_events) != count + 3 || atomic_load(&closed) != WAITERS)
        fprintf(stderr, "heard %d of %d, %d closed\n", atomic_load(&taken_events), count + 3, atomic_load(&closed));
    CHECK(atomic_load(&taken_events) == count + 3 && atomic_load(&last_heard) == 1 && !atomic_load(&wrong));
    CHECK(atomic_load(&closed) == WAITERS && (fd < 0 || fcntl(fd, F_GETFD) == -1));
    plue_session_destroy(session);
}

static void *wait_once(void *ms)
{
    return plue_event_wait(*(int *)ms);
}

static void who_waits_is_woken_by_the_event(void)
{
    int ms = 60000;
    start("");
    drain();
    for (int i = 0; i < part(200); i++) {
        pthread_t waiter = run(wait_once, &ms);
        plue_session_t session = plue_session_create(NULL);
        double began = seconds();
        char *event = end(waiter);
        CHECK(event && json_is(event, "type", "\"session.created\"") && seconds() - began < 10);
        plue_free(event);
        plue_session_destroy(session);
    }
    plue_shutdown();
}

/* A loop beside a shutdown: the descriptor wakes it, poll hands out the rest, then says CLOSED. A loop that is away for
 * too long finds the descriptor closed. */
static void *loop_on(void *unused)
{
    int fd = plue_event_fd(), last = -1;
    char *event;
    for (;;) {
        struct pollfd each = {.fd = fd, .events = POLLIN};
        CHECK(poll(&each, 1, 20000) == 1);
        while ((event = plue_event_poll())) {
            last = (int)json_number(event, "number");
            plue_free(event);
        }
        if (plue_get_last_error_code() != PLUE_OK)
            break;
        if (last == PLUE_EVENT_LIBRARY_SHUTDOWN)
            return unused;
    }
    CHECK(plue_get_last_error_code() == PLUE_ERROR_CLOSED);
    return unused;
}

static void a_loop_hears_of_the_shutdown(void)
{
    start("");
    plue_free(plue_event_poll());
    pthread_t loop = run(loop_on, NULL);
    plue_session_t session = plue_session_create(NULL);
    plue_shutdown();
    end(loop);
    plue_session_destroy(session);
}

static atomic_int reads;

static void *poll_on(void *unused)
{
    int last = 0;
    char *first = plue_event_wait(10000);
    CHECK(first);
    plue_free(first);
    atomic_store(&reads, 1);
    double back = seconds(), away = 0, now; /* for how long it got no processor at most */
    for (char *event; (event = plue_event_poll()) || plue_get_last_error_code() == PLUE_OK; back = now) {
        now = seconds();
        away = now - back > away ? now - back : away;
        if (event) {
            last = (int)json_number(event, "number");
            plue_free(event);
        }
    }
    CHECK(plue_get_last_error_code() == PLUE_ERROR_CLOSED);
    away = seconds() - back > away ? seconds() - back : away;
    CHECK(last == PLUE_EVENT_LIBRARY_SHUTDOWN || away > 0.09); /* 100 ms, and it is left behind */
    return unused;
}

/* Whenever the shutdown comes: a reader between two polls, or at the beginning of one, gets the rest. */
static void a_reader_hears_all_of_each_shutdown(void)
{
    for (int i = 0; i < part(400); i++) {
        start(",\"store\":\"memory\"");
        atomic_store(&reads, 0);
        pthread_t reader = run(poll_on, NULL);
        while (!atomic_load(&reads))
            pause_ms(1);
        plue_session_t session = plue_session_create(NULL);
        plue_shutdown();
        end(reader);
        plue_session_destroy(session);
    }
}

/* Nobody reads: that costs the shutdown nothing; nor does a reader that ends the library itself. */
static void a_shutdown_waits_for_no_reader_that_is_gone(void)
{
    double least = 10;
    for (int i = 0; i < 3; i++) {
        start(",\"store\":\"memory\"");
        plue_free(plue_event_wait(1000));
        double began = seconds();
        plue_shutdown();
        least = seconds() - began < least ? seconds() - began : least;
    }
    CHECK(least < 0.09);
    CHECK_ERROR(!plue_event_wait(1), PLUE_ERROR_NOT_INITIALIZED);
}

static void no_descriptor_is_an_error_and_not_the_end(void)
{
    start("");
    int taken[4096], count = 0;
    while (count < 4096 && (taken[count] = dup(2)) >= 0)
        count++;
    if (count < 4096)
        CHECK_ERROR(plue_event_fd() == -1, PLUE_ERROR_IO);
    while (count)
        close(taken[--count]);
    close(0);
    int fd = plue_event_fd();
    CHECK(fd > 2 && open("/dev/null", O_RDONLY) == 0);
    plue_shutdown();
}

/* ---- a session's info by its id ---- */
static void peek_id_knows_what_somebody_holds(void)
{
    CHECK_ERROR(!plue_session_peek_id("session_1"), PLUE_ERROR_NOT_INITIALIZED);
    start("");
    plue_session_t session = plue_session_create_with("{\"key\":\"mine\"}"), again;
    char *id = plue_session_get_id(session);
    CHECK(!strcmp(text(plue_session_peek_id(id)), text(plue_session_peek_info(session))));
    CHECK(plue_session_update_title(session, "new") == 0 && SAYS(text(plue_session_peek_id(id)), "\"new\""));
    CHECK((again = plue_session_open(id)) != NULL);
    plue_session_destroy(session);
    CHECK(SAYS(text(plue_session_peek_id(id)), "\"new\""));
    plue_session_destroy(again);
    CHECK_ERROR(plue_session_update_title(NULL, "") == -1, PLUE_ERROR_INVALID_PARAM);
    CHECK_ERROR(!plue_session_peek_id(id), PLUE_OK);
    CHECK((session = plue_session_open(id)) && plue_session_delete(session) == 0);
    CHECK_ERROR(plue_session_update_title(NULL, "") == -1, PLUE_ERROR_INVALID_PARAM);
    CHECK_ERROR(!plue_session_peek_id(id), PLUE_OK);
    CHECK_ERROR(!plue_session_peek_id("ses_7fK2"), PLUE_OK);
    char longest[102] = "ses_";
    memset(longest + 4, 'a', 96);
    CHECK_ERROR(!plue_session_peek_id(longest), PLUE_OK);
    memset(longest + 4, 'a', 97);
    const char *const malformed[] = {NULL,   "",        "mine",     "session_",  "session_1a", "session_-1",
                                     "ses_", "ses_a b", "ses_\xff", "Session_1", longest};
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++)
        CHECK_ERROR(!plue_session_peek_id(malformed[i]), PLUE_ERROR_INVALID_PARAM);
    plue_free(id);
    plue_session_destroy(session);
    plue_shutdown();
}

int main(void)
{
    peek_id_knows_what_somebody_holds();
    the_descriptor_says_what_poll_would();
    a_loop_hears_each_event_once(0);
    a_loop_hears_each_event_once(1);
    each_event_goes_to_one_of_eight_waiters(part(300), 0);
    each_event_goes_to_one_of_eight_waiters(part(3000), 1);
    who_waits_is_woken_by_the_event();
    a_loop_hears_of_the_shutdown();
    a_reader_hears_all_of_each_shutdown();
    a_shutdown_waits_for_no_reader_that_is_gone();
    no_descriptor_is_an_error_and_not_the_end();
    return 0;
}
