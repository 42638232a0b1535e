/*
 * For tests of tunnels over QUIC: two endpoints, and connections between them that become links.
 * The certificates are those of the tests of QUIC streams; the endpoints come from the test, with
 * the options of test_quic_opts(). The greeting is left out: the edge hands its connection over at
 * once, and the first frame on the control stream tells the hub of it.
 *
 *     test_quic_init(&q, loop);
 *     q.streams.server.endpoint = ...; q.streams.client.endpoint = ...;
 *     q.on_edge = ...; q.on_hub = ...;
 *     test_quic_connect(&q, &at_hub);
 *     ... q.on_edge() and q.on_hub() take quic and control of their side ...
 *     test_quic_clear(&q);
 */
#ifndef SL_TUNNEL_TEST_QUIC_H
#define SL_TUNNEL_TEST_QUIC_H

#include "quic/test_streams.h"
#include "tunnel/quic_link.h"

struct test_quic;

/* The newest connection of a side, until it is a link. */
struct test_quic_side {
    struct test_quic *all;
    struct sl_tunnel_quic *quic;
    struct sl_stream *control;
    int n_closed, code;
};

struct test_quic {
    struct test_streams streams; /* certificates, settings, endpoints */
    struct sl_loop *loop;
    struct test_quic_side edge, hub;
    /* The control stream is there. */
    void (*on_edge)(struct test_quic_side *side);
    void (*on_hub)(struct test_quic_side *side);
};

static inline void test_quic_on_ready(void *user)
{
    struct test_quic_side *side = user;

    sl_assert(sl_quic_stream_open(&side->control, sl_tunnel_quic_streams(side->quic)) == 0);
    side->all->on_edge(side);
}

static inline void test_quic_on_control(void *user, struct sl_stream *control)
{
    struct test_quic_side *side = user;

    side->control = control;
    side->all->on_hub(side);
}

/* What was not handed over. */
static inline void test_quic_side_drop(struct test_quic_side *side)
{
    sl_stream_free(&side->control, SL_CLOSE_ABORT);
    sl_tunnel_quic_free(side->quic);
    side->quic = NULL;
}

static inline void test_quic_on_closed(void *user, int code, const char *why)
{
    struct test_quic_side *side = user;

    sl_check(why[0] != '\0');
    side->n_closed++;
    side->code = code;
    test_quic_side_drop(side);
}

static const struct sl_tunnel_quic_handler test_quic_edge = {.on_ready = test_quic_on_ready,
                                                             .on_closed = test_quic_on_closed};
static const struct sl_tunnel_quic_handler test_quic_hub = {.on_control = test_quic_on_control,
                                                            .on_closed = test_quic_on_closed};

static inline int test_quic_on_accept(void *user, struct sl_quic_conn *c)
{
    struct test_quic *q = sl_container_of(user, struct test_quic, streams);

    test_quic_side_drop(&q->hub);
    q->hub.quic = sl_tunnel_quic_new(q->loop, &test_quic_hub, &q->hub);
    sl_tunnel_quic_begin(q->hub.quic, c);
    return 0;
}

static const struct sl_quic_server test_quic_server = {test_quic_on_accept, test_streams_on_hello};

static inline void test_quic_init(struct test_quic *q, struct sl_loop *loop)
{
    *q = (struct test_quic){.loop = loop};
    test_streams_init(&q->streams);
    q->streams.settings.idle_timeout = 0;
    q->streams.settings.max_datagram = 1200;
    q->edge.all = q->hub.all = q;
}

static inline struct sl_quic_endpoint_opts test_quic_opts(struct test_quic *q, bool is_server)
{
    struct sl_quic_endpoint_opts opts = test_streams_opts(&q->streams, is_server);

    opts.loop = q->loop;
    if (is_server)
        opts.server = &test_quic_server;
    return opts;
}

static inline void test_quic_connect(struct test_quic *q, const struct sl_addr *at)
{
    struct sl_quic_conn *c;

    test_quic_side_drop(&q->edge);
    q->edge.quic = sl_tunnel_quic_new(q->loop, &test_quic_edge, &q->edge);
    sl_assert(sl_quic_connect(&c, q->streams.client.endpoint, at, q->streams.client_tls,
                              SL_STR("a.example"), &sl_quic_streams_app,
                              sl_tunnel_quic_streams(q->edge.quic)) == 0);
    sl_tunnel_quic_begin(q->edge.quic, c);
}

static inline void test_quic_clear(struct test_quic *q)
{
    test_quic_side_drop(&q->edge);
    test_quic_side_drop(&q->hub);
    test_streams_clear(&q->streams);
}

#endif
