/*
 * TLS 1.3 record protection for one direction of one connection (RFC 8446, section 5). No I/O, no
 * clock, no state machine.
 *
 * Why not leave it to OpenSSL: its connection object keeps 28 KiB for as long as the connection
 * lives, allocates a buffer of 16 KiB for each read and each write, and copies every byte twice. So
 * OpenSSL does the handshake, with all that can go wrong in it; then the two traffic secrets move
 * into a pair of these and its object is freed. What is left is 1.3 KiB for each direction, and
 * AES-GCM straight from the network buffer into the reader's. The ciphers and the hash are still
 * OpenSSL's.
 *
 * Owner: embedded in the connection; one thread. Zero is a legal, keyless state;
 * sl_record_key_clear() wipes the secrets.
 *
 *     memcpy(rec + SL_RECORD_HEAD, "ping", 4);
 *     len = sl_record_seal(&tx, SL_RECORD_DATA, rec, 4);
 */
#ifndef SL_TLS_RECORD_H
#define SL_TLS_RECORD_H

#include <openssl/evp.h>
#include "base/error.h"

enum {
    SL_RECORD_HEAD = 5,
    SL_RECORD_PLAIN_MAX = 16384,                    /* content of one record */
    SL_RECORD_OVERHEAD = SL_RECORD_HEAD + 1 + 16,   /* head, inner type, tag: what sealing adds */
    SL_RECORD_BODY_MAX = SL_RECORD_PLAIN_MAX + 256, /* what may follow a head */
    SL_RECORD_SECRET_MAX = 48,
};

/* The alerts that this folder sends by itself; the numbers are those of RFC 8446, section 6. */
enum sl_alert {
    SL_ALERT_CLOSE_NOTIFY = 0,
    SL_ALERT_UNEXPECTED_MESSAGE = 10,
    SL_ALERT_BAD_RECORD_MAC = 20,
    SL_ALERT_RECORD_OVERFLOW = 22,
    SL_ALERT_ILLEGAL_PARAMETER = 47,
    SL_ALERT_DECODE_ERROR = 50,
    SL_ALERT_INTERNAL_ERROR = 80,
    SL_ALERT_USER_CANCELED = 90,
    SL_ALERT_UNRECOGNIZED_NAME = 112,
};

enum sl_record_type { SL_RECORD_ALERT = 21, SL_RECORD_HANDSHAKE = 22, SL_RECORD_DATA = 23 };

/* A cipher suite: its AEAD and its hash. */
struct sl_record_suite;

struct sl_record_key {
    const struct sl_record_suite *suite;
    EVP_CIPHER_CTX *ctx;
    uint64_t seq; /* of the next record */
    uint8_t iv[12];
    uint8_t secret[SL_RECORD_SECRET_MAX];
};

/* The suite with this number (0x1301), or NULL when it is not one of ours. Any thread. */
const struct sl_record_suite *sl_record_suite(unsigned number);
/* Length of a traffic secret under this suite. */
size_t sl_record_secret_len(const struct sl_record_suite *suite);

/* Derives key and IV from a traffic secret, for sealing or for opening. 0 or SL_E_TLS. */
int sl_record_key_init(struct sl_record_key *k, const struct sl_record_suite *suite,
                       const uint8_t *secret, bool for_sealing);
/* Steps to the next generation, as a KeyUpdate message demands. 0 or SL_E_TLS. */
int sl_record_key_update(struct sl_record_key *k);
/* Is it time for us to update, before AES-GCM has protected too much under one key (section 5.5)?
 */
bool sl_record_key_is_worn(const struct sl_record_key *k);
void sl_record_key_clear(struct sl_record_key *k);

/* The record at the front of `len` bytes: 0 and its length with the head; SL_E_PARTIAL and how many
   bytes are missing to its end, or to the end of its head; a positive number is the alert that the
   head deserves. */
int sl_record_frame(const uint8_t *bytes, size_t len, size_t *n);

/* Seals in place. `rec` has room for `len` + SL_RECORD_OVERHEAD bytes, with the content at rec +
   SL_RECORD_HEAD, at most SL_RECORD_PLAIN_MAX. Returns the length of the record. */
size_t sl_record_seal(struct sl_record_key *k, enum sl_record_type type, uint8_t *rec, size_t len);
/* Opens a whole record into `out`, which has room for the record's length and does not overlap it.
   0 with the content's length and type (any byte: the caller judges), else the number of the alert
   to send. */
int sl_record_open(struct sl_record_key *k, const uint8_t *rec, size_t rec_len, uint8_t *out,
                   size_t *len, uint8_t *type);

#endif
