#include "quic/internal.h"

/* How many there may be at once; the oldest goes. They live some hundred milliseconds. */
enum { GHOSTS_MAX = 8192 };

/* The closing or draining period (RFC 9000, section 10.2): packets that are still under way must
 * not look like those of an unknown connection, and whoever missed our last word may need it again.
 */
struct sl_quic_ghost {
    struct sl_link link;
    struct sl_quic_endpoint *endpoint;
    struct sl_list cids;
    struct sl_quic_timer timer;
    uint64_t n_in, next_answer; /* it answers the first packet, the second, the fourth, ... */
    size_t bytes_in, bytes_out;
    size_t len;
    uint8_t packet[];
};

static void ghost_free(struct sl_quic_ghost *g)
{
    struct sl_quic_endpoint *e = g->endpoint;

    sl_quic_cid_remove_all(&e->cids, &g->cids);
    sl_quic_timers_remove(&e->timers, &g->timer);
    sl_link_remove(&g->link);
    e->n_ghosts--;
    sl_free(g);
}

static void on_due(struct sl_quic_timer *t)
{
    ghost_free(sl_container_of(t, struct sl_quic_ghost, timer));
}

void sl_quic_ghost_new(struct sl_qconn *c, const uint8_t *packet, size_t len)
{
    struct sl_quic_endpoint *e = c->endpoint;
    struct sl_quic_ghost *g = sl_zalloc(sizeof(*g) + len);

    if (e->n_ghosts >= GHOSTS_MAX)
        ghost_free(sl_container_of(sl_list_first(&e->ghosts), struct sl_quic_ghost, link));
    g->endpoint = e;
    g->next_answer = 1;
    g->len = len;
    if (len > 0)
        memcpy(g->packet, packet, len);
    sl_list_init(&g->cids);
    sl_list_each(&c->cids, it)
    {
        struct sl_quic_cid *cid = sl_container_of(it, struct sl_quic_cid, link);

        sl_link_remove(it);
        sl_list_append(&g->cids, it);
        cid->conn = NULL;
        cid->ghost = g;
    }
    sl_list_append(&e->ghosts, &g->link);
    e->n_ghosts++;
    g->timer.on_due = on_due;
    sl_quic_timers_set(&e->timers, &g->timer, sl_quic_now(e) + 3 * ngtcp2_conn_get_pto(c->ngtcp2));
}

void sl_quic_ghost_receive(struct sl_quic_ghost *g, const struct sl_udp_packet *packet)
{
    struct sl_quic_endpoint *e = g->endpoint;
    struct sl_udp_send msg = {
        .remote = &packet->remote, .local = &packet->local, .len = g->len, .segment = g->len};
    uint8_t *at;
    size_t room;

    g->bytes_in += packet->len;
    if (++g->n_in < g->next_answer || g->len == 0 || g->bytes_out + g->len > 3 * g->bytes_in ||
        (at = sl_quic_out_room(e, g->len, &room)) == NULL)
        return;
    g->next_answer *= 2;
    g->bytes_out += g->len;
    memcpy(at, g->packet, g->len);
    msg.bytes = at;
    sl_quic_out_add(e, &msg);
}

void sl_quic_ghosts_clear(struct sl_quic_endpoint *e)
{
    sl_list_each(&e->ghosts, it)
    {
        ghost_free(sl_container_of(it, struct sl_quic_ghost, link));
    }
}
