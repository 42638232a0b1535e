/*
 * What raw pipes and flows of datagrams have in common towards a target: its name, its failure in
 * the log, and what it is told of the visitor.
 */
#ifndef SL_PROXY_RAW_TARGET_H
#define SL_PROXY_RAW_TARGET_H

#include "codec/proxy_header.h"
#include "proxy/internal.h"

enum {
    SL_RAW_TARGET_LEN = 320
}; /* a name of 253 characters, or a path of 107, and what is around it */

/* "host:port", as for exchanges; `t` NULL: empty. `port` is what the visitor called. */
struct sl_str sl_raw_target_text(const struct sl_target *t, uint16_t port,
                                 char out[SL_RAW_TARGET_LEN]);

struct sl_raw_failure {
    const struct sl_target *target;
    const struct sl_route *route; /* NULL: none */
    uint16_t port;
    const char *doing, *error, *detail; /* detail may be NULL */
};
/* It rests, and a line is logged, of which strangers cannot cause many. */
void sl_raw_target_failed(struct sl_proxy *p, const struct sl_raw_failure *failure);

/* One that a hook has named; not of a route. */
struct sl_target *sl_raw_target_new(struct sl_str host, uint16_t port);
void sl_raw_target_free(struct sl_target *t); /* NULL is legal */

/* Who the visitor is. */
struct sl_proxy_header sl_raw_header(const struct sl_peer *peer, uint16_t port);

#endif
