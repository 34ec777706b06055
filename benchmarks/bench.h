/* What the benchmark programs share: the clock, order statistics, rows as JSON, threads that start together. */
#ifndef BENCH_H
#define BENCH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static inline int64_t now_ns(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * INT64_C(1000000000) + at.tv_nsec;
}

static inline void sleep_ns(int64_t ns)
{
    struct timespec time = {ns / 1000000000, ns % 1000000000};
    nanosleep(&time, NULL);
}

__attribute__((noreturn, unused)) static void die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static inline void *need(void *memory)
{
    if (!memory)
        die("benchmark", "out of memory");
    return memory;
}

/* ---- samples: as many as there is room for; what comes after that is not kept ---- */
typedef struct samples {
    double *value;
    size_t count, room;
} samples;

__attribute__((unused)) static samples make_samples(size_t room)
{
    samples made = {need(malloc(room * sizeof(double))), 0, room};
    memset(made.value, 0, room * sizeof(double)); /* the pages exist before anything is timed */
    return made;
}

static inline void add_sample(samples *to, double value)
{
    if (to->count < to->room)
        to->value[to->count++] = value;
}

__attribute__((unused)) static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

__attribute__((unused)) static double quantile(samples *of, double q)
{
    if (!of->count)
        return 0;
    qsort(of->value, of->count, sizeof *of->value, compare_doubles);
    size_t at = (size_t)(q * (double)of->count);
    return of->value[at < of->count ? at : of->count - 1];
}

/* ---- output: one JSON object per line ---- */
__attribute__((unused)) static void print_list(const char *name, const double *value, int count)
{
    printf("\"%s\":[", name);
    for (int i = 0; i < count; i++)
        printf("%s%.6g", i ? "," : "", value[i]);
    printf("]");
}

__attribute__((unused)) static void print_latency(const char *name, samples *of)
{
    printf("\"%s\":{\"p50\":%.6g,\"p99\":%.6g,\"max\":%.6g,\"count\":%zu}", name, quantile(of, 0.5), quantile(of, 0.99),
           quantile(of, 1), of->count);
}

/* Resident memory of this process in bytes. */
__attribute__((unused)) static double resident(void)
{
    long pages = 0, total = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld %ld", &total, &pages) != 2)
        die("/proc/self/statm", "cannot be read");
    fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

#endif
