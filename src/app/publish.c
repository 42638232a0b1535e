/*
 * From the control thread to every worker: a snapshot, with the listeners that it needs, and
 * settings.
 *
 * Ports are bound here, before any worker hears of the snapshot: a port that cannot be had refuses
 * the whole of it.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include "app/runtime.h"
#include "base/log.h"
#include "net/listener.h"

struct new_port {
    uint16_t number;
    int *fds; /* one for each worker; -1 once handed over */
};

struct publishing {
    struct sl_runtime *rt;
    struct sl_snapshot *snapshot;
    struct new_port *added;
    size_t n_added;
    uint16_t *removed;
    size_t n_removed;
    unsigned n_left;
    bool policy_changed;
    void (*done)(void *arg, const struct sl_err *err);
    void *arg;
    struct sl_err err;
};

struct delivery {
    struct publishing *p;
    struct sl_worker *worker;
};

/* --- ports --- */

static bool is_listening(const struct sl_runtime *rt, uint16_t port)
{
    for (size_t i = 0; i < rt->n_ports; i++) {
        if (rt->ports[i] == port)
            return true;
    }
    return false;
}

static bool is_wanted(const struct sl_snapshot *s, uint16_t port)
{
    const struct sl_port_info *info = sl_snapshot_port(s, port);

    return info != NULL && (info->transport & SL_TRANSPORT_TCP);
}

/* [::] takes IPv4, too; a kernel without IPv6 gets 0.0.0.0. */
static int bind_any(int *fd, uint16_t port, bool reuseport, struct sl_err *err)
{
    static const char *const any[] = {"::", "0.0.0.0"};
    int rc = 0;

    for (size_t i = 0; i < SL_COUNT(any); i++) {
        struct sl_addr at;

        (void)sl_addr_parse(&at, sl_str_c(any[i]), port);
        rc = sl_socket_listen(fd, &at, reuseport, err);
        if (rc == 0 || rc == SL_E_IN_USE || rc == SL_E_DENIED)
            return rc;
    }
    return rc;
}

/* SO_REUSEPORT would let a second sluice share the port in silence: first try whether the port is
 * free without it. */
static int probe(uint16_t port, struct sl_err *err)
{
    int fd, rc = bind_any(&fd, port, false, err);

    if (rc == 0)
        close(fd);
    return rc;
}

static int bind_port(struct publishing *p, uint16_t port)
{
    struct new_port *added = &p->added[p->n_added++];
    int rc;

    added->number = port;
    added->fds = sl_alloc(p->rt->n_workers * sizeof(int));
    for (unsigned i = 0; i < p->rt->n_workers; i++)
        added->fds[i] = -1;
    if ((rc = probe(port, &p->err)) < 0)
        return rc;
    for (unsigned i = 0; i < p->rt->n_workers; i++) {
        if ((rc = bind_any(&added->fds[i], port, true, &p->err)) < 0)
            return rc;
    }
    return 0;
}

static int bind_new_ports(struct publishing *p)
{
    const struct sl_port_info *ports;
    size_t n = sl_snapshot_ports(p->snapshot, &ports);
    int rc;

    p->added = sl_zalloc((n + 1) * sizeof(*p->added));
    for (size_t i = 0; i < n; i++) {
        if (!(ports[i].transport & SL_TRANSPORT_TCP) || is_listening(p->rt, ports[i].port))
            continue;
        if ((rc = bind_port(p, ports[i].port)) < 0)
            return sl_err_prefix(&p->err, "port %u: ", ports[i].port);
    }
    return 0;
}

static void find_removed_ports(struct publishing *p)
{
    p->removed = sl_alloc((p->rt->n_ports + 1) * sizeof(*p->removed));
    for (size_t i = 0; i < p->rt->n_ports; i++) {
        if (!is_wanted(p->snapshot, p->rt->ports[i]))
            p->removed[p->n_removed++] = p->rt->ports[i];
    }
}

static int compare_ports(const void *a, const void *b)
{
    return *(const uint16_t *)a - *(const uint16_t *)b;
}

static void remember_ports(struct publishing *p)
{
    struct sl_runtime *rt = p->rt;
    uint16_t *ports = sl_alloc((rt->n_ports + p->n_added + 1) * sizeof(*ports));
    size_t n = 0;

    for (size_t i = 0; i < rt->n_ports; i++) {
        if (is_wanted(p->snapshot, rt->ports[i]))
            ports[n++] = rt->ports[i];
        else
            sl_log_info("no longer listening", sl_f_int("port", rt->ports[i]));
    }
    for (size_t i = 0; i < p->n_added; i++) {
        ports[n++] = p->added[i].number;
        sl_log_info("listening", sl_f_int("port", p->added[i].number));
    }
    qsort(ports, n, sizeof(*ports), compare_ports);
    sl_free(rt->ports);
    rt->ports = ports;
    rt->n_ports = n;
}

/* --- delivery --- */

static void free_publishing(struct publishing *p)
{
    for (size_t i = 0; i < p->n_added; i++) {
        for (unsigned k = 0; k < p->rt->n_workers; k++) {
            if (p->added[i].fds[k] >= 0)
                close(p->added[i].fds[k]);
        }
        sl_free(p->added[i].fds);
    }
    sl_free(p->added);
    sl_free(p->removed);
    sl_snapshot_unref(p->snapshot);
    sl_free(p);
}

/* Control: one worker runs the snapshot. */
static void on_delivered(void *arg)
{
    struct publishing *p = arg;

    if (--p->n_left > 0)
        return;
    sl_runtime_ready(p->rt);
    p->done(p->arg, NULL);
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
    for (size_t i = 0; i < p->n_removed; i++)
        sl_proxy_unlisten(w->proxy, p->removed[i]);
    for (size_t i = 0; i < p->n_added; i++) {
        sl_proxy_listen(w->proxy, p->added[i].fds[w->index - 1], p->added[i].number);
        p->added[i].fds[w->index - 1] = -1;
    }
    sl_proxy_apply_policy(w->proxy);
    sl_loop_post(p->rt->loop, on_delivered, p);
    sl_free(d);
}

static void refuse(void *arg)
{
    struct publishing *p = arg;

    p->done(p->arg, &p->err);
    free_publishing(p);
}

void sl_publish(void *user, struct sl_snapshot **snapshot,
                void (*done)(void *arg, const struct sl_err *err), void *arg)
{
    struct sl_runtime *rt = user;
    struct publishing *p = sl_zalloc(sizeof(*p));

    p->rt = rt;
    p->snapshot = *snapshot;
    *snapshot = NULL;
    p->done = done;
    p->arg = arg;
    if (rt->opts->is_check) { /* the routes are right: that is all that was asked */
        p->n_left = 1;
        sl_loop_post(rt->loop, on_delivered, p);
        return;
    }
    if (bind_new_ports(p) < 0) {
        sl_loop_post(rt->loop, refuse, p);
        return;
    }
    find_removed_ports(p);
    remember_ports(p);
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

int sl_publish_settings(void *user, const struct sl_setting *rows, size_t n, struct sl_err *err)
{
    struct sl_runtime *rt = user;
    struct kept_settings *next = sl_zalloc(sizeof(*next));
    int rc;

    sl_settings_init(&next->settings);
    next->settings.proxy.max_connections = rt->default_max_connections;
    rc = apply_all(rt, &next->settings, rows, n, err);
    if (rc < 0) {
        sl_settings_clear(&next->settings);
        sl_free(next);
        return rc;
    }
    sl_list_append(&rt->all_settings, &next->link);
    rt->settings = &next->settings;
    atomic_store(&rt->shared_settings, &next->settings.proxy);
    for (unsigned i = 0; i < rt->n_workers && rt->is_up; i++)
        sl_loop_post(rt->workers[i].loop, use_settings, &rt->workers[i]);
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
    sl_free(rt->ports);
}
