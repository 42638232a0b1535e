/*
 * A connection that an edge of ours has accepted: it comes as a stream of a tunnel, with the
 * visitor's address told by the edge. From the hook on_stream on it goes the way of every other
 * connection.
 */
#include "proxy/internal.h"

/* The edge listens on a port that nobody here has a route for. */
static void fail_without_route(struct sl_conn *c)
{
    unsigned n_suppressed;

    if (sl_log_may(&c->proxy->refusals, &n_suppressed))
        sl_log_warn("no route for what an edge has accepted", sl_f_strn("edge", c->peer.edge),
                    sl_f_int("port", c->port), sl_f_str("client", c->ip),
                    sl_f_int("suppressed", n_suppressed));
    sl_conn_fail(c, "accepting", "no route for the port");
}

static bool has_routes(const struct sl_conn *c)
{
    const struct sl_port_info *info = sl_snapshot_port(c->proxy->live->snapshot, c->port);

    return info != NULL && info->transport & c->transport;
}

void sl_conn_begin_tunnelled(struct sl_conn *c)
{
    const struct sl_hooks *hooks = c->proxy->hooks;
    struct sl_verdict v = {0};

    if (hooks->present & SL_HOOK_STREAM)
        (void)hooks->on_stream(hooks->host, &c->slot, &c->peer, &v);
    if (v.kind == SL_VERDICT_TARGET)
        sl_pipe_start_to(c, v.target_host, v.target_port);
    else if (v.kind != SL_VERDICT_NONE)
        sl_conn_fail(c, "accepting", "denied by on_stream");
    else if (has_routes(c))
        sl_conn_begin_protocol(c);
    else
        fail_without_route(c);
}

void sl_proxy_take_stream(struct sl_proxy *p, struct sl_stream **stream,
                          const struct sl_tunnelled *from)
{
    struct sl_conn *c =
        p->is_draining ? NULL : sl_conn_new(p, SL_TRANSPORT_TCP, from->port, &from->remote);

    if (c == NULL) {
        sl_stream_free(stream, SL_CLOSE_ABORT);
        return;
    }
    c->is_tunnelled = true;
    c->peer.local = from->local;
    c->peer.edge = sl_str(sl_strndup(from->edge.p, from->edge.len), from->edge.len);
    sl_conn_take(c, *stream);
    *stream = NULL;
    sl_conn_begin(c);
}
