#include "tls/stream.h"

#include <openssl/err.h>
#include "tls/conn.h"
#include "tls/openssl.h"

enum { NUISANCE_MAX = 32, NUISANCE_MS = 60 * 1000 };

static const struct sl_stream_ops tls_ops;

/* --- the end of turn, and errors --- */

static void report_error(struct sl_tls_conn *t)
{
    t->is_reported = true;
    sl_tls_flush(t); /* a last alert */
    t->stream.handler->on_error(&t->stream, t->stream.error);
}

static void run(void *user)
{
    struct sl_tls_conn *t = user;

    if (t->stream.error == 0)
        sl_tls_advance(t, NULL, 0);
    else if (!t->is_reported)
        report_error(t);
}

void sl_tls_soon(struct sl_tls_conn *t)
{
    sl_loop_soon(t->stream.loop, &t->task, run, t);
}

void sl_tls_fail(struct sl_tls_conn *t, int code, const char *reason)
{
    if (t->stream.error != 0 || t->is_freed)
        return;
    t->stream.error = code;
    if (t->reason == NULL)
        t->reason = reason;
    t->stream.is_writing = false;
    sl_tls_update_reading(t);
    sl_tls_soon(t);
}

void sl_tls_fail_openssl(struct sl_tls_conn *t)
{
    long verdict = SSL_get_verify_result(t->ssl);
    const char *reason = ERR_reason_error_string(ERR_peek_error());

    if (verdict != X509_V_OK)
        reason = X509_verify_cert_error_string(verdict);
    ERR_clear_error();
    sl_tls_fail(t, SL_E_TLS, reason);
}

void sl_tls_count_nuisance(struct sl_tls_conn *t)
{
    uint64_t now = sl_loop_now_ms(t->stream.loop);

    if (now - t->nuisance_ms >= NUISANCE_MS) {
        t->nuisance_ms = now;
        t->n_nuisances = 0;
    }
    if (++t->n_nuisances > NUISANCE_MAX)
        sl_tls_fail(t, SL_E_LIMIT, "too many key updates, tickets or renegotiations");
}

void sl_tls_update_reading(struct sl_tls_conn *t)
{
    bool is_over = t->stream.error != 0 || t->got_close || t->below_fin;

    sl_stream_read(t->below, !is_over && (t->handshake != NULL || t->stream.is_reading));
}

/* --- what the layer below calls --- */

static void on_below_data(struct sl_stream *below, const uint8_t *bytes, size_t len)
{
    struct sl_tls_conn *t = below->user;

    if (t->stream.error == 0)
        sl_tls_advance(t, bytes, len);
}

static void on_below_fin(struct sl_stream *below)
{
    struct sl_tls_conn *t = below->user;

    t->below_fin = true;
    if (t->stream.error == 0 && t->handshake != NULL)
        sl_tls_fail(t, SL_E_CLOSED, "the peer left during the handshake");
    else if (t->stream.error == 0)
        sl_tls_advance(t, NULL, 0);
}

static void on_below_written(struct sl_stream *below)
{
    struct sl_tls_conn *t = below->user;

    sl_tls_flush(t);
    if (!t->stream.is_writing || below->is_writing || t->stream.error != 0)
        return;
    t->stream.is_writing = false;
    t->stream.handler->on_written(&t->stream);
}

static void on_below_error(struct sl_stream *below, int code)
{
    sl_tls_fail(below->user, code, NULL);
}

static const struct sl_stream_handler below_handler = {
    .on_data = on_below_data,
    .on_fin = on_below_fin,
    .on_written = on_below_written,
    .on_error = on_below_error,
};

/* --- operations --- */

static void end_writing(struct sl_tls_conn *t)
{
    t->engine->close(t);
    t->stream.sent_fin = true;
}

static int tls_write(struct sl_stream *s, const struct iovec *iov, int n_iov, bool fin)
{
    struct sl_tls_conn *t = sl_tls_conn(s);
    struct sl_tls_cursor from = {iov, 0, 0};

    if (s->error != 0)
        return s->error;
    for (int i = 0; i < n_iov; i++)
        from.left += iov[i].iov_len;
    sl_assert(t->engine != NULL && !s->sent_fin);
    sl_assert(!s->is_writing || from.left == 0);
    s->bytes_out += from.left;
    sl_tls_choose_out(t, iov, n_iov);
    t->engine->encrypt(t, &from);
    if (fin && s->error == 0)
        end_writing(t);
    sl_tls_flush(t);
    if (s->error != 0)
        return s->error;
    if (!s->is_writing && !t->below->is_writing)
        return 0;
    s->is_writing = true;
    return SL_E_AGAIN;
}

static void tls_read(struct sl_stream *s, bool on)
{
    struct sl_tls_conn *t = sl_tls_conn(s);

    s->is_reading = on;
    sl_tls_update_reading(t);
    if (on && (sl_buf_len(&t->held_in) > 0 || t->got_close || t->below_fin))
        sl_tls_soon(t);
}

static void destroy(void *ptr)
{
    struct sl_tls_conn *t = ptr;

    sl_tls_handshake_free(t);
    SSL_free(t->ssl);
    ERR_clear_error();
    sl_record_key_clear(&t->rx);
    sl_record_key_clear(&t->tx);
    sl_buf_clear(&t->held_in);
    sl_buf_clear(&t->held_out);
    sl_tls_area_clear(&t->out);
    sl_free(t->sni);
    sl_free(t);
}

/* From here on nobody hears of the stream. */
static void retire(struct sl_tls_conn *t)
{
    t->is_freed = true;
    sl_loop_unsoon(&t->task);
    sl_loop_defer(t->stream.loop, t, destroy);
}

/* Does the peer get to read what we said last? Even whoever aborts wants that for an alert, and for
 * a stream that has ended both ways: the layer below has not seen the peer's end of it, since
 * nothing is read after a close_notify. */
static bool is_polite(const struct sl_tls_conn *t, enum sl_close how)
{
    const struct sl_stream *s = &t->stream;

    if (t->engine == NULL || s->error != 0)
        return t->sent_alert && t->below->error == 0;
    return how == SL_CLOSE_LINGER || (s->sent_fin && s->got_fin);
}

static void tls_free(struct sl_stream *s, enum sl_close how)
{
    struct sl_tls_conn *t = sl_tls_conn(s);

    if (is_polite(t, how)) {
        how = SL_CLOSE_LINGER;
        if (s->error == 0 && !s->sent_fin)
            end_writing(t);
        sl_tls_flush(t);
    } else {
        how = SL_CLOSE_ABORT;
    }
    if (how == SL_CLOSE_LINGER && sl_buf_len(&t->held_out) > 0)
        sl_tls_drain(&t->below, &t->held_out);
    else
        sl_stream_free(&t->below, how);
    retire(t);
}

static struct sl_stream *tls_below(const struct sl_stream *s)
{
    return sl_tls_conn(s)->below;
}

static const struct sl_stream_ops tls_ops = {tls_write, tls_read, tls_free, tls_below};

/* --- begin --- */

static struct sl_tls_conn *begin(struct sl_stream **below, struct sl_tls_context *context,
                                 const struct sl_stream_handler *handler, void *user)
{
    struct sl_tls_conn *t = sl_zalloc(sizeof(*t));

    t->stream.ops = &tls_ops;
    t->stream.loop = (*below)->loop;
    sl_stream_set_handler(&t->stream, handler, user);
    t->below = *below;
    *below = NULL;
    sl_stream_set_handler(t->below, &below_handler, t);
    sl_tls_handshake_new(t, context);
    ERR_clear_error();
    t->ssl = SSL_new(context->ssl_ctx);
    if (t->ssl == NULL || sl_tls_bio_attach(t) < 0)
        sl_tls_fail(t, SL_E_TLS, "OpenSSL could not make a connection");
    sl_tls_update_reading(t);
    return t;
}

struct sl_stream *sl_tls_accept(struct sl_stream **below, struct sl_tls_server *server,
                                const struct sl_tls_accept *accept,
                                const struct sl_stream_handler *handler, void *user,
                                const uint8_t *first, size_t n_first)
{
    struct sl_tls_conn *t = begin(below, &server->context, handler, user);

    t->is_server = true;
    t->handshake->accept = *accept;
    if (t->stream.error != 0)
        return &t->stream;
    SSL_set_accept_state(t->ssl);
    sl_buf_append(&t->held_in, first, n_first);
    if (n_first > 0)
        sl_tls_soon(t);
    return &t->stream;
}

struct sl_stream *sl_tls_connect(struct sl_stream **below, struct sl_tls_client *client,
                                 struct sl_str server_name, const struct sl_stream_handler *handler,
                                 void *user)
{
    struct sl_tls_conn *t = begin(below, &client->context, handler, user);
    char sni[SL_HELLO_NAME_MAX + 1];

    if (t->stream.error != 0)
        return &t->stream;
    SSL_set_connect_state(t->ssl);
    t->handshake->is_due = true;
    if (!sl_openssl_expect(t->ssl, server_name, client->context.verify, sni)) {
        sl_tls_fail(t, SL_E_CONFIG, "the server's name is not a host name");
        return &t->stream;
    }
    if (sni[0] != '\0')
        t->sni = sl_strdup(sni);
    sl_tls_advance(t, NULL, 0); /* sends the ClientHello; nobody can be called yet */
    return &t->stream;
}

void sl_tls_resume(struct sl_stream *tls, struct sl_cert *cert)
{
    struct sl_tls_conn *t = sl_tls_conn(tls);
    struct sl_tls_handshake *h = t->handshake;

    sl_assert(h != NULL && h->answer == SL_TLS_ASKED);
    h->cert = cert;
    h->answer = cert != NULL ? SL_TLS_GIVEN : SL_TLS_REFUSED;
    h->is_waiting = false;
    h->is_due = true;
    sl_tls_soon(t);
}

void sl_tls_offer(struct sl_stream *tls, struct sl_str protocols)
{
    sl_assert(sl_tls_conn(tls)->handshake != NULL);
    sl_tls_conn(tls)->handshake->offer = protocols;
}

struct sl_stream *sl_tls_unwrap(struct sl_stream **tls)
{
    struct sl_tls_conn *t = sl_tls_conn(*tls);
    struct sl_stream *below = t->below;

    *tls = NULL;
    t->below = NULL;
    sl_stream_read(below, false);
    sl_stream_set_handler(below, NULL, NULL);
    retire(t);
    return below;
}

/* --- questions --- */

struct sl_str sl_tls_alpn(const struct sl_stream *tls)
{
    return sl_str_c(sl_tls_conn(tls)->alpn);
}

struct sl_str sl_tls_sni(const struct sl_stream *tls)
{
    return sl_str_c(sl_tls_conn(tls)->sni);
}

const char *sl_tls_version(const struct sl_stream *tls)
{
    const char *version = sl_tls_conn(tls)->version;

    return version != NULL ? version : "";
}

bool sl_tls_is_truncated(const struct sl_stream *tls)
{
    return sl_tls_conn(tls)->is_truncated;
}

const char *sl_tls_reason(const struct sl_stream *tls)
{
    const char *reason = sl_tls_conn(tls)->reason;

    return reason != NULL ? reason : "";
}

bool sl_stream_is_tls(const struct sl_stream *s)
{
    return s->ops == &tls_ops;
}
