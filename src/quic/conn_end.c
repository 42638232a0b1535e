#include "quic/internal.h"

enum { REASON_MAX = 256 };

void sl_qconn_end(struct sl_qconn *c, enum sl_qconn_ending how, const struct sl_quic_end *end)
{
    if (c->ending != SL_QCONN_LIVES)
        return;
    c->ending = how;
    c->end = *end;
    c->reason = sl_strndup(end->reason, strnlen(end->reason, REASON_MAX));
    c->end.reason = c->reason;
    sl_qconn_soon(c);
}

void sl_qconn_fail(struct sl_qconn *c, int code, uint64_t error, const char *reason)
{
    sl_qconn_end(c, SL_QCONN_CLOSES,
                 &(struct sl_quic_end){.code = code, .error = error, .reason = reason});
}

void sl_quic_close(struct sl_quic_conn *pub, uint64_t app_error, const char *reason)
{
    sl_qconn_end(sl_qconn(pub), SL_QCONN_CLOSES,
                 &(struct sl_quic_end){.code = SL_E_CANCELLED,
                                       .error = app_error,
                                       .is_app = true,
                                       .reason = reason != NULL ? reason : ""});
}

/* --- by the peer --- */

static int code_of(const ngtcp2_ccerr *said)
{
    if (said->type == NGTCP2_CCERR_TYPE_APPLICATION || said->error_code == NGTCP2_NO_ERROR)
        return SL_E_CLOSED;
    if (said->error_code == NGTCP2_CONNECTION_REFUSED)
        return SL_E_REFUSED;
    if ((said->error_code & ~(uint64_t)0xff) == NGTCP2_CRYPTO_ERROR)
        return SL_E_TLS;
    return SL_E_PROTOCOL;
}

void sl_qconn_end_by_peer(struct sl_qconn *c)
{
    const ngtcp2_ccerr *said = ngtcp2_conn_get_ccerr(c->ngtcp2);
    char text[REASON_MAX + 1];
    size_t len = 0;

    if (c->was_reset) {
        sl_qconn_end(c, SL_QCONN_DRAINS,
                     &(struct sl_quic_end){
                         .code = SL_E_RESET, .is_remote = true, .reason = "stateless reset"});
        return;
    }
    /* Text of a stranger: what a log can show stays. */
    for (; len < SL_MIN(said->reasonlen, (size_t)REASON_MAX); len++)
        text[len] =
            said->reason[len] >= ' ' && said->reason[len] < 0x7f ? (char)said->reason[len] : '?';
    text[len] = '\0';
    sl_qconn_end(c, SL_QCONN_DRAINS,
                 &(struct sl_quic_end){.code = code_of(said),
                                       .error = said->error_code,
                                       .is_app = said->type == NGTCP2_CCERR_TYPE_APPLICATION,
                                       .is_remote = true,
                                       .reason = text});
}

/* --- the last packet --- */

static void set_error(const struct sl_qconn *c, ngtcp2_ccerr *out)
{
    const uint8_t *reason = (const uint8_t *)c->reason;
    size_t len = strlen(c->reason);

    if (c->end.is_app)
        ngtcp2_ccerr_set_application_error(out, c->end.error, reason, len);
    else
        ngtcp2_ccerr_set_transport_error(out, c->end.error, reason, len);
}

/* Where the packet goes; NULL when no address is there yet. */
static void send_last(struct sl_qconn *c, const ngtcp2_path *path, const uint8_t *packet,
                      size_t len)
{
    struct sl_addr remote, local;
    struct sl_udp_send msg = {.remote = &remote, .len = len, .segment = len};
    size_t room;
    uint8_t *at = sl_quic_out_room(c->endpoint, len, &room);

    if (at == NULL)
        return; /* the peer gets it in answer to its next packet */
    memcpy(at, packet, len);
    msg.bytes = at;
    (void)sl_addr_from_sockaddr(&remote, path->remote.addr, path->remote.addrlen);
    (void)sl_addr_from_sockaddr(&local, path->local.addr, path->local.addrlen);
    if (c->pub.is_server)
        msg.local = &local;
    sl_quic_out_add(c->endpoint, &msg);
}

static void close_loudly(struct sl_qconn *c)
{
    uint8_t packet[NGTCP2_MAX_UDP_PAYLOAD_SIZE];
    ngtcp2_path_storage path;
    ngtcp2_pkt_info info;
    ngtcp2_ccerr error;
    ngtcp2_ssize n;

    set_error(c, &error);
    ngtcp2_path_storage_zero(&path);
    n = ngtcp2_conn_write_connection_close(c->ngtcp2, &path.path, &info, packet, sizeof(packet),
                                           &error, sl_quic_now(c->endpoint));
    if (n <= 0)
        return;
    send_last(c, &path.path, packet, (size_t)n);
    sl_quic_ghost_new(c, packet, (size_t)n);
}

void sl_qconn_finish(struct sl_qconn *c)
{
    struct sl_quic_endpoint *e = c->endpoint;

    if (c->ngtcp2 != NULL && c->ending == SL_QCONN_CLOSES)
        close_loudly(c);
    else if (c->ngtcp2 != NULL && c->ending == SL_QCONN_DRAINS)
        sl_quic_ghost_new(c, NULL, 0);
    sl_quic_cid_remove_all(&e->cids, &c->cids); /* those that no ghost took */
    sl_quic_timers_remove(&e->timers, &c->timer);
    sl_qconn_done(c);
    sl_link_remove(&c->ready);
    sl_link_remove(&c->link);
    e->n_conns--;
    if (c->is_accepted)
        c->pub.app->on_closed(&c->pub, &c->end);
    sl_quic_handshake_free(c);
    sl_loop_defer(e->loop, c, sl_qconn_free);
}
