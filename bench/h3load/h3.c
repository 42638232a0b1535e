#include "h3.h"

#include <nghttp3/nghttp3.h>
#include "base/clock.h"
#include "base/list.h"

struct h3 {
    struct sl_quic_conn *quic;
    nghttp3_conn *http; /* NULL before the connection is ready */
    const struct h3_handler *handler;
    void *user;
    struct sl_list requests; /* under way */
};

/* A request under way; nghttp3 keeps it as the user data of the stream. */
struct request {
    struct sl_link link;
    struct h3_answer answer;
};

static struct h3 *of(struct sl_quic_conn *c)
{
    return c->user;
}

static void fail(struct h3 *h, int code)
{
    sl_quic_close(h->quic, nghttp3_err_infer_quic_app_error_code(code), nghttp3_strerror(code));
}

/* --- what nghttp3 says --- */

static int on_header(nghttp3_conn *http, int64_t id, int32_t token, nghttp3_rcbuf *name,
                     nghttp3_rcbuf *value, uint8_t flags, void *user, void *stream)
{
    struct request *r = stream;
    nghttp3_vec v = nghttp3_rcbuf_get_buf(value);
    uint64_t status = 0;

    (void)http, (void)id, (void)name, (void)flags, (void)user;
    if (token == NGHTTP3_QPACK_TOKEN__STATUS && r != NULL &&
        sl_str_to_u64(sl_str((char *)v.base, v.len), 999, &status) == 0)
        r->answer.status = (int)status;
    return 0;
}

static int on_body(nghttp3_conn *http, int64_t id, const uint8_t *bytes, size_t len, void *user,
                   void *stream)
{
    struct h3 *h = user;
    struct request *r = stream;

    (void)http, (void)bytes;
    if (r != NULL)
        r->answer.n_bytes += len;
    sl_quic_consume(h->quic, id, len);
    return 0;
}

static int on_late_consume(nghttp3_conn *http, int64_t id, size_t n, void *user, void *stream)
{
    (void)http, (void)stream;
    sl_quic_consume(((struct h3 *)user)->quic, id, n);
    return 0;
}

static int on_end(nghttp3_conn *http, int64_t id, void *user, void *stream)
{
    (void)http, (void)id, (void)user;
    if (stream != NULL)
        ((struct request *)stream)->answer.is_complete = true;
    return 0;
}

static void end_request(struct h3 *h, struct request *r)
{
    sl_link_remove(&r->link);
    h->handler->on_answer(h->user, &r->answer);
    sl_free(r);
}

static int on_http_closed(nghttp3_conn *http, int64_t id, uint64_t error, void *user, void *stream)
{
    struct h3 *h = user;
    struct request *r = stream;

    (void)http, (void)id, (void)error;
    if (r != NULL)
        end_request(h, r);
    return 0;
}

static int on_http_stop(nghttp3_conn *http, int64_t id, uint64_t error, void *user, void *stream)
{
    (void)http, (void)stream;
    sl_quic_shut(((struct h3 *)user)->quic, id, SL_QUIC_READ, error);
    return 0;
}

static int on_http_reset(nghttp3_conn *http, int64_t id, uint64_t error, void *user, void *stream)
{
    (void)http, (void)stream;
    sl_quic_shut(((struct h3 *)user)->quic, id, SL_QUIC_WRITE, error);
    return 0;
}

static int begin_http(struct h3 *h)
{
    static const nghttp3_callbacks callbacks = {
        .stream_close = on_http_closed,
        .recv_data = on_body,
        .deferred_consume = on_late_consume,
        .recv_header = on_header,
        .end_stream = on_end,
        .stop_sending = on_http_stop,
        .reset_stream = on_http_reset,
    };
    nghttp3_settings settings;
    int64_t control, encoder, decoder;
    int rc;

    nghttp3_settings_default(&settings);
    settings.qpack_max_dtable_capacity = 4096;
    settings.qpack_blocked_streams = 100;
    if ((rc = sl_quic_open(h->quic, true, &control)) < 0 ||
        (rc = sl_quic_open(h->quic, true, &encoder)) < 0 ||
        (rc = sl_quic_open(h->quic, true, &decoder)) < 0)
        return rc;
    if (nghttp3_conn_client_new(&h->http, &callbacks, &settings, NULL, h) != 0 ||
        nghttp3_conn_bind_control_stream(h->http, control) != 0 ||
        nghttp3_conn_bind_qpack_streams(h->http, encoder, decoder) != 0)
        return SL_E_PROTOCOL;
    return 0;
}

/* --- what the connection says --- */

static void on_ready(struct sl_quic_conn *c)
{
    struct h3 *h = of(c);

    if (begin_http(h) < 0)
        sl_quic_close(c, NGHTTP3_H3_INTERNAL_ERROR, "no streams for HTTP/3");
    else
        h->handler->on_ready(h->user);
}

static void on_stream_data(struct sl_quic_conn *c, int64_t id, void *stream, const uint8_t *bytes,
                           size_t len, bool fin)
{
    struct h3 *h = of(c);
    nghttp3_ssize n = nghttp3_conn_read_stream(h->http, id, bytes, len, fin);

    (void)stream;
    if (n < 0)
        fail(h, (int)n);
    else if (n > 0)
        sl_quic_consume(c, id, (size_t)n);
}

static void on_stream_reset(struct sl_quic_conn *c, int64_t id, void *stream, uint64_t error)
{
    (void)stream, (void)error;
    nghttp3_conn_shutdown_stream_read(of(c)->http, id);
}

static void on_stream_stop(struct sl_quic_conn *c, int64_t id, void *stream, uint64_t error)
{
    (void)stream, (void)error;
    nghttp3_conn_shutdown_stream_write(of(c)->http, id);
}

static void on_stream_closed(struct sl_quic_conn *c, int64_t id, void *stream, uint64_t error)
{
    struct h3 *h = of(c);
    int rc = nghttp3_conn_close_stream(h->http, id, error);

    (void)stream;
    if (rc != 0 && rc != NGHTTP3_ERR_STREAM_NOT_FOUND)
        fail(h, rc);
}

static void on_acked(struct sl_quic_conn *c, int64_t id, void *stream, uint64_t n)
{
    (void)stream;
    nghttp3_conn_add_ack_offset(of(c)->http, id, n);
}

static void on_unblocked(struct sl_quic_conn *c, int64_t id, void *stream)
{
    (void)stream;
    nghttp3_conn_unblock_stream(of(c)->http, id);
    sl_quic_wake(c);
}

static void on_more_streams(struct sl_quic_conn *c)
{
    struct h3 *h = of(c);

    if (h->http != NULL)
        h->handler->on_more(h->user);
}

static bool next(struct sl_quic_conn *c, struct sl_quic_chunk *chunk)
{
    struct h3 *h = of(c);
    nghttp3_vec vec[SL_QUIC_IOV];
    nghttp3_ssize n;
    int fin = 0;

    if (h->http == NULL)
        return false;
    n = nghttp3_conn_writev_stream(h->http, &chunk->stream_id, &fin, vec, SL_QUIC_IOV);
    if (n < 0)
        fail(h, (int)n);
    if (n < 0 || chunk->stream_id < 0)
        return false;
    for (int i = 0; i < n; i++)
        chunk->iov[i] = (struct iovec){vec[i].base, vec[i].len};
    chunk->n_iov = (int)n;
    chunk->fin = fin;
    return true;
}

static void wrote(struct sl_quic_conn *c, int64_t id, void *stream, size_t n, bool fin)
{
    (void)stream, (void)fin;
    nghttp3_conn_add_write_offset(of(c)->http, id, n);
}

static void blocked(struct sl_quic_conn *c, int64_t id, void *stream, bool is_shut)
{
    (void)stream;
    if (is_shut)
        nghttp3_conn_shutdown_stream_write(of(c)->http, id);
    else
        nghttp3_conn_block_stream(of(c)->http, id);
}

static void on_closed(struct sl_quic_conn *c, const struct sl_quic_end *end)
{
    struct h3 *h = of(c);

    sl_list_each(&h->requests, it)
    {
        end_request(h, sl_container_of(it, struct request, link));
    }
    h->handler->on_closed(h->user, end);
    nghttp3_conn_del(h->http);
    sl_loop_defer(c->loop, h, sl_free);
}

static const struct sl_quic_app app = {
    .on_ready = on_ready,
    .on_stream_data = on_stream_data,
    .on_stream_reset = on_stream_reset,
    .on_stream_stop = on_stream_stop,
    .on_stream_closed = on_stream_closed,
    .on_acked = on_acked,
    .on_unblocked = on_unblocked,
    .on_more_streams = on_more_streams,
    .next = next,
    .wrote = wrote,
    .blocked = blocked,
    .on_closed = on_closed,
};

/* --- what the load generator does --- */

int h3_connect(struct h3 **out, const struct h3_target *target, const struct h3_handler *handler,
               void *user)
{
    struct h3 *h = sl_zalloc(sizeof(*h));
    int rc;

    h->handler = handler;
    h->user = user;
    sl_list_init(&h->requests);
    rc = sl_quic_connect(&h->quic, target->endpoint, target->remote, target->tls,
                         target->server_name, &app, h);
    if (rc < 0)
        sl_free(h);
    else
        *out = h;
    return rc;
}

static nghttp3_nv field(const char *name, struct sl_str value)
{
    return (nghttp3_nv){(uint8_t *)name, (uint8_t *)value.p, strlen(name), value.len,
                        NGHTTP3_NV_FLAG_NO_COPY_NAME | NGHTTP3_NV_FLAG_NO_COPY_VALUE};
}

int h3_get(struct h3 *h, const struct h3_request *request)
{
    nghttp3_nv fields[] = {
        field(":method", SL_STR("GET")),         field(":scheme", SL_STR("https")),
        field(":authority", request->authority), field(":path", request->path),
        field("user-agent", SL_STR("h3load")),
    };
    struct request *r;
    int64_t id;
    int rc = sl_quic_open(h->quic, false, &id);

    if (rc < 0)
        return rc;
    r = sl_zalloc(sizeof(*r));
    r->answer.begun_ns = sl_clock_ns();
    rc = nghttp3_conn_submit_request(h->http, id, fields, SL_COUNT(fields), NULL, r);
    if (rc != 0) {
        sl_free(r);
        fail(h, rc);
        return SL_E_PROTOCOL;
    }
    sl_list_append(&h->requests, &r->link);
    sl_quic_wake(h->quic);
    return 0;
}

void h3_close(struct h3 *h)
{
    sl_quic_close(h->quic, NGHTTP3_H3_NO_ERROR, "done");
}
