/*
 * Checks for the C tests: report every failure with its place, count, go on.
 *
 *     int main(void)
 *     {
 *         sl_check(1 + 1 == 2);
 *         return sl_check_done();
 *     }
 */
#ifndef SL_BASE_CHECK_H
#define SL_BASE_CHECK_H

#include <stdio.h>
#include "base/str.h"

static int sl_check_failures SL_UNUSED, sl_check_count SL_UNUSED;

#define sl_check(cond)                                                                             \
    do {                                                                                           \
        sl_check_count++;                                                                          \
        if (!(cond)) {                                                                             \
            sl_check_failures++;                                                                   \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #cond);                     \
        }                                                                                          \
    } while (0)

/* Compares two `struct sl_str` and prints both when they differ. */
#define sl_check_str(got, want)                                                                    \
    do {                                                                                           \
        struct sl_str got_ = (got), want_ = (want);                                                \
        sl_check_count++;                                                                          \
        if (!sl_str_eq(got_, want_)) {                                                             \
            sl_check_failures++;                                                                   \
            fprintf(stderr, "%s:%d: got \"%.*s\", want \"%.*s\"\n", __FILE__, __LINE__,            \
                    SL_STR_FMT(got_), SL_STR_FMT(want_));                                          \
        }                                                                                          \
    } while (0)

static inline int sl_check_done(void)
{
    fprintf(stderr, "%d checks, %d failed\n", sl_check_count, sl_check_failures);
    return sl_check_failures == 0 && sl_check_count > 0 ? 0 : 1;
}

#endif
