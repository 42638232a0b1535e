#include <openssl/err.h>
#include "tls/conn.h"

/* TLS 1.3 after the handshake (RFC 8446, sections 4.6, 5 and 6). */

enum {
    MESSAGE_NEW_SESSION_TICKET = 4,
    MESSAGE_KEY_UPDATE = 24,
    MESSAGE_HEAD = 4,
    TICKET_MAX = 64 * 1024,
    EMPTY_MAX = 32, /* records without content in a row */
    LEVEL_WARNING = 1,
    LEVEL_FATAL = 2,
};

static void put_record(struct sl_tls_conn *t, enum sl_record_type type, const uint8_t *content,
                       size_t len)
{
    uint8_t *rec = sl_tls_out(t, len + SL_RECORD_OVERHEAD);

    memcpy(rec + SL_RECORD_HEAD, content, len);
    t->out.len += sl_record_seal(&t->tx, type, rec, len);
}

static void put_alert(struct sl_tls_conn *t, uint8_t level, uint8_t alert)
{
    uint8_t content[2] = {level, alert};

    put_record(t, SL_RECORD_ALERT, content, sizeof(content));
}

/* The peer broke the protocol: says so and ends the connection. */
static void refuse(struct sl_tls_conn *t, int alert)
{
    ERR_clear_error();
    if (t->stream.error != 0)
        return;
    if (!t->stream.sent_fin)
        put_alert(t, LEVEL_FATAL, (uint8_t)alert);
    t->sent_alert = true;
    sl_tls_fail(t, SL_E_TLS, SSL_alert_desc_string_long(alert));
}

/* Announces that the next record comes under the next key. */
static void update_tx(struct sl_tls_conn *t)
{
    static const uint8_t message[] = {MESSAGE_KEY_UPDATE, 0, 0, 1, 0 /* not requested in return */};

    put_record(t, SL_RECORD_HANDSHAKE, message, sizeof(message));
    if (sl_record_key_update(&t->tx) < 0)
        sl_tls_fail(t, SL_E_TLS, "key update failed");
}

static void on_key_update(struct sl_tls_conn *t, uint8_t is_requested)
{
    if (is_requested > 1) {
        refuse(t, SL_ALERT_ILLEGAL_PARAMETER);
        return;
    }
    sl_tls_count_nuisance(t);
    if (t->stream.error != 0)
        return;
    if (sl_record_key_update(&t->rx) < 0)
        sl_tls_fail(t, SL_E_TLS, "key update failed");
    else if (is_requested && !t->stream.sent_fin)
        update_tx(t);
}

/* The head of a message is complete. Of a key update one more byte is wanted, of others nothing. */
static void on_message_head(struct sl_tls_conn *t)
{
    size_t len = (size_t)t->post[1] << 16 | (size_t)t->post[2] << 8 | t->post[3];

    if (t->post[0] == MESSAGE_KEY_UPDATE) {
        if (len != 1)
            refuse(t, SL_ALERT_DECODE_ERROR);
    } else if (t->post[0] == MESSAGE_NEW_SESSION_TICKET && !t->is_server && len <= TICKET_MAX) {
        sl_tls_count_nuisance(t); /* this client does not resume */
        t->n_skip = (uint32_t)len;
        t->n_post = 0;
    } else {
        refuse(t, SL_ALERT_UNEXPECTED_MESSAGE);
    }
}

/* Takes one byte of a handshake message; `is_last`: of its record. */
static void on_message_byte(struct sl_tls_conn *t, uint8_t byte, bool is_last)
{
    t->post[t->n_post++] = byte;
    if (t->n_post == MESSAGE_HEAD)
        on_message_head(t);
    if (t->n_post <= MESSAGE_HEAD)
        return;
    t->n_post = 0;
    if (is_last)
        on_key_update(t, byte);
    else /* the rest would be under the old key */
        refuse(t, SL_ALERT_UNEXPECTED_MESSAGE);
}

static void on_messages(struct sl_tls_conn *t, const uint8_t *bytes, size_t len)
{
    if (len == 0)
        refuse(t, SL_ALERT_UNEXPECTED_MESSAGE);
    for (size_t i = 0; i < len && t->stream.error == 0; i++) {
        size_t skip = SL_MIN(t->n_skip, len - i);

        if (skip > 0) {
            t->n_skip -= (uint32_t)skip;
            i += skip - 1;
        } else {
            on_message_byte(t, bytes[i], i + 1 == len);
        }
    }
}

/* The reason is OpenSSL's word for it, as with an alert during the handshake. */
static void on_alert(struct sl_tls_conn *t, const uint8_t *bytes, size_t len)
{
    if (len != 2)
        refuse(t, SL_ALERT_DECODE_ERROR);
    else if (bytes[1] == SL_ALERT_CLOSE_NOTIFY)
        t->got_close = true;
    else if (bytes[1] == SL_ALERT_USER_CANCELED)
        sl_tls_count_nuisance(t);
    else
        sl_tls_fail(
            t, SL_E_TLS,
            ERR_reason_error_string(ERR_PACK(ERR_LIB_SSL, 0, SSL_AD_REASON_OFFSET + bytes[1])));
}

static void on_payload(struct sl_tls_conn *t, struct sl_tls_area *out, size_t len)
{
    t->n_empty = len == 0 ? t->n_empty + 1 : 0;
    if (t->n_empty > EMPTY_MAX)
        refuse(t, SL_ALERT_UNEXPECTED_MESSAGE);
    else
        out->len += len;
}

/* Opens one record. Its content is at the end of `out` and stays there if it is payload. */
static void take_record(struct sl_tls_conn *t, const uint8_t *rec, size_t rec_len,
                        struct sl_tls_area *out)
{
    const uint8_t *content = out->base + out->len;
    uint8_t type;
    size_t len;
    int alert = sl_record_open(&t->rx, rec, rec_len, out->base + out->len, &len, &type);
    bool is_amid_message = t->n_post > 0 || t->n_skip > 0;

    if (alert != 0)
        refuse(t, alert);
    else if (type == SL_RECORD_HANDSHAKE)
        on_messages(t, content, len);
    else if (is_amid_message)
        refuse(t, SL_ALERT_UNEXPECTED_MESSAGE);
    else if (type == SL_RECORD_DATA)
        on_payload(t, out, len);
    else if (type == SL_RECORD_ALERT)
        on_alert(t, content, len);
    else
        refuse(t, SL_ALERT_UNEXPECTED_MESSAGE);
}

static size_t decrypt(struct sl_tls_conn *t, const uint8_t *in, size_t n_in,
                      struct sl_tls_area *out)
{
    size_t used = 0, rec_len;

    while (used < n_in && t->stream.error == 0 && !t->got_close) {
        int rc = sl_record_frame(in + used, n_in - used, &rec_len);

        if (rc > 0)
            refuse(t, rc);
        if (rc != 0 || rec_len > out->cap - out->len)
            break;
        take_record(t, in + used, rec_len, out);
        used += rec_len;
    }
    return used;
}

static size_t missing(const uint8_t *in, size_t n_in)
{
    size_t n;

    return sl_record_frame(in, n_in, &n) == SL_E_PARTIAL ? n : 0;
}

static void encrypt(struct sl_tls_conn *t, struct sl_tls_cursor *from)
{
    while (from->left > 0 && t->stream.error == 0) {
        size_t len = sl_tls_next_len(t, from);
        uint8_t *rec;

        if (SL_UNLIKELY(sl_record_key_is_worn(&t->tx)))
            update_tx(t);
        rec = sl_tls_out(t, len + SL_RECORD_OVERHEAD);
        sl_tls_cursor_copy(from, rec + SL_RECORD_HEAD, len);
        t->out.len += sl_record_seal(&t->tx, SL_RECORD_DATA, rec, len);
    }
}

static void say_close(struct sl_tls_conn *t)
{
    put_alert(t, LEVEL_WARNING, SL_ALERT_CLOSE_NOTIFY);
}

const struct sl_tls_engine sl_tls_engine13 = {decrypt, missing, encrypt, say_close};

/* How many records these are; OpenSSL sealed them under the first key of the application. */
static uint64_t count_records(const uint8_t *bytes, size_t len)
{
    uint64_t n = 0;
    size_t rec_len;

    for (size_t at = 0; at < len; at += rec_len, n++)
        if (sl_record_frame(bytes + at, len - at, &rec_len) != 0)
            break;
    return n;
}

bool sl_tls_engine13_begin(struct sl_tls_conn *t)
{
    const struct sl_tls_handshake *h = t->handshake;
    const struct sl_record_suite *suite =
        sl_record_suite(SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(t->ssl)));
    int mode = SSL_SESSION_get_max_fragment_length(SSL_get_session(t->ssl));
    bool has_short_records =
        mode >= TLSEXT_max_fragment_length_512 && mode <= TLSEXT_max_fragment_length_4096;
    int us = t->is_server ? 1 : 0;

    if (suite == NULL || has_short_records || SSL_has_pending(t->ssl) || !h->has_secret[0] ||
        !h->has_secret[1] || h->n_secret != sl_record_secret_len(suite))
        return false;
    if (sl_record_key_init(&t->tx, suite, h->secrets[us], true) < 0 ||
        sl_record_key_init(&t->rx, suite, h->secrets[1 - us], false) < 0)
        return false;
    /* What a server sends after the client's Finished, its session tickets, is under the new key.
     */
    if (t->is_server)
        t->tx.seq = count_records(t->out.base, t->out.len);
    return true;
}
