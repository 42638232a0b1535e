/*
 * QUIC connections, from the socket to HTTP/3: a listener is the endpoint of a port, and each of
 * its connections is a struct sl_conn like those over TCP, so that policy, hooks, limits and
 * draining are the same for both.
 */
#include <unistd.h>
#include "http/h3_server.h"
#include "proxy/udp.h"

enum { COUNT_MS = 1000 };

/* --- the handshake --- */

/* As sl_hello_certificate(). A protocol of the hook's (RFC 8737 has one for TLS over TCP) is none
 * that QUIC could carry. */
static int certificate(struct sl_conn *c, const struct sl_verdict *v, struct sl_cert **cert)
{
    if (v->kind == SL_VERDICT_CERT && v->text.len > 0) {
        sl_cert_unref(v->cert);
        return SL_E_DENIED;
    }
    return sl_hello_certificate(c, v, cert);
}

static void on_hello_verdict(struct sl_hook_slot *slot, const struct sl_verdict *v)
{
    struct sl_conn *c = sl_container_of(slot, struct sl_conn, slot);
    struct sl_cert *cert = NULL;

    if (!sl_hello_answered(c))
        return;
    if (certificate(c, v, &cert) < 0)
        cert = NULL;
    sl_quic_resume(c->quic, cert);
}

static int on_hello(void *user SL_UNUSED, struct sl_quic_conn *quic,
                    const struct sl_tls_hello *hello, struct sl_cert **cert)
{
    struct sl_conn *c = quic->user;
    struct sl_verdict v = {0};

    sl_hello_keep_sni(c, hello->sni);
    if (sl_hello_ask(c, hello, on_hello_verdict, &v) == SL_E_AGAIN)
        return SL_E_AGAIN;
    return certificate(c, &v, cert);
}

static void on_ready(struct sl_quic_conn *quic)
{
    struct sl_conn *c = quic->user;

    c->stage = SL_CONN_HTTP;
    c->quic = NULL;
    sl_deadline_stop(&c->deadline);
    c->peer.tls_version = "TLSv1.3";
    sl_stat_add(&c->proxy->stats.quic_handshakes, 1);
    c->http = sl_h3_serve(quic, &c->proxy->service->http, &c->peer);
    if (c->proxy->is_draining)
        sl_http_conn_drain(c->http);
}

static bool has_nothing_to_send(struct sl_quic_conn *quic SL_UNUSED,
                                struct sl_quic_chunk *chunk SL_UNUSED)
{
    return false;
}

static void on_closed(struct sl_quic_conn *quic, const struct sl_quic_end *end)
{
    struct sl_conn *c = quic->user;

    c->quic = NULL;
    sl_conn_fail(c, "the QUIC handshake", end->reason);
}

static const struct sl_quic_app handshake_app = {
    .on_ready = on_ready, .next = has_nothing_to_send, .on_closed = on_closed};

static void on_left(struct sl_quic_conn *quic SL_UNUSED, const struct sl_quic_end *end SL_UNUSED)
{
}

/* Of a connection that we have left: its last packet is still to be sent. */
static const struct sl_quic_app left_app = {.next = has_nothing_to_send, .on_closed = on_left};

void sl_conn_leave_quic(struct sl_conn *c)
{
    c->quic->app = &left_app;
    sl_quic_close(c->quic, SL_H3_NO_ERROR, "");
    c->quic = NULL;
}

/* --- visitors whom a proxy in front of us has named --- */

static uint64_t now(const struct sl_conn *c)
{
    return sl_loop_now_ms(c->proxy->loop);
}

void sl_conn_forget_name(struct sl_conn *c)
{
    if (c->is_named)
        sl_named_leave(&c->source, c->port, now(c));
    c->is_named = false;
}

/* Who it is that comes from `source`: sets `*visitor`. False: a proxy has not said so. */
static bool find_visitor(struct sl_conn *c, const struct sl_addr *source, struct sl_addr *visitor)
{
    struct sl_proxy_header header;

    *visitor = *source;
    if (!sl_header_is_due(c->proxy, source))
        return true;
    if (!sl_named_enter(source, c->port, now(c), &header))
        return false;
    sl_conn_forget_name(c);
    c->is_named = true;
    c->source = *source;
    if (header.has_addresses) {
        sl_addr_from_ip16(visitor, header.from, header.from_port);
        sl_addr_from_ip16(&c->peer.local, header.to, header.to_port);
    }
    return true;
}

static size_t on_header(void *user, const struct sl_addr *remote, const uint8_t *bytes, size_t len)
{
    struct sl_quic_listener *l = user;
    enum sl_naming naming;

    return sl_header_take(l->proxy, l->port, remote, &(struct sl_datagrams){bytes, len, len},
                          &naming);
}

static bool may_begin(void *user, const struct sl_addr *remote)
{
    struct sl_quic_listener *l = user;
    struct sl_proxy *p = l->proxy;

    if (!sl_header_is_due(p, remote) || sl_named_has(remote, l->port, sl_loop_now_ms(p->loop)))
        return true;
    sl_stat_add(&p->stats.proxy_missing, 1);
    return false;
}

/* --- accepting --- */

static int on_accept(void *user, struct sl_quic_conn *quic)
{
    struct sl_quic_listener *l = user;
    struct sl_conn *c =
        l->is_closing ? NULL : sl_conn_new(l->proxy, SL_TRANSPORT_UDP, l->port, &quic->remote);
    struct sl_addr visitor;
    const char *why;

    if (c == NULL)
        return SL_E_LIMIT;
    c->stage = SL_CONN_HANDSHAKE;
    c->quic_listener = l;
    l->n_conns++;
    c->peer.local = quic->local;
    c->peer.is_tls = c->peer.is_quic = true;
    c->is_trusted = !l->proxy->settings->accept_proxy &&
                    sl_ip_set_has(&l->proxy->settings->trusted, c->peer.ip16);
    why = find_visitor(c, &quic->remote, &visitor) ? sl_conn_admit(c, &visitor) : "no PROXY header";
    if (why != NULL) {
        sl_conn_fail(c, "accepting", why);
        return SL_E_DENIED;
    }
    c->quic = quic;
    quic->app = &handshake_app;
    quic->user = c;
    return 0;
}

void sl_conn_migrated(const struct sl_peer *peer, const struct sl_addr *remote)
{
    struct sl_conn *c = peer->user;
    struct sl_addr visitor;

    /* A header that got lost says nothing about him, who goes on under the name that he has. */
    if (find_visitor(c, remote, &visitor) && !sl_conn_set_remote(c, &visitor))
        sl_conn_close(c);
}

/* --- what listeners demand --- */

/* Whoever counts visitors, or asks a script about them, must not be lied to about their address:
 * with QUIC the first packet of a connection may name any. With early data requests come in it. */
static bool needs_true_addresses(const struct sl_proxy *p)
{
    const struct sl_policy *policy = sl_snapshot_policy(p->live->snapshot);

    return policy->max_connections_per_ip > 0 || policy->connections_per_minute > 0 ||
           p->hooks->present & SL_HOOK_CONNECT || sl_hello_has_hook(p) ||
           p->settings->quic.early_data;
}

void sl_quic_tune(struct sl_proxy *p)
{
    p->quic_settings = p->settings->quic;
    if (p->live != NULL && needs_true_addresses(p))
        p->quic_settings.retry_above = 0;
    sl_list_each(&p->quic_listeners, it)
    {
        sl_quic_endpoint_set_settings(sl_container_of(it, struct sl_quic_listener, link)->endpoint,
                                      &p->quic_settings);
    }
}

/* --- counters --- */

static void add_stats(struct sl_quic_endpoint_stats *sum, const struct sl_quic_listener *l)
{
    const struct sl_quic_endpoint_stats *stats = sl_quic_endpoint_stats(l->endpoint);

    sum->retries += stats->retries;
    sum->dropped += stats->dropped;
    sum->forwarded += stats->forwarded;
}

/* An endpoint's counters are its worker's; these can be read by any thread. */
static void on_count(struct sl_timer *t)
{
    struct sl_proxy *p = t->user;
    struct sl_quic_endpoint_stats sum = p->quic_past;

    sl_list_each(&p->quic_listeners, it)
        add_stats(&sum, sl_container_of(it, struct sl_quic_listener, link));
    atomic_store_explicit(&p->stats.quic_retries, sum.retries, memory_order_relaxed);
    atomic_store_explicit(&p->stats.quic_dropped, sum.dropped, memory_order_relaxed);
    atomic_store_explicit(&p->stats.quic_forwarded, sum.forwarded, memory_order_relaxed);
    if (!sl_list_is_empty(&p->quic_listeners))
        sl_timer_set(t, COUNT_MS);
}

/* --- listeners --- */

static void forward(void *user, unsigned worker, const struct sl_udp_packet *packet)
{
    struct sl_quic_listener *l = user;
    const struct sl_proxy *p = l->proxy;

    if (p->quic.forward != NULL)
        p->quic.forward(p->user, worker, l->port, packet);
}

static struct sl_quic_listener *find(struct sl_proxy *p, uint16_t port)
{
    sl_list_each(&p->quic_listeners, it)
    {
        struct sl_quic_listener *l = sl_container_of(it, struct sl_quic_listener, link);

        if (l->port == port)
            return l;
    }
    return NULL;
}

static void tell_closed(struct sl_proxy *p, uint16_t port)
{
    if (p->quic.on_closed != NULL)
        p->quic.on_closed(p->user, port);
}

void sl_proxy_listen_quic(struct sl_proxy *p, int fd, uint16_t port)
{
    static const struct sl_quic_server server = {on_accept, on_hello};
    struct sl_quic_listener *l = find(p, port);
    struct sl_quic_endpoint_opts opts = {.loop = p->loop,
                                         .settings = &p->quic_settings,
                                         .worker = p->quic.worker,
                                         .tls = p->quic.tls,
                                         .server = &server,
                                         .forward = forward,
                                         .on_header = on_header,
                                         .may_begin = may_begin};

    if (l != NULL) { /* it still had connections; `fd` is the same socket */
        l->is_closing = false;
        close(fd);
        tell_closed(p, port);
        return;
    }
    l = sl_zalloc(sizeof(*l));
    l->proxy = p;
    l->port = port;
    opts.user = l;
    l->endpoint = sl_quic_endpoint_new(fd, &opts);
    sl_list_append(&p->quic_listeners, &l->link);
    sl_timer_set(&p->quic_timer, COUNT_MS);
}

static void close_listener(struct sl_quic_listener *l)
{
    struct sl_proxy *p = l->proxy;

    sl_loop_unsoon(&l->soon);
    sl_link_remove(&l->link);
    add_stats(&p->quic_past, l);
    sl_quic_endpoint_free(l->endpoint);
    tell_closed(p, l->port);
    sl_loop_defer(p->loop, l, sl_free);
}

static void free_if_unused(void *user)
{
    struct sl_quic_listener *l = user;

    if (l->is_closing && l->n_conns == 0)
        close_listener(l);
}

/* Not at once: the endpoint may be calling. */
static void free_soon(struct sl_quic_listener *l)
{
    sl_loop_soon(l->proxy->loop, &l->soon, free_if_unused, l);
}

void sl_proxy_unlisten_quic(struct sl_proxy *p, uint16_t port)
{
    struct sl_quic_listener *l = find(p, port);

    if (l == NULL)
        return;
    l->is_closing = true;
    free_soon(l);
}

void sl_proxy_receive(struct sl_proxy *p, uint16_t port, const struct sl_udp_packet *packet)
{
    struct sl_quic_listener *l = find(p, port);

    if (l != NULL)
        sl_quic_endpoint_receive(l->endpoint, packet);
}

void sl_quic_listener_left(struct sl_quic_listener *l)
{
    l->n_conns--;
    free_soon(l);
}

void sl_quic_listener_stop(struct sl_quic_listener *l)
{
    sl_quic_endpoint_stop_accepting(l->endpoint);
}

void sl_quic_begin(struct sl_proxy *p, const struct sl_proxy_quic *opts)
{
    p->quic = *opts;
    sl_list_init(&p->quic_listeners);
    sl_timer_init(&p->quic_timer, p->loop, on_count, p);
}

void sl_quic_end(struct sl_proxy *p)
{
    sl_list_each(&p->quic_listeners, it)
        close_listener(sl_container_of(it, struct sl_quic_listener, link));
    sl_timer_clear(&p->quic_timer);
}
