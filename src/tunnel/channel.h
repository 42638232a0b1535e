/*
 * The frames of a link that are not the bytes of streams, over one stream below: what both kinds of
 * link have in common. Over TLS (tunnel/frames.h) the data goes over the same stream, behind these;
 * over QUIC (tunnel/quic_link.h) the stream below carries nothing else.
 *
 * It reads frames, takes those that are about the tunnel or that both links know, gives the others
 * to its link, and keeps what is to be sent until the link writes it. Frames that we owe (PONG,
 * credit, RESET) are bounded by not reading on while too many wait. Whatever is wrong with what
 * arrives, or with the stream below, detaches the link.
 *
 * Owner: embedded in the link; one thread. sl_tunnel_channel_stop() when the link is dropped, then
 * sl_tunnel_channel_clear() at the end of the turn.
 */
#ifndef SL_TUNNEL_CHANNEL_H
#define SL_TUNNEL_CHANNEL_H

#include "tunnel/internal.h"

/* Bytes of waiting frames above which nothing is read. */
enum { SL_CHANNEL_HIGH = 256 * 1024 };

struct sl_tunnel_channel;

struct sl_tunnel_channel_ops {
    /* Writes what waits, as far as the stream below takes it. */
    void (*flush)(struct sl_tunnel_channel *c);
    /* A frame that says something of a stream. 0, or why the link cannot go on. */
    int (*take)(struct sl_tunnel_channel *c, const struct sl_frame *f);
};

struct sl_tunnel_channel {
    struct sl_tunnel_link link;
    const struct sl_tunnel_channel_ops *ops;
    struct sl_stream *below;
    struct sl_buf control; /* whole frames that wait */
    struct sl_frame_reader reader;
    struct sl_task_link flushing;
    struct sl_buf first; /* what came with the handshake */
    struct sl_task_link reading_first;
};

/* Takes the stream, of which `first` bytes were read already, and makes the link that of the
 * tunnel. Nobody is called before the end of the turn. */
void sl_tunnel_channel_attach(struct sl_tunnel_channel *c, struct sl_tunnel *t,
                              struct sl_stream **below, const uint8_t *first, size_t n_first);
/* Then: streams move over it, or will when the hub has answered, or it is detached again. */
void sl_tunnel_channel_begin(struct sl_tunnel_channel *c, const struct sl_tunnel_terms *terms);
void sl_tunnel_channel_stop(struct sl_tunnel_channel *c);
void sl_tunnel_channel_clear(struct sl_tunnel_channel *c);

void sl_tunnel_channel_put(struct sl_tunnel_channel *c, uint32_t id, enum sl_frame_type type,
                           const void *payload, size_t len);
/* `n` bytes more may come on this stream; between sluices that resume, what has arrived, too. */
void sl_tunnel_channel_put_credit(struct sl_tunnel_channel *c, struct sl_tunnel_stream *s,
                                  uint32_t n);
void sl_tunnel_channel_put_reset(struct sl_tunnel_channel *c, uint32_t id);
/* At the end of the turn. */
void sl_tunnel_channel_flush_soon(struct sl_tunnel_channel *c);
/* All frames that waited were written; the stream below has a copy. */
void sl_tunnel_channel_sent(struct sl_tunnel_channel *c);

/* What both links do with frames about streams. */
int sl_tunnel_channel_take_credit(struct sl_tunnel_stream *s, const struct sl_frame *f);

/* For the ops of a link. */
size_t sl_tunnel_channel_waiting(const struct sl_tunnel_link *l);

static inline struct sl_tunnel_channel *sl_tunnel_channel_of(struct sl_tunnel_link *l)
{
    return sl_container_of(l, struct sl_tunnel_channel, link);
}

#endif
