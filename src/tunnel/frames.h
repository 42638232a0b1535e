/*
 * The link of a tunnel over one stream, in practice TLS: frames (codec/tunnel_frame.h), one after
 * the other. sl_tunnel_attach_frames() in tunnel.h makes one; nothing else is public.
 *
 * What leaves: control frames first, in their order; then DATA and datagrams as the schedule says,
 * a batch at a time. The kernel gets no more than it is about to send (TCP_NOTSENT_LOWAT), so that
 * a frame that is urgent waits behind little, however large the buffer of the socket has grown.
 * CLOSE follows the last DATA of its stream in the same order. What arrives is bounded by the
 * windows of the streams and the limits of the codec. Control frames and reading are the channel's
 * (tunnel/channel.h).
 */
#ifndef SL_TUNNEL_FRAMES_H
#define SL_TUNNEL_FRAMES_H

#include "tunnel/tunnel.h"

enum {
    SL_FRAMES_BATCH = 128 * 1024,     /* bytes of one write to the stream below */
    SL_FRAMES_UNSENT = 128 * 1024,    /* bytes in the kernel that have not been sent yet */
    SL_FRAMES_DATAGRAMS = 256 * 1024, /* waiting datagrams above which further ones are dropped */
};

#endif
