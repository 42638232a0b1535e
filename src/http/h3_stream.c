/*
 * A request of HTTP/3: what nghttp3 has decoded goes to http/mux.h, and the response comes back.
 *
 * A body is not copied for nghttp3: read_body() lends it the blocks of the mux queue, which stay
 * until on_body_acked().
 */
#include <openssl/rand.h>
#include "http/h3.h"

enum {
    MAX_DATA_FRAME = 1 << 15, /* bytes */
    /* Heads beyond the limit are answered with 431, which means to read them. Not without end. */
    HEAD_LIMITS = 16,
};

/* nghttp3 must not go on once its connection was closed in a call of the handler. */
static int go_on(const struct sl_h3_conn *c)
{
    return c->state == SL_H3_CLOSED ? NGHTTP3_ERR_CALLBACK_FAILURE : 0;
}

/* --- the request --- */

static int on_begin_headers(nghttp3_conn *h3, int64_t id, void *user, void *stream)
{
    struct sl_h3_conn *c = user;

    (void)stream;
    return nghttp3_conn_set_stream_user_data(h3, id, c->reading);
}

static int on_header(nghttp3_conn *h3, int64_t id, int32_t token, nghttp3_rcbuf *name,
                     nghttp3_rcbuf *value, uint8_t flags, void *user, void *stream)
{
    struct sl_h3_conn *c = user;
    struct sl_mux_stream *s = stream;
    nghttp3_vec n = nghttp3_rcbuf_get_buf(name), v = nghttp3_rcbuf_get_buf(value);

    (void)h3, (void)id, (void)token, (void)flags;
    sl_head_field(&s->head, sl_str((const char *)n.base, n.len),
                  sl_str((const char *)v.base, v.len));
    if (s->head.n_bytes > (size_t)HEAD_LIMITS * c->service->limits.max_head)
        sl_h3_close(c, NGHTTP3_H3_EXCESSIVE_LOAD, "a head without end");
    return go_on(c);
}

static bool is_safe(struct sl_str method)
{
    return sl_str_eq(method, SL_STR("GET")) || sl_str_eq(method, SL_STR("HEAD")) ||
           sl_str_eq(method, SL_STR("OPTIONS"));
}

/* RFC 8470: what may have been recorded and sent once more must be harmless twice. */
static void check_early(struct sl_h3_conn *c, struct sl_mux_stream *s)
{
    struct sl_str method = s->ex.req.method;

    s->ex.req.is_early = sl_quic_is_early(c->quic);
    if (s->ex.req.is_early && s->head.status == 0 && !is_safe(method)) {
        s->head.status = 425;
        s->head.why = "unsafe method in early data";
    }
}

static int on_end_headers(nghttp3_conn *h3, int64_t id, int fin, void *user, void *stream)
{
    struct sl_h3_conn *c = user;
    struct sl_mux_stream *s = stream;
    uint64_t max = c->service->limits.max_requests;

    (void)h3, (void)id;
    check_early(c, s);
    sl_deadline_clear(&s->deadline);
    if (++c->n_requests == max)
        sl_h3_drain(c);
    sl_mux_on_head(s, fin);
    return go_on(c);
}

static int on_body(nghttp3_conn *h3, int64_t id, const uint8_t *bytes, size_t len, void *user,
                   void *stream)
{
    struct sl_h3_conn *c = user;

    (void)h3, (void)id;
    sl_mux_on_body(stream, bytes, len, false);
    return go_on(c);
}

static int on_end_stream(nghttp3_conn *h3, int64_t id, void *user, void *stream)
{
    struct sl_h3_conn *c = user;
    struct sl_mux_stream *s = stream;

    (void)h3, (void)id;
    if (!s->in_ended)
        sl_mux_on_body(s, NULL, 0, true);
    return go_on(c);
}

/* Bytes that waited for QPACK instructions. */
static int on_deferred(nghttp3_conn *h3, int64_t id, size_t n, void *user, void *stream)
{
    struct sl_h3_conn *c = user;

    (void)h3, (void)stream;
    sl_quic_consume(c->quic, id, n);
    return 0;
}

static int stop_sending(nghttp3_conn *h3, int64_t id, uint64_t error, void *user, void *stream)
{
    struct sl_h3_conn *c = user;

    (void)h3, (void)stream;
    sl_quic_shut(c->quic, id, SL_QUIC_READ, error);
    return 0;
}

static int reset_stream(nghttp3_conn *h3, int64_t id, uint64_t error, void *user, void *stream)
{
    struct sl_h3_conn *c = user;

    (void)h3, (void)stream;
    sl_quic_shut(c->quic, id, SL_QUIC_WRITE, error);
    return 0;
}

/* --- the response --- */

static int on_body_acked(nghttp3_conn *h3, int64_t id, uint64_t n, void *user, void *stream)
{
    (void)h3, (void)id, (void)user;
    sl_mux_acked(stream, (size_t)n);
    return 0;
}

/* Seeds of nghttp3's hash tables. */
static void random_bytes(uint8_t *bytes, size_t len)
{
    sl_assert(RAND_bytes(bytes, (int)len) == 1);
}

const nghttp3_callbacks sl_h3_callbacks = {
    .acked_stream_data = on_body_acked,
    .recv_data = on_body,
    .deferred_consume = on_deferred,
    .begin_headers = on_begin_headers,
    .recv_header = on_header,
    .end_headers = on_end_headers,
    .recv_trailer = on_header,
    .stop_sending = stop_sending,
    .end_stream = on_end_stream,
    .reset_stream = reset_stream,
    .rand = random_bytes,
};

/* The strings lie in the arena of the exchange until the stream has closed. */
static nghttp3_nv *fields_of(struct sl_mux_stream *s, const struct sl_field *fields, size_t n)
{
    nghttp3_nv *nv = sl_arena_alloc(&s->ex.arena, n * sizeof(*nv));

    for (size_t i = 0; i < n; i++)
        nv[i] = (nghttp3_nv){.name = (const uint8_t *)fields[i].name.p,
                             .namelen = fields[i].name.len,
                             .value = (const uint8_t *)fields[i].value.p,
                             .valuelen = fields[i].value.len,
                             .flags = NGHTTP3_NV_FLAG_NO_COPY_NAME | NGHTTP3_NV_FLAG_NO_COPY_VALUE};
    return nv;
}

static nghttp3_ssize read_body(nghttp3_conn *h3, int64_t id, nghttp3_vec *vec, size_t n_vec,
                               uint32_t *flags, void *user, void *stream)
{
    struct sl_mux_stream *s = stream;
    int n = sl_mux_peek(s, (struct iovec *)vec, (int)n_vec, MAX_DATA_FRAME);

    (void)user;
    sl_mux_sent(s, nghttp3_vec_len(vec, (size_t)n));
    if (s->n_unsent > 0 || !s->out_ended)
        return n > 0 ? n : NGHTTP3_ERR_WOULDBLOCK;
    *flags |= NGHTTP3_DATA_FLAG_EOF;
    if (s->n_trailers > 0) {
        *flags |= NGHTTP3_DATA_FLAG_NO_END_STREAM;
        if (nghttp3_conn_submit_trailers(h3, id, fields_of(s, s->trailers, s->n_trailers),
                                         s->n_trailers) != 0)
            return NGHTTP3_ERR_CALLBACK_FAILURE;
    }
    return n;
}

/* Of a stream that nghttp3 does not know any more the peer wants no response. */
static void check(struct sl_h3_conn *c, int rc)
{
    if (rc != 0 && rc != NGHTTP3_ERR_STREAM_NOT_FOUND)
        sl_h3_fail(c, rc);
    else
        sl_quic_wake(c->quic);
}

static void submit(struct sl_mux_stream *s, const struct sl_field *fields, size_t n, bool fin)
{
    static const nghttp3_data_reader reader = {read_body};
    struct sl_h3_conn *c = s->conn;

    if (c->state != SL_H3_CLOSED)
        check(c, nghttp3_conn_submit_response(c->h3, s->id, fields_of(s, fields, n), n,
                                              fin ? NULL : &reader));
}

static void submit_interim(struct sl_mux_stream *s, const struct sl_field *fields, size_t n)
{
    struct sl_h3_conn *c = s->conn;

    if (c->state != SL_H3_CLOSED)
        check(c, nghttp3_conn_submit_info(c->h3, s->id, fields_of(s, fields, n), n));
}

static void resume(struct sl_mux_stream *s)
{
    struct sl_h3_conn *c = s->conn;

    if (c->state != SL_H3_CLOSED)
        check(c, nghttp3_conn_resume_stream(c->h3, s->id));
}

static void consume(struct sl_mux_stream *s, size_t n)
{
    struct sl_h3_conn *c = s->conn;

    if (c->state != SL_H3_CLOSED)
        sl_quic_consume(c->quic, s->id, n);
}

static uint64_t error_of(const struct sl_mux_stream *s, enum sl_mux_error why)
{
    if (s->ex.id == 0)
        why = SL_MUX_REFUSED; /* its head never came to its end */
    switch (why) {
    case SL_MUX_NO_ERROR:
        return NGHTTP3_H3_NO_ERROR;
    case SL_MUX_PROTOCOL:
        return NGHTTP3_H3_MESSAGE_ERROR;
    case SL_MUX_INTERNAL:
        return NGHTTP3_H3_INTERNAL_ERROR;
    case SL_MUX_REFUSED:
        return NGHTTP3_H3_REQUEST_REJECTED;
    case SL_MUX_CANCEL:
    case SL_MUX_TIMEOUT:
        break;
    }
    return NGHTTP3_H3_REQUEST_CANCELLED;
}

static void reset(struct sl_mux_stream *s, enum sl_mux_error why)
{
    struct sl_h3_conn *c = s->conn;
    unsigned which = why == SL_MUX_NO_ERROR ? SL_QUIC_READ : SL_QUIC_READ | SL_QUIC_WRITE;

    if (c->state == SL_H3_CLOSED)
        return;
    sl_quic_shut(c->quic, s->id, which, error_of(s, why));
    if (which & SL_QUIC_WRITE)
        nghttp3_conn_shutdown_stream_write(c->h3, s->id);
    check(c, nghttp3_conn_shutdown_stream_read(c->h3, s->id));
    if (why == SL_MUX_PROTOCOL)
        sl_h3_count_reset(c);
}

const struct sl_mux_ops sl_h3_mux_ops = {
    .submit = submit,
    .submit_interim = submit_interim,
    .resume = resume,
    .consume = consume,
    .reset = reset,
};
