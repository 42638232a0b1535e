/*
 * For the tests of HTTP/3: a QUIC connection without packets, TLS or a network. It implements what
 * http/h3_server.c calls of quic/quic.h, in place of the real thing, which the linker then leaves
 * out. The test is the peer: it opens streams and says their bytes, and reads what came.
 *
 * Rules of quic.h are checked: bytes that were taken stay where they are until they were
 * acknowledged, a stream is credited for no more than it has got, and nothing is done to streams
 * while a packet is being written.
 */
#ifndef SL_HTTP_TEST_QUIC_H
#define SL_HTTP_TEST_QUIC_H

#include "base/buf.h"
#include "base/check.h"
#include "quic/quic.h"

enum { FAKE_MTU = 1200 };

/* Bytes that were taken and are not acknowledged: what they were, and where they still are. */
struct fake_piece {
    struct sl_link link;
    const uint8_t *at;
    size_t len;
    uint8_t copy[];
};

struct fake_stream {
    struct sl_link link;
    int64_t id;
    void *user;
    struct sl_buf got;     /* from the server */
    struct sl_list pieces; /* of it, unacknowledged */
    size_t n_taken, n_acked;
    size_t window;     /* the server may send this much */
    size_t n_said;     /* to the server */
    size_t n_consumed; /* of it, credited */
    bool got_fin, said_fin, is_blocked, is_gone;
    bool was_reset, was_stopped; /* by the server */
    bool has_reset, has_stopped; /* by the client */
    uint64_t reset_error, stop_error;
};

struct fake_quic {
    struct sl_quic_conn conn;
    struct sl_list streams; /* of fake_stream; they stay until the end for the test to look at */
    struct sl_task_link task;
    int64_t next_own;
    unsigned max_own; /* streams that the server may open */
    size_t window;    /* of new streams */
    size_t n_said, n_consumed;
    bool is_early, holds_acks;
    bool is_writing;
    bool is_closing, is_closed;
    uint64_t error;
    char reason[128];
};

static inline struct fake_quic *fake_of(const struct sl_quic_conn *c)
{
    return sl_container_of(c, struct fake_quic, conn);
}

static inline struct fake_stream *fake_find(struct fake_quic *q, int64_t id)
{
    sl_list_each(&q->streams, it)
    {
        struct fake_stream *s = sl_container_of(it, struct fake_stream, link);

        if (s->id == id)
            return s;
    }
    return NULL;
}

static inline struct fake_stream *fake_add(struct fake_quic *q, int64_t id)
{
    struct fake_stream *s = sl_zalloc(sizeof(*s));

    s->id = id;
    s->window = q->window;
    sl_list_init(&s->pieces);
    sl_list_append(&q->streams, &s->link);
    return s;
}

/* --- sending --- */

static inline void fake_take(struct fake_stream *s, const struct iovec *iov, size_t n)
{
    struct fake_piece *piece = sl_alloc(sizeof(*piece) + n);

    piece->link = (struct sl_link){0};
    piece->at = iov->iov_base;
    piece->len = n;
    memcpy(piece->copy, iov->iov_base, n);
    sl_list_append(&s->pieces, &piece->link);
    sl_buf_append(&s->got, iov->iov_base, n);
    s->n_taken += n;
    s->window -= n;
}

/* One packet's worth of it. */
static inline void fake_send(struct fake_quic *q, const struct sl_quic_chunk *chunk)
{
    const struct sl_quic_app *app = q->conn.app;
    struct fake_stream *s = fake_find(q, chunk->stream_id);
    size_t room, taken = 0, total = 0;

    sl_assert(s != NULL);
    sl_check(!s->got_fin && chunk->n_iov <= SL_QUIC_IOV);
    for (int i = 0; i < chunk->n_iov; i++)
        total += chunk->iov[i].iov_len;
    if (s->was_reset || s->has_stopped || (s->window == 0 && total > 0)) {
        s->is_blocked = true;
        app->blocked(&q->conn, s->id, s->user, s->was_reset || s->has_stopped);
        if (s->has_stopped && !s->was_reset) /* it comes late */
            app->on_stream_stop(&q->conn, s->id, s->user, 0);
        return;
    }
    room = SL_MIN(s->window, FAKE_MTU);
    for (int i = 0; i < chunk->n_iov && taken < room; i++) {
        size_t n = SL_MIN(chunk->iov[i].iov_len, room - taken);

        fake_take(s, &chunk->iov[i], n);
        taken += n;
    }
    s->got_fin = chunk->fin && taken == total;
    app->wrote(&q->conn, s->id, s->user, taken, s->got_fin);
}

static inline void fake_check_pieces(struct fake_stream *s)
{
    for (struct sl_link *it; (it = sl_list_pop(&s->pieces)) != NULL;) {
        struct fake_piece *piece = sl_container_of(it, struct fake_piece, link);

        sl_check(memcmp(piece->copy, piece->at, piece->len) == 0);
        sl_free(piece);
    }
}

static inline bool fake_is_over(const struct fake_stream *s)
{
    bool in_over = s->said_fin || s->has_reset || (s->id & 3) == 3;
    bool out_over = (s->got_fin && s->n_acked == s->n_taken) || s->was_reset || s->has_stopped ||
                    (s->id & 3) == 2;

    return in_over && out_over;
}

static inline void fake_drop(struct fake_stream *s)
{
    fake_check_pieces(s);
    sl_buf_clear(&s->got);
    sl_free(s);
}

/* What the client has received is acknowledged, and streams that are complete end. */
static inline void fake_ack(struct fake_quic *q)
{
    const struct sl_quic_app *app = q->conn.app;

    sl_list_each(&q->streams, it)
    {
        struct fake_stream *s = sl_container_of(it, struct fake_stream, link);
        size_t n = s->n_taken - s->n_acked;

        if (!q->holds_acks && n > 0 && !s->was_reset) {
            fake_check_pieces(s);
            s->n_acked += n;
            app->on_acked(&q->conn, s->id, s->user, n);
        }
        if (!fake_is_over(s) || s->is_gone || q->is_closing)
            continue;
        fake_check_pieces(s);
        s->is_gone = true;
        app->on_stream_closed(&q->conn, s->id, s->user, s->reset_error);
    }
}

static inline void fake_end(struct fake_quic *q, int code, bool is_remote)
{
    struct sl_quic_end end = {.code = code,
                              .error = q->error,
                              .is_app = true,
                              .is_remote = is_remote,
                              .reason = q->reason};

    if (q->is_closed)
        return;
    q->is_closing = q->is_closed = true;
    sl_list_each(&q->streams, it)
    {
        fake_check_pieces(sl_container_of(it, struct fake_stream, link));
    }
    q->conn.app->on_closed(&q->conn, &end);
}

static inline void fake_pump(void *user)
{
    struct fake_quic *q = user;
    struct sl_quic_chunk chunk;

    q->is_writing = true;
    while (!q->is_closing && q->conn.app->next(&q->conn, &chunk))
        fake_send(q, &chunk);
    q->is_writing = false;
    if (!q->is_closing)
        fake_ack(q);
    if (q->is_closing)
        fake_end(q, SL_E_CLOSED, false);
}

/* --- what quic.h offers --- */

void sl_quic_wake(struct sl_quic_conn *c)
{
    struct fake_quic *q = fake_of(c);

    if (!q->is_closed)
        sl_loop_soon(c->loop, &q->task, fake_pump, q);
}

void sl_quic_close(struct sl_quic_conn *c, uint64_t app_error, const char *reason)
{
    struct fake_quic *q = fake_of(c);

    if (q->is_closing)
        return;
    q->is_closing = true;
    q->error = app_error;
    snprintf(q->reason, sizeof(q->reason), "%s", reason);
    sl_quic_wake(c);
}

int sl_quic_open(struct sl_quic_conn *c, bool is_uni, int64_t *id)
{
    struct fake_quic *q = fake_of(c);

    sl_check(is_uni && !q->is_writing);
    if (q->max_own == 0)
        return SL_E_AGAIN;
    q->max_own--;
    *id = q->next_own;
    q->next_own += 4;
    fake_add(q, *id);
    return 0;
}

void sl_quic_set_stream(struct sl_quic_conn *c, int64_t id, void *stream)
{
    fake_find(fake_of(c), id)->user = stream;
}

void sl_quic_consume(struct sl_quic_conn *c, int64_t id, size_t n)
{
    struct fake_quic *q = fake_of(c);
    struct fake_stream *s = fake_find(q, id);

    sl_check(!q->is_writing);
    q->n_consumed += n;
    sl_check(q->n_consumed <= q->n_said);
    if (s == NULL)
        return;
    s->n_consumed += n;
    sl_check(s->n_consumed <= s->n_said);
}

void sl_quic_shut(struct sl_quic_conn *c, int64_t id, unsigned which, uint64_t app_error)
{
    struct fake_stream *s = fake_find(fake_of(c), id);

    sl_assert(s != NULL);
    sl_check(!fake_of(c)->is_writing);
    if (which & SL_QUIC_WRITE && !s->was_reset && !(s->got_fin && s->n_acked == s->n_taken)) {
        s->was_reset = true;
        s->reset_error = app_error;
    }
    if (which & SL_QUIC_READ && !s->was_stopped && !s->said_fin && !s->has_reset) {
        s->was_stopped = true;
        s->stop_error = app_error;
    }
    sl_quic_wake(c);
}

bool sl_quic_is_early(const struct sl_quic_conn *c)
{
    return fake_of(c)->is_early;
}

void sl_quic_stats(const struct sl_quic_conn *c, struct sl_quic_stats *out)
{
    (void)c;
    *out = (struct sl_quic_stats){.rtt_us = 1000};
}

/* --- the peer --- */

static inline void fake_begin(struct fake_quic *q, struct sl_loop *loop)
{
    *q = (struct fake_quic){.next_own = 3, .max_own = 3, .window = 1 << 20};
    q->conn.loop = loop;
    q->conn.is_server = true;
    sl_list_init(&q->streams);
}

/* After the connection has closed. */
static inline void fake_clear(struct fake_quic *q)
{
    sl_check(q->is_closed);
    sl_loop_unsoon(&q->task);
    for (struct sl_link *it; (it = sl_list_pop(&q->streams)) != NULL;)
        fake_drop(sl_container_of(it, struct fake_stream, link));
}

static inline struct fake_stream *fake_open(struct fake_quic *q, int64_t id)
{
    struct fake_stream *s = fake_find(q, id);

    if (s == NULL) {
        s = fake_add(q, id);
        q->conn.app->on_stream_open(&q->conn, id);
    }
    return s;
}

static inline void fake_say(struct fake_quic *q, int64_t id, struct sl_str bytes, bool fin)
{
    struct fake_stream *s;

    if (q->is_closing)
        return;
    s = fake_open(q, id);
    if (s->said_fin || s->has_reset)
        return;
    s->n_said += bytes.len;
    q->n_said += bytes.len;
    s->said_fin = fin;
    if (s->was_stopped) { /* a real one swallows them, too */
        q->n_consumed += bytes.len;
        sl_quic_wake(&q->conn);
        return;
    }
    q->conn.app->on_stream_data(&q->conn, id, s->user, (const uint8_t *)bytes.p, bytes.len, fin);
    sl_quic_wake(&q->conn);
}

static inline void fake_reset(struct fake_quic *q, int64_t id, uint64_t error)
{
    struct fake_stream *s;

    if (q->is_closing)
        return;
    s = fake_open(q, id);
    if (s->has_reset || s->said_fin)
        return;
    s->has_reset = true;
    q->conn.app->on_stream_reset(&q->conn, id, s->user, error);
    sl_quic_wake(&q->conn);
}

static inline void fake_stop(struct fake_quic *q, int64_t id, uint64_t error)
{
    struct fake_stream *s = fake_find(q, id);

    if (q->is_closing || s == NULL || s->has_stopped || s->was_reset || s->is_gone)
        return;
    (void)error;
    s->has_stopped = true; /* the server hears of it when it offers the stream again */
    sl_quic_wake(&q->conn);
}

static inline void fake_grow(struct fake_quic *q, int64_t id, size_t n)
{
    struct fake_stream *s = fake_find(q, id);

    s->window += n;
    if (!s->is_blocked || s->is_gone || q->is_closing)
        return;
    s->is_blocked = false;
    q->conn.app->on_unblocked(&q->conn, id, s->user);
    sl_quic_wake(&q->conn);
}

#endif
