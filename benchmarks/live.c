/*
 * Row 8: how soon a change is seen in another process, and what a process costs that does nothing.
 *
 *     live seen DATA_DIR CHANGES     update_title in one process until peek_info in another shows it
 *     live bare FOLDER CHANGES       the limit: append and fdatasync in one process until inotify wakes another
 *     live idle DATA_DIR SECONDS     switches and processor time of an initialized process that sleeps
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "bench.h"
#include "plue_session.h"

enum { ID_KNOWN = 1, WATCHING };
#define LOST_NS INT64_C(1000000000)

static struct shared {
    atomic_int ready, change; /* the change that is under way */
    _Atomic(int64_t) begun, ended, seen;
    char id[64];
} *shared;

static char config[4096];

static void start(void)
{
    if (plue_init(config))
        die("plue_init", plue_get_last_error());
}

/* The other process: looks every 50 us whether the change is there. */
static void watch_ours(void)
{
    start();
    plue_session_t session = plue_session_open(shared->id);
    if (!session)
        die("plue_session_open", plue_get_last_error());
    atomic_store(&shared->ready, WATCHING);
    for (;;) {
        int wanted = atomic_load(&shared->change);
        if (wanted > 0 && !atomic_load(&shared->seen)) {
            char title[64], *info = plue_session_peek_info(session);
            snprintf(title, sizeof title, "\"change %d\"", wanted);
            if (!info)
                die("plue_session_peek_info", plue_get_last_error());
            if (strstr(info, title))
                atomic_store(&shared->seen, now_ns());
            plue_free_json(info);
        }
        sleep_ns(50000);
    }
}

static void watch_bare(const char *folder)
{
    char buffer[4096];
    int changes = inotify_init1(IN_CLOEXEC);
    if (changes < 0 || inotify_add_watch(changes, folder, IN_MODIFY) < 0)
        die("inotify", "cannot watch");
    atomic_store(&shared->ready, WATCHING);
    while (read(changes, buffer, sizeof buffer) > 0)
        if (!atomic_load(&shared->seen))
            atomic_store(&shared->seen, now_ns());
}

static void seen(const char *folder, int changes, int bare)
{
    samples from_call = make_samples((size_t)changes), from_return = make_samples((size_t)changes);
    plue_session_t session = NULL;
    int file = -1, lost = 0;
    pid_t other = fork(); /* before the library starts: it does not survive a fork */
    if (!other) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (!bare && atomic_load(&shared->ready) != ID_KNOWN)
            sleep_ns(1000000);
        if (bare)
            watch_bare(folder);
        else
            watch_ours();
        _exit(0);
    }
    if (bare) {
        char path[4096];
        snprintf(path, sizeof path, "%s/bare", folder);
        file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    } else {
        start();
        session = plue_session_create(NULL);
        char *id = session ? plue_session_get_id(session) : NULL;
        if (!id)
            die("plue_session_create", plue_get_last_error());
        strncpy(shared->id, id, sizeof shared->id - 1);
        plue_free_string(id);
        atomic_store(&shared->ready, ID_KNOWN);
    }
    while (atomic_load(&shared->ready) != WATCHING)
        sleep_ns(1000000);
    for (int i = 1; i <= changes; i++) {
        char title[64];
        sleep_ns(15000000 + rand() % 20000000); /* out of step with whatever has a rhythm of its own */
        snprintf(title, sizeof title, "change %d", i);
        atomic_store(&shared->change, i);
        atomic_store(&shared->seen, 0); /* from here on the watcher looks, for this change */
        int64_t begun = now_ns();
        if (bare ? write(file, title, sizeof title) < 0 || fdatasync(file) : plue_session_update_title(session, title))
            die("change", bare ? "cannot write" : plue_get_last_error());
        int64_t ended = now_ns(), found;
        while (!(found = atomic_load(&shared->seen))) {
            if (now_ns() - ended > LOST_NS) {
                lost++;
                found = ended + LOST_NS;
                break;
            }
            sleep_ns(50000);
        }
        add_sample(&from_call, (double)(found - begun) / 1e6);
        add_sample(&from_return, (double)(found > ended ? found - ended : 0) / 1e6);
    }
    kill(other, SIGKILL);
    waitpid(other, NULL, 0);
    printf("{");
    print_latency("from_call_ms", &from_call);
    printf(",");
    print_latency("from_return_ms", &from_return);
    printf(",\"lost\":%d}\n", lost);
    if (!bare)
        plue_shutdown();
}

/* The switches of all threads of this process: those that a thread asked for by waiting. */
static long switches(void)
{
    char path[320], line[256];
    long sum = 0, number;
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *each; tasks && (each = readdir(tasks));) {
        snprintf(path, sizeof path, "/proc/self/task/%s/status", each->d_name);
        FILE *file = fopen(path, "r");
        while (file && fgets(line, sizeof line, file))
            if (sscanf(line, "voluntary_ctxt_switches: %ld", &number) == 1)
                sum += number;
        if (file)
            fclose(file);
    }
    if (tasks)
        closedir(tasks);
    return sum;
}

static double processor_ms(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000 +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1000;
}

static void nothing(uint8_t type, const char *json, void *data)
{
    (void)type, (void)json, (void)data;
}

static void idle(double seconds)
{
    start();
    plue_session_t session = plue_session_create(NULL);
    if (!session || !plue_event_subscribe(nothing, NULL))
        die("plue_session_create, plue_event_subscribe", plue_get_last_error());
    sleep_ns(500000000); /* what follows the first change is over */
    long before = switches();
    double used = processor_ms();
    int64_t from = now_ns();
    sleep_ns((int64_t)(seconds * 1e9));
    double took = (double)(now_ns() - from) / 1e9;
    long after = switches() - 1; /* this thread's own sleep */
    printf("{\"switches_per_s\":%.4g,\"processor_ms_per_s\":%.4g,\"seconds\":%.3f}\n", (double)(after - before) / took,
           (processor_ms() - used) / took, took);
    plue_shutdown();
}

int main(int count, char **argument)
{
    if (count != 4)
        die("usage", "live seen DATA_DIR CHANGES | live bare FOLDER CHANGES | live idle DATA_DIR SECONDS");
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    snprintf(config, sizeof config, "{\"dataDir\":\"%s\"}", argument[2]);
    if (!strcmp(argument[1], "idle"))
        idle(atof(argument[3]));
    else
        seen(argument[2], atoi(argument[3]), !strcmp(argument[1], "bare"));
    return 0;
}
