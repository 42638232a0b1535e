/*
 * The inside of streams on a connection, for the files of this folder only: stream.c is one stream
 * as its owner sees it, streams.c is what the connection says and asks.
 */
#ifndef SL_QUIC_STREAM_INTERNAL_H
#define SL_QUIC_STREAM_INTERNAL_H

#include "base/buf.h"
#include "base/sendq.h"
#include "quic/stream.h"

/* Bytes that a stream may send until it is the next one's turn. */
enum { SL_QSTREAM_QUANTUM = 16 * 1024 };

struct sl_quic_streams {
    struct sl_quic_conn *conn; /* NULL before the first call of the connection */
    const struct sl_quic_streams_handler *handler;
    void *user;
    struct sl_list all;     /* of sl_qstream.all */
    struct sl_list sending; /* of sl_qstream.sending; the first one has its turn */
    size_t turn_left;       /* bytes of that turn */
    size_t n_held;          /* bytes in `in` of all streams */
    size_t max_held;        /* 0: more hold up the connection */
    size_t n_withheld;      /* of n_held, bytes whose credit the connection did not give back yet */
};

struct sl_qstream {
    struct sl_stream stream;
    struct sl_quic_streams *owner; /* NULL once the connection has done with it */
    int64_t id;
    struct sl_link all, sending;
    struct sl_sendq out;
    struct sl_buf in;            /* arrived, not read yet */
    struct sl_task_link task;    /* the only place that calls back */
    struct sl_deadline deadline; /* lingering */
    size_t n_swallowed;
    bool in_fin;       /* the peer's fin stands behind `in` */
    bool out_fin;      /* ours is out */
    bool is_blocked;   /* by flow control, or shut */
    bool is_drained;   /* on_written() is due */
    bool is_failing;   /* on_error() is due */
    bool is_orphan;    /* freed; the connection still needs it */
    bool is_lingering; /* an orphan that still sends */
    bool is_freed;     /* destroyed at the end of the turn */
};

struct sl_qstream *sl_qstream_new(struct sl_quic_streams *o, int64_t id);
void sl_qstream_receive(struct sl_qstream *s, const uint8_t *bytes, size_t len, bool fin);
/* The owner hears of it at the end of the turn; the first cause counts. */
void sl_qstream_fail(struct sl_qstream *s, int code);
/* The peer wants no more of our bytes. */
void sl_qstream_stop(struct sl_qstream *s);
/* The connection has done with it, for `code` unless both directions have ended well. */
void sl_qstream_close(struct sl_qstream *s, int code);

bool sl_qstream_has_output(const struct sl_qstream *s);
void sl_qstream_fill(const struct sl_qstream *s, struct sl_quic_chunk *chunk);
void sl_qstream_sent(struct sl_qstream *s, size_t n, bool fin);
void sl_qstream_acked(struct sl_qstream *s, size_t n);
void sl_qstream_block(struct sl_qstream *s);
void sl_qstream_unblock(struct sl_qstream *s);

#endif
