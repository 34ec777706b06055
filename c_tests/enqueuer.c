/*
 * Puts inputs into the queue of the session with the key "queue" until it is killed, from argv[1] threads, and prints
 * each input's id once the call has returned, in single writes: "<thread> <number> <id>". Begins with what is in the
 * queue: "* <number of inputs> <the queue>".
 */
#include "check.h"

static void *work(void *argument)
{
    long thread = (long)argument;
    plue_session_t session = plue_session_open("queue");
    CHECK(session);
    for (int i = 0;; i++) {
        char input[128], line[160], *id;
        snprintf(input, sizeof input, "{\"text\":\"%d.%ld.%d\",\"id\":\"%d.%ld.%d\"}", (int)getpid(), thread, i,
                 (int)getpid(), thread, i);
        char *record = plue_session_enqueue(session, input);
        CHECK(record && (id = plue_json_text(record, "/inputId")));
        int length = snprintf(line, sizeof line, "%ld %d.%ld.%d %s\n", thread, (int)getpid(), thread, i, id);
        CHECK(write(1, line, (size_t)length) == length);
        plue_free(id);
        plue_free(record);
    }
    return NULL;
}

int main(int count, char **arguments)
{
    pthread_t others[16];
    int threads_ = count > 1 ? atoi(arguments[1]) : 1;
    CHECK(threads_ <= 16);
    start("");
    plue_session_t session = plue_session_get_or_create("queue");
    char *queue = plue_session_inputs(session);
    CHECK(queue && printf("* %d %s\n", plue_json_count(queue, ""), queue) > 0 && fflush(stdout) == 0);
    for (long i = 0; i < threads_; i++)
        others[i] = run(work, (void *)i);
    for (int i = 0; i < threads_; i++)
        end(others[i]);
    return 0;
}
