#include "tls/context.h"

#include <openssl/err.h>
#include <stdatomic.h>
#include "tls/conn.h"
#include "tls/openssl.h"
#include "tls/ticket.h"

#define SUITES12                                                                                   \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"     \
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"

struct sl_tls_context *sl_tls_context_ref(struct sl_tls_context *c)
{
    atomic_fetch_add_explicit(&c->n_refs, 1, memory_order_relaxed);
    return c;
}

void sl_tls_context_unref(struct sl_tls_context *c)
{
    if (atomic_fetch_sub_explicit(&c->n_refs, 1, memory_order_acq_rel) != 1)
        return;
    SSL_CTX_free(c->ssl_ctx);
    sl_free((char *)c->alpn.p);
    sl_free(c);
}

/* What both sides have in common; NULL when OpenSSL could not. */
static struct sl_tls_context *begin(const SSL_METHOD *method, struct sl_err *err)
{
    SSL_CTX *ctx = SSL_CTX_new(method);
    struct sl_tls_context *c;

    if (ctx == NULL) {
        (void)sl_openssl_error(err, "cannot make a TLS context");
        return NULL;
    }
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_keylog_callback(ctx, sl_tls_on_keylog);
    SSL_CTX_set_info_callback(ctx, sl_tls_on_info);
    c = sl_zalloc(sizeof(*c));
    atomic_init(&c->n_refs, 1);
    c->ssl_ctx = ctx;
    return c;
}

static int set_up_server(SSL_CTX *ctx, const struct sl_tls_server_opts *opts, struct sl_err *err)
{
    int least = opts->min_version != 0 ? opts->min_version : TLS1_2_VERSION;

    if (SSL_CTX_set_min_proto_version(ctx, least) != 1 ||
        SSL_CTX_set_ciphersuites(ctx, SL_TLS_SUITES13) != 1 ||
        SSL_CTX_set_cipher_list(ctx, SUITES12) != 1)
        return sl_openssl_error(err, "cannot set up TLS for accepting");
    SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_client_hello_cb(ctx, sl_tls_on_client_hello, NULL);
    SSL_CTX_set_alpn_select_cb(ctx, sl_tls_on_alpn, NULL);
    if (opts->no_tickets)
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    if (SSL_CTX_set_num_tickets(ctx, opts->no_tickets ? 0 : 1) != 1 ||
        (!opts->no_tickets && sl_ticket_use(ctx) < 0))
        return sl_openssl_error(err, "cannot set up session tickets");
    return 0;
}

int sl_tls_server_new(struct sl_tls_server **out, const struct sl_tls_server_opts *opts,
                      struct sl_err *err)
{
    const char *alpn = opts->http2 ? "\x02h2\x08http/1.1" : "\x08http/1.1";
    struct sl_tls_context *c = begin(TLS_server_method(), err);
    int rc;

    if (c == NULL)
        return SL_E_TLS;
    if ((rc = sl_openssl_protocols(&c->alpn, opts->alpn != NULL ? opts->alpn : alpn, err)) < 0 ||
        (rc = set_up_server(c->ssl_ctx, opts, err)) < 0) {
        sl_tls_context_unref(c);
        return rc;
    }
    *out = sl_container_of(c, struct sl_tls_server, context);
    return 0;
}

void sl_tls_server_free(struct sl_tls_server *t)
{
    if (t != NULL)
        sl_tls_context_unref(&t->context);
}

/* Whom the client believes: one key, certification authorities, or anybody. */
static int set_trust(struct sl_tls_context *c, const struct sl_tls_client_opts *opts,
                     struct sl_err *err)
{
    c->has_pin = opts->pin != NULL;
    c->verify = opts->verify && !c->has_pin;
    if (c->has_pin) {
        memcpy(c->pin, opts->pin, sizeof(c->pin));
        SSL_CTX_set_cert_verify_callback(c->ssl_ctx, sl_tls_on_verify, NULL);
    }
    return sl_openssl_trust(c->ssl_ctx, opts, err);
}

static int set_up_client(struct sl_tls_context *c, const struct sl_tls_client_opts *opts,
                         struct sl_err *err)
{
    int rc;

    if ((rc = sl_openssl_protocols(&c->alpn, opts->alpn, err)) < 0 ||
        (rc = set_trust(c, opts, err)) < 0)
        return rc;
    if (SSL_CTX_set_min_proto_version(c->ssl_ctx, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(c->ssl_ctx, SL_TLS_SUITES13) != 1 ||
        (c->alpn.len > 0 && SSL_CTX_set_alpn_protos(c->ssl_ctx, (const unsigned char *)c->alpn.p,
                                                    (unsigned)c->alpn.len) != 0))
        return sl_openssl_error(err, "cannot set up TLS for connecting");
    return 0;
}

int sl_tls_client_new(struct sl_tls_client **out, const struct sl_tls_client_opts *opts,
                      struct sl_err *err)
{
    struct sl_tls_context *c = begin(TLS_client_method(), err);
    int rc;

    if (c == NULL)
        return SL_E_TLS;
    if ((rc = set_up_client(c, opts, err)) < 0) {
        ERR_clear_error();
        sl_tls_context_unref(c);
        return rc;
    }
    *out = sl_container_of(c, struct sl_tls_client, context);
    return 0;
}

void sl_tls_client_free(struct sl_tls_client *t)
{
    if (t != NULL)
        sl_tls_context_unref(&t->context);
}
