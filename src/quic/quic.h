/*
 * QUIC (RFC 9000, 9001, 9221) on ngtcp2: endpoints, connections, and what a protocol on top of a
 * connection implements. HTTP/3 (http/h3) and plain streams (quic/stream.h) are two such protocols.
 *
 * An endpoint is one UDP socket of one worker with the connections that run over it. The sockets of
 * a port form a SO_REUSEPORT group; our connection ids carry the worker, a classic BPF program
 * picks the socket from them (quic/steer.h), and a datagram that still lands on the wrong worker is
 * handed to `forward`.
 *
 * A connection talks to its `app`: bytes of streams come up as they arrive (in order, each once),
 * and bytes to send are pulled: sl_quic_wake() says that there may be some; at the end of the turn
 * the connection calls next() until it has none or the congestion window is full. What next() gave
 * and wrote() took must stay where it is until on_acked(). Flow control: each byte of a stream that
 * was taken is told with sl_quic_consume(), which lets the peer send more.
 *
 * Server: on_accept() is called for an Initial that may become a connection (its address was
 * validated by Retry when the endpoint is under load); on_hello() is as in tls/stream.h; then
 * on_ready(). The peer's address is always the validated one: after a migration on_migrated() says
 * that conn->remote has changed, never before the new path answered.
 *
 * next(), wrote() and blocked() are called while a packet is being written: they look at what the
 * app has queued and leave the connection alone, but for sl_quic_wake() and sl_quic_close().
 *
 * Owner and thread: the endpoint's worker. A connection belongs to its endpoint until on_closed(),
 * the last call, after which it is freed at the end of the turn. Every callback may call
 * sl_quic_close(); none may free the endpoint.
 */
#ifndef SL_QUIC_QUIC_H
#define SL_QUIC_QUIC_H

#include <sys/uio.h>
#include "loop/loop.h"
#include "net/addr.h"
#include "net/udp.h"
#include "tls/context.h"
#include "tls/stream.h"

struct sl_quic_endpoint;
struct sl_quic_conn;

/* What is to be sent next on a stream; at most SL_QUIC_IOV pieces. */
enum { SL_QUIC_IOV = 16 };
struct sl_quic_chunk {
    int64_t stream_id;
    struct iovec iov[SL_QUIC_IOV];
    int n_iov;
    bool fin;
};

/* Why a connection ended. */
struct sl_quic_end {
    int code; /* SL_E_CLOSED (by the peer, or idle), SL_E_CANCELLED (by us), SL_E_TIMEOUT, SL_E_TLS,
                 SL_E_REFUSED, SL_E_RESET (stateless), SL_E_PROTOCOL */
    uint64_t error; /* of the CONNECTION_CLOSE frame, sent or received */
    bool is_app, is_remote;
    const char *reason; /* for the log; never NULL */
};

struct sl_quic_app {
    /* Streams may be opened and written. Server: its 1-RTT keys are there, which is before the
     * client's Finished (sl_quic_is_early() tells). */
    void (*on_ready)(struct sl_quic_conn *c);
    /* The handshake is complete. May be NULL. */
    void (*on_handshake_done)(struct sl_quic_conn *c);
    /* The peer opened a stream. May be NULL. */
    void (*on_stream_open)(struct sl_quic_conn *c, int64_t id);
    void (*on_stream_data)(struct sl_quic_conn *c, int64_t id, void *stream, const uint8_t *bytes,
                           size_t len, bool fin);
    /* The peer gave up its direction; `error` is the application's. */
    void (*on_stream_reset)(struct sl_quic_conn *c, int64_t id, void *stream, uint64_t error);
    /* The peer wants nothing more of ours (the stream was reset in answer). It comes when next()
     * offers the stream again, inside a write as blocked() does, since ngtcp2 1.22 does not tell
     * before; so does the reason: `error` is 0 there, on_stream_closed() has it. */
    void (*on_stream_stop)(struct sl_quic_conn *c, int64_t id, void *stream, uint64_t error);
    /* Both directions have ended and everything was acknowledged. The last call for the stream. */
    void (*on_stream_closed)(struct sl_quic_conn *c, int64_t id, void *stream, uint64_t error);
    /* The next `n` bytes of the stream have arrived there: their memory is free again. */
    void (*on_acked)(struct sl_quic_conn *c, int64_t id, void *stream, uint64_t n);
    /* next() may offer this stream again. */
    void (*on_unblocked)(struct sl_quic_conn *c, int64_t id, void *stream);
    /* The peer allows more streams of ours. May be NULL. */
    void (*on_more_streams)(struct sl_quic_conn *c);
    /* May be NULL. */
    void (*on_datagram)(struct sl_quic_conn *c, const uint8_t *bytes, size_t len);
    /* c->remote has changed. May be NULL. */
    void (*on_migrated)(struct sl_quic_conn *c);

    /* Fills in what to send next: true, or false when there is nothing. */
    bool (*next)(struct sl_quic_conn *c, struct sl_quic_chunk *chunk);
    /* The first `n` bytes of what next() offered are in a packet, and the fin, too, when `fin`. */
    void (*wrote)(struct sl_quic_conn *c, int64_t id, void *stream, size_t n, bool fin);
    /* Flow control of the stream, or its end: next() must not offer it until on_unblocked(). */
    void (*blocked)(struct sl_quic_conn *c, int64_t id, void *stream, bool is_shut);

    /* The last call. */
    void (*on_closed)(struct sl_quic_conn *c, const struct sl_quic_end *end);
};

/* The public part of a connection. */
struct sl_quic_conn {
    const struct sl_quic_app *app;
    void *user; /* the app's */
    struct sl_loop *loop;
    struct sl_addr remote, local; /* of the validated path */
    bool is_server;
};

/* Deadlines in ms, windows in bytes; sl_quic_settings_default has what is used without a word. */
struct sl_quic_settings {
    uint32_t idle_timeout; /* without a packet of the peer; 0: none */
    uint32_t keep_alive;   /* PING after this long without a packet; 0: none */
    uint32_t handshake_timeout;
    uint32_t max_streams_bidi; /* of the peer, at once */
    uint32_t max_streams_uni;
    uint32_t stream_window,
        conn_window; /* what the peer may send before we consume; grow by auto-tuning up to */
    uint32_t max_stream_window, max_conn_window;
    uint32_t max_datagram; /* RFC 9221: largest we take; 0: none */
    uint32_t retry_above; /* handshakes in flight on this worker above which a Retry is demanded; 0:
                             always */
    uint32_t max_handshakes;    /* in flight on this worker: further Initials are dropped */
    uint32_t resets_per_second; /* stateless resets and version negotiations, of this worker */
    bool early_data;            /* 0-RTT; the app answers unsafe requests with 425 */
    bool no_gso, no_pmtud;
    bool bbr; /* congestion control by BBR, not by CUBIC */
    /* NULL: none. Else each connection writes <dir>/<its first destination connection id>.sqlog
     * there (qlog as a JSON text sequence). Nothing bounds how many or how long: for an hour's
     * look, not for ever. */
    const char *qlog_dir;
};
extern const struct sl_quic_settings sl_quic_settings_default;

/* --- server --- */

/* The TLS context of a server; shared by the workers. ALPN in wire form ("\x02h3"). */
struct sl_quic_tls;
int sl_quic_tls_server_new(struct sl_quic_tls **out, const char *alpn, bool early_data,
                           struct sl_err *err);
/* Client: as in tls/context.h; opts->alpn is required, opts->pin replaces verification. */
int sl_quic_tls_client_new(struct sl_quic_tls **out, const struct sl_tls_client_opts *opts,
                           struct sl_err *err);
void sl_quic_tls_free(struct sl_quic_tls *t); /* connections go on */

struct sl_quic_server {
    /* Sets c->app and c->user and returns 0, or refuses (CONNECTION_REFUSED) with a negative code.
     */
    int (*on_accept)(void *user, struct sl_quic_conn *c);
    /* 0: `*cert` is set; SL_E_AGAIN: sl_quic_resume() follows; else unrecognized_name. */
    int (*on_hello)(void *user, struct sl_quic_conn *c, const struct sl_tls_hello *hello,
                    struct sl_cert **cert);
};

struct sl_quic_endpoint_opts {
    struct sl_loop *loop;
    const struct sl_quic_settings *settings; /* copied, but for qlog_dir, which must stay */
    unsigned worker;                         /* 0 to 255: goes into the connection ids */
    struct sl_quic_tls *tls;                 /* server; NULL: connects only */
    const struct sl_quic_server *server;
    /* A datagram for a connection of another worker; it is valid during the call. NULL: dropped. */
    void (*forward)(void *user, unsigned worker, const struct sl_udp_packet *packet);
    /* A datagram that begins like a PROXY header of version 2, which no QUIC packet does: how many
     * bytes of it to skip; 0 drops it. NULL: dropped. */
    size_t (*on_header)(void *user, const struct sl_addr *remote, const uint8_t *bytes, size_t len);
    /* May connections begin from there? False: not a word. NULL: from everywhere. */
    bool (*may_begin)(void *user, const struct sl_addr *remote);
    void *user;
};

/* Takes the bound socket. */
struct sl_quic_endpoint *sl_quic_endpoint_new(int fd, const struct sl_quic_endpoint_opts *opts);
/* Closes what is left (CONNECTION_CLOSE, on_closed() inside the call). */
void sl_quic_endpoint_free(struct sl_quic_endpoint *e);
/* New connections are refused (CONNECTION_REFUSED); the others go on. */
void sl_quic_endpoint_stop_accepting(struct sl_quic_endpoint *e);
void sl_quic_endpoint_set_settings(struct sl_quic_endpoint *e,
                                   const struct sl_quic_settings *settings);
/* A datagram that another worker forwarded. */
void sl_quic_endpoint_receive(struct sl_quic_endpoint *e, const struct sl_udp_packet *packet);
size_t sl_quic_endpoint_conns(const struct sl_quic_endpoint *e);

struct sl_quic_endpoint_stats {
    uint64_t packets_in, packets_out, bytes_in, bytes_out;
    uint64_t accepted, retries, resets, version_negotiations, dropped, forwarded;
};
const struct sl_quic_endpoint_stats *sl_quic_endpoint_stats(const struct sl_quic_endpoint *e);

/* --- client --- */

/* An endpoint with an ephemeral port, of the family of `remote`; one may carry many connections. 0
 * or SL_E_*. */
int sl_quic_endpoint_new_client(struct sl_quic_endpoint **out, const struct sl_addr *remote,
                                const struct sl_quic_endpoint_opts *opts, struct sl_err *err);
/* `server_name`: host name or IP, for SNI and verification. on_ready() or on_closed() follows,
 * never inside the call. */
int sl_quic_connect(struct sl_quic_conn **out, struct sl_quic_endpoint *e,
                    const struct sl_addr *remote, struct sl_quic_tls *tls,
                    struct sl_str server_name, const struct sl_quic_app *app, void *user);
/* The network has changed: the endpoint of this connection binds a new socket, and all its
 * connections as a client go on from there (RFC 9000, section 9). For edges, and for tests of
 * migration. 0, or SL_E_* when there is no socket. */
int sl_quic_rebind(struct sl_quic_conn *c);

/* --- connections --- */

/* The answer to on_hello() that said SL_E_AGAIN: a certificate (taken), or NULL to refuse. */
void sl_quic_resume(struct sl_quic_conn *c, struct sl_cert *cert);
/* Sends CONNECTION_CLOSE with an application error; on_closed() comes at the end of the turn. */
void sl_quic_close(struct sl_quic_conn *c, uint64_t app_error, const char *reason);
/* There may be something to send: next() is asked at the end of the turn. */
void sl_quic_wake(struct sl_quic_conn *c);
/* Opens a stream of ours. 0, SL_E_AGAIN when the peer allows no more now, or SL_E_CLOSED. */
int sl_quic_open(struct sl_quic_conn *c, bool is_uni, int64_t *id);
void sl_quic_set_stream(struct sl_quic_conn *c, int64_t id, void *stream);
/* `n` bytes of the stream were taken; id -1: of the connection only. */
void sl_quic_consume(struct sl_quic_conn *c, int64_t id, size_t n);
/* The same for the window of the stream alone, when that of the connection was told before (id -1):
 * bytes that wait for one stream then do not hold up the others. A stream that has ended is legal.
 */
void sl_quic_consume_stream(struct sl_quic_conn *c, int64_t id, size_t n);
/* RESET_STREAM for our direction, STOP_SENDING for the peer's, or both. */
enum { SL_QUIC_WRITE = 1, SL_QUIC_READ = 2 };
void sl_quic_shut(struct sl_quic_conn *c, int64_t id, unsigned which, uint64_t app_error);
/* 0, SL_E_LIMIT (larger than the peer takes or the path carries), SL_E_AGAIN (queue full: dropped).
 */
int sl_quic_send_datagram(struct sl_quic_conn *c, const uint8_t *bytes, size_t len);
/* The largest datagram that fits now; 0: the peer takes none. */
size_t sl_quic_max_datagram(const struct sl_quic_conn *c);

bool sl_quic_is_early(const struct sl_quic_conn *c); /* the client has not finished the handshake */
struct sl_str sl_quic_alpn(const struct sl_quic_conn *c);
struct sl_str sl_quic_sni(const struct sl_quic_conn *c); /* normalized, or empty */

struct sl_quic_stats {
    uint64_t rtt_us, min_rtt_us, cwnd, bytes_in_flight, bytes_in, bytes_out, packets_lost;
};
void sl_quic_stats(const struct sl_quic_conn *c, struct sl_quic_stats *out);

#endif
