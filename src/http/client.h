/*
 * HTTP client: calls to targets through per-worker pools of connections. A call is one request and
 * its response, over HTTP/1.1, where it has a connection to itself, or over HTTP/2, where it is one
 * stream of a connection that carries many (RFC 9113). Callers need not know which.
 *
 * A call is begun with a target; on_connected() says that a connection (pooled or new) takes it.
 * Then the caller stages the head with sl_call_send() and writes body bytes with sl_call_write() as
 * in net/stream.h (the head goes out with the first write, which may be empty). Response:
 * on_head(), then on_body() with the bytes of one batch, `fin` with the last; a head and the body
 * that came with it arrive one after the other in the same turn, so that the receiver can send them
 * on in one go. Trailers are in c->res.trailers with the last on_body(); those of the request are
 * set in c->req_trailers before the last write.
 *
 * WebSocket: a request with `upgrade` (say so in the options, too). Over HTTP/2 it becomes an
 * extended CONNECT (RFC 8441), whose 200 is told as the 101 that it stands for.
 *
 * sl_call_free() at any time: a call that ended cleanly gives its connection back to the pool; any
 * other closes it, or resets its stream. One thread; the pool is the worker's.
 */
#ifndef SL_HTTP_CLIENT_H
#define SL_HTTP_CLIENT_H

#include "http/message.h"
#include "net/dns.h"
#include "net/stream.h"
#include "tls/context.h"

struct sl_call;
struct sl_pool;

struct sl_call_handler {
    void (*on_connected)(struct sl_call *c);
    /* c->res is complete. Status 101: on_body() and sl_call_write() carry raw bytes from now on. */
    void (*on_head)(struct sl_call *c);
    /* 100, 103 …: c->res holds it until the call returns. */
    void (*on_interim)(struct sl_call *c);
    void (*on_body)(struct sl_call *c, const struct iovec *iov, int n_iov, bool fin);
    void (*on_written)(struct sl_call *c);
    /* Nothing more will happen. c->was_reused, c->got_bytes, c->is_unprocessed and c->stage say
     * whether another try is safe. */
    void (*on_error)(struct sl_call *c, int code);
};

/* What is spoken to a target. */
enum sl_call_protocol {
    SL_CALL_HTTP1,
    SL_CALL_HTTP2, /* with TLS by ALPN, in plain text with prior knowledge (RFC 9113, 3.3) */
    SL_CALL_AUTO,  /* with TLS what the target chooses by ALPN, in plain text HTTP/1.1 */
};

/* Where a call goes. Strings must live as long as the call. */
struct sl_call_target {
    struct sl_str host, unix_path;
    uint16_t port;
    bool tls, tls_verify;
    enum sl_call_protocol protocol;
    struct sl_str server_name; /* TLS; empty: host */
    const char *ca_file;       /* NULL: the system's roots */
    uint32_t id;               /* key of the pool: equal ids share connections; 0: never pooled */
    /* A PROXY header to send first (such connections are never pooled). */
    const void *preface;
    size_t preface_len;
};

struct sl_call_opts {
    uint32_t connect_timeout, response_timeout, body_timeout; /* ms; 0: no deadline of its own */
    bool fresh;      /* no connection that carried calls before */
    bool is_upgrade; /* the request will have `upgrade`: not every connection can take it */
};

enum sl_call_stage {
    SL_CALL_CONNECTING,
    SL_CALL_SENDING,
    SL_CALL_HEAD,
    SL_CALL_BODY,
    SL_CALL_DONE
};

struct sl_call {
    const struct sl_call_handler *handler;
    void *user;
    struct sl_response res; /* in the arena given to sl_call_start */
    struct sl_arena *arena;
    enum sl_call_stage stage;
    bool was_reused, got_bytes;
    bool is_unprocessed; /* the target has not looked at the request: it says so (RFC 9113, 8.7) */
    const struct sl_headers
        *req_trailers; /* the caller's, or NULL; must live as long as the call */
    uint64_t bytes_in, bytes_out;
    const char *detail; /* a TLS reason or the like, or NULL */
};

struct sl_pool_opts {
    uint32_t idle_timeout;  /* ms a kept connection may rest; default 60,000 */
    uint32_t max_idle;      /* HTTP/1 connections per target; default 256 */
    uint32_t max_head;      /* bytes of a response head; default 64 KiB */
    uint32_t ping_interval; /* ms without a byte after which a shared connection with calls is asked
                               whether it lives; default 15,000 */
    uint32_t ping_timeout;  /* ms it may take to answer, else it gets no new calls; default 5,000 */
};

int sl_pool_new(struct sl_pool **out, struct sl_loop *loop, struct sl_dns *dns,
                const struct sl_pool_opts *opts, struct sl_err *err);
void sl_pool_free(struct sl_pool *p);
/* Connections without a call. */
size_t sl_pool_idle(const struct sl_pool *p);
/* The pool's context for TLS to targets that offers HTTP/1.1, made on first use. 0 or SL_E_TLS. */
int sl_pool_tls(struct sl_pool *p, bool verify, struct sl_tls_client **out);

/* `arena` holds the response head and must outlive the call. on_connected() may come inside this
 * function (pooled). */
struct sl_call *sl_call_start(struct sl_pool *pool, const struct sl_call_target *target,
                              const struct sl_call_opts *opts, struct sl_arena *arena,
                              const struct sl_call_handler *handler, void *user);
/* Stages the request head: method, path and query, authority as Host, headers as they are (framing
   headers are made here from content_length and upgrade; hop-by-hop ones must be gone). */
void sl_call_send(struct sl_call *c, const struct sl_request *req);
int sl_call_write(struct sl_call *c, const struct iovec *iov, int n_iov, bool fin);
void sl_call_read(struct sl_call *c, bool on);
/* Takes the call; nulls the pointer. NULL inside is legal. */
void sl_call_free(struct sl_call **c);

#endif
