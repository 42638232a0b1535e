/*
 * An exchange: one HTTP request with its response, whatever the HTTP version. The server side of a
 * connection (h1_server, h2_server, h3_server) makes it, calls the handler with what the client
 * sends, and offers the operations with which the handler answers. Nothing above this file knows
 * the version, except to report it.
 *
 * Life: the server calls `on_request` of its sl_http_service, which sets handler and user. The
 * exchange ends
 *     - when the response was written to its end, and the request was read to its end or is not
 * wanted any more; then on_done(); or
 *     - when the client goes away or the connection fails: on_abort(); or
 *     - when the handler calls sl_exchange_abort(): then on_abort() does not come, on_done() does
 * not come. After on_done/on_abort the exchange is gone at the end of that call. One thread.
 *
 * Request body: paused at first. sl_exchange_read(ex, true) lets it flow into on_body(); the
 * handler takes every byte and pauses when it cannot take more. A body that nobody reads is
 * discarded (up to a limit, else the connection closes) once the response ended.
 *
 * Response: sl_exchange_respond() stages the head, which goes out together with the bytes of the
 * next sl_exchange_write() - so that a small response is one system call. Framing (content-length,
 * chunked, close) is the server's business: set res->content_length. Backpressure is as in
 * net/stream.h: after SL_E_AGAIN no write until on_written().
 *
 * Upgrade: for a request with `upgrade`, sl_exchange_respond() with status 101 turns the exchange
 * into a raw channel: on_body() and sl_exchange_write() carry bytes both ways until `fin`. (For h2
 * and h3 extended CONNECT the head becomes 200.)
 */
#ifndef SL_HTTP_EXCHANGE_H
#define SL_HTTP_EXCHANGE_H

#include "http/message.h"
#include "net/stream.h"

struct sl_exchange;

struct sl_exchange_handler {
    /* Bytes of the request body; `fin`: it ended (trailers in ex->req.trailers). */
    void (*on_body)(struct sl_exchange *ex, const uint8_t *bytes, size_t len, bool fin);
    void (*on_written)(struct sl_exchange *ex);
    /* The last byte of both directions has passed. */
    void (*on_done)(struct sl_exchange *ex);
    /* The client is gone or broke the protocol. */
    void (*on_abort)(struct sl_exchange *ex, int code);
};

struct sl_exchange_ops {
    void (*respond)(struct sl_exchange *ex, const struct sl_response *res);
    int (*write)(struct sl_exchange *ex, const struct iovec *iov, int n_iov, bool fin);
    void (*interim)(struct sl_exchange *ex, const struct sl_response *res); /* 1xx but 101 */
    void (*read)(struct sl_exchange *ex, bool on);
    void (*abort)(struct sl_exchange *ex);
};

/* What is known of the connection under an exchange, a script server or a raw pipe. Owned by the
 * connection. */
struct sl_peer {
    struct sl_addr remote, local; /* remote: the visitor, also when a PROXY header named him */
    uint8_t ip16[16];             /* of remote */
    bool is_tls, is_quic, is_udp; /* is_udp: a session of raw datagrams */
    struct sl_str edge;           /* the id of the edge that he came through; empty: none */
    struct sl_str sni;            /* normalized */
    const char *tls_version;
    const void
        *tls_data; /* the certificate chosen in on_hello: compared with that of the route (421) */
    void *user;    /* of the proxy: its connection object */
};

struct sl_exchange {
    struct sl_request req;
    struct sl_arena arena;
    const struct sl_exchange_ops *ops;
    const struct sl_exchange_handler *handler;
    void *user; /* the handler's */
    struct sl_loop *loop;
    const struct sl_peer *peer;
    uint64_t id; /* unique in the process: for logs */
    uint64_t started_ns;
    uint64_t bytes_in, bytes_out; /* body bytes */
    bool has_responded;           /* a final head was staged or sent */
    bool forwards_continue; /* the handler relays "100 Continue"; else the server sends it when the
                               body is read */
    const struct sl_headers
        *res_trailers; /* set by the handler before the last write; may be NULL */
    bool request_ended;
    bool response_ended;
};

/* For the servers: its head is complete. Gives it a number and the time. */
void sl_exchange_begin(struct sl_exchange *ex);
/* Answers a complete short response: status, optional type, body. The usual way to refuse. */
void sl_exchange_reply(struct sl_exchange *ex, int status, struct sl_str content_type,
                       struct sl_str body, const struct sl_headers *extra);
/* The default body for a status: {"error":"Not Found","status":404}, or text when the client does
 * not accept JSON. */
void sl_exchange_fail(struct sl_exchange *ex, int status);
/* That body, in the arena of the exchange, and its type. */
struct sl_str sl_exchange_error_body(struct sl_exchange *ex, int status, struct sl_str *type);

static inline void sl_exchange_respond(struct sl_exchange *ex, const struct sl_response *res)
{
    ex->ops->respond(ex, res);
}

static inline int sl_exchange_write(struct sl_exchange *ex, const struct iovec *iov, int n_iov,
                                    bool fin)
{
    return ex->ops->write(ex, iov, n_iov, fin);
}

static inline void sl_exchange_read(struct sl_exchange *ex, bool on)
{
    ex->ops->read(ex, on);
}

static inline void sl_exchange_abort(struct sl_exchange *ex)
{
    ex->ops->abort(ex);
}

/* Limits and deadlines of a server connection, with defaults in sl_http_limits_default. Times in
 * ms. */
struct sl_http_limits {
    uint32_t max_target, max_head, max_headers, max_chunk_ext; /* bytes, bytes, count, bytes */
    uint32_t head_timeout, body_timeout, write_timeout, idle_timeout, upgrade_timeout;
    uint32_t min_body_rate; /* bytes a second of a request body, beyond body_timeout; 0: none */
    uint64_t max_discard;   /* unread request body that is swallowed to keep a connection alive */
    uint64_t max_requests;  /* per connection; 0: no limit */
    /* Concurrent requests of a connection. HTTP/2: the body bytes that it may have on the way to a
     * handler that does not take them, of one stream and of all. */
    uint32_t max_streams, stream_window, conn_window;
    /* Frames of one connection in a minute that cost us more than the client. */
    uint32_t max_resets; /* of streams: the client's own, and ours that it provoked */
    uint32_t max_pings, max_settings, max_priorities, max_empty_data;
    uint32_t max_unknown_frames; /* HTTP/3 alone: HTTP/2 skips them for next to nothing */
    uint32_t max_window_updates; /* beyond what the bytes and requests of the connection call for */
    /* HTTP/2: entries in one SETTINGS frame, CONTINUATION frames in one head, answers to PING and
     * SETTINGS that the client lets wait unread. */
    uint32_t max_settings_entries, max_continuations, max_unread_acks;
};

#define SL_HTTP_LIMITS_DEFAULT                                                                     \
    {                                                                                              \
        .max_target = 16 * 1024,                                                                   \
        .max_head = 48 * 1024,                                                                     \
        .max_headers = 200,                                                                        \
        .max_chunk_ext = 1024,                                                                     \
        .head_timeout = 10000,                                                                     \
        .body_timeout = 30000,                                                                     \
        .write_timeout = 60000,                                                                    \
        .idle_timeout = 60000,                                                                     \
        .upgrade_timeout = 3600000,                                                                \
        .min_body_rate = 240,                                                                      \
        .max_discard = 1 << 20,                                                                    \
        .max_streams = 128,                                                                        \
        .stream_window = 256 * 1024,                                                               \
        .conn_window = 1 << 20,                                                                    \
        .max_resets = 1000,                                                                        \
        .max_pings = 600,                                                                          \
        .max_settings = 100,                                                                       \
        .max_priorities = 2000,                                                                    \
        .max_empty_data = 1000,                                                                    \
        .max_unknown_frames = 1000,                                                                \
        .max_window_updates = 2000,                                                                \
        .max_settings_entries = 32,                                                                \
        .max_continuations = 8,                                                                    \
        .max_unread_acks = 256,                                                                    \
    }

extern const struct sl_http_limits sl_http_limits_default;

struct sl_http_conn;

struct sl_http_conn_ops {
    void (*drain)(struct sl_http_conn *c);
    void (*kill)(struct sl_http_conn *c);
    bool (*is_idle)(const struct sl_http_conn *c);
};

/* A connection that carries exchanges: the first member of each version's own. */
struct sl_http_conn {
    const struct sl_http_conn_ops *ops;
};

/* What serves the exchanges of a connection. */
struct sl_http_service {
    /* A request head is complete and valid. Must set ex->handler and ex->user before it returns. */
    void (*on_request)(struct sl_exchange *ex);
    /* A request was refused below (400, 408, 414, 431, 501): for the log. May be NULL. */
    void (*on_refused)(const struct sl_peer *peer, int status, const char *why);
    /* The connection has ended; `peer` is about to go. May be NULL. */
    void (*on_closed)(const struct sl_peer *peer);
    /* The client goes on from another address, which was validated (QUIC). May be NULL. */
    void (*on_migrated)(const struct sl_peer *peer, const struct sl_addr *remote);
    struct sl_http_limits limits;
    /* How long, in ms, a drained connection still takes a request that its client may have sent
     * before it could know. 0: an idle one is closed at once. */
    uint32_t drain_grace;
};

/* Takes the stream, which is ready. `peer` must live until on_closed. `first`: bytes already read.
 */
struct sl_http_conn *sl_h1_serve(struct sl_stream **stream, const struct sl_http_service *service,
                                 const struct sl_peer *peer, const uint8_t *first, size_t n_first);

/* The same for HTTP/2, over TLS with ALPN "h2" or in plain by a client that knows beforehand. */
struct sl_http_conn *sl_h2_serve(struct sl_stream **stream, const struct sl_http_service *service,
                                 const struct sl_peer *peer, const uint8_t *first, size_t n_first);

/* No further request but for those of service->drain_grace: close now when idle, else after the
 * exchanges in progress (HTTP/2 and 3 say GOAWAY first). on_closed follows, maybe inside the call.
 */
static inline void sl_http_conn_drain(struct sl_http_conn *c)
{
    c->ops->drain(c);
}

/* Closes at once (a peer that was blocked). on_abort of its exchanges and on_closed come inside the
 * call. */
static inline void sl_http_conn_kill(struct sl_http_conn *c)
{
    c->ops->kill(c);
}

/* No exchange is in progress. */
static inline bool sl_http_conn_is_idle(const struct sl_http_conn *c)
{
    return c->ops->is_idle(c);
}

#endif
