/*
 * Targets that a script names in a verdict instead of a route: their pool ids, for the last few of
 * them, so that their connections are kept alive, too. One per worker.
 */
#ifndef SL_PROXY_ADHOC_H
#define SL_PROXY_ADHOC_H

#include "route/snapshot.h"

enum { SL_ADHOC_MAX = 64 };

struct sl_adhoc {
    struct {
        struct sl_target target; /* its host is our copy */
        uint64_t used;
    } entries[SL_ADHOC_MAX];
    unsigned n;
    uint64_t clock; /* counts uses; the entry with the lowest number is the one that was used
                       longest ago */
};

/* The id of this target for the pool. */
uint32_t sl_adhoc_id(struct sl_adhoc *a, struct sl_str host, uint16_t port, bool tls,
                     bool tls_verify);
void sl_adhoc_clear(struct sl_adhoc *a);

#endif
