#include "tls/key.h"

#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include "base/check.h"
#include "tls/key_internal.h"

static struct sl_key *new_key(const char *kind)
{
    struct sl_key *key = NULL;

    sl_assert(sl_key_new(&key, sl_str_c(kind), NULL) == 0);
    return key;
}

static struct sl_str text_of(const struct sl_key_text *text)
{
    return sl_str(text->bytes, text->len);
}

static bool is_same(const struct sl_key *a, const struct sl_key *b)
{
    return EVP_PKEY_eq(a->pkey, b->pkey) == 1;
}

static void check_refused(int rc, const struct sl_err *err, const char *why)
{
    sl_check(rc == SL_E_CONFIG && err->code == SL_E_CONFIG);
    sl_check(strstr(err->text, why) != NULL);
    if (strstr(err->text, why) == NULL)
        fprintf(stderr, "\"%s\" is not about \"%s\"\n", err->text, why);
}

static void pem_refused(struct sl_str pem, const char *why)
{
    struct sl_key *key = NULL;
    struct sl_err err = {0};
    int rc = sl_key_from_pem(&key, pem, &err);

    check_refused(rc, &err, why);
    sl_check(key == NULL);
}

static void parts_refused(const struct sl_key_parts *parts, const char *why)
{
    struct sl_key *key = NULL;
    struct sl_err err = {0};
    int rc = sl_key_from_parts(&key, parts, &err);

    check_refused(rc, &err, why);
    sl_check(key == NULL);
}

/* --- PEM --- */

static void check_form(const struct sl_key *key, enum sl_key_form form, const char *title)
{
    struct sl_key_text text;
    struct sl_key *copy;

    sl_check(sl_key_to_pem(key, form, &text) == 0);
    sl_check(memmem(text.bytes, text.len, title, strlen(title)) != NULL);
    sl_assert(sl_key_from_pem(&copy, text_of(&text), NULL) == 0);
    sl_check(is_same(key, copy) && sl_key_kind(key) == sl_key_kind(copy));
    sl_check(sl_key_is_private(copy) == (form != SL_KEY_PUBLIC));
    sl_key_free(copy);
}

static void test_pem(const char *kind, const char *traditional)
{
    struct sl_key *key = new_key(kind);
    char name[SL_KEY_NAME_LEN];

    sl_check_str(sl_str_c(sl_key_name(key, name)), sl_str_c(kind));
    check_form(key, SL_KEY_PKCS8, "BEGIN PRIVATE KEY");
    check_form(key, SL_KEY_TRADITIONAL, traditional);
    check_form(key, SL_KEY_PUBLIC, "BEGIN PUBLIC KEY");
    sl_key_free(key);
}

static void test_no_such_kind(void)
{
    static const char *const names[] = {"", "P-255", "prime256v1", "RSA", "RSA-1024", "RSA-20480"};
    struct sl_key *key;

    for (size_t i = 0; i < SL_COUNT(names); i++) {
        sl_check(!sl_key_is_kind(sl_str_c(names[i])));
        sl_check(sl_key_new(&key, sl_str_c(names[i]), NULL) == SL_E_CONFIG);
    }
}

/* Whatever is missing at the end, it is a sentence or a key, and no crash. */
static void test_cut_pem(void)
{
    struct sl_key *key = new_key("P-384"), *copy;
    struct sl_key_text text;
    struct sl_err err;
    int n_keys = 0;

    sl_assert(sl_key_to_pem(key, SL_KEY_TRADITIONAL, &text) == 0);
    for (size_t len = 0; len <= text.len; len++) {
        if (sl_key_from_pem(&copy, sl_str(text.bytes, len), &err) == 0) {
            n_keys++;
            sl_key_free(copy);
        }
    }
    sl_check(n_keys == 1 || n_keys == 2); /* the last newline is not needed */
    sl_key_free(key);
}

static void test_bad_pem(void)
{
    pem_refused(SL_STR(""), "not a PEM key");
    pem_refused(SL_STR("-----BEGIN PUBLIC KEY-----"), "not a PEM key");
    pem_refused(SL_STR("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
                "not a PEM key");
    /* the point at infinity */
    pem_refused(SL_STR("-----BEGIN PUBLIC KEY-----\n"
                       "MBkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDAgAA\n"
                       "-----END PUBLIC KEY-----\n"),
                "");
    /* nobody is asked for a password */
    pem_refused(SL_STR("-----BEGIN PUBLIC KEY-----\nProc-Type: 4,ENCRYPTED\n"
                       "DEK-Info: AES-128-CBC,00000000000000000000000000000000\n\nAAAA\n"
                       "-----END PUBLIC KEY-----\n"),
                "not a PEM key");
}

/* --- other keys of OpenSSL --- */

static void openssl_refused(EVP_PKEY *pkey, const char *why)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    long len;

    sl_assert(pkey != NULL && PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL) == 1);
    len = BIO_get_mem_data(bio, &text);
    pem_refused(sl_str(text, (size_t)len), why);
    BIO_free(bio);
    EVP_PKEY_free(pkey);
}

static void test_other_keys(void)
{
    openssl_refused(EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)1024), "2048 to 4096 bits");
    openssl_refused(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), "not an EC or RSA key");
    openssl_refused(EVP_PKEY_Q_keygen(NULL, NULL, "EC", "secp256k1"), "the curve");
}

static BIGNUM *hex(const char *digits)
{
    BIGNUM *number = NULL;

    sl_assert(BN_hex2bn(&number, digits) > 0);
    return number;
}

/* A curve that is P-256 but for its generator, which is the public key: its private key is 1. Taken
 * for P-256, it would make anybody the owner of that public key (CVE-2020-0601). */
static EVP_PKEY *with_own_generator(const uint8_t *point)
{
    static const char *const numbers[][2] = {
        {OSSL_PKEY_PARAM_EC_P, "FFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF"},
        {OSSL_PKEY_PARAM_EC_A, "FFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFC"},
        {OSSL_PKEY_PARAM_EC_B, "5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B"},
        {OSSL_PKEY_PARAM_EC_ORDER,
         "FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551"},
        {OSSL_PKEY_PARAM_EC_COFACTOR, "1"},
        {OSSL_PKEY_PARAM_PRIV_KEY, "1"},
    };
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    BIGNUM *number[SL_COUNT(numbers)];
    EVP_PKEY *pkey = NULL;
    OSSL_PARAM *params;

    for (size_t i = 0; i < SL_COUNT(numbers); i++) {
        number[i] = hex(numbers[i][1]);
        sl_assert(OSSL_PARAM_BLD_push_BN(build, numbers[i][0], number[i]) == 1);
    }
    OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_EC_FIELD_TYPE, "prime-field", 0);
    OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_EC_GENERATOR, point, 65);
    OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, 65);
    params = OSSL_PARAM_BLD_to_param(build);
    sl_assert(EVP_PKEY_fromdata_init(ctx) == 1 &&
              EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_KEYPAIR, params) == 1);
    for (size_t i = 0; i < SL_COUNT(number); i++)
        BN_free(number[i]);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    EVP_PKEY_CTX_free(ctx);
    return pkey;
}

static void test_own_generator(void)
{
    struct sl_key *key = new_key("P-256");
    struct sl_key_parts parts;
    uint8_t point[65] = {4};

    sl_key_public_parts(key, &parts);
    memcpy(point + 1, parts.part[SL_KEY_PART_X].bytes, 32);
    memcpy(point + 33, parts.part[SL_KEY_PART_Y].bytes, 32);
    openssl_refused(with_own_generator(point), "the curve");
    sl_key_free(key);
}

/* --- numbers --- */

static void set(struct sl_key_parts *parts, enum sl_key_part_id id, const BIGNUM *number)
{
    parts->part[id].len = (size_t)BN_num_bytes(number);
    BN_bn2bin(number, parts->part[id].bytes);
}

static void get(const struct sl_key *key, const char *name, enum sl_key_part_id id,
                struct sl_key_parts *parts)
{
    BIGNUM *number = NULL;

    sl_assert(EVP_PKEY_get_bn_param(key->pkey, name, &number) == 1);
    set(parts, id, number);
    BN_clear_free(number);
}

static void strip(struct sl_key_number *number)
{
    while (number->len > 1 && number->bytes[0] == 0)
        memmove(number->bytes, number->bytes + 1, --number->len);
}

static void test_ec_parts(const char *kind)
{
    struct sl_key *key = new_key(kind), *other = new_key(kind), *copy;
    struct sl_key_parts parts, bad;

    sl_key_public_parts(key, &parts);
    sl_assert(sl_key_from_parts(&copy, &parts, NULL) == 0);
    sl_check(is_same(key, copy) && !sl_key_is_private(copy));
    sl_key_free(copy);
    get(key, OSSL_PKEY_PARAM_PRIV_KEY, SL_KEY_PART_D, &parts);
    sl_assert(sl_key_from_parts(&copy, &parts, NULL) == 0);
    sl_check(is_same(key, copy) && sl_key_is_private(copy));
    sl_key_free(copy);

    bad = parts;
    get(other, OSSL_PKEY_PARAM_PRIV_KEY, SL_KEY_PART_D, &bad);
    parts_refused(&bad, "does not fit");
    bad = parts;
    bad.part[SL_KEY_PART_D] = (struct sl_key_number){{0}, 1};
    parts_refused(&bad, "");
    bad = parts;
    bad.part[SL_KEY_PART_Y].bytes[5] ^= 1;
    parts_refused(&bad, "make no key");
    bad = parts;
    bad.part[SL_KEY_PART_X].len++;
    parts_refused(&bad, "x is too long");
    bad = parts;
    bad.part[SL_KEY_PART_Y].len = 0;
    parts_refused(&bad, "y is missing");
    sl_key_free(key);
    sl_key_free(other);
}

static void test_stripped_zeros(void)
{
    struct sl_key *key = NULL, *copy;
    struct sl_key_parts parts, again;

    do { /* one key in 256 has it */
        sl_key_free(key);
        key = new_key("P-256");
        sl_key_public_parts(key, &parts);
    } while (parts.part[SL_KEY_PART_X].bytes[0] != 0);
    strip(&parts.part[SL_KEY_PART_X]);
    sl_check(parts.part[SL_KEY_PART_X].len < 32);
    sl_assert(sl_key_from_parts(&copy, &parts, NULL) == 0);
    sl_check(is_same(key, copy));
    sl_key_public_parts(copy, &again);
    sl_check(again.part[SL_KEY_PART_X].len == 32 && again.part[SL_KEY_PART_X].bytes[0] == 0);
    sl_key_free(copy);
    sl_key_free(key);
}

static void get_rsa(const struct sl_key *key, struct sl_key_parts *parts)
{
    *parts = (struct sl_key_parts){.kind = SL_KEY_RSA};
    get(key, OSSL_PKEY_PARAM_RSA_N, SL_KEY_PART_N, parts);
    get(key, OSSL_PKEY_PARAM_RSA_E, SL_KEY_PART_E, parts);
    get(key, OSSL_PKEY_PARAM_RSA_D, SL_KEY_PART_D, parts);
    get(key, OSSL_PKEY_PARAM_RSA_FACTOR1, SL_KEY_PART_P, parts);
    get(key, OSSL_PKEY_PARAM_RSA_FACTOR2, SL_KEY_PART_Q, parts);
    get(key, OSSL_PKEY_PARAM_RSA_EXPONENT1, SL_KEY_PART_DP, parts);
    get(key, OSSL_PKEY_PARAM_RSA_EXPONENT2, SL_KEY_PART_DQ, parts);
    get(key, OSSL_PKEY_PARAM_RSA_COEFFICIENT1, SL_KEY_PART_QI, parts);
}

static void exponent_refused(const struct sl_key_parts *parts, const char *digits)
{
    struct sl_key_parts bad = *parts;
    BIGNUM *number = hex(digits);

    set(&bad, SL_KEY_PART_E, number);
    bad.part[SL_KEY_PART_D].len = 0;
    parts_refused(&bad, "exponent");
    BN_free(number);
}

static void test_rsa_parts(void)
{
    struct sl_key *key = new_key("RSA-2048"), *copy;
    struct sl_key_parts parts, bad;

    get_rsa(key, &parts);
    sl_assert(sl_key_from_parts(&copy, &parts, NULL) == 0);
    sl_check(is_same(key, copy) && sl_key_is_private(copy));
    sl_key_free(copy);
    for (int id = SL_KEY_PART_P; id <= SL_KEY_PART_QI; id++) {
        bad = parts;
        bad.part[id].len = 0;
        parts_refused(&bad, "is missing");
    }
    bad = parts;
    bad.part[SL_KEY_PART_D].len = 0;
    bad.part[SL_KEY_PART_N].bytes[255] ^= 1; /* even */
    parts_refused(&bad, "2048 to 4096 bits");
    bad.part[SL_KEY_PART_N].len = 255;
    parts_refused(&bad, "2048 to 4096 bits");
    bad = parts;
    bad.part[SL_KEY_PART_D].bytes[9] ^= 1;
    bad.part[SL_KEY_PART_DP].bytes[9] ^= 1;
    parts_refused(&bad, "");
    exponent_refused(&parts, "1");
    exponent_refused(&parts, "2");
    exponent_refused(&parts, "10000");
    exponent_refused(&parts, "100000001");
    sl_key_free(key);
}

int main(void)
{
    test_pem("P-256", "BEGIN EC PRIVATE KEY");
    test_pem("P-384", "BEGIN EC PRIVATE KEY");
    test_pem("P-521", "BEGIN EC PRIVATE KEY");
    test_pem("RSA-2048", "BEGIN RSA PRIVATE KEY");
    test_no_such_kind();
    test_cut_pem();
    test_bad_pem();
    test_other_keys();
    test_own_generator();
    test_ec_parts("P-256");
    test_ec_parts("P-384");
    test_ec_parts("P-521");
    test_stripped_zeros();
    test_rsa_parts();
    sl_key_free(NULL);
    return sl_check_done();
}
