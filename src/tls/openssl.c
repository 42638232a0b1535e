#include "tls/openssl.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include "net/addr.h"
#include "tls/cert_internal.h"

int sl_openssl_error(struct sl_err *err, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    int rc = sl_err_set(err, SL_E_TLS, "%s: %s", what, reason != NULL ? reason : "OpenSSL failed");

    ERR_clear_error();
    return rc;
}

/* --- protocols --- */

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

int sl_openssl_protocols(struct sl_str *out, const char *list, struct sl_err *err)
{
    struct sl_str protocols = sl_str_c(list);

    if (!is_protocol_list(protocols))
        return sl_err_set(err, SL_E_CONFIG,
                          "alpn: must be a list of names of 1 to %d bytes, each behind a byte with "
                          "its length",
                          SL_TLS_PROTOCOL_MAX);
    if (protocols.len > 0)
        *out = sl_str(sl_strndup(protocols.p, protocols.len), protocols.len);
    return 0;
}

int sl_openssl_select(struct sl_str offer, const unsigned char **out, unsigned char *n_out,
                      const unsigned char *in, unsigned n_in)
{
    if (offer.len == 0)
        return SSL_TLSEXT_ERR_NOACK;
    if (SSL_select_next_proto((unsigned char **)out, n_out, (const unsigned char *)offer.p,
                              (unsigned)offer.len, in, n_in) == OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_OK;
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* --- clients: whom to believe --- */

int sl_openssl_trust(SSL_CTX *ctx, const struct sl_tls_client_opts *opts, struct sl_err *err)
{
    SSL_CTX_set_verify(ctx, opts->verify || opts->pin != NULL ? SSL_VERIFY_PEER : SSL_VERIFY_NONE,
                       NULL);
    if (opts->pin != NULL || !opts->verify)
        return 0;
    if (opts->ca_file != NULL) {
        if (SSL_CTX_load_verify_file(ctx, opts->ca_file) != 1)
            return sl_err_set(err, SL_E_CONFIG, "ca_file: %s holds no certificate that can be read",
                              opts->ca_file);
    } else if (SSL_CTX_set_default_verify_paths(ctx) != 1) {
        return sl_openssl_error(err, "cannot load the system's certification authorities");
    }
    return 0;
}

bool sl_openssl_is_pinned(X509_STORE_CTX *store, const uint8_t pin[32])
{
    X509 *leaf = X509_STORE_CTX_get0_cert(store);
    uint8_t got[32];

    if (leaf != NULL && sl_cert_pin_of(leaf, got) == 0 && memcmp(got, pin, sizeof(got)) == 0)
        return true;
    X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
    return false;
}

bool sl_openssl_expect(SSL *ssl, struct sl_str name, bool verify, char sni[SL_HELLO_NAME_MAX + 1])
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    struct sl_addr addr;
    char ip[SL_ADDR_TEXT_LEN];

    sni[0] = '\0';
    if (sl_addr_parse(&addr, name, 0) == 0)
        return !verify || X509_VERIFY_PARAM_set1_ip_asc(param, sl_addr_ip(&addr, ip)) == 1;
    if (name.len > 0 && name.p[name.len - 1] == '.')
        name.len--;
    if (name.len == 0)
        return !verify; /* whoever checks must know for whom */
    if (name.len > SL_HELLO_NAME_MAX || memchr(name.p, '\0', name.len) != NULL)
        return false;
    memcpy(sni, name.p, name.len);
    sni[name.len] = '\0';
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set_tlsext_host_name(ssl, sni) == 1 &&
           (!verify || X509_VERIFY_PARAM_set1_host(param, sni, 0) == 1);
}

/* --- servers: what the client says --- */

static struct sl_str extension(SSL *ssl, unsigned type)
{
    const unsigned char *bytes;
    size_t len;

    if (SSL_client_hello_get0_ext(ssl, type, &bytes, &len) != 1)
        return SL_STR_NONE;
    return sl_str((const char *)bytes, len);
}

int sl_openssl_hello(SSL *ssl, struct sl_tls_hello *hello, char name[SL_HELLO_NAME_MAX + 1])
{
    struct sl_str alpn =
        sl_hello_alpn(extension(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation));
    struct sl_str server_name = extension(ssl, TLSEXT_TYPE_server_name);
    size_t len;
    int alert;

    *hello = (struct sl_tls_hello){
        .alpn = (const uint8_t *)alpn.p,
        .alpn_len = alpn.len,
        .offers_tls13 =
            sl_hello_offers(extension(ssl, TLSEXT_TYPE_supported_versions), TLS1_3_VERSION),
    };
    if (server_name.p == NULL)
        return 0;
    if ((alert = sl_hello_name(server_name, name, &len)) == 0)
        hello->sni = sl_str(name, len);
    return alert;
}
