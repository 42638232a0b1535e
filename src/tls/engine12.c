#include <openssl/err.h>
#include "tls/conn.h"

/* TLS 1.2, and what little of 1.3 engine13.c does not do: OpenSSL keeps the connection. */

/* One call of SSL_read, which yields at most one record. False: there is nothing more to get now.
 */
static bool read_record(struct sl_tls_conn *t, struct sl_tls_area *out)
{
    size_t n = 0;

    if (SSL_read_ex(t->ssl, out->base + out->len, out->cap - out->len, &n) == 1) {
        out->len += n;
        return true;
    }
    if (t->stream.error != 0) /* a callback has found something wrong */
        return false;
    switch (SSL_get_error(t->ssl, 0)) {
    case SSL_ERROR_WANT_READ:
        return true;
    case SSL_ERROR_ZERO_RETURN:
        t->got_close = true;
        return false;
    default:
        sl_tls_fail_openssl(t);
        return false;
    }
}

/* While a whole record has room, OpenSSL never keeps payload back. */
static size_t decrypt(struct sl_tls_conn *t, const uint8_t *in, size_t n_in,
                      struct sl_tls_area *out)
{
    size_t used;

    ERR_clear_error(); /* of what others left, since OpenSSL tells by the queue */
    t->feed = in;
    t->n_feed = n_in;
    while (t->n_feed > 0 && out->cap - out->len >= SL_RECORD_PLAIN_MAX && read_record(t, out))
        ;
    ERR_clear_error();
    used = n_in - t->n_feed;
    t->feed = NULL;
    t->n_feed = 0;
    return used;
}

static size_t missing(const uint8_t *in, size_t n_in)
{
    (void)in; /* OpenSSL takes every byte */
    (void)n_in;
    return 0;
}

/* The payload is put together behind the room for its ciphertext. That is one record, or up to 32
 * for a client that asked for short ones. */
static void encrypt(struct sl_tls_conn *t, struct sl_tls_cursor *from)
{
    enum { ROOM = SL_RECORD_PLAIN_MAX + 32 * 64 };

    while (from->left > 0 && t->stream.error == 0) {
        size_t len = sl_tls_next_len(t, from), n;
        uint8_t *payload = sl_tls_out(t, ROOM + len) + ROOM;

        sl_tls_cursor_copy(from, payload, len);
        if (SSL_write_ex(t->ssl, payload, len, &n) != 1)
            sl_tls_fail_openssl(t);
    }
}

static void say_close(struct sl_tls_conn *t)
{
    SSL_shutdown(t->ssl); /* does not wait for the peer's */
    ERR_clear_error();
}

const struct sl_tls_engine sl_tls_engine12 = {decrypt, missing, encrypt, say_close};
