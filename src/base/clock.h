/*
 * Clocks. Monotonic ones for everything that is measured or waited for; wall time only for logs and
 * certificates.
 */
#ifndef SL_BASE_CLOCK_H
#define SL_BASE_CLOCK_H

#include <stdint.h>

/* Nanoseconds, monotonic, exact (about 25 ns a call). */
uint64_t sl_clock_ns(void);
/* Milliseconds, monotonic, as coarse as the kernel tick (about 4 ms), some 5 ns a call: for
 * deadlines. */
uint64_t sl_clock_coarse_ms(void);
/* Milliseconds since 1970 (UTC). */
uint64_t sl_clock_wall_ms(void);

#endif
