/*
 * Reading JSON by RFC 8259, with pointers by RFC 6901.
 *
 * One pass checks the whole text and finds what the pointer names. It does not recurse, so that no depth of nesting
 * uses up the caller's stack: whether an open bracket is an object's is one bit, in the caller's frame for the first
 * levels, then in a mapping. Nothing is allocated but the text of an element, so that a forked child may read as well.
 */
#include "reader.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { BITS = 64 };
#define NOWHERE UINT64_MAX
#define EACH_BYTE(c) (UINT64_C(0x0101010101010101) * (c))

/* ---- the parts of a text: each returns its end, or NULL ---- */
static inline const char *space(const char *at)
{
    while (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')
        at++;
    return at;
}

/* From behind the opening quotation mark. */
static inline const char *string(const char *at, const char *end)
{
    for (;;) {
        while (end - at >= 8) {
            uint64_t eight;
            memcpy(&eight, at, 8);
            eight = le64toh(eight);
            /* The top bit of the first byte that is a quotation mark, a backslash, a control character or not ASCII. */
            uint64_t marks = (eight | (eight - EACH_BYTE(0x20)) | ((eight ^ EACH_BYTE('"')) - EACH_BYTE(1)) |
                              ((eight ^ EACH_BYTE('\\')) - EACH_BYTE(1))) &
                             EACH_BYTE(0x80);
            if (marks) {
                at += __builtin_ctzll(marks) / 8;
                break;
            }
            at += 8;
        }
        unsigned char c = (unsigned char)*at;
        if (c == '"')
            return at + 1;
        if (c < 0x20)
            return NULL;
        if (c >= 0x80) {
            const char *from = at;
            while ((unsigned char)*at >= 0x80)
                at++;
            if (!core_is_utf8(from, (size_t)(at - from)))
                return NULL;
        } else if (c != '\\')
            at++;
        else if (*++at == 'u') {
            for (int i = 1; i <= 4; i++)
                if (core_hex(at[i]) < 0)
                    return NULL;
            at += 5;
        } else if (*at && strchr("\"\\/bfnrt", *at))
            at++;
        else
            return NULL;
    }
}

const char *core_digits(const char *at)
{
    const char *from = at;
    while (*at >= '0' && *at <= '9')
        at++;
    return at > from ? at : NULL;
}

static inline const char *number(const char *at)
{
    at += *at == '-';
    at = *at == '0' ? at + 1 : core_digits(at);
    if (at && *at == '.')
        at = core_digits(at + 1);
    if (at && (*at | 32) == 'e')
        at = core_digits(at + 1 + (at[1] == '-' || at[1] == '+'));
    return at;
}

static inline const char *word(const char *at, const char *expected)
{
    size_t length = strlen(expected);
    return strncmp(at, expected, length) ? NULL : at + length;
}

/* ---- pointers ---- */
static int is_pointer(const char *text)
{
    if (*text && *text != '/')
        return 0;
    for (const char *at = text; (at = strchr(at, '~')); at++)
        if (at[1] != '0' && at[1] != '1')
            return 0;
    return core_is_utf8(text, strlen(text));
}

static inline int ends(const char *token)
{
    return !*token || *token == '/';
}

static int names(const char *key, const char *end, const char *token)
{
    char bytes[4];
    while (key < end) {
        size_t count = core_decode(&key, bytes);
        for (size_t i = 0; i < count; i++, token++) {
            if (ends(token))
                return 0;
            char c = *token == '~' ? *++token == '0' ? '~' : '/' : *token;
            if (c != bytes[i])
                return 0;
        }
    }
    return ends(token);
}

static uint64_t index_of(const char *step)
{
    if (!*step || (step[1] == '0' && !ends(step + 2)))
        return NOWHERE;
    uint64_t index = 0;
    const char *at = step + 1;
    while (*at >= '0' && *at <= '9' && at - step < 10)
        index = index * 10 + (uint64_t)(*at++ - '0');
    return at > step + 1 && ends(at) ? index : NOWHERE;
}

/* ---- the pass ---- */
static int more_levels(core_reader *of)
{
    uint64_t *many = mmap(NULL, CORE_LONGEST / 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                          -1, 0);
    if (many == MAP_FAILED)
        return PLUE_ERROR_IO;
    memcpy(many, of->few, sizeof of->few);
    of->levels = many;
    of->room = CORE_LONGEST;
    return 0;
}

static int show(core_reader *of, const char *key, size_t key_length, const char *value, size_t length)
{
    static const char before[] = "{\"key\":", between[] = ",\"value\":";
    size_t needed = length + 1 + (key ? key_length + sizeof before + sizeof between : 0);
    if (needed > of->element_room) {
        free(of->element);
        of->element_room = 0;
        if (!(of->element = malloc(2 * needed)))
            return PLUE_ERROR_IO;
        of->element_room = 2 * needed;
    }
    char *to = of->element;
    if (key)
        to = mempcpy(mempcpy(mempcpy(to, before, sizeof before - 1), key, key_length), between, sizeof between - 1);
    to = mempcpy(to, value, length);
    if (key)
        *to++ = '}';
    *to = 0;
    of->answer = of->visit(of->element, of->user_data);
    return 0;
}

/*
 * 0, or what is wrong. `depth` brackets are open, and the first `watch` of them hold what the pointer names, or its
 * elements; `named`: so does the value that begins or has just ended.
 */
static int pass(core_reader *of)
{
    const char *at = space(of->json), *begin = at, *value = at, *key = NULL, *key_end = NULL;
    size_t depth = 0, watch = 0;
    uint64_t index = 0, wanted = NOWHERE;
    int named = 1, object = 0, failed;
begin:
    if (depth == watch) {
        value = at;
        if (named && !*of->step) {
            begin = at;
            of->count = 0;
        }
    }
    of->wrong = at;
    switch (*at) {
    case '{':
    case '[':
        if (depth == of->room && (failed = more_levels(of)))
            return failed;
        object = *at == '{';
        uint64_t bit = UINT64_C(1) << depth % BITS, *level = &of->levels[depth / BITS];
        *level = object ? *level | bit : *level & ~bit;
        depth++;
        if (named) {
            watch = depth;
            index = 0;
            wanted = index_of(of->step);
            named = 0;
        }
        at = space(at + 1);
        if (*at == (object ? '}' : ']'))
            goto close;
        goto member;
    case '"':
        at = string(at + 1, of->end);
        break;
    case 't':
        at = word(at, "true");
        break;
    case 'f':
        at = word(at, "false");
        break;
    case 'n':
        at = word(at, "null");
        break;
    default:
        at = number(at);
    }
    if (!at)
        return PLUE_ERROR_JSON_PARSE;
ended:
    if (depth == watch) {
        if (named) {
            named = 0;
            if (!*of->step) {
                of->found = begin;
                of->found_end = at;
            }
            if (depth) {
                do
                    of->step--;
                while (*of->step != '/');
                wanted = NOWHERE;
            }
        } else if (!*of->step) {
            of->count++;
            if (of->visit) {
                failed = show(of, object ? key : NULL, (size_t)(key_end - key), value, (size_t)(at - value));
                if (failed || of->answer)
                    return failed;
            }
        }
    }
    if (!depth) {
        of->wrong = of->inside ? of->end : space(at);
        return *of->wrong ? PLUE_ERROR_JSON_PARSE : of->found ? 0 : PLUE_ERROR_NOT_FOUND;
    }
    of->wrong = at = space(at);
    if (*at == ',') {
        at = space(at + 1);
        goto member;
    }
    if (*at != (object ? '}' : ']'))
        return PLUE_ERROR_JSON_PARSE;
close:
    at++;
    named = depth == watch;
    watch -= (size_t)named;
    depth--;
    object = depth && of->levels[(depth - 1) / BITS] >> (depth - 1) % BITS & 1;
    goto ended;
member:
    if (object) {
        const char *name = of->wrong = at;
        if (*at != '"' || !(at = string(at + 1, of->end)))
            return PLUE_ERROR_JSON_PARSE;
        if (depth == watch) {
            key = name;
            key_end = at;
        }
        of->wrong = at = space(at);
        if (*at != ':')
            return PLUE_ERROR_JSON_PARSE;
        at = space(at + 1);
    }
    if (depth == watch && *of->step) {
        named = object ? names(key + 1, key_end - 1, of->step + 1) : index++ == wanted;
        if (named) {
            of->found = NULL; /* what was found below an equal key before does not count */
            of->step += 1 + strcspn(of->step + 1, "/");
        }
    }
    goto begin;
}

int core_read(core_reader *of)
{
    of->levels = of->few;
    of->room = CORE_FEW_LEVELS;
    int failed = pass(of);
    if (of->levels != of->few)
        munmap(of->levels, CORE_LONGEST / 8);
    return failed;
}

int core_reader_prepare(core_reader *of, const char *json, const char *pointer)
{
    *of = (core_reader){.json = json, .pointer = pointer, .step = pointer};
    if (!json || !pointer || !is_pointer(pointer))
        return PLUE_ERROR_INVALID_PARAM;
    of->end = json + strnlen(json, CORE_LONGEST + 1);
    return of->end - json > CORE_LONGEST ? PLUE_ERROR_LIMIT_EXCEEDED : 0;
}
