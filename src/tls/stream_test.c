/* TLS streams once they are open: data, backpressure, ends, keys, and what hostile peers do. Every
 * test that can be is run against both engines: our own of TLS 1.3 and OpenSSL's of TLS 1.2. */
#include "tls/conn.h"
#include "tls/test_link.h"

enum { BIG = 3 * 1024 * 1024 + 17 };

static uint8_t pattern[BIG];

static void fill_pattern(void)
{
    uint32_t x = 1;

    for (size_t i = 0; i < BIG; i++) {
        x = x * 1664525 + 1013904223;
        pattern[i] = (uint8_t)(x >> 24);
    }
}

/* The first `len` bytes of the pattern? */
static bool is_pattern(const struct side *side, size_t len)
{
    return sl_buf_len(&side->got) == len && memcmp(sl_buf_at(&side->got), pattern, len) == 0;
}

static SSL_CTX *raw_ctx;

static void raw_limits(int version)
{
    SSL_CTX_free(raw_ctx);
    raw_ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(raw_ctx, version);
    SSL_CTX_set_max_proto_version(raw_ctx, version);
}

/* Our server with a raw client. */
static void open_raw(struct link *l, int version)
{
    raw_limits(version);
    link_begin(l, 1 << 22);
    link_accept(l, NULL);
    link_raw_client(l, raw_ctx, "a.example");
    settle(l);
    sl_check(l->server.n_ready == 1 && l->client.n_ready == 1);
}

/* Both sides ours. The version is the server's choice, so the client is held down where it is asked
 * for. */
static void open_both(struct link *l, int version, size_t limit)
{
    struct sl_err err;

    link_begin(l, limit);
    sl_check(sl_tls_client_new(&l->client_context, &(struct sl_tls_client_opts){0}, &err) == 0);
    SSL_CTX_set_max_proto_version(l->client_context->context.ssl_ctx, version);
    link_accept(l, NULL);
    link_connect(l, NULL, "a.example");
    settle(l);
    sl_check(l->server.n_ready == 1 && l->client.n_ready == 1);
    sl_check((sl_tls_conn(l->server.stream)->ssl == NULL) == (version == TLS1_3_VERSION));
    sl_check_str(sl_str_c(sl_tls_version(l->client.stream)),
                 version == TLS1_3_VERSION ? SL_STR("TLSv1.3") : SL_STR("TLSv1.2"));
}

/* --- data --- */

static void test_gathered_write(int version)
{
    struct link l;
    struct iovec iov[] = {
        {(void *)"head ", 5}, {(void *)"", 0}, {(void *)"body ", 5}, {(void *)"tail", 4}};
    uint64_t before;

    open_both(&l, version, 1 << 16);
    before = sl_stream_below(l.server.stream)->bytes_out;
    sl_check(sl_stream_write(l.server.stream, iov, 4, false) == 0);
    settle(&l);
    sl_check_str(got(&l.client), SL_STR("head body tail"));
    sl_check(l.client.n_batches == 1);
    /* one record: few bytes more than the payload */
    sl_check(sl_stream_below(l.server.stream)->bytes_out - before < 14 + 40);
    sl_check(sl_stream_write(l.server.stream, NULL, 0, false) == 0);
    link_end(&l);
}

/* Three megabytes at once, through a pair that takes little: the writer is told to wait, and
 * nothing is lost. */
static void test_large(int version, size_t limit)
{
    struct link l;
    struct iovec iov[] = {{pattern, 10}, {pattern + 10, 100000}, {pattern + 100010, BIG - 100010}};

    open_both(&l, version, limit);
    sl_check(sl_stream_write(l.server.stream, iov, 3, false) ==
             (limit >= 4 * BIG ? 0 : SL_E_AGAIN));
    sl_check(sl_stream_write1(l.client.stream, pattern, BIG, true) ==
             (limit >= 4 * BIG ? 0 : SL_E_AGAIN));
    settle(&l);
    sl_check(is_pattern(&l.client, BIG) && is_pattern(&l.server, BIG));
    sl_check(l.server.n_fin == 1 && l.client.n_fin == 0);
    sl_check(l.server.n_written == (limit >= 4 * BIG ? 0 : 1));
    sl_check(!l.server.stream->is_writing &&
             sl_buf_len(&sl_tls_conn(l.server.stream)->held_out) == 0);
    sl_check(sl_stream_write1(l.server.stream, "more", 4, false) == 0);
    settle(&l);
    sl_check(sl_buf_len(&l.client.got) == BIG + 4);
    link_end(&l);
}

/* The reader pauses after each batch: not a byte comes until it reads again. */
static void test_paused_reader(int version)
{
    struct link l;
    size_t before;

    open_both(&l, version, 1 << 22);
    l.client.pauses = true;
    sl_stream_write1(l.server.stream, pattern, 500000, true);
    settle(&l);
    before = sl_buf_len(&l.client.got);
    sl_check(l.client.n_batches == 1 && before > 0 && before <= SL_SCRATCH_LEN &&
             l.client.n_fin == 0);
    settle(&l);
    sl_check(sl_buf_len(&l.client.got) == before);
    for (int i = 0; i < 10 && l.client.n_fin == 0; i++) {
        sl_stream_read(l.client.stream, true);
        settle(&l);
    }
    sl_check(is_pattern(&l.client, 500000) && l.client.n_fin == 1);
    link_end(&l);
}

/* The first data comes with the last bytes of the handshake; a reader that is not ready yet loses
 * none of it. */
static void test_paused_from_the_start(int version)
{
    struct link l;

    raw_limits(version);
    link_begin(&l, 1 << 22);
    l.server.starts_paused = true;
    link_accept(&l, NULL);
    link_connect(&l, NULL, "a.example");
    SSL_CTX_set_max_proto_version(l.client_context->context.ssl_ctx, version);
    settle(&l);
    sl_check(l.client.n_ready == 1);
    sl_stream_write1(l.client.stream, pattern, 20000, true);
    settle(&l);
    sl_check(l.server.n_ready == 1 && l.server.n_batches == 0 && l.server.n_fin == 0);
    sl_stream_read(l.server.stream, true);
    settle(&l);
    sl_check(is_pattern(&l.server, 20000) && l.server.n_fin == 1);
    link_end(&l);
}

/* Hands one side's ciphertext over byte by byte, each in a batch of its own. */
static void test_byte_by_byte(int version)
{
    struct link l;
    struct sl_stream *below;
    struct sl_buf wire = {0};
    char bytes[32768];
    int n;

    open_raw(&l, version);
    sl_check(SSL_write(l.client.ssl, pattern, 5000) == 5000);
    sl_check(SSL_write(l.client.ssl, pattern + 5000, 1) == 1);
    while ((n = BIO_read(l.client.net_out, bytes, sizeof(bytes))) > 0)
        sl_buf_append(&wire, bytes, (size_t)n);
    below = sl_stream_below(l.server.stream);
    for (size_t i = 0; i < sl_buf_len(&wire); i++)
        below->handler->on_data(below, sl_buf_at(&wire) + i, 1);
    sl_check(is_pattern(&l.server, 5001) && l.server.n_batches == 2);
    sl_check(sl_tls_conn(l.server.stream)->held_in.base ==
             NULL); /* an idle connection holds no buffer */
    sl_buf_clear(&wire);
    link_end(&l);
}

/* All records of a batch come up in one piece. */
static void test_one_batch(int version)
{
    struct link l;

    open_raw(&l, version);
    for (int i = 0; i < 100; i++)
        sl_check(SSL_write(l.client.ssl, pattern + 10 * i, 10) == 10);
    raw_send(&l.client);
    settle(&l);
    sl_check(is_pattern(&l.server, 1000) && l.server.n_batches == 1);
    link_end(&l);
}

/* Sizes of the records that a large write makes after a pause: small ones first. */
static void test_record_sizes(void)
{
    struct link l;
    struct sl_stream *end;
    size_t lens[8], n = 0;

    open_both(&l, TLS1_3_VERSION, 1 << 22);
    end = sl_tls_unwrap(&l.client.stream);
    sl_stream_set_handler(end, &side_handler, &l.client);
    sl_stream_read(end, true);
    sl_check(sl_stream_write1(l.server.stream, pattern, 50000, false) == 0);
    settle(&l);
    for (size_t at = 0, len; n < 8 && at < sl_buf_len(&l.client.got); at += len) {
        sl_check(sl_record_frame(sl_buf_at(&l.client.got) + at, sl_buf_len(&l.client.got) - at,
                                 &len) == 0);
        lens[n++] = len - SL_RECORD_OVERHEAD;
    }
    sl_check(n == 5 && lens[0] == 4096 && lens[1] == 4096 && lens[2] == 16384 && lens[3] == 16384);
    sl_stream_free(&end, SL_CLOSE_ABORT);
    link_end(&l);
}

/* TLS in TLS in TLS: the inner ones read and write bytes that lie in the scratch buffers of the
 * outer ones. */
static void test_nested(int version)
{
    struct link l;
    const struct sl_tls_accept accept = {link_on_hello, &l};

    open_both(&l, version, 1 << 22);
    for (int depth = 0; depth < 2; depth++) {
        l.server.stream = sl_tls_accept(&l.server.stream, l.server_context, &accept, &side_handler,
                                        &l.server, NULL, 0);
        l.client.stream = sl_tls_connect(&l.client.stream, l.client_context, SL_STR("in.example"),
                                         &side_handler, &l.client);
        settle(&l);
        sl_check(l.server.n_ready == depth + 2 && l.client.n_ready == depth + 2);
    }
    sl_stream_write1(l.server.stream, pattern, BIG, false);
    sl_stream_write1(l.client.stream, pattern, BIG, true);
    settle(&l);
    sl_check(is_pattern(&l.client, BIG) && is_pattern(&l.server, BIG) && l.server.n_fin == 1);
    link_end(&l);
}

/* A layer above may put its bytes together in the scratch buffer for output. */
static void test_write_from_scratch(int version)
{
    static const size_t lens[] = {100, 60000, 100000, SL_SCRATCH_LEN};

    for (size_t i = 0; i < SL_COUNT(lens); i++) {
        struct link l;
        uint8_t *scratch;

        open_both(&l, version, 1 << 22);
        scratch = sl_loop_scratch(l.loop, 2);
        memcpy(scratch, pattern, lens[i]);
        sl_check(sl_stream_write1(l.server.stream, scratch, lens[i], false) == 0);
        settle(&l);
        sl_check(is_pattern(&l.client, lens[i]));
        link_end(&l);
    }
}

/* --- ends --- */

static void test_half_close(int version)
{
    struct link l;

    open_both(&l, version, 1 << 16);
    sl_check(sl_stream_write1(l.client.stream, "request", 7, true) == 0);
    settle(&l);
    sl_check_str(got(&l.server), SL_STR("request"));
    sl_check(l.server.n_fin == 1 && !sl_tls_is_truncated(l.server.stream) && l.client.n_fin == 0);
    sl_check(sl_stream_write1(l.server.stream, "response", 8, false) == 0);
    sl_check(sl_stream_write(l.server.stream, NULL, 0, true) == 0);
    settle(&l);
    sl_check_str(got(&l.client), SL_STR("response"));
    sl_check(l.client.n_fin == 1 && l.client.n_error == 0 && l.server.n_error == 0);
    sl_check(sl_stream_below(l.client.stream)->sent_fin &&
             sl_stream_below(l.server.stream)->sent_fin);
    link_end(&l);
}

/* The owner aborts a stream that has ended both ways: the peer still reads all of it. */
static void test_freed_when_over(int version)
{
    struct link l;

    open_both(&l, version, 1000);
    sl_stream_write(l.client.stream, NULL, 0, true);
    settle(&l);
    l.client.pauses = true;
    sl_stream_write1(l.server.stream, pattern, 300000, true);
    sl_check(l.server.stream->sent_fin && l.server.stream->got_fin);
    sl_stream_free(&l.server.stream, SL_CLOSE_ABORT);
    for (int i = 0; i < 10; i++) {
        settle(&l);
        sl_stream_read(l.client.stream, true);
    }
    settle(&l);
    sl_check(is_pattern(&l.client, 300000) && l.client.n_fin == 1 && l.client.n_error == 0);
    link_end(&l);
}

static void test_fin_behind_a_write_in_flight(int version)
{
    struct link l;

    open_both(&l, version, 1000);
    sl_check(sl_stream_write1(l.server.stream, pattern, 200000, false) == SL_E_AGAIN);
    sl_check(sl_stream_write(l.server.stream, NULL, 0, true) == SL_E_AGAIN);
    settle(&l);
    sl_check(is_pattern(&l.client, 200000) && l.client.n_fin == 1 && l.server.n_written == 1);
    link_end(&l);
}

/* The layer below ends without a close_notify. */
static void test_truncation(int version)
{
    struct link l;

    open_raw(&l, version);
    raw_write(&l.client, "all there is", 12);
    sl_stream_write(l.client.stream, NULL, 0, true);
    settle(&l);
    sl_check_str(got(&l.server), SL_STR("all there is"));
    sl_check(l.server.n_fin == 1 && l.server.n_error == 0 && sl_tls_is_truncated(l.server.stream));
    sl_check(sl_stream_write1(l.server.stream, "answer", 6, true) == 0);
    settle(&l);
    sl_check_str(got(&l.client), SL_STR("answer"));
    link_end(&l);
}

static void test_reset(int version)
{
    struct link l;

    open_both(&l, version, 1 << 16);
    sl_stream_free(&l.client.stream, SL_CLOSE_ABORT);
    settle(&l);
    sl_check(l.server.n_error == 1 && l.server.code == SL_E_RESET && l.server.n_fin == 0);
    sl_check(sl_stream_write1(l.server.stream, "x", 1, false) == SL_E_RESET);
    settle(&l);
    sl_check(l.server.n_error == 1);
    link_end(&l);
}

/* Freed with words left to say, while the layer below is busy. */
static void test_linger(int version, size_t limit)
{
    struct link l;

    open_both(&l, version, limit);
    l.client.pauses = true; /* so that the pair stays full for a while */
    sl_stream_write1(l.server.stream, pattern, 400000, false);
    sl_stream_free(&l.server.stream, SL_CLOSE_LINGER);
    for (int i = 0; i < 10; i++) {
        settle(&l);
        if (l.client.stream->is_reading == false)
            sl_stream_read(l.client.stream, true);
    }
    settle(&l);
    sl_check(is_pattern(&l.client, 400000) && l.client.n_fin == 1 &&
             !sl_tls_is_truncated(l.client.stream));
    sl_check(l.client.n_error == 0 && l.server.n_written == 0);
    link_end(&l);
}

static void free_on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    struct side *side = s->user;

    (void)bytes;
    side->n_batches++;
    sl_check(len > 0);
    sl_stream_free(&side->stream, SL_CLOSE_LINGER);
}

static void test_freed_in_data(int version)
{
    static const struct sl_stream_handler frees = {free_on_data, side_on_fin, side_on_written,
                                                   side_on_error, NULL};
    struct link l;

    open_both(&l, version, 1 << 22);
    sl_stream_set_handler(l.server.stream, &frees, &l.server);
    sl_stream_write1(l.client.stream, pattern, BIG, true);
    settle(&l);
    sl_check(l.server.stream == NULL && l.server.n_batches == 1 && l.server.n_fin == 0);
    sl_check(l.client.n_fin == 1);
    link_end(&l);
}

/* --- keys --- */

static void test_key_update(int version)
{
    struct link l;

    open_raw(&l, version);
    for (int i = 0; i < 5; i++) { /* one way and both ways */
        sl_check(SSL_key_update(l.client.ssl, i % 2 ? SSL_KEY_UPDATE_REQUESTED
                                                    : SSL_KEY_UPDATE_NOT_REQUESTED) == 1);
        raw_write(&l.client, "ping", 4);
        settle(&l);
        sl_check(sl_stream_write1(l.server.stream, "pong", 4, false) == 0);
        settle(&l);
    }
    sl_check_str(got(&l.server), SL_STR("pingpingpingpingping"));
    sl_check_str(got(&l.client), SL_STR("pongpongpongpongpong"));
    link_end(&l);
}

/* Attack T-08. */
static void test_key_update_flood(void)
{
    struct link l;
    int n = 0;

    open_raw(&l, TLS1_3_VERSION);
    for (int i = 0; i < 1000; i++) {
        SSL_key_update(l.client.ssl, SSL_KEY_UPDATE_REQUESTED);
        n += SSL_do_handshake(l.client.ssl) == 1;
    }
    raw_send(&l.client);
    settle(&l);
    sl_check(n == 1000);
    sl_check(l.server.n_error == 1 && l.server.code == SL_E_LIMIT);
    sl_check(strstr(sl_tls_reason(l.server.stream), "key updates") != NULL);
    link_end(&l);
}

/* A key that has sealed its share is changed by us, and the peer follows. */
static void test_worn_key(void)
{
    struct link l;
    struct sl_tls_conn *t;

    open_both(&l, TLS1_3_VERSION, 1 << 16);
    t = sl_tls_conn(l.server.stream);
    sl_tls_conn(l.client.stream)->rx.seq = t->tx.seq = (uint64_t)1 << 24;
    sl_check(sl_stream_write1(l.server.stream, "pong", 4, false) == 0);
    sl_check(t->tx.seq == 1);
    settle(&l);
    sl_check_str(got(&l.client), SL_STR("pong"));
    link_end(&l);
}

/* Of attack T-08 the older form: each attempt is answered with a warning, and there are not many.
 */
static void test_renegotiation(void)
{
    struct link l;

    open_raw(&l, TLS1_2_VERSION);
    sl_check(SSL_renegotiate(l.client.ssl) == 1);
    SSL_do_handshake(l.client.ssl);
    ERR_clear_error();
    raw_send(&l.client);
    settle(&l);
    sl_check(l.client.alert == SSL_AD_NO_RENEGOTIATION && l.server.got.end == 0);
    link_end(&l);
}

/* --- hostile records --- */

/* The client side of a connection whose keys the test uses to seal what it likes. */
static void open_forger(struct link *l, struct sl_record_key *tx)
{
    struct sl_stream *end;

    open_both(l, TLS1_3_VERSION, 1 << 22);
    *tx = sl_tls_conn(l->client.stream)->tx;
    sl_tls_conn(l->client.stream)->tx = (struct sl_record_key){0};
    end = sl_tls_unwrap(&l->client.stream);
    sl_stream_set_handler(end, &side_handler, &l->client);
    sl_stream_read(end, true);
    l->client.stream = end;
}

static void forge(struct link *l, struct sl_record_key *tx, int type, const void *content,
                  size_t len)
{
    static uint8_t rec[SL_RECORD_PLAIN_MAX + SL_RECORD_OVERHEAD];

    memcpy(rec + SL_RECORD_HEAD, content, len);
    sl_stream_write1(l->client.stream, rec, sl_record_seal(tx, (enum sl_record_type)type, rec, len),
                     false);
}

struct forgery {
    const char *what;
    int types[3]; /* of up to three records; 0 ends them */
    struct sl_str contents[3];
    int code; /* 0: the connection lives */
};

static void check_forgery(const struct forgery *f)
{
    struct sl_record_key tx;
    struct link l;
    bool is_alert;

    open_forger(&l, &tx);
    for (int i = 0; i < 3 && f->types[i] != 0; i++)
        forge(&l, &tx, f->types[i], f->contents[i].p, f->contents[i].len);
    settle(&l);
    is_alert = f->types[0] == SL_RECORD_ALERT && f->contents[0].len == 2;
    if (l.server.code != f->code)
        fprintf(stderr, "%s: %d\n", f->what, l.server.code);
    sl_check(l.server.code == f->code && l.server.n_error == (f->code != 0));
    /* whoever broke the protocol is told so, but an alert is not answered */
    sl_check((got(&l.client).len > 0) == (f->code != 0 && !is_alert));
    sl_record_key_clear(&tx);
    link_end(&l);
}

static void test_forgeries(void)
{
    static const struct forgery forgeries[] = {
        {"unknown type", {25}, {SL_STR("x")}, SL_E_TLS},
        {"change cipher spec", {20}, {SL_STR("\1")}, SL_E_TLS},
        {"empty handshake", {22}, {SL_STR("")}, SL_E_TLS},
        {"client hello", {22}, {SL_STR("\1\0\0\1\0")}, SL_E_TLS},
        {"ticket from a client", {22}, {SL_STR("\4\0\0\1\0")}, SL_E_TLS},
        {"key update of two bytes", {22}, {SL_STR("\x18\0\0\2\0\0")}, SL_E_TLS},
        {"key update of no kind", {22}, {SL_STR("\x18\0\0\1\2")}, SL_E_TLS},
        {"bytes behind a key update", {22}, {SL_STR("\x18\0\0\1\0\x18")}, SL_E_TLS},
        {"data amid a message", {22, 23}, {SL_STR("\x18\0\0"), SL_STR("x")}, SL_E_TLS},
        {"half a message", {22}, {SL_STR("\x18\0\0")}, 0},
        {"key update in pieces, then the old key",
         {22, 22, 23},
         {SL_STR("\x18\0"), SL_STR("\0\1\0"), SL_STR("x")},
         SL_E_TLS},
        {"fatal alert", {21}, {SL_STR("\2\x28")}, SL_E_TLS},
        {"long alert", {21}, {SL_STR("\2\x28\0")}, SL_E_TLS},
        {"user canceled", {21, 23}, {SL_STR("\1\x5a"), SL_STR("x")}, 0},
    };

    for (size_t i = 0; i < SL_COUNT(forgeries); i++)
        check_forgery(&forgeries[i]);
}

static void test_empty_records(void)
{
    struct sl_record_key tx;
    struct link l;

    open_forger(&l, &tx);
    for (int i = 0; i < 32; i++)
        forge(&l, &tx, SL_RECORD_DATA, "", 0);
    forge(&l, &tx, SL_RECORD_DATA, "x", 1);
    for (int i = 0; i < 32; i++)
        forge(&l, &tx, SL_RECORD_DATA, "", 0);
    settle(&l);
    sl_check_str(got(&l.server), SL_STR("x"));
    sl_check(l.server.n_error == 0 && l.server.n_batches == 1);
    forge(&l, &tx, SL_RECORD_DATA, "", 0);
    settle(&l);
    sl_check(l.server.n_error == 1 && l.server.code == SL_E_TLS);
    sl_record_key_clear(&tx);
    link_end(&l);
}

/* What was good before the bad record is delivered; after a close_notify nothing is. */
static void test_order(void)
{
    struct sl_record_key tx;
    struct link l;

    open_forger(&l, &tx);
    forge(&l, &tx, SL_RECORD_DATA, "good", 4);
    forge(&l, &tx, SL_RECORD_HANDSHAKE, "", 0);
    forge(&l, &tx, SL_RECORD_DATA, "late", 4);
    settle(&l);
    sl_check_str(got(&l.server), SL_STR("good"));
    sl_check(l.server.n_error == 1);
    sl_record_key_clear(&tx);
    link_end(&l);

    open_forger(&l, &tx);
    forge(&l, &tx, SL_RECORD_DATA, "good", 4);
    forge(&l, &tx, SL_RECORD_ALERT, "\1\0", 2);
    forge(&l, &tx, SL_RECORD_DATA, "late", 4);
    settle(&l);
    sl_check_str(got(&l.server), SL_STR("good"));
    sl_check(l.server.n_fin == 1 && l.server.n_error == 0);
    sl_record_key_clear(&tx);
    link_end(&l);
}

static void test_garbage(int version)
{
    static const char *const garbage[] = {"\x17\x03\x03\x00\x20oooooooooooooooooooooooooooooooo",
                                          "\x17\x03\x03\xff\xff", "\x17\x03\x03\x00\x01x",
                                          "\x14\x03\x03\x00\x01\x01", "GET / HTTP/1.1\r\n"};
    static const size_t lens[] = {37, 5, 6, 6, 16};

    for (size_t i = 0; i < SL_COUNT(lens); i++) {
        struct link l;

        open_raw(&l, version);
        sl_stream_write1(l.client.stream, garbage[i], lens[i], false);
        settle(&l);
        sl_check(l.server.n_error == 1 && l.server.code == SL_E_TLS);
        sl_check(sl_tls_reason(l.server.stream)[0] != '\0');
        sl_check(l.client.alert >= 0); /* the alert arrives even if the stream is dropped at once */
        link_end(&l);
    }
}

static void drop_on_error(struct sl_stream *s, int code)
{
    struct side *side = s->user;

    side_on_error(s, code);
    sl_stream_free(&side->stream, SL_CLOSE_ABORT);
}

static void test_alert_arrives(int version)
{
    static const struct sl_stream_handler drops = {side_on_data, side_on_fin, side_on_written,
                                                   drop_on_error, NULL};
    struct link l;

    open_raw(&l, version);
    sl_stream_set_handler(l.server.stream, &drops, &l.server);
    sl_stream_write1(l.client.stream, "\x17\x03\x03\x00\x20oooooooooooooooooooooooooooooooo", 37,
                     false);
    settle(&l);
    sl_check(l.server.n_error == 1 && l.server.stream == NULL);
    sl_check(l.client.alert == SSL_AD_BAD_RECORD_MAC && l.client.n_error == 0);
    link_end(&l);
}

/* A client that asks for short records gets them: OpenSSL keeps that connection. */
static void test_short_records(void)
{
    struct link l;

    raw_limits(TLS1_3_VERSION);
    SSL_CTX_set_tlsext_max_fragment_length(raw_ctx, TLSEXT_max_fragment_length_1024);
    link_begin(&l, 1 << 22);
    link_accept(&l, NULL);
    link_raw_client(&l, raw_ctx, "a.example");
    settle(&l);
    sl_check(l.server.n_ready == 1 && sl_tls_conn(l.server.stream)->ssl != NULL);
    sl_check(sl_stream_write1(l.server.stream, pattern, 100000, true) == 0);
    settle(&l);
    sl_check(is_pattern(&l.client, 100000) && l.client.n_fin > 0);
    for (int i = 0; i < 40; i++) {
        SSL_key_update(l.client.ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
        SSL_do_handshake(l.client.ssl);
    }
    raw_send(&l.client);
    settle(&l);
    sl_check(l.server.n_error == 1 && l.server.code == SL_E_LIMIT);
    link_end(&l);
}

static void test_version(int version)
{
    test_gathered_write(version);
    test_large(version, 1000);
    test_large(version, 4 * BIG);
    test_paused_reader(version);
    test_paused_from_the_start(version);
    test_byte_by_byte(version);
    test_one_batch(version);
    test_nested(version);
    test_write_from_scratch(version);
    test_half_close(version);
    test_freed_when_over(version);
    test_fin_behind_a_write_in_flight(version);
    test_truncation(version);
    test_reset(version);
    test_linger(version, 1000);
    test_linger(version, 1 << 22);
    test_freed_in_data(version);
    test_garbage(version);
    test_alert_arrives(version);
}

int main(void)
{
    fill_pattern();
    test_version(TLS1_3_VERSION);
    test_version(TLS1_2_VERSION);
    test_record_sizes();
    test_key_update(TLS1_3_VERSION);
    test_key_update_flood();
    test_worn_key();
    test_renegotiation();
    test_forgeries();
    test_empty_records();
    test_order();
    test_short_records();
    SSL_CTX_free(raw_ctx);
    return sl_check_done();
}
