/*
 * The guard: runs one command and sees that nothing of it outlives the host.
 *
 *     plue-session-guard [detach] LIFELINE FIRST SECOND COMMAND [ARGUMENT...]
 *
 * LIFELINE is a descriptor: one end of a socket pair whose other end only the host has. When it closes - the host
 * stopped, crashed or was killed - or when a byte comes, the command's process group gets TERM, after FIRST
 * milliseconds TERM again (OpenCode swallows the first one while it installs packages), SECOND milliseconds later KILL.
 * The same follows when the command ends by itself and leaves processes behind.
 *
 * Why a process of its own: PR_SET_PDEATHSIG follows the thread that spawned, not the process, and misses
 * grandchildren; nothing in the host can run after SIGKILL. The guard leaves the host's session, so that neither the
 * terminal nor a kill of the host's group reaches it. A host that waits for all of its children must not wait for this
 * one: it is started so that it is none (capi/children.c), or told to `detach`, and forks once more. As subreaper it
 * inherits what the command's children leave behind, also those that made groups of their own.
 *
 * It tells the host, one line each: "started PID", "failed ERRNO" (the command cannot be run), "exited CODE" or
 * "killed SIGNAL", and "gone" when no process is left; then it exits. An end without "gone": the guard itself was
 * killed.
 *
 * Standard streams are the command's. Signals are all unblocked and at their defaults, whatever the host did with its
 * own.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

enum { LIFELINE = 3 };

static void on_child(int signal)
{
    (void)signal; /* only there to end pselect */
}

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static void tell(const char *word, int number)
{
    char line[64];
    int length = number < 0 ? snprintf(line, sizeof line, "%s\n", word)
                            : snprintf(line, sizeof line, "%s %d\n", word, number);
    (void)!write(LIFELINE, line, (size_t)length); /* a host that is gone need not be told */
}

/* Give the command the defaults: what is ignored or blocked here would be there, too. */
static void reset_signals(void)
{
    sigset_t none;
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Start the command in a group of its own. Returns its pid, or -errno if it cannot be run. */
static pid_t start(char **command)
{
    int report[2], failure = 0;
    if (pipe(report))
        return -errno;
    fcntl(report[1], F_SETFD, FD_CLOEXEC);
    pid_t guard = getpid(), pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0) {
        setpgid(0, 0);
        reset_signals();
#ifdef __linux__
        prctl(PR_SET_PDEATHSIG,
              SIGKILL); /* should the guard itself be killed: it has one thread, so this is reliable here */
#endif
        if (getppid() != guard)
            _exit(127);
        close(report[0]);
        execvp(command[0], command);
        failure = errno;
        (void)!write(report[1], &failure, sizeof failure);
        _exit(127);
    }
    setpgid(pid, pid); /* here too: whoever is first */
    close(report[1]);
    ssize_t size;
    do
        size = read(report[0], &failure, sizeof failure);
    while (size < 0 && errno == EINTR);
    close(report[0]);
    if (size != sizeof failure)
        return pid;
    waitpid(pid, NULL, 0);
    return -failure;
}

#ifdef __linux__
/* Signal every child, also those inherited: they may have groups of their own. */
static void signal_children(int number)
{
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    while (processes && (entry = readdir(processes))) {
        char path[300], stat[512], *end;
        int parent = 0;
        if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
            continue;
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        int file = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t size = file < 0 ? -1 : read(file, stat, sizeof stat - 1);
        if (file >= 0)
            close(file);
        if (size <= 0)
            continue;
        stat[size] = 0;
        end = strrchr(stat, ')'); /* the name before it may hold anything */
        if (end && sscanf(end + 1, " %*c %d", &parent) == 1 && parent == getpid())
            kill(atoi(entry->d_name), number);
    }
    if (processes)
        closedir(processes);
}
#else
static void signal_children(int number)
{
    (void)number;
}
#endif

/* Reap what has ended. Returns whether anything of the command may be left. */
static int reap(pid_t command, int *running)
{
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid < 0 && errno != EINTR)
            return kill(-command, 0) == 0; /* no child is left; without a subreaper the group may be */
        if (pid == 0)
            return 1;
        if (pid == command) {
            *running = 0;
            if (WIFEXITED(status))
                tell("exited", WEXITSTATUS(status));
            else if (WIFSIGNALED(status))
                tell("killed", WTERMSIG(status));
        }
    }
}

int main(int count, char **words)
{
    static const int signals[] = {SIGTERM, SIGTERM, SIGKILL};
    int detach = count > 1 && !strcmp(words[1], "detach");
    count -= detach;
    words += detach;
    if (count < 5) {
        fprintf(stderr,
                "plue-session-guard is run by libplue_session: [detach] LIFELINE FIRST SECOND COMMAND [ARGUMENT...]\n");
        return 2;
    }
    int lifeline = atoi(words[1]), listening = 1, running = 1, alone = 0, step = 0;
    long long delays[] = {atoi(words[2]), atoi(words[3]), 20}, due = -1;
    if (lifeline != LIFELINE) {
        dup2(lifeline, LIFELINE);
        close(lifeline);
    }
    fcntl(LIFELINE, F_SETFD, FD_CLOEXEC);
    setsid();
    pid_t second = detach ? fork() : 0;
    if (second)
        _exit(second < 0 ? 1 : 0);
    reset_signals();
    signal(SIGPIPE, SIG_IGN);
    sigset_t child, unblocked;
    struct sigaction action = {.sa_handler = on_child};
    sigaction(SIGCHLD, &action, NULL);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, &unblocked); /* arrives inside pselect only: none is missed */
#ifdef __linux__
    prctl(PR_SET_CHILD_SUBREAPER, 1);
#endif
    pid_t command = start(words + 4);
    if (command < 0) {
        tell("failed", -command);
        tell("gone", -1);
        return 1;
    }
    tell("started", command);
    int null = open("/dev/null", O_RDWR);
    for (int stream = 0; stream < 3; stream++) /* the host must see the end of the command's streams when it ends */
        dup2(null, stream);
    if (null > 2)
        close(null);
    (void)!chdir("/");

    while (reap(command, &running)) {
        if (!running && !alone) {
            alone = 1;
            due = now(); /* end what it left */
        }
        if (due >= 0 && now() >= due) {
            kill(-command, signals[step]);
            if (!running)
                signal_children(signals[step]);
            due = now() + delays[step];
            if (step < 2)
                step++;
            else
                signal_children(SIGKILL); /* again and again: the dying may still leave children */
        }
        fd_set ready;
        FD_ZERO(&ready);
        if (listening)
            FD_SET(LIFELINE, &ready);
        long long left = due < 0 ? 0 : due > now() ? due - now() : 0;
        struct timespec pause = {left / 1000, left % 1000 * 1000000};
        if (pselect(LIFELINE + 1, &ready, NULL, NULL, due < 0 ? NULL : &pause, &unblocked) > 0) {
            char byte;
            ssize_t size = read(LIFELINE, &byte, 1);
            if (size == 0 || (size < 0 && errno != EINTR && errno != EAGAIN))
                listening = 0;
            if (size != -1 || !listening)
                due = due < 0 ? now() : due;
        }
    }
    tell("gone", -1);
    return 0;
}
