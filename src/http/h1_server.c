/*
 * The server side of an HTTP/1 connection: one exchange at a time, streaming both ways.
 *
 * Bytes enter at on_data() and walk through the phases in consume(). What cannot be taken now (a
 * second request while the first is being answered, a body that the handler does not want yet)
 * waits in c->in, and then sl_h1_update() stops reading. sl_h1_update() is the one place that
 * decides whether to read and which deadline runs.
 *
 * Nothing is freed and no exchange ends while a handler's call is on the stack: both happen in
 * run_later(), at the end of the turn.
 */
#include <stdio.h>
#include "codec/request_line.h"
#include "http/h1.h"

static const struct sl_stream_handler stream_handler;

static void run_later(void *user);
static void consume_stash(struct sl_h1_conn *c);

void sl_h1_later(struct sl_h1_conn *c)
{
    sl_loop_soon(c->loop, &c->later, run_later, c);
}

static bool wants_input(const struct sl_h1_conn *c)
{
    if (c->got_fin)
        return false;
    switch (c->phase) {
    case SL_H1_IDLE:
    case SL_H1_LINE:
    case SL_H1_HEADERS:
        return true;
    case SL_H1_BODY:
    case SL_H1_RAW:
        return c->body_on || c->ex.response_ended;
    case SL_H1_WAIT:
        return sl_buf_len(&c->in) ==
               0; /* to notice that the client goes, and to have its next request at hand */
    case SL_H1_CLOSED:
        return false;
    }
    return false;
}

static enum sl_h1_timing timing_of(const struct sl_h1_conn *c)
{
    switch (c->phase) {
    case SL_H1_IDLE:
        if (c->is_draining)
            return SL_H1_TIMES_DRAIN;
        return c->n_requests == 0 ? SL_H1_TIMES_FIRST : SL_H1_TIMES_IDLE;
    case SL_H1_LINE:
    case SL_H1_HEADERS:
        return SL_H1_TIMES_HEAD;
    case SL_H1_RAW:
        return c->raw_fin_out ? SL_H1_TIMES_RAW_END : SL_H1_TIMES_RAW;
    case SL_H1_BODY:
    case SL_H1_WAIT:
        if (c->stream->is_writing)
            return SL_H1_TIMES_WRITE;
        return c->phase == SL_H1_BODY && wants_input(c) ? SL_H1_TIMES_BODY : SL_H1_UNTIMED;
    case SL_H1_CLOSED:
        break;
    }
    return SL_H1_UNTIMED;
}

static uint32_t timeout_of(const struct sl_http_service *service, enum sl_h1_timing timing)
{
    const struct sl_http_limits *limits = &service->limits;

    switch (timing) {
    case SL_H1_TIMES_FIRST:
    case SL_H1_TIMES_HEAD:
        return limits->head_timeout;
    case SL_H1_TIMES_IDLE:
        return limits->idle_timeout;
    case SL_H1_TIMES_DRAIN:
        return service->drain_grace;
    case SL_H1_TIMES_BODY:
        return limits->body_timeout;
    case SL_H1_TIMES_WRITE:
    case SL_H1_TIMES_RAW_END:
        return limits->write_timeout;
    case SL_H1_TIMES_RAW:
        return limits->upgrade_timeout;
    case SL_H1_UNTIMED:
        break;
    }
    return 0;
}

/* Bytes of a body move the deadline on. What the client sends of a head, or while it does not read
 * our answer, moves nothing: else one byte now and then would hold the connection for ever. */
static bool moves_on(enum sl_h1_timing timing)
{
    return timing == SL_H1_TIMES_BODY || timing == SL_H1_TIMES_RAW || timing == SL_H1_TIMES_RAW_END;
}

static void set_deadline(struct sl_h1_conn *c)
{
    enum sl_h1_timing timing = timing_of(c);
    uint32_t ms = timeout_of(c->service, timing);
    uint64_t now = sl_loop_now_ms(c->loop);

    if (timing == c->timing && !moves_on(timing))
        return;
    c->timing = timing;
    if (timing == SL_H1_TIMES_BODY)
        ms = sl_pace_wait(&c->pace, now, c->ex.bytes_in, &c->service->limits);
    else
        sl_pace_stop(&c->pace, now);
    if (ms > 0)
        sl_deadline_set(&c->deadline, ms);
    else
        sl_deadline_clear(&c->deadline);
}

/* What was waited for has come. */
static void stop_timing(struct sl_h1_conn *c)
{
    c->timing = SL_H1_UNTIMED;
    sl_deadline_clear(&c->deadline);
}

/* After every change of state. */
void sl_h1_update(struct sl_h1_conn *c)
{
    if (c->phase == SL_H1_CLOSED)
        return;
    sl_stream_read(c->stream, wants_input(c));
    set_deadline(c);
}

void sl_h1_set_phase(struct sl_h1_conn *c, enum sl_h1_phase phase)
{
    if (c->phase == SL_H1_IDLE)
        stop_timing(c); /* a new request has a new deadline */
    c->phase = phase;
}

/* The end of the connection; the handler of a running exchange hears it at once. */
void sl_h1_close(struct sl_h1_conn *c, enum sl_close how, int code)
{
    if (c->phase == SL_H1_CLOSED)
        return;
    c->phase = SL_H1_CLOSED;
    sl_deadline_stop(&c->deadline);
    sl_stream_free(&c->stream, how);
    if (c->has_exchange) {
        c->has_exchange = false;
        c->ex.handler->on_abort(&c->ex, code);
    }
    sl_h1_later(c);
}

static void release(void *ptr)
{
    struct sl_h1_conn *c = ptr;

    sl_arena_clear(&c->ex.arena);
    sl_buf_clear(&c->in);
    sl_buf_clear(&c->held);
    sl_free(c);
}

/* The owner hears of the end, once. */
static void tell_closed(struct sl_h1_conn *c)
{
    if (c->is_over)
        return;
    c->is_over = true;
    sl_loop_unsoon(&c->later);
    sl_loop_defer(c->loop, c, release);
    if (c->service->on_closed != NULL)
        c->service->on_closed(c->peer);
}

static void refuse_write(struct sl_h1_conn *c, int status)
{
    char text[256];
    int n = snprintf(text, sizeof(text),
                     "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: "
                     "%zu\r\nConnection: close\r\n\r\n%s\n",
                     status, sl_status_text(status), strlen(sl_status_text(status)) + 1,
                     sl_status_text(status));

    (void)sl_stream_write1(c->stream, text, (size_t)n, false);
}

/* A request that breaks the rules: answer, then close, since nobody knows where the next one would
 * begin. */
static void refuse(struct sl_h1_conn *c, int status, const char *why)
{
    bool may_answer = !c->ex.has_responded && !c->stream->is_writing;

    if (c->service->on_refused != NULL)
        c->service->on_refused(c->peer, status, why);
    if (c->has_exchange) {
        c->has_exchange = false;
        c->ex.handler->on_abort(&c->ex, status == 408 ? SL_E_TIMEOUT : SL_E_PROTOCOL);
    }
    if (c->phase == SL_H1_CLOSED)
        return;
    if (may_answer)
        refuse_write(c, status);
    sl_h1_close(c, may_answer ? SL_CLOSE_LINGER : SL_CLOSE_ABORT, SL_E_PROTOCOL);
}

/* --- reading: each step takes what it can of the bytes and says how much that was --- */

static void begin_exchange(struct sl_h1_conn *c)
{
    struct sl_arena arena = c->ex.arena;

    memset(&c->ex, 0, sizeof(c->ex));
    c->ex.arena = arena;
    c->ex.ops = &sl_h1_exchange_ops;
    c->ex.loop = c->loop;
    c->ex.peer = c->peer;
    c->staged = SL_STR_NONE;
    c->is_finishing = c->body_on = c->is_raw = c->is_chunked = c->no_body = false;
    c->raw_fin_in = c->raw_fin_out = c->held_fin = false;
    c->n_discarded = 0;
    sl_pace_begin(&c->pace, &c->service->limits);
}

static size_t take_blank_lines(struct sl_h1_conn *c, const uint8_t *p, size_t len)
{
    if (p[0] == '\r' && len >= 2 && p[1] == '\n')
        return 2; /* RFC 9112, 2.2: an empty line before the request is ignored */
    if (p[0] != '\r' || len >= 2)
        sl_h1_set_phase(c, SL_H1_LINE);
    return 0;
}

static size_t take_line(struct sl_h1_conn *c, const uint8_t *p, size_t len)
{
    const char *why = "bad request line";
    long n = sl_request_line_find_end(p, len, 0);
    int status;

    if (n == SL_E_PARTIAL && len <= c->service->limits.max_target)
        return 0;
    if (n == SL_E_PARTIAL || n > (long)c->service->limits.max_target) {
        refuse(c, 414, "the target is too long");
        return 0;
    }
    if (n < 0) {
        refuse(c, 400, why);
        return 0;
    }
    if ((status = sl_h1_request_line(c, p, (size_t)n, &why)) != 0) {
        refuse(c, status, why);
        return 0;
    }
    sl_h1_set_phase(c, SL_H1_HEADERS);
    return (size_t)n + 2;
}

static void start_exchange(struct sl_h1_conn *c)
{
    const char *why = NULL;
    int status = sl_h1_request_finish(c, &why);

    if (status != 0) {
        refuse(c, status, why);
        return;
    }
    sl_exchange_begin(&c->ex);
    c->n_requests++;
    c->ex.request_ended = c->ex.req.content_length == 0;
    sl_h1_set_phase(c, c->ex.request_ended ? SL_H1_WAIT : SL_H1_BODY);
    if (!c->ex.request_ended)
        sl_h1_fields_trailers(&c->fields, &c->parser, &c->ex.req.trailers);
    c->has_exchange = true;
    c->service->on_request(&c->ex);
}

static size_t take_headers(struct sl_h1_conn *c, const uint8_t *p, size_t len)
{
    ssize_t n = sl_h1_fields_execute(&c->fields, &c->parser, p, len);

    if (n < 0) {
        refuse(c, c->fields.refuse, c->fields.why);
        return 0;
    }
    if (c->fields.head_done)
        start_exchange(c);
    return (size_t)n;
}

static void end_request(struct sl_h1_conn *c)
{
    c->ex.request_ended = true;
    sl_h1_set_phase(c, SL_H1_WAIT);
    if (c->is_finishing)
        sl_h1_later(c);
}

/* The response is complete, and nothing more is to come on this connection. */
static void end_connection(struct sl_h1_conn *c)
{
    c->keep_alive = false;
    sl_h1_later(c);
}

/* The handler has answered already: what is left of the body is swallowed, so that the connection
 * can go on. */
static void discard(struct sl_h1_conn *c, size_t len)
{
    c->n_discarded += len;
    if (c->fields.message_done)
        end_request(c);
    else if (c->n_discarded > c->service->limits.max_discard)
        end_connection(c);
}

static size_t take_body(struct sl_h1_conn *c, const uint8_t *p, size_t len)
{
    ssize_t n;

    if (!c->body_on && !c->ex.response_ended)
        return 0;
    c->fields.gather = sl_loop_scratch(c->loop, 3);
    n = sl_h1_fields_execute(&c->fields, &c->parser, p, SL_MIN(len, (size_t)SL_SCRATCH_LEN));
    if (n < 0) {
        refuse(c, c->fields.refuse, c->fields.why);
        return 0;
    }
    c->ex.bytes_in += c->fields.body_len;
    if (c->ex.response_ended) {
        discard(c, (size_t)n);
        return (size_t)n;
    }
    if (c->fields.message_done)
        end_request(c);
    if (c->fields.body_len > 0 || c->fields.message_done)
        c->ex.handler->on_body(&c->ex, c->fields.body, c->fields.body_len, c->fields.message_done);
    return (size_t)n;
}

static size_t take_raw(struct sl_h1_conn *c, const uint8_t *p, size_t len)
{
    if (c->ex.response_ended)
        return len;
    if (!c->body_on)
        return 0;
    c->ex.bytes_in += len;
    c->ex.handler->on_body(&c->ex, p, len, false);
    return len;
}

static size_t take(struct sl_h1_conn *c, const uint8_t *p, size_t len)
{
    switch (c->phase) {
    case SL_H1_IDLE:
        return take_blank_lines(c, p, len);
    case SL_H1_LINE:
        return take_line(c, p, len);
    case SL_H1_HEADERS:
        return take_headers(c, p, len);
    case SL_H1_BODY:
        return take_body(c, p, len);
    case SL_H1_RAW:
        return take_raw(c, p, len);
    case SL_H1_WAIT:
    case SL_H1_CLOSED:
        return 0;
    }
    return 0;
}

/* Walks through the phases until the bytes are used up or nobody takes more; the count of bytes
 * used. */
static size_t consume(struct sl_h1_conn *c, const uint8_t *p, size_t len)
{
    size_t used = 0;

    c->is_consuming = true;
    while (used < len && c->phase != SL_H1_CLOSED) {
        enum sl_h1_phase before = c->phase;
        size_t n = take(c, p + used, len - used);

        used += n;
        if (n == 0 && c->phase == before)
            break;
    }
    c->is_consuming = false;
    return used;
}

static void on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    struct sl_h1_conn *c = s->user;
    size_t used;

    if (sl_buf_len(&c->in) > 0) {
        sl_buf_append(&c->in, bytes, len);
        consume_stash(c);
        return;
    }
    used = consume(c, bytes, len);
    if (c->phase == SL_H1_CLOSED)
        return;
    if (used < len)
        sl_buf_append(&c->in, bytes + used, len - used);
    sl_h1_update(c);
}

static void consume_stash(struct sl_h1_conn *c)
{
    if (sl_buf_len(&c->in) > 0 && !c->is_consuming && c->phase != SL_H1_CLOSED) {
        /* Handlers may ask for more while these bytes are being parsed: nobody appends to c->in
         * meanwhile. */
        size_t used = consume(c, sl_buf_at(&c->in), sl_buf_len(&c->in));

        sl_buf_consume(&c->in, used);
        if (sl_buf_len(&c->in) == 0)
            sl_buf_clear(&c->in);
    }
    sl_h1_update(c);
}

static void end_raw_input(struct sl_h1_conn *c)
{
    c->raw_fin_in = true;
    c->ex.request_ended = true;
    c->ex.handler->on_body(&c->ex, NULL, 0, true);
    if (c->phase == SL_H1_RAW && c->raw_fin_out)
        sl_h1_later(c);
}

/* The client may have ended its side before the exchange became a raw channel. */
static void take_early_fin(struct sl_h1_conn *c)
{
    bool takes_input = c->body_on || c->ex.response_ended;

    if (c->phase == SL_H1_RAW && c->got_fin && !c->raw_fin_in && takes_input &&
        sl_buf_len(&c->in) == 0)
        end_raw_input(c);
}

static void on_fin(struct sl_stream *s)
{
    struct sl_h1_conn *c = s->user;

    c->got_fin = true;
    c->keep_alive = false;
    switch (c->phase) {
    case SL_H1_IDLE:
        sl_h1_close(c, SL_CLOSE_LINGER, SL_E_CLOSED);
        return;
    case SL_H1_LINE:
    case SL_H1_HEADERS:
        sl_h1_close(c, SL_CLOSE_LINGER, SL_E_CLOSED);
        return;
    case SL_H1_BODY:
        if (c->is_finishing)
            end_connection(c); /* the client has its answer, or is reading it */
        else                   /* a request that was cut short must not look complete to anyone */
            sl_h1_close(c, SL_CLOSE_ABORT, SL_E_CLOSED);
        return;
    case SL_H1_RAW:
        end_raw_input(c);
        return;
    case SL_H1_WAIT: /* half-closed: the answer still goes out */
    case SL_H1_CLOSED:
        break;
    }
    sl_h1_update(c);
}

/* An interim response has left. What the handler has written since then follows it. False: not now,
 * or the handler has written nothing and need not know. */
static bool flush_held(struct sl_h1_conn *c)
{
    int rc;

    c->is_interim_in_flight = false;
    if (sl_buf_len(&c->held) == 0)
        return false;
    rc = sl_stream_write1(c->stream, sl_buf_at(&c->held), sl_buf_len(&c->held), c->held_fin);
    sl_buf_clear(&c->held);
    return rc == 0;
}

static void on_written(struct sl_stream *s)
{
    struct sl_h1_conn *c = s->user;

    stop_timing(c);
    if (!c->is_interim_in_flight || flush_held(c)) {
        if (c->is_finishing)
            sl_h1_later(c);
        else if (c->has_exchange)
            c->ex.handler->on_written(&c->ex);
    }
    sl_h1_update(c);
}

static void on_error(struct sl_stream *s, int code)
{
    sl_h1_close(s->user, SL_CLOSE_ABORT, code);
}

static const struct sl_stream_handler stream_handler = {on_data, on_fin, on_written, on_error,
                                                        NULL};

static void on_deadline(struct sl_deadline *d)
{
    struct sl_h1_conn *c = d->user;

    if (c->phase == SL_H1_IDLE && (c->n_requests > 0 || c->is_draining))
        sl_h1_close(c, SL_CLOSE_LINGER, SL_E_TIMEOUT);
    else if (c->phase == SL_H1_IDLE || c->phase == SL_H1_LINE || c->phase == SL_H1_HEADERS)
        refuse(c, 408, "no complete request head in time");
    else if (c->phase == SL_H1_BODY && c->timing == SL_H1_TIMES_BODY && c->is_finishing)
        end_connection(c);
    else if (c->phase == SL_H1_BODY && c->timing == SL_H1_TIMES_BODY)
        refuse(c, 408, "no request body in time");
    else
        sl_h1_close(c, SL_CLOSE_ABORT, SL_E_TIMEOUT);
}

/* --- the end of an exchange, outside every call of its handler --- */

static void next_request(struct sl_h1_conn *c)
{
    bool is_last = c->is_draining && c->service->drain_grace == 0;

    sl_arena_clear(&c->ex.arena);
    if (!c->keep_alive || is_last || c->got_fin) {
        sl_h1_close(c, SL_CLOSE_LINGER, SL_E_CLOSED);
        return;
    }
    begin_exchange(c);
    sl_h1_set_phase(c, SL_H1_IDLE);
    consume_stash(c);
}

/* The response is out. What is left of the request is discarded from here on, unless the connection
 * ends anyway. */
static void end_response(struct sl_h1_conn *c)
{
    c->ex.response_ended = true;
    if (!c->ex.request_ended && c->keep_alive)
        consume_stash(c);
}

static void end_exchange(struct sl_h1_conn *c)
{
    if (c->stream->is_writing)
        return;
    if (c->phase == SL_H1_RAW && !(c->raw_fin_in && c->raw_fin_out))
        return;
    if (!c->ex.response_ended)
        end_response(c);
    if (c->phase == SL_H1_CLOSED || !c->has_exchange)
        return;
    if (!c->ex.request_ended && c->keep_alive) {
        sl_h1_update(c);
        return;
    }
    c->has_exchange = false;
    c->ex.handler->on_done(&c->ex);
    if (c->phase != SL_H1_CLOSED)
        next_request(c);
}

static void run_later(void *user)
{
    struct sl_h1_conn *c = user;

    if (c->phase == SL_H1_CLOSED) {
        tell_closed(c);
    } else if (c->is_finishing) {
        end_exchange(c);
    } else {
        consume_stash(c);
        take_early_fin(c);
    }
}

/* --- the connection as its owner sees it --- */

static bool is_idle(const struct sl_http_conn *base)
{
    const struct sl_h1_conn *c = (const struct sl_h1_conn *)base;

    return c->phase == SL_H1_IDLE && sl_buf_len(&c->in) == 0;
}

static void drain(struct sl_http_conn *base)
{
    struct sl_h1_conn *c = (struct sl_h1_conn *)base;

    c->is_draining = true;
    if (is_idle(base) && c->service->drain_grace == 0)
        sl_h1_close(c, SL_CLOSE_LINGER, SL_E_CLOSED);
    else
        sl_h1_update(c);
}

static void kill(struct sl_http_conn *base)
{
    struct sl_h1_conn *c = (struct sl_h1_conn *)base;

    sl_h1_close(c, SL_CLOSE_ABORT, SL_E_CANCELLED);
    tell_closed(c);
}

static const struct sl_http_conn_ops conn_ops = {drain, kill, is_idle};

struct sl_http_conn *sl_h1_serve(struct sl_stream **stream, const struct sl_http_service *service,
                                 const struct sl_peer *peer, const uint8_t *first, size_t n_first)
{
    struct sl_h1_conn *c = sl_zalloc(sizeof(*c));

    c->stream = *stream;
    *stream = NULL;
    c->base.ops = &conn_ops;
    c->service = service;
    c->peer = peer;
    c->loop = c->stream->loop;
    c->parser.data = &c->fields;
    c->fields.max_bytes = service->limits.max_head;
    c->fields.max_fields = service->limits.max_headers;
    c->fields.max_chunk_ext = service->limits.max_chunk_ext;
    c->phase = SL_H1_IDLE;
    begin_exchange(c);
    sl_stream_set_handler(c->stream, &stream_handler, c);
    sl_deadline_init(&c->deadline, c->loop, on_deadline, c);
    if (n_first > 0) {
        sl_buf_append(&c->in, first, n_first);
        sl_h1_later(c);
    }
    sl_h1_update(c);
    return &c->base;
}
