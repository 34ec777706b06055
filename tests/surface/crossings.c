/* Each way in which a value can cross the boundary, by functions that a library has for this alone (extended/). */
#include "check.h"

#include <stdatomic.h>
#include <stdint.h>

static const size_t length = 8 << 20;

/* ---- bytes ---- */
static void *load(plue_session_t session, const char *name, size_t *size)
{
    void *data = &data;
    *size = 77;
    CHECK((plue_test_load(session, name, &data, size) == 0) == (data != NULL));
    CHECK(data || !*size);
    return data;
}

static void check_bytes(plue_session_t session)
{
    static const char binary[] = "a\0b\xff\xc0\x80\0";
    size_t size;
    CHECK(plue_test_store(session, "binary", binary, sizeof binary) == sizeof binary);
    char *data = load(session, "binary", &size);
    CHECK(size == sizeof binary && !memcmp(data, binary, size));
    plue_free(data);

    CHECK(plue_test_store(session, "none", binary, 0) == 0 && plue_test_store(session, "null", NULL, 0) == 0);
    for (int i = 0; i < 2; i++) {
        CHECK((data = load(session, i ? "none" : "null", &size)) && !size);
        plue_free(data);
    }

    char *much = malloc(length);
    for (size_t i = 0; i < length; i++)
        much[i] = (char)(i * 7 + i / 251);
    CHECK(plue_test_store(session, "much", much, length) == (int)length);
    CHECK((data = load(session, "much", &size)) && size == length && !memcmp(data, much, length));
    plue_free(data);
    free(much);

    CHECK_ERROR(plue_test_store(session, "x", NULL, 5) == -1, PLUE_ERROR_INVALID_PARAM);
    CHECK_SAYS("data is NULL, and its length is 5");
    CHECK_ERROR(plue_test_store(session, "x", binary, SIZE_MAX) == -1, PLUE_ERROR_LIMIT_EXCEEDED);
    CHECK_ERROR(plue_test_store(session, "x", binary, ((size_t)1 << 30) + 1) == -1, PLUE_ERROR_LIMIT_EXCEEDED);
    CHECK_SAYS("data has 1073741825 bytes");
    CHECK_ERROR(plue_test_store(session, "", binary, 1) == -1, PLUE_ERROR_INVALID_PARAM);
    CHECK_ERROR(!load(session, "x", &size), PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(!load(NULL, "x", &size), PLUE_ERROR_INVALID_PARAM);
    CHECK_ERROR(!load(session, NULL, &size), PLUE_ERROR_INVALID_PARAM);

    void *out = &size;
    size = 5;
    CHECK_ERROR(plue_test_load(session, "binary", NULL, &size) == -1, PLUE_ERROR_INVALID_PARAM);
    CHECK_SAYS("data is NULL");
    CHECK(size == 0);
    CHECK_ERROR(plue_test_load(session, "binary", &out, NULL) == -1, PLUE_ERROR_INVALID_PARAM);
    CHECK_SAYS("length is NULL");
    CHECK(out == NULL);
}

/* ---- numbers, and what may be absent ---- */
static void check_numbers(void)
{
    uint64_t numbers[] = {1, UINT32_MAX, (uint64_t)1 << 32, INT64_MAX, (uint64_t)1 << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        CHECK(plue_test_number(numbers[i]) == numbers[i]);
    CHECK_ERROR(plue_test_number(13) == 0, PLUE_ERROR_NOT_FOUND);
    CHECK(plue_test_identifier(UINT32_MAX) == UINT32_MAX && plue_test_identifier(7) == 7);
}

static int visit_some(int64_t number, void *user_data)
{
    CHECK(number == (*(int64_t *)user_data)++);
    return number == 3;
}

static void check_absent(void)
{
    CHECK_ERROR(plue_test_number(13) == 0, PLUE_ERROR_NOT_FOUND);
    CHECK_ERROR(!plue_test_maybe("nothing"), PLUE_OK);
    CHECK(!strcmp(plue_get_last_error(), "No error") && !strcmp(plue_get_last_error_json(), "{}"));
    CHECK_ERROR(!plue_test_maybe("fail"), PLUE_ERROR_NOT_FOUND);
    char *text = plue_test_maybe("some");
    CHECK(text && !strcmp(text, "some"));
    plue_free(text);
    CHECK(plue_get_last_error_code() == PLUE_OK);
    text = plue_test_maybe("");
    CHECK(text && !*text);
    plue_free(text);
    CHECK_ERROR(!plue_test_maybe(NULL), PLUE_ERROR_INVALID_PARAM);
    CHECK_ERROR(!plue_test_maybe("\xff"), PLUE_ERROR_INVALID_PARAM);
    int64_t seen = 0;
    CHECK(plue_test_visit(8, visit_some, &seen) == 3.0 / 8 && seen == 4);
}

/* ---- handles of other kinds ---- */
static void await_open(int count)
{
    for (int i = 0; plue_test_open() != count; i++, pause_ms(5))
        CHECK(i < 2000);
}

static void check_kinds(plue_session_t session)
{
    plue_thing_t observer = plue_test_observe("one"), other = plue_test_observe("two");
    plue_basket_t basket = plue_test_fill("apples");
    CHECK(observer && other && basket && observer != other && plue_test_open() == 3);
    char *name = plue_test_next(observer, 5), *both = plue_test_weigh(basket, " and pears");
    CHECK(name && !strcmp(name, "one") && both && !strcmp(both, "apples and pears"));
    plue_free(name);
    plue_free(both);
    CHECK_ERROR(!plue_test_next(other, 0), PLUE_OK);
    CHECK_ERROR(!plue_test_next(other, -1), PLUE_ERROR_INVALID_PARAM);

    void *wrong[] = {session,
                     basket,
                     PLUE_ALL_SESSIONS,
                     PLUE_CURRENT_SESSION,
                     (void *)session + 1,
                     (void *)77,
                     &observer,
                     (void *)UINTPTR_MAX,
                     (void *)observer + 80,
                     (void *)observer + 1,
                     (void *)observer + ((uintptr_t)1 << 28)};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CHECK_ERROR(!plue_test_next(wrong[i], 5), PLUE_ERROR_BAD_HANDLE);
        CHECK_SAYS("thing handle");
        plue_test_close(wrong[i]);
    }
    CHECK_ERROR(!plue_test_weigh((plue_basket_t)observer, ""), PLUE_ERROR_BAD_HANDLE);
    CHECK_SAYS("basket handle");
    CHECK_ERROR(!plue_session_get_info((plue_session_t)observer), PLUE_ERROR_BAD_HANDLE);
    CHECK_ERROR(plue_session_update_title((plue_session_t)basket, "x") == -1, PLUE_ERROR_BAD_HANDLE);
    CHECK_ERROR(!plue_test_next(NULL, 5), PLUE_ERROR_INVALID_PARAM);
    CHECK_SAYS("thing handle is NULL");
    plue_session_destroy((plue_session_t)observer);
    plue_session_destroy((plue_session_t)basket);
    plue_test_close(NULL);
    CHECK(plue_test_open() == 3);

    plue_test_close(observer);
    plue_test_close(observer);
    CHECK_ERROR(!plue_test_next(observer, 5), PLUE_ERROR_BAD_HANDLE);
    await_open(2);
    plue_test_close(other);
    await_open(1); /* the basket goes with the library */
}

static void check_never_reused(void)
{
    static uintptr_t had[2000];
    int count = part(sizeof had / sizeof *had), before = plue_test_open();
    for (int i = 0; i < count; i++) {
        plue_thing_t observer = plue_test_observe(i % 5 ? "short" : "stubborn");
        had[i] = (uintptr_t)observer;
        CHECK(observer);
        plue_test_close(observer);
    }
    for (int i = 0; i < count; i++)
        for (int n = 0; n < i; n++)
            CHECK(had[i] != had[n]);
    await_open(before); /* one that fails to close keeps back no other */
}

/* A reader that has lost a race against plue_session_destroy() locks the session that its handle's slot refers to:
 * there must never be another kind of thing in it. */
static void check_slots_keep_their_kind(const char *id)
{
    int open = plue_test_open();
    plue_session_t session = plue_session_open(id);
    plue_session_destroy(session);
    plue_thing_t observer = plue_test_observe("short");
    CHECK(((uintptr_t)session & 0xFFFFFF0) != ((uintptr_t)observer & 0xFFFFFF0));
    plue_test_close(observer);
    await_open(open);
    CHECK((session = plue_session_open(id)));
    CHECK(((uintptr_t)session & 0xFFFFFF0) != ((uintptr_t)observer & 0xFFFFFF0));
    plue_session_destroy(session);
}

static _Atomic(plue_thing_t) shared;
static _Atomic(plue_session_t) shared_session;
static atomic_int over;

static void *read_shared(void *unused)
{
    while (!atomic_load(&over)) {
        char *info = plue_session_get_info(atomic_load(&shared_session));
        CHECK(info ? SAYS(info, "Untitled") : plue_get_last_error_code() == PLUE_ERROR_BAD_HANDLE);
        plue_free(info);
    }
    return unused;
}

static void *use_shared(void *unused)
{
    while (!atomic_load(&over)) {
        char *name = plue_test_next(atomic_load(&shared), 5);
        CHECK(name ? !strcmp(name, "short") : plue_get_last_error_code() == PLUE_ERROR_BAD_HANDLE);
        plue_free(name);
    }
    return unused;
}

/* Handles of both kinds come and go, in each other's place if that were possible, while others use them. */
static void check_races(const char *id)
{
    int before = plue_test_open();
    pthread_t threads[4];
    atomic_store(&shared, plue_test_observe("short"));
    atomic_store(&shared_session, plue_session_open(id));
    for (int i = 0; i < 4; i++)
        threads[i] = run(i < 2 ? use_shared : read_shared, NULL);
    for (int i = 0; i < part(300); i++) {
        plue_thing_t old = atomic_load(&shared);
        plue_session_t old_session = atomic_load(&shared_session);
        plue_session_destroy(old_session);
        atomic_store(&shared, plue_test_observe("short"));
        plue_test_close(old);
        await_open(before + 1); /* its place is free again */
        atomic_store(&shared_session, plue_session_open(id));
    }
    atomic_store(&over, 1);
    for (int i = 0; i < 4; i++)
        end(threads[i]);
    plue_test_close(atomic_load(&shared));
    plue_session_destroy(atomic_load(&shared_session));
    await_open(before);
}

/* ---- other ids ---- */
static int has_id(plue_session_t session, const char *id)
{
    char *found = plue_session_get_id(session), *info = plue_session_peek_info(session);
    int same = found && info && !strcmp(found, id);
    plue_free(found);
    plue_free(info);
    return same;
}

static int is_known(const char *id)
{
    char *info = plue_session_peek_id(id);
    plue_free(info);
    return info != NULL;
}

static void check_renamed(void)
{
    plue_session_t first = plue_session_create(NULL), other = plue_session_create(NULL);
    char *before = plue_session_get_id(first), *late = plue_session_get_id(other);
    plue_session_t again = plue_session_open(before);
    CHECK(plue_test_rename("session_1", "ses_nobody") == 0 && !is_known("ses_nobody") && !is_known("session_1"));
    for (int i = 0; i < 2; i++) { /* the second time it is known already */
        CHECK(plue_test_rename(before, "ses_new") == 0);
        CHECK(has_id(first, "ses_new") && has_id(again, "ses_new"));
        CHECK(is_known("ses_new") && is_known(before));
    }
    /* Somebody has opened a handle by the new id before we heard of it: the older one's handles are that one's. */
    CHECK(plue_test_rename(late, "ses_new") == 0);
    CHECK(has_id(other, "ses_new") && !is_known(late));
    plue_session_destroy(first);
    plue_session_destroy(again);
    CHECK_ERROR(!plue_session_get_id(first), PLUE_ERROR_BAD_HANDLE);
    CHECK(has_id(other, "ses_new") && is_known("ses_new") && is_known(before));
    plue_session_destroy(other);
    CHECK(!is_known("ses_new") && !is_known(before));
    plue_free(before);
    plue_free(late);
}

static atomic_int renaming;

static void *read_renamed(void *given)
{
    plue_session_t session = *(plue_session_t *)given;
    while (!atomic_load(&renaming)) {
        char *id = plue_session_get_id(session);
        CHECK(id && (!strncmp(id, "session_", 8) || !strncmp(id, "ses_", 4)));
        is_known(id);
        plue_free(id);
        plue_free(plue_session_peek_info(session));
    }
    return NULL;
}

static void check_renaming_races(void)
{
    enum { SESSIONS = 300 };
    static plue_session_t sessions[SESSIONS];
    char name[64];
    atomic_store(&renaming, 0);
    for (int i = 0; i < SESSIONS; i++)
        CHECK((sessions[i] = plue_session_create(NULL)));
    pthread_t readers[] = {run(read_renamed, &sessions[0]), run(read_renamed, &sessions[1])};
    for (int i = 0; i < SESSIONS; i++) {
        char *before = plue_session_get_id(sessions[i % 2]);
        snprintf(name, sizeof name, "ses_%d", i / 2 * 2 + (i % 2));
        CHECK(plue_test_rename(before, name) == 0 && has_id(sessions[i % 2], name));
        plue_free(before);
    }
    char *before = plue_session_get_id(sessions[0]), *now = plue_session_get_id(sessions[1]);
    CHECK(plue_test_rename(before, now) == 0 && has_id(sessions[0], now));
    atomic_store(&renaming, 1);
    end(readers[0]);
    end(readers[1]);
    plue_free(before);
    plue_free(now);
    for (int i = 0; i < SESSIONS; i++)
        plue_session_destroy(sessions[i]);
    CHECK(!is_known(name));
}

int main(void)
{
    size_t size;
    CHECK_ERROR(!load(NULL, "x", &size), PLUE_ERROR_NOT_INITIALIZED);
    CHECK_ERROR(plue_test_number(1) == 0, PLUE_ERROR_NOT_INITIALIZED);
    CHECK_ERROR(!plue_test_maybe("nothing"), PLUE_ERROR_NOT_INITIALIZED);
    start("");
    plue_session_t session = plue_session_create(NULL);
    CHECK(session);
    check_bytes(session);
    check_numbers();
    check_absent();
    check_kinds(session);
    check_renamed();
    check_renaming_races();
    check_never_reused();
    char *id = plue_session_get_id(session);
    check_slots_keep_their_kind(id);
    check_races(id);
    plue_free(id);
    plue_thing_t observer = plue_test_observe("left");
    plue_shutdown();
    plue_test_close(observer);
    start("");
    CHECK_ERROR(!plue_test_next(observer, 5), PLUE_ERROR_BAD_HANDLE);
    CHECK_ERROR(!load(session, "binary", &size), PLUE_ERROR_BAD_HANDLE);
    await_open(0);
    check_never_reused();
    plue_shutdown();
    return 0;
}
