/*
 * A program of ours that the host never meets: its waitpid(-1) does not return it, and does not say that there is a
 * child.
 *
 * Linux passes over children that do not end with SIGCHLD, unless __WALL is asked for. But a program is one that does:
 * execve makes it so. So there is a keeper between the host and the program. It shares the host's memory, as the child
 * of a vfork does, and never calls execve. It has nothing of the host's open and takes no signal. It starts the program
 * and ends, which leaves that to the system's init. Where the host itself would inherit it, as process 1 or as a
 * subreaper, the keeper stays for as long as the program lives: it is the one that inherits. It ends with the host, and
 * does not keep its memory.
 *
 * The keeper runs beside the thread that has started it, or after its end: it calls the system directly, for the C
 * library's functions have something of their thread's in them, and be it errno. It has no memory of its own but what
 * is in `core_child`.
 */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__x86_64__) || defined(__aarch64__)
#define KEPT 1
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#if defined(__has_attribute) && __has_attribute(no_stack_protector)
#define BARE __attribute__((no_sanitize("address"), no_sanitize("thread"), no_stack_protector))
#else
#define BARE __attribute__((no_sanitize("address"), no_sanitize("thread")))
#endif

enum { STACK = 16 * 1024, STREAMS = 4 };
enum { AT_FOLDER = 1, AT_PROGRAM };

struct core_child {
    const char *program, *folder;
    char **arguments, **environment;
    int streams[STREAMS]; /* what are 0 to 3 there */
    int failure, stage;   /* errno, and what it is about */
    int told;             /* where to say that it runs, or does not */
    int stays;            /* the keeper does */
    pid_t host, keeper;
    struct pollfd awaited[2];
    char orphans[1024];
    _Alignas(16) char keepers[STACK], programs[STACK]; /* stacks */
};

#ifdef KEPT
#ifdef __GLIBC__
extern int __clone(int (*run)(void *), void *stack, int flags, void *argument,
                   ...); /* the name that sanitizers leave alone */
#else
#define __clone clone
#endif

static inline __attribute__((always_inline)) long ask(long number, long a, long b, long c, long d, long e)
{
    long result;
#ifdef __x86_64__
    register long fourth __asm__("r10") = d;
    register long fifth __asm__("r8") = e;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth)
                     : "rcx", "r11", "memory");
#else
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c,
                     x3 __asm__("x3") = d, x4 __asm__("x4") = e;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
    result = x0;
#endif
    return result;
}

/* Valgrind ends a process that makes another in this way. What asks it is, on a real processor, a way to do nothing. */
static int is_emulated(void)
{
    volatile unsigned long question[6] = {0x1001};
    unsigned long answer;
#ifdef __x86_64__
    __asm__ volatile("rolq $3, %%rdi; rolq $13, %%rdi; rolq $61, %%rdi; rolq $51, %%rdi; xchgq %%rbx, %%rbx"
                     : "=d"(answer)
                     : "a"(question), "0"(0L)
                     : "cc", "memory");
#else
    register unsigned long x3 __asm__("x3") = 0;
    register const volatile unsigned long *x4 __asm__("x4") = question;
    __asm__ volatile("ror x12, x12, #3; ror x12, x12, #13; ror x12, x12, #51; ror x12, x12, #61; orr x10, x10, x10"
                     : "+r"(x3)
                     : "r"(x4)
                     : "cc", "memory");
    answer = x3;
#endif
    return answer != 0;
}

BARE static int run_program(void *argument)
{
    core_child *child = argument;
    for (int stream = 0; stream < STREAMS; stream++)
        if (ask(SYS_dup3, child->streams[stream], stream, 0, 0, 0) < 0)
            ask(SYS_exit_group, 127, 0, 0, 0, 0);
    ask(SYS_close_range, STREAMS, ~0U, 0, 0, 0);
    child->stage = AT_FOLDER;
    long result = ask(SYS_chdir, (long)child->folder, 0, 0, 0, 0);
    if (!result) {
        child->stage = AT_PROGRAM;
        result = ask(SYS_execve, (long)child->program, (long)child->arguments, (long)child->environment, 0, 0);
    }
    child->failure = (int)-result;
    ask(SYS_exit_group, 127, 0, 0, 0, 0);
    return 0;
}

/* Kill what the keeper has inherited: the program was killed, and could not. Returns whether there was anything. */
BARE static int kill_orphans(core_child *child)
{
    int found = 0;
    long file = ask(SYS_openat, AT_FDCWD, (long)"/proc/thread-self/children", O_RDONLY | O_CLOEXEC, 0, 0);
    if (file < 0)
        return 0;
    long size = ask(SYS_read, file, (long)child->orphans, sizeof child->orphans, 0, 0), pid = 0;
    ask(SYS_close, file, 0, 0, 0, 0);
    for (long at = 0; at < size; at++) {
        if (child->orphans[at] >= '0' && child->orphans[at] <= '9') {
            pid = pid * 10 + child->orphans[at] - '0';
        } else if (pid) {
            found |= !ask(SYS_kill, pid, SIGKILL, 0, 0, 0);
            pid = 0;
        }
    }
    return found;
}

BARE static int keep(void *argument)
{
    core_child *child = argument;
    long pid, host;
    ask(SYS_setsid, 0, 0, 0, 0, 0);
    ask(SYS_prctl, PR_SET_NAME, (long)"plue-keeper", 0, 0, 0);
    if (child->stays) /* before there is a program that could leave something behind */
        ask(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    child->failure = EAGAIN;
    child->stage = AT_PROGRAM;
    pid = __clone(run_program, child->programs + STACK, CLONE_VM | CLONE_VFORK | SIGCHLD,
                  child); /* back once it runs, or has failed */
    if (pid > 0 && child->failure == EAGAIN)
        child->failure = 0;
    int stays = child->stays && pid > 0 && !child->failure;
    ask(SYS_write, child->told, (long)"", 1, 0, 0);
    /* From here on the thread that has started it may be gone. */
    if (!stays)
        return 0;
    ask(SYS_close_range, 0, ~0U, 0, 0, 0);
    ask(SYS_chdir, (long)"/", 0, 0, 0, 0);
    host = ask(SYS_pidfd_open, child->host, 0, 0, 0, 0);
    child->awaited[0].fd = (int)host;
    child->awaited[1].fd = (int)ask(SYS_pidfd_open, pid, 0, 0, 0, 0);
    child->awaited[0].events = child->awaited[1].events = POLLIN;
    if (host == -ESRCH)
        return 0;
    if (host >= 0 && child->awaited[1].fd >= 0)
        while (ask(SYS_ppoll, (long)child->awaited, 2, 0, 0, 0) == -EINTR)
            ;
    if (child->awaited[0].revents)
        return 0;
    ask(SYS_wait4, pid, 0, 0, 0, 0);
    for (;;) {
        while (ask(SYS_wait4, -1, 0, WNOHANG, 0, 0) > 0)
            ;
        if (!kill_orphans(child) || ask(SYS_wait4, -1, 0, 0, 0, 0) < 0)
            return 0;
    }
}

static void wait_for(pid_t keeper)
{
    while (waitpid(keeper, NULL, __WALL) < 0 && errno == EINTR)
        ;
}
#endif

/*
 * Start a program whose descriptors 0 to 3 are `streams`, which are above them, and which has no other. Its signals are
 * all blocked. Returns NULL when it failed, or when there is nothing to be ended: *failure is errno or 0, *stage what
 * it is about. ENOSYS: not on this system.
 */
core_child *core__child_start(const char *program, char **arguments, char **environment, const char *folder,
                              const int *streams, int *failure, int *stage)
{
    *stage = AT_PROGRAM;
#ifdef KEPT
    int report[2], subreaper = 0;
    uint64_t all = ~UINT64_C(0), before;
    char byte;
    if (is_emulated() || ask(SYS_close_range, ~0U, ~0U, 0, 0, 0)) {
        *failure = ENOSYS;
        return NULL;
    }
    if (pipe2(report, O_CLOEXEC)) {
        *failure = errno;
        return NULL;
    }
    core_child *child = mmap(NULL, sizeof *child, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (child == MAP_FAILED) {
        *failure = errno;
        close(report[0]);
        close(report[1]);
        return NULL;
    }
    prctl(PR_GET_CHILD_SUBREAPER, &subreaper);
    child->program = program;
    child->folder = folder;
    child->arguments = arguments;
    child->environment = environment;
    for (int stream = 0; stream < STREAMS; stream++)
        child->streams[stream] = streams[stream];
    child->told = report[1];
    child->host = getpid();
    child->stays = subreaper || child->host == 1;
    ask(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, (long)&before, sizeof all,
        0); /* it would run the host's handlers */
    int made = __clone(keep, child->keepers + STACK, CLONE_VM, child), problem = errno;
    ask(SYS_rt_sigprocmask, SIG_SETMASK, (long)&before, 0, sizeof before, 0);
    close(report[1]);
    if (made > 0) {
        child->keeper = made;
        while (read(report[0], &byte, 1) < 0 && errno == EINTR)
            ;
        problem = child->failure;
        *stage = child->stage;
        if (child->stays && !problem) {
            close(report[0]);
            *failure = 0;
            return child;
        }
        wait_for(child->keeper);
    }
    close(report[0]);
    munmap(child, sizeof *child);
    *failure = made < 0 && problem != EAGAIN && problem != ENOMEM ? ENOSYS : problem;
#else
    *failure = ENOSYS;
#endif
    return NULL;
}

/* Wait for its end, or look for it. Returns whether it has ended; then it is not to be asked again. */
int core__child_end(core_child *child, int patient)
{
#ifdef KEPT
    if (!patient && waitpid(child->keeper, NULL, __WALL | WNOHANG) == 0)
        return 0;
    if (patient)
        wait_for(child->keeper);
    munmap(child, sizeof *child);
#else
    (void)child;
    (void)patient;
#endif
    return 1;
}
