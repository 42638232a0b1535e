/* Counts answers and tells about them in the form of h2load, which bench/load.py reads. */
#ifndef SL_BENCH_TALLY_H
#define SL_BENCH_TALLY_H

#include "base/buf.h"

struct tally {
    uint64_t n_started, n_done, n_good, n_bytes;
    uint64_t n_of_class[6];     /* status codes by their first digit; 0: none came */
    uint64_t n_refused, n_lost; /* connections that never began; that ended by themselves */
    struct sl_buf times_us;     /* of uint32_t, one for each good answer */
    uint64_t begun_ns, ended_ns;
};

void tally_add(struct tally *t, int status, bool is_complete, uint64_t n_bytes, uint64_t ns);
void tally_show(struct tally *t);
void tally_clear(struct tally *t);

#endif
