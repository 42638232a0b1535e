#include <unistd.h>
#include "codec/proxy_header.h"
#include "quic/internal.h"

const struct sl_quic_settings sl_quic_settings_default = {
    .idle_timeout = 30 * 1000,
    .handshake_timeout = 10 * 1000,
    .max_streams_bidi = 128,
    .max_streams_uni = 8,
    .stream_window = 64 * 1024,
    .conn_window = 256 * 1024,
    .max_stream_window = 6 * 1024 * 1024,
    .max_conn_window = 16 * 1024 * 1024,
    .retry_above = 32,
    .max_handshakes = 2048,
    .resets_per_second = 100,
};

/* --- the end of a turn --- */

static void soon(struct sl_quic_endpoint *e);

/* To set a timer of the kernel costs more than to write a packet, and a connection that sends at
 * full speed is due again at once. So what is due very soon is seen to in the next turn. */
static void arm(struct sl_quic_endpoint *e)
{
    uint64_t due = sl_quic_timers_first(&e->timers);

    if (e->out.is_full)
        return; /* nobody could do anything; what is late then runs when there is room */
    if (due == SL_QUIC_NEVER || due > sl_quic_now(e) + e->wire->patience_ns)
        e->wire->ops->arm(e->wire, due);
    else
        soon(e);
}

static void fire(struct sl_quic_endpoint *e)
{
    uint64_t now = sl_quic_now(e);
    struct sl_quic_timer *t;

    while ((t = sl_quic_timers_pop(&e->timers, now)) != NULL)
        t->on_due(t);
}

/* Runs those that are ready now; who becomes ready meanwhile waits for the next turn. */
static void run(void *user)
{
    struct sl_quic_endpoint *e = user;
    struct sl_list now;

    fire(e);
    sl_list_init(&now);
    sl_list_each(&e->ready, it)
    {
        sl_link_remove(it);
        sl_list_append(&now, it);
    }
    for (struct sl_link *it; (it = sl_list_pop(&now)) != NULL;)
        sl_qconn_run(sl_container_of(it, struct sl_qconn, ready));
    sl_quic_out_flush(e);
    arm(e);
}

static void soon(struct sl_quic_endpoint *e)
{
    sl_loop_soon(e->loop, &e->task, run, e);
}

void sl_qconn_soon(struct sl_qconn *c)
{
    if (!sl_link_is_on(&c->ready))
        sl_list_append(&c->endpoint->ready, &c->ready);
    /* With a full socket there is nothing to be done until it has room, but an end goes on. */
    if (!c->endpoint->out.is_full || c->ending != SL_QCONN_LIVES)
        soon(c->endpoint);
}

/* --- life --- */

struct sl_quic_endpoint *sl_quic_endpoint_new_on(struct sl_quic_wire *wire,
                                                 const struct sl_addr *local,
                                                 const struct sl_quic_endpoint_opts *opts)
{
    struct sl_quic_endpoint *e = sl_zalloc(sizeof(*e));

    sl_assert(opts->worker <= UINT8_MAX && (opts->tls == NULL) == (opts->server == NULL));
    e->wire = wire;
    wire->endpoint = e;
    e->loop = opts->loop;
    e->settings = opts->settings != NULL ? *opts->settings : sl_quic_settings_default;
    e->tls = opts->tls != NULL ? sl_quic_tls_ref(opts->tls) : NULL;
    e->server = opts->server;
    e->forward = opts->forward;
    e->on_header = opts->on_header;
    e->may_begin = opts->may_begin;
    e->user = opts->user;
    e->worker = opts->worker;
    e->local = *local;
    e->client_callbacks = &sl_quic_client_callbacks;
    sl_list_init(&e->conns);
    sl_list_init(&e->clients);
    sl_list_init(&e->ready);
    sl_list_init(&e->ghosts);
    return e;
}

struct sl_quic_endpoint *sl_quic_endpoint_new(int fd, const struct sl_quic_endpoint_opts *opts)
{
    struct sl_addr local = {0};
    socklen_t len = sizeof(local);

    sl_assert(getsockname(fd, &local.sa, &len) == 0);
    return sl_quic_endpoint_new_on(sl_quic_wire_new(opts->loop, fd), &local, opts);
}

int sl_quic_endpoint_new_client(struct sl_quic_endpoint **out, const struct sl_addr *remote,
                                const struct sl_quic_endpoint_opts *opts, struct sl_err *err)
{
    struct sl_addr any = {.sa.sa_family = remote->sa.sa_family}; /* wildcard, any port */
    int fd, rc = sl_socket_bind_udp(&fd, &any, false, err);

    if (rc == 0)
        *out = sl_quic_endpoint_new_on(sl_quic_wire_new(opts->loop, fd), &any, opts);
    return rc;
}

static void close_all(struct sl_list *conns)
{
    struct sl_quic_end end = {.code = SL_E_CANCELLED, .reason = "the endpoint ends"};

    sl_list_each(conns, it)
    {
        struct sl_qconn *c = sl_container_of(it, struct sl_qconn, link);

        sl_qconn_end(c, SL_QCONN_CLOSES, &end);
        sl_qconn_finish(c);
    }
}

void sl_quic_endpoint_free(struct sl_quic_endpoint *e)
{
    if (e == NULL)
        return;
    close_all(&e->conns);
    close_all(&e->clients);
    sl_quic_out_flush(e);
    sl_quic_ghosts_clear(e);
    sl_loop_unsoon(&e->task);
    sl_quic_timers_clear(&e->timers);
    sl_map_clear(&e->cids);
    e->wire->ops->free(e->wire);
    sl_quic_tls_free(e->tls);
    sl_free(e->out.bytes);
    sl_free(e);
}

void sl_quic_endpoint_stop_accepting(struct sl_quic_endpoint *e)
{
    e->is_stopped = true;
}

void sl_quic_endpoint_set_settings(struct sl_quic_endpoint *e,
                                   const struct sl_quic_settings *settings)
{
    e->settings = *settings;
}

size_t sl_quic_endpoint_conns(const struct sl_quic_endpoint *e)
{
    return e->n_conns;
}

const struct sl_quic_endpoint_stats *sl_quic_endpoint_stats(const struct sl_quic_endpoint *e)
{
    return &e->stats;
}

/* --- what the wire says --- */

/* A datagram for a connection that is not here: that of another worker, if it may go there. */
static bool forward(struct sl_quic_endpoint *e, const struct sl_udp_packet *packet,
                    const ngtcp2_version_cid *ids)
{
    unsigned worker = sl_quic_cid_worker(ids->dcid);

    if (e->forward == NULL || ids->dcidlen != SL_QUIC_CID_LEN || worker == e->worker)
        return false;
    e->stats.forwarded++;
    e->forward(e->user, worker, packet);
    return true;
}

/* A stateless reset has no connection id, but noise where one would be. Who else sends us short
 * packets that nobody knows? So those that talk to this address have a look. */
static bool offer_to_clients(struct sl_quic_endpoint *e, const struct sl_udp_packet *packet)
{
    bool is_offered = false;

    sl_list_each(&e->clients, it)
    {
        struct sl_qconn *c = sl_container_of(it, struct sl_qconn, link);

        if (!sl_addr_eq(&c->pub.remote, &packet->remote))
            continue;
        (void)sl_qconn_read(c, packet);
        is_offered = true;
    }
    return is_offered;
}

/* Nobody here has this connection id. An Initial may carry one that its client made up, even one
 * that looks like ours, and is never forwarded. */
static void take_unknown(struct sl_quic_endpoint *e, const struct sl_udp_packet *packet,
                         const ngtcp2_version_cid *ids, bool may_forward)
{
    bool is_long = (packet->bytes[0] & 0x80) != 0;
    ngtcp2_pkt_hd hd;

    if (is_long && ngtcp2_accept(&hd, packet->bytes, packet->len) == 0)
        sl_quic_accept(e, packet, &hd);
    else if (!is_long && offer_to_clients(e, packet))
        return;
    else if (may_forward && forward(e, packet, ids))
        return;
    else if (!is_long && sl_quic_cid_worker(ids->dcid) == e->worker)
        sl_quic_send_reset(e, packet, ids->dcid, ids->dcidlen);
    else
        e->stats.dropped++;
}

/* Skips what a proxy in front of us has put there. False: nothing is left. */
static bool skip_header(struct sl_quic_endpoint *e, struct sl_udp_packet *packet)
{
    size_t n = 0;

    if (!sl_proxy_header_is_v2(packet->bytes, packet->len))
        return true;
    if (e->on_header != NULL)
        n = e->on_header(e->user, &packet->remote, packet->bytes, packet->len);
    if (n == 0)
        e->stats.dropped++;
    if (n == 0 || n == packet->len)
        return false;
    packet->bytes += n;
    packet->len -= n;
    return true;
}

static void take_one(struct sl_quic_endpoint *e, struct sl_udp_packet *packet, bool may_forward)
{
    ngtcp2_version_cid ids;
    struct sl_quic_cid *cid;
    int rc = NGTCP2_ERR_INVALID_ARGUMENT;

    if (!skip_header(e, packet))
        return;
    e->stats.packets_in++;
    e->stats.bytes_in += packet->len;
    if (packet->len > 0)
        rc = ngtcp2_pkt_decode_version_cid(&ids, packet->bytes, packet->len, SL_QUIC_CID_LEN);
    if (rc == NGTCP2_ERR_VERSION_NEGOTIATION) {
        sl_quic_send_version_negotiation(e, packet, &ids);
        return;
    }
    if (rc != 0) {
        e->stats.dropped++;
        return;
    }
    cid = sl_quic_cid_find(&e->cids, ids.dcid, ids.dcidlen);
    if (cid == NULL)
        take_unknown(e, packet, &ids, may_forward);
    else if (cid->conn != NULL)
        (void)sl_qconn_read(cid->conn, packet);
    else
        sl_quic_ghost_receive(cid->ghost, packet);
}

void sl_quic_endpoint_take(struct sl_quic_endpoint *e, const struct sl_udp_packet *packet,
                           bool may_forward)
{
    struct sl_udp_packet one = *packet;
    size_t left = packet->len;

    do {
        size_t len = packet->segment > 0 ? SL_MIN(left, packet->segment) : left;

        one.bytes = packet->bytes + packet->len - left;
        one.len = one.segment = len;
        take_one(e, &one, may_forward);
        left -= len;
    } while (left > 0);
    if (e->out.n > 0)
        soon(e); /* answers without a connection */
}

void sl_quic_endpoint_receive(struct sl_quic_endpoint *e, const struct sl_udp_packet *packet)
{
    sl_quic_endpoint_take(e, packet, false);
}

void sl_quic_endpoint_on_time(struct sl_quic_endpoint *e)
{
    soon(e);
}

void sl_quic_endpoint_on_writable(struct sl_quic_endpoint *e)
{
    e->out.is_full = false;
    sl_quic_out_flush(e);
    soon(e);
}
