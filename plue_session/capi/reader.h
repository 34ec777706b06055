/* One pass over a JSON text. */
#ifndef READER_H
#define READER_H

#include "core.h"

enum { CORE_FEW_LEVELS = 4096 };

typedef struct core_reader {
    const char *json, *end;
    const char *pointer, *step;    /* the "/" before what is looked for next, or the pointer's end */
    const char *found, *found_end; /* NULL: nothing is there */
    const char *wrong;             /* where it is not JSON */
    int count;                     /* of what was found: elements or members */
    int (*visit)(const char *element_json, void *user_data);
    void *user_data;
    int answer; /* of the visit that stopped it */
    int inside; /* it begins within a text, whose rest is not looked at */
    char *element;
    size_t element_room;
    size_t room;
    uint64_t *levels, few[CORE_FEW_LEVELS / 64];
} core_reader;

/* 0, or the code of what is wrong; sets no error. */
int core_reader_prepare(core_reader *of, const char *json, const char *pointer);
int core_read(core_reader *of);
const char *core_digits(const char *at); /* the end of those there; NULL: none */

#endif
