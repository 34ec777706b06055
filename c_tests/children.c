/* A host that inherits what loses its parent (a subreaper), and waits for all of its children: it meets none of ours,
 * whatever it does beside. */
#include "check.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static volatile sig_atomic_t told;
static atomic_int ending;

static void on_child(int number)
{
    (void)number;
    told++;
}

static void *busy(void *unused)
{
    for (unsigned step = 0; !atomic_load(&ending); step++) {
        int descriptors[2];
        CHECK(pipe(descriptors) == 0); /* one that a keeper held open would be in the way */
        CHECK(write(descriptors[1], "x", 1) == 1);
        close(descriptors[1]);
        char *memory = calloc(1, 100 + step % 100000), byte;
        CHECK(read(descriptors[0], &byte, 1) == 1 && memory);
        free(memory);
        errno = ENOTTY;
        sched_yield();
        CHECK(errno == ENOTTY);
        close(descriptors[0]);
    }
    return unused;
}

int main(int count, char **words)
{
    char listening[1024], failing[1024];
    CHECK(count == 3);
    snprintf(listening, sizeof listening,
             ",\"backend\":{\"kind\":\"opencode\",\"spawn\":{\"command\":[\"sh\",\"-c\",\"echo opencode server "
             "listening on %s; exec sleep 600\","
             "\"sh\"],\"directory\":\"%s\"}}",
             words[1], words[2]);
    snprintf(
        failing, sizeof failing,
        ",\"backend\":{\"kind\":\"opencode\",\"spawn\":{\"command\":[\"/nonexistent/program\"],\"directory\":\"%s\"}}",
        words[2]);
    signal(SIGCHLD, on_child);
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    pthread_t threads[2];
    for (int each = 0; each < 2; each++)
        CHECK(pthread_create(&threads[each], NULL, busy, NULL) == 0);
    for (int step = 0; step < part(8); step++) {
        CHECK_ERROR(try_start(failing) == -1, PLUE_ERROR_IO);
        CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
        start(listening);
        CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
        pid_t own = fork(); /* a child of the host's own is as ever */
        if (own == 0)
            _exit(7);
        int status = 0;
        CHECK(waitpid(-1, &status, 0) == own && WIFEXITED(status) && WEXITSTATUS(status) == 7);
        plue_shutdown();
        CHECK(waitpid(-1, NULL, WNOHANG | __WALL) == -1 && errno == ECHILD);
        CHECK(told == step + 1);
    }
    atomic_store(&ending, 1);
    for (int each = 0; each < 2; each++)
        pthread_join(threads[each], NULL);
    return 0;
}
