/*
 * The ClientHello: what the hook says to it, and the certificate that follows from that and from
 * the routes. The same for TLS over TCP and for QUIC.
 */
#include "base/clock.h"
#include "proxy/internal.h"

static struct sl_route *find(const struct sl_conn *c)
{
    const struct sl_route_query q = sl_conn_query(c, c->peer.sni);

    return sl_snapshot_find_tls(c->proxy->live->snapshot, &q);
}

bool sl_hello_is_for_us(const struct sl_conn *c)
{
    return find(c) != NULL;
}

struct sl_route *sl_hello_route(struct sl_conn *c)
{
    struct sl_route *r = find(c);

    return r != NULL && sl_access_allows(&r->access, c->peer.ip16) ? r : NULL;
}

void sl_hello_keep_sni(struct sl_conn *c, struct sl_str sni)
{
    if (c->peer.sni.p == NULL && sni.len > 0)
        c->peer.sni = sl_str(sl_strndup(sni.p, sni.len), sni.len);
}

bool sl_hello_has_hook(const struct sl_proxy *p)
{
    return p->hooks->present & SL_HOOK_HELLO &&
           (!p->settings->no_hello_hook || sl_snapshot_lacks_certificates(p->live->snapshot));
}

int sl_hello_ask(struct sl_conn *c, const struct sl_tls_hello *hello,
                 void (*on_verdict)(struct sl_hook_slot *slot, const struct sl_verdict *v),
                 struct sl_verdict *v)
{
    const struct sl_hooks *hooks = c->proxy->hooks;

    if (!sl_hello_has_hook(c->proxy))
        return 0;
    c->slot.on_verdict = on_verdict;
    if (hooks->on_hello(hooks->host, &c->slot, &c->peer, hello, v) != SL_E_AGAIN)
        return 0;
    c->is_waiting = true;
    sl_deadline_set(&c->deadline, c->proxy->settings->hook_timeout);
    return SL_E_AGAIN;
}

bool sl_hello_answered(struct sl_conn *c)
{
    if (!c->is_waiting)
        return false;
    c->is_waiting = false;
    sl_deadline_set(&c->deadline, c->proxy->settings->handshake_timeout);
    return true;
}

static int certificate_of_route(struct sl_conn *c, struct sl_cert **cert)
{
    struct sl_route *r = sl_hello_route(c);

    if (r == NULL || r->tls_data == NULL)
        return SL_E_NOT_FOUND;
    *cert = sl_cert_ref(r->tls_data);
    return 0;
}

void sl_hello_keep_alpn(struct sl_conn *c, const struct sl_verdict *v)
{
    char *wire;

    if (v->kind != SL_VERDICT_CERT || v->text.len == 0 || c->only_alpn.p != NULL)
        return;
    sl_assert(v->text.len <= SL_TLS_PROTOCOL_MAX);
    wire = sl_alloc(1 + v->text.len);
    wire[0] = (char)v->text.len;
    memcpy(wire + 1, v->text.p, v->text.len);
    c->only_alpn = sl_str(wire, 1 + v->text.len);
}

int sl_hello_certificate(struct sl_conn *c, const struct sl_verdict *v, struct sl_cert **cert)
{
    int rc = SL_E_DENIED;

    if (v->kind == SL_VERDICT_NONE)
        rc = certificate_of_route(c, cert);
    if (v->kind == SL_VERDICT_CERT) {
        *cert = v->cert;
        rc = 0;
    }
    if (rc == 0) {
        sl_cert_unref((struct sl_cert *)c->peer.tls_data);
        c->peer.tls_data = sl_cert_ref(*cert); /* that of the route: requests compare it */
        *cert = sl_cert_renew(*cert, (int64_t)(sl_clock_wall_ms() / 1000));
    }
    return rc;
}
