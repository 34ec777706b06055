/* Enough JSON to judge what the library returns: is it valid, and what stands at a path. */
#ifndef JSON_H
#define JSON_H
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static inline const char *json_space(const char *at)
{
    while (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')
        at++;
    return at;
}

static inline const char *json_string(const char *at)
{
    if (*at++ != '"')
        return NULL;
    while (*at != '"') {
        if ((unsigned char)*at < 0x20)
            return NULL;
        if (*at++ == '\\') {
            if (*at == 'u') {
                for (int i = 1; i <= 4; i++)
                    if (!isxdigit((unsigned char)at[i]))
                        return NULL;
                at += 5;
            } else if (*at && strchr("\"\\/bfnrt", *at))
                at++;
            else
                return NULL;
        }
    }
    return at + 1;
}

/* Return what follows the value at `at`, or NULL when it is none. */
static inline const char *json_value(const char *at)
{
    static const char *const words[] = {"true", "false", "null"};
    at = json_space(at);
    if (*at == '"')
        return json_string(at);
    if (*at == '{' || *at == '[') {
        char close = *at == '{' ? '}' : ']';
        at = json_space(at + 1);
        if (*at == close)
            return at + 1;
        for (;;) {
            if (close == '}') {
                at = json_string(json_space(at));
                if (!at || *(at = json_space(at)) != ':')
                    return NULL;
                at++;
            }
            at = json_value(at);
            if (!at)
                return NULL;
            at = json_space(at);
            if (*at == close)
                return at + 1;
            if (*at++ != ',')
                return NULL;
        }
    }
    for (size_t i = 0; i < 3; i++)
        if (!strncmp(at, words[i], strlen(words[i])))
            return at + strlen(words[i]);
    const char *begin = at + (*at == '-');
    if (!isdigit((unsigned char)*begin) || (*begin == '0' && isdigit((unsigned char)begin[1])))
        return NULL;
    char *end;
    (void)strtod(at, &end);
    return end;
}

static inline int json_valid(const char *text)
{
    const char *end = text ? json_value(text) : NULL;
    return end && !*json_space(end);
}

/* Return the raw text at a path such as "time.created" in a new string, or NULL. */
static inline char *json_at(const char *text, const char *path)
{
    size_t length = strcspn(path, ".");
    const char *at = json_space(text);
    if (*at != '{')
        return NULL;
    at = json_space(at + 1);
    while (*at == '"') {
        const char *key = at + 1, *end = json_string(at);
        const char *value = json_space(json_space(end) + 1);
        const char *after = json_value(value);
        if ((size_t)(end - key - 1) == length && !strncmp(key, path, length))
            return path[length] ? json_at(value, path + length + 1) : strndup(value, (size_t)(after - value));
        at = json_space(after);
        if (*at == ',')
            at = json_space(at + 1);
    }
    return NULL;
}

/* Whether the raw text at `path` is `wanted`; a `wanted` of NULL: there is nothing. */
static inline int json_is(const char *text, const char *path, const char *wanted)
{
    char *found = text ? json_at(text, path) : NULL;
    int same = wanted ? found && !strcmp(found, wanted) : text && !found;
    free(found);
    return same;
}

static inline long long json_number(const char *text, const char *path)
{
    char *found = json_at(text, path);
    long long number = found ? strtoll(found, NULL, 10) : -1;
    free(found);
    return number;
}

/* The string at `path` without its quotes, for strings that need no unescaping. */
static inline char *json_text(const char *text, const char *path)
{
    char *found = json_at(text, path);
    if (!found || *found != '"') {
        free(found);
        return NULL;
    }
    size_t length = strlen(found);
    memmove(found, found + 1, length - 2);
    found[length - 2] = 0;
    return found;
}

/* How many values an array holds; -1 when it is none. */
static inline int json_count(const char *text)
{
    int count = 0;
    const char *at = json_space(text);
    if (*at != '[' || !json_valid(text))
        return -1;
    for (at = json_space(at + 1); *at != ']'; count++) {
        at = json_space(json_value(at));
        if (*at == ',')
            at = json_space(at + 1);
    }
    return count;
}
#endif
