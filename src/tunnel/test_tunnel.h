/*
 * For tests of tunnels: two ends of one, holders of its streams, and the checks that every kind of
 * link must pass. The test that includes this says how the ends are joined and what a turn is:
 *
 *     static void join(void);  // attaches a new link to both tunnels, on terms_of()
 *     static void turn(void);  // everything that can happen happens
 *
 *     loop = ...;
 *     test_tunnel_checks();
 */
#ifndef SL_TUNNEL_TEST_TUNNEL_H
#define SL_TUNNEL_TEST_TUNNEL_H

#include "base/check.h"
#include "tunnel/test_lobby.h"
#include "tunnel/window.h"

enum { N_MANY = 1000 };

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
    int n_frames, n_up, n_down, down_code;
    bool resumed;
};

static struct sl_loop *loop;
static struct side edge, hub;

static void join(void);
static void turn(void);

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

static inline struct holder *hold(struct sl_stream *s)
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

static void on_up(void *user, bool resumed)
{
    struct side *side = user;

    sl_check(sl_tunnel_is_up(side->tunnel));
    side->n_up++;
    side->resumed = resumed;
}

static const struct sl_tunnel_handler edge_handler = {
    .on_frame = on_frame, .on_down = on_down, .on_up = on_up};
static const struct sl_tunnel_handler hub_handler = {
    .on_stream = on_stream, .on_frame = on_frame, .on_down = on_down, .on_up = on_up};

static uint32_t max_streams; /* of the sides that are made */
static uint64_t budget;
static bool resumes = true; /* both sides are sluices */
static const uint8_t ticket[SL_RESUME_TICKET] = "ticket of a test";

static void make(struct side *side, bool is_edge)
{
    struct sl_tunnel_opts opts = {.loop = loop,
                                  .handler = is_edge ? &edge_handler : &hub_handler,
                                  .user = side,
                                  .is_edge = is_edge,
                                  .max_streams = max_streams,
                                  .budget = budget};

    *side = (struct side){.tunnel = sl_tunnel_new(&opts)};
}

/* `peer`: what the edge said, at the hub. */
static inline struct sl_tunnel_terms terms_of(const struct sl_resume *peer)
{
    struct sl_tunnel_terms terms = {.is_sluice = resumes, .peer = resumes ? peer : NULL};

    memcpy(terms.ticket, ticket, sizeof(ticket));
    return terms;
}

static void set_up(void)
{
    make(&edge, true);
    make(&hub, false);
    join();
    sl_check(edge.n_up == 1 && hub.n_up == 1 && !edge.resumed && !hub.resumed);
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
    turn();
}

static inline struct holder *open_stream(void)
{
    struct holder *h = hold(NULL);

    h->stream = sl_tunnel_open(edge.tunnel, SL_STR("PROXY TCP4 192.0.2.1 198.51.100.2 5 443\r\n"),
                               &handler, h);
    return h;
}

static inline struct sl_tunnel_stats stats_of(const struct side *side)
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

/* Visitors that come while the tunnel is down wait for it; the others are told at once. */
static void streams_opened_without_a_link_wait_for_one(void)
{
    struct holder *old, *young;
    bool usual = resumes;

    resumes = false;
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
    sl_check(edge.n_up == 2 && !edge.resumed);
    let_go(old, SL_CLOSE_ABORT);
    let_go(young, SL_CLOSE_ABORT);
    turn();
    tear_down();
    resumes = usual;
}

static inline void test_tunnel_checks(void)
{
    a_stream_begins_with_the_visitors_address();
    a_holder_that_does_not_read_stops_nobody_else();
    many_streams_end_with_all_their_bytes();
    frames_about_no_stream_reach_the_handler();
    streams_opened_without_a_link_wait_for_one();
}

#endif
