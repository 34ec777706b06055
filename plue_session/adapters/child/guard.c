/*
 * The guard: runs one command and sees that nothing of it outlives the host.
 *
 *     plue-session-guard [detach] [share FOLDER NAME] LIFELINE FIRST SECOND COMMAND [ARGUMENT...]
 *
 * LIFELINE is a descriptor: one end of a socket pair whose other end only the host has. When it closes - the host
 * stopped, crashed or was killed - the command's process group gets TERM, after FIRST milliseconds TERM again (OpenCode
 * swallows the first one while it installs packages), SECOND milliseconds later KILL. The same follows when the command
 * ends by itself and leaves processes behind.
 *
 * With `share` others may join by a socket in FOLDER (users.h): each connection is a lifeline, and the last one to
 * close ends the command. The host passes on what others need to know of it, with a note; should it go before, the
 * command ends. If the command has a guard already, this one says "busy" and exits.
 *
 * Why a process of its own: PR_SET_PDEATHSIG follows the thread that spawned, not the process, and misses
 * grandchildren; nothing in the host can run after SIGKILL. The guard leaves the host's session, so that neither the
 * terminal nor a kill of the host's group reaches it. A host that waits for all of its children must not wait for this
 * one: it is started so that it is none (capi/children.c), or told to `detach`, and forks once more. As subreaper it
 * inherits what the command's children leave behind, also those that made groups of their own.
 *
 * It tells its users, one line each: "started PID", "failed ERRNO" (the command cannot be run), "note TEXT", "exited
 * CODE" or "killed SIGNAL", and "gone" when no process is left; then it exits. An end without "gone": the guard itself
 * was killed. They tell it, one line each: "note TEXT"; "end"; "leave", answered by "left" if there are others, else by
 * the end.
 *
 * Standard streams are the command's; of a shared one they come through the guard, which goes on reading when the host
 * has left. Signals are all unblocked and at their defaults, whatever the host did with its own.
 */
#define _GNU_SOURCE
#include "users.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

static int out[2] = {-1, -1}, err[2] = {-1, -1}; /* the command's streams, if they come through here */

static void on_child(int signal)
{
    (void)signal; /* only there to end ppoll */
}

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
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
static pid_t start(char **words)
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
        prctl(PR_SET_PDEATHSIG,
              SIGKILL); /* should the guard itself be killed: it has one thread, so this is reliable here */
        if (getppid() != guard)
            _exit(127);
        close(report[0]);
        if (door >= 0) {
            dup2(out[1], 1);
            dup2(err[1], 2);
        }
        execvp(words[0], words);
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

/* Reap what has ended. Returns whether anything of the command may be left. */
static int reap(int *running)
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

/* Pass on what the command has printed, to a host that may be gone or slow. Returns whether there may be more now. */
static int relay(int *from, int to)
{
    char data[65536];
    ssize_t size = *from < 0 ? 0 : read(*from, data, sizeof data);
    if (size > 0)
        (void)!write(to, data, (size_t)size);
    if (size == 0 && *from >= 0) {
        close(*from);
        *from = -1;
    }
    return size > 0;
}

/* Have the command's streams come through here. */
static int open_streams(void)
{
    if (pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC))
        return -1;
    int ours[] = {out[0], err[0], 1, 2};
    for (int i = 0; i < 4; i++)
        fcntl(ours[i], F_SETFL, O_NONBLOCK);
    return 0;
}

static int usage(void)
{
    fprintf(stderr, "plue-session-guard is run by libplue_session: [detach] [share FOLDER NAME] LIFELINE FIRST SECOND "
                    "COMMAND [ARGUMENT...]\n");
    return 2;
}

int main(int count, char **words)
{
    static const int signals[] = {SIGTERM, SIGTERM, SIGKILL};
    static struct pollfd ready[USERS + 3];
    int detach = count > 1 && !strcmp(words[1], "detach");
    count -= detach;
    words += detach;
    int shared = count > 3 && !strcmp(words[1], "share");
    char **place = words + 2;
    count -= 3 * shared;
    words += 3 * shared;
    if (count < 5)
        return usage();
    int lifeline = atoi(words[1]), running = 1, alone = 0, step = 0;
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
    sigprocmask(SIG_BLOCK, &child, &unblocked); /* arrives inside ppoll only: none is missed */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    add_user(LIFELINE);
    if (shared && share(place[0], place[1])) {
        tell("busy", -1);
        return 1;
    }
    if (door >= 0 && open_streams())
        clear();
    command = start(words + 4);
    if (command < 0) {
        clear();
        tell("failed", -command);
        tell("gone", -1);
        return 1;
    }
    tell("started", command);
    if (door >= 0)
        make_room();
    int null = open("/dev/null", O_RDWR), relayed = door >= 0;
    for (int stream = 0; stream < (relayed ? 1 : 3); stream++) /* the host must see the end of the command's streams */
        dup2(null, stream);
    if (null > 2)
        close(null);
    if (relayed) {
        close(out[1]);
        close(err[1]);
    }
    (void)!chdir("/");

    while (reap(&running)) {
        if (!running && !alone) {
            alone = 1;
            due = now(); /* end what it left */
        }
        if (due >= 0 && now() >= due) {
            shut();
            kill(-command, signals[step]);
            if (!running)
                signal_children(signals[step]);
            due = now() + delays[step];
            if (step < 2)
                step++;
            else
                signal_children(SIGKILL); /* again and again: the dying may still leave children */
        }
        int heard = user_count, ends = 0;
        for (int i = 0; i < heard; i++)
            ready[i] = (struct pollfd){users[i].fd, POLLIN, 0};
        int others[] = {door, out[0], err[0]};
        for (int i = 0; i < 3; i++)
            ready[heard + i] = (struct pollfd){others[i], POLLIN, 0}; /* -1 is passed over */
        long long left = due < 0 ? 0 : due > now() ? due - now() : 0;
        struct timespec pause = {left / 1000, left % 1000 * 1000000};
        if (ppoll(ready, (nfds_t)heard + 3, due < 0 ? NULL : &pause, &unblocked) <= 0)
            continue;
        if (ready[heard].revents)
            let_in();
        if (ready[heard + 1].revents)
            relay(&out[0], 1);
        if (ready[heard + 2].revents)
            relay(&err[0], 2);
        for (int i = heard - 1; i >= 0; i--) { /* from the end: one that goes is replaced by the last, heard already */
            int gone = 0;
            if (ready[i].revents)
                ends |= hear(i, &gone);
        }
        if (ends && due < 0)
            due = now();
    }
    while (relay(&out[0], 1) || relay(&err[0], 2))
        ;
    clear();
    tell("gone", -1);
    return 0;
}
