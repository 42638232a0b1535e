#include "proxy/raw_target.h"
#include "proxy/udp.h"

enum {
    MAX_WAITING = 16 * 1024,           /* bytes of one flow that wait for its target */
    MAX_ALL_WAITING = 4 * 1024 * 1024, /* of all flows of a worker */
};

static void fail(struct sl_flow *f, const char *doing, const char *error)
{
    sl_raw_target_failed(f->flows->proxy, &(struct sl_raw_failure){.target = f->target,
                                                                   .route = f->route,
                                                                   .port = f->number,
                                                                   .doing = doing,
                                                                   .error = error});
}

/* --- what it is sent --- */

static void introduce(struct sl_flow *f)
{
    struct sl_proxy_header header = sl_raw_header(&f->peer, f->number);
    uint8_t bytes[SL_PROXY_HEADER_WRITE_MAX];
    size_t len;

    header.is_datagram = true;
    len = sl_proxy_header_write(bytes, 2, &header);
    f->is_introduced = true;
    sl_flow_send(f->flows, &f->target_end, &(struct sl_datagrams){bytes, len, len});
}

/* To a target that believes PROXY headers a visitor's own must not get. */
static void send_guarded(struct sl_flow *f, const struct sl_datagrams *d)
{
    struct sl_datagrams rest = *d;

    if (!f->is_introduced)
        introduce(f);
    do {
        struct sl_datagrams one = sl_datagrams_first(&rest);

        if (sl_proxy_header_is_v2(one.bytes, one.len))
            sl_flow_dropped(f->flows, 1);
        else
            sl_flow_send(f->flows, &f->target_end, &one);
    } while (rest.len > 0);
}

static void pass_on(struct sl_flow *f, const struct sl_datagrams *d)
{
    if (f->sends_proxy && f->target_end.udp != NULL)
        send_guarded(f, d);
    else
        sl_flow_send(f->flows, &f->target_end, d);
}

/* --- what waits for it --- */

/* False: there is too much. */
static bool keep(struct sl_flow *f, const struct sl_datagrams *one)
{
    uint8_t head[2] = {(uint8_t)(one->len >> 8), (uint8_t)one->len};
    size_t len = sizeof(head) + one->len;

    if (sl_buf_len(&f->waiting) + len > MAX_WAITING || f->flows->n_waiting + len > MAX_ALL_WAITING)
        return false;
    sl_buf_append(&f->waiting, head, sizeof(head));
    sl_buf_append(&f->waiting, one->bytes, one->len);
    f->flows->n_waiting += len;
    return true;
}

static void forget_waiting(struct sl_flow *f)
{
    f->flows->n_waiting -= sl_buf_len(&f->waiting);
    sl_buf_clear(&f->waiting);
}

static void send_waiting(struct sl_flow *f)
{
    struct sl_str all = sl_buf_str(&f->waiting);

    for (size_t at = 0; at < all.len;) {
        const uint8_t *head = (const uint8_t *)all.p + at;
        size_t len = (size_t)head[0] << 8 | head[1];

        pass_on(f, &(struct sl_datagrams){head + 2, len, len});
        at += 2 + len;
    }
    if (!f->has_more)
        forget_waiting(f);
}

void sl_flow_to_target(struct sl_flow *f, const struct sl_datagrams *d)
{
    struct sl_datagrams rest = *d, one;

    if (f->is_ready)
        pass_on(f, d);
    if (f->is_ready && !f->has_more)
        return;
    do {
        one = sl_datagrams_first(&rest);
        if (!keep(f, &one) && !f->is_ready)
            sl_flow_dropped(f->flows, 1);
    } while (rest.len > 0);
}

void sl_flow_target_ok(struct sl_flow *f)
{
    sl_target_ok(f->target);
    f->has_more = false;
    forget_waiting(f);
}

static void become_ready(struct sl_flow *f)
{
    f->is_ready = true;
    send_waiting(f);
}

/* --- a socket --- */

static void resolve(struct sl_flow *f);

static void try_next_addr(void *user)
{
    struct sl_flow *f = user;

    f->is_ready = false;
    sl_flow_close_end(f->flows, &f->target_end);
    resolve(f);
}

static void on_packet(void *user, const struct sl_udp_packet *packet)
{
    sl_flow_from_target(user, &(struct sl_datagrams){packet->bytes, packet->len, packet->segment});
}

static void on_writable(void *user SL_UNUSED)
{
}

/* A name may have another address, which gets what this one did not. Else it may pass: the visitor
 * decides how long he goes on. A target that is there again knows nothing of what it was told
 * before. */
static void on_refused(void *user)
{
    struct sl_flow *f = user;

    sl_stat_add(&f->flows->proxy->stats.udp_refused, 1);
    f->is_introduced = false;
    if (f->has_more)
        sl_loop_soon(f->flows->proxy->loop, &f->retry, try_next_addr, f);
    else if (!f->has_answered)
        sl_target_failed(f->target, sl_loop_now_ms(f->flows->proxy->loop));
}

static const struct sl_udp_handler target_handler = {
    .on_packet = on_packet, .on_writable = on_writable, .on_refused = on_refused};

static int connect_to(struct sl_flow *f, struct sl_addr at)
{
    uint8_t ip[16];

    sl_addr_to_ip16(&at, ip);
    sl_addr_from_ip16(&at, ip, f->target->port != 0 ? f->target->port : f->number);
    return sl_flow_connect(f, &at, &target_handler);
}

static void on_resolved(void *user, const struct sl_dns_answer *answer)
{
    struct sl_flow *f = user;
    int rc = answer->code;

    f->query = NULL;
    while (f->next_addr < answer->n && f->target_end.udp == NULL)
        rc = connect_to(f, answer->addrs[f->next_addr++]);
    f->has_more = f->next_addr < answer->n;
    if (f->target_end.udp != NULL) {
        become_ready(f);
        return;
    }
    fail(f, answer->code != 0 ? "resolving" : "connecting", sl_error_text(rc));
    sl_flow_next_target(f, sl_error_text(rc));
}

static void resolve(struct sl_flow *f)
{
    struct sl_dns_answer now;

    f->query = sl_dns_resolve(f->flows->proxy->dns, f->target->host, on_resolved, f, &now);
    if (f->query == NULL)
        on_resolved(f, &now);
}

/* --- a tunnel --- */

static void on_datagram(struct sl_session *s, const uint8_t *bytes, size_t len)
{
    sl_flow_from_target(s->user, &(struct sl_datagrams){bytes, len, len});
}

static void on_closed(struct sl_session *s)
{
    sl_flow_end(s->user, "ended by the tunnel");
}

static const struct sl_session_handler session_handler = {on_datagram, on_closed};

/* NULL, or why it cannot be. Without a link a tunnel is the last resort: what is sent meanwhile is
 * lost. */
static const char *open_session(struct sl_flow *f)
{
    struct sl_proxy *p = f->flows->proxy;
    struct sl_edge *edge = p->find_edge != NULL ? p->find_edge(p->user, f->target->tunnel) : NULL;
    struct sl_proxy_header from = sl_raw_header(&f->peer, f->number);

    from.is_datagram = true;
    if (edge == NULL || (!sl_edge_is_up(edge) && f->next_pick < f->n_picks))
        return "the tunnel is down";
    f->target_end.session = sl_edge_open_session(edge, &from, &session_handler, f);
    return f->target_end.session == NULL ? "the tunnel has too many sessions" : NULL;
}

static void use_tunnel(struct sl_flow *f)
{
    const char *why = open_session(f);

    if (why == NULL) {
        become_ready(f);
        return;
    }
    fail(f, "opening a session", why);
    sl_flow_next_target(f, why);
}

/* --- one after the other --- */

void sl_flow_next_target(struct sl_flow *f, const char *error)
{
    if (f->target != NULL)
        sl_target_end(f->target);
    f->target = f->next_pick < f->n_picks ? f->picks[f->next_pick++] : NULL;
    if (f->target == NULL) {
        sl_flow_end(f, error);
        return;
    }
    sl_target_begin(f->target);
    f->next_addr = 0;
    if (f->target->tunnel.len > 0)
        use_tunnel(f);
    else
        resolve(f);
}

void sl_flow_leave_target(struct sl_flow *f)
{
    if (f->query != NULL)
        sl_dns_cancel(f->query);
    f->query = NULL;
    sl_flow_close_end(f->flows, &f->target_end);
    sl_loop_unsoon(&f->retry);
    forget_waiting(f);
    if (f->target != NULL)
        sl_target_end(f->target);
    f->target = NULL;
    sl_raw_target_free(f->named);
    f->named = NULL;
    if (f->live != NULL)
        sl_live_unref(f->live);
    f->live = NULL;
}
