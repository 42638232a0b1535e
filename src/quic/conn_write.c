#include "quic/internal.h"

/* Where ngtcp2 wants the next packet. */
struct packet {
    ngtcp2_path *path;
    ngtcp2_pkt_info *info;
    uint8_t *bytes;
    size_t len;
    ngtcp2_tstamp now;
};

/* Adds a datagram to the packet. NGTCP2_ERR_WRITE_MORE: the packet is open for more; else as
 * ngtcp2_conn_writev_stream(). */
static ngtcp2_ssize put_datagram(struct sl_qconn *c, struct packet *p, struct sl_quic_datagram *d)
{
    int is_taken = 0;
    ngtcp2_ssize n =
        ngtcp2_conn_write_datagram(c->ngtcp2, p->path, p->info, p->bytes, p->len, &is_taken,
                                   NGTCP2_WRITE_DATAGRAM_FLAG_MORE, 0, d->bytes, d->len, p->now);

    if (n == NGTCP2_ERR_INVALID_ARGUMENT || n == NGTCP2_ERR_INVALID_STATE) {
        is_taken = 1; /* it can never be sent */
        n = NGTCP2_ERR_WRITE_MORE;
    }
    if (is_taken) {
        sl_qconn_used(c);
        sl_quic_datagram_drop(c, d);
    }
    return n;
}

/* Asks the app, unless the peer allows no byte of any stream. */
static bool ask(struct sl_qconn *c, struct sl_quic_chunk *chunk)
{
    return c->is_ready && sl_qconn_is_open(c) && ngtcp2_conn_get_max_data_left(c->ngtcp2) > 0 &&
           c->pub.app->next(&c->pub, chunk);
}

static size_t chunk_len(const struct sl_quic_chunk *chunk)
{
    size_t len = 0;

    for (int i = 0; i < chunk->n_iov; i++)
        len += chunk->iov[i].iov_len;
    return len;
}

/* Adds what the app wants to send next, or ends the packet. Returns as put_datagram(). */
static ngtcp2_ssize put_stream(struct sl_qconn *c, struct packet *p)
{
    struct sl_quic_chunk chunk = {.stream_id = -1};
    bool is_asked = ask(c, &chunk);
    int64_t id = is_asked ? chunk.stream_id : -1;
    uint32_t flags = (is_asked ? NGTCP2_WRITE_STREAM_FLAG_MORE : 0) |
                     (chunk.fin ? NGTCP2_WRITE_STREAM_FLAG_FIN : 0);
    void *stream = is_asked ? ngtcp2_conn_get_stream_user_data(c->ngtcp2, id) : NULL;
    ngtcp2_ssize n_taken = -1;
    ngtcp2_ssize n = ngtcp2_conn_writev_stream(c->ngtcp2, p->path, p->info, p->bytes, p->len,
                                               &n_taken, flags, id, (const ngtcp2_vec *)chunk.iov,
                                               is_asked ? (size_t)chunk.n_iov : 0, p->now);

    switch (n) {
    case NGTCP2_ERR_STREAM_DATA_BLOCKED:
        c->pub.app->blocked(&c->pub, id, stream, false);
        return NGTCP2_ERR_WRITE_MORE;
    case NGTCP2_ERR_STREAM_SHUT_WR:
    case NGTCP2_ERR_STREAM_NOT_FOUND:
        c->pub.app->blocked(&c->pub, id, stream, true);
        if (n == NGTCP2_ERR_STREAM_SHUT_WR) /* ngtcp2 tells of STOP_SENDING in no other way */
            c->pub.app->on_stream_stop(&c->pub, id, stream, 0);
        return NGTCP2_ERR_WRITE_MORE;
    default:
        if (n_taken < 0)
            return n;
        sl_qconn_used(c);
        c->pub.app->wrote(&c->pub, id, stream, (size_t)n_taken,
                          chunk.fin && (size_t)n_taken == chunk_len(&chunk));
        return n;
    }
}

/* One packet: datagrams first, since they are what is urgent, then streams. */
static ngtcp2_ssize write_packet(ngtcp2_conn *conn, ngtcp2_path *path, ngtcp2_pkt_info *info,
                                 uint8_t *bytes, size_t len, ngtcp2_tstamp now, void *user)
{
    struct sl_qconn *c = user;
    struct packet p = {path, info, bytes, len, now};
    ngtcp2_ssize n = NGTCP2_ERR_WRITE_MORE;
    struct sl_quic_datagram *d;

    (void)conn;
    while (n == NGTCP2_ERR_WRITE_MORE && c->is_ready && (d = sl_quic_datagram_first(c)) != NULL)
        n = put_datagram(c, &p, d);
    while (n == NGTCP2_ERR_WRITE_MORE)
        n = put_stream(c, &p);
    c->is_drained = n == 0;
    return n;
}

static void add(struct sl_qconn *c, struct sl_udp_send *msg, const ngtcp2_path *path)
{
    struct sl_addr local, remote;

    (void)sl_addr_from_sockaddr(&remote, path->remote.addr, path->remote.addrlen);
    msg->remote = &remote;
    if (c->pub.is_server) {
        (void)sl_addr_from_sockaddr(&local, path->local.addr, path->local.addrlen);
        msg->local = &local;
    }
    sl_quic_out_add(c->endpoint, msg);
}

/* Writes one message of several packets, of at most `max` bytes; how many, 0 when there is nothing
 * to be sent, or an error of ngtcp2. */
static ngtcp2_ssize write_message(struct sl_qconn *c, uint8_t *at, size_t max, ngtcp2_tstamp now)
{
    size_t most = c->endpoint->settings.no_gso ? 1 : SL_UDP_SEGMENTS_MAX;
    ngtcp2_path_storage path;
    ngtcp2_pkt_info info = {0};
    size_t segment = 0;
    ngtcp2_ssize n;

    ngtcp2_path_storage_zero(&path);
    n = ngtcp2_conn_write_aggregate_pkt2(c->ngtcp2, &path.path, &info, at, max, &segment,
                                         write_packet, most, now);
    if (n > 0)
        add(c,
            &(struct sl_udp_send){
                .bytes = at, .len = (size_t)n, .segment = segment, .ecn = info.ecn},
            &path.path);
    return n;
}

/* Until there is nothing more, or this connection had its share of the turn; then it goes on in the
 * next one. */
void sl_qconn_write(struct sl_qconn *c)
{
    ngtcp2_tstamp now = sl_quic_now(c->endpoint);
    size_t least = ngtcp2_conn_get_max_tx_udp_payload_size(c->ngtcp2);
    size_t left = SL_MAX(ngtcp2_conn_get_send_quantum(c->ngtcp2), least);
    ngtcp2_ssize n;

    c->is_drained = false;
    do {
        size_t room;
        uint8_t *at = sl_quic_out_room(c->endpoint, least, &room);

        if (at == NULL)
            break;
        n = write_message(c, at, SL_MIN(left, room), now);
        if (n < 0) {
            sl_qconn_check(c, (int)n);
            return;
        }
        left -= SL_MIN(left, (size_t)n);
    } while (!c->is_drained && left >= least);
    ngtcp2_conn_update_pkt_tx_time(c->ngtcp2, now);
    if (!c->is_drained)
        sl_qconn_soon(c);
}
