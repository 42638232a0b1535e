/*
 * A raw pipe: bytes between a client and a target that nobody looks into (TLS passthrough, TCP
 * routes, TCP inside terminated TLS, what goes through a tunnel). Half-close is passed on; each
 * side is read only while the other one takes.
 */
#include "proxy/pipe.h"

#include "base/clock.h"
#include "proxy/raw_target.h"

static void release(void *ptr)
{
    struct sl_pipe *p = ptr;

    sl_buf_clear(&p->first);
    sl_raw_target_free(p->named);
    sl_free(p);
}

/* --- the end --- */

static void tell_done(struct sl_pipe *p, uint64_t in, uint64_t out)
{
    const struct sl_hooks *hooks = p->conn->proxy->hooks;
    char text[SL_RAW_TARGET_LEN];
    struct sl_done done = {
        .peer = &p->conn->peer,
        .route = p->route != NULL ? p->route->name : SL_STR_NONE,
        .target = sl_raw_target_text(p->target, p->conn->port, text),
        .duration_s = (double)(sl_clock_ns() - p->started_ns) / 1e9,
        .bytes_in = in,
        .bytes_out = out,
        .error = p->error,
    };

    if (hooks->present & SL_HOOK_DONE)
        hooks->on_done(hooks->host, &done);
}

static void count(struct sl_pipe *p, uint64_t in, uint64_t out)
{
    struct sl_proxy *proxy = p->conn->proxy;

    sl_stat_add(&proxy->stats.bytes_in, in);
    sl_stat_add(&proxy->stats.bytes_out, out);
    if (p->route == NULL)
        return;
    atomic_fetch_sub_explicit(&p->route->n_active, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&p->route->bytes_in, in, memory_order_relaxed);
    atomic_fetch_add_explicit(&p->route->bytes_out, out, memory_order_relaxed);
}

static void close_sides(struct sl_pipe *p, enum sl_close how)
{
    if (p->is_over)
        return;
    p->is_over = true;
    count(p, p->client->bytes_in, p->client->bytes_out);
    tell_done(p, p->client->bytes_in, p->client->bytes_out);
    sl_dial_cancel(&p->dial);
    sl_deadline_stop(&p->deadline);
    sl_stream_free(&p->client, how);
    sl_stream_free(&p->upstream, how);
    if (p->target != NULL)
        sl_target_end(p->target);
    sl_live_unref(p->live);
    sl_loop_defer(p->conn->proxy->loop, p, release);
}

void sl_pipe_free(struct sl_pipe *p)
{
    p->error = "closed by an operator";
    close_sides(p, SL_CLOSE_ABORT);
}

void sl_pipe_end(struct sl_pipe *p, enum sl_close how, const char *error)
{
    struct sl_conn *c = p->conn;

    if (p->is_over)
        return;
    p->error = error;
    close_sides(p, how);
    sl_conn_ended(c);
}

/* --- bytes --- */

static struct sl_stream *other(const struct sl_pipe *p, const struct sl_stream *s)
{
    return s == p->client ? p->upstream : p->client;
}

/* Something has moved. */
static void touch(struct sl_pipe *p)
{
    if (!p->is_held && p->conn->proxy->settings->pipe_timeout > 0)
        sl_deadline_set(&p->deadline, p->conn->proxy->settings->pipe_timeout);
}

static void on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    struct sl_pipe *p = s->user;
    struct sl_stream *to = other(p, s);

    if (s == p->upstream)
        p->is_held = false;
    touch(p);
    if (to == NULL)
        sl_buf_append(&p->first, bytes,
                      len); /* not connected yet; we are paused after this batch */
    else if (sl_stream_write1(to, bytes, len, false) == SL_E_AGAIN)
        sl_stream_read(s, false);
    if (to == NULL)
        sl_stream_read(s, false);
}

/* While a side has a write in flight the other one is paused, and says no end: what is left to take
 * here is in the streams, which see to it by themselves. */
static void on_fin(struct sl_stream *s)
{
    struct sl_pipe *p = s->user;
    struct sl_stream *to = other(p, s);

    if (to == NULL) {
        sl_pipe_end(p, SL_CLOSE_LINGER, "closed by the client before the target answered");
        return;
    }
    (void)sl_stream_write(to, NULL, 0, true);
    if (to->got_fin)
        sl_pipe_end(p, SL_CLOSE_LINGER, NULL);
}

/* What the client said before the target was there: behind a PROXY header that may still be on its
 * way. 0: the client may be read. */
static int send_first(struct sl_pipe *p)
{
    int rc;

    if (p->upstream->is_writing)
        return SL_E_AGAIN;
    if (sl_buf_len(&p->first) == 0)
        return 0;
    rc = sl_stream_write1(p->upstream, sl_buf_at(&p->first), sl_buf_len(&p->first), false);
    sl_buf_clear(&p->first);
    return rc;
}

static void on_written(struct sl_stream *s)
{
    struct sl_pipe *p = s->user;
    struct sl_stream *from = other(p, s);

    touch(p);
    if (from == NULL || (s == p->upstream && send_first(p) != 0))
        return;
    if (!from->got_fin)
        sl_stream_read(from, true);
}

static void on_error(struct sl_stream *s, int code)
{
    sl_pipe_end(s->user, SL_CLOSE_ABORT, sl_error_text(code));
}

const struct sl_stream_handler sl_pipe_handler = {on_data, on_fin, on_written, on_error, NULL};

/* --- the begin --- */

void sl_pipe_join(struct sl_pipe *p, struct sl_stream *upstream)
{
    p->upstream = upstream;
    sl_stream_read(upstream, true);
    sl_stream_read(p->client, send_first(p) == 0);
}

/* A side that comes or goes through a tunnel whose link is lost. */
static bool waits(const struct sl_stream *s)
{
    while (s != NULL && !sl_tunnel_stream_waits(s))
        s = sl_stream_below(s);
    return s != NULL;
}

/* Between two links nothing moves, and it is for the tunnel to give up. */
static void on_deadline(struct sl_deadline *d)
{
    struct sl_pipe *p = d->user;

    if (p->is_held && waits(p->upstream)) {
        sl_pipe_target_failed(p, "waiting for the tunnel", sl_error_text(SL_E_TIMEOUT), NULL);
        sl_pipe_end(p, SL_CLOSE_ABORT, "the tunnel is down");
    } else if (p->is_held || waits(p->client) || waits(p->upstream)) {
        p->is_held = false;
        touch(p);
    } else {
        sl_pipe_end(p, SL_CLOSE_ABORT, "nothing moved for too long");
    }
}

/* It becomes the pipe of the connection, and has its stream and what was read of it. */
static struct sl_pipe *make(struct sl_conn *c)
{
    struct sl_pipe *p = sl_zalloc(sizeof(*p));

    sl_deadline_stop(&c->deadline);
    c->stage = SL_CONN_PIPE;
    c->pipe = p;
    p->conn = c;
    p->client = c->stream;
    p->first = c->first;
    c->stream = NULL;
    c->first = (struct sl_buf){0};
    p->live = sl_live_ref(c->proxy);
    p->started_ns = sl_clock_ns();
    sl_stream_set_handler(p->client, &sl_pipe_handler, p);
    sl_stream_read(p->client, false);
    sl_deadline_init(&p->deadline, c->proxy->loop, on_deadline, p);
    touch(p);
    return p;
}

void sl_pipe_start(struct sl_conn *c, struct sl_route *route)
{
    struct sl_pipe *p = make(c);

    p->route = route;
    atomic_fetch_add_explicit(&route->n_active, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&route->n_total, 1, memory_order_relaxed);
    p->n_picks = sl_route_pick(route, SL_STR_NONE, SL_STR_NONE, c->peer.ip16,
                               sl_loop_now_ms(c->proxy->loop), p->picks);
    sl_pipe_next_target(p, "no usable target");
}

void sl_pipe_start_to(struct sl_conn *c, struct sl_str host, uint16_t port)
{
    struct sl_pipe *p = make(c);

    p->named = sl_raw_target_new(host, port);
    p->picks[0] = p->named;
    p->n_picks = 1;
    sl_pipe_next_target(p, NULL);
}
