#include <openssl/rand.h>
#include "quic/internal.h"

/* --- randomness and connection ids --- */

static void on_rand(uint8_t *out, size_t len, const ngtcp2_rand_ctx *ctx)
{
    (void)ctx;
    sl_assert(RAND_bytes(out, (int)len) == 1);
}

static int on_new_cid(ngtcp2_conn *conn, ngtcp2_cid *cid, ngtcp2_stateless_reset_token *token,
                      size_t len, void *user)
{
    struct sl_qconn *c = user;
    struct sl_quic_endpoint *e = c->endpoint;

    (void)conn;
    sl_assert(len == SL_QUIC_CID_LEN); /* as long as the first one */
    if (sl_quic_cid_make(cid, e->worker) < 0 || sl_quic_reset_token(token->data, cid) < 0 ||
        sl_quic_cid_add(&e->cids, &c->cids, cid, c) < 0)
        return NGTCP2_ERR_CALLBACK_FAILURE;
    return 0;
}

static int on_retired_cid(ngtcp2_conn *conn, const ngtcp2_cid *cid, void *user)
{
    struct sl_qconn *c = user;

    (void)conn;
    sl_quic_cid_remove(&c->endpoint->cids, cid);
    return 0;
}

static int on_reset_token(ngtcp2_conn *conn, const ngtcp2_pkt_stateless_reset2 *reset, void *user)
{
    struct sl_qconn *c = user;

    (void)conn;
    (void)reset;
    c->was_reset = true;
    return 0;
}

/* --- the handshake --- */

/* The first bytes that were sealed as an Initial must be: now the owner hears of the connection. */
static int accept_conn(struct sl_qconn *c)
{
    struct sl_quic_endpoint *e = c->endpoint;

    if (e->server->on_accept(e->user, &c->pub) < 0) {
        sl_qconn_fail(c, SL_E_REFUSED, NGTCP2_CONNECTION_REFUSED, "");
        return NGTCP2_ERR_CALLBACK_FAILURE;
    }
    sl_assert(c->pub.app != NULL);
    c->is_accepted = true;
    return 0;
}

static int on_crypto(ngtcp2_conn *conn, ngtcp2_encryption_level level, uint64_t offset,
                     const uint8_t *bytes, size_t len, void *user)
{
    struct sl_qconn *c = user;

    if (!c->is_accepted && accept_conn(c) != 0)
        return NGTCP2_ERR_CALLBACK_FAILURE;
    if (offset + len > SL_TLS_HANDSHAKE_MAX) /* of a level: OpenSSL would keep twice as much */
        return NGTCP2_ERR_CRYPTO_BUFFER_EXCEEDED;
    if (c->handshake == NULL) {
        /* A client has nothing to say after its handshake; least of all KeyUpdate (RFC 9001,
         * section 6). */
        ngtcp2_conn_set_tls_alert(conn, SSL_AD_UNEXPECTED_MESSAGE);
        return NGTCP2_ERR_CRYPTO;
    }
    return ngtcp2_crypto_recv_crypto_data_cb(conn, level, offset, bytes, len, user);
}

static void tell_ready(struct sl_qconn *c)
{
    sl_quic_handshake_note(c);
    c->is_ready = true;
    if (sl_qconn_is_open(c))
        c->pub.app->on_ready(&c->pub);
}

static int on_tx_key(ngtcp2_conn *conn, ngtcp2_encryption_level level, void *user)
{
    struct sl_qconn *c = user;

    (void)conn;
    if (level == NGTCP2_ENCRYPTION_LEVEL_1RTT)
        tell_ready(c);
    return 0;
}

static void give_token(struct sl_qconn *c, const struct sl_addr *remote)
{
    uint8_t token[SL_QUIC_TOKEN_MAX];
    size_t len = sl_quic_token_new(token, remote, sl_quic_now(c->endpoint));

    if (len > 0)
        (void)ngtcp2_conn_submit_new_token(c->ngtcp2, token, len);
}

static int on_handshake_done(ngtcp2_conn *conn, void *user)
{
    struct sl_qconn *c = user;

    c->is_done = true;
    sl_qconn_done(c);
    if (c->pub.is_server)
        give_token(c, &c->pub.remote);
    else
        tell_ready(c);
    if (c->alpn[0] == '\0') {
        ngtcp2_conn_set_tls_alert(conn, SSL_AD_NO_APPLICATION_PROTOCOL);
        return NGTCP2_ERR_CRYPTO;
    }
    if (sl_qconn_is_open(c) && c->pub.app->on_handshake_done != NULL)
        c->pub.app->on_handshake_done(&c->pub);
    return 0;
}

/* --- streams --- */

static int on_stream_open(ngtcp2_conn *conn, int64_t id, void *user)
{
    struct sl_qconn *c = user;

    sl_qconn_used(c);
    (void)conn;
    if (sl_qconn_is_open(c) && c->pub.app->on_stream_open != NULL)
        c->pub.app->on_stream_open(&c->pub, id);
    return 0;
}

static int on_stream_data(ngtcp2_conn *conn, uint32_t flags, int64_t id, uint64_t offset,
                          const uint8_t *bytes, size_t len, void *user, void *stream)
{
    struct sl_qconn *c = user;

    sl_qconn_used(c);
    (void)conn;
    (void)offset;
    if (sl_qconn_is_open(c))
        c->pub.app->on_stream_data(&c->pub, id, stream, bytes, len,
                                   (flags & NGTCP2_STREAM_DATA_FLAG_FIN) != 0);
    return 0;
}

static int on_stream_reset(ngtcp2_conn *conn, int64_t id, uint64_t final_size, uint64_t error,
                           void *user, void *stream)
{
    struct sl_qconn *c = user;

    (void)conn;
    (void)final_size;
    if (sl_qconn_is_open(c))
        c->pub.app->on_stream_reset(&c->pub, id, stream, error);
    return 0;
}

static int on_acked(ngtcp2_conn *conn, int64_t id, uint64_t offset, uint64_t n, void *user,
                    void *stream)
{
    struct sl_qconn *c = user;

    sl_qconn_used(c);
    (void)conn;
    (void)offset;
    if (sl_qconn_is_open(c) && n > 0)
        c->pub.app->on_acked(&c->pub, id, stream, n);
    return 0;
}

static int on_stream_closed(ngtcp2_conn *conn, uint32_t flags, int64_t id, uint64_t error,
                            void *user, void *stream)
{
    struct sl_qconn *c = user;

    sl_qconn_used(c);
    (void)flags;                                  /* without an error it is 0 */
    if (!ngtcp2_conn_is_local_stream(conn, id)) { /* the peer may open another one */
        if (ngtcp2_is_bidi_stream(id))
            ngtcp2_conn_extend_max_streams_bidi(conn, 1);
        else
            ngtcp2_conn_extend_max_streams_uni(conn, 1);
    }
    if (sl_qconn_is_open(c))
        c->pub.app->on_stream_closed(&c->pub, id, stream, error);
    return 0;
}

static int on_unblocked(ngtcp2_conn *conn, int64_t id, uint64_t max, void *user, void *stream)
{
    struct sl_qconn *c = user;

    (void)conn;
    (void)max;
    if (sl_qconn_is_open(c))
        c->pub.app->on_unblocked(&c->pub, id, stream);
    return 0;
}

static int on_more_streams(ngtcp2_conn *conn, uint64_t max, void *user)
{
    struct sl_qconn *c = user;

    (void)conn;
    (void)max;
    /* The limits of the transport parameters come before on_ready(). */
    if (c->is_ready && sl_qconn_is_open(c) && c->pub.app->on_more_streams != NULL)
        c->pub.app->on_more_streams(&c->pub);
    return 0;
}

/* --- datagrams and paths --- */

static int on_datagram(ngtcp2_conn *conn, uint32_t flags, const uint8_t *bytes, size_t len,
                       void *user)
{
    struct sl_qconn *c = user;

    sl_qconn_used(c);
    (void)conn;
    (void)flags;
    if (sl_qconn_is_open(c) && c->pub.app->on_datagram != NULL)
        c->pub.app->on_datagram(&c->pub, bytes, len);
    return 0;
}

/* A path has answered (or not). What the owner sees as the peer's address changes here alone. */
static int on_path(ngtcp2_conn *conn, uint32_t flags, const ngtcp2_path *path,
                   const ngtcp2_path *old, ngtcp2_path_validation_result result, void *user)
{
    struct sl_qconn *c = user;
    struct sl_addr remote, local;

    (void)old;
    if (result != NGTCP2_PATH_VALIDATION_RESULT_SUCCESS)
        return 0;
    (void)sl_addr_from_sockaddr(&remote, path->remote.addr, path->remote.addrlen);
    (void)sl_addr_from_sockaddr(&local, path->local.addr, path->local.addrlen);
    if (c->pub.is_server && (flags & NGTCP2_PATH_VALIDATION_FLAG_NEW_TOKEN) != 0)
        give_token(c, &remote);
    if (!ngtcp2_path_eq(path, ngtcp2_conn_get_path(conn)))
        return 0; /* an old one that was looked after once more */
    if (sl_addr_eq(&remote, &c->pub.remote) && sl_addr_eq(&local, &c->pub.local))
        return 0;
    c->pub.remote = remote;
    c->pub.local = local;
    if (sl_qconn_is_open(c) && c->pub.app->on_migrated != NULL)
        c->pub.app->on_migrated(&c->pub);
    return 0;
}

#define CALLBACKS                                                                                  \
    .recv_crypto_data = on_crypto, .handshake_completed = on_handshake_done,                       \
    .encrypt = ngtcp2_crypto_encrypt_cb, .decrypt = ngtcp2_crypto_decrypt_cb,                      \
    .hp_mask = ngtcp2_crypto_hp_mask_cb, .recv_stream_data = on_stream_data,                       \
    .acked_stream_data_offset = on_acked, .stream_open = on_stream_open,                           \
    .stream_close = on_stream_closed, .extend_max_local_streams_bidi = on_more_streams,            \
    .extend_max_local_streams_uni = on_more_streams, .rand = on_rand,                              \
    .remove_connection_id = on_retired_cid, .update_key = ngtcp2_crypto_update_key_cb,             \
    .path_validation = on_path, .stream_reset = on_stream_reset,                                   \
    .extend_max_stream_data = on_unblocked,                                                        \
    .delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb,                             \
    .delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb,                         \
    .recv_datagram = on_datagram, .version_negotiation = ngtcp2_crypto_version_negotiation_cb,     \
    .recv_stateless_reset2 = on_reset_token, .get_new_connection_id2 = on_new_cid,                 \
    .get_path_challenge_data2 = ngtcp2_crypto_get_path_challenge_data2_cb

const ngtcp2_callbacks sl_quic_server_callbacks = {
    CALLBACKS,
    .recv_client_initial = ngtcp2_crypto_recv_client_initial_cb,
    .recv_tx_key = on_tx_key,
};

const ngtcp2_callbacks sl_quic_client_callbacks = {
    CALLBACKS,
    .client_initial = ngtcp2_crypto_client_initial_cb,
    .recv_retry = ngtcp2_crypto_recv_retry_cb,
};
