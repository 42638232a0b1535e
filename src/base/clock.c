#include "base/clock.h"

#include <time.h>

static uint64_t read_ns(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t sl_clock_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

uint64_t sl_clock_coarse_ms(void)
{
    return read_ns(CLOCK_MONOTONIC_COARSE) / 1000000u;
}

uint64_t sl_clock_wall_ms(void)
{
    return read_ns(CLOCK_REALTIME) / 1000000u;
}
