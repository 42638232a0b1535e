/*
 * What this process knows of a target beyond one route: its id, whether it failed lately, how much
 * it has to do. Equal targets (host, port, Unix path, tunnel, tls, tls_verify) share one state in
 * every route and snapshot, so that this knowledge survives a swap.
 *
 * States are reference counted by the compiled targets; get and put take a lock and are for
 * compiling and freeing. The rest is atomics, from any thread that holds the route.
 */
#ifndef SL_ROUTE_TARGET_H
#define SL_ROUTE_TARGET_H

#include "base/str.h"

struct sl_target;

struct sl_target_state {
    uint32_t id;
    unsigned n_refs;    /* guarded by the table's lock */
    uint64_t name_hash; /* the same in every process: what ip-hash mixes in */
    struct sl_str key;  /* in the table; the bytes follow the struct */
    char apart[64];     /* the counter changes all the time: off the line of what everybody reads */
    _Atomic uint32_t n_active;
    char apart_again[64];
    _Atomic uint64_t rests_until_ms; /* 0: it is well */
};

/* The state of this target, which must be put back. */
struct sl_target_state *sl_target_state_get(const struct sl_target *t);
void sl_target_state_put(struct sl_target_state *state); /* NULL is legal */
/* An id that no target has: for connections that belong to none of a route. */
uint32_t sl_target_id_new(void);
/* Number of states in the process, for tests and statistics. */
size_t sl_target_states(void);

#endif
