/*
 * The inside of QUIC endpoints and connections, for the files of this folder only.
 *
 *     endpoint.c   life of an endpoint; whom a datagram is for; the end of a turn
 *     out.c        datagrams on their way out, collected over a turn
 *     wire.c       the socket and the timer below (quic/wire.h)
 *     accept.c     a client's first datagram: drop, Retry, or a connection
 *     stateless.c  answers without a connection: version negotiation, Retry, resets
 *     conn.c       life of a connection, and what its owner may ask
 *     conn_begin.c how one begins: settings, transport parameters
 *     conn_read.c  datagrams and time that come to it
 *     conn_write.c the one function that writes packets
 *     conn_end.c   why it ends, and the last packet
 *     callbacks.c  what ngtcp2 says
 *     tls.c        contexts; tls_conn.c the handshake of one connection
 *     ghost.c      what is left of a connection while its last packets are under way
 *     datagram.c   the queue of datagrams (RFC 9221)
 *     qlog.c       the file of a connection
 *
 * ngtcp2 must not be entered again from its own callbacks, and the layer above is called in them.
 * So what that asks for (close, wake, resume) is noted, the connection is put on the endpoint's
 * list, and sl_qconn_run() does it at the end of the turn. Everything else that happens to a
 * connection, a datagram or a timer, puts it on that list, too.
 */
#ifndef SL_QUIC_INTERNAL_H
#define SL_QUIC_INTERNAL_H

#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>
#include <ngtcp2/ngtcp2_crypto_ossl.h>
#include <stdio.h>
#include "base/log.h"
#include "base/map.h"
#include "quic/cid.h"
#include "quic/quic.h"
#include "quic/timers.h"
#include "quic/token.h"
#include "quic/wire.h"

#define SL_QUIC_MS NGTCP2_MILLISECONDS

/* --- datagrams on their way out --- */

enum { SL_QUIC_OUT_LEN = 2 * SL_UDP_SEND_MAX, SL_QUIC_OUT_MSGS = 64 };

struct sl_quic_out {
    uint8_t *bytes; /* SL_QUIC_OUT_LEN of them */
    size_t len;
    int n, n_sent;
    struct sl_udp_send msgs[SL_QUIC_OUT_MSGS];
    struct {
        struct sl_addr remote, local;
    } addrs[SL_QUIC_OUT_MSGS];
    bool is_full; /* the socket takes no more */
};

/* --- endpoints --- */

struct sl_quic_endpoint {
    struct sl_quic_wire *wire;
    struct sl_loop *loop;
    struct sl_quic_settings settings;
    struct sl_quic_tls *tls;
    const struct sl_quic_server *server;
    void (*forward)(void *user, unsigned worker, const struct sl_udp_packet *packet);
    size_t (*on_header)(void *user, const struct sl_addr *remote, const uint8_t *bytes, size_t len);
    bool (*may_begin)(void *user, const struct sl_addr *remote);
    void *user;
    struct sl_addr local; /* of the socket */
    struct sl_map cids;
    struct sl_list conns;   /* those that came */
    struct sl_list clients; /* those that we made */
    struct sl_list ready;   /* connections that want to run */
    struct sl_list ghosts;  /* oldest first */
    size_t n_conns, n_handshakes, n_ghosts;
    struct sl_quic_timers timers;
    struct sl_quic_out out;
    struct sl_task_link task;
    struct sl_quic_endpoint_stats stats;
    uint64_t answers_ns;                      /* when counting `n_answers` began */
    uint32_t n_answers;                       /* stateless ones */
    const ngtcp2_callbacks *client_callbacks; /* tests put others here, of clients that misbehave */
    struct sl_log_limit failures;             /* to make qlog files */
    unsigned worker;
    bool is_stopped;
};

static inline uint64_t sl_quic_now(const struct sl_quic_endpoint *e)
{
    return e->wire->ops->now(e->wire);
}

/* Takes the wire. `local` is its address. */
struct sl_quic_endpoint *sl_quic_endpoint_new_on(struct sl_quic_wire *wire,
                                                 const struct sl_addr *local,
                                                 const struct sl_quic_endpoint_opts *opts);
/* Called by the wire: one or several datagrams of one sender; timers that are due; room. */
void sl_quic_endpoint_take(struct sl_quic_endpoint *e, const struct sl_udp_packet *packet,
                           bool may_forward);
void sl_quic_endpoint_on_time(struct sl_quic_endpoint *e);
void sl_quic_endpoint_on_writable(struct sl_quic_endpoint *e);

/* --- out.c --- */

/* Room for a burst of at least `least` bytes, `*len` gets how many; NULL while the socket is full.
 */
uint8_t *sl_quic_out_room(struct sl_quic_endpoint *e, size_t least, size_t *len);
/* Counts `len` bytes in that room, cut into datagrams of `segment`. They go out with the others. */
void sl_quic_out_add(struct sl_quic_endpoint *e, const struct sl_udp_send *msg);
void sl_quic_out_flush(struct sl_quic_endpoint *e);

/* --- accept.c, stateless.c --- */

/* An Initial that belongs to no connection; `hd` is its header. */
void sl_quic_accept(struct sl_quic_endpoint *e, const struct sl_udp_packet *packet,
                    ngtcp2_pkt_hd *hd);
void sl_quic_send_version_negotiation(struct sl_quic_endpoint *e,
                                      const struct sl_udp_packet *packet,
                                      const ngtcp2_version_cid *ids);
void sl_quic_send_retry(struct sl_quic_endpoint *e, const struct sl_udp_packet *packet,
                        const ngtcp2_pkt_hd *hd);
/* CONNECTION_CLOSE in answer to an Initial that makes no connection. */
void sl_quic_send_refusal(struct sl_quic_endpoint *e, const struct sl_udp_packet *packet,
                          const ngtcp2_pkt_hd *hd, uint64_t error);
/* In answer to a packet with this connection id, which leads nowhere. */
void sl_quic_send_reset(struct sl_quic_endpoint *e, const struct sl_udp_packet *packet,
                        const uint8_t *cid, size_t cid_len);

/* --- ghosts --- */

/* Takes over the connection ids of `c`. `packet` is its CONNECTION_CLOSE, or nothing when the peer
 * closed: then what still comes is swallowed. */
void sl_quic_ghost_new(struct sl_qconn *c, const uint8_t *packet, size_t len);
void sl_quic_ghost_receive(struct sl_quic_ghost *g, const struct sl_udp_packet *packet);
void sl_quic_ghosts_clear(struct sl_quic_endpoint *e);

/* --- TLS --- */

struct sl_quic_tls {
    _Atomic(unsigned) n_refs;
    SSL_CTX *ctx;
    struct sl_str alpn; /* wire form; owned */
    bool verify;
    uint8_t pin[32];
};

struct sl_quic_tls *sl_quic_tls_ref(struct sl_quic_tls *t);

enum sl_quic_answer { SL_QUIC_NOT_ASKED, SL_QUIC_ASKED, SL_QUIC_GIVEN, SL_QUIC_REFUSED };

/* The handshake of a connection. A server's ends with the handshake. */
struct sl_quic_handshake {
    struct sl_quic_tls *tls;
    SSL *ssl;
    ngtcp2_crypto_ossl_ctx *ossl;
    ngtcp2_crypto_conn_ref ref; /* OpenSSL's way to the connection */
    struct sl_cert *cert;
    enum sl_quic_answer answer; /* of on_hello() */
    bool is_resumed;            /* it came later */
};

/* Client: `name` is the server's. 0, SL_E_TLS, or SL_E_CONFIG: that is no name. */
int sl_quic_handshake_new(struct sl_qconn *c, struct sl_quic_tls *tls, struct sl_str name);
void sl_quic_handshake_free(struct sl_qconn *c); /* none: legal */
/* Keeps what was agreed on, which outlives OpenSSL's object. */
void sl_quic_handshake_note(struct sl_qconn *c);
/* OpenSSL's callbacks, for the contexts. */
int sl_quic_on_client_hello(SSL *ssl, int *alert, void *arg);
int sl_quic_on_alpn(SSL *ssl, const unsigned char **out, unsigned char *n_out,
                    const unsigned char *in, unsigned n_in, void *arg);
int sl_quic_on_verify(X509_STORE_CTX *store, void *arg);
int sl_quic_on_make_ticket(SSL *ssl, void *arg);
SSL_TICKET_RETURN sl_quic_on_open_ticket(SSL *ssl, SSL_SESSION *session, const uint8_t *name,
                                         size_t name_len, SSL_TICKET_STATUS status, void *arg);

/* --- connections --- */

enum sl_qconn_ending {
    SL_QCONN_LIVES,
    SL_QCONN_CLOSES, /* says CONNECTION_CLOSE */
    SL_QCONN_DRAINS, /* the peer has said it */
    SL_QCONN_VANISHES,
};

struct sl_qconn {
    struct sl_quic_conn pub;
    struct sl_link link, ready;
    struct sl_quic_endpoint *endpoint;
    ngtcp2_conn *ngtcp2;
    struct sl_quic_handshake *handshake;
    struct sl_list cids;
    struct sl_quic_timer timer;
    struct sl_list datagrams; /* to be sent, oldest first */
    size_t n_datagrams, datagrams_len;
    FILE *qlog;
    char *sni;    /* NULL: none */
    char *reason; /* of the end, copied */
    struct sl_quic_end end;
    enum sl_qconn_ending ending;
    char alpn[SL_TLS_PROTOCOL_MAX + 1];
    uint64_t idle_ns; /* see sl_qconn_used(); 0: never too long */
    uint64_t used_ns; /* when something of use was last sent or came */
    uint64_t n_pings; /* of the peer by then */
    bool is_shaking;  /* counted among the handshakes of the endpoint */
    bool is_accepted; /* its owner knows it */
    bool is_ready;
    bool is_done;    /* the handshake is */
    bool is_drained; /* the last write found nothing more to send */
    bool was_reset;  /* by a stateless reset */
};

static inline struct sl_qconn *sl_qconn(const struct sl_quic_conn *c)
{
    return sl_container_of(c, struct sl_qconn, pub);
}

static inline const struct sl_quic_app *sl_qconn_app(const struct sl_qconn *c)
{
    return c->pub.app;
}

/* May the owner be called? */
static inline bool sl_qconn_is_open(const struct sl_qconn *c)
{
    return c->is_accepted && c->ending == SL_QCONN_LIVES;
}

/* --- conn.c --- */

struct sl_qconn *sl_qconn_new(struct sl_quic_endpoint *e, bool is_server);
/* It is in no list any more and nobody is called. */
void sl_qconn_free(void *c);
/* Has sl_qconn_run() called at the end of the turn. */
void sl_qconn_soon(struct sl_qconn *c);
/* The end of the turn: goes on with the handshake, writes, sets the timer, or ends. */
void sl_qconn_run(struct sl_qconn *c);
void sl_qconn_done(struct sl_qconn *c); /* counts it no longer among the handshakes */

/* --- conn_begin.c --- */

struct sl_qconn_first {
    const ngtcp2_pkt_hd *hd; /* the client's Initial */
    const struct sl_addr *remote, *local;
    const ngtcp2_cid *odcid; /* after a Retry: what the client had called us first */
    ngtcp2_token_type token_type;
};

/* 0 or SL_E_*; then it was not counted and is freed by the caller. */
int sl_qconn_begin_server(struct sl_qconn *c, const struct sl_qconn_first *first);
int sl_qconn_begin_client(struct sl_qconn *c, const struct sl_addr *remote, struct sl_quic_tls *tls,
                          struct sl_str server_name);
ngtcp2_path sl_qconn_path(const struct sl_addr *local, const struct sl_addr *remote);
extern const ngtcp2_callbacks sl_quic_server_callbacks, sl_quic_client_callbacks;

/* --- conn_read.c --- */

/* One datagram. What ngtcp2 said, which has been acted upon but for NGTCP2_ERR_RETRY. */
int sl_qconn_read(struct sl_qconn *c, const struct sl_udp_packet *packet);
void sl_qconn_on_due(struct sl_quic_timer *t);
/* Something that its owner or the peer wants has happened. A connection without it for twice the
 * idle timeout ends although packets go to and fro. */
static inline void sl_qconn_used(struct sl_qconn *c)
{
    c->used_ns = ngtcp2_conn_get_timestamp(c->ngtcp2);
}

/* What ngtcp2 returned: ends the connection unless it is 0. */
void sl_qconn_check(struct sl_qconn *c, int rc);

/* --- conn_write.c --- */

void sl_qconn_write(struct sl_qconn *c);

/* --- conn_end.c --- */

/* Ends the connection at the end of the turn; the first cause is kept. `reason` is copied. */
void sl_qconn_end(struct sl_qconn *c, enum sl_qconn_ending how, const struct sl_quic_end *end);
/* The same with an error of the transport that we found. */
void sl_qconn_fail(struct sl_qconn *c, int code, uint64_t error, const char *reason);
/* What the peer said. */
void sl_qconn_end_by_peer(struct sl_qconn *c);
/* Says the last word, calls on_closed(), and frees at the end of the turn. */
void sl_qconn_finish(struct sl_qconn *c);

/* --- datagram.c --- */

struct sl_quic_datagram {
    struct sl_link link;
    size_t len;
    uint8_t bytes[];
};

/* The first one that still fits the path, or NULL. */
struct sl_quic_datagram *sl_quic_datagram_first(struct sl_qconn *c);
void sl_quic_datagram_drop(struct sl_qconn *c, struct sl_quic_datagram *d);

/* --- qlog.c --- */

/* NULL when none is wanted or the file cannot be made. */
FILE *sl_quic_qlog_open(struct sl_quic_endpoint *e, const ngtcp2_cid *odcid);
void sl_quic_qlog_write(void *user, uint32_t flags, const void *bytes, size_t len);

#endif
