#include "tunnel/hub.h"

#include "net/listener.h"
#include "tunnel/hub_internal.h"

enum {
    HANDSHAKES_MAX = 256, /* over TLS, at once; more wait in the kernel's queue */
    PRESSURE_MS = 200,    /* then, how often those without a word are looked for */
    IDLE_MS = 2000,       /* and how long they may be so */
};

const char *sl_hub_transport(enum sl_edge_transport transport)
{
    return transport == SL_EDGE_QUIC ? "quic" : "tls";
}

/* --- the pace of handshakes --- */

void sl_hub_pace(struct sl_hub *h)
{
    bool is_full = h->n_handshakes >= HANDSHAKES_MAX;

    if (h->listener != NULL)
        sl_listener_pause(h->listener, is_full);
    if (is_full && h->pressure.due_ms == 0)
        sl_deadline_set(&h->pressure, PRESSURE_MS);
}

static void on_pressure(struct sl_deadline *d)
{
    struct sl_hub *h = d->user;
    uint64_t now = sl_loop_now_ms(h->opts.loop);

    if (h->n_handshakes >= HANDSHAKES_MAX && now > IDLE_MS)
        sl_hub_conn_drop_idle(h, now - IDLE_MS);
    sl_hub_pace(h);
}

/* --- sockets --- */

static void on_accept(void *user, int fd, const struct sl_addr *remote)
{
    sl_hub_conn_accept(user, fd, remote);
}

static int on_quic_accept(void *user, struct sl_quic_conn *c)
{
    return sl_hub_conn_accept_quic(user, c);
}

static int on_quic_hello(void *user, struct sl_quic_conn *c, const struct sl_tls_hello *hello,
                         struct sl_cert **cert)
{
    const struct sl_hub *h = user;

    (void)c;
    (void)hello;
    *cert = sl_cert_ref(h->opts.cert);
    return 0;
}

static const struct sl_quic_server quic_server = {on_quic_accept, on_quic_hello};

static void listen_quic(struct sl_hub *h, int fd)
{
    struct sl_quic_settings settings = sl_greeter_quic_settings(h->opts.dead_ms);
    struct sl_quic_endpoint_opts opts = {.loop = h->opts.loop,
                                         .settings = &settings,
                                         .worker = h->opts.worker,
                                         .tls = h->opts.quic_tls,
                                         .server = &quic_server,
                                         .user = h};

    h->endpoint = sl_quic_endpoint_new(fd, &opts);
}

void sl_hub_listen(struct sl_hub *h, int tcp_fd, int udp_fd)
{
    if (tcp_fd >= 0)
        h->listener = sl_listener_new(h->opts.loop, tcp_fd, on_accept, h);
    if (udp_fd >= 0)
        listen_quic(h, udp_fd);
}

/* --- status --- */

static void fill(const struct sl_hub_entry *entry, struct sl_tunnel_status *out)
{
    const struct sl_hub_edge *e = entry->edge;

    *out = (struct sl_tunnel_status){.links = entry->n_links};
    if (e == NULL)
        return;
    sl_pulse_status(&e->pulse, e->tunnel, &e->sessions, out);
    out->transport = e->transport;
    out->up_since = out->is_up ? e->up_since : 0;
    if (!sl_pulse_remote(&e->pulse, &out->remote))
        out->remote = e->addr; /* of the last link */
}

void sl_hub_each(const struct sl_hub *h,
                 void (*fn)(void *arg, struct sl_str id, const struct sl_tunnel_status *status),
                 void *arg)
{
    sl_list_each(&h->table.list, it)
    {
        const struct sl_hub_entry *entry = sl_container_of(it, struct sl_hub_entry, link);
        struct sl_tunnel_status status;

        fill(entry, &status);
        fn(arg, entry->id, &status);
    }
}

void sl_hub_stats(const struct sl_hub *h, struct sl_hub_stats *out)
{
    *out = h->stats;
}

/* --- life --- */

static uint32_t or_default(uint32_t value, uint32_t other)
{
    return value > 0 ? value : other;
}

static void set_defaults(struct sl_hub_opts *o)
{
    o->greeting_ms = or_default(o->greeting_ms, 10 * 1000);
    o->refusal_ms = or_default(o->refusal_ms, 1000);
    o->ping_ms = or_default(o->ping_ms, 15 * 1000);
    o->dead_ms = or_default(o->dead_ms, 45 * 1000);
    o->resume_ms = or_default(o->resume_ms, 60 * 1000);
    o->max_greetings = or_default(o->max_greetings, 10 * 1000);
    o->max_streams = or_default(o->max_streams, SL_TUNNEL_STREAMS_MAX);
    o->max_sessions = or_default(o->max_sessions, 65536);
}

struct sl_hub *sl_hub_new(const struct sl_hub_opts *opts)
{
    struct sl_hub *h = sl_zalloc(sizeof(*h));

    h->opts = *opts;
    set_defaults(&h->opts);
    (void)sl_cert_ref(h->opts.cert);
    sl_hub_table_init(&h->table);
    sl_list_init(&h->conns);
    sl_list_init(&h->handshakes);
    sl_deadline_init(&h->pressure, opts->loop, on_pressure, h);
    return h;
}

void sl_hub_set_cert(struct sl_hub *h, struct sl_cert *cert)
{
    struct sl_cert *before = h->opts.cert;

    h->opts.cert = sl_cert_ref(cert);
    sl_cert_unref(before);
}

static void destroy(void *ptr)
{
    struct sl_hub *h = ptr;

    sl_quic_endpoint_free(h->endpoint);
    sl_cert_unref(h->opts.cert);
    sl_free(h);
}

void sl_hub_free(struct sl_hub *h)
{
    if (h == NULL)
        return;
    sl_listener_free(h->listener);
    h->listener = NULL;
    sl_hub_conn_drop_all(h);
    sl_hub_table_clear(&h->table);
    sl_hub_alarm_clear(&h->alarm);
    sl_deadline_stop(&h->pressure);
    sl_loop_defer(h->opts.loop, h, destroy);
}
