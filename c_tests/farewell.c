/*
 * What a slow reader hears in the end: all that was told before plue_shutdown, or that something is missing, and
 * library.shutdown last. And events that are not stored: in their place among the others, or said to be dropped. Runs
 * with c_tests/telling.py.
 */
#include "listener.h"

#include <sys/prctl.h>
#include <sys/wait.h>

enum { MOST = 40000 };

/* One reader, and what it heard: of each event its type, and the number in its title or message. */
typedef struct record {
    listener of; /* first */
    int types[MOST];
    long numbers[MOST];
    atomic_int count; /* of those that are noted */
    atomic_long dropped;
    char reason[32];
    int slowly_ms;
} record;

static void note(listener *mine, uint8_t type, const char *event)
{
    record *to = (record *)mine;
    char *title = json_text(event, type == PLUE_EVENT_LOG ? "data.message" : "data.title"),
         *more = json_at(event, "dropped");
    int place = atomic_load(&to->count);
    CHECK(place < MOST);
    to->types[place] = type;
    to->numbers[place] = type == PLUE_EVENT_SYNC_STATE ? json_is(event, "data.connected", "true")
                         : title                       ? atol(title)
                                                       : -1;
    if (more)
        to->dropped += atol(more);
    if (type == PLUE_EVENT_GAP) {
        char *reason = json_text(event, "data.reason"), *sessions = json_at(event, "data.sessions");
        snprintf(to->reason, sizeof to->reason, "%s", reason);
        CHECK(sessions && json_count(sessions) >= 1);
        free(reason);
        free(sessions);
    }
    atomic_store(&to->count, place + 1);
    if (to->slowly_ms)
        pause_ms(to->slowly_ms);
    free(title);
    free(more);
}

static void begin(record *made)
{
    memset((void *)made, 0, sizeof *made);
    listen_to_events(&made->of);
    made->of.then = note;
}

static int heard_of(const record *by, int type)
{
    int count = 0;
    for (int i = 0; i < by->count; i++)
        count += by->types[i] == type;
    return count;
}

static void said_farewell(const record *by)
{
    CHECK(!by->of.broken && by->count && by->types[by->count - 1] == PLUE_EVENT_LIBRARY_SHUTDOWN &&
          heard_of(by, PLUE_EVENT_LIBRARY_SHUTDOWN) == 1);
}

/* Readers that were stopped, go on, and the library shuts down at once: they hear everything, however much that is. */
static void all_that_was_told_is_heard_before_the_end(int with_one_that_never_returns)
{
    enum { READERS = 4 };
    static record all[READERS], stuck;
    int count = part(3000);
    start("");
    for (int i = 0; i < READERS; i++) {
        begin(&all[i]);
        atomic_store(&all[i].of.hold, 1);
        subscribe(&all[i].of);
    }
    begin(&stuck);
    atomic_store(&stuck.of.hold, 1);
    if (with_one_that_never_returns)
        subscribe(&stuck.of);
    for (int i = 0; i < count; i++) {
        plue_session_t made = plue_session_create(NULL);
        CHECK(made);
        plue_session_destroy(made);
    }
    for (int i = 0; i < READERS; i++)
        EVENTUALLY(atomic_load(&all[i].of.held));
    if (with_one_that_never_returns)
        EVENTUALLY(atomic_load(&stuck.of.held));
    for (int i = 0; i < READERS; i++)
        atomic_store(&all[i].of.hold, 0);
    double begun = seconds();
    plue_shutdown();
    double took = seconds() - begun;
    for (int i = 0; i < READERS; i++) {
        printf("heard %d of %d, %d gaps\n", heard_of(&all[i], PLUE_EVENT_SESSION_CREATED), count, all[i].of.gaps);
        said_farewell(&all[i]);
        CHECK(heard_of(&all[i], PLUE_EVENT_SESSION_CREATED) == count && all[i].of.gaps == 0 && all[i].dropped == 0);
    }
    CHECK(took < 7.5);
    if (with_one_that_never_returns) {
        CHECK(plue_get_last_error_code() == PLUE_ERROR_TIMEOUT && stuck.count == 1);
        atomic_store(&stuck.of.hold, 0);
        EVENTUALLY(!atomic_load(&stuck.of.inside));
        CHECK(stuck.count == 1);
    }
}

/* There is no time for all of it: what is missing is one gap, and the end is heard all the same. */
static void a_reader_that_stays_slow_gets_a_gap_and_hears_of_the_end(int count, const char *trouble)
{
    static record slow;
    start("");
    begin(&slow);
    slow.slowly_ms = 25;
    atomic_store(&slow.of.hold, 1);
    plue_session_t session = plue_session_create(NULL);
    subscribe(&slow.of);
    retitle(session, 0, count);
    EVENTUALLY(atomic_load(&slow.of.held));
    CHECK(!trouble || plue_session_update_title(session, trouble) == 0);
    atomic_store(&slow.of.hold, 0);
    double begun = seconds();
    plue_shutdown();
    double took = seconds() - begun;
    int titles = heard_of(&slow, PLUE_EVENT_SESSION_UPDATED);
    printf("heard %d of %d in %.1f s, %d gaps, %ld dropped\n", titles, count, took, slow.of.gaps, slow.dropped);
    said_farewell(&slow);
    CHECK(took < 7.5 && titles >= 1 && titles < count);
    for (int i = 0; i < titles; i++)
        CHECK(slow.types[i] == PLUE_EVENT_SESSION_UPDATED && slow.numbers[i] == i);
    /* When there can be no gap, also for want of time, the last event says that something is missing. */
    CHECK(slow.count == titles + slow.of.gaps + 1 &&
          (slow.of.gaps == 1 ? !strcmp(slow.reason, "unavailable") && !slow.dropped : slow.dropped > 0));
    CHECK(!trouble || slow.of.gaps == 0);
}

/* What is not stored keeps nobody from the gap and the end: of each kind the newest is heard, and how many are not. */
static void a_slow_reader_with_many_passing_events_hears_of_the_end(void)
{
    static record slow;
    start("");
    begin(&slow);
    slow.slowly_ms = 100;
    atomic_store(&slow.of.hold, 1);
    plue_session_t session = plue_session_create(NULL);
    subscribe(&slow.of);
    retitle(session, 0, 2);
    CHECK(plue_session_update_title(session, "server away") == 0 && plue_session_update_title(session, "log 60") == 0);
    CHECK(plue_session_update_title(session, "server back") == 0);
    retitle(session, 2, 4);
    EVENTUALLY(atomic_load(&slow.of.held));
    atomic_store(&slow.of.hold, 0);
    plue_shutdown();
    said_farewell(&slow);
    CHECK(slow.of.gaps == 1 && slow.dropped > 0 && heard_of(&slow, PLUE_EVENT_LOG) < 60);
    int state = -1;
    for (int i = 0; i < slow.count; i++)
        state = slow.types[i] == PLUE_EVENT_SYNC_STATE ? (int)slow.numbers[i] : state;
    CHECK(state == 1);
}

/* While a reader is behind, what is not stored waits for its place among what is. */
static void passing_events_keep_their_place(void)
{
    static record slow;
    int each = part(2400) / 3, at = 0;
    start("");
    begin(&slow);
    atomic_store(&slow.of.hold, 1);
    plue_session_t session = plue_session_create(NULL);
    drain();
    subscribe(&slow.of);
    retitle(session, 0, each);
    CHECK(plue_session_update_title(session, "server away") == 0);
    retitle(session, each, 2 * each); /* its queue is full here, unless a slow tool runs */
    CHECK(plue_session_update_title(session, "log 3") == 0);
    retitle(session, 2 * each, 3 * each);
    CHECK(plue_session_update_title(session, "server back") == 0);
    atomic_store(&slow.of.hold, 0);
    wait_for_updates(&slow.of, 3 * each);
    EVENTUALLY(atomic_load(&slow.count) == 3 * each + 5);
    for (int i = 0; i < 3 * each; i++) {
        if (i == each)
            CHECK(slow.types[at++] == PLUE_EVENT_SYNC_STATE && slow.numbers[at - 1] == 0);
        for (int n = 0; n < 3 && i == 2 * each; n++)
            CHECK(slow.types[at++] == PLUE_EVENT_LOG && slow.numbers[at - 1] == n);
        CHECK(slow.types[at++] == PLUE_EVENT_SESSION_UPDATED && slow.numbers[at - 1] == i);
    }
    CHECK(slow.types[at] == PLUE_EVENT_SYNC_STATE && slow.numbers[at] == 1 && slow.dropped == 0 && slow.of.gaps == 0);
    /* The default queue was read by nobody meanwhile. */
    int place = 0;
    for (; place < 3 * each + 5; place++) {
        char *event = next_event();
        CHECK(json_number(event, "number") == slow.types[place]);
        plue_free(event);
    }
    plue_event_unsubscribe(slow.of.id);
    plue_session_destroy(session);
    plue_shutdown();
}

/* More than there is room for: the newest of each kind is heard, and how many are not. Nothing that is stored makes
 * way. */
static void a_flood_of_passing_events_pushes_out_no_other(void)
{
    enum { FLOOD = 3000 };
    static record slow;
    int count = part(2000);
    start("");
    begin(&slow);
    atomic_store(&slow.of.hold, 1);
    plue_session_t session = plue_session_create(NULL);
    drain();
    subscribe(&slow.of);
    retitle(session, 0, count / 2);
    EVENTUALLY(atomic_load(&slow.of.held));
    CHECK(plue_session_update_title(session, "server away") == 0 &&
          plue_session_update_title(session, "server back") == 0);
    char flood[16];
    snprintf(flood, sizeof flood, "log %d", FLOOD);
    CHECK(plue_session_update_title(session, flood) == 0);
    retitle(session, count / 2, count / 2 * 2);
    CHECK(plue_session_update_title(session, "server away") == 0);
    atomic_store(&slow.of.hold, 0);
    wait_for_updates(&slow.of, count / 2 * 2);
    EVENTUALLY(heard_of(&slow, PLUE_EVENT_SYNC_STATE) + heard_of(&slow, PLUE_EVENT_LOG) + slow.dropped == FLOOD + 3);
    int logs = heard_of(&slow, PLUE_EVENT_LOG), states = heard_of(&slow, PLUE_EVENT_SYNC_STATE), last_log = -1,
        last_state = -1, next = 0;
    printf("%d logs and %d states were heard, %ld dropped\n", logs, states, slow.dropped);
    for (int i = 0; i < slow.count; i++) {
        if (slow.types[i] == PLUE_EVENT_LOG) {
            CHECK(slow.numbers[i] > last_log && next == count / 2);
            last_log = (int)slow.numbers[i];
        } else if (slow.types[i] == PLUE_EVENT_SYNC_STATE)
            last_state = (int)slow.numbers[i];
        else
            CHECK(slow.numbers[i] == next++);
    }
    CHECK(last_log == FLOOD - 1 && last_state == 0 && states >= 1 && logs >= 32 && slow.of.gaps == 0);
    plue_event_unsubscribe(slow.of.id);
    plue_session_destroy(session);
    plue_shutdown();
}

/* It is read up to what its queue holds; for the rest the store would be needed, which does not answer. The last of
 * this program: the library is left stuck. */
static void a_reader_that_becomes_fast_hears_of_the_end_though_the_log_does_not_answer(void)
{
    static record fast;
    int count = 1600;
    start("");
    begin(&fast);
    atomic_store(&fast.of.hold, 1);
    plue_session_t session = plue_session_create(NULL);
    subscribe(&fast.of);
    retitle(session, 0, count);
    EVENTUALLY(atomic_load(&fast.of.held));
    CHECK(plue_session_update_title(session, "no log") == 0);
    atomic_store(&fast.of.hold, 0);
    double begun = seconds();
    plue_shutdown();
    double took = seconds() - begun;
    printf("without a log: heard %d of %d in %.1f s, %ld dropped\n", heard_of(&fast, PLUE_EVENT_SESSION_UPDATED), count,
           took, fast.dropped);
    said_farewell(&fast);
    CHECK(took < 8 && fast.dropped > 0 && fast.of.gaps == 0 && heard_of(&fast, PLUE_EVENT_SESSION_UPDATED) >= 1024);
}

/* Another process on the store goes on writing: what it does after this one's last is not waited for. */
static void others_who_go_on_delay_no_end(const char *program)
{
    static record slow;
    int count = part(1500);
    start(",\"replay\":{\"limit\":50000}");
    begin(&slow);
    atomic_store(&slow.of.hold, 1);
    subscribe(&slow.of);
    pid_t writer = fork();
    if (!writer) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl(program, program, "write", (char *)NULL);
        _exit(2);
    }
    for (int i = 0; i < count; i++)
        plue_session_destroy(plue_session_create(NULL));
    EVENTUALLY(atomic_load(&slow.of.held));
    plue_session_t theirs;
    for (double until = seconds() + 30; !(theirs = plue_session_open("writer")) && seconds() < until;)
        pause_ms(5);
    CHECK(theirs);
    for (double until = seconds() + 30;
         json_is(text(plue_session_peek_info(theirs)), "title", "\"\"") && seconds() < until;)
        pause_ms(5);
    atomic_store(&slow.of.hold, 0);
    double begun = seconds();
    plue_shutdown();
    printf("beside a writer: heard %d of %d, and %d of the other's, in %.1f s\n",
           heard_of(&slow, PLUE_EVENT_SESSION_CREATED), count + 1, heard_of(&slow, PLUE_EVENT_SESSION_UPDATED),
           seconds() - begun);
    CHECK(kill(writer, 0) == 0); /* it was at it all the time */
    kill(writer, SIGKILL);
    waitpid(writer, NULL, 0);
    said_farewell(&slow);
    CHECK(heard_of(&slow, PLUE_EVENT_SESSION_CREATED) == count + 1 && slow.of.gaps == 0 && slow.dropped == 0);
}

static void write_on(void)
{
    start(",\"replay\":{\"limit\":50000}");
    plue_session_t mine = plue_session_get_or_create("writer");
    CHECK(mine);
    double until = seconds() + 60;
    for (int i = 0; seconds() < until; i++)
        retitle(mine, i, i + 1);
}

int main(int count, char **arguments)
{
    if (count > 1) {
        write_on();
        return 0;
    }
    passing_events_keep_their_place();
    a_flood_of_passing_events_pushes_out_no_other();
    all_that_was_told_is_heard_before_the_end(0);
    all_that_was_told_is_heard_before_the_end(1);
    a_reader_that_stays_slow_gets_a_gap_and_hears_of_the_end(600, NULL);
    if (!getenv("CHECK_PART")) {
        others_who_go_on_delay_no_end(arguments[0]);
        a_reader_that_stays_slow_gets_a_gap_and_hears_of_the_end(1600, NULL); /* its queue is full */
        a_reader_that_stays_slow_gets_a_gap_and_hears_of_the_end(600, "no gap");
        a_slow_reader_with_many_passing_events_hears_of_the_end();
        a_reader_that_becomes_fast_hears_of_the_end_though_the_log_does_not_answer();
    }
    return 0;
}
