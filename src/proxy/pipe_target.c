/*
 * How a raw pipe comes by its target: one pick after the other, by dialling it or through a tunnel.
 * Nothing of the client's has been sent before one is there.
 */
#include "proxy/pipe.h"

#include <stdio.h>
#include "base/log.h"
#include "route/target.h"

/* --- what a target is called --- */

struct sl_str sl_pipe_target(const struct sl_pipe *p, char out[SL_PIPE_TARGET_LEN])
{
    const struct sl_target *t = p->target;
    bool is_ipv6 = t != NULL && t->host.len > 0 && memchr(t->host.p, ':', t->host.len) != NULL;

    out[0] = '\0';
    if (t != NULL && t->tunnel.len > 0)
        snprintf(out, SL_PIPE_TARGET_LEN, "tunnel:%.*s", SL_STR_FMT(t->tunnel));
    else if (t != NULL && t->unix_path.len > 0)
        snprintf(out, SL_PIPE_TARGET_LEN, "unix:%.*s", SL_STR_FMT(t->unix_path));
    else if (t != NULL)
        snprintf(out, SL_PIPE_TARGET_LEN, is_ipv6 ? "[%.*s]:%u" : "%.*s:%u", SL_STR_FMT(t->host),
                 t->port != 0 ? t->port : p->conn->port);
    return sl_str_c(out);
}

struct sl_target *sl_pipe_name_target(struct sl_str host, uint16_t port)
{
    struct sl_target *t = sl_zalloc(sizeof(*t));

    t->host = sl_str(sl_strndup(host.p, host.len), host.len);
    t->port = port;
    t->state = sl_target_state_get(t);
    return t;
}

void sl_pipe_forget_named(struct sl_target *t)
{
    if (t == NULL)
        return;
    sl_target_state_put(t->state);
    sl_free((char *)t->host.p);
    sl_free(t);
}

void sl_pipe_target_failed(struct sl_pipe *p, const char *doing, const char *error,
                           const char *detail)
{
    char text[SL_PIPE_TARGET_LEN];
    unsigned n_suppressed;

    if (sl_log_may(&p->conn->proxy->failures, &n_suppressed))
        sl_log_warn("target failed", sl_f_strn("target", sl_pipe_target(p, text)),
                    sl_f_strn("route", p->route != NULL ? p->route->name : SL_STR_NONE),
                    sl_f_str("while", doing), sl_f_str("error", error),
                    sl_f_str("detail", detail != NULL ? detail : ""),
                    sl_f_int("suppressed", n_suppressed));
    sl_target_failed(p->target, sl_loop_now_ms(p->conn->proxy->loop));
}

/* --- dialling --- */

/* Who the visitor is, for a target or a hub that wants to know. */
static size_t write_preface(struct sl_pipe *p, unsigned version)
{
    struct sl_proxy_header header = {.has_addresses = true};
    const struct sl_peer *peer = &p->conn->peer;

    memcpy(header.from, peer->ip16, 16);
    sl_addr_to_ip16(&peer->local, header.to);
    header.from_port = sl_addr_port(&peer->remote);
    header.to_port = p->conn->port;
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
