/* Reading JSON, at any time: what is JSON and what is not, pointers, strings, numbers, elements. */
#include "check.h"
#include "json.h"
#include "refused.h"

#include <locale.h>
#include <math.h>

static int is_text(const char *json, const char *pointer, const char *expected)
{
    return !strcmp(text(plue_json_text(json, pointer)), expected);
}

static int none(const char *element_json, void *user_data)
{
    CHECK(!user_data && json_valid(element_json));
    return 0;
}

static void what_is_json_is_read(void)
{
    static const char *const good[] = {
        "0",
        "-0",
        "-0.0e-0",
        "1E+2",
        "1.5e300",
        "10",
        "\"\"",
        "true",
        "false",
        "null",
        "[]",
        "{}",
        " [ ] ",
        "\t{\r}\n",
        "[1,2]",
        "[[],{}]",
        "{\"\":0}",
        "{\"a\":1,\"a\":2}",
        "\"\\u0000\\uD800\\uDFFF\"",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\x7f\"",
        "\"\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"",
        "[\"12345678\",\"1234567\\\"\",\"123456789\xc3\xa4\"]",
    };
    for (size_t i = 0; i < MANY(good); i++) {
        char *inside;
        CHECK(asprintf(&inside, "[%s,[%s]]", good[i], good[i]) > 0);
        CHECK(plue_json_count(inside, "") == 2 && plue_json_count(inside, "/1") == 1 && is_text(inside, "", inside));
        CHECK_ERROR(!plue_json_text(good[i], "/x"), PLUE_ERROR_NOT_FOUND);
        free(inside);
    }
    CHECK(is_text(" [ 1 , \"\\u0000\" ]\n", "", "[ 1 , \"\\u0000\" ]"));
}

static void what_is_no_json_is_refused(void)
{
    static const char *const bad[] = {
        "",
        " ",
        "[",
        "]",
        "{",
        "}",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1]]",
        "[}",
        "{]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{'a':1}",
        "{1:1}",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "[1] 2",
        "1 2",
        "nul",
        "nulll",
        "True",
        "tru",
        "NaN",
        "Infinity",
        "-Infinity",
        "01",
        "-",
        "-01",
        "+1",
        ".5",
        "1.",
        "1.e1",
        "1e",
        "1e+",
        "0x1",
        "1_0",
        "--1",
        "\"",
        "\"a",
        "\"\\\"",
        "\"\\a\"",
        "\"\\u12\"",
        "\"\\u123g\"",
        "\"\\u\"",
        "\"\\",
        "\"\\u",
        "\"a\nb\"",
        "\"\x1f\"",
        "\"\t\"",
        "'a'",
        "/**/1",
        "1//",
        "[1]\x0b",
        "\xef\xbb\xbf[]",
        "\xc2\xa0[]",
        "\"\x80\"",
        "\"\xc0\x80\"",
        "\"\xc1\xbf\"",
        "\"\xc2\"",
        "\"\xe0\x9f\xbf\"",
        "\"\xed\xa0\x80\"",
        "\"\xf0\x8f\xbf\xbf\"",
        "\"\xf4\x90\x80\x80\"",
        "\"\xf5\x80\x80\x80\"",
        "\"\xff\"",
        "\"1234567\xe2\x82\"",
        "[\xff]",
        "\xff",
        "{\"\xff\":1}",
        "{\"\\x\":1}",
    };
    for (size_t i = 0; i < MANY(bad); i++) {
        REFUSED(bad[i], "", PLUE_ERROR_JSON_PARSE);
        REFUSED(bad[i], "/a", PLUE_ERROR_JSON_PARSE);
    }
    /* the whole is checked, also behind what was found */
    REFUSED("{\"a\":[1],\"b\":tru}", "/a", PLUE_ERROR_JSON_PARSE);
    REFUSED("{\"a\":[1]} x", "/a", PLUE_ERROR_JSON_PARSE);
    CHECK_SAYS("plue_json_each: json is no JSON from byte 10 on");
}

static void pointers_find_what_they_name(void)
{
    /* RFC 6901, section 5 */
    static const char json[] = "{\"foo\":[\"bar\",\"baz\"],\"\":0,\"a/b\":1,\"c%d\":2,\"e^f\":3,\"g|h\":4,\"i\\\\j\":5,"
                               "\"k\\\"l\":6,\" \":7,\"m~n\":8}";
    static const char *const found[][2] = {
        {"", json},        {"/foo", "[\"bar\",\"baz\"]"},
        {"/foo/0", "bar"}, {"/foo/1", "baz"},
        {"/", "0"},        {"/a~1b", "1"},
        {"/c%d", "2"},     {"/e^f", "3"},
        {"/g|h", "4"},     {"/i\\j", "5"},
        {"/k\"l", "6"},    {"/ ", "7"},
        {"/m~0n", "8"},
    };
    for (size_t i = 0; i < MANY(found); i++)
        CHECK(is_text(json, found[i][0], found[i][1]));
    static const char *const nothing[] = {"/x",
                                          "/foo/2",
                                          "/foo/-",
                                          "/foo/00",
                                          "/foo/01",
                                          "/foo/",
                                          "/foo/+1",
                                          "/foo/1x",
                                          "/foo/18446744073709551616",
                                          "/foo/4294967296",
                                          "/foo/0/0",
                                          "/fo",
                                          "/fooo",
                                          "//",
                                          "/a~01b",
                                          "/foo/0/",
                                          "/m~0n/"};
    for (size_t i = 0; i < MANY(nothing); i++)
        REFUSED(json, nothing[i], PLUE_ERROR_NOT_FOUND);
    static const char *const malformed[] = {"a", "foo/0", "/~", "/~2", "/a~", "~0", "/\xff", "#/foo", " "};
    for (size_t i = 0; i < MANY(malformed); i++) {
        REFUSED(json, malformed[i], PLUE_ERROR_INVALID_PARAM);
        CHECK_SAYS("pointer is malformed");
    }
    REFUSED(NULL, "", PLUE_ERROR_INVALID_PARAM);
    REFUSED("{}", NULL, PLUE_ERROR_INVALID_PARAM);
    REFUSED(NULL, NULL, PLUE_ERROR_INVALID_PARAM);
    CHECK_ERROR(plue_json_each("[]", "", NULL, NULL) == -1, PLUE_ERROR_INVALID_PARAM);

    CHECK(is_text("{\"0\":\"a\",\"01\":\"b\",\"-\":\"c\"}", "/01", "b") && is_text("{\"-\":\"c\"}", "/-", "c"));
    CHECK(is_text("{\"\\u0061\\n~\":1}", "/a\n~0", "1") && is_text("{\"~1\":1,\"/\":2}", "/~01", "1"));
    CHECK(is_text("{\"\\ud83d\\ude00\":1}", "/\xf0\x9f\x98\x80", "1") &&
          is_text("{\"\\udc00\":1}", "/\xef\xbf\xbd", "1"));
    REFUSED("{\"a\\u0000b\":1}", "/a", PLUE_ERROR_NOT_FOUND);
    CHECK(is_text("[[1,[2,[3,4]]],[5]]", "/0/1/1/1", "4") && is_text("[[1],[2,[3]],[4]]", "/1/1/0", "3"));
    CHECK(is_text("[0,1,2,3,4,5,6,7,8,9,10]", "/10", "10"));
}

static void of_equal_keys_the_last_wins(void)
{
    CHECK(is_text("{\"a\":1,\"b\":2,\"\\u0061\":3}", "/a", "3"));
    CHECK(is_text("{\"a\":{\"b\":1},\"a\":{\"b\":{\"c\":2}}}", "/a/b/c", "2"));
    REFUSED("{\"a\":{\"b\":[1]},\"a\":{\"c\":[2]}}", "/a/b", PLUE_ERROR_NOT_FOUND);
    REFUSED("{\"a\":[[1]],\"a\":7}", "/a/0", PLUE_ERROR_NOT_FOUND);
    CHECK(plue_json_int("[{\"a\":1,\"a\":2},{\"a\":3}]", "/0/a", 0) == 2);
    CHECK(plue_json_count("{\"a\":[1,2,3],\"a\":[4]}", "/a") == 1);
    CHECK(plue_json_count("{\"a\":1,\"a\":[4]}", "") == 2);
}

static void strings_are_unescaped_to_the_byte(void)
{
    static const char *const cases[][2] = {
        {"\"\"", ""},
        {"\"a\"", "a"},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"},
        {"\"\\u0041\\u00e4\\u20AC\\ud83D\\uDe00\\uffff\"", "A\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\xef\xbf\xbf"},
        {"\"\\udbff\\udfff\\ud800\\udc00\"", "\xf4\x8f\xbf\xbf\xf0\x90\x80\x80"},
        {"\"\\ud800\"", "\xef\xbf\xbd"},
        {"\"\\udc00\\ud800\"", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\"\\ud800\\ud83d\\ude00\"", "\xef\xbf\xbd\xf0\x9f\x98\x80"},
        {"\"\\ud800\\u0041\\ud800\\n\\ud800x\"", "\xef\xbf\xbd"
                                                 "A\xef\xbf\xbd\n\xef\xbf\xbdx"},
        {"\"\\ud800\\\\udc00\"", "\xef\xbf\xbd\\udc00"},
        {"\"\xc3\xa4\\u00e4\xf0\x9f\x98\x80\"", "\xc3\xa4\xc3\xa4\xf0\x9f\x98\x80"},
        {"\"\x7f\\u007f\\u0001\"", "\x7f\x7f\x01"},
    };
    for (size_t i = 0; i < MANY(cases); i++)
        CHECK(is_text(cases[i][0], "", cases[i][1]));
    CHECK_ERROR(!plue_json_text("\"a\\u0000b\"", ""), PLUE_ERROR_INVALID_PARAM);
    CHECK_SAYS("has a NUL");
    CHECK_ERROR(!plue_json_text("\"\\ud800\\u0000\"", ""), PLUE_ERROR_INVALID_PARAM);
    CHECK(is_text("[\"\\u0000\"]", "", "[\"\\u0000\"]"));
    for (int code = 1; code < 0x10000; code++) { /* what quote makes, text takes back */
        char json[16], *plain, *quoted;
        snprintf(json, sizeof json, "\"\\u%04x\"", (unsigned)code);
        CHECK((plain = plue_json_text(json, "")) && (quoted = plue_json_quote(plain)));
        CHECK(is_text(quoted, "", plain));
        plue_free(plain);
        plue_free(quoted);
    }
}

static void numbers_are_exact(void)
{
    static const struct {
        const char *json;
        int64_t whole;
        double real;
    } cases[] = {
        {"0", 0, 0},
        {"-0", 0, -0.0},
        {"7", 7, 7},
        {"-7", -7, -7},
        {"1.9", 1, 1.9},
        {"-1.9", -1, -1.9},
        {"0.9", 0, 0.9},
        {"1e3", 1000, 1000},
        {"1.5e1", 15, 15},
        {"15e-1", 1, 1.5},
        {"123E-3", 0, 0.123},
        {"0e999999999999999999999", 0, 0},
        {"1e-999999999999999999999", 0, 0},
        {"0.00012345e6", 123, 123.45},
        {"12.0e+00", 12, 12},
        {"9007199254740993", 9007199254740993, 9007199254740992.0},
        {"9007199254740993.0", 9007199254740993, 9007199254740992.0},
        {"9223372036854775807", INT64_MAX, 9223372036854775808.0},
        {"-9223372036854775808", INT64_MIN, -9223372036854775808.0},
        {"9223372036854775808", 77, 9223372036854775808.0},
        {"-9223372036854775809", 77, -9223372036854775808.0},
        {"9223372036854775807.99", INT64_MAX, 9223372036854775808.0},
        {"922337203685477580.7e1", INT64_MAX, 9223372036854775808.0},
        {"1e18", 1000000000000000000, 1e18},
        {"1e19", 77, 1e19},
        {"1e308", 77, 1e308},
        {"1e309", 77, 7.5},
        {"-1e309", 77, 7.5},
        {"4.9e-324", 0, 4.9e-324},
        {"0.1", 0, 0.1},
        {"2.2250738585072011e-308", 0, 2.2250738585072011e-308},
        {"true", 1, 7.5},
        {"false", 0, 7.5},
        {"null", 77, 7.5},
        {"\"1\"", 77, 7.5},
        {"[1]", 77, 7.5},
        {"{\"1\":1}", 77, 7.5},
    };
    static const char *const locales[] = {"C", "de_DE.UTF-8", "de_DE.utf8", "de_DE"};
    for (size_t l = 0; l < MANY(locales); l++) {
        int set = setlocale(LC_ALL, locales[l]) != NULL;
        printf("locale %s: %s\n", locales[l],
               !set                                  ? "not here"
               : *localeconv()->decimal_point == ',' ? "comma"
                                                     : "point");
        for (size_t i = 0; set && i < MANY(cases); i++) {
            char json[64];
            snprintf(json, sizeof json, "[%s,5]", cases[i].json);
            CHECK(plue_json_int(cases[i].json, "", 77) == cases[i].whole);
            CHECK(plue_json_int(json, "/0", 77) == cases[i].whole);
            double real = plue_json_double(json, "/0", 7.5);
            CHECK(real == cases[i].real && signbit(real) == signbit(cases[i].real));
            CHECK(plue_json_double(cases[i].json, "", 7.5) == cases[i].real);
        }
    }
    setlocale(LC_ALL, "C");
}

/* ---- each ---- */
typedef struct {
    char seen[512];
    int stop_at, count;
} visits;

static int note(const char *element_json, void *user_data)
{
    visits *of = user_data;
    strcat(strcat(of->seen, element_json), "|");
    return ++of->count == of->stop_at ? of->count + 40 : 0;
}

static int gives(const char *json, const char *pointer, int stop_at, int answer, const char *seen)
{
    visits of = {.stop_at = stop_at};
    int got = plue_json_each(json, pointer, note, &of);
    return got == answer && !strcmp(of.seen, seen);
}

static int sum_each(const char *element_json, void *user_data)
{
    *(int *)user_data += (int)plue_json_int(element_json, "", 0);
    return plue_json_each(element_json, "", sum_each, user_data) > 0;
}

static void elements_are_visited_once_and_in_order(void)
{
    static const char json[] =
        " {\"list\" : [ 1 , \"b\" , [2, [3]] , {\"x\" : 4} , null ] , \"e\\u0061\" : {\"k\\\"\":[5],"
        "\"v\": true,\"k\\\"\":6} }";
    CHECK(gives(json, "/list", 0, 0, "1|\"b\"|[2, [3]]|{\"x\" : 4}|null|"));
    CHECK(gives(json, "/list", 2, 42, "1|\"b\"|"));
    CHECK(gives(json, "/list", 5, 45, "1|\"b\"|[2, [3]]|{\"x\" : 4}|null|"));
    CHECK(gives(json, "/list/2", 0, 0, "2|[3]|") && gives(json, "/list/2/1", 0, 0, "3|"));
    CHECK(gives(json, "/ea", 0, 0,
                "{\"key\":\"k\\\"\",\"value\":[5]}|{\"key\":\"v\",\"value\":true}|"
                "{\"key\":\"k\\\"\",\"value\":6}|"));
    CHECK(gives("{\"a\":[{\"b\":1}]}", "", 0, 0, "{\"key\":\"a\",\"value\":[{\"b\":1}]}|"));
    CHECK(gives("[]", "", 0, 0, "") && gives("{}", "", 1, 0, "") && gives("[[]]", "/0", 0, 0, ""));
    CHECK(gives("{\"a\":[1],\"a\":[2]}", "/a", 0, 0, "2|"));
    CHECK(plue_json_count(json, "/list") == 5 && plue_json_count(json, "/ea") == 3 && plue_json_count("[]", "") == 0);
    /* the text is checked as far as it was visited */
    CHECK(gives("[1,2,x", "", 2, 42, "1|2|") && gives("[1,2,x", "", 3, -1, "1|2|"));
    CHECK(plue_get_last_error_code() == PLUE_ERROR_JSON_PARSE);
    CHECK(gives("[1] ]", "", 0, -1, "1|") && gives("{\"a\":[1],x", "/a", 1, -1, ""));
    for (const char *scalars = "1\0\"a\"\0true\0null\0"; *scalars; scalars += strlen(scalars) + 1) {
        CHECK_ERROR(plue_json_each(scalars, "", none, NULL) == -1, PLUE_ERROR_INVALID_PARAM);
        CHECK_ERROR(plue_json_count(scalars, "") == -1, PLUE_ERROR_INVALID_PARAM);
        CHECK_SAYS("neither array nor object");
    }
    CHECK_ERROR(plue_json_each("{\"a\":1}", "/a", none, NULL) == -1, PLUE_ERROR_INVALID_PARAM);
    int sum = 0;
    CHECK(plue_json_each("[1,[2,[3,4],5],[[[6]]]]", "", sum_each, &sum) == 0 && sum == 21);
}

/* ---- at any time ---- */
static void all_work(void)
{
    visits of = {.stop_at = 0};
    CHECK(is_text("{\"a\":\"b\"}", "/a", "b") && plue_json_int("1", "", 0) == 1 &&
          plue_json_double("1.5", "", 0) == 1.5);
    CHECK(plue_json_count("[1]", "") == 1 && plue_json_each("[1]", "", note, &of) == 0 && of.count == 1);
    CHECK(!strcmp(text(plue_json_quote("a\"\n")), "\"a\\\"\\n\""));
    CHECK_ERROR(!plue_json_quote(NULL), PLUE_ERROR_INVALID_PARAM);
    CHECK(plue_version_number() == PLUE_VERSION_NUMBER);
}

static void *numbers_set_no_error(void *unused)
{
    static char deep[100000];
    memset(deep, '[', sizeof deep - 1);
    static const char *const pointers[] = {"", "/a", "a", "/~", NULL};
    const char *texts[] = {"", "[", "{}", "\"\xff\"", deep, NULL};
    for (size_t i = 0; i < MANY(texts); i++)
        for (size_t k = 0; k < MANY(pointers); k++)
            CHECK(plue_json_int(texts[i], pointers[k], 5) == 5 && plue_json_double(texts[i], pointers[k], 5) == 5);
    CHECK(plue_get_last_error_code() == PLUE_OK && !strcmp(plue_get_last_error(), "No error"));
    return unused;
}

int main(void)
{
    all_work();
    end(run(numbers_set_no_error, NULL));
    what_is_json_is_read();
    what_is_no_json_is_refused();
    pointers_find_what_they_name();
    of_equal_keys_the_last_wins();
    strings_are_unescaped_to_the_byte();
    numbers_are_exact();
    elements_are_visited_once_and_in_order();
    CHECK_ERROR(!plue_session_list(), PLUE_ERROR_NOT_INITIALIZED);
    start("");
    all_work();
    end(run(numbers_set_no_error, NULL));
    plue_shutdown();
    all_work();
    return 0;
}
