/*
 * From a request to a decision: on_request, then the route, then what the route demands (access,
 * credentials, limits), then its action.
 */
#include "base/clock.h"
#include "base/log.h"
#include "proxy/internal.h"

/* The client went before it had an answer; the number is nginx's. */
enum { GONE_UNANSWERED = 499 };

static const struct sl_exchange_handler handler;

static void decide(struct sl_work *w, const struct sl_verdict *v);
static void end(struct sl_work *w);

/* --- answers of our own --- */

/* Headers that the route puts on every response go on our own answers, too. */
void sl_work_reply(struct sl_work *w, int status, struct sl_str type, struct sl_str body,
                   const struct sl_headers *extra)
{
    struct sl_response res = {.version = SL_HTTP_11, .status = status, .content_length = body.len};
    struct sl_arena *arena = &w->ex->arena;
    struct iovec iov = {(void *)body.p, body.len};

    w->status = status;
    if (type.len > 0)
        sl_headers_add_id(&res.headers, arena, SL_H_CONTENT_TYPE, SL_STR("Content-Type"), type);
    for (unsigned i = 0; extra != NULL && i < extra->n; i++)
        sl_headers_add_id(&res.headers, arena, extra->at[i].id, extra->at[i].name,
                          extra->at[i].value);
    sl_headers_for_client(w, &res);
    sl_exchange_respond(w->ex, &res);
    (void)sl_exchange_write(w->ex, &iov, body.len > 0 ? 1 : 0, true);
}

void sl_work_fail(struct sl_work *w, int status, const char *error)
{
    struct sl_str type;
    struct sl_str body = sl_exchange_error_body(w->ex, status, &type);

    if (w->error == NULL)
        w->error = error;
    sl_work_reply(w, status, type, body, NULL);
}

static void ask_for_credentials(struct sl_work *w)
{
    struct sl_str realm = w->route->realm.len > 0 ? w->route->realm : SL_STR("restricted");
    struct sl_headers extra = {0};
    struct sl_str type, body;

    sl_headers_add_id(&extra, &w->ex->arena, SL_H_WWW_AUTHENTICATE, SL_STR("WWW-Authenticate"),
                      sl_arena_printf(&w->ex->arena, "Basic realm=\"%.*s\", charset=\"UTF-8\"",
                                      SL_STR_FMT(realm)));
    body = sl_exchange_error_body(w->ex, 401, &type);
    sl_work_reply(w, 401, type, body, &extra);
}

static void redirect(struct sl_work *w, int status, struct sl_str location)
{
    struct sl_headers extra = {0};

    sl_headers_add_id(&extra, &w->ex->arena, SL_H_LOCATION, SL_STR("Location"), location);
    sl_work_reply(w, status, SL_STR_NONE, sl_str("", 0), &extra);
}

/* {path} of a redirect carries the query: nobody wants to lose it. */
static void redirect_by_route(struct sl_work *w)
{
    const struct sl_request *req = &w->ex->req;
    struct sl_expand with = {
        .domain = req->host, .client_ip = sl_str_c(w->conn->ip), .port = w->conn->port};

    with.path = req->path;
    if (req->query.p != NULL)
        with.path = sl_arena_printf(&w->ex->arena, "%.*s?%.*s", SL_STR_FMT(req->path),
                                    SL_STR_FMT(req->query));
    if (memchr(with.domain.p, ':', with.domain.len) != NULL)
        with.domain = sl_arena_printf(&w->ex->arena, "[%.*s]", SL_STR_FMT(with.domain));
    redirect(w, w->route->status, sl_route_expand(w->route->location, &with, &w->ex->arena));
}

/* --- the route's demands --- */

static struct sl_str header_of(const void *message, struct sl_str name)
{
    return sl_headers_get(&((const struct sl_request *)message)->headers, name);
}

static struct sl_route *find_route(struct sl_work *w)
{
    const struct sl_request *req = &w->ex->req;
    struct sl_route_query q = sl_conn_query(w->conn, req->host);

    q.path = req->path;
    q.header = header_of;
    q.message = req;
    return sl_snapshot_find(w->live->snapshot, &q);
}

/* A name that this connection's handshake was not for: its policy may differ (attack T-01, RFC
 * 9110, 15.5.20). */
static bool is_misdirected(const struct sl_work *w, const struct sl_route *r)
{
    const struct sl_peer *peer = w->ex->peer;

    return peer->is_tls && r->tls_data != peer->tls_data &&
           !sl_str_eq(peer->sni, w->ex->req.host) &&
           (peer->sni.len > 0 || peer->tls_data == NULL ||
            !sl_cert_covers(peer->tls_data, w->ex->req.host));
}

/* 0, or the status that refuses the request. */
static int check_route(struct sl_work *w, const struct sl_route *r)
{
    bool needs_tls = r->tls != SL_TLS_NONE;

    if (needs_tls != w->ex->peer->is_tls || r->tls == SL_TLS_PASSTHROUGH)
        return 404; /* on a port with both kinds the other kind does not exist */
    if (needs_tls && is_misdirected(w, r))
        return 421;
    if (!sl_access_allows(&r->access, w->conn->peer.ip16))
        return 403;
    if (r->no_websocket && w->ex->req.upgrade.len > 0)
        return 403;
    return 0;
}

static bool enter_route(struct sl_work *w)
{
    struct sl_route *r = w->route;
    uint32_t active = atomic_fetch_add_explicit(&r->n_active, 1, memory_order_relaxed) + 1;

    w->is_counted_on_route = true;
    atomic_fetch_add_explicit(&r->n_requests, 1, memory_order_relaxed);
    return r->max_connections == 0 || active <= r->max_connections;
}

static void act(struct sl_work *w)
{
    switch (w->route->action) {
    case SL_ACTION_REDIRECT:
        redirect_by_route(w);
        break;
    case SL_ACTION_REPLY:
        sl_work_reply(w, w->route->status, w->route->content_type, w->route->body, NULL);
        break;
    case SL_ACTION_FORWARD:
        sl_forward_start(w);
        break;
    }
}

static void take_route(struct sl_work *w, struct sl_route *r)
{
    int status;

    if (r == NULL) {
        sl_work_fail(w, 404, NULL);
        return;
    }
    status = check_route(w, r);
    if (status != 0) {
        sl_work_fail(w, status, NULL);
        return;
    }
    w->route = r;
    if (!enter_route(w)) {
        sl_work_fail(w, 503, "max_connections of the route");
        return;
    }
    if (r->n_users > 0 &&
        !sl_route_auth_ok(r, sl_headers_get(&w->ex->req.headers, SL_STR("authorization"))))
        ask_for_credentials(w);
    else
        act(w);
}

static void take_named_route(struct sl_work *w, struct sl_str name)
{
    struct sl_route *r = sl_snapshot_by_name(w->live->snapshot, name);

    if (r == NULL) {
        sl_log_error("on_request chose a route that does not exist", sl_f_strn("route", name));
        sl_work_fail(w, 500, "no such route");
        return;
    }
    take_route(w, r);
}

static void take_target(struct sl_work *w, const struct sl_verdict *v)
{
    w->to = (struct sl_call_target){
        .host = v->target_host,
        .port = v->target_port,
        .tls = v->target_tls,
        .tls_verify = v->target_verify,
        .id = sl_adhoc_id(&w->proxy->adhoc, v->target_host, v->target_port, v->target_tls,
                          v->target_verify),
    };
    sl_forward_start(w);
}

static void on_served(void *user, int status, const char *error)
{
    struct sl_work *w = user;

    w->status = status != 0 ? status : GONE_UNANSWERED;
    w->error = error;
    end(w);
}

/* What comes now is between the client and the host. */
static void hand_over(struct sl_work *w, const struct sl_verdict *v)
{
    int refused;

    w->status = v->status;
    if ((refused = v->serve(v->serving, w->ex, on_served, w)) != 0)
        w->status = refused;
}

static void decide(struct sl_work *w, const struct sl_verdict *v)
{
    switch (v->kind) {
    case SL_VERDICT_NONE:
        take_route(w, find_route(w));
        break;
    case SL_VERDICT_ROUTE:
        take_named_route(w, v->text);
        break;
    case SL_VERDICT_TARGET:
        take_target(w, v);
        break;
    case SL_VERDICT_REPLY:
        sl_work_reply(w, v->status, v->content_type, v->text.p != NULL ? v->text : sl_str("", 0),
                      &v->headers);
        break;
    case SL_VERDICT_REDIRECT:
        redirect(w, v->status, v->text);
        break;
    case SL_VERDICT_DENY:
        if (v->text.len > 0)
            sl_work_reply(w, v->status != 0 ? v->status : 403, SL_STR("text/plain"), v->text, NULL);
        else
            sl_work_fail(w, v->status != 0 ? v->status : 403, NULL);
        break;
    case SL_VERDICT_SERVE:
        hand_over(w, v);
        break;
    case SL_VERDICT_ERROR:
    case SL_VERDICT_CERT:
    case SL_VERDICT_PASSTHROUGH:
        sl_work_fail(w, 500, "on_request failed");
        break;
    }
}

/* --- the hook --- */

static void on_verdict(struct sl_hook_slot *slot, const struct sl_verdict *v)
{
    struct sl_work *w = sl_container_of(slot, struct sl_work, slot);

    if (!w->is_waiting)
        return;
    w->is_waiting = false;
    sl_deadline_clear(&w->deadline);
    sl_body_decided(w);
    decide(w, v);
}

static void on_hook_deadline(struct sl_deadline *d)
{
    struct sl_work *w = d->user;
    struct sl_verdict v = {.kind = SL_VERDICT_ERROR};

    sl_log_error("on_request waits for too long: the request was refused",
                 sl_f_strn("host", w->ex->req.host),
                 sl_f_int("hook_timeout_ms", w->proxy->settings->hook_timeout));
    if (w->slot.script != NULL)
        w->hooks->forget(w->hooks->host, &w->slot);
    on_verdict(&w->slot, &v);
}

static void ask_hook(struct sl_work *w)
{
    struct sl_verdict v = {0};

    w->slot.on_verdict = on_verdict;
    if (w->hooks->on_request(w->hooks->host, &w->slot, w->ex, &v) == SL_E_AGAIN) {
        w->is_waiting = true;
        sl_deadline_init(&w->deadline, w->proxy->loop, on_hook_deadline, w);
        sl_deadline_set(&w->deadline, w->proxy->settings->hook_timeout);
        return;
    }
    decide(w, &v);
}

static void count_request(struct sl_proxy *p, enum sl_http_version version)
{
    sl_stat_add(&p->stats.requests, 1);
    if (version == SL_HTTP_2)
        sl_stat_add(&p->stats.http2_requests, 1);
    if (version == SL_HTTP_3)
        sl_stat_add(&p->stats.http3_requests, 1);
}

void sl_request_start(struct sl_exchange *ex)
{
    struct sl_conn *c = ex->peer->user;
    struct sl_work *w = sl_arena_alloc(&ex->arena, sizeof(*w));
    struct sl_verdict none = {0};

    memset(w, 0, sizeof(*w));
    w->ex = ex;
    w->conn = c;
    w->proxy = c->proxy;
    w->live = sl_live_ref(c->proxy);
    w->hooks = c->proxy->hooks;
    ex->handler = &handler;
    ex->user = w;
    count_request(c->proxy, ex->req.version);
    sl_headers_forwarded(w);
    if (w->hooks->present & SL_HOOK_REQUEST)
        ask_hook(w);
    else
        decide(w, &none);
}

/* --- the exchange speaks --- */

static void on_body(struct sl_exchange *ex, const uint8_t *bytes, size_t len, bool fin)
{
    struct sl_work *w = ex->user;

    if (w->on_bytes != NULL)
        w->on_bytes(&w->slot, bytes, len, fin);
    else if (w->is_collecting)
        sl_body_take(w, bytes, len, fin);
    else
        sl_forward_body(w, bytes, len, fin);
}

static void on_written(struct sl_exchange *ex)
{
    sl_forward_written(ex->user);
}

static void tell_done(struct sl_work *w)
{
    struct sl_exchange *ex = w->ex;
    const struct sl_hooks *hooks = w->proxy->hooks;
    struct sl_done done;

    if (!(hooks->present & SL_HOOK_DONE))
        return;
    done = (struct sl_done){
        .is_exchange = true,
        .ex = ex,
        .peer = ex->peer,
        .route = w->route != NULL ? w->route->name : SL_STR_NONE,
        .target = sl_work_target(w),
        .status = w->status,
        .duration_s = (double)(sl_clock_ns() - ex->started_ns) / 1e9,
        .bytes_in = ex->bytes_in,
        .bytes_out = ex->bytes_out,
        .error = w->error,
    };
    hooks->on_done(hooks->host, &done);
}

static void count(struct sl_work *w)
{
    struct sl_route *r = w->route;
    bool is_error = w->error != NULL || w->status >= 500;

    sl_stat_add(&w->proxy->stats.bytes_in, w->ex->bytes_in);
    sl_stat_add(&w->proxy->stats.bytes_out, w->ex->bytes_out);
    if (is_error)
        sl_stat_add(&w->proxy->stats.errors, 1);
    if (r == NULL || !w->is_counted_on_route)
        return;
    atomic_fetch_sub_explicit(&r->n_active, 1, memory_order_relaxed);
    if (w->ex->bytes_in > 0)
        atomic_fetch_add_explicit(&r->bytes_in, w->ex->bytes_in, memory_order_relaxed);
    atomic_fetch_add_explicit(&r->bytes_out, w->ex->bytes_out, memory_order_relaxed);
    if (is_error)
        atomic_fetch_add_explicit(&r->n_errors, 1, memory_order_relaxed);
}

static void end(struct sl_work *w)
{
    w->is_waiting = false;
    count(w);
    tell_done(w);
    if (w->slot.script != NULL)
        w->hooks->forget(w->hooks->host, &w->slot);
    if (w->deadline.loop != NULL)
        sl_deadline_stop(&w->deadline);
    sl_forward_end(w);
    sl_body_end(w);
    sl_live_unref(w->live);
}

void sl_work_abort(struct sl_work *w, const char *error)
{
    w->error = error;
    sl_exchange_abort(w->ex);
    end(w);
}

static void on_done(struct sl_exchange *ex)
{
    end(ex->user);
}

static void on_abort(struct sl_exchange *ex, int code)
{
    struct sl_work *w = ex->user;

    if (w->error == NULL)
        w->error = sl_error_text(code);
    if (w->status == 0)
        w->status = GONE_UNANSWERED;
    end(w);
}

static const struct sl_exchange_handler handler = {on_body, on_written, on_done, on_abort};
