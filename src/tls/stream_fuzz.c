#include <stdlib.h>
#include <string.h>
#include "tls/conn.h"

/* A server connection and what a stranger may send to it. The first byte chooses: plain bytes from
 * the very beginning, or, as from a client that has finished its handshake, records of any type and
 * content. */

enum { INPUT_MAX = 1 << 16 };

/* The layer below: swallows what is written, now and then as if it were busy. */
struct below {
    struct sl_stream stream;
    bool is_slow;
};

static struct sl_loop *loop;
static struct sl_tls_server *server;
static struct sl_cert *cert;
static bool was_told; /* that it ended */

static int below_write(struct sl_stream *s, const struct iovec *iov, int n_iov, bool fin)
{
    (void)iov;
    sl_assert(!s->sent_fin && (!s->is_writing || n_iov == 0));
    s->sent_fin = fin;
    s->is_writing = ((struct below *)s)->is_slow;
    return s->is_writing ? SL_E_AGAIN : 0;
}

static void below_read(struct sl_stream *s, bool on)
{
    s->is_reading = on;
}

static void below_free(struct sl_stream *s, enum sl_close how)
{
    (void)how;
    sl_loop_defer(s->loop, s, sl_free);
}

static const struct sl_stream_ops below_ops = {below_write, below_read, below_free, NULL};

static void on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    (void)bytes;
    sl_assert(!was_told && len > 0 && len <= SL_SCRATCH_LEN);
    if (len % 7 == 0)
        sl_stream_read(s, false);
}

static void on_fin(struct sl_stream *s)
{
    (void)s;
    sl_assert(!was_told);
}

static void on_written(struct sl_stream *s)
{
    (void)s;
    sl_assert(!was_told);
}

static void on_error(struct sl_stream *s, int code)
{
    sl_assert(!was_told && code < 0 && s->error == code);
    was_told = true;
}

static void on_ready(struct sl_stream *s)
{
    sl_stream_read(s, true);
}

static const struct sl_stream_handler handler = {on_data, on_fin, on_written, on_error, on_ready};

static int on_hello(void *user, struct sl_stream *tls, const struct sl_tls_hello *hello,
                    struct sl_cert **out)
{
    (void)user;
    (void)tls;
    *out = sl_cert_ref(cert);
    return hello->sni.len == 3 ? SL_E_NOT_FOUND : 0;
}

static struct sl_tls_conn *begin(struct below *below)
{
    const struct sl_tls_accept accept = {on_hello, NULL};
    struct sl_stream *s = &below->stream;

    below->stream.ops = &below_ops;
    below->stream.loop = loop;
    was_told = false;
    return sl_tls_conn(sl_tls_accept(&s, server, &accept, &handler, NULL, NULL, 0));
}

/* Puts the connection where it would be after a handshake, with a key that is known here. */
static void skip_handshake(struct sl_tls_conn *t, struct sl_record_key *peer)
{
    static const uint8_t secret[SL_RECORD_SECRET_MAX] = {1};
    const struct sl_record_suite *suite = sl_record_suite(0x1303);

    sl_assert(sl_record_key_init(peer, suite, secret, true) == 0);
    sl_assert(sl_record_key_init(&t->rx, suite, secret, false) == 0);
    sl_assert(sl_record_key_init(&t->tx, suite, secret, true) == 0);
    t->engine = &sl_tls_engine13;
    sl_tls_handshake_free(t);
    SSL_free(t->ssl);
    t->ssl = NULL;
    sl_stream_read(&t->stream, true);
}

/* Each record: a type, a length, a content; what is cut short is filled with zeros. */
static size_t seal_all(struct sl_record_key *peer, const uint8_t *in, size_t n_in, uint8_t *out,
                       size_t cap)
{
    size_t len = 0;

    while (n_in >= 2 && cap - len >= 255 + SL_RECORD_OVERHEAD) {
        size_t n = in[1], n_there = SL_MIN(n, n_in - 2);

        memset(out + len + SL_RECORD_HEAD, 0, n);
        memcpy(out + len + SL_RECORD_HEAD, in + 2, n_there);
        /* The types that mean something come up more often. */
        len += sl_record_seal(peer, (enum sl_record_type)(in[0] & 0x80 ? 20 + in[0] % 4 : in[0]),
                              out + len, n);
        if (in[0] == 0x7f)
            sl_record_key_update(peer);
        in += 2 + n_there;
        n_in -= 2 + n_there;
    }
    return len;
}

/* In pieces of a size that the input chose, as a network would. */
static void feed(struct sl_tls_conn *t, struct below *below, const uint8_t *bytes, size_t len,
                 size_t piece)
{
    while (len > 0) {
        size_t n = SL_MIN(len, piece);

        if (below->stream.is_reading)
            below->stream.handler->on_data(&below->stream, bytes, n);
        else if (t->engine != NULL && t->stream.error == 0)
            sl_stream_read(&t->stream, true);
        bytes += n;
        len -= n;
        if (below->stream.is_writing) {
            below->stream.is_writing = false;
            below->stream.handler->on_written(&below->stream);
        }
    }
    if (below->stream.is_reading)
        below->stream.handler->on_fin(&below->stream);
}

static void stop(void *unused)
{
    (void)unused;
    sl_loop_stop(loop);
}

/* One turn of the loop, for what was put off to its end; then everything is freed. */
static void finish(struct sl_tls_conn *t)
{
    struct sl_stream *s = &t->stream;

    if (t->engine != NULL && s->error == 0 && !s->is_writing)
        sl_stream_write1(s, "bye", 3, true);
    sl_loop_post(loop, stop, NULL);
    sl_loop_run(loop);
    sl_assert(was_told == (s->error != 0));
    sl_stream_free(&s, SL_CLOSE_LINGER);
    sl_loop_free(loop);
}

static void set_up(void)
{
    sl_assert(sl_cert_self_signed(&cert, SL_STR("a.example"), NULL) == 0);
    sl_assert(sl_tls_server_new(&server, &(struct sl_tls_server_opts){.http2 = true}, NULL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t sealed[INPUT_MAX];
    struct sl_record_key peer = {0};
    struct below *below;
    struct sl_tls_conn *t;

    if (size < 2 || size > INPUT_MAX)
        return 0;
    if (server == NULL)
        set_up();
    sl_assert(sl_loop_new(&loop) == 0);
    below = sl_zalloc(sizeof(*below));
    below->is_slow = data[0] & 2;
    t = begin(below);
    if (data[0] & 1) {
        skip_handshake(t, &peer);
        feed(t, below, sealed, seal_all(&peer, data + 2, size - 2, sealed, sizeof(sealed)),
             data[1] + 1u);
    } else {
        feed(t, below, data + 2, size - 2, data[1] + 1u);
    }
    finish(t);
    sl_record_key_clear(&peer);
    return 0;
}
