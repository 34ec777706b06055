/*
 * Two copies of the library in one process: argv[1] and argv[2] are their files, argv[3] says how they meet. One runs,
 * the other one says why not; what the first leaves, the second may take.
 */
#include "check.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <sys/socket.h>

typedef struct copy {
    int (*init)(const char *);
    void (*shutdown)(void);
    const char *(*error)(void);
    int (*code)(void);
    char config[1200];
    pthread_barrier_t *together;
    int result, number;
    char said[1500];
} copy;

static void load(copy *made, const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        fprintf(stderr, "%s\n", dlerror());
    CHECK(library);
    made->init = (int (*)(const char *))(uintptr_t)dlsym(library, "plue_init");
    made->shutdown = (void (*)(void))(uintptr_t)dlsym(library, "plue_shutdown");
    made->error = (const char *(*)(void))(uintptr_t)dlsym(library, "plue_get_last_error");
    made->code = (int (*)(void))(uintptr_t)dlsym(library, "plue_get_last_error_code");
    CHECK(made->init && made->shutdown && made->error && made->code);
}

static void *begin(void *argument)
{
    copy *mine = argument;
    if (mine->together)
        pthread_barrier_wait(mine->together);
    mine->result = mine->init(mine->config);
    mine->number = mine->code();
    snprintf(mine->said, sizeof mine->said, "%s", mine->error());
    return NULL;
}

static void is_refused(const copy *mine)
{
    if (mine->result != -1 || mine->number != PLUE_ERROR_RUNTIME || !strstr(mine->said, "loaded the library twice"))
        fprintf(stderr, "%d, %d: %s\n", mine->result, mine->number, mine->said);
    CHECK(mine->result == -1 && mine->number == PLUE_ERROR_RUNTIME && strstr(mine->said, "loaded the library twice"));
}

/* Before Python runs, and once it does. */
static void race(copy copies[2])
{
    for (int round = 0; round < 20; round++) {
        pthread_barrier_t together;
        pthread_t threads[2];
        CHECK(pthread_barrier_init(&together, NULL, 2) == 0);
        for (int i = 0; i < 2; i++) {
            copies[i].together = &together;
            CHECK(pthread_create(&threads[i], NULL, begin, &copies[i]) == 0);
        }
        for (int i = 0; i < 2; i++)
            CHECK(pthread_join(threads[i], NULL) == 0);
        int winner = copies[0].result ? 1 : 0;
        CHECK(copies[winner].result == 0);
        is_refused(&copies[!winner]);
        copies[winner].shutdown();
        pthread_barrier_destroy(&together);
    }
}

/* What has stopped is over when plue_shutdown() returns: the other one may start at once. */
static void alternate(copy copies[2])
{
    copies[0].together = copies[1].together = NULL;
    for (int round = 0; round < 400; round++) {
        begin(&copies[round % 2]);
        if (copies[round % 2].result)
            fprintf(stderr, "round %d: %s\n", round, copies[round % 2].said);
        CHECK(copies[round % 2].result == 0);
        copies[round % 2].shutdown();
    }
}

/* The first waits for a server that accepts and says nothing; meanwhile the second is refused, at once. */
static void mute(copy copies[2])
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof here;
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(server >= 0 && bind(server, (struct sockaddr *)&here, length) == 0 && listen(server, 8) == 0);
    CHECK(getsockname(server, (struct sockaddr *)&here, &length) == 0);
    snprintf(copies[0].config, sizeof copies[0].config,
             "{\"dataDir\":\"%s\",\"offline\":\"fail\",\"backend\":{\"kind\":\"opencode\","
             "\"url\":\"http://127.0.0.1:%d\",\"directory\":\"/\"}}",
             data_dir(), ntohs(here.sin_port));
    pthread_t waiting;
    copies[0].together = copies[1].together = NULL;
    CHECK(pthread_create(&waiting, NULL, begin, &copies[0]) == 0);
    int asked = accept4(server, NULL, NULL, SOCK_CLOEXEC); /* now it waits */
    CHECK(asked >= 0);
    begin(&copies[1]);
    is_refused(&copies[1]);
    CHECK(pthread_join(waiting, NULL) == 0 && copies[0].result == -1 && copies[0].number != PLUE_ERROR_RUNTIME);
    close(asked);
    begin(&copies[1]); /* it is over: nobody runs */
    CHECK(copies[1].result == 0);
    copies[1].shutdown();
}

int main(int count, char **arguments)
{
    static copy copies[2];
    CHECK(count == 4);
    for (int i = 0; i < 2; i++) {
        load(&copies[i], arguments[1 + i]);
        snprintf(copies[i].config, sizeof copies[i].config, "{\"dataDir\":\"%s\",\"store\":\"memory\"}", data_dir());
    }
    (!strcmp(arguments[3], "race") ? race : !strcmp(arguments[3], "alternate") ? alternate : mute)(copies);
    return 0;
}
