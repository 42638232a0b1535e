/* Two ends of a tunnel over a pair of streams in memory. */
#include "tunnel/tunnel.h"

#include "base/check.h"
#include "net/pair.h"
#include "net/stream_conformance.h"
#include "tunnel/window.h"

enum { N_MANY = 1000, TURNS = 100000 };

/* What the holder of a stream has seen. */
struct holder {
    struct sl_stream *stream;
    struct sl_buf in;
    uint64_t n_in;
    bool keeps; /* the bytes; else it counts them */
    bool got_fin;
    int code;
};

struct side {
    struct sl_tunnel *tunnel;
    struct holder *accepts[N_MANY];
    int n_accepted;
    char opening[SL_TUNNEL_OPENING_MAX + 1];
    struct sl_frame frame; /* the last one that was about no stream; without its bytes */
    int n_frames, n_down, down_code;
};

static struct sl_loop *loop;
static struct side edge, hub;
static struct sl_stream *raw; /* where a test speaks frames by hand: the other end of the link */

static void turn(void)
{
    for (int i = 0; i < TURNS && sl_loop_turn(loop, false); i++)
        ;
}

/* --- holders --- */

static void on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    struct holder *h = s->user;

    h->n_in += len;
    if (h->keeps)
        sl_buf_append(&h->in, bytes, len);
}

static void on_fin(struct sl_stream *s)
{
    ((struct holder *)s->user)->got_fin = true;
}

static void on_written(struct sl_stream *s)
{
    (void)s;
}

static void on_error(struct sl_stream *s, int code)
{
    ((struct holder *)s->user)->code = code;
}

static const struct sl_stream_handler handler = {on_data, on_fin, on_written, on_error, NULL};

static struct holder *hold(struct sl_stream *s)
{
    struct holder *h = sl_zalloc(sizeof(*h));

    h->stream = s;
    h->keeps = true;
    if (s != NULL)
        sl_stream_set_handler(s, &handler, h);
    return h;
}

static void let_go(struct holder *h, enum sl_close how)
{
    sl_stream_free(&h->stream, how);
    sl_buf_clear(&h->in);
    sl_free(h);
}

/* --- tunnels --- */

static void on_stream(void *user, struct sl_stream *s, struct sl_str opening)
{
    struct side *side = user;

    memcpy(side->opening, opening.p, opening.len);
    side->opening[opening.len] = '\0';
    side->accepts[side->n_accepted++] = hold(s);
}

static void on_frame(void *user, const struct sl_frame *f)
{
    struct side *side = user;

    side->frame = *f;
    side->n_frames++;
}

static void on_down(void *user, int code, const char *why)
{
    struct side *side = user;

    sl_check(why[0] != '\0');
    side->n_down++;
    side->down_code = code;
}

static const struct sl_tunnel_handler edge_handler = {NULL, on_frame, on_down};
static const struct sl_tunnel_handler hub_handler = {on_stream, on_frame, on_down};

static uint32_t max_streams; /* of the sides that are made */
static bool is_original;

static void make(struct side *side, bool is_edge)
{
    struct sl_tunnel_opts opts = {.loop = loop,
                                  .handler = is_edge ? &edge_handler : &hub_handler,
                                  .user = side,
                                  .is_edge = is_edge,
                                  .is_original = is_original,
                                  .max_streams = max_streams};

    *side = (struct side){.tunnel = sl_tunnel_new(&opts)};
}

static void join(void)
{
    struct sl_stream *ends[2];

    sl_pair_new(ends, loop, 64 * 1024);
    sl_tunnel_attach_frames(edge.tunnel, &ends[0], NULL, 0);
    sl_tunnel_attach_frames(hub.tunnel, &ends[1], NULL, 0);
}

static void set_up(void)
{
    make(&edge, true);
    make(&hub, false);
    join();
}

/* One side alone, with a peer that is written by hand. */
static void set_up_raw(struct side *side, bool is_edge)
{
    struct sl_stream *ends[2];

    make(side, is_edge);
    sl_pair_new(ends, loop, 64 * 1024);
    sl_tunnel_attach_frames(side->tunnel, &ends[0], NULL, 0);
    raw = ends[1];
    sl_stream_set_handler(raw, &handler, hold(NULL));
    sl_stream_read(raw, true);
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

static void tear_down(void)
{
    struct side *sides[] = {&edge, &hub};

    for (size_t i = 0; i < SL_COUNT(sides); i++) {
        for (int k = 0; k < sides[i]->n_accepted; k++) {
            if (sides[i]->accepts[k] != NULL)
                let_go(sides[i]->accepts[k], SL_CLOSE_ABORT);
        }
        sl_tunnel_free(sides[i]->tunnel);
        *sides[i] = (struct side){0};
    }
    if (raw != NULL) {
        let_go(raw->user, SL_CLOSE_ABORT);
        sl_stream_free(&raw, SL_CLOSE_ABORT);
    }
    turn();
}

static struct holder *open_stream(void)
{
    struct holder *h = hold(NULL);

    h->stream = sl_tunnel_open(edge.tunnel, SL_STR("PROXY TCP4 192.0.2.1 198.51.100.2 5 443\r\n"),
                               &handler, h);
    return h;
}

static struct sl_tunnel_stats stats_of(const struct side *side)
{
    struct sl_tunnel_stats stats;

    sl_tunnel_stats(side->tunnel, &stats);
    return stats;
}

static bool is_empty(const struct side *side)
{
    struct sl_tunnel_stats stats = stats_of(side);

    return stats.n_streams == 0 && stats.committed == 0 && stats.n_ready[0] == 0 &&
           stats.n_ready[1] == 0;
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

    is_original = true;
    set_up();
    h = open_stream();
    turn();
    sl_stream_read(hub.accepts[0]->stream, true);
    let_go(h, SL_CLOSE_ABORT);
    turn();
    sl_check(hub.accepts[0]->got_fin && hub.accepts[0]->code == 0);
    tear_down();
    set_up_raw(&hub, false);
    is_original = false;
    say(3, (enum sl_frame_type)0x77, "?", 1);
    sl_check(hub.n_down == 0 && stats_of(&hub).frames_unknown == 1);
    tear_down();
}

static void a_stream_begins_with_the_visitors_address(void)
{
    struct holder *h;

    set_up();
    h = open_stream();
    (void)sl_stream_write1(h->stream, "hello", 5, true);
    turn();
    sl_check(hub.n_accepted == 1);
    sl_check_str(sl_str_c(hub.opening), SL_STR("PROXY TCP4 192.0.2.1 198.51.100.2 5 443\r\n"));
    sl_check(sl_tunnel_stream_id(h->stream) == 1 &&
             sl_tunnel_stream_id(hub.accepts[0]->stream) == 1);
    sl_stream_read(hub.accepts[0]->stream, true);
    turn();
    sl_check_str(sl_buf_str(&hub.accepts[0]->in), SL_STR("hello"));
    sl_check(hub.accepts[0]->got_fin);
    let_go(h, SL_CLOSE_ABORT);
    turn();
    sl_check(hub.accepts[0]->code == SL_E_RESET);
    sl_check(is_empty(&edge) && is_empty(&hub));
    tear_down();
}

/* Lesson of the original: what two visitors say never mixes, and one that does not read holds
 * nobody up. */
static void a_holder_that_does_not_read_stops_nobody_else(void)
{
    static uint8_t bytes[64 * 1024];
    struct holder *slow, *fast;
    uint64_t n_slow = 0;

    set_up();
    slow = open_stream();
    fast = open_stream();
    turn();
    sl_stream_read(hub.accepts[1]->stream, true);
    hub.accepts[1]->keeps = false;
    for (int i = 0; i < 400; i++) {
        if (!slow->stream->is_writing) {
            (void)sl_stream_write1(slow->stream, bytes, sizeof(bytes), false);
            n_slow += sizeof(bytes);
        }
        if (!fast->stream->is_writing)
            (void)sl_stream_write1(fast->stream, bytes, sizeof(bytes), false);
        turn();
    }
    sl_check(n_slow < 1 << 20);
    sl_check(hub.accepts[1]->n_in == 400 * sizeof(bytes));
    sl_check(stats_of(&hub).committed <= SL_WINDOW_MAX + SL_WINDOW_FIRST);
    let_go(slow, SL_CLOSE_ABORT);
    let_go(fast, SL_CLOSE_ABORT);
    turn();
    tear_down();
}

/* CLOSE never overtakes the bytes before it, however many streams there are. */
static void many_streams_end_with_all_their_bytes(void)
{
    static uint8_t bytes[40 * 1000];
    struct holder *h[N_MANY];

    set_up();
    for (int i = 0; i < N_MANY; i++) {
        h[i] = open_stream();
        (void)sl_stream_write1(h[i]->stream, bytes, sizeof(bytes), true);
    }
    turn();
    sl_check(hub.n_accepted == N_MANY);
    for (int i = 0; i < N_MANY; i++)
        sl_stream_read(hub.accepts[i]->stream, true);
    turn();
    for (int i = 0; i < N_MANY; i++) {
        sl_check(hub.accepts[i]->n_in == sizeof(bytes) && hub.accepts[i]->got_fin);
        (void)sl_stream_write1(hub.accepts[i]->stream, "ok", 2, true);
        sl_stream_read(h[i]->stream, true);
    }
    turn();
    for (int i = 0; i < N_MANY; i++) {
        sl_check(h[i]->n_in == 2 && h[i]->got_fin);
        let_go(h[i], SL_CLOSE_LINGER);
    }
    turn();
    sl_check(is_empty(&edge) && is_empty(&hub));
    tear_down();
}

static void frames_about_no_stream_reach_the_handler(void)
{
    struct sl_frame ping = {.type = SL_FRAME_PING, .bytes = (const uint8_t *)"x", .len = 1};
    struct sl_frame datagram = {
        .stream = 7, .type = SL_FRAME_UDP_DATA, .bytes = (const uint8_t *)"abc", .len = 3};

    set_up();
    sl_check(sl_tunnel_send(hub.tunnel, &ping) == 0 && sl_tunnel_send(edge.tunnel, &datagram) == 0);
    turn();
    sl_check(edge.n_frames == 1 && edge.frame.type == SL_FRAME_PING && edge.frame.len == 1);
    sl_check(hub.n_frames == 1 && hub.frame.type == SL_FRAME_UDP_DATA && hub.frame.stream == 7);
    tear_down();
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
    tear_down();
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
        sl_check(hub.accepts[0]->code == SL_E_RESET && !sl_tunnel_is_up(hub.tunnel));
        sl_check(is_empty(&hub));
        tear_down();
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
    tear_down();
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
    tear_down();
}

/* Visitors that come while the tunnel is down wait for it; the others are told at once. */
static void streams_opened_without_a_link_wait_for_one(void)
{
    struct holder *old, *young;

    set_up();
    old = open_stream();
    turn();
    sl_tunnel_detach(edge.tunnel, SL_E_TIMEOUT, "no answer");
    young = open_stream();
    (void)sl_stream_write1(young->stream, "waited", 6, true);
    turn();
    sl_check(edge.n_down == 1 && edge.down_code == SL_E_TIMEOUT);
    sl_check(hub.n_down == 1 && hub.accepts[0]->code == SL_E_RESET);
    sl_check(old->code == SL_E_RESET && young->code == 0);
    join();
    turn();
    sl_check(hub.n_accepted == 2);
    sl_stream_read(hub.accepts[1]->stream, true);
    turn();
    sl_check_str(sl_buf_str(&hub.accepts[1]->in), SL_STR("waited"));
    let_go(old, SL_CLOSE_ABORT);
    let_go(young, SL_CLOSE_ABORT);
    turn();
    tear_down();
}

static void what_came_with_the_handshake_is_read_first(void)
{
    struct sl_stream *ends[2];
    uint8_t bytes[2 * SL_FRAME_HEAD];

    make(&hub, false);
    sl_frame_head(bytes, 0, SL_FRAME_PONG, 0);
    sl_frame_head(bytes + SL_FRAME_HEAD, 0, SL_FRAME_PONG, 0);
    sl_pair_new(ends, loop, 64 * 1024);
    raw = ends[1];
    sl_stream_set_handler(raw, &handler, hold(NULL));
    (void)sl_stream_write1(raw, bytes + 4, sizeof(bytes) - 4, false);
    sl_tunnel_attach_frames(hub.tunnel, &ends[0], bytes, 4);
    sl_check(hub.n_frames == 0);
    turn();
    sl_check(hub.n_frames == 2 && hub.n_down == 0);
    tear_down();
}

int main(void)
{
    sl_check(sl_loop_new(&loop) == 0);
    a_stream_of_a_tunnel_is_a_stream();
    the_original_is_spoken_to_in_its_own_words();
    a_stream_begins_with_the_visitors_address();
    a_holder_that_does_not_read_stops_nobody_else();
    many_streams_end_with_all_their_bytes();
    frames_about_no_stream_reach_the_handler();
    datagrams_are_dropped_when_the_link_is_busy();
    a_peer_that_breaks_the_rules_is_cut_off();
    frames_of_a_stream_that_is_no_more_are_ignored();
    more_streams_than_allowed_are_refused();
    streams_opened_without_a_link_wait_for_one();
    what_came_with_the_handshake_is_read_first();
    sl_loop_free(loop);
    return sl_check_done();
}
