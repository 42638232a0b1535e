#include "proxy/internal.h"

#include "base/log.h"
#include "net/listener.h"

const struct sl_proxy_settings sl_proxy_settings_default = {
    .http = SL_HTTP_LIMITS_DEFAULT,
    .handshake_timeout = 10000,
    .hook_timeout = 60000,
    .connect_timeout = 5000,
    .response_timeout = 60000,
    .response_body_timeout = 60000,
    .pipe_timeout = 3600000,
    .udp_idle_timeout = 60000,
    .max_udp_sessions = 65536,
    .max_body_hook = 16 << 20,
};

/* --- snapshots --- */

struct sl_live *sl_live_ref(struct sl_proxy *p)
{
    p->live->n_users++;
    return p->live;
}

void sl_live_unref(struct sl_live *live)
{
    sl_assert(live->n_users > 0);
    if (--live->n_users > 0)
        return;
    if (live->proxy->release_snapshot != NULL)
        live->proxy->release_snapshot(live->proxy->user, live->snapshot);
    else
        sl_snapshot_unref(live->snapshot);
    sl_free(live);
}

void sl_proxy_set_snapshot(struct sl_proxy *p, struct sl_snapshot *snapshot)
{
    struct sl_live *live = sl_zalloc(sizeof(*live));

    live->proxy = p;
    live->snapshot = sl_snapshot_ref(snapshot);
    live->n_users = 1;
    if (p->live != NULL)
        sl_live_unref(p->live);
    p->live = live;
    sl_quic_tune(p);
}

/* --- settings --- */

static void on_refused(const struct sl_peer *peer, int status, const char *why)
{
    struct sl_conn *c = peer->user;
    unsigned n_suppressed;

    sl_stat_add(&c->proxy->stats.errors, 1);
    if (sl_log_may(&c->proxy->refusals, &n_suppressed))
        sl_log_info("request refused", sl_f_int("status", status), sl_f_str("why", why),
                    sl_f_str("client", c->ip), sl_f_int("port", c->port),
                    sl_f_int("suppressed", n_suppressed));
}

static void on_http_closed(const struct sl_peer *peer)
{
    sl_conn_ended(peer->user);
}

void sl_proxy_set_settings(struct sl_proxy *p, const struct sl_proxy_settings *settings)
{
    struct sl_service *service = sl_zalloc(sizeof(*service));

    p->settings = settings;
    service->http.on_request = sl_request_start;
    service->http.on_refused = on_refused;
    service->http.on_closed = on_http_closed;
    service->http.on_migrated = sl_conn_migrated;
    service->http.limits = settings->http;
    service->http.drain_grace = p->drain_grace;
    sl_list_append(&p->services, &service->link);
    p->service = service;
    sl_quic_tune(p);
}

void sl_proxy_set_hooks(struct sl_proxy *p, const struct sl_hooks *hooks)
{
    static const struct sl_hooks none;

    p->hooks = hooks != NULL ? hooks : &none;
    sl_quic_tune(p);
}

/* --- life --- */

void sl_proxy_new(struct sl_proxy **out, const struct sl_proxy_opts *opts)
{
    struct sl_proxy *p = sl_zalloc(sizeof(*p));

    p->loop = opts->loop;
    p->dns = opts->dns;
    p->pool = opts->pool;
    p->tls = opts->tls;
    p->release_snapshot = opts->release_snapshot;
    p->find_edge = opts->find_edge;
    p->user = opts->user;
    sl_list_init(&p->listeners);
    sl_list_init(&p->conns);
    sl_list_init(&p->services);
    p->flows = sl_flows_new(p);
    sl_quic_begin(p, &opts->quic);
    sl_proxy_set_settings(p, opts->settings);
    sl_proxy_set_hooks(p, NULL);
    *out = p;
}

static void drop_listener(struct sl_port_listener *l)
{
    sl_link_remove(&l->link);
    sl_listener_free(l->listener);
    sl_loop_defer(l->proxy->loop, l, sl_free);
}

void sl_proxy_free(struct sl_proxy *p)
{
    if (p == NULL)
        return;
    p->on_drained = NULL;
    sl_list_each(&p->listeners, it)
        drop_listener(sl_container_of(it, struct sl_port_listener, link));
    sl_list_each(&p->conns, it) sl_conn_close(sl_container_of(it, struct sl_conn, link));
    sl_flows_free(p->flows);
    sl_quic_end(p);
    sl_list_each(&p->services, it)
        sl_loop_defer(p->loop, sl_container_of(it, struct sl_service, link), sl_free);
    if (p->live != NULL)
        sl_live_unref(p->live);
    sl_adhoc_clear(&p->adhoc);
    sl_loop_defer(p->loop, p, sl_free);
}

void sl_proxy_listen(struct sl_proxy *p, int fd, uint16_t port)
{
    struct sl_port_listener *l = sl_zalloc(sizeof(*l));

    l->proxy = p;
    l->port = port;
    l->listener = sl_listener_new(p->loop, fd, sl_conn_accept, l);
    sl_list_append(&p->listeners, &l->link);
}

void sl_proxy_unlisten(struct sl_proxy *p, uint16_t port)
{
    sl_list_each(&p->listeners, it)
    {
        struct sl_port_listener *l = sl_container_of(it, struct sl_port_listener, link);

        if (l->port == port)
            drop_listener(l);
    }
}

int sl_proxy_listening(const struct sl_proxy *p, struct sl_fds *out)
{
    sl_list_each(&p->listeners, it)
    {
        const struct sl_port_listener *l = sl_container_of(it, struct sl_port_listener, link);
        int rc = sl_fds_add_copy(out, sl_listener_fd(l->listener));

        if (rc < 0)
            return rc;
    }
    return 0;
}

void sl_proxy_drain(struct sl_proxy *p, uint32_t grace, void (*on_drained)(void *user), void *user)
{
    p->is_draining = true;
    p->drain_grace = grace;
    sl_list_each(&p->services, it) sl_container_of(it, struct sl_service, link)->http.drain_grace =
        grace;
    p->on_drained = on_drained;
    p->drained_user = user;
    sl_list_each(&p->listeners, it)
        drop_listener(sl_container_of(it, struct sl_port_listener, link));
    sl_list_each(&p->quic_listeners, it)
        sl_quic_listener_stop(sl_container_of(it, struct sl_quic_listener, link));
    sl_list_each(&p->conns, it) sl_conn_drain(sl_container_of(it, struct sl_conn, link));
    if (p->n_conns == 0 && p->on_drained != NULL) {
        p->on_drained = NULL;
        on_drained(user);
    }
}

void sl_proxy_apply_policy(struct sl_proxy *p)
{
    const struct sl_policy *policy = sl_snapshot_policy(p->live->snapshot);

    sl_list_each(&p->conns, it)
    {
        struct sl_conn *c = sl_container_of(it, struct sl_conn, link);

        if (!sl_access_allows(&policy->access, c->peer.ip16))
            sl_conn_close(c);
    }
    sl_flows_apply_policy(p->flows, policy);
}

const struct sl_proxy_stats *sl_proxy_stats(const struct sl_proxy *p)
{
    return &p->stats;
}
