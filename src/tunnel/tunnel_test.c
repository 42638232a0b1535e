/* Two ends of a tunnel over a pair of streams in memory. */
#include "tunnel/test_tunnel.h"

#include <malloc.h>
#include "net/pair.h"
#include "net/stream_conformance.h"

enum { TURNS = 100000, IDLE_MOST = 1024 };

static struct sl_stream *raw; /* where a test speaks frames by hand: the other end of the link */

static void turn(void)
{
    for (int i = 0; i < TURNS && sl_loop_turn(loop, false); i++)
        ;
}

static struct test_lobby lobby;

static void on_first(struct test_lobby *l, const struct sl_tunnel_terms *terms,
                     const uint8_t *first, size_t n_first)
{
    struct sl_tunnel_terms ours = terms_of(terms->peer);

    sl_check(sl_tunnel_attach_frames(hub.tunnel, &l->stream, &ours, first, n_first) == 0);
}

static void join(void)
{
    struct sl_tunnel_terms terms = terms_of(NULL);
    struct sl_stream *ends[2];

    sl_pair_new(ends, loop, 64 * 1024);
    sl_check(sl_tunnel_attach_frames(edge.tunnel, &ends[0], &terms, NULL, 0) == 0);
    if (resumes)
        test_lobby_enter(&lobby, ends[1], on_first, NULL);
    else
        sl_check(sl_tunnel_attach_frames(hub.tunnel, &ends[1], &terms, NULL, 0) == 0);
    turn();
}

static struct sl_buf *heard(void)
{
    return &((struct holder *)raw->user)->in;
}

static void say(uint32_t id, enum sl_frame_type type, const void *payload, size_t len)
{
    uint8_t head[SL_FRAME_HEAD];
    struct iovec iov[] = {{head, sizeof(head)}, {(void *)payload, len}};

    sl_frame_head(head, id, type, (uint32_t)len);
    (void)sl_stream_write(raw, iov, len > 0 ? 2 : 1, false);
    turn();
}

/* One side alone, with a peer that is written by hand. */
static void set_up_raw(struct side *side, bool is_edge)
{
    struct sl_resume peer = {.attempt = 1};
    struct sl_tunnel_terms terms = terms_of(is_edge ? NULL : &peer);
    struct sl_stream *ends[2];

    memcpy(peer.ticket, ticket, sizeof(ticket));
    make(side, is_edge);
    sl_pair_new(ends, loop, 64 * 1024);
    sl_check(sl_tunnel_attach_frames(side->tunnel, &ends[0], &terms, NULL, 0) == 0);
    raw = ends[1];
    sl_stream_set_handler(raw, &handler, hold(NULL));
    sl_stream_read(raw, true);
    turn();
    if (is_edge && resumes)
        say(0, SL_FRAME_RESUME, sl_buf_at(heard()) + SL_FRAME_HEAD, SL_RESUME_HEAD);
    sl_check(side->n_up == 1 && !side->resumed);
    sl_buf_reset(heard());
}

static void tear_down_raw(void)
{
    let_go(raw->user, SL_CLOSE_ABORT);
    sl_stream_free(&raw, SL_CLOSE_ABORT);
    tear_down();
}

/* --- the checks --- */

static void make_ends(struct sl_stream *ends[2], struct sl_loop *on, void *user)
{
    (void)on;
    (void)user;
    ends[0] = sl_tunnel_open(edge.tunnel, SL_STR("PROXY UNKNOWN\r\n"), &handler, NULL);
    turn();
    ends[1] = hub.accepts[hub.n_accepted - 1]->stream;
    sl_free(hub.accepts[--hub.n_accepted]);
}

static void a_stream_of_a_tunnel_is_a_stream(void)
{
    set_up();
    sl_check(sl_stream_conformance(loop, "tunnel over frames", make_ends, NULL) == 0);
    turn();
    sl_check(is_empty(&edge) && is_empty(&hub));
    tear_down();
}

/* It knows no RESET, and may say things that nobody told us of. */
static void the_original_is_spoken_to_in_its_own_words(void)
{
    struct holder *h;

    resumes = false;
    set_up();
    h = open_stream();
    turn();
    sl_stream_read(hub.accepts[0]->stream, true);
    let_go(h, SL_CLOSE_ABORT);
    turn();
    sl_check(hub.accepts[0]->got_fin && hub.accepts[0]->code == 0);
    tear_down();
    set_up_raw(&hub, false);
    resumes = true;
    say(3, (enum sl_frame_type)0x77, "?", 1);
    sl_check(hub.n_down == 0 && stats_of(&hub).frames_unknown == 1);
    tear_down_raw();
}

/* A link that does not move drops datagrams and keeps the rest. */
static void datagrams_are_dropped_when_the_link_is_busy(void)
{
    static uint8_t bytes[1000];
    struct sl_frame datagram = {
        .stream = 7, .type = SL_FRAME_UDP_DATA, .bytes = bytes, .len = sizeof(bytes)};
    int n_sent = 0;

    set_up_raw(&edge, true);
    sl_stream_read(raw, false);
    for (int i = 0; i < 2000; i++) {
        n_sent += sl_tunnel_send(edge.tunnel, &datagram) == 0;
        if (i % 50 == 0)
            turn();
    }
    sl_check(n_sent > 200 && n_sent < 700);
    sl_check(stats_of(&edge).datagrams_dropped == (uint64_t)(2000 - n_sent));
    tear_down_raw();
}

/* Each of these ends the link, with this code (attacks U-01, U-02, U-04, U-05). */
static void a_peer_that_breaks_the_rules_is_cut_off(void)
{
    static uint8_t bytes[SL_WINDOW_FIRST + 1];
    static const struct {
        uint32_t id;
        uint8_t type;
        size_t len;
        int code;
    } rows[] = {
        {1, SL_FRAME_DATA, SL_WINDOW_FIRST + 1, SL_E_LIMIT}, /* over its window */
        {1, SL_FRAME_OPEN, 0, SL_E_PROTOCOL},                /* there is one already */
        {0, SL_FRAME_OPEN, 0, SL_E_PROTOCOL},                /* the tunnel's own number */
        {1, SL_FRAME_DATA_BACK, 1, SL_E_PROTOCOL},           /* what only a hub may say */
        {0, SL_FRAME_CONFIG, 2, SL_E_PROTOCOL},
        {0, SL_FRAME_PING, 257, SL_E_LIMIT},
        {1, 0x77, 0, SL_E_PROTOCOL}, /* unknown, and nobody announced it */
    };

    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        set_up_raw(&hub, false);
        say(1, SL_FRAME_OPEN, "PROXY UNKNOWN\r\n", 15);
        sl_check(hub.n_accepted == 1 && hub.n_down == 0);
        say(rows[i].id, (enum sl_frame_type)rows[i].type, bytes, rows[i].len);
        sl_check(hub.n_down == 1 && hub.down_code == rows[i].code);
        sl_check(hub.accepts[0]->code == 0 && !sl_tunnel_is_up(hub.tunnel));
        sl_tunnel_give_up(hub.tunnel);
        sl_check(is_empty(&hub));
        tear_down_raw();
    }
}

static void frames_of_a_stream_that_is_no_more_are_ignored(void)
{
    static const uint8_t credit[] = {0, 0, 1, 0};

    set_up_raw(&hub, false);
    say(5, SL_FRAME_DATA, "late", 4);
    say(5, SL_FRAME_CLOSE, NULL, 0);
    say(5, SL_FRAME_WINDOW_UPDATE, credit, sizeof(credit));
    sl_check(hub.n_down == 0 && stats_of(&hub).frames_unknown == 3);
    tear_down_raw();
}

static void more_streams_than_allowed_are_refused(void)
{
    struct sl_frame_reader reader = {0};
    struct sl_frame f;
    const uint8_t *p;
    size_t len;

    max_streams = 2;
    set_up_raw(&hub, false);
    max_streams = 0;
    for (uint32_t id = 1; id <= 3; id++)
        say(id, SL_FRAME_OPEN, "PROXY UNKNOWN\r\n", 15);
    sl_check(hub.n_accepted == 2 && hub.n_down == 0);
    p = sl_buf_at(heard());
    len = sl_buf_len(heard());
    sl_check(sl_frame_next(&reader, &p, &len, &f) == 1 && f.type == SL_FRAME_RESET &&
             f.stream == 3);
    sl_frame_reader_clear(&reader);
    tear_down_raw();
}

static void what_came_with_the_handshake_is_read_first(void)
{
    struct sl_tunnel_terms terms = {0};
    struct sl_stream *ends[2];
    uint8_t bytes[2 * SL_FRAME_HEAD];

    make(&hub, false);
    sl_frame_head(bytes, 0, SL_FRAME_PONG, 0);
    sl_frame_head(bytes + SL_FRAME_HEAD, 0, SL_FRAME_PONG, 0);
    sl_pair_new(ends, loop, 64 * 1024);
    raw = ends[1];
    sl_stream_set_handler(raw, &handler, hold(NULL));
    (void)sl_stream_write1(raw, bytes + 4, sizeof(bytes) - 4, false);
    sl_check(sl_tunnel_attach_frames(hub.tunnel, &ends[0], &terms, bytes, 4) == 0);
    sl_check(hub.n_frames == 0 && hub.n_up == 0);
    turn();
    sl_check(hub.n_frames == 2 && hub.n_up == 1 && hub.n_down == 0);
    tear_down_raw();
}

/* Of what waits here: the stream that holds most has to go, and its peer is told. */
static void the_stream_that_holds_most_ends_when_all_hold_too_much(void)
{
    static uint8_t bytes[SL_WINDOW_FIRST];
    struct sl_frame_reader reader = {0};
    struct sl_frame f;
    const uint8_t *p;
    size_t len;

    budget = 40 * 1000;
    set_up_raw(&hub, false);
    budget = 0;
    for (uint32_t id = 1; id <= 5; id++) {
        say(id, SL_FRAME_OPEN, "PROXY UNKNOWN\r\n", 15);
        say(id, SL_FRAME_DATA, bytes, id == 3 ? sizeof(bytes) : 8000);
        sl_check(stats_of(&hub).held <= 40 * 1000);
    }
    sl_check(hub.n_accepted == 5 && hub.n_down == 0 && stats_of(&hub).streams_reset == 1);
    for (int i = 0; i < 5; i++)
        sl_check(hub.accepts[i]->code == (i == 2 ? SL_E_LIMIT : 0));
    sl_check(stats_of(&hub).held == 4 * 8000);
    p = sl_buf_at(heard());
    len = sl_buf_len(heard());
    sl_check(sl_frame_next(&reader, &p, &len, &f) == 1 && f.type == SL_FRAME_RESET &&
             f.stream == 3 && len == 0);
    sl_frame_reader_clear(&reader);
    tear_down_raw();
}

/* What waits to be sent counts, and what was sent and may have to be again. */
static void writers_wait_when_much_is_held(void)
{
    static uint8_t bytes[40 * 1000];
    struct holder *h[3];

    budget = 80 * 1000;
    set_up_raw(&edge, true);
    budget = 0;
    for (int i = 0; i < 3; i++)
        h[i] = open_stream();
    sl_check(sl_stream_write1(h[1]->stream, bytes, 1000, false) == 0);
    sl_check(sl_stream_write1(h[0]->stream, bytes, 35 * 1000, false) == SL_E_AGAIN);
    sl_check(sl_stream_write1(h[1]->stream, bytes, 9 * 1000, false) == SL_E_AGAIN);
    turn();
    sl_check(stats_of(&edge).held == 45 * 1000); /* sent, as far as the windows are open */
    sl_check(h[1]->stream->is_writing == false);
    sl_check(sl_stream_write1(h[2]->stream, bytes, 36 * 1000, false) == SL_E_LIMIT);
    turn();
    sl_check(h[0]->code == 0 && h[1]->code == 0 && h[2]->code == SL_E_LIMIT);
    sl_check(stats_of(&edge).held == 45 * 1000);
    sl_check(sl_stream_write1(h[1]->stream, bytes, 1000, false) == SL_E_AGAIN);
    let_go(h[0], SL_CLOSE_ABORT);
    turn();
    sl_check(stats_of(&edge).held == 11 * 1000);
    sl_check(sl_stream_write1(h[1]->stream, bytes, 1000, false) == 0);
    let_go(h[1], SL_CLOSE_ABORT);
    let_go(h[2], SL_CLOSE_ABORT);
    sl_check(stats_of(&edge).held == 0);
    tear_down_raw();
}

/* Fifty that were fast once, and then somebody else. */
static void grants_are_not_what_is_held(void)
{
    enum { N_FAST = 60 };
    static uint8_t bytes[64 * 1024];
    struct holder *fast[N_FAST], *late;

    set_up();
    for (int i = 0; i < N_FAST; i++) {
        fast[i] = open_stream();
        turn();
        hub.accepts[i]->keeps = false;
        sl_stream_read(hub.accepts[i]->stream, true);
        for (int k = 0; k < 4; k++) {
            (void)sl_stream_write1(fast[i]->stream, bytes, sizeof(bytes), false);
            turn();
        }
    }
    sl_check(stats_of(&hub).committed > SL_WINDOW_BUDGET && stats_of(&hub).held == 0);
    late = open_stream();
    turn();
    hub.accepts[N_FAST]->keeps = false;
    sl_stream_read(hub.accepts[N_FAST]->stream, true);
    for (int k = 0; k < 64; k++) {
        (void)sl_stream_write1(late->stream, bytes, sizeof(bytes), false);
        turn();
    }
    sl_check(hub.accepts[N_FAST]->n_in == 64 * sizeof(bytes));
    for (int i = 0; i < N_FAST; i++)
        let_go(fast[i], SL_CLOSE_ABORT);
    let_go(late, SL_CLOSE_ABORT);
    tear_down();
}

/* With its two ends in this process, after bytes in both directions. */
static void an_idle_stream_costs_little(void)
{
    static uint8_t bytes[40 * 1000];
    struct holder *h[N_MANY];
    size_t before, each;

    set_up();
    before = mallinfo2().uordblks;
    for (int i = 0; i < N_MANY; i++) {
        h[i] = open_stream();
        h[i]->keeps = false;
        sl_stream_read(h[i]->stream, true);
        (void)sl_stream_write1(h[i]->stream, bytes, sizeof(bytes), false);
        turn();
        hub.accepts[i]->keeps = false;
        sl_stream_read(hub.accepts[i]->stream, true);
        (void)sl_stream_write1(hub.accepts[i]->stream, bytes, sizeof(bytes), false);
        turn();
    }
    sl_loop_skip(loop, 2000); /* receipts that are owed */
    turn();
    each = (mallinfo2().uordblks - before) / N_MANY / 2;
    fprintf(stderr, "%zu bytes for an end of an idle stream\n", each);
#if !defined(SLUICE_ASAN) && !defined(SLUICE_TSAN)
    sl_check(each <= IDLE_MOST);
#endif
    sl_check(stats_of(&edge).held == 0 && stats_of(&hub).held == 0);
    for (int i = 0; i < N_MANY; i++)
        let_go(h[i], SL_CLOSE_ABORT);
    tear_down();
}

/* Before anybody was told that the old one is gone. What has begun over the new one is not touched
 * when he is. */
static void a_link_may_come_in_the_turn_in_which_the_last_one_went(void)
{
    struct holder *old, *young;

    resumes = false;
    set_up();
    old = open_stream();
    turn();
    sl_tunnel_detach(edge.tunnel, SL_E_TIMEOUT, "no answer");
    sl_tunnel_detach(hub.tunnel, SL_E_TIMEOUT, "no answer");
    young = open_stream();
    (void)sl_stream_write1(young->stream, "waited", 6, true);
    join();
    sl_check(edge.n_down == 1 && edge.n_up == 2 && hub.n_down == 1);
    sl_check(young->code == 0 && sl_tunnel_is_up(edge.tunnel) && hub.n_accepted >= 2);
    sl_stream_read(hub.accepts[hub.n_accepted - 1]->stream, true);
    turn();
    sl_check_str(sl_buf_str(&hub.accepts[hub.n_accepted - 1]->in), SL_STR("waited"));
    let_go(old, SL_CLOSE_ABORT);
    let_go(young, SL_CLOSE_ABORT);
    turn();
    tear_down();
    resumes = true;
}

int main(void)
{
    sl_check(sl_loop_new(&loop) == 0);
    a_stream_of_a_tunnel_is_a_stream();
    the_original_is_spoken_to_in_its_own_words();
    test_tunnel_checks();
    datagrams_are_dropped_when_the_link_is_busy();
    a_peer_that_breaks_the_rules_is_cut_off();
    frames_of_a_stream_that_is_no_more_are_ignored();
    more_streams_than_allowed_are_refused();
    the_stream_that_holds_most_ends_when_all_hold_too_much();
    writers_wait_when_much_is_held();
    grants_are_not_what_is_held();
    an_idle_stream_costs_little();
    what_came_with_the_handshake_is_read_first();
    a_link_may_come_in_the_turn_in_which_the_last_one_went();
    sl_loop_free(loop);
    return sl_check_done();
}
