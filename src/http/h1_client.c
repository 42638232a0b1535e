/*
 * Calls: the client side of HTTP/1.
 *
 * Errors reach the caller from the loop only (at the end of the turn or out of on_data()), never
 * inside a function it called, so that it may free the call wherever it hears of one.
 */
#include <pthread.h>
#include <stdio.h>
#include "http/h1.h"
#include "http/pool.h"
#include "tls/stream.h"

enum { MAX_INTERIM = 32 }; /* responses before the final one */

static const struct sl_stream_handler stream_handler;
static llhttp_settings_t settings;
static llhttp_t fresh_parser;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static struct sl_call_private *of(struct sl_call *c)
{
    return sl_container_of(c, struct sl_call_private, pub);
}

/* RFC 9112, 6.3: the answer to HEAD has a length but no body; llhttp cannot know. */
static int on_headers_done(llhttp_t *parser)
{
    struct sl_h1_fields *f = parser->data;
    struct sl_call_private *c = sl_container_of(f, struct sl_call_private, fields);

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
    c->parser = fresh_parser;
    c->parser.data = &c->fields;
    memset(&c->pub.res, 0, sizeof(c->pub.res));
    sl_h1_fields_begin(&c->fields, &c->pub.res.headers, c->pub.arena);
}

static void report_failure(void *user)
{
    struct sl_call_private *c = user;

    c->pub.handler->on_error(&c->pub, c->failure);
}

static void fail(struct sl_call_private *c, int code, const char *detail)
{
    if (c->failure != 0)
        return;
    c->failure = code;
    c->pub.detail = detail;
    sl_deadline_clear(&c->deadline);
    sl_loop_soon(c->pool->loop, &c->failing, report_failure, c);
}

static void on_deadline(struct sl_deadline *d)
{
    fail(d->user, SL_E_TIMEOUT, NULL);
}

static void attach(struct sl_call_private *c, struct sl_upstream *up)
{
    c->up = up;
    up->call = c;
    sl_stream_set_handler(up->stream, &stream_handler, c);
    c->pub.stage = SL_CALL_SENDING;
    c->pub.handler->on_connected(&c->pub);
}

static void on_dialled(struct sl_dial *d, struct sl_stream **stream)
{
    struct sl_call_private *c = d->user;

    attach(c, sl_upstream_new(c->pool, c->target.preface_len > 0 ? 0 : c->target.id, stream));
}

static void on_dial_failed(struct sl_dial *d, int code, const char *detail)
{
    struct sl_call_private *c = d->user;

    c->failure = code;
    c->pub.detail = detail != NULL ? sl_arena_dup(c->pub.arena, sl_str_c(detail)).p : NULL;
    c->pub.handler->on_error(&c->pub, code);
}

static int tls_client(struct sl_call_private *c, struct sl_tls_client **out)
{
    struct sl_tls_client_opts opts = {
        .verify = c->target.tls_verify, .ca_file = c->target.ca_file, .alpn = "\x08http/1.1"};
    int rc;

    *out = NULL;
    if (!c->target.tls)
        return 0;
    if (c->target.ca_file == NULL)
        return sl_pool_tls(c->pool, c->target.tls_verify, out);
    rc = sl_tls_client_new(&c->own_tls, &opts, NULL);
    *out = c->own_tls;
    return rc;
}

static void dial(struct sl_call_private *c)
{
    struct sl_dial_opts opts = {
        .loop = c->pool->loop,
        .dns = c->pool->dns,
        .host = c->target.host,
        .unix_path = c->target.unix_path,
        .port = c->target.port,
        .timeout_ms = c->opts.connect_timeout,
        .preface = c->target.preface,
        .preface_len = c->target.preface_len,
        .server_name = c->target.server_name,
    };
    int rc = tls_client(c, &opts.tls);

    c->pub.stage = SL_CALL_CONNECTING;
    if (rc < 0)
        fail(c, rc, "cannot make a TLS context");
    else
        sl_dial_start(&c->dial, &opts, on_dialled, on_dial_failed, c);
}

struct sl_call *sl_call_start(struct sl_pool *pool, const struct sl_call_target *target,
                              const struct sl_call_opts *opts, struct sl_arena *arena,
                              const struct sl_call_handler *handler, void *user)
{
    struct sl_call_private *c = sl_zalloc(sizeof(*c));
    struct sl_upstream *up = NULL;

    pthread_once(&once, make_template);
    c->pool = pool;
    c->target = *target;
    c->opts = *opts;
    c->pub.handler = handler;
    c->pub.user = user;
    c->pub.arena = arena;
    c->fields.max_bytes = pool->opts.max_head;
    c->fields.max_fields = 500;
    c->fields.max_chunk_ext = 1024;
    sl_deadline_init(&c->deadline, pool->loop, on_deadline, c);
    if (!opts->fresh && target->preface_len == 0)
        up = sl_pool_take(pool, target->id);
    c->pub.was_reused = up != NULL;
    if (up != NULL)
        attach(c, up);
    else
        dial(c);
    return &c->pub;
}

/* --- sending --- */

static char *put(char *out, struct sl_str s)
{
    memcpy(out, s.p, s.len);
    return out + s.len;
}

static char *put_framing(struct sl_call_private *c, char *out, const struct sl_request *req)
{
    bool is_upgrade = req->upgrade.len > 0;

    if (is_upgrade)
        out = put(out, SL_STR("Connection: upgrade\r\n"));
    if (c->is_chunked_out)
        out = put(out, SL_STR("Transfer-Encoding: chunked\r\n"));
    else if (req->content_length > 0 ||
             sl_headers_find_id(&req->headers, SL_H_CONTENT_LENGTH) != NULL)
        out += sprintf(out, "Content-Length: %llu\r\n", (unsigned long long)req->content_length);
    return put(out, SL_STR("\r\n"));
}

void sl_call_send(struct sl_call *pub, const struct sl_request *req)
{
    struct sl_call_private *c = of(pub);
    enum { OWN_ROOM = 160 };
    size_t room = req->method.len + req->path.len + req->query.len + req->authority.len + OWN_ROOM +
                  sl_h1_headers_room(&req->headers);
    char *head = sl_arena_alloc(pub->arena, room), *out = head;

    c->method = req->method;
    c->is_chunked_out = req->content_length == SL_LENGTH_UNKNOWN;
    out = put(out, req->method);
    out = put(out, SL_STR(" "));
    out = put(out, req->path);
    if (req->query.p != NULL) {
        out = put(out, SL_STR("?"));
        out = put(out, req->query);
    }
    out = put(out, SL_STR(" HTTP/1.1\r\nHost: "));
    out = put(out, req->authority);
    out = put(out, SL_STR("\r\n"));
    out = sl_h1_put_headers(out, &req->headers, req->upgrade.len > 0);
    out = put_framing(c, out, req);
    c->staged = sl_str(head, (size_t)(out - head));
    begin_response(c);
    sl_stream_read(c->up->stream, true);
}

enum { MAX_PARTS = 32 };

static int frame(struct sl_call_private *c, struct iovec *parts, char *chunk_head,
                 const struct iovec *iov, int n_iov, size_t total, bool fin)
{
    bool is_chunked = c->is_chunked_out && !c->is_raw;
    int n = 0;

    if (c->staged.len > 0)
        parts[n++] = (struct iovec){(void *)c->staged.p, c->staged.len};
    c->staged = SL_STR_NONE;
    if (is_chunked && total > 0)
        parts[n++] = (struct iovec){chunk_head, (size_t)snprintf(chunk_head, 20, "%zx\r\n", total)};
    for (int i = 0; i < n_iov; i++)
        parts[n++] = iov[i];
    if (is_chunked && total > 0)
        parts[n++] = (struct iovec){(void *)"\r\n", 2};
    if (is_chunked && fin)
        parts[n++] = (struct iovec){(void *)"0\r\n\r\n", 5};
    return n;
}

static void on_sent(struct sl_call_private *c)
{
    c->request_done = true;
    if (c->pub.stage != SL_CALL_SENDING)
        return;
    c->pub.stage = SL_CALL_HEAD;
    if (c->opts.response_timeout > 0)
        sl_deadline_set(&c->deadline, c->opts.response_timeout);
}

int sl_call_write(struct sl_call *pub, const struct iovec *iov, int n_iov, bool fin)
{
    struct sl_call_private *c = of(pub);
    struct iovec parts[MAX_PARTS];
    char chunk_head[20];
    size_t total = 0;
    int n, rc;

    sl_assert(n_iov <= MAX_PARTS - 4);
    if (c->failure != 0)
        return c->failure;
    for (int i = 0; i < n_iov; i++)
        total += iov[i].iov_len;
    pub->bytes_out += total;
    n = frame(c, parts, chunk_head, iov, n_iov, total, fin);
    rc = n > 0 || (fin && c->is_raw) ? sl_stream_write(c->up->stream, parts, n, fin && c->is_raw)
                                     : 0;
    if (fin && !c->is_raw && (rc == 0 || rc == SL_E_AGAIN))
        on_sent(c);
    else if (rc == SL_E_AGAIN && pub->stage == SL_CALL_SENDING && c->opts.response_timeout > 0)
        sl_deadline_set(&c->deadline, c->opts.response_timeout); /* until it takes more */
    return rc;
}

void sl_call_read(struct sl_call *pub, bool on)
{
    struct sl_call_private *c = of(pub);

    if (c->up == NULL || c->failure != 0)
        return;
    sl_stream_read(c->up->stream, on);
    if (pub->stage == SL_CALL_BODY && !c->is_raw) {
        if (on && c->opts.body_timeout > 0)
            sl_deadline_set(&c->deadline, c->opts.body_timeout);
        else if (!on)
            sl_deadline_clear(&c->deadline); /* we are the slow side */
    }
}

/* --- receiving --- */

static bool has_no_body(const struct sl_call_private *c)
{
    int status = c->pub.res.status;

    return sl_str_eq(c->method, SL_STR("HEAD")) || status == 204 || status == 304;
}

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

    res->status = c->parser.status_code;
    res->version = c->parser.http_minor == 0 ? SL_HTTP_10 : SL_HTTP_11;
    res->content_length = SL_LENGTH_UNKNOWN;
    if (length != NULL)
        (void)sl_str_to_u64(length->value, INT64_MAX,
                            &res->content_length); /* checked when it was read */
    c->keep_alive = may_keep_alive(c, n_codings > 0);
    c->until_close = length == NULL && !has_no_body(c) && res->status >= 200 && n_codings == 0;
    return n_codings <= 1;
}

static bool on_interim(struct sl_call_private *c)
{
    if (++c->n_interim > MAX_INTERIM) {
        fail(c, SL_E_LIMIT, "too many interim responses");
        return false;
    }
    c->pub.handler->on_interim(&c->pub);
    if (!c->is_freed)
        begin_response(c);
    return !c->is_freed;
}

/* A complete head: interim ones are told and forgotten, 101 makes the call a raw channel. False
 * when the call is no more. */
static bool on_head(struct sl_call_private *c)
{
    bool is_clear = read_framing(c);

    if (!is_clear || c->parser.http_major != 1 || c->pub.res.status < 100) {
        fail(c, SL_E_PROTOCOL, is_clear ? "bad status line" : "ambiguous message length");
        return false;
    }
    if (c->pub.res.status < 200 && c->pub.res.status != 101)
        return on_interim(c);
    c->is_raw = c->pub.res.status == 101;
    c->head_given = true;
    c->pub.stage = SL_CALL_BODY;
    sl_deadline_clear(&c->deadline);
    sl_h1_fields_trailers(&c->fields, &c->parser, &c->pub.res.trailers);
    c->pub.handler->on_head(&c->pub);
    return !c->is_freed && c->failure == 0;
}

static void give_body(struct sl_call_private *c, const uint8_t *bytes, size_t len, bool fin)
{
    struct iovec iov = {(void *)bytes, len};

    c->pub.bytes_in += len;
    if (fin) {
        c->pub.stage = SL_CALL_DONE;
        sl_deadline_clear(&c->deadline);
    } else if (c->opts.body_timeout > 0 && !c->is_raw) {
        sl_deadline_set(&c->deadline, c->opts.body_timeout);
    }
    c->pub.handler->on_body(&c->pub, &iov, len > 0 ? 1 : 0, fin);
}

/* Parses what is left of the batch as body, in one piece to the caller. */
static void take_body(struct sl_call_private *c, const uint8_t *p, size_t len)
{
    ssize_t n;

    if (c->is_raw) {
        give_body(c, p, len, false);
        return;
    }
    if (has_no_body(c)) {
        c->keep_alive = c->keep_alive && len == 0;
        give_body(c, NULL, 0, true);
        return;
    }
    c->fields.gather = sl_loop_scratch(c->pool->loop, 3);
    n = sl_h1_fields_execute(&c->fields, &c->parser, p, len);
    if (n < 0) {
        fail(c, (int)n, c->fields.why);
        return;
    }
    if ((size_t)n < len)
        c->keep_alive = false; /* bytes behind the end of the response: nobody asked for them */
    give_body(c, c->fields.body, c->fields.body_len, c->fields.message_done);
}

static void on_data(struct sl_stream *s, const uint8_t *p, size_t len)
{
    struct sl_call_private *c = s->user;

    c->pub.got_bytes = true;
    if (c->failure != 0)
        return;
    if (c->pub.stage == SL_CALL_DONE) {
        c->keep_alive = false;
        return;
    }
    while (!c->head_given) {
        ssize_t n = sl_h1_fields_execute(&c->fields, &c->parser, p, len);

        if (n < 0) {
            fail(c, (int)n, c->fields.why);
            return;
        }
        p += n;
        len -= (size_t)n;
        if (!c->fields.head_done)
            return;
        if (!on_head(c))
            return;
    }
    take_body(c, p, len);
}

static void on_fin(struct sl_stream *s)
{
    struct sl_call_private *c = s->user;

    c->keep_alive = false;
    if (c->failure != 0 || c->pub.stage == SL_CALL_DONE)
        return;
    if (c->head_given && c->until_close && sl_stream_is_tls(s) && sl_tls_is_truncated(s))
        fail(c, SL_E_CLOSED, "the connection ended without a close_notify");
    else if (c->head_given && (c->until_close || c->is_raw))
        give_body(c, NULL, 0, true);
    else
        fail(c, SL_E_CLOSED, NULL);
}

static void on_written(struct sl_stream *s)
{
    struct sl_call_private *c = s->user;

    if (c->pub.stage == SL_CALL_SENDING)
        sl_deadline_clear(&c->deadline);
    c->pub.handler->on_written(&c->pub);
}

static void on_error(struct sl_stream *s, int code)
{
    struct sl_call_private *c = s->user;

    c->keep_alive = false;
    if (c->pub.stage != SL_CALL_DONE || c->is_raw)
        fail(c, code, NULL);
}

static const struct sl_stream_handler stream_handler = {on_data, on_fin, on_written, on_error,
                                                        NULL};

void sl_call_free(struct sl_call **pc)
{
    struct sl_call_private *c;
    bool may_rest;

    if (*pc == NULL)
        return;
    c = of(*pc);
    *pc = NULL;
    c->is_freed = true;
    sl_loop_unsoon(&c->failing);
    sl_deadline_stop(&c->deadline);
    sl_dial_cancel(&c->dial);
    if (c->own_tls != NULL)
        sl_tls_client_free(c->own_tls);
    may_rest = c->pub.stage == SL_CALL_DONE && c->failure == 0 && c->request_done &&
               c->keep_alive && !c->is_raw;
    if (c->up != NULL) {
        if (may_rest && !c->up->stream->is_writing)
            sl_upstream_rest(c->up);
        else
            sl_upstream_close(c->up,
                              c->pub.stage == SL_CALL_DONE ? SL_CLOSE_LINGER : SL_CLOSE_ABORT);
    }
    sl_loop_defer(c->pool->loop, c, sl_free);
}
