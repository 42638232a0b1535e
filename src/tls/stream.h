/*
 * TLS as a stream over any other stream. Sans-socket: ciphertext comes from the stream below and
 * goes to it, one read and one write call to the kernel carrying as many records as fit.
 *
 * OpenSSL does the handshake. With TLS 1.3 its connection object is freed then and the records are
 * made here (record.h), so that an idle connection holds 3 KiB; with TLS 1.2 it stays.
 *
 * Server side: `on_hello` is asked when the ClientHello is complete, with the normalized name
 * (lower case, no trailing dot). It returns at once with a certificate, or SL_E_AGAIN to let the
 * handshake wait until sl_tls_resume(), or another negative code to refuse with the alert
 * unrecognized_name. Handler callbacks: on_ready() when the handshake is done, then as every
 * stream. Nothing is written before on_ready().
 *
 * A peer that closes without a close_notify is reported with on_fin(), too: sl_tls_is_truncated()
 * tells it apart, for messages that end where the connection ends.
 *
 * Limits: a handshake has SL_TLS_HANDSHAKE_MAX bytes (64 KiB) of input; renegotiation is off; key
 * updates and tickets from the peer are limited (32 per minute; attack T-08). Deadlines are the
 * owner's.
 *
 *     tls = sl_tls_accept(&tcp, server, &(struct sl_tls_accept){on_hello, me}, &handler, me, NULL,
 * 0);
 */
#ifndef SL_TLS_STREAM_H
#define SL_TLS_STREAM_H

#include "net/stream.h"
#include "tls/context.h"

enum { SL_TLS_HANDSHAKE_MAX = 64 * 1024 };

/* sl_tls_reason() when the client speaks HTTP without TLS (on_error(SL_E_PROTOCOL), with nothing
 * sent yet). */
#define SL_TLS_REASON_HTTP "plain HTTP"

struct sl_tls_hello {
    struct sl_str sni;   /* normalized; NULL/0 without one */
    const uint8_t *alpn; /* the ALPN extension's protocol list in wire form, or NULL */
    size_t alpn_len;
    bool offers_tls13;
};

struct sl_tls_accept {
    /* 0: `*cert` is set (a reference for the connection); SL_E_AGAIN: later; else refuse. May free
     * the stream. */
    int (*on_hello)(void *user, struct sl_stream *tls, const struct sl_tls_hello *hello,
                    struct sl_cert **cert);
    void *user;
};

/* Take the stream below and null it. The TLS stream starts reading by itself until the handshake is
   done; then it is paused like every new stream. `first` are bytes already read from below (a
   ClientHello that was peeked at); they are copied. */
struct sl_stream *sl_tls_accept(struct sl_stream **below, struct sl_tls_server *server,
                                const struct sl_tls_accept *accept,
                                const struct sl_stream_handler *handler, void *user,
                                const uint8_t *first, size_t n_first);
/* `server_name`: a host name or an IP address; what the certificate is checked against. */
struct sl_stream *sl_tls_connect(struct sl_stream **below, struct sl_tls_client *client,
                                 struct sl_str server_name, const struct sl_stream_handler *handler,
                                 void *user);
/* The answer to on_hello() that said SL_E_AGAIN: a certificate (taken), or NULL to refuse. */
void sl_tls_resume(struct sl_stream *tls, struct sl_cert *cert);
/* In on_hello() or before sl_tls_resume(): what this connection offers by ALPN instead of its
   context's list (wire form). An empty list: the client's wish is ignored. The bytes must stay
   until on_ready(). */
void sl_tls_offer(struct sl_stream *tls, struct sl_str protocols);
/* Frees the TLS stream, nulls it, and returns the one below, paused and without a handler: to
 * answer in plain text. */
struct sl_stream *sl_tls_unwrap(struct sl_stream **tls);

/* After on_ready(). */
struct sl_str sl_tls_alpn(const struct sl_stream *tls);  /* "h2", "http/1.1", or empty */
struct sl_str sl_tls_sni(const struct sl_stream *tls);   /* normalized, or empty */
const char *sl_tls_version(const struct sl_stream *tls); /* "TLSv1.3" */
/* After on_fin(): was there no close_notify? */
bool sl_tls_is_truncated(const struct sl_stream *tls);
/* The reason the handshake or a record failed, for the log ("no shared cipher"); "" if none. */
const char *sl_tls_reason(const struct sl_stream *tls);
/* Is this stream a TLS stream? */
bool sl_stream_is_tls(const struct sl_stream *s);

#endif
