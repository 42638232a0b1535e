/* Handshakes: what the owner is asked, what is refused and how, tickets, verification. */
#include <openssl/pem.h>
#include <stdlib.h>
#include <unistd.h>
#include "tls/test_link.h"

static void write_str(struct side *side, const char *text)
{
    sl_check(sl_stream_write1(side->stream, text, strlen(text), false) == 0);
}

/* A context for raw OpenSSL clients; frees the last one. */
static SSL_CTX *raw_context(int version)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    SSL_CTX_set_min_proto_version(ctx, version);
    SSL_CTX_set_max_proto_version(ctx, version);
    return ctx;
}

static void test_round_trip(void)
{
    struct link l;

    link_open(&l, 1 << 16);
    sl_check_str(sl_str_c(l.asked), SL_STR("a.example"));
    sl_check(l.asked_tls13 && l.n_hellos == 1);
    sl_check_str(sl_tls_sni(l.server.stream), SL_STR("a.example"));
    sl_check_str(sl_tls_sni(l.client.stream), SL_STR("a.example"));
    sl_check_str(sl_str_c(sl_tls_version(l.server.stream)), SL_STR("TLSv1.3"));
    sl_check_str(sl_tls_alpn(l.server.stream), SL_STR(""));
    sl_check(sl_stream_is_tls(l.server.stream) &&
             !sl_stream_is_tls(sl_stream_below(l.server.stream)));
    write_str(&l.client, "ping");
    write_str(&l.server, "pong");
    settle(&l);
    sl_check_str(got(&l.server), SL_STR("ping"));
    sl_check_str(got(&l.client), SL_STR("pong"));
    sl_check(l.server.stream->bytes_in == 4 && l.server.stream->bytes_out == 4);
    link_end(&l);
}

static void check_name(const char *sent, const char *asked)
{
    struct link l;

    link_begin(&l, 1 << 16);
    link_accept(&l, NULL);
    link_connect(&l, NULL, sent);
    settle(&l);
    sl_check_str(sl_str_c(l.asked), sl_str_c(asked));
    sl_check(l.server.n_ready == 1);
    link_end(&l);
}

/* The peeked beginning of the handshake is handed to sl_tls_accept(), in any length. */
static void test_first_bytes(void)
{
    static const size_t lens[] = {1, 4, 100, 10000};

    for (size_t i = 0; i < SL_COUNT(lens); i++) {
        struct link l;
        const struct sl_tls_accept accept = {link_on_hello, &l};
        struct sl_tls_server_opts opts = {0};
        struct sl_str hello;
        size_t n;

        link_begin(&l, 1 << 16);
        link_connect(&l, NULL, "a.example");
        sl_stream_set_handler(l.ends[0], &side_handler, &l.server);
        sl_stream_read(l.ends[0], true);
        settle(&l);
        hello = got(&l.server);
        n = SL_MIN(lens[i], hello.len);
        sl_check(sl_tls_server_new(&l.server_context, &opts, NULL) == 0);
        l.server.stream = sl_tls_accept(&l.ends[0], l.server_context, &accept, &side_handler,
                                        &l.server, (const uint8_t *)hello.p, n);
        if (n < hello.len) { /* the rest arrives later, as if it came from below */
            struct sl_stream *below = sl_stream_below(l.server.stream);

            below->handler->on_data(below, (const uint8_t *)hello.p + n, hello.len - n);
        }
        settle(&l);
        sl_check(l.server.n_ready == 1 && l.client.n_ready == 1);
        link_end(&l);
    }
}

static void test_alpn(void)
{
    struct link l;

    link_begin(&l, 1 << 16);
    link_accept(&l, &(struct sl_tls_server_opts){.http2 = true});
    link_connect(&l, &(struct sl_tls_client_opts){.alpn = "\x08http/1.1\x02h2"}, "a.example");
    settle(&l);
    sl_check_str(sl_str_c(l.asked_alpn), SL_STR("\x08http/1.1\x02h2"));
    sl_check_str(sl_tls_alpn(l.server.stream), SL_STR("h2")); /* the server's preference */
    sl_check_str(sl_tls_alpn(l.client.stream), SL_STR("h2"));
    link_end(&l);
}

static void test_alpn_without_overlap(void)
{
    struct link l;

    link_begin(&l, 1 << 16);
    link_accept(&l, NULL);
    link_connect(&l, &(struct sl_tls_client_opts){.alpn = "\x04mqtt"}, "a.example");
    settle(&l);
    sl_check(l.server.n_error == 1 && l.server.code == SL_E_TLS && l.client.n_error == 1);
    sl_check(strstr(sl_tls_reason(l.client.stream), "no application protocol") != NULL);
    link_end(&l);
}

static int hello_with_offer(void *user, struct sl_stream *tls, const struct sl_tls_hello *hello,
                            struct sl_cert **cert)
{
    sl_tls_offer(tls, SL_STR(""));
    return link_on_hello(user, tls, hello, cert);
}

/* A route that is no HTTP takes any protocol, and says so by choosing none. */
static void test_alpn_offer_of_one_connection(void)
{
    struct link l;
    const struct sl_tls_accept accept = {hello_with_offer, &l};

    link_begin(&l, 1 << 16);
    sl_check(sl_tls_server_new(&l.server_context, &(struct sl_tls_server_opts){0}, NULL) == 0);
    l.server.stream =
        sl_tls_accept(&l.ends[0], l.server_context, &accept, &side_handler, &l.server, NULL, 0);
    link_connect(&l, &(struct sl_tls_client_opts){.alpn = "\x04mqtt"}, "a.example");
    settle(&l);
    sl_check(l.server.n_ready == 1 && l.client.n_ready == 1);
    sl_check_str(sl_tls_alpn(l.client.stream), SL_STR(""));
    link_end(&l);
}

static void test_context_options(void)
{
    struct sl_tls_server *server;
    struct sl_tls_client *client;
    struct sl_err err;

    sl_check(sl_tls_server_new(&server, &(struct sl_tls_server_opts){.alpn = "\x09short"}, &err) ==
             SL_E_CONFIG);
    sl_check(sl_tls_client_new(&client,
                               &(struct sl_tls_client_opts){.alpn = ""
                                                                    "h2"},
                               &err) == SL_E_CONFIG);
    sl_check(sl_tls_client_new(&client,
                               &(struct sl_tls_client_opts){.verify = true, .ca_file = "/nowhere"},
                               &err) == SL_E_CONFIG);
    sl_check(strstr(err.text, "/nowhere") != NULL && ERR_peek_error() == 0);
}

static void test_refused(void)
{
    struct link l;

    link_begin(&l, 1 << 16);
    l.hello_rc = SL_E_NOT_FOUND;
    link_accept(&l, NULL);
    link_connect(&l, NULL, "b.example");
    settle(&l);
    sl_check(l.server.n_error == 1 && l.server.code == SL_E_TLS && l.server.n_ready == 0);
    sl_check_str(sl_str_c(sl_tls_reason(l.server.stream)), SL_STR("no certificate for this name"));
    sl_check(l.client.n_error == 1 && l.client.code == SL_E_TLS);
    sl_check(strstr(sl_tls_reason(l.client.stream), "unrecognized name") != NULL);
    /* whoever drops the connection now still lets the client read the alert */
    sl_check(sl_stream_write1(l.server.stream, "x", 1, false) == SL_E_TLS);
    link_end(&l);
}

/* --- on_hello() that waits --- */

static void test_waiting(void)
{
    struct link l;

    link_begin(&l, 1 << 16);
    l.hello_rc = SL_E_AGAIN;
    link_accept(&l, NULL);
    link_connect(&l, NULL, "a.example");
    settle(&l);
    sl_check(l.n_hellos == 1 && l.server.n_ready == 0);
    sl_tls_resume(l.server.stream, sl_cert_ref(l.cert));
    settle(&l);
    sl_check(l.n_hellos == 1 && l.server.n_ready == 1 && l.client.n_ready == 1);
    write_str(&l.client, "hello");
    settle(&l);
    sl_check_str(got(&l.server), SL_STR("hello"));
    link_end(&l);
}

static void test_waiting_then_refused(void)
{
    struct link l;

    link_begin(&l, 1 << 16);
    l.hello_rc = SL_E_AGAIN;
    link_accept(&l, NULL);
    link_connect(&l, NULL, "a.example");
    settle(&l);
    sl_tls_resume(l.server.stream, NULL);
    settle(&l);
    sl_check(l.server.n_error == 1 && l.client.n_error == 1 && l.server.n_ready == 0);
    link_end(&l);
}

static void test_freed_while_waiting(void)
{
    struct link l;

    link_begin(&l, 1 << 16);
    l.hello_rc = SL_E_AGAIN;
    link_accept(&l, NULL);
    link_connect(&l, NULL, "a.example");
    settle(&l);
    sl_stream_free(&l.server.stream, SL_CLOSE_ABORT);
    settle(&l);
    sl_check(l.client.n_error == 1 && l.client.code == SL_E_RESET);
    link_end(&l);
}

static void test_client_leaves_while_waiting(void)
{
    struct link l;

    link_begin(&l, 1 << 16);
    l.hello_rc = SL_E_AGAIN;
    link_accept(&l, NULL);
    link_connect(&l, NULL, "a.example");
    settle(&l);
    sl_stream_free(&l.client.stream, SL_CLOSE_ABORT);
    settle(&l);
    sl_check(l.server.n_error == 1 && l.server.code == SL_E_RESET);
    link_end(&l);
}

static int resume_at_once(void *user, struct sl_stream *tls, const struct sl_tls_hello *hello,
                          struct sl_cert **cert)
{
    struct link *l = user;

    l->hello_rc = SL_E_AGAIN;
    sl_tls_resume(tls, sl_cert_ref(l->cert));
    return link_on_hello(user, tls, hello, cert);
}

static void test_resumed_inside_hello(void)
{
    struct link l;
    const struct sl_tls_accept accept = {resume_at_once, &l};

    link_begin(&l, 1 << 16);
    sl_check(sl_tls_server_new(&l.server_context, &(struct sl_tls_server_opts){0}, NULL) == 0);
    l.server.stream =
        sl_tls_accept(&l.ends[0], l.server_context, &accept, &side_handler, &l.server, NULL, 0);
    link_connect(&l, NULL, "a.example");
    settle(&l);
    sl_check(l.server.n_ready == 1 && l.client.n_ready == 1);
    link_end(&l);
}

static void test_freed_inside_hello(void)
{
    for (int rc = 0; rc >= SL_E_CLOSED; rc--) { /* 0, SL_E_AGAIN and a refusal */
        struct link l;

        link_begin(&l, 1 << 16);
        l.hello_rc = rc;
        l.frees_in_hello = true;
        link_accept(&l, NULL);
        link_connect(&l, NULL, "a.example");
        settle(&l);
        sl_check(l.server.stream == NULL && l.server.n_error == 0 && l.server.n_ready == 0);
        sl_check(l.client.n_error == 1 && l.client.code == SL_E_RESET);
        link_end(&l);
    }
}

static void test_freed_inside_ready(void)
{
    struct link l;

    link_begin(&l, 1 << 16);
    l.client.frees_on_ready = true;
    l.server.frees_on_ready = true;
    link_accept(&l, NULL);
    link_connect(&l, NULL, "a.example");
    settle(&l);
    sl_check(l.client.stream == NULL && l.client.n_ready == 1);
    link_end(&l);
}

static void test_aborted_halfway(void)
{
    struct link l;

    link_begin(&l, 1 << 16);
    link_accept(&l, NULL);
    link_raw_bytes(&l, "\x16\x03\x01\x02\x00\x01\x00", 7);
    settle(&l);
    sl_check(l.server.n_error == 0);
    sl_stream_write(l.client.stream, NULL, 0, true);
    settle(&l);
    sl_check(l.server.n_error == 1 && l.server.code == SL_E_CLOSED && l.server.n_ready == 0);
    link_end(&l);
}

/* --- clients that are none of ours --- */

/* The ClientHello of a raw client: as OpenSSL wrote it. */
static struct sl_str raw_hello(SSL_CTX *ctx, const char *name, uint8_t *out, size_t cap)
{
    SSL *ssl = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem()), *net = BIO_new(BIO_s_mem());
    int n;

    SSL_set_bio(ssl, in, net);
    SSL_set_connect_state(ssl);
    SSL_set_tlsext_host_name(ssl, name);
    SSL_do_handshake(ssl);
    n = BIO_read(net, out, (int)cap);
    SSL_free(ssl);
    ERR_clear_error();
    sl_assert(n > 0);
    return sl_str((const char *)out, (size_t)n);
}

/* Attack T-07: every byte of the hello in a record of its own, and each of those bytes in a batch
 * of its own. */
static void test_hello_byte_by_byte(void)
{
    uint8_t whole[4096];
    SSL_CTX *ctx = raw_context(TLS1_3_VERSION);
    struct sl_str hello = raw_hello(ctx, "a.example", whole, sizeof(whole));
    struct link l;

    link_begin(&l, 1 << 20);
    link_accept(&l, NULL);
    link_raw_bytes(&l, "", 0);
    for (size_t i = 5; i < hello.len; i++) {
        uint8_t rec[6] = {0x16, 3, 1, 0, 1, whole[i]};

        for (size_t j = 0; j < sizeof(rec); j++) {
            struct sl_stream *below = sl_stream_below(l.server.stream);

            below->handler->on_data(below, &rec[j], 1);
        }
    }
    settle(&l);
    sl_check(l.n_hellos == 1 && l.server.n_error == 0);
    sl_check_str(sl_str_c(l.asked), SL_STR("a.example"));
    sl_check(got(&l.client).len > 500 && got(&l.client).p[0] == 0x16); /* the server's flight */
    link_end(&l);
    SSL_CTX_free(ctx);
}

/* A handshake that never ends is cut off, and takes no more memory than its limit. */
static void test_endless_hello(void)
{
    static uint8_t rec[5 + 16384] = {0x16, 3, 1, 0x40, 0x00, 0x01, 0x00, 0xff, 0xff};
    struct link l;

    link_begin(&l, 1 << 20);
    link_accept(&l, NULL);
    link_raw_bytes(&l, rec, sizeof(rec));
    for (int i = 0; i < 5; i++)
        sl_stream_write1(l.client.stream, rec, sizeof(rec), false);
    settle(&l);
    sl_check(l.server.n_error == 1 && l.n_hellos == 0);
    sl_check(l.server.code == SL_E_LIMIT || l.server.code == SL_E_TLS);
    link_end(&l);
}

static void test_flood_while_waiting(void)
{
    static uint8_t junk[70000];
    struct link l;
    SSL_CTX *ctx = raw_context(TLS1_3_VERSION);

    link_begin(&l, 1 << 20);
    l.hello_rc = SL_E_AGAIN;
    link_accept(&l, NULL);
    link_raw_client(&l, ctx, "a.example");
    settle(&l);
    sl_stream_write1(l.client.stream, junk, sizeof(junk), false);
    settle(&l);
    sl_check(l.server.n_error == 1 && l.server.code == SL_E_LIMIT);
    link_end(&l);
    SSL_CTX_free(ctx);
}

/* Finds the server_name extension and turns it into one with two names of the same length. */
static void double_name(uint8_t *hello, size_t len)
{
    static const char name[] = "\0\0\x19\0\x17\0\0\x14";

    for (size_t i = 0; i + 30 < len; i++) {
        if (memcmp(hello + i, name, 8) != 0)
            continue;
        memcpy(hello + i, "\0\0\x19\0\x17\0\0\x08", 8);
        memcpy(hello + i + 8, "aa.test.", 8);
        memcpy(hello + i + 16,
               "\0\0\x09"
               "bbb.test.",
               12);
        return;
    }
    sl_assert(!"no server name found");
}

static void test_two_names(void)
{
    uint8_t hello[4096];
    SSL_CTX *ctx = raw_context(TLS1_3_VERSION);
    struct sl_str text = raw_hello(ctx, "aaaaaaaaaa.bbbbbb.cc", hello, sizeof(hello));
    struct link l;

    double_name(hello, text.len);
    link_begin(&l, 1 << 16);
    link_accept(&l, NULL);
    link_raw_bytes(&l, hello, text.len);
    settle(&l);
    sl_check(l.n_hellos == 0 && l.server.n_error == 1 && l.server.code == SL_E_TLS);
    sl_check_str(sl_str_c(sl_tls_reason(l.server.stream)), SL_STR("malformed server name"));
    sl_check_str(got(&l.client),
                 SL_STR("\x15\x03\x03\x00\x02\x02\x2f")); /* fatal illegal_parameter */
    link_end(&l);
    SSL_CTX_free(ctx);
}

static void test_no_name(void)
{
    struct link l;
    SSL_CTX *ctx = raw_context(TLS1_3_VERSION);

    link_begin(&l, 1 << 16);
    link_accept(&l, NULL);
    link_raw_client(&l, ctx, NULL);
    settle(&l);
    sl_check(l.n_hellos == 1 && l.asked[0] == '\0' && l.server.n_ready == 1);
    sl_check_str(sl_tls_sni(l.server.stream), SL_STR(""));
    link_end(&l);
    SSL_CTX_free(ctx);
}

static void check_not_tls(const char *bytes, size_t len, const char *reason)
{
    struct link l;
    struct sl_stream *below;

    link_begin(&l, 1 << 16);
    link_accept(&l, NULL);
    link_raw_bytes(&l, bytes, len);
    settle(&l);
    sl_check(l.server.n_error == 1 && l.server.code == SL_E_PROTOCOL);
    sl_check_str(sl_str_c(sl_tls_reason(l.server.stream)), sl_str_c(reason));
    sl_check(got(&l.client).len == 0); /* nothing was said yet */
    below = sl_tls_unwrap(&l.server.stream);
    sl_check(l.server.stream == NULL);
    sl_stream_write1(below, "HTTP/1.1 400 Bad Request\r\n\r\n", 28, true);
    sl_stream_free(&below, SL_CLOSE_LINGER);
    settle(&l);
    sl_check(got(&l.client).len == 28 && l.client.n_fin == 1);
    link_end(&l);
}

static void test_no_common_suite(void)
{
    struct link l;
    SSL_CTX *ctx = raw_context(TLS1_2_VERSION);

    SSL_CTX_set_cipher_list(ctx, "AES128-SHA");
    link_begin(&l, 1 << 16);
    link_accept(&l, NULL);
    link_raw_client(&l, ctx, "a.example");
    settle(&l);
    sl_check(l.server.n_error == 1 && l.server.code == SL_E_TLS);
    sl_check(strstr(sl_tls_reason(l.server.stream), "no shared cipher") != NULL);
    sl_check(l.client.alert == SSL_AD_HANDSHAKE_FAILURE);
    link_end(&l);
    SSL_CTX_free(ctx);
}

static void test_least_version(void)
{
    struct link l;
    SSL_CTX *ctx = raw_context(TLS1_2_VERSION);

    link_begin(&l, 1 << 16);
    link_accept(&l, &(struct sl_tls_server_opts){.min_version = TLS1_3_VERSION});
    link_raw_client(&l, ctx, "a.example");
    settle(&l);
    sl_check(l.server.n_error == 1 && l.client.alert == SSL_AD_PROTOCOL_VERSION);
    link_end(&l);
    SSL_CTX_free(ctx);
}

/* The client guesses a key exchange that the server does not have, and has to say hello again. */
static void test_hello_retry(void)
{
    struct link l;
    SSL_CTX *ctx = raw_context(TLS1_3_VERSION);

    sl_check(SSL_CTX_set1_groups_list(ctx, "*SecP256r1MLKEM768:X25519") == 1);
    link_begin(&l, 1 << 16);
    link_accept(&l, NULL);
    link_raw_client(&l, ctx, "a.example");
    settle(&l);
    sl_check(l.n_hellos == 1 && l.server.n_ready == 1 && l.client.n_ready == 1);
    write_str(&l.server, "pong");
    settle(&l);
    sl_check_str(got(&l.client), SL_STR("pong"));
    sl_check(SSL_get_negotiated_group(l.client.ssl) == NID_X25519);
    link_end(&l);
    SSL_CTX_free(ctx);
}

/* --- whom the client believes --- */

static struct link verified;

static void connect_verified(const struct sl_tls_client_opts *opts, const char *name)
{
    link_begin(&verified, 1 << 16);
    link_accept(&verified, NULL);
    link_connect(&verified, opts, name);
    settle(&verified);
}

static void test_pin(void)
{
    struct sl_cert *cert;
    uint8_t pin[32];

    sl_check(sl_cert_self_signed(&cert, SL_STR("a.example"), NULL) == 0);
    sl_cert_pin(cert, pin);
    sl_cert_unref(cert);
    connect_verified(&(struct sl_tls_client_opts){.pin = pin}, "any.example");
    sl_check(verified.client.n_ready == 1);
    link_end(&verified);
    pin[31] ^= 1;
    connect_verified(&(struct sl_tls_client_opts){.pin = pin}, "a.example");
    sl_check(verified.client.n_ready == 0 && verified.client.code == SL_E_TLS);
    sl_check(verified.server.n_error == 1 && verified.server.n_ready == 0);
    link_end(&verified);
}

static void write_pem(const char *path, struct link *l)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    SSL *ssl = SSL_new(ctx);
    FILE *f = fopen(path, "w");

    sl_assert(f != NULL && sl_cert_use(l->cert, ssl) == 0);
    PEM_write_X509(f, SSL_get_certificate(ssl));
    fclose(f);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
}

static void test_verify(void)
{
    char path[] = "/tmp/sluice-handshake-XXXXXX";

    close(mkstemp(path));
    link_begin(&verified, 1 << 16);
    write_pem(path, &verified);
    link_end(&verified);
    connect_verified(&(struct sl_tls_client_opts){.verify = true, .ca_file = path}, "a.example");
    sl_check(verified.client.n_ready == 1);
    link_end(&verified);
    connect_verified(&(struct sl_tls_client_opts){.verify = true, .ca_file = path}, "b.example");
    sl_check(verified.client.n_ready == 0 && verified.client.code == SL_E_TLS);
    sl_check(strstr(sl_tls_reason(verified.client.stream), "hostname mismatch") != NULL);
    link_end(&verified);
    connect_verified(&(struct sl_tls_client_opts){.verify = true, .ca_file = path}, "192.0.2.1");
    sl_check(verified.client.n_ready == 0);
    link_end(&verified);
    connect_verified(&(struct sl_tls_client_opts){.verify = true, .ca_file = path}, "");
    sl_check(verified.client.n_ready == 0 && verified.client.code == SL_E_CONFIG);
    link_end(&verified);
    connect_verified(&(struct sl_tls_client_opts){.verify = true}, "a.example");
    sl_check(verified.client.n_ready == 0 && verified.client.code == SL_E_TLS);
    sl_check(strstr(sl_tls_reason(verified.client.stream), "self-signed certificate") != NULL);
    link_end(&verified);
    remove(path);
}

/* --- tickets --- */

static SSL_SESSION *kept;

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(kept);
    kept = session;
    return 1;
}

/* One connection of a raw client that remembers its session; was it resumed? */
static bool connect_again(SSL_CTX *ctx, const char *cert_name, struct sl_tls_server **server)
{
    struct link l;
    bool resumed;

    link_begin(&l, 1 << 16);
    sl_cert_unref(l.cert);
    sl_check(sl_cert_self_signed(&l.cert, sl_str_c(cert_name), NULL) == 0);
    l.server_context = *server;
    link_accept(&l, NULL);
    *server = l.server_context;
    l.server_context = NULL;
    raw_begin(&l.client, &l.ends[1], ctx);
    SSL_set_connect_state(l.client.ssl);
    SSL_set_tlsext_host_name(l.client.ssl, "a.example");
    if (kept != NULL)
        SSL_set_session(l.client.ssl, kept);
    raw_go_on(&l.client);
    settle(&l);
    sl_check(l.server.n_ready == 1 && l.client.n_ready == 1);
    resumed = SSL_session_reused(l.client.ssl);
    raw_write(&l.client, "ping", 4);
    write_str(&l.server, "pong");
    settle(&l);
    sl_check_str(got(&l.server), SL_STR("ping"));
    sl_check_str(got(&l.client), SL_STR("pong"));
    SSL_set_shutdown(l.client.ssl, SSL_SENT_SHUTDOWN); /* or OpenSSL takes the session for bad */
    link_end(&l);
    return resumed;
}

static SSL_CTX *remembering_context(int version)
{
    SSL_CTX *ctx = raw_context(version);

    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT);
    SSL_CTX_sess_set_new_cb(ctx, keep_session);
    return ctx;
}

static void forget_session(void)
{
    SSL_SESSION_free(kept);
    kept = NULL;
}

/* Attack T-04: a ticket is good for the certificate under which it was given, and for no other;
 * also on another context, since all share the keys. */
static void test_tickets(int version)
{
    struct sl_tls_server *server = NULL, *other = NULL;
    SSL_CTX *ctx = remembering_context(version);

    sl_check(!connect_again(ctx, "a.example", &server));
    sl_check(kept != NULL);
    sl_check(connect_again(ctx, "a.example", &server));
    sl_check(connect_again(ctx, "a.example", &other));
    sl_check(!connect_again(ctx, "b.example", &server));
    sl_check(connect_again(ctx, "b.example", &server));
    sl_tls_server_free(server);
    sl_tls_server_free(other);
    forget_session();
    SSL_CTX_free(ctx);
}

static void test_no_tickets(void)
{
    struct sl_tls_server *server;
    SSL_CTX *ctx = remembering_context(TLS1_3_VERSION);

    sl_check(sl_tls_server_new(&server, &(struct sl_tls_server_opts){.no_tickets = true}, NULL) ==
             0);
    sl_check(!connect_again(ctx, "a.example", &server) && kept == NULL);
    sl_tls_server_free(server);
    forget_session();
    SSL_CTX_free(ctx);
}

int main(void)
{
    test_round_trip();
    check_name("A.eXample.COM.", "a.example.com");
    check_name("192.0.2.1", ""); /* an address is not sent */
    test_first_bytes();
    test_alpn();
    test_alpn_without_overlap();
    test_alpn_offer_of_one_connection();
    test_context_options();
    test_refused();
    test_waiting();
    test_waiting_then_refused();
    test_freed_while_waiting();
    test_client_leaves_while_waiting();
    test_resumed_inside_hello();
    test_freed_inside_hello();
    test_freed_inside_ready();
    test_aborted_halfway();
    test_hello_byte_by_byte();
    test_endless_hello();
    test_flood_while_waiting();
    test_two_names();
    test_no_name();
    check_not_tls("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", 35, SL_TLS_REASON_HTTP);
    check_not_tls("P", 1, SL_TLS_REASON_HTTP);
    check_not_tls("SSH-2.0-x\r\n", 11, "not TLS");
    check_not_tls("\0\1\2", 3, "not TLS");
    test_no_common_suite();
    test_least_version();
    test_hello_retry();
    test_pin();
    test_verify();
    test_tickets(TLS1_3_VERSION);
    test_tickets(TLS1_2_VERSION);
    test_no_tickets();
    return sl_check_done();
}
