/*
 * One edge's way to a hub: connects over TLS or QUIC, greets, and carries streams and UDP sessions
 * through the tunnel from then on. It does what it is told, one attempt at a time; when to try
 * again, where, and which ports to open is for its owner.
 *
 *     e = sl_edge_new(&opts);
 *     sl_edge_connect(e, &attempt);           // on_answer(line), or on_failed()
 *     sl_edge_accept(e, &terms);              // on_up(); on_config() ..., in the end on_down()
 *     stream = sl_edge_open(e, SL_STR("PROXY TCP4 …\r\n"), &handler, visitor);
 *
 * Streams may be opened at any time: without a link they wait for the next one. When the link of a
 * tunnel between two sluices is lost its streams wait, too, until sl_edge_give_up(); with another
 * hub they end at once.
 *
 * A link that lives stays in use while another attempt is made, until sl_edge_accept() replaces it.
 *
 * Owner: whoever made it, on one thread. Callbacks come from the loop, never inside a call of the
 * owner; every one of them may free the edge.
 */
#ifndef SL_TUNNEL_EDGE_H
#define SL_TUNNEL_EDGE_H

#include "net/dns.h"
#include "tunnel/session.h"
#include "tunnel/tunnel.h"

struct sl_edge;

enum sl_edge_transport { SL_EDGE_TLS, SL_EDGE_QUIC };

/* One try. Everything is copied. */
struct sl_edge_attempt {
    struct sl_str host; /* a name or an address */
    uint16_t port;
    struct sl_str id, secret;
    enum sl_edge_transport transport;
    uint32_t timeout_ms; /* from the name to the hub's answer */
    /* How the hub proves who it is: by the SHA-256 of its public key (32 bytes, NULL: not), else by
     * a certificate that the roots of `ca_file` (empty: the system's) vouch for when `verify`, else
     * not at all. */
    const uint8_t *pin;
    bool verify;
    struct sl_str ca_file, server_name; /* server_name empty: host */
};

/* What the hub's answer means for the tunnel, as its reader understood it. */
struct sl_edge_terms {
    bool is_sluice; /* it knows RESET and RESUME: `ticket` names the tunnel if it is a new one */
    uint8_t ticket[SL_RESUME_TICKET];
};

struct sl_edge_handler {
    /* The hub's line, without its end: sl_edge_accept() or sl_edge_hang_up() is awaited. */
    void (*on_answer)(void *user, struct sl_str line);
    /* The attempt is over: nobody there, SL_E_TLS, SL_E_REFUSED (by the hub alone; `why` is its
     * word), SL_E_TIMEOUT, … */
    void (*on_failed)(void *user, int code, const char *why);
    /* Streams move. `resumed`: those of before go on. */
    void (*on_up)(void *user, bool resumed);
    /* A CONFIG frame. */
    void (*on_config)(void *user, struct sl_str json);
    void (*on_down)(void *user, int code, const char *why);
};

struct sl_edge_opts {
    struct sl_loop *loop;
    struct sl_dns *dns;
    const struct sl_edge_handler *handler;
    void *user;
    uint32_t max_streams, max_sessions; /* 0: 65536 */
    uint32_t dead_ms;                   /* without a byte of the hub; 0: 45 s, three of its pings */
    uint32_t hold_ms;                   /* what sl_edge_hold_ms() says; 0: 10 s */
};

struct sl_edge *sl_edge_new(const struct sl_edge_opts *opts);
/* NULL is legal. Streams end with SL_E_CLOSED, sessions with on_closed(). */
void sl_edge_free(struct sl_edge *e);

/* An attempt that is under way is dropped without a word. */
void sl_edge_connect(struct sl_edge *e, const struct sl_edge_attempt *a);
/* After on_answer(): the connection becomes the link of the tunnel. */
void sl_edge_accept(struct sl_edge *e, const struct sl_edge_terms *terms);
/* Drops the attempt, or the link: on_down() follows then. */
void sl_edge_hang_up(struct sl_edge *e);
/* No link will come for what waits: its streams end with SL_E_TIMEOUT. */
void sl_edge_give_up(struct sl_edge *e);

bool sl_edge_is_up(const struct sl_edge *e);
/* How long a visitor waits for a link. */
uint32_t sl_edge_hold_ms(const struct sl_edge *e);
/* As sl_tunnel_open(); NULL: too many. */
struct sl_stream *sl_edge_open(struct sl_edge *e, struct sl_str opening,
                               const struct sl_stream_handler *handler, void *user);
/* As sl_session_open(). */
struct sl_session *sl_edge_open_session(struct sl_edge *e, const struct sl_proxy_header *from,
                                        const struct sl_session_handler *handler, void *user);

/* Of an edge, or of one edge of a hub. */
struct sl_tunnel_status {
    bool is_up;
    enum sl_edge_transport transport;
    struct sl_addr remote;
    uint64_t up_since; /* seconds since 1970; 0: not up */
    double rtt_ms;     /* of the connection below; 0: not known */
    uint64_t links;    /* that there have been */
    size_t n_sessions;
    uint64_t datagrams_in, datagrams_out;
    struct sl_tunnel_stats streams; /* datagrams_dropped included */
};
void sl_edge_status(const struct sl_edge *e, struct sl_tunnel_status *out);

#endif
