#include "quic/internal.h"

enum {
    /* What waits longer is worth nothing: datagrams are for what is new. But many sessions share a
     * connection, and a burst of all of them has to wait for the pace: 40 ms at 100,000 a second.
     */
    QUEUE_MAX = 4096,
    QUEUE_BYTES_MAX = 512 * 1024,
    FRAME_HEAD = 1 + 2,               /* type and length */
    PACKET_HEAD_AND_TAG = 1 + 4 + 16, /* besides the connection id */
};

size_t sl_quic_max_datagram(const struct sl_quic_conn *pub)
{
    const struct sl_qconn *c = sl_qconn(pub);
    const ngtcp2_transport_params *peer = ngtcp2_conn_get_remote_transport_params(c->ngtcp2);
    size_t path = ngtcp2_conn_get_path_max_tx_udp_payload_size(c->ngtcp2);
    size_t head = PACKET_HEAD_AND_TAG + ngtcp2_conn_get_dcid(c->ngtcp2)->datalen;
    size_t frame;

    if (peer == NULL || peer->max_datagram_frame_size <= FRAME_HEAD)
        return 0;
    frame = (size_t)SL_MIN(peer->max_datagram_frame_size, (uint64_t)(path - head));
    return frame - FRAME_HEAD;
}

int sl_quic_send_datagram(struct sl_quic_conn *pub, const uint8_t *bytes, size_t len)
{
    struct sl_qconn *c = sl_qconn(pub);
    struct sl_quic_datagram *d;

    if (c->ending != SL_QCONN_LIVES)
        return SL_E_CLOSED;
    if (len > sl_quic_max_datagram(pub))
        return SL_E_LIMIT;
    if (c->n_datagrams >= QUEUE_MAX || c->datagrams_len + len > QUEUE_BYTES_MAX)
        return SL_E_AGAIN;
    d = sl_alloc(sizeof(*d) + len);
    d->link = (struct sl_link){0};
    d->len = len;
    if (len > 0)
        memcpy(d->bytes, bytes, len);
    sl_list_append(&c->datagrams, &d->link);
    c->n_datagrams++;
    c->datagrams_len += len;
    sl_qconn_soon(c);
    return 0;
}

void sl_quic_datagram_drop(struct sl_qconn *c, struct sl_quic_datagram *d)
{
    sl_link_remove(&d->link);
    c->n_datagrams--;
    c->datagrams_len -= d->len;
    sl_free(d);
}

struct sl_quic_datagram *sl_quic_datagram_first(struct sl_qconn *c)
{
    size_t max;

    if (c->n_datagrams == 0)
        return NULL;
    max = sl_quic_max_datagram(&c->pub); /* of another path than when it was queued, perhaps */
    for (struct sl_link *it; (it = sl_list_first(&c->datagrams)) != NULL;) {
        struct sl_quic_datagram *d = sl_container_of(it, struct sl_quic_datagram, link);

        if (d->len <= max)
            return d;
        sl_quic_datagram_drop(c, d);
    }
    return NULL;
}
