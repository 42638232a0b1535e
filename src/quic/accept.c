#include "quic/internal.h"

/* What the token of the Initial says about its sender. */
struct proof {
    enum sl_quic_token kind;
    ngtcp2_cid odcid;
};

static ngtcp2_token_type token_type(enum sl_quic_token kind)
{
    switch (kind) {
    case SL_QUIC_TOKEN_RETRY:
        return NGTCP2_TOKEN_TYPE_RETRY;
    case SL_QUIC_TOKEN_KNOWN:
        return NGTCP2_TOKEN_TYPE_NEW_TOKEN;
    default:
        return NGTCP2_TOKEN_TYPE_UNKNOWN;
    }
}

static void begin(struct sl_quic_endpoint *e, const struct sl_udp_packet *packet,
                  const ngtcp2_pkt_hd *hd, const struct proof *proof)
{
    struct sl_qconn *c = sl_qconn_new(e, true);
    struct sl_qconn_first first = {
        .hd = hd,
        .remote = &packet->remote,
        .local = &packet->local,
        .odcid = proof->kind == SL_QUIC_TOKEN_RETRY ? &proof->odcid : NULL,
        .token_type = token_type(proof->kind),
    };

    if (sl_qconn_begin_server(c, &first) < 0) {
        sl_qconn_finish(c);
        e->stats.dropped++;
        return;
    }
    e->stats.accepted++;
    if (sl_qconn_read(c, packet) != NGTCP2_ERR_RETRY)
        return;
    /* The second half of a long ClientHello came first. ngtcp2 keeps it for nobody whose address is
     * not known. */
    sl_qconn_finish(c);
    sl_quic_send_retry(e, packet, hd);
}

void sl_quic_accept(struct sl_quic_endpoint *e, const struct sl_udp_packet *packet,
                    ngtcp2_pkt_hd *hd)
{
    struct proof proof;

    if (e->may_begin != NULL && !e->may_begin(e->user, &packet->remote)) {
        e->stats.dropped++;
        return;
    }
    if (e->server != NULL && e->is_stopped) {
        sl_quic_send_refusal(e, packet, hd, NGTCP2_CONNECTION_REFUSED);
        return;
    }
    if (e->server == NULL || e->n_handshakes >= e->settings.max_handshakes) {
        e->stats.dropped++;
        return;
    }
    proof.kind = sl_quic_token_check(hd, &packet->remote, sl_quic_now(e), &proof.odcid);
    if (proof.kind == SL_QUIC_TOKEN_INVALID) {
        sl_quic_send_refusal(e, packet, hd, NGTCP2_INVALID_TOKEN);
        return;
    }
    if (proof.kind == SL_QUIC_TOKEN_NONE) {
        hd->token = NULL; /* ngtcp2 would believe it */
        hd->tokenlen = 0;
        if (e->n_handshakes >= e->settings.retry_above) {
            sl_quic_send_retry(e, packet, hd);
            return;
        }
        if (hd->dcid.datalen < NGTCP2_MIN_INITIAL_DCIDLEN) {
            e->stats.dropped++;
            return;
        }
    }
    begin(e, packet, hd, &proof);
}
