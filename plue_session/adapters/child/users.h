/*
 * Who uses the command: the host that has started it, and those that have joined it since by a socket in a folder.
 *
 * The folder has two files of a shared command. NAME.json is locked (flock) for as long as its guard lives, so that
 * there is one guard at most; it holds what the host has noted of the command, and is removed at the end. NAME.socket
 * is where others join; it is removed as soon as the command begins to end. What a killed guard has left of both, the
 * next one takes over.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { LIFELINE = 3, USERS = 512, LINE = 8192 };

static struct user {
    int fd, length;
    char line[LINE]; /* what it has begun to say */
} users[USERS];
static int user_count;
static char note[LINE];
static int noted; /* the note's length, with its line's end */
static int folder = -1, file = -1, door = -1;
static int spare = -1; /* a descriptor to let go of when no other is left */
static char file_name[64], socket_name[64];
static pid_t command;

static void tell_user(int fd, const char *word, int number)
{
    char line[64];
    int length = number < 0 ? snprintf(line, sizeof line, "%s\n", word)
                            : snprintf(line, sizeof line, "%s %d\n", word, number);
    (void)!write(fd, line, (size_t)length); /* one that is gone need not be told */
}

static void tell(const char *word, int number)
{
    for (int i = 0; i < user_count; i++)
        tell_user(users[i].fd, word, number);
}

static void add_user(int fd)
{
    fcntl(fd, F_SETFL, O_NONBLOCK);
    users[user_count].fd = fd;
    users[user_count++].length = 0;
}

static void remove_user(int i)
{
    close(users[i].fd);
    if (i != --user_count)
        users[i] = users[user_count];
}

/* The folder's socket by a short way: a path of its own may be longer than an address holds. */
static struct sockaddr_un address(void)
{
    struct sockaddr_un place = {.sun_family = AF_UNIX};
    snprintf(place.sun_path, sizeof place.sun_path, "/proc/self/fd/%d/%s", folder, socket_name);
    return place;
}

static int is_named(void)
{
    struct stat named, ours;
    return !fstatat(folder, file_name, &named, AT_SYMLINK_NOFOLLOW) && !fstat(file, &ours) &&
           named.st_ino == ours.st_ino && named.st_dev == ours.st_dev;
}

/* Nobody joins any more. */
static void shut(void)
{
    if (door < 0)
        return;
    close(door);
    door = -1;
    unlinkat(folder, socket_name, 0);
    (void)!ftruncate(file, 0);
}

/* Leave nothing. Who has the file open by then finds that it has lost its name. */
static void clear(void)
{
    shut();
    if (file >= 0 && is_named())
        unlinkat(folder, file_name, 0);
}

/*
 * Be the guard of the shared command. Returns -1 if there is another one. Where the folder cannot be used for this
 * (read-only, full, no /proc), the command is the host's alone.
 */
static int share(const char *path, const char *name)
{
    snprintf(file_name, sizeof file_name, "%s.json", name);
    snprintf(socket_name, sizeof socket_name, "%s.socket", name);
    folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return 0;
    mode_t mask = umask(077);
    file = openat(folder, file_name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    umask(mask);
    if (file < 0)
        return 0;
    if (flock(file, LOCK_EX | LOCK_NB)) {
        int others = errno == EWOULDBLOCK;
        close(file);
        file = -1;
        return others ? -1 : 0;
    }
    if (!is_named()) /* the last guard has removed it just now */
        return -1;
    struct sockaddr_un place = address();
    unlinkat(folder, socket_name, 0);
    door = fchmod(file, 0600) || ftruncate(file, 0) ? -1
                                                    : socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mask = umask(0177);
    int failed = door < 0 || bind(door, (struct sockaddr *)&place, sizeof place) || listen(door, USERS);
    umask(mask);
    if (failed) {
        if (door >= 0)
            close(door);
        door = -1;
        unlinkat(folder, socket_name, 0);
        clear();
        close(file);
        file = -1;
    }
    return 0;
}

/* Have descriptors for as many users as there may be, if that is allowed. Not before the command runs, which keeps the
 * limit of the host. */
static void make_room(void)
{
    struct rlimit limit;
    spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= USERS + 64)
        return;
    limit.rlim_cur = limit.rlim_max < USERS + 64 ? limit.rlim_max : USERS + 64;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* No descriptor is left: who stands before the door is sent away, and comes again. If it stayed there, the door would
 * never be quiet. Returns whether somebody was. */
static int send_away(void)
{
    if ((errno != EMFILE && errno != ENFILE) || spare < 0)
        return 0;
    close(spare);
    int fd = accept4(door, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        close(fd);
    spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return fd >= 0;
}

static void let_in(void)
{
    int fd;
    while ((fd = accept4(door, NULL, NULL, SOCK_CLOEXEC)) >= 0 || send_away()) {
        if (fd < 0)
            continue;
        struct ucred who = {0};
        socklen_t size = sizeof who;
        if (user_count == USERS || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) || who.uid != geteuid()) {
            close(fd);
            continue;
        }
        add_user(fd);
        tell_user(fd, "started", command);
        (void)!write(fd, note, (size_t)noted);
    }
}

/* Take a line that user `i` has said. Returns whether the command is to end; *gone: the user is removed. */
static int obey(int i, const char *line, int *gone)
{
    if (!strcmp(line, "end"))
        return 1;
    if (!strcmp(line, "leave")) {
        if (user_count == 1 || (users[i].fd == LIFELINE && !noted))
            return 1; /* and is told of the end */
        tell_user(users[i].fd, "left", -1);
        remove_user(i);
        *gone = 1;
    } else if (!strncmp(line, "note ", 5) && !noted) {
        noted = snprintf(note, sizeof note, "%s\n", line);
        if (door >= 0)
            (void)!pwrite(file, note + 5, (size_t)noted - 5, 0);
        for (int other = 0; other < user_count; other++)
            (void)!write(users[other].fd, note, (size_t)noted);
    }
    return 0;
}

/* Hear user `i`. Returns whether the command is to end; *gone: the user is removed. */
static int hear(int i, int *gone)
{
    struct user *user = &users[i];
    ssize_t size = read(user->fd, user->line + user->length, (size_t)(LINE - 1 - user->length));
    if (size < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (size <= 0) { /* it is gone, or talks nonsense */
        int ends = user_count == 1 || (user->fd == LIFELINE && !noted);
        remove_user(i);
        *gone = 1;
        return ends;
    }
    user->length += (int)size;
    user->line[user->length] = 0;
    int ends = 0;
    char *end;
    while (!*gone && (end = strchr(user->line, '\n'))) {
        char line[LINE];
        *end = 0;
        memcpy(line, user->line, (size_t)(end - user->line) + 1);
        user->length -= (int)(end + 1 - user->line);
        memmove(user->line, end + 1, (size_t)user->length + 1);
        ends |= obey(i, line, gone);
    }
    return ends;
}
