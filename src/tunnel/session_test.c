/* UDP sessions between an edge and a hub, on streams in memory. */
#include "base/check.h"
#include "net/pair.h"
#include "tunnel/session.h"

enum { MAX = 4, N = 64 };

struct side {
    struct sl_tunnel *tunnel;
    struct sl_sessions set;
    struct sl_session *sessions[N]; /* hub: in the order in which they came */
    int n_sessions, n_closed;
    struct sl_buf got; /* datagrams, with a '|' behind each */
    bool refuses, closes;
};

static struct sl_loop *loop;
static struct side edge, hub;
static struct sl_proxy_header last_from;
static bool drops_on_close;

static void on_datagram(struct sl_session *s, const uint8_t *bytes, size_t len)
{
    struct side *side = s->user;

    sl_buf_append(&side->got, bytes, len);
    sl_buf_append(&side->got, "|", 1);
    if (side->closes)
        sl_session_free(&s);
}

static void on_closed(struct sl_session *s)
{
    struct side *side = s->user;

    side->n_closed++;
    sl_check(sl_session_send(s, (const uint8_t *)"x", 1) == SL_E_CLOSED);
    for (int i = 0; i < side->n_sessions; i++) {
        if (side->sessions[i] == s)
            side->sessions[i] = NULL;
    }
    sl_session_free(&s);
    if (drops_on_close)
        sl_sessions_clear(&side->set);
}

static const struct sl_session_handler handler = {on_datagram, on_closed};

static void on_open(void *user, struct sl_session *s, const struct sl_proxy_header *from)
{
    struct side *side = user;

    last_from = *from;
    if (side->refuses) {
        sl_session_free(&s);
        return;
    }
    s->handler = &handler;
    s->user = side;
    side->sessions[side->n_sessions++] = s;
}

static void on_frame(void *user, const struct sl_frame *f)
{
    sl_sessions_take(&((struct side *)user)->set, f);
}

static void on_down(void *user, int code, const char *why)
{
    (void)user;
    (void)code;
    (void)why;
}

static const struct sl_tunnel_handler tunnel_handler = {.on_frame = on_frame, .on_down = on_down};

static void turn(void)
{
    while (sl_loop_turn(loop, false))
        ;
}

static void make(struct side *side, bool is_edge)
{
    struct sl_tunnel_opts opts = {
        .loop = loop, .handler = &tunnel_handler, .user = side, .is_edge = is_edge};

    *side = (struct side){.tunnel = sl_tunnel_new(&opts)};
    sl_sessions_init(&side->set, MAX, is_edge ? NULL : on_open, side);
    sl_sessions_use(&side->set, side->tunnel);
}

static void join(void)
{
    static const struct sl_tunnel_terms original = {.is_sluice = false};
    struct sl_stream *ends[2];

    sl_pair_new(ends, loop, 64 * 1024);
    sl_check(sl_tunnel_attach_frames(edge.tunnel, &ends[0], &original, NULL, 0) == 0);
    sl_check(sl_tunnel_attach_frames(hub.tunnel, &ends[1], &original, NULL, 0) == 0);
    sl_sessions_use(&edge.set, edge.tunnel);
    sl_sessions_use(&hub.set, hub.tunnel);
    turn();
}

static void set_up(void)
{
    sl_assert(sl_loop_new(&loop) == 0);
    make(&edge, true);
    make(&hub, false);
    join();
}

static void end(struct side *side)
{
    sl_sessions_clear(&side->set);
    sl_tunnel_free(side->tunnel);
    sl_buf_clear(&side->got);
}

static void tear_down(void)
{
    end(&edge);
    end(&hub);
    sl_loop_free(loop);
}

static struct sl_session *open_from(uint16_t port)
{
    struct sl_proxy_header from = {
        .has_addresses = true, .is_datagram = true, .from_port = port, .to_port = 53};

    from.from[10] = from.from[11] = from.to[10] = from.to[11] = 0xff; /* IPv4 */
    from.from[15] = 7;
    return sl_session_open(&edge.set, &from, &handler, &edge);
}

static int send_text(struct sl_session *s, const char *text)
{
    int rc = sl_session_send(s, (const uint8_t *)text, strlen(text));

    turn();
    return rc;
}

static bool got(const struct side *side, const char *text)
{
    return sl_str_eq(sl_buf_str(&side->got), sl_str_c(text));
}

static bool is_empty(const struct side *side)
{
    return side->set.by_id.n == 0 && sl_list_is_empty(&side->set.list);
}

/* Lesson of the original: each visitor has one session, and it knows who he is. */
static void datagrams_go_both_ways_and_do_not_mix(void)
{
    struct sl_session *a, *b;

    set_up();
    a = open_from(1000);
    b = open_from(2000);
    sl_check(send_text(a, "one") == 0);
    sl_check(hub.n_sessions == 1 && last_from.from_port == 1000 && last_from.to_port == 53);
    sl_check(last_from.is_datagram && last_from.from[15] == 7);
    sl_check(send_text(b, "two") == 0 && send_text(a, "") == 0 && send_text(a, "three") == 0);
    sl_check(got(&hub, "one|two||three|") && hub.n_sessions == 2);
    sl_check(send_text(hub.sessions[1], "for b") == 0);
    sl_check(got(&edge, "for b|") && b->n_in == 1 && a->n_in == 0);
    sl_check(a->n_out == 3 && hub.sessions[0]->n_in == 3 && edge.set.n_out == 4);
    sl_check(edge.set.n_in == 1 && hub.set.n_in == 4 && hub.set.n_out == 1);
    tear_down();
}

static void either_side_ends_a_session(void)
{
    struct sl_session *a, *b;

    set_up();
    a = open_from(1);
    b = open_from(2);
    (void)send_text(a, "x");
    (void)send_text(b, "x");
    sl_session_free(&a);
    turn();
    sl_check(hub.n_closed == 1 && hub.sessions[0] == NULL && hub.set.by_id.n == 1);
    sl_session_free(&hub.sessions[1]);
    turn();
    sl_check(edge.n_closed == 1 && is_empty(&edge) && is_empty(&hub));
    tear_down();
}

static void one_that_was_never_heard_of_ends_quietly(void)
{
    struct sl_session *a;

    set_up();
    a = open_from(1);
    sl_session_free(&a);
    turn();
    sl_check(hub.n_sessions == 0 && hub.n_closed == 0 && is_empty(&edge));
    tear_down();
}

/* Attack U-13: the table of each side has an end. */
static void there_are_only_so_many(void)
{
    struct sl_session *s[MAX];

    set_up();
    hub.set.max = MAX - 1;
    for (uint16_t i = 0; i < MAX; i++) {
        s[i] = open_from(i);
        sl_check(s[i] != NULL);
    }
    sl_check(open_from(100) == NULL);
    for (int i = 0; i < MAX; i++)
        (void)send_text(s[i], "x");
    sl_check(hub.n_sessions == MAX - 1 && hub.set.n_refused == 1);
    sl_check(edge.n_closed == 1 && edge.set.by_id.n == MAX - 1); /* the last one was told */
    sl_session_free(&s[0]);
    turn();
    s[0] = open_from(7);
    (void)send_text(s[0], "again");
    sl_check(got(&hub, "x|x|x|again|"));
    tear_down();
}

static void a_refused_session_ends(void)
{
    set_up();
    hub.refuses = true;
    (void)send_text(open_from(1), "x");
    sl_check(edge.n_closed == 1 && is_empty(&edge) && is_empty(&hub));
    sl_check(sl_buf_len(&hub.got) == 0);
    tear_down();
}

static void frame(enum sl_frame_type type, uint32_t id, const void *bytes, size_t len)
{
    struct sl_frame f = {.stream = id, .type = (uint8_t)type, .bytes = bytes, .len = len};

    sl_check(sl_tunnel_send(edge.tunnel, &f) == 0);
    turn();
}

/* Over QUIC nothing keeps a datagram behind the frame that opens its session. */
static void datagrams_may_come_before_their_session(void)
{
    uint8_t opening[SL_PROXY_HEADER_WRITE_MAX];
    struct sl_proxy_header from = {.has_addresses = true, .is_datagram = true};
    size_t n = sl_proxy_header_write(opening, 2, &from);

    set_up();
    frame(SL_FRAME_UDP_DATA, 9, "first", 5);
    frame(SL_FRAME_UDP_DATA, 8, "of another", 10);
    frame(SL_FRAME_UDP_DATA, 9, "second", 6);
    sl_check(hub.set.n_dropped == 3 && sl_buf_len(&hub.got) == 0);
    frame(SL_FRAME_UDP_OPEN, 9, opening, n);
    sl_check(got(&hub, "first|second|") && hub.set.n_dropped == 1);
    for (int i = 0; i < 1000; i++)
        frame(SL_FRAME_UDP_DATA, 100 + (uint32_t)i, "lost", 4);
    sl_check(hub.set.n_early <= 16 && hub.set.n_dropped == 1001);
    hub.closes = true; /* by the first of two */
    frame(SL_FRAME_UDP_DATA, 50, "a", 1);
    frame(SL_FRAME_UDP_DATA, 50, "b", 1);
    frame(SL_FRAME_UDP_OPEN, 50, opening, n);
    sl_check(got(&hub, "first|second|a|"));
    tear_down();
}

static void openings_that_are_none_are_refused(void)
{
    static const uint8_t junk[SL_PROXY_HEADER_MAX] = "PROXY";
    uint8_t opening[SL_PROXY_HEADER_WRITE_MAX];
    struct sl_proxy_header from = {.has_addresses = true, .is_datagram = true};
    size_t n = sl_proxy_header_write(opening, 2, &from);

    set_up();
    frame(SL_FRAME_UDP_OPEN, 1, NULL, 0);
    frame(SL_FRAME_UDP_OPEN, 1, opening, n - 1);
    frame(SL_FRAME_UDP_OPEN, 1, junk, 100);
    frame(SL_FRAME_UDP_OPEN, 1, junk, sizeof(junk));
    frame(SL_FRAME_UDP_OPEN, 0, opening, n);
    sl_check(hub.set.n_refused == 5 && hub.n_sessions == 0);
    frame(SL_FRAME_UDP_CLOSE, 1, NULL, 0); /* nobody minds */
    frame(SL_FRAME_UDP_OPEN, 1, opening, n);
    sl_check(hub.n_sessions == 1);
    tear_down();
}

/* Both sides keep their sessions when the link is another one, and the visitor notices nothing. */
static void sessions_outlive_their_link(void)
{
    struct sl_session *a, *b;

    set_up();
    a = open_from(1);
    b = open_from(2);
    (void)send_text(a, "x");
    sl_tunnel_detach(edge.tunnel, SL_E_TIMEOUT, "no answer");
    turn();
    sl_check(send_text(a, "lost") == SL_E_AGAIN && send_text(b, "lost") == SL_E_AGAIN);
    sl_check(send_text(hub.sessions[0], "lost") == SL_E_AGAIN && a->n_dropped == 1);
    join();
    sl_check(send_text(hub.sessions[0], "back") == 0 && got(&edge, "back|"));
    sl_check(send_text(a, "y") == 0 && send_text(b, "z") == 0);
    sl_check(hub.n_sessions == 2 && hub.n_closed == 0 && got(&hub, "x|y|z|"));
    tear_down();
}

/* A hub that was started anew has other sessions under the same number, or none. */
static void an_id_may_mean_another_visitor(void)
{
    uint8_t opening[SL_PROXY_HEADER_WRITE_MAX];
    struct sl_proxy_header from = {.has_addresses = true, .is_datagram = true, .from_port = 99};

    set_up();
    (void)send_text(open_from(1), "x");
    frame(SL_FRAME_UDP_OPEN, 1, opening, sl_proxy_header_write(opening, 2, &from));
    sl_check(hub.n_closed == 1 && hub.n_sessions == 2 && last_from.from_port == 99);
    drops_on_close = true; /* the holder ends all of them when he hears of it */
    from.from_port = 100;
    frame(SL_FRAME_UDP_OPEN, 1, opening, sl_proxy_header_write(opening, 2, &from));
    drops_on_close = false;
    sl_check(hub.n_closed == 2 && hub.n_sessions == 2 && is_empty(&hub));
    tear_down();
}

static void datagrams_have_a_size(void)
{
    static uint8_t bytes[SL_SESSION_DATAGRAM_MAX + 1];
    struct sl_session *a;

    set_up();
    a = open_from(1);
    sl_check(sl_session_send(a, bytes, sizeof(bytes)) == SL_E_LIMIT);
    sl_check(sl_session_send(a, bytes, sizeof(bytes) - 1) == 0);
    turn();
    sl_check(sl_buf_len(&hub.got) == SL_SESSION_DATAGRAM_MAX + 1);
    sl_check(a->n_dropped == 1 && edge.set.n_dropped == 1);
    tear_down();
}

/* A link that stands still holds no more of it than it should. */
static void what_is_too_much_for_the_link_is_dropped(void)
{
    static uint8_t bytes[1000];
    struct sl_tunnel_stats stats;
    struct sl_session *a;
    int n_again = 0;

    set_up();
    a = open_from(1);
    for (int i = 0; i < 2000; i++)
        n_again += sl_session_send(a, bytes, sizeof(bytes)) == SL_E_AGAIN;
    sl_tunnel_stats(edge.tunnel, &stats);
    sl_check(n_again > 1000 && stats.datagrams_dropped == (uint64_t)n_again);
    edge.set.max = 100 * 1000;
    for (int i = 0; i < 50 * 1000; i++) {
        a = open_from((uint16_t)i);
        (void)sl_session_send(a, bytes, 1);
        sl_session_free(&a);
    }
    sl_tunnel_stats(edge.tunnel, &stats);
    sl_check(stats.n_control < 1 << 20);
    tear_down();
}

int main(void)
{
    datagrams_go_both_ways_and_do_not_mix();
    either_side_ends_a_session();
    one_that_was_never_heard_of_ends_quietly();
    there_are_only_so_many();
    a_refused_session_ends();
    datagrams_may_come_before_their_session();
    openings_that_are_none_are_refused();
    sessions_outlive_their_link();
    an_id_may_mean_another_visitor();
    datagrams_have_a_size();
    what_is_too_much_for_the_link_is_dropped();
    return sl_check_done();
}
