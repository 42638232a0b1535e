/*
 * How a raw pipe comes by its target: one pick after the other, by dialling it or through a tunnel.
 * Nothing of the client's has been sent before one is there.
 */
#include "proxy/pipe.h"
#include "proxy/raw_target.h"

void sl_pipe_target_failed(struct sl_pipe *p, const char *doing, const char *error,
                           const char *detail)
{
    sl_raw_target_failed(p->conn->proxy, &(struct sl_raw_failure){.target = p->target,
                                                                  .route = p->route,
                                                                  .port = p->conn->port,
                                                                  .doing = doing,
                                                                  .error = error,
                                                                  .detail = detail});
}

/* --- dialling --- */

/* Who the visitor is, for a target or a hub that wants to know. */
static size_t write_preface(struct sl_pipe *p, unsigned version)
{
    struct sl_proxy_header header = sl_raw_header(&p->conn->peer, p->conn->port);

    return sl_proxy_header_write(p->preface, (int)version, &header);
}

static void on_dialled(struct sl_dial *d, struct sl_stream **stream)
{
    struct sl_pipe *p = d->user;
    struct sl_stream *upstream = *stream;

    *stream = NULL;
    sl_target_ok(p->target);
    sl_stream_set_handler(upstream, &sl_pipe_handler, p);
    sl_pipe_join(p, upstream);
}

static void on_dial_failed(struct sl_dial *d, int code, const char *detail)
{
    struct sl_pipe *p = d->user;

    sl_pipe_target_failed(p, "connecting", sl_error_text(code), detail);
    sl_pipe_next_target(p, sl_error_text(code));
}

static void dial(struct sl_pipe *p)
{
    const struct sl_target *t = p->target;
    struct sl_proxy *proxy = p->conn->proxy;
    unsigned send_proxy = p->route != NULL ? p->route->send_proxy : 1;
    struct sl_dial_opts opts = {.loop = proxy->loop,
                                .dns = proxy->dns,
                                .host = t->host,
                                .unix_path = t->unix_path,
                                .port = t->port != 0 ? t->port : p->conn->port,
                                .timeout_ms = proxy->settings->connect_timeout,
                                .preface = p->preface};

    if (p->route != NULL && p->route->connect_timeout_ms != 0)
        opts.timeout_ms = p->route->connect_timeout_ms;
    if (send_proxy != 0)
        opts.preface_len = write_preface(p, send_proxy);
    /* TLS that was not ended here must not be wrapped into another. */
    if (t->tls && p->conn->peer.is_tls && sl_pool_tls(proxy->pool, t->tls_verify, &opts.tls) < 0) {
        sl_pipe_end(p, SL_CLOSE_ABORT, "cannot make a TLS context");
        return;
    }
    sl_dial_start(&p->dial, &opts, on_dialled, on_dial_failed, p);
}

/* --- tunnels --- */

/* A stream may be opened before the tunnel is up, and waits there. */
static void hold(struct sl_pipe *p, uint32_t ms)
{
    p->is_held = true;
    sl_deadline_set(&p->deadline, ms);
}

static struct sl_edge *find_edge(const struct sl_pipe *p)
{
    const struct sl_proxy *proxy = p->conn->proxy;

    return proxy->find_edge != NULL ? proxy->find_edge(proxy->user, p->target->tunnel) : NULL;
}

/* NULL, or why it cannot be. Without a link a tunnel is the last resort. */
static const char *open_tunnel(struct sl_pipe *p)
{
    struct sl_edge *edge = find_edge(p);
    bool is_up = edge != NULL && sl_edge_is_up(edge);
    struct sl_str opening;
    struct sl_stream *upstream;

    if (edge == NULL || (!is_up && p->next_pick < p->n_picks))
        return "the tunnel is down";
    opening = sl_str((char *)p->preface, write_preface(p, 1));
    upstream = sl_edge_open(edge, opening, &sl_pipe_handler, p);
    if (upstream == NULL)
        return "the tunnel has too many streams";
    if (is_up)
        sl_target_ok(p->target);
    else
        hold(p, sl_edge_hold_ms(edge));
    sl_pipe_join(p, upstream);
    return NULL;
}

/* --- one after the other --- */

static void use_tunnel(struct sl_pipe *p)
{
    const char *why = open_tunnel(p);

    if (why == NULL)
        return;
    sl_pipe_target_failed(p, "connecting", why, NULL);
    sl_pipe_next_target(p, why);
}

void sl_pipe_next_target(struct sl_pipe *p, const char *error)
{
    if (p->target != NULL)
        sl_target_end(p->target);
    p->target = p->next_pick < p->n_picks ? p->picks[p->next_pick++] : NULL;
    if (p->target == NULL) {
        sl_pipe_end(p, SL_CLOSE_ABORT, error);
        return;
    }
    sl_target_begin(p->target);
    if (p->target->tunnel.len > 0)
        use_tunnel(p);
    else
        dial(p);
}
