/* Clients that break the protocol inside sealed packets. */
#include "quic/test_world.h"

/* What the client puts into its next packet of a kind, instead of what ngtcp2 wrote. */
static struct {
    uint8_t frames[1400];
    size_t len;
    bool in_initial; /* else in 1-RTT */
    int n_left;
} evil;

/* Between ngtcp2 and the cipher: the packet keeps its length, the rest is padding. */
static int encrypt(uint8_t *out, const ngtcp2_crypto_aead *aead, const ngtcp2_crypto_aead_ctx *ctx,
                   const uint8_t *plain, size_t len, const uint8_t *nonce, size_t nonce_len,
                   const uint8_t *aad, size_t aad_len)
{
    bool is_long = (aad[0] & 0x80) != 0;
    bool is_initial = is_long && (aad[0] & 0x30) == 0;
    uint8_t changed[2000];

    sl_assert(len <= sizeof(changed));
    memcpy(changed, plain, len);
    if (evil.n_left > 0 && len >= evil.len && (evil.in_initial ? is_initial : !is_long)) {
        memset(changed, 0, len);
        memcpy(changed, evil.frames, evil.len);
        evil.n_left--;
    }
    return ngtcp2_crypto_encrypt_cb(out, aead, ctx, changed, len, nonce, nonce_len, aad, aad_len);
}

static void begin(struct test_world *w)
{
    static ngtcp2_callbacks callbacks;

    memset(&evil, 0, sizeof(evil));
    test_world_begin(w);
    callbacks = sl_quic_client_callbacks;
    callbacks.encrypt = encrypt;
    w->client->client_callbacks = &callbacks;
}

static void plan(bool in_initial, int n, const void *frames, size_t len)
{
    memset(&evil, 0, sizeof(evil));
    memcpy(evil.frames, frames, len);
    evil.len = len;
    evil.in_initial = in_initial;
    evil.n_left = n;
}

/* Sends these frames in 1-RTT packets; the error that the server closes with, or UINT64_MAX. */
static uint64_t error_for(const void *frames, size_t len, uint32_t max_datagram)
{
    struct test_world w;
    uint64_t error = UINT64_MAX;
    char bytes[1000] = "";

    test_world_init(&w, 1);
    w.server_settings.max_datagram = max_datagram;
    begin(&w);
    sl_check(test_world_shake(&w));
    (void)test_net_run(&w.net, 1000, NULL, NULL);
    plan(false, 1, frames, len);
    test_peer_send(&w.client_peer, test_peer_open(&w.client_peer, false), bytes, sizeof(bytes),
                   true);
    if (test_net_run(&w.net, 2000, test_is_closed, &w.client_peer)) {
        error = w.client_peer.end.error;
        sl_check(w.peers[0].n_closed == 1 && w.peers[0].end.code < 0);
        sl_check(w.peers[0].end.error == error && !w.peers[0].end.is_remote);
    }
    sl_check(evil.n_left == 0);
    test_world_end(&w);
    return error;
}

#define FRAMES(bytes) bytes, sizeof(bytes) - 1

static void test_frames(void)
{
    uint8_t datagram[800] = {0x31, 0x43, 0x00};

    /* a packet acknowledged that was never sent */
    sl_check(error_for(FRAMES("\x02\x7f\xff\x00\x00\x00"), 0) == NGTCP2_PROTOCOL_VIOLATION);
    /* datagrams that nobody asked for, or longer than what was asked for */
    sl_check(error_for(FRAMES("\x30zzz"), 0) == NGTCP2_PROTOCOL_VIOLATION);
    sl_check(error_for(datagram, sizeof(datagram), 100) == NGTCP2_PROTOCOL_VIOLATION);
    /* frames that a server alone sends */
    sl_check(error_for(FRAMES("\x1e"), 0) == NGTCP2_PROTOCOL_VIOLATION);
    sl_check(error_for(FRAMES("\x07\x01t"), 0) == NGTCP2_PROTOCOL_VIOLATION);
    /* bytes on a stream that is ours to send on */
    sl_check(error_for(FRAMES("\x0a\x03\x01x"), 0) == NGTCP2_STREAM_STATE_ERROR);
    /* KeyUpdate as a TLS message */
    sl_check(error_for(FRAMES("\x06\x00\x05\x18\x00\x00\x01\x00"), 0) ==
             (NGTCP2_CRYPTO_ERROR | 10));
    /* a stream beyond the limit, bytes beyond the window, an unknown frame */
    sl_check(error_for(FRAMES("\x0a\x7f\xf0\x01x"), 0) == NGTCP2_STREAM_LIMIT_ERROR);
    sl_check(error_for(FRAMES("\x0e\x00\x80\x10\x00\x00\x01x"), 0) == NGTCP2_FLOW_CONTROL_ERROR);
    sl_check(error_for(FRAMES("\x7f\xff"), 0) == NGTCP2_FRAME_ENCODING_ERROR);
}

/* bytes of the handshake far ahead of what has come. In the very first packet they make no
 * connection; the client says its hello again, to no avail when the rest of it was in there. */
static void test_crypto_gap(void)
{
    struct test_world w;

    sl_check(error_for(FRAMES("\x06\x80\x10\x00\x00\x01x"), 0) == NGTCP2_CRYPTO_BUFFER_EXCEEDED);
    test_world_init(&w, 1);
    begin(&w);
    plan(true, 1000, FRAMES("\x06\x80\x10\x00\x00\x01x"));
    test_world_connect(&w);
    sl_check(test_net_run(&w.net, 20000, test_is_closed, &w.client_peer));
    sl_check(w.client_peer.end.code == SL_E_TIMEOUT && w.n_peers == 0);
    sl_check(w.server->n_handshakes == 0 && sl_quic_endpoint_conns(w.server) == 0);
    test_world_end(&w);
}

/* many PATH_CHALLENGE frames while no answer gets through. */
static void test_path_challenges(void)
{
    struct test_world w;
    uint8_t frames[900];
    char bytes[1000] = "";
    uint64_t before, answers;

    test_world_init(&w, 1);
    begin(&w);
    sl_check(test_world_shake(&w));
    (void)test_net_run(&w.net, 1000, NULL, NULL);
    for (size_t i = 0; i < sizeof(frames); i++)
        frames[i] = i % 9 == 0 ? 0x1a : (uint8_t)i;
    plan(false, 200, frames, sizeof(frames));
    before = test_node(w.server)->n_out;
    for (int i = 0; i < 100; i++) {
        test_peer_send(&w.client_peer, test_peer_open(&w.client_peer, false), bytes, sizeof(bytes),
                       true);
        (void)test_net_run(&w.net, 1, NULL, NULL);
    }
    (void)test_net_run(&w.net, 5000, NULL, NULL);
    answers = test_node(w.server)->n_out - before;
    sl_check(evil.n_left < 200);
    /* Some per packet that came, not one per frame. */
    sl_check(answers < 8u * (200u - (unsigned)evil.n_left));
    test_world_end(&w);
}

int main(void)
{
    test_frames();
    test_crypto_gap();
    test_path_challenges();
    return sl_check_done();
}
