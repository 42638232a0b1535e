/*
 * One try of an edge to reach its hub: from a name to the line with which the hub answers, over TLS
 * or QUIC, in a given time. What the answer means, and whether there is another try, is for the
 * edge (tunnel/edge.c).
 *
 * Owner: the edge; one thread. Callbacks come from the loop, one of them, and may free it.
 */
#ifndef SL_TUNNEL_EDGE_TRY_H
#define SL_TUNNEL_EDGE_TRY_H

#include "tls/dial.h"
#include "tunnel/edge.h"
#include "tunnel/greeter.h"

struct sl_edge_try;

struct sl_edge_try_handler {
    /* `line` is valid during the call. What has come behind it waits in t->greeter. */
    void (*on_answer)(struct sl_edge_try *t, struct sl_str line);
    /* Also after on_answer(), when the connection is lost before somebody took it. */
    void (*on_failed)(struct sl_edge_try *t, int code, const char *why);
};

struct sl_edge_try {
    const struct sl_edge_try_handler *handler;
    void *user;
    struct sl_loop *loop;
    struct sl_edge_attempt what; /* with strings of its own */
    uint32_t idle_ms;
    struct sl_greeter greeter;
    struct sl_quic_endpoint *endpoint; /* of a QUIC connection, which it must outlive */
    bool is_open;                      /* the greeting has been said */
    bool is_answered;
    bool has_pin;
    struct sl_deadline deadline;
    struct sl_tls_client *tls;
    struct sl_dial dial;
    struct sl_quic_tls *quic_tls;
    struct sl_dns *dns;
    struct sl_dns_query *query;
    struct sl_dns_answer addrs;
    int next_addr;
    struct sl_task_link later;
    struct sl_err err; /* why it cannot begin */
};

/* `idle_ms`: after which a QUIC connection without a packet ends. */
struct sl_edge_try *sl_edge_try_new(struct sl_loop *loop, struct sl_dns *dns,
                                    const struct sl_edge_attempt *what, uint32_t idle_ms,
                                    const struct sl_edge_try_handler *handler, void *user);
/* NULL is legal. Closes the connection unless it was taken out. */
void sl_edge_try_free(struct sl_edge_try *t);

#endif
