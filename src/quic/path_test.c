/* Connections whose addresses, keys or path change; datagrams; what rests on the path. */
#include "quic/test_world.h"

static void set_up(struct test_world *w)
{
    test_world_init(w, 1);
    w->server_settings.max_datagram = w->client_settings.max_datagram = 1200;
    test_world_begin(w);
    sl_check(test_world_shake(w));
    (void)test_net_run(&w->net, 1000, NULL, NULL);
}

static bool has_migrated(void *user)
{
    return ((struct test_peer *)user)->n_migrated > 0;
}

/* A client that moves: the server's owner sees the new address when it has answered. */
static void test_migration(void)
{
    struct test_world w;
    struct sl_addr old;

    set_up(&w);
    old = w.peers[0].conn->remote;
    sl_check(sl_quic_rebind(w.client_peer.conn) == 0);
    test_net_settle(&w.net);
    test_net_move(&w.net, w.net.now + 6 * SL_QUIC_MS); /* arrived, not yet answered */
    sl_check(sl_addr_eq(&w.peers[0].conn->remote, &old) && w.peers[0].n_migrated == 0);
    sl_check(test_net_run(&w.net, 2000, has_migrated, &w.peers[0]));
    sl_check(sl_addr_eq(&w.peers[0].conn->remote, &test_node(w.client)->addr));
    sl_check(!sl_addr_eq(&w.peers[0].remote, &old));
    sl_check(test_world_echo(&w, 100000, 5000));
    test_world_end(&w);
}

/* A client that moves before its handshake is confirmed, and then at once again. */
static void test_hasty_migration(void)
{
    struct test_world w;

    test_world_init(&w, 1);
    test_world_begin(&w);
    test_world_connect(&w);
    sl_check(test_net_run(&w.net, 1000, test_is_done, &w.client_peer));
    sl_check(sl_quic_rebind(w.client_peer.conn) == 0);
    sl_check(sl_quic_rebind(w.client_peer.conn) == 0);
    sl_check(test_world_echo(&w, 1000, 10000));
    test_node(w.client)->room = 0;
    test_peer_send(&w.client_peer, test_peer_open(&w.client_peer, true), "full", 4, true);
    (void)test_net_run(&w.net, 1, NULL, NULL);
    test_node(w.client)->room = -1; /* that of the new socket */
    sl_check(sl_quic_rebind(w.client_peer.conn) == 0);
    sl_check(sl_quic_rebind(w.client_peer.conn) == 0);
    sl_check(test_world_echo(&w, 100000, 10000));
    sl_check(sl_addr_eq(&w.peers[0].conn->remote, &test_node(w.client)->addr));
    test_world_end(&w);
}

/* A client that moves on before the server could answer it on the first new path. The server must
 * not go on changing connection ids for ever. */
static void test_restless_migration(void)
{
    struct test_world w;

    test_world_init(&w, 1);
    test_world_begin(&w);
    sl_check(test_world_shake(&w));
    (void)test_net_run(&w.net, 100, NULL, NULL);
    sl_check(sl_quic_rebind(w.client_peer.conn) == 0);
    test_net_settle(&w.net);
    sl_check(sl_quic_rebind(w.client_peer.conn) == 0);
    sl_check(test_world_echo(&w, 100000, 10000));
    sl_check(test_net_run(&w.net, 300 * 1000, test_is_closed, &w.client_peer));
    sl_check(sl_quic_endpoint_conns(w.server) == 0);
    test_world_end(&w);
}

/* The same behind a translator that forgot the client: it does not know that it moved. */
static void test_rebinding(void)
{
    struct test_world w;

    set_up(&w);
    sl_addr_set_port(&test_node(w.client)->outside, 6000);
    sl_check(test_world_echo(&w, 100, 5000));
    sl_check(test_net_run(&w.net, 2000, has_migrated, &w.peers[0]));
    sl_check(sl_addr_port(&w.peers[0].conn->remote) == 6000);
    sl_check(test_world_echo(&w, 100000, 5000));
    test_world_end(&w);
}

/* Datagrams with a forged source: no answer comes from there. */
static bool forge(struct test_net *net, struct test_node *from, struct test_datagram *d)
{
    if (from->wire.endpoint->server == NULL)
        sl_assert(sl_addr_parse(&d->from, SL_STR("10.66.66.66"), 1) == 0);
    (void)net;
    return true;
}

/* on a path that was not validated the old address holds. */
static void test_forged_migration(void)
{
    struct test_world w;
    struct sl_addr old;
    struct test_stream *s;

    set_up(&w);
    old = w.peers[0].conn->remote;
    w.net.on_send = forge;
    s = test_peer_open(&w.client_peer, false);
    test_peer_send(&w.client_peer, s, "who am I?", 9, true);
    (void)test_net_run(&w.net, 50, NULL, NULL);
    w.net.on_send = NULL;
    sl_check(w.peers[0].n_in == 9 && sl_addr_eq(&w.peers[0].conn->remote, &old));
    sl_check(test_world_echo(&w, 100, 10000));
    (void)test_net_run(&w.net, 10000, NULL, NULL);
    sl_check(sl_addr_eq(&w.peers[0].conn->remote, &old));
    test_world_end(&w);
}

static void test_key_update(void)
{
    struct test_world w;

    set_up(&w);
    for (int i = 0; i < 3; i++) {
        sl_check(test_world_echo(&w, 10000, 2000));
        sl_check(ngtcp2_conn_initiate_key_update(sl_qconn(w.client_peer.conn)->ngtcp2, w.net.now) ==
                 0);
        sl_check(test_world_echo(&w, 10000, 2000));
        (void)test_net_run(&w.net, 2000, NULL, NULL);
        sl_check(test_world_echo(&w, 10000, 2000)); /* makes the next keys */
        sl_check(ngtcp2_conn_initiate_key_update(sl_qconn(w.peers[0].conn)->ngtcp2, w.net.now) ==
                 0);
        sl_check(test_world_echo(&w, 10000, 2000));
        (void)test_net_run(&w.net, 2000, NULL, NULL);
    }
    test_world_end(&w);
}

static void test_datagrams(void)
{
    enum { MOST_QUEUED = 8000 };
    struct test_world w;
    uint8_t bytes[2000];
    size_t max;
    int rc = 0, n = 0;

    set_up(&w);
    memset(bytes, 7, sizeof(bytes));
    max = sl_quic_max_datagram(w.client_peer.conn);
    sl_check(max > 1100 && max < 1200);
    sl_check(sl_quic_send_datagram(w.client_peer.conn, bytes, max + 1) == SL_E_LIMIT);
    sl_check(sl_quic_send_datagram(w.client_peer.conn, bytes, max) == 0);
    sl_check(sl_quic_send_datagram(w.client_peer.conn, bytes, 0) == 0);
    sl_check(sl_quic_send_datagram(w.client_peer.conn, (const uint8_t *)"last", 4) == 0);
    (void)test_net_run(&w.net, 1000, NULL, NULL);
    sl_check(w.client_peer.n_datagrams == 3 && w.peers[0].n_datagrams == 3);
    sl_check_str(sl_buf_str(&w.client_peer.datagram), SL_STR("last"));
    while (n < MOST_QUEUED && (rc = sl_quic_send_datagram(w.client_peer.conn, bytes, 100)) == 0)
        n++;
    sl_check(rc == SL_E_AGAIN && n >= 4000); /* 40 ms at 100,000 a second, and not much more */
    (void)test_net_run(&w.net, 1000, NULL, NULL);
    sl_check(w.peers[0].n_datagrams == 3 + n);
    sl_check(sl_qconn(w.client_peer.conn)->n_datagrams == 0);
    test_world_end(&w);
}

static void test_no_datagrams(void)
{
    struct test_world w;

    test_world_init(&w, 1);
    test_world_begin(&w);
    sl_check(test_world_shake(&w));
    sl_check(sl_quic_max_datagram(w.client_peer.conn) == 0);
    sl_check(sl_quic_send_datagram(w.client_peer.conn, (const uint8_t *)"x", 1) == SL_E_LIMIT);
    test_world_end(&w);
}

/* Longer packets where the path carries them, and no stall where it does not. */
static void test_path_mtu(void)
{
    struct test_world w;

    for (size_t mtu = 1250; mtu <= 1500; mtu += 50) {
        test_world_init(&w, mtu);
        w.net.mtu = mtu;
        test_world_begin(&w);
        sl_check(test_world_shake(&w));
        sl_check(test_world_echo(&w, 500000, 20000));
        sl_check(ngtcp2_conn_get_path_max_tx_udp_payload_size(
                     sl_qconn(w.client_peer.conn)->ngtcp2) <= mtu);
        if (mtu == 1500)
            sl_check(ngtcp2_conn_get_path_max_tx_udp_payload_size(
                         sl_qconn(w.client_peer.conn)->ngtcp2) > 1400);
        test_world_end(&w);
    }
}

/* The window grows where the path is long: 50 ms each way and 8 MB in a bit more than what the
 * congestion window needs to open. */
static void test_window_grows(bool bbr)
{
    struct test_world w;
    uint64_t begun;

    test_world_init(&w, 1);
    w.server_settings.bbr = w.client_settings.bbr = bbr;
    w.net.delay = 50 * SL_QUIC_MS;
    test_world_begin(&w);
    sl_check(test_world_shake(&w));
    begun = w.net.now;
    sl_check(test_world_echo(&w, 8000000, 60000));
    sl_check(w.net.now - begun < 6 * NGTCP2_SECONDS);
    {
        struct sl_quic_stats stats;

        sl_quic_stats(w.client_peer.conn, &stats);
        sl_check(stats.rtt_us >= 100000 && stats.rtt_us < 200000 && stats.cwnd > 500000);
        sl_check(stats.bytes_out > 8000000 && stats.bytes_in > 8000000);
    }
    test_world_end(&w);
}

/* A socket that is full more often than not: slow, and nothing is lost. */
static void test_full_socket(void)
{
    struct test_world w;
    struct test_stream *s;
    struct sl_quic_stats stats;
    char *bytes = sl_zalloc(300000);

    set_up(&w);
    test_node(w.client)->room = test_node(w.server)->room = 0;
    s = test_peer_open(&w.client_peer, false);
    test_peer_send(&w.client_peer, s, bytes, 300000, true);
    for (int i = 0; i < 10000 && !s->got_fin; i++) {
        (void)test_net_run(&w.net, 1, NULL, NULL);
        test_node_drain(test_node(w.client), i % 3);
        test_node_drain(test_node(w.server), i % 2);
    }
    sl_check(s->got_fin && sl_buf_len(&s->in) == 300000);
    sl_quic_stats(w.client_peer.conn, &stats);
    sl_check(stats.packets_lost < 5);
    /* An end does not wait for the socket. */
    test_node(w.server)->room = 0;
    test_peer_send(&w.peers[0], test_peer_open(&w.peers[0], true), "x", 1, true);
    (void)test_net_run(&w.net, 1, NULL, NULL);
    sl_quic_close(w.peers[0].conn, 1, "");
    (void)test_net_run(&w.net, 1, NULL, NULL);
    sl_check(w.peers[0].n_closed == 1);
    test_node_drain(test_node(w.server), -1);
    test_node(w.client)->room = -1;
    test_world_end(&w);
    sl_free(bytes);
}

int main(void)
{
    test_migration();
    test_hasty_migration();
    test_restless_migration();
    test_rebinding();
    test_forged_migration();
    test_key_update();
    test_datagrams();
    test_no_datagrams();
    test_full_socket();
    test_path_mtu();
    test_window_grows(false);
    test_window_grows(true);
    return sl_check_done();
}
