#include "tally.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_TIMES = 8 << 20 }; /* answers whose time is kept */

void tally_add(struct tally *t, int status, bool is_complete, uint64_t n_bytes, uint64_t ns)
{
    uint32_t us = (uint32_t)SL_MIN(ns / 1000, (uint64_t)UINT32_MAX);

    t->n_done++;
    t->n_bytes += n_bytes;
    t->n_of_class[status / 100 < 6 ? status / 100 : 0]++;
    if (status / 100 != 2 || !is_complete)
        return;
    t->n_good++;
    if (t->n_good <= MAX_TIMES)
        sl_buf_append(&t->times_us, &us, sizeof(us));
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static void show_time(double us)
{
    char text[32];

    if (us < 1000)
        snprintf(text, sizeof(text), "%.0fus", us);
    else if (us < 1e6)
        snprintf(text, sizeof(text), "%.2fms", us / 1e3);
    else
        snprintf(text, sizeof(text), "%.2fs", us / 1e6);
    printf("%12s", text);
}

/* Columns as in h2load: min, max, median, p95, p99, mean, sd. */
static void show_times(struct tally *t)
{
    uint32_t *us = (uint32_t *)(void *)sl_buf_at(&t->times_us);
    size_t n = sl_buf_len(&t->times_us) / sizeof(*us);
    double sum = 0, squares = 0;

    printf("%25s%12s%12s%12s%12s%12s%12s\n", "min", "max", "median", "p95", "p99", "mean", "sd");
    if (n == 0)
        return;
    qsort(us, n, sizeof(*us), compare);
    for (size_t i = 0; i < n; i++)
        sum += us[i];
    for (size_t i = 0; i < n; i++)
        squares += (us[i] - sum / (double)n) * (us[i] - sum / (double)n);
    printf("request     :");
    show_time(us[0]);
    show_time(us[n - 1]);
    show_time(us[n / 2]);
    show_time(us[n * 95 / 100]);
    show_time(us[n * 99 / 100]);
    show_time(sum / (double)n);
    show_time(sqrt(squares / (double)n));
    printf("\n");
}

void tally_show(struct tally *t)
{
    double seconds = (double)(t->ended_ns - t->begun_ns) / 1e9;

    printf("finished in %.2fs, %.2f req/s, %.2fMB/s\n", seconds, (double)t->n_good / seconds,
           (double)t->n_bytes / seconds / 1e6);
    printf("requests: %" PRIu64 " started, %" PRIu64 " done, %" PRIu64 " succeeded, %" PRIu64
           " failed\n",
           t->n_started, t->n_done, t->n_good, t->n_done - t->n_good);
    printf("status codes: %" PRIu64 " 2xx, %" PRIu64 " 3xx, %" PRIu64 " 4xx, %" PRIu64
           " 5xx, %" PRIu64 " none\n",
           t->n_of_class[2], t->n_of_class[3], t->n_of_class[4], t->n_of_class[5],
           t->n_of_class[0]);
    printf("connections: %" PRIu64 " refused, %" PRIu64 " lost\n", t->n_refused, t->n_lost);
    printf("traffic: %" PRIu64 " bytes of bodies\n", t->n_bytes);
    show_times(t);
}

void tally_clear(struct tally *t)
{
    sl_buf_clear(&t->times_us);
}
