/*
 * For the tests of this folder: a TLS server and a client joined by a pair of streams in memory,
 * and OpenSSL itself as either of them, for what our own side never does.
 *
 * settle() runs the loop until nothing is left to do. There is no kernel in it and no clock, so
 * that it ends at the same place each time.
 *
 *     link_begin(&l, 1 << 16);
 *     link_accept(&l, NULL);
 *     link_connect(&l, NULL, "a.example");
 *     settle(&l);
 *     sl_check(l.server.n_ready == 1);
 *     link_end(&l);
 */
#ifndef SL_TLS_TEST_LINK_H
#define SL_TLS_TEST_LINK_H

#include <openssl/err.h>
#include <openssl/ssl.h>
#include "base/buf.h"
#include "base/check.h"
#include "net/pair.h"
#include "tls/stream.h"

/* Who has one end of the pair: a TLS stream, or raw OpenSSL (`ssl`). */
struct side {
    struct sl_stream *stream;
    struct sl_buf got;
    int n_ready, n_fin, n_written, n_error, code;
    size_t n_batches;
    bool starts_paused;  /* does not read from on_ready() on */
    bool pauses;         /* after each batch */
    bool frees_on_ready; /* instead of reading */
    /* raw OpenSSL */
    SSL *ssl;
    BIO *net_in, *net_out;
    int alert; /* the last one that arrived, or -1 */
};

struct link {
    struct sl_loop *loop;
    struct sl_stream *ends[2]; /* server's, client's; NULL once taken */
    struct side server, client;
    struct sl_tls_server *server_context;
    struct sl_tls_client *client_context;
    /* on_hello() */
    struct sl_cert *cert; /* what it gives; NULL: it refuses */
    int n_hellos, hello_rc;
    char asked[SL_TLS_HANDSHAKE_MAX];
    char asked_alpn[64];
    bool asked_tls13, frees_in_hello;
};

static inline void settle(struct link *l)
{
    while (sl_loop_turn(l->loop, false))
        ;
}

/* --- a side with a TLS stream --- */

static inline void side_on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    struct side *side = s->user;

    side->n_batches++;
    sl_assert(len > 0 && len <= SL_SCRATCH_LEN);
    sl_buf_append(&side->got, bytes, len);
    if (side->pauses)
        sl_stream_read(s, false);
}

static inline void side_on_fin(struct sl_stream *s)
{
    struct side *side = s->user;

    side->n_fin++;
}

static inline void side_on_written(struct sl_stream *s)
{
    struct side *side = s->user;

    side->n_written++;
}

static inline void side_on_error(struct sl_stream *s, int code)
{
    struct side *side = s->user;

    side->n_error++;
    side->code = code;
}

static inline void side_on_ready(struct sl_stream *s)
{
    struct side *side = s->user;

    side->n_ready++;
    if (side->frees_on_ready)
        sl_stream_free(&side->stream, SL_CLOSE_ABORT);
    else if (!side->starts_paused)
        sl_stream_read(s, true);
}

static const struct sl_stream_handler side_handler = {side_on_data, side_on_fin, side_on_written,
                                                      side_on_error, side_on_ready};

static inline int link_on_hello(void *user, struct sl_stream *tls, const struct sl_tls_hello *hello,
                                struct sl_cert **cert)
{
    struct link *l = user;

    (void)tls;
    l->n_hellos++;
    snprintf(l->asked, sizeof(l->asked), "%.*s", SL_STR_FMT(hello->sni));
    snprintf(l->asked_alpn, sizeof(l->asked_alpn), "%.*s", (int)hello->alpn_len,
             (const char *)hello->alpn);
    l->asked_tls13 = hello->offers_tls13;
    if (l->frees_in_hello)
        sl_stream_free(&l->server.stream, SL_CLOSE_ABORT);
    if (l->hello_rc == 0)
        *cert = sl_cert_ref(l->cert);
    return l->hello_rc;
}

/* --- begin and end --- */

static inline void link_begin(struct link *l, size_t limit)
{
    struct sl_err err;

    *l = (struct link){.server = {.alert = -1}, .client = {.alert = -1}};
    sl_assert(sl_loop_new(&l->loop) == 0);
    sl_pair_new(l->ends, l->loop, limit);
    sl_assert(sl_cert_self_signed(&l->cert, SL_STR("a.example"), &err) == 0);
}

static inline void side_end(struct side *side)
{
    sl_stream_free(&side->stream, SL_CLOSE_ABORT);
    sl_buf_clear(&side->got);
    SSL_free(side->ssl);
}

static inline void link_end(struct link *l)
{
    side_end(&l->server);
    side_end(&l->client);
    sl_stream_free(&l->ends[0], SL_CLOSE_ABORT);
    sl_stream_free(&l->ends[1], SL_CLOSE_ABORT);
    sl_loop_free(l->loop);
    sl_cert_unref(l->cert);
    sl_tls_server_free(l->server_context);
    sl_tls_client_free(l->client_context);
    ERR_clear_error();
}

/* Our server and our client; NULL options are the plainest ones. */
static inline void link_accept(struct link *l, const struct sl_tls_server_opts *opts)
{
    const struct sl_tls_accept accept = {link_on_hello, l};
    const struct sl_tls_server_opts plain = {0};
    struct sl_err err;

    if (l->server_context == NULL)
        sl_assert(sl_tls_server_new(&l->server_context, opts != NULL ? opts : &plain, &err) == 0);
    l->server.stream =
        sl_tls_accept(&l->ends[0], l->server_context, &accept, &side_handler, &l->server, NULL, 0);
}

static inline void link_connect(struct link *l, const struct sl_tls_client_opts *opts,
                                const char *name)
{
    const struct sl_tls_client_opts plain = {0};
    struct sl_err err;

    if (l->client_context == NULL)
        sl_assert(sl_tls_client_new(&l->client_context, opts != NULL ? opts : &plain, &err) == 0);
    l->client.stream =
        sl_tls_connect(&l->ends[1], l->client_context, sl_str_c(name), &side_handler, &l->client);
}

/* Both, with the handshake done. */
static inline void link_open(struct link *l, size_t limit)
{
    link_begin(l, limit);
    link_accept(l, NULL);
    link_connect(l, NULL, "a.example");
    settle(l);
    sl_check(l->server.n_ready == 1 && l->client.n_ready == 1);
}

static inline struct sl_str got(const struct side *side)
{
    return sl_buf_str(&side->got);
}

/* --- a side with raw OpenSSL --- */

/* Takes what OpenSSL wants to send to the other side. */
static inline void raw_send(struct side *side)
{
    char bytes[32768];
    int n;

    while (side->stream->error == 0 && (n = BIO_read(side->net_out, bytes, sizeof(bytes))) > 0)
        sl_stream_write1(side->stream, bytes, (size_t)n, false);
}

/* Reads until there is nothing more. */
static inline void raw_go_on(struct side *side)
{
    char bytes[16384];
    int n;

    if (!SSL_is_init_finished(side->ssl) && SSL_do_handshake(side->ssl) == 1)
        side->n_ready++;
    while (SSL_is_init_finished(side->ssl) && (n = SSL_read(side->ssl, bytes, sizeof(bytes))) > 0)
        sl_buf_append(&side->got, bytes, (size_t)n);
    ERR_clear_error();
    if ((SSL_get_shutdown(side->ssl) & SSL_RECEIVED_SHUTDOWN) != 0)
        side->n_fin = 1;
    raw_send(side);
}

static inline void raw_on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    struct side *side = s->user;

    BIO_write(side->net_in, bytes, (int)len);
    raw_go_on(side);
}

static inline void raw_on_info(const SSL *ssl, int where, int ret)
{
    struct side *side = SSL_get_app_data(ssl);

    if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT)
        side->alert = ret & 0xff;
}

static const struct sl_stream_handler raw_handler = {raw_on_data, side_on_fin, side_on_written,
                                                     side_on_error, NULL};

static inline void raw_begin(struct side *side, struct sl_stream **end, SSL_CTX *ctx)
{
    side->stream = *end;
    *end = NULL;
    side->ssl = SSL_new(ctx);
    side->net_in = BIO_new(BIO_s_mem());
    side->net_out = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(side->net_in, -1);
    SSL_set_bio(side->ssl, side->net_in, side->net_out);
    SSL_set_app_data(side->ssl, side);
    SSL_set_info_callback(side->ssl, raw_on_info);
    sl_stream_set_handler(side->stream, &raw_handler, side);
    sl_stream_read(side->stream, true);
}

/* The client is OpenSSL. `ctx` may carry what the test wants of it. */
static inline void link_raw_client(struct link *l, SSL_CTX *ctx, const char *name)
{
    raw_begin(&l->client, &l->ends[1], ctx);
    SSL_set_connect_state(l->client.ssl);
    if (name != NULL)
        SSL_set_tlsext_host_name(l->client.ssl, name);
    raw_go_on(&l->client);
}

static inline void raw_write(struct side *side, const void *bytes, size_t len)
{
    if (len > 0)
        sl_check(SSL_write(side->ssl, bytes, (int)len) == (int)len);
    raw_send(side);
}

/* Raw bytes from a client that is not even OpenSSL. */
static inline void link_raw_bytes(struct link *l, const void *bytes, size_t len)
{
    l->client.stream = l->ends[1];
    l->ends[1] = NULL;
    sl_stream_set_handler(l->client.stream, &side_handler, &l->client);
    sl_stream_read(l->client.stream, true);
    sl_stream_write1(l->client.stream, bytes, len, false);
}

#endif
