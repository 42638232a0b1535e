/*
 * The look-up tables of a snapshot. Built once by sl_index_build(), read by any thread after that
 * (route/lookup.c).
 *
 * Ports fall into groups: neighbours that belong to the same routes share one. Each group has a
 * table of exact names, one of suffixes, and two short lists. A route whose ports reach over very
 * many groups is entered once in the wide group, and its ports are compared when it is looked at.
 *
 * A list is in the order of evaluation: `rank` counts through all candidates of the snapshot in
 * that order.
 */
#ifndef SL_ROUTE_INDEX_H
#define SL_ROUTE_INDEX_H

#include "base/map.h"
#include "route/compiled.h"

/* A route under one of its domains. Has what decides in most cases, so that only the route that is
   found has to be fetched from memory. */
struct sl_candidate {
    const struct sl_candidate *next;
    struct sl_route *route;
    const struct sl_domain *domain; /* NULL: the route has none */
    uint32_t rank;
    uint32_t specificity; /* of the domain; 0 without one */
    enum sl_transport transport;
    bool has_tls, is_tunnelled;
    bool is_plain_raw; /* bytes or datagrams as they are */
    bool has_criteria; /* path, client IPs or headers, to be compared with the route at hand */
};

struct sl_port_group {
    struct sl_map exact, suffixes; /* to the first struct sl_candidate of the list */
    const struct sl_candidate *globs, *nameless;
    uint32_t suffix_rank;    /* the lowest of all candidates under a suffix */
    uint64_t suffix_lengths; /* bit n: there is a suffix whose length is n modulo 64 */
};

struct sl_index {
    uint16_t *group_of;           /* by port; 0: no route uses the port */
    struct sl_port_group *groups; /* [0] is the wide one */
    size_t n_groups;
    bool has_wide;
    struct sl_candidate *candidates;
    struct sl_port_info *ports;
    size_t n_ports;
};

void sl_index_build(struct sl_index *index, struct sl_route *const *routes, size_t n);
void sl_index_clear(struct sl_index *index);

#endif
