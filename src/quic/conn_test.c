#include "quic/test_world.h"

static void test_handshake(void)
{
    struct test_world w;

    test_world_init(&w, 1);
    test_world_begin(&w);
    sl_check(test_world_shake(&w));
    sl_check(w.client_peer.n_ready == 1 && w.peers[0].n_ready == 1);
    sl_check(w.client_peer.n_done == 1 && w.peers[0].n_done == 1);
    sl_check_str(sl_quic_alpn(w.client_peer.conn), SL_STR("test"));
    sl_check_str(sl_quic_alpn(w.peers[0].conn), SL_STR("test"));
    sl_check_str(sl_quic_sni(w.peers[0].conn), SL_STR("a.test"));
    sl_check_str(sl_str_c(w.sni), SL_STR("a.test"));
    sl_check(!sl_quic_is_early(w.peers[0].conn));
    sl_check(sl_addr_eq(&w.peers[0].conn->remote, &test_node(w.client)->addr));
    sl_check(sl_quic_endpoint_conns(w.server) == 1 && w.server->n_handshakes == 0);
    sl_check(test_world_echo(&w, 5, 1000));
    sl_check(test_world_echo(&w, 0, 1000));
    sl_check(test_world_echo(&w, 3000000, 60000));
    test_world_end(&w);
    sl_check(w.client_peer.n_closed == 1 && w.peers[0].n_closed == 1);
    sl_check(w.client_peer.end.code == SL_E_CANCELLED);
}

static void test_bad_network(void)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct test_world w;

        test_world_init(&w, seed);
        w.net.loss = 100;
        w.net.jitter = 20 * SL_QUIC_MS;
        w.server_settings.handshake_timeout = w.client_settings.handshake_timeout = 60 * 1000;
        test_world_begin(&w);
        sl_check(test_world_shake(&w));
        sl_check(test_world_echo(&w, 200000, 600000));
        test_world_end(&w);
    }
}

static void test_certificate_comes_later(void)
{
    struct test_world w;
    struct sl_cert *cert;

    test_world_init(&w, 1);
    w.hello_waits = true;
    test_world_begin(&w);
    test_world_connect(&w);
    sl_check(!test_net_run(&w.net, 500, test_is_done, &w.client_peer));
    sl_check(w.n_hellos == 1 && w.waiting != NULL);
    sl_check(sl_cert_self_signed(&cert, SL_STR("a.test"), NULL) == 0);
    sl_quic_resume(w.waiting, cert);
    sl_check(test_net_run(&w.net, 1000, test_is_done, &w.client_peer));
    sl_check(w.n_hellos == 1);
    sl_check(test_world_echo(&w, 1000, 1000));
    test_world_end(&w);
}

static void test_no_certificate(bool waits)
{
    struct test_world w;

    test_world_init(&w, 1);
    w.hello_waits = waits;
    w.hello_rc = waits ? 0 : SL_E_NOT_FOUND;
    test_world_begin(&w);
    test_world_connect(&w);
    (void)test_net_run(&w.net, 100, test_is_closed, &w.client_peer);
    if (waits)
        sl_quic_resume(w.waiting, NULL);
    sl_check(test_net_run(&w.net, 1000, test_is_closed, &w.client_peer));
    sl_check(w.client_peer.end.code == SL_E_TLS && w.client_peer.end.is_remote);
    sl_check(w.client_peer.end.error == (NGTCP2_CRYPTO_ERROR | 112)); /* unrecognized_name */
    sl_check(w.peers[0].n_closed == 1 && w.peers[0].end.code == SL_E_TLS);
    sl_check(w.client_peer.n_ready == 0 && w.peers[0].n_ready == 0);
    test_world_end(&w);
}

static void test_other_key(void)
{
    struct test_world w;

    test_world_init(&w, 1);
    test_world_begin(&w);
    memset(w.client_tls->pin, 0, sizeof(w.client_tls->pin));
    test_world_connect(&w);
    sl_check(test_net_run(&w.net, 1000, test_is_closed, &w.client_peer));
    sl_check(w.client_peer.end.code == SL_E_TLS && !w.client_peer.end.is_remote);
    sl_check(w.client_peer.n_ready == 0);
    test_world_end(&w);
}

static void test_no_common_protocol(void)
{
    uint8_t pin[32];
    struct sl_tls_client_opts trust = {.pin = pin, .alpn = "\x02h9"};
    struct test_world w;

    test_world_init(&w, 1);
    test_world_begin(&w);
    sl_quic_tls_free(w.client_tls);
    test_world_pin(pin, "a.test");
    sl_check(sl_quic_tls_client_new(&w.client_tls, &trust, NULL) == 0);
    test_world_connect(&w);
    sl_check(test_net_run(&w.net, 1000, test_is_closed, &w.client_peer));
    sl_check(w.client_peer.end.error == (NGTCP2_CRYPTO_ERROR | 120)); /* no_application_protocol */
    test_world_end(&w);
}

static void test_refused(void)
{
    struct test_world w;

    test_world_init(&w, 1);
    w.accept_rc = SL_E_DENIED;
    test_world_begin(&w);
    test_world_connect(&w);
    sl_check(test_net_run(&w.net, 1000, test_is_closed, &w.client_peer));
    sl_check(w.client_peer.end.code == SL_E_REFUSED);
    sl_check(w.client_peer.end.error == NGTCP2_CONNECTION_REFUSED);
    sl_check(w.n_peers == 0 && sl_quic_endpoint_conns(w.server) == 0);
    test_world_end(&w);
}

static void test_close(void)
{
    struct test_world w;

    test_world_init(&w, 1);
    test_world_begin(&w);
    sl_check(test_world_shake(&w));
    sl_quic_close(w.peers[0].conn, 77, "enough\n");
    sl_check(test_net_run(&w.net, 1000, test_is_closed, &w.client_peer));
    sl_check(w.peers[0].n_closed == 1 && w.peers[0].end.code == SL_E_CANCELLED);
    sl_check(w.client_peer.end.code == SL_E_CLOSED && w.client_peer.end.error == 77);
    sl_check(w.client_peer.end.is_app && w.client_peer.end.is_remote);
    sl_check_str(sl_str_c(w.client_peer.end.reason), SL_STR("enough?"));
    sl_check(w.server->n_ghosts == 1 && w.client->n_ghosts == 1);
    (void)test_net_run(&w.net, 5000, NULL, NULL);
    sl_check(w.server->n_ghosts == 0 && w.client->n_ghosts == 0);
    sl_check(w.server->cids.n == 0 && w.client->cids.n == 0 && w.server->timers.n == 0);
    test_world_end(&w);
}

static void test_idle(void)
{
    struct test_world w;
    uint64_t begun;

    test_world_init(&w, 1);
    w.server_settings.idle_timeout = 20 * 1000;
    test_world_begin(&w);
    sl_check(test_world_shake(&w));
    begun = w.net.now;
    sl_check(test_net_run(&w.net, 60000, test_is_closed, &w.client_peer));
    sl_check(test_net_run(&w.net, 60000, test_is_closed, &w.peers[0]));
    sl_check(w.net.now - begun > 19000 * SL_QUIC_MS && w.net.now - begun < 25000 * SL_QUIC_MS);
    sl_check(w.client_peer.end.code == SL_E_CLOSED && w.peers[0].end.code == SL_E_CLOSED);
    sl_check(w.server->n_ghosts == 0 && w.server->cids.n == 0);
    test_world_end(&w);
}

static void test_kept_alive(void)
{
    struct test_world w;

    test_world_init(&w, 1);
    w.client_settings.keep_alive = 10 * 1000;
    test_world_begin(&w);
    sl_check(test_world_shake(&w));
    sl_check(!test_net_run(&w.net, 300000, test_is_closed, &w.client_peer));
    sl_check(test_world_echo(&w, 10, 1000));
    test_world_end(&w);
}

static void test_nobody_there(void)
{
    struct test_world w;

    test_world_init(&w, 1);
    test_world_begin(&w);
    test_node(w.server)->is_cut = true;
    test_world_connect(&w);
    sl_check(test_net_run(&w.net, 60000, test_is_closed, &w.client_peer));
    sl_check(w.client_peer.end.code == SL_E_TIMEOUT);
    test_world_end(&w);
}

static void test_reset_and_stop(void)
{
    struct test_world w;
    struct test_stream *s, *there;

    test_world_init(&w, 1);
    test_world_begin(&w);
    sl_check(test_world_shake(&w));
    w.peers[0].echoes = false;
    s = test_peer_open(&w.client_peer, false);
    test_peer_send(&w.client_peer, s, "abc", 3, false);
    (void)test_net_run(&w.net, 100, NULL, NULL);
    there = test_peer_find(&w.peers[0], s->id);
    sl_check(there != NULL && sl_buf_len(&there->in) == 3);
    sl_quic_shut(w.client_peer.conn, s->id, SL_QUIC_WRITE | SL_QUIC_READ, 42);
    (void)test_net_run(&w.net, 100, NULL, NULL);
    sl_check(there->got_reset && there->error == 42);
    sl_check(there->is_closed && s->is_closed);
    test_world_end(&w);
}

static void test_stream_limits(void)
{
    struct test_world w;
    struct test_stream *s;

    test_world_init(&w, 1);
    w.server_settings.max_streams_bidi = 2;
    test_world_begin(&w);
    sl_check(test_world_shake(&w));
    s = test_peer_open(&w.client_peer, false);
    sl_check(s != NULL && test_peer_open(&w.client_peer, false) != NULL);
    sl_check(test_peer_open(&w.client_peer, false) == NULL);
    test_peer_send(&w.client_peer, s, "x", 1, true);
    sl_check(test_net_run(&w.net, 1000, test_stream_has_fin, s));
    (void)test_net_run(&w.net, 1000, NULL, NULL);
    sl_check(w.client_peer.n_more > 0);
    sl_check(test_peer_open(&w.client_peer, false) != NULL);
    test_world_end(&w);
}

/* Whoever is told to stop hears of it when there is something to send. */
static void test_stop(void)
{
    struct test_world w;
    struct test_stream *s, *there;

    test_world_init(&w, 1);
    test_world_begin(&w);
    sl_check(test_world_shake(&w));
    w.peers[0].echoes = false;
    s = test_peer_open(&w.client_peer, false);
    test_peer_send(&w.client_peer, s, "abc", 3, false);
    (void)test_net_run(&w.net, 100, NULL, NULL);
    there = test_peer_find(&w.peers[0], s->id);
    sl_quic_shut(w.client_peer.conn, s->id, SL_QUIC_READ, 42);
    (void)test_net_run(&w.net, 100, NULL, NULL);
    test_peer_send(&w.peers[0], there, "def", 3, true);
    (void)test_net_run(&w.net, 100, NULL, NULL);
    sl_check(there->got_stop && !there->got_reset && sl_buf_len(&s->in) == 0);
    test_peer_send(&w.client_peer, s, "", 0, true);
    (void)test_net_run(&w.net, 100, NULL, NULL);
    sl_check(there->is_closed && s->is_closed && there->got_fin);
    test_world_end(&w);
}

/* A receiver that does not consume stops the sender at the window, and nobody else. */
static void test_flow_control(void)
{
    struct test_world w;
    struct test_stream *s, *there;
    char *bytes = sl_zalloc(1000000);

    test_world_init(&w, 1);
    w.server_settings.stream_window = 10000;
    test_world_begin(&w);
    sl_check(test_world_shake(&w));
    w.peers[0].hoards = true;
    s = test_peer_open(&w.client_peer, true);
    test_peer_send(&w.client_peer, s, bytes, 1000000, true);
    (void)test_net_run(&w.net, 5000, NULL, NULL);
    there = test_peer_find(&w.peers[0], s->id);
    sl_check(sl_buf_len(&there->in) == 10000 && s->is_blocked);
    w.peers[0].hoards = false;
    sl_check(test_world_echo(&w, 5000, 1000));
    sl_quic_consume(w.peers[0].conn, s->id, 10000);
    sl_check(test_net_run(&w.net, 60000, test_stream_has_fin, there));
    sl_check(sl_buf_len(&there->in) == 1000000);
    sl_free(bytes);
    test_world_end(&w);
}

int main(void)
{
    test_handshake();
    test_bad_network();
    test_certificate_comes_later();
    test_no_certificate(false);
    test_no_certificate(true);
    test_other_key();
    test_no_common_protocol();
    test_refused();
    test_close();
    test_idle();
    test_kept_alive();
    test_nobody_there();
    test_reset_and_stop();
    test_stop();
    test_stream_limits();
    test_flow_control();
    return sl_check_done();
}
