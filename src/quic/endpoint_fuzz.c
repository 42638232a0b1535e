/*
 * Datagrams of strangers and of a client into a server endpoint.
 *
 * The input is a script: one byte says what happens next, the following ones are its arguments.
 * Whole datagrams of any bytes; packets of a real client in which bytes are changed (those of its
 * Initial are sealed with keys that everybody can derive, so plain frames are changed before they
 * are sealed); the passing of time; loss. Whatever comes, the server stays within its limits.
 */
#include "quic/test_world.h"

struct script {
    const uint8_t *at;
    size_t left;
};

static struct script script;

static uint8_t take(void)
{
    if (script.left == 0)
        return 0;
    script.left--;
    return *script.at++;
}

static struct sl_str take_bytes(void)
{
    size_t len = (size_t)take() << 4;
    struct sl_str s;

    len = SL_MIN(len, script.left);
    s = sl_str((const char *)script.at, len);
    script.at += len;
    script.left -= len;
    return s;
}

/* Frames of the client, changed before they are sealed. */
static uint8_t n_frames_to_change;

static int encrypt(uint8_t *out, const ngtcp2_crypto_aead *aead, const ngtcp2_crypto_aead_ctx *ctx,
                   const uint8_t *plain, size_t len, const uint8_t *nonce, size_t nonce_len,
                   const uint8_t *aad, size_t aad_len)
{
    uint8_t changed[2048];

    sl_assert(len <= sizeof(changed));
    memcpy(changed, plain, len);
    if (n_frames_to_change > 0) {
        struct sl_str frames = take_bytes();

        n_frames_to_change--;
        memset(changed, 0, len);
        memcpy(changed, frames.p, SL_MIN(frames.len, len));
    }
    return ngtcp2_crypto_encrypt_cb(out, aead, ctx, changed, len, nonce, nonce_len, aad, aad_len);
}

static uint8_t n_to_change;

/* Sealed packets of the client, changed afterwards. */
static bool change(struct test_net *net, struct test_node *from, struct test_datagram *d)
{
    (void)net;
    if (from->wire.endpoint->server != NULL || n_to_change == 0)
        return true;
    n_to_change--;
    for (int i = take() % 8; i > 0; i--)
        d->bytes[((size_t)take() << 8 | take()) % d->len] ^= take();
    if (take() % 8 == 0)
        d->len = take() % d->len;
    return true;
}

static void inject(struct test_world *w, struct sl_str bytes, bool as_initial)
{
    static const uint8_t head[] = {0xc3, 0, 0, 0, 1};
    struct test_datagram *d;
    struct sl_addr from;
    size_t len = as_initial ? SL_MAX(bytes.len + sizeof(head), (size_t)1200) : bytes.len;
    uint8_t *all = sl_zalloc(len + 1);

    if (as_initial)
        memcpy(all, head, sizeof(head));
    if (bytes.len > 0)
        memcpy(all + (as_initial ? sizeof(head) : 0), bytes.p, bytes.len);
    sl_assert(sl_addr_parse(&from, SL_STR("10.3.3.3"), 9) == 0);
    d = test_datagram_new(&from, &w->server_addr, all, len);
    d->due = w->net.now;
    test_net_post(&w->net, d);
    sl_free(all);
}

static void speak(struct test_world *w)
{
    struct test_stream *s;
    struct sl_str bytes = take_bytes();

    if (w->client_peer.conn == NULL)
        return;
    s = test_peer_open(&w->client_peer, take() % 2 == 0);
    if (s != NULL)
        test_peer_send(&w->client_peer, s, bytes.p, bytes.len, take() % 2 == 0);
    (void)sl_quic_send_datagram(w->client_peer.conn, (const uint8_t *)bytes.p, bytes.len);
}

static void step(struct test_world *w)
{
    switch (take() % 8) {
    case 0:
        inject(w, take_bytes(), false);
        break;
    case 1:
        inject(w, take_bytes(), true);
        break;
    case 2:
        n_to_change = take() % 4;
        break;
    case 3:
        n_frames_to_change = take() % 4;
        break;
    case 4:
        speak(w);
        break;
    case 5:
        if (w->client_peer.conn != NULL && take() % 4 == 0)
            (void)sl_quic_rebind(w->client_peer.conn);
        break;
    default:
        (void)test_net_run(&w->net, take(), NULL, NULL);
    }
}

/* While no address has answered, nobody gets more than three times what it sent; what has ended is
 * gone. */
static void check(struct test_world *w)
{
    const struct test_node *server = test_node(w->server);
    bool is_validated = false;

    for (int i = 0; i < SL_MIN(w->n_peers, (int)TEST_WORLD_PEERS); i++)
        is_validated = is_validated || w->peers[i].n_done > 0;
    sl_assert(is_validated || server->bytes_out <= 3 * server->bytes_in);
    sl_assert(w->server->n_handshakes <= sl_quic_endpoint_conns(w->server));
    (void)test_net_run(&w->net, 300 * 1000, NULL, NULL);
    sl_assert(sl_quic_endpoint_conns(w->server) == 0 && w->server->cids.n == 0);
    sl_assert(w->server->n_handshakes == 0 && w->server->timers.n == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static ngtcp2_callbacks callbacks;
    struct test_world *w = sl_zalloc(sizeof(*w));

    script = (struct script){bytes, len};
    n_to_change = n_frames_to_change = 0;
    callbacks = sl_quic_client_callbacks;
    callbacks.encrypt = encrypt;
    test_world_init(w, 1);
    w->server_settings.retry_above = 4;
    w->server_settings.max_datagram = 500;
    w->net.on_send = change;
    test_world_begin(w);
    w->client->client_callbacks = &callbacks;
    test_world_connect(w);
    if (take() % 2 == 0)
        (void)test_net_run(&w->net, 100, NULL, NULL);
    for (int i = 0; i < 100 && script.left > 0; i++)
        step(w);
    (void)test_net_run(&w->net, 1000, NULL, NULL);
    check(w);
    test_world_end(w);
    sl_free(w);
    return 0;
}
