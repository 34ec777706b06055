/* UTF-8 and JSON text. */
#include "core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
        /* The first continuation byte is narrower after E0, ED, F0, F4: no overlong forms, surrogates, > U+10FFFF. */
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
    if (length <= CORE_LONGEST && core_is_utf8(text, length))
        return 0;
    snprintf(subject, sizeof subject, "%s%s%s", operation, session ? " " : "", session ? session : "");
    if (length > CORE_LONGEST)
        core_fail(PLUE_ERROR_LIMIT_EXCEEDED, subject, "%s has %zu bytes, a text may have %d. Shorten it.", name, length,
                  CORE_LONGEST);
    else
        core_fail(PLUE_ERROR_INVALID_PARAM, subject, "Invalid parameters: %s is not valid UTF-8. Convert it first.",
                  name);
    return -1;
}

/* What stands for the byte after a backslash: a letter, 'u' for a number, 0 for the byte itself. */
static inline char escape(unsigned char c)
{
    switch (c) {
    case '"':
    case '\\':
        return (char)c;
    case '\n':
        return 'n';
    case '\t':
        return 't';
    case '\r':
        return 'r';
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    default:
        return c < 0x20 || c == 0x7F ? 'u' : 0;
    }
}

size_t core_quoted_length(const char *text, size_t length)
{
    size_t quoted = length + 2;
    for (size_t i = 0; i < length; i++) {
        char letter = escape((unsigned char)text[i]);
        quoted += letter == 'u' ? 5 : letter != 0;
    }
    return quoted;
}

void core_quote(const char *text, size_t length, char *to)
{
    static const char hex[] = "0123456789abcdef";
    *to++ = '"';
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        char letter = escape(c);
        if (!letter)
            *to++ = (char)c;
        else {
            *to++ = '\\';
            *to++ = letter;
            if (letter == 'u') {
                *to++ = '0';
                *to++ = '0';
                *to++ = hex[c >> 4];
                *to++ = hex[c & 15];
            }
        }
    }
    *to++ = '"';
    *to = 0;
}

int core_hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

static uint32_t code_unit(const char *digits)
{
    uint32_t unit = 0;
    for (int i = 0; i < 4; i++)
        unit = unit << 4 | (uint32_t)core_hex(digits[i]);
    return unit;
}

size_t core_decode(const char **at, char *to)
{
    static const char letters[] = "bfnrt", meant[] = "\b\f\n\r\t";
    const char *from = *at;
    if (*from != '\\' || from[1] != 'u') {
        int escaped = *from == '\\';
        const char *letter = escaped ? strchr(letters, from[1]) : NULL;
        *to = letter ? meant[letter - letters] : from[escaped];
        *at = from + 1 + escaped;
        return 1;
    }
    uint32_t code = code_unit(from + 2);
    *at = from + 6;
    if (code >> 10 == 0x36 && from[6] == '\\' && from[7] == 'u' && code_unit(from + 8) >> 10 == 0x37) {
        code = 0x10000 + ((code & 0x3FF) << 10 | (code_unit(from + 8) & 0x3FF));
        *at = from + 12;
    } else if (code >> 11 == 0x1B)
        code = 0xFFFD; /* half of a pair */
    if (code < 0x80) {
        *to = (char)code;
        return 1;
    }
    size_t length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = length; --i; code >>= 6)
        to[i] = (char)(0x80 | (code & 0x3F));
    *to = (char)(0xF00 >> length | code);
    return length;
}

int core_unescape(const char *at, const char *end, char *to)
{
    while (at < end) {
        const char *escape = memchr(at, '\\', (size_t)(end - at));
        to = mempcpy(to, at, (size_t)((escape ? escape : end) - at));
        at = escape ? escape : end;
        if (escape) {
            to += core_decode(&at, to);
            if (!to[-1])
                return -1;
        }
    }
    *to = 0;
    return 0;
}

char *plue_json_quote(const char *text)
{
    if (core_refuse_fork("plue_json_quote"))
        return NULL;
    if (!text) {
        core_fail(PLUE_ERROR_INVALID_PARAM, "plue_json_quote",
                  "Invalid parameters: text is NULL. Pass \"\" for an empty string.");
        return NULL;
    }
    size_t length = strlen(text);
    if (core_check_text("plue_json_quote", NULL, "text", text, length))
        return NULL;
    char *quoted = core_new_text(core_quoted_length(text, length) + 1);
    if (quoted)
        core_quote(text, length, quoted);
    else
        core_fail(PLUE_ERROR_IO, "plue_json_quote", "out of memory. Free some and try again.");
    return quoted;
}
