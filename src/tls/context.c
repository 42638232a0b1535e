#include "tls/context.h"

#include <openssl/err.h>
#include <stdatomic.h>
#include "tls/conn.h"
#include "tls/ticket.h"

#define SUITES13 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
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

/* The first error of OpenSSL in words; empties the queue. */
static int openssl_error(struct sl_err *err, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    int rc = sl_err_set(err, SL_E_TLS, "%s: %s", what, reason != NULL ? reason : "OpenSSL failed");

    ERR_clear_error();
    return rc;
}

/* Names of 1 to SL_TLS_PROTOCOL_MAX bytes, each behind its length. */
static bool is_protocol_list(struct sl_str list)
{
    while (list.len > 0) {
        size_t len = (uint8_t)list.p[0];

        if (len == 0 || len > SL_TLS_PROTOCOL_MAX || len >= list.len)
            return false;
        list = sl_str(list.p + 1 + len, list.len - 1 - len);
    }
    return true;
}

static int set_protocols(struct sl_tls_context *c, const char *list, struct sl_err *err)
{
    struct sl_str protocols = sl_str_c(list);

    if (!is_protocol_list(protocols))
        return sl_err_set(err, SL_E_CONFIG,
                          "alpn: must be a list of names of 1 to %d bytes, each behind a byte with "
                          "its length",
                          SL_TLS_PROTOCOL_MAX);
    if (protocols.len > 0)
        c->alpn = sl_str(sl_strndup(protocols.p, protocols.len), protocols.len);
    return 0;
}

/* What both sides have in common; NULL when OpenSSL could not. */
static struct sl_tls_context *begin(const SSL_METHOD *method, struct sl_err *err)
{
    SSL_CTX *ctx = SSL_CTX_new(method);
    struct sl_tls_context *c;

    if (ctx == NULL) {
        (void)openssl_error(err, "cannot make a TLS context");
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
        SSL_CTX_set_ciphersuites(ctx, SUITES13) != 1 || SSL_CTX_set_cipher_list(ctx, SUITES12) != 1)
        return openssl_error(err, "cannot set up TLS for accepting");
    SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_client_hello_cb(ctx, sl_tls_on_client_hello, NULL);
    SSL_CTX_set_alpn_select_cb(ctx, sl_tls_on_alpn, NULL);
    if (opts->no_tickets)
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    if (SSL_CTX_set_num_tickets(ctx, opts->no_tickets ? 0 : 1) != 1 ||
        (!opts->no_tickets && sl_ticket_use(ctx) < 0))
        return openssl_error(err, "cannot set up session tickets");
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
    if ((rc = set_protocols(c, opts->alpn != NULL ? opts->alpn : alpn, err)) < 0 ||
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
    SSL_CTX *ctx = c->ssl_ctx;

    c->has_pin = opts->pin != NULL;
    c->verify = opts->verify && !c->has_pin;
    SSL_CTX_set_verify(ctx, c->verify || c->has_pin ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    if (c->has_pin) {
        memcpy(c->pin, opts->pin, sizeof(c->pin));
        SSL_CTX_set_cert_verify_callback(ctx, sl_tls_on_verify, NULL);
    } else if (c->verify && opts->ca_file != NULL) {
        if (SSL_CTX_load_verify_file(ctx, opts->ca_file) != 1)
            return sl_err_set(err, SL_E_CONFIG, "ca_file: %s holds no certificate that can be read",
                              opts->ca_file);
    } else if (c->verify && SSL_CTX_set_default_verify_paths(ctx) != 1) {
        return openssl_error(err, "cannot load the system's certification authorities");
    }
    return 0;
}

static int set_up_client(struct sl_tls_context *c, const struct sl_tls_client_opts *opts,
                         struct sl_err *err)
{
    int rc;

    if ((rc = set_protocols(c, opts->alpn, err)) < 0 || (rc = set_trust(c, opts, err)) < 0)
        return rc;
    if (SSL_CTX_set_min_proto_version(c->ssl_ctx, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(c->ssl_ctx, SUITES13) != 1 ||
        (c->alpn.len > 0 && SSL_CTX_set_alpn_protos(c->ssl_ctx, (const unsigned char *)c->alpn.p,
                                                    (unsigned)c->alpn.len) != 0))
        return openssl_error(err, "cannot set up TLS for connecting");
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
