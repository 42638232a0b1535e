/* What clients may say to a hub before the greeting: TLS with other protocols, no TLS, and QUIC
   that leads nowhere. */
#include "codec/tunnel_greeting.h"
#include "tls/stream.h"
#include "tunnel/greeter.h"
#include "tunnel/test_ends.h"

static struct client {
    struct sl_stream *stream;
    struct sl_buf in;
    bool is_ready, is_over;
} client;

static void client_on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    (void)s;
    sl_buf_append(&client.in, bytes, len);
}

static void client_on_fin(struct sl_stream *s)
{
    (void)s;
    client.is_over = true;
}

static void client_on_error(struct sl_stream *s, int code)
{
    (void)s;
    (void)code;
    client.is_over = true;
}

static void client_on_ready(struct sl_stream *s)
{
    client.is_ready = true;
    sl_stream_read(s, true);
}

static const struct sl_stream_handler client_handler = {client_on_data, client_on_fin, on_written,
                                                        client_on_error, client_on_ready};

/* Over TCP, which is ready then. */
static void set_up(void)
{
    world_begin();
    world_hub(&(struct sl_hub_opts){0});
    world_listen();
    world_edges(1, &(struct sl_edge_opts){0});
    client = (struct client){0};
    sl_assert(sl_tcp_connect(&client.stream, loop, &hub_at, NULL, 0, &client_handler, NULL) == 0);
    run_until(loop, client.is_ready);
}

static void tear_down(void)
{
    sl_stream_free(&client.stream, SL_CLOSE_ABORT);
    sl_buf_clear(&client.in);
    world_end();
}

static void speak(const char *text)
{
    (void)sl_stream_write1(client.stream, text, strlen(text), false);
}

/* ALPN is offered and not asked for, so that whatever stands in front of an edge may use its own.
 */
static void a_client_of_another_protocol_is_heard(const char *alpn, struct sl_str chosen)
{
    struct sl_tls_client_opts opts = {.alpn = alpn};
    struct sl_tls_client *context;

    set_up();
    sl_assert(sl_tls_client_new(&context, &opts, NULL) == 0);
    client.is_ready = false;
    sl_stream_read(client.stream, false);
    client.stream =
        sl_tls_connect(&client.stream, context, SL_STR("any.example"), &client_handler, NULL);
    sl_tls_client_free(context);
    run_until(loop, client.is_ready);
    sl_check_str(sl_tls_alpn(client.stream), chosen);
    speak("EDGE e0 secret-e0\n");
    run_until(loop, sl_buf_len(&client.in) > 0);
    sl_check(memcmp(sl_buf_at(&client.in), "{\"listenPorts\"", 14) == 0);
    tear_down();
}

static void without_tls_nobody_is_heard(const char *text)
{
    set_up();
    speak(text);
    run_until(loop, client.is_over);
    sl_check(n_asked == 0 && stats_of_hub().dropped == 1 && stats_of_hub().n_edges_up == 0);
    tear_down();
}

/* --- QUIC --- */

static struct sl_greeter greeter;
static struct sl_quic_endpoint *endpoint;
static const char *greeting; /* NULL: the control stream is opened, and nobody hears of it */
static bool has_opened;

static void on_open(struct sl_greeter *g)
{
    has_opened = true;
    if (greeting != NULL)
        sl_greeter_say(g, greeting, strlen(greeting), false);
    sl_greeter_read(g, true);
}

static void on_bytes(struct sl_greeter *g)
{
    (void)g;
}

static void on_end(struct sl_greeter *g, int code, const char *why)
{
    (void)g;
    sl_check(code == SL_E_CLOSED && why[0] != '\0');
    client.is_over = true;
}

static const struct sl_greeter_handler greeter_handler = {on_open, on_bytes, on_end};

static void connect_quic(void)
{
    struct sl_quic_settings settings = sl_greeter_quic_settings(TEST_GUARD_MS);
    struct sl_quic_endpoint_opts opts = {.loop = loop, .settings = &settings};
    struct sl_tls_client_opts trust = {.alpn = SL_HUB_ALPN};
    struct sl_quic_streams *streams;
    struct sl_quic_tls *context;
    struct sl_quic_conn *conn;

    sl_assert(sl_quic_tls_client_new(&context, &trust, NULL) == 0);
    sl_assert(sl_quic_endpoint_new_client(&endpoint, &hub_at, &opts, NULL) == 0);
    sl_greeter_init(&greeter, loop, &greeter_handler);
    streams = sl_greeter_use_quic(&greeter, true);
    sl_assert(sl_quic_connect(&conn, endpoint, &hub_at, context, SL_STR("any.example"),
                              &sl_quic_streams_app, streams) == 0);
    sl_greeter_begin_quic(&greeter, conn);
    sl_quic_tls_free(context);
}

static void over_quic_a_greeting_is_wanted_too(const char *text)
{
    set_up();
    sl_stream_free(&client.stream, SL_CLOSE_ABORT);
    run_until(loop, stats_of_hub().dropped == 1);
    greeting = text;
    has_opened = false;
    connect_quic();
    run_until(loop, has_opened && stats_of_hub().accepted == 2);
    if (text == NULL)
        sl_loop_skip(loop, 11000);
    run_until(loop, client.is_over);
    sl_check(n_asked == 0 && stats_of_hub().dropped == 2);
    sl_greeter_clear(&greeter);
    sl_quic_endpoint_free(endpoint);
    tear_down();
}

int main(void)
{
    static char long_line[SL_GREETING_MAX + 10];

    a_client_of_another_protocol_is_heard(NULL, SL_STR(""));
    a_client_of_another_protocol_is_heard("\x02h2\x08http/1.1", SL_STR(""));
    a_client_of_another_protocol_is_heard("\x02h2" SL_HUB_ALPN, SL_STR("remoteingress"));
    without_tls_nobody_is_heard("EDGE e0 secret-e0\n");
    without_tls_nobody_is_heard("GET / HTTP/1.1\r\nHost: hub\r\n\r\n");
    over_quic_a_greeting_is_wanted_too(NULL);
    over_quic_a_greeting_is_wanted_too("EDGE e0\n");
    memset(long_line, 'x', sizeof(long_line) - 1);
    over_quic_a_greeting_is_wanted_too(long_line);
    return sl_check_done();
}
