#include <openssl/err.h>
#include "tls/conn.h"
#include "tls/openssl.h"

enum { CONTENT_HANDSHAKE = 0x16 };

void sl_tls_handshake_new(struct sl_tls_conn *t, struct sl_tls_context *context)
{
    t->handshake = sl_zalloc(sizeof(*t->handshake));
    t->handshake->context = sl_tls_context_ref(context);
    t->handshake->offer = context->alpn;
}

void sl_tls_handshake_free(struct sl_tls_conn *t)
{
    struct sl_tls_handshake *h = t->handshake;

    t->handshake = NULL;
    if (h == NULL)
        return;
    sl_cert_unref(h->cert);
    sl_tls_context_unref(h->context);
    OPENSSL_cleanse(h->secrets, sizeof(h->secrets));
    sl_free(h);
}

/* --- what OpenSSL asks --- */

/* Shows the hello to the owner, once. 0 or an alert. */
static int ask_owner(struct sl_tls_conn *t, SSL *ssl)
{
    struct sl_tls_handshake *h = t->handshake;
    struct sl_tls_hello hello;
    struct sl_cert *cert = NULL;
    char name[SL_HELLO_NAME_MAX + 1];
    int alert = sl_openssl_hello(ssl, &hello, name);
    int rc;

    if (alert != 0) {
        t->reason = "malformed server name";
        return alert;
    }
    if (hello.sni.len > 0)
        t->sni = sl_strndup(hello.sni.p, hello.sni.len);
    h->answer = SL_TLS_ASKED;
    rc = h->accept.on_hello(h->accept.user, &t->stream, &hello, &cert);
    if (t->is_freed) {
        sl_cert_unref(cert);
    } else if (rc != SL_E_AGAIN) {
        h->answer = rc == 0 ? SL_TLS_GIVEN : SL_TLS_REFUSED;
        h->cert = cert;
    }
    return 0;
}

int sl_tls_on_client_hello(SSL *ssl, int *alert, void *arg)
{
    struct sl_tls_conn *t = sl_tls_conn_of(ssl);
    struct sl_tls_handshake *h = t->handshake;

    (void)arg;
    if (h->answer == SL_TLS_NOT_ASKED && (*alert = ask_owner(t, ssl)) != 0)
        return SSL_CLIENT_HELLO_ERROR;
    if (h->answer == SL_TLS_ASKED)
        return SSL_CLIENT_HELLO_RETRY;
    *alert = SL_ALERT_UNRECOGNIZED_NAME;
    if (h->answer == SL_TLS_REFUSED) {
        t->reason = "no certificate for this name";
        return SSL_CLIENT_HELLO_ERROR;
    }
    *alert = SL_ALERT_INTERNAL_ERROR;
    return sl_cert_use(h->cert, ssl) == 0 ? SSL_CLIENT_HELLO_SUCCESS : SSL_CLIENT_HELLO_ERROR;
}

int sl_tls_on_alpn(SSL *ssl, const unsigned char **out, unsigned char *n_out,
                   const unsigned char *in, unsigned n_in, void *arg)
{
    (void)arg;
    return sl_openssl_select(sl_tls_conn_of(ssl)->handshake->offer, out, n_out, in, n_in);
}

/* A line of the key log: label, the client's random value, the secret, both in hex. This is where
 * the traffic secrets of TLS 1.3 can be had; nothing is logged. */
void sl_tls_on_keylog(const SSL *ssl, const char *line)
{
    static const char *const labels[] = {"CLIENT_TRAFFIC_SECRET_0 ", "SERVER_TRAFFIC_SECRET_0 "};
    struct sl_tls_handshake *h = sl_tls_conn_of(ssl)->handshake;
    const char *hex = strrchr(line, ' ');

    for (int i = 0; h != NULL && i < 2; i++)
        if (strncmp(line, labels[i], strlen(labels[i])) == 0)
            h->has_secret[i] = OPENSSL_hexstr2buf_ex(h->secrets[i], sizeof(h->secrets[i]),
                                                     &h->n_secret, hex + 1, '\0') == 1;
}

void sl_tls_on_info(const SSL *ssl, int where, int ret)
{
    struct sl_tls_conn *t = sl_tls_conn_of(ssl);
    OSSL_HANDSHAKE_STATE state = SSL_get_state(ssl);
    bool is_key_update = state == TLS_ST_SR_KEY_UPDATE || state == TLS_ST_CR_KEY_UPDATE;
    bool is_no_renegotiation = (where & SSL_CB_WRITE_ALERT) == SSL_CB_WRITE_ALERT &&
                               (ret & 0xff) == SSL_AD_NO_RENEGOTIATION;

    if ((where & SSL_CB_WRITE_ALERT) == SSL_CB_WRITE_ALERT && ret >> 8 == SSL3_AL_FATAL)
        t->sent_alert = true;
    if (is_no_renegotiation || ((where & SSL_CB_LOOP) != 0 && is_key_update))
        sl_tls_count_nuisance(t);
}

/* Instead of the usual checks: is it the one key that we know? */
int sl_tls_on_verify(X509_STORE_CTX *store, void *arg)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    const struct sl_tls_context *context = sl_tls_conn_of(ssl)->handshake->context;

    (void)arg;
    return sl_openssl_is_pinned(store, context->pin);
}

/* --- the run --- */

/* The protocol that was agreed on outlives OpenSSL's connection object. */
static void note_protocol(struct sl_tls_conn *t)
{
    const unsigned char *name;
    unsigned len;

    SSL_get0_alpn_selected(t->ssl, &name, &len);
    len = SL_MIN(len, (unsigned)SL_TLS_PROTOCOL_MAX);
    if (len > 0)
        memcpy(t->alpn, name, len);
    t->version = SSL_get_version(t->ssl);
}

/* Frees OpenSSL's object. Said to be shut down already, it does not look for the session in a cache
 * that everybody shares. */
static void drop_ssl(struct sl_tls_conn *t)
{
    SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(t->ssl);
    t->ssl = NULL;
}

static void finish(struct sl_tls_conn *t)
{
    note_protocol(t);
    if (SSL_version(t->ssl) == TLS1_3_VERSION && sl_tls_engine13_begin(t)) {
        t->engine = &sl_tls_engine13;
        drop_ssl(t);
    } else {
        t->engine = &sl_tls_engine12;
        SSL_certs_clear(t->ssl);
    }
    sl_tls_handshake_free(t);
}

/* Why the handshake does not go on. */
static void judge(struct sl_tls_conn *t, int rc)
{
    struct sl_tls_handshake *h = t->handshake;

    switch (SSL_get_error(t->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        if (h->n_in >= SL_TLS_HANDSHAKE_MAX)
            sl_tls_fail(t, SL_E_LIMIT, "the handshake is too long");
        return;
    case SSL_ERROR_WANT_CLIENT_HELLO_CB:
        h->is_waiting = h->answer == SL_TLS_ASKED;
        return;
    default:
        sl_tls_fail_openssl(t);
    }
}

/* A method in upper case, then a space, as far as it can be seen. */
static bool is_http(const uint8_t *in, size_t n_in)
{
    size_t n = 0;

    while (n < n_in && in[n] >= 'A' && in[n] <= 'Z')
        n++;
    return n > 0 && (n == n_in || in[n] == ' ');
}

size_t sl_tls_handshake_run(struct sl_tls_conn *t, const uint8_t *in, size_t n_in)
{
    struct sl_tls_handshake *h = t->handshake;
    size_t n = SL_MIN(n_in, SL_TLS_HANDSHAKE_MAX - h->n_in);
    int rc;

    if (t->is_server && h->n_in == 0 && n > 0 && in[0] != CONTENT_HANDSHAKE) {
        sl_tls_fail(t, SL_E_PROTOCOL, is_http(in, n) ? SL_TLS_REASON_HTTP : "not TLS");
        return 0;
    }
    t->feed = in;
    t->n_feed = n;
    ERR_clear_error(); /* of what others left, since OpenSSL tells by the queue */
    rc = SSL_do_handshake(t->ssl);
    n -= t->n_feed;
    t->feed = NULL;
    t->n_feed = 0;
    h->n_in += n;
    if (t->is_freed || t->stream.error != 0)
        ERR_clear_error();
    else if (rc == 1)
        finish(t);
    else
        judge(t, rc);
    return n;
}
