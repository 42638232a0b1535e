#include "base/clock.h"
#include "proxy/raw_target.h"
#include "proxy/udp.h"
#include "proxy/visitors.h"

enum { MAX_SEARCH = 64 }; /* for a flow that has to make room */

/* --- the end --- */

static void release(void *ptr)
{
    struct sl_flow *f = ptr;

    sl_free((char *)f->peer.edge.p);
    sl_free(f);
}

static void count_on_route(const struct sl_flow *f)
{
    struct sl_route *r = f->route;

    if (r == NULL)
        return;
    atomic_fetch_sub_explicit(&r->n_active, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&r->bytes_in, f->bytes_in, memory_order_relaxed);
    atomic_fetch_add_explicit(&r->bytes_out, f->bytes_out, memory_order_relaxed);
}

static void tell_done(struct sl_flow *f)
{
    struct sl_proxy *p = f->flows->proxy;
    char text[SL_RAW_TARGET_LEN];
    struct sl_done done = {
        .peer = &f->peer,
        .route = f->route != NULL ? f->route->name : SL_STR_NONE,
        .target = sl_raw_target_text(f->target, f->number, text),
        .duration_s = (double)(sl_clock_ns() - f->started_ns) / 1e9,
        .bytes_in = f->bytes_in,
        .bytes_out = f->bytes_out,
        .error = f->error,
    };

    sl_stat_add(&p->stats.bytes_in, f->bytes_in);
    sl_stat_add(&p->stats.bytes_out, f->bytes_out);
    if (p->hooks->present & SL_HOOK_DONE)
        p->hooks->on_done(p->hooks->host, &done);
}

static bool is_admitted(const struct sl_flow *f)
{
    return sl_link_is_on(&f->link);
}

/* Out of the lists of those who go on. */
static void leave(struct sl_flow *f)
{
    count_on_route(f);
    tell_done(f);
    sl_link_remove(&f->link);
    f->flows->n--;
    sl_stat_add(&f->flows->proxy->stats.udp_sessions, (uint64_t)-1);
}

void sl_flow_end(struct sl_flow *f, const char *error)
{
    struct sl_proxy *p = f->flows->proxy;

    if (f->is_over)
        return;
    f->is_over = true;
    f->error = error;
    if (is_admitted(f))
        leave(f);
    if (f->slot.script != NULL)
        p->hooks->forget(p->hooks->host, &f->slot);
    if (f->port != NULL)
        sl_map_remove(&f->port->by_visitor, sl_str((const char *)&f->key, sizeof(f->key)));
    if (f->is_counted)
        sl_visitor_leave(f->peer.ip16);
    if (f->is_named)
        sl_named_leave(&f->visitor.remote, f->number, sl_loop_now_ms(p->loop));
    sl_deadline_stop(&f->idle);
    sl_flow_close_end(f->flows, &f->visitor);
    sl_flow_leave_target(f);
    sl_loop_defer(p->loop, f, release);
}

static void on_idle(struct sl_deadline *d)
{
    sl_flow_end(d->user, NULL);
}

/* --- the beginning --- */

struct sl_flow *sl_flow_new(struct sl_flows *flows, const struct sl_tunnelled *from)
{
    struct sl_flow *f = sl_zalloc(sizeof(*f));

    f->flows = flows;
    f->number = from->port;
    f->peer.is_udp = true;
    f->peer.remote = from->remote;
    f->peer.local = from->local;
    sl_addr_to_ip16(&from->remote, f->peer.ip16);
    if (from->edge.len > 0)
        f->peer.edge = sl_str(sl_strndup(from->edge.p, from->edge.len), from->edge.len);
    f->started_ns = sl_clock_ns();
    sl_deadline_init(&f->idle, flows->proxy->loop, on_idle, f);
    return f;
}

/* NULL, or why the visitor may not. */
static const char *admit(struct sl_flow *f)
{
    struct sl_proxy *p = f->flows->proxy;
    const struct sl_policy *policy = p->live != NULL ? sl_snapshot_policy(p->live->snapshot) : NULL;
    struct sl_verdict v = {0};

    if (policy == NULL || p->is_draining)
        return "the proxy takes nobody";
    if (!sl_visitor_admit(f->peer.ip16, policy, sl_loop_now_ms(p->loop), &f->is_counted))
        return "refused by the policy";
    if (p->hooks->present & SL_HOOK_CONNECT)
        (void)p->hooks->on_connect(p->hooks->host, &f->slot, &f->peer, &v);
    return v.kind != SL_VERDICT_NONE ? "denied by on_connect" : NULL;
}

static const char *find_route(struct sl_flow *f)
{
    struct sl_route_query q = {.port = f->number,
                               .transport = SL_TRANSPORT_UDP,
                               .is_datagrams = true,
                               .is_tunnelled = f->port == NULL,
                               .client_ip = f->peer.ip16};
    struct sl_route *r = sl_snapshot_find(f->flows->proxy->live->snapshot, &q);
    uint32_t n_active;

    if (r == NULL)
        return "no route for the port";
    n_active = atomic_load_explicit(&r->n_active, memory_order_relaxed);
    if (!sl_access_allows(&r->access, f->peer.ip16))
        return "refused by the route";
    if (r->max_connections > 0 && n_active >= r->max_connections)
        return "max_connections of the route";
    f->route = r;
    f->sends_proxy = r->send_proxy != 0;
    return NULL;
}

/* NULL when there is a route, or a target of a hook's; or why there is none. */
static const char *choose(struct sl_flow *f)
{
    const struct sl_hooks *hooks = f->flows->proxy->hooks;
    struct sl_verdict v = {0};

    if (f->port == NULL && hooks->present & SL_HOOK_STREAM)
        (void)hooks->on_stream(hooks->host, &f->slot, &f->peer, &v);
    if (v.kind == SL_VERDICT_NONE)
        return find_route(f);
    if (v.kind != SL_VERDICT_TARGET)
        return "denied by on_stream";
    f->named = sl_raw_target_new(v.target_host, v.target_port);
    f->sends_proxy = true;
    return NULL;
}

/* The first flow of the list with such a target, of those that come first. */
static struct sl_flow *first(const struct sl_list *flows, bool with_socket)
{
    int n_seen = 0;

    sl_list_each(flows, it)
    {
        struct sl_flow *f = sl_container_of(it, struct sl_flow, link);

        if (!with_socket || f->target_end.udp != NULL)
            return f;
        if (++n_seen == MAX_SEARCH)
            break;
    }
    return NULL;
}

/* First of those whose addresses may have been made up. */
bool sl_flow_evict(struct sl_flows *flows, bool with_socket)
{
    struct sl_flow *f = first(&flows->fresh, with_socket);
    unsigned n_suppressed;

    if (f == NULL)
        f = first(&flows->proven, with_socket);
    if (f == NULL)
        return false;
    sl_stat_add(&flows->proxy->stats.udp_evicted, 1);
    if (sl_log_may(&flows->full, &n_suppressed))
        sl_log_warn("UDP session ended to make room for another: raise max_udp_sessions or the "
                    "limit of descriptors, or somebody floods",
                    sl_f_int("sessions", (long long)flows->n),
                    sl_f_int("suppressed", n_suppressed));
    sl_flow_end(f, "ended to make room");
    return true;
}

static void make_room(struct sl_flows *flows)
{
    uint32_t max = flows->proxy->settings->max_udp_sessions;

    while (max > 0 && flows->n >= max)
        (void)sl_flow_evict(flows, false);
}

static void join(struct sl_flow *f)
{
    struct sl_flows *flows = f->flows;

    make_room(flows);
    sl_list_append(&flows->fresh, &f->link);
    flows->n++;
    sl_stat_add(&flows->proxy->stats.udp_sessions, 1);
    sl_stat_add(&flows->proxy->stats.udp_sessions_total, 1);
    f->live = sl_live_ref(flows->proxy);
    if (f->route == NULL)
        return;
    atomic_fetch_add_explicit(&f->route->n_active, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&f->route->n_total, 1, memory_order_relaxed);
}

static void touch(struct sl_flow *f)
{
    struct sl_flows *flows = f->flows;

    sl_link_remove(&f->link);
    sl_list_append(f->is_proven ? &flows->proven : &flows->fresh, &f->link);
    if (flows->proxy->settings->udp_idle_timeout > 0)
        sl_deadline_set(&f->idle, flows->proxy->settings->udp_idle_timeout);
}

static void pick_target(struct sl_flow *f)
{
    if (f->named != NULL)
        f->picks[f->n_picks++] = f->named;
    else
        f->n_picks = sl_route_pick(f->route, SL_STR_NONE, SL_STR_NONE, f->peer.ip16,
                                   sl_loop_now_ms(f->flows->proxy->loop), f->picks);
    sl_flow_next_target(f, "no usable target");
}

/* Whoever runs a hub wants to know what it does not take. */
static void log_refusal(const struct sl_flow *f, const char *why)
{
    char ip[SL_ADDR_TEXT_LEN];
    unsigned n_suppressed;

    if (f->port != NULL)
        sl_log_debug("UDP session refused", sl_f_str("why", why),
                     sl_f_str("client", sl_addr_ip(&f->peer.remote, ip)),
                     sl_f_int("port", f->number));
    else if (sl_log_may(&f->flows->proxy->refusals, &n_suppressed))
        sl_log_warn("UDP session of an edge refused", sl_f_str("why", why),
                    sl_f_strn("edge", f->peer.edge),
                    sl_f_str("client", sl_addr_ip(&f->peer.remote, ip)),
                    sl_f_int("port", f->number), sl_f_int("suppressed", n_suppressed));
}

bool sl_flow_begin(struct sl_flow *f)
{
    const char *why = admit(f);

    if (why == NULL)
        why = choose(f);
    if (why == NULL) {
        join(f);
        touch(f);
        pick_target(f);
    } else {
        log_refusal(f, why);
        sl_flow_end(f, why);
    }
    return !f->is_over;
}

/* --- datagrams --- */

void sl_flow_from_visitor(struct sl_flow *f, const struct sl_datagrams *d)
{
    f->is_proven |= f->has_answered;
    f->bytes_in += d->len;
    touch(f);
    sl_flow_to_target(f, d);
}

void sl_flow_from_target(struct sl_flow *f, const struct sl_datagrams *d)
{
    if (!f->has_answered)
        sl_flow_target_ok(f);
    f->has_answered = true;
    f->bytes_out += d->len;
    touch(f);
    sl_flow_send(f->flows, &f->visitor, d);
}
