/* What a server does with packets of strangers: attacks on the way in. */
#include "quic/test_world.h"

/* A datagram of somebody who has no endpoint. */
static void inject(struct test_world *w, const char *ip, const uint8_t *bytes, size_t len)
{
    struct sl_addr from;
    struct test_datagram *d;

    sl_assert(sl_addr_parse(&from, sl_str_c(ip), 7777) == 0);
    d = test_datagram_new(&from, &w->server_addr, bytes, len);
    d->due = w->net.now;
    test_net_post(&w->net, d);
}

/* An Initial whose header is sound and whose rest is noise; its length. */
static size_t make_initial(uint8_t *out, uint32_t version, const uint8_t *token, size_t token_len,
                           unsigned n)
{
    uint8_t *p = out;

    *p++ = 0xc0;
    *p++ = (uint8_t)(version >> 24);
    *p++ = (uint8_t)(version >> 16);
    *p++ = (uint8_t)(version >> 8);
    *p++ = (uint8_t)version;
    *p++ = 8;
    memset(p, 0x77, 8);
    memcpy(p, &n, sizeof(n));
    p += 8;
    *p++ = 4;
    memcpy(p, "abcd", 4);
    p += 4;
    *p++ = (uint8_t)(0x40 | token_len >> 8);
    *p++ = (uint8_t)token_len;
    if (token != NULL)
        memcpy(p, token, token_len);
    p += token != NULL ? token_len : 0;
    *p++ = 0x44;
    *p++ = 0x00; /* 1024 bytes */
    memset(p, 0xa5, 1200);
    p += 1100;
    return (size_t)(p - out);
}

static uint64_t sent(const struct test_world *w)
{
    return test_node(w->server)->n_out;
}

/* an Initial in a datagram under 1200 bytes is dropped. */
static void test_short_initial(void)
{
    struct test_world w;
    uint8_t bytes[2048];
    size_t len;

    test_world_init(&w, 1);
    test_world_begin(&w);
    len = make_initial(bytes, NGTCP2_PROTO_VER_V1, NULL, 0, 1);
    sl_check(len < 1200);
    inject(&w, "10.9.9.9", bytes, len);
    inject(&w, "10.9.9.9", bytes, 1);
    inject(&w, "10.9.9.9", bytes, 0);
    (void)test_net_run(&w.net, 1000, NULL, NULL);
    sl_check(sent(&w) == 0 && w.server->stats.dropped == 3 && w.server->stats.accepted == 0);
    test_world_end(&w);
}

/* tokens that are noise, that are too long for their packet, or of another address. */
static void test_tokens(void)
{
    struct test_world w;
    uint8_t bytes[4096], token[SL_QUIC_TOKEN_MAX];
    ngtcp2_pkt_hd hd = {.version = NGTCP2_PROTO_VER_V1};
    ngtcp2_cid scid;
    struct sl_addr other;
    size_t len;

    test_world_init(&w, 1);
    test_world_begin(&w);
    memset(token, 0x99, sizeof(token));
    inject(&w, "10.9.9.9", bytes, make_initial(bytes, NGTCP2_PROTO_VER_V1, token, 60, 1) + 100);
    token[0] = NGTCP2_CRYPTO_TOKEN_MAGIC_RETRY2;
    inject(&w, "10.9.9.9", bytes, make_initial(bytes, NGTCP2_PROTO_VER_V1, token, 60, 2) + 100);
    token[0] = NGTCP2_CRYPTO_TOKEN_MAGIC_REGULAR;
    inject(&w, "10.9.9.9", bytes, make_initial(bytes, NGTCP2_PROTO_VER_V1, token, 60, 3) + 100);
    inject(&w, "10.9.9.9", bytes, make_initial(bytes, NGTCP2_PROTO_VER_V1, NULL, 5000, 4) + 100);
    (void)test_net_run(&w.net, 1000, NULL, NULL);
    sl_check(sent(&w) == 0 && w.n_peers == 0 && sl_quic_endpoint_conns(w.server) == 0);

    sl_assert(sl_addr_parse(&other, SL_STR("10.1.1.1"), 7777) == 0);
    ngtcp2_cid_init(&hd.dcid, (const uint8_t *)"12345678", 8);
    ngtcp2_cid_init(&scid, (const uint8_t *)"\5\0\0\0wwww", 8); /* as make_initial() has it */
    len = sl_quic_token_retry(token, &hd, &scid, &other, w.net.now);
    sl_check(len > 0);
    inject(&w, "10.9.9.9", bytes, make_initial(bytes, NGTCP2_PROTO_VER_V1, token, len, 5) + 100);
    (void)test_net_run(&w.net, 1000, NULL, NULL);
    sl_check(sent(&w) == 1 && test_node(w.server)->bytes_out < 100); /* INVALID_TOKEN */
    sl_check(w.server->stats.accepted == 3 && sl_quic_endpoint_conns(w.server) == 0);
    test_world_end(&w);
}

/* an unknown version is answered once, with less than it sent. */
static void test_version(void)
{
    struct test_world w;
    uint8_t bytes[2048];
    size_t len;

    test_world_init(&w, 1);
    test_world_begin(&w);
    len = make_initial(bytes, 0x0a0a0a0a, NULL, 0, 1);
    inject(&w, "10.9.9.9", bytes, len); /* too short to be answered */
    inject(&w, "10.9.9.9", bytes, len + 200);
    bytes[5] = 255; /* an id longer than any that we know */
    inject(&w, "10.9.9.9", bytes, len + 200);
    memset(bytes + 1, 0, 4); /* a version negotiation itself */
    inject(&w, "10.9.9.9", bytes, len + 200);
    (void)test_net_run(&w.net, 1000, NULL, NULL);
    sl_check(sent(&w) == 2 && w.server->stats.version_negotiations == 2);
    sl_check(test_node(w.server)->longest_out < 600);
    for (int i = 0; i < 1000; i++) {
        len = make_initial(bytes, 0x0a0a0a0a, NULL, 0, (unsigned)i);
        inject(&w, "10.9.9.9", bytes, len + 200);
    }
    test_net_move(&w.net, w.net.now + SL_QUIC_MS);
    sl_check(w.server->stats.version_negotiations <= 2 * w.server_settings.resets_per_second);
    test_world_end(&w);
}

/* Each datagram of the client endpoint comes from another address. */
static bool spoof(struct test_net *net, struct test_node *from, struct test_datagram *d)
{
    if (from->wire.endpoint->server == NULL) {
        d->from.in4.sin_addr.s_addr = (in_addr_t)test_net_random(net);
        d->due = net->now;
    }
    return true;
}

/* Initials from addresses that are not theirs. First whole handshakes, until Retry kicks in,
 * then noise. */
static void test_flood(void)
{
    enum { REAL = 200, NOISE = 20000 };
    struct test_world w;
    struct test_peer *peers = sl_zalloc(REAL * sizeof(*peers));
    uint8_t bytes[2048];
    const struct test_node *server;

    test_world_init(&w, 1);
    w.server_settings.retry_above = 50;
    test_world_begin(&w);
    server = test_node(w.server);
    w.net.on_send = spoof;
    for (int i = 0; i < REAL; i++) {
        test_peer_init(&peers[i]);
        test_world_connect_as(&w, &peers[i], "a.test");
    }
    (void)test_net_run(&w.net, 2, NULL, NULL);
    sl_check(w.server->n_handshakes == 50 && w.server->stats.retries >= REAL - 50);
    for (unsigned i = 0; i < NOISE; i++) {
        inject(&w, "10.9.9.9", bytes, make_initial(bytes, NGTCP2_PROTO_VER_V1, NULL, 0, i) + 100);
        if (i % 100 == 0)
            test_net_move(&w.net, w.net.now);
    }
    (void)test_net_run(&w.net, 1000, NULL, NULL);
    sl_check(w.server->n_handshakes <= 50 && sl_quic_endpoint_conns(w.server) <= 50);
    sl_check(server->bytes_out <= 3 * server->bytes_in);
    (void)test_net_run(&w.net, 15000, NULL, NULL); /* the handshakes time out */
    sl_check(w.server->n_handshakes == 0 && sl_quic_endpoint_conns(w.server) == 0);
    w.net.on_send = NULL;
    test_world_connect(&w);
    sl_check(test_net_run(&w.net, 1000, test_is_done, &w.client_peer));
    test_world_end(&w);
    for (int i = 0; i < REAL; i++)
        test_peer_clear(&peers[i]);
    sl_free(peers);
}

static void test_retry(void)
{
    struct test_world w;

    test_world_init(&w, 1);
    w.server_settings.retry_above = 0;
    test_world_begin(&w);
    sl_check(test_world_shake(&w));
    sl_check(w.server->stats.retries >= 1 && w.server->stats.accepted == 1);
    sl_check(test_world_echo(&w, 100000, 5000));
    test_world_end(&w);
}

/* The two datagrams of the first flight change places. */
static bool swap_first(struct test_net *net, struct test_node *from, struct test_datagram *d)
{
    if (from->wire.endpoint->server == NULL && from->n_out == 1)
        d->due += 2 * SL_QUIC_MS;
    (void)net;
    return true;
}

static void test_hello_out_of_order(void)
{
    struct test_world w;

    test_world_init(&w, 1);
    test_world_begin(&w);
    w.net.on_send = swap_first;
    test_world_connect(&w);
    sl_check(test_net_run(&w.net, 200, test_is_done, &w.client_peer)); /* nobody timed out */
    sl_check(w.server->stats.retries >= 1);
    sl_check(test_world_echo(&w, 1000, 1000));
    test_world_end(&w);
}

static void test_too_many_handshakes(void)
{
    struct test_world w;

    test_world_init(&w, 1);
    w.server_settings.max_handshakes = 0;
    test_world_begin(&w);
    test_world_connect(&w);
    sl_check(test_net_run(&w.net, 20000, test_is_closed, &w.client_peer));
    sl_check(w.client_peer.end.code == SL_E_TIMEOUT && sent(&w) == 0);
    test_world_end(&w);
}

static void make_short(uint8_t *bytes, size_t len, unsigned worker, unsigned n)
{
    memset(bytes, 0x5a, len);
    bytes[0] = 0x41;
    bytes[1] = (uint8_t)worker;
    memcpy(bytes + 2, &n, sizeof(n));
}

/* a storm of packets that belong to nobody. */
static void test_resets(void)
{
    struct test_world w;
    uint8_t bytes[1500];
    const struct test_node *server;

    test_world_init(&w, 1);
    test_world_begin(&w);
    server = test_node(w.server);
    make_short(bytes, sizeof(bytes), 3, 0);
    for (size_t len = 1; len <= 21; len++)
        inject(&w, "10.9.9.9", bytes, len); /* no shorter answer could be a reset */
    (void)test_net_run(&w.net, 1000, NULL, NULL);
    sl_check(sent(&w) == 0);
    inject(&w, "10.9.9.9", bytes, 22);
    (void)test_net_run(&w.net, 1000, NULL, NULL);
    sl_check(sent(&w) == 1 && server->longest_out == 21);
    make_short(bytes, sizeof(bytes), 4, 0); /* of another worker, but nobody forwards */
    inject(&w, "10.9.9.9", bytes, 100);
    (void)test_net_run(&w.net, 1000, NULL, NULL);
    sl_check(sent(&w) == 1);
    for (unsigned i = 0; i < 10000; i++) {
        make_short(bytes, 22 + i % 1400, 3, i);
        inject(&w, "10.9.9.9", bytes, 22 + i % 1400);
    }
    test_net_move(&w.net, w.net.now + SL_QUIC_MS);
    sl_check(w.server->stats.resets <= 2u + w.server_settings.resets_per_second);
    sl_check(server->longest_out <= 43);
    test_world_end(&w);
}

/* A client whose server has forgotten it hears so at once. */
static void test_forgotten(void)
{
    struct test_world w;
    struct test_stream *s;

    test_world_init(&w, 1);
    test_world_begin(&w);
    sl_check(test_world_shake(&w));
    (void)test_net_run(&w.net, 1000, NULL, NULL);
    test_node(w.client)->is_cut = true;
    sl_quic_close(w.peers[0].conn, 0, "");
    (void)test_net_run(&w.net, 10000, NULL, NULL);
    sl_check(w.server->cids.n == 0);
    test_node(w.client)->is_cut = false;
    s = test_peer_open(&w.client_peer, false);
    test_peer_send(&w.client_peer, s, "are you there? I have more to say", 33, false);
    sl_check(test_net_run(&w.net, 1000, test_is_closed, &w.client_peer));
    sl_check(w.client_peer.end.code == SL_E_RESET && w.server->stats.resets >= 1);
    test_world_end(&w);
}

/* Whoever goes on talking to a closed connection is told again, now and then. */
static void test_closing(void)
{
    struct test_world w;
    struct test_stream *s;
    uint64_t before;

    test_world_init(&w, 1);
    test_world_begin(&w);
    sl_check(test_world_shake(&w));
    (void)test_net_run(&w.net, 1000, NULL, NULL);
    test_node(w.client)->is_cut = true;
    sl_quic_close(w.peers[0].conn, 5, "");
    test_net_settle(&w.net);
    test_net_move(&w.net, w.net.now + 6 * SL_QUIC_MS); /* the last word is lost */
    before = sent(&w);
    test_node(w.client)->is_cut = false;
    s = test_peer_open(&w.client_peer, false);
    test_peer_send(&w.client_peer, s, "x", 1, false);
    sl_check(test_net_run(&w.net, 1000, test_is_closed, &w.client_peer));
    sl_check(w.client_peer.end.code == SL_E_CLOSED && w.client_peer.end.error == 5);
    sl_check(sent(&w) == before + 1);
    test_world_end(&w);
}

static void answer_storm(struct test_world *w, const uint8_t *bytes, size_t len)
{
    for (int i = 0; i < 1000; i++)
        inject(w, "10.0.0.2", bytes, len);
    test_net_move(&w->net, w->net.now);
}

static void test_closing_storm(void)
{
    struct test_world w;
    uint8_t bytes[30];
    uint64_t before;

    test_world_init(&w, 1);
    test_world_begin(&w);
    sl_check(test_world_shake(&w));
    make_short(bytes, sizeof(bytes), 3, 0);
    memcpy(bytes + 1, ngtcp2_conn_get_dcid(sl_qconn(w.client_peer.conn)->ngtcp2)->data,
           SL_QUIC_CID_LEN);
    sl_quic_close(w.peers[0].conn, 5, "");
    test_net_settle(&w.net);
    before = sent(&w);
    answer_storm(&w, bytes, sizeof(bytes));
    sl_check(sent(&w) - before <= 10); /* at the first packet, the second, the fourth, ... */
    test_world_end(&w);
}

/* --- several workers --- */

struct pair {
    struct sl_quic_endpoint *other;
    unsigned worker;
    int n;
};

static void on_forward(void *user, unsigned worker, const struct sl_udp_packet *packet)
{
    struct test_world *w = user;
    struct pair *pair = w->net.user;

    pair->n++;
    pair->worker = worker;
    sl_quic_endpoint_receive(pair->other, packet);
}

/* A datagram that lands on the wrong worker gets to its connection. */
static void test_forward(void)
{
    struct test_world w;
    struct pair pair;
    struct sl_quic_endpoint *second;
    struct sl_addr second_addr;

    test_world_init(&w, 1);
    test_world_begin(&w);
    second = test_net_endpoint(&w.net, "10.0.0.3", 443,
                               (struct sl_quic_endpoint_opts){.worker = 4,
                                                              .tls = w.server_tls,
                                                              .server = &test_world_server,
                                                              .forward = on_forward,
                                                              .user = &w});
    pair = (struct pair){.other = w.server};
    w.net.user = &pair;
    sl_check(test_world_shake(&w));
    (void)test_net_run(&w.net, 1000, NULL, NULL);
    /* From now on what the client sends to the first goes to the second. */
    second_addr = test_node(second)->addr;
    test_node(second)->outside = w.server_addr;
    test_node(w.server)->outside = second_addr;
    test_node(w.server)->addr = w.server_addr;
    test_node(second)->addr = w.server_addr;
    w.peers[0].echoes = false;
    {
        struct test_stream *s = test_peer_open(&w.client_peer, false);

        test_peer_send(&w.client_peer, s, "hello", 5, true);
        (void)test_net_run(&w.net, 100, NULL, NULL);
        sl_check(w.peers[0].n_in == 5 && pair.n > 0 && pair.worker == 3);
        sl_check(second->stats.forwarded == (uint64_t)pair.n && second->stats.resets == 0);
    }
    sl_quic_endpoint_free(second);
    test_world_end(&w);
}

static void test_stops_accepting(void)
{
    struct test_world w;
    struct test_peer late;

    test_world_init(&w, 1);
    test_world_begin(&w);
    test_peer_init(&late);
    sl_check(test_world_shake(&w));
    sl_quic_endpoint_stop_accepting(w.server);
    test_world_connect_as(&w, &late, "a.test");
    sl_check(test_net_run(&w.net, 100, test_is_closed, &late));
    sl_check(late.n_ready == 0 && late.end.code == SL_E_REFUSED);
    sl_check(test_world_echo(&w, 100, 1000));
    test_world_end(&w);
    test_peer_clear(&late);
}

int main(void)
{
    test_short_initial();
    test_tokens();
    test_version();
    test_flood();
    test_retry();
    test_hello_out_of_order();
    test_too_many_handshakes();
    test_resets();
    test_forgotten();
    test_closing();
    test_closing_storm();
    test_forward();
    test_stops_accepting();
    return sl_check_done();
}
