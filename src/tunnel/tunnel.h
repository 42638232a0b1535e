/*
 * A tunnel: the streams between one edge and its hub, whatever carries them. Each stream is a
 * struct sl_stream (net/stream.h) for whoever holds its end; a link (frames over TLS in
 * tunnel/frames.h, QUIC in tunnel/quic_link.h) moves their bytes. The tunnel outlives its links:
 * between two sluices the streams wait when a link is lost, and go on at the exact byte with the
 * next one.
 *
 * Not here: who may connect, what the ports are, where a stream goes. The handler is told of what
 * arrives and decides.
 *
 * Owner: whoever made it, on one thread. It may be freed in every callback. Streams that are still
 * held when it is freed end with on_error(SL_E_CLOSED) and are freed by their owners as usual.
 *
 *     tunnel = sl_tunnel_new(&opts);
 *     sl_tunnel_attach_frames(tunnel, &tls, &terms, left_over, n_left_over);
 *     stream = sl_tunnel_open(tunnel, SL_STR("PROXY TCP4 …\r\n"), &handler, visitor);
 */
#ifndef SL_TUNNEL_TUNNEL_H
#define SL_TUNNEL_TUNNEL_H

#include "codec/tunnel_frame.h"
#include "codec/tunnel_resume.h"
#include "net/stream.h"

struct sl_tunnel;

struct sl_tunnel_handler {
    /* Hub: the edge has opened a stream, which is the handler's from now on: it sets a handler and
     * a user, now or later, since the stream is paused, or frees it. `opening` is the PROXY line as
     * it came, valid during the call. NULL: refused (an edge is not asked for streams). */
    void (*on_stream)(void *user, struct sl_stream *s, struct sl_str opening);
    /* A frame that is about no stream: CONFIG, PING, PONG, UDP_*. */
    void (*on_frame)(void *user, const struct sl_frame *f);
    /* The link is gone; `why` for the log. Between two sluices the streams wait for another one,
     * until sl_tunnel_give_up(); else those that the peer knew have ended. */
    void (*on_down)(void *user, int code, const char *why);
    /* Streams move over the new link. `resumed`: those of before go on. A link may go down without
     * having come up. NULL: nobody wants to know. */
    void (*on_up)(void *user, bool resumed);
    /* A stream is no more, and its id is free again; its holder may still have it. It comes inside
     * other calls, and must call nothing of the tunnel. NULL: nobody wants to know. */
    void (*on_left)(void *user, uint32_t id);
};

struct sl_tunnel_opts {
    struct sl_loop *loop;
    const struct sl_tunnel_handler *handler;
    void *user;
    bool is_edge;
    uint32_t max_streams; /* at once; further ones are refused; 0: SL_TUNNEL_STREAMS_MAX */
    /* Bytes of all streams that may wait here; above it the stream that holds most ends with
     * SL_E_LIMIT. 0: SL_WINDOW_BUDGET, 200 MB. */
    uint64_t budget;
};

/* What a new link means for the streams. */
struct sl_tunnel_terms {
    /* The peer knows RESET and RESUME. Else it may be the original: new streams have SL_WINDOW_MAX,
     * an abrupt end is told with CLOSE, and no stream survives the link. */
    bool is_sluice;
    /* What the hub has offered to the edge over this connection: the name of the tunnel, if it is a
     * new one for either of them. */
    uint8_t ticket[SL_RESUME_TICKET];
    /* Hub: what the edge said first (sl_resume_first()); NULL for an edge, and for an original. */
    const struct sl_resume *peer;
};

enum { SL_TUNNEL_STREAMS_MAX = 65536, SL_TUNNEL_OPENING_MAX = 256 };

struct sl_tunnel *sl_tunnel_new(const struct sl_tunnel_opts *opts);
void sl_tunnel_free(struct sl_tunnel *t); /* NULL is legal */

/* Edge: opens a stream that begins with this PROXY line (copied, at most SL_TUNNEL_OPENING_MAX
 * bytes). NULL when the tunnel has too many. Usable at once: what is written waits for the link. */
struct sl_stream *sl_tunnel_open(struct sl_tunnel *t, struct sl_str opening,
                                 const struct sl_stream_handler *handler, void *user);
/* Sends a frame that is about no stream. 0; SL_E_CLOSED without a link. UDP_DATA may be dropped
 * when the link is busy: SL_E_AGAIN, which is no reason to worry. */
int sl_tunnel_send(struct sl_tunnel *t, const struct sl_frame *f);

/* Takes a stream that is ready (TLS, after the greeting) as the link; `first` bytes behind the
 * greeting, and at the hub behind a RESUME, were read from it already. An older link is dropped.
 *
 * Between two sluices both sides say what they have, the edge first. An edge whose tunnel had a
 * link to a sluice before asks to go on with that one; a hub that does not know it says so, and
 * both begin anew under the ticket that was offered: streams that the hub may know end, those that
 * were never said a word on are opened again.
 *
 * 0; SL_E_REFUSED, hub: what the edge said is older than what the present link began with, so that
 * nothing was taken or changed: close the connection. It cannot tell for another ticket: drop
 * connections of an edge that have not said their first frame when a newer one of it has. */
int sl_tunnel_attach_frames(struct sl_tunnel *t, struct sl_stream **below,
                            const struct sl_tunnel_terms *terms, const uint8_t *first,
                            size_t n_first);
/* The same over a QUIC connection (tunnel/quic_link.h), which is taken, with its control stream. */
struct sl_tunnel_quic;
int sl_tunnel_attach_quic(struct sl_tunnel *t, struct sl_tunnel_quic **quic,
                          struct sl_stream **control, const struct sl_tunnel_terms *terms,
                          const uint8_t *first, size_t n_first);
/* No further link will come: ends the streams that wait, with on_error(SL_E_TIMEOUT). */
void sl_tunnel_give_up(struct sl_tunnel *t);
/* Streams move: there is a link, and both sides have agreed. */
bool sl_tunnel_is_up(const struct sl_tunnel *t);
/* Ends the link, as if it had been lost: on_down() comes at the end of the turn. */
void sl_tunnel_detach(struct sl_tunnel *t, int code, const char *why);

struct sl_tunnel_stats {
    uint64_t bytes_in, bytes_out; /* payload of streams */
    uint64_t streams_opened, streams_reset;
    uint64_t datagrams_dropped;
    uint64_t frames_unknown; /* of a type that nobody knows, or for a stream that is no more */
    size_t n_streams;
    size_t n_ready[2];  /* streams that wait for their turn, by tier (tunnel/schedule.h) */
    size_t n_control;   /* bytes of control frames that wait */
    uint64_t committed; /* bytes that the peer may have in flight towards us */
    uint64_t held;      /* bytes that have arrived and wait here; at most the budget */
};
void sl_tunnel_stats(const struct sl_tunnel *t, struct sl_tunnel_stats *out);
/* The id of a stream of a tunnel, for logs; 0 when `s` is none. */
uint32_t sl_tunnel_stream_id(const struct sl_stream *s);
/* It is a stream of a tunnel through which nothing moves now. */
bool sl_tunnel_stream_waits(const struct sl_stream *s);

#endif
