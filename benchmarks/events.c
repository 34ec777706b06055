/*
 * A server's events on their way to a reader, and what C does with the same stream and the same disk.
 *
 *     events observer CONFIG              plue_session_observer_next in the library
 *     events queue CONFIG                 plue_event_wait in the library
 *     events curl LIBCURL URL AUTH        a libcurl program that reads the stream itself
 *     events append FOLDER                SQLite alone: 300 bytes for each event, 512 in a commit
 *
 * Each prints "ready", and then answers lines of its standard input:
 *
 *     read COUNT    the first three: take in so many changes; prints when the last was there (ns of the monotonic
 * clock), and the us since the time that each has in its title, if it has one append COUNT  prints how long it took, in
 * ns
 */
#include "http.h"
#include "plue_session.h"
#include "replay.h"

enum { COUNT = 1 << 20, SESSIONS = 100, GROUP = 512 };
static const char stamp_at[] = "\"title\":\"at ";

static samples took;

static void note(const char *event)
{
    const char *at = strstr(event, stamp_at);
    if (at)
        add_sample(&took, (double)(now_ns() - atoll(at + sizeof stamp_at - 1)) / 1000);
}

static void answer(int64_t at)
{
    printf("%lld", (long long)at);
    for (size_t i = 0; i < took.count; i++)
        printf(" %.1f", took.value[i]);
    printf("\n");
    fflush(stdout);
    took.count = 0;
}

/* ---- the library ---- */
static plue_session_observer_t observer; /* NULL: the default queue is read */

static void read_ours(long count)
{
    while (count) {
        char *event = observer ? plue_session_observer_next(observer, 30000) : plue_event_wait(30000);
        if (!event)
            die("reading events", plue_get_last_error_code() ? plue_get_last_error() : "no event came");
        if (strstr(event, "\"type\":\"gap\""))
            die("reading events", event);
        if (strstr(event, "\"type\":\"session.updated\"")) {
            note(event);
            count--;
        }
        plue_free_json(event);
    }
    answer(now_ns());
}

static void ours(const char *config, int observes)
{
    char line[64];
    if (plue_init(config) || plue_session_sync(30000))
        die("plue_init", plue_get_last_error());
    if (observes && !(observer = plue_session_observe(PLUE_ALL_SESSIONS, NULL)))
        die("plue_session_observe", plue_get_last_error());
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin))
        read_ours(atol(line + 5));
    plue_shutdown();
}

/* ---- libcurl ---- */
static char stream[1 << 20];
static size_t held;
static atomic_long wanted;

/* The blank line ends an event; of those that are told twice the numbered one counts. */
static size_t take(char *data, size_t size, size_t count, void *unused)
{
    (void)unused;
    char *from = stream, *end;
    size *= count;
    if (held + size >= sizeof stream)
        die("the stream", "an event is too long");
    memcpy(stream + held, data, size);
    held += size;
    stream[held] = 0;
    for (; (end = strstr(from, "\n\n")); from = end + 2) {
        *end = 0;
        if (strstr(from, "server.connected")) {
            printf("ready\n");
            fflush(stdout);
        }
        if (!strstr(from, "\"type\":\"sync\""))
            continue;
        note(from);
        if (atomic_fetch_sub(&wanted, 1) == 1)
            answer(now_ns());
    }
    held -= (size_t)(from - stream);
    memmove(stream, from, held);
    return size;
}

static void *follow(void *unused)
{
    (void)unused;
    char url[4096];
    http *of = connect_http();
    snprintf(url, sizeof url, "%s/global/event", server_url);
    curl_easy_setopt(of->easy, CURLOPT_URL, url);
    curl_easy_setopt(of->easy, CURLOPT_HTTPHEADER, of->plain);
    curl_easy_setopt(of->easy, CURLOPT_WRITEFUNCTION, take);
    curl_easy_perform(of->easy);
    return NULL;
}

static void curl(const char *library, const char *url, const char *authorization)
{
    char line[64];
    pthread_t thread;
    open_curl(library, url, authorization);
    if (pthread_create(&thread, NULL, follow, NULL))
        die("pthread_create", "failed");
    while (fgets(line, sizeof line, stdin))
        atomic_store(&wanted, atol(line + 5));
    exit(0); /* the thread reads for ever */
}

/* ---- SQLite ---- */
static void run(replay *of, const char *sql)
{
    check_sqlite(of, sqlite_exec(of->database, sql, NULL, NULL, NULL), SQLITE_OK_, sql);
}

static void append(const char *folder)
{
    char path[4096], line[64], text[301], session[32];
    replay to = {0};
    sqlite3_stmt *insert;
    memset(text, 'x', 300);
    text[300] = 0;
    snprintf(path, sizeof path, "%s/append.db", folder);
    if (load_sqlite()) {
        printf("missing\n");
        return;
    }
    check_sqlite(&to, sqlite_open(path, &to.database, OPEN_READWRITE_ | 4 /* CREATE */, NULL), SQLITE_OK_, path);
    run(&to, "PRAGMA journal_mode = wal");
    run(&to, "PRAGMA synchronous = full");
    run(&to, "CREATE TABLE log (session TEXT, seq INTEGER, body TEXT, PRIMARY KEY (session, seq)) WITHOUT ROWID");
    check_sqlite(&to, sqlite_prepare(to.database, "INSERT INTO log VALUES (?, ?, ?)", -1, &insert, NULL), SQLITE_OK_,
                 "INSERT");
    printf("ready\n");
    fflush(stdout);
    for (long number = 0; fgets(line, sizeof line, stdin);) {
        int64_t begun = now_ns();
        for (long left = atol(line + 7); left > 0;) {
            run(&to, "BEGIN IMMEDIATE");
            for (int i = 0; i < GROUP && left > 0; i++, left--, number++) {
                int length = snprintf(session, sizeof session, "ses_%ld", number % SESSIONS);
                sqlite_bind_text(insert, 1, session, length, NULL);
                sqlite_bind_int64(insert, 2, number / SESSIONS);
                sqlite_bind_text(insert, 3, text, 300, NULL);
                check_sqlite(&to, sqlite_step(insert), SQLITE_DONE_, "INSERT");
                sqlite_reset(insert);
            }
            run(&to, "COMMIT");
        }
        answer(now_ns() - begun);
    }
}

int main(int count, char **argument)
{
    took = make_samples(COUNT);
    if (count == 3 && (!strcmp(argument[1], "observer") || !strcmp(argument[1], "queue")))
        ours(argument[2], argument[1][0] == 'o');
    else if (count == 5 && !strcmp(argument[1], "curl"))
        curl(argument[2], argument[3], argument[4]);
    else if (count == 3 && !strcmp(argument[1], "append"))
        append(argument[2]);
    else
        die("usage", "events observer|queue CONFIG | events curl LIBCURL URL AUTH | events append FOLDER");
    return 0;
}
