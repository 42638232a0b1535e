/* TLS streams pass the list of checks that every kind of stream does. */
#include "net/pair.h"
#include "net/stream_conformance.h"
#include "net/tcp.h"
#include "net/test_net.h"
#include "tls/conn.h"

static struct sl_tls_server *server;
static struct sl_tls_client *client12, *client13;
static int n_ready;

static int on_hello(void *user, struct sl_stream *tls, const struct sl_tls_hello *hello,
                    struct sl_cert **cert)
{
    (void)user;
    (void)tls;
    return sl_cert_self_signed(cert, hello->sni, NULL);
}

static void on_ready(struct sl_stream *s)
{
    (void)s;
    n_ready++;
}

static const struct sl_stream_handler opening = {.on_ready = on_ready};

/* Puts TLS over both ends and has it opened. */
static void wrap(struct sl_stream *ends[2], struct sl_loop *loop, struct sl_tls_client *client)
{
    const struct sl_tls_accept accept = {on_hello, NULL};

    n_ready = 0;
    ends[0] = sl_tls_accept(&ends[0], server, &accept, &opening, NULL, NULL, 0);
    ends[1] = sl_tls_connect(&ends[1], client, SL_STR("a.example"), &opening, NULL);
    run_until(loop, n_ready == 2);
}

static void make_over_pair(struct sl_stream *ends[2], struct sl_loop *loop, void *client)
{
    sl_pair_new(ends, loop, 64 * 1024);
    wrap(ends, loop, client);
}

static void on_accept(void *user, int fd, const struct sl_addr *remote)
{
    (void)remote;
    *(int *)user = fd;
}

static void make_over_tcp(struct sl_stream *ends[2], struct sl_loop *loop, void *client)
{
    struct sl_addr at;
    int accepted = -1, fd = listen_on_loopback(&at);
    struct sl_listener *listener = sl_listener_new(loop, fd, on_accept, &accepted);

    n_ready = 0;
    sl_assert(sl_tcp_connect(&ends[1], loop, &at, NULL, 0, &opening, NULL) == 0);
    run_until(loop, accepted >= 0 && n_ready == 1);
    sl_listener_free(listener);
    ends[0] = sl_tcp_new(loop, accepted);
    wrap(ends, loop, client);
}

static void set_up(void)
{
    const struct sl_tls_client_opts opts = {0};

    sl_assert(sl_tls_server_new(&server, &(struct sl_tls_server_opts){0}, NULL) == 0);
    sl_assert(sl_tls_client_new(&client12, &opts, NULL) == 0);
    sl_assert(sl_tls_client_new(&client13, &opts, NULL) == 0);
    SSL_CTX_set_max_proto_version(client12->context.ssl_ctx, TLS1_2_VERSION);
}

int main(void)
{
    struct sl_loop *loop;

    sl_assert(sl_loop_new(&loop) == 0);
    set_up();
    sl_check(sl_stream_conformance(loop, "TLS 1.3 in memory", make_over_pair, client13) == 0);
    sl_check(sl_stream_conformance(loop, "TLS 1.2 in memory", make_over_pair, client12) == 0);
    sl_check(sl_stream_conformance(loop, "TLS 1.3 over TCP", make_over_tcp, client13) == 0);
    sl_check(sl_stream_conformance(loop, "TLS 1.2 over TCP", make_over_tcp, client12) == 0);
    sl_tls_server_free(server);
    sl_tls_client_free(client12);
    sl_tls_client_free(client13);
    sl_loop_free(loop);
    return sl_check_done();
}
