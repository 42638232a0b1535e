/*
 * From the control thread to every worker: a snapshot, with the listeners that it needs, and
 * settings.
 */
#include "app/runtime.h"
#include "base/log.h"

struct publishing {
    struct sl_runtime *rt;
    struct sl_snapshot *given, *snapshot; /* what goes live: without the refused routes */
    struct sl_ports_change ports;
    unsigned n_left;
    void (*done)(void *arg, const struct sl_published *result);
    void *arg;
    struct sl_err err;
    bool *is_left_out; /* by the place in `given` */
    struct sl_refused_route *refused;
    size_t n_refused;
};

struct delivery {
    struct publishing *p;
    struct sl_worker *worker;
};

static bool has_quic(const struct sl_runtime *rt)
{
    return rt->quic_tls != NULL && !rt->settings->proxy.no_quic;
}

static bool wants_quic(const struct sl_snapshot *s)
{
    const struct sl_port_info *ports;
    size_t n = sl_snapshot_ports(s, &ports);

    for (size_t i = 0; i < n; i++) {
        if (ports[i].has_http3)
            return true;
    }
    return false;
}

/* Once, until it is there. */
static void tell_of_missing_quic(struct sl_runtime *rt, const struct sl_snapshot *s)
{
    bool is_missing = !has_quic(rt) && wants_quic(s);

    if (is_missing && !rt->is_quic_missing)
        sl_log_warn("routes that ask for HTTP/3 are served over TCP only",
                    sl_f_str("why", rt->quic_tls == NULL ? "QUIC does not work on this machine"
                                                         : "the limit quic is false"));
    rt->is_quic_missing = is_missing;
}

/* --- ports --- */

static void free_publishing(struct publishing *p)
{
    sl_ports_change_clear(&p->ports);
    sl_snapshot_unref(p->given);
    sl_snapshot_unref(p->snapshot);
    sl_free(p->is_left_out);
    sl_free(p->refused);
    sl_free(p);
}

static const struct sl_port_failure *failure_of(const struct sl_ports_change *ports,
                                                const struct sl_route *r)
{
    for (size_t i = 0; i < ports->n_failed; i++) {
        if (sl_route_listens(r, ports->failed[i].number, ports->failed[i].use))
            return &ports->failed[i];
    }
    return NULL;
}

/* Refuses the routes with a port that failed. */
static void leave_out(struct publishing *p)
{
    struct sl_route *const *routes;
    size_t n = sl_snapshot_routes(p->given, &routes);

    if (p->is_left_out == NULL) {
        p->is_left_out = sl_zalloc(n * sizeof(*p->is_left_out));
        p->refused = sl_alloc(n * sizeof(*p->refused));
    }
    for (size_t i = 0; i < n; i++) {
        const struct sl_port_failure *why =
            p->is_left_out[i] ? NULL : failure_of(&p->ports, routes[i]);

        if (why != NULL) {
            p->is_left_out[i] = true;
            p->refused[p->n_refused++] = (struct sl_refused_route){i, why->err};
        }
    }
    sl_snapshot_unref(p->snapshot);
    p->snapshot = sl_snapshot_without(p->given, p->is_left_out);
}

/* Has the sockets for what goes live. A second look binds anew what the refused routes did not
 * have alone, and may find that a port has gone meanwhile; each one leaves fewer routes. */
static int plan_ports(struct publishing *p, bool is_tolerant)
{
    struct sl_runtime *rt = p->rt;

    rt->ports.bind_address = rt->settings->bind_address;
    for (;;) {
        sl_ports_plan(&p->ports, &rt->ports, p->snapshot, has_quic(rt));
        if (p->ports.n_failed == 0)
            return 0;
        if (!is_tolerant) {
            p->err = p->ports.failed[0].err;
            return p->err.code;
        }
        leave_out(p);
        sl_ports_change_clear(&p->ports);
    }
}

/* --- delivery --- */

/* Control: one worker runs the snapshot. */
static void on_delivered(void *arg)
{
    struct publishing *p = arg;
    struct sl_published result = {.refused = p->refused, .n_refused = p->n_refused};

    if (--p->n_left > 0)
        return;
    sl_runtime_ready(p->rt);
    p->done(p->arg, &result);
    free_publishing(p);
}

/* Worker. The order matters: routes before the listener that needs them. */
static void deliver(void *arg)
{
    struct delivery *d = arg;
    struct publishing *p = d->p;
    struct sl_worker *w = d->worker;
    struct sl_snapshot *old = w->snapshot;

    w->snapshot = sl_snapshot_ref(p->snapshot);
    sl_proxy_set_snapshot(w->proxy, w->snapshot);
    sl_publish_release(p->rt, old);
    sl_ports_deliver(&p->ports, w->index - 1, w->proxy);
    sl_proxy_apply_policy(w->proxy);
    sl_loop_post(p->rt->loop, on_delivered, p);
    sl_free(d);
}

static void refuse(void *arg)
{
    struct publishing *p = arg;

    p->done(p->arg, &(struct sl_published){.err = &p->err});
    free_publishing(p);
}

void sl_publish(void *user, struct sl_snapshot **snapshot, bool is_tolerant,
                void (*done)(void *arg, const struct sl_published *result), void *arg)
{
    struct sl_runtime *rt = user;
    struct publishing *p = sl_zalloc(sizeof(*p));

    p->rt = rt;
    p->given = *snapshot;
    p->snapshot = sl_snapshot_ref(p->given);
    *snapshot = NULL;
    p->done = done;
    p->arg = arg;
    if (rt->opts->is_check) { /* the routes are right: that is all that was asked */
        p->n_left = 1;
        sl_loop_post(rt->loop, on_delivered, p);
        return;
    }
    if (plan_ports(p, is_tolerant) < 0) {
        sl_loop_post(rt->loop, refuse, p);
        return;
    }
    sl_ports_commit(&rt->ports, &p->ports);
    tell_of_missing_quic(rt, p->snapshot);
    sl_snapshot_unref(rt->snapshot);
    rt->snapshot = sl_snapshot_ref(p->snapshot);
    p->n_left = rt->n_workers;
    for (unsigned i = 0; i < rt->n_workers; i++) {
        struct delivery *d = sl_alloc(sizeof(*d));

        *d = (struct delivery){p, &rt->workers[i]};
        sl_loop_post(rt->workers[i].loop, deliver, d);
    }
}

static void unref(void *arg)
{
    sl_snapshot_unref(arg);
}

void sl_publish_release(struct sl_runtime *rt, struct sl_snapshot *snapshot)
{
    if (snapshot != NULL)
        sl_loop_post(rt->loop, unref, snapshot);
}

/* --- settings --- */

struct kept_settings {
    struct sl_settings settings; /* first: what rt->settings points to */
    struct sl_link link;
};

static void use_settings(void *arg)
{
    struct sl_worker *w = arg;

    sl_proxy_set_settings(w->proxy, atomic_load(&w->rt->shared_settings));
}

/* The script's `limits` table comes first; what core.settings() says is on top of it. */
static int apply_all(struct sl_runtime *rt, struct sl_settings *s, const struct sl_setting *rows,
                     size_t n, struct sl_err *err)
{
    size_t n_limits = 0;
    const struct sl_setting *limits =
        rt->script != NULL ? sl_script_limits(rt->script, &n_limits) : NULL;
    int rc = sl_settings_apply(s, limits, n_limits, err);

    return rc < 0 ? rc : sl_settings_apply(s, rows, n, err);
}

static void on_published_again(void *arg SL_UNUSED, const struct sl_published *result)
{
    if (result->err != NULL)
        sl_log_error("UDP ports of the routes cannot be opened",
                     sl_f_str("error", result->err->text));
}

void sl_publish_again(struct sl_runtime *rt)
{
    struct sl_snapshot *snapshot;

    if (rt->snapshot == NULL)
        return;
    snapshot = sl_snapshot_ref(rt->snapshot);
    sl_publish(rt, &snapshot, false, on_published_again, NULL);
}

int sl_publish_settings(void *user, const struct sl_setting *rows, size_t n, struct sl_err *err)
{
    struct sl_runtime *rt = user;
    struct kept_settings *next = sl_zalloc(sizeof(*next));
    bool had_quic;
    int rc;

    sl_settings_init(&next->settings);
    next->settings.proxy.max_connections_all = rt->default_max_connections;
    next->settings.proxy.max_udp_sockets_all = rt->max_udp_sockets;
    rc = apply_all(rt, &next->settings, rows, n, err);
    if (rc < 0) {
        sl_settings_clear(&next->settings);
        sl_free(next);
        return rc;
    }
    had_quic = rt->settings != NULL && has_quic(rt);
    sl_list_append(&rt->all_settings, &next->link);
    rt->settings = &next->settings;
    atomic_store(&rt->shared_settings, &next->settings.proxy);
    for (unsigned i = 0; i < rt->n_workers && rt->is_up; i++)
        sl_loop_post(rt->workers[i].loop, use_settings, &rt->workers[i]);
    if (had_quic != has_quic(rt))
        sl_publish_again(rt); /* the ports of QUIC follow */
    return 0;
}

void sl_publish_free(struct sl_runtime *rt)
{
    for (struct sl_link *it; (it = sl_list_pop(&rt->all_settings)) != NULL;) {
        struct kept_settings *old = sl_container_of(it, struct kept_settings, link);

        sl_settings_clear(&old->settings);
        sl_free(old);
    }
    sl_snapshot_unref(rt->snapshot);
    sl_ports_clear(&rt->ports);
}
