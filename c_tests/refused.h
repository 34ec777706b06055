/* What the tests of the JSON functions share; `none` is the includer's, and visits nothing. */
#ifndef REFUSED_H
#define REFUSED_H

#include "check.h"

#define MANY(array) (sizeof(array) / sizeof *(array))

#define REFUSED(json, pointer, code)                                                                                   \
    do {                                                                                                               \
        CHECK_ERROR(!plue_json_text(json, pointer), code);                                                             \
        CHECK_ERROR(plue_json_count(json, pointer) == -1, code);                                                       \
        CHECK_ERROR(plue_json_each(json, pointer, none, NULL) == -1, code);                                            \
        CHECK(plue_json_int(json, pointer, 77) == 77);                                                                 \
        CHECK(plue_json_double(json, pointer, 7.5) == 7.5);                                                            \
    } while (0)

#endif
