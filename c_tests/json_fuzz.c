/* Hostile JSON: argv[1] inputs, mutated from argv[2] as seed. Each is given in a block of its exact size, so that
 * AddressSanitizer sees a byte too far. What the five functions say of it must agree with each other. */
#include "check.h"

static const char *const seeds[] = {
    "{\"id\":\"session_1795947437087\",\"title\":\"Session "
    "\\\"1\\\"\",\"time\":{\"created\":1795947437087,\"updated\":-1.5e3},"
    "\"tags\":[\"a\",\"b\\u00e4\",\"\\ud83d\\ude00\"],\"metadata\":{},\"aborted\":false,\"share\":null}",
    "[[],{},[[1,2,[3,{\"a\":[4]}]]],\"\",0,-0.0,1E+400,true,false,null,9223372036854775808]",
    " {\"a\" : {\"a\" : {\"a\" : [ {\"a/b\" : 1, \"m~n\" : 2, \"\" : 3 } ] } }, \"a\" : [ 1 , 2 ] } ",
    "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80 \\ud800\\udc00\\udfff\\n\\\\ 12345678901234567890\"",
    "[\"\\u0000\",\"\\ud800\",\"\\u0041\\u00e4\\u20ac\",{\"\\u0061\":1,\"a\":2}]",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
};
static const char *const pointers[] = {
    "",   "/a", "/a/a/a/0/a~1b", "/0",          "/2/0/2/1/a/0", "/tags/1", "/time/updated", "/", "/3/a", "/a/1", "/-",
    "/~", "a",  "/\xff",         "/99999999999"};
static const char pieces[] = "{}[]\",:\\/-+.eEtfnu0123456789abcdDd8 \t\n\x7f\x80\xc3\xa4\xed\xf0\x9f\xff\x01";

static uint64_t state;

static size_t below(size_t limit)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (size_t)(state >> 33) % limit;
}

static size_t mutate(char *json, size_t length)
{
    for (size_t changes = below(4); changes && length; changes--) {
        size_t at = below(length), count = 1 + below(8);
        count = count < length - at ? count : length - at;
        char piece = pieces[below(sizeof pieces - 1)];
        switch (below(6)) {
        case 0: /* leave out */
            memmove(json + at, json + at + count, length - at - count);
            length -= count;
            break;
        case 1: /* repeat */
            memmove(json + at + count, json + at, length - at);
            length += count;
            break;
        case 2: /* end early */
            length = at;
            break;
        case 3: /* a copy of another part */
            memmove(json + at, json + below(length - count + 1), count);
            break;
        case 4:
            memmove(json + at + 1, json + at, length - at);
            length++;
            json[at] = piece;
            break;
        default:
            json[at] = piece;
        }
    }
    return length;
}

typedef struct {
    int count, stop_at;
} visits;

static int look_at(const char *element_json, void *user_data)
{
    visits *of = user_data;
    char *copy = plue_json_text(element_json, "");
    CHECK(copy ? strlen(copy) <= strlen(element_json) : plue_get_last_error_code() == PLUE_ERROR_INVALID_PARAM);
    plue_free(copy);
    return ++of->count == of->stop_at;
}

static int failed(int yes)
{
    int code = yes ? plue_get_last_error_code() : PLUE_OK;
    CHECK(code == PLUE_OK || code == PLUE_ERROR_JSON_PARSE || code == PLUE_ERROR_NOT_FOUND ||
          code == PLUE_ERROR_INVALID_PARAM);
    return code;
}

/* Whether it is JSON. */
static int judge(const char *json, const char *pointer)
{
    char *found = plue_json_text(json, pointer);
    int as_text = failed(!found), count = plue_json_count(json, pointer), counted = failed(count < 0);
    int64_t low = plue_json_int(json, pointer, -77), high = plue_json_int(json, pointer, 77);
    double real = plue_json_double(json, pointer, 0.5), other = plue_json_double(json, pointer, 1.5);
    CHECK(low == high || (low == -77 && high == 77));
    CHECK(real == other || (real == 0.5 && other == 1.5));
    visits all = {.stop_at = -1};
    int each = plue_json_each(json, pointer, look_at, &all);
    CHECK(failed(each < 0) == counted && (each < 0 || (each == 0 && all.count == count)));
    if (count > 0) {
        visits some = {.stop_at = 1 + (int)below((size_t)count)};
        CHECK(plue_json_each(json, pointer, look_at, &some) == 1 && some.count == some.stop_at);
    }
    if (count >= 0) {
        CHECK(found && plue_json_count(found, "") == count && low != high && real != other);
    } else if (counted != PLUE_ERROR_INVALID_PARAM)
        CHECK(as_text == counted && low != high && real != other);
    plue_free(found);
    return as_text != PLUE_ERROR_JSON_PARSE && counted != PLUE_ERROR_JSON_PARSE;
}

int main(int count, char **arguments)
{
    CHECK(count == 3);
    long inputs = atol(arguments[1]), good = 0;
    state = strtoull(arguments[2], NULL, 10);
    for (long i = 0; i < inputs; i++) {
        char room[1024];
        size_t length = strlen(strcpy(room, seeds[below(sizeof seeds / sizeof *seeds)]));
        length = mutate(room, length);
        char *json = malloc(length + 1);
        CHECK(json);
        memcpy(json, room, length);
        json[length] = 0;
        good += judge(json, pointers[below(sizeof pointers / sizeof *pointers)]);
        free(json);
    }
    printf("%ld of %ld were JSON\n", good, inputs);
    CHECK(inputs < 1000 || (good > inputs / 20 && good < inputs - inputs / 20));
    return 0;
}
