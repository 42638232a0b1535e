/*
 * For the tests of the proxy: an edge and its hub on the loop of the test, joined over TLS on the
 * loopback. The edge is what targets call "main"; what it opens is taken by the same proxy, as if
 * it had come to another port.
 *
 *     tunnels_begin(&t, &w, 1);
 *     tunnels_connect(&t);
 *     ... a visitor on w.ports[0], whose route has the target "main", goes on on w.ports[1] ...
 *     tunnels_end(&t);
 */
#ifndef SL_PROXY_TEST_TUNNELS_H
#define SL_PROXY_TEST_TUNNELS_H

#include "proxy/test_world.h"
#include "tunnel/hub.h"

struct tunnels {
    struct world *w;
    struct sl_tls_server *tls;
    struct sl_cert *cert;
    struct sl_hub *hub;
    struct sl_edge *edge;
    struct sl_addr hub_at;
    int port;         /* of the world, on which visitors of the edge go on */
    bool is_original; /* neither knows of the other that it is a sluice */
    int n_up, n_resumed, n_down, n_streams;
    struct sl_proxy_header from; /* of the last stream */
};

/* --- the hub --- */

static inline void tunnels_on_stream(void *user, struct sl_hub_edge *e, struct sl_stream *s,
                                     const struct sl_proxy_header *from)
{
    struct tunnels *t = user;
    struct sl_tunnelled visitor = {.port = t->w->ports[t->port], .edge = sl_hub_edge_id(e)};

    t->n_streams++;
    t->from = *from;
    sl_addr_from_ip16(&visitor.remote, from->from, from->from_port);
    sl_addr_from_ip16(&visitor.local, from->to, from->to_port);
    sl_proxy_take_stream(t->w->proxy, &s, &visitor);
}

static inline void tunnels_on_session(void *user, struct sl_hub_edge *e, struct sl_session *s,
                                      const struct sl_proxy_header *from)
{
    (void)user;
    (void)e;
    (void)from;
    sl_session_free(&s);
}

/* --- the edge --- */

static inline int tunnels_nibble(char c)
{
    return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

static inline void tunnels_on_answer(void *user, struct sl_str line)
{
    static const char key[] = "\"ticket\":\"";
    struct tunnels *t = user;
    const char *hex = memmem(line.p, line.len, key, strlen(key));
    struct sl_edge_terms terms = {.is_sluice = !t->is_original};

    sl_assert(hex != NULL);
    hex += strlen(key);
    for (int i = 0; i < SL_RESUME_TICKET; i++)
        terms.ticket[i] =
            (uint8_t)(tunnels_nibble(hex[2 * i]) << 4 | tunnels_nibble(hex[2 * i + 1]));
    sl_edge_accept(t->edge, &terms);
}

static inline void tunnels_on_failed(void *user, int code, const char *why)
{
    (void)user;
    fprintf(stderr, "the edge cannot connect: %s (%d)\n", why, code);
    sl_check(false);
}

static inline void tunnels_on_up(void *user, bool resumed)
{
    struct tunnels *t = user;

    t->n_up++;
    t->n_resumed += resumed;
}

static inline void tunnels_on_config(void *user, struct sl_str json)
{
    (void)user;
    (void)json;
}

static inline void tunnels_on_down(void *user, int code, const char *why)
{
    (void)code;
    (void)why;
    ((struct tunnels *)user)->n_down++;
}

static inline struct sl_edge *tunnels_find(void *user, struct sl_str name)
{
    struct tunnels *t = user;

    return sl_str_eq(name, SL_STR("main")) ? t->edge : NULL;
}

/* --- begin and end --- */

static inline void tunnels_new_hub(struct tunnels *t)
{
    static const struct sl_hub_handler handler = {.on_stream = tunnels_on_stream,
                                                  .on_session = tunnels_on_session};
    const struct sl_hub_edge_spec spec = {
        .id = SL_STR("nyc"), .secret = SL_STR("s3cret"), .config = SL_STR("{}")};
    const struct sl_hub_opts opts = {
        .loop = t->w->loop, .tls = t->tls, .cert = t->cert, .handler = &handler, .user = t};

    t->hub = sl_hub_new(&opts);
    sl_hub_set_edges(t->hub, &spec, 1);
    sl_hub_listen(t->hub, listen_on_loopback(&t->hub_at), -1);
}

static inline void tunnels_begin(struct tunnels *t, struct world *w, int port)
{
    static const struct sl_edge_handler handler = {
        tunnels_on_answer, tunnels_on_failed, tunnels_on_up, tunnels_on_config, tunnels_on_down};

    *t = (struct tunnels){.w = w, .port = port};
    sl_assert(sl_tls_server_new(&t->tls, &(struct sl_tls_server_opts){.alpn = SL_HUB_ALPN}, NULL) ==
              0);
    sl_assert(sl_cert_self_signed(&t->cert, SL_STR("hub.example"), NULL) == 0);
    tunnels_new_hub(t);
    t->edge = sl_edge_new(
        &(struct sl_edge_opts){.loop = w->loop, .dns = w->dns, .handler = &handler, .user = t});
    w->find_edge = tunnels_find;
    w->edges = t;
}

static inline void tunnels_connect(struct tunnels *t)
{
    const struct sl_edge_attempt attempt = {.host = SL_STR("127.0.0.1"),
                                            .port = sl_addr_port(&t->hub_at),
                                            .id = SL_STR("nyc"),
                                            .secret = SL_STR("s3cret"),
                                            .transport = SL_EDGE_TLS,
                                            .timeout_ms = 20000};
    int n_before = t->n_up;

    sl_edge_connect(t->edge, &attempt);
    run_until(t->w->loop, t->n_up > n_before);
}

/* The link is lost, for both. */
static inline void tunnels_cut(struct tunnels *t)
{
    int n_before = t->n_down;

    sl_edge_hang_up(t->edge);
    run_until(t->w->loop, t->n_down > n_before);
    run_quiet(t->w->loop);
}

static inline void tunnels_count(void *arg, struct sl_str id, const struct sl_tunnel_status *status)
{
    (void)id;
    *(size_t *)arg += status->streams.n_streams;
}

/* Streams that live at either end. */
static inline size_t tunnels_streams(const struct tunnels *t)
{
    struct sl_tunnel_status status;
    size_t n;

    sl_edge_status(t->edge, &status);
    n = status.streams.n_streams;
    if (t->hub != NULL)
        sl_hub_each(t->hub, tunnels_count, &n);
    return n;
}

/* Before the world. */
static inline void tunnels_end(struct tunnels *t)
{
    sl_edge_free(t->edge);
    sl_hub_free(t->hub);
    t->edge = NULL;
    run_quiet(t->w->loop);
    sl_tls_server_free(t->tls);
    sl_cert_unref(t->cert);
}

#endif
