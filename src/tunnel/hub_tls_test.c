/* What clients may say to a hub before the greeting: TLS with other protocols, and no TLS. */
#include "tls/stream.h"
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

int main(void)
{
    a_client_of_another_protocol_is_heard(NULL, SL_STR(""));
    a_client_of_another_protocol_is_heard("\x02h2\x08http/1.1", SL_STR(""));
    a_client_of_another_protocol_is_heard("\x02h2" SL_HUB_ALPN, SL_STR("remoteingress"));
    without_tls_nobody_is_heard("EDGE e0 secret-e0\n");
    without_tls_nobody_is_heard("GET / HTTP/1.1\r\nHost: hub\r\n\r\n");
    return sl_check_done();
}
