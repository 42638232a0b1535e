/*
 * For the tests of the HTTP/3 server: a client that writes frames byte by byte (its field sections
 * are literals, so that they need no state) and understands the answers, and the handler of the
 * requests that arrive.
 *
 *     rig_begin(&r, loop);
 *     rig_ask(&r, 0, RIG_GET("/"), "");
 *     sl_check_str(rig_seen(&r, 0).status, SL_STR("200"));
 *     rig_end(&r);
 */
#ifndef SL_HTTP_TEST_H3_H
#define SL_HTTP_TEST_H3_H

#include <nghttp3/nghttp3.h>
#include "http/h3_server.h"
#include "http/test_quic.h"

enum { RIG_REQS = 256, RIG_DATA = 0, RIG_HEADERS = 1, RIG_SETTINGS = 4, RIG_GOAWAY = 7 };

#define RIG_HEAD(method, path) ":method: " method "|:scheme: https|:path: " path "|:authority: a"
#define RIG_GET(path) RIG_HEAD("GET", path)
#define RIG_POST(path) RIG_HEAD("POST", path)

struct rig;

/* A request as its handler sees it. */
struct rig_req {
    struct rig *rig;
    struct sl_exchange *ex; /* NULL after its end */
    struct sl_buf body;
    int n_fin, n_written, n_done, n_abort, abort_code;
    struct sl_str seen, trailers; /* "METHOD host path?query" */
    bool was_early;
};

struct rig {
    struct sl_loop *loop;
    struct fake_quic quic;
    struct sl_http_service service;
    struct sl_peer peer;
    struct sl_http_conn *conn; /* NULL once it has ended */
    struct sl_arena arena;
    struct rig_req reqs[RIG_REQS];
    int n_requests, n_refused, refused_status, n_closed;
    /* What it does with a request; the default reads the body and answers "ok". */
    void (*on_request)(struct rig *r, struct rig_req *req);
    void (*on_body_end)(struct rig *r, struct rig_req *req); /* unless it has answered already */
};

/* --- the handler --- */

static inline void rig_respond(struct rig_req *req, int status, uint64_t length)
{
    struct sl_response res = {.version = SL_HTTP_11, .status = status, .content_length = length};

    sl_exchange_respond(req->ex, &res);
}

static inline int rig_write(struct rig_req *req, struct sl_str text, bool fin)
{
    struct iovec iov = {(void *)text.p, text.len};

    return sl_exchange_write(req->ex, &iov, text.len > 0 ? 1 : 0, fin);
}

static inline void rig_answer(struct rig *r, struct rig_req *req)
{
    (void)r;
    sl_exchange_reply(req->ex, 200, SL_STR("text/plain"), SL_STR("ok"), NULL);
}

static inline void rig_leave_it(struct rig *r, struct rig_req *req)
{
    (void)r, (void)req; /* the test answers */
}

static inline void rig_default_request(struct rig *r, struct rig_req *req)
{
    if (req->ex->request_ended)
        rig_answer(r, req);
    else
        sl_exchange_read(req->ex, true);
}

static inline void rig_keep_trailers(struct rig_req *req)
{
    const struct sl_headers *h = &req->ex->req.trailers;

    req->trailers = SL_STR("");
    for (unsigned i = 0; i < h->n; i++)
        req->trailers =
            sl_arena_printf(&req->rig->arena, "%.*s%.*s=%.*s|", SL_STR_FMT(req->trailers),
                            SL_STR_FMT(h->at[i].name), SL_STR_FMT(h->at[i].value));
}

static inline void rig_on_body(struct sl_exchange *ex, const uint8_t *bytes, size_t len, bool fin)
{
    struct rig_req *req = ex->user;

    sl_check(req->ex == ex && req->n_fin == 0 && (len > 0 || fin));
    sl_buf_append(&req->body, bytes, len);
    if (!fin)
        return;
    req->n_fin++;
    rig_keep_trailers(req);
    if (req->rig->on_body_end != NULL && !ex->has_responded)
        req->rig->on_body_end(req->rig, req);
}

static inline void rig_on_written(struct sl_exchange *ex)
{
    ((struct rig_req *)ex->user)->n_written++;
}

static inline void rig_on_done(struct sl_exchange *ex)
{
    struct rig_req *req = ex->user;

    sl_check(req->ex == ex);
    req->n_done++;
    req->ex = NULL;
}

static inline void rig_on_abort(struct sl_exchange *ex, int code)
{
    struct rig_req *req = ex->user;

    sl_check(code < 0 && req->ex == ex);
    req->n_abort++;
    req->abort_code = code;
    req->ex = NULL;
}

static inline void rig_on_request(struct sl_exchange *ex)
{
    static const struct sl_exchange_handler handler = {rig_on_body, rig_on_written, rig_on_done,
                                                       rig_on_abort};
    struct rig *r = ex->peer->user;
    const struct sl_request *in = &ex->req;
    struct rig_req *req = &r->reqs[r->n_requests++];

    sl_assert(r->n_requests <= RIG_REQS);
    req->rig = r;
    req->ex = ex;
    req->was_early = in->is_early;
    req->seen = sl_arena_printf(&r->arena, "%.*s %.*s %.*s%s%.*s", SL_STR_FMT(in->method),
                                SL_STR_FMT(in->host), SL_STR_FMT(in->path),
                                in->query.p != NULL ? "?" : "", SL_STR_FMT(in->query));
    ex->handler = &handler;
    ex->user = req;
    r->on_request(r, req);
}

static inline void rig_on_refused(const struct sl_peer *peer, int status, const char *why)
{
    struct rig *r = peer->user;

    sl_check(why != NULL && why[0] != '\0');
    r->n_refused++;
    r->refused_status = status;
}

static inline void rig_on_closed(const struct sl_peer *peer)
{
    struct rig *r = peer->user;

    r->n_closed++;
    r->conn = NULL;
    for (int i = 0; i < r->n_requests; i++)
        sl_check(r->reqs[i].ex == NULL); /* no exchange outlives its connection */
}

/* --- the client: bytes of frames --- */

static inline void put_varint(struct sl_buf *b, uint64_t v)
{
    int log = v < 64 ? 0 : v < 16384 ? 1 : v < 1 << 30 ? 2 : 3;
    uint8_t bytes[8];
    int n = 1 << log;

    for (int i = n - 1; i >= 0; i--, v >>= 8)
        bytes[i] = (uint8_t)v;
    bytes[0] |= (uint8_t)(log << 6);
    sl_buf_append(b, bytes, (size_t)n);
}

static inline void put_frame(struct sl_buf *b, uint64_t type, struct sl_str payload)
{
    put_varint(b, type);
    put_varint(b, payload.len);
    sl_buf_append_str(b, payload);
}

/* A number of QPACK with a prefix of `bits` (RFC 9204 4.1.1). */
static inline void put_number(struct sl_buf *b, uint8_t first, int bits, size_t v)
{
    size_t max = (1u << bits) - 1;
    uint8_t byte = (uint8_t)(first | SL_MIN(v, max));

    sl_buf_append(b, &byte, 1);
    if (v < max)
        return;
    for (v -= max; v >= 128; v >>= 7) {
        byte = (uint8_t)(v | 128);
        sl_buf_append(b, &byte, 1);
    }
    byte = (uint8_t)v;
    sl_buf_append(b, &byte, 1);
}

static inline void put_field(struct sl_buf *b, struct sl_str name, struct sl_str value)
{
    put_number(b, 0x20, 3, name.len); /* a literal with a literal name */
    sl_buf_append_str(b, name);
    put_number(b, 0, 7, value.len);
    sl_buf_append_str(b, value);
}

/* The fields "name: value|name: value" as a section without references to the dynamic table. */
static inline void put_section(struct sl_buf *b, const char *fields)
{
    struct sl_str list = sl_str_c(fields), item;

    sl_buf_append(b, "\0\0", 2);
    while (list.len > 0 && sl_str_next(&list, '|', &item)) {
        const char *colon = memchr(item.p + 1, ':', item.len - 1);
        size_t n = (size_t)(colon - item.p);

        put_field(b, sl_str(item.p, n), sl_str_trim(sl_str(colon + 1, item.len - n - 1)));
    }
}

static inline void put_head(struct sl_buf *b, const char *fields)
{
    struct sl_buf section = {0};

    put_section(&section, fields);
    put_frame(b, RIG_HEADERS, sl_buf_str(&section));
    sl_buf_clear(&section);
}

/* --- the client: what it does --- */

static inline void rig_settle(struct rig *r)
{
    while (sl_loop_turn(r->loop, false))
        ;
}

static inline void rig_say(struct rig *r, int64_t id, struct sl_str bytes, bool fin)
{
    fake_say(&r->quic, id, bytes, fin);
    rig_settle(r);
}

/* Says it and gives its memory back. */
static inline void rig_say_buf(struct rig *r, int64_t id, struct sl_buf *b, bool fin)
{
    rig_say(r, id, sl_buf_str(b), fin);
    sl_buf_clear(b);
}

static inline void rig_head(struct rig *r, int64_t id, const char *fields, bool fin)
{
    struct sl_buf b = {0};

    put_head(&b, fields);
    rig_say_buf(r, id, &b, fin);
}

static inline void rig_data(struct rig *r, int64_t id, struct sl_str bytes, bool fin)
{
    struct sl_buf b = {0};

    put_frame(&b, RIG_DATA, bytes);
    rig_say_buf(r, id, &b, fin);
}

/* A complete request. */
static inline void rig_ask(struct rig *r, int64_t id, const char *fields, const char *body)
{
    struct sl_buf b = {0};

    put_head(&b, fields);
    if (body[0] != '\0')
        put_frame(&b, RIG_DATA, sl_str_c(body));
    rig_say_buf(r, id, &b, true);
}

/* The control stream with these settings, and the two of QPACK. */
static inline void rig_open_control(struct rig *r, struct sl_str settings)
{
    struct sl_buf b = {0};

    put_varint(&b, 0);
    put_frame(&b, RIG_SETTINGS, settings);
    rig_say_buf(r, 2, &b, false);
    rig_say(r, 6, SL_STR("\x02"), false);
    rig_say(r, 10, SL_STR("\x03"), false);
}

static inline void rig_begin_with(struct rig *r, struct sl_loop *loop)
{
    *r = (struct rig){.loop = loop, .on_request = rig_default_request, .on_body_end = rig_answer};
    r->service = (struct sl_http_service){.on_request = rig_on_request,
                                          .on_refused = rig_on_refused,
                                          .on_closed = rig_on_closed,
                                          .limits = sl_http_limits_default};
    r->peer.user = r;
    r->peer.is_tls = true;
    fake_begin(&r->quic, loop);
}

static inline void rig_serve(struct rig *r)
{
    r->conn = sl_h3_serve(&r->quic.conn, &r->service, &r->peer);
    rig_settle(r);
}

static inline void rig_begin(struct rig *r, struct sl_loop *loop)
{
    rig_begin_with(r, loop);
    rig_serve(r);
    rig_open_control(r, SL_STR(""));
}

static inline void rig_end(struct rig *r)
{
    if (r->conn != NULL)
        sl_http_conn_kill(r->conn);
    rig_settle(r);
    sl_check(r->n_closed == 1);
    for (int i = 0; i < r->n_requests; i++) {
        sl_check(r->reqs[i].n_done + r->reqs[i].n_abort == 1);
        sl_buf_clear(&r->reqs[i].body);
    }
    fake_clear(&r->quic);
    rig_settle(r);
    sl_arena_clear(&r->arena);
}

static inline void rig_pass(struct rig *r, uint64_t ms)
{
    for (uint64_t left = ms; left > 0; left -= SL_MIN(left, 50)) {
        sl_loop_skip(r->loop, SL_MIN(left, 50));
        rig_settle(r);
    }
}

static inline struct fake_stream *rig_stream(struct rig *r, int64_t id)
{
    struct fake_stream *s = fake_find(&r->quic, id);

    sl_assert(s != NULL);
    return s;
}

/* --- the client: what it understands --- */

struct rig_seen {
    struct sl_str status; /* of every head: "103 200" */
    struct sl_str fields; /* of every section: "name=value|", ";" between sections */
    struct sl_str body;
    bool fin;
};

static inline bool take_varint(struct sl_str *in, uint64_t *out)
{
    size_t n;

    if (in->len == 0 || in->len < (n = 1u << ((uint8_t)in->p[0] >> 6)))
        return false;
    *out = (uint8_t)in->p[0] & 63;
    for (size_t i = 1; i < n; i++)
        *out = *out << 8 | (uint8_t)in->p[i];
    *in = sl_str(in->p + n, in->len - n);
    return true;
}

/* A frame that is complete. */
static inline bool take_frame(struct sl_str *in, uint64_t *type, struct sl_str *payload)
{
    struct sl_str at = *in;
    uint64_t len;

    if (!take_varint(&at, type) || !take_varint(&at, &len) || at.len < len)
        return false;
    *payload = sl_str(at.p, len);
    *in = sl_str(at.p + len, at.len - len);
    return true;
}

static inline void see_field(struct rig *r, struct rig_seen *seen, const nghttp3_qpack_nv *nv)
{
    nghttp3_vec n = nghttp3_rcbuf_get_buf(nv->name), v = nghttp3_rcbuf_get_buf(nv->value);

    if (sl_str_eq(sl_str((char *)n.base, n.len), SL_STR(":status")))
        seen->status = sl_arena_printf(&r->arena, "%.*s%s%.*s", SL_STR_FMT(seen->status),
                                       seen->status.len > 0 ? " " : "", (int)v.len, v.base);
    else
        seen->fields = sl_arena_printf(&r->arena, "%.*s%.*s=%.*s|", SL_STR_FMT(seen->fields),
                                       (int)n.len, n.base, (int)v.len, v.base);
}

static inline void see_section(struct rig *r, struct rig_seen *seen, struct sl_str section)
{
    nghttp3_qpack_decoder *decoder;
    nghttp3_qpack_stream_context *context;
    const uint8_t *at = (const uint8_t *)section.p, *end = at + section.len;
    uint8_t flags = 0;

    sl_assert(nghttp3_qpack_decoder_new(&decoder, 0, 0, nghttp3_mem_default()) == 0);
    sl_assert(nghttp3_qpack_stream_context_new(&context, 0, nghttp3_mem_default()) == 0);
    while (!(flags & NGHTTP3_QPACK_DECODE_FLAG_FINAL)) {
        nghttp3_qpack_nv nv;
        nghttp3_ssize n = nghttp3_qpack_decoder_read_request(decoder, context, &nv, &flags, at,
                                                             (size_t)(end - at), 1);

        sl_assert(n >= 0);
        at += n;
        if (!(flags & NGHTTP3_QPACK_DECODE_FLAG_EMIT))
            continue;
        see_field(r, seen, &nv);
        nghttp3_rcbuf_decref(nv.name);
        nghttp3_rcbuf_decref(nv.value);
    }
    seen->fields = sl_arena_printf(&r->arena, "%.*s;", SL_STR_FMT(seen->fields));
    nghttp3_qpack_stream_context_del(context);
    nghttp3_qpack_decoder_del(decoder);
}

/* What has come on a stream so far. */
static inline struct rig_seen rig_seen(struct rig *r, int64_t id)
{
    struct fake_stream *s = rig_stream(r, id);
    struct rig_seen seen = {SL_STR(""), SL_STR(""), SL_STR(""), s->got_fin};
    struct sl_str in = sl_buf_str(&s->got), payload;
    uint64_t type;

    while (take_frame(&in, &type, &payload)) {
        if (type == RIG_HEADERS) {
            see_section(r, &seen, payload);
        } else if (type == RIG_DATA) {
            char *both = sl_arena_alloc(&r->arena, seen.body.len + payload.len + 1);

            memcpy(both, seen.body.p, seen.body.len);
            memcpy(both + seen.body.len, payload.p, payload.len);
            seen.body = sl_str(both, seen.body.len + payload.len);
        }
    }
    sl_check(!s->got_fin || in.len == 0);
    return seen;
}

static inline bool rig_has_field(struct rig *r, int64_t id, const char *field)
{
    struct sl_str fields = rig_seen(r, id).fields;

    return memmem(fields.p, fields.len, field, strlen(field)) != NULL;
}

#endif
