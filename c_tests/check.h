/* What the C tests have in common: checks that say what failed, and a library started in a folder of the test's. */
#ifndef CHECK_H
#define CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "plue_session.h"

#define CHECK(expression) ((expression) ? (void)0 : check_failed(__FILE__, __LINE__, #expression))
/* `expression` says that the call failed as it should; then its error must be this one. */
#define CHECK_ERROR(expression, code)                                                                                  \
    do {                                                                                                               \
        CHECK(expression);                                                                                             \
        if (plue_get_last_error_code() != (code))                                                                      \
            check_failed(__FILE__, __LINE__, #expression " with " #code);                                              \
    } while (0)
#define CHECK_SAYS(part) CHECK(strstr(plue_get_last_error(), part) != NULL)
#define SAYS(json, part) (strstr(json, part) != NULL)

static inline void check_failed(const char *file, int line, const char *expression)
{
    fprintf(stderr, "%s:%d: %s\n  last error %d: %s\n", file, line, expression, plue_get_last_error_code(),
            plue_get_last_error());
    fflush(NULL);
    _exit(1);
}

/* The runner gives each program its own folder, and a slow tool (valgrind, TSan) a part of the work: CHECK_PART. */
static inline int part(int count)
{
    const char *percent = getenv("CHECK_PART");
    int some = percent ? (int)((long)count * atol(percent) / 100) : count;
    return some > 0 ? some : 1;
}

static inline const char *data_dir(void)
{
    const char *folder = getenv("CHECK_DIR");
    return folder ? folder : "/nonexistent: set CHECK_DIR";
}

/* `more` is the rest of the configuration, such as ",\"store\":\"memory\"". */
static inline int try_start(const char *more)
{
    char config[4096];
    snprintf(config, sizeof config, "{\"dataDir\":\"%s\"%s}", data_dir(), more);
    return plue_init(config);
}

static inline void start(const char *more)
{
    CHECK(try_start(more) == 0);
}

/* What a function returned, freed at once; for use inside one expression. A thread's last eight are valid. */
typedef struct {
    char *of[8];
    unsigned next;
} kept_texts;

static pthread_key_t kept_key;
static pthread_once_t kept_once = PTHREAD_ONCE_INIT;

static inline void forget_texts(void *kept)
{
    for (int i = 0; i < 8; i++)
        free(((kept_texts *)kept)->of[i]);
    free(kept);
}

static inline void make_kept_key(void)
{
    CHECK(pthread_key_create(&kept_key, forget_texts) == 0);
}

static inline const char *text(char *owned)
{
    pthread_once(&kept_once, make_kept_key);
    kept_texts *kept = pthread_getspecific(kept_key);
    if (!kept) {
        kept = calloc(1, sizeof *kept);
        CHECK(kept && pthread_setspecific(kept_key, kept) == 0);
    }
    char **place = &kept->of[kept->next++ % 8];
    free(*place);
    *place = owned ? strdup(owned) : NULL;
    plue_free(owned);
    return *place ? *place : "(null)";
}

static inline int entries(const char *folder)
{
    DIR *opened = opendir(folder);
    int count = -1; /* the one that reads the folder itself does not count */
    CHECK(opened != NULL);
    for (struct dirent *each; (each = readdir(opened));)
        count += each->d_name[0] != '.';
    closedir(opened);
    return count;
}

static inline int descriptors(void)
{
    return entries("/proc/self/fd");
}

static inline int threads(void)
{
    return entries("/proc/self/task") + 1;
}

/* How many threads there were before the library had any: ours, and a sanitizer's. */
static int own_threads;

__attribute__((constructor)) static void count_own_threads(void)
{
    own_threads = threads();
#ifdef __SANITIZE_THREAD__
    own_threads++; /* which comes with the first thread that is made */
#endif
}

static inline long resident_kib(void)
{
    long size, resident;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file && fscanf(file, "%ld %ld", &size, &resident) == 2);
    fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static inline double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static inline void pause_ms(int ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&time, NULL);
}

/* For what ends soon after an answer, such as a library thread on its way out: look again for up to five seconds. What
 * was true once is not asked again, for it may be true for an instant only. */
#define EVENTUALLY(condition)                                                                                          \
    do {                                                                                                               \
        double until_ = seconds() + 5;                                                                                 \
        int holds_ = 0;                                                                                                \
        while (!(holds_ = !!(condition)) && seconds() < until_)                                                        \
            pause_ms(1);                                                                                               \
        if (!holds_)                                                                                                   \
            CHECK(condition);                                                                                          \
    } while (0)

static inline pthread_t run(void *(*function)(void *), void *argument)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, function, argument) == 0);
    return thread;
}

static inline void *end(pthread_t thread)
{
    void *result;
    CHECK(pthread_join(thread, &result) == 0);
    return result;
}

#endif
