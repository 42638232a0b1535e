#include "quic/internal.h"

/* --- life --- */

struct sl_qconn *sl_qconn_new(struct sl_quic_endpoint *e, bool is_server)
{
    struct sl_qconn *c = sl_zalloc(sizeof(*c));

    c->pub.loop = e->loop;
    c->pub.is_server = is_server;
    c->endpoint = e;
    c->timer.on_due = sl_qconn_on_due;
    sl_list_init(&c->cids);
    sl_list_init(&c->datagrams);
    sl_list_append(is_server ? &e->conns : &e->clients, &c->link);
    e->n_conns++;
    if (is_server) {
        c->is_shaking = true;
        e->n_handshakes++;
    }
    return c;
}

void sl_qconn_done(struct sl_qconn *c)
{
    if (c->is_shaking)
        c->endpoint->n_handshakes--;
    c->is_shaking = false;
}

void sl_qconn_free(void *user)
{
    struct sl_qconn *c = user;

    sl_list_each(&c->datagrams, it)
    {
        sl_quic_datagram_drop(c, sl_container_of(it, struct sl_quic_datagram, link));
    }
    ngtcp2_conn_del(c->ngtcp2); /* writes the end of the qlog */
    if (c->qlog != NULL)
        (void)fclose(c->qlog);
    sl_free(c->sni);
    sl_free(c->reason);
    sl_free(c);
}

static void set_timer(struct sl_qconn *c)
{
    sl_quic_timers_set(&c->endpoint->timers, &c->timer, ngtcp2_conn_get_expiry(c->ngtcp2));
}

static void resume(struct sl_qconn *c)
{
    c->handshake->is_resumed = false;
    sl_qconn_check(c, ngtcp2_conn_continue_handshake(c->ngtcp2, sl_quic_now(c->endpoint)));
}

void sl_qconn_run(struct sl_qconn *c)
{
    if (c->ending == SL_QCONN_LIVES && c->handshake != NULL && c->handshake->is_resumed)
        resume(c);
    if (c->ending == SL_QCONN_LIVES)
        sl_qconn_write(c);
    if (c->ending != SL_QCONN_LIVES) {
        sl_qconn_finish(c);
        return;
    }
    if (c->is_done && c->pub.is_server)
        sl_quic_handshake_free(c);
    set_timer(c);
}

/* --- what the owner asks --- */

void sl_quic_wake(struct sl_quic_conn *pub)
{
    sl_qconn_soon(sl_qconn(pub));
}

int sl_quic_open(struct sl_quic_conn *pub, bool is_uni, int64_t *id)
{
    struct sl_qconn *c = sl_qconn(pub);
    int rc;

    if (c->ending != SL_QCONN_LIVES)
        return SL_E_CLOSED;
    rc = is_uni ? ngtcp2_conn_open_uni_stream(c->ngtcp2, id, NULL)
                : ngtcp2_conn_open_bidi_stream(c->ngtcp2, id, NULL);
    return rc == 0 ? 0 : SL_E_AGAIN;
}

void sl_quic_set_stream(struct sl_quic_conn *pub, int64_t id, void *stream)
{
    (void)ngtcp2_conn_set_stream_user_data(sl_qconn(pub)->ngtcp2, id, stream);
}

void sl_quic_consume_stream(struct sl_quic_conn *pub, int64_t id, size_t n)
{
    struct sl_qconn *c = sl_qconn(pub);

    if (c->ending != SL_QCONN_LIVES || n == 0)
        return;
    (void)ngtcp2_conn_extend_max_stream_offset(c->ngtcp2, id, n); /* it may have ended */
    sl_qconn_soon(c);
}

void sl_quic_consume(struct sl_quic_conn *pub, int64_t id, size_t n)
{
    struct sl_qconn *c = sl_qconn(pub);

    if (id >= 0)
        sl_quic_consume_stream(pub, id, n);
    if (c->ending != SL_QCONN_LIVES || n == 0)
        return;
    ngtcp2_conn_extend_max_offset(c->ngtcp2, n);
    sl_qconn_soon(c);
}

void sl_quic_shut(struct sl_quic_conn *pub, int64_t id, unsigned which, uint64_t app_error)
{
    struct sl_qconn *c = sl_qconn(pub);

    if (c->ending != SL_QCONN_LIVES)
        return;
    if ((which & SL_QUIC_WRITE) != 0)
        (void)ngtcp2_conn_shutdown_stream_write(c->ngtcp2, 0, id, app_error);
    if ((which & SL_QUIC_READ) != 0)
        (void)ngtcp2_conn_shutdown_stream_read(c->ngtcp2, 0, id, app_error);
    sl_qconn_soon(c);
}

/* With a new connection id, so that nobody can tell that it is the same client; where that is not
 * possible yet the server takes us for somebody behind a translator that changed its mind. */
static void migrate(struct sl_qconn *c)
{
    ngtcp2_path path = sl_qconn_path(&c->endpoint->local, &c->pub.remote);

    if (ngtcp2_conn_initiate_immediate_migration(c->ngtcp2, &path, sl_quic_now(c->endpoint)) != 0)
        ngtcp2_conn_set_local_addr(c->ngtcp2, &path.local);
    sl_qconn_soon(c);
}

int sl_quic_rebind(struct sl_quic_conn *pub)
{
    struct sl_quic_endpoint *e = sl_qconn(pub)->endpoint;
    int rc = e->wire->ops->rebind(e->wire, &e->local);

    if (rc < 0)
        return rc;
    sl_list_each(&e->clients, it)
    {
        struct sl_qconn *c = sl_container_of(it, struct sl_qconn, link);

        if (c->ending == SL_QCONN_LIVES)
            migrate(c);
    }
    sl_quic_endpoint_on_writable(e); /* the old socket may have been full */
    return 0;
}

bool sl_quic_is_early(const struct sl_quic_conn *pub)
{
    return !sl_qconn(pub)->is_done;
}

struct sl_str sl_quic_alpn(const struct sl_quic_conn *pub)
{
    return sl_str_c(sl_qconn(pub)->alpn);
}

struct sl_str sl_quic_sni(const struct sl_quic_conn *pub)
{
    return sl_str_c(sl_qconn(pub)->sni);
}

void sl_quic_stats(const struct sl_quic_conn *pub, struct sl_quic_stats *out)
{
    ngtcp2_conn_info info;

    ngtcp2_conn_get_conn_info(sl_qconn(pub)->ngtcp2, &info);
    *out = (struct sl_quic_stats){
        .rtt_us = info.smoothed_rtt / NGTCP2_MICROSECONDS,
        .min_rtt_us = info.min_rtt == UINT64_MAX ? 0 : info.min_rtt / NGTCP2_MICROSECONDS,
        .cwnd = info.cwnd,
        .bytes_in_flight = info.bytes_in_flight,
        .bytes_in = info.bytes_recv,
        .bytes_out = info.bytes_sent,
        .packets_lost = info.pkt_lost,
    };
}
