/*
 * The client of the load generator: HTTP/3 (RFC 9114) on nghttp3 over one of our QUIC connections.
 * GET requests without a body; what comes back is counted and thrown away. One thread.
 */
#ifndef SL_BENCH_H3_H
#define SL_BENCH_H3_H

#include "quic/quic.h"

struct h3;

/* What is asked for, the same every time. */
struct h3_request {
    struct sl_str authority, path;
};

/* One answer, complete or failed. `status` is 0 when no head came. */
struct h3_answer {
    int status;
    uint64_t n_bytes; /* of the body */
    uint64_t begun_ns;
    bool is_complete;
};

struct h3_handler {
    /* Requests may be made. */
    void (*on_ready)(void *user);
    void (*on_answer)(void *user, const struct h3_answer *answer);
    /* The server lets us open more streams, after h3_get() said SL_E_AGAIN. */
    void (*on_more)(void *user);
    /* The last call. What was under way got an answer that is not complete. */
    void (*on_closed)(void *user, const struct sl_quic_end *end);
};

struct h3_target {
    struct sl_quic_endpoint *endpoint;
    struct sl_quic_tls *tls;
    const struct sl_addr *remote;
    struct sl_str server_name;
};

/* Connects. Freed by itself after on_closed(). 0 or SL_E_*. */
int h3_connect(struct h3 **out, const struct h3_target *target, const struct h3_handler *handler,
               void *user);
/* 0, SL_E_AGAIN when the server allows no more streams now, or another SL_E_*. */
int h3_get(struct h3 *h, const struct h3_request *request);
void h3_close(struct h3 *h);

#endif
