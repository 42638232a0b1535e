/*
 * TLS contexts: what all connections of one kind share. One server context per process and kind,
 * used by all workers.
 *
 * Session tickets are encrypted with keys that all workers share and that rotate (every 12 h,
 * accepted for 24 h); a ticket is bound to the certificate it was made under and is not accepted
 * for another (attack T-04).
 *
 * The server chooses the suite: AES-128-GCM first, since it is the cheapest to compute and to hash,
 * but ChaCha20 for a client that puts it first (it has no AES in hardware). With TLS 1.2 only ECDHE
 * with these AEADs. Key exchange as OpenSSL prefers it, which is X25519MLKEM768 first. No
 * renegotiation, no compression, no early data.
 */
#ifndef SL_TLS_CONTEXT_H
#define SL_TLS_CONTEXT_H

#include "tls/cert.h"

struct sl_tls_server; /* context for accepting */
struct sl_tls_client; /* context for connecting */

/* What is offered by ALPN: a list in wire form ("\x02h2\x08http/1.1"), in order of preference. Each
 * name has at most 31 bytes. */
enum { SL_TLS_PROTOCOL_MAX = 31 };

struct sl_tls_server_opts {
    int min_version; /* TLS1_2_VERSION (default) or TLS1_3_VERSION */
    bool no_tickets;
    bool http2;       /* offer "h2" before "http/1.1" */
    const char *alpn; /* what to offer instead, or NULL */
};

/* 0, or SL_E_CONFIG or SL_E_TLS with a sentence. */
int sl_tls_server_new(struct sl_tls_server **out, const struct sl_tls_server_opts *opts,
                      struct sl_err *err);
/* Handshakes under way go on. */
void sl_tls_server_free(struct sl_tls_server *t);

struct sl_tls_client_opts {
    bool verify; /* against `ca_file`, or the system's roots when NULL */
    const char *ca_file;
    const uint8_t *pin; /* 32 bytes: instead of that, the SHA-256 of the peer's public key
                           (SubjectPublicKeyInfo) */
    const char *alpn;   /* or NULL */
};

/* 0, or SL_E_CONFIG or SL_E_TLS with a sentence. */
int sl_tls_client_new(struct sl_tls_client **out, const struct sl_tls_client_opts *opts,
                      struct sl_err *err);
void sl_tls_client_free(struct sl_tls_client *t);

#endif
