/*
 * Headers on their way through: what the visitor claims about itself, what the route adds, what the
 * target needs to know.
 */
#include <stdio.h>
#include "http/ws_handshake.h"
#include "proxy/internal.h"

/* Names by which targets learn who the visitor is. */
static bool is_claim(enum sl_header_id id)
{
    return id == SL_H_X_FORWARDED_FOR || id == SL_H_X_FORWARDED_PROTO ||
           id == SL_H_X_FORWARDED_HOST || id == SL_H_X_FORWARDED_PORT || id == SL_H_X_REAL_IP ||
           id == SL_H_FORWARDED;
}

/* Many servers read "X_Forwarded_For" as the same variable. */
static bool is_disguised_claim(struct sl_str name)
{
    char plain[24];

    if (name.len >= sizeof(plain) || memchr(name.p, '_', name.len) == NULL)
        return false;
    for (size_t i = 0; i < name.len; i++)
        plain[i] = name.p[i] == '_' ? '-' : name.p[i];
    return is_claim(sl_header_id(sl_str(plain, name.len)));
}

static void drop_claims(struct sl_headers *h)
{
    for (unsigned i = 0; i < h->n; i++) {
        if (is_claim(h->at[i].id) ||
            (h->at[i].id == SL_H_OTHER && is_disguised_claim(h->at[i].name)))
            h->at[i].id = SL_H_REMOVED;
    }
}

static void set_missing(struct sl_work *w, enum sl_header_id id, struct sl_str name,
                        struct sl_str value)
{
    struct sl_headers *h = &w->ex->req.headers;

    if (!w->conn->is_trusted || sl_headers_find_id(h, id) == NULL)
        sl_headers_add_id(h, &w->ex->arena, id, name, value);
}

void sl_headers_forwarded(struct sl_work *w)
{
    struct sl_exchange *ex = w->ex;
    struct sl_headers *h = &ex->req.headers;
    struct sl_str ip = sl_str_c(w->conn->ip);
    struct sl_str chain = SL_STR_NONE;

    if (w->conn->is_trusted)
        chain = sl_headers_get_all(h, SL_STR("x-forwarded-for"), &ex->arena);
    else
        drop_claims(h);
    if (chain.p != NULL) {
        chain = sl_arena_printf(&ex->arena, "%.*s, %s", SL_STR_FMT(chain), w->conn->ip);
        sl_headers_remove_id(h, SL_H_X_FORWARDED_FOR);
    }
    sl_headers_add_id(h, &ex->arena, SL_H_X_FORWARDED_FOR, SL_STR("X-Forwarded-For"),
                      chain.p != NULL ? chain : ip);
    set_missing(w, SL_H_X_FORWARDED_PROTO, SL_STR("X-Forwarded-Proto"), ex->req.scheme);
    if (ex->req.authority.len > 0) /* HTTP/1.0 may name none */
        set_missing(w, SL_H_X_FORWARDED_HOST, SL_STR("X-Forwarded-Host"), ex->req.authority);
    set_missing(w, SL_H_X_REAL_IP, SL_STR("X-Real-IP"), ip);
}

static struct sl_expand variables(const struct sl_work *w)
{
    return (struct sl_expand){.domain = w->ex->req.host,
                              .path = w->ex->req.path,
                              .client_ip = sl_str_c(w->conn->ip),
                              .port = w->conn->port};
}

static void apply(struct sl_work *w, struct sl_headers *h, const struct sl_header_spec *specs,
                  size_t n)
{
    struct sl_expand with = variables(w);

    for (size_t i = 0; i < n; i++) {
        struct sl_str value = specs[i].value;

        if (value.p != NULL)
            value = sl_route_expand(value, &with, &w->ex->arena);
        sl_headers_set(h, &w->ex->arena, specs[i].name, value);
    }
}

/* "100 Continue" that was sent already, for a hook that wanted the body, is not asked for again. */
static void drop_settled_expectation(struct sl_request *out)
{
    const struct sl_header *expect = sl_headers_find_id(&out->headers, SL_H_EXPECT);

    if (expect != NULL && !out->expects_continue &&
        sl_str_ieq(expect->value, SL_STR("100-continue")))
        sl_headers_remove_id(&out->headers, SL_H_EXPECT);
}

/* What extended CONNECT does without, and HTTP/1.1 does not. */
static void add_websocket_key(struct sl_work *w, struct sl_request *out)
{
    char *key;

    if (out->version < SL_HTTP_2 || !sl_str_ieq(out->upgrade, SL_STR("websocket")))
        return;
    key = sl_arena_alloc(&w->ex->arena, SL_WS_KEY_LEN);
    sl_ws_make_key(key);
    sl_headers_set(&out->headers, &w->ex->arena, SL_STR("Sec-WebSocket-Key"),
                   sl_str(key, SL_WS_KEY_LEN));
}

void sl_headers_for_target(struct sl_work *w, struct sl_request *out)
{
    const struct sl_route *r = w->route;

    *out = w->ex->req;
    sl_headers_remove_id(&out->headers, SL_H_HOST);
    drop_settled_expectation(out);
    add_websocket_key(w, out);
    if (r != NULL && r->n_request_headers > 0)
        apply(w, &out->headers, r->request_headers, r->n_request_headers);
    if (r != NULL && r->rewrite_host)
        out->authority = sl_work_target(w);
    if (out->authority.len == 0)
        out->authority = sl_work_target(w); /* HTTP/1.0 without Host */
}

static void drop_named_by_connection(struct sl_headers *h)
{
    for (unsigned i = 0; i < h->n; i++) {
        struct sl_str list = h->at[i].value, token;

        while (h->at[i].id == SL_H_CONNECTION && sl_str_next(&list, ',', &token)) {
            if (token.len > 0 && sl_header_id(token) == SL_H_OTHER)
                sl_headers_remove(h, token);
        }
    }
}

/* What is announced must be there. */
static bool has_http3(const struct sl_work *w)
{
    const struct sl_route *r = w->route;

    return r->alt_svc_max_age > 0 && r->transport == SL_TRANSPORT_ALL && w->ex->peer->is_tls &&
           w->proxy->quic.tls != NULL && !w->proxy->settings->no_quic;
}

static void announce_http3(struct sl_work *w, struct sl_response *res)
{
    const struct sl_route *r = w->route;
    unsigned port = r->alt_svc_port != 0 ? r->alt_svc_port : w->conn->port;

    if (!has_http3(w) || w->ex->peer->is_quic)
        return;
    sl_headers_add_id(
        &res->headers, &w->ex->arena, SL_H_ALT_SVC, SL_STR("Alt-Svc"),
        sl_arena_printf(&w->ex->arena, "h3=\":%u\"; ma=%u", port, r->alt_svc_max_age));
}

void sl_headers_for_client(struct sl_work *w, struct sl_response *res)
{
    const struct sl_route *r = w->route;

    drop_named_by_connection(&res->headers);
    if (r == NULL)
        return;
    if (r->n_response_headers > 0)
        apply(w, &res->headers, r->response_headers, r->n_response_headers);
    announce_http3(w, res);
}
