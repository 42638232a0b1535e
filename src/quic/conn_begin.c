#include <openssl/rand.h>
#include "quic/internal.h"

static const uint32_t available_versions[] = {NGTCP2_PROTO_VER_V1, NGTCP2_PROTO_VER_V2};

ngtcp2_path sl_qconn_path(const struct sl_addr *local, const struct sl_addr *remote)
{
    return (ngtcp2_path){
        .local = {(ngtcp2_sockaddr *)&local->sa, sl_addr_len(local)},
        .remote = {(ngtcp2_sockaddr *)&remote->sa, sl_addr_len(remote)},
    };
}

static void set_settings(ngtcp2_settings *out, struct sl_qconn *c)
{
    const struct sl_quic_settings *s = &c->endpoint->settings;

    ngtcp2_settings_default(out);
    out->initial_ts = sl_quic_now(c->endpoint);
    out->cc_algo = s->bbr ? NGTCP2_CC_ALGO_BBR : NGTCP2_CC_ALGO_CUBIC;
    out->max_window = s->max_conn_window;
    out->max_stream_window = s->max_stream_window;
    out->no_pmtud = s->no_pmtud;
    out->available_versions = available_versions;
    out->available_versionslen = SL_COUNT(available_versions);
    if (s->handshake_timeout > 0)
        out->handshake_timeout = s->handshake_timeout * SL_QUIC_MS;
    if (c->qlog != NULL)
        out->qlog_write = sl_quic_qlog_write;
}

static void set_params(ngtcp2_transport_params *out, const struct sl_quic_settings *s)
{
    ngtcp2_transport_params_default(out);
    out->initial_max_stream_data_bidi_local = s->stream_window;
    out->initial_max_stream_data_bidi_remote = s->stream_window;
    out->initial_max_stream_data_uni = s->stream_window;
    out->initial_max_data = s->conn_window;
    out->initial_max_streams_bidi = s->max_streams_bidi;
    out->initial_max_streams_uni = s->max_streams_uni;
    out->max_idle_timeout = s->idle_timeout * SL_QUIC_MS;
    out->max_datagram_frame_size = s->max_datagram;
    out->active_connection_id_limit = 4; /* one to use, others to migrate to */
}

/* What both sides do when ngtcp2's object is there. */
static int finish(struct sl_qconn *c, struct sl_quic_tls *tls, struct sl_str name)
{
    const struct sl_quic_settings *s = &c->endpoint->settings;

    if (s->keep_alive > 0)
        ngtcp2_conn_set_keep_alive_timeout(c->ngtcp2, s->keep_alive * SL_QUIC_MS);
    else
        c->idle_ns = s->idle_timeout * SL_QUIC_MS;
    sl_qconn_used(c);
    return sl_quic_handshake_new(c, tls, name);
}

static int add_cid(struct sl_qconn *c, const ngtcp2_cid *cid)
{
    return sl_quic_cid_add(&c->endpoint->cids, &c->cids, cid, c);
}

static void set_server_params(ngtcp2_transport_params *out, const struct sl_qconn_first *first)
{
    out->original_dcid_present = 1;
    out->original_dcid = first->odcid != NULL ? *first->odcid : first->hd->dcid;
    if (first->odcid != NULL) {
        out->retry_scid_present = 1;
        out->retry_scid = first->hd->dcid;
    }
}

int sl_qconn_begin_server(struct sl_qconn *c, const struct sl_qconn_first *first)
{
    const ngtcp2_pkt_hd *hd = first->hd;
    ngtcp2_path path = sl_qconn_path(first->local, first->remote);
    ngtcp2_settings settings;
    ngtcp2_transport_params params;
    ngtcp2_cid scid;
    int rc;

    c->pub.remote = *first->remote;
    c->pub.local = *first->local;
    set_params(&params, &c->endpoint->settings);
    set_server_params(&params, first);
    c->qlog = sl_quic_qlog_open(c->endpoint, &params.original_dcid);
    set_settings(&settings, c);
    settings.token = hd->token;
    settings.tokenlen = hd->tokenlen;
    settings.token_type = first->token_type;
    if ((rc = sl_quic_cid_make(&scid, c->endpoint->worker)) < 0 ||
        (rc = sl_quic_reset_token(params.stateless_reset_token, &scid)) < 0)
        return rc;
    params.stateless_reset_token_present = 1;
    if (ngtcp2_conn_server_new(&c->ngtcp2, &hd->scid, &scid, &path, hd->version,
                               &sl_quic_server_callbacks, &settings, &params, NULL, c) != 0)
        return SL_E_PROTOCOL;
    if ((rc = add_cid(c, &scid)) < 0 || (rc = add_cid(c, &hd->dcid)) < 0)
        return rc;
    return finish(c, c->endpoint->tls, SL_STR_NONE);
}

int sl_qconn_begin_client(struct sl_qconn *c, const struct sl_addr *remote, struct sl_quic_tls *tls,
                          struct sl_str server_name)
{
    ngtcp2_path path = sl_qconn_path(&c->endpoint->local, remote);
    ngtcp2_settings settings;
    ngtcp2_transport_params params;
    ngtcp2_cid scid, dcid = {.datalen = 18};
    int rc;

    c->pub.remote = *remote;
    c->pub.local = c->endpoint->local;
    if (RAND_bytes(dcid.data, (int)dcid.datalen) != 1)
        return SL_E_SYSTEM;
    c->qlog = sl_quic_qlog_open(c->endpoint, &dcid);
    set_settings(&settings, c);
    set_params(&params, &c->endpoint->settings);
    if ((rc = sl_quic_cid_make(&scid, c->endpoint->worker)) < 0)
        return rc;
    if (ngtcp2_conn_client_new(&c->ngtcp2, &dcid, &scid, &path, NGTCP2_PROTO_VER_V1,
                               c->endpoint->client_callbacks, &settings, &params, NULL, c) != 0)
        return SL_E_PROTOCOL;
    if ((rc = add_cid(c, &scid)) < 0)
        return rc;
    return finish(c, tls, server_name);
}

int sl_quic_connect(struct sl_quic_conn **out, struct sl_quic_endpoint *e,
                    const struct sl_addr *remote, struct sl_quic_tls *tls,
                    struct sl_str server_name, const struct sl_quic_app *app, void *user)
{
    struct sl_qconn *c = sl_qconn_new(e, false);
    int rc = sl_qconn_begin_client(c, remote, tls, server_name);

    if (rc < 0) {
        sl_qconn_finish(c);
        return rc;
    }
    c->pub.app = app;
    c->pub.user = user;
    c->is_accepted = true;
    sl_qconn_soon(c);
    *out = &c->pub;
    return 0;
}
