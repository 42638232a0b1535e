#include "quic/token.h"

#include <openssl/rand.h>
#include <pthread.h>

#define RETRY_LIFE (10 * NGTCP2_SECONDS)
#define KNOWN_LIFE (3600 * NGTCP2_SECONDS)

static struct {
    uint8_t token[32], reset[32];
} secrets;
static pthread_once_t drawn = PTHREAD_ONCE_INIT;

static void draw(void)
{
    sl_assert(RAND_priv_bytes((uint8_t *)&secrets, sizeof(secrets)) == 1);
}

void sl_quic_token_draw(void)
{
    pthread_once(&drawn, draw);
}

size_t sl_quic_token_retry(uint8_t out[SL_QUIC_TOKEN_MAX], const ngtcp2_pkt_hd *hd,
                           const ngtcp2_cid *scid, const struct sl_addr *remote, uint64_t now)
{
    ngtcp2_ssize n;

    sl_quic_token_draw();
    n = ngtcp2_crypto_generate_retry_token2(out, secrets.token, sizeof(secrets.token), hd->version,
                                            &remote->sa, sl_addr_len(remote), scid, &hd->dcid, now);
    return n > 0 ? (size_t)n : 0;
}

size_t sl_quic_token_new(uint8_t out[SL_QUIC_TOKEN_MAX], const struct sl_addr *remote, uint64_t now)
{
    ngtcp2_ssize n;

    sl_quic_token_draw();
    n = ngtcp2_crypto_generate_regular_token(out, secrets.token, sizeof(secrets.token), &remote->sa,
                                             sl_addr_len(remote), now);
    return n > 0 ? (size_t)n : 0;
}

static enum sl_quic_token check_retry(const ngtcp2_pkt_hd *hd, const struct sl_addr *remote,
                                      uint64_t now, ngtcp2_cid *odcid)
{
    switch (ngtcp2_crypto_verify_retry_token2(odcid, hd->token, hd->tokenlen, secrets.token,
                                              sizeof(secrets.token), hd->version, &remote->sa,
                                              sl_addr_len(remote), &hd->dcid, RETRY_LIFE, now)) {
    case 0:
        return SL_QUIC_TOKEN_RETRY;
    case NGTCP2_CRYPTO_ERR_VERIFY_TOKEN:
        return SL_QUIC_TOKEN_INVALID;
    default:
        return SL_QUIC_TOKEN_NONE; /* of another process, or noise */
    }
}

enum sl_quic_token sl_quic_token_check(const ngtcp2_pkt_hd *hd, const struct sl_addr *remote,
                                       uint64_t now, ngtcp2_cid *odcid)
{
    sl_quic_token_draw();
    if (hd->tokenlen == 0)
        return SL_QUIC_TOKEN_NONE;
    if (hd->token[0] == NGTCP2_CRYPTO_TOKEN_MAGIC_RETRY2)
        return check_retry(hd, remote, now, odcid);
    if (hd->token[0] == NGTCP2_CRYPTO_TOKEN_MAGIC_REGULAR &&
        ngtcp2_crypto_verify_regular_token(hd->token, hd->tokenlen, secrets.token,
                                           sizeof(secrets.token), &remote->sa, sl_addr_len(remote),
                                           KNOWN_LIFE, now) == 0)
        return SL_QUIC_TOKEN_KNOWN;
    return SL_QUIC_TOKEN_NONE;
}

int sl_quic_reset_token(uint8_t out[NGTCP2_STATELESS_RESET_TOKENLEN], const ngtcp2_cid *cid)
{
    sl_quic_token_draw();
    return ngtcp2_crypto_generate_stateless_reset_token(out, secrets.reset, sizeof(secrets.reset),
                                                        cid) == 0
               ? 0
               : SL_E_SYSTEM;
}
