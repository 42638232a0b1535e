/*
 * A network and a clock for tests of QUIC: endpoints in one process, datagrams in memory, with
 * delay, loss, reordering and address translation, all drawn from a seed; time passes only when
 * nothing else can happen. No sockets, no sleeping: a test of a 30 s timeout takes no time, and the
 * same seed gives the same run but for what the TLS library draws.
 *
 *     struct test_net net;
 *     test_net_init(&net, 1);
 *     server = test_net_endpoint(&net, "10.0.0.1", 443, &opts);
 *     client = test_net_endpoint(&net, "10.0.0.2", 50000, &opts);
 *     ... sl_quic_connect() ...
 *     test_net_run(&net, 1000, is_done, &state);
 */
#ifndef SL_QUIC_TEST_NET_H
#define SL_QUIC_TEST_NET_H

#include "base/list.h"
#include "quic/internal.h"

enum { TEST_NET_NODES = 8 };

struct test_net;

/* The wire of one endpoint. */
struct test_node {
    struct sl_quic_wire wire;
    struct test_net *net;
    struct sl_addr addr;    /* its own */
    struct sl_addr outside; /* as others see it: changed by a test of address translation */
    int room;               /* messages that its socket takes until test_node_drain(); -1: any */
    bool is_cut;            /* nothing from it or to it arrives */
    uint64_t n_out, bytes_out, n_in, bytes_in;
    size_t longest_out;
    uint64_t due; /* of its timer */
};

struct test_datagram {
    struct sl_link link;
    uint64_t due;
    struct sl_addr from, to;
    uint8_t ecn;
    size_t len;
    uint8_t bytes[];
};

struct test_net {
    struct sl_loop *loop;
    struct sl_list under_way; /* in order of arrival */
    struct test_node *nodes[TEST_NET_NODES];
    int n_nodes;
    uint64_t now, random;
    uint64_t delay, jitter; /* ns, each way */
    unsigned loss;          /* of 1000 */
    size_t mtu;             /* what is longer is lost */
    /* Sees each datagram before it is sent; may change it, false drops it. */
    bool (*on_send)(struct test_net *net, struct test_node *from, struct test_datagram *d);
    void *user;
};

static inline uint64_t test_net_random(struct test_net *net)
{
    net->random ^= net->random << 13;
    net->random ^= net->random >> 7;
    net->random ^= net->random << 17;
    return net->random;
}

static inline void test_net_init(struct test_net *net, uint64_t seed)
{
    *net = (struct test_net){0};
    sl_assert(sl_loop_new(&net->loop) == 0);
    sl_list_init(&net->under_way);
    net->random = seed * 0x9e3779b97f4a7c15u + 1;
    net->now = 1000 * NGTCP2_SECONDS;
    net->delay = 5 * SL_QUIC_MS;
    net->mtu = 1500;
}

static inline void test_net_clear(struct test_net *net)
{
    sl_list_each(&net->under_way, it)
    {
        sl_link_remove(it);
        sl_free(sl_container_of(it, struct test_datagram, link));
    }
    sl_loop_free(net->loop);
}

/* --- the wire of an endpoint --- */

static inline struct test_node *test_node_of(struct sl_quic_wire *w)
{
    return sl_container_of(w, struct test_node, wire);
}

/* Puts a datagram on its way, in order of arrival. */
static inline void test_net_post(struct test_net *net, struct test_datagram *d)
{
    struct sl_link *at = net->under_way.head.prev;

    while (at != &net->under_way.head &&
           sl_container_of(at, struct test_datagram, link)->due > d->due)
        at = at->prev;
    sl_link_insert(at->next, &d->link);
}

static inline struct test_datagram *test_datagram_new(const struct sl_addr *from,
                                                      const struct sl_addr *to,
                                                      const uint8_t *bytes, size_t len)
{
    struct test_datagram *d = sl_zalloc(sizeof(*d) + len);

    d->from = *from;
    d->to = *to;
    d->len = len;
    if (len > 0)
        memcpy(d->bytes, bytes, len);
    return d;
}

static inline void test_node_send_one(struct test_node *n, const struct sl_udp_send *msg,
                                      const uint8_t *bytes, size_t len)
{
    struct test_net *net = n->net;
    struct test_datagram *d = test_datagram_new(&n->outside, msg->remote, bytes, len);

    d->ecn = msg->ecn;
    n->n_out++;
    n->bytes_out += len;
    n->longest_out = SL_MAX(n->longest_out, len);
    d->due = net->now + net->delay + (net->jitter > 0 ? test_net_random(net) % net->jitter : 0);
    if (n->is_cut || len > net->mtu || test_net_random(net) % 1000 < net->loss ||
        (net->on_send != NULL && !net->on_send(net, n, d))) {
        sl_free(d);
        return;
    }
    test_net_post(net, d);
}

static inline int test_node_send(struct sl_quic_wire *w, const struct sl_udp_send *msgs, int n)
{
    struct test_node *node = test_node_of(w);

    if (node->room >= 0) {
        n = SL_MIN(n, node->room);
        node->room -= n;
    }
    for (int i = 0; i < n; i++)
        for (size_t at = 0; at < msgs[i].len; at += msgs[i].segment)
            test_node_send_one(node, &msgs[i], msgs[i].bytes + at,
                               SL_MIN(msgs[i].segment, msgs[i].len - at));
    return n;
}

static inline uint64_t test_node_now(struct sl_quic_wire *w)
{
    return test_node_of(w)->net->now;
}

static inline void test_node_arm(struct sl_quic_wire *w, uint64_t due)
{
    test_node_of(w)->due = SL_MIN(test_node_of(w)->due, due);
}

static inline int test_node_rebind(struct sl_quic_wire *w, struct sl_addr *local)
{
    struct test_node *n = test_node_of(w);

    sl_addr_set_port(&n->addr, (uint16_t)(sl_addr_port(&n->addr) + 1));
    n->outside = *local = n->addr;
    return 0;
}

static inline void test_node_free(struct sl_quic_wire *w)
{
    struct test_node *n = test_node_of(w);

    for (int i = 0; i < n->net->n_nodes; i++)
        if (n->net->nodes[i] == n)
            n->net->nodes[i] = NULL;
    sl_free(n);
}

static const struct sl_quic_wire_ops test_node_ops = {test_node_send, test_node_now, test_node_arm,
                                                      test_node_rebind, test_node_free};

/* opts->loop is set here. */
static inline struct sl_quic_endpoint *test_net_endpoint(struct test_net *net, const char *ip,
                                                         uint16_t port,
                                                         struct sl_quic_endpoint_opts opts)
{
    struct test_node *n = sl_zalloc(sizeof(*n));

    sl_assert(net->n_nodes < TEST_NET_NODES);
    sl_assert(sl_addr_parse(&n->addr, sl_str_c(ip), port) == 0);
    n->outside = n->addr;
    n->room = -1;
    n->net = net;
    n->wire.ops = &test_node_ops;
    n->due = SL_QUIC_NEVER;
    net->nodes[net->n_nodes++] = n;
    opts.loop = net->loop;
    return sl_quic_endpoint_new_on(&n->wire, &n->addr, &opts);
}

static inline struct test_node *test_node(const struct sl_quic_endpoint *e)
{
    return test_node_of(e->wire);
}

/* The socket takes that many messages again. */
static inline void test_node_drain(struct test_node *n, int room)
{
    n->room = room;
    sl_quic_endpoint_on_writable(n->wire.endpoint);
}

/* --- the passing of time --- */

static inline void test_net_deliver(struct test_net *net, struct test_datagram *d)
{
    for (int i = 0; i < net->n_nodes; i++) {
        struct test_node *n = net->nodes[i];

        if (n == NULL || n->is_cut || !sl_addr_eq(&n->outside, &d->to))
            continue;
        n->n_in++;
        n->bytes_in += d->len;
        sl_quic_endpoint_take(n->wire.endpoint,
                              &(struct sl_udp_packet){.bytes = d->bytes,
                                                      .len = d->len,
                                                      .segment = d->len,
                                                      .remote = d->from,
                                                      .local = n->addr,
                                                      .ecn = d->ecn},
                              true);
        break;
    }
}

/* What can happen now happens. */
static inline void test_net_settle(struct test_net *net)
{
    while (sl_loop_turn(net->loop, false))
        ;
}

static inline uint64_t test_net_next(const struct test_net *net)
{
    uint64_t next = SL_QUIC_NEVER;

    if (!sl_list_is_empty(&net->under_way))
        next = sl_container_of(net->under_way.head.next, struct test_datagram, link)->due;
    for (int i = 0; i < net->n_nodes; i++)
        if (net->nodes[i] != NULL)
            next = SL_MIN(next, net->nodes[i]->due);
    return next;
}

/* Time moves on to `now`: what is due then happens. */
static inline void test_net_move(struct test_net *net, uint64_t now)
{
    net->now = SL_MAX(net->now, now);
    for (int i = 0; i < net->n_nodes; i++) {
        struct test_node *n = net->nodes[i];

        if (n == NULL || n->due > net->now)
            continue;
        n->due = SL_QUIC_NEVER;
        sl_quic_endpoint_on_time(n->wire.endpoint);
    }
    for (struct sl_link *it; (it = sl_list_first(&net->under_way)) != NULL;) {
        struct test_datagram *d = sl_container_of(it, struct test_datagram, link);

        if (d->due > net->now)
            break;
        sl_link_remove(it);
        test_net_deliver(net, d);
        sl_free(d);
    }
    test_net_settle(net);
}

/* Until `is_done` (NULL: never) or that time has passed or nothing can happen any more; is it done?
 */
static inline bool test_net_run(struct test_net *net, uint64_t ms, bool (*is_done)(void *user),
                                void *user)
{
    uint64_t end = net->now + ms * SL_QUIC_MS;

    test_net_settle(net);
    while (is_done == NULL || !is_done(user)) {
        uint64_t next = test_net_next(net);

        if (next > end) {
            test_net_move(net, end);
            break;
        }
        test_net_move(net, next);
    }
    return is_done != NULL && is_done(user);
}

#endif
