/* Reading JSON that is as deep, and as long, as can be, on a small stack. */
#include "refused.h"

#include <limits.h>

enum { LONGEST = 64 << 20 };

static int none(const char *element_json, void *user_data)
{
    (void)element_json;
    (void)user_data;
    return 0;
}

static char *filled(size_t length, char with)
{
    char *made = malloc(length + 1);
    CHECK(made);
    memset(made, with, length);
    made[length] = 0;
    return made;
}

static int longer(const char *element_json, void *user_data)
{
    *(size_t *)user_data += strlen(element_json);
    return 0;
}

static void *go_deep(void *levels)
{
    size_t depth = (size_t)(uintptr_t)levels;
    char *json = filled(2 * depth + 1, '['), *pointer = filled(2 * depth, '/');
    memset(json + depth + 1, ']', depth);
    json[depth] = '7';
    for (size_t i = 0; i < depth; i++)
        pointer[2 * i + 1] = '0';
    size_t seen = 0;
    CHECK(plue_json_int(json, pointer, 0) == 7 && plue_json_double(json, pointer, 0) == 7);
    CHECK(plue_json_count(json, "") == 1 && plue_json_count(json, pointer + 2) == 1);
    CHECK(plue_json_each(json, "", longer, &seen) == 0 && seen == 2 * depth - 1);
    char *back = plue_json_text(json, "");
    CHECK(back && !strcmp(back, json));
    plue_free(back);
    json[2 * depth] = '}'; /* what the first bracket was is known at the end */
    CHECK_ERROR(!plue_json_text(json, ""), PLUE_ERROR_JSON_PARSE);
    free(pointer);
    free(json);
    return NULL;
}

static void no_depth_uses_up_the_stack(void)
{
    static const size_t depths[] = {63, 64, 65, 4095, 4096, 4097, 1000000};
    pthread_attr_t small;
    CHECK(pthread_attr_init(&small) == 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    CHECK(pthread_attr_setstacksize(&small, PTHREAD_STACK_MIN > 16384 ? PTHREAD_STACK_MIN : 16384) == 0);
#endif
    for (size_t i = 0; i < MANY(depths); i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, &small, go_deep, (void *)(uintptr_t)depths[i]) == 0);
        end(thread);
    }
    pthread_attr_destroy(&small);
}

static void the_limit_is_64_mib(void)
{
    char *json = filled(LONGEST + 1, ' ');
    json[0] = '8';
    REFUSED(json, "", PLUE_ERROR_LIMIT_EXCEEDED);
    CHECK_SAYS("plue_json_each: json has more than 67108864 bytes");
    json[LONGEST] = 0;
    CHECK(plue_json_int(json, "", 0) == 8);
    memset(json, '[', LONGEST);
    REFUSED(json, "", PLUE_ERROR_JSON_PARSE);
    memset(json + LONGEST / 2, ']', LONGEST / 2);
    CHECK(plue_json_count(json, "") == 1);
    memset(json, '9', LONGEST);
    CHECK(plue_json_int(json, "", 77) == 77 && plue_json_double(json, "", 7.5) == 7.5);
    json[1] = '.';
    CHECK(plue_json_int(json, "", 77) == 9 && plue_json_double(json, "", 7.5) == 10);
    memset(json, '\\', LONGEST);
    json[0] = json[LONGEST - 1] = '"';
    char *plain = plue_json_text(json, "");
    CHECK(plain && strlen(plain) == LONGEST / 2 - 1);
    plue_free(plain);
    memset(json, 'a', LONGEST); /* a key and a pointer of the greatest length */
    json[0] = '{', json[1] = json[LONGEST - 4] = '"';
    memcpy(json + LONGEST - 3, ":1}", 3);
    char *pointer = strndup(json + 1, LONGEST - 5);
    CHECK(pointer);
    pointer[0] = '/';
    CHECK(plue_json_int(json, pointer, 0) == 1);
    pointer[LONGEST - 7] = 'b';
    CHECK(plue_json_int(json, pointer, 0) == 0);
    free(pointer);
    free(json);
}

int main(void)
{
    no_depth_uses_up_the_stack();
    if (!getenv("CHECK_PART"))
        the_limit_is_64_mib();
    return 0;
}
