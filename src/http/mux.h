/*
 * An exchange on a connection that carries many of them at once: what HTTP/2 (h2_server.c) and
 * HTTP/3 (h3_server.c) have in common. The version parses frames and calls sl_mux_on_*(); the
 * handler calls the exchange operations, which end in the version's sl_mux_ops.
 *
 * Request body: bytes that the handler does not take now wait in `in`, which the flow control of
 * the stream bounds; every byte that it took, or that nobody wants any more, is told to the version
 * with ops->consume().
 *
 * Response body: ops->write() is offered the bytes first and takes as many as it can send at once
 * (HTTP/2 frames them straight from the caller's memory); the rest is copied into `out`, a queue
 * of blocks that the version reads with sl_mux_peek(), sl_mux_sent() and sl_mux_acked(). Blocks
 * stay until they were acknowledged, which with HTTP/2 is when they were written to the connection.
 * With more than SL_MUX_HIGH bytes unsent, sl_exchange_write() says SL_E_AGAIN; at SL_MUX_LOW
 * on_written() comes.
 *
 * Deadlines, one for each stream: the body (limits.body_timeout and min_body_rate, http/pace.h),
 * writing (limits.write_timeout, while bytes or the end are unsent, moved when SL_MUX_PROGRESS of
 * them have left or none is left: a client that opens its window byte by byte gains nothing), the
 * raw channel after extended CONNECT (limits.upgrade_timeout). The head is the business of the
 * version's connection.
 *
 * The end is as in exchange.h; on_done(), on_abort() and on_written() come at the end of the turn
 * (or in sl_mux_settle() and sl_mux_kill()), never inside an operation that the handler called. The
 * stream is freed at the end of the turn in which the exchange and the version
 * (sl_mux_on_closed()) have both done with it.
 *
 * One thread. The version's callbacks may call every sl_mux_on_*() function; the operations that
 * these call (consume, reset) must be harmless inside its library's callbacks.
 */
#ifndef SL_HTTP_MUX_H
#define SL_HTTP_MUX_H

#include "base/buf.h"
#include "base/list.h"
#include "http/head.h"
#include "http/pace.h"

enum { SL_MUX_HIGH = 64 * 1024, SL_MUX_LOW = 32 * 1024, SL_MUX_PROGRESS = 4096 };

/* Why a stream is reset: each version has its code for it. */
enum sl_mux_error {
    SL_MUX_NO_ERROR, /* the response is complete; the rest of the request is not wanted */
    SL_MUX_PROTOCOL,
    SL_MUX_INTERNAL,
    SL_MUX_REFUSED, /* not processed at all: the client may try again */
    SL_MUX_CANCEL,
    SL_MUX_TIMEOUT,
};

struct sl_mux_stream;

struct sl_mux_ops {
    /* The final head; `fin`: without a body. Else its bytes follow, by write() and resume(). */
    void (*submit)(struct sl_mux_stream *s, const struct sl_field *fields, size_t n, bool fin);
    void (*submit_interim)(struct sl_mux_stream *s, const struct sl_field *fields, size_t n);
    /* Sends what it can of these bytes now and returns how many; 0 when it cannot. Called with an
     * empty `out` only. When s->out_ended these are the last, and a write of all of them may carry
     * the end of the stream. May be NULL. */
    size_t (*write)(struct sl_mux_stream *s, const struct iovec *iov, int n_iov);
    /* There is something in `out`, or its end has come (s->out_ended, then s->trailers). Harmless
     * when the end was sent. */
    void (*resume)(struct sl_mux_stream *s);
    /* `n` bytes of the request body are out of the way. The stream may be closed already. */
    void (*consume)(struct sl_mux_stream *s, size_t n);
    /* sl_mux_on_closed() follows, at any time. */
    void (*reset)(struct sl_mux_stream *s, enum sl_mux_error why);
};

struct sl_mux_block; /* a piece of `out` */

struct sl_mux_stream {
    struct sl_exchange ex;
    const struct sl_mux_ops *ops;
    const struct sl_http_service *service;
    struct sl_link link; /* the version's: in a list of its streams; taken out when it is freed */
    void *conn;          /* the version's */
    int64_t id;
    struct sl_head head;
    struct sl_buf in;
    struct sl_list out;          /* sent and unacknowledged blocks first */
    struct sl_mux_block *unsent; /* the first with unsent bytes */
    size_t n_unsent, n_unacked, n_progress;
    const struct sl_field *staged, *trailers; /* the response head until the first write */
    size_t n_staged, n_trailers;
    uint64_t body_left; /* of the response, when it has a length */
    struct sl_deadline deadline;
    struct sl_pace pace; /* of the request body */
    struct sl_task_link later;
    uint8_t timing;    /* what the deadline is for */
    bool has_exchange; /* the handler knows ex */
    bool body_on, in_ended, out_ended, is_head_request, is_raw, is_full, is_submitted, no_body;
    bool has_small_block; /* in the arena: mux_out.c */
    bool is_reset;        /* nothing can be sent any more */
    bool is_closed;       /* sl_mux_on_closed() */
    bool is_over;         /* about to be freed */
    int end_code;         /* of on_abort(), when it is due */
};

/* A stream has begun; its head comes field by field to s->head. Never fails. */
struct sl_mux_stream *sl_mux_new(const struct sl_mux_ops *ops,
                                 const struct sl_http_service *service, const struct sl_peer *peer,
                                 struct sl_loop *loop, enum sl_http_version version);
/* The head is complete: refuses it (with a response and service->on_refused()) or calls
 * service->on_request(). */
void sl_mux_on_head(struct sl_mux_stream *s, bool fin);
/* Bytes of the body; the version bounds them by its windows. `fin` with the last (trailers are in
 * s->head already). */
void sl_mux_on_body(struct sl_mux_stream *s, const uint8_t *bytes, size_t len, bool fin);
/* The end of the response has left, whatever carried it. What is left of the request is not wanted:
 * ops->reset(SL_MUX_NO_ERROR), unless it has ended or the channel is raw. */
void sl_mux_on_end_sent(struct sl_mux_stream *s);
/* The client has reset it: on_abort() if the exchange is not complete. */
void sl_mux_on_reset(struct sl_mux_stream *s, int code);
/* The version will not touch the stream again (but for s->link), for whatever reason. A stream that
 * is not complete is aborted with the code of sl_mux_on_reset(), else SL_E_CLOSED. */
void sl_mux_on_closed(struct sl_mux_stream *s);
/* Does now what is due at the end of the turn, when something is: for a version that is in its own
 * work at the end of the turn. `s` may be freed at the end of this turn. */
void sl_mux_settle(struct sl_mux_stream *s);
/* The connection has ended: on_abort() (or on_done(), when it was due) inside the call. */
void sl_mux_kill(struct sl_mux_stream *s, int code);

/* --- what is to be sent --- */

/* Up to `max` unsent bytes, at most `n_iov` pieces; returns the number of pieces. */
int sl_mux_peek(const struct sl_mux_stream *s, struct iovec *iov, int n_iov, size_t max);
void sl_mux_sent(struct sl_mux_stream *s, size_t n);
/* The oldest `n` sent bytes are not needed any more. */
void sl_mux_acked(struct sl_mux_stream *s, size_t n);

#endif
