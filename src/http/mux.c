/*
 * A multiplexed exchange: what the handler calls, and what comes from the client. How its bytes
 * wait is in mux_out.c.
 */
#include "http/mux_internal.h"

static const struct sl_exchange_ops exchange_ops;

static void run_later(void *user);
static void on_deadline(struct sl_deadline *d);

static struct sl_mux_stream *of(struct sl_exchange *ex)
{
    return sl_container_of(ex, struct sl_mux_stream, ex);
}

static void later(struct sl_mux_stream *s)
{
    if (!s->is_over)
        sl_loop_soon(s->ex.loop, &s->later, run_later, s);
}

/* --- deadlines --- */

enum timing { UNTIMED, TIMES_BODY, TIMES_WRITE, TIMES_RAW, TIMES_RAW_END };

static enum timing timing_of(const struct sl_mux_stream *s)
{
    if (s->is_closed || s->is_reset)
        return UNTIMED;
    if (s->n_unsent > 0 || (s->out_ended && !s->ex.response_ended && !s->is_raw))
        return TIMES_WRITE;
    if (s->is_raw)
        return s->out_ended ? TIMES_RAW_END : TIMES_RAW;
    if (s->has_exchange && !s->in_ended && s->body_on)
        return TIMES_BODY;
    return UNTIMED;
}

static uint32_t timeout_of(const struct sl_http_limits *limits, enum timing timing)
{
    switch (timing) {
    case TIMES_BODY:
        return limits->body_timeout;
    case TIMES_WRITE:
    case TIMES_RAW_END:
        return limits->write_timeout;
    case TIMES_RAW:
        return limits->upgrade_timeout;
    case UNTIMED:
        break;
    }
    return 0;
}

/* After every change. `moved`: what is being waited for has come in part. */
static void update(struct sl_mux_stream *s, bool moved)
{
    enum timing timing = timing_of(s);
    uint64_t now = sl_loop_now_ms(s->ex.loop);
    uint32_t ms = timeout_of(&s->service->limits, timing);

    if (s->is_over || (timing == s->timing && !moved))
        return;
    s->timing = timing;
    s->n_progress = 0;
    if (timing == TIMES_BODY)
        ms = sl_pace_wait(&s->pace, now, s->ex.bytes_in + sl_buf_len(&s->in), &s->service->limits);
    else
        sl_pace_stop(&s->pace, now);
    if (ms > 0)
        sl_deadline_set(&s->deadline, ms);
    else
        sl_deadline_clear(&s->deadline);
}

/* --- the end --- */

static void destroy(void *ptr)
{
    struct sl_mux_stream *s = ptr;

    sl_mux_drop_out(s);
    sl_buf_clear(&s->in);
    sl_mux_give(s);
}

static void release(struct sl_mux_stream *s)
{
    if (s->is_over)
        return;
    s->is_over = true;
    sl_link_remove(&s->link);
    sl_deadline_stop(&s->deadline);
    sl_loop_unsoon(&s->later);
    sl_loop_defer(s->ex.loop, s, destroy);
}

/* What the handler did not take must not count against the connection for ever. */
static void drop_in(struct sl_mux_stream *s)
{
    size_t len = sl_buf_len(&s->in);

    sl_buf_clear(&s->in);
    if (len > 0)
        s->ops->consume(s, len);
}

static bool is_complete(const struct sl_mux_stream *s)
{
    return s->ex.response_ended && (!s->is_raw || s->ex.request_ended);
}

static void end_exchange(struct sl_mux_stream *s)
{
    bool complete = is_complete(s);

    if (!s->has_exchange || !(complete || s->is_closed || s->end_code != 0))
        return;
    s->has_exchange = false;
    drop_in(s);
    if (complete)
        s->ex.handler->on_done(&s->ex);
    else
        s->ex.handler->on_abort(&s->ex, s->end_code != 0 ? s->end_code : SL_E_CLOSED);
}

static void reset(struct sl_mux_stream *s, enum sl_mux_error why)
{
    if (s->is_reset || s->is_closed)
        return;
    s->is_reset = true;
    s->ops->reset(s, why);
    update(s, false);
}

void sl_mux_on_end_sent(struct sl_mux_stream *s)
{
    s->ex.response_ended = true;
    if (!s->in_ended && !s->is_raw)
        reset(s, SL_MUX_NO_ERROR);
    later(s);
}

void sl_mux_on_reset(struct sl_mux_stream *s, int code)
{
    s->is_reset = true;
    if (s->end_code == 0) /* else our own reset comes back */
        s->end_code = code;
    update(s, false);
    later(s);
}

void sl_mux_on_closed(struct sl_mux_stream *s)
{
    s->is_closed = true;
    update(s, false);
    later(s);
}

void sl_mux_kill(struct sl_mux_stream *s, int code)
{
    s->is_closed = s->is_reset = true;
    if (s->end_code == 0)
        s->end_code = code;
    end_exchange(s);
    release(s);
}

/* --- the request --- */

struct sl_mux_stream *sl_mux_new(const struct sl_mux_ops *ops,
                                 const struct sl_http_service *service, const struct sl_peer *peer,
                                 struct sl_loop *loop, enum sl_http_version version)
{
    struct sl_mux_stream *s = sl_mux_take();

    s->ops = ops;
    s->service = service;
    s->ex.ops = &exchange_ops;
    s->ex.loop = loop;
    s->ex.peer = peer;
    sl_list_init(&s->out);
    sl_deadline_init(&s->deadline, loop, on_deadline, s);
    sl_head_begin(&s->head, &s->ex.req, &s->ex.arena, &service->limits, version);
    return s;
}

static void ignore_body(struct sl_exchange *ex, const uint8_t *bytes, size_t len, bool fin)
{
    (void)ex;
    (void)bytes;
    (void)len;
    (void)fin;
}

static void ignore(struct sl_exchange *ex)
{
    (void)ex;
}

static void ignore_abort(struct sl_exchange *ex, int code)
{
    (void)ex;
    (void)code;
}

/* Nobody but us knows of a request that breaks the rules. */
static const struct sl_exchange_handler refusal = {ignore_body, ignore, ignore, ignore_abort};

static void refuse(struct sl_mux_stream *s, int status, const char *why)
{
    if (s->service->on_refused != NULL)
        s->service->on_refused(s->ex.peer, status, why);
    s->ex.handler = &refusal;
    s->has_exchange = true;
    sl_exchange_fail(&s->ex, status);
}

void sl_mux_on_head(struct sl_mux_stream *s, bool fin)
{
    struct sl_request *req = &s->ex.req;
    int status = sl_head_finish(&s->head, fin);

    s->in_ended = fin;
    s->is_head_request = sl_str_eq(req->method, SL_STR("HEAD"));
    sl_exchange_begin(&s->ex);
    if (status != 0) {
        refuse(s, status, s->head.why);
        return;
    }
    req->scheme = s->ex.peer->is_tls ? SL_STR("https") : SL_STR("http");
    /* An upgrade looks as in HTTP/1.1: the channel begins with the answer. */
    s->ex.request_ended = fin || req->upgrade.len > 0;
    s->has_exchange = true;
    sl_pace_begin(&s->pace, &s->service->limits);
    s->service->on_request(&s->ex);
}

static bool wants_bytes(const struct sl_mux_stream *s)
{
    return s->has_exchange && (!s->ex.response_ended || s->is_raw) && s->end_code == 0;
}

/* Everything that waits. The handler may end the exchange, or ask for more, while it takes them. */
static void deliver(struct sl_mux_stream *s, const uint8_t *bytes, size_t len)
{
    bool fin = s->in_ended;

    s->ex.bytes_in += len;
    s->ex.request_ended = fin;
    if (len > 0)
        s->ops->consume(s, len);
    s->ex.handler->on_body(&s->ex, bytes, len, fin);
}

static void deliver_in(struct sl_mux_stream *s)
{
    struct sl_buf in = s->in;

    if (!s->body_on || s->ex.request_ended || !(sl_buf_len(&in) > 0 || s->in_ended))
        return;
    s->in = (struct sl_buf){0};
    deliver(s, sl_buf_at(&in), sl_buf_len(&in));
    sl_buf_clear(&in);
}

/* Smaller pieces reach the handler together at the end of the turn, and so does the end of the
 * body: for most of them a handler makes a system call. */
enum { GATHER_MAX = 4096 };

void sl_mux_on_body(struct sl_mux_stream *s, const uint8_t *bytes, size_t len, bool fin)
{
    if (fin && s->head.status != 0 && s->ex.handler != &refusal) {
        s->end_code = SL_E_PROTOCOL; /* the trailers were too much */
        reset(s, SL_MUX_PROTOCOL);
        later(s);
        return;
    }
    s->in_ended = fin;
    if (!wants_bytes(s)) {
        if (len > 0)
            s->ops->consume(s, len);
    } else if (s->body_on && len >= GATHER_MAX && sl_buf_len(&s->in) == 0 && !s->ex.request_ended) {
        deliver(s, bytes, len);
    } else {
        sl_buf_append(&s->in, bytes, len);
        later(s);
    }
    update(s, true);
}

static void on_deadline(struct sl_deadline *d)
{
    struct sl_mux_stream *s = d->user;

    if (s->timing == TIMES_BODY && !s->ex.has_responded) {
        s->has_exchange = false;
        s->ex.handler->on_abort(&s->ex, SL_E_TIMEOUT);
        drop_in(s);
        if (!s->is_over)
            refuse(s, 408, "no request body in time");
        return;
    }
    reset(s, SL_MUX_TIMEOUT);
    s->end_code = SL_E_TIMEOUT;
    later(s);
}

static void run_later(void *user)
{
    struct sl_mux_stream *s = user;

    if (wants_bytes(s))
        deliver_in(s);
    if (s->has_exchange && s->end_code == 0 && s->is_full && s->n_unsent <= SL_MUX_LOW) {
        s->is_full = false;
        s->ex.handler->on_written(&s->ex);
    }
    if (!s->is_over)
        end_exchange(s);
    if (!s->has_exchange && s->is_closed)
        release(s);
    update(s, false);
}

void sl_mux_settle(struct sl_mux_stream *s)
{
    if (!sl_link_is_on(&s->later.link))
        return;
    sl_loop_unsoon(&s->later);
    run_later(s);
}

void sl_mux_moved(struct sl_mux_stream *s)
{
    bool is_empty = s->n_unsent == 0;

    if (s->is_full && s->n_unsent <= SL_MUX_LOW)
        later(s);
    update(s, is_empty || s->n_progress >= SL_MUX_PROGRESS);
}

/* --- the exchange as its handler sees it --- */

static void mux_respond(struct sl_exchange *ex, const struct sl_response *res)
{
    struct sl_mux_stream *s = of(ex);
    struct sl_field *fields;

    sl_assert(!ex->has_responded);
    ex->has_responded = true;
    s->is_raw = res->status == 101;
    s->no_body = s->is_head_request || res->status == 204 || res->status == 304;
    s->body_left = s->is_raw ? SL_LENGTH_UNKNOWN : res->content_length;
    s->n_staged = sl_head_response(&ex->arena, res, &fields);
    s->staged = fields;
}

/* A body that does not have the length that the head announced must not reach the client as if it
 * were whole. */
static int check_length(struct sl_mux_stream *s, size_t total, bool fin)
{
    if (s->body_left == SL_LENGTH_UNKNOWN)
        return 0;
    if (total > s->body_left || (fin && total != s->body_left))
        return SL_E_PROTOCOL;
    s->body_left -= total;
    return 0;
}

static void take_trailers(struct sl_mux_stream *s)
{
    const struct sl_headers *trailers = s->ex.res_trailers;
    struct sl_field *fields;

    if (trailers == NULL || s->no_body || s->is_raw)
        return;
    s->n_trailers = sl_head_trailers(&s->ex.arena, trailers, &fields);
    s->trailers = fields;
}

/* True: the head carries the end, too. */
static bool submit(struct sl_mux_stream *s, size_t total)
{
    bool fin = s->out_ended && total == 0 && s->n_trailers == 0;

    if (s->is_submitted)
        return false;
    s->is_submitted = true;
    if (s->is_raw) {
        s->ex.request_ended = false; /* the client's side of the channel is a body without end */
        if (sl_buf_len(&s->in) > 0 || s->in_ended)
            later(s);
    }
    s->ops->submit(s, s->staged, s->n_staged, fin);
    return fin;
}

static void send_body(struct sl_mux_stream *s, const struct iovec *iov, int n_iov, size_t total)
{
    size_t taken = 0;

    if (total > 0 && s->n_unsent == 0 && s->ops->write != NULL)
        taken = s->ops->write(s, iov, n_iov);
    if (taken < total)
        sl_mux_queue(s, iov, n_iov, taken);
    if (taken < total || s->out_ended)
        s->ops->resume(s);
}

static int mux_write(struct sl_exchange *ex, const struct iovec *iov, int n_iov, bool fin)
{
    struct sl_mux_stream *s = of(ex);
    size_t total = 0;
    int rc;

    sl_assert(ex->has_responded && !s->out_ended);
    if (s->is_reset || s->is_closed)
        return SL_E_CLOSED;
    for (int i = 0; i < n_iov; i++)
        total += iov[i].iov_len;
    if (s->no_body)
        total = 0;
    else if ((rc = check_length(s, total, fin)) < 0)
        return rc;
    ex->bytes_out += total;
    s->out_ended = fin;
    if (fin)
        take_trailers(s);
    if (!submit(s, total))
        send_body(s, iov, n_iov, total);
    s->is_full = s->n_unsent > SL_MUX_HIGH;
    update(s, s->is_raw);
    return s->is_full ? SL_E_AGAIN : 0;
}

static void mux_interim(struct sl_exchange *ex, const struct sl_response *res)
{
    struct sl_mux_stream *s = of(ex);
    struct sl_field *fields;
    size_t n;

    if (s->is_reset || s->is_closed || ex->has_responded)
        return; /* they are optional: better none than one in the wrong place */
    if (res->status == 100)
        ex->req.expects_continue = false;
    n = sl_head_response(&ex->arena, res, &fields);
    s->ops->submit_interim(s, fields, n);
}

static void send_continue(struct sl_exchange *ex)
{
    struct sl_response res = {.status = 100, .content_length = SL_LENGTH_UNKNOWN};

    mux_interim(ex, &res);
}

static void mux_read(struct sl_exchange *ex, bool on)
{
    struct sl_mux_stream *s = of(ex);

    if (s->body_on == on)
        return;
    s->body_on = on;
    if (on && !s->in_ended && ex->req.expects_continue && !ex->forwards_continue &&
        ex->bytes_in == 0 && sl_buf_len(&s->in) == 0)
        send_continue(ex);
    if (on && (sl_buf_len(&s->in) > 0 || s->in_ended))
        later(s);
    update(s, false);
}

static void mux_abort(struct sl_exchange *ex)
{
    struct sl_mux_stream *s = of(ex);

    s->has_exchange = false; /* the handler knows */
    drop_in(s);
    reset(s, SL_MUX_INTERNAL);
    later(s);
}

static const struct sl_exchange_ops exchange_ops = {mux_respond, mux_write, mux_interim, mux_read,
                                                    mux_abort};
