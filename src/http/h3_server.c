/*
 * The server side of an HTTP/3 connection (RFC 9114): what QUIC says goes to nghttp3, what nghttp3
 * has to send goes to QUIC. Requests are h3_stream.c's, and the end in good order is h3_leave.c's.
 */
#include "http/h3.h"

enum {
    QPACK_TABLE = 4096, /* of the client's encoder: what its instructions may make us store */
    /* No head may wait for them: one that is lost on the way would hold back all requests behind
       it, and some clients (curl 8.14) now and then never send them at all. An entry is used once
       we have acknowledged it. */
    QPACK_BLOCKED_STREAMS = 0,
    MINUTE_MS = 60 * 1000,
};

static const struct sl_quic_app quic_app;

static struct sl_h3_conn *of(struct sl_quic_conn *q)
{
    return q->user;
}

/* --- the end --- */

/* The owner hears of the end, once, and its exchanges before. */
static void tell_closed(struct sl_h3_conn *c, int code)
{
    struct sl_link *it;

    if (c->is_over)
        return;
    c->is_over = true;
    sl_loop_unsoon(&c->later);
    while ((it = sl_list_pop(&c->streams)) != NULL || (it = sl_list_pop(&c->ended)) != NULL)
        sl_mux_kill(sl_container_of(it, struct sl_mux_stream, link), code);
    if (c->service->on_closed != NULL)
        c->service->on_closed(c->peer);
}

void sl_h3_close(struct sl_h3_conn *c, uint64_t app_error, const char *why)
{
    if (c->state == SL_H3_CLOSED)
        return;
    c->state = SL_H3_CLOSED;
    c->end_code = app_error == SL_H3_NO_ERROR ? SL_E_CANCELLED : SL_E_PROTOCOL;
    sl_deadline_stop(&c->grace);
    sl_quic_close(c->quic, app_error, why);
}

void sl_h3_fail(struct sl_h3_conn *c, int liberr)
{
    /* A field that is larger than nghttp3's own limit is not its fault, as it thinks. */
    uint64_t error = liberr == NGHTTP3_ERR_QPACK_HEADER_TOO_LARGE
                         ? NGHTTP3_H3_EXCESSIVE_LOAD
                         : nghttp3_err_infer_quic_app_error_code(liberr);

    sl_h3_close(c, error, nghttp3_strerror(liberr));
}

/* Else a client could have us begin request after request and wait for none (CVE-2023-44487). */
void sl_h3_count_reset(struct sl_h3_conn *c)
{
    uint64_t now = sl_loop_now_ms(c->quic->loop);

    if (now - c->minute_ms >= MINUTE_MS) {
        c->minute_ms = now;
        c->n_resets = 0;
    }
    if (++c->n_resets > c->service->limits.max_resets)
        sl_h3_close(c, NGHTTP3_H3_EXCESSIVE_LOAD, "too many streams were reset");
}

static void release(void *ptr)
{
    struct sl_h3_conn *c = ptr;

    nghttp3_conn_del(c->h3);
    sl_free(c);
}

static void on_closed(struct sl_quic_conn *q, const struct sl_quic_end *end)
{
    struct sl_h3_conn *c = of(q);

    c->state = SL_H3_CLOSED;
    sl_deadline_stop(&c->grace);
    tell_closed(c, c->end_code != 0 ? c->end_code : end->code);
    sl_loop_defer(q->loop, c, release);
}

/* --- our own streams --- */

static void bind_own(struct sl_h3_conn *c)
{
    int rc = nghttp3_conn_bind_control_stream(c->h3, c->own[0]);

    if (rc == 0)
        rc = nghttp3_conn_bind_qpack_streams(c->h3, c->own[1], c->own[2]);
    if (rc != 0) {
        sl_h3_fail(c, rc);
        return;
    }
    c->state = SL_H3_OPEN;
    sl_quic_wake(c->quic);
}

static void open_own(struct sl_quic_conn *q)
{
    struct sl_h3_conn *c = of(q);

    if (c->state != SL_H3_OPENING)
        return;
    while (c->n_own < SL_H3_OWN_STREAMS && sl_quic_open(q, true, &c->own[c->n_own]) == 0)
        c->n_own++;
    if (c->n_own == SL_H3_OWN_STREAMS)
        bind_own(c);
}

/* --- what comes --- */

static bool is_uni(int64_t id)
{
    return (id & 2) != 0;
}

/* PRIORITY_UPDATE may come before the stream that it names (RFC 9218 7.1), and nghttp3 then makes
 * room for it. `n` streams have begun. */
static void allow_priorities(struct sl_h3_conn *c, uint64_t n)
{
    c->n_known = SL_MAX(c->n_known, n + c->service->limits.max_streams);
    nghttp3_conn_set_max_client_streams_bidi(c->h3, c->n_known);
}

static void on_stream_open(struct sl_quic_conn *q, int64_t id)
{
    struct sl_h3_conn *c = of(q);
    struct sl_mux_stream *s;

    if (c->state == SL_H3_CLOSED || is_uni(id))
        return;
    allow_priorities(c, (uint64_t)id / 4 + 1);
    s = sl_mux_new(&sl_h3_mux_ops, c->service, c->peer, q->loop, SL_HTTP_3);
    s->conn = c;
    s->id = id;
    /* Until the head is complete the deadline is ours, and what is due then is the same. */
    sl_deadline_set(&s->deadline, c->service->limits.head_timeout);
    sl_list_append(&c->streams, &s->link);
    sl_quic_set_stream(q, id, s);
}

static void on_stream_data(struct sl_quic_conn *q, int64_t id, void *stream, const uint8_t *bytes,
                           size_t len, bool fin)
{
    struct sl_h3_conn *c = of(q);
    nghttp3_ssize n;

    if (c->state == SL_H3_OPENING) /* RFC 9114 6.2: it must let us open them */
        sl_h3_close(c, NGHTTP3_H3_GENERAL_PROTOCOL_ERROR, "the client allows too few streams");
    if (c->state == SL_H3_CLOSED)
        return;
    c->reading = stream;
    n = nghttp3_conn_read_stream2(c->h3, id, bytes, len, fin, sl_loop_now_ms(q->loop) * 1000000);
    c->reading = NULL;
    if (n < 0) {
        sl_h3_fail(c, (int)n);
        return;
    }
    if (n > 0)
        sl_quic_consume(q, id, (size_t)n);
    sl_quic_wake(q);
}

/* --- ends of streams --- */

/* The client wants no answer any more, or will not say all that it wanted to ask. */
static void give_up(struct sl_h3_conn *c, struct sl_mux_stream *s)
{
    sl_quic_shut(c->quic, s->id, SL_QUIC_READ | SL_QUIC_WRITE, NGHTTP3_H3_REQUEST_CANCELLED);
    nghttp3_conn_shutdown_stream_write(c->h3, s->id);
    (void)nghttp3_conn_shutdown_stream_read(c->h3, s->id);
    sl_h3_count_reset(c);
}

/* What must not be done while a packet is being written (quic/quic.h). */
static void run_later(void *user)
{
    struct sl_h3_conn *c = user;
    struct sl_link *it;

    while (c->state != SL_H3_CLOSED && (it = sl_list_pop(&c->ended)) != NULL) {
        struct sl_mux_stream *s = sl_container_of(it, struct sl_mux_stream, link);

        sl_list_append(&c->streams, it);
        if (s->end_code != 0)
            give_up(c, s);
        else
            sl_mux_on_end_sent(s);
    }
}

static void end_later(struct sl_h3_conn *c, struct sl_mux_stream *s)
{
    sl_link_remove(&s->link);
    sl_list_append(&c->ended, &s->link);
    sl_loop_soon(c->quic->loop, &c->later, run_later, c);
}

static void on_given_up(struct sl_h3_conn *c, struct sl_mux_stream *s)
{
    if (s->is_reset)
        return;
    sl_mux_on_reset(s, SL_E_RESET);
    end_later(c, s);
}

/* The end of the response is in a packet. */
static void on_end_sent(struct sl_h3_conn *c, struct sl_mux_stream *s)
{
    if (s->in_ended || s->is_raw)
        sl_mux_on_end_sent(s);
    else
        end_later(c, s); /* it will stop the rest of the request */
}

static void on_stream_reset(struct sl_quic_conn *q, int64_t id, void *stream, uint64_t error)
{
    struct sl_h3_conn *c = of(q);
    struct sl_mux_stream *s = stream;

    (void)id, (void)error;
    /* An answer that is complete is delivered even when it did not need the whole request. */
    if (c->state != SL_H3_CLOSED && s != NULL && (s->is_raw || !s->out_ended))
        on_given_up(c, s);
}

static void on_stream_stop(struct sl_quic_conn *q, int64_t id, void *stream, uint64_t error)
{
    struct sl_h3_conn *c = of(q);

    (void)error;
    if (c->state == SL_H3_CLOSED)
        return;
    if (is_uni(id))
        sl_h3_close(c, NGHTTP3_H3_CLOSED_CRITICAL_STREAM, "the client stopped a control stream");
    else if (stream != NULL)
        on_given_up(c, stream);
}

static void close_stream(struct sl_h3_conn *c, int64_t id, uint64_t error)
{
    int rc;

    if (c->state == SL_H3_CLOSED)
        return;
    rc = nghttp3_conn_close_stream(c->h3, id, error);
    if (rc != 0 && rc != NGHTTP3_ERR_STREAM_NOT_FOUND)
        sl_h3_fail(c, rc);
}

static void on_stream_closed(struct sl_quic_conn *q, int64_t id, void *stream, uint64_t error)
{
    struct sl_h3_conn *c = of(q);
    struct sl_mux_stream *s = stream;

    if (s != NULL && sl_link_is_on(&c->later.link))
        run_later(c); /* it may be about this one */
    if (s != NULL && !s->ex.response_ended && !s->is_reset) {
        sl_mux_on_reset(s, SL_E_RESET); /* it had asked, and then told us to stop */
        sl_h3_count_reset(c);
    }
    close_stream(c, id, error);
    if (s != NULL)
        sl_mux_on_closed(s);
}

/* --- what is sent --- */

static bool next(struct sl_quic_conn *q, struct sl_quic_chunk *chunk)
{
    struct sl_h3_conn *c = of(q);
    nghttp3_ssize n;
    int fin;

    if (c->state == SL_H3_CLOSED)
        return false;
    n = nghttp3_conn_writev_stream(c->h3, &chunk->stream_id, &fin, (nghttp3_vec *)chunk->iov,
                                   SL_QUIC_IOV);
    if (n < 0) {
        sl_h3_fail(c, (int)n);
        return false;
    }
    chunk->n_iov = (int)n;
    chunk->fin = fin;
    return chunk->stream_id >= 0;
}

static void wrote(struct sl_quic_conn *q, int64_t id, void *stream, size_t n, bool fin)
{
    struct sl_h3_conn *c = of(q);
    int rc;

    if (c->state == SL_H3_CLOSED)
        return;
    if (fin && stream != NULL)
        on_end_sent(c, stream);
    if ((rc = nghttp3_conn_add_write_offset(c->h3, id, n)) != 0)
        sl_h3_fail(c, rc);
}

static void blocked(struct sl_quic_conn *q, int64_t id, void *stream, bool is_shut)
{
    struct sl_h3_conn *c = of(q);

    (void)stream;
    if (c->state == SL_H3_CLOSED)
        return;
    if (is_shut)
        nghttp3_conn_shutdown_stream_write(c->h3, id);
    else
        nghttp3_conn_block_stream(c->h3, id);
}

static void on_unblocked(struct sl_quic_conn *q, int64_t id, void *stream)
{
    struct sl_h3_conn *c = of(q);
    int rc;

    (void)stream;
    if (c->state != SL_H3_CLOSED && (rc = nghttp3_conn_unblock_stream(c->h3, id)) != 0)
        sl_h3_fail(c, rc);
}

static void on_acked(struct sl_quic_conn *q, int64_t id, void *stream, uint64_t n)
{
    struct sl_h3_conn *c = of(q);
    int rc;

    (void)stream;
    if (c->state == SL_H3_LEAVING)
        c->heard_ms = sl_loop_now_ms(q->loop);
    if (c->state != SL_H3_CLOSED && (rc = nghttp3_conn_add_ack_offset(c->h3, id, n)) != 0)
        sl_h3_fail(c, rc);
}

static void on_migrated(struct sl_quic_conn *q)
{
    struct sl_h3_conn *c = of(q);

    if (!c->is_over && c->service->on_migrated != NULL)
        c->service->on_migrated(c->peer, &q->remote);
}

static const struct sl_quic_app quic_app = {
    .on_ready = open_own,
    .on_more_streams = open_own,
    .on_stream_open = on_stream_open,
    .on_stream_data = on_stream_data,
    .on_stream_reset = on_stream_reset,
    .on_stream_stop = on_stream_stop,
    .on_stream_closed = on_stream_closed,
    .on_acked = on_acked,
    .on_unblocked = on_unblocked,
    .on_migrated = on_migrated,
    .next = next,
    .wrote = wrote,
    .blocked = blocked,
    .on_closed = on_closed,
};

/* --- the connection as its owner sees it --- */

static bool is_idle(const struct sl_http_conn *base)
{
    const struct sl_h3_conn *c = (const struct sl_h3_conn *)base;

    return sl_list_is_empty(&c->streams) && sl_list_is_empty(&c->ended);
}

static void drain(struct sl_http_conn *base)
{
    sl_h3_drain((struct sl_h3_conn *)base);
}

static void kill(struct sl_http_conn *base)
{
    struct sl_h3_conn *c = (struct sl_h3_conn *)base;

    sl_h3_close(c, SL_H3_NO_ERROR, "");
    tell_closed(c, SL_E_CANCELLED);
}

static const struct sl_http_conn_ops conn_ops = {drain, kill, is_idle};

static nghttp3_conn *new_h3(struct sl_h3_conn *c)
{
    const struct sl_http_limits *limits = &c->service->limits;
    nghttp3_settings settings;
    nghttp3_conn *h3;

    nghttp3_settings_default(&settings);
    settings.max_field_section_size = limits->max_head;
    settings.qpack_max_dtable_capacity = QPACK_TABLE;
    settings.qpack_blocked_streams = QPACK_BLOCKED_STREAMS;
    /* Responses use the static table alone. Another one would save them some tens of bytes, and
     * cost some KiB of each connection and half of the time that nghttp3 spends on a request. */
    settings.qpack_encoder_max_dtable_capacity = 0;
    settings.enable_connect_protocol = 1;
    /* What nghttp3 calls glitches: unknown frames and streams, PRIORITY_UPDATE. */
    settings.glitch_ratelim_burst = limits->max_unknown_frames;
    settings.glitch_ratelim_rate = limits->max_unknown_frames / 60;
    /* Fails for want of memory only. */
    sl_assert(nghttp3_conn_server_new(&h3, &sl_h3_callbacks, &settings, NULL, c) == 0);
    return h3;
}

struct sl_http_conn *sl_h3_serve(struct sl_quic_conn *quic, const struct sl_http_service *service,
                                 const struct sl_peer *peer)
{
    struct sl_h3_conn *c = sl_zalloc(sizeof(*c));

    c->base.ops = &conn_ops;
    c->quic = quic;
    c->service = service;
    c->peer = peer;
    sl_list_init(&c->streams);
    sl_list_init(&c->ended);
    sl_h3_leave_init(c);
    c->h3 = new_h3(c);
    allow_priorities(c, 0);
    quic->app = &quic_app;
    quic->user = c;
    open_own(quic);
    return &c->base;
}
