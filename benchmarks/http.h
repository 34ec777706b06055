/*
 * HTTP as a C program does it: one libcurl easy handle, which keeps its connection, and the whole body read into
 * memory.
 *
 * libcurl's headers are not asked for: what is needed of them stands here, and the library is opened by name.
 */
#ifndef HTTP_H
#define HTTP_H

#include <dlfcn.h>

#include "bench.h"

/* From curl/curl.h, whose numbers never change. */
enum {
    CURLOPT_FORBID_REUSE = 75,
    CURLOPT_FRESH_CONNECT = 74,
    CURLOPT_HTTPGET = 80,
    CURLOPT_NOSIGNAL = 99,
    CURLOPT_POSTFIELDSIZE = 60,
    CURLOPT_WRITEDATA = 10001,
    CURLOPT_URL = 10002,
    CURLOPT_POSTFIELDS = 10015,
    CURLOPT_HTTPHEADER = 10023,
    CURLOPT_CUSTOMREQUEST = 10036,
    CURLOPT_WRITEFUNCTION = 20011,
    CURLINFO_RESPONSE_CODE = 0x200002,
    CURL_GLOBAL_DEFAULT = 3
};

static int (*curl_global_init)(long);
static void *(*curl_easy_init)(void);
static int (*curl_easy_setopt)(void *, int, ...);
static int (*curl_easy_perform)(void *);
static int (*curl_easy_getinfo)(void *, int, ...);
static const char *(*curl_easy_strerror)(int);
static void *(*curl_slist_append)(void *, const char *);

/* Where requests go and what they carry. */
static const char *server_url, *server_authorization;

static void open_curl(const char *library, const char *url, const char *authorization)
{
    void *curl = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!curl)
        die(library, dlerror());
    *(void **)&curl_global_init = dlsym(curl, "curl_global_init");
    *(void **)&curl_easy_init = dlsym(curl, "curl_easy_init");
    *(void **)&curl_easy_setopt = dlsym(curl, "curl_easy_setopt");
    *(void **)&curl_easy_perform = dlsym(curl, "curl_easy_perform");
    *(void **)&curl_easy_getinfo = dlsym(curl, "curl_easy_getinfo");
    *(void **)&curl_easy_strerror = dlsym(curl, "curl_easy_strerror");
    *(void **)&curl_slist_append = dlsym(curl, "curl_slist_append");
    if (!curl_easy_strerror || !curl_slist_append || curl_global_init(CURL_GLOBAL_DEFAULT))
        die(library, "is not libcurl");
    server_url = url;
    server_authorization = authorization;
}

/* One connection. `body` is the last answer's, with a NUL behind it. */
typedef struct http {
    void *easy, *plain, *with_body;
    char *body;
    size_t length, room;
} http;

static size_t keep_body(char *data, size_t size, size_t count, void *to)
{
    http *of = to;
    size *= count;
    if (of->length + size + 1 > of->room) {
        of->room = (of->length + size + 1) * 2;
        of->body = need(realloc(of->body, of->room));
    }
    memcpy(of->body + of->length, data, size);
    of->length += size;
    of->body[of->length] = 0;
    return size;
}

static http *connect_http(void)
{
    char authorization[1024];
    http *made = need(calloc(1, sizeof *made));
    made->body = need(calloc(1, made->room = 4096));
    snprintf(authorization, sizeof authorization, "Authorization: %s", server_authorization);
    made->easy = need(curl_easy_init());
    made->plain = need(curl_slist_append(curl_slist_append(NULL, "Accept: application/json"), authorization));
    made->with_body = need(
        curl_slist_append(curl_slist_append(curl_slist_append(NULL, "Accept: application/json"), authorization),
                          "Content-Type: application/json"));
    curl_easy_setopt(made->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(made->easy, CURLOPT_WRITEFUNCTION, keep_body);
    curl_easy_setopt(made->easy, CURLOPT_WRITEDATA, made);
    return made;
}

/* Have each request make a connection of its own, or not. */
__attribute__((unused)) static void connect_anew(http *of, int each_time)
{
    curl_easy_setopt(of->easy, CURLOPT_FRESH_CONNECT, (long)each_time);
    curl_easy_setopt(of->easy, CURLOPT_FORBID_REUSE, (long)each_time);
}

/* Send, read the whole answer into `body`; anything but 2xx ends the program. `body` is NULL or JSON. */
__attribute__((unused)) static void ask(http *of, const char *method, const char *path, const char *directory,
                                        const char *body)
{
    char url[8192];
    long status = 0;
    of->length = 0;
    of->body[0] = 0;
    snprintf(url, sizeof url, "%s%s%cdirectory=%s", server_url, path, strchr(path, '?') ? '&' : '?', directory);
    curl_easy_setopt(of->easy, CURLOPT_URL, url);
    if (body || !strcmp(method, "POST")) {
        curl_easy_setopt(of->easy, CURLOPT_POSTFIELDS, body ? body : "");
        curl_easy_setopt(of->easy, CURLOPT_POSTFIELDSIZE, body ? (long)strlen(body) : 0L);
    } else
        curl_easy_setopt(of->easy, CURLOPT_HTTPGET, 1L);
    curl_easy_setopt(of->easy, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(of->easy, CURLOPT_HTTPHEADER, body ? of->with_body : of->plain);
    int code = curl_easy_perform(of->easy);
    if (code)
        die(url, curl_easy_strerror(code));
    curl_easy_getinfo(of->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status / 100 != 2)
        die(url, of->body);
}

/* Copy the id of the session in the last answer. */
__attribute__((unused)) static void session_id(http *of, char id[64])
{
    char *at = strstr(of->body, "\"id\":\"ses_");
    if (!at || sscanf(at + 6, "%63[^\"]", id) != 1)
        die("an answer without a session", of->body);
}

#endif
