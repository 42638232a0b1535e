/*
 * The link of a tunnel over one QUIC connection. The first bidirectional stream, which the edge
 * opens, is the control stream: it carries the greeting, then frames (tunnel/channel.h). Each
 * stream of the tunnel is a further bidirectional stream of the edge:
 *
 *     4 bytes         the id, big-endian: only when the tunnel resumes
 *     PROXY v1 line   not when the stream began over an earlier link
 *     raw bytes       in both directions; at first those that were not there before
 *
 * FIN is half-close, a reset is an abrupt end. What cannot say which stream it was goes over the
 * control stream: RESET for one whose QUIC stream is not there, or may not have told its id, and
 * receipts (WINDOW_UPDATE with a credit of 0). A datagram is the id of a session and the payload;
 * one that is too large goes as a frame.
 *
 * Flow control is QUIC's: a holder that pauses leaves the bytes where they are, within the window
 * of the QUIC stream. In all of them a quarter of the tunnel's budget may lie besides what the
 * tunnel holds; above it the stream with most ends, so that slow readers never hold up the others.
 * QUIC streams take turns by themselves, so the schedule is not asked.
 *
 * A tunnel that resumes opens streams in the order in which the edge opened them, even if a later
 * one arrives first: the highest id that was seen then says which ones were seen at all.
 *
 * Before it is a link the connection has an owner, who exchanges the greeting on the control stream
 * and frees it or hands it to a tunnel. Streams that come before that wait unread; more than
 * SL_TUNNEL_QUIC_EARLY of them end the connection. One thread; the tunnel frees it in every
 * callback.
 *
 *     quic = sl_tunnel_quic_new(loop, &handler, user);
 *     sl_quic_connect(&conn, endpoint, &hub, tls, name, &sl_quic_streams_app,
 *                     sl_tunnel_quic_streams(quic));
 *     sl_tunnel_quic_begin(quic, conn);
 *     ... on_ready(): sl_quic_stream_open(&control, sl_tunnel_quic_streams(quic)); greeting ...
 *     sl_tunnel_attach_quic(tunnel, &quic, &control, left_over, n_left_over);
 */
#ifndef SL_TUNNEL_QUIC_LINK_H
#define SL_TUNNEL_QUIC_LINK_H

#include "quic/stream.h"
#include "tunnel/tunnel.h"

enum {
    SL_TUNNEL_QUIC_EARLY = 128,
    SL_TUNNEL_QUIC_OPENING_MS = 10 * 1000, /* until a stream must have said what it is */
    SL_TUNNEL_QUIC_PIECE = 64 * 1024,      /* bytes that go to a QUIC stream at once */
};

/* Until the connection is handed to a tunnel. */
struct sl_tunnel_quic_handler {
    /* Edge: streams may be opened, and the control stream is the first. NULL for a hub. */
    void (*on_ready)(void *user);
    /* Hub: the control stream, paused, which wants a handler now. NULL for an edge. */
    void (*on_control)(void *user, struct sl_stream *control);
    /* The connection is gone, and is freed by its owner as usual. `why` for the log. */
    void (*on_closed)(void *user, int code, const char *why);
};

struct sl_tunnel_quic *sl_tunnel_quic_new(struct sl_loop *loop,
                                          const struct sl_tunnel_quic_handler *handler, void *user);
/* NULL after on_closed(). */
struct sl_quic_streams *sl_tunnel_quic_streams(const struct sl_tunnel_quic *q);
/* The connection: in on_accept(), or when sl_quic_connect() has returned. Sets its app and user. */
void sl_tunnel_quic_begin(struct sl_tunnel_quic *q, struct sl_quic_conn *conn);
/* Closes the connection; NULL is legal. The control stream is its holder's. */
void sl_tunnel_quic_free(struct sl_tunnel_quic *q);

#endif
