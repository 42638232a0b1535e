#include "app/runtime.h"
#include "app/daemon.h"
#include "app/supervisor.h"
#include "app/takeover.h"
#include "app/tunnels.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "quic/steer.h"
#include "script/library.h"

enum { READY_AFTER_MS = 2000 };

/* --- services for scripts --- */

static struct sl_snapshot *current_snapshot(void *user)
{
    struct sl_runtime *rt = user;

    return rt->snapshot != NULL ? sl_snapshot_ref(rt->snapshot) : NULL;
}

static void exit_service(void *user, int code)
{
    sl_runtime_exit(user, code);
}

static void drain_now(void *user)
{
    struct sl_runtime *rt = user;

    if (rt->is_draining)
        return;
    sl_log_info("ending: no new connections, open requests are finished");
    sl_runtime_drain(rt);
}

/* Not while the script runs, whose stop() comes now. */
static void drain_service(void *user)
{
    struct sl_runtime *rt = user;

    sl_loop_soon(rt->loop, &rt->drain_soon, drain_now, rt);
}

static uint64_t load(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void sl_runtime_stats(void *user, struct sl_script_stats *out)
{
    struct sl_runtime *rt = user;

    *out = (struct sl_script_stats){.workers = rt->n_workers};
    out->uptime_s = (double)(sl_clock_ns() - rt->started_ns) / 1e9;
    for (unsigned i = 0; i < rt->n_workers && rt->is_up; i++) {
        const struct sl_proxy_stats *stats = sl_proxy_stats(rt->workers[i].proxy);

        out->active_connections += load(&stats->active_connections);
        out->total_connections += load(&stats->total_connections);
        out->requests += load(&stats->requests);
        out->errors += load(&stats->errors);
        out->bytes_in += load(&stats->bytes_in);
        out->bytes_out += load(&stats->bytes_out);
        out->http2_requests += load(&stats->http2_requests);
        out->http3_requests += load(&stats->http3_requests);
        out->quic_handshakes += load(&stats->quic_handshakes);
        out->quic_retries += load(&stats->quic_retries);
        out->quic_dropped += load(&stats->quic_dropped);
        out->quic_forwarded += load(&stats->quic_forwarded);
        out->udp_sessions += load(&stats->udp_sessions);
        out->udp_sessions_total += load(&stats->udp_sessions_total);
        out->udp_evicted += load(&stats->udp_evicted);
        out->udp_dropped += load(&stats->udp_dropped);
        out->udp_refused += load(&stats->udp_refused);
        out->proxy_missing += load(&stats->proxy_missing);
        out->proxy_repeated += load(&stats->proxy_repeated);
    }
}

static uint64_t count_connections(void *user)
{
    const struct sl_runtime *rt = user;
    uint64_t n = 0;

    for (unsigned i = 0; i < rt->n_workers && rt->is_up; i++)
        n += load(&sl_proxy_stats(rt->workers[i].proxy)->active_connections);
    return n;
}

int sl_runtime_load(struct sl_runtime *rt, struct sl_script **out, struct sl_err *err)
{
    struct sl_script_opts opts = {
        .loop = rt->loop,
        .kind = SL_SCRIPT_CONTROL,
        .path = rt->opts->script,
        .args = rt->opts->args,
        .is_check = rt->opts->is_check,
        .library = sl_library_open,
        .services = {.user = rt,
                     .dns = rt->dns,
                     .pool = rt->pool,
                     .snapshot = current_snapshot,
                     .publish = sl_publish,
                     .settings = sl_publish_settings,
                     .stats = sl_runtime_stats,
                     .exit = exit_service,
                     .drain = rt->opts->is_check ? NULL : drain_service,
                     /* a check has no worker for them */
                     .tunnels = rt->opts->is_check ? NULL : &rt->tunnels->services,
                     .takeover = sl_takeover_services(rt->takeover)},
    };

    return sl_script_load(out, &opts, err);
}

/* --- the end --- */

static void tell_supervisor(struct sl_runtime *rt, char word)
{
    if (rt->ready_fd >= 0 && write(rt->ready_fd, &word, 1) < 0)
        sl_log_warn("the supervisor cannot be told", sl_f_int("errno", errno));
}

void sl_runtime_exit(struct sl_runtime *rt, int code)
{
    tell_supervisor(rt, SL_RUNTIME_ENDS);
    rt->exit_code = code;
    sl_loop_stop(rt->loop);
}

void sl_runtime_worker_drained(struct sl_worker *w)
{
    if (--w->rt->n_left == 0)
        sl_runtime_exit(w->rt, 0);
}

static void drain_workers(struct sl_runtime *rt)
{
    rt->n_left = rt->n_workers;
    for (unsigned i = 0; i < rt->n_workers; i++)
        sl_worker_drain(&rt->workers[i]);
}

static void on_script_stopped(void *user, enum sl_script_end how, const char *message)
{
    struct sl_runtime *rt = user;

    (void)how;
    (void)message;
    drain_workers(rt);
    sl_takeover_stopped(rt->takeover);
}

static void on_drain_timeout(struct sl_timer *t)
{
    struct sl_runtime *rt = t->user;

    sl_log_warn("connections are left after the drain timeout, closing them",
                sl_f_int("drain_timeout_ms", rt->settings->drain_timeout));
    sl_runtime_exit(rt, 0);
}

void sl_runtime_drain(struct sl_runtime *rt)
{
    rt->is_draining = true;
    sl_timer_set(&rt->drain_timer, rt->settings->drain_timeout);
    sl_script_stop(rt->script, on_script_stopped, rt);
}

static void on_end_signal(struct sl_signal *s)
{
    struct sl_runtime *rt = s->user;

    if (rt->is_draining || !rt->is_up) {
        sl_runtime_exit(rt, rt->is_draining ? 0 : 1);
        return;
    }
    sl_log_info("ending: no new connections, open requests are finished",
                sl_f_int("signal", s->number));
    sl_runtime_drain(rt);
}

static void on_hangup(struct sl_signal *s)
{
    sl_reload_begin(s->user);
}

/* --- the beginning --- */

void sl_runtime_ready(struct sl_runtime *rt)
{
    if (rt->is_ready)
        return;
    rt->is_ready = true;
    sl_timer_clear(&rt->ready_timer);
    if (rt->opts->is_check)
        return;
    tell_supervisor(rt, SL_RUNTIME_READY); /* first: whoever reads the line may kill us at once */
    sl_daemon_ready();
    sl_log_info("ready", sl_f_int("workers", rt->n_workers), sl_f_int("pid", getpid()),
                sl_f_double("after_ms", (double)(sl_clock_ns() - rt->started_ns) / 1e6));
}

static void on_ready_timer(struct sl_timer *t)
{
    sl_runtime_ready(t->user); /* a start() that only waits is up as well */
}

static void on_script_end(void *user, enum sl_script_end how, const char *message)
{
    struct sl_runtime *rt = user;

    if (how == SL_SCRIPT_REFUSED && !rt->is_ready) {
        sl_log_error(message);
        sl_runtime_exit(rt, 1);
    } else if (how == SL_SCRIPT_REFUSED) {
        sl_log_error("start() refused, the routes stay as they are", sl_f_str("error", message));
    } else if (how == SL_SCRIPT_ENDED) {
        sl_runtime_ready(rt);
    }
}

static void on_check_end(void *user, enum sl_script_end how, const char *message)
{
    if (how == SL_SCRIPT_REFUSED)
        sl_log_error(message);
    sl_runtime_exit(user, how == SL_SCRIPT_ENDED ? 0 : 1);
}

void sl_runtime_start_script(struct sl_runtime *rt)
{
    struct sl_err err;

    if (sl_publish_settings(rt, NULL, 0, &err) < 0) {
        sl_log_error("the script's limits are wrong", sl_f_str("error", err.text));
        if (!rt->is_ready)
            sl_runtime_exit(rt, 1);
        return;
    }
    sl_timer_set(&rt->ready_timer, READY_AFTER_MS);
    sl_script_start(rt->script, on_script_end, rt);
}

void sl_runtime_worker_up(struct sl_worker *w)
{
    struct sl_runtime *rt = w->rt;

    if (w->err.code != 0) {
        sl_log_error(w->err.text);
        sl_runtime_exit(rt, 1);
        return;
    }
    if (++rt->n_up < rt->n_workers)
        return;
    rt->is_up = true;
    sl_runtime_start_script(rt);
}

/* As many descriptors as the system lets us have; a connection needs two, a UDP session one. */
static void raise_limits(struct sl_runtime *rt)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur == RLIM_INFINITY)
        return;
    rt->ports.max_sockets = limit.rlim_cur / 4;
    rt->default_max_connections = (uint32_t)(limit.rlim_cur / 4 * 3);
    rt->max_udp_sockets = (uint32_t)(limit.rlim_cur / 2);
}

static void watch_signals(struct sl_runtime *rt)
{
    sl_signal_start(&rt->signals[0], rt->loop, SIGTERM, on_end_signal, rt);
    sl_signal_start(&rt->signals[1], rt->loop, SIGINT, on_end_signal, rt);
    sl_signal_start(&rt->signals[2], rt->loop, SIGHUP, on_hangup, rt);
    signal(SIGPIPE, SIG_IGN);
}

/* Without QUIC everything else works. */
static void set_up_quic(struct sl_runtime *rt)
{
    struct sl_err err;

    if (rt->n_workers > SL_QUIC_WORKERS_MAX)
        sl_log_warn("no HTTP/3: it takes at most 256 workers", sl_f_int("workers", rt->n_workers));
    else if (sl_quic_tls_server_new(&rt->quic_tls, "\x02h3", true, &err) < 0)
        sl_log_warn("no HTTP/3: QUIC does not work here", sl_f_str("error", err.text));
}

static int set_up(struct sl_runtime *rt, struct sl_err *err)
{
    struct sl_tls_server_opts tls = {.http2 = true};
    int rc;

    if ((rc = sl_loop_new(&rt->loop)) < 0)
        return sl_err_set(err, rc, "cannot make an event loop");
    rt->tunnels = sl_tunnels_new(rt);
    rt->takeover = sl_takeover_new(rt);
    sl_timer_init(&rt->drain_timer, rt->loop, on_drain_timeout, rt);
    sl_timer_init(&rt->ready_timer, rt->loop, on_ready_timer, rt);
    sl_trim_start(&rt->trim, rt->loop, count_connections, rt);
    watch_signals(rt);
    raise_limits(rt);
    if ((rc = sl_publish_settings(rt, NULL, 0, err)) < 0)
        return rc;
    if ((rc = sl_dns_new(&rt->dns, rt->loop)) < 0)
        return sl_err_set(err, rc, "cannot make a resolver: %s", sl_error_text(rc));
    if ((rc = sl_pool_new(&rt->pool, rt->loop, rt->dns, NULL, err)) < 0)
        return rc;
    if ((rc = sl_tls_server_new(&rt->tls, &tls, err)) < 0)
        return rc;
    set_up_quic(rt);
    return sl_runtime_load(rt, &rt->script, err);
}

static int start_workers(struct sl_runtime *rt, struct sl_err *err)
{
    for (unsigned i = 0; i < rt->n_workers; i++) {
        int rc = sl_worker_start(&rt->workers[i], rt, i + 1);

        if (rc < 0)
            return sl_err_set(err, rc, "cannot start worker %u", i + 1);
    }
    return 0;
}

static void tear_down(struct sl_runtime *rt)
{
    for (unsigned i = 0; i < rt->n_workers; i++)
        sl_worker_stop(&rt->workers[i]);
    if (rt->tunnels != NULL)
        sl_tunnels_stop(rt->tunnels);
    if (rt->takeover != NULL)
        sl_takeover_stop(rt->takeover);
    for (unsigned i = 0; i < rt->n_workers; i++)
        sl_worker_free(&rt->workers[i]);
    if (rt->loop == NULL)
        return;
    if (rt->reload != NULL)
        sl_reload_abandon(rt);
    sl_script_free(rt->script);
    sl_pool_free(rt->pool);
    sl_dns_free(rt->dns);
    for (size_t i = 0; i < SL_COUNT(rt->signals); i++)
        sl_signal_stop(&rt->signals[i]);
    sl_timer_clear(&rt->drain_timer);
    sl_timer_clear(&rt->ready_timer);
    sl_loop_unsoon(&rt->drain_soon);
    sl_trim_stop(&rt->trim);
    sl_loop_free(rt->loop);
    sl_tunnels_free(rt->tunnels);
    sl_publish_free(rt);
    if (rt->tls != NULL)
        sl_tls_server_free(rt->tls);
    if (rt->quic_tls != NULL)
        sl_quic_tls_free(rt->quic_tls);
    sl_takeover_free(rt->takeover);
    sl_free(rt->workers);
}

static unsigned count_processors(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n > 0 ? (unsigned)n : 1;
}

int sl_runtime_run(int ready_fd, const struct sl_options *opts)
{
    struct sl_runtime rt = {.opts = opts, .ready_fd = ready_fd, .started_ns = sl_clock_ns()};
    struct sl_err err;
    int rc;

    sl_log_thread_name("control");
    sl_list_init(&rt.all_settings);
    rt.n_workers = opts->is_check ? 0 : opts->n_workers > 0 ? opts->n_workers : count_processors();
    rt.ports.n_workers = rt.n_workers;
    rt.workers = sl_zalloc((rt.n_workers + 1) * sizeof(*rt.workers));
    rc = set_up(&rt, &err);
    if (rc == 0)
        rc = start_workers(&rt, &err);
    if (rc < 0) {
        sl_log_error(err.text);
        tear_down(&rt);
        return 1;
    }
    if (opts->is_check)
        sl_script_check(rt.script, on_check_end, &rt);
    sl_loop_run(rt.loop);
    tear_down(&rt);
    return rt.exit_code;
}
