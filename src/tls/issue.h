/*
 * What a private key signs: a certificate for itself, or a request (PKCS#10, RFC 2986) that makes a
 * certification authority sign one.
 *
 * Pure functions of their arguments and random numbers.
 *
 *     if ((rc = sl_issue_csr(&der, key, names, n, &err)) < 0)
 *         return rc;
 *     …
 *     sl_buf_clear(&der);
 */
#ifndef SL_TLS_ISSUE_H
#define SL_TLS_ISSUE_H

#include "base/buf.h"
#include "tls/key.h"

enum { SL_ISSUE_NAMES_MAX = 100, SL_ACME_IDENTIFIER_LEN = 32 };

struct sl_issue {
    const struct sl_str *names; /* host names or IP addresses, 1 to SL_ISSUE_NAMES_MAX */
    size_t n_names;
    int64_t now; /* seconds since 1970; valid from the day before on, since clocks may be behind */
    int days;
    const uint8_t
        *acme_identifier; /* SL_ACME_IDENTIFIER_LEN bytes (RFC 8737, section 3), or NULL */
};

/* Appends the PEM text of a certificate that the key, a private one, has signed for itself. 0;
 * SL_E_CONFIG when no certificate can have one of the names; SL_E_TLS. */
int sl_issue_self_signed(struct sl_buf *pem, const struct sl_key *key, const struct sl_issue *what,
                         struct sl_err *err);
/* Appends the DER of a request for these names, which stand in it as alternative names alone. The
 * same codes. */
int sl_issue_csr(struct sl_buf *der, const struct sl_key *key, const struct sl_str *names, size_t n,
                 struct sl_err *err);

#endif
