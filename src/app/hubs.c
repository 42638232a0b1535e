/* Hubs: sockets, certificates and tables from control; edges, streams and sessions on the worker.
 */
#include <openssl/crypto.h>
#include <unistd.h>
#include "app/tunnels.h"
#include "base/log.h"
#include "net/listener.h"

enum {
    FREE_PORT_TRIES = 16, /* a port that is free on TCP may not be on UDP */
    MAX_ASKED = 10000,    /* calls of on_edge that wait, of one hub */
};

struct sl_script_hub {
    struct sl_tunnels *of;
    char *name, *host;
    uint16_t port;
    struct sl_tls_server *tls;
    struct sl_quic_tls *quic_tls;

    /* control */
    struct sl_link link;
    unsigned n_refs;
    bool is_closed, is_gone;
    int tcp_fd, udp_fd; /* -1 once the worker has got them */

    /* the worker */
    struct sl_link link_there;
    struct sl_hub *hub;   /* NULL: not yet or no longer */
    struct sl_list asked; /* of struct ask */
    size_t n_asked;
};

static void post_back(struct sl_script_hub *h, void (*fn)(void *), void *arg)
{
    sl_loop_post(h->of->rt->loop, fn, arg);
}

/* --- worker: the hook on_edge --- */

/* A call of the hook, while it waits. */
struct ask {
    struct sl_link link;
    struct sl_hook_slot slot;
    struct sl_deadline patience;
    struct sl_script_hub *hub;
    struct sl_hub_edge *edge; /* waits for the verdict; NULL: nobody does */
};

static const struct sl_hooks *hooks_of(const struct sl_script_hub *h)
{
    return sl_script_hooks(sl_tunnels_worker(h->of)->script);
}

static void end_ask(struct ask *a)
{
    const struct sl_hooks *hooks = hooks_of(a->hub);

    if (a->slot.script != NULL)
        hooks->forget(hooks->host, &a->slot);
    sl_link_remove(&a->link);
    a->hub->n_asked--;
    sl_deadline_stop(&a->patience);
    sl_loop_defer(sl_tunnels_worker(a->hub->of)->loop, a, sl_free);
}

static void decide(struct ask *a, int rc)
{
    struct sl_hub_edge *edge = a->edge;

    end_ask(a);
    if (edge != NULL)
        sl_hub_decide(edge, rc);
}

static int code_of(const struct sl_verdict *v)
{
    return v->kind == SL_VERDICT_NONE ? 0 : SL_E_REFUSED;
}

static void on_verdict(struct sl_hook_slot *slot, const struct sl_verdict *v)
{
    decide(sl_container_of(slot, struct ask, slot), code_of(v));
}

static void on_patience_due(struct sl_deadline *d)
{
    decide(d->user, SL_E_TIMEOUT);
}

static struct ask *new_ask(struct sl_script_hub *h, struct sl_hub_edge *waiting)
{
    const struct sl_worker *w = sl_tunnels_worker(h->of);
    uint32_t patience_ms = atomic_load(&w->rt->shared_settings)->hook_timeout;
    struct ask *a = sl_zalloc(sizeof(*a));

    a->hub = h;
    a->edge = waiting;
    a->slot.on_verdict = on_verdict;
    sl_list_append(&h->asked, &a->link);
    h->n_asked++;
    sl_deadline_init(&a->patience, w->loop, on_patience_due, a);
    if (patience_ms > 0)
        sl_deadline_set(&a->patience, patience_ms);
    return a;
}

static struct sl_edge_facts facts_of(const struct sl_hub_edge *e, const char *event)
{
    return (struct sl_edge_facts){.event = event,
                                  .id = sl_hub_edge_id(e),
                                  .remote = *sl_hub_edge_addr(e),
                                  .transport =
                                      sl_hub_edge_transport(e) == SL_EDGE_QUIC ? "quic" : "tls"};
}

/* `waiting`: the edge, when the verdict counts. */
static int ask(struct sl_script_hub *h, const struct sl_edge_facts *facts,
               struct sl_hub_edge *waiting)
{
    const struct sl_hooks *hooks = hooks_of(h);
    struct sl_verdict v = {0};
    struct ask *a;

    if ((hooks->present & SL_HOOK_EDGE) == 0)
        return 0;
    if (h->n_asked == MAX_ASKED)
        return SL_E_LIMIT;
    a = new_ask(h, waiting);
    if (hooks->on_edge(hooks->host, &a->slot, facts, &v) == SL_E_AGAIN)
        return SL_E_AGAIN;
    end_ask(a);
    return code_of(&v);
}

static int on_edge(void *user, struct sl_hub_edge *e)
{
    struct sl_edge_facts facts = facts_of(e, "authenticated");

    return ask(user, &facts, e);
}

static void on_edge_gone(void *user, struct sl_hub_edge *e)
{
    struct sl_script_hub *h = user;

    sl_list_each(&h->asked, it)
    {
        struct ask *a = sl_container_of(it, struct ask, link);

        if (a->edge == e)
            end_ask(a);
    }
}

/* --- worker: streams and sessions --- */

static struct sl_tunnelled origin_of(const struct sl_hub_edge *e,
                                     const struct sl_proxy_header *from)
{
    struct sl_tunnelled t = {.port = from->to_port, .edge = sl_hub_edge_id(e)};

    sl_addr_from_ip16(&t.remote, from->from, from->from_port);
    sl_addr_from_ip16(&t.local, from->to, from->to_port);
    if (!from->has_addresses)
        t.remote = *sl_hub_edge_addr(e);
    return t;
}

static void on_stream(void *user, struct sl_hub_edge *e, struct sl_stream *s,
                      const struct sl_proxy_header *from)
{
    const struct sl_script_hub *h = user;
    struct sl_tunnelled origin = origin_of(e, from);

    sl_proxy_take_stream(sl_tunnels_worker(h->of)->proxy, &s, &origin);
}

static void on_session(void *user, struct sl_hub_edge *e, struct sl_session *s,
                       const struct sl_proxy_header *from)
{
    const struct sl_script_hub *h = user;
    struct sl_tunnelled origin = origin_of(e, from);

    sl_proxy_take_session(sl_tunnels_worker(h->of)->proxy, &s, &origin);
}

/* --- worker: events --- */

static void log_stream(const char *what, const struct sl_hub_edge *e, uint32_t stream)
{
    if (sl_log_is_on(SL_LOG_DEBUG))
        sl_log_debug(what, sl_f_strn("edge", sl_hub_edge_id(e)), sl_f_int("stream", stream));
}

static void on_event(void *user, enum sl_hub_event event, struct sl_hub_edge *e, uint32_t stream)
{
    static const char *const names[] = {
        [SL_HUB_EDGE_UP] = "edgeConnected",
        [SL_HUB_EDGE_DOWN] = "edgeDisconnected",
        [SL_HUB_STREAM_OPENED] = "streamOpened",
        [SL_HUB_STREAM_CLOSED] = "streamClosed",
    };
    struct sl_script_hub *h = user;
    bool is_of_edge = event == SL_HUB_EDGE_UP || event == SL_HUB_EDGE_DOWN;

    sl_tunnels_publish(names[event], "edgeId", sl_hub_edge_id(e), stream);
    if (!is_of_edge) {
        log_stream(event == SL_HUB_STREAM_OPENED ? "stream opened" : "stream closed", e, stream);
    } else if (h->hub != NULL) { /* not while the hub ends */
        struct sl_edge_facts facts = facts_of(e, event == SL_HUB_EDGE_UP ? "up" : "down");

        (void)ask(h, &facts, NULL);
    }
}

static const struct sl_hub_handler handler = {.on_edge = on_edge,
                                              .on_edge_gone = on_edge_gone,
                                              .on_stream = on_stream,
                                              .on_session = on_session,
                                              .on_event = on_event};

/* --- worker: what is asked for --- */

struct opening {
    struct sl_script_hub *hub;
    struct sl_hub_opts opts; /* with a reference to the certificate */
};

static void open_there(void *arg)
{
    struct opening *o = arg;
    struct sl_script_hub *h = o->hub;
    struct sl_worker *w = sl_tunnels_worker(h->of);

    if (w->proxy != NULL) { /* else the program ends */
        o->opts.loop = w->loop;
        o->opts.worker = w->index - 1;
        h->hub = sl_hub_new(&o->opts);
        sl_list_append(&h->of->hubs_there, &h->link_there);
    }
    sl_cert_unref(o->opts.cert);
    sl_free(o);
}

struct renewal {
    struct sl_script_hub *hub;
    struct sl_cert *cert;
};

static void renew_there(void *arg)
{
    struct renewal *r = arg;

    if (r->hub->hub != NULL)
        sl_hub_set_cert(r->hub->hub, r->cert);
    sl_cert_unref(r->cert);
    sl_free(r);
}

struct table {
    struct sl_script_hub *hub;
    struct sl_hub_edge_spec *specs;
    size_t n;
    int tcp_fd, udp_fd; /* -1: the hub listens already */
    struct sl_arena texts;
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void set_edges_there(void *arg)
{
    struct table *t = arg;
    struct sl_hub *hub = t->hub->hub;

    if (hub != NULL) {
        sl_hub_set_edges(hub, t->specs, t->n);
        if (t->tcp_fd >= 0)
            sl_hub_listen(hub, t->tcp_fd, t->udp_fd);
    } else {
        close_fd(&t->tcp_fd);
        close_fd(&t->udp_fd);
    }
    for (size_t i = 0; i < t->n; i++)
        OPENSSL_cleanse((void *)t->specs[i].secret.p, t->specs[i].secret.len);
    sl_arena_clear(&t->texts);
    sl_free(t);
}

struct question {
    struct sl_script_hub *hub;
    struct sl_hub_stats stats;
    struct sl_hub_edge_status *edges;
    size_t n, cap;
    struct sl_arena texts;
    void (*done)(void *arg, const struct sl_hub_stats *stats,
                 const struct sl_hub_edge_status *edges, size_t n);
    void *arg;
};

static void free_if_over(struct sl_script_hub *h);

static void answer_question(void *arg)
{
    struct question *q = arg;
    struct sl_script_hub *h = q->hub;

    q->done(q->arg, &q->stats, q->edges, q->n);
    sl_arena_clear(&q->texts);
    sl_free(q->edges);
    sl_free(q);
    h->n_refs--;
    free_if_over(h);
}

static void add_edge(void *arg, struct sl_str id, const struct sl_tunnel_status *status)
{
    struct question *q = arg;

    if (q->n == q->cap) {
        q->cap = q->cap > 0 ? 2 * q->cap : 16;
        q->edges = sl_realloc(q->edges, q->cap * sizeof(*q->edges));
    }
    q->edges[q->n++] = (struct sl_hub_edge_status){sl_arena_dup(&q->texts, id), *status};
}

static void look_there(void *arg)
{
    struct question *q = arg;

    if (q->hub->hub != NULL) {
        sl_hub_stats(q->hub->hub, &q->stats);
        sl_hub_each(q->hub->hub, add_edge, q);
    }
    post_back(q->hub, answer_question, q);
}

static void end_there(struct sl_script_hub *h)
{
    struct sl_hub *hub = h->hub;

    if (hub == NULL)
        return;
    h->hub = NULL;
    sl_link_remove(&h->link_there);
    sl_hub_free(hub);
    sl_list_each(&h->asked, it) end_ask(sl_container_of(it, struct ask, link));
}

static void free_if_over(struct sl_script_hub *h)
{
    if (!h->is_gone || h->n_refs > 0)
        return;
    sl_link_remove(&h->link);
    close_fd(&h->tcp_fd);
    close_fd(&h->udp_fd);
    sl_tls_server_free(h->tls);
    if (h->quic_tls != NULL)
        sl_quic_tls_free(h->quic_tls);
    sl_free(h->name);
    sl_free(h->host);
    sl_free(h);
}

static void on_gone(void *arg)
{
    struct sl_script_hub *h = arg;

    h->is_gone = true;
    free_if_over(h);
}

static void tell_gone(void *arg)
{
    struct sl_script_hub *h = arg;

    post_back(h, on_gone, h);
}

/* The hub itself goes at the end of this turn; what it uses is control's to free after that. */
static void close_there(void *arg)
{
    struct sl_script_hub *h = arg;

    end_there(h);
    sl_loop_defer(sl_tunnels_worker(h->of)->loop, h, tell_gone);
}

/* --- control: sockets --- */

static int bind_one(int *fd, struct sl_addr *at, bool is_udp, struct sl_err *err)
{
    return is_udp ? sl_socket_bind_udp(fd, at, false, err) : sl_socket_listen(fd, at, false, err);
}

/* [::] takes IPv4, too; a kernel without IPv6 gets 0.0.0.0. */
static int bind_host(int *fd, struct sl_str host, uint16_t *port, bool is_udp, struct sl_err *err)
{
    const struct sl_str all[] = {SL_STR("::"), SL_STR("0.0.0.0")};
    const struct sl_str *from = host.len > 0 ? &host : all;
    int rc = 0;

    for (size_t i = 0; i < (host.len > 0 ? 1 : SL_COUNT(all)); i++) {
        struct sl_addr at;

        if (sl_addr_parse(&at, from[i], *port) < 0)
            return sl_err_set(err, SL_E_CONFIG, "host: \"%.*s\" is not an IP address",
                              SL_STR_FMT(from[i]));
        rc = bind_one(fd, &at, is_udp, err);
        if (rc == 0)
            *port = sl_addr_port(&at);
        if (rc == 0 || rc == SL_E_IN_USE || rc == SL_E_DENIED)
            return rc;
    }
    return rc;
}

static int bind_both(struct sl_script_hub *h, const struct sl_script_hub_opts *opts,
                     struct sl_err *err)
{
    int rc;

    h->port = opts->port;
    if ((rc = bind_host(&h->tcp_fd, opts->host, &h->port, false, err)) < 0)
        return rc;
    if (h->quic_tls == NULL)
        return 0;
    if ((rc = bind_host(&h->udp_fd, opts->host, &h->port, true, err)) < 0)
        close_fd(&h->tcp_fd);
    return rc;
}

static int bind_hub(struct sl_script_hub *h, const struct sl_script_hub_opts *opts,
                    struct sl_err *err)
{
    int rc = SL_E_IN_USE;

    for (int i = 0; i < FREE_PORT_TRIES && rc == SL_E_IN_USE; i++) {
        rc = bind_both(h, opts, err);
        if (opts->port != 0)
            break;
    }
    return rc < 0 ? sl_err_prefix(err, "port %u: ", h->port) : 0;
}

/* --- control: the services --- */

static struct sl_script_hub *find(struct sl_tunnels *t, struct sl_str name)
{
    sl_list_each(&t->hubs, it)
    {
        struct sl_script_hub *h = sl_container_of(it, struct sl_script_hub, link);

        if (!h->is_closed && sl_str_eq(sl_str_c(h->name), name))
            return h;
    }
    return NULL;
}

static void set_up_quic(struct sl_script_hub *h, bool is_wanted)
{
    struct sl_err err;

    if (is_wanted && sl_quic_tls_server_new(&h->quic_tls, SL_HUB_ALPN, false, &err) < 0)
        sl_log_warn("edges connect over TLS only: QUIC does not work here",
                    sl_f_str("hub", h->name), sl_f_str("error", err.text));
}

static int set_up(struct sl_script_hub *h, const struct sl_script_hub_opts *opts,
                  struct sl_err *err)
{
    struct sl_tls_server_opts tls = {.alpn = SL_HUB_ALPN};
    int rc = sl_tls_server_new(&h->tls, &tls, err);

    if (rc < 0)
        return rc;
    set_up_quic(h, !opts->no_quic);
    return bind_hub(h, opts, err);
}

static void post_opening(struct sl_script_hub *h, const struct sl_hub_opts *limits,
                         struct sl_cert **cert)
{
    struct opening *o = sl_alloc(sizeof(*o));

    *o = (struct opening){h, *limits};
    o->opts.tls = h->tls;
    o->opts.quic_tls = h->quic_tls;
    o->opts.cert = *cert;
    *cert = NULL;
    o->opts.handler = &handler;
    o->opts.user = h;
    sl_tunnels_post(h->of, open_there, o);
}

static struct sl_script_hub *open_new(struct sl_tunnels *t, const struct sl_script_hub_opts *opts,
                                      struct sl_cert **cert, struct sl_err *err)
{
    struct sl_script_hub *h = sl_zalloc(sizeof(*h));

    h->of = t;
    h->name = sl_strndup(opts->name.p, opts->name.len);
    h->host = sl_strndup(opts->host.p, opts->host.len);
    h->tcp_fd = h->udp_fd = -1;
    sl_list_init(&h->asked);
    sl_list_append(&t->hubs, &h->link);
    if (set_up(h, opts, err) < 0) {
        on_gone(h);
        return NULL;
    }
    post_opening(h, &opts->limits, cert);
    sl_log_info("hub listening", sl_f_str("hub", h->name), sl_f_int("port", h->port),
                sl_f_bool("quic", h->quic_tls != NULL));
    return h;
}

static int open_again(struct sl_script_hub *h, const struct sl_script_hub_opts *opts,
                      struct sl_cert **cert, struct sl_err *err)
{
    struct renewal *r;

    if ((opts->port != 0 && opts->port != h->port) || !sl_str_eq(sl_str_c(h->host), opts->host))
        return sl_err_set(err, SL_E_IN_USE,
                          "the hub listens on port %u already: close it to move it", h->port);
    r = sl_alloc(sizeof(*r));
    *r = (struct renewal){h, *cert};
    *cert = NULL;
    sl_tunnels_post(h->of, renew_there, r);
    return 0;
}

static struct sl_script_hub *hub_open(void *user, const struct sl_script_hub_opts *opts,
                                      struct sl_err *err)
{
    struct sl_tunnels *t = user;
    struct sl_script_hub *h = find(t, opts->name);
    struct sl_cert *cert;

    if (sl_cert_from_pem(&cert, opts->cert, opts->key, err) < 0)
        return NULL;
    if (h == NULL)
        h = open_new(t, opts, &cert, err);
    else if (open_again(h, opts, &cert, err) < 0)
        h = NULL;
    sl_cert_unref(cert);
    if (h == NULL)
        return NULL;
    h->n_refs++;
    sl_tunnels_opened(t);
    return h;
}

static void hub_release(struct sl_script_hub *h)
{
    h->n_refs--;
    free_if_over(h);
}

static uint16_t hub_port(const struct sl_script_hub *h)
{
    return h->port;
}

static void hub_set_edges(struct sl_script_hub *h, const struct sl_hub_edge_spec *specs, size_t n)
{
    struct table *t;

    if (h->is_closed)
        return;
    t = sl_zalloc(sizeof(*t));
    t->hub = h;
    t->n = n;
    t->specs = sl_arena_alloc(&t->texts, (n + 1) * sizeof(*t->specs));
    for (size_t i = 0; i < n; i++)
        t->specs[i] = (struct sl_hub_edge_spec){.id = sl_arena_dup(&t->texts, specs[i].id),
                                                .secret = sl_arena_dup(&t->texts, specs[i].secret),
                                                .config = sl_arena_dup(&t->texts, specs[i].config)};
    t->tcp_fd = h->tcp_fd;
    t->udp_fd = h->udp_fd;
    h->tcp_fd = h->udp_fd = -1;
    sl_tunnels_post(h->of, set_edges_there, t);
}

static void hub_status(struct sl_script_hub *h,
                       void (*done)(void *arg, const struct sl_hub_stats *stats,
                                    const struct sl_hub_edge_status *edges, size_t n),
                       void *arg)
{
    struct question *q = sl_zalloc(sizeof(*q));

    q->hub = h;
    q->done = done;
    q->arg = arg;
    h->n_refs++;
    sl_tunnels_post(h->of, look_there, q);
}

static void hub_close(struct sl_script_hub *h)
{
    if (h->is_closed)
        return;
    h->is_closed = true;
    sl_log_info("hub closed", sl_f_str("hub", h->name), sl_f_int("port", h->port));
    sl_tunnels_post(h->of, close_there, h);
}

void sl_hubs_fill(struct sl_script_tunnels *s)
{
    s->hub_open = hub_open;
    s->hub_release = hub_release;
    s->hub_port = hub_port;
    s->hub_set_edges = hub_set_edges;
    s->hub_status = hub_status;
    s->hub_close = hub_close;
}

/* --- the end --- */

void sl_hubs_end_there(struct sl_tunnels *t)
{
    sl_list_each(&t->hubs_there, it)
        end_there(sl_container_of(it, struct sl_script_hub, link_there));
}

void sl_hubs_clear(struct sl_tunnels *t)
{
    sl_list_each(&t->hubs, it)
    {
        struct sl_script_hub *h = sl_container_of(it, struct sl_script_hub, link);

        h->n_refs = 0;
        on_gone(h);
    }
}
