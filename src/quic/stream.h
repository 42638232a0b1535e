/*
 * The bidirectional streams of a QUIC connection as `struct sl_stream` (net/stream.h): one protocol
 * on top of a connection, an implementation of struct sl_quic_app. Tunnels over QUIC use it.
 *
 *     fin, both ways                        fin, both ways
 *     RESET_STREAM or STOP_SENDING          on_error(SL_E_RESET)
 *     the connection ends                   on_error() with its code
 *     sl_stream_free(SL_CLOSE_ABORT)        RESET_STREAM and STOP_SENDING
 *     sl_stream_free(SL_CLOSE_LINGER)       what is queued, then fin; input is swallowed for a
 * while
 *
 * A stream has a queue of its own for what it sends: the writer waits when SL_QUIC_STREAM_HIGH
 * bytes are unsent. A reader that pauses lets up to one stream window pile up, and does not hold up
 * the other streams: the window of the connection goes on until SL_QUIC_STREAMS_HELD bytes are
 * piled up in all of them, or what sl_quic_streams_limit() says. Streams take turns in sending, so
 * that thousands of them share a connection.
 *
 * Owner: a connection's `struct sl_quic_streams` is made by whoever makes or accepts it and lives
 * until the turn of on_closed(); the streams belong to whoever they were given to, and may outlive
 * it. One thread. Every callback may free streams and close the connection.
 *
 *     streams = sl_quic_streams_new(&handler, user);
 *     sl_quic_connect(&conn, endpoint, &remote, tls, name, &sl_quic_streams_app, streams);
 * or, in on_accept():
 *     conn->app = &sl_quic_streams_app;
 *     conn->user = sl_quic_streams_new(&handler, user);
 */
#ifndef SL_QUIC_STREAM_H
#define SL_QUIC_STREAM_H

#include "net/stream.h"
#include "quic/quic.h"

enum {
    SL_QUIC_STREAM_HIGH = 64 * 1024,
    SL_QUIC_STREAMS_HELD = 16 * 1024 * 1024,
    SL_QUIC_STREAM_ABORTED = 1, /* the application error of RESET_STREAM and STOP_SENDING */
};

struct sl_quic_streams;

/* All but on_closed() may be NULL. */
struct sl_quic_streams_handler {
    /* Streams may be opened. */
    void (*on_ready)(void *user);
    /* The peer opened a stream: it is the callee's now, paused, and wants a handler before the
     * callee returns. NULL: streams of the peer are refused. */
    void (*on_stream)(void *user, struct sl_stream *s);
    /* After sl_quic_stream_open() said SL_E_AGAIN. */
    void (*on_more_streams)(void *user);
    void (*on_datagram)(void *user, const uint8_t *bytes, size_t len);
    void (*on_migrated)(void *user);
    /* The last call; the streams' on_error() follows by itself. */
    void (*on_closed)(void *user, const struct sl_quic_end *end);
};

extern const struct sl_quic_app sl_quic_streams_app;

struct sl_quic_streams *sl_quic_streams_new(const struct sl_quic_streams_handler *handler,
                                            void *user);
/* When more than `max` bytes have piled up in all streams, those in which there are most end with
 * SL_E_LIMIT. Without this call the connection stands still then. */
void sl_quic_streams_limit(struct sl_quic_streams *streams, size_t max);
/* Only for one that never got a connection. */
void sl_quic_streams_free(struct sl_quic_streams *streams);
/* NULL before on_ready(). */
struct sl_quic_conn *sl_quic_streams_conn(const struct sl_quic_streams *streams);

/* Opens a stream of ours, paused. The peer hears of it with the first bytes. 0, SL_E_AGAIN when the
 * peer allows no more now, or SL_E_CLOSED. */
int sl_quic_stream_open(struct sl_stream **out, struct sl_quic_streams *streams);
/* The stream's number on its connection; SL_E_CONFIG when it is not such a stream. */
int64_t sl_quic_stream_id(const struct sl_stream *s);

#endif
