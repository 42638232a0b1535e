/* Streams over a real connection pass the list that all streams pass (net/stream_conformance.h). */
#include "net/stream_conformance.h"

#include "net/test_net.h"
#include "quic/test_streams.h"

struct making {
    struct test_streams pair;
    bool server_opens;
};

static struct {
    int n_data;
} hello;

static void on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    (void)s;
    (void)bytes;
    sl_check(len == 1);
    hello.n_data++;
}

static const struct sl_stream_handler handler = {.on_data = on_data};

/* The peer hears of a stream with its first byte, which both ends take before the check begins. */
static void make_ends(struct sl_stream *ends[2], struct sl_loop *loop, void *user)
{
    struct making *m = user;
    struct test_side *opens = m->server_opens ? &m->pair.server : &m->pair.client;
    struct test_side *accepts = m->server_opens ? &m->pair.client : &m->pair.server;

    accepts->accepted = NULL;
    hello.n_data = 0;
    sl_assert(sl_quic_stream_open(&ends[0], opens->streams) == 0);
    sl_stream_set_handler(ends[0], &handler, NULL);
    sl_assert(sl_stream_write1(ends[0], "x", 1, false) == 0);
    run_until(loop, accepts->accepted != NULL);
    ends[1] = accepts->accepted;
    sl_stream_set_handler(ends[1], &handler, NULL);
    sl_stream_read(ends[1], true);
    run_until(loop, hello.n_data == 1);
    sl_stream_read(ends[1], false);
    ends[0]->bytes_out = ends[1]->bytes_in = 0;
}

int main(void)
{
    struct sl_loop *loop;
    struct sl_addr at;
    struct sl_quic_endpoint_opts opts;
    struct making m = {0};
    int fd;

    sl_assert(sl_loop_new(&loop) == 0);
    test_streams_init(&m.pair);
    /* Less than a writer may queue: else a reader that does not read would hold up nobody. */
    m.pair.settings.stream_window = m.pair.settings.max_stream_window = 32 * 1024;
    sl_assert(sl_addr_parse(&at, SL_STR("127.0.0.1"), 0) == 0);
    sl_assert(sl_socket_bind_udp(&fd, &at, false, NULL) == 0);
    opts = test_streams_opts(&m.pair, true);
    opts.loop = loop;
    m.pair.server.endpoint = sl_quic_endpoint_new(fd, &opts);
    opts = test_streams_opts(&m.pair, false);
    opts.loop = loop;
    sl_assert(sl_quic_endpoint_new_client(&m.pair.client.endpoint, &at, &opts, NULL) == 0);
    test_streams_connect(&m.pair, &at);
    run_until(loop, m.pair.client.n_ready == 1 && m.pair.server.n_ready == 1);
    sl_check(sl_stream_conformance(loop, "quic, opened by the client", make_ends, &m) == 0);
    m.server_opens = true;
    sl_check(sl_stream_conformance(loop, "quic, opened by the server", make_ends, &m) == 0);
    sl_check(m.pair.client.n_closed == 0 && m.pair.server.n_closed == 0);
    test_streams_clear(&m.pair);
    sl_loop_free(loop);
    return sl_check_done();
}
