/* UTF-8 and JSON text. */
#include "core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 64 << 20 };

int core_is_utf8(const char *text, size_t length)
{
    const unsigned char *at = (const unsigned char *)text, *end = at + length;
    while (at < end) {
        if (end - at >= 8) {
            uint64_t eight;
            memcpy(&eight, at, 8);
            if (!(eight & UINT64_C(0x8080808080808080))) {
                at += 8;
                continue;
            }
        }
        unsigned char first = *at++;
        if (first < 0x80)
            continue;
        /* The first continuation byte is narrower after E0, ED, F0, F4: no overlong forms, surrogates, beyond U+10FFFF. */
        unsigned low = 0x80, high = 0xBF;
        int more;
        if (first >= 0xC2 && first <= 0xDF)
            more = 1;
        else if (first >= 0xE0 && first <= 0xEF) {
            more = 2;
            low = first == 0xE0 ? 0xA0 : low;
            high = first == 0xED ? 0x9F : high;
        } else if (first >= 0xF0 && first <= 0xF4) {
            more = 3;
            low = first == 0xF0 ? 0x90 : low;
            high = first == 0xF4 ? 0x8F : high;
        } else
            return 0;
        for (; more; more--, low = 0x80, high = 0xBF) {
            if (at == end || *at < low || *at > high)
                return 0;
            at++;
        }
    }
    return 1;
}

void core_make_utf8(char *text)
{
    size_t length = strlen(text);
    if (core_is_utf8(text, length))
        return;
    for (size_t i = 0; i < length; i++) {
        size_t run = 1;
        while (run < 4 && i + run < length && !core_is_utf8(text + i, run))
            run++;
        if (core_is_utf8(text + i, run))
            i += run - 1;
        else
            text[i] = '?';
    }
}

int core_check_text(const char *operation, const char *session, const char *name, const char *text, size_t length)
{
    char subject[256];
    if (length <= LONGEST && core_is_utf8(text, length))
        return 0;
    snprintf(subject, sizeof subject, "%s%s%s", operation, session ? " " : "", session ? session : "");
    if (length > LONGEST)
        core_fail(PLUE_ERROR_LIMIT_EXCEEDED, subject, "%s has %zu bytes, a text may have %d. Shorten it.", name, length, LONGEST);
    else
        core_fail(PLUE_ERROR_INVALID_PARAM, subject, "Invalid parameters: %s is not valid UTF-8. Convert it first.", name);
    return -1;
}

char *core_quote(const char *text, size_t length, size_t *out_length)
{
    static const char hex[] = "0123456789abcdef";
    char *out = malloc(length * 6 + 3), *to = out;
    if (!out)
        return NULL;
    *to++ = '"';
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        const char *shorthand = c == '"' ? "\\\"" : c == '\\' ? "\\\\" : c == '\n' ? "\\n" : c == '\t' ? "\\t"
                              : c == '\r' ? "\\r" : c == '\b' ? "\\b" : c == '\f' ? "\\f" : NULL;
        if (shorthand) {
            *to++ = shorthand[0];
            *to++ = shorthand[1];
        } else if (c < 0x20 || c == 0x7F) {
            memcpy(to, "\\u00", 4);
            to[4] = hex[c >> 4];
            to[5] = hex[c & 15];
            to += 6;
        } else
            *to++ = (char)c;
    }
    *to++ = '"';
    *to = 0;
    if (out_length)
        *out_length = (size_t)(to - out);
    return out;
}

char *plue_json_quote(const char *text)
{
    if (core_ready("plue_json_quote"))
        return NULL;
    if (!text) {
        core_fail(PLUE_ERROR_INVALID_PARAM, "plue_json_quote", "Invalid parameters: text is NULL. Pass \"\" for an empty string.");
        return NULL;
    }
    size_t length = strlen(text), quoted_length;
    if (core_check_text("plue_json_quote", NULL, "text", text, length))
        return NULL;
    char *quoted = core_quote(text, length, &quoted_length), *result = NULL;
    if (quoted)
        result = core_own(quoted, quoted_length);
    free(quoted);
    if (!result)
        core_fail(PLUE_ERROR_IO, "plue_json_quote", "out of memory. Free some and try again.");
    return result;
}
