#include "tls/signature.h"

#include <openssl/rsa.h>
#include "base/check.h"
#include "tls/key_internal.h"

static const struct {
    const char *kind, *algs[7];
    size_t len;
} kinds[] = {
    {"P-256", {"ES256"}, 64},
    {"P-384", {"ES384"}, 96},
    {"P-521", {"ES512"}, 132},
    {"RSA-2048", {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, 256},
};

static struct sl_key *keys[SL_COUNT(kinds)];

static bool is_good(size_t key, const char *alg, const struct sl_signature *s)
{
    return sl_signature_is_good(keys[key], alg, SL_STR("text"), sl_signature_str(s));
}

static void check_altered(size_t key, const char *alg, const struct sl_signature *good)
{
    struct sl_signature s = *good;

    for (size_t i = 0; i < s.len; i++) {
        s.bytes[i] ^= 0x10;
        sl_check(!is_good(key, alg, &s));
        s.bytes[i] ^= 0x10;
    }
    sl_check(is_good(key, alg, &s));
    sl_check(!sl_signature_is_good(keys[key], alg, SL_STR("texT"), sl_signature_str(&s)));
    for (s.len = 0; s.len < good->len; s.len++)
        sl_check(!is_good(key, alg, &s));
    s.len = good->len + 1;
    sl_check(s.len > sizeof(s.bytes) || !is_good(key, alg, &s));
}

/* A signature is one of its key and its algorithm alone. */
static void check_others(size_t key, const char *alg, const struct sl_signature *s)
{
    struct sl_signature unused;

    for (size_t other = 0; other < SL_COUNT(kinds); other++) {
        for (const char *const *a = kinds[other].algs; *a != NULL; a++) {
            bool is_own = other == key && strcmp(*a, alg) == 0;

            sl_check(is_good(key, *a, s) == is_own);
            sl_check(is_good(other, alg, s) == (other == key));
            if (other != key)
                sl_check(sl_signature_make(keys[key], *a, SL_STR("text"), &unused) == SL_E_CONFIG);
        }
    }
    sl_check(!is_good(key, "none", s) && !is_good(key, "", s) && !is_good(key, "HS256", s));
}

static void test_all(void)
{
    struct sl_signature s;

    for (size_t key = 0; key < SL_COUNT(kinds); key++) {
        sl_check(strcmp(sl_signature_default(keys[key]), kinds[key].algs[0]) == 0);
        for (const char *const *alg = kinds[key].algs; *alg != NULL; alg++) {
            sl_check(sl_signature_fits(keys[key], *alg));
            sl_check(sl_signature_make(keys[key], *alg, SL_STR("text"), &s) == 0);
            sl_check(s.len == kinds[key].len);
            check_altered(key, *alg, &s);
            check_others(key, *alg, &s);
        }
    }
}

/* Numbers that no signature has: zero, and all ones. */
static void test_strange_numbers(void)
{
    struct sl_signature s = {.len = 64};

    sl_check(!is_good(0, "ES256", &s));
    memset(s.bytes, 0xff, 64);
    sl_check(!is_good(0, "ES256", &s));
    memset(s.bytes, 0, 32);
    sl_check(!is_good(0, "ES256", &s));
    memset(s.bytes, 0, 64);
    s.bytes[31] = s.bytes[63] = 1;
    sl_check(!is_good(0, "ES256", &s));
}

/* RFC 7518, section 3.5: the salt is as long as the digest. */
static void test_salt(void)
{
    struct sl_signature s = {.len = sizeof(s.bytes)};
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    EVP_PKEY_CTX *ctx;

    sl_assert(EVP_DigestSignInit(md, &ctx, EVP_sha256(), NULL, keys[3]->pkey) == 1 &&
              EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
              EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, 0) == 1 &&
              EVP_DigestSign(md, s.bytes, &s.len, (const uint8_t *)"text", 4) == 1);
    sl_check(!is_good(3, "PS256", &s));
    EVP_MD_CTX_free(md);
}

int main(void)
{
    for (size_t i = 0; i < SL_COUNT(kinds); i++)
        sl_assert(sl_key_new(&keys[i], sl_str_c(kinds[i].kind), NULL) == 0);
    test_all();
    test_strange_numbers();
    test_salt();
    for (size_t i = 0; i < SL_COUNT(kinds); i++)
        sl_key_free(keys[i]);
    return sl_check_done();
}
