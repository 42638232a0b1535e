/*
 * For the tests of the HTTP/1 server: a connection over a pair of streams in memory. The test holds
 * the client's end and plays the handler, too; nothing waits, and the clock is the loop's.
 *
 *     rig_begin(&r, loop);
 *     rig_say(&r, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
 *     sl_check_str(rig_statuses(&r), SL_STR("200"));
 *     rig_end(&r);
 */
#ifndef SL_HTTP_TEST_SERVER_H
#define SL_HTTP_TEST_SERVER_H

#include "base/buf.h"
#include "base/check.h"
#include "http/exchange.h"
#include "net/pair.h"

enum { RIG_PIPE = 4 << 20 };

struct rig {
    struct sl_loop *loop;
    struct sl_http_service service;
    struct sl_peer peer;
    struct sl_http_conn *conn; /* NULL once it has ended */
    /* the client */
    struct sl_stream *wire;
    struct sl_buf got;
    int n_fin, n_error, n_wire_written;
    /* what the service was told */
    int n_requests, n_refused, refused_status, n_closed;
    /* the handler */
    struct sl_exchange *ex; /* NULL between exchanges */
    struct sl_buf body;
    int n_body_calls, n_body_fin, n_written, n_done, n_abort, abort_code;
    struct sl_arena arena;
    struct sl_str seen; /* "METHOD host path?query" of the last request */
    struct sl_str trailers;
    /* What it does with a request; the default reads the body and answers "ok". */
    void (*on_request)(struct rig *r);
    void (*on_body_end)(struct rig *r); /* unless it has answered already */
    void (*on_done)(struct rig *r);
};

static inline struct rig *rig_of(struct sl_exchange *ex)
{
    return ex->user;
}

static inline void rig_answer(struct rig *r)
{
    sl_exchange_reply(r->ex, 200, SL_STR("text/plain"), SL_STR("ok"), NULL);
}

static inline void rig_leave_it(struct rig *r)
{
    (void)r; /* the test answers */
}

static inline void rig_respond(struct rig *r, int status, uint64_t length)
{
    struct sl_response res = {.version = SL_HTTP_11, .status = status, .content_length = length};

    sl_exchange_respond(r->ex, &res);
}

static inline int rig_write(struct rig *r, const char *text, bool fin)
{
    struct iovec iov = {(void *)text, strlen(text)};

    return sl_exchange_write(r->ex, &iov, iov.iov_len > 0 ? 1 : 0, fin);
}

/* --- the handler --- */

static inline void rig_keep_trailers(struct rig *r)
{
    const struct sl_headers *h = &r->ex->req.trailers;

    r->trailers = SL_STR("");
    for (unsigned i = 0; i < h->n; i++)
        r->trailers = sl_arena_printf(&r->arena, "%.*s%.*s=%.*s|", SL_STR_FMT(r->trailers),
                                      SL_STR_FMT(h->at[i].name), SL_STR_FMT(h->at[i].value));
}

static inline void rig_on_body(struct sl_exchange *ex, const uint8_t *bytes, size_t len, bool fin)
{
    struct rig *r = rig_of(ex);

    sl_check(r->ex == ex && r->n_body_fin == 0 && (len > 0 || fin));
    sl_buf_append(&r->body, bytes, len);
    r->n_body_calls++;
    if (!fin)
        return;
    r->n_body_fin++;
    rig_keep_trailers(r);
    if (r->on_body_end != NULL && !ex->has_responded)
        r->on_body_end(r);
}

static inline void rig_on_written(struct sl_exchange *ex)
{
    rig_of(ex)->n_written++;
}

static inline void rig_on_done(struct sl_exchange *ex)
{
    struct rig *r = rig_of(ex);

    r->n_done++;
    r->ex = NULL;
    if (r->on_done != NULL)
        r->on_done(r);
}

static inline void rig_on_abort(struct sl_exchange *ex, int code)
{
    struct rig *r = rig_of(ex);

    sl_check(code < 0 && r->ex == ex);
    r->n_abort++;
    r->abort_code = code;
    r->ex = NULL;
}

static inline void rig_on_request(struct sl_exchange *ex)
{
    static const struct sl_exchange_handler handler = {rig_on_body, rig_on_written, rig_on_done,
                                                       rig_on_abort};
    struct rig *r = ex->peer->user;
    const struct sl_request *req = &ex->req;

    sl_check(r->ex == NULL);
    ex->handler = &handler;
    ex->user = r;
    r->ex = ex;
    r->n_requests++;
    r->n_body_fin = r->n_body_calls = 0;
    sl_buf_reset(&r->body);
    r->seen = sl_arena_printf(&r->arena, "%.*s %.*s %.*s%s%.*s", SL_STR_FMT(req->method),
                              SL_STR_FMT(req->host), SL_STR_FMT(req->path),
                              req->query.p != NULL ? "?" : "", SL_STR_FMT(req->query));
    if (r->on_request != NULL)
        r->on_request(r);
}

static inline void rig_default_request(struct rig *r)
{
    if (r->ex->request_ended)
        rig_answer(r);
    else
        sl_exchange_read(r->ex, true);
}

/* --- the service --- */

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
    sl_check(r->ex == NULL); /* no exchange outlives its connection */
}

/* --- the client --- */

static inline void rig_wire_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    sl_buf_append(&((struct rig *)s->user)->got, bytes, len);
}

static inline void rig_wire_fin(struct sl_stream *s)
{
    ((struct rig *)s->user)->n_fin++;
}

static inline void rig_wire_written(struct sl_stream *s)
{
    ((struct rig *)s->user)->n_wire_written++;
}

static inline void rig_wire_error(struct sl_stream *s, int code)
{
    (void)code;
    ((struct rig *)s->user)->n_error++;
}

static inline void rig_settle(struct rig *r)
{
    while (sl_loop_turn(r->loop, false))
        ;
}

/* `limit`: how much waits on the way to the client before the server is told to wait. */
static inline void rig_begin_with(struct rig *r, struct sl_loop *loop, size_t limit)
{
    static const struct sl_stream_handler wire = {rig_wire_data, rig_wire_fin, rig_wire_written,
                                                  rig_wire_error, NULL};
    struct sl_stream *ends[2];

    *r = (struct rig){.loop = loop, .on_request = rig_default_request, .on_body_end = rig_answer};
    r->service = (struct sl_http_service){.on_request = rig_on_request,
                                          .on_refused = rig_on_refused,
                                          .on_closed = rig_on_closed,
                                          .limits = sl_http_limits_default};
    r->peer.user = r;
    sl_pair_new(ends, loop, limit);
    r->wire = ends[0];
    sl_stream_set_handler(r->wire, &wire, r);
    sl_stream_read(r->wire, true);
    r->conn = sl_h1_serve(&ends[1], &r->service, &r->peer, NULL, 0);
}

static inline void rig_begin(struct rig *r, struct sl_loop *loop)
{
    rig_begin_with(r, loop, RIG_PIPE);
}

static inline void rig_end(struct rig *r)
{
    if (r->conn != NULL)
        sl_http_conn_kill(r->conn);
    rig_settle(r);
    sl_check(r->n_closed == 1 && r->ex == NULL);
    sl_check(r->n_done + r->n_abort == r->n_requests);
    sl_stream_free(&r->wire, SL_CLOSE_ABORT);
    rig_settle(r);
    sl_buf_clear(&r->got);
    sl_buf_clear(&r->body);
    sl_arena_clear(&r->arena);
}

static inline void rig_send(struct rig *r, struct sl_str bytes)
{
    if (r->wire->error == 0)
        (void)sl_stream_write1(r->wire, bytes.p, bytes.len, false);
    rig_settle(r);
}

static inline void rig_say(struct rig *r, const char *text)
{
    rig_send(r, sl_str_c(text));
}

static inline void rig_send_slowly(struct rig *r, struct sl_str bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        rig_send(r, sl_str(bytes.p + i, 1));
}

static inline void rig_fin(struct rig *r)
{
    if (r->wire->error == 0)
        (void)sl_stream_write(r->wire, NULL, 0, true);
    rig_settle(r);
}

static inline void rig_pass(struct rig *r, uint64_t ms)
{
    for (uint64_t left = ms; left > 0; left -= SL_MIN(left, 50)) {
        sl_loop_skip(r->loop, SL_MIN(left, 50));
        rig_settle(r);
    }
}

static inline bool rig_is_closed(const struct rig *r)
{
    return r->conn == NULL && r->n_fin + r->n_error > 0;
}

/* The status of every response so far, "100 200". */
static inline struct sl_str rig_statuses(struct rig *r)
{
    static const char mark[] = "HTTP/1.1 ";
    struct sl_str got = sl_buf_str(&r->got), text = SL_STR("");
    const char *at = got.p, *end = got.len > 0 ? got.p + got.len : got.p;

    while (at != NULL && (at = memmem(at, (size_t)(end - at), mark, sizeof(mark) - 1)) != NULL) {
        at += sizeof(mark) - 1;
        text = sl_arena_printf(&r->arena, "%.*s%s%.*s", SL_STR_FMT(text), text.len > 0 ? " " : "",
                               (int)SL_MIN(3, end - at), at);
    }
    return text;
}

static inline bool rig_got(const struct rig *r, const char *part)
{
    return sl_buf_len(&r->got) > 0 && r->got.base != NULL &&
           memmem(sl_buf_at(&r->got), sl_buf_len(&r->got), part, strlen(part)) != NULL;
}

/* What came behind the last empty line. */
static inline struct sl_str rig_last_body(const struct rig *r)
{
    struct sl_str got = sl_buf_str(&r->got);

    for (size_t i = got.len; i >= 4; i--) {
        if (memcmp(got.p + i - 4, "\r\n\r\n", 4) == 0)
            return sl_str(got.p + i, got.len - i);
    }
    return SL_STR("(no head)");
}

#endif
