/*
 * A raw pipe: bytes between a client and a target that nobody looks into (TLS passthrough, TCP
 * routes, TCP inside terminated TLS). Half-close is passed on; each side is read only while the
 * other one takes.
 */
#include <stdio.h>
#include "base/clock.h"
#include "base/log.h"
#include "codec/proxy_header.h"
#include "proxy/internal.h"
#include "tls/dial.h"

struct sl_pipe {
    struct sl_conn *conn;
    struct sl_live *live;
    struct sl_route *route;
    const struct sl_target *picks[SL_MAX_PICKS];
    const struct sl_target *target;
    size_t n_picks, next_pick;
    struct sl_dial dial;
    struct sl_stream *client, *upstream;
    struct sl_buf first; /* for the target, from before it was connected */
    uint8_t preface[SL_PROXY_HEADER_WRITE_MAX];
    struct sl_deadline deadline;
    uint64_t started_ns;
    const char *error;
    bool is_over;
};

static const struct sl_stream_handler side_handler;

static void dial_next(struct sl_pipe *p, const char *error);

static void release(void *ptr)
{
    struct sl_pipe *p = ptr;

    sl_buf_clear(&p->first);
    sl_free(p);
}

enum {
    TARGET_TEXT_LEN = 320
}; /* a name of 253 characters, or a path of 107, and what is around it */

/* "host:port", as for exchanges; empty without a target. */
static struct sl_str target_text(const struct sl_pipe *p, char out[TARGET_TEXT_LEN])
{
    const struct sl_target *t = p->target;
    bool is_ipv6 = t != NULL && t->host.len > 0 && memchr(t->host.p, ':', t->host.len) != NULL;

    out[0] = '\0';
    if (t != NULL && t->unix_path.len > 0)
        snprintf(out, TARGET_TEXT_LEN, "unix:%.*s", SL_STR_FMT(t->unix_path));
    else if (t != NULL)
        snprintf(out, TARGET_TEXT_LEN, is_ipv6 ? "[%.*s]:%u" : "%.*s:%u", SL_STR_FMT(t->host),
                 t->port != 0 ? t->port : p->conn->port);
    return sl_str_c(out);
}

static void tell_done(struct sl_pipe *p, uint64_t in, uint64_t out)
{
    const struct sl_hooks *hooks = p->conn->proxy->hooks;
    char text[TARGET_TEXT_LEN];
    struct sl_done done = {
        .peer = &p->conn->peer,
        .route = p->route->name,
        .target = target_text(p, text),
        .duration_s = (double)(sl_clock_ns() - p->started_ns) / 1e9,
        .bytes_in = in,
        .bytes_out = out,
        .error = p->error,
    };

    sl_stat_add(&p->conn->proxy->stats.bytes_in, in);
    sl_stat_add(&p->conn->proxy->stats.bytes_out, out);
    atomic_fetch_sub_explicit(&p->route->n_active, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&p->route->bytes_in, in, memory_order_relaxed);
    atomic_fetch_add_explicit(&p->route->bytes_out, out, memory_order_relaxed);
    if (hooks->present & SL_HOOK_DONE)
        hooks->on_done(hooks->host, &done);
}

static void close_sides(struct sl_pipe *p, enum sl_close how)
{
    if (p->is_over)
        return;
    p->is_over = true;
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

static void end(struct sl_pipe *p, enum sl_close how, const char *error)
{
    struct sl_conn *c = p->conn;

    if (p->is_over)
        return;
    p->error = error;
    close_sides(p, how);
    sl_conn_ended(c);
}

static struct sl_stream *other(const struct sl_pipe *p, const struct sl_stream *s)
{
    return s == p->client ? p->upstream : p->client;
}

static void touch(struct sl_pipe *p)
{
    if (p->conn->proxy->settings->pipe_timeout > 0)
        sl_deadline_set(&p->deadline, p->conn->proxy->settings->pipe_timeout);
}

static void on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    struct sl_pipe *p = s->user;
    struct sl_stream *to = other(p, s);

    touch(p);
    if (to == NULL)
        sl_buf_append(&p->first, bytes,
                      len); /* not connected yet; we are paused after this batch */
    else if (sl_stream_write1(to, bytes, len, false) == SL_E_AGAIN)
        sl_stream_read(s, false);
    if (to == NULL)
        sl_stream_read(s, false);
}

static void on_fin(struct sl_stream *s)
{
    struct sl_pipe *p = s->user;
    struct sl_stream *to = other(p, s);

    if (to == NULL) {
        end(p, SL_CLOSE_LINGER, "closed by the client before the target answered");
        return;
    }
    if (!to->sent_fin)
        (void)sl_stream_write(to, NULL, 0, true);
    if (to->got_fin)
        end(p, SL_CLOSE_LINGER, NULL);
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
    if (s == p->upstream && send_first(p) != 0)
        return;
    if (from != NULL && !from->got_fin)
        sl_stream_read(from, true);
}

static void on_error(struct sl_stream *s, int code)
{
    end(s->user, SL_CLOSE_ABORT, sl_error_text(code));
}

static const struct sl_stream_handler side_handler = {on_data, on_fin, on_written, on_error, NULL};

static void on_dialled(struct sl_dial *d, struct sl_stream **stream)
{
    struct sl_pipe *p = d->user;

    sl_target_ok(p->target);
    p->upstream = *stream;
    *stream = NULL;
    sl_stream_set_handler(p->upstream, &side_handler, p);
    sl_stream_read(p->upstream, true);
    sl_stream_read(p->client, send_first(p) == 0);
}

static void on_dial_failed(struct sl_dial *d, int code, const char *detail)
{
    struct sl_pipe *p = d->user;
    char text[TARGET_TEXT_LEN];
    unsigned n_suppressed;

    if (sl_log_may(&p->conn->proxy->failures, &n_suppressed))
        sl_log_warn("target failed", sl_f_strn("target", target_text(p, text)),
                    sl_f_strn("route", p->route->name), sl_f_str("while", "connecting"),
                    sl_f_str("error", sl_error_text(code)),
                    sl_f_str("detail", detail != NULL ? detail : ""),
                    sl_f_int("suppressed", n_suppressed));
    sl_target_failed(p->target, sl_loop_now_ms(p->conn->proxy->loop));
    dial_next(p, sl_error_text(code));
}

static size_t make_preface(struct sl_pipe *p)
{
    struct sl_proxy_header header = {.has_addresses = true};
    const struct sl_peer *peer = &p->conn->peer;

    if (p->route->send_proxy == 0)
        return 0;
    memcpy(header.from, peer->ip16, 16);
    sl_addr_to_ip16(&peer->local, header.to);
    header.from_port = sl_addr_port(&peer->remote);
    header.to_port = p->conn->port;
    return sl_proxy_header_write(p->preface, (int)p->route->send_proxy, &header);
}

static void dial_next(struct sl_pipe *p, const char *error)
{
    struct sl_proxy *proxy = p->conn->proxy;
    struct sl_dial_opts opts = {.loop = proxy->loop, .dns = proxy->dns, .preface = p->preface};

    if (p->target != NULL)
        sl_target_end(p->target);
    p->target = p->next_pick < p->n_picks ? p->picks[p->next_pick++] : NULL;
    if (p->target == NULL) {
        end(p, SL_CLOSE_ABORT, error);
        return;
    }
    sl_target_begin(p->target);
    opts.host = p->target->host;
    opts.unix_path = p->target->unix_path;
    opts.port = p->target->port != 0 ? p->target->port : p->conn->port;
    opts.timeout_ms = p->route->connect_timeout_ms != 0 ? p->route->connect_timeout_ms
                                                        : proxy->settings->connect_timeout;
    opts.preface_len = make_preface(p);
    /* TLS that was not ended here must not be wrapped into another. */
    if (p->target->tls && p->conn->peer.is_tls &&
        sl_pool_tls(proxy->pool, p->target->tls_verify, &opts.tls) < 0) {
        end(p, SL_CLOSE_ABORT, "cannot make a TLS context");
        return;
    }
    sl_dial_start(&p->dial, &opts, on_dialled, on_dial_failed, p);
}

static void on_deadline(struct sl_deadline *d)
{
    end(d->user, SL_CLOSE_ABORT, "nothing moved for too long");
}

struct sl_pipe *sl_pipe_new(struct sl_conn *c, struct sl_stream **stream, struct sl_route *route,
                            const void *first, size_t n_first)
{
    struct sl_pipe *p = sl_zalloc(sizeof(*p));

    p->conn = c;
    c->pipe = p; /* dialling may fail before we return, but tells us later only */
    p->live = sl_live_ref(c->proxy);
    p->route = route;
    p->started_ns = sl_clock_ns();
    p->client = *stream;
    *stream = NULL;
    atomic_fetch_add_explicit(&route->n_active, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&route->n_total, 1, memory_order_relaxed);
    sl_buf_append(&p->first, first, n_first);
    sl_stream_set_handler(p->client, &side_handler, p);
    sl_stream_read(p->client, false);
    sl_deadline_init(&p->deadline, c->proxy->loop, on_deadline, p);
    touch(p);
    p->n_picks = sl_route_pick(route, SL_STR_NONE, SL_STR_NONE, c->peer.ip16,
                               sl_loop_now_ms(c->proxy->loop), p->picks);
    dial_next(p, "no usable target");
    return p;
}
