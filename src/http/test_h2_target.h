/*
 * For tests: a target on the loopback that speaks HTTP/2 with nghttp2's server session, on the loop
 * of the test. It keeps what it was asked, stream by stream; the test answers by hand, or the
 * target answers each complete request with "ok". Over TLS it answers in HTTP/1 when that was
 * chosen.
 *
 *     target_begin(&t, loop);
 *     run_until(loop, t.n_streams == 1);
 *     target_answer(&t.streams[0], ":status=200|x=1", "body", NULL);
 *     target_end(&t);
 */
#ifndef SL_HTTP_TEST_H2_TARGET_H
#define SL_HTTP_TEST_H2_TARGET_H

#include <nghttp2/nghttp2.h>
#include "base/buf.h"
#include "net/test_net.h"
#include "tls/stream.h"

enum { TARGET_CONNS = 16, TARGET_STREAMS = 512, TARGET_FIELDS = 16 };

struct target;

struct target_conn {
    struct target *of;
    struct sl_stream *stream; /* NULL once it has ended */
    nghttp2_session *session;
    bool is_ready, is_over, is_http1;
    int n_streams, n_goaway, n_ping;
};

/* A stream, for as long as the target lives. */
struct target_stream {
    struct target_conn *conn;
    int32_t id;
    struct sl_buf head, body, trailers; /* "name=value|…" */
    bool has_ended, is_closed;
    uint32_t error;
    /* what is answered */
    const char *text;
    size_t text_len, text_at;
    const char *fields_at_end; /* trailers, or NULL */
    bool holds;                /* the end is not sent */
};

struct target {
    struct sl_loop *loop;
    struct sl_listener *listener;
    struct sl_addr at;
    struct sl_tls_server *tls;
    struct sl_cert *cert;
    struct target_conn conns[TARGET_CONNS];
    int n_conns;
    struct target_stream streams[TARGET_STREAMS];
    int n_streams;
    const nghttp2_settings_entry *settings;
    size_t n_settings;
    bool waits;      /* the test answers */
    bool is_raw;     /* no session: the test writes frames */
    bool no_updates; /* of windows */
};

static inline void target_flush(struct target_conn *c)
{
    while (c->stream != NULL && c->stream->error == 0 && c->session != NULL) {
        const uint8_t *bytes;
        nghttp2_ssize n = nghttp2_session_mem_send2(c->session, &bytes);

        if (n <= 0)
            break;
        (void)sl_stream_write1(c->stream, bytes, (size_t)n, false);
        if (c->stream->is_writing)
            break;
    }
}

/* Fields from "name=value|name=value". */
static inline size_t target_fields(const char *text, nghttp2_nv *nv)
{
    struct sl_str left = sl_str_c(text), field;
    size_t n = 0;

    while (sl_str_next(&left, '|', &field)) {
        const char *eq = memchr(field.p, '=', field.len);

        sl_assert(eq != NULL && n < TARGET_FIELDS);
        nv[n++] = (nghttp2_nv){(uint8_t *)field.p, (uint8_t *)eq + 1, (size_t)(eq - field.p),
                               field.len - (size_t)(eq - field.p) - 1, NGHTTP2_NV_FLAG_NONE};
    }
    return n;
}

static inline nghttp2_ssize target_read(nghttp2_session *session, int32_t id, uint8_t *into,
                                        size_t len, uint32_t *flags, nghttp2_data_source *source,
                                        void *user)
{
    struct target_stream *s = source->ptr;
    size_t n = SL_MIN(len, s->text_len - s->text_at);
    nghttp2_nv nv[TARGET_FIELDS];

    (void)user;
    if (n == 0 && s->holds)
        return NGHTTP2_ERR_DEFERRED;
    memcpy(into, s->text + s->text_at, n);
    s->text_at += n;
    if (s->text_at < s->text_len || s->holds)
        return (nghttp2_ssize)n;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (s->fields_at_end != NULL) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        (void)nghttp2_submit_trailer(session, id, nv, target_fields(s->fields_at_end, nv));
    }
    return (nghttp2_ssize)n;
}

/* `text` NULL: the head ends the stream. */
static inline void target_answer_len(struct target_stream *s, const char *head, const char *text,
                                     size_t len, const char *trailers)
{
    nghttp2_data_provider2 body = {.source.ptr = s, .read_callback = target_read};
    nghttp2_nv nv[TARGET_FIELDS];

    s->text = text;
    s->text_len = len;
    s->fields_at_end = trailers;
    sl_assert(nghttp2_submit_response2(s->conn->session, s->id, nv, target_fields(head, nv),
                                       text != NULL ? &body : NULL) == 0);
    target_flush(s->conn);
}

static inline void target_answer(struct target_stream *s, const char *head, const char *text,
                                 const char *trailers)
{
    target_answer_len(s, head, text, text != NULL ? strlen(text) : 0, trailers);
}

static inline void target_interim(struct target_stream *s, const char *head)
{
    nghttp2_nv nv[TARGET_FIELDS];

    sl_assert(nghttp2_submit_headers(s->conn->session, 0, s->id, NULL, nv, target_fields(head, nv),
                                     NULL) == 0);
    target_flush(s->conn);
}

static inline void target_go_on(struct target_stream *s)
{
    (void)nghttp2_session_resume_data(s->conn->session, s->id);
    target_flush(s->conn);
}

static inline void target_reset(struct target_stream *s, uint32_t error)
{
    (void)nghttp2_submit_rst_stream(s->conn->session, 0, s->id, error);
    target_flush(s->conn);
}

static inline void target_raw(struct target *t, int i, const void *bytes, size_t len)
{
    if (t->conns[i].stream != NULL && t->conns[i].stream->error == 0)
        (void)sl_stream_write1(t->conns[i].stream, bytes, len, false);
}

static inline bool target_has(const struct target_stream *s, const char *field)
{
    return sl_buf_len(&s->head) > 0 &&
           memmem(sl_buf_at(&s->head), sl_buf_len(&s->head), field, strlen(field)) != NULL;
}

static inline struct sl_str target_text(const struct sl_buf *b)
{
    return sl_buf_len(b) > 0 ? sl_buf_str(b) : SL_STR("");
}

/* --- the session --- */

static inline struct target_stream *target_stream_of(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

static inline int target_on_head(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct target_conn *c = user;
    struct target_stream *s = target_stream_of(session, frame->hd.stream_id);

    if (s != NULL)
        return 0;
    sl_assert(c->of->n_streams < TARGET_STREAMS);
    s = &c->of->streams[c->of->n_streams++];
    *s = (struct target_stream){.conn = c, .id = frame->hd.stream_id};
    c->n_streams++;
    return nghttp2_session_set_stream_user_data(session, s->id, s);
}

static inline int target_on_field(nghttp2_session *session, const nghttp2_frame *frame,
                                  const uint8_t *name, size_t name_len, const uint8_t *value,
                                  size_t value_len, uint8_t flags, void *user)
{
    struct target_stream *s = target_stream_of(session, frame->hd.stream_id);
    struct sl_buf *into = frame->headers.cat == NGHTTP2_HCAT_REQUEST ? &s->head : &s->trailers;

    (void)flags;
    (void)user;
    sl_buf_printf(into, "%.*s=%.*s|", (int)name_len, (const char *)name, (int)value_len,
                  (const char *)value);
    return 0;
}

static inline int target_on_chunk(nghttp2_session *session, uint8_t flags, int32_t id,
                                  const uint8_t *bytes, size_t len, void *user)
{
    struct target_conn *c = user;

    (void)flags;
    sl_buf_append(&target_stream_of(session, id)->body, bytes, len);
    return c->of->no_updates ? 0 : nghttp2_session_consume(session, id, len);
}

static inline int target_on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct target_conn *c = user;
    struct target_stream *s =
        frame->hd.stream_id != 0 ? target_stream_of(session, frame->hd.stream_id) : NULL;

    c->n_goaway += frame->hd.type == NGHTTP2_GOAWAY;
    c->n_ping += frame->hd.type == NGHTTP2_PING && !(frame->hd.flags & NGHTTP2_FLAG_ACK);
    if (s == NULL || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM) ||
        (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA))
        return 0;
    s->has_ended = true;
    if (!c->of->waits) {
        nghttp2_data_provider2 body = {.source.ptr = s, .read_callback = target_read};
        nghttp2_nv nv[TARGET_FIELDS];

        s->text = "ok";
        s->text_len = 2;
        return nghttp2_submit_response2(session, s->id, nv, target_fields(":status=200", nv),
                                        &body);
    }
    return 0;
}

static inline int target_on_closed(nghttp2_session *session, int32_t id, uint32_t error, void *user)
{
    struct target_stream *s = target_stream_of(session, id);

    (void)user;
    s->is_closed = true;
    s->error = error;
    return 0;
}

static inline void target_start_session(struct target_conn *c)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *options;

    sl_assert(nghttp2_session_callbacks_new(&callbacks) == 0 && nghttp2_option_new(&options) == 0);
    nghttp2_option_set_no_auto_window_update(options, 1);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, target_on_head);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, target_on_field);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, target_on_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, target_on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, target_on_closed);
    sl_assert(nghttp2_session_server_new2(&c->session, callbacks, c, options) == 0);
    nghttp2_option_del(options);
    nghttp2_session_callbacks_del(callbacks);
    (void)nghttp2_submit_settings(c->session, 0, c->of->settings, c->of->n_settings);
}

/* --- the connection --- */

static inline void target_on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    struct target_conn *c = s->user;

    if (c->is_http1 && len > 4 && memcmp(bytes + len - 4, "\r\n\r\n", 4) == 0)
        (void)sl_stream_write1(s, ok, sizeof(ok) - 1, false);
    if (c->session == NULL)
        return;
    (void)nghttp2_session_mem_recv2(c->session, bytes, len);
    target_flush(c);
}

static inline void target_on_fin(struct sl_stream *s)
{
    ((struct target_conn *)s->user)->is_over = true;
}

static inline void target_on_written(struct sl_stream *s)
{
    target_flush(s->user);
}

static inline void target_on_error(struct sl_stream *s, int code)
{
    (void)code;
    ((struct target_conn *)s->user)->is_over = true;
}

static inline void target_on_ready(struct sl_stream *s)
{
    struct target_conn *c = s->user;

    c->is_ready = true;
    sl_stream_read(s, true);
    c->is_http1 = c->of->tls != NULL && !sl_str_eq(sl_tls_alpn(s), SL_STR("h2"));
    if (c->of->is_raw || c->is_http1)
        return;
    target_start_session(c);
    target_flush(c);
}

static inline int target_on_hello(void *user, struct sl_stream *tls,
                                  const struct sl_tls_hello *hello, struct sl_cert **cert)
{
    struct target *t = user;

    (void)tls;
    (void)hello;
    *cert = sl_cert_ref(t->cert);
    return 0;
}

static inline void target_on_accept(void *user, int fd, const struct sl_addr *remote)
{
    static const struct sl_stream_handler handler = {
        target_on_data, target_on_fin, target_on_written, target_on_error, target_on_ready};
    struct target *t = user;
    struct target_conn *c = &t->conns[t->n_conns++];

    (void)remote;
    sl_assert(t->n_conns <= TARGET_CONNS);
    c->of = t;
    c->stream = sl_tcp_new(t->loop, fd);
    if (t->tls != NULL) {
        const struct sl_tls_accept accept = {.on_hello = target_on_hello, .user = t};

        c->stream = sl_tls_accept(&c->stream, t->tls, &accept, &handler, c, NULL, 0);
        return;
    }
    sl_stream_set_handler(c->stream, &handler, c);
    target_on_ready(c->stream);
}

static inline void target_begin(struct target *t, struct sl_loop *loop)
{
    *t = (struct target){.loop = loop};
    t->listener = sl_listener_new(loop, listen_on_loopback(&t->at), target_on_accept, t);
}

/* From now on over TLS; `alpn` as in struct sl_tls_server_opts, NULL: it chooses nothing. */
static inline void target_use_tls(struct target *t, const char *alpn)
{
    struct sl_tls_server_opts opts = {.alpn = alpn};

    sl_assert(sl_tls_server_new(&t->tls, &opts, NULL) == 0);
    sl_assert(sl_cert_self_signed(&t->cert, SL_STR("a.example"), NULL) == 0);
}

static inline void target_close(struct target *t, int i, enum sl_close how)
{
    sl_stream_free(&t->conns[i].stream, how);
}

static inline void target_end(struct target *t)
{
    sl_listener_free(t->listener);
    for (int i = 0; i < t->n_conns; i++) {
        sl_stream_free(&t->conns[i].stream, SL_CLOSE_ABORT);
        nghttp2_session_del(t->conns[i].session);
    }
    for (int i = 0; i < t->n_streams; i++) {
        sl_buf_clear(&t->streams[i].head);
        sl_buf_clear(&t->streams[i].body);
        sl_buf_clear(&t->streams[i].trailers);
    }
    sl_tls_server_free(t->tls);
    sl_cert_unref(t->cert);
    run_quiet(t->loop);
}

#endif
