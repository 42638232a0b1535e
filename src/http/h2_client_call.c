/* Calls: a stream of an HTTP/2 connection. */
#include <stdio.h>
#include "http/h2_client.h"
#include "http/ws_handshake.h"

enum {
    COPY_MAX = 4096, /* bytes that are rather copied than written at once */
    OUT_HIGH = 64 * 1024,
    OUT_LOW = 16 * 1024,
    DELIVER_LEN = 64 * 1024,
};

static const struct sl_call_ops ops;

/* --- a stream for the call --- */

static bool takes_websockets(const struct sl_h2_conn *conn)
{
    return nghttp2_session_get_remote_settings(conn->session,
                                               NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1;
}

static void wait_for_settings(struct sl_call_private *c, struct sl_h2_conn *conn)
{
    c->pub.stage = SL_CALL_CONNECTING;
    sl_list_append(&conn->undecided, &c->waiting);
    if (c->opts.connect_timeout > 0)
        sl_deadline_set(&c->deadline, c->opts.connect_timeout);
}

void sl_h2_call_attach(struct sl_call_private *c, struct sl_h2_conn *conn, bool was_reused)
{
    bool is_second = conn->n_calls > 0;

    if (conn->is_closing) {
        sl_call_fail(c, SL_E_CLOSED, NULL);
    } else if (!conn->got_settings && (is_second || c->opts.is_upgrade)) {
        wait_for_settings(c, conn);
    } else if (is_second && !sl_h2_conn_has_place(conn)) {
        sl_call_reopen(c);
    } else if (!c->opts.is_upgrade || takes_websockets(conn)) {
        sl_h2_conn_join(conn, c);
        sl_call_connected(c, &ops, was_reused);
    } else if (c->target.protocol == SL_CALL_AUTO) {
        sl_call_reopen_http1(c);
    } else {
        c->pub.stage = SL_CALL_SENDING; /* it was reached, and another try would find the same */
        sl_call_fail(c, SL_E_PROTOCOL, "the target takes no WebSockets over HTTP/2");
    }
    sl_h2_conn_pump_soon(conn); /* it closes when nobody uses it after all */
}

/* --- request --- */

static void put(struct sl_h2_call *h, struct sl_str name, struct sl_str value)
{
    bool is_secret = sl_str_eq(name, SL_STR("authorization")) || sl_str_eq(name, SL_STR("cookie"));

    /* Visitors share the connection and so its table of fields: their secrets stay out of it
     * (RFC 7541, 7.1). */
    h->fields[h->n_fields++] = (nghttp2_nv){(uint8_t *)name.p, (uint8_t *)value.p, name.len,
                                            value.len, is_secret ? NGHTTP2_NV_FLAG_NO_INDEX : 0};
}

static struct sl_str path_of(struct sl_call_private *c, const struct sl_request *req)
{
    return req->query.p == NULL ? req->path
                                : sl_arena_printf(c->pub.arena, "%.*s?%.*s", SL_STR_FMT(req->path),
                                                  SL_STR_FMT(req->query));
}

static void put_pseudo(struct sl_call_private *c, const struct sl_request *req)
{
    struct sl_h2_call *h = &c->h2;

    put(h, SL_STR(":method"), h->is_connect ? SL_STR("CONNECT") : req->method);
    if (h->is_connect)
        put(h, SL_STR(":protocol"), SL_STR("websocket"));
    put(h, SL_STR(":scheme"), c->target.tls ? SL_STR("https") : SL_STR("http"));
    put(h, SL_STR(":authority"), req->authority);
    put(h, SL_STR(":path"), path_of(c, req));
}

/* RFC 9110, 10.1.4: the one thing that TE may say here, and without it gRPC does not work. */
static bool wants_trailers(const struct sl_call_private *c, const struct sl_request *req)
{
    return sl_str_has_token(sl_headers_get_all(&req->headers, SL_STR("te"), c->pub.arena),
                            SL_STR("trailers"));
}

static void put_length(struct sl_call_private *c, const struct sl_request *req)
{
    uint64_t length = req->content_length;

    if (c->h2.is_connect || length == SL_LENGTH_UNKNOWN ||
        (length == 0 && sl_headers_find_id(&req->headers, SL_H_CONTENT_LENGTH) == NULL))
        return;
    put(&c->h2, SL_STR("content-length"),
        sl_arena_printf(c->pub.arena, "%llu", (unsigned long long)length));
}

static void h2_send(struct sl_call_private *c, const struct sl_request *req)
{
    enum { OWN_FIELDS = 7 };
    struct sl_h2_call *h = &c->h2;
    struct sl_field *fields = NULL;
    size_t n = sl_head_trailers(c->pub.arena, &req->headers, &fields);

    h->fields = sl_arena_alloc(c->pub.arena, (n + OWN_FIELDS) * sizeof(*h->fields));
    h->is_connect = c->opts.is_upgrade && sl_str_has_token(req->upgrade, SL_STR("websocket"));
    h->is_reading = true;
    put_pseudo(c, req);
    for (size_t i = 0; i < n; i++) {
        if (h->is_connect && sl_str_eq(fields[i].name, SL_STR("sec-websocket-key")))
            h->key = fields[i].value;
        else if (!sl_str_eq(fields[i].name, SL_STR("host")))
            put(h, fields[i].name, fields[i].value);
    }
    put_length(c, req);
    if (wants_trailers(c, req))
        put(h, SL_STR("te"), SL_STR("trailers"));
}

static bool has_trailers(const struct sl_call_private *c)
{
    return c->pub.req_trailers != NULL && c->pub.req_trailers->n > 0;
}

static void submit(struct sl_call_private *c, bool has_body)
{
    struct sl_h2_call *h = &c->h2;
    int32_t id = nghttp2_submit_request2(h->conn->session, NULL, h->fields, h->n_fields,
                                         has_body ? &sl_h2_body : NULL, c);

    if (id > 0) {
        h->id = id;
        return;
    }
    h->conn->is_leaving = true; /* it has no numbers left */
    c->pub.is_unprocessed = true;
    sl_call_fail(c, SL_E_LIMIT, nghttp2_strerror(id));
}

static void send_trailers(struct sl_call_private *c)
{
    struct sl_h2_call *h = &c->h2;
    struct sl_field *fields;
    size_t n = sl_head_trailers(c->pub.arena, c->pub.req_trailers, &fields);

    h->fields = sl_arena_alloc(c->pub.arena, n * sizeof(*h->fields));
    h->n_fields = 0;
    for (size_t i = 0; i < n; i++)
        put(h, fields[i].name, fields[i].value);
    (void)nghttp2_submit_trailer(h->conn->session, h->id, h->fields, h->n_fields);
}

/* The next pieces of the body, of at most `max` bytes; and how much there is in all. */
static int peek(const struct sl_h2_call *h, struct iovec *pieces, size_t max, size_t *all)
{
    size_t skip = h->now_skip;
    int n = 0;

    *all = h->out.n_unsent;
    if (h->out.n_unsent > 0)
        return sl_sendq_peek(&h->out, pieces, SL_H2_PIECES, max);
    for (int i = 0; i < h->n_now; i++) {
        size_t len = h->now[i].iov_len - SL_MIN(skip, h->now[i].iov_len);

        if (len > 0 && max > 0 && n < SL_H2_PIECES) {
            pieces[n++] = (struct iovec){(uint8_t *)h->now[i].iov_base + skip, SL_MIN(len, max)};
            max -= SL_MIN(len, max);
        }
        skip -= SL_MIN(skip, h->now[i].iov_len);
        *all += len;
    }
    return n;
}

nghttp2_ssize sl_h2_call_available(struct sl_call_private *c, size_t max, uint32_t *flags)
{
    struct iovec pieces[SL_H2_PIECES];
    size_t all, len = 0;
    int n = peek(&c->h2, pieces, max, &all);

    for (int i = 0; i < n; i++)
        len += pieces[i].iov_len;
    if (len == 0 && !c->h2.out_ended)
        return NGHTTP2_ERR_DEFERRED;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (len < all || !c->h2.out_ended)
        return (nghttp2_ssize)len;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (has_trailers(c)) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        send_trailers(c);
    }
    return (nghttp2_ssize)len;
}

static void run_later(void *user);

static void later(struct sl_call_private *c)
{
    sl_loop_soon(c->pool->loop, &c->h2.later, run_later, c);
}

void sl_h2_call_take(struct sl_call_private *c, size_t len)
{
    struct sl_h2_call *h = &c->h2;
    bool is_queued = h->out.n_unsent > 0;
    struct iovec pieces[SL_H2_PIECES];
    size_t all, taken = 0;
    int n = peek(h, pieces, len, &all);

    for (int i = 0; i < n; i++) {
        sl_h2_conn_add(h->conn, pieces[i].iov_base, pieces[i].iov_len);
        taken += pieces[i].iov_len;
    }
    sl_assert(taken == len);
    if (is_queued) {
        sl_sendq_sent(&h->out, len);
        if (!sl_link_is_on(&h->sent))
            sl_list_append(&h->conn->sent, &h->sent);
    } else {
        h->now_skip += len;
    }
    if (h->is_full && h->out.n_unsent <= OUT_LOW)
        later(c);
}

/* What the pump has left of the caller's bytes has to be kept. */
static void queue_rest(struct sl_h2_call *h, const struct iovec *iov, int n_iov)
{
    size_t skip = h->now_skip;

    for (int i = 0; i < n_iov; i++) {
        size_t before = SL_MIN(skip, iov[i].iov_len);
        struct iovec rest = {(uint8_t *)iov[i].iov_base + before, iov[i].iov_len - before};

        skip -= before;
        if (rest.iov_len > 0)
            sl_sendq_append(&h->out, &rest, 1);
    }
    h->now = NULL;
    h->n_now = 0;
    h->now_skip = 0;
}

static void begin_or_go_on(struct sl_call_private *c, bool is_empty)
{
    if (c->h2.id == 0)
        submit(c, !is_empty || c->h2.is_connect || has_trailers(c));
    else
        (void)nghttp2_session_resume_data(c->h2.conn->session, c->h2.id);
}

static int h2_write(struct sl_call_private *c, const struct iovec *iov, int n_iov, bool fin)
{
    struct sl_h2_call *h = &c->h2;
    struct sl_h2_conn *conn = h->conn;
    size_t total = 0;

    if (conn == NULL)
        return 0; /* the response is complete, and nobody reads any more */
    for (int i = 0; i < n_iov; i++)
        total += iov[i].iov_len;
    h->out_ended |= fin && (c->is_raw || !h->is_connect);
    if (total > COPY_MAX && h->out.n_unsent == 0 && !conn->is_receiving && !conn->is_blocked) {
        h->now = iov;
        h->n_now = n_iov;
        begin_or_go_on(c, false);
        sl_h2_conn_pump(conn);
    } else {
        begin_or_go_on(c, total == 0 && h->out_ended);
        sl_h2_conn_pump_soon(conn);
    }
    queue_rest(h, iov, n_iov);
    if (h->conn == NULL)
        return c->failure;
    h->is_full = h->out.n_unsent > OUT_HIGH;
    return h->is_full ? SL_E_AGAIN : c->failure;
}

/* --- response --- */

void sl_h2_call_begin_head(struct sl_call_private *c)
{
    c->h2.n_head = c->h2.n_head_fields = 0;
    if (!c->head_given)
        memset(&c->pub.res, 0, sizeof(c->pub.res));
}

static int refuse(struct sl_call_private *c, const char *why)
{
    sl_call_fail(c, SL_E_LIMIT, why);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static void add_field(struct sl_call_private *c, struct sl_str name, struct sl_str value)
{
    struct sl_response *res = &c->pub.res;
    struct sl_arena *a = c->pub.arena;
    enum sl_header_id id = sl_header_id(name);

    if (c->head_given && !sl_header_may_trail(id))
        return;
    name = id != SL_H_OTHER ? sl_header_name(id) : sl_arena_dup(a, name);
    sl_headers_add_id(c->head_given ? &res->trailers : &res->headers, a, id, name,
                      sl_arena_dup(a, value));
}

/* nghttp2 has seen to it that there is one status of three digits, and that it comes first. */
int sl_h2_call_field(struct sl_call_private *c, struct sl_str name, struct sl_str value)
{
    c->pub.got_bytes = true;
    if (c->failure != 0)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    c->h2.n_head += name.len + value.len;
    if (c->h2.n_head > c->pool->opts.max_head)
        return refuse(c, "the head is too large");
    if (++c->h2.n_head_fields > SL_CALL_MAX_FIELDS)
        return refuse(c, "too many headers");
    if (sl_str_eq(name, SL_STR(":status")) && !c->head_given)
        c->pub.res.status = (value.p[0] - '0') * 100 + (value.p[1] - '0') * 10 + (value.p[2] - '0');
    else
        add_field(c, name, value);
    return 0;
}

static void read_length(struct sl_call_private *c, bool fin)
{
    struct sl_response *res = &c->pub.res;
    const struct sl_header *length = sl_headers_find_id(&res->headers, SL_H_CONTENT_LENGTH);

    res->content_length =
        fin && !sl_call_has_no_body(c) ? 0 : SL_LENGTH_UNKNOWN; /* fin: there is nothing more */
    if (length != NULL)
        (void)sl_str_to_u64(length->value, INT64_MAX, &res->content_length);
}

/* RFC 8441, 5: what the client of HTTP/1.1 expects instead, with the proof that it demands. */
static void become_switch(struct sl_call_private *c)
{
    struct sl_response *res = &c->pub.res;
    struct sl_arena *a = c->pub.arena;
    char *accept = sl_arena_alloc(a, SL_WS_ACCEPT_LEN);

    res->status = 101;
    res->content_length = SL_LENGTH_UNKNOWN;
    sl_headers_remove(&res->headers, SL_STR("sec-websocket-accept"));
    sl_headers_add_id(&res->headers, a, SL_H_UPGRADE, SL_STR("Upgrade"), SL_STR("websocket"));
    if (c->h2.key.len != SL_WS_KEY_LEN)
        return; /* it has asked over HTTP/2 itself, or will find no proof to a key that is none */
    sl_ws_make_accept(c->h2.key, accept);
    sl_headers_add(&res->headers, a, SL_STR("Sec-WebSocket-Accept"),
                   sl_str(accept, SL_WS_ACCEPT_LEN));
}

void sl_h2_call_end_head(struct sl_call_private *c, bool fin)
{
    struct sl_response *res = &c->pub.res;

    if (c->failure != 0)
        return;
    if (c->head_given) { /* those were trailers */
        sl_h2_call_fin(c);
        return;
    }
    if (res->status < 100) {
        sl_call_fail(c, SL_E_PROTOCOL, "a bad status in the response");
        return;
    }
    res->version = SL_HTTP_2;
    if (res->status < 200) {
        (void)sl_call_interim(c);
        return;
    }
    read_length(c, fin);
    if (c->h2.is_connect && res->status < 300)
        become_switch(c);
    if (!sl_call_head(c))
        return;
    if (fin)
        sl_h2_call_fin(c);
    else
        c->h2.conn->gathers = c; /* to be told together with the body that came with it */
}

/* Tells what waits, when the caller takes it. */
static void deliver(struct sl_call_private *c)
{
    struct sl_h2_call *h = &c->h2;

    while (h->is_reading && !c->is_freed && c->failure == 0 && c->pub.stage == SL_CALL_BODY &&
           (sl_buf_len(&h->in) > 0 || h->in_ended)) {
        size_t len = SL_MIN(sl_buf_len(&h->in), (size_t)DELIVER_LEN);
        struct iovec iov = {sl_buf_at(&h->in), len};

        sl_call_body(c, &iov, len > 0, h->in_ended && len == sl_buf_len(&h->in));
        sl_buf_consume(&h->in, len);
        if (h->conn != NULL) {
            (void)nghttp2_session_consume_stream(h->conn->session, h->id, len);
            sl_h2_conn_pump_soon(h->conn);
        }
    }
    if (sl_buf_len(&h->in) == 0)
        sl_buf_clear(&h->in);
}

static void run_later(void *user)
{
    struct sl_call_private *c = user;
    bool is_written = c->h2.is_full && (c->h2.conn == NULL || c->h2.out.n_unsent <= OUT_LOW);

    if (c->failure != 0)
        return;
    if (is_written) {
        c->h2.is_full = false;
        sl_call_written(c);
    }
    deliver(c);
}

void sl_h2_call_data(struct sl_call_private *c, const uint8_t *bytes, size_t len)
{
    struct sl_h2_conn *conn = c->h2.conn;

    if (c->failure != 0)
        return;
    if (!c->h2.is_reading || sl_buf_len(&c->h2.in) > 0) {
        sl_buf_append(&c->h2.in, bytes, len); /* at most a window full */
        return;
    }
    conn->gathers = c;
    conn->gathered[conn->n_gathered++] = (struct iovec){(void *)bytes, len};
}

void sl_h2_call_fin(struct sl_call_private *c)
{
    c->h2.in_ended = true;
    if (c->h2.conn != NULL && c->h2.conn->gathers == c)
        sl_h2_conn_tell(c->h2.conn);
    else if (c->h2.is_reading && sl_buf_len(&c->h2.in) == 0)
        deliver(c);
}

static void h2_read(struct sl_call_private *c, bool on)
{
    c->h2.is_reading = on;
    if (on && (sl_buf_len(&c->h2.in) > 0 || c->h2.in_ended))
        later(c);
}

/* --- the end --- */

static void fail_closed(struct sl_call_private *c, uint32_t error, bool by_peer)
{
    c->pub.is_unprocessed = error == NGHTTP2_REFUSED_STREAM;
    if (by_peer && error == NGHTTP2_REFUSED_STREAM)
        sl_call_fail(c, SL_E_REFUSED, "the target refused the stream");
    else if (by_peer)
        sl_call_fail(c, SL_E_RESET, nghttp2_http2_strerror(error));
    else if (error == NGHTTP2_REFUSED_STREAM)
        sl_call_fail(c, SL_E_CLOSED, "the target is closing the connection");
    else
        sl_call_fail(c, SL_E_PROTOCOL, c->h2.why != NULL ? c->h2.why : "a malformed response");
}

/* A response that has come in whole is worth as much without its stream; the rest of the request
 * is not wanted any more. */
static bool is_complete(struct sl_call_private *c)
{
    if (c->h2.in_ended && c->h2.is_full)
        later(c);
    return c->h2.in_ended;
}

void sl_h2_call_closed(struct sl_call_private *c, uint32_t error, bool by_peer)
{
    sl_h2_conn_part(c->h2.conn, c);
    if (c->failure == 0 && !is_complete(c))
        fail_closed(c, error, by_peer);
}

void sl_h2_call_lost(struct sl_call_private *c, int code, const char *detail)
{
    c->h2.conn = NULL;
    if (c->failure != 0 || is_complete(c))
        return;
    c->pub.is_unprocessed = !c->h2.is_sent;
    sl_call_fail(c, code, detail);
}

/* The stream ends by itself when both directions have. */
static bool has_ended(const struct sl_h2_call *h)
{
    return h->in_ended && nghttp2_session_get_stream_local_close(h->conn->session, h->id) == 1;
}

static void h2_leave(struct sl_call_private *c, bool cleanly)
{
    struct sl_h2_call *h = &c->h2;
    struct sl_h2_conn *conn = h->conn;

    sl_loop_unsoon(&h->later);
    if (conn == NULL)
        return;
    if (h->id != 0) {
        (void)nghttp2_session_set_stream_user_data(conn->session, h->id, NULL);
        if (!has_ended(h))
            (void)nghttp2_submit_rst_stream(conn->session, NGHTTP2_FLAG_NONE, h->id,
                                            cleanly ? NGHTTP2_NO_ERROR : NGHTTP2_CANCEL);
    }
    sl_h2_conn_part(conn, c);
}

static const struct sl_call_ops ops = {h2_send, h2_write, h2_read, h2_leave};
