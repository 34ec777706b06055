/* Hosts that make it hard: argv[1] says how. Each ends with 0 and has printed nothing, unless it says what is wrong. */
#include "everything.h"

#include <errno.h>
#include <fcntl.h>
#include <fenv.h>
#include <limits.h>
#include <locale.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>

extern char **environ;

/* plue_init() must fail with argv[2] and say argv[3]; the host lives on, and a sound configuration works, unless
 * argv[4]. */
static void fail_to_start(char **arguments)
{
    double begun = seconds();
    for (int i = 0; i < 3; i++) {
        CHECK_ERROR(try_start("") == -1, atoi(arguments[2]));
        CHECK_SAYS(arguments[3]);
        CHECK(strlen(plue_get_last_error()) > 40 && json_valid(plue_get_last_error_json()));
        CHECK_ERROR(!plue_session_create(NULL), PLUE_ERROR_NOT_INITIALIZED);
    }
    CHECK(seconds() - begun < 30);
    if (!arguments[4]) {
        start(",\"store\":\"memory\"");
        CHECK(plue_session_create(NULL));
        plue_shutdown();
    }
}

static void closed_descriptors(void)
{
    close(0);
    close(1);
    dup2(2, 200); /* where a failed check may say so */
    close(2);
    start("");
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) != -1 || errno != EBADF) {
            char path[64], target[PATH_MAX] = "";
            snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
            CHECK(readlink(path, target, sizeof target - 1) > 0);
            dprintf(200, "the library took descriptor %d: %s\n", fd, target);
            _exit(1);
        }
    use_everything(NULL);
    plue_shutdown();
}

static void *start_and_use(void *unused)
{
    start("");
    use_everything(unused);
    plue_shutdown();
    start("");
    return unused;
}

static void small_stacks(void)
{
    pthread_attr_t small;
    pthread_t thread;
    /* glibc takes the thread-local data of all loaded libraries out of the stack: this is the least that it accepts. */
    CHECK(pthread_attr_init(&small) == 0 &&
          pthread_attr_setstacksize(&small, (size_t)sysconf(_SC_THREAD_STACK_MIN)) == 0);
    CHECK(pthread_create(&thread, &small, start_and_use, NULL) == 0);
    end(thread);
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_create(&thread, &small, use_everything, NULL) == 0);
        end(thread);
    }
    plue_shutdown();
}

static void limit(int what, rlim_t soft)
{
    struct rlimit now;
    CHECK(getrlimit(what, &now) == 0);
    now.rlim_cur = soft < now.rlim_max ? soft : now.rlim_max;
    CHECK(setrlimit(what, &now) == 0);
}

static void few_descriptors(void)
{
    int started = 0, failures = 0;
    /* The very first start, with Python and all its files, under each limit; then it must work without one. */
    for (rlim_t most = 3; most < 40 && !started; most++) {
        limit(RLIMIT_NOFILE, most);
        started = try_start("") == 0;
        if (!started) {
            failures++;
            int code = plue_get_last_error_code();
            if (code != PLUE_ERROR_IO && code != PLUE_ERROR_RUNTIME)
                fprintf(stderr, "with %d descriptors: ", (int)most);
            CHECK(code == PLUE_ERROR_IO || code == PLUE_ERROR_RUNTIME);
        }
    }
    CHECK(started && failures > 3);
    plue_shutdown();
    limit(RLIMIT_NOFILE, 256);
    start("");
    use_everything(NULL);
    /* Nothing left while it runs: what needs a descriptor says so, the rest works. */
    int held[256], count = 0;
    plue_session_t session = plue_session_create(NULL);
    while (count < 256 && (held[count] = open("/dev/null", O_RDONLY)) >= 0)
        count++;
    CHECK(plue_event_subscribe(on_event, NULL)); /* needs none */
    CHECK(plue_session_update_title(session, "still") == 0 || plue_get_last_error_code() == PLUE_ERROR_IO);
    char *list = plue_session_list();
    CHECK(list || plue_get_last_error_code() == PLUE_ERROR_IO);
    plue_free(list);
    char *share = plue_session_create_share(session);
    CHECK(share || plue_get_last_error_code() == PLUE_ERROR_IO);
    plue_free(share);
    CHECK(text(plue_session_peek_info(session))[0] == '{');
    while (count)
        close(held[--count]);
    use_everything(NULL);
    plue_shutdown();
}

static void few_threads(void)
{
    /* Root ignores RLIMIT_NPROC: what runs out is room for a stack. */
    start("");
    plue_shutdown();
    struct rlimit now;
    CHECK(getrlimit(RLIMIT_AS, &now) == 0);
    FILE *file = fopen("/proc/self/statm", "r");
    long pages;
    CHECK(file && fscanf(file, "%ld", &pages) == 1);
    fclose(file);
    int started = 0;
    for (long more = 1; more < 64 && !started; more += 3) {
        limit(RLIMIT_AS, (rlim_t)pages * 4096 + (rlim_t)more * 1024 * 1024);
        started = try_start("") == 0;
        CHECK(started || plue_get_last_error_code() == PLUE_ERROR_IO ||
              plue_get_last_error_code() == PLUE_ERROR_RUNTIME);
    }
    if (started)
        plue_shutdown();
    limit(RLIMIT_AS, RLIM_INFINITY);
    start("");
    use_everything(NULL);
    plue_shutdown();
}

struct surroundings {
    struct sigaction actions[65];
    sigset_t mask;
    char cwd[PATH_MAX], locale[256], *environment[256];
    int rounding, exceptions, variables;
    mode_t mask_of_files;
    stack_t alternate;
    struct itimerval timer;
    rlim_t limits[16];
};

static void look_around(struct surroundings *seen)
{
    memset(seen, 0, sizeof *seen);
    for (int number = 1; number <= 64; number++)
        if (number != 32 && number != 33)
            CHECK(sigaction(number, NULL, &seen->actions[number]) == 0);
    for (int number = 1; number <= 64; number++)
        seen->actions[number].sa_flags &=
            ~0x04000000; /* SA_RESTORER: how the C library returns from handlers, not what they do */
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &seen->mask) == 0 && getcwd(seen->cwd, sizeof seen->cwd));
    snprintf(seen->locale, sizeof seen->locale, "%s", setlocale(LC_ALL, NULL));
    seen->rounding = fegetround();
    seen->exceptions = fegetexcept();
    seen->mask_of_files = umask(077);
    umask(seen->mask_of_files);
    for (char **each = environ; *each; each++)
        seen->environment[seen->variables++] = strdup(*each);
    CHECK(sigaltstack(NULL, &seen->alternate) == 0 && getitimer(ITIMER_REAL, &seen->timer) == 0);
    for (int what = 0; what < 16; what++) {
        struct rlimit now;
        CHECK(getrlimit(what, &now) == 0);
        seen->limits[what] = now.rlim_cur;
    }
}

static int same_set(const sigset_t *one, const sigset_t *other)
{
    for (int number = 1; number <= 64; number++)
        if (sigismember(one, number) != sigismember(other, number))
            return 0;
    return 1;
}

static void compare(struct surroundings *before)
{
    static struct surroundings after;
    look_around(&after);
    for (int number = 1; number <= 64; number++) {
        struct sigaction *one = &before->actions[number], *two = &after.actions[number];
        if (one->sa_handler != two->sa_handler || one->sa_flags != two->sa_flags)
            fprintf(stderr, "signal %d: ", number);
        CHECK(one->sa_handler == two->sa_handler && one->sa_flags == two->sa_flags &&
              same_set(&one->sa_mask, &two->sa_mask));
    }
    CHECK(same_set(&before->mask, &after.mask) && !strcmp(before->cwd, after.cwd) &&
          !strcmp(before->locale, after.locale));
    CHECK(before->rounding == after.rounding && before->exceptions == after.exceptions &&
          before->mask_of_files == after.mask_of_files);
    CHECK(before->variables == after.variables && before->alternate.ss_sp == after.alternate.ss_sp);
    for (int i = 0; i < after.variables; i++)
        CHECK(!strcmp(before->environment[i], after.environment[i]));
    CHECK(before->timer.it_value.tv_sec == after.timer.it_value.tv_sec &&
          !memcmp(before->limits, after.limits, sizeof after.limits));
}

static void ours(int number)
{
    (void)number;
}

static void untouched(void)
{
    static struct surroundings before;
    setlocale(LC_ALL, "C.UTF-8");
    fesetround(FE_UPWARD);
    signal(SIGUSR1, ours);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGCHLD, SIG_IGN);
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &mask, NULL);
    umask(027);
    look_around(&before);
    CHECK(plue_init("{\"nonsense\":1}") == -1);
    compare(&before);
    start("");
    compare(&before);
    use_everything(NULL);
    compare(&before);
    plue_shutdown();
    compare(&before);
    struct stat made;
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/share.key", data_dir());
    CHECK(stat(path, &made) == 0 && (made.st_mode & 0777) == 0600);
}

static void interrupted(void)
{
    start("");
    use_everything(NULL);
    raise(SIGINT); /* still kills */
    CHECK(!"after SIGINT");
}

static void *use_often(void *unused)
{
    double until = seconds() + 1.5;
    while (seconds() < until)
        use_everything(NULL);
    return unused;
}

static void storm(void)
{
    struct sigaction action = {.sa_handler = ours}; /* no SA_RESTART */
    struct itimerval often = {{0, 500}, {0, 500}};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0 && sigaction(SIGVTALRM, &action, NULL) == 0 &&
          setitimer(ITIMER_REAL, &often, NULL) == 0);
    start("");
    pthread_t other = run(use_often, NULL);
    use_often(NULL);
    end(other);
    plue_shutdown();
    start("");
    plue_shutdown();
}

/* Write until the store is full, and see that the calls fail, that the host lives, and that room is all that was
 * missing. */
static void until_full(int limited)
{
    static char title[200001];
    memset(title, 'x', sizeof title - 1);
    start("");
    plue_session_t session = plue_session_create(NULL), made;
    int failures = 0, count = 0;
    if (limited)
        limit(RLIMIT_FSIZE, 1 << 20);
    for (int i = 0; i < 400 && failures < 10; i++) {
        char options[64];
        snprintf(options, sizeof options, "{\"key\":\"k%d\"}", count);
        made = plue_session_create_with(options);
        if (made && plue_session_update_title(made, title) == 0)
            count++;
        else {
            CHECK(plue_get_last_error_code() == PLUE_ERROR_IO);
            failures++;
            if (made)
                count++;
        }
        plue_session_destroy(made);
    }
    CHECK(failures == 10 && count > 0);
    CHECK(text(plue_session_get_info(session))[0] == '{');
    int stored = plue_session_count(NULL);
    CHECK(stored == count + 1);
    CHECK(plue_session_update_title(session, title) == -1 || plue_session_update_title(session, "small") == 0);
    if (limited)
        limit(RLIMIT_FSIZE, RLIM_INFINITY);
    else {
        char path[PATH_MAX + 32];
        snprintf(path, sizeof path, "%s/../ballast", data_dir());
        CHECK(unlink(path) == 0);
    }
    CHECK(plue_session_update_title(session, "there is room again") == 0);
    plue_shutdown();
    start("");
    CHECK(plue_session_count(NULL) == stored);
    plue_shutdown();
}

int main(int count, char **arguments)
{
    CHECK(count >= 2);
    const char *how = arguments[1];
    if (!strcmp(how, "use"))
        use();
    else if (!strcmp(how, "fail"))
        fail_to_start(arguments);
    else if (!strcmp(how, "closed_descriptors"))
        closed_descriptors();
    else if (!strcmp(how, "small_stacks"))
        small_stacks();
    else if (!strcmp(how, "few_descriptors"))
        few_descriptors();
    else if (!strcmp(how, "few_threads"))
        few_threads();
    else if (!strcmp(how, "untouched"))
        untouched();
    else if (!strcmp(how, "interrupted"))
        interrupted();
    else if (!strcmp(how, "storm"))
        storm();
    else if (!strcmp(how, "limited"))
        until_full(1);
    else if (!strcmp(how, "full"))
        until_full(0);
    else
        CHECK(!"a way that this program knows");
    return 0;
}
