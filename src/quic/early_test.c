/* Early data (0-RTT) at the server. Our client does not send any; here it is made to. */
#include "quic/test_world.h"

static struct {
    SSL_SESSION *session;
    uint8_t params[256]; /* the server's transport parameters */
    ngtcp2_ssize n_params;
} kept;

static int on_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(kept.session);
    kept.session = session;
    return 1; /* it is ours */
}

static void forget(void)
{
    SSL_SESSION_free(kept.session);
    memset(&kept, 0, sizeof(kept));
}

/* A first connection, that gets a ticket. */
static void visit(struct test_world *w)
{
    SSL_CTX_set_session_cache_mode(w->client_tls->ctx,
                                   SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(w->client_tls->ctx, on_session);
    sl_check(test_world_shake(w));
    (void)test_net_run(&w->net, 1000, NULL, NULL);
    sl_check(kept.session != NULL);
    kept.n_params = ngtcp2_conn_encode_0rtt_transport_params(sl_qconn(w->client_peer.conn)->ngtcp2,
                                                             kept.params, sizeof(kept.params));
    sl_check(kept.n_params > 0);
    sl_quic_close(w->client_peer.conn, 0, "");
    (void)test_net_run(&w->net, 5000, NULL, NULL);
}

/* A second one, with the ticket. */
static struct sl_qconn *come_back(struct test_world *w, struct test_peer *p)
{
    struct sl_qconn *c;

    test_world_connect_as(w, p, "a.test");
    c = sl_qconn(p->conn);
    sl_check(SSL_set_session(c->handshake->ssl, kept.session) == 1);
    SSL_set_quic_tls_early_data_enabled(c->handshake->ssl, 1);
    return c;
}

/* It says something at once. */
static struct test_stream *speak(struct sl_qconn *c, struct test_peer *p)
{
    struct test_stream *s;

    sl_check(ngtcp2_conn_decode_and_set_0rtt_transport_params(c->ngtcp2, kept.params,
                                                              (size_t)kept.n_params) == 0);
    c->is_ready = true;
    s = test_peer_open(p, false);
    if (s != NULL)
        test_peer_send(p, s, "early", 5, true);
    return s;
}

static bool has_five(void *user)
{
    return ((struct test_peer *)user)->n_in == 5;
}

static void test_taken(void)
{
    struct test_world w;
    struct test_peer second;
    struct test_stream *s;

    test_world_init(&w, 1);
    test_peer_init(&second);
    w.server_settings.early_data = true;
    test_world_begin(&w);
    visit(&w);
    s = speak(come_back(&w, &second), &second);
    sl_check(s != NULL);
    sl_check(test_net_run(&w.net, 1000, has_five, &w.peers[1]));
    sl_check(w.peers[1].n_ready == 1 && w.peers[1].n_done == 0);
    sl_check(w.peers[1].conn != NULL && sl_quic_is_early(w.peers[1].conn));
    sl_check(test_net_run(&w.net, 1000, test_stream_has_fin, s) && sl_buf_len(&s->in) == 5);
    sl_check(test_net_run(&w.net, 1000, test_is_done, &w.peers[1]));
    sl_check(!sl_quic_is_early(w.peers[1].conn));
    test_world_end(&w);
    test_peer_clear(&second);
    forget();
}

/* Limits that are less than those of the ticket: the early data is not taken. */
static void test_less_than_promised(void)
{
    struct test_world w;
    struct test_peer second;
    struct sl_qconn *c;

    test_world_init(&w, 1);
    test_peer_init(&second);
    w.server_settings.early_data = true;
    test_world_begin(&w);
    visit(&w);
    w.server_settings.max_streams_bidi--;
    sl_quic_endpoint_set_settings(w.server, &w.server_settings);
    c = come_back(&w, &second);
    sl_check(test_net_run(&w.net, 1000, test_is_done, &second));
    sl_check(SSL_get_early_data_status(c->handshake->ssl) == SSL_EARLY_DATA_REJECTED);
    test_world_end(&w);
    test_peer_clear(&second);
    forget();
}

/* The default: a client that knows us is faster, but not early. */
static void test_off(void)
{
    struct test_world w;
    struct test_peer second;
    struct sl_qconn *c;

    test_world_init(&w, 1);
    test_peer_init(&second);
    test_world_begin(&w);
    visit(&w);
    sl_check(SSL_SESSION_get_max_early_data(kept.session) == 0);
    c = come_back(&w, &second);
    sl_check(test_net_run(&w.net, 1000, test_is_done, &second));
    sl_check(SSL_session_reused(c->handshake->ssl) == 1);
    test_world_end(&w);
    test_peer_clear(&second);
    forget();
}

int main(void)
{
    test_taken();
    test_less_than_promised();
    test_off();
    return sl_check_done();
}
