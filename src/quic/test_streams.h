/*
 * For tests of streams: a server and a client that have a QUIC connection, and what each of them
 * hears. The endpoints come from the test: over the loopback or over a network in memory
 * (quic/test_net.h).
 *
 *     test_streams_init(&t);
 *     t.server.endpoint = ...; opts from test_streams_opts(&t, true)
 *     t.client.endpoint = ...; opts from test_streams_opts(&t, false)
 *     test_streams_connect(&t, &server_address);
 *     ... until t.server.n_ready == 1 && t.client.n_ready == 1 ...
 *     test_streams_clear(&t);
 */
#ifndef SL_QUIC_TEST_STREAMS_H
#define SL_QUIC_TEST_STREAMS_H

#include "base/check.h"
#include "quic/stream.h"
#include "tls/cert.h"

struct test_side {
    struct sl_quic_endpoint *endpoint;
    struct sl_quic_streams *streams; /* NULL once the connection has ended */
    int n_ready, n_closed, n_datagrams, n_more;
    int code; /* of the end */
    /* A stream that the peer opened; NULL: `accepted` keeps the last one. */
    void (*on_stream)(void *user, struct sl_stream *s);
    void *user;
    struct sl_stream *accepted;
};

struct test_streams {
    struct test_side server, client;
    struct sl_cert *cert;
    struct sl_quic_tls *server_tls, *client_tls;
    struct sl_quic_settings settings;
};

static inline void test_side_on_ready(void *user)
{
    ((struct test_side *)user)->n_ready++;
}

static inline void test_side_on_stream(void *user, struct sl_stream *s)
{
    struct test_side *side = user;

    if (side->on_stream != NULL)
        side->on_stream(side->user, s);
    else
        side->accepted = s;
}

static inline void test_side_on_more(void *user)
{
    ((struct test_side *)user)->n_more++;
}

static inline void test_side_on_datagram(void *user, const uint8_t *bytes, size_t len)
{
    (void)bytes;
    (void)len;
    ((struct test_side *)user)->n_datagrams++;
}

static inline void test_side_on_closed(void *user, const struct sl_quic_end *end)
{
    struct test_side *side = user;

    side->n_closed++;
    side->code = end->code;
    side->streams = NULL;
}

static const struct sl_quic_streams_handler test_side_handler = {
    .on_ready = test_side_on_ready,
    .on_stream = test_side_on_stream,
    .on_more_streams = test_side_on_more,
    .on_datagram = test_side_on_datagram,
    .on_closed = test_side_on_closed,
};

static inline int test_streams_on_accept(void *user, struct sl_quic_conn *c)
{
    struct test_streams *t = user;

    t->server.streams = sl_quic_streams_new(&test_side_handler, &t->server);
    c->app = &sl_quic_streams_app;
    c->user = t->server.streams;
    return 0;
}

static inline int test_streams_on_hello(void *user, struct sl_quic_conn *c,
                                        const struct sl_tls_hello *hello, struct sl_cert **cert)
{
    struct test_streams *t = user;

    (void)c;
    (void)hello;
    *cert = sl_cert_ref(t->cert); /* taken */
    return 0;
}

static const struct sl_quic_server test_streams_server = {test_streams_on_accept,
                                                          test_streams_on_hello};

static inline void test_streams_init(struct test_streams *t)
{
    struct sl_tls_client_opts client = {.alpn = "\x04test"};
    struct sl_err err;

    *t = (struct test_streams){.settings = sl_quic_settings_default};
    sl_assert(sl_cert_self_signed(&t->cert, SL_STR("a.example"), &err) == 0);
    sl_assert(sl_quic_tls_server_new(&t->server_tls, "\x04test", false, &err) == 0);
    sl_assert(sl_quic_tls_client_new(&t->client_tls, &client, &err) == 0);
}

static inline struct sl_quic_endpoint_opts test_streams_opts(struct test_streams *t, bool is_server)
{
    return (struct sl_quic_endpoint_opts){
        .settings = &t->settings,
        .tls = is_server ? t->server_tls : NULL,
        .server = is_server ? &test_streams_server : NULL,
        .user = t,
    };
}

static inline void test_streams_connect(struct test_streams *t, const struct sl_addr *remote)
{
    struct sl_quic_conn *c;

    t->client.streams = sl_quic_streams_new(&test_side_handler, &t->client);
    sl_assert(sl_quic_connect(&c, t->client.endpoint, remote, t->client_tls, SL_STR("a.example"),
                              &sl_quic_streams_app, t->client.streams) == 0);
}

static inline void test_streams_clear(struct test_streams *t)
{
    sl_quic_endpoint_free(t->client.endpoint);
    sl_quic_endpoint_free(t->server.endpoint);
    sl_quic_tls_free(t->server_tls);
    sl_quic_tls_free(t->client_tls);
    sl_cert_unref(t->cert);
}

#endif
