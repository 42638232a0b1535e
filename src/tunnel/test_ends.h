/*
 * For tests of edges and hubs: one hub and some edges on the loopback of this machine, with
 * handlers that note what they are told, and that do what a script would do on the edge's side:
 * accept the hub's answer.
 *
 *     world_begin();
 *     world_hub(&(struct sl_hub_opts){0});
 *     world_listen();
 *     world_edges(1);                                     // ids "e0", "e1", ...; secret
 * "secret-e0" world_connect(&edges[0], SL_EDGE_TLS); run_until(loop, edges[0].n_up == 1);
 *     world_end();
 */
#ifndef SL_TUNNEL_TEST_ENDS_H
#define SL_TUNNEL_TEST_ENDS_H

#include <stdio.h>
#include <unistd.h>
#include "base/buf.h"
#include "net/test_net.h"
#include "tunnel/hub.h"

enum { N_EDGES = 4, N_TAKEN = 4096, N_CALLS = 64 };

/* The holder of a stream. */
struct holder {
    struct sl_stream *stream;
    struct sl_buf in;
    bool got_fin;
    int code;
};

struct test_edge {
    struct sl_edge *edge;
    char id[16], secret[32];
    struct sl_buf answer, config; /* the last ones */
    int n_answers, n_failed, n_up, n_down, n_configs, code, down_code;
    char why[256];
    bool resumed;
    bool decides; /* the test accepts by itself */
};

static struct sl_loop *loop;
static struct sl_dns *dns;
static struct sl_cert *cert;
static struct sl_tls_server *tls;
static struct sl_quic_tls *quic_tls;
static struct sl_hub *hub;
static struct sl_addr hub_at;
static struct test_edge edges[N_EDGES];

/* What the hub's handler was told. */
static struct holder *taken[N_TAKEN];
static struct sl_session *sessions[N_CALLS];
static struct sl_proxy_header last_from;
static char last_id[64];
static int n_taken, n_sessions, n_asked, n_gone, n_opened, n_closed;
static char calls[N_CALLS][32]; /* "up e0" */
static int n_calls;
static int on_edge_rc;
static struct sl_hub_edge *asked;
static struct sl_buf datagrams; /* that arrived anywhere, one after the other, with a '|' behind */
static int n_sessions_closed;

/* --- streams and sessions --- */

static void on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    struct holder *h = s->user;

    sl_buf_append(&h->in, bytes, len);
}

static void on_fin(struct sl_stream *s)
{
    ((struct holder *)s->user)->got_fin = true;
}

static void on_written(struct sl_stream *s)
{
    (void)s;
}

static void on_error(struct sl_stream *s, int code)
{
    ((struct holder *)s->user)->code = code;
}

static const struct sl_stream_handler holder_handler = {on_data, on_fin, on_written, on_error,
                                                        NULL};

static inline struct holder *hold(struct sl_stream *s)
{
    struct holder *h = sl_zalloc(sizeof(*h));

    h->stream = s;
    if (s != NULL)
        sl_stream_set_handler(s, &holder_handler, h);
    return h;
}

static inline void let_go(struct holder **ph)
{
    struct holder *h = *ph;

    *ph = NULL;
    if (h == NULL)
        return;
    sl_stream_free(&h->stream, SL_CLOSE_ABORT);
    sl_buf_clear(&h->in);
    sl_free(h);
}

static void on_datagram(struct sl_session *s, const uint8_t *bytes, size_t len)
{
    (void)s;
    sl_buf_append(&datagrams, bytes, len);
    sl_buf_append(&datagrams, "|", 1);
}

static void on_session_closed(struct sl_session *s)
{
    n_sessions_closed++;
    for (int i = 0; i < n_sessions; i++) {
        if (sessions[i] == s)
            sessions[i] = NULL;
    }
    sl_session_free(&s);
}

static const struct sl_session_handler session_handler = {on_datagram, on_session_closed};

/* --- the hub's handler --- */

static inline void note(const char *what, const struct sl_hub_edge *e)
{
    if (n_calls < N_CALLS)
        (void)snprintf(calls[n_calls++], sizeof(calls[0]), "%s %.*s", what,
                       SL_STR_FMT(sl_hub_edge_id(e)));
}

static int on_edge(void *user, struct sl_hub_edge *e)
{
    (void)user;
    n_asked++;
    asked = e;
    return on_edge_rc;
}

static void on_edge_gone(void *user, struct sl_hub_edge *e)
{
    (void)user;
    sl_check(e == asked);
    n_gone++;
    asked = NULL;
}

static void on_stream(void *user, struct sl_hub_edge *e, struct sl_stream *s,
                      const struct sl_proxy_header *from)
{
    (void)user;
    last_from = *from;
    (void)snprintf(last_id, sizeof(last_id), "%.*s", SL_STR_FMT(sl_hub_edge_id(e)));
    sl_assert(n_taken < N_TAKEN);
    taken[n_taken++] = hold(s);
    sl_stream_read(s, true);
}

static void on_session(void *user, struct sl_hub_edge *e, struct sl_session *s,
                       const struct sl_proxy_header *from)
{
    (void)user;
    (void)e;
    last_from = *from;
    s->handler = &session_handler;
    sl_assert(n_sessions < N_CALLS);
    sessions[n_sessions++] = s;
}

static void on_event(void *user, enum sl_hub_event event, struct sl_hub_edge *e, uint32_t stream)
{
    (void)user;
    sl_check((stream != 0) == (event == SL_HUB_STREAM_OPENED || event == SL_HUB_STREAM_CLOSED));
    if (event == SL_HUB_STREAM_OPENED)
        n_opened++;
    else if (event == SL_HUB_STREAM_CLOSED)
        n_closed++;
    else
        note(event == SL_HUB_EDGE_UP ? "up" : "down", e);
}

static const struct sl_hub_handler hub_handler = {on_edge, on_edge_gone, on_stream, on_session,
                                                  on_event};

/* --- the edges' handler --- */

static inline int hex_digit(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* As a script would: the ticket out of the answer, if there is one. */
static inline struct sl_edge_terms terms_of(struct sl_str answer)
{
    static const char key[] = "\"sluice\":{\"ticket\":\"";
    const char *at = memmem(answer.p, answer.len, key, sizeof(key) - 1);
    struct sl_edge_terms terms = {.is_sluice = at != NULL};

    for (int i = 0; at != NULL && i < SL_RESUME_TICKET; i++) {
        const char *hex = at + sizeof(key) - 1 + 2 * i;

        terms.ticket[i] = (uint8_t)(hex_digit(hex[0]) << 4 | hex_digit(hex[1]));
    }
    return terms;
}

static void keep(struct sl_buf *buf, struct sl_str text)
{
    sl_buf_reset(buf);
    sl_buf_append_str(buf, text);
}

static void on_answer(void *user, struct sl_str line)
{
    struct test_edge *e = user;
    struct sl_edge_terms terms = terms_of(line);

    keep(&e->answer, line);
    e->n_answers++;
    if (!e->decides)
        sl_edge_accept(e->edge, &terms);
}

static void on_failed(void *user, int code, const char *why)
{
    struct test_edge *e = user;

    sl_check(why[0] != '\0');
    e->n_failed++;
    e->code = code;
    (void)snprintf(e->why, sizeof(e->why), "%s", why);
}

static void on_up(void *user, bool resumed)
{
    struct test_edge *e = user;

    e->n_up++;
    e->resumed = resumed;
}

static void on_config(void *user, struct sl_str json)
{
    struct test_edge *e = user;

    keep(&e->config, json);
    e->n_configs++;
}

static void on_down(void *user, int code, const char *why)
{
    struct test_edge *e = user;

    e->n_down++;
    e->down_code = code;
    (void)snprintf(e->why, sizeof(e->why), "%s", why);
}

static const struct sl_edge_handler edge_handler = {on_answer, on_failed, on_up, on_config,
                                                    on_down};

/* --- the world --- */

static inline void world_begin(void)
{
    struct sl_err err;

    sl_assert(sl_loop_new(&loop) == 0 && sl_dns_new(&dns, loop) == 0);
    sl_assert(sl_cert_self_signed(&cert, SL_STR("hub.example"), &err) == 0);
    sl_assert(sl_tls_server_new(&tls, &(struct sl_tls_server_opts){.alpn = SL_HUB_ALPN}, &err) ==
              0);
    sl_assert(sl_quic_tls_server_new(&quic_tls, SL_HUB_ALPN, false, &err) == 0);
    n_taken = n_sessions = n_asked = n_gone = n_opened = n_closed = n_calls = on_edge_rc = 0;
    n_sessions_closed = 0;
}

/* On a port that is free on TCP and UDP. */
static inline void world_listen(void)
{
    int tcp, udp = -1;

    do {
        tcp = listen_on_loopback(&hub_at);
        if (sl_socket_bind_udp(&udp, &hub_at, false, NULL) < 0)
            close(tcp);
    } while (udp < 0);
    sl_hub_listen(hub, tcp, udp);
}

/* A hub that listens nowhere yet. */
static inline void world_hub(const struct sl_hub_opts *with)
{
    struct sl_hub_opts opts = *with;

    opts.loop = loop;
    opts.tls = tls;
    opts.quic_tls = quic_tls;
    opts.cert = cert;
    opts.handler = &hub_handler;
    hub = sl_hub_new(&opts);
}

/* The hub's table: the first `n` edges, with this configuration. */
static inline void world_table(int n, const char *config)
{
    struct sl_hub_edge_spec specs[N_EDGES];

    for (int i = 0; i < n; i++)
        specs[i] = (struct sl_hub_edge_spec){sl_str_c(edges[i].id), sl_str_c(edges[i].secret),
                                             sl_str_c(config)};
    sl_hub_set_edges(hub, specs, (size_t)n);
}

static inline void world_edges(int n, const struct sl_edge_opts *with)
{
    for (int i = 0; i < n; i++) {
        struct sl_edge_opts opts = *with;

        opts.loop = loop;
        opts.dns = dns;
        opts.handler = &edge_handler;
        opts.user = &edges[i];
        edges[i] = (struct test_edge){.edge = sl_edge_new(&opts)};
        (void)snprintf(edges[i].id, sizeof(edges[i].id), "e%d", i);
        (void)snprintf(edges[i].secret, sizeof(edges[i].secret), "secret-e%d", i);
    }
    world_table(n, "{\"listenPorts\":[443]}");
}

static inline struct sl_edge_attempt world_attempt(const struct test_edge *e,
                                                   enum sl_edge_transport transport)
{
    return (struct sl_edge_attempt){.host = SL_STR("127.0.0.1"),
                                    .port = sl_addr_port(&hub_at),
                                    .id = sl_str_c(e->id),
                                    .secret = sl_str_c(e->secret),
                                    .transport = transport,
                                    .timeout_ms = TEST_GUARD_MS};
}

static inline void world_connect(struct test_edge *e, enum sl_edge_transport transport)
{
    struct sl_edge_attempt a = world_attempt(e, transport);

    sl_edge_connect(e->edge, &a);
}

/* Up on both sides. */
static inline void world_up(struct test_edge *e, enum sl_edge_transport transport)
{
    int n_up = e->n_up, n = n_calls;

    world_connect(e, transport);
    run_until(loop, e->n_up > n_up && n_calls > n);
}

static inline void world_free_hub(void)
{
    sl_hub_free(hub);
    hub = NULL;
}

static inline void world_end(void)
{
    for (int i = 0; i < n_taken; i++)
        let_go(&taken[i]);
    for (int i = 0; i < n_sessions; i++)
        sl_session_free(&sessions[i]);
    world_free_hub();
    for (int i = 0; i < N_EDGES; i++) {
        sl_edge_free(edges[i].edge);
        sl_buf_clear(&edges[i].answer);
        sl_buf_clear(&edges[i].config);
        edges[i].edge = NULL;
    }
    run_quiet(loop);
    sl_buf_clear(&datagrams);
    sl_dns_free(dns);
    sl_loop_free(loop);
    sl_cert_unref(cert);
    sl_tls_server_free(tls);
    sl_quic_tls_free(quic_tls);
}

/* A visitor at an edge. */
static inline struct holder *visit(struct test_edge *e)
{
    struct holder *h = hold(NULL);

    h->stream = sl_edge_open(e->edge, SL_STR("PROXY TCP4 192.0.2.1 198.51.100.2 5555 443\r\n"),
                             &holder_handler, h);
    if (h->stream != NULL)
        sl_stream_read(h->stream, true);
    return h;
}

static inline bool has(const struct holder *h, const char *text)
{
    return sl_str_eq(sl_buf_str(&h->in), sl_str_c(text));
}

static inline void say(struct holder *h, const char *text, bool fin)
{
    (void)sl_stream_write1(h->stream, text, strlen(text), fin);
}

static inline struct sl_hub_stats stats_of_hub(void)
{
    struct sl_hub_stats stats;

    sl_hub_stats(hub, &stats);
    return stats;
}

/* What the hub has told of its edges, one after the other. */
static inline bool is_call(int i, const char *text)
{
    return i < n_calls && strcmp(calls[i], text) == 0;
}

#endif
