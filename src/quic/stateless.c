#include <openssl/rand.h>
#include "quic/internal.h"

enum {
    VERSIONS = 3,
    RESET_LEN_MIN = 5 + NGTCP2_STATELESS_RESET_TOKENLEN, /* RFC 9000, section 10.3 */
    RESET_LEN = 43, /* as long as a short packet of ours: longer ones would say what they are */
};

static const uint32_t versions[VERSIONS] = {
    0x1a2a3a4a, /* reserved: whoever falls over it does so now (RFC 9000, section 6.3) */
    NGTCP2_PROTO_VER_V1,
    NGTCP2_PROTO_VER_V2,
};

/* Answers to packets that prove nothing about their senders are few. */
static bool may_answer(struct sl_quic_endpoint *e)
{
    uint64_t now = sl_quic_now(e);

    if (now - e->answers_ns >= NGTCP2_SECONDS) {
        e->answers_ns = now;
        e->n_answers = 0;
    }
    if (e->n_answers >= e->settings.resets_per_second)
        return false;
    e->n_answers++;
    return true;
}

static uint8_t *room(struct sl_quic_endpoint *e, size_t *len)
{
    uint8_t *at = sl_quic_out_room(e, NGTCP2_MAX_UDP_PAYLOAD_SIZE, len);

    if (at == NULL)
        e->stats.dropped++;
    *len = NGTCP2_MAX_UDP_PAYLOAD_SIZE;
    return at;
}

/* Sends `len` bytes that lie in the room, back to where the packet came from. */
static bool answer(struct sl_quic_endpoint *e, const struct sl_udp_packet *packet,
                   const uint8_t *bytes, ngtcp2_ssize len)
{
    struct sl_udp_send msg = {.remote = &packet->remote,
                              .local = &packet->local,
                              .bytes = bytes,
                              .len = (size_t)len,
                              .segment = (size_t)len};

    if (len <= 0)
        return false;
    sl_quic_out_add(e, &msg);
    return true;
}

void sl_quic_send_version_negotiation(struct sl_quic_endpoint *e,
                                      const struct sl_udp_packet *packet,
                                      const ngtcp2_version_cid *ids)
{
    size_t len;
    uint8_t *at = NULL, noise;
    ngtcp2_ssize n;

    /* A reserved version does the same: it is not one that we have. */
    if (e->server != NULL && may_answer(e) && RAND_bytes(&noise, 1) == 1)
        at = room(e, &len);
    if (at == NULL)
        return;
    n = ngtcp2_pkt_write_version_negotiation(at, len, noise, ids->scid, ids->scidlen, ids->dcid,
                                             ids->dcidlen, versions, VERSIONS);
    if (answer(e, packet, at, n))
        e->stats.version_negotiations++;
}

void sl_quic_send_retry(struct sl_quic_endpoint *e, const struct sl_udp_packet *packet,
                        const ngtcp2_pkt_hd *hd)
{
    uint8_t token[SL_QUIC_TOKEN_MAX];
    ngtcp2_cid scid;
    size_t len, token_len;
    uint8_t *at = room(e, &len);

    if (at == NULL || sl_quic_cid_make(&scid, e->worker) < 0)
        return;
    token_len = sl_quic_token_retry(token, hd, &scid, &packet->remote, sl_quic_now(e));
    if (token_len > 0 && answer(e, packet, at,
                                ngtcp2_crypto_write_retry(at, len, hd->version, &hd->scid, &scid,
                                                          &hd->dcid, token, token_len)))
        e->stats.retries++;
}

void sl_quic_send_refusal(struct sl_quic_endpoint *e, const struct sl_udp_packet *packet,
                          const ngtcp2_pkt_hd *hd, uint64_t error)
{
    size_t len;
    uint8_t *at = may_answer(e) ? room(e, &len) : NULL;

    if (at != NULL)
        (void)answer(e, packet, at,
                     ngtcp2_crypto_write_connection_close(at, len, hd->version, &hd->scid,
                                                          &hd->dcid, error, NULL, 0));
}

/* Each answer is shorter than what it answers, so that two endpoints without state that reset each
 * other come to an end; the rate ends what noise could begin. */
void sl_quic_send_reset(struct sl_quic_endpoint *e, const struct sl_udp_packet *packet,
                        const uint8_t *cid, size_t cid_len)
{
    uint8_t token[NGTCP2_STATELESS_RESET_TOKENLEN], noise[RESET_LEN];
    size_t len, want = SL_MIN(packet->len - 1, (size_t)RESET_LEN);
    ngtcp2_cid id;
    uint8_t *at = NULL;

    ngtcp2_cid_init(&id, cid, cid_len);
    if (e->server != NULL && want >= RESET_LEN_MIN && may_answer(e) &&
        sl_quic_reset_token(token, &id) == 0 && RAND_bytes(noise, sizeof(noise)) == 1)
        at = room(e, &len);
    if (at == NULL) {
        e->stats.dropped++;
        return;
    }
    if (answer(e, packet, at,
               ngtcp2_pkt_write_stateless_reset(at, want, token, noise,
                                                want - NGTCP2_STATELESS_RESET_TOKENLEN)))
        e->stats.resets++;
}
