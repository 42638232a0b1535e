/* Streams of a tunnel over a real QUIC connection pass the list that all streams pass. */
#include "net/stream_conformance.h"

#include "net/test_net.h"
#include "tunnel/test_quic.h"
#include "tunnel/test_tunnel.h"

static struct test_quic quic;
static struct sl_addr at;

static void turn(void)
{
    run_quiet(loop);
}

static void on_edge(struct test_quic_side *side)
{
    struct sl_tunnel_terms terms = terms_of(NULL);
    struct sl_frame pong = {.type = SL_FRAME_PONG};

    sl_check(sl_tunnel_attach_quic(edge.tunnel, &side->quic, &side->control, &terms, NULL, 0) == 0);
    sl_check(sl_tunnel_send(edge.tunnel, &pong) == 0);
}

static void on_first(struct test_lobby *l, const struct sl_tunnel_terms *terms,
                     const uint8_t *first, size_t n_first)
{
    struct sl_tunnel_terms ours = terms_of(terms->peer);
    struct test_quic_side *side = l->user;

    test_lobby_leave(l);
    sl_check(terms->is_sluice == resumes);
    sl_check(
        sl_tunnel_attach_quic(hub.tunnel, &side->quic, &side->control, &ours, first, n_first) == 0);
}

static void on_hub(struct test_quic_side *side)
{
    static struct test_lobby lobby;

    test_lobby_enter(&lobby, side->control, on_first, side);
}

static void join(void)
{
    test_quic_connect(&quic, &at);
    run_until(loop, hub.n_frames == 1 && edge.n_up == 1);
}

static void make_ends(struct sl_stream *ends[2], struct sl_loop *on, void *user)
{
    (void)on;
    (void)user;
    ends[0] = sl_tunnel_open(edge.tunnel, SL_STR("PROXY UNKNOWN\r\n"), &handler, NULL);
    run_until(loop, hub.n_accepted == 1);
    ends[1] = hub.accepts[0]->stream;
    sl_free(hub.accepts[--hub.n_accepted]);
}

static void check(const char *kind, bool with_resume)
{
    resumes = with_resume;
    set_up();
    sl_check(sl_stream_conformance(loop, kind, make_ends, NULL) == 0);
    if (resumes)
        sl_loop_skip(loop, 2000); /* receipts that are owed */
    run_until(loop, is_empty(&edge) && is_empty(&hub));
    sl_check(edge.n_down == 0 && hub.n_down == 0);
    tear_down();
}

int main(void)
{
    struct sl_quic_endpoint_opts opts;
    int fd;

    sl_assert(sl_loop_new(&loop) == 0);
    test_quic_init(&quic, loop);
    quic.on_edge = on_edge;
    quic.on_hub = on_hub;
    sl_assert(sl_addr_parse(&at, SL_STR("127.0.0.1"), 0) == 0);
    sl_assert(sl_socket_bind_udp(&fd, &at, false, NULL) == 0);
    opts = test_quic_opts(&quic, true);
    quic.streams.server.endpoint = sl_quic_endpoint_new(fd, &opts);
    opts = test_quic_opts(&quic, false);
    sl_assert(sl_quic_endpoint_new_client(&quic.streams.client.endpoint, &at, &opts, NULL) == 0);
    check("tunnel over QUIC", false);
    check("tunnel over QUIC, resumable", true);
    test_quic_clear(&quic);
    sl_loop_free(loop);
    return sl_check_done();
}
