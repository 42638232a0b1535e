/*
 * The inside of a snapshot: its routes and the tables to find them. Only this layer reads it.
 */
#ifndef SL_ROUTE_STORE_H
#define SL_ROUTE_STORE_H

#include "route/index.h"

struct sl_snapshot {
    _Atomic uint32_t n_refs;
    struct sl_route **routes; /* in the order of declaration, a reference on each */
    size_t n_routes;
    struct sl_index index;
    struct sl_map by_digest, by_name; /* to struct sl_route; the first of several with one name */
    struct sl_policy policy;
    bool lacks_certificates; /* a route ends TLS and has none */
};

#endif
