/* The same as conn_test.c, thinly, over sockets and real time. */
#include "base/check.h"
#include "base/clock.h"
#include "quic/test_app.h"
#include "quic/wire.h"

struct world {
    struct sl_loop *loop;
    struct test_peer client, server;
};

static int on_accept(void *user, struct sl_quic_conn *c)
{
    struct world *w = user;

    c->app = &test_app;
    c->user = &w->server;
    w->server.conn = c;
    return 0;
}

static int on_hello(void *user, struct sl_quic_conn *c, const struct sl_tls_hello *hello,
                    struct sl_cert **cert)
{
    (void)user;
    (void)c;
    return sl_cert_self_signed(cert, hello->sni, NULL);
}

static const struct sl_quic_server server_hooks = {on_accept, on_hello};

/* A time that no machine is too slow for. */
static bool run_until(struct world *w, const bool *done)
{
    uint64_t end = sl_clock_coarse_ms() + 30 * 1000;

    while (!*done && sl_clock_coarse_ms() < end)
        (void)sl_loop_turn(w->loop, true);
    return *done;
}

static struct sl_quic_endpoint *serve(struct world *w, const char *ip, struct sl_quic_tls *tls,
                                      struct sl_addr *at)
{
    struct sl_quic_endpoint_opts opts = {
        .loop = w->loop, .worker = 1, .tls = tls, .server = &server_hooks, .user = w};
    int fd;

    sl_assert(sl_addr_parse(at, sl_str_c(ip), 0) == 0);
    if (sl_socket_bind_udp(&fd, at, true, NULL) < 0)
        return NULL; /* a machine without IPv6 */
    return sl_quic_endpoint_new(fd, &opts);
}

/* Bytes there and back, then the peer's address after a change of ours. */
static void talk(struct world *w, size_t len)
{
    struct test_stream *s;
    char *bytes = sl_zalloc(len);
    bool migrated = false;
    uint64_t end = sl_clock_coarse_ms() + 30 * 1000;

    s = test_peer_open(&w->client, false);
    sl_check(s != NULL);
    test_peer_send(&w->client, s, bytes, len, true);
    sl_check(run_until(w, &s->got_fin) && sl_buf_len(&s->in) == len);
    sl_check(sl_quic_rebind(w->client.conn) == 0);
    while (!migrated && sl_clock_coarse_ms() < end) {
        (void)sl_loop_turn(w->loop, true);
        migrated = w->server.n_migrated > 0;
    }
    sl_check(migrated);
    sl_free(bytes);
}

static void test_loopback(const char *bind_to, const char *connect_to)
{
    struct world w = {0};
    struct sl_quic_tls *server_tls, *client_tls;
    struct sl_tls_client_opts trust = {.alpn = "\x01t"};
    struct sl_quic_endpoint *server, *client;
    struct sl_addr at, to;
    bool ready;

    sl_assert(sl_loop_new(&w.loop) == 0);
    test_peer_init(&w.client);
    test_peer_init(&w.server);
    w.server.echoes = true;
    sl_assert(sl_quic_tls_server_new(&server_tls, "\x01t", false, NULL) == 0);
    sl_assert(sl_quic_tls_client_new(&client_tls, &trust, NULL) == 0);
    server = serve(&w, bind_to, server_tls, &at);
    if (server != NULL) {
        sl_assert(sl_addr_parse(&to, sl_str_c(connect_to), sl_addr_port(&at)) == 0);
        sl_assert(sl_quic_endpoint_new_client(
                      &client, &to, &(struct sl_quic_endpoint_opts){.loop = w.loop, .worker = 2},
                      NULL) == 0);
        sl_check(sl_quic_connect(&w.client.conn, client, &to, client_tls, SL_STR("a.test"),
                                 &test_app, &w.client) == 0);
        for (ready = false; !ready; ready = w.client.n_done > 0 || w.client.n_closed > 0)
            (void)sl_loop_turn(w.loop, true);
        sl_check(w.client.n_done == 1);
        if (w.client.n_done == 1)
            talk(&w, 5 << 20);
        sl_quic_endpoint_free(client);
        sl_quic_endpoint_free(server);
    }
    sl_quic_tls_free(server_tls);
    sl_quic_tls_free(client_tls);
    sl_loop_free(w.loop);
    test_peer_clear(&w.client);
    test_peer_clear(&w.server);
}

int main(void)
{
    test_loopback("127.0.0.1", "127.0.0.1");
    test_loopback("0.0.0.0", "127.0.0.1");
    test_loopback("::", "::1");
    test_loopback("::", "127.0.0.1");
    return sl_check_done();
}
