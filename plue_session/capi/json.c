/* What a host reads JSON with, at any time: no Python, and nothing that plue_init() makes. */
#include "reader.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>

static int find(core_reader *of, const char *json, const char *pointer)
{
    int failed = core_reader_prepare(of, json, pointer);
    return failed ? failed : core_read(of);
}

static void fail(const char *operation, const core_reader *of, int code)
{
    if (code == PLUE_ERROR_LIMIT_EXCEEDED)
        core_fail(code, operation, "json has more than %d bytes. Shorten it.", CORE_LONGEST);
    else if (code == PLUE_ERROR_JSON_PARSE)
        core_fail(code, operation, "json is no JSON from byte %td on. Pass one value as RFC 8259 has it, in UTF-8.",
                  of->wrong - of->json);
    else if (code == PLUE_ERROR_NOT_FOUND)
        core_fail(code, operation, "nothing is at %.200s. Look at what json has.", of->pointer);
    else if (code == PLUE_ERROR_IO)
        core_fail(code, operation, "out of memory. Free some and try again.");
    else if (!of->json || !of->pointer)
        core_fail(code, operation, "Invalid parameters: %s is NULL. Pass a text.", of->json ? "pointer" : "json");
    else
        core_fail(
            code, operation,
            "Invalid parameters: pointer is malformed: %.200s. Pass \"\" for the whole, or \"/key/0\" in UTF-8 with "
            "~1 for a slash and ~0 for a tilde.",
            of->pointer);
}

static int holds(const char *operation, const core_reader *of)
{
    if (*of->found == '[' || *of->found == '{')
        return 1;
    core_fail(PLUE_ERROR_INVALID_PARAM, operation,
              "Invalid parameters: what is at \"%.200s\" is neither array nor object. Read it with plue_json_text().",
              of->pointer);
    return 0;
}

/* ---- for the host ---- */
char *plue_json_text(const char *json, const char *pointer)
{
    static const char *const operation = "plue_json_text";
    core_reader of;
    int failed = core_refuse_fork(operation);
    if (failed)
        return NULL;
    if ((failed = find(&of, json, pointer))) {
        fail(operation, &of, failed);
        return NULL;
    }
    size_t length = (size_t)(of.found_end - of.found);
    char *text = *of.found == '"' ? core_new_text(length) : core_own(of.found, length);
    if (!text)
        fail(operation, &of, PLUE_ERROR_IO);
    else if (*of.found == '"' && core_unescape(of.found + 1, of.found_end - 1, text)) {
        plue_free(text);
        core_fail(PLUE_ERROR_INVALID_PARAM, operation,
                  "Invalid parameters: the string at \"%.200s\" has a NUL in it. Read what it is in with "
                  "plue_json_text(), which leaves it escaped.",
                  pointer);
        return NULL;
    }
    return text;
}

int64_t plue_json_int(const char *json, const char *pointer, int64_t otherwise)
{
    core_reader of;
    if (find(&of, json, pointer))
        return otherwise;
    const char *at = of.found;
    if (*at == 't' || *at == 'f')
        return *at == 't';
    int negative = *at == '-';
    at += negative;
    const char *whole = core_digits(at);
    if (!whole)
        return otherwise;
    /* Of the digits, the point left out, as many count as the exponent says; zeros follow them. */
    const char *end = *whole == '.' ? core_digits(whole + 1) : whole, *power = end + 1;
    int64_t counted = whole - at, exponent = 0;
    if (end < of.found_end) {
        int down = *power == '-';
        for (power += down || *power == '+'; power < of.found_end && exponent < 4 * CORE_LONGEST; power++)
            exponent = exponent * 10 + (*power - '0');
        counted += down ? -exponent : exponent;
    }
    uint64_t value = 0, most = (uint64_t)INT64_MAX + (uint64_t)negative;
    for (; counted > 0 && (at < end || value); counted--) {
        at += at == whole && at < end;
        uint64_t digit = at < end ? (uint64_t)(*at++ - '0') : 0;
        if (value > (most - digit) / 10)
            return otherwise;
        value = value * 10 + digit;
    }
    return negative ? (int64_t)(0 - value) : (int64_t)value;
}

double plue_json_double(const char *json, const char *pointer, double otherwise)
{
    core_reader of;
    if (find(&of, json, pointer) || (*of.found != '-' && !core_digits(of.found)))
        return otherwise;
    locale_t plain = newlocale(LC_ALL_MASK, "C", NULL); /* the C library's own, not a new one */
    double value = plain ? strtod_l(of.found, NULL, plain) : otherwise;
    if (plain)
        freelocale(plain);
    return __builtin_isinf(value) ? otherwise : value;
}

int plue_json_count(const char *json, const char *pointer)
{
    static const char *const operation = "plue_json_count";
    core_reader of;
    if (core_refuse_fork(operation))
        return -1;
    int failed = find(&of, json, pointer);
    if (failed)
        fail(operation, &of, failed);
    return failed || !holds(operation, &of) ? -1 : of.count;
}

int plue_json_each(const char *json, const char *pointer, int (*visit)(const char *element_json, void *user_data),
                   void *user_data)
{
    static const char *const operation = "plue_json_each";
    core_reader of;
    if (core_refuse_fork(operation))
        return -1;
    if (!visit) {
        core_fail(PLUE_ERROR_INVALID_PARAM, operation, "Invalid parameters: visit is NULL. Pass a function.");
        return -1;
    }
    int failed = core_reader_prepare(&of, json, pointer);
    if (!failed && *pointer && !(failed = core_read(&of))) { /* only now it is known which of equal keys is the last */
        if (!holds(operation, &of))
            return -1;
        of.json = of.found;
        of.step = "";
        of.inside = 1;
    }
    if (!failed) {
        of.visit = visit;
        of.user_data = user_data;
        failed = core_read(&of);
        free(of.element);
    }
    if (failed)
        fail(operation, &of, failed);
    return failed || (!of.answer && !holds(operation, &of)) ? -1 : of.answer;
}
