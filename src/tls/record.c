#include "tls/record.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <pthread.h>
#include <string.h>

enum {
    TAG_LEN = 16,
    IV_LEN = 12,
    /* RFC 8446, section 5.5: 2^24.5 full records is where AES-GCM loses its margin. */
    WORN_AFTER = 1 << 24,
};

struct sl_record_suite {
    unsigned number;
    const char *cipher_name, *digest_name;
    uint8_t key_len, secret_len;
    EVP_CIPHER *cipher; /* fetched once: a look-up by name costs more than a record */
};

static struct sl_record_suite suites[] = {
    {0x1301, "AES-128-GCM", "SHA256", 16, 32, NULL},
    {0x1302, "AES-256-GCM", "SHA384", 32, 48, NULL},
    {0x1303, "ChaCha20-Poly1305", "SHA256", 32, 32, NULL},
};
static EVP_MAC *hmac;
static pthread_once_t fetched = PTHREAD_ONCE_INIT;

static void fetch(void)
{
    for (size_t i = 0; i < SL_COUNT(suites); i++)
        suites[i].cipher = EVP_CIPHER_fetch(NULL, suites[i].cipher_name, NULL);
    hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
}

const struct sl_record_suite *sl_record_suite(unsigned number)
{
    pthread_once(&fetched, fetch);
    for (size_t i = 0; i < SL_COUNT(suites); i++)
        if (suites[i].number == number && suites[i].cipher != NULL && hmac != NULL)
            return &suites[i];
    return NULL;
}

size_t sl_record_secret_len(const struct sl_record_suite *suite)
{
    return suite->secret_len;
}

/* HKDF-Expand-Label with an empty context (RFC 8446, section 7.1). All that TLS wants of it fits
 * one block of HKDF, which is one HMAC. */
static int expand(const struct sl_record_suite *suite, const uint8_t *secret, const char *label,
                  uint8_t *out, size_t len)
{
    OSSL_PARAM digest[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)suite->digest_name, 0),
        OSSL_PARAM_construct_end()};
    EVP_MAC_CTX *mac = EVP_MAC_CTX_new(hmac);
    uint8_t info[32], block[EVP_MAX_MD_SIZE];
    size_t n_label = strlen(label), n = 0;
    int rc = SL_E_TLS;

    sl_assert(len <= suite->secret_len && n_label + 11 <= sizeof(info));
    info[n++] = 0;
    info[n++] = (uint8_t)len;
    info[n++] = (uint8_t)(6 + n_label);
    memcpy(info + n, "tls13 ", 6);
    memcpy(info + n + 6, label, n_label);
    n += 6 + n_label;
    info[n++] = 0; /* no context */
    info[n++] = 1; /* the first block of HKDF */
    if (mac != NULL && EVP_MAC_init(mac, secret, suite->secret_len, digest) == 1 &&
        EVP_MAC_update(mac, info, n) == 1 && EVP_MAC_final(mac, block, NULL, sizeof(block)) == 1) {
        memcpy(out, block, len);
        rc = 0;
    }
    EVP_MAC_CTX_free(mac);
    OPENSSL_cleanse(block, sizeof(block));
    return rc;
}

/* Key and IV of the secret that `k` holds now. */
static int install(struct sl_record_key *k, int for_sealing)
{
    uint8_t key[EVP_MAX_KEY_LENGTH];
    int rc;

    if ((rc = expand(k->suite, k->secret, "key", key, k->suite->key_len)) < 0 ||
        (rc = expand(k->suite, k->secret, "iv", k->iv, IV_LEN)) < 0)
        return rc;
    if (EVP_CipherInit_ex(k->ctx, k->suite->cipher, NULL, key, k->iv, for_sealing) != 1)
        rc = SL_E_TLS;
    OPENSSL_cleanse(key, sizeof(key));
    k->seq = 0;
    return rc;
}

int sl_record_key_init(struct sl_record_key *k, const struct sl_record_suite *suite,
                       const uint8_t *secret, bool for_sealing)
{
    k->suite = suite;
    k->ctx = EVP_CIPHER_CTX_new();
    if (k->ctx == NULL)
        return SL_E_TLS;
    memcpy(k->secret, secret, suite->secret_len);
    return install(k, for_sealing);
}

int sl_record_key_update(struct sl_record_key *k)
{
    uint8_t next[SL_RECORD_SECRET_MAX];
    int rc = expand(k->suite, k->secret, "traffic upd", next, k->suite->secret_len);

    if (rc < 0)
        return rc;
    memcpy(k->secret, next, k->suite->secret_len);
    OPENSSL_cleanse(next, sizeof(next));
    return install(k, EVP_CIPHER_CTX_is_encrypting(k->ctx));
}

bool sl_record_key_is_worn(const struct sl_record_key *k)
{
    return k->seq >= WORN_AFTER;
}

void sl_record_key_clear(struct sl_record_key *k)
{
    EVP_CIPHER_CTX_free(k->ctx);
    OPENSSL_cleanse(k, sizeof(*k));
}

int sl_record_frame(const uint8_t *bytes, size_t len, size_t *n)
{
    size_t body;

    if (len > 0 && bytes[0] != SL_RECORD_DATA) /* encrypted records all look like data */
        return SL_ALERT_UNEXPECTED_MESSAGE;
    if (len < SL_RECORD_HEAD) {
        *n = SL_RECORD_HEAD - len;
        return SL_E_PARTIAL;
    }
    body = (size_t)bytes[3] << 8 | bytes[4];
    if (body > SL_RECORD_BODY_MAX)
        return SL_ALERT_RECORD_OVERFLOW;
    if (body < TAG_LEN + 1) /* not even an inner type */
        return SL_ALERT_DECODE_ERROR;
    *n = SL_RECORD_HEAD + body;
    if (len >= *n)
        return 0;
    *n -= len;
    return SL_E_PARTIAL;
}

/* The nonce is the IV with the record's number mixed in; each is used once. */
static int begin(struct sl_record_key *k, const uint8_t *head)
{
    uint8_t nonce[IV_LEN];
    int n;

    memcpy(nonce, k->iv, sizeof(nonce));
    for (size_t i = 0; i < 8; i++)
        nonce[IV_LEN - 1 - i] ^= (uint8_t)(k->seq >> (8 * i));
    k->seq++;
    sl_assert(k->seq != 0);
    return EVP_CipherInit_ex(k->ctx, NULL, NULL, NULL, nonce, -1) == 1 &&
           EVP_CipherUpdate(k->ctx, NULL, &n, head, SL_RECORD_HEAD) == 1;
}

size_t sl_record_seal(struct sl_record_key *k, enum sl_record_type type, uint8_t *rec, size_t len)
{
    uint8_t *body = rec + SL_RECORD_HEAD;
    size_t body_len = len + 1 + TAG_LEN;
    int n = 0, ok;

    sl_assert(len <= SL_RECORD_PLAIN_MAX);
    rec[0] = SL_RECORD_DATA;
    rec[1] = rec[2] = 3;
    rec[3] = (uint8_t)(body_len >> 8);
    rec[4] = (uint8_t)body_len;
    body[len] = (uint8_t)type;
    ok = begin(k, rec) && EVP_CipherUpdate(k->ctx, body, &n, body, (int)len + 1) == 1 &&
         EVP_CipherFinal_ex(k->ctx, body + n, &n) == 1 &&
         EVP_CIPHER_CTX_ctrl(k->ctx, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, body + len + 1) == 1;
    /* Nothing a peer sends can make sealing fail; going on would send plaintext. */
    sl_assert(ok);
    return SL_RECORD_HEAD + body_len;
}

/* Takes the padding of zeros off the end; what stands before it is the type. */
static int unpad(const uint8_t *inner, size_t inner_len, size_t *len, uint8_t *type)
{
    while (inner_len > 0 && inner[inner_len - 1] == 0)
        inner_len--;
    if (inner_len == 0)
        return SL_ALERT_UNEXPECTED_MESSAGE;
    *len = inner_len - 1;
    *type = inner[*len];
    return 0;
}

int sl_record_open(struct sl_record_key *k, const uint8_t *rec, size_t rec_len, uint8_t *out,
                   size_t *len, uint8_t *type)
{
    size_t inner_len = rec_len - SL_RECORD_HEAD - TAG_LEN;
    uint8_t tag[TAG_LEN];
    int n = 0;

    memcpy(tag, rec + SL_RECORD_HEAD + inner_len, TAG_LEN);
    if (!begin(k, rec) ||
        EVP_CipherUpdate(k->ctx, out, &n, rec + SL_RECORD_HEAD, (int)inner_len) != 1 ||
        EVP_CIPHER_CTX_ctrl(k->ctx, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, tag) != 1 ||
        EVP_CipherFinal_ex(k->ctx, out + n, &n) != 1)
        return SL_ALERT_BAD_RECORD_MAC;
    if (inner_len > SL_RECORD_PLAIN_MAX + 1)
        return SL_ALERT_RECORD_OVERFLOW;
    return unpad(out, inner_len, len, type);
}
