#include "quic/internal.h"

/* A client's socket is bound to any address, so that the kernel chooses the one that leads there.
 * Then it has one path, whatever address the answers were sent to. */
static const struct sl_addr *local_of(const struct sl_qconn *c, const struct sl_udp_packet *packet)
{
    return c->pub.is_server ? &packet->local : &c->endpoint->local;
}

static const char *tls_reason(const struct sl_qconn *c)
{
    long verdict = c->handshake != NULL ? SSL_get_verify_result(c->handshake->ssl) : X509_V_OK;

    return verdict != X509_V_OK ? X509_verify_cert_error_string(verdict)
                                : "the TLS handshake failed";
}

void sl_qconn_check(struct sl_qconn *c, int rc)
{
    const struct sl_quic_end idle = {.code = SL_E_CLOSED, .reason = "idle"};
    const struct sl_quic_end late = {.code = SL_E_TIMEOUT, .reason = "the handshake took too long"};
    const struct sl_quic_end noise = {.code = SL_E_PROTOCOL, .reason = "not a QUIC connection"};

    switch (rc) {
    case 0:
        return;
    case NGTCP2_ERR_IDLE_CLOSE:
        sl_qconn_end(c, SL_QCONN_VANISHES, c->is_done ? &idle : &late);
        return;
    case NGTCP2_ERR_HANDSHAKE_TIMEOUT:
        sl_qconn_end(c, SL_QCONN_VANISHES, &late);
        return;
    case NGTCP2_ERR_DROP_CONN:
    case NGTCP2_ERR_RETRY:
        sl_qconn_end(c, SL_QCONN_VANISHES, &noise);
        return;
    case NGTCP2_ERR_DRAINING:
        sl_qconn_end_by_peer(c);
        return;
    case NGTCP2_ERR_CRYPTO:
        sl_qconn_fail(c, SL_E_TLS, NGTCP2_CRYPTO_ERROR | ngtcp2_conn_get_tls_alert(c->ngtcp2),
                      tls_reason(c));
        return;
    default:
        sl_qconn_fail(c, rc == NGTCP2_ERR_CALLBACK_FAILURE ? SL_E_SYSTEM : SL_E_PROTOCOL,
                      ngtcp2_err_infer_quic_transport_error_code(rc), ngtcp2_strerror(rc));
    }
}

int sl_qconn_read(struct sl_qconn *c, const struct sl_udp_packet *packet)
{
    ngtcp2_path path = sl_qconn_path(local_of(c, packet), &packet->remote);
    ngtcp2_pkt_info info = {.ecn = packet->ecn};
    int rc;

    if (c->ending != SL_QCONN_LIVES)
        return 0;
    rc = ngtcp2_conn_read_pkt(c->ngtcp2, &path, &info, packet->bytes, packet->len,
                              sl_quic_now(c->endpoint));
    sl_qconn_check(c, rc);
    sl_qconn_soon(c);
    return rc;
}

/* ngtcp2 can come into a state in which it takes a connection id of the peer, finds that it may not
 * send with it yet, gives it up and gets another one, ten times a second and for ever: when a
 * client leaves a path before its PATH_CHALLENGE from there was answered. To ngtcp2 that is not
 * idle. Who keeps a connection on purpose sends PING. */
static bool is_unused(struct sl_qconn *c)
{
    ngtcp2_conn_info info;

    if (c->idle_ns == 0 || sl_quic_now(c->endpoint) - c->used_ns < 2 * c->idle_ns)
        return false;
    ngtcp2_conn_get_conn_info(c->ngtcp2, &info);
    if (info.ping_recv == c->n_pings)
        return true;
    c->n_pings = info.ping_recv;
    sl_qconn_used(c);
    return false;
}

void sl_qconn_on_due(struct sl_quic_timer *t)
{
    struct sl_qconn *c = sl_container_of(t, struct sl_qconn, timer);

    sl_qconn_check(c, ngtcp2_conn_handle_expiry(c->ngtcp2, sl_quic_now(c->endpoint)));
    if (is_unused(c))
        sl_qconn_fail(c, SL_E_CLOSED, NGTCP2_NO_ERROR, "idle");
    sl_qconn_soon(c);
}
