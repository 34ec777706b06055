/*
 * The library is started, and used first, by a thread that has real-time priority, or runs only when nobody else wants
 * to, on one processor, with a low priority, upward rounding and a name of its own: none of that is its threads'.
 * argv[1]: fifo or idle.
 */
#include "everything.h"

#include <dirent.h>
#include <fenv.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static cpu_set_t all;
static atomic_int looked;

static void name_of(int task, char room[64])
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/comm", task);
    FILE *file = fopen(path, "r");
    CHECK(file && fgets(room, 64, file));
    room[strcspn(room, "\n")] = 0;
    fclose(file);
}

static int look(int own[2])
{
    DIR *tasks = opendir("/proc/self/task");
    int found = 0;
    for (struct dirent *each; (each = readdir(tasks));) {
        int task = atoi(each->d_name);
        char name[64];
        cpu_set_t processors;
        if (!task || task == own[0] || task == own[1])
            continue;
        name_of(task, name);
        CHECK(!strncmp(name, "plue-", 5) || (fprintf(stderr, "a thread is called %s\n", name), 0));
        CHECK(sched_getscheduler(task) == SCHED_OTHER);
        CHECK(sched_getaffinity(task, sizeof processors, &processors) == 0 && CPU_EQUAL(&processors, &all));
        CHECK(getpriority(PRIO_PROCESS, (id_t)task) == 0);
        found++;
    }
    closedir(tasks);
    return found;
}

static void on_rounding(uint8_t type, const char *event, void *data)
{
    (void)type;
    (void)event;
    (void)data;
    CHECK(fegetround() == FE_TONEAREST);
    atomic_fetch_add(&looked, 1);
}

static void *be_odd(void *policy)
{
    int own[2] = {(int)getpid(), (int)syscall(SYS_gettid)};
    cpu_set_t one;
    struct sched_param high = {.sched_priority = 10}, none = {0};
    CHECK(pthread_setname_np(pthread_self(), "odd") == 0 && fesetround(FE_UPWARD) == 0);
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
        if (CPU_ISSET(i, &all))
            CPU_SET(i, &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0 && setpriority(PRIO_PROCESS, (id_t)own[1], 7) == 0);
    if (!strcmp(policy, "fifo"))
        CHECK(sched_setscheduler(0, SCHED_FIFO, &high) == 0);
    else
        CHECK(sched_setscheduler(0, SCHED_IDLE, &none) == 0);
    start("");
    CHECK(plue_event_subscribe(on_rounding, NULL) && plue_session_create_with("{\"metadata\":{\"third\":0.1}}"));
    CHECK(SAYS(text(plue_session_list()), "0.1}"));
    CHECK(look(own) >= 5); /* Python's, the writer, two readers, the watcher, the subscriber's */
    EVENTUALLY(atomic_load(&looked));
    plue_shutdown();
    CHECK(fegetround() == FE_UPWARD);
    return NULL;
}

int main(int count, char **arguments)
{
    CHECK(count == 2 && sched_getaffinity(0, sizeof all, &all) == 0);
    end(run(be_odd, arguments[1]));
    return 0;
}
