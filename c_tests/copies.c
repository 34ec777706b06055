/*
 * While one thread copies a large snapshot, everybody else is served: what is instant stays so, and what is not waits
 * for no reader. One reader is stopped in the middle of its copy, by its memory not coming; then many copy at once.
 */
#include "faults.h"
#include "json.h"

enum { LARGE = 1 << 20, READERS = 4, HANDLES = 300 };

static atomic_int stopped, go_on;
static plue_session_t large, other;
static char title[LARGE + 1];

static void stop_if_large(size_t size)
{
    if (size > LARGE && atomic_load(&stopped) == 1) {
        atomic_store(&stopped, 2);
        while (atomic_load(&stopped) == 2)
            pause_ms(1);
    }
}

static void *stopping_mmap(void *wish, size_t size, int protection, int flags, int file, off_t offset)
{
    stop_if_large(size);
    return mmap(wish, size, protection, flags, file, offset);
}

static void *stopping_malloc(size_t size) /* what a library with AddressSanitizer uses for texts of any size */
{
    stop_if_large(size);
    return malloc(size);
}

static char *titled(char letter)
{
    memset(title, letter, LARGE);
    return title;
}

/* The large title is of one letter: return it, or 0 when the text is of several, or cut. */
static char letter_of(const char *info)
{
    const char *from = strstr(info, "\"title\":\"");
    if (!from)
        return 0;
    from += 9;
    return strlen(from) > LARGE && from[LARGE] == '"' && !memcmp(from, from + 1, LARGE - 1) ? *from : 0;
}

static void *read_large(void *session)
{
    char *info = plue_session_get_info(session);
    CHECK(info);
    return info;
}

/* Each is a call that nobody's copying may hold up. */
static void *others_go_on(void *handles)
{
    plue_session_t *extra = handles, made;
    char *id = plue_session_get_id(large), *event;
    CHECK(id && text(plue_session_get_info(other))[0] == '{' && text(plue_session_peek_info(other))[0] == '{');
    CHECK(text(plue_session_get_id(other))[0] == 's' && plue_session_update_title(other, "served") == 0);
    CHECK((made = plue_session_create(NULL)) && text(plue_session_get_info(made))[0] == '{' &&
          plue_session_delete(made) == 0);
    plue_session_destroy(made);
    plue_session_destroy(extra[0]);
    CHECK((made = plue_session_open(id)) != NULL);
    CHECK(plue_session_update_title(large, titled('b')) == 0); /* the reader has its own of before */
    char *info = plue_session_peek_info(made);
    CHECK(info && letter_of(info) == 'b');
    plue_free(info);
    plue_session_destroy(made);
    plue_session_destroy(large); /* the last two: nobody holds the session but the reader that copies it */
    plue_session_destroy(extra[1]);
    CHECK_ERROR(!plue_session_get_id(large), PLUE_ERROR_BAD_HANDLE);
    CHECK((large = plue_session_open(id)) != NULL);
    while ((event = plue_event_poll()))
        plue_free(event);
    plue_free(id);
    atomic_store(&go_on, 1);
    return NULL;
}

static void a_stopped_reader_stops_nobody(void)
{
    char *id = plue_session_get_id(large);
    plue_session_t extra[2] = {plue_session_open(id), plue_session_open(id)};
    CHECK(extra[0] && extra[1]);
    atomic_store(&go_on, 0);
    atomic_store(&stopped, 1);
    pthread_t reader = run(read_large, large);
    EVENTUALLY(atomic_load(&stopped) == 2);
    pthread_t others = run(others_go_on, extra);
    for (double until = seconds() + 20; !atomic_load(&go_on) && seconds() < until;)
        pause_ms(1);
    CHECK(atomic_load(&go_on));
    atomic_store(&stopped, 0);
    end(others);
    char *info = end(reader);
    CHECK(letter_of(info) == 'a');
    plue_free(info);
    plue_free(id);
}

static void *copy_often(void *copies)
{
    while (atomic_load(&go_on)) {
        char *info = plue_session_get_info(large);
        char letter = letter_of(info);
        CHECK(letter >= 'a' && letter <= 'z');
        plue_free(info);
        atomic_fetch_add((atomic_long *)copies, 1);
    }
    return NULL;
}

static void *change_often(void *unused)
{
    static char own[LARGE + 1];
    for (int i = 0; atomic_load(&go_on); i++) {
        memset(own, 'a' + i % 26, LARGE);
        CHECK(plue_session_update_title(large, own) == 0);
    }
    return unused;
}

static int by_size(const void *one, const void *two)
{
    return (*(const double *)one > *(const double *)two) - (*(const double *)one < *(const double *)two);
}

static void instant_calls_stay_so_beside_many_readers(void)
{
    static atomic_long copies;
    int count = part(HANDLES);
    plue_session_t handles[HANDLES];
    double destroyed[HANDLES], named[HANDLES];
    pthread_t busy[READERS + 1];
    char *id = plue_session_get_id(other);
    for (int i = 0; i < count; i++)
        CHECK((handles[i] = plue_session_open(id)) != NULL);
    atomic_store(&go_on, 1);
    for (int i = 0; i < READERS; i++)
        busy[i] = run(copy_often, &copies);
    busy[READERS] = run(change_often, NULL);
    EVENTUALLY(atomic_load(&copies) > READERS);
    for (int i = 0; i < count; i++) {
        double at = seconds();
        plue_free(plue_session_get_id(handles[i]));
        named[i] = seconds() - at;
        at = seconds();
        plue_session_destroy(handles[i]);
        destroyed[i] = seconds() - at;
        pause_ms(1);
    }
    atomic_store(&go_on, 0);
    for (int i = 0; i <= READERS; i++)
        end(busy[i]);
    qsort(named, (size_t)count, sizeof *named, by_size);
    qsort(destroyed, (size_t)count, sizeof *destroyed, by_size);
    printf("beside %ld copies: get_id median %.1f us, destroy median %.1f us, worst %.1f ms\n", atomic_load(&copies),
           named[count / 2] * 1e6, destroyed[count / 2] * 1e6, destroyed[count - 1] * 1e3);
    CHECK(getenv("CHECK_PART") ||
          (named[count / 2] < 1e-3 && destroyed[count / 2] < 1e-3)); /* the machine is shared: the median is judged */
    plue_free(id);
}

int main(void)
{
    redirect_to("mmap", (void *)stopping_mmap);
    redirect_to("malloc", (void *)stopping_malloc);
    prepare_faults();
    start(",\"store\":\"memory\"");
    CHECK((large = plue_session_create(NULL)) && (other = plue_session_create(NULL)));
    CHECK(plue_session_update_title(large, titled('a')) == 0);
    a_stopped_reader_stops_nobody();
    instant_calls_stay_so_beside_many_readers();
    plue_shutdown();
    return 0;
}
