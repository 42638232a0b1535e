#include "tls/signature.h"

#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include "tls/key_internal.h"

/* DER of two numbers of P-521: what OpenSSL has instead of R || S. */
enum { ECDSA_DER_MAX = 144 };

struct alg {
    const char *name;
    enum sl_key_kind kind;
    const EVP_MD *(*digest)(void);
    bool is_pss;
};

/* The first one of a kind is its default. */
static const struct alg algs[] = {
    {"ES256", SL_KEY_P256, EVP_sha256, false}, {"ES384", SL_KEY_P384, EVP_sha384, false},
    {"ES512", SL_KEY_P521, EVP_sha512, false}, {"RS256", SL_KEY_RSA, EVP_sha256, false},
    {"RS384", SL_KEY_RSA, EVP_sha384, false},  {"RS512", SL_KEY_RSA, EVP_sha512, false},
    {"PS256", SL_KEY_RSA, EVP_sha256, true},   {"PS384", SL_KEY_RSA, EVP_sha384, true},
    {"PS512", SL_KEY_RSA, EVP_sha512, true},
};

static const struct alg *find(const struct sl_key *key, const char *name)
{
    for (size_t i = 0; i < SL_COUNT(algs); i++)
        if (algs[i].kind == key->kind && strcmp(algs[i].name, name) == 0)
            return &algs[i];
    return NULL;
}

bool sl_signature_fits(const struct sl_key *key, const char *alg)
{
    return find(key, alg) != NULL;
}

const char *sl_signature_default(const struct sl_key *key)
{
    const struct alg *alg = algs;

    while (alg->kind != key->kind)
        alg++;
    return alg->name;
}

/* --- R || S and DER --- */

static bool from_der(struct sl_signature *out, const uint8_t *der, size_t len, size_t half)
{
    ECDSA_SIG *numbers = d2i_ECDSA_SIG(NULL, &der, (long)len);
    bool ok = numbers != NULL &&
              BN_bn2binpad(ECDSA_SIG_get0_r(numbers), out->bytes, (int)half) == (int)half &&
              BN_bn2binpad(ECDSA_SIG_get0_s(numbers), out->bytes + half, (int)half) == (int)half;

    out->len = 2 * half;
    ECDSA_SIG_free(numbers);
    return ok;
}

/* The length of the DER, or 0. */
static size_t to_der(uint8_t out[ECDSA_DER_MAX], struct sl_str raw, size_t half)
{
    const uint8_t *bytes = (const uint8_t *)raw.p;
    BIGNUM *r = BN_bin2bn(bytes, (int)half, NULL), *s = BN_bin2bn(bytes + half, (int)half, NULL);
    ECDSA_SIG *numbers = ECDSA_SIG_new();
    uint8_t *at = out;
    int len = 0;

    if (numbers != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(numbers, r, s) == 1) {
        r = s = NULL; /* they are the other's now */
        if (i2d_ECDSA_SIG(numbers, NULL) <= ECDSA_DER_MAX)
            len = i2d_ECDSA_SIG(numbers, &at);
    }
    ECDSA_SIG_free(numbers);
    BN_free(r);
    BN_free(s);
    return len > 0 ? (size_t)len : 0;
}

/* --- with OpenSSL --- */

/* Salt as long as the digest (RFC 7518, section 3.5). */
static bool set_padding(EVP_PKEY_CTX *ctx, const struct alg *alg)
{
    return !alg->is_pss || (EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
                            EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1);
}

static bool sign(const struct sl_key *key, const struct alg *alg, struct sl_str bytes,
                 struct sl_signature *out)
{
    size_t half = sl_key_coordinate_len(key->kind);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    EVP_PKEY_CTX *ctx;
    bool ok;

    out->len = sizeof(out->bytes);
    ok = md != NULL && EVP_DigestSignInit(md, &ctx, alg->digest(), NULL, key->pkey) == 1 &&
         set_padding(ctx, alg) &&
         EVP_DigestSign(md, out->bytes, &out->len, (const uint8_t *)bytes.p, bytes.len) == 1;
    EVP_MD_CTX_free(md);
    if (ok && half > 0) {
        uint8_t der[ECDSA_DER_MAX];
        size_t len = out->len;

        sl_assert(len <= sizeof(der));
        memcpy(der, out->bytes, len);
        ok = from_der(out, der, len, half);
    }
    return ok;
}

int sl_signature_make(const struct sl_key *key, const char *name, struct sl_str bytes,
                      struct sl_signature *out)
{
    const struct alg *alg = find(key, name);
    bool ok;

    sl_assert(key->is_private);
    if (alg == NULL)
        return SL_E_CONFIG;
    ok = sign(key, alg, bytes, out);
    ERR_clear_error();
    return ok ? 0 : SL_E_TLS;
}

static bool verify(const struct sl_key *key, const struct alg *alg, struct sl_str bytes,
                   struct sl_str signature)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    EVP_PKEY_CTX *ctx;
    bool ok = md != NULL && EVP_DigestVerifyInit(md, &ctx, alg->digest(), NULL, key->pkey) == 1 &&
              set_padding(ctx, alg) &&
              EVP_DigestVerify(md, (const uint8_t *)signature.p, signature.len,
                               (const uint8_t *)bytes.p, bytes.len) == 1;

    EVP_MD_CTX_free(md);
    return ok;
}

bool sl_signature_is_good(const struct sl_key *key, const char *name, struct sl_str bytes,
                          struct sl_str signature)
{
    const struct alg *alg = find(key, name);
    size_t half = sl_key_coordinate_len(key->kind);
    uint8_t der[ECDSA_DER_MAX];
    bool ok;

    if (alg == NULL || (half > 0 && signature.len != 2 * half))
        return false;
    if (half > 0)
        signature = sl_str((const char *)der, to_der(der, signature, half));
    ok = signature.len > 0 && verify(key, alg, bytes, signature);
    ERR_clear_error();
    return ok;
}
