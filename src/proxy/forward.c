/*
 * Forwarding an exchange to a target: try targets until one takes the request, relay both bodies
 * with backpressure, bring the answer back. A request is sent again only when the target cannot
 * have seen it, or when seeing it twice does no harm.
 */
#include <stdio.h>
#include "base/log.h"
#include "codec/proxy_header.h"
#include "proxy/internal.h"

enum { MAX_KEPT = 16 * 1024 }; /* bytes of a body that are kept to be sent again */

static const struct sl_call_handler handler;

static void start_call(struct sl_work *w, bool fresh);

static enum sl_call_protocol protocol_of(enum sl_backend backend)
{
    switch (backend) {
    case SL_BACKEND_HTTP2:
        return SL_CALL_HTTP2;
    case SL_BACKEND_AUTO:
        return SL_CALL_AUTO;
    default:
        return SL_CALL_HTTP1;
    }
}

static void aim(struct sl_work *w, const struct sl_target *t)
{
    if (w->target != NULL)
        sl_target_end(w->target);
    w->target = t;
    sl_target_begin(t);
    w->to = (struct sl_call_target){
        .host = t->host,
        .unix_path = t->unix_path,
        .port = t->port != 0 ? t->port : w->conn->port,
        .tls = t->tls,
        .tls_verify = t->tls_verify,
        .protocol = protocol_of(w->route->backend),
        .id = t->port != 0 || t->unix_path.len > 0
                  ? t->id
                  : 0, /* "preserve": the port is not part of the id */
    };
}

/* Made when somebody asks: most requests are answered without. */
struct sl_str sl_work_target(struct sl_work *w)
{
    const struct sl_call_target *to = &w->to;
    bool is_ipv6 = to->host.len > 0 && memchr(to->host.p, ':', to->host.len) != NULL;

    if (w->target_text.p != NULL || (to->host.len == 0 && to->unix_path.len == 0))
        return w->target_text;
    if (to->unix_path.len > 0)
        w->target_text = sl_arena_printf(&w->ex->arena, "unix:%.*s", SL_STR_FMT(to->unix_path));
    else
        w->target_text = sl_arena_printf(&w->ex->arena, is_ipv6 ? "[%.*s]:%u" : "%.*s:%u",
                                         SL_STR_FMT(to->host), to->port);
    return w->target_text;
}

/* A PROXY header in front of the request tells the target who the visitor is. */
static void add_preface(struct sl_work *w)
{
    struct sl_proxy_header header = {.has_addresses = true};
    uint8_t *out;

    if (w->route == NULL || w->route->send_proxy == 0)
        return;
    memcpy(header.from, w->conn->peer.ip16, 16);
    sl_addr_to_ip16(&w->conn->peer.local, header.to);
    header.from_port = sl_addr_port(&w->conn->peer.remote);
    header.to_port = w->conn->port;
    out = sl_arena_alloc(&w->ex->arena, SL_PROXY_HEADER_WRITE_MAX);
    w->to.preface_len = sl_proxy_header_write(out, (int)w->route->send_proxy, &header);
    w->to.preface = out;
}

static bool next_target(struct sl_work *w)
{
    if (w->next_pick >= w->n_picks)
        return false;
    aim(w, w->picks[w->next_pick++]);
    return true;
}

/* --- hooks --- */

/* A slot stays with the hooks that it is known to; the first one to be called takes it. */
static const struct sl_hooks *hooks_for_slot(struct sl_work *w)
{
    if (w->slot.script == NULL)
        w->hooks = w->proxy->hooks;
    return w->hooks;
}

/* No target has given an answer: the client gets that of on_failure, or a plain one. */
static void answer_failure(struct sl_work *w, int status, const char *error)
{
    const struct sl_hooks *hooks = hooks_for_slot(w);
    struct sl_failure failure = {.status = status, .error = error};
    struct sl_verdict v = {0};

    if (hooks->present & SL_HOOK_FAILURE) {
        failure.target = sl_work_target(w);
        failure.route = w->route != NULL ? w->route->name : SL_STR_NONE;
        (void)hooks->on_failure(hooks->host, &w->slot, w->ex, &failure, &v);
    }
    if (v.kind != SL_VERDICT_REPLY) {
        sl_work_fail(w, status, error);
        return;
    }
    w->error = error;
    sl_work_reply(w, v.status, v.content_type, v.text, &v.headers);
}

/* --- the beginning --- */

void sl_forward_start(struct sl_work *w)
{
    struct sl_exchange *ex = w->ex;

    if (w->is_streamed && ex->bytes_in > 0) {
        sl_log_error("on_request has read the body with req:read() and forwards the request",
                     sl_f_strn("host", ex->req.host), sl_f_strn("path", ex->req.path));
        sl_work_fail(w, 500, "the body was read by the script");
        return;
    }
    if (w->route != NULL) {
        w->n_picks = sl_route_pick(w->route, ex->req.method, ex->req.path, w->conn->peer.ip16,
                                   sl_loop_now_ms(w->proxy->loop), w->picks);
        if (!next_target(w)) {
            answer_failure(w, 503, "no usable target");
            return;
        }
    }
    start_call(w, false);
}

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
    return value != 0 ? value : otherwise;
}

static void start_call(struct sl_work *w, bool fresh)
{
    const struct sl_proxy_settings *settings = w->proxy->settings;
    const struct sl_route *r = w->route;
    struct sl_call_opts opts = {
        .connect_timeout =
            or_default(r != NULL ? r->connect_timeout_ms : 0, settings->connect_timeout),
        .response_timeout =
            or_default(r != NULL ? r->response_timeout_ms : 0, settings->response_timeout),
        .body_timeout = settings->response_body_timeout,
        .fresh = fresh,
        .is_upgrade = sl_str_has_token(w->ex->req.upgrade, SL_STR("websocket")),
    };
    struct sl_call *call;

    w->is_connected = false;
    if (!w->ex->request_ended)
        sl_exchange_read(w->ex, false); /* until there is somebody who takes the body */
    w->target_text = SL_STR_NONE;
    add_preface(w);
    call = sl_call_start(w->proxy->pool, &w->to, &opts, &w->ex->arena, &handler, w);
    if (!w->is_finished)
        w->call = call; /* else it was freed inside sl_call_start() */
}

/* --- request to the target --- */

/* Reads on from the client as soon as the target takes more. */
static void write_to_target(struct sl_work *w, const void *bytes, size_t len, bool fin)
{
    struct iovec iov = {(void *)bytes, len};
    int rc;

    w->head_unsent = false;
    if (len > 0)
        w->sent_body = true;
    if (fin)
        w->call->req_trailers = &w->ex->req.trailers;
    rc = sl_call_write(w->call, &iov, len > 0 ? 1 : 0, fin);
    w->target_is_full = rc == SL_E_AGAIN;
    if (!fin)
        sl_exchange_read(w->ex, rc == 0);
}

/* Body bytes that came with the head have gone out together with it; when none came, the head goes
 * alone. */
static void flush_head(void *user)
{
    struct sl_work *w = user;

    if (w->head_unsent && w->call != NULL)
        write_to_target(w, NULL, 0, w->ex->req.upgrade.len > 0);
}

static void on_connected(struct sl_call *call)
{
    struct sl_work *w = call->user;
    struct sl_exchange *ex = w->ex;
    struct sl_request out;

    w->call = call;
    w->is_connected = true;
    sl_headers_for_target(w, &out);
    sl_call_send(call, &out);
    ex->forwards_continue = true;
    if (w->body_complete || (ex->request_ended && sl_buf_len(&w->body) == 0)) {
        write_to_target(w, sl_buf_at(&w->body), sl_buf_len(&w->body), true);
        return;
    }
    if (sl_buf_len(&w->body) > 0) {
        write_to_target(w, sl_buf_at(&w->body), sl_buf_len(&w->body), false);
        return;
    }
    w->head_unsent = true;
    sl_exchange_read(ex, true); /* first: body bytes that are here already come before the flush */
    sl_loop_soon(w->proxy->loop, &w->flush, flush_head, w);
}

/* A kept connection may turn out to be closed, or the target refuse the stream: then a small body
 * is at hand. */
static void keep_body(struct sl_work *w, const uint8_t *bytes, size_t len, bool fin)
{
    bool may_fail = w->call->was_reused || w->to.protocol != SL_CALL_HTTP1;
    size_t total = sl_buf_len(&w->body) + len;

    if (!may_fail || w->is_retry || total > MAX_KEPT || total != w->ex->bytes_in)
        return;
    sl_buf_append(&w->body, bytes, len);
    w->body_complete = fin;
}

void sl_forward_body(struct sl_work *w, const uint8_t *bytes, size_t len, bool fin)
{
    if (w->call == NULL || !w->is_connected)
        return;
    keep_body(w, bytes, len, fin);
    write_to_target(w, bytes, len, fin);
}

static void on_call_written(struct sl_call *call)
{
    struct sl_work *w = call->user;

    w->target_is_full = false;
    if (!w->ex->request_ended || call->res.status == 101)
        sl_exchange_read(w->ex, true);
}

/* --- response from the target --- */

static void drop_call(struct sl_work *w)
{
    w->is_connected = false;
    w->head_unsent = false;
    sl_call_free(&w->call);
}

static void fail(struct sl_work *w, int status, const char *error)
{
    drop_call(w);
    if (w->response_started)
        sl_work_abort(w, error);
    else
        answer_failure(w, status, error);
}

/* The verdict of on_response: nil lets the response through. */
static bool ask_on_response(struct sl_work *w, struct sl_response *res)
{
    const struct sl_hooks *hooks = hooks_for_slot(w);
    struct sl_verdict v = {0};

    if (!(hooks->present & SL_HOOK_RESPONSE))
        return true;
    (void)hooks->on_response(hooks->host, &w->slot, w->ex, res, sl_work_target(w), &v);
    if (v.kind == SL_VERDICT_NONE)
        return true;
    drop_call(w);
    if (v.kind == SL_VERDICT_REPLY)
        sl_work_reply(w, v.status, v.content_type, v.text, &v.headers);
    else
        sl_work_fail(w, 502, "on_response failed");
    return false;
}

static void on_head(struct sl_call *call)
{
    struct sl_work *w = call->user;
    struct sl_response *res = &call->res;

    if (w->target != NULL)
        sl_target_ok(w->target);
    if (res->status == 101 && w->ex->req.upgrade.len == 0) {
        fail(w, 502, "the target switched protocols unasked");
        return;
    }
    sl_headers_for_client(w, res);
    if (!ask_on_response(w, res))
        return;
    w->response_started = true;
    w->status = res->status;
    sl_exchange_respond(w->ex, res);
}

static void on_interim(struct sl_call *call)
{
    struct sl_work *w = call->user;

    if (call->res.status != 102)
        w->ex->ops->interim(w->ex, &call->res);
}

static void on_call_body(struct sl_call *call, const struct iovec *iov, int n_iov, bool fin)
{
    struct sl_work *w = call->user;
    bool is_raw = call->res.status == 101;
    int rc;

    if (fin && call->res.trailers.n > 0)
        w->ex->res_trailers = &call->res.trailers;
    rc = sl_exchange_write(w->ex, iov, n_iov, fin);
    if (rc == SL_E_AGAIN && !fin)
        sl_call_read(call, false);
    if (rc < 0 && rc != SL_E_AGAIN) {
        fail(w, 502,
             rc == SL_E_PROTOCOL ? "the response body does not have the announced length"
                                 : sl_error_text(rc));
        return;
    }
    if (is_raw)
        sl_exchange_read(w->ex, !w->target_is_full);
    else if (fin)
        drop_call(w);
}

void sl_forward_written(struct sl_work *w)
{
    if (w->call != NULL && w->is_connected)
        sl_call_read(w->call, true);
}

/* --- failures --- */

static void log_failure(struct sl_work *w, const struct sl_call *call, const char *doing, int code)
{
    bool is_known =
        w->target != NULL && sl_target_is_resting(w->target, sl_loop_now_ms(w->proxy->loop));
    unsigned n_suppressed;

    if (is_known || !sl_log_may(&w->proxy->failures, &n_suppressed))
        return; /* down already: one line is enough */
    sl_log_warn("target failed", sl_f_strn("target", sl_work_target(w)),
                sl_f_strn("route", w->route != NULL ? w->route->name : SL_STR("-")),
                sl_f_str("while", doing), sl_f_str("error", sl_error_text(code)),
                sl_f_str("detail", call->detail != NULL ? call->detail : ""),
                sl_f_int("suppressed", n_suppressed));
}

static void connect_failed(struct sl_work *w, const struct sl_call *call, int code)
{
    log_failure(w, call, "connecting", code);
    if (w->target != NULL)
        sl_target_failed(w->target, sl_loop_now_ms(w->proxy->loop));
    if (next_target(w)) {
        drop_call(w);
        start_call(w, false);
        return;
    }
    fail(w, code == SL_E_TIMEOUT ? 504 : 502, "no target could be reached");
}

/* Is all of the body here that was taken from the client? */
static bool has_body_still(const struct sl_work *w)
{
    return sl_buf_len(&w->body) == w->ex->bytes_in || (!w->sent_body && w->ex->request_ended);
}

/* The target has not looked at the request, as it says or as we know. Or it has closed a kept
   connection as we used it, and nothing came back: then the request may be sent again if it is
   harmless (RFC 9110, 9.2.2), or if nobody can have acted on it because none of its body was sent.
 */
static bool may_send_again(const struct sl_work *w, const struct sl_call *call)
{
    bool is_stale = call->was_reused && !call->got_bytes;
    bool is_harmless =
        sl_method_is_idempotent(w->ex->req.method) || (!w->ex->request_ended && !w->sent_body);

    return !w->is_retry && has_body_still(w) && (call->is_unprocessed || (is_stale && is_harmless));
}

static void on_error(struct sl_call *call, int code)
{
    struct sl_work *w = call->user;

    if (call->stage == SL_CALL_CONNECTING) {
        connect_failed(w, call, code);
        return;
    }
    if (may_send_again(w, call)) {
        w->is_retry = true;
        drop_call(w);
        start_call(w, true);
        return;
    }
    log_failure(w, call,
                w->response_started ? "reading the response body" : "waiting for the response",
                code);
    fail(w, code == SL_E_TIMEOUT ? 504 : 502,
         call->detail != NULL ? call->detail : sl_error_text(code));
}

static const struct sl_call_handler handler = {on_connected, on_head,         on_interim,
                                               on_call_body, on_call_written, on_error};

void sl_forward_end(struct sl_work *w)
{
    w->is_finished = true;
    sl_loop_unsoon(&w->flush);
    if (w->target != NULL)
        sl_target_end(w->target);
    w->target = NULL;
    sl_call_free(&w->call);
}
