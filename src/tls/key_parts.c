#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include "tls/key_internal.h"

#define NAME(id, name) [SL_KEY_PART_##id] = #name,
const char *const sl_key_part_names[SL_KEY_N_PARTS] = {SL_KEY_PARTS(NAME)};
#undef NAME

/* How OpenSSL calls the numbers of RSA. */
static const struct {
    enum sl_key_part_id id;
    const char *name;
} rsa_names[] = {
    {SL_KEY_PART_N, OSSL_PKEY_PARAM_RSA_N},
    {SL_KEY_PART_E, OSSL_PKEY_PARAM_RSA_E},
    {SL_KEY_PART_D, OSSL_PKEY_PARAM_RSA_D},
    {SL_KEY_PART_P, OSSL_PKEY_PARAM_RSA_FACTOR1},
    {SL_KEY_PART_Q, OSSL_PKEY_PARAM_RSA_FACTOR2},
    {SL_KEY_PART_DP, OSSL_PKEY_PARAM_RSA_EXPONENT1},
    {SL_KEY_PART_DQ, OSSL_PKEY_PARAM_RSA_EXPONENT2},
    {SL_KEY_PART_QI, OSSL_PKEY_PARAM_RSA_COEFFICIENT1},
};

enum { NUMBERS_MAX = SL_COUNT(rsa_names), COORDINATE_MAX = 66 };

/* The parameters that OpenSSL makes a key of. The builder refers to the numbers until it is done.
 */
struct building {
    OSSL_PARAM_BLD *params;
    BIGNUM *number[NUMBERS_MAX];
    size_t n_numbers;
    uint8_t point[1 + 2 * COORDINATE_MAX];
};

/* Secure numbers, and with them the parameters that are made of them, are wiped when freed. */
static bool push(struct building *b, const char *name, const struct sl_key_number *from)
{
    BIGNUM *number = BN_secure_new();

    sl_assert(b->n_numbers < NUMBERS_MAX);
    b->number[b->n_numbers++] = number;
    return number != NULL && BN_bin2bn(from->bytes, (int)from->len, number) != NULL &&
           OSSL_PARAM_BLD_push_BN(b->params, name, number) == 1;
}

static bool push_rsa(struct building *b, const struct sl_key_parts *parts)
{
    bool ok = true;

    for (size_t i = 0; i < SL_COUNT(rsa_names) && ok; i++) {
        const struct sl_key_number *from = &parts->part[rsa_names[i].id];

        ok = from->len == 0 || push(b, rsa_names[i].name, from);
    }
    return ok;
}

static void put_coordinate(uint8_t *to, size_t len, const struct sl_key_number *from)
{
    memset(to, 0, len - from->len);
    memcpy(to + len - from->len, from->bytes, from->len);
}

static bool push_ec(struct building *b, const struct sl_key_parts *parts)
{
    size_t len = sl_key_coordinate_len(parts->kind);
    const struct sl_key_number *d = &parts->part[SL_KEY_PART_D];

    b->point[0] = 4; /* both coordinates follow */
    put_coordinate(b->point + 1, len, &parts->part[SL_KEY_PART_X]);
    put_coordinate(b->point + 1 + len, len, &parts->part[SL_KEY_PART_Y]);
    return OSSL_PARAM_BLD_push_utf8_string(b->params, OSSL_PKEY_PARAM_GROUP_NAME,
                                           sl_key_curve(parts->kind), 0) == 1 &&
           OSSL_PARAM_BLD_push_octet_string(b->params, OSSL_PKEY_PARAM_PUB_KEY, b->point,
                                            1 + 2 * len) == 1 &&
           (d->len == 0 || push(b, OSSL_PKEY_PARAM_PRIV_KEY, d));
}

static EVP_PKEY *make(OSSL_PARAM *params, const char *type)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY *pkey = NULL;

    if (ctx != NULL && EVP_PKEY_fromdata_init(ctx) == 1)
        (void)EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_KEYPAIR, params);
    EVP_PKEY_CTX_free(ctx);
    return pkey;
}

static EVP_PKEY *build(const struct sl_key_parts *parts)
{
    bool is_rsa = parts->kind == SL_KEY_RSA;
    struct building b = {.params = OSSL_PARAM_BLD_new()};
    OSSL_PARAM *params = NULL;
    EVP_PKEY *pkey = NULL;

    if (b.params != NULL && (is_rsa ? push_rsa : push_ec)(&b, parts))
        params = OSSL_PARAM_BLD_to_param(b.params);
    if (params != NULL)
        pkey = make(params, is_rsa ? "RSA" : "EC");
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(b.params);
    for (size_t i = 0; i < b.n_numbers; i++)
        BN_clear_free(b.number[i]);
    ERR_clear_error();
    return pkey;
}

/* --- what must be there --- */

static int missing(enum sl_key_part_id id, struct sl_err *err)
{
    return sl_err_set(err, SL_E_CONFIG, "%s is missing", sl_key_part_names[id]);
}

static int check_ec(const struct sl_key_parts *parts, struct sl_err *err)
{
    static const enum sl_key_part_id ids[] = {SL_KEY_PART_X, SL_KEY_PART_Y, SL_KEY_PART_D};

    for (size_t i = 0; i < SL_COUNT(ids); i++) {
        size_t len = parts->part[ids[i]].len;

        if (len == 0 && ids[i] != SL_KEY_PART_D)
            return missing(ids[i], err);
        if (len > sl_key_coordinate_len(parts->kind))
            return sl_err_set(err, SL_E_CONFIG, "%s is too long for %s", sl_key_part_names[ids[i]],
                              sl_key_curve(parts->kind));
    }
    return 0;
}

static int check_rsa(const struct sl_key_parts *parts, struct sl_err *err)
{
    bool is_private = parts->part[SL_KEY_PART_D].len > 0;

    for (size_t i = 0; i < SL_COUNT(rsa_names); i++) {
        enum sl_key_part_id id = rsa_names[i].id;
        bool is_public_part = id == SL_KEY_PART_N || id == SL_KEY_PART_E;

        if (parts->part[id].len == 0 && (is_public_part || is_private))
            return missing(id, err);
    }
    return 0;
}

int sl_key_from_parts(struct sl_key **out, const struct sl_key_parts *parts, struct sl_err *err)
{
    int rc = (parts->kind == SL_KEY_RSA ? check_rsa : check_ec)(parts, err);
    EVP_PKEY *pkey;

    if (rc < 0)
        return rc;
    if ((pkey = build(parts)) == NULL)
        return sl_err_set(err, SL_E_CONFIG, "the numbers make no key");
    return sl_key_adopt(out, pkey, parts->part[SL_KEY_PART_D].len > 0, err);
}

/* --- the way back --- */

/* With `len` 0 as short as it is. */
static void get(const struct sl_key *key, const char *name, size_t len, struct sl_key_number *out)
{
    BIGNUM *number = NULL;

    sl_assert(EVP_PKEY_get_bn_param(key->pkey, name, &number) == 1);
    out->len = len > 0 ? len : (size_t)BN_num_bytes(number);
    sl_assert(out->len <= sizeof(out->bytes));
    sl_assert(BN_bn2binpad(number, out->bytes, (int)out->len) == (int)out->len);
    BN_free(number);
}

void sl_key_public_parts(const struct sl_key *key, struct sl_key_parts *out)
{
    size_t len = sl_key_coordinate_len(key->kind);

    *out = (struct sl_key_parts){.kind = key->kind};
    if (key->kind == SL_KEY_RSA) {
        get(key, OSSL_PKEY_PARAM_RSA_N, 0, &out->part[SL_KEY_PART_N]);
        get(key, OSSL_PKEY_PARAM_RSA_E, 0, &out->part[SL_KEY_PART_E]);
    } else {
        get(key, OSSL_PKEY_PARAM_EC_PUB_X, len, &out->part[SL_KEY_PART_X]);
        get(key, OSSL_PKEY_PARAM_EC_PUB_Y, len, &out->part[SL_KEY_PART_Y]);
    }
}
