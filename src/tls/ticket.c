#include "tls/ticket.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include "base/clock.h"
#include "base/error.h"

enum {
    HOUR_MS = 3600 * 1000,
    ROTATE_MS = 12 * HOUR_MS,
    ACCEPT_MS = 24 * HOUR_MS,
    LIFETIME_S = 12 * 3600, /* of a session: the key it was sealed with lives at least that long */
};

static struct sl_ticket_ring process_ring = {.lock = PTHREAD_RWLOCK_INITIALIZER};
static EVP_CIPHER *cipher;
static pthread_once_t fetched = PTHREAD_ONCE_INIT;

static bool is_fresh(const struct sl_ticket_key *key, uint64_t now_ms)
{
    return key->born_ms != 0 && now_ms - key->born_ms < ROTATE_MS;
}

/* Under the write lock. Another thread may have been faster. */
static int rotate(struct sl_ticket_ring *ring, uint64_t now_ms)
{
    struct sl_ticket_key fresh;

    if (is_fresh(&ring->keys[0], now_ms))
        return 0;
    if (RAND_bytes(fresh.name, sizeof(fresh.name)) != 1 ||
        RAND_priv_bytes(fresh.aes, sizeof(fresh.aes)) != 1 ||
        RAND_priv_bytes(fresh.hmac, sizeof(fresh.hmac)) != 1)
        return -1;
    fresh.born_ms = SL_MAX(now_ms, (uint64_t)1);
    memmove(&ring->keys[1], &ring->keys[0], sizeof(ring->keys) - sizeof(ring->keys[0]));
    ring->keys[0] = fresh;
    OPENSSL_cleanse(&fresh, sizeof(fresh));
    return 0;
}

int sl_ticket_ring_current(struct sl_ticket_ring *ring, uint64_t now_ms, struct sl_ticket_key *out)
{
    int rc = 0;

    pthread_rwlock_rdlock(&ring->lock);
    if (!is_fresh(&ring->keys[0], now_ms)) {
        pthread_rwlock_unlock(&ring->lock);
        pthread_rwlock_wrlock(&ring->lock);
        rc = rotate(ring, now_ms);
    }
    *out = ring->keys[0];
    pthread_rwlock_unlock(&ring->lock);
    return rc;
}

enum sl_ticket_found sl_ticket_ring_find(struct sl_ticket_ring *ring, uint64_t now_ms,
                                         const uint8_t name[SL_TICKET_NAME_LEN],
                                         struct sl_ticket_key *out)
{
    enum sl_ticket_found found = SL_TICKET_UNKNOWN;

    pthread_rwlock_rdlock(&ring->lock);
    for (int i = 0; i < SL_TICKET_KEYS; i++) {
        const struct sl_ticket_key *key = &ring->keys[i];

        if (key->born_ms == 0 || now_ms - key->born_ms >= ACCEPT_MS ||
            memcmp(key->name, name, SL_TICKET_NAME_LEN) != 0)
            continue;
        *out = *key;
        found = i == 0 ? SL_TICKET_CURRENT : SL_TICKET_OLD;
    }
    pthread_rwlock_unlock(&ring->lock);
    return found;
}

static int set_mac_key(EVP_MAC_CTX *mac, struct sl_ticket_key *key)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->hmac, sizeof(key->hmac)),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_end()};

    return EVP_MAC_CTX_set_params(mac, params);
}

static int begin_ticket(uint8_t *name, uint8_t *iv, EVP_CIPHER_CTX *ctx, EVP_MAC_CTX *mac)
{
    struct sl_ticket_key key;
    int ok;

    if (sl_ticket_ring_current(&process_ring, sl_clock_coarse_ms(), &key) < 0)
        return -1;
    memcpy(name, key.name, SL_TICKET_NAME_LEN);
    ok = RAND_bytes(iv, EVP_CIPHER_get_iv_length(cipher)) == 1 &&
         EVP_EncryptInit_ex(ctx, cipher, NULL, key.aes, iv) == 1 && set_mac_key(mac, &key) == 1;
    OPENSSL_cleanse(&key, sizeof(key));
    return ok ? 1 : -1;
}

static int open_ticket(bool is_tls13, const uint8_t *name, const uint8_t *iv, EVP_CIPHER_CTX *ctx,
                       EVP_MAC_CTX *mac)
{
    struct sl_ticket_key key;
    enum sl_ticket_found found =
        sl_ticket_ring_find(&process_ring, sl_clock_coarse_ms(), name, &key);
    int ok;

    if (found == SL_TICKET_UNKNOWN)
        return 0; /* a full handshake */
    ok = EVP_DecryptInit_ex(ctx, cipher, NULL, key.aes, iv) == 1 && set_mac_key(mac, &key) == 1;
    OPENSSL_cleanse(&key, sizeof(key));
    if (!ok)
        return -1;
    /* 2: take it, and send a new one. With TLS 1.3 always, since a client uses each only once. */
    return found == SL_TICKET_CURRENT && !is_tls13 ? 1 : 2;
}

static int on_ticket(SSL *ssl, uint8_t *name, uint8_t *iv, EVP_CIPHER_CTX *ctx, EVP_MAC_CTX *mac,
                     int is_new)
{
    if (is_new)
        return begin_ticket(name, iv, ctx, mac);
    return open_ticket(SSL_version(ssl) == TLS1_3_VERSION, name, iv, ctx, mac);
}

static void fetch(void)
{
    cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
}

int sl_ticket_use(SSL_CTX *ctx)
{
    pthread_once(&fetched, fetch);
    if (cipher == NULL || SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket) != 1)
        return SL_E_TLS;
    SSL_CTX_set_timeout(ctx, LIFETIME_S);
    return 0;
}
