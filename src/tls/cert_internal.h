/*
 * How certificates are made, for the files of this folder only.
 */
#ifndef SL_TLS_CERT_INTERNAL_H
#define SL_TLS_CERT_INTERNAL_H

#include "tls/cert.h"
#include "tls/issue.h"

/* Several certificates above a leaf, shared by all leaves that have them. */
struct sl_cert_chain;

/* What a text holds. The caller frees what was found, also after an error. */
struct sl_pem_certs {
    X509 *leaf;
    struct sl_cert_chain *chain; /* NULL without intermediates */
};

/* 0 or SL_E_CONFIG. */
int sl_pem_read_certs(struct sl_pem_certs *out, struct sl_str text, struct sl_err *err);
/* The sentence has no path in front. */
int sl_pem_read_key(EVP_PKEY **out, struct sl_str text, struct sl_err *err);
/* For OpenSSL, which would ask on the terminal without it. */
int sl_pem_no_password(char *buf, int size, int rwflag, void *user);
/* Copies what was written to a memory BIO (whose end wipes it); false unless it fits. */
bool sl_pem_take(BIO *from, char *out, size_t room, size_t *len);
/* The text with `\` `n` turned into newlines when it has no real one: a copy for sl_pem_free(), or
 * NULL when it needs none. */
char *sl_pem_unescape(struct sl_str text, size_t *len);
/* Wipes before it frees: PEM may hold a key. */
void sl_pem_free(char *copy, size_t len);

void sl_cert_chain_unref(struct sl_cert_chain *chain); /* NULL is legal */
STACK_OF(X509) * sl_cert_chain_certs(const struct sl_cert_chain *chain);

/* Seconds since 1970, or 0 for a time that is none. */
int64_t sl_cert_seconds(const ASN1_TIME *time);
/* 0 or SL_E_TLS. */
int sl_cert_pin_of(const X509 *x, uint8_t out[32]);
/* Takes leaf, chain and key, which fit together; the one reference is the caller's. `made_for`: the
 * name that this process signed it for, copied; NULL: it did not. */
struct sl_cert *sl_cert_adopt(X509 *leaf, struct sl_cert_chain *chain, EVP_PKEY *key,
                              const char *made_for);
const char *sl_cert_made_for(const struct sl_cert *c);
/* As sl_issue_self_signed(), for X509_free(). */
int sl_issue_cert(X509 **out, const struct sl_key *key, const struct sl_issue *what,
                  struct sl_err *err);

#endif
