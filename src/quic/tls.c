#include <openssl/err.h>
#include <pthread.h>
#include <stdatomic.h>
#include "quic/internal.h"
#include "tls/openssl.h"
#include "tls/ticket.h"

static pthread_once_t prepared = PTHREAD_ONCE_INIT;

static void prepare(void)
{
    (void)ngtcp2_crypto_ossl_init(); /* fetches the ciphers once, not for each key */
}

struct sl_quic_tls *sl_quic_tls_ref(struct sl_quic_tls *t)
{
    atomic_fetch_add_explicit(&t->n_refs, 1, memory_order_relaxed);
    return t;
}

void sl_quic_tls_free(struct sl_quic_tls *t)
{
    if (t == NULL || atomic_fetch_sub_explicit(&t->n_refs, 1, memory_order_acq_rel) != 1)
        return;
    SSL_CTX_free(t->ctx);
    sl_free((char *)t->alpn.p);
    sl_free(t);
}

/* What both sides have in common; NULL when OpenSSL could not. */
static struct sl_quic_tls *begin(const SSL_METHOD *method, struct sl_err *err)
{
    SSL_CTX *ctx = SSL_CTX_new(method);
    struct sl_quic_tls *t;

    pthread_once(&prepared, prepare);
    if (ctx == NULL || SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(ctx, SL_TLS_SUITES13) != 1) {
        SSL_CTX_free(ctx);
        (void)sl_openssl_error(err, "cannot make a TLS context for QUIC");
        return NULL;
    }
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_clear_options(ctx, SSL_OP_ENABLE_MIDDLEBOX_COMPAT); /* RFC 9001, section 8.4 */
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    t = sl_zalloc(sizeof(*t));
    atomic_init(&t->n_refs, 1);
    t->ctx = ctx;
    return t;
}

static int set_up_server(SSL_CTX *ctx, bool early_data, struct sl_err *err)
{
    SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_client_hello_cb(ctx, sl_quic_on_client_hello, NULL);
    SSL_CTX_set_alpn_select_cb(ctx, sl_quic_on_alpn, NULL);
    if (SSL_CTX_set_num_tickets(ctx, 1) != 1 || sl_ticket_use(ctx) < 0)
        return sl_openssl_error(err, "cannot set up session tickets");
    if (!early_data)
        return 0;
    /* What replays early data gets to read is 425 (Too Early) or safe; a cache of tickets that all
     * workers share would cost more than it prevents. */
    SSL_CTX_set_options(ctx, SSL_OP_NO_ANTI_REPLAY);
    if (SSL_CTX_set_max_early_data(ctx, UINT32_MAX) != 1 ||
        SSL_CTX_set_session_ticket_cb(ctx, sl_quic_on_make_ticket, sl_quic_on_open_ticket, NULL) !=
            1)
        return sl_openssl_error(err, "cannot allow early data");
    return 0;
}

int sl_quic_tls_server_new(struct sl_quic_tls **out, const char *alpn, bool early_data,
                           struct sl_err *err)
{
    struct sl_quic_tls *t = begin(TLS_server_method(), err);
    int rc;

    if (t == NULL)
        return SL_E_TLS;
    if ((rc = sl_openssl_protocols(&t->alpn, alpn, err)) < 0 ||
        (rc = set_up_server(t->ctx, early_data, err)) < 0) {
        sl_quic_tls_free(t);
        return rc;
    }
    *out = t;
    return 0;
}

static int set_up_client(struct sl_quic_tls *t, const struct sl_tls_client_opts *opts,
                         struct sl_err *err)
{
    int rc;

    t->verify = opts->verify && opts->pin == NULL;
    if (opts->pin != NULL) {
        memcpy(t->pin, opts->pin, sizeof(t->pin));
        SSL_CTX_set_cert_verify_callback(t->ctx, sl_quic_on_verify, NULL);
    }
    if ((rc = sl_openssl_protocols(&t->alpn, opts->alpn, err)) < 0 ||
        (rc = sl_openssl_trust(t->ctx, opts, err)) < 0)
        return rc;
    if (t->alpn.len == 0)
        return sl_err_set(err, SL_E_CONFIG, "alpn: QUIC needs a protocol");
    if (SSL_CTX_set_alpn_protos(t->ctx, (const unsigned char *)t->alpn.p, (unsigned)t->alpn.len) !=
        0)
        return sl_openssl_error(err, "cannot set up TLS for QUIC");
    return 0;
}

int sl_quic_tls_client_new(struct sl_quic_tls **out, const struct sl_tls_client_opts *opts,
                           struct sl_err *err)
{
    struct sl_quic_tls *t = begin(TLS_client_method(), err);
    int rc;

    if (t == NULL)
        return SL_E_TLS;
    if ((rc = set_up_client(t, opts, err)) < 0) {
        ERR_clear_error();
        sl_quic_tls_free(t);
        return rc;
    }
    *out = t;
    return 0;
}
