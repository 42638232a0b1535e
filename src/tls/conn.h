/*
 * The inside of a TLS stream, for the files of this folder only.
 *
 *     stream.c     the stream's operations, and what the layer below calls
 *     input.c      ciphertext from below on its way up
 *     output.c     ciphertext on its way down
 *     handshake.c  everything until on_ready(); then it chooses the engine
 *     engine13.c   TLS 1.3 after the handshake: records by record.c, OpenSSL's connection object is
 * gone engine12.c   TLS 1.2: SSL_read and SSL_write bio.c        how OpenSSL reads and writes
 * memory
 *
 * OpenSSL never calls the layer above, with one exception: on_hello() runs inside the handshake,
 * since only there the extensions may be read. A stream may be freed in it, as in every other
 * callback: freeing sets `is_freed` and leaves the memory until the end of the turn. So whoever
 * calls out looks at `is_freed` afterwards.
 */
#ifndef SL_TLS_CONN_H
#define SL_TLS_CONN_H

#include "base/buf.h"
#include "tls/cert_internal.h"
#include "tls/record.h"
#include "tls/stream.h"

struct sl_tls_context {
    _Atomic(unsigned) n_refs;
    SSL_CTX *ssl_ctx;
    struct sl_str alpn; /* wire form; owned */
    bool verify;        /* the peer's name, too */
    bool has_pin;
    uint8_t pin[32];
};

struct sl_tls_server {
    struct sl_tls_context context;
};

struct sl_tls_client {
    struct sl_tls_context context;
};

struct sl_tls_context *sl_tls_context_ref(struct sl_tls_context *c);
void sl_tls_context_unref(struct sl_tls_context *c);

/* Memory for one batch of bytes: a scratch buffer of the loop, or a block of its own when that
   holds our input already, as with TLS inside a tunnel inside TLS. */
struct sl_tls_area {
    uint8_t *base; /* NULL: not chosen yet */
    size_t len, cap;
    bool is_heap;
};

/* The owner's word about the certificate. */
enum sl_tls_answer { SL_TLS_NOT_ASKED, SL_TLS_ASKED, SL_TLS_GIVEN, SL_TLS_REFUSED };

/* What only the handshake needs. */
struct sl_tls_handshake {
    struct sl_tls_context *context;
    struct sl_tls_accept accept;
    struct sl_cert *cert;
    struct sl_str offer; /* ALPN, wire form */
    enum sl_tls_answer answer;
    bool is_waiting;                          /* for sl_tls_resume() */
    bool is_due;                              /* runs even without input */
    size_t n_in;                              /* bytes that OpenSSL took */
    size_t n_secret;                          /* bytes of each secret */
    uint8_t secrets[2][SL_RECORD_SECRET_MAX]; /* of the client and of the server, as OpenSSL logs
                                                 them */
    bool has_secret[2];
};

struct sl_tls_engine;

struct sl_tls_conn {
    struct sl_stream stream;
    struct sl_stream *below;
    const struct sl_tls_engine *engine; /* NULL until the handshake is done */
    struct sl_tls_handshake *handshake; /* NULL from then on */
    SSL *ssl;                           /* NULL with TLS 1.3 after the handshake */
    struct sl_record_key rx, tx;        /* TLS 1.3 */
    struct sl_buf held_in;  /* ciphertext that waits for the rest of its record or for the reader */
    struct sl_buf held_out; /* ciphertext that waits for the layer below */
    struct sl_tls_area out; /* ciphertext made in this call */
    const uint8_t *feed;    /* what OpenSSL may read in this call */
    size_t n_feed;
    struct sl_task_link task;
    const char *reason; /* a constant */
    char *sni;          /* normalized; NULL without one */
    uint64_t last_write_ms;
    uint64_t nuisance_ms; /* when counting `n_nuisances` began */
    uint32_t n_nuisances;
    uint32_t n_small; /* payload that is still to go out in small records */
    uint32_t n_skip;  /* engine13: bytes of a handshake message that nobody wants */
    uint8_t post[5];  /* engine13: the beginning of a handshake message */
    uint8_t n_post;
    uint8_t n_empty; /* engine13: empty records in a row */
    char alpn[SL_TLS_PROTOCOL_MAX + 1];
    const char *version;
    bool is_server;
    bool is_freed;
    bool is_reported;  /* on_error() was called */
    bool got_close;    /* close_notify */
    bool below_fin;    /* the end of the layer below */
    bool is_truncated; /* that one without a close_notify */
    bool passed_fin;   /* our fin went below */
    bool sent_alert;   /* a fatal one, which the peer should get to read */
};

/* The bytes of a write that are still to be encrypted. */
struct sl_tls_cursor {
    const struct iovec *iov;
    size_t at, left; /* offset in *iov; total */
};

/* How payload becomes ciphertext and back, once the handshake is done. */
struct sl_tls_engine {
    /* Decrypts what it can of `in` into `out`, until the input is used up, the room is, or
       something happened (an error, a close_notify). Returns the bytes of input that it took. */
    size_t (*decrypt)(struct sl_tls_conn *t, const uint8_t *in, size_t n_in,
                      struct sl_tls_area *out);
    /* How many bytes are missing for decrypt() to take these, of which it took none. */
    size_t (*missing)(const uint8_t *in, size_t n_in);
    /* Encrypts all bytes. */
    void (*encrypt)(struct sl_tls_conn *t, struct sl_tls_cursor *from);
    /* Says close_notify. */
    void (*close)(struct sl_tls_conn *t);
};

extern const struct sl_tls_engine sl_tls_engine12, sl_tls_engine13;

static inline struct sl_tls_conn *sl_tls_conn(const struct sl_stream *s)
{
    return sl_container_of(s, struct sl_tls_conn, stream);
}

/* --- stream.c --- */

/* Ends the connection: keeps the first cause (`reason` is a constant), on_error() follows at the
 * end of the turn. */
void sl_tls_fail(struct sl_tls_conn *t, int code, const char *reason);
/* The same with the first error in OpenSSL's queue as the reason; empties the queue. */
void sl_tls_fail_openssl(struct sl_tls_conn *t);
/* Has the connection looked at again at the end of the turn. */
void sl_tls_soon(struct sl_tls_conn *t);
/* The one place that decides whether the layer below reads. */
void sl_tls_update_reading(struct sl_tls_conn *t);
/* Counts what a peer may do now and then but not all the time; fails the connection when it is too
 * much. */
void sl_tls_count_nuisance(struct sl_tls_conn *t);

/* --- input.c --- */

/* Takes bytes from below (none: `len` is 0), goes on as far as it can, and calls the owner. */
void sl_tls_advance(struct sl_tls_conn *t, const uint8_t *bytes, size_t len);

/* --- output.c --- */

/* Chooses where ciphertext goes, away from the bytes it is made of. Without it sl_tls_out() does.
 */
void sl_tls_choose_out(struct sl_tls_conn *t, const struct iovec *iov, int n_iov);
/* Room for `len` bytes of ciphertext, to be counted in t->out.len. What is there may go below to
 * make room. */
uint8_t *sl_tls_out(struct sl_tls_conn *t, size_t len);
/* Hands everything to the layer below, or keeps it while that is busy. */
void sl_tls_flush(struct sl_tls_conn *t);
/* Keeps the ciphertext made so far, so that it goes below together with what is written next. */
void sl_tls_hold(struct sl_tls_conn *t);
void sl_tls_area_clear(struct sl_tls_area *area);
/* How much payload the next record takes. */
size_t sl_tls_next_len(struct sl_tls_conn *t, const struct sl_tls_cursor *from);
void sl_tls_cursor_copy(struct sl_tls_cursor *from, uint8_t *out, size_t len);
/* Writes what a freed stream still had to say, then frees the stream below. Takes both. */
void sl_tls_drain(struct sl_stream **below, struct sl_buf *rest);

/* --- handshake.c --- */

void sl_tls_handshake_new(struct sl_tls_conn *t, struct sl_tls_context *context);
void sl_tls_handshake_free(struct sl_tls_conn *t);
/* Goes on with the handshake; the bytes that it took. When it is done, t->handshake is NULL. */
size_t sl_tls_handshake_run(struct sl_tls_conn *t, const uint8_t *in, size_t n_in);
/* Callbacks of OpenSSL, for context.c. */
int sl_tls_on_client_hello(SSL *ssl, int *alert, void *arg);
int sl_tls_on_alpn(SSL *ssl, const unsigned char **out, unsigned char *n_out,
                   const unsigned char *in, unsigned n_in, void *arg);
void sl_tls_on_keylog(const SSL *ssl, const char *line);
void sl_tls_on_info(const SSL *ssl, int where, int ret);
int sl_tls_on_verify(X509_STORE_CTX *store, void *arg);

/* --- engine13.c --- */

/* Takes the connection over from OpenSSL, right after the handshake, with the records that are in
   t->out as the first ones sent. False: this one it cannot. */
bool sl_tls_engine13_begin(struct sl_tls_conn *t);

/* --- bio.c --- */

/* Gives the connection's OpenSSL object its BIO. */
int sl_tls_bio_attach(struct sl_tls_conn *t);
struct sl_tls_conn *sl_tls_conn_of(const SSL *ssl);

#endif
