/*
 * The inside of a link over QUIC, for quic_link.c (the connection and the tunnel's wishes),
 * quic_carrier.c (one QUIC stream with a stream of the tunnel) and quic_opening.c (QUIC streams at
 * the hub that have not said yet whose they are).
 */
#ifndef SL_TUNNEL_QUIC_INTERNAL_H
#define SL_TUNNEL_QUIC_INTERNAL_H

#include "tunnel/channel.h"
#include "tunnel/quic_link.h"

enum {
    SL_CARRIER_ID_LEN = 4, /* of the stream's id before the opening, and of a session's */
    SL_OPENING_FIRST = 4,  /* the QUIC stream behind the control stream (RFC 9000, section 2.1) */
};

struct sl_tunnel_quic {
    struct sl_tunnel_channel channel; /* since it is a link */
    struct sl_loop *loop;
    struct sl_quic_conn *conn;                    /* NULL before it began, and once it has ended */
    struct sl_quic_streams *streams;              /* NULL once it has ended */
    const struct sl_tunnel_quic_handler *handler; /* NULL once it is a link, or freed */
    void *user;
    struct sl_list carriers; /* those with a stream of the tunnel */
    struct sl_list waiting;  /* edge: the same, but the peer allows no more QUIC streams */
    struct sl_list fresh;    /* hub: those that have not said whose they are, by QUIC stream */
    size_t n_fresh;
    int64_t next_opening; /* hub that resumes: the QUIC stream that may say it */
    struct sl_buf datagram;
};

/* One QUIC stream. Owner: the link; freed at the end of the turn. */
struct sl_carrier {
    struct sl_link link; /* in one of the lists above */
    struct sl_tunnel_quic *quic;
    struct sl_stream *below;    /* NULL: not there yet, or no more */
    struct sl_tunnel_stream *s; /* NULL: fresh, or no more */
    int64_t id;                 /* of the QUIC stream */
    struct sl_buf head;         /* of the opening; edge: to be sent, hub: what came of it */
    struct sl_task_link pushing;
    struct sl_deadline deadline; /* for the opening */
    bool is_resumed;
};

static inline struct sl_tunnel *sl_carrier_tunnel(const struct sl_carrier *c)
{
    return c->quic->channel.link.tunnel;
}

/* quic_carrier.c */
/* Without a QUIC stream, and in none of the lists. */
struct sl_carrier *sl_carrier_new(struct sl_tunnel_quic *q);
void sl_carrier_free(struct sl_carrier *c, enum sl_close how);
/* Takes the QUIC stream. */
void sl_carrier_use(struct sl_carrier *c, struct sl_stream *below);
/* Bytes off the QUIC stream, behind its opening. */
void sl_carrier_deliver(struct sl_carrier *c, const uint8_t *bytes, size_t len);
/* Detaches the link, unless it is none any more. */
void sl_carrier_fail_link(struct sl_carrier *c, int code, const char *why);
/* The holder reads, or has stopped. */
void sl_carrier_update_read(struct sl_carrier *c);
/* Sends what the stream has, at the end of the turn. */
void sl_carrier_push_soon(struct sl_carrier *c);

/* quic_opening.c */
/* The edge has opened a QUIC stream. The carrier waits among the fresh ones. */
void sl_opening_add(struct sl_tunnel_quic *q, struct sl_stream *below);
/* The connection has become a link: openings are read, those that wait first. */
void sl_opening_begin(struct sl_tunnel_quic *q);
/* Of a fresh carrier: bytes, and how it may end. It may be freed. */
void sl_opening_data(struct sl_carrier *c, const uint8_t *bytes, size_t len);
void sl_opening_error(struct sl_carrier *c);
void sl_opening_refuse(struct sl_carrier *c);
void sl_opening_on_due(struct sl_deadline *d);

#endif
