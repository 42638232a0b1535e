#include <openssl/bio.h>
#include <pthread.h>
#include "tls/conn.h"

/* OpenSSL's way to our memory: it reads from t->feed, which is the caller's buffer, and writes to
 * t->out. */

static int bio_read(BIO *bio, char *into, size_t len, size_t *n_read)
{
    struct sl_tls_conn *t = BIO_get_data(bio);
    size_t n = t->stream.error == 0 ? SL_MIN(len, t->n_feed) : 0;

    BIO_clear_retry_flags(bio);
    *n_read = n;
    if (n == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    memcpy(into, t->feed, n);
    t->feed += n;
    t->n_feed -= n;
    return 1;
}

static int bio_write(BIO *bio, const char *from, size_t len, size_t *n_written)
{
    struct sl_tls_conn *t = BIO_get_data(bio);
    size_t left = len;

    BIO_clear_retry_flags(bio);
    while (left > 0) {
        size_t n = SL_MIN(left, (size_t)SL_RECORD_PLAIN_MAX);

        memcpy(sl_tls_out(t, n), from, n);
        t->out.len += n;
        from += n;
        left -= n;
    }
    *n_written = len;
    return 1;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    (void)bio;
    (void)num;
    (void)ptr;
    return cmd == BIO_CTRL_FLUSH; /* nothing else is supported */
}

static BIO_METHOD *method;
static pthread_once_t made = PTHREAD_ONCE_INIT;

static void make_method(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "sluice stream");
    if (method == NULL)
        return;
    BIO_meth_set_read_ex(method, bio_read);
    BIO_meth_set_write_ex(method, bio_write);
    BIO_meth_set_ctrl(method, bio_ctrl);
}

int sl_tls_bio_attach(struct sl_tls_conn *t)
{
    BIO *bio;

    pthread_once(&made, make_method);
    bio = method != NULL ? BIO_new(method) : NULL;
    if (bio == NULL)
        return SL_E_TLS;
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);
    return 0;
}

/* By the BIO for reading: during the handshake OpenSSL puts a buffer in front of the one for
 * writing. */
struct sl_tls_conn *sl_tls_conn_of(const SSL *ssl)
{
    return BIO_get_data(SSL_get_rbio(ssl));
}
