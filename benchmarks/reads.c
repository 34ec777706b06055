/*
 * Rows 4 and 7: lists and pages, timed one at a time when told to, so that several processes can take turns.
 *
 *     reads DATA_DIR        then lines on stdin, each answered with one line:
 *
 *     list                  milliseconds and bytes of plue_session_list()
 *     copy                  milliseconds of malloc, memcpy and free of as many bytes
 *     each                  milliseconds of plue_json_each() over that list
 *     quotes                milliseconds of a memchr from quotation mark to quotation mark over it
 *     of KEY                from now on pages are of the messages of this session
 *     walk PAGES QUERY      follow the query's cursor over so many pages, and remember where it led
 *     page COUNT QUERY      microseconds of a page, the median of COUNT calls
 *     next COUNT QUERY      the same with the cursor that walk left
 */
#include "bench.h"
#include "plue_session.h"

static char cursor[1024], *list_text;
static plue_session_t said;

static int count_element(const char *element_json, void *user_data)
{
    *(size_t *)user_data += *element_json == '{';
    return 0;
}

static double each(void)
{
    size_t elements = 0;
    int64_t from = now_ns();
    int failed = plue_json_each(list_text, "", count_element, &elements);
    double took = (double)(now_ns() - from) / 1e6;
    if (failed || elements != (size_t)plue_json_count(list_text, ""))
        die("plue_json_each", plue_get_last_error());
    return took;
}

static double quotes(void)
{
    size_t count = 0;
    int64_t from = now_ns();
    for (const char *at = list_text, *end = at + strlen(at); (at = memchr(at, '"', (size_t)(end - at))); at++)
        count++;
    double took = (double)(now_ns() - from) / 1e6;
    return count ? took : 0;
}

static char *page(const char *query, const char *after)
{
    char full[4096];
    if (after)
        snprintf(full, sizeof full, "%.*s,\"cursor\":\"%s\"}", (int)strlen(query) - 1, query, after);
    else
        snprintf(full, sizeof full, "%s", query);
    char *text = said ? plue_session_messages(said, full) : plue_session_query(full);
    if (!text)
        die("page", plue_get_last_error());
    return text;
}

static void walk(int pages, const char *query)
{
    for (int i = 0; i < pages; i++) {
        char *text = page(query, i ? cursor : NULL), *at = strstr(text, "\"nextCursor\":\"");
        if (!at || sscanf(at + 14, "%1023[^\"]", cursor) != 1)
            die("walk", "there are not so many pages");
        plue_free_json(text);
    }
}

static double pages(int count, const char *query, const char *after)
{
    samples took = make_samples((size_t)count);
    for (int i = 0; i < count; i++) {
        int64_t from = now_ns();
        char *text = page(query, after);
        add_sample(&took, (double)(now_ns() - from) / 1000);
        plue_free_json(text);
    }
    double median = quantile(&took, 0.5);
    free(took.value);
    return median;
}

int main(int count, char **argument)
{
    static char line[4096], query[4096];
    int number;
    if (count != 2)
        die("usage", "reads DATA_DIR");
    snprintf(line, sizeof line, "{\"dataDir\":\"%s\"}", argument[1]);
    if (plue_init(line))
        die("plue_init", plue_get_last_error());
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof line, stdin)) {
        if (!strcmp(line, "list\n")) {
            int64_t from = now_ns();
            char *text = plue_session_list();
            int64_t to = now_ns();
            if (!text)
                die("plue_session_list", plue_get_last_error());
            printf("%.4f %zu\n", (double)(to - from) / 1e6, strlen(text));
            free(list_text);
            list_text = need(strdup(text));
            plue_free_json(text);
        } else if (!strcmp(line, "copy\n") && list_text) {
            size_t length = strlen(list_text) + 1;
            int64_t from = now_ns();
            char *copy = need(malloc(length));
            memcpy(copy, list_text, length);
            __asm__ volatile("" : : "r"(copy) : "memory");
            free(copy);
            printf("%.4f\n", (double)(now_ns() - from) / 1e6);
        } else if (!strcmp(line, "each\n") && list_text)
            printf("%.4f\n", each());
        else if (!strcmp(line, "quotes\n") && list_text)
            printf("%.4f\n", quotes());
        else if (sscanf(line, "of %4095s", query) == 1) {
            if (!(said = plue_session_open(query)))
                die("plue_session_open", plue_get_last_error());
            printf("0\n");
        } else if (sscanf(line, "walk %d %4095[^\n]", &number, query) == 2) {
            walk(number, query);
            printf("0\n");
        } else if (sscanf(line, "page %d %4095[^\n]", &number, query) == 2)
            printf("%.3f\n", pages(number, query, NULL));
        else if (sscanf(line, "next %d %4095[^\n]", &number, query) == 2)
            printf("%.3f\n", pages(number, query, cursor));
        else
            die("reads, unknown command", line);
    }
    plue_shutdown();
    return 0;
}
