/*
 * The server side of an HTTP/2 connection (RFC 9113) around an nghttp2 session.
 *
 * Bytes enter at on_data() and become calls of h2_receive.c. Everything that is to be sent waits
 * for run_later() at the end of the turn, so that the frames of all streams leave with one write;
 * there, too, streams and the connection end.
 */
#include "http/h2.h"

static void run_later(void *user);

void sl_h2_later(struct sl_h2_conn *c)
{
    if (!c->is_over)
        sl_loop_soon(c->loop, &c->later, run_later, c);
}

/* --- deadlines --- */

enum { DRAIN_MS = 1000 }; /* for requests that were under way when we said GOAWAY */

static enum sl_h2_timing timing_of(const struct sl_h2_conn *c)
{
    if (c->stream->is_writing)
        return SL_H2_TIMES_WRITE;
    if (!c->got_settings)
        return SL_H2_TIMES_PREFACE;
    if (c->in_head)
        return SL_H2_TIMES_HEAD;
    if (c->drain == SL_H2_NOTICED)
        return SL_H2_TIMES_DRAIN;
    return c->n_streams == 0 ? SL_H2_TIMES_IDLE : SL_H2_UNTIMED;
}

static uint32_t timeout_of(const struct sl_http_limits *limits, enum sl_h2_timing timing)
{
    switch (timing) {
    case SL_H2_TIMES_PREFACE:
    case SL_H2_TIMES_HEAD:
        return limits->head_timeout;
    case SL_H2_TIMES_IDLE:
        return limits->idle_timeout;
    case SL_H2_TIMES_WRITE:
        return limits->write_timeout;
    case SL_H2_TIMES_DRAIN:
        return DRAIN_MS;
    case SL_H2_UNTIMED:
        break;
    }
    return 0;
}

void sl_h2_stop_timing(struct sl_h2_conn *c)
{
    c->timing = SL_H2_UNTIMED;
    sl_deadline_clear(&c->deadline);
}

/* No bytes move these deadlines: streams have their own, and PING frames keep nobody here. */
static void update(struct sl_h2_conn *c)
{
    enum sl_h2_timing timing;
    uint32_t ms;

    if (c->is_closed || (timing = timing_of(c)) == c->timing)
        return;
    c->timing = timing;
    ms = timeout_of(&c->service->limits, timing);
    if (ms > 0)
        sl_deadline_set(&c->deadline, ms);
    else
        sl_deadline_clear(&c->deadline);
}

/* --- the end --- */

static void kill_all(struct sl_list *streams, int code)
{
    for (struct sl_link *it; (it = sl_list_pop(streams)) != NULL;)
        sl_mux_kill(sl_container_of(it, struct sl_mux_stream, link), code);
}

void sl_h2_refuse(struct sl_h2_conn *c, int status, const char *why)
{
    if (!c->is_told && c->service->on_refused != NULL)
        c->service->on_refused(c->peer, status, why);
    c->is_told = true;
}

void sl_h2_close(struct sl_h2_conn *c, enum sl_close how, int code)
{
    if (c->is_closed)
        return;
    c->is_closed = true;
    if (c->excess != NULL) /* it may have gone before the GOAWAY could be sent */
        sl_h2_refuse(c, 429, c->excess);
    sl_deadline_stop(&c->deadline);
    sl_stream_free(&c->stream, how);
    kill_all(&c->closed, code);
    kill_all(&c->streams, code);
    sl_h2_later(c);
}

static void release(void *ptr)
{
    struct sl_h2_conn *c = ptr;

    nghttp2_session_del(c->session);
    sl_buf_clear(&c->in);
    sl_free(c);
}

/* The owner hears of the end, once. */
static void tell_closed(struct sl_h2_conn *c)
{
    if (c->is_over)
        return;
    c->is_over = true;
    sl_loop_unsoon(&c->later);
    sl_loop_defer(c->loop, c, release);
    if (c->service->on_closed != NULL)
        c->service->on_closed(c->peer);
}

/* The client broke a rule that nghttp2 leaves to us to answer: a last word, then the end. */
static void fail(struct sl_h2_conn *c, uint32_t error)
{
    if (c->is_failing)
        return;
    c->is_failing = true;
    sl_stream_read(c->stream, false);
    nghttp2_session_terminate_session(c->session, error);
    sl_h2_later(c);
}

static uint32_t error_of(int code)
{
    switch (code) {
    case NGHTTP2_ERR_BAD_CLIENT_MAGIC:
        return NGHTTP2_PROTOCOL_ERROR;
    case NGHTTP2_ERR_CALLBACK_FAILURE: /* c->excess */
    case NGHTTP2_ERR_FLOODED:
    case NGHTTP2_ERR_TOO_MANY_CONTINUATIONS:
        return NGHTTP2_ENHANCE_YOUR_CALM;
    default:
        return NGHTTP2_INTERNAL_ERROR;
    }
}

/* --- draining --- */

void sl_h2_drain_last(struct sl_h2_conn *c)
{
    c->drain = SL_H2_LAST;
    nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE,
                          nghttp2_session_get_last_proc_stream_id(c->session), NGHTTP2_NO_ERROR,
                          NULL, 0);
    sl_h2_later(c);
}

/* Nothing is under way, as far as we know: whether the client has just sent a request may matter.
 */
static bool may_leave(const struct sl_h2_conn *c)
{
    return c->n_streams == 0 && c->service->drain_grace == 0;
}

/* RFC 9113, 6.8: first "open no more", then, when what was under way has arrived, the last stream
 * that counts. */
void sl_h2_drain(struct sl_h2_conn *c)
{
    if (c->is_closed || c->drain != SL_H2_SERVING)
        return;
    if (may_leave(c)) {
        sl_h2_drain_last(c);
        return;
    }
    c->drain = SL_H2_NOTICED;
    nghttp2_submit_shutdown_notice(c->session);
    sl_h2_later(c);
}

/* --- the turn --- */

static void receive(struct sl_h2_conn *c, const uint8_t *bytes, size_t len)
{
    nghttp2_ssize n;

    c->is_receiving = true;
    n = nghttp2_session_mem_recv2(c->session, bytes, len);
    c->is_receiving = false;
    if (c->is_closed)
        return;
    if (n < 0 && c->excess == NULL && n != NGHTTP2_ERR_BAD_CLIENT_MAGIC)
        c->excess = nghttp2_strerror((int)n);
    if (n < 0)
        fail(c, error_of((int)n));
    sl_h2_later(c);
}

static void settle(struct sl_h2_conn *c)
{
    for (struct sl_link *it; (it = sl_list_pop(&c->closed)) != NULL;)
        sl_mux_settle(sl_container_of(it, struct sl_mux_stream, link));
}

static bool is_done(const struct sl_h2_conn *c)
{
    if (c->is_broken || c->is_failing)
        return c->is_broken || nghttp2_session_want_write(c->session) == 0;
    if (c->drain == SL_H2_LAST && c->n_streams == 0 && !nghttp2_session_want_write(c->session))
        return true;
    return !nghttp2_session_want_read(c->session) && !nghttp2_session_want_write(c->session);
}

static void run_later(void *user)
{
    struct sl_h2_conn *c = user;

    if (c->is_closed) {
        tell_closed(c);
        return;
    }
    if (sl_buf_len(&c->in) > 0) {
        struct sl_buf in = c->in;

        c->in = (struct sl_buf){0};
        receive(c, sl_buf_at(&in), sl_buf_len(&in));
        sl_buf_clear(&in);
    }
    sl_h2_flush(c);
    settle(c);
    if (c->is_closed)
        return;
    if (c->excess != NULL)
        fail(c, NGHTTP2_ENHANCE_YOUR_CALM);
    if (c->drain == SL_H2_NOTICED && may_leave(c))
        sl_h2_drain_last(c);
    if (is_done(c))
        sl_h2_close(c, SL_CLOSE_LINGER, SL_E_PROTOCOL);
    update(c);
}

static void on_data(struct sl_stream *stream, const uint8_t *bytes, size_t len)
{
    struct sl_h2_conn *c = stream->user;

    if (sl_buf_len(&c->in) > 0)
        sl_buf_append(&c->in, bytes, len);
    else if (!c->is_failing)
        receive(c, bytes, len);
}

/* Nobody half-closes HTTP/2: the client has gone. */
static void on_fin(struct sl_stream *stream)
{
    sl_h2_close(stream->user, SL_CLOSE_LINGER, SL_E_CLOSED);
}

static void on_written(struct sl_stream *stream)
{
    struct sl_h2_conn *c = stream->user;

    if (c->timing == SL_H2_TIMES_WRITE) /* the next write has all of its time */
        sl_h2_stop_timing(c);
    sl_h2_later(c);
}

static void on_error(struct sl_stream *stream, int code)
{
    sl_h2_close(stream->user, SL_CLOSE_ABORT, code);
}

static const struct sl_stream_handler stream_handler = {on_data, on_fin, on_written, on_error,
                                                        NULL};

static void on_deadline(struct sl_deadline *d)
{
    struct sl_h2_conn *c = d->user;

    switch (c->timing) {
    case SL_H2_TIMES_DRAIN:
        sl_h2_drain_last(c);
        break;
    case SL_H2_TIMES_IDLE:
        sl_h2_drain(c);
        break;
    case SL_H2_TIMES_PREFACE:
    case SL_H2_TIMES_HEAD:
        sl_h2_refuse(c, 408, "no complete request head in time");
        fail(c, NGHTTP2_PROTOCOL_ERROR);
        break;
    case SL_H2_TIMES_WRITE:
        sl_h2_close(c, SL_CLOSE_ABORT, SL_E_TIMEOUT);
        break;
    case SL_H2_UNTIMED:
        break;
    }
}

/* --- the connection as its owner sees it --- */

static bool is_idle(const struct sl_http_conn *base)
{
    const struct sl_h2_conn *c = (const struct sl_h2_conn *)base;

    return c->n_streams == 0 && !c->in_head;
}

static void drain(struct sl_http_conn *base)
{
    sl_h2_drain((struct sl_h2_conn *)base);
}

static void kill(struct sl_http_conn *base)
{
    struct sl_h2_conn *c = (struct sl_h2_conn *)base;

    sl_h2_close(c, SL_CLOSE_ABORT, SL_E_CANCELLED);
    tell_closed(c);
}

static const struct sl_http_conn_ops conn_ops = {drain, kill, is_idle};

struct sl_http_conn *sl_h2_serve(struct sl_stream **stream, const struct sl_http_service *service,
                                 const struct sl_peer *peer, const uint8_t *first, size_t n_first)
{
    struct sl_h2_conn *c = sl_zalloc(sizeof(*c));

    c->stream = *stream;
    *stream = NULL;
    c->base.ops = &conn_ops;
    c->service = service;
    c->peer = peer;
    c->loop = c->stream->loop;
    c->minute_ms = sl_loop_now_ms(c->loop);
    sl_list_init(&c->streams);
    sl_list_init(&c->closed);
    sl_deadline_init(&c->deadline, c->loop, on_deadline, c);
    sl_h2_session_new(c);
    sl_stream_set_handler(c->stream, &stream_handler, c);
    sl_buf_append(&c->in, first, n_first);
    sl_h2_later(c);
    update(c);
    sl_stream_read(c->stream, true);
    return &c->base;
}
