/*
 * The inside of the HTTP client, for its files only: pool.c keeps connections to targets,
 * h1_client.c makes calls on them.
 */
#ifndef SL_HTTP_POOL_H
#define SL_HTTP_POOL_H

#include "base/list.h"
#include "http/client.h"
#include "http/h1_fields.h"
#include "tls/dial.h"

struct sl_bucket {
    struct sl_list idle; /* of sl_upstream, most recently used first */
    unsigned n;
};

struct sl_pool {
    struct sl_loop *loop;
    struct sl_dns *dns;
    struct sl_pool_opts opts;
    struct sl_tls_client *tls[2]; /* [verify] */
    struct sl_bucket *buckets;    /* by target id */
    size_t n_buckets, n_idle;
};

/* A connection to a target. Belongs to a call or rests in the pool. */
struct sl_upstream {
    struct sl_stream *stream;
    struct sl_pool *pool;
    struct sl_call_private *call; /* NULL: resting */
    uint32_t id;
    struct sl_link link;
    struct sl_deadline deadline; /* of the rest */
};

struct sl_call_private {
    struct sl_call pub;
    struct sl_pool *pool;
    struct sl_call_target target;
    struct sl_call_opts opts;
    struct sl_upstream *up;
    struct sl_deadline deadline;
    struct sl_task_link failing;
    int failure;
    struct sl_dial dial;
    struct sl_tls_client *own_tls; /* for a ca_file */
    /* HTTP/1 */
    llhttp_t parser;
    struct sl_h1_fields fields;
    struct sl_str staged, method;
    unsigned n_interim;
    bool is_chunked_out, is_raw, request_done, keep_alive, until_close, is_freed, head_given;
};

/* A resting connection to this target, or NULL. */
struct sl_upstream *sl_pool_take(struct sl_pool *p, uint32_t id);
/* Takes the stream. */
struct sl_upstream *sl_upstream_new(struct sl_pool *p, uint32_t id, struct sl_stream **stream);
/* Lets it rest, or closes it when the pool is full. */
void sl_upstream_rest(struct sl_upstream *up);
void sl_upstream_close(struct sl_upstream *up, enum sl_close how);

#endif
