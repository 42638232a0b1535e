/*
 * The inside of the HTTP client, for its files only: client.c finds a connection for each call,
 * pool.c keeps them, h1_client.c and h2_client_call.c make calls on them.
 */
#ifndef SL_HTTP_POOL_H
#define SL_HTTP_POOL_H

#include <nghttp2/nghttp2.h>
#include <sys/stat.h>
#include "base/list.h"
#include "base/buf.h"
#include "base/sendq.h"
#include "http/client.h"
#include "http/h1_fields.h"
#include "tls/dial.h"

struct sl_call_private;
struct sl_h2_conn;
struct sl_opening;

/* What is known of one target. */
struct sl_bucket {
    struct sl_list idle;   /* of sl_upstream, most recently used first */
    struct sl_list shared; /* of sl_h2_conn: those that may take calls */
    struct sl_opening
        *opening; /* the connection that is being made, for which further calls wait */
    unsigned n_idle;
    unsigned max_calls; /* on one connection, as it said last; 0: not known yet */
    bool chose_http1;   /* the last time that it could choose */
};

/* What is offered to a target by ALPN. */
enum sl_pool_alpn { SL_ALPN_HTTP1, SL_ALPN_HTTP2, SL_ALPN_BOTH, SL_ALPN_COUNT };

/* A context with roots from a file. Freed when no dialling uses it and the pool keeps it no longer.
 */
struct sl_pool_trust {
    struct sl_link link; /* in pool->trusts, most recently used first */
    struct sl_tls_client *tls;
    bool verify;
    enum sl_pool_alpn alpn;
    char *ca_file;
    struct stat file; /* to notice that there is another one now */
    unsigned n_users;
};

struct sl_pool {
    struct sl_loop *loop;
    struct sl_dns *dns;
    struct sl_pool_opts opts;
    struct sl_tls_client *tls[2][SL_ALPN_COUNT]; /* [verify] */
    struct sl_list trusts;
    unsigned n_trusts;
    struct sl_bucket *buckets; /* by target id */
    size_t n_buckets, n_idle;
};

/* An HTTP/1 connection to a target. Belongs to a call or rests in the pool. */
struct sl_upstream {
    struct sl_stream *stream;
    struct sl_pool *pool;
    struct sl_call_private *call; /* NULL: resting */
    uint32_t id;
    struct sl_link link;
    struct sl_deadline deadline; /* of the rest */
};

/* What the versions do in their own ways. The caller has seen to deadlines and failures. */
struct sl_call_ops {
    void (*send)(struct sl_call_private *c, const struct sl_request *req);
    int (*write)(struct sl_call_private *c, const struct iovec *iov, int n_iov, bool fin);
    void (*read)(struct sl_call_private *c, bool on);
    /* The call is freed: `cleanly` after its whole response. */
    void (*leave)(struct sl_call_private *c, bool cleanly);
};

struct sl_h1_call {
    struct sl_upstream *up;
    llhttp_t parser;
    struct sl_h1_fields fields;
    struct sl_str staged;
    uint64_t sent_before; /* bytes on the wire before this call */
    bool is_chunked_out, keep_alive, until_close;
};

/* A call as one stream of a connection. */
struct sl_h2_call {
    struct sl_h2_conn *conn; /* NULL once the stream has ended */
    struct sl_link link;     /* in conn->calls */
    struct sl_link sent;     /* in conn->sent */
    int32_t id;              /* 0: not submitted */
    nghttp2_nv *fields;      /* of the request, staged */
    size_t n_fields;
    size_t n_head, n_head_fields; /* of the head or the trailers that are coming in */
    const struct iovec *now;      /* the caller's bytes, while it is in sl_call_write() */
    int n_now;
    size_t now_skip;     /* of the first of them */
    struct sl_sendq out; /* those that had to wait */
    struct sl_buf in;    /* of the response, which the caller would not take yet */
    struct sl_task_link later;
    struct sl_str key; /* Sec-WebSocket-Key of the client's own handshake */
    const char *why;   /* what was wrong with the response */
    bool is_reading, is_connect, is_sent, out_ended, in_ended, is_full, is_reset;
};

struct sl_call_private {
    struct sl_call pub;
    struct sl_pool *pool;
    struct sl_call_target target;
    struct sl_call_opts opts;
    const struct sl_call_ops *ops; /* NULL: no connection yet */
    struct sl_opening *opening;    /* what it waits for, or NULL */
    struct sl_link waiting;        /* there, or for the settings of a shared connection */
    struct sl_deadline deadline;
    struct sl_task_link failing;
    int failure;
    struct sl_str method;
    unsigned n_interim;
    bool is_raw, request_done, is_freed, head_given;
    struct sl_h1_call h1;
    struct sl_h2_call h2;
};

enum { SL_CALL_MAX_FIELDS = 500 }; /* of a response head */

/* --- client.c: what calls of both versions have in common --- */

/* Tells the caller at the end of the turn, never inside a function that it called, so that it may
 * free the call wherever it hears of a failure. Keeps the first; `detail` must live as long as the
 * call. */
void sl_call_fail(struct sl_call_private *c, int code, const char *detail);
/* The connection is there: on_connected(). */
void sl_call_connected(struct sl_call_private *c, const struct sl_call_ops *ops, bool was_reused);
/* Another connection, as the one at hand cannot take the call; or one of its own over HTTP/1. */
void sl_call_reopen(struct sl_call_private *c);
void sl_call_reopen_http1(struct sl_call_private *c);
/* An interim response is complete in c->pub.res. False: the call is no more. */
bool sl_call_interim(struct sl_call_private *c);
/* The final head is complete. False: the call is no more. */
bool sl_call_head(struct sl_call_private *c);
/* The response to HEAD, 204 and 304 have no body whatever their heads say. */
bool sl_call_has_no_body(const struct sl_call_private *c);
void sl_call_body(struct sl_call_private *c, const struct iovec *iov, int n_iov, bool fin);
/* What was in flight has left. */
void sl_call_written(struct sl_call_private *c);

/* --- pool.c --- */

/* Numbers past a limit are not kept: 0. */
uint32_t sl_pool_id(uint32_t id);
struct sl_bucket *sl_pool_bucket(struct sl_pool *p, uint32_t id);
/* A resting connection to this target, or NULL. */
struct sl_upstream *sl_pool_take(struct sl_pool *p, uint32_t id);
/* Takes the stream. */
struct sl_upstream *sl_upstream_new(struct sl_pool *p, uint32_t id, struct sl_stream **stream);
/* Lets it rest, or closes it when the pool is full. */
void sl_upstream_rest(struct sl_upstream *up);
void sl_upstream_close(struct sl_upstream *up, enum sl_close how);

/* --- pool_tls.c --- */

/* With the system's roots; the pool's. 0 or SL_E_TLS. */
int sl_pool_tls_for(struct sl_pool *p, bool verify, enum sl_pool_alpn alpn,
                    struct sl_tls_client **out);
/* With those of target->ca_file, until it is put. 0, SL_E_CONFIG or SL_E_TLS. */
int sl_pool_trust_get(struct sl_pool *p, const struct sl_call_target *target,
                      enum sl_pool_alpn alpn, struct sl_pool_trust **out);
void sl_pool_trust_put(struct sl_pool_trust *t); /* NULL is legal */
void sl_pool_tls_clear(struct sl_pool *p);

/* --- h1_client.c --- */

/* The connection is the call's. */
void sl_h1_call_attach(struct sl_call_private *c, struct sl_upstream *up, bool was_reused);

#endif
