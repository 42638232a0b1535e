/*
 * The exchange of an HTTP/1 connection as its handler sees it: respond, write, read, abort. What
 * comes from the client is h1_server.c's.
 */
#include <stdio.h>
#include "http/h1.h"

static struct sl_h1_conn *of(struct sl_exchange *ex)
{
    return sl_container_of(ex, struct sl_h1_conn, ex);
}

static void h1_respond(struct sl_exchange *ex, const struct sl_response *res)
{
    struct sl_h1_conn *c = of(ex);

    sl_assert(!ex->has_responded);
    ex->has_responded = true;
    if (c->phase != SL_H1_CLOSED)
        sl_h1_stage_head(c, res);
}

enum { MAX_PARTS = 32 };

/* Puts head, chunk framing and body into one list for one system call; the count of parts. */
static int frame(struct sl_h1_conn *c, struct iovec *parts, char *chunk_head,
                 const struct iovec *iov, int n_iov, size_t total, bool fin)
{
    struct sl_str last;
    int n = 0;

    if (c->staged.len > 0)
        parts[n++] = (struct iovec){(void *)c->staged.p, c->staged.len};
    c->staged = SL_STR_NONE;
    if (c->is_chunked && total > 0)
        parts[n++] = (struct iovec){chunk_head, (size_t)snprintf(chunk_head, 20, "%zx\r\n", total)};
    for (int i = 0; i < n_iov && total > 0; i++)
        parts[n++] = iov[i];
    if (!c->is_chunked)
        return n;
    if (total > 0)
        parts[n++] = (struct iovec){(void *)"\r\n", 2};
    if (fin) {
        last = sl_h1_last_chunk(&c->ex.arena, c->ex.res_trailers);
        parts[n++] = (struct iovec){(void *)last.p, last.len};
    }
    return n;
}

/* A body that does not have the length that the head announced must not reach the client as if it
 * were whole. */
static int check_length(struct sl_h1_conn *c, size_t total, bool fin)
{
    if (c->body_left == SL_LENGTH_UNKNOWN || c->is_raw)
        return 0;
    if (total > c->body_left || (fin && total != c->body_left))
        return SL_E_PROTOCOL;
    c->body_left -= total;
    return 0;
}

static void finish(struct sl_h1_conn *c)
{
    c->is_finishing = true;
    c->raw_fin_out = c->is_raw;
    sl_h1_later(c);
}

/* The handler does not know of an interim response that is in flight: its bytes wait behind it. */
static int send_parts(struct sl_h1_conn *c, const struct iovec *parts, int n, bool fin)
{
    bool must_wait = c->is_interim_in_flight && (n > 0 || sl_buf_len(&c->held) > 0);

    if (!must_wait)
        return n > 0 || fin ? sl_stream_write(c->stream, parts, n, fin) : 0;
    sl_assert(n == 0 || sl_buf_len(&c->held) == 0);
    for (int i = 0; i < n; i++)
        sl_buf_append(&c->held, parts[i].iov_base, parts[i].iov_len);
    c->held_fin = fin;
    return SL_E_AGAIN;
}

static int h1_write(struct sl_exchange *ex, const struct iovec *iov, int n_iov, bool fin)
{
    struct sl_h1_conn *c = of(ex);
    struct iovec parts[MAX_PARTS];
    char chunk_head[20];
    size_t total = 0;
    int rc, n;

    sl_assert(ex->has_responded && !c->is_finishing && n_iov <= MAX_PARTS - 4);
    if (c->phase == SL_H1_CLOSED)
        return SL_E_CLOSED;
    for (int i = 0; i < n_iov; i++)
        total += iov[i].iov_len;
    if (c->no_body)
        total = 0;
    else if ((rc = check_length(c, total, fin)) < 0)
        return rc;
    ex->bytes_out += total;
    n = frame(c, parts, chunk_head, iov, n_iov, total, fin);
    if (c->is_raw && c->phase != SL_H1_RAW) {
        sl_h1_set_phase(c, SL_H1_RAW);
        ex->request_ended = false; /* the client's side of the raw channel is a body without end */
        if (sl_buf_len(&c->in) > 0 || c->got_fin)
            sl_h1_later(c); /* the client may have spoken the new protocol already, or be gone */
    }
    rc = send_parts(c, parts, n, fin && c->is_raw);
    if (fin && (rc == 0 || rc == SL_E_AGAIN))
        finish(c);
    if (rc == SL_E_AGAIN || c->phase == SL_H1_RAW)
        sl_h1_update(c);
    return rc;
}

static void h1_interim(struct sl_exchange *ex, const struct sl_response *res)
{
    struct sl_h1_conn *c = of(ex);
    struct sl_str head;

    if (c->phase == SL_H1_CLOSED || ex->req.version == SL_HTTP_10 || ex->has_responded ||
        c->stream->is_writing)
        return; /* interim responses are optional: better none than one in the wrong place */
    if (res->status == 100)
        ex->req.expects_continue = false;
    head = sl_h1_interim_head(&ex->arena, res);
    c->is_interim_in_flight = sl_stream_write1(c->stream, head.p, head.len, false) == SL_E_AGAIN;
    sl_h1_update(c);
}

static void send_continue(struct sl_exchange *ex)
{
    struct sl_response res = {.status = 100};

    h1_interim(ex, &res);
}

static void h1_read(struct sl_exchange *ex, bool on)
{
    struct sl_h1_conn *c = of(ex);

    if (c->phase == SL_H1_CLOSED || c->body_on == on)
        return;
    c->body_on = on;
    if (on && c->phase == SL_H1_BODY && ex->req.expects_continue && !ex->forwards_continue &&
        ex->bytes_in == 0)
        send_continue(ex);
    if (on && (sl_buf_len(&c->in) > 0 || c->got_fin) && !c->is_consuming)
        sl_h1_later(c);
    else if (!c->is_consuming)
        sl_h1_update(c);
}

static void h1_abort(struct sl_exchange *ex)
{
    struct sl_h1_conn *c = of(ex);

    c->has_exchange = false; /* the handler knows */
    sl_h1_close(c, SL_CLOSE_ABORT, SL_E_CANCELLED);
}

const struct sl_exchange_ops sl_h1_exchange_ops = {h1_respond, h1_write, h1_interim, h1_read,
                                                   h1_abort};
