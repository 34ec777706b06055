/*
 * Changes sessions until it is killed, from argv[1] threads, and prints each intention before the call and each
 * acknowledgement after it, in single writes. argv[2]: stop by itself after so many changes of each thread. A line is
 * "<i|a> <thread> <c|u|d> <key> <value>".
 */
#include "check.h"

static int changes;

static void line(char kind, long thread, char what, const char *key, int value)
{
    char text_[128];
    int length = snprintf(text_, sizeof text_, "%c %ld %c %s %d\n", kind, thread, what, key, value);
    CHECK(write(1, text_, (size_t)length) == length);
}

static void *work(void *argument)
{
    long thread = (long)argument;
    plue_session_t sessions[4] = {NULL};
    char keys[4][32], title[32];
    unsigned seed = (unsigned)thread * 7919u + (unsigned)getpid();
    int made = 0;
    for (int i = 0; i < changes || !changes; i++) {
        seed = seed * 1664525u + 1013904223u;
        unsigned place = (seed >> 8) % 4;
        if (!sessions[place]) {
            char options[64];
            snprintf(keys[place], sizeof keys[place], "k%d.%ld.%d", (int)getpid(), thread, made++);
            snprintf(options, sizeof options, "{\"key\":\"%s\",\"title\":\"0\"}", keys[place]);
            line('i', thread, 'c', keys[place], 0);
            sessions[place] = plue_session_create_with(options);
            CHECK(sessions[place]);
            line('a', thread, 'c', keys[place], 0);
        } else if ((seed >> 16) % 8 == 0) {
            line('i', thread, 'd', keys[place], 0);
            CHECK(plue_session_delete(sessions[place]) == 0);
            line('a', thread, 'd', keys[place], 0);
            plue_session_destroy(sessions[place]);
            sessions[place] = NULL;
        } else {
            snprintf(title, sizeof title, "%d", i);
            line('i', thread, 'u', keys[place], i);
            CHECK(plue_session_update_title(sessions[place], title) == 0);
            line('a', thread, 'u', keys[place], i);
        }
    }
    return NULL;
}

int main(int count, char **arguments)
{
    pthread_t others[16];
    int threads_ = count > 1 ? atoi(arguments[1]) : 1;
    changes = count > 2 ? atoi(arguments[2]) : 0;
    CHECK(threads_ <= 16);
    start("");
    line('a', 0, 's', "started", 0);
    for (long i = 0; i < threads_; i++)
        others[i] = run(work, (void *)i);
    for (int i = 0; i < threads_; i++)
        end(others[i]);
    return 0;
}
