/* Hubs between control and the worker: sockets, tables, certificates, and edges that wait for the
 * hook. Both threads are one here, with one loop. */
#include <stdlib.h>
#include <unistd.h>
#include "app/tunnels.h"
#include "base/check.h"
#include "base/clock.h"
#include "script/library.h"
#include "tls/cert.h"

/* --- in place of tunnel/hub.c --- */

struct sl_hub_edge {
    struct sl_addr addr;
    int n_decisions, decision;
};

struct sl_hub {
    struct sl_hub_opts opts;
    int n_tables, n_listens, n_certs;
    size_t n_edges;
    bool has_udp;
};

static struct sl_hub *made; /* NULL: freed */
static int n_freed;

struct sl_hub *sl_hub_new(const struct sl_hub_opts *opts)
{
    made = sl_zalloc(sizeof(*made));
    made->opts = *opts;
    return made;
}

void sl_hub_free(struct sl_hub *h)
{
    n_freed++;
    made = NULL;
    sl_free(h);
}

void sl_hub_listen(struct sl_hub *h, int tcp_fd, int udp_fd)
{
    sl_check(h->n_tables > 0); /* an edge that is early must not be told that it is unknown */
    h->n_listens++;
    h->has_udp = udp_fd >= 0;
    close(tcp_fd);
    if (udp_fd >= 0)
        close(udp_fd);
}

void sl_hub_set_edges(struct sl_hub *h, const struct sl_hub_edge_spec *specs, size_t n)
{
    h->n_tables++;
    h->n_edges = n;
    sl_check(n == 0 || sl_str_eq(specs[0].secret, SL_STR("s3")));
}

void sl_hub_set_cert(struct sl_hub *h, struct sl_cert *cert)
{
    sl_check(cert != NULL);
    h->n_certs++;
}

void sl_hub_decide(struct sl_hub_edge *e, int rc)
{
    e->n_decisions++;
    e->decision = rc;
}

struct sl_str sl_hub_edge_id(const struct sl_hub_edge *e SL_UNUSED)
{
    return SL_STR("nyc");
}

const struct sl_addr *sl_hub_edge_addr(const struct sl_hub_edge *e)
{
    return &e->addr;
}

enum sl_edge_transport sl_hub_edge_transport(const struct sl_hub_edge *e SL_UNUSED)
{
    return SL_EDGE_QUIC;
}

void sl_hub_each(const struct sl_hub *h,
                 void (*fn)(void *arg, struct sl_str id, const struct sl_tunnel_status *status),
                 void *arg)
{
    struct sl_tunnel_status status = {.links = 7};

    for (size_t i = 0; i < h->n_edges; i++)
        fn(arg, SL_STR("nyc"), &status);
}

void sl_hub_stats(const struct sl_hub *h SL_UNUSED, struct sl_hub_stats *out)
{
    *out = (struct sl_hub_stats){.accepted = 5};
}

static int ask(struct sl_hub_edge *e)
{
    return made->opts.handler->on_edge(made->opts.user, e);
}

/* --- the program --- */

static struct sl_worker worker;
static struct sl_runtime rt = {.workers = &worker, .n_workers = 1};
static struct sl_proxy_settings settings;
static const struct sl_script_tunnels *services;
static struct sl_hub_edge edge;

static void settle(void)
{
    for (int i = 0; i < 16; i++)
        sl_loop_turn(rt.loop, false);
}

static void load_script(const char *on_edge)
{
    struct sl_script_opts opts = {.loop = rt.loop,
                                  .kind = SL_SCRIPT_WORKER,
                                  .lua_dir = SLUICE_SOURCE_DIR "/lua",
                                  .worker = 1,
                                  .library = sl_library_open};
    char path[] = "/tmp/sluice-hubs-XXXXXX";
    struct sl_err err = {0};
    FILE *f = fdopen(mkstemp(path), "w");

    sl_assert(f != NULL);
    fprintf(f, "local sluice = require 'sluice' return { on_edge = %s }", on_edge);
    fclose(f);
    opts.path = path;
    if (sl_script_load(&worker.script, &opts, &err) < 0)
        fprintf(stderr, "%s\n", err.text);
    sl_assert(worker.script != NULL);
    unlink(path);
}

static void begin(const char *on_edge)
{
    sl_assert(sl_loop_new(&rt.loop) == 0);
    worker = (struct sl_worker){.rt = &rt, .index = 1, .loop = rt.loop};
    worker.proxy = (struct sl_proxy *)&worker; /* there is one: nobody looks into it */
    settings.hook_timeout = 60000;
    atomic_store(&rt.shared_settings, &settings);
    load_script(on_edge);
    rt.tunnels = sl_tunnels_new(&rt);
    services = &rt.tunnels->services;
    edge = (struct sl_hub_edge){0};
    sl_addr_parse(&edge.addr, SL_STR("203.0.113.9"), 40000);
    n_freed = 0;
}

static void finish(void)
{
    sl_tunnels_end_there(rt.tunnels);
    sl_check(made == NULL);
    sl_script_free(worker.script);
    sl_tunnels_stop(rt.tunnels);
    sl_loop_free(rt.loop);
    sl_tunnels_free(rt.tunnels);
}

static const char no_hook[] = "nil",
                  waits[] = "function(e) assert(e.id == 'nyc' and e.ip == "
                            "'203.0.113.9' and e.transport == 'quic')\n"
                            "sluice.spawn(function() end):wait() end",
                  for_ever[] = "function(e) sluice.sleep(1000) end";

static struct sl_cert_pem pem;

static struct sl_script_hub *open_on(const char *host, uint16_t port, struct sl_err *err)
{
    struct sl_script_hub_opts opts = {.name = SL_STR("hub"),
                                      .host = sl_str_c(host),
                                      .port = port,
                                      .cert = sl_str(pem.cert, pem.cert_len),
                                      .key = sl_str(pem.key, pem.key_len)};
    struct sl_script_hub *h = services->hub_open(services->user, &opts, err);

    settle();
    return h;
}

static struct sl_script_hub *open_hub(void)
{
    struct sl_err err = {0};
    struct sl_script_hub *h = open_on("127.0.0.1", 0, &err);

    if (h == NULL)
        fprintf(stderr, "%s\n", err.text);
    sl_assert(h != NULL);
    return h;
}

static void set_edges(struct sl_script_hub *h, size_t n)
{
    struct sl_hub_edge_spec specs[] = {{SL_STR("nyc"), SL_STR("s3"), SL_STR("{}")}};

    services->hub_set_edges(h, specs, n);
    settle();
}

static int n_answers;

static void on_status(void *arg SL_UNUSED, const struct sl_hub_stats *stats,
                      const struct sl_hub_edge_status *edges, size_t n)
{
    n_answers++;
    sl_check(n == 0 || (stats->accepted == 5 && edges[0].tunnel.links == 7 &&
                        sl_str_eq(edges[0].id, SL_STR("nyc"))));
}

/* --- the tests --- */

static void a_hub(void)
{
    struct sl_script_hub *h;

    begin(no_hook);
    h = open_hub();
    sl_check(services->hub_port(h) != 0 && made != NULL && made->n_listens == 0);
    set_edges(h, 1);
    sl_check(made->n_tables == 1 && made->n_listens == 1 && made->has_udp);
    set_edges(h, 0);
    sl_check(made->n_tables == 2 && made->n_listens == 1);
    set_edges(h, 1);
    services->hub_status(h, on_status, NULL);
    settle();
    sl_check(n_answers == 1 && ask(&edge) == 0);
    services->hub_release(h);
    sl_check(made != NULL); /* it belongs to no script */
    finish();
    sl_check(n_freed == 1);
}

static void the_same_hub(void)
{
    struct sl_script_hub *h, *again;
    struct sl_err err = {0};
    uint16_t port;

    begin(no_hook);
    h = open_hub();
    port = services->hub_port(h);
    again = open_on("127.0.0.1", port, &err);
    sl_check(again == h && made->n_certs == 1);
    sl_check(open_on("127.0.0.1", port == 1 ? 2 : 1, &err) == NULL && err.code == SL_E_IN_USE);
    sl_check(open_on("127.0.0.2", port, &err) == NULL && err.code == SL_E_IN_USE);
    services->hub_release(h);
    services->hub_close(again);
    set_edges(again, 1);
    services->hub_status(again, on_status, NULL);
    settle();
    sl_check(made == NULL && n_freed == 1);
    services->hub_release(again);
    h = open_on("127.0.0.1", port, &err); /* its sockets are free again */
    sl_check(h != NULL && services->hub_port(h) == port);
    finish();
}

static void a_hub_that_cannot_be(void)
{
    struct sl_addr at;
    struct sl_err err = {0};
    int fd;

    begin(no_hook);
    sl_addr_parse(&at, SL_STR("127.0.0.1"), 0);
    sl_assert(sl_socket_bind_udp(&fd, &at, false, &err) == 0);
    sl_check(open_on("127.0.0.1", sl_addr_port(&at), &err) == NULL && err.code == SL_E_IN_USE);
    sl_check(open_on("localhost", 0, &err) == NULL && strstr(err.text, "is not an IP") != NULL);
    pem.key[40] ^= 1;
    sl_check(open_on("127.0.0.1", 0, &err) == NULL && err.code == SL_E_CONFIG);
    pem.key[40] ^= 1;
    sl_check(made == NULL);
    close(fd);
    finish();
}

static void the_hook_waits(void)
{
    begin(waits);
    open_hub();
    sl_check(ask(&edge) == SL_E_AGAIN && edge.n_decisions == 0);
    settle();
    sl_check(edge.n_decisions == 1 && edge.decision == 0);
    finish();
    begin("function(e) sluice.spawn(function() end):wait() return sluice.deny() end");
    open_hub();
    sl_check(ask(&edge) == SL_E_AGAIN);
    settle();
    sl_check(edge.n_decisions == 1 && edge.decision == SL_E_REFUSED);
    finish();
    begin("function(e) return sluice.deny() end");
    open_hub();
    sl_check(ask(&edge) == SL_E_REFUSED && edge.n_decisions == 0);
    finish();
}

/* Nothing is decided about an edge that has gone, nor about one of a hub that has. */
static void the_edge_goes_meanwhile(void)
{
    struct sl_script_hub *h;

    begin(waits);
    h = open_hub();
    sl_check(ask(&edge) == SL_E_AGAIN);
    made->opts.handler->on_edge_gone(made->opts.user, &edge);
    settle();
    sl_check(edge.n_decisions == 0);
    sl_check(ask(&edge) == SL_E_AGAIN);
    services->hub_close(h);
    settle();
    sl_check(edge.n_decisions == 0 && made == NULL);
    finish();
    begin(for_ever);
    open_hub();
    sl_check(ask(&edge) == SL_E_AGAIN);
    made->opts.handler->on_event(made->opts.user, SL_HUB_EDGE_UP, &edge, 0);
    finish(); /* with two calls that wait */
    sl_check(edge.n_decisions == 0);
}

static void the_hook_takes_too_long(void)
{
    begin(for_ever);
    open_hub();
    sl_check(ask(&edge) == SL_E_AGAIN);
    for (int i = 0; i < 1000 && edge.n_decisions == 0; i++) {
        sl_loop_skip(rt.loop, 1000);
        sl_loop_turn(rt.loop, false);
    }
    sl_check(edge.n_decisions == 1 && edge.decision == SL_E_TIMEOUT);
    finish();
}

int main(void)
{
    sl_assert(sl_cert_make_pem(&pem, SL_STR("hub.test"), 30, NULL) == 0);
    a_hub();
    the_same_hub();
    a_hub_that_cannot_be();
    the_hook_waits();
    the_edge_goes_meanwhile();
    the_hook_takes_too_long();
    return sl_check_done();
}
