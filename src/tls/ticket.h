/*
 * The keys that encrypt session tickets: one ring for all server contexts and threads of this
 * process.
 *
 * Every 12 h a new key is made, and a key's tickets are accepted until it is 24 h old; one that
 * comes under the older key is replaced by a new one. A ring lives in memory alone: after a restart
 * clients do a full handshake once.
 *
 * sl_ticket_use() ties the process's ring to a context. The ring itself takes the time from its
 * caller, for the tests.
 */
#ifndef SL_TLS_TICKET_H
#define SL_TLS_TICKET_H

#include <openssl/ssl.h>
#include <pthread.h>
#include "base/mem.h"

enum { SL_TICKET_NAME_LEN = 16, SL_TICKET_KEYS = 2 };

struct sl_ticket_key {
    uint8_t name[SL_TICKET_NAME_LEN]; /* travels in the ticket and says which key it is */
    uint8_t aes[32], hmac[32];
    uint64_t born_ms; /* 0: none */
};

struct sl_ticket_ring {
    pthread_rwlock_t lock;
    struct sl_ticket_key keys[SL_TICKET_KEYS]; /* newest first */
};

enum sl_ticket_found { SL_TICKET_UNKNOWN, SL_TICKET_CURRENT, SL_TICKET_OLD };

/* The key to encrypt with now: makes one when the newest is too old. 0, or -1 when there is no
 * randomness. */
int sl_ticket_ring_current(struct sl_ticket_ring *ring, uint64_t now_ms, struct sl_ticket_key *out);
/* The key with this name, if its tickets may still be accepted. */
enum sl_ticket_found sl_ticket_ring_find(struct sl_ticket_ring *ring, uint64_t now_ms,
                                         const uint8_t name[SL_TICKET_NAME_LEN],
                                         struct sl_ticket_key *out);

/* Encrypts and decrypts this context's tickets with the ring of the process. 0 or SL_E_TLS. */
int sl_ticket_use(SSL_CTX *ctx);

#endif
