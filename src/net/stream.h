/*
 * A stream: a full-duplex byte channel with backpressure, half-close and reset. TCP sockets, TLS
 * sessions, QUIC streams and tunnel streams are all streams behind this one interface and pass one
 * conformance test (net/stream_conformance.h).
 *
 * Reading is pushed: on_data() gets what arrived, at most SL_SCRATCH_LEN bytes, which are valid
 * during the call only. The reader takes all of them. A reader that cannot take more pauses
 * (sl_stream_read(s, false)); after that at most the rest of the batch being delivered still comes.
 *
 * Writing: sl_stream_write() always takes all bytes. It returns
 *     0             everything went out (or to the layer below): write again at will
 *     SL_E_AGAIN    taken, but a part waits in the stream: write no more until on_written()
 *     other < 0     the stream is dead; on_error() follows at the end of the turn, never inside the
 * call Writing while a write is in flight is a bug (asserted), except sl_stream_write(s, NULL, 0,
 * true).
 *
 * End: `fin` closes our direction after the bytes; on_fin() says that the peer closed its.
 * on_error() says that nothing more will happen. A stream that ended both ways without error says
 * nothing further: its owner frees it.
 *
 * Owner: whoever holds it, on one thread. sl_stream_free() is legal in every callback and at any
 * time; no callback follows it.
 */
#ifndef SL_NET_STREAM_H
#define SL_NET_STREAM_H

#include <sys/uio.h>
#include "loop/loop.h"
#include "net/addr.h"

struct sl_stream;

struct sl_stream_handler {
    void (*on_data)(struct sl_stream *s, const uint8_t *bytes, size_t len);
    void (*on_fin)(struct sl_stream *s);
    void (*on_written)(struct sl_stream *s);
    void (*on_error)(struct sl_stream *s, int code);
    /* Outgoing streams and TLS: usable now. NULL when nobody waits for it. */
    void (*on_ready)(struct sl_stream *s);
};

enum sl_close {
    SL_CLOSE_ABORT,  /* at once; TCP sends a reset when bytes are unread */
    SL_CLOSE_LINGER, /* flush what is in flight, fin, then swallow input for a short time so that
                        the peer reads our last bytes */
};

struct sl_stream_ops {
    int (*write)(struct sl_stream *s, const struct iovec *iov, int n_iov, bool fin);
    void (*read)(struct sl_stream *s, bool on);
    void (*free)(struct sl_stream *s, enum sl_close how);
    /* The stream below (TLS: TCP), or NULL. */
    struct sl_stream *(*below)(const struct sl_stream *s);
};

struct sl_stream {
    const struct sl_stream_ops *ops;
    const struct sl_stream_handler *handler;
    void *user; /* the handler's */
    struct sl_loop *loop;
    uint64_t bytes_in, bytes_out; /* of this layer's payload */
    bool is_writing;              /* a write is in flight */
    bool is_reading;
    bool sent_fin, got_fin;
    int error; /* the first SL_E_* that ended it, 0 while it lives */
};

static inline int sl_stream_write(struct sl_stream *s, const struct iovec *iov, int n_iov, bool fin)
{
    return s->ops->write(s, iov, n_iov, fin);
}

static inline int sl_stream_write1(struct sl_stream *s, const void *bytes, size_t len, bool fin)
{
    struct iovec iov = {(void *)bytes, len};

    return s->ops->write(s, &iov, len > 0 ? 1 : 0, fin);
}

static inline void sl_stream_read(struct sl_stream *s, bool on)
{
    if (s->is_reading != on)
        s->ops->read(s, on);
}

static inline void sl_stream_set_handler(struct sl_stream *s, const struct sl_stream_handler *h,
                                         void *user)
{
    s->handler = h;
    s->user = user;
}

/* Takes the stream and nulls the pointer; NULL inside is legal. */
static inline void sl_stream_free(struct sl_stream **ps, enum sl_close how)
{
    struct sl_stream *s = *ps;

    *ps = NULL;
    if (s != NULL)
        s->ops->free(s, how);
}

static inline struct sl_stream *sl_stream_below(const struct sl_stream *s)
{
    return s->ops->below != NULL ? s->ops->below(s) : NULL;
}

#endif
