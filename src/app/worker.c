#include <signal.h>
#include <stdio.h>
#include "app/tunnels.h"
#include "base/log.h"
#include "script/host.h"
#include "script/library.h"

static struct sl_snapshot *current_snapshot(void *user)
{
    struct sl_worker *w = user;

    return w->snapshot != NULL ? sl_snapshot_ref(w->snapshot) : NULL;
}

static void worker_stats(void *user, struct sl_script_stats *out)
{
    struct sl_worker *w = user;

    sl_runtime_stats(w->rt, out);
}

int sl_worker_load(struct sl_worker *w, struct sl_script **out, struct sl_err *err)
{
    struct sl_script_opts opts = {
        .loop = w->loop,
        .kind = SL_SCRIPT_WORKER,
        .path = w->rt->opts->script,
        .args = w->rt->opts->args,
        .worker = w->index,
        .library = sl_library_open,
        .services = {.user = w,
                     .dns = w->dns,
                     .pool = w->pool,
                     .snapshot = current_snapshot,
                     .stats = worker_stats},
    };

    return sl_script_load(out, &opts, err);
}

static void release_snapshot(void *user, struct sl_snapshot *snapshot)
{
    struct sl_worker *w = user;

    sl_publish_release(w->rt, snapshot);
}

struct closed_port {
    struct sl_runtime *rt;
    uint16_t number;
};

static void tell_closed(void *arg)
{
    struct closed_port *closed = arg;

    sl_ports_released(&closed->rt->ports, closed->number);
    sl_free(closed);
}

static void on_quic_closed(void *user, uint16_t port)
{
    struct sl_worker *w = user;
    struct closed_port *closed = sl_alloc(sizeof(*closed));

    *closed = (struct closed_port){w->rt, port};
    sl_loop_post(w->rt->loop, tell_closed, closed);
}

static int set_up(struct sl_worker *w)
{
    struct sl_proxy_opts opts = {.loop = w->loop,
                                 .tls = w->rt->tls,
                                 .settings = &w->rt->settings->proxy,
                                 .release_snapshot = release_snapshot,
                                 .quic = {.tls = w->rt->quic_tls,
                                          .worker = w->index - 1,
                                          .forward = sl_stray_forward,
                                          .on_closed = on_quic_closed},
                                 .find_edge = sl_tunnels_find_edge,
                                 .user = w};
    int rc;

    if ((rc = sl_dns_new(&w->dns, w->loop)) < 0)
        return sl_err_set(&w->err, rc, "cannot make a resolver: %s", sl_error_text(rc));
    if ((rc = sl_pool_new(&w->pool, w->loop, w->dns, NULL, &w->err)) < 0)
        return rc;
    opts.dns = w->dns;
    opts.pool = w->pool;
    sl_proxy_new(&w->proxy, &opts);
    if ((rc = sl_worker_load(w, &w->script, &w->err)) < 0)
        return rc;
    sl_proxy_set_hooks(w->proxy, sl_script_hooks(w->script));
    return 0;
}

static void tear_down(struct sl_worker *w)
{
    sl_proxy_free(w->proxy);
    if (w->index == 1)
        sl_tunnels_end_there(w->rt->tunnels); /* nobody holds their streams any more */
    sl_script_free(w->next_script);
    sl_script_free(w->script);
    sl_pool_free(w->pool);
    sl_dns_free(w->dns);
    sl_snapshot_unref(w->snapshot);
    w->proxy = NULL;
}

static void tell_up(void *arg)
{
    sl_runtime_worker_up(arg);
}

static void *main_of_worker(void *arg)
{
    struct sl_worker *w = arg;

    sl_log_thread_name(w->name);
    if (set_up(w) == 0)
        w->err.code = 0;
    sl_loop_post(w->rt->loop, tell_up, w);
    sl_loop_run(w->loop);
    tear_down(w);
    return NULL;
}

/* Signals are the control thread's; a worker takes none but the watchdog's. */
static int start_thread(struct sl_worker *w)
{
    sigset_t all, before;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&w->thread, NULL, main_of_worker, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    w->has_thread = rc == 0;
    return rc == 0 ? 0 : SL_E_SYSTEM;
}

int sl_worker_start(struct sl_worker *w, struct sl_runtime *rt, unsigned index)
{
    int rc;

    w->rt = rt;
    w->index = index;
    w->err.code = SL_E_SCRIPT;
    snprintf(w->name, sizeof(w->name), "worker %u", index);
    if ((rc = sl_loop_new(&w->loop)) < 0)
        return rc;
    return start_thread(w);
}

void sl_worker_stop(struct sl_worker *w)
{
    if (w->loop == NULL)
        return;
    sl_loop_stop(w->loop);
    if (w->has_thread)
        pthread_join(w->thread, NULL);
}

void sl_worker_free(struct sl_worker *w)
{
    if (w->loop != NULL)
        sl_loop_free(w->loop);
}

static void tell_drained(void *arg)
{
    sl_runtime_worker_drained(arg);
}

static void on_drained(void *user)
{
    struct sl_worker *w = user;

    sl_loop_post(w->rt->loop, tell_drained, w);
}

static void drain(void *arg)
{
    struct sl_worker *w = arg;

    sl_proxy_drain(w->proxy, w->rt->drain_grace, on_drained, w);
}

void sl_worker_drain(struct sl_worker *w)
{
    sl_loop_post(w->loop, drain, w);
}
