/*
 * What most tests of QUIC have: a virtual network with one server that accepts all and echoes, one
 * client endpoint, and certificates. Fields may be changed before test_world_begin().
 */
#ifndef SL_QUIC_TEST_WORLD_H
#define SL_QUIC_TEST_WORLD_H

#include "base/check.h"
#include "quic/test_app.h"
#include "quic/test_net.h"

enum { TEST_WORLD_PEERS = 64 };

struct test_world {
    struct test_net net;
    struct sl_quic_settings server_settings, client_settings;
    struct sl_quic_tls *server_tls, *client_tls;
    struct sl_quic_endpoint *server, *client;
    struct sl_addr server_addr;
    struct test_peer client_peer;
    struct test_peer peers[TEST_WORLD_PEERS]; /* the server's sides of connections, in order */
    int n_peers;
    /* What the server does. */
    int accept_rc, hello_rc;
    bool hello_waits;
    struct sl_quic_conn *waiting; /* for sl_quic_resume() */
    char sni[256];                /* of the last hello */
    int n_hellos;
};

static inline int test_world_accept(void *user, struct sl_quic_conn *c)
{
    struct test_world *w = user;
    struct test_peer *p = &w->peers[w->n_peers % TEST_WORLD_PEERS];

    if (w->accept_rc < 0)
        return w->accept_rc;
    if (w->n_peers >= TEST_WORLD_PEERS)
        test_peer_clear(p);
    w->n_peers++;
    test_peer_init(p);
    p->conn = c;
    p->echoes = true;
    c->app = &test_app;
    c->user = p;
    return 0;
}

static inline int test_world_hello(void *user, struct sl_quic_conn *c,
                                   const struct sl_tls_hello *hello, struct sl_cert **cert)
{
    struct test_world *w = user;

    w->n_hellos++;
    (void)snprintf(w->sni, sizeof(w->sni), "%.*s", SL_STR_FMT(hello->sni));
    if (w->hello_rc < 0)
        return w->hello_rc;
    if (w->hello_waits) {
        w->waiting = c;
        return SL_E_AGAIN;
    }
    return sl_cert_self_signed(cert, hello->sni, NULL);
}

static const struct sl_quic_server test_world_server SL_UNUSED = {test_world_accept,
                                                                  test_world_hello};

static inline void test_world_init(struct test_world *w, uint64_t seed)
{
    memset(w, 0, sizeof(*w));
    test_net_init(&w->net, seed);
    w->server_settings = w->client_settings = sl_quic_settings_default;
    test_peer_init(&w->client_peer);
}

/* Anybody who has the key of the certificate for `name` is believed. */
static inline void test_world_pin(uint8_t pin[32], const char *name)
{
    struct sl_cert *cert;

    sl_assert(sl_cert_self_signed(&cert, sl_str_c(name), NULL) == 0);
    sl_cert_pin(cert, pin);
    sl_cert_unref(cert);
}

static inline void test_world_make_tls(struct sl_quic_tls **server, struct sl_quic_tls **client,
                                       bool early_data)
{
    uint8_t pin[32];
    struct sl_tls_client_opts trust = {.pin = pin, .alpn = "\x04test"};

    test_world_pin(pin, "a.test");
    sl_assert(sl_quic_tls_server_new(server, "\x05other\x04test", early_data, NULL) == 0);
    sl_assert(sl_quic_tls_client_new(client, &trust, NULL) == 0);
}

/* Takes both contexts. */
static inline void test_world_begin_with(struct test_world *w, struct sl_quic_tls *server_tls,
                                         struct sl_quic_tls *client_tls)
{
    struct sl_quic_endpoint_opts server = {.tls = server_tls,

                                           .settings = &w->server_settings,
                                           .worker = 3,
                                           .server = &test_world_server,
                                           .user = w};

    w->server_tls = server_tls;
    w->client_tls = client_tls;
    w->server = test_net_endpoint(&w->net, "10.0.0.1", 443, server);
    w->client = test_net_endpoint(
        &w->net, "10.0.0.2", 5000,
        (struct sl_quic_endpoint_opts){.settings = &w->client_settings, .worker = 9});
    w->server_addr = test_node(w->server)->addr;
}

static inline void test_world_begin(struct test_world *w)
{
    struct sl_quic_tls *server_tls, *client_tls;

    test_world_make_tls(&server_tls, &client_tls, w->server_settings.early_data);
    test_world_begin_with(w, server_tls, client_tls);
}

static inline void test_world_connect_as(struct test_world *w, struct test_peer *p,
                                         const char *name)
{
    sl_assert(sl_quic_connect(&p->conn, w->client, &w->server_addr, w->client_tls, sl_str_c(name),
                              &test_app, p) == 0);
}

static inline void test_world_connect(struct test_world *w)
{
    test_world_connect_as(w, &w->client_peer, "a.test");
}

static inline void test_world_end(struct test_world *w)
{
    sl_quic_endpoint_free(w->client);
    sl_quic_endpoint_free(w->server);
    sl_quic_tls_free(w->client_tls);
    sl_quic_tls_free(w->server_tls);
    test_net_clear(&w->net);
    test_peer_clear(&w->client_peer);
    for (int i = 0; i < SL_MIN(w->n_peers, (int)TEST_WORLD_PEERS); i++)
        test_peer_clear(&w->peers[i]);
}

/* --- what to wait for --- */

static inline bool test_is_done(void *user)
{
    return ((struct test_peer *)user)->n_done > 0;
}

static inline bool test_is_closed(void *user)
{
    return ((struct test_peer *)user)->n_closed > 0;
}

static inline bool test_stream_has_fin(void *user)
{
    return ((struct test_stream *)user)->got_fin;
}

/* Connected, and both know it. On a bad network a connection may begin twice; the last one counts.
 */
static inline bool test_world_shake(struct test_world *w)
{
    test_world_connect(w);
    return test_net_run(&w->net, 20000, test_is_done, &w->client_peer) &&
           test_net_run(&w->net, 20000, test_is_done,
                        &w->peers[(w->n_peers - 1) % TEST_WORLD_PEERS]);
}

/* Sends `len` bytes and gets them back. */
static inline bool test_world_echo(struct test_world *w, size_t len, uint64_t ms)
{
    struct test_stream *s = test_peer_open(&w->client_peer, false);
    uint8_t *bytes = sl_alloc(len + 1);
    bool ok;

    sl_assert(s != NULL);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(i * 31 + i / 251);
    test_peer_send(&w->client_peer, s, bytes, len, true);
    ok = test_net_run(&w->net, ms, test_stream_has_fin, s) && sl_buf_len(&s->in) == len &&
         (len == 0 || memcmp(sl_buf_at(&s->in), bytes, len) == 0);
    sl_free(bytes);
    return ok;
}

#endif
