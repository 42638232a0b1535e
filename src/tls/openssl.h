/*
 * What TLS over streams (tls/stream.h) and the TLS inside QUIC ask of OpenSSL alike: lists of
 * protocols, whom to trust, names, and what a ClientHello says.
 *
 * Not an interface for the layers above quic.
 */
#ifndef SL_TLS_OPENSSL_H
#define SL_TLS_OPENSSL_H

#include "tls/context.h"
#include "tls/hello.h"
#include "tls/stream.h"

#define SL_TLS_SUITES13 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

/* Sets SL_E_TLS with the first error of OpenSSL in words; empties the queue. */
int sl_openssl_error(struct sl_err *err, const char *what);
/* Copies an ALPN list in wire form (NULL or empty: none) for sl_free(). 0 or SL_E_CONFIG. */
int sl_openssl_protocols(struct sl_str *out, const char *list, struct sl_err *err);
/* The server's choice, as the callback of SSL_CTX_set_alpn_select_cb() returns it. */
int sl_openssl_select(struct sl_str offer, const unsigned char **out, unsigned char *n_out,
                      const unsigned char *in, unsigned n_in);
/* Whom a client believes: certification authorities, or anybody. With opts->pin the caller sets a
 * verification callback that asks sl_openssl_is_pinned(). 0, SL_E_CONFIG or SL_E_TLS. */
int sl_openssl_trust(SSL_CTX *ctx, const struct sl_tls_client_opts *opts, struct sl_err *err);
/* Is this certificate's key the one that is pinned? Sets the store's error when it is not. */
bool sl_openssl_is_pinned(X509_STORE_CTX *store, const uint8_t pin[32]);
/* Says whom the client wants to reach (a host name or an IP address), and has the certificate
 * checked for it. `sni` gets the name that is sent, or "". False: it cannot be a name. */
bool sl_openssl_expect(SSL *ssl, struct sl_str name, bool verify, char sni[SL_HELLO_NAME_MAX + 1]);
/* In a client hello callback: reads it; hello->sni lies in `name`. 0 or the alert to send. */
int sl_openssl_hello(SSL *ssl, struct sl_tls_hello *hello, char name[SL_HELLO_NAME_MAX + 1]);

#endif
