#include "tls/key.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include "tls/key_internal.h"
#include "tls/openssl.h"
#include "tls/signature.h"

enum {
    RSA_BITS_MIN = 2048, /* RFC 7518, section 3.3 */
    RSA_BITS_MAX = 4096, /* more makes a verification slow, and no private key better */
    EXPONENT_BITS_MAX = 32,
};

static const struct curve {
    const char *name, *openssl_name;
    size_t coordinate_len;
} curves[] = {
    [SL_KEY_P256] = {"P-256", "prime256v1", 32},
    [SL_KEY_P384] = {"P-384", "secp384r1", 48},
    [SL_KEY_P521] = {"P-521", "secp521r1", 66},
};

const char *sl_key_curve(enum sl_key_kind kind)
{
    return kind == SL_KEY_RSA ? NULL : curves[kind].name;
}

bool sl_key_kind_of_curve(struct sl_str curve, enum sl_key_kind *out)
{
    for (size_t i = 0; i < SL_COUNT(curves); i++) {
        if (sl_str_eq(curve, sl_str_c(curves[i].name)) ||
            sl_str_eq(curve, sl_str_c(curves[i].openssl_name))) {
            *out = (enum sl_key_kind)i;
            return true;
        }
    }
    return false;
}

size_t sl_key_coordinate_len(enum sl_key_kind kind)
{
    return kind == SL_KEY_RSA ? 0 : curves[kind].coordinate_len;
}

const EVP_MD *sl_key_digest(const struct sl_key *key)
{
    if (key->kind == SL_KEY_P384)
        return EVP_sha384();
    return key->kind == SL_KEY_P521 ? EVP_sha512() : EVP_sha256();
}

bool sl_key_is_private(const struct sl_key *key)
{
    return key->is_private;
}

enum sl_key_kind sl_key_kind(const struct sl_key *key)
{
    return key->kind;
}

const char *sl_key_name(const struct sl_key *key, char out[SL_KEY_NAME_LEN])
{
    if (key->kind == SL_KEY_RSA)
        snprintf(out, SL_KEY_NAME_LEN, "RSA-%d", EVP_PKEY_get_bits(key->pkey));
    else
        snprintf(out, SL_KEY_NAME_LEN, "%s", curves[key->kind].name);
    return out;
}

void sl_key_free(struct sl_key *key)
{
    if (key != NULL)
        EVP_PKEY_free(key->pkey); /* which wipes what is private */
    sl_free(key);
}

/* --- new ones --- */

static struct sl_key *wrap(EVP_PKEY *pkey, enum sl_key_kind kind, bool is_private)
{
    struct sl_key *key = sl_zalloc(sizeof(*key));

    *key = (struct sl_key){pkey, kind, is_private};
    return key;
}

static bool read_kind(struct sl_str name, enum sl_key_kind *kind, size_t *bits)
{
    static const size_t sizes[] = {2048, 3072, 4096};
    char text[SL_KEY_NAME_LEN];

    *kind = SL_KEY_RSA;
    for (size_t i = 0; i < SL_COUNT(sizes); i++) {
        *bits = sizes[i];
        snprintf(text, sizeof(text), "RSA-%zu", sizes[i]);
        if (sl_str_eq(name, sl_str_c(text)))
            return true;
    }
    return sl_str_starts(name, SL_STR("P-")) && sl_key_kind_of_curve(name, kind);
}

bool sl_key_is_kind(struct sl_str name)
{
    enum sl_key_kind kind;
    size_t bits;

    return read_kind(name, &kind, &bits);
}

int sl_key_new(struct sl_key **out, struct sl_str name, struct sl_err *err)
{
    enum sl_key_kind kind;
    EVP_PKEY *pkey;
    size_t bits;

    if (!read_kind(name, &kind, &bits))
        return sl_err_set(err, SL_E_CONFIG,
                          "no kind of key: P-256, P-384, P-521, RSA-2048, RSA-3072 or RSA-4096 "
                          "expected");
    pkey = kind == SL_KEY_RSA ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", bits)
                              : EVP_PKEY_Q_keygen(NULL, NULL, "EC", curves[kind].name);
    if (pkey == NULL)
        return sl_openssl_error(err, "cannot make a key");
    *out = wrap(pkey, kind, true);
    return 0;
}

/* --- those from outside --- */

static int check_ec(EVP_PKEY *pkey, enum sl_key_kind *kind, struct sl_err *err)
{
    char group[32];
    EVP_PKEY_CTX *ctx;
    bool is_on_curve;
    size_t len;

    if (EVP_PKEY_get_group_name(pkey, group, sizeof(group), &len) != 1 ||
        !sl_key_kind_of_curve(sl_str(group, len), kind))
        return sl_err_set(err, SL_E_CONFIG, "the curve is not P-256, P-384 or P-521");
    ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    is_on_curve = ctx != NULL && EVP_PKEY_public_check(ctx) == 1;
    EVP_PKEY_CTX_free(ctx);
    return is_on_curve ? 0
                       : sl_err_set(err, SL_E_CONFIG, "the public key is no point of the curve");
}

static bool is_odd(EVP_PKEY *pkey, const char *name, int *bits)
{
    BIGNUM *number = NULL;
    bool odd = EVP_PKEY_get_bn_param(pkey, name, &number) == 1 && BN_is_odd(number);

    *bits = odd ? BN_num_bits(number) : 0;
    BN_free(number);
    return odd;
}

static int check_rsa(EVP_PKEY *pkey, struct sl_err *err)
{
    int bits;

    if (!is_odd(pkey, OSSL_PKEY_PARAM_RSA_N, &bits) || bits < RSA_BITS_MIN || bits > RSA_BITS_MAX)
        return sl_err_set(err, SL_E_CONFIG, "RSA with %d to %d bits expected", RSA_BITS_MIN,
                          RSA_BITS_MAX);
    if (!is_odd(pkey, OSSL_PKEY_PARAM_RSA_E, &bits) || bits < 2 || bits > EXPONENT_BITS_MAX)
        return sl_err_set(err, SL_E_CONFIG,
                          "the public exponent of an RSA key must be odd, at least 3 and have at "
                          "most %d bits",
                          EXPONENT_BITS_MAX);
    return 0;
}

/* A signature that the public half takes shows that the two belong together. */
static int check_private(const struct sl_key *key, struct sl_err *err)
{
    const char *alg = sl_signature_default(key);
    struct sl_str text = SL_STR("sluice");
    struct sl_signature signature;

    if (sl_signature_make(key, alg, text, &signature) == 0 &&
        sl_signature_is_good(key, alg, text, sl_signature_str(&signature)))
        return 0;
    return sl_err_set(err, SL_E_CONFIG, "the private key does not fit its public half");
}

static int check(struct sl_key *key, struct sl_err *err)
{
    int rc;

    if (EVP_PKEY_is_a(key->pkey, "EC"))
        rc = check_ec(key->pkey, &key->kind, err);
    else if (EVP_PKEY_is_a(key->pkey, "RSA"))
        rc = check_rsa(key->pkey, err);
    else
        rc = sl_err_set(err, SL_E_CONFIG, "not an EC or RSA key");
    return rc == 0 && key->is_private ? check_private(key, err) : rc;
}

int sl_key_adopt(struct sl_key **out, EVP_PKEY *pkey, bool is_private, struct sl_err *err)
{
    struct sl_key *key = wrap(pkey, SL_KEY_RSA, is_private);
    int rc = check(key, err);

    ERR_clear_error();
    if (rc < 0)
        sl_key_free(key);
    else
        *out = key;
    return rc;
}
