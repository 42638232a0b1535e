/*
 * A certificate chain with its private key: parsed once, shared by every snapshot that names it
 * (reference count, any thread).
 *
 * A cache finds one by the hash of its PEM texts, so that publishing 10,000 routes again parses
 * only what changed; it keeps nothing alive. Intermediate certificates that many chains have in
 * common exist once. Keys never leave this module; nothing here logs PEM.
 *
 *     if ((rc = sl_cert_from_pem(&cert, cert_pem, key_pem, &err)) < 0)
 *         return sl_err_prefix(&err, "routes[%d].action.tls.", i);
 */
#ifndef SL_TLS_CERT_H
#define SL_TLS_CERT_H

#include <openssl/ssl.h>
#include "base/error.h"
#include "base/str.h"

struct sl_cert;

/* Parses PEM texts (the chain leaf first; a text without a real newline but with the two characters
   `\` `n` is unescaped), checks that the key belongs to the leaf. 0, or SL_E_CONFIG with a sentence
   ("certificate.cert: not a PEM certificate"). Looks into the process-wide cache first. */
int sl_cert_from_pem(struct sl_cert **out, struct sl_str cert_pem, struct sl_str key_pem,
                     struct sl_err *err);
/* The self-signed certificate of this process for `name` (P-256, 90 days, DNS or IP subject
   alternative name); the same one each time until it is about to expire. 0 or SL_E_CONFIG when no
   certificate can have this name. */
int sl_cert_self_signed(struct sl_cert **out, struct sl_str name, struct sl_err *err);
/* A key and a certificate that it has signed, as text without a NUL, for somebody who keeps them.
 */
struct sl_cert_pem {
    char cert[2048], key[512]; /* to be wiped by their owner */
    size_t cert_len, key_len;
};
/* Makes a new P-256 key and its certificate for `name`, a host name or an IP address. 0;
 * SL_E_CONFIG when no certificate can have this name; SL_E_TLS. */
int sl_cert_make_pem(struct sl_cert_pem *out, struct sl_str name, int days, struct sl_err *err);
/* What to show instead of `c` at this time (seconds since 1970): its successor when it is a
   self-signed one that is about to expire, else `c` itself. Takes the reference and returns one. */
struct sl_cert *sl_cert_renew(struct sl_cert *c, int64_t now);
struct sl_cert *sl_cert_ref(struct sl_cert *c);
void sl_cert_unref(struct sl_cert *c); /* NULL is legal */
enum { SL_CERT_KEPT = 1024 };
/* For one that nobody holds between two uses: it stays parsed until SL_CERT_KEPT others were kept
 * after it. Any thread; takes a reference of its own. */
void sl_cert_keep(struct sl_cert *c);
/* Does the leaf cover this host name (RFC 6125, one label for `*`) or IP address? */
bool sl_cert_covers(const struct sl_cert *c, struct sl_str host);
/* Seconds since 1970. */
int64_t sl_cert_not_after(const struct sl_cert *c);
/* The SHA-256 of the leaf's public key (SubjectPublicKeyInfo), by which a client may know it. */
void sl_cert_pin(const struct sl_cert *c, uint8_t out[32]);
/* The same of a PEM text without its key. 0 or SL_E_CONFIG with a sentence. */
int sl_cert_pin_of_pem(struct sl_str cert_pem, uint8_t out[32], struct sl_err *err);
/* Puts leaf, chain and key on a connection and binds its session tickets to the leaf. 0 or
 * SL_E_TLS. */
int sl_cert_use(const struct sl_cert *c, SSL *ssl);
/* Number of parses since the process began (for tests and statistics). */
uint64_t sl_cert_parsed(void);

#endif
