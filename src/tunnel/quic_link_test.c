/* Two ends of a tunnel over QUIC, on a network in memory. */
#include "quic/test_net.h"
#include "tunnel/test_quic.h"
#include "tunnel/test_tunnel.h"

enum { PATIENCE_MS = 60000 };

static struct test_net net;
static struct test_quic quic;
static struct sl_addr at;

/* A peer that is written by hand: the edge's side of a connection. */
static struct test_side *raw = &quic.streams.client;
static struct sl_stream *raw_control;

static void turn(void)
{
    (void)test_net_run(&net, PATIENCE_MS, NULL, NULL);
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

static void make_network(void)
{
    test_net_init(&net, 1);
    loop = net.loop;
    test_quic_init(&quic, loop);
    quic.streams.settings.max_streams_bidi = 2 * N_MANY;
    quic.on_edge = on_edge;
    quic.on_hub = on_hub;
    quic.streams.server.endpoint =
        test_net_endpoint(&net, "10.0.0.1", 443, test_quic_opts(&quic, true));
    quic.streams.client.endpoint =
        test_net_endpoint(&net, "10.0.0.2", 50000, test_quic_opts(&quic, false));
    sl_assert(sl_addr_parse(&at, SL_STR("10.0.0.1"), 443) == 0);
}

static void clear_network(void)
{
    test_quic_clear(&quic);
    test_net_clear(&net);
}

static void join(void)
{
    hub.n_frames = 0;
    test_quic_connect(&quic, &at);
    turn();
    sl_check(hub.n_frames == 1 && hub.frame.type == SL_FRAME_PONG);
    hub.n_frames = 0;
}

/* --- a peer by hand --- */

/* The hub alone. What the peer sends is heard of by the turn. */
static void set_up_raw(void)
{
    make(&hub, false);
    test_streams_connect(&quic.streams, &at);
    turn();
    sl_assert(sl_quic_stream_open(&raw_control, raw->streams) == 0);
    sl_stream_set_handler(raw_control, &handler, hold(NULL));
    sl_stream_read(raw_control, true);
}

static void say(uint32_t id, enum sl_frame_type type, const void *payload, size_t len)
{
    uint8_t head[SL_FRAME_HEAD];
    struct iovec iov[] = {{head, sizeof(head)}, {(void *)payload, len}};

    sl_frame_head(head, id, type, (uint32_t)len);
    (void)sl_stream_write(raw_control, iov, len > 0 ? 2 : 1, false);
    turn();
}

/* What tells the hub whether this is a sluice. */
static void say_first(void)
{
    struct sl_resume ours = {.attempt = 1};
    struct sl_buf payload = {0};

    memcpy(ours.ticket, ticket, sizeof(ticket));
    sl_resume_begin(&payload, &ours);
    if (resumes)
        say(0, SL_FRAME_RESUME, sl_buf_at(&payload), sl_buf_len(&payload));
    else
        say(0, SL_FRAME_PONG, NULL, 0);
    sl_buf_clear(&payload);
}

static struct holder *open_raw(const void *bytes, size_t len, bool fin)
{
    struct sl_stream *s;

    sl_assert(sl_quic_stream_open(&s, raw->streams) == 0);
    (void)sl_stream_write1(s, bytes, len, fin);
    return hold(s);
}

static void tear_down_raw(void)
{
    let_go(raw_control->user, SL_CLOSE_ABORT);
    sl_stream_free(&raw_control, SL_CLOSE_ABORT);
    if (raw->streams != NULL)
        sl_quic_close(sl_quic_streams_conn(raw->streams), 0, "");
    tear_down();
}

/* --- the checks --- */

static void a_connection_that_ends_takes_the_link_with_it(void)
{
    struct holder *h;

    set_up();
    h = open_stream();
    turn();
    sl_check(hub.n_accepted == 1);
    sl_tunnel_detach(hub.tunnel, SL_E_TIMEOUT, "no answer");
    turn();
    sl_check(hub.n_down == 1 && hub.down_code == SL_E_TIMEOUT);
    sl_check(edge.n_down == 1 && edge.down_code == SL_E_CLOSED && h->code == SL_E_RESET);
    let_go(h, SL_CLOSE_ABORT);
    tear_down();
}

/* The peer allows fewer QUIC streams at once than the tunnel has: the others wait for their turn.
 */
static void streams_wait_for_quic_streams(void)
{
    enum { N = 60, AT_ONCE = 8 };
    struct holder *h[N];

    quic.streams.settings.max_streams_bidi = AT_ONCE;
    sl_quic_endpoint_set_settings(quic.streams.server.endpoint, &quic.streams.settings);
    set_up();
    for (int i = 0; i < N; i++) {
        h[i] = open_stream();
        (void)sl_stream_write1(h[i]->stream, "hello", 5, true);
    }
    turn();
    sl_check(hub.n_accepted == AT_ONCE - 1);
    for (int i = 0; i < N; i++) {
        sl_assert(i < hub.n_accepted);
        sl_stream_read(hub.accepts[i]->stream, true);
        (void)sl_stream_write1(hub.accepts[i]->stream, NULL, 0, true);
        sl_stream_read(h[i]->stream, true);
        turn();
        sl_check(hub.accepts[i]->n_in == 5 && hub.accepts[i]->got_fin);
        let_go(h[i], SL_CLOSE_LINGER);
    }
    turn();
    sl_check(is_empty(&edge) && is_empty(&hub));
    tear_down();
    quic.streams.settings.max_streams_bidi = 2 * N_MANY;
    sl_quic_endpoint_set_settings(quic.streams.server.endpoint, &quic.streams.settings);
}

static void more_streams_than_allowed_are_refused(void)
{
    struct holder *h[3];

    max_streams = 2;
    make(&hub, false);
    max_streams = 0;
    make(&edge, true);
    join();
    for (int i = 0; i < 3; i++)
        h[i] = open_stream();
    turn();
    sl_check(hub.n_accepted == 2 && h[0]->code == 0 && h[1]->code == 0);
    sl_check(h[2]->code == SL_E_RESET && hub.n_down == 0);
    for (int i = 0; i < 3; i++)
        let_go(h[i], SL_CLOSE_ABORT);
    turn();
    sl_check(is_empty(&edge) && is_empty(&hub));
    tear_down();
}

/* More than a datagram carries goes as a frame, and arrives the same. */
static void datagrams_travel_both_ways_in_any_size(void)
{
    static uint8_t bytes[5000];
    struct sl_frame datagram = {.stream = 7, .type = SL_FRAME_UDP_DATA, .bytes = bytes};
    static const size_t lens[] = {0, 1, 900, sizeof(bytes)};

    set_up();
    for (size_t i = 0; i < SL_COUNT(lens); i++) {
        datagram.len = lens[i];
        datagram.type = SL_FRAME_UDP_DATA;
        sl_check(sl_tunnel_send(edge.tunnel, &datagram) == 0);
        datagram.type = SL_FRAME_UDP_DATA_BACK;
        sl_check(sl_tunnel_send(hub.tunnel, &datagram) == 0);
        turn();
        sl_check(hub.n_frames == (int)i + 1 && hub.frame.type == SL_FRAME_UDP_DATA);
        sl_check(hub.frame.len == lens[i] && hub.frame.stream == 7);
        sl_check(edge.n_frames == (int)i + 1 && edge.frame.type == SL_FRAME_UDP_DATA_BACK);
        sl_check(edge.frame.len == lens[i] && edge.frame.stream == 7);
    }
    tear_down();
}

static void datagrams_are_dropped_when_the_link_is_busy(void)
{
    static uint8_t bytes[3000];
    static const size_t lens[] = {900, sizeof(bytes)};

    for (size_t k = 0; k < SL_COUNT(lens); k++) {
        struct sl_frame datagram = {
            .stream = 7, .type = SL_FRAME_UDP_DATA, .bytes = bytes, .len = lens[k]};
        int n_sent = 0;

        set_up();
        for (int i = 0; i < 1000; i++)
            n_sent += sl_tunnel_send(edge.tunnel, &datagram) == 0;
        turn();
        sl_check(n_sent > 10 && n_sent < 1000 && hub.n_frames == n_sent);
        sl_check(stats_of(&edge).datagrams_dropped == (uint64_t)(1000 - n_sent));
        tear_down();
    }
}

/* Streams that cannot be: each is reset, and the tunnel goes on. */
static void a_stream_that_says_nothing_sensible_is_reset(void)
{
    static const struct {
        const char *bytes;
        size_t len;
        bool fin;
    } rows[] = {
        {"GET / HTTP/1.1\r\n", 16, false},
        {"PROXY UNKNOWN\n", 14, false},
        {"PROXY", 5, true},                                                        /* and no more */
        {"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\1\2\3\4\1\2\3\4\0\5\0\5", 28, false}, /* version 2 */
        {"\r\n\r\n\0\r\nQUIT\n\x20\0\x0f\xff", 16, false}, /* which would be long */
        {"PROXY TCP4 192.0.2.1 198.51.100.2 5 4430000000000\r\n", 51, false},
    };

    set_up_raw();
    say_first();
    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        struct holder *h = open_raw(rows[i].bytes, rows[i].len, rows[i].fin);
        bool wants_more = i == 4;

        turn();
        sl_check(h->code == (wants_more ? 0 : SL_E_RESET));
        if (wants_more) {
            static uint8_t more[SL_TUNNEL_OPENING_MAX];

            (void)sl_stream_write1(h->stream, more, sizeof(more), false);
            turn();
            sl_check(h->code == SL_E_RESET);
        }
        let_go(h, SL_CLOSE_ABORT);
    }
    sl_check(hub.n_accepted == 0 && hub.n_down == 0 && is_empty(&hub));
    tear_down_raw();
}

static void a_stream_that_says_nothing_is_reset_after_a_while(void)
{
    struct holder *silent, *good;

    set_up_raw();
    say_first();
    silent = open_raw("PROXY ", 6, false);
    turn();
    good = open_raw("PROXY UNKNOWN\r\nhello", 20, false);
    turn();
    sl_check(silent->code == 0 && hub.n_accepted == 1);
    sl_loop_skip(loop, SL_TUNNEL_QUIC_OPENING_MS + 200);
    turn();
    sl_check(silent->code == SL_E_RESET && good->code == 0);
    sl_stream_read(hub.accepts[0]->stream, true);
    turn();
    sl_check_str(sl_buf_str(&hub.accepts[0]->in), SL_STR("hello"));
    let_go(silent, SL_CLOSE_ABORT);
    let_go(good, SL_CLOSE_ABORT);
    tear_down_raw();
}

/* The opening may come in pieces of any size, with and without bytes behind it. */
static void an_opening_is_put_together_from_pieces(void)
{
    static const char opening[] = "PROXY TCP4 192.0.2.1 198.51.100.2 5 443\r\nrest";
    struct holder *h;

    set_up_raw();
    say_first();
    h = open_raw(opening, 1, false);
    for (size_t i = 1; i < sizeof(opening) - 1; i++) {
        turn();
        (void)sl_stream_write1(h->stream, opening + i, 1, false);
    }
    turn();
    sl_check(hub.n_accepted == 1);
    sl_check_str(sl_str_c(hub.opening), SL_STR("PROXY TCP4 192.0.2.1 198.51.100.2 5 443\r\n"));
    sl_stream_read(hub.accepts[0]->stream, true);
    turn();
    sl_check_str(sl_buf_str(&hub.accepts[0]->in), SL_STR("rest"));
    let_go(h, SL_CLOSE_ABORT);
    tear_down_raw();
}

/* Bytes of streams have streams of their own here. */
static void a_peer_that_breaks_the_rules_is_cut_off(void)
{
    static const struct {
        uint32_t id;
        uint8_t type;
        size_t len;
        int code;
    } rows[] = {
        {1, SL_FRAME_DATA, 1, SL_E_PROTOCOL},    {1, SL_FRAME_OPEN, 0, SL_E_PROTOCOL},
        {1, SL_FRAME_CLOSE, 0, SL_E_PROTOCOL},   {0, SL_FRAME_CONFIG, 2, SL_E_PROTOCOL},
        {0, SL_FRAME_RESUME, 20, SL_E_PROTOCOL}, /* there is nothing to resume */
        {0, SL_FRAME_PING, 257, SL_E_LIMIT},
    };
    static uint8_t bytes[257];

    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        struct holder *h;

        set_up_raw();
        say_first();
        h = open_raw("PROXY UNKNOWN\r\n", 15, false);
        turn();
        sl_check(hub.n_accepted == 1 && hub.n_down == 0);
        say(rows[i].id, (enum sl_frame_type)rows[i].type, bytes, rows[i].len);
        sl_check(hub.n_down == 1 && hub.down_code == rows[i].code);
        sl_check(hub.accepts[0]->code == SL_E_RESET && !sl_tunnel_is_up(hub.tunnel));
        sl_check(is_empty(&hub) && raw->streams == NULL);
        let_go(h, SL_CLOSE_ABORT);
        tear_down_raw();
    }
}

/* Between two that resume: attack U-04. */
static void an_id_that_is_there_already_ends_the_link(void)
{
    struct holder *h[2];

    resumes = true;
    set_up_raw();
    say_first();
    resumes = false;
    for (int i = 0; i < 2; i++) {
        h[i] = open_raw("\0\0\0\1PROXY UNKNOWN\r\n", 19, false);
        turn();
        sl_check(hub.n_accepted == 1 && hub.n_down == i);
    }
    sl_check(hub.down_code == SL_E_PROTOCOL);
    let_go(h[0], SL_CLOSE_ABORT);
    let_go(h[1], SL_CLOSE_ABORT);
    tear_down_raw();
}

/* What the hub does not know may be the rest of a stream that has ended: no opening is looked for
 * in it. */
static void an_old_id_is_never_a_new_stream(void)
{
    struct holder *h[2];

    resumes = true;
    set_up_raw();
    say_first();
    resumes = false;
    h[0] = open_raw("\0\0\0\5PROXY UNKNOWN\r\n", 19, false);
    h[1] = open_raw("\0\0\0\4PROXY UNKNOWN\r\n", 19, false);
    turn();
    sl_check(hub.n_accepted == 1 && hub.n_down == 0 && h[1]->code == SL_E_RESET);
    let_go(h[0], SL_CLOSE_ABORT);
    let_go(h[1], SL_CLOSE_ABORT);
    tear_down_raw();
}

/* Of a tunnel that resumes: the highest id says which streams were seen. The second one has to wait
 * for the first, and the third is not held up by the second, which went away meanwhile. */
static void openings_are_taken_in_their_order(void)
{
    struct holder *h[3];

    resumes = true;
    set_up_raw();
    say_first();
    resumes = false;
    h[0] = open_raw("\0\0\0\1PROXY ", 10, false);
    h[1] = open_raw("\0\0\0\2PROXY UNKNOWN\r\n", 19, false);
    h[2] = open_raw("\0\0\0\3PROXY UNKNOWN\r\n", 19, false);
    turn();
    let_go(h[1], SL_CLOSE_ABORT);
    turn();
    sl_check(hub.n_accepted == 0);
    (void)sl_stream_write1(h[0]->stream, "UNKNOWN\r\n", 9, false);
    turn();
    sl_check(hub.n_accepted == 2 && hub.n_down == 0);
    sl_check(sl_tunnel_stream_id(hub.accepts[0]->stream) == 1);
    sl_check(sl_tunnel_stream_id(hub.accepts[1]->stream) == 3);
    let_go(h[0], SL_CLOSE_ABORT);
    let_go(h[2], SL_CLOSE_ABORT);
    tear_down_raw();
}

/* Before the hub knows whose the connection is. */
static void streams_that_come_early_wait(void)
{
    struct holder *h[2];

    set_up_raw();
    h[0] = open_raw("PROXY UNKNOWN\r\nfirst", 20, true);
    turn();
    h[1] = open_raw("PROXY UNKNOWN\r\nsecond", 21, true);
    turn();
    let_go(h[1], SL_CLOSE_ABORT);
    turn();
    sl_check(hub.n_accepted == 0);
    say_first();
    sl_check(hub.n_accepted == 1 && hub.n_down == 0);
    sl_stream_read(hub.accepts[0]->stream, true);
    turn();
    sl_check_str(sl_buf_str(&hub.accepts[0]->in), SL_STR("first"));
    let_go(h[0], SL_CLOSE_ABORT);
    tear_down_raw();
}

static void too_many_early_streams_end_the_connection(void)
{
    struct holder *h[SL_TUNNEL_QUIC_EARLY + 1];

    set_up_raw();
    quic.hub.n_closed = 0;
    for (size_t i = 0; i < SL_COUNT(h); i++)
        h[i] = open_raw("x", 1, false);
    turn();
    sl_check(quic.hub.n_closed == 1 && quic.hub.code == SL_E_CANCELLED && raw->streams == NULL);
    for (size_t i = 0; i < SL_COUNT(h); i++)
        let_go(h[i], SL_CLOSE_ABORT);
    tear_down_raw();
}

/* A peer that never says that bytes have arrived makes us keep no more than a window of them. */
static void what_is_kept_for_a_resume_has_a_bound(void)
{
    static uint8_t bytes[64 * 1024];
    struct holder *h;
    uint64_t n = 0;

    resumes = true;
    set_up_raw();
    say_first();
    resumes = false;
    h = open_raw("\0\0\0\1PROXY UNKNOWN\r\n", 19, false);
    h->keeps = false;
    sl_stream_read(h->stream, true);
    turn();
    while (!hub.accepts[0]->stream->is_writing) {
        sl_assert(n < 64 << 20);
        n += sizeof(bytes);
        (void)sl_stream_write1(hub.accepts[0]->stream, bytes, sizeof(bytes), false);
        turn();
    }
    sl_check(h->n_in == SL_WINDOW_MAX);
    let_go(h, SL_CLOSE_ABORT);
    tear_down_raw();
}

/* Any number of slow readers: those with most end, and all others move. */
static void slow_readers_do_not_hold_up_the_connection(void)
{
    static uint8_t bytes[64 * 1024];
    enum { N_SLOW = 8 };
    struct holder *slow[N_SLOW], *fast;
    int n_ended = 0;

    budget = 1 << 20;
    set_up();
    budget = 0;
    for (int i = 0; i < N_SLOW; i++) {
        slow[i] = open_stream();
        for (int k = 0; k < 2 && slow[i]->code == 0 && !slow[i]->stream->is_writing; k++)
            (void)sl_stream_write1(slow[i]->stream, bytes, sizeof(bytes), false);
        turn();
    }
    for (int i = 0; i < N_SLOW; i++) {
        sl_check(hub.accepts[i]->code == 0 || hub.accepts[i]->code == SL_E_LIMIT);
        sl_check((hub.accepts[i]->code == 0) == (slow[i]->code == 0));
        n_ended += hub.accepts[i]->code != 0;
    }
    sl_check(n_ended > 0 && n_ended < N_SLOW);
    fast = open_stream();
    turn();
    sl_stream_read(hub.accepts[N_SLOW]->stream, true);
    (void)sl_stream_write1(fast->stream, bytes, sizeof(bytes), true);
    turn();
    sl_check(hub.accepts[N_SLOW]->n_in == sizeof(bytes) && hub.accepts[N_SLOW]->got_fin);
    for (int i = 0; i < N_SLOW; i++)
        let_go(slow[i], SL_CLOSE_ABORT);
    let_go(fast, SL_CLOSE_ABORT);
    tear_down();
}

static void every_byte_survives_a_lossy_network(void)
{
    static uint8_t bytes[200 * 1000];
    enum { N = 100 };
    struct holder *h[N];

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 ^ i >> 8);
    resumes = true;
    set_up();
    resumes = false;
    net.loss = 30;
    net.jitter = 20 * SL_QUIC_MS;
    for (int i = 0; i < N; i++) {
        h[i] = open_stream();
        (void)sl_stream_write1(h[i]->stream, bytes + i, sizeof(bytes) - N, true);
    }
    turn();
    sl_check(hub.n_accepted == N);
    for (int i = 0; i < hub.n_accepted; i++)
        sl_stream_read(hub.accepts[i]->stream, true);
    turn();
    for (int i = 0; i < hub.n_accepted; i++) {
        struct holder *a = hub.accepts[i];

        sl_check(a->got_fin);
        sl_check(sl_buf_len(&a->in) == sizeof(bytes) - N &&
                 memcmp(sl_buf_at(&a->in), bytes + i, sizeof(bytes) - N) == 0);
    }
    net.loss = 0;
    net.jitter = 0;
    for (int i = 0; i < N; i++)
        let_go(h[i], SL_CLOSE_ABORT);
    tear_down();
}

int main(void)
{
    make_network();
    test_tunnel_checks();
    resumes = false;
    test_tunnel_checks();
    a_connection_that_ends_takes_the_link_with_it();
    streams_wait_for_quic_streams();
    more_streams_than_allowed_are_refused();
    datagrams_travel_both_ways_in_any_size();
    datagrams_are_dropped_when_the_link_is_busy();
    a_stream_that_says_nothing_sensible_is_reset();
    a_stream_that_says_nothing_is_reset_after_a_while();
    an_opening_is_put_together_from_pieces();
    a_peer_that_breaks_the_rules_is_cut_off();
    an_id_that_is_there_already_ends_the_link();
    an_old_id_is_never_a_new_stream();
    openings_are_taken_in_their_order();
    streams_that_come_early_wait();
    too_many_early_streams_end_the_connection();
    what_is_kept_for_a_resume_has_a_bound();
    slow_readers_do_not_hold_up_the_connection();
    every_byte_survives_a_lossy_network();
    clear_network();
    return sl_check_done();
}
