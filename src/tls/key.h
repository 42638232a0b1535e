/*
 * Asymmetric keys of scripts: made, read from PEM or from the numbers of a JWK, written, and used
 * for signatures (tls/signature.h), requests and certificates (tls/issue.h).
 *
 * Only keys that are worth something: EC on P-256, P-384 or P-521 with a point on the curve, RSA
 * with 2048 to 4096 bits and an odd public exponent of at most 32 bits; a private key must fit its
 * public half. What strangers send as a key costs no more than one multiplication on the curve.
 *
 * Owner: whoever made it; one thread at a time. Private bytes are wiped wherever this module held
 * them, and nothing here logs any.
 *
 *     if ((rc = sl_key_from_pem(&key, text, &err)) < 0)
 *         return rc; // err.text: "not a PEM key", never a part of the text
 *     …
 *     sl_key_free(key);
 */
#ifndef SL_TLS_KEY_H
#define SL_TLS_KEY_H

#include "base/error.h"
#include "base/str.h"

struct sl_key;

enum sl_key_kind { SL_KEY_P256, SL_KEY_P384, SL_KEY_P521, SL_KEY_RSA };

/* Makes a private key: "P-256", "P-384", "P-521", "RSA-2048", "RSA-3072" or "RSA-4096" (which takes
 * a second or more). 0; SL_E_CONFIG for another kind; SL_E_TLS. */
int sl_key_new(struct sl_key **out, struct sl_str kind, struct sl_err *err);
/* Is there such a kind of key to be made? */
bool sl_key_is_kind(struct sl_str kind);
void sl_key_free(struct sl_key *key); /* NULL is legal */

/* Reads the first key of a PEM text, private before public: PKCS#8, SEC1, PKCS#1 or
 * SubjectPublicKeyInfo; certificates beside it are stepped over. 0 or SL_E_CONFIG with a sentence.
 */
int sl_key_from_pem(struct sl_key **out, struct sl_str pem, struct sl_err *err);

enum sl_key_form {
    SL_KEY_PKCS8,
    SL_KEY_TRADITIONAL, /* SEC1 for EC, PKCS#1 for RSA */
    SL_KEY_PUBLIC,      /* SubjectPublicKeyInfo */
};

/* A PEM text without a NUL; to be wiped by its owner when it is a private key. */
struct sl_key_text {
    char bytes[4096];
    size_t len;
};

/* The form must be SL_KEY_PUBLIC unless the key is private. 0 or SL_E_TLS. */
int sl_key_to_pem(const struct sl_key *key, enum sl_key_form form, struct sl_key_text *out);

/* The numbers of a JWK (RFC 7518, section 6) under their names there. */
#define SL_KEY_PARTS(ROW)                                                                          \
    ROW(N, n)                                                                                      \
    ROW(E, e) ROW(X, x) ROW(Y, y) ROW(D, d) ROW(P, p) ROW(Q, q) ROW(DP, dp) ROW(DQ, dq) ROW(QI, qi)

enum sl_key_part_id {
#define SL_KEY_PART_ENUM(id, name) SL_KEY_PART_##id,
    SL_KEY_PARTS(SL_KEY_PART_ENUM)
#undef SL_KEY_PART_ENUM
        SL_KEY_N_PARTS
};

extern const char *const sl_key_part_names[SL_KEY_N_PARTS];

/* An unsigned big-endian number; without bytes it is missing. */
struct sl_key_number {
    uint8_t bytes[512];
    size_t len;
};

struct sl_key_parts {
    enum sl_key_kind kind;
    struct sl_key_number part[SL_KEY_N_PARTS]; /* to be wiped by their owner */
};

/* Coordinates may lack their leading zeros, but may not be too long. A private RSA key has all of
 * its eight numbers. 0 or SL_E_CONFIG with a sentence. */
int sl_key_from_parts(struct sl_key **out, const struct sl_key_parts *parts, struct sl_err *err);
/* The public numbers, in the one form that RFC 7518 has for them. */
void sl_key_public_parts(const struct sl_key *key, struct sl_key_parts *out);

bool sl_key_is_private(const struct sl_key *key);
enum sl_key_kind sl_key_kind(const struct sl_key *key);
/* "P-256", "RSA-2048", … as sl_key_new() takes it; RSA keys that were read may have other sizes. */
enum { SL_KEY_NAME_LEN = 16 };
const char *sl_key_name(const struct sl_key *key, char out[SL_KEY_NAME_LEN]);
/* The name of an EC kind's curve ("P-256"), or NULL for RSA; the other way round false when there
 * is no such curve. */
const char *sl_key_curve(enum sl_key_kind kind);
bool sl_key_kind_of_curve(struct sl_str curve, enum sl_key_kind *out);

#endif
