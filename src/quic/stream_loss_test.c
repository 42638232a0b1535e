/* Many streams and many bytes over a connection that loses, delays and reorders datagrams. */
#include "quic/stream.h"

#include "quic/test_net.h"
#include "quic/test_streams.h"

enum { MAX_FLOWS = 3000, CHUNK = 60000 };

/* One direction of a stream: what was written and what came out, told apart by a pattern of its
 * own. */
struct flow {
    struct sl_stream *stream;
    uint64_t n_out, n_in, goal; /* bytes each way */
    unsigned seed_out, seed_in;
    bool got_fin, is_quiet; /* does not read */
    int n_error, code;
};

static struct world {
    struct test_net net;
    struct test_streams pair;
    struct flow client[MAX_FLOWS], server[MAX_FLOWS];
    int n_client, n_server;
    uint64_t n_wrong, goal;
} w;

static uint8_t pattern(unsigned seed, uint64_t at)
{
    return (uint8_t)((at + seed) * 7 ^ (at >> 8) * 13 ^ (at >> 17) ^ seed);
}

static void pump(struct flow *f)
{
    static uint8_t bytes[CHUNK];

    while (!f->stream->sent_fin && !f->stream->is_writing) {
        size_t len = (size_t)SL_MIN(f->goal - f->n_out, (uint64_t)CHUNK);

        for (size_t i = 0; i < len; i++)
            bytes[i] = pattern(f->seed_out, f->n_out + i);
        f->n_out += len;
        if (sl_stream_write1(f->stream, bytes, len, f->n_out == f->goal) < 0)
            return;
    }
}

static void on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    struct flow *f = s->user;

    for (size_t i = 0; i < len; i++)
        w.n_wrong += bytes[i] != pattern(f->seed_in, f->n_in + i);
    f->n_in += len;
}

static void on_fin(struct sl_stream *s)
{
    ((struct flow *)s->user)->got_fin = true;
}

static void on_written(struct sl_stream *s)
{
    pump(s->user);
}

static void on_error(struct sl_stream *s, int code)
{
    ((struct flow *)s->user)->n_error++;
    ((struct flow *)s->user)->code = code;
}

static const struct sl_stream_handler handler = {on_data, on_fin, on_written, on_error, NULL};

/* Both ends know by the stream's number which pattern comes from whom. */
static void begin_flow(struct flow *f, struct sl_stream *s, bool is_server)
{
    unsigned number = (unsigned)sl_quic_stream_id(s);

    f->stream = s;
    f->goal = w.goal;
    f->seed_out = number + is_server;
    f->seed_in = number + !is_server;
    sl_stream_set_handler(s, &handler, f);
    sl_stream_read(s, !f->is_quiet);
    pump(f);
}

static void on_stream(void *user, struct sl_stream *s)
{
    (void)user;
    sl_assert(w.n_server < MAX_FLOWS);
    begin_flow(&w.server[w.n_server++], s, true);
}

static bool is_joined(void *user)
{
    (void)user;
    return w.pair.client.n_ready == 1 && w.pair.server.n_ready == 1;
}

static void begin(uint64_t seed, uint32_t max_streams)
{
    struct sl_addr at;

    memset(&w, 0, sizeof(w));
    test_net_init(&w.net, seed);
    test_streams_init(&w.pair);
    w.pair.settings.max_streams_bidi = max_streams;
    w.pair.server.on_stream = on_stream;
    w.pair.server.endpoint =
        test_net_endpoint(&w.net, "10.0.0.1", 443, test_streams_opts(&w.pair, true));
    w.pair.client.endpoint =
        test_net_endpoint(&w.net, "10.0.0.2", 50000, test_streams_opts(&w.pair, false));
    sl_assert(sl_addr_parse(&at, SL_STR("10.0.0.1"), 443) == 0);
    test_streams_connect(&w.pair, &at);
    sl_check(test_net_run(&w.net, 10000, is_joined, NULL));
}

static void open_flows(int n)
{
    for (int i = 0; i < n; i++) {
        struct sl_stream *s = NULL;

        sl_assert(sl_quic_stream_open(&s, w.pair.client.streams) == 0);
        begin_flow(&w.client[w.n_client++], s, false);
    }
}

static void end(void)
{
    for (int i = 0; i < w.n_client; i++)
        sl_stream_free(&w.client[i].stream, SL_CLOSE_ABORT);
    for (int i = 0; i < w.n_server; i++)
        sl_stream_free(&w.server[i].stream, SL_CLOSE_ABORT);
    test_streams_clear(&w.pair);
    test_net_clear(&w.net);
}

static bool is_over(const struct flow *f)
{
    return f->got_fin || f->n_error > 0 || f->is_quiet;
}

static bool all_are_over(void *user)
{
    (void)user;
    for (int i = 0; i < w.n_client; i++)
        if (!is_over(&w.client[i]))
            return false;
    for (int i = 0; i < w.n_server; i++)
        if (!is_over(&w.server[i]))
            return false;
    return w.n_server == w.n_client;
}

static void check_flows(const struct flow *flows, int n)
{
    for (int i = 0; i < n; i++)
        if (!flows[i].is_quiet)
            sl_check(flows[i].n_in == w.goal && flows[i].n_out == w.goal && flows[i].got_fin &&
                     flows[i].n_error == 0);
}

/* Runs until every stream has ended, and looks at what arrived. */
static void finish(uint64_t ms)
{
    sl_check(test_net_run(&w.net, ms, all_are_over, NULL));
    check_flows(w.client, w.n_client);
    check_flows(w.server, w.n_server);
    sl_check(w.n_wrong == 0);
}

/* 50 MB in all: five streams, 5 MB each way. */
static void much_arrives_whole_over_a_lossy_link(void)
{
    struct sl_quic_stats stats;

    begin(1, 100);
    w.net.loss = 20;
    w.net.jitter = 2 * SL_QUIC_MS;
    w.goal = 5 * 1000 * 1000;
    open_flows(5);
    finish(600 * 1000);
    sl_quic_stats(sl_quic_streams_conn(w.pair.client.streams), &stats);
    sl_check(stats.packets_lost > 100);
    end();
}

static void thousands_of_streams_at_once(void)
{
    begin(2, MAX_FLOWS);
    w.net.loss = 5;
    w.goal = 2000;
    open_flows(MAX_FLOWS);
    sl_check(sl_quic_stream_open(&(struct sl_stream *){NULL}, w.pair.client.streams) == SL_E_AGAIN);
    finish(600 * 1000);
    for (int i = 0; i < w.n_server; i++)
        sl_stream_free(&w.server[i].stream, SL_CLOSE_ABORT);
    (void)test_net_run(&w.net, 1000, NULL, NULL);
    sl_check(w.pair.client.n_more > 0);
    {
        struct sl_stream *s = NULL;

        sl_check(sl_quic_stream_open(&s, w.pair.client.streams) == 0);
        sl_stream_free(&s, SL_CLOSE_ABORT);
    }
    end();
}

/* Readers that do not read have more bytes waiting than the window of the connection. */
static void slow_readers_hold_up_nobody(void)
{
    enum { QUIET = 30 };

    begin(3, 100);
    w.goal = 200 * 1000;
    for (int i = 0; i < QUIET; i++)
        w.server[i].is_quiet = w.client[i].is_quiet = true;
    open_flows(QUIET);
    (void)test_net_run(&w.net, 2000, NULL, NULL);
    sl_check((size_t)QUIET * w.pair.settings.stream_window > w.pair.settings.conn_window);
    w.goal = 1000 * 1000;
    open_flows(3);
    finish(60 * 1000);
    for (int i = 0; i < QUIET; i++)
        sl_check(w.client[i].n_in == 0 && w.server[i].n_in == 0);
    end();
}

static bool server_has_heard(void *user)
{
    (void)user;
    return w.n_server == 2 && w.server[0].n_error == 1;
}

static bool is_closed(void *user)
{
    (void)user;
    return w.pair.server.n_closed == 1 && w.pair.client.n_closed == 1;
}

static void a_reset_ends_one_and_a_close_ends_all(void)
{
    begin(4, 100);
    w.goal = 100 * 1000 * 1000;
    open_flows(2);
    (void)test_net_run(&w.net, 200, NULL, NULL);
    sl_stream_free(&w.client[0].stream, SL_CLOSE_ABORT);
    sl_check(test_net_run(&w.net, 10000, server_has_heard, NULL));
    sl_check(w.server[0].code == SL_E_RESET && w.server[1].n_error == 0);
    sl_quic_close(sl_quic_streams_conn(w.pair.client.streams), 0, "enough");
    sl_check(test_net_run(&w.net, 10000, is_closed, NULL));
    sl_check(w.server[1].n_error == 1 && w.server[1].code == SL_E_CLOSED);
    sl_check(w.client[1].n_error == 1 && w.n_wrong == 0);
    end();
}

int main(void)
{
    much_arrives_whole_over_a_lossy_link();
    thousands_of_streams_at_once();
    slow_readers_hold_up_nobody();
    a_reset_ends_one_and_a_close_ends_all();
    return sl_check_done();
}
