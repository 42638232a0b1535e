#include <openssl/err.h>
#include "quic/internal.h"
#include "tls/openssl.h"
#include "tls/record.h"

static ngtcp2_conn *get_conn(ngtcp2_crypto_conn_ref *ref)
{
    struct sl_qconn *c = ref->user_data;

    return c->ngtcp2;
}

static struct sl_qconn *conn_of(SSL *ssl)
{
    ngtcp2_crypto_conn_ref *ref = SSL_get_app_data(ssl);

    return ref->user_data;
}

/* --- life --- */

static int begin_server(struct sl_qconn *c, SSL *ssl)
{
    SSL_set_accept_state(ssl);
    if (ngtcp2_crypto_ossl_configure_server_session(ssl) != 0)
        return SL_E_TLS;
    /* After that only: before, it is not known to be QUIC. */
    if (c->endpoint->settings.early_data && SSL_set_quic_tls_early_data_enabled(ssl, 1) != 1)
        return SL_E_TLS;
    return 0;
}

static int begin_client(struct sl_qconn *c, SSL *ssl, struct sl_str name)
{
    char sni[SL_HELLO_NAME_MAX + 1];

    SSL_set_connect_state(ssl);
    if (!sl_openssl_expect(ssl, name, c->handshake->tls->verify, sni))
        return SL_E_CONFIG;
    if (sni[0] != '\0')
        c->sni = sl_strdup(sni);
    return ngtcp2_crypto_ossl_configure_client_session(ssl) == 0 ? 0 : SL_E_TLS;
}

int sl_quic_handshake_new(struct sl_qconn *c, struct sl_quic_tls *tls, struct sl_str name)
{
    struct sl_quic_handshake *h = sl_zalloc(sizeof(*h));

    c->handshake = h;
    h->tls = sl_quic_tls_ref(tls);
    h->ssl = SSL_new(tls->ctx);
    if (h->ssl == NULL || ngtcp2_crypto_ossl_ctx_new(&h->ossl, h->ssl) != 0)
        return SL_E_TLS;
    h->ref = (ngtcp2_crypto_conn_ref){get_conn, c};
    SSL_set_app_data(h->ssl, &h->ref);
    ngtcp2_conn_set_tls_native_handle(c->ngtcp2, h->ossl);
    return c->pub.is_server ? begin_server(c, h->ssl) : begin_client(c, h->ssl, name);
}

void sl_quic_handshake_free(struct sl_qconn *c)
{
    struct sl_quic_handshake *h = c->handshake;

    c->handshake = NULL;
    if (h == NULL)
        return;
    ngtcp2_conn_set_tls_native_handle(c->ngtcp2, NULL);
    if (h->ssl != NULL) {
        SSL_set_app_data(h->ssl, NULL);
        /* So that it does not look for the session in a cache that everybody shares. */
        SSL_set_shutdown(h->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        SSL_free(h->ssl);
    }
    ngtcp2_crypto_ossl_ctx_del(h->ossl);
    sl_cert_unref(h->cert);
    sl_quic_tls_free(h->tls);
    sl_free(h);
}

void sl_quic_handshake_note(struct sl_qconn *c)
{
    const unsigned char *name;
    unsigned len;

    SSL_get0_alpn_selected(c->handshake->ssl, &name, &len);
    len = SL_MIN(len, (unsigned)SL_TLS_PROTOCOL_MAX);
    if (len > 0)
        memcpy(c->alpn, name, len);
    c->alpn[len] = '\0';
}

/* --- what OpenSSL asks --- */

/* Shows the hello to the owner, once. 0 or an alert. */
static int ask_owner(struct sl_qconn *c, SSL *ssl)
{
    struct sl_quic_handshake *h = c->handshake;
    struct sl_quic_endpoint *e = c->endpoint;
    char name[SL_HELLO_NAME_MAX + 1];
    struct sl_tls_hello hello;
    struct sl_cert *cert = NULL;
    int alert = sl_openssl_hello(ssl, &hello, name);
    int rc;

    if (alert != 0)
        return alert;
    if (hello.alpn_len == 0)
        return SSL_AD_NO_APPLICATION_PROTOCOL; /* RFC 9001, section 8.1 */
    if (hello.sni.len > 0)
        c->sni = sl_strndup(hello.sni.p, hello.sni.len);
    h->answer = SL_QUIC_ASKED;
    rc = e->server->on_hello(e->user, &c->pub, &hello, &cert);
    if (rc != SL_E_AGAIN) {
        h->answer = rc == 0 ? SL_QUIC_GIVEN : SL_QUIC_REFUSED;
        h->cert = cert;
    }
    return 0;
}

int sl_quic_on_client_hello(SSL *ssl, int *alert, void *arg)
{
    struct sl_qconn *c = conn_of(ssl);
    struct sl_quic_handshake *h = c->handshake;

    (void)arg;
    if (c->ending != SL_QCONN_LIVES)
        return SSL_CLIENT_HELLO_ERROR;
    if (h->answer == SL_QUIC_NOT_ASKED && (*alert = ask_owner(c, ssl)) != 0)
        return SSL_CLIENT_HELLO_ERROR;
    if (h->answer == SL_QUIC_ASKED)
        return SSL_CLIENT_HELLO_RETRY;
    *alert = SL_ALERT_UNRECOGNIZED_NAME;
    if (h->answer == SL_QUIC_REFUSED)
        return SSL_CLIENT_HELLO_ERROR;
    *alert = SL_ALERT_INTERNAL_ERROR;
    return sl_cert_use(h->cert, ssl) == 0 ? SSL_CLIENT_HELLO_SUCCESS : SSL_CLIENT_HELLO_ERROR;
}

int sl_quic_on_alpn(SSL *ssl, const unsigned char **out, unsigned char *n_out,
                    const unsigned char *in, unsigned n_in, void *arg)
{
    (void)arg;
    return sl_openssl_select(conn_of(ssl)->handshake->tls->alpn, out, n_out, in, n_in);
}

/* A client that sends early data goes by the limits that it was given with its ticket. They must
 * not have become less meanwhile (RFC 9000, section 7.4.1), so they lie in the ticket. */
struct promise {
    uint32_t stream_window, conn_window, max_streams_bidi, max_streams_uni, max_datagram;
};

static struct promise promise_of(const struct sl_quic_settings *s)
{
    return (struct promise){s->stream_window, s->conn_window, s->max_streams_bidi,
                            s->max_streams_uni, s->max_datagram};
}

static bool is_kept(const struct promise *given, const struct promise *now)
{
    return given->stream_window <= now->stream_window && given->conn_window <= now->conn_window &&
           given->max_streams_bidi <= now->max_streams_bidi &&
           given->max_streams_uni <= now->max_streams_uni &&
           given->max_datagram <= now->max_datagram;
}

int sl_quic_on_make_ticket(SSL *ssl, void *arg)
{
    struct promise now = promise_of(&conn_of(ssl)->endpoint->settings);

    (void)arg;
    return SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), &now, sizeof(now));
}

SSL_TICKET_RETURN sl_quic_on_open_ticket(SSL *ssl, SSL_SESSION *session, const uint8_t *name,
                                         size_t name_len, SSL_TICKET_STATUS status, void *arg)
{
    struct promise now = promise_of(&conn_of(ssl)->endpoint->settings), given;
    void *data;
    size_t len;

    (void)name;
    (void)name_len;
    (void)arg;
    if (status == SSL_TICKET_EMPTY || status == SSL_TICKET_NO_DECRYPT)
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    if (SSL_SESSION_get0_ticket_appdata(session, &data, &len) != 1 || len != sizeof(given))
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    memcpy(&given, data, sizeof(given));
    return is_kept(&given, &now) ? SSL_TICKET_RETURN_USE_RENEW : SSL_TICKET_RETURN_IGNORE_RENEW;
}

int sl_quic_on_verify(X509_STORE_CTX *store, void *arg)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());

    (void)arg;
    return sl_openssl_is_pinned(store, conn_of(ssl)->handshake->tls->pin);
}

void sl_quic_resume(struct sl_quic_conn *pub, struct sl_cert *cert)
{
    struct sl_qconn *c = sl_qconn(pub);
    struct sl_quic_handshake *h = c->handshake;

    if (c->ending !=
        SL_QCONN_LIVES) { /* it has ended meanwhile, but on_closed() is still to come */
        sl_cert_unref(cert);
        return;
    }
    sl_assert(h != NULL && h->answer == SL_QUIC_ASKED);
    h->cert = cert;
    h->answer = cert != NULL ? SL_QUIC_GIVEN : SL_QUIC_REFUSED;
    h->is_resumed = true;
    sl_qconn_soon(c);
}
