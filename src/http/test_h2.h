/*
 * For the tests of the HTTP/2 server: a client of hand-made frames over a pair of streams in
 * memory, and a handler. What the server sends is told as text, one word a frame:
 *
 *     1:200   head with its status       1:d5   5 bytes of body       1:t   trailers
 *     1:RST(CANCEL)   GOAWAY(1,NO_ERROR)   PING PONG SETTINGS ACK     0:+100  window update
 *     and a dot behind what ends its stream
 *
 *     h2_begin(&r, loop);
 *     h2_get(&r, 1, "/");
 *     sl_check_str(h2_seen(&r), SL_STR("1:200 1:d2."));
 *     h2_end(&r);
 */
#ifndef SL_HTTP_TEST_H2_H
#define SL_HTTP_TEST_H2_H

#include <nghttp2/nghttp2.h>
#include "base/buf.h"
#include "base/check.h"
#include "http/exchange.h"
#include "net/pair.h"

enum { H2_PIPE = 8 << 20, H2_MAX_EXCHANGES = 4096, FIN = 1, ACK = 1, END_HEADERS = 4, PADDED = 8 };

struct h2_rig {
    struct sl_loop *loop;
    struct sl_http_service service;
    struct sl_peer peer;
    struct sl_http_conn *conn; /* NULL once it has ended */
    /* the client */
    struct sl_stream *wire;
    struct sl_buf got, body, last_head; /* body: of all DATA frames; last_head: "name=value|" */
    nghttp2_hd_inflater *inflater;
    uint32_t max_streams; /* of the server's SETTINGS */
    int n_fin, n_error;
    /* what the service was told */
    int n_requests, n_refused, refused_status, n_closed;
    struct sl_buf why; /* of the last refusal */
    /* the handler: exchanges in order of arrival, NULL once they have ended */
    struct sl_exchange *ex[H2_MAX_EXCHANGES];
    struct sl_buf taken; /* request bodies */
    int n_body_calls, n_body_fin, n_written, n_done, n_abort, abort_code;
    struct sl_arena arena;
    struct sl_str seen; /* "METHOD host path?query" of the last request */
    void (*on_request)(struct h2_rig *r, struct sl_exchange *ex);
    void (*on_body_end)(struct h2_rig *r, struct sl_exchange *ex); /* unless it was answered */
};

/* --- the handler --- */

static inline void h2_answer(struct h2_rig *r, struct sl_exchange *ex)
{
    (void)r;
    sl_exchange_reply(ex, 200, SL_STR("text/plain"), SL_STR("ok"), NULL);
}

static inline void h2_read_then_answer(struct h2_rig *r, struct sl_exchange *ex)
{
    if (ex->request_ended)
        h2_answer(r, ex);
    else
        sl_exchange_read(ex, true);
}

static inline void h2_leave_it(struct h2_rig *r, struct sl_exchange *ex)
{
    (void)r; /* the test answers */
    (void)ex;
}

static inline void h2_respond(struct sl_exchange *ex, int status, uint64_t length)
{
    struct sl_response res = {.version = SL_HTTP_11, .status = status, .content_length = length};

    sl_exchange_respond(ex, &res);
}

static inline int h2_write(struct sl_exchange *ex, const void *bytes, size_t len, bool fin)
{
    struct iovec iov = {(void *)bytes, len};

    return sl_exchange_write(ex, &iov, len > 0 ? 1 : 0, fin);
}

static inline void h2_on_body(struct sl_exchange *ex, const uint8_t *bytes, size_t len, bool fin)
{
    struct h2_rig *r = ex->peer->user;

    sl_check(len > 0 || fin);
    sl_buf_append(&r->taken, bytes, len);
    r->n_body_calls++;
    if (!fin)
        return;
    r->n_body_fin++;
    if (r->on_body_end != NULL && !ex->has_responded)
        r->on_body_end(r, ex);
}

static inline void h2_on_written(struct sl_exchange *ex)
{
    ((struct h2_rig *)ex->peer->user)->n_written++;
}

static inline void h2_forget(struct h2_rig *r, struct sl_exchange *ex)
{
    struct sl_exchange **slot = ex->user;

    sl_check(*slot == ex);
    *slot = NULL;
    (void)r;
}

static inline void h2_on_done(struct sl_exchange *ex)
{
    struct h2_rig *r = ex->peer->user;

    r->n_done++;
    h2_forget(r, ex);
}

static inline void h2_on_abort(struct sl_exchange *ex, int code)
{
    struct h2_rig *r = ex->peer->user;

    sl_check(code < 0);
    r->n_abort++;
    r->abort_code = code;
    h2_forget(r, ex);
}

static inline void h2_on_request(struct sl_exchange *ex)
{
    static const struct sl_exchange_handler handler = {h2_on_body, h2_on_written, h2_on_done,
                                                       h2_on_abort};
    struct h2_rig *r = ex->peer->user;
    const struct sl_request *req = &ex->req;

    ex->handler = &handler;
    ex->user = &r->ex[r->n_requests % H2_MAX_EXCHANGES];
    sl_check(r->ex[r->n_requests % H2_MAX_EXCHANGES] == NULL);
    r->ex[r->n_requests++ % H2_MAX_EXCHANGES] = ex;
    sl_arena_reset(&r->arena);
    r->seen = sl_arena_printf(&r->arena, "%.*s %.*s %.*s%s%.*s", SL_STR_FMT(req->method),
                              SL_STR_FMT(req->host), SL_STR_FMT(req->path),
                              req->query.p != NULL ? "?" : "", SL_STR_FMT(req->query));
    r->on_request(r, ex);
}

/* --- the service --- */

static inline void h2_on_refused(const struct sl_peer *peer, int status, const char *why)
{
    struct h2_rig *r = peer->user;

    sl_check(why != NULL && why[0] != '\0');
    r->n_refused++;
    r->refused_status = status;
    sl_buf_reset(&r->why);
    sl_buf_append(&r->why, why, strlen(why));
}

static inline void h2_on_closed(const struct sl_peer *peer)
{
    struct h2_rig *r = peer->user;

    r->n_closed++;
    r->conn = NULL;
    sl_check(r->n_done + r->n_abort == r->n_requests); /* no exchange outlives its connection */
}

/* --- the client --- */

static inline void h2_wire_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    sl_buf_append(&((struct h2_rig *)s->user)->got, bytes, len);
}

static inline void h2_wire_fin(struct sl_stream *s)
{
    ((struct h2_rig *)s->user)->n_fin++;
}

static inline void h2_wire_written(struct sl_stream *s)
{
    (void)s;
}

static inline void h2_wire_error(struct sl_stream *s, int code)
{
    (void)code;
    ((struct h2_rig *)s->user)->n_error++;
}

static inline void h2_settle(struct h2_rig *r)
{
    while (sl_loop_turn(r->loop, false))
        ;
}

static inline void h2_send(struct h2_rig *r, const void *bytes, size_t len)
{
    if (r->wire->error == 0)
        (void)sl_stream_write1(r->wire, bytes, len, false);
    h2_settle(r);
}

static inline void h2_put_head(struct sl_buf *b, size_t len, int type, int flags, uint32_t id)
{
    uint8_t head[9] = {(uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len,
                       (uint8_t)type,        (uint8_t)flags,      (uint8_t)(id >> 24),
                       (uint8_t)(id >> 16),  (uint8_t)(id >> 8),  (uint8_t)id};

    sl_buf_append(b, head, sizeof(head));
}

static inline void h2_put(struct sl_buf *b, int type, int flags, uint32_t id, const void *payload,
                          size_t len)
{
    h2_put_head(b, len, type, flags, id);
    sl_buf_append(b, payload, len);
}

static inline void h2_send_buf(struct h2_rig *r, struct sl_buf *b)
{
    h2_send(r, sl_buf_at(b), sl_buf_len(b));
    sl_buf_clear(b);
}

static inline void h2_frame(struct h2_rig *r, int type, int flags, uint32_t id, const void *payload,
                            size_t len)
{
    struct sl_buf b = {0};

    h2_put(&b, type, flags, id, payload, len);
    h2_send_buf(r, &b);
}

static inline void h2_put_text(struct sl_buf *b, const char *text, size_t len)
{
    uint8_t small = (uint8_t)len;

    if (len >= 127) { /* 7 bits of prefix, then the rest */
        size_t rest = len - 127;

        sl_buf_append(b, "\x7f", 1);
        for (; rest >= 128; rest /= 128) {
            small = (uint8_t)(rest % 128 + 128);
            sl_buf_append(b, &small, 1);
        }
        small = (uint8_t)rest;
    }
    sl_buf_append(b, &small, 1);
    sl_buf_append(b, text, len);
}

/* A field as a literal that enters no table. */
static inline void h2_put_field(struct sl_buf *b, const char *name, const char *value)
{
    sl_buf_append(b, "\0", 1);
    h2_put_text(b, name, strlen(name));
    h2_put_text(b, value, strlen(value));
}

/* The usual four, and more as "name", "value", …, NULL. */
static inline void h2_put_request(struct sl_buf *b, const char *method, const char *path)
{
    h2_put_field(b, ":method", method);
    h2_put_field(b, ":scheme", "http");
    h2_put_field(b, ":authority", "a");
    h2_put_field(b, ":path", path);
}

static inline void h2_head(struct h2_rig *r, uint32_t id, int flags, struct sl_buf *fields)
{
    h2_frame(r, NGHTTP2_HEADERS, flags | END_HEADERS, id, sl_buf_at(fields), sl_buf_len(fields));
    sl_buf_clear(fields);
}

static inline void h2_request(struct h2_rig *r, uint32_t id, const char *method, const char *path,
                              int flags)
{
    struct sl_buf fields = {0};

    h2_put_request(&fields, method, path);
    h2_head(r, id, flags, &fields);
}

static inline void h2_get(struct h2_rig *r, uint32_t id, const char *path)
{
    h2_request(r, id, "GET", path, FIN);
}

static inline void h2_data(struct h2_rig *r, uint32_t id, const char *text, int flags)
{
    h2_frame(r, NGHTTP2_DATA, flags, id, text, strlen(text));
}

static inline void h2_number(struct h2_rig *r, int type, uint32_t id, uint32_t number)
{
    uint8_t bytes[4] = {(uint8_t)(number >> 24), (uint8_t)(number >> 16), (uint8_t)(number >> 8),
                        (uint8_t)number};

    h2_frame(r, type, 0, id, bytes, 4);
}

static inline void h2_setting(struct h2_rig *r, uint16_t id, uint32_t value)
{
    uint8_t bytes[6] = {(uint8_t)(id >> 8),     (uint8_t)id,           (uint8_t)(value >> 24),
                        (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value};

    h2_frame(r, NGHTTP2_SETTINGS, 0, 0, bytes, sizeof(bytes));
}

/* --- what it sees --- */

static inline uint32_t h2_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Decodes a head; its status, or 0 for trailers. */
static inline int h2_decode(struct h2_rig *r, const uint8_t *at, size_t len)
{
    int status = 0;

    sl_buf_reset(&r->last_head);
    for (;;) {
        nghttp2_nv nv;
        int flags = 0;
        nghttp2_ssize n = nghttp2_hd_inflate_hd3(r->inflater, &nv, &flags, at, len, 1);

        sl_check(n >= 0);
        if (n < 0)
            return -1;
        at += n;
        len -= (size_t)n;
        if (flags & NGHTTP2_HD_INFLATE_EMIT) {
            if (nv.namelen == 7 && memcmp(nv.name, ":status", 7) == 0)
                status = atoi((const char *)nv.value);
            sl_buf_append(&r->last_head, nv.name, nv.namelen);
            sl_buf_append(&r->last_head, "=", 1);
            sl_buf_append(&r->last_head, nv.value, nv.valuelen);
            sl_buf_append(&r->last_head, "|", 1);
        }
        if (flags & NGHTTP2_HD_INFLATE_FINAL)
            break;
    }
    nghttp2_hd_inflate_end_headers(r->inflater);
    return status;
}

static inline void h2_read_settings(struct h2_rig *r, const uint8_t *p, size_t len)
{
    for (; len >= 6; p += 6, len -= 6) {
        if (p[1] == NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)
            r->max_streams = h2_u32(p + 2);
    }
}

static inline void h2_tell_frame(struct h2_rig *r, struct sl_buf *out, const uint8_t *f, size_t len)
{
    const uint8_t *p = f + 9;
    uint32_t id = h2_u32(f + 5);
    int status;

    sl_buf_printf(out, "%s", sl_buf_len(out) > 0 ? " " : "");
    switch (f[3]) {
    case NGHTTP2_HEADERS:
        sl_check((f[4] & END_HEADERS) != 0);
        if ((status = h2_decode(r, p, len)) != 0)
            sl_buf_printf(out, "%u:%d", id, status);
        else
            sl_buf_printf(out, "%u:t", id);
        break;
    case NGHTTP2_DATA:
        sl_buf_append(&r->body, p, len);
        sl_buf_printf(out, "%u:d%zu", id, len);
        break;
    case NGHTTP2_RST_STREAM:
        sl_buf_printf(out, "%u:RST(%s)", id, nghttp2_http2_strerror(h2_u32(p)));
        return;
    case NGHTTP2_GOAWAY:
        sl_buf_printf(out, "GOAWAY(%u,%s)", h2_u32(p), nghttp2_http2_strerror(h2_u32(p + 4)));
        return;
    case NGHTTP2_WINDOW_UPDATE:
        sl_buf_printf(out, "%u:+%u", id, h2_u32(p));
        return;
    case NGHTTP2_PING:
        sl_buf_printf(out, f[4] & ACK ? "PONG" : "PING");
        return;
    case NGHTTP2_SETTINGS:
        if (!(f[4] & ACK))
            h2_read_settings(r, p, len);
        sl_buf_printf(out, f[4] & ACK ? "ACK" : "SETTINGS");
        return;
    default:
        sl_buf_printf(out, "?%d", f[3]);
        return;
    }
    if (f[4] & FIN)
        sl_buf_printf(out, ".");
}

/* The frames since the last call. */
static inline struct sl_str h2_seen(struct h2_rig *r)
{
    struct sl_buf text = {0};
    struct sl_str out;

    while (sl_buf_len(&r->got) >= 9) {
        const uint8_t *f = sl_buf_at(&r->got);
        size_t len = (size_t)f[0] << 16 | (size_t)f[1] << 8 | f[2];

        if (sl_buf_len(&r->got) < 9 + len)
            break;
        h2_tell_frame(r, &text, f, len);
        sl_buf_consume(&r->got, 9 + len);
    }
    out = sl_arena_dup(&r->arena, sl_buf_str(&text));
    sl_buf_clear(&text);
    return out;
}

/* What was seen of the last head that h2_seen() decoded. */
static inline bool h2_last_head_has(const struct h2_rig *r, const char *field)
{
    return memmem(sl_buf_at(&r->last_head), sl_buf_len(&r->last_head), field, strlen(field)) !=
           NULL;
}

#define h2_check(r, want) sl_check_str(h2_seen(r), SL_STR(want))

/* --- life --- */

static inline void h2_begin_quiet(struct h2_rig *r, struct sl_loop *loop, size_t limit)
{
    static const struct sl_stream_handler wire = {h2_wire_data, h2_wire_fin, h2_wire_written,
                                                  h2_wire_error, NULL};
    struct sl_stream *ends[2];

    r->loop = loop;
    r->peer.user = r;
    if (r->on_request == NULL)
        r->on_request = h2_read_then_answer;
    if (r->on_body_end == NULL)
        r->on_body_end = h2_answer;
    if (r->service.limits.max_head == 0)
        r->service.limits = sl_http_limits_default;
    r->service.on_request = h2_on_request;
    r->service.on_refused = h2_on_refused;
    r->service.on_closed = h2_on_closed;
    sl_check(nghttp2_hd_inflate_new(&r->inflater) == 0);
    sl_pair_new(ends, loop, limit);
    r->wire = ends[0];
    sl_stream_set_handler(r->wire, &wire, r);
    sl_stream_read(r->wire, true);
    r->conn = sl_h2_serve(&ends[1], &r->service, &r->peer, NULL, 0);
    h2_settle(r);
}

/* With both prefaces said. */
static inline void h2_greet(struct h2_rig *r)
{
    h2_send(r, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
    h2_frame(r, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    h2_frame(r, NGHTTP2_SETTINGS, ACK, 0, NULL, 0);
}

/* `r` is zero but for what the test wants to be otherwise. */
static inline void h2_begin(struct h2_rig *r, struct sl_loop *loop)
{
    h2_begin_quiet(r, loop, H2_PIPE);
    h2_greet(r);
    h2_check(r, "SETTINGS 0:+983041 ACK");
}

static inline void h2_end(struct h2_rig *r)
{
    if (r->conn != NULL)
        sl_http_conn_kill(r->conn);
    h2_settle(r);
    sl_check(r->n_closed == 1);
    sl_check(r->n_done + r->n_abort == r->n_requests);
    sl_stream_free(&r->wire, SL_CLOSE_ABORT);
    h2_settle(r);
    nghttp2_hd_inflate_del(r->inflater);
    sl_buf_clear(&r->got);
    sl_buf_clear(&r->body);
    sl_buf_clear(&r->last_head);
    sl_buf_clear(&r->taken);
    sl_buf_clear(&r->why);
    sl_arena_clear(&r->arena);
    memset(r, 0, sizeof(*r));
}

static inline void h2_pass(struct h2_rig *r, uint64_t ms)
{
    for (uint64_t left = ms; left > 0; left -= SL_MIN(left, 50)) {
        sl_loop_skip(r->loop, SL_MIN(left, 50));
        h2_settle(r);
    }
}

static inline bool h2_is_closed(const struct h2_rig *r)
{
    return r->conn == NULL && r->n_fin + r->n_error > 0;
}

#endif
