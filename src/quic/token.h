/*
 * What the workers of this process prove to themselves: address validation tokens (RFC 9000,
 * section 8.1) and stateless reset tokens (section 10.3), from secrets that all workers share. They
 * are drawn when they are first needed; a parent that draws them gives them to every process that
 * it forks, so that the one after a crash can tell clients that their connections are gone.
 *
 * Any thread. After a restart of the parent a client does one more round trip, and its old
 * connections time out.
 */
#ifndef SL_QUIC_TOKEN_H
#define SL_QUIC_TOKEN_H

#include <ngtcp2/ngtcp2_crypto.h>
#include "net/addr.h"

enum { SL_QUIC_TOKEN_MAX = NGTCP2_CRYPTO_MAX_RETRY_TOKENLEN2 };

enum sl_quic_token {
    SL_QUIC_TOKEN_NONE,   /* none, or one that says nothing: as if there were none */
    SL_QUIC_TOKEN_RETRY,  /* an answer to our Retry, from that address */
    SL_QUIC_TOKEN_KNOWN,  /* given to that address on an earlier connection */
    SL_QUIC_TOKEN_INVALID /* of our making, but not for this address or too old */
};

void sl_quic_token_draw(void);
/* The token of a Retry that names `scid`, for the client's packet `hd`. Its length, or 0. `now` is
 * in ns, on the same clock everywhere. */
size_t sl_quic_token_retry(uint8_t out[SL_QUIC_TOKEN_MAX], const ngtcp2_pkt_hd *hd,
                           const ngtcp2_cid *scid, const struct sl_addr *remote, uint64_t now);
/* The token of a NEW_TOKEN frame. */
size_t sl_quic_token_new(uint8_t out[SL_QUIC_TOKEN_MAX], const struct sl_addr *remote,
                         uint64_t now);
/* What the token in a client's Initial proves. `odcid` is set with SL_QUIC_TOKEN_RETRY. */
enum sl_quic_token sl_quic_token_check(const ngtcp2_pkt_hd *hd, const struct sl_addr *remote,
                                       uint64_t now, ngtcp2_cid *odcid);
/* The reset token of a connection id. 0 or SL_E_SYSTEM. */
int sl_quic_reset_token(uint8_t out[NGTCP2_STATELESS_RESET_TOKENLEN], const ngtcp2_cid *cid);

#endif
