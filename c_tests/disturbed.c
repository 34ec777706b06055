/* Hosts that take the store's files away, their own descriptors back, or run where the system refuses something:
 * argv[1] says how. */
#include "check.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>

enum { OWN = 40, CHANGES = 300 };
static const char *const *given;

/* ---- what the system refuses, to the library as to everybody: the program's own functions come before the C library's
 * ---- */
static atomic_int refused; /* the errno that `given[3]` ends with */
static atomic_long late;   /* seconds that the wall clock is ahead */

static int refuses(const char *call)
{
    int number = atomic_load(&refused);
    return number && !strcmp(given[2], call) ? number : 0;
}

int flock(int fd, int operation)
{
    int number = refuses("flock");
    if (!number)
        return (int)syscall(SYS_flock, fd, operation);
    errno = number;
    return -1;
}

static int control(int fd, int command, void *argument)
{
    int number = command == F_SETLK || command == F_SETLKW || command == F_GETLK ? refuses("fcntl") : 0;
    if (!number)
        return (int)syscall(SYS_fcntl, fd, command, argument);
    errno = number;
    return -1;
}

int fcntl(int fd, int command, ...)
{
    va_list more;
    va_start(more, command);
    void *argument = va_arg(more, void *);
    va_end(more);
    return control(fd, command, argument);
}

int fcntl64(int fd, int command, ...)
{
    va_list more;
    va_start(more, command);
    void *argument = va_arg(more, void *);
    va_end(more);
    return control(fd, command, argument);
}

static void *map(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    int number = fd >= 0 && flags & MAP_SHARED ? refuses("mmap") : 0;
    if (!number)
        return (void *)syscall(SYS_mmap, at, size, protection, flags, fd, offset);
    errno = number;
    return MAP_FAILED;
}

void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    return map(at, size, protection, flags, fd, offset);
}

void *mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    return map(at, size, protection, flags, fd, offset);
}

int link(const char *from, const char *to)
{
    int number = refuses("link");
    if (!number)
        return (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
    errno = number;
    return -1;
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags)
{
    int number = refuses("link");
    if (!number)
        return (int)syscall(SYS_linkat, from_folder, from, to_folder, to, flags);
    errno = number;
    return -1;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += atomic_load(&late);
    return failed;
}

/* ---- descriptors ---- */
/* The program's own files, under the lowest numbers that are free: full of one letter each. */
static char own_path[OWN][4200];
static int own[OWN];

static void open_own_files(void)
{
    for (int i = 0; i < OWN; i++) {
        char block[8192];
        snprintf(own_path[i], sizeof own_path[i], "%s/own-%d", given[2], i);
        memset(block, 'a' + i % 26, sizeof block);
        CHECK((own[i] = open(own_path[i], O_RDWR | O_CREAT | O_TRUNC, 0600)) >= 0);
        CHECK(write(own[i], block, sizeof block) == sizeof block);
        CHECK(syscall(SYS_flock, own[i], LOCK_EX) == 0);
    }
}

static void check_own_files(void)
{
    for (int i = 0; i < OWN; i++) {
        char block[16384];
        struct stat by_descriptor, by_name;
        CHECK(fstat(own[i], &by_descriptor) == 0 && stat(own_path[i], &by_name) == 0);
        CHECK(by_descriptor.st_ino == by_name.st_ino && by_descriptor.st_size == 8192);
        CHECK(pread(own[i], block, sizeof block, 0) == 8192);
        for (int at = 0; at < 8192; at++)
            CHECK(block[at] == 'a' + i % 26);
        int other = open(own_path[i], O_RDONLY);
        CHECK(other >= 0 && syscall(SYS_flock, other, LOCK_SH | LOCK_NB) == -1 &&
              errno == EWOULDBLOCK); /* still locked by us */
        close(other);
    }
}

static void close_everything(void)
{
    CHECK(syscall(SYS_close_range, 3, ~0U, 0) == 0);
}

/* A host that closes "all that it may have inherited" too late, and then opens files: they stay as they are. */
static void files_instead(void)
{
    start("");
    plue_session_t session = plue_session_create(NULL);
    CHECK(session);
    close_everything();
    open_own_files();
    for (int i = 0; i < 20; i++) {
        CHECK_ERROR(!plue_session_create(NULL), PLUE_ERROR_IO);
        CHECK_SAYS("descriptor");
    }
    CHECK_ERROR(plue_session_update_title(session, "x") == -1, PLUE_ERROR_IO);
    CHECK_ERROR(!plue_session_list(), PLUE_ERROR_IO);
    check_own_files();
    plue_shutdown();
    check_own_files();
    CHECK_ERROR(try_start("") == -1, PLUE_ERROR_IO); /* SQLite still takes those numbers for its own */
    CHECK_SAYS("Restart");
    check_own_files();
}

/* The same, and nothing is called until the end: what ends writes nothing, and closes nothing of the host's. */
static void files_instead_and_nothing_called(void)
{
    start(given[3]);
    plue_session_destroy(plue_session_create(NULL));
    close_everything();
    open_own_files();
    plue_shutdown();
    check_own_files();
}

/* What the host's own peers send it is not read by the library, and nothing is sent to them. */
static void sockets_instead(void)
{
    static int pair[OWN][2];
    start("");
    plue_session_destroy(plue_session_create(NULL));
    close_everything();
    for (int i = 0; i < OWN; i++) {
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair[i]) == 0);
        CHECK(write(pair[i][0], "to one", 6) == 6 && write(pair[i][1], "to zero", 7) == 7);
    }
    pause_ms(100); /* in which the watcher, were it to listen to one of them, would have read it */
    CHECK_ERROR(!plue_session_create(NULL), PLUE_ERROR_IO);
    plue_shutdown();
    for (int i = 0; i < OWN; i++)
        for (int end = 0; end < 2; end++) {
            char heard[64];
            int length = end ? 6 : 7;
            CHECK(read(pair[i][end], heard, sizeof heard) == length &&
                  !memcmp(heard, end ? "to one" : "to zero", (size_t)length));
        }
}

/* ---- files that are removed or replaced while the library is at work ---- */
static int events_of(const char *type)
{
    char *event, wanted[64];
    int count = 0;
    snprintf(wanted, sizeof wanted, "\"type\":\"%s\"", type);
    while ((event = plue_event_poll())) {
        count += SAYS(event, wanted);
        plue_free(event);
    }
    return count;
}

/* `given[2]` is a command for the shell, which does something to the store. From then on no change is acknowledged,
   however soon it comes, nobody hears of one, and nothing is shown that is not there. */
static void taken_away(void)
{
    start("");
    plue_session_t session = plue_session_create(NULL);
    CHECK(session);
    for (int i = 0; i < 30; i++)
        plue_session_destroy(plue_session_create(NULL));
    events_of("");
    char *title = plue_session_peek_info(session);
    CHECK(system(given[2]) == 0);
    for (int i = 0; i < 5; i++) {
        CHECK_ERROR(!plue_session_create(NULL), PLUE_ERROR_IO);
        CHECK_SAYS(given[3]);
        CHECK_ERROR(plue_session_update_title(session, "lost") == -1, PLUE_ERROR_IO);
        CHECK_ERROR(!plue_session_list(), PLUE_ERROR_IO);
        CHECK_ERROR(!plue_session_query("{}"), PLUE_ERROR_IO);
    }
    pause_ms(30); /* the watcher's word, if there was one, has come */
    CHECK(events_of("session.created") + events_of("session.updated") == 0);
    char *after = plue_session_peek_info(session);
    CHECK(title && after && !strcmp(title, after));
    plue_free(title);
    plue_free(after);
    plue_shutdown();
    start("");
    CHECK(plue_session_create(NULL));
    plue_shutdown();
}

/* Changes that fail together fail each for itself: the message names the session of its own call. */
static void *change_own(void *session)
{
    char *id = plue_session_get_id(session);
    CHECK(id);
    for (int i = 0; i < 50; i++) {
        CHECK_ERROR(plue_session_update_title(session, "x") == -1, PLUE_ERROR_IO);
        CHECK_SAYS(id);
    }
    plue_free(id);
    return NULL;
}

static void refused_together(void)
{
    pthread_t others[16];
    plue_session_t sessions[16];
    start("");
    for (int i = 0; i < 16; i++)
        CHECK((sessions[i] = plue_session_create(NULL)) != NULL);
    CHECK(system(given[2]) == 0);
    for (int i = 0; i < 16; i++)
        others[i] = run(change_own, sessions[i]);
    for (int i = 0; i < 16; i++)
        end(others[i]);
    plue_shutdown();
}

/* The command `given[2]` brings the open store up to a version that this library does not know: nothing is called
 * damaged. */
static void migrated(void)
{
    start("");
    plue_session_t session = plue_session_create(NULL);
    CHECK(session);
    CHECK(system(given[2]) == 0);
    for (int i = 0; i < 3; i++) {
        CHECK_ERROR(!plue_session_create(NULL), PLUE_ERROR_UNSUPPORTED);
        CHECK_SAYS("Update the library");
        CHECK_ERROR(!plue_session_list(), PLUE_ERROR_UNSUPPORTED);
        CHECK_SAYS("Update the library");
        CHECK_ERROR(plue_session_update_title(session, "x") == -1, PLUE_ERROR_UNSUPPORTED);
    }
    plue_shutdown();
    CHECK_ERROR(try_start("") == -1, PLUE_ERROR_UNSUPPORTED);
    CHECK_SAYS("Update the library");
}

/* The same, and what is met first is a read of what is no longer there. */
static void migrated_under_a_reader(void)
{
    start("");
    CHECK(plue_session_create(NULL));
    CHECK(system(given[2]) == 0);
    CHECK_ERROR(!plue_session_list(), PLUE_ERROR_UNSUPPORTED);
    CHECK_SAYS("Update the library");
    CHECK_ERROR(!plue_session_create(NULL), PLUE_ERROR_UNSUPPORTED);
    plue_shutdown();
}

/* ---- what the system says no to ---- */
/* Root may everything: be like everybody else, for whom a mode is a mode. */
static void be_somebody(void)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    CHECK(syscall(SYS_capget, &header, data) == 0);
    data[0].effective &= ~(1U << CAP_DAC_OVERRIDE | 1U << CAP_DAC_READ_SEARCH);
    data[0].permitted = data[0].effective;
    CHECK(syscall(SYS_capset, &header, data) == 0);
}

/* The folder above the store's can no longer be entered: what is open stays usable. */
static void shut_out(void)
{
    be_somebody();
    start("");
    CHECK(chmod(given[2], 0) == 0);
    for (int i = 0; i < CHANGES; i++) {
        plue_session_t made = plue_session_create(NULL);
        CHECK(made);
        plue_session_destroy(made);
    }
    char *list = plue_session_list();
    CHECK(list);
    plue_free(list);
    CHECK(chmod(given[2], 0700) == 0);
    CHECK(plue_session_create(NULL));
    plue_shutdown();
}

/* A wall clock after 2262, when nanoseconds no longer fit into 64 bits. */
static void far_future(void)
{
    start(given[2]);
    atomic_store(&late, 300L * 366 * 86400);
    for (int i = 0; i < CHANGES; i++) {
        plue_session_t made = plue_session_create(NULL);
        CHECK(made);
        CHECK(plue_session_update_title(made, "later") == 0);
        CHECK(SAYS(text(plue_session_get_info(made)), "\"title\":\"later\""));
        plue_session_destroy(made);
    }
    CHECK_ERROR(!plue_session_open("session_1"), PLUE_ERROR_NOT_FOUND);
    plue_shutdown();
    start(given[2]);
    CHECK(plue_session_create(NULL));
    plue_shutdown();
}

/* A umask that takes from the owner: what is made is for the owner all the same, and the umask stays. */
static void masked(void)
{
    mode_t mask = (mode_t)strtol(given[2], NULL, 8);
    be_somebody();
    umask(mask);
    for (int i = 0; i < 2; i++) {
        start(given[3]);
        plue_session_t session = plue_session_create(NULL);
        CHECK(session);
        char *share = plue_session_create_share(session);
        CHECK(share);
        plue_free(share);
        plue_shutdown();
        CHECK(umask(mask) == mask);
    }
}

/* `given[2]` is a call that ends with the errno `given[3]`, from before the start; the message says `given[4]`, and not
 * `given[5]`. */
static void refused_at_start(void)
{
    CHECK(chdir("/") == 0);
    atomic_store(&refused, atoi(given[3]));
    CHECK_ERROR(try_start("") == -1, PLUE_ERROR_IO);
    CHECK_SAYS(given[4]);
    CHECK(!SAYS(plue_get_last_error(), given[5]));
    atomic_store(&refused, 0);
    start("");
    CHECK(plue_session_create(NULL));
    plue_shutdown();
}

/* Without hard links shares are made as elsewhere, and by one of several threads only. */
static void *share_one(void *unused)
{
    plue_session_t session = plue_session_create(NULL);
    char *share = session ? plue_session_create_share(session) : NULL;
    CHECK(share && SAYS(share, "\"secret\""));
    plue_free(share);
    plue_session_destroy(session);
    return unused;
}

static void without_links(void)
{
    pthread_t others[4];
    atomic_store(&refused, atoi(given[3]));
    start("");
    for (int i = 0; i < 4; i++)
        others[i] = run(share_one, NULL);
    for (int i = 0; i < 4; i++)
        end(others[i]);
    plue_shutdown();
    start("");
    share_one(NULL);
    plue_shutdown();
}

/* Whatever fails beside it, each change is made and acknowledged. */
static void at_work(void)
{
    start("");
    for (int i = 0; i < CHANGES; i++) {
        plue_session_t made = plue_session_create(NULL);
        CHECK(made);
        CHECK(plue_session_update_title(made, "title") == 0);
        char *list = plue_session_query("{\"limit\":1,\"order\":\"desc\"}");
        CHECK(list && SAYS(list, "\"title\":\"title\""));
        plue_free(list);
        plue_session_destroy(made);
    }
    plue_shutdown();
}

/* Nothing is in the way. */
static void undisturbed(void)
{
    start("");
    share_one(NULL);
    plue_shutdown();
}

/* plue_init() fails with the code `given[2]` and says `given[3]`. */
static void cannot_start(void)
{
    CHECK_ERROR(try_start("") == -1, atoi(given[2]));
    CHECK_SAYS(given[3]);
    CHECK(!SAYS(plue_get_last_error(), "space"));
}

int main(int count, char **arguments)
{
    static const struct {
        const char *name;
        void (*host)(void);
        int words;
    } hosts[] = {
        {"files-instead", files_instead, 3},
        {"files-instead-idle", files_instead_and_nothing_called, 4},
        {"sockets-instead", sockets_instead, 2},
        {"taken-away", taken_away, 4},
        {"refused-together", refused_together, 3},
        {"migrated", migrated, 3},
        {"migrated-reader", migrated_under_a_reader, 3},
        {"shut-out", shut_out, 3},
        {"far-future", far_future, 3},
        {"masked", masked, 4},
        {"refused", refused_at_start, 6},
        {"without-links", without_links, 4},
        {"at-work", at_work, 2},
        {"undisturbed", undisturbed, 2},
        {"cannot-start", cannot_start, 4},
    };
    given = (const char *const *)arguments;
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
        if (count == hosts[i].words && !strcmp(arguments[1], hosts[i].name)) {
            hosts[i].host();
            return 0;
        }
    fprintf(stderr, "disturbed: what is %s with %d words?\n", count > 1 ? arguments[1] : "nothing", count);
    return 2;
}
