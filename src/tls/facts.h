/*
 * What a certificate says of itself: for whoever decides when to renew it and asks its issuer about
 * it (RFC 9773). A pure function of the text.
 *
 *     if ((rc = sl_cert_facts_of_pem(&facts, &names, pem, &err)) < 0)
 *         return rc;
 */
#ifndef SL_TLS_FACTS_H
#define SL_TLS_FACTS_H

#include "base/buf.h"
#include "base/error.h"

enum { SL_CERT_ID_MAX = 64, SL_CERT_ISSUER_MAX = 1024 };

struct sl_cert_id {
    uint8_t bytes[SL_CERT_ID_MAX];
    size_t len;
};

struct sl_cert_facts {
    int64_t not_before, not_after;      /* seconds since 1970 */
    struct sl_cert_id serial_der;       /* the bytes inside the INTEGER */
    struct sl_cert_id authority_key_id; /* empty: it has none */
    char issuer[SL_CERT_ISSUER_MAX];    /* "CN=R10,O=Let's Encrypt,C=US", cut when it is longer */
    size_t issuer_len;
    uint8_t pin[32]; /* SHA-256 of the public key */
};

/* Of the first certificate of a PEM text. Its alternative names, host names and IP addresses, are
 * appended to `names`, each with a NUL behind. 0 or SL_E_CONFIG with a sentence. */
int sl_cert_facts_of_pem(struct sl_cert_facts *out, struct sl_buf *names, struct sl_str pem,
                         struct sl_err *err);

#endif
