/*
 * The rows of a backend that is an OpenCode server: ours, and a program with libcurl that sends the same requests to
 * the same server.
 *
 *     opencode LIBCURL URL AUTHORIZATION DIRECTORY OTHER CONFIG
 *
 * Then lines on stdin, each answered with one line of numbers:
 *
 *     start               milliseconds that plue_init took
 *     ours WHAT COUNT     microseconds of each of so many calls of the library
 *     peer WHAT COUNT     the same of what those calls send, through libcurl: get, list, update, create, delete, child
 *     follow              the peer reads the events of OTHER from now on, as the library does those of DIRECTORY:
 *                         it is one of its requests
 *     record PATH         open the file into which `kept` writes
 *     kept WHAT COUNT     the same as `peer`, and what was answered is recorded: 300 bytes appended, fdatasync
 *     anew WHAT COUNT     the same on a new connection each time
 *     settle SECONDS      wait: what a call leaves to be done, is done
 *     renames COUNT       of so many renames by another client: three lines, microseconds from the request until its
 *                         event was read by a C program, and from that until the callback, and peek_info, had it here
 *     deltas COUNT        of so many turns: two lines, microseconds from the input until a C program has read the
 *                         first piece of the answer's text, and from that until observer_next had it here
 *     turn NUMBER         the id of a session in which a turn has begun that goes on until it is aborted
 *     abort ours|peer ID  milliseconds until it has ended
 *     fill COUNT          sessions in DIRECTORY, by 8 connections; milliseconds
 *     converge COUNT      milliseconds since plue_init began until the library has so many sessions
 *     touch               rename one of them by HTTP
 *     resident            bytes
 *
 * URL is "-" for an embedded backend. DIRECTORY and OTHER are encoded as in a URL. What the peer changes is in OTHER:
 * the library need not hear of it.
 */
#include "http.h"
#include "plue_session.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

/* Each call is made after a pause of random length, ours and the peer's. OpenCode serves what arrives in slots of some
   12 ms: what comes just before one ends is answered after 2 ms, what comes just after it, after 11 ms. Calls with
   equal pauses fall into step with the slots, each side in another way, and half a millisecond more or less then
   decides whether p50 is 2 ms or 10 ms. */
enum { FILLERS = 8, WAIT_S = 20, LONGEST_PAUSE_NS = 24000000 };

static const char *directory, *other;
static http *peer;
static plue_session_t our_session;
static char our_id[64], peer_id[64];

static void need_session(plue_session_t session, const char *what)
{
    if (!session)
        die(what, plue_get_last_error());
}

static void need_done(int code, const char *what)
{
    if (code)
        die(what, plue_get_last_error());
}

static void free_text(char *text, const char *what)
{
    if (!text)
        die(what, plue_get_last_error());
    plue_free_json(text);
}

static void raw_create(http *by, const char *where, char id[64])
{
    static atomic_int number;
    char body[256];
    snprintf(body, sizeof body, "{\"metadata\":{\"plue_session\":\"%016llx%016x\"}}", (long long)now_ns(),
             atomic_fetch_add(&number, 1));
    ask(by, "POST", "/session", where, body);
    session_id(by, id);
}

static void raw_title(http *by, const char *where, const char *id, const char *title)
{
    char path[128], body[256];
    snprintf(path, sizeof path, "/session/%s", id);
    snprintf(body, sizeof body, "{\"title\":\"%s\"}", title);
    ask(by, "PATCH", path, where, body);
}

/* Make what calls are about, the first time. */
static void have_sessions(void)
{
    if (our_session)
        return;
    need_session(our_session = plue_session_create(NULL), "plue_session_create");
    char *id = plue_session_get_id(our_session);
    snprintf(our_id, sizeof our_id, "%s", id);
    plue_free_string(id);
    raw_create(peer, other, peer_id);
}

/* ---- one call, timed ---- */
static void pause_before_call(void)
{
    static unsigned short seed[3] = {1, 2, 3}; /* the same pauses in each run */
    sleep_ns((int64_t)(erand48(seed) * LONGEST_PAUSE_NS));
}

static plue_session_t next_session; /* what `delete` is about, made before its time begins */
static char next_id[64];
static int record = -1; /* the file of `kept` */

static double ours(const char *what, int number)
{
    char title[64];
    plue_session_t made = NULL;
    int64_t from;
    if (!strcmp(what, "delete"))
        need_session(next_session = plue_session_create(NULL), "plue_session_create");
    snprintf(title, sizeof title, "title %d %lld", number, (long long)now_ns());
    pause_before_call();
    from = now_ns();
    if (!strcmp(what, "get"))
        free_text(plue_session_get_info(our_session), "plue_session_get_info");
    else if (!strcmp(what, "list"))
        free_text(plue_session_list(), "plue_session_list");
    else if (!strcmp(what, "update"))
        need_done(plue_session_update_title(our_session, title), "plue_session_update_title");
    else if (!strcmp(what, "create"))
        need_session(made = plue_session_create(NULL), "plue_session_create");
    else if (!strcmp(what, "child"))
        need_session(made = plue_session_create(our_id), "plue_session_create");
    else if (!strcmp(what, "delete"))
        need_done(plue_session_delete(next_session), "plue_session_delete");
    else
        die("ours", what);
    double took = (double)(now_ns() - from) / 1000;
    plue_session_destroy(made);
    plue_session_destroy(next_session);
    next_session = NULL;
    return took;
}

static double peers(const char *what, int number, int kept)
{
    static const char answer[300];
    char title[64], path[128], id[64], body[256];
    if (!strcmp(what, "delete"))
        raw_create(peer, other, next_id);
    snprintf(title, sizeof title, "title %d %lld", number, (long long)now_ns());
    pause_before_call();
    int64_t from = now_ns();
    if (!strcmp(what, "get")) {
        snprintf(path, sizeof path, "/session/%s", our_id);
        ask(peer, "GET", path, directory, NULL);
    } else if (!strcmp(what, "list"))
        ask(peer, "GET", "/session?limit=1000000", directory, NULL);
    else if (!strcmp(what, "update"))
        raw_title(peer, other, peer_id, title);
    else if (!strcmp(what, "create"))
        raw_create(peer, other, id);
    else if (!strcmp(what, "child")) {
        snprintf(path, sizeof path, "/session/%s", peer_id);
        ask(peer, "GET", path, other, NULL);
        snprintf(body, sizeof body, "{\"metadata\":{\"plue_session\":\"%032llx\"},\"parentID\":\"%s\"}",
                 (long long)from, peer_id);
        ask(peer, "POST", "/session", other, body);
    } else if (!strcmp(what, "delete")) {
        ask(peer, "GET", "/session/status", other, NULL);
        snprintf(path, sizeof path, "/session/%s", next_id);
        ask(peer, "DELETE", path, other, NULL);
    } else
        die("peer", what);
    if (kept && (write(record, answer, sizeof answer) != sizeof answer || fdatasync(record)))
        die("kept", "the record cannot be written");
    return (double)(now_ns() - from) / 1000;
}

/* ---- renames by another client ---- */
static struct {
    _Atomic int64_t wire, callback, peek;     /* when it was seen, 0: not yet */
    char title[64];                           /* of the rename that is waited for */
    atomic_int number, listening, over, anew; /* `anew`: what was read before does not count */
} seen;

static void note(_Atomic int64_t *at)
{
    int64_t none = 0;
    atomic_compare_exchange_strong(at, &none, now_ns());
}

static void on_event(uint8_t type, const char *json, void *data)
{
    (void)type, (void)data;
    if (!atomic_load(&seen.callback) && strstr(json, seen.title))
        note(&seen.callback);
}

static void *peeking(void *unused)
{
    while (!atomic_load(&seen.over)) {
        if (!atomic_load(&seen.peek)) {
            char *info = plue_session_peek_info(our_session);
            if (info && strstr(info, seen.title))
                note(&seen.peek);
            plue_free_json(info);
        }
        sleep_ns(100000);
    }
    return unused;
}

static int event_socket(const char *of)
{
    char host[256], port[16], request[4096];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    int fd, one = 1;
    if (sscanf(server_url, "http://%255[^:/]:%15[0-9]", host, port) != 2 || getaddrinfo(host, port, &hints, &found))
        die(server_url, "is not http://HOST:PORT");
    fd = socket(found->ai_family, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen))
        die(server_url, "cannot be reached");
    freeaddrinfo(found);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    int length = snprintf(
        request, sizeof request,
        "GET /event?directory=%s HTTP/1.1\r\nHost: %s:%s\r\nAuthorization: %s\r\nAccept: text/event-stream\r\n\r\n", of,
        host, port, server_authorization);
    if (write(fd, request, (size_t)length) != length)
        die(server_url, "cannot be written to");
    return fd;
}

static void *following(void *unused)
{
    char buffer[65536];
    int fd = event_socket(other);
    while (read(fd, buffer, sizeof buffer) > 0)
        ;
    close(fd);
    return unused;
}

static void follow(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, following, NULL) || pthread_detach(thread))
        die("follow", "no thread");
}

static void *listening(void *socket)
{
    static char buffer[262144];
    size_t kept = 0;
    ssize_t got;
    while ((got = read(*(int *)socket, buffer + kept, sizeof buffer - 1 - kept)) > 0) {
        if (atomic_exchange(&seen.anew, 0)) {
            memmove(buffer, buffer + kept, (size_t)got);
            kept = 0;
        }
        kept += (size_t)got;
        buffer[kept] = 0;
        if (strstr(buffer, "server.connected"))
            atomic_store(&seen.listening, 1);
        if (!atomic_load(&seen.wire) && strstr(buffer, seen.title))
            note(&seen.wire);
        if (kept > 1024) { /* a title may be cut in two */
            memmove(buffer, buffer + kept - 128, 128);
            kept = 128;
        }
    }
    return NULL;
}

static void print_times(const samples *of)
{
    for (size_t i = 0; i < of->count; i++)
        printf("%s%.1f", i ? " " : "", of->value[i]);
    printf("\n");
}

static void renames(int count)
{
    samples wire = make_samples((size_t)count), callback = make_samples((size_t)count),
            peek = make_samples((size_t)count);
    pthread_t peeker, listener;
    int fd = event_socket(directory);
    strcpy(seen.title, "nothing yet");
    atomic_store(&seen.peek, 1);
    uint32_t subscription = plue_event_subscribe(on_event, NULL);
    if (!subscription || pthread_create(&peeker, NULL, peeking, NULL) ||
        pthread_create(&listener, NULL, listening, &fd))
        die("renames", "no thread, or no subscription");
    while (!atomic_load(&seen.listening))
        sleep_ns(1000000);
    for (int i = 0; i < count; i++) {
        sleep_ns(15000000 + rand() % 20000000);
        snprintf(seen.title, sizeof seen.title, "renamed elsewhere %d-%lld", i, (long long)now_ns());
        atomic_store(&seen.wire, 0);
        atomic_store(&seen.callback, 0);
        atomic_store(&seen.peek, 0);
        int64_t from = now_ns();
        raw_title(peer, directory, our_id, seen.title);
        while (!atomic_load(&seen.wire) || !atomic_load(&seen.callback) || !atomic_load(&seen.peek)) {
            if (now_ns() - from > WAIT_S * INT64_C(1000000000))
                die("renames", !atomic_load(&seen.wire)       ? "one was never seen on the wire"
                               : !atomic_load(&seen.callback) ? "one was never told to the callback"
                                                              : "one was never shown by plue_session_peek_info");
            sleep_ns(100000);
        }
        int64_t on_wire = atomic_load(&seen.wire);
        add_sample(&wire, (double)(on_wire - from) / 1000);
        add_sample(&callback, (double)(atomic_load(&seen.callback) - on_wire) / 1000);
        add_sample(&peek, (double)(atomic_load(&seen.peek) - on_wire) / 1000);
    }
    atomic_store(&seen.over, 1);
    shutdown(fd, SHUT_RDWR);
    pthread_join(peeker, NULL);
    pthread_join(listener, NULL);
    close(fd);
    plue_event_unsubscribe(subscription);
    print_times(&wire);
    print_times(&callback);
    print_times(&peek);
}

/* ---- pieces of an answer ---- */
static void answer(plue_session_observer_t observer, int number, int64_t *heard)
{
    char input[128];
    int ended = 0;
    snprintf(input, sizeof input, "{\"text\":\"answer %d [words=20] [pause=0.01]\"}", number);
    plue_free_json(plue_session_enqueue(our_session, input));
    while (!ended) {
        char *item = plue_session_observer_next(observer, WAIT_S * 1000);
        int64_t at = now_ns();
        if (!item)
            die("plue_session_observer_next", "the turn does not end");
        if (!*heard && strstr(item, "\"delta\":"))
            *heard = at;
        ended = strstr(item, "\"type\":\"turn.finished\"") != NULL;
        plue_free_json(item);
    }
}

static void deltas(int count)
{
    samples wire = make_samples((size_t)count), ours = make_samples((size_t)count);
    pthread_t listener;
    int fd = event_socket(directory);
    strcpy(seen.title, "message.part.delta");
    atomic_store(&seen.wire, 1);
    if (pthread_create(&listener, NULL, listening, &fd))
        die("deltas", "no thread");
    while (!atomic_load(&seen.listening))
        sleep_ns(1000000);
    plue_session_observer_t observer = plue_session_observe(our_session, NULL);
    if (!observer)
        die("plue_session_observe", plue_get_last_error());
    for (int i = -1; i < count; i++) { /* the first turn of a server's life takes seconds */
        int64_t heard = 0, from;
        sleep_ns(50000000 + rand() % 20000000);
        atomic_store(&seen.anew, 1);
        atomic_store(&seen.wire, 0);
        from = now_ns();
        answer(observer, i, &heard);
        int64_t on_wire = atomic_load(&seen.wire);
        if (!on_wire || !heard)
            die("deltas", "one was never seen");
        if (i >= 0) {
            add_sample(&wire, (double)(on_wire - from) / 1000);
            add_sample(&ours, (double)(heard - on_wire) / 1000);
        }
    }
    plue_session_observer_close(observer);
    shutdown(fd, SHUT_RDWR);
    pthread_join(listener, NULL);
    close(fd);
    print_times(&wire);
    print_times(&ours);
}

/* ---- turns ---- */
static void turn(int number)
{
    char id[64], path[128], body[256];
    raw_create(peer, directory, id);
    raw_title(peer, directory, id, "A title, so that the server makes none");
    snprintf(path, sizeof path, "/session/%s/prompt_async", id);
    snprintf(body, sizeof body,
             "{\"parts\":[{\"type\":\"text\",\"text\":\"turn %d "
             "[wait]\"}],\"model\":{\"providerID\":\"fake\",\"modelID\":\"fake-model\"}}",
             number);
    ask(peer, "POST", path, directory, body);
    printf("%s\n", id);
}

static double abort_ours(const char *id)
{
    plue_session_t session = plue_session_open(id);
    need_session(session, "plue_session_open");
    int64_t from = now_ns();
    need_done(plue_session_abort(session), "plue_session_abort");
    double took = (double)(now_ns() - from) / 1e6;
    plue_session_destroy(session);
    return took;
}

/* Abort, then look until the message of the model's is complete or failed. */
static double abort_peer(const char *id)
{
    char path[256];
    int64_t from = now_ns();
    snprintf(path, sizeof path, "/session/%s/abort", id);
    ask(peer, "POST", path, directory, NULL);
    snprintf(path, sizeof path, "/session/%s/message?limit=1", id);
    for (;;) {
        ask(peer, "GET", path, directory, NULL);
        if (strstr(peer->body, "\"role\":\"assistant\"") &&
            (strstr(peer->body, "\"completed\":") || strstr(peer->body, "\"error\":{")))
            return (double)(now_ns() - from) / 1e6;
        sleep_ns(2000000);
    }
}

/* ---- many sessions ---- */
static atomic_int to_fill;

static void *filling(void *unused)
{
    char id[64];
    http *by = connect_http();
    while (atomic_fetch_sub(&to_fill, 1) > 0)
        raw_create(by, directory, id);
    return unused;
}

static double fill(int count)
{
    pthread_t threads[FILLERS];
    int64_t from = now_ns();
    atomic_store(&to_fill, count);
    for (int i = 0; i < FILLERS; i++)
        if (pthread_create(&threads[i], NULL, filling, NULL))
            die("fill", "no thread");
    for (int i = 0; i < FILLERS; i++)
        pthread_join(threads[i], NULL);
    return (double)(now_ns() - from) / 1e6;
}

static double converge(int count, int64_t since)
{
    while (plue_session_count(NULL) != count) {
        if (now_ns() - since > 60 * INT64_C(1000000000))
            die("converge", "it has not, in a minute");
        sleep_ns(5000000);
    }
    return (double)(now_ns() - since) / 1e6;
}

static void touch(void)
{
    static char id[64];
    char title[64];
    if (!id[0]) {
        ask(peer, "GET", "/session?limit=1", directory, NULL);
        session_id(peer, id);
    }
    snprintf(title, sizeof title, "touched at %lld", (long long)now_ns());
    raw_title(peer, directory, id, title);
}

int main(int count, char **argument)
{
    char line[512], what[64], name[128];
    int64_t begun = 0;
    int number;
    if (count != 7)
        die("usage", "opencode LIBCURL URL AUTHORIZATION DIRECTORY OTHER CONFIG");
    directory = argument[4];
    other = argument[5];
    open_curl(argument[1], argument[2], argument[3]);
    peer = connect_http();
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof line, stdin)) {
        if (!strcmp(line, "start\n")) {
            begun = now_ns();
            need_done(plue_init(argument[6]), "plue_init");
            printf("%.3f\n", (double)(now_ns() - begun) / 1e6);
        } else if ((!strncmp(line, "ours", 4) || !strncmp(line, "peer", 4) || !strncmp(line, "anew", 4) ||
                    !strncmp(line, "kept", 4)) &&
                   sscanf(line + 4, "%63s %d", what, &number) == 2) {
            if (strcmp(what, "list") && strcmp(server_url, "-"))
                have_sessions();
            connect_anew(peer, line[0] == 'a');
            for (int i = 0; i < number; i++)
                printf("%s%.1f", i ? " " : "", line[0] == 'o' ? ours(what, i) : peers(what, i, line[0] == 'k'));
            connect_anew(peer, 0);
            printf("\n");
        } else if (sscanf(line, "settle %63s", what) == 1) {
            sleep_ns((int64_t)(atof(what) * 1e9));
            printf("0\n");
        } else if (!strncmp(line, "record ", 7)) {
            line[strcspn(line, "\n")] = 0;
            record = open(line + 7, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
            if (record < 0)
                die("record", line + 7);
            printf("0\n");
        } else if (!strcmp(line, "follow\n")) {
            follow();
            printf("0\n");
        } else if (sscanf(line, "renames %d", &number) == 1) {
            have_sessions();
            renames(number);
        } else if (sscanf(line, "deltas %d", &number) == 1) {
            have_sessions();
            deltas(number);
        } else if (sscanf(line, "turn %d", &number) == 1)
            turn(number);
        else if (sscanf(line, "abort %63s %127s", what, name) == 2)
            printf("%.3f\n", *what == 'o' ? abort_ours(name) : abort_peer(name));
        else if (sscanf(line, "fill %d", &number) == 1)
            printf("%.3f\n", fill(number));
        else if (sscanf(line, "converge %d", &number) == 1)
            printf("%.3f\n", converge(number, begun));
        else if (!strcmp(line, "touch\n")) {
            touch();
            printf("0\n");
        } else if (!strcmp(line, "resident\n"))
            printf("%.0f\n", resident());
        else
            die("opencode, unknown command", line);
    }
    plue_session_destroy(our_session);
    plue_shutdown();
    return 0;
}
