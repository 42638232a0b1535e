/*
 * For the tests of the proxy: a proxy with routes, origins behind it and clients in front of it,
 * all on one loop and the loopback, and hooks that do what the test says.
 *
 *     world_begin(&w);
 *     world_forward(&w, "app", &origin);
 *     world_publish(&w);
 *     client_open(&c, &w, 0);
 *     client_say(&c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
 *     run_until(w.loop, client_got(&c, "200"));
 *     world_end(&w);
 */
#ifndef SL_PROXY_TEST_WORLD_H
#define SL_PROXY_TEST_WORLD_H

#include <unistd.h>
#include "http/test_origin.h"
#include "net/udp.h"
#include "proxy/proxy.h"
#include "tls/stream.h"

enum { WORLD_PORTS = 3, WORLD_ROUTES = 8 };

/* What a hook was called with, and what it answers. */
struct world_hook {
    int n_calls;
    int rc;                    /* 0, or SL_E_AGAIN: the test resumes */
    struct sl_verdict verdict; /* for rc 0 */
    struct sl_hook_slot *slot; /* of the last call; NULL once it was forgotten */
};

struct world {
    struct sl_loop *loop;
    struct sl_dns *dns;
    struct sl_pool *pool;
    struct sl_tls_server *tls;
    struct sl_proxy *proxy;
    struct sl_proxy_settings settings;
    struct sl_edge *(*find_edge)(void *edges, struct sl_str name); /* or NULL: there are none */
    void *edges;
    struct sl_snapshot_builder *building;
    struct sl_snapshot *snapshot; /* as long as the proxy has it */
    struct sl_str policy_block;
    struct sl_policy_spec policy;
    uint16_t ports[WORLD_PORTS];
    struct sl_hooks hooks;
    struct world_hook connect, hello, request, response, failure, stream;
    void (*on_connect_hook)(struct world *w, const struct sl_peer *peer);
    void (*on_request_hook)(struct world *w, struct sl_exchange *ex);
    void (*on_response_hook)(struct world *w, struct sl_response *res, struct sl_str target);
    void (*on_failure_hook)(struct world *w, const struct sl_failure *failure);
    int n_forgotten, n_done, n_drained, n_released;
    /* of the last on_done */
    int done_status;
    bool done_is_exchange;
    char done_route[32], done_target[64], done_error[128];
    uint64_t done_in, done_out;
};

/* --- hooks --- */

static inline int world_hook_called(struct world_hook *h, struct sl_hook_slot *slot,
                                    struct sl_verdict *v)
{
    h->n_calls++;
    h->slot = slot;
    slot->script = h;
    if (h->rc == 0)
        *v = h->verdict;
    return h->rc;
}

static inline int world_on_connect(void *host, struct sl_hook_slot *slot,
                                   const struct sl_peer *peer, struct sl_verdict *v)
{
    struct world *w = host;

    if (w->on_connect_hook != NULL)
        w->on_connect_hook(w, peer);
    return world_hook_called(&w->connect, slot, v);
}

static inline int world_on_hello(void *host, struct sl_hook_slot *slot, const struct sl_peer *peer,
                                 const struct sl_tls_hello *hello, struct sl_verdict *v)
{
    (void)peer;
    (void)hello;
    return world_hook_called(&((struct world *)host)->hello, slot, v);
}

static inline int world_on_request(void *host, struct sl_hook_slot *slot, struct sl_exchange *ex,
                                   struct sl_verdict *v)
{
    struct world *w = host;

    if (w->on_request_hook != NULL)
        w->on_request_hook(w, ex);
    return world_hook_called(&w->request, slot, v);
}

static inline int world_on_response(void *host, struct sl_hook_slot *slot, struct sl_exchange *ex,
                                    struct sl_response *res, struct sl_str target,
                                    struct sl_verdict *v)
{
    struct world *w = host;

    (void)ex;
    if (w->on_response_hook != NULL)
        w->on_response_hook(w, res, target);
    return world_hook_called(&w->response, slot, v);
}

static inline int world_on_failure(void *host, struct sl_hook_slot *slot, struct sl_exchange *ex,
                                   const struct sl_failure *failure, struct sl_verdict *v)
{
    struct world *w = host;

    (void)ex;
    if (w->on_failure_hook != NULL)
        w->on_failure_hook(w, failure);
    return world_hook_called(&w->failure, slot, v);
}

static inline int world_on_stream(void *host, struct sl_hook_slot *slot, const struct sl_peer *peer,
                                  struct sl_verdict *v)
{
    (void)peer;
    return world_hook_called(&((struct world *)host)->stream, slot, v);
}

static inline void world_on_done(void *host, const struct sl_done *d)
{
    struct world *w = host;

    w->n_done++;
    w->done_status = d->status;
    w->done_is_exchange = d->is_exchange;
    w->done_in = d->bytes_in;
    w->done_out = d->bytes_out;
    snprintf(w->done_route, sizeof(w->done_route), "%.*s", SL_STR_FMT(d->route));
    snprintf(w->done_target, sizeof(w->done_target), "%.*s", SL_STR_FMT(d->target));
    snprintf(w->done_error, sizeof(w->done_error), "%s", d->error != NULL ? d->error : "");
}

static inline void world_forget(void *host, struct sl_hook_slot *slot)
{
    struct world *w = host;
    struct world_hook *all[] = {&w->connect,  &w->hello,   &w->request,
                                &w->response, &w->failure, &w->stream};

    sl_check(slot->script != NULL);
    slot->script = NULL;
    w->n_forgotten++;
    for (size_t i = 0; i < SL_COUNT(all); i++) {
        if (all[i]->slot == slot)
            all[i]->slot = NULL;
    }
}

static inline void world_hooks_on(struct world *w, unsigned present)
{
    w->hooks = (struct sl_hooks){
        .present = present,
        .host = w,
        .on_connect = world_on_connect,
        .on_hello = world_on_hello,
        .on_request = world_on_request,
        .on_response = world_on_response,
        .on_failure = world_on_failure,
        .on_done = world_on_done,
        .on_stream = world_on_stream,
        .forget = world_forget,
    };
    sl_proxy_set_hooks(w->proxy, &w->hooks);
}

/* --- routes --- */

static inline void world_route(struct world *w, const struct sl_route_spec *spec)
{
    struct sl_err err = {0};

    if (w->building == NULL)
        w->building = sl_snapshot_begin(NULL);
    if (sl_snapshot_add(w->building, spec, &err) < 0) {
        fprintf(stderr, "%.*s: %s\n", SL_STR_FMT(spec->name), err.text);
        sl_assert(false);
    }
}

/* As hooks see this target. */
static inline struct sl_str port_text(const struct origin *origin)
{
    static char text[32];

    snprintf(text, sizeof(text), "127.0.0.1:%u", origin_port(origin));
    return sl_str_c(text);
}

/* All that comes to this port goes to the target. */
static inline void world_forward(struct world *w, int port, const char *name,
                                 const struct origin *o)
{
    const struct sl_target_spec target = {.host = SL_STR("127.0.0.1"), .port = origin_port(o)};
    const struct sl_port_range range = {w->ports[port], w->ports[port]};

    world_route(w, &(struct sl_route_spec){.name = sl_str_c(name),
                                           .ports = &range,
                                           .n_ports = 1,
                                           .targets = &target,
                                           .n_targets = 1});
}

/* The rest of the route is as `spec` says; `domain` NULL: every name. */
static inline void world_add(struct world *w, int port, const struct sl_route_spec *spec,
                             const struct origin *o, const char *domain)
{
    const struct sl_target_spec target = {.host = SL_STR("127.0.0.1"), .port = origin_port(o)};
    const struct sl_port_range range = {w->ports[port], w->ports[port]};
    const struct sl_str name = sl_str_c(domain);
    struct sl_route_spec full = *spec;

    full.ports = &range;
    full.n_ports = 1;
    full.domains = &name;
    full.n_domains = domain != NULL;
    full.targets = &target;
    full.n_targets = 1;
    if (full.name.len == 0)
        full.name = SL_STR("app");
    world_route(w, &full);
}

static inline void world_release_cert(void *cert)
{
    sl_cert_unref(cert);
}

/* With a certificate for `domain`. */
static inline void world_add_tls(struct world *w, int port, const char *name,
                                 const struct origin *o, const char *domain,
                                 enum sl_protocol protocol)
{
    struct sl_cert *cert = NULL;

    sl_assert(sl_cert_self_signed(&cert, sl_str_c(domain), NULL) == 0);
    world_add(w, port,
              &(struct sl_route_spec){.name = sl_str_c(name),
                                      .tls = SL_TLS_TERMINATE,
                                      .protocol = protocol,
                                      .tls_data = cert,
                                      .release_tls = world_release_cert},
              o, domain);
}

static inline void world_publish(struct world *w)
{
    struct sl_snapshot_builder *b = w->building != NULL ? w->building : sl_snapshot_begin(NULL);
    struct sl_snapshot *s;

    sl_assert(sl_snapshot_set_policy(b, &w->policy, NULL) == 0);
    s = sl_snapshot_finish(b);
    w->building = NULL;
    w->snapshot = s;
    sl_proxy_set_snapshot(w->proxy, s);
    sl_snapshot_unref(s);
}

static inline void world_release_snapshot(void *user, struct sl_snapshot *snapshot)
{
    ((struct world *)user)->n_released++;
    sl_snapshot_unref(snapshot);
}

static inline struct sl_edge *world_find_edge(void *user, struct sl_str name)
{
    struct world *w = user;

    return w->find_edge != NULL ? w->find_edge(w->edges, name) : NULL;
}

/* --- begin and end --- */

/* `quic` may be NULL. */
/* A test that asks for the same port of UDP later shares the machine with others that have some. */
static inline bool world_has_udp(struct sl_addr at)
{
    int fd, rc = sl_socket_bind_udp(&fd, &at, true, NULL);

    if (rc == 0)
        close(fd);
    return rc == 0;
}

static inline int world_listen(struct sl_addr *at, bool with_udp)
{
    int fd = listen_on_loopback(at);

    while (with_udp && !world_has_udp(*at)) {
        close(fd);
        fd = listen_on_loopback(at);
    }
    return fd;
}

static inline void world_begin_with(struct world *w, const struct sl_proxy_quic *quic)
{
    struct sl_proxy_opts opts;

    *w = (struct world){.settings = sl_proxy_settings_default};
    sl_assert(sl_loop_new(&w->loop) == 0 && sl_dns_new(&w->dns, w->loop) == 0);
    sl_assert(sl_pool_new(&w->pool, w->loop, w->dns, NULL, NULL) == 0);
    sl_assert(sl_tls_server_new(&w->tls, &(struct sl_tls_server_opts){0}, NULL) == 0);
    opts = (struct sl_proxy_opts){.loop = w->loop,
                                  .dns = w->dns,
                                  .pool = w->pool,
                                  .tls = w->tls,
                                  .settings = &w->settings,
                                  .release_snapshot = world_release_snapshot,
                                  .find_edge = world_find_edge,
                                  .user = w};
    if (quic != NULL)
        opts.quic = *quic;
    sl_proxy_new(&w->proxy, &opts);
    for (int i = 0; i < WORLD_PORTS; i++) {
        struct sl_addr at;
        int fd = world_listen(&at, quic != NULL);

        w->ports[i] = sl_addr_port(&at);
        sl_proxy_listen(w->proxy, fd, w->ports[i]);
    }
}

static inline void world_begin(struct world *w)
{
    world_begin_with(w, NULL);
}

/* After w->settings was changed. */
static inline void world_settings_changed(struct world *w)
{
    sl_proxy_set_settings(w->proxy, &w->settings);
}

static inline uint64_t world_active(const struct world *w)
{
    return sl_proxy_stats(w->proxy)->active_connections;
}

static inline void world_end(struct world *w)
{
    sl_proxy_free(w->proxy);
    sl_pool_free(w->pool);
    sl_dns_free(w->dns);
    run_quiet(w->loop);
    sl_tls_server_free(w->tls);
    sl_loop_free(w->loop);
}

/* --- clients --- */

struct client {
    struct sl_stream *stream; /* NULL once the test has closed it */
    struct sl_buf got;
    size_t n_got; /* all of it, also when it is not kept */
    bool drops;   /* what it got */
    int n_ready, n_fin, n_error, n_written, code;
    struct sl_loop *loop;
};

static inline void client_on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    struct client *c = s->user;

    c->n_got += len;
    if (!c->drops)
        sl_buf_append(&c->got, bytes, len);
}

static inline void client_on_fin(struct sl_stream *s)
{
    ((struct client *)s->user)->n_fin++;
}

static inline void client_on_written(struct sl_stream *s)
{
    ((struct client *)s->user)->n_written++;
}

static inline void client_on_error(struct sl_stream *s, int code)
{
    ((struct client *)s->user)->n_error++;
    ((struct client *)s->user)->code = code;
}

static inline void client_on_ready(struct sl_stream *s)
{
    ((struct client *)s->user)->n_ready++;
    sl_stream_read(s, true);
}

static const struct sl_stream_handler client_handler SL_UNUSED = {
    client_on_data, client_on_fin, client_on_written, client_on_error, client_on_ready};

static inline void client_open(struct client *c, struct world *w, int port)
{
    struct sl_addr at;

    *c = (struct client){.loop = w->loop};
    sl_assert(sl_addr_parse(&at, SL_STR("127.0.0.1"), w->ports[port]) == 0);
    sl_assert(sl_tcp_connect(&c->stream, w->loop, &at, NULL, 0, &client_handler, c) == 0);
    run_until(w->loop, c->n_ready + c->n_error > 0); /* it may be cut off at once */
}

static inline void client_send(struct client *c, struct sl_str bytes)
{
    if (c->stream->error == 0)
        (void)sl_stream_write1(c->stream, bytes.p, bytes.len, false);
}

static inline void client_say(struct client *c, const char *text)
{
    client_send(c, sl_str_c(text));
}

static inline void client_fin(struct client *c)
{
    if (c->stream->error == 0)
        (void)sl_stream_write(c->stream, NULL, 0, true);
}

static inline bool client_got(const struct client *c, const char *part)
{
    return sl_buf_len(&c->got) > 0 &&
           memmem(sl_buf_at(&c->got), sl_buf_len(&c->got), part, strlen(part)) != NULL;
}

static inline bool client_got_status(const struct client *c, int status)
{
    char text[32];

    snprintf(text, sizeof(text), "HTTP/1.1 %d ", status);
    return client_got(c, text);
}

static inline bool client_got_tail(const struct client *c, const char *tail)
{
    return sl_buf_len(&c->got) > 0 && sl_str_ends(sl_buf_str(&c->got), sl_str_c(tail));
}

static inline bool client_is_closed(const struct client *c)
{
    return c->n_fin + c->n_error > 0;
}

static inline void client_forget(struct client *c)
{
    sl_buf_reset(&c->got);
    c->n_got = 0;
}

static inline void client_close(struct client *c)
{
    sl_stream_free(&c->stream, SL_CLOSE_ABORT);
    sl_buf_clear(&c->got);
    run_quiet(c->loop);
}

/* --- clients that speak TLS --- */

struct tls_client {
    struct client c;
    struct sl_tls_client *context;
};

static inline void tls_open(struct tls_client *t, struct world *w, int port, const char *name)
{
    struct sl_stream *tcp;

    client_open(&t->c, w, port);
    tcp = t->c.stream;
    t->c.n_ready = 0;
    sl_assert(sl_tls_client_new(&t->context, &(struct sl_tls_client_opts){.alpn = "\x08http/1.1"},
                                NULL) == 0);
    t->c.stream = sl_tls_connect(&tcp, t->context, sl_str_c(name), &client_handler, &t->c);
}

static inline void tls_close(struct tls_client *t)
{
    client_close(&t->c);
    sl_tls_client_free(t->context);
}

#endif
