/* Calls: the client side of HTTP/1. */
#include <pthread.h>
#include <stdio.h>
#include "http/h1.h"
#include "http/pool.h"
#include "http/ws_handshake.h"
#include "net/tcp.h"
#include "tls/stream.h"

static const struct sl_stream_handler stream_handler;
static const struct sl_call_ops ops;
static llhttp_settings_t settings;
static llhttp_t fresh_parser;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* RFC 9112, 6.3: the answer to HEAD has a length but no body; llhttp cannot know. */
static int on_headers_done(llhttp_t *parser)
{
    struct sl_h1_fields *f = parser->data;
    struct sl_call_private *c = sl_container_of(f, struct sl_call_private, h1.fields);

    f->head_done = true;
    if (sl_str_eq(c->method, SL_STR("HEAD")))
        parser->flags |= F_SKIPBODY;
    return HPE_PAUSED;
}

static void make_template(void)
{
    sl_h1_fields_settings(&settings);
    settings.on_headers_complete = on_headers_done;
    llhttp_init(&fresh_parser, HTTP_RESPONSE, &settings);
}

static void begin_response(struct sl_call_private *c)
{
    c->h1.parser = fresh_parser;
    c->h1.parser.data = &c->h1.fields;
    memset(&c->pub.res, 0, sizeof(c->pub.res));
    sl_h1_fields_begin(&c->h1.fields, &c->pub.res.headers, c->pub.arena);
}

static const struct sl_stream *bottom(const struct sl_stream *s)
{
    while (sl_stream_below(s) != NULL)
        s = sl_stream_below(s);
    return s;
}

/* The target has closed a kept connection before our request reached it. With a fin that is certain
 * when its kernel has acknowledged nothing, for a fin acknowledges what was there to be read; a
 * reset says nothing of the kind, but then perhaps nothing has left. */
static void note_unprocessed(struct sl_call_private *c, bool got_fin)
{
    const struct sl_stream *wire = bottom(c->h1.up->stream);
    uint64_t arrived = wire->bytes_out;

    if (!c->pub.was_reused || c->pub.got_bytes)
        return;
    if (got_fin && sl_tcp_acked(wire, &arrived) < 0)
        return;
    c->pub.is_unprocessed = arrived <= c->h1.sent_before;
}

void sl_h1_call_attach(struct sl_call_private *c, struct sl_upstream *up, bool was_reused)
{
    pthread_once(&once, make_template);
    c->h1.up = up;
    up->call = c;
    c->h1.sent_before = bottom(up->stream)->bytes_out;
    c->h1.fields.max_bytes = c->pool->opts.max_head;
    c->h1.fields.max_fields = SL_CALL_MAX_FIELDS;
    c->h1.fields.max_chunk_ext = 1024;
    sl_stream_set_handler(up->stream, &stream_handler, c);
    sl_call_connected(c, &ops, was_reused);
}

/* --- sending --- */

static char *put(char *out, struct sl_str s)
{
    memcpy(out, s.p, s.len);
    return out + s.len;
}

static char *put_field(char *out, struct sl_str name, struct sl_str value)
{
    out = put(out, name);
    out = put(out, SL_STR(": "));
    out = put(out, value);
    return put(out, SL_STR("\r\n"));
}

/* A handshake that came as an extended CONNECT has neither the header nor the key that HTTP/1.1
 * wants (RFC 8441, 5). */
static char *put_upgrade(char *out, const struct sl_request *req)
{
    struct sl_str text = SL_STR("sec-websocket-key");
    char key[SL_WS_KEY_LEN];

    out = put(out, SL_STR("Connection: upgrade\r\n"));
    if (sl_headers_find_id(&req->headers, SL_H_UPGRADE) == NULL)
        out = put_field(out, SL_STR("Upgrade"), req->upgrade);
    if (sl_headers_find(&req->headers, text) != NULL ||
        !sl_str_ieq(req->upgrade, SL_STR("websocket")))
        return out;
    sl_ws_make_key(key);
    return put_field(out, SL_STR("Sec-WebSocket-Key"), sl_str(key, sizeof(key)));
}

static char *put_framing(struct sl_call_private *c, char *out, const struct sl_request *req)
{
    if (req->upgrade.len > 0)
        out = put_upgrade(out, req);
    if (c->h1.is_chunked_out)
        out = put(out, SL_STR("Transfer-Encoding: chunked\r\n"));
    else if (req->content_length > 0 ||
             sl_headers_find_id(&req->headers, SL_H_CONTENT_LENGTH) != NULL)
        out += sprintf(out, "Content-Length: %llu\r\n", (unsigned long long)req->content_length);
    return put(out, SL_STR("\r\n"));
}

static void h1_send(struct sl_call_private *c, const struct sl_request *req)
{
    enum { OWN_ROOM = 256 };
    size_t room = req->method.len + req->path.len + req->query.len + req->authority.len +
                  req->upgrade.len + OWN_ROOM + sl_h1_headers_room(&req->headers);
    char *head = sl_arena_alloc(c->pub.arena, room), *out = head;

    c->h1.is_chunked_out = req->content_length == SL_LENGTH_UNKNOWN;
    out = put(out, req->method);
    out = put(out, SL_STR(" "));
    out = put(out, req->path);
    if (req->query.p != NULL) {
        out = put(out, SL_STR("?"));
        out = put(out, req->query);
    }
    out = put(out, SL_STR(" HTTP/1.1\r\n"));
    out = put_field(out, SL_STR("Host"), req->authority);
    out = sl_h1_put_headers(out, &req->headers, req->upgrade.len > 0);
    out = put_framing(c, out, req);
    c->h1.staged = sl_str(head, (size_t)(out - head));
    begin_response(c);
    sl_stream_read(c->h1.up->stream, true);
}

enum { MAX_PARTS = 32 };

static int frame(struct sl_call_private *c, struct iovec *parts, char *chunk_head,
                 const struct iovec *iov, int n_iov, size_t total, bool fin)
{
    bool is_chunked = c->h1.is_chunked_out && !c->is_raw;
    int n = 0;

    if (c->h1.staged.len > 0)
        parts[n++] = (struct iovec){(void *)c->h1.staged.p, c->h1.staged.len};
    c->h1.staged = SL_STR_NONE;
    if (is_chunked && total > 0)
        parts[n++] = (struct iovec){chunk_head, (size_t)snprintf(chunk_head, 20, "%zx\r\n", total)};
    for (int i = 0; i < n_iov; i++)
        parts[n++] = iov[i];
    if (is_chunked && total > 0)
        parts[n++] = (struct iovec){(void *)"\r\n", 2};
    if (is_chunked && fin) {
        struct sl_str last = sl_h1_last_chunk(c->pub.arena, c->pub.req_trailers);

        parts[n++] = (struct iovec){(void *)last.p, last.len};
    }
    return n;
}

static int h1_write(struct sl_call_private *c, const struct iovec *iov, int n_iov, bool fin)
{
    struct iovec parts[MAX_PARTS];
    char chunk_head[20];
    size_t total = 0;
    int n;

    sl_assert(n_iov <= MAX_PARTS - 4);
    for (int i = 0; i < n_iov; i++)
        total += iov[i].iov_len;
    n = frame(c, parts, chunk_head, iov, n_iov, total, fin);
    if (n == 0 && !(fin && c->is_raw))
        return 0;
    return sl_stream_write(c->h1.up->stream, parts, n, fin && c->is_raw);
}

static void h1_read(struct sl_call_private *c, bool on)
{
    sl_stream_read(c->h1.up->stream, on);
}

/* --- receiving --- */

static unsigned count_headers(const struct sl_headers *h, enum sl_header_id id)
{
    unsigned n = 0;

    for (unsigned i = 0; i < h->n; i++)
        n += h->at[i].id == id;
    return n;
}

/* Whether the connection may be used again, as the target says. */
static bool may_keep_alive(const struct sl_call_private *c, bool is_coded)
{
    const struct sl_response *res = &c->pub.res;
    struct sl_str connection =
        sl_headers_get_all(&res->headers, SL_STR("connection"), c->pub.arena);
    bool says_close = connection.p != NULL && sl_str_has_token(connection, SL_STR("close"));
    bool says_keep = connection.p != NULL && sl_str_has_token(connection, SL_STR("keep-alive"));

    if (res->version == SL_HTTP_10) /* which knows no transfer coding: RFC 9112, 6.1 */
        return says_keep && !says_close && !is_coded;
    return !says_close;
}

/* False when the head contradicts itself. */
static bool read_framing(struct sl_call_private *c)
{
    struct sl_response *res = &c->pub.res;
    const struct sl_header *length = sl_headers_find_id(&res->headers, SL_H_CONTENT_LENGTH);
    unsigned n_codings = count_headers(&res->headers, SL_H_TRANSFER_ENCODING);

    res->status = c->h1.parser.status_code;
    res->version = c->h1.parser.http_minor == 0 ? SL_HTTP_10 : SL_HTTP_11;
    res->content_length = SL_LENGTH_UNKNOWN;
    if (length != NULL)
        (void)sl_str_to_u64(length->value, INT64_MAX,
                            &res->content_length); /* checked when it was read */
    c->h1.keep_alive = may_keep_alive(c, n_codings > 0);
    c->h1.until_close =
        length == NULL && !sl_call_has_no_body(c) && res->status >= 200 && n_codings == 0;
    return n_codings <= 1;
}

/* A complete head: interim ones are told and forgotten, 101 makes the call a raw channel. False
 * when the call is no more. */
static bool on_head(struct sl_call_private *c)
{
    bool is_clear = read_framing(c);

    if (!is_clear || c->h1.parser.http_major != 1 || c->pub.res.status < 100) {
        sl_call_fail(c, SL_E_PROTOCOL, is_clear ? "bad status line" : "ambiguous message length");
        return false;
    }
    if (c->pub.res.status < 200 && c->pub.res.status != 101) {
        if (!sl_call_interim(c))
            return false;
        begin_response(c);
        return true;
    }
    sl_h1_fields_trailers(&c->h1.fields, &c->h1.parser, &c->pub.res.trailers);
    return sl_call_head(c);
}

static void give_body(struct sl_call_private *c, const uint8_t *bytes, size_t len, bool fin)
{
    struct iovec iov = {(void *)bytes, len};

    sl_call_body(c, &iov, len > 0 ? 1 : 0, fin);
}

/* Parses what is left of the batch as body, in one piece to the caller. */
static void take_body(struct sl_call_private *c, const uint8_t *p, size_t len)
{
    ssize_t n;

    if (c->is_raw) {
        give_body(c, p, len, false);
        return;
    }
    if (sl_call_has_no_body(c)) {
        c->h1.keep_alive = c->h1.keep_alive && len == 0;
        give_body(c, NULL, 0, true);
        return;
    }
    c->h1.fields.gather = sl_loop_scratch(c->pool->loop, 3);
    n = sl_h1_fields_execute(&c->h1.fields, &c->h1.parser, p, len);
    if (n < 0) {
        sl_call_fail(c, (int)n, c->h1.fields.why);
        return;
    }
    if ((size_t)n < len)
        c->h1.keep_alive = false; /* bytes behind the end of the response: nobody asked for them */
    give_body(c, c->h1.fields.body, c->h1.fields.body_len, c->h1.fields.message_done);
}

static void on_data(struct sl_stream *s, const uint8_t *p, size_t len)
{
    struct sl_call_private *c = s->user;

    c->pub.got_bytes = true;
    if (c->failure != 0)
        return;
    if (c->pub.stage == SL_CALL_DONE) {
        c->h1.keep_alive = false;
        return;
    }
    while (!c->head_given) {
        ssize_t n = sl_h1_fields_execute(&c->h1.fields, &c->h1.parser, p, len);

        if (n < 0) {
            sl_call_fail(c, (int)n, c->h1.fields.why);
            return;
        }
        p += n;
        len -= (size_t)n;
        if (!c->h1.fields.head_done)
            return;
        if (!on_head(c))
            return;
    }
    take_body(c, p, len);
}

static void on_fin(struct sl_stream *s)
{
    struct sl_call_private *c = s->user;

    c->h1.keep_alive = false;
    if (c->failure != 0 || c->pub.stage == SL_CALL_DONE)
        return;
    if (c->head_given && c->h1.until_close && sl_stream_is_tls(s) && sl_tls_is_truncated(s))
        sl_call_fail(c, SL_E_CLOSED, "the connection ended without a close_notify");
    else if (c->head_given && (c->h1.until_close || c->is_raw))
        give_body(c, NULL, 0, true);
    else {
        note_unprocessed(c, true);
        sl_call_fail(c, SL_E_CLOSED, NULL);
    }
}

static void on_written(struct sl_stream *s)
{
    sl_call_written(s->user);
}

static void on_error(struct sl_stream *s, int code)
{
    struct sl_call_private *c = s->user;

    c->h1.keep_alive = false;
    if (c->pub.stage == SL_CALL_DONE && !c->is_raw)
        return;
    note_unprocessed(c, false);
    sl_call_fail(c, code, NULL);
}

static const struct sl_stream_handler stream_handler = {on_data, on_fin, on_written, on_error,
                                                        NULL};

static void h1_leave(struct sl_call_private *c, bool cleanly)
{
    bool is_done = c->pub.stage == SL_CALL_DONE;

    if (cleanly && c->request_done && c->h1.keep_alive && !c->is_raw &&
        !c->h1.up->stream->is_writing)
        sl_upstream_rest(c->h1.up);
    else
        sl_upstream_close(c->h1.up, is_done ? SL_CLOSE_LINGER : SL_CLOSE_ABORT);
}

static const struct sl_call_ops ops = {h1_send, h1_write, h1_read, h1_leave};
