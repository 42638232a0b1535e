/*
 * A connection from accept to the point where its bytes have a meaning: PROXY header, access,
 * on_connect, TLS or plain, on_hello, handshake; then http or a raw pipe takes over. sl_conn_fail()
 * is the way out of every stage.
 */
#include <unistd.h>
#include "base/log.h"
#include "codec/client_hello.h"
#include "codec/proxy_header.h"
#include "net/listener.h"
#include "net/tcp.h"
#include "proxy/internal.h"
#include "proxy/visitors.h"

enum { PROXY_HEADER_MS = 3000 };

static _Atomic uint32_t n_all; /* connections of all workers */

static const struct sl_stream_handler early_handler, tls_handler;

static void begin_tls(struct sl_conn *c);
static void go_on_after_hello(struct sl_conn *c, const struct sl_verdict *v);

static void forget(struct sl_conn *c)
{
    if (c->slot.script != NULL)
        c->proxy->hooks->forget(c->proxy->hooks->host, &c->slot);
}

static void release(void *ptr)
{
    struct sl_conn *c = ptr;

    sl_buf_clear(&c->first);
    sl_free((char *)c->peer.sni.p);
    sl_free((char *)c->peer.edge.p);
    sl_free((char *)c->only_alpn.p);
    sl_cert_unref((struct sl_cert *)c->peer.tls_data);
    sl_cert_unref(c->hello_cert);
    sl_free(c->peek);
    sl_free(c);
}

/* The bookkeeping of the end, whoever closed. */
void sl_conn_ended(struct sl_conn *c)
{
    struct sl_proxy *p = c->proxy;

    if (c->stage == SL_CONN_CLOSED)
        return;
    c->stage = SL_CONN_CLOSED;
    c->http = NULL;
    c->pipe = NULL;
    c->quic = NULL;
    forget(c);
    sl_deadline_stop(&c->deadline);
    if (c->is_counted)
        sl_visitor_leave(c->peer.ip16);
    sl_conn_forget_name(c);
    sl_link_remove(&c->link);
    p->n_conns--;
    atomic_fetch_sub(&n_all, 1);
    sl_stat_add(&p->stats.active_connections, (uint64_t)-1);
    sl_loop_defer(p->loop, c, release);
    if (c->quic_listener != NULL)
        sl_quic_listener_left(c->quic_listener);
    if (p->n_conns == 0 && p->on_drained != NULL) {
        void (*on_drained)(void *) = p->on_drained;

        p->on_drained = NULL;
        on_drained(p->drained_user);
    }
}

void sl_conn_close(struct sl_conn *c)
{
    if (c->stage == SL_CONN_HTTP) {
        sl_http_conn_kill(c->http); /* tells us through on_closed */
        return;
    }
    if (c->stage == SL_CONN_PIPE)
        sl_pipe_free(c->pipe);
    if (c->quic != NULL)
        sl_conn_leave_quic(c);
    sl_stream_free(&c->stream, SL_CLOSE_ABORT);
    sl_conn_ended(c);
}

void sl_conn_drain(struct sl_conn *c)
{
    if (c->stage == SL_CONN_HTTP)
        sl_http_conn_drain(c->http);
}

void sl_conn_fail(struct sl_conn *c, const char *doing, const char *why)
{
    char ip[SL_ADDR_TEXT_LEN];

    sl_log_debug("connection closed", sl_f_str("while", doing), sl_f_str("why", why),
                 sl_f_str("client", sl_addr_ip(&c->peer.remote, ip)), sl_f_int("port", c->port));
    sl_conn_close(c);
}

/* --- HTTP and raw --- */

static void serve_http(struct sl_conn *c)
{
    bool is_h2 = c->peer.is_tls && sl_str_eq(sl_tls_alpn(c->stream), SL_STR("h2"));

    c->stage = SL_CONN_HTTP;
    sl_deadline_stop(&c->deadline);
    c->http = (is_h2 ? sl_h2_serve : sl_h1_serve)(&c->stream, &c->proxy->service->http, &c->peer,
                                                  sl_buf_at(&c->first), sl_buf_len(&c->first));
    sl_buf_clear(&c->first);
    if (c->proxy->is_draining)
        sl_http_conn_drain(c->http);
}

static void serve_raw(struct sl_conn *c, struct sl_route *route)
{
    uint32_t n_active = atomic_load_explicit(&route->n_active, memory_order_relaxed);

    if (!sl_access_allows(&route->access, c->peer.ip16)) {
        sl_conn_fail(c, "routing", "refused by the route");
        return;
    }
    if (route->max_connections > 0 && n_active >= route->max_connections) {
        sl_conn_fail(c, "routing", "max_connections of the route");
        return;
    }
    sl_pipe_start(c, route);
}

static bool is_raw(const struct sl_conn *c, const struct sl_route *r)
{
    return r != NULL && r->protocol == SL_PROTOCOL_TCP && (r->tls != SL_TLS_NONE) == c->peer.is_tls;
}

/* A route that takes the connection as it is, or NULL when HTTP has to be read to know more. */
static struct sl_route *raw_route(struct sl_conn *c)
{
    struct sl_route_query q = sl_conn_query(c, c->peer.sni);
    struct sl_route *r = sl_snapshot_find(c->proxy->live->snapshot, &q);

    return is_raw(c, r) ? r : NULL;
}

/* Some other route of the port may want it if it is a request. */
static bool must_see_request(const struct sl_conn *c)
{
    const struct sl_port_info *info = sl_snapshot_port(c->proxy->live->snapshot, c->port);

    return info != NULL && info->has_http && !c->peer.is_tls;
}

static void serve(struct sl_conn *c)
{
    struct sl_route *route = raw_route(c);

    if (route != NULL && must_see_request(c) && sl_peek_request(c, &route) == SL_E_PARTIAL) {
        c->stage = SL_CONN_PEEK;
        sl_stream_read(c->stream, true);
    } else if (is_raw(c, route)) {
        serve_raw(c, route);
    } else {
        serve_http(c);
    }
}

/* --- TLS --- */

/* As sl_hello_certificate(). What is inside TLS of a raw route is the target's business, unless the
 * hook has named a protocol. */
static int certificate(struct sl_conn *c, const struct sl_verdict *v, struct sl_cert **cert)
{
    struct sl_route *r = v->kind == SL_VERDICT_NONE ? sl_hello_route(c) : NULL;
    int rc = sl_hello_certificate(c, v, cert);

    sl_hello_keep_alpn(c, v);
    if (rc == 0 && c->only_alpn.len > 0)
        sl_tls_offer(c->stream, c->only_alpn);
    else if (rc == 0 && r != NULL && r->protocol == SL_PROTOCOL_TCP)
        sl_tls_offer(c->stream, sl_str("", 0));
    return rc;
}

static void on_hello_verdict(struct sl_hook_slot *slot, const struct sl_verdict *v)
{
    struct sl_conn *c = sl_container_of(slot, struct sl_conn, slot);
    struct sl_cert *cert = NULL;

    if (!sl_hello_answered(c))
        return;
    if (c->stage == SL_CONN_PEEK) {
        go_on_after_hello(c, v);
        return;
    }
    if (certificate(c, v, &cert) < 0)
        cert = NULL;
    sl_tls_resume(c->stream, cert);
}

static int on_hello(void *user, struct sl_stream *tls, const struct sl_tls_hello *hello,
                    struct sl_cert **cert)
{
    struct sl_conn *c = user;
    struct sl_verdict v = {.kind = c->hello_kind, .cert = c->hello_cert};

    c->stream =
        tls; /* a ClientHello that was peeked at may arrive before sl_tls_accept() has returned */
    sl_hello_keep_sni(c, hello->sni);
    c->hello_cert = NULL;
    if (!c->is_hello_asked && sl_hello_ask(c, hello, on_hello_verdict, &v) == SL_E_AGAIN)
        return SL_E_AGAIN;
    return certificate(c, &v, cert);
}

/* The handshake was all that the protocol of the hook is about (RFC 8737): there is no HTTP in it,
 * even when the client did not ask for any protocol. */
static void leave_after_handshake(struct sl_conn *c)
{
    sl_stream_free(&c->stream, SL_CLOSE_LINGER);
    sl_conn_close(c);
}

static void on_tls_ready(struct sl_stream *s)
{
    struct sl_conn *c = s->user;

    c->peer.is_tls = true;
    c->peer.tls_version = sl_tls_version(s);
    if (c->only_alpn.len > 0)
        leave_after_handshake(c);
    else
        serve(c);
}

/* Somebody speaks HTTP to the TLS port: a sentence helps more than a reset. */
static void answer_plain_http(struct sl_conn *c)
{
    static const char text[] =
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n"
        "Content-Length: 44\r\n\r\nThis port speaks HTTPS: use https:// there.\n";
    struct sl_stream *below = sl_tls_unwrap(&c->stream);

    if (below != NULL) {
        (void)sl_stream_write1(below, text, sizeof(text) - 1, false);
        sl_stream_free(&below, SL_CLOSE_LINGER);
    }
    sl_conn_fail(c, "reading the ClientHello", "plain HTTP on a TLS port");
}

static void on_tls_error(struct sl_stream *s, int code)
{
    struct sl_conn *c = s->user;
    const char *reason = sl_tls_reason(s);

    if (code == SL_E_PROTOCOL && strcmp(reason, SL_TLS_REASON_HTTP) == 0)
        answer_plain_http(c);
    else
        sl_conn_fail(c, "TLS handshake", reason[0] != '\0' ? reason : sl_error_text(code));
}

static void on_early_fin(struct sl_stream *s)
{
    sl_conn_fail(s->user, "the handshake", "closed by the client");
}

static void ignore_written(struct sl_stream *s)
{
    (void)s;
}

static void on_tls_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    struct sl_conn *c = s->user;

    sl_buf_append(&c->first, bytes,
                  len); /* cannot come: a new stream is paused until http reads it */
}

static const struct sl_stream_handler tls_handler = {on_tls_data, on_early_fin, ignore_written,
                                                     on_tls_error, on_tls_ready};

static void begin_tls(struct sl_conn *c)
{
    struct sl_tls_accept accept = {on_hello, c};
    struct sl_stream *below = c->stream;
    struct sl_buf first = c->first;

    c->stage = SL_CONN_HANDSHAKE;
    c->first = (struct sl_buf){0};
    c->stream = NULL;
    c->stream = sl_tls_accept(&below, c->proxy->tls, &accept, &tls_handler, c, sl_buf_at(&first),
                              sl_buf_len(&first));
    sl_buf_clear(&first);
}

/* --- telling what the first bytes are --- */

/* The route that takes the connection with its TLS, or NULL: TLS is ended here, or refused. A name
 * that no route about TLS knows is any bytes to one that passes any bytes on. */
static struct sl_route *opaque_route(struct sl_conn *c, const struct sl_verdict *v)
{
    struct sl_route *r;

    if (v->kind != SL_VERDICT_NONE && v->kind != SL_VERDICT_PASSTHROUGH)
        return NULL;
    if (!sl_hello_is_for_us(c))
        return raw_route(c);
    r = sl_hello_route(c);
    if (r != NULL && v->kind == SL_VERDICT_NONE && r->tls != SL_TLS_PASSTHROUGH)
        return NULL;
    return r;
}

/* The hello is known, and what the hook has to say of it. */
static void go_on_after_hello(struct sl_conn *c, const struct sl_verdict *v)
{
    struct sl_route *r = opaque_route(c, v);

    sl_stream_read(c->stream, false);
    sl_free(c->peek);
    c->peek = NULL;
    if (r != NULL) {
        serve_raw(c, r);
        return;
    }
    c->is_hello_asked = true;
    sl_hello_keep_alpn(c, v);
    c->hello_kind = v->kind;
    c->hello_cert = v->kind == SL_VERDICT_CERT ? v->cert : NULL;
    begin_tls(c);
}

/* Only before TLS has begun can the hook still pass the connection on as it is. */
static void ask_about_hello(struct sl_conn *c)
{
    struct sl_tls_hello hello = {.sni = c->peer.sni,
                                 .alpn = c->peek->alpn_len > 0 ? c->peek->alpn : NULL,
                                 .alpn_len = c->peek->alpn_len,
                                 .offers_tls13 = c->peek->offers_tls13};
    struct sl_verdict v = {0};

    if (sl_hello_ask(c, &hello, on_hello_verdict, &v) != SL_E_AGAIN)
        go_on_after_hello(c, &v);
}

static void peek_hello(struct sl_conn *c)
{
    int rc;

    if (c->peek == NULL)
        c->peek = sl_zalloc(sizeof(*c->peek));
    rc = sl_client_hello_feed(c->peek, sl_buf_at(&c->first) + c->peek->n_raw,
                              sl_buf_len(&c->first) - c->peek->n_raw);
    if (rc == SL_E_PARTIAL)
        return;
    if (rc < 0) {
        begin_tls(c); /* a malformed hello gets its alert there */
        return;
    }
    sl_hello_keep_sni(c, sl_client_hello_sni(c->peek));
    ask_about_hello(c);
}

/* While the hook waits only the end of the connection is of interest: a client has nothing to say
 * before it is answered. */
static void on_data_too_early(struct sl_conn *c)
{
    if (sl_buf_len(&c->first) > SL_TLS_HANDSHAKE_MAX)
        sl_conn_fail(c, "waiting for on_hello", "too many bytes before the handshake");
}

/* Whether a ClientHello may lead to anything but a handshake. */
static bool must_see_hello(const struct sl_conn *c, const struct sl_port_info *info)
{
    return info->has_passthrough || info->has_raw || sl_hello_has_hook(c->proxy);
}

/* 0x16 begins a TLS handshake record and no HTTP method. */
static void peek(struct sl_conn *c)
{
    const struct sl_port_info *info = sl_snapshot_port(c->proxy->live->snapshot, c->port);
    bool has_tls = info != NULL && info->has_tls;

    if (info == NULL)
        sl_conn_fail(c, "peeking", "the port has no routes any more");
    else if (sl_buf_at(&c->first)[0] != 0x16 && info->has_plain)
        serve(c);
    else if (has_tls && must_see_hello(c, info) && sl_buf_at(&c->first)[0] == 0x16)
        peek_hello(c);
    else if (has_tls)
        begin_tls(c);
    else
        serve(c);
}

static void begin_peek(struct sl_conn *c)
{
    c->stage = SL_CONN_PEEK;
    if (sl_buf_len(&c->first) > 0)
        peek(c);
    else
        sl_stream_read(c->stream, true);
}

void sl_conn_begin_protocol(struct sl_conn *c)
{
    const struct sl_port_info *info = sl_snapshot_port(c->proxy->live->snapshot, c->port);

    if (info == NULL)
        sl_conn_fail(c, "accepting", "the port has no routes any more");
    else if (info->has_tls && (info->has_plain || must_see_hello(c, info)))
        begin_peek(c);
    else if (info->has_tls)
        begin_tls(c);
    else
        serve(c);
}

/* --- who is it --- */

static bool is_welcome(struct sl_conn *c)
{
    const struct sl_policy *policy = sl_snapshot_policy(c->proxy->live->snapshot);

    return sl_visitor_admit(c->peer.ip16, policy, sl_loop_now_ms(c->proxy->loop), &c->is_counted);
}

bool sl_conn_set_remote(struct sl_conn *c, const struct sl_addr *remote)
{
    if (c->is_counted)
        sl_visitor_leave(c->peer.ip16);
    c->is_counted = false;
    c->peer.remote = *remote;
    sl_addr_to_ip16(remote, c->peer.ip16);
    sl_addr_ip(remote, c->ip);
    return is_welcome(c);
}

const char *sl_conn_admit(struct sl_conn *c, const struct sl_addr *visitor)
{
    const struct sl_hooks *hooks = c->proxy->hooks;
    struct sl_verdict v = {0};

    if (!sl_conn_set_remote(c, visitor))
        return "refused by the policy";
    if (hooks->present & SL_HOOK_CONNECT)
        (void)hooks->on_connect(hooks->host, &c->slot, &c->peer, &v);
    return v.kind != SL_VERDICT_NONE ? "denied by on_connect" : NULL;
}

void sl_conn_begin(struct sl_conn *c)
{
    const char *why = sl_conn_admit(c, &c->peer.remote);

    if (why != NULL)
        sl_conn_fail(c, "accepting", why);
    else if (c->is_tunnelled)
        sl_conn_begin_tunnelled(c);
    else
        sl_conn_begin_protocol(c);
}

static void take_proxy_header(struct sl_conn *c)
{
    struct sl_proxy_header header;
    const char *why = NULL;
    int n = sl_proxy_header_parse(sl_buf_at(&c->first), sl_buf_len(&c->first), &header, &why);

    if (n == SL_E_PARTIAL)
        return;
    if (n < 0) {
        sl_conn_fail(c, "reading the PROXY header", why);
        return;
    }
    sl_buf_consume(&c->first, (size_t)n);
    sl_stream_read(c->stream, false);
    if (header.has_addresses) {
        sl_addr_from_ip16(&c->peer.remote, header.from, header.from_port);
        sl_addr_from_ip16(&c->peer.local, header.to, header.to_port);
    }
    sl_conn_begin(c);
}

static void on_early_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    struct sl_conn *c = s->user;

    sl_buf_append(&c->first, bytes, len);
    if (c->stage == SL_CONN_HEADER)
        take_proxy_header(c);
    else if (c->is_waiting)
        on_data_too_early(c);
    else
        peek(c);
}

static void on_early_error(struct sl_stream *s, int code)
{
    sl_conn_fail(s->user, "reading the first bytes", sl_error_text(code));
}

static const struct sl_stream_handler early_handler = {on_early_data, on_early_fin, ignore_written,
                                                       on_early_error, NULL};

static void on_deadline(struct sl_deadline *d)
{
    sl_conn_fail(d->user, "the handshake", "timed out");
}

/* --- accept --- */

/* At the cap the connection that has been idle for longest makes room. */
static bool make_room(struct sl_proxy *p)
{
    sl_list_each(&p->conns, it)
    {
        struct sl_conn *c = sl_container_of(it, struct sl_conn, link);

        if (c->stage == SL_CONN_HTTP && sl_http_conn_is_idle(c->http)) {
            sl_http_conn_drain(c->http);
            return true;
        }
    }
    return false;
}

static bool is_full(const struct sl_proxy *p, uint32_t *max)
{
    const struct sl_proxy_settings *s = p->settings;

    *max = s->max_connections != 0 ? s->max_connections : s->max_connections_all;
    return *max > 0 && (s->max_connections != 0 ? p->n_conns : atomic_load(&n_all)) >= *max;
}

static bool has_room(struct sl_proxy *p)
{
    static _Atomic uint64_t n_full;
    uint32_t max;

    if (!is_full(p, &max) || make_room(p))
        return true;
    if (n_full++ % 1000 == 0)
        sl_log_warn("connection refused: all connections are in use and none is idle; raise "
                    "max_connections",
                    sl_f_int("max_connections", max));
    return false;
}

struct sl_conn *sl_conn_new(struct sl_proxy *p, enum sl_transport transport, uint16_t port,
                            const struct sl_addr *remote)
{
    struct sl_conn *c;

    if (p->live == NULL || !has_room(p))
        return NULL;
    c = sl_zalloc(sizeof(*c));
    c->proxy = p;
    c->transport = transport;
    c->port = port;
    c->peer.remote = *remote;
    c->peer.user = c;
    sl_addr_to_ip16(remote, c->peer.ip16);
    sl_deadline_init(&c->deadline, p->loop, on_deadline, c);
    sl_deadline_set(&c->deadline, p->settings->handshake_timeout);
    sl_list_append(&p->conns, &c->link);
    p->n_conns++;
    atomic_fetch_add(&n_all, 1);
    sl_stat_add(&p->stats.active_connections, 1);
    sl_stat_add(&p->stats.total_connections, 1);
    return c;
}

void sl_conn_take(struct sl_conn *c, struct sl_stream *stream)
{
    c->stream = stream;
    sl_stream_set_handler(stream, &early_handler, c);
}

void sl_conn_accept(void *user, int fd, const struct sl_addr *remote)
{
    struct sl_port_listener *l = user;
    struct sl_proxy *p = l->proxy;
    struct sl_conn *c = sl_conn_new(p, SL_TRANSPORT_TCP, l->port, remote);

    if (c == NULL) {
        close(fd);
        return;
    }
    sl_conn_take(c, sl_tcp_new(p->loop, fd));
    (void)sl_tcp_addrs(c->stream, &c->peer.local, NULL);
    c->is_trusted = sl_ip_set_has(&p->settings->trusted, c->peer.ip16);
    if (p->settings->accept_proxy && c->is_trusted) {
        c->stage = SL_CONN_HEADER;
        c->is_trusted = false; /* it vouches for the address; headers come from the visitor */
        sl_deadline_set(&c->deadline, SL_MIN(p->settings->handshake_timeout, PROXY_HEADER_MS));
        sl_stream_read(c->stream, true);
    } else {
        sl_conn_begin(c);
    }
}
