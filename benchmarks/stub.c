/*
 * A server that takes no time: OpenCode's sessions in memory, answered at once over kept connections, events included.
 *
 *     stub [close]      prints its port; ends with its standard input. With "close" each answer ends its connection.
 */
#include "bench.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

enum { MOST = 65536, LISTENERS = 16, REQUEST = 65536 };

typedef struct session {
    char id[48], directory[1024], title[256], metadata[512]; /* title and metadata are JSON */
    int64_t created, updated;
    int deleted;
} session;

static session *sessions[MOST];
static int count, closing;
static struct {
    int fd;
    char directory[1024];
} listeners[LISTENERS];
static int listener_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int64_t now_ms(void)
{
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    return at.tv_sec * INT64_C(1000) + at.tv_nsec / 1000000;
}

static int render(const session *of, char *to, size_t room)
{
    return snprintf(to, room,
                    "{\"id\":\"%s\",\"slug\":\"quiet-stub\",\"version\":\"1.18.33\",\"projectID\":\"global\","
                    "\"directory\":\"%s\",\"title\":%s,\"metadata\":%s,"
                    "\"time\":{\"created\":%lld,\"updated\":%lld}}",
                    of->id, of->directory, of->title, of->metadata, (long long)of->created, (long long)of->updated);
}

/* Copy the value of a member, as it is, if the body has it. */
static void member(const char *body, const char *name, char *to, size_t room)
{
    const char *at = strstr(body, name), *from;
    int depth = 0, quoted = 0;
    if (!at)
        return;
    for (at = from = at + strlen(name); *at; at++) {
        if (quoted)
            quoted = *at == '\\' ? (at++, 1) : *at != '"';
        else if (*at == '"')
            quoted = 1;
        else if (*at == '{')
            depth++;
        else if (*at == '}')
            depth--;
        if (!quoted && depth == 0 && (*at == '"' || *at == '}'))
            break;
    }
    snprintf(to, room, "%.*s", (int)(at - from + 1), from);
}

/* Copy the query's directory, decoded. */
static void directory_of(const char *query, char *to, size_t room)
{
    const char *at = strstr(query, "directory=");
    size_t length = 0;
    unsigned value;
    for (at = at ? at + 10 : ""; *at && *at != '&' && *at != ' ' && length < room - 1; at++) {
        if (*at == '%' && sscanf(at + 1, "%2x", &value) == 1) {
            to[length++] = (char)value;
            at += 2;
        } else
            to[length++] = *at;
    }
    to[length] = 0;
}

static void write_all(int fd, const char *data, size_t length)
{
    while (length) {
        ssize_t wrote = send(fd, data, length, MSG_NOSIGNAL);
        if (wrote <= 0)
            return;
        data += wrote;
        length -= (size_t)wrote;
    }
}

static void tell(const char *type, const session *of)
{
    char event[4096], info[2048];
    render(of, info, sizeof info);
    int length = snprintf(event, sizeof event,
                          "data: {\"type\":\"%s\",\"properties\":{\"sessionID\":\"%s\",\"info\":%s}}\n\n", type, of->id,
                          info);
    for (int i = 0; i < listener_count; i++)
        if (!strcmp(listeners[i].directory, of->directory))
            write_all(listeners[i].fd, event, (size_t)length);
}

static session *find(const char *path)
{
    char id[48];
    if (sscanf(path, "/session/%47[a-zA-Z0-9_]", id) == 1)
        for (int i = count - 1; i >= 0; i--)
            if (!sessions[i]->deleted && !strcmp(sessions[i]->id, id))
                return sessions[i];
    return NULL;
}

/* Write the answer's body to *answer, which grows; return its length, -1 for 404. */
static int answer_to(const char *method, const char *path, const char *body, char **answer, size_t *room)
{
    char directory[1024];
    session *of;
    int length = 0;
    directory_of(path, directory, sizeof directory);
    if (!strncmp(path, "/session/status", 15))
        return snprintf(*answer, *room, "{}");
    if (!strncmp(path, "/global/health", 14))
        return snprintf(*answer, *room, "{\"healthy\":true,\"version\":\"1.18.33\"}");
    if (strncmp(path, "/session", 8))
        return -1;
    if (!strcmp(method, "POST") && path[8] != '/') {
        if (count == MOST)
            return -1;
        of = sessions[count] = need(calloc(1, sizeof *of));
        snprintf(of->id, sizeof of->id, "ses_%012llxStub%08d", (long long)now_ms(), count++);
        strcpy(of->directory, directory);
        strcpy(of->title, "\"New session - 2026-01-01T00:00:00.000Z\"");
        strcpy(of->metadata, "{}");
        member(body, "\"title\":", of->title, sizeof of->title);
        member(body, "\"metadata\":", of->metadata, sizeof of->metadata);
        of->created = of->updated = now_ms();
        tell("session.created", of);
        return render(of, *answer, *room);
    }
    if (path[8] != '/') {
        length = snprintf(*answer, *room, "[");
        for (int i = count - 1; i >= 0; i--) {
            if (*room - (size_t)length < 8192)
                *answer = need(realloc(*answer, *room *= 2));
            if (!sessions[i]->deleted && !strcmp(sessions[i]->directory, directory)) {
                if (length > 1)
                    (*answer)[length++] = ',';
                length += render(sessions[i], *answer + length, *room - (size_t)length);
            }
        }
        return length + snprintf(*answer + length, *room - (size_t)length, "]");
    }
    if (!(of = find(path)))
        return -1;
    if (strstr(path, "/message"))
        return snprintf(*answer, *room, "[]");
    if (!strcmp(method, "DELETE")) {
        of->deleted = 1;
        tell("session.deleted", of);
        return snprintf(*answer, *room, "true");
    }
    if (!strcmp(method, "PATCH")) {
        member(body, "\"title\":", of->title, sizeof of->title);
        of->updated = now_ms();
        tell("session.updated", of);
    }
    return render(of, *answer, *room);
}

static void *serve(void *socket)
{
    static const char hello[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: "
                                "{\"type\":\"server.connected\",\"properties\":{}}\n\n";
    int fd = (int)(intptr_t)socket, one = 1;
    size_t kept = 0, room = 65536;
    char *request = need(malloc(REQUEST)), *answer = need(malloc(room)), *end, method[16], path[4096];
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    for (;;) {
        ssize_t got = recv(fd, request + kept, REQUEST - 1 - kept, 0);
        if (got <= 0)
            break;
        request[kept += (size_t)got] = 0;
        if (!(end = strstr(request, "\r\n\r\n")))
            continue;
        char *length_at = strcasestr(request, "\r\ncontent-length:");
        size_t body = length_at && length_at < end ? (size_t)atol(length_at + 17) : 0,
               whole = (size_t)(end + 4 - request) + body;
        if (kept < whole)
            continue;
        if (sscanf(request, "%15s %4095s", method, path) != 2)
            break;
        pthread_mutex_lock(&lock);
        if (!strncmp(path, "/event", 6) && listener_count < LISTENERS) {
            write_all(fd, hello, sizeof hello - 1);
            listeners[listener_count].fd = fd;
            directory_of(path, listeners[listener_count++].directory, sizeof listeners->directory);
            pthread_mutex_unlock(&lock);
            break; /* the connection stays: until the program ends */
        }
        int length = answer_to(method, path, end + 4, &answer, &room);
        pthread_mutex_unlock(&lock);
        char head[256];
        int head_length = snprintf(
            head, sizeof head, "HTTP/1.1 %s\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n",
            length < 0 ? "404 Not Found" : "200 OK", closing ? "Connection: close\r\n" : "", length < 0 ? 2 : length);
        if (length < 0)
            length = snprintf(answer, room, "{}");
        if ((size_t)(head_length + length) < room) { /* in one segment, if it is a small one */
            memmove(answer + head_length, answer, (size_t)length);
            memcpy(answer, head, (size_t)head_length);
            write_all(fd, answer, (size_t)(head_length + length));
        } else {
            write_all(fd, head, (size_t)head_length);
            write_all(fd, answer, (size_t)length);
        }
        if (closing) {
            close(fd);
            break;
        }
        memmove(request, request + whole, kept -= whole);
    }
    free(request);
    free(answer);
    return NULL;
}

static void *accepting(void *socket)
{
    for (;;) {
        pthread_t thread;
        int fd = accept((int)(intptr_t)socket, NULL, NULL);
        if (fd < 0 || pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd))
            die("stub", "cannot accept");
        pthread_detach(thread);
    }
}

int main(int argument_count, char **argument)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    pthread_t thread;
    char line[16];
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    closing = argument_count > 1 && !strcmp(argument[1], "close");
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 64) ||
        getsockname(fd, (struct sockaddr *)&at, &size))
        die("stub", "cannot listen");
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    if (pthread_create(&thread, NULL, accepting, (void *)(intptr_t)fd))
        die("stub", "no thread");
    while (fgets(line, sizeof line, stdin))
        ;
    return 0;
}
