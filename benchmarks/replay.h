/*
 * SQLite alone, from C: runs the very statements that the library's store runs for an operation, with nothing around
 * them.
 *
 * recorded.py writes them down: one line `op NAME` for each operation, `S` and the SQL for each statement, then a line
 * for each value bound to it: `N` for NULL, `I` and an integer, `T` and a text, `V` and a variable's letter. In texts
 * and as values, the bytes 1, 2 and 3 (letters a, b, c) stand for the session's number, the place in the log, and the
 * time; byte 4 is a newline.
 *
 * The library that is loaded is the one that Python's sqlite3 has loaded too; its header need not be installed.
 */
#ifndef REPLAY_H
#define REPLAY_H

#include <dlfcn.h>

#include "bench.h"

typedef struct sqlite3 sqlite3;
typedef struct sqlite3_stmt sqlite3_stmt;
enum { SQLITE_OK_ = 0, SQLITE_ROW_ = 100, SQLITE_DONE_ = 101, OPEN_READWRITE_ = 2 };

static int (*sqlite_open)(const char *, sqlite3 **, int, const char *);
static int (*sqlite_close)(sqlite3 *);
static int (*sqlite_exec)(sqlite3 *, const char *, void *, void *, char **);
static int (*sqlite_prepare)(sqlite3 *, const char *, int, sqlite3_stmt **, const char **);
static int (*sqlite_bind_text)(sqlite3_stmt *, int, const char *, int, void *);
static int (*sqlite_bind_int64)(sqlite3_stmt *, int, int64_t);
static int (*sqlite_step)(sqlite3_stmt *);
static int (*sqlite_reset)(sqlite3_stmt *);
static int64_t (*sqlite_column_int64)(sqlite3_stmt *, int);
static const char *(*sqlite_errmsg)(sqlite3 *);

#define STATEMENTS 24
#define VALUES 48

typedef struct value {
    char kind;
    int64_t number;
    char *text;
} value;

typedef struct statement {
    sqlite3_stmt *prepared;
    int values;
    value value[VALUES];
} statement;

typedef struct replay {
    sqlite3 *database;
    sqlite3_stmt *last; /* reads the log's last place: what other processes may have moved */
    int statements;
    statement statement[STATEMENTS];
} replay;

/* 0, or -1 when SQLite's library is not on this machine by its usual name. */
__attribute__((unused)) static int load_sqlite(void)
{
    void *library = dlopen("libsqlite3.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return -1;
#define TAKE(name, symbol) (*(void **)&name = dlsym(library, symbol))
    return TAKE(sqlite_open, "sqlite3_open_v2") && TAKE(sqlite_close, "sqlite3_close") &&
                   TAKE(sqlite_exec, "sqlite3_exec") && TAKE(sqlite_prepare, "sqlite3_prepare_v2") &&
                   TAKE(sqlite_bind_text, "sqlite3_bind_text") && TAKE(sqlite_bind_int64, "sqlite3_bind_int64") &&
                   TAKE(sqlite_step, "sqlite3_step") && TAKE(sqlite_reset, "sqlite3_reset") &&
                   TAKE(sqlite_column_int64, "sqlite3_column_int64") && TAKE(sqlite_errmsg, "sqlite3_errmsg")
               ? 0
               : -1;
#undef TAKE
}

static void check_sqlite(replay *of, int result, int wanted, const char *what)
{
    if (result != wanted)
        die(what, sqlite_errmsg(of->database));
}

/* Open the store and prepare the statements of an operation. `pragmas` decide how it commits. */
__attribute__((unused)) static replay *open_replay(const char *path, const char *recorded, const char *operation,
                                                   const char *pragmas)
{
    static char line[1 << 16];
    replay *made = need(calloc(1, sizeof *made));
    check_sqlite(made, sqlite_open(path, &made->database, OPEN_READWRITE_, NULL), SQLITE_OK_, path);
    check_sqlite(made, sqlite_exec(made->database, pragmas, NULL, NULL, NULL), SQLITE_OK_, pragmas);
    check_sqlite(made, sqlite_prepare(made->database, "SELECT max(id) FROM log", -1, &made->last, NULL), SQLITE_OK_,
                 "log");
    FILE *file = fopen(recorded, "r");
    if (!file)
        die(recorded, "cannot be read");
    int wanted = 0;
    statement *at = NULL;
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (!strncmp(line, "op ", 3))
            wanted = !strcmp(line + 3, operation);
        else if (wanted && line[0] == 'S') {
            if (made->statements == STATEMENTS)
                die(recorded, "more statements than expected");
            at = &made->statement[made->statements++];
            check_sqlite(made, sqlite_prepare(made->database, line + 2, -1, &at->prepared, NULL), SQLITE_OK_, line + 2);
        } else if (wanted && at) {
            if (at->values == VALUES)
                die(recorded, "more values than expected");
            at->value[at->values++] = (value){line[0], line[0] == 'I' ? atoll(line + 2) : line[2],
                                              need(strdup(line + 2))};
        }
    }
    fclose(file);
    if (!made->statements)
        die(operation, "was not recorded");
    return made;
}

static void bind_text(sqlite3_stmt *to, int place, const char *template, const int64_t variable[3])
{
    char text[4096], *at = text;
    for (; *template && at < text + sizeof text - 32; template ++) {
        if (*template >= 1 && *template <= 3)
            at += sprintf(at, "%lld", (long long)variable[*template - 1]);
        else
            *at++ = *template == 4 ? '\n' : *template;
    }
    sqlite_bind_text(to, place, text, (int)(at - text), (void *)-1 /* SQLITE_TRANSIENT */);
}

/* Run the operation: one transaction. `place` 0: the next in the log, as seen inside the transaction. */
__attribute__((unused)) static void run_replay(replay *of, int64_t number, int64_t place, int64_t time)
{
    int64_t variable[3] = {number, place, time};
    for (int i = 0; i < of->statements; i++) {
        statement *each = &of->statement[i];
        for (int v = 0; v < each->values; v++) {
            const value *given = &each->value[v];
            if (given->kind == 'I')
                sqlite_bind_int64(each->prepared, v + 1, given->number);
            else if (given->kind == 'V')
                sqlite_bind_int64(each->prepared, v + 1, variable[given->number - 'a']);
            else if (given->kind == 'T')
                bind_text(each->prepared, v + 1, given->text, variable);
        }
        int result;
        while ((result = sqlite_step(each->prepared)) == SQLITE_ROW_)
            ;
        check_sqlite(of, result, SQLITE_DONE_, "statement");
        sqlite_reset(each->prepared);
        if (i == 0 && place == 0) { /* the first one is BEGIN */
            check_sqlite(of, sqlite_step(of->last), SQLITE_ROW_, "log");
            variable[1] = sqlite_column_int64(of->last, 0) + 1;
            sqlite_reset(of->last);
        }
    }
}

#endif
