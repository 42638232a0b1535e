#include "quic/internal.h"

static void empty(struct sl_quic_out *out)
{
    out->len = 0;
    out->n = out->n_sent = 0;
}

void sl_quic_out_flush(struct sl_quic_endpoint *e)
{
    struct sl_quic_out *out = &e->out;

    if (out->is_full || out->n == 0)
        return;
    out->n_sent += e->wire->ops->send(e->wire, out->msgs + out->n_sent, out->n - out->n_sent);
    if (out->n_sent < out->n)
        out->is_full = true;
    else
        empty(out);
}

uint8_t *sl_quic_out_room(struct sl_quic_endpoint *e, size_t least, size_t *len)
{
    struct sl_quic_out *out = &e->out;

    if (out->bytes == NULL)
        out->bytes = sl_alloc(SL_QUIC_OUT_LEN);
    if (SL_QUIC_OUT_LEN - out->len < least || out->n == SL_QUIC_OUT_MSGS)
        sl_quic_out_flush(e);
    if (out->is_full)
        return NULL;
    *len = SL_MIN(SL_QUIC_OUT_LEN - out->len, (size_t)SL_UDP_SEND_MAX);
    return out->bytes + out->len;
}

void sl_quic_out_add(struct sl_quic_endpoint *e, const struct sl_udp_send *msg)
{
    struct sl_quic_out *out = &e->out;
    int i = out->n++;

    sl_assert(!out->is_full && msg->bytes == out->bytes + out->len);
    out->len += msg->len;
    out->msgs[i] = *msg;
    out->addrs[i].remote = *msg->remote;
    out->msgs[i].remote = &out->addrs[i].remote;
    if (msg->local != NULL) {
        out->addrs[i].local = *msg->local;
        out->msgs[i].local = &out->addrs[i].local;
    }
    e->stats.bytes_out += msg->len;
    e->stats.packets_out += (msg->len + msg->segment - 1) / msg->segment;
}
