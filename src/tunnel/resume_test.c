/* Links that break at any moment, and streams that go on at the exact byte, over whatever comes
   next. */
#include <stdio.h>
#include "net/pair.h"
#include "quic/test_net.h"
#include "tunnel/test_lobby.h"
#include "tunnel/test_quic.h"

enum { N_STREAMS = 12, N_SEEDS = 15, TURNS = 20, LONGEST = 60000 /* tens of bytes */ };

/* One end of a stream: sends a pattern of its own, checks that of the other end. */
struct end {
    struct sl_stream *stream;
    uint64_t n_out, n_in, wants; /* bytes; wants: to send in all */
    unsigned seed_out, seed_in;
    bool got_fin, was_seen;
    int n_wrong, code;
};

/* What the next link may be. */
enum carriers { BY_FRAMES, BY_QUIC, BY_BOTH };

static struct test_net net;
static struct test_quic quic;
static struct sl_addr hub_at;
static enum carriers carriers;
static struct sl_loop *loop;
static struct sl_tunnel *edge, *hub;
static struct end visitors[N_STREAMS], targets[N_STREAMS];
static int n_targets, n_down;
static int n_anew[2]; /* of edge and hub: links that came up without going on */
static unsigned dice;

static unsigned roll(unsigned sides)
{
    dice = dice * 1103515245 + 12345;
    return (dice >> 16) % sides;
}

static uint8_t pattern(unsigned seed, uint64_t at)
{
    return (uint8_t)(at * 7 ^ at >> 8 ^ at >> 17 ^ seed * 31);
}

/* --- the ends --- */

static void send_more(struct end *e)
{
    static uint8_t bytes[30000];

    while (e->stream != NULL && e->stream->error == 0 && !e->stream->is_writing &&
           !e->stream->sent_fin) {
        size_t n = roll(sizeof(bytes)) + 1;

        n = (size_t)SL_MIN((uint64_t)n, e->wants - e->n_out);
        for (size_t i = 0; i < n; i++)
            bytes[i] = pattern(e->seed_out, e->n_out + i);
        e->n_out += n;
        (void)sl_stream_write1(e->stream, bytes, n, e->n_out == e->wants);
        if (roll(3) == 0)
            return;
    }
}

static void on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    struct end *e = s->user;

    for (size_t i = 0; i < len; i++)
        e->n_wrong += bytes[i] != pattern(e->seed_in, e->n_in + i);
    e->n_in += len;
    if (roll(4) == 0)
        sl_stream_read(s, false);
}

static void on_fin(struct sl_stream *s)
{
    ((struct end *)s->user)->got_fin = true;
}

static void on_written(struct sl_stream *s)
{
    send_more(s->user);
}

static void on_error(struct sl_stream *s, int code)
{
    ((struct end *)s->user)->code = code;
}

static const struct sl_stream_handler handler = {on_data, on_fin, on_written, on_error, NULL};

static void on_stream(void *user, struct sl_stream *s, struct sl_str opening)
{
    struct end *e;
    int i = -1;

    (void)user;
    sl_assert(sscanf(opening.p, "PROXY TCP4 192.0.2.1 198.51.100.2 %d 443", &i) == 1);
    e = &targets[i];
    sl_assert(i >= 0 && i < N_STREAMS);
    sl_check(!e->was_seen); /* a target must never get the same visitor twice */
    *e = (struct end){.stream = s,
                      .was_seen = true,
                      .wants = roll(LONGEST) * 10 + 1,
                      .seed_out = 100u + (unsigned)i,
                      .seed_in = (unsigned)i};
    n_targets++;
    sl_stream_set_handler(s, &handler, e);
}

static void on_frame(void *user, const struct sl_frame *f)
{
    (void)user;
    (void)f;
}

static void on_down(void *user, int code, const char *why)
{
    (void)user;
    (void)code;
    (void)why;
    n_down++;
}

static void on_up(void *user, bool resumed)
{
    int *n = user;

    *n += !resumed;
}

static const struct sl_tunnel_handler tunnel_handler = {
    .on_stream = on_stream, .on_frame = on_frame, .on_down = on_down, .on_up = on_up};

static struct sl_tunnel *make(bool is_edge)
{
    struct sl_tunnel_opts opts = {
        .loop = loop, .handler = &tunnel_handler, .user = &n_anew[!is_edge], .is_edge = is_edge};

    return sl_tunnel_new(&opts);
}

/* So many times something happens. */
static void turn(int n)
{
    for (int i = 0; i < n; i++) {
        uint64_t next = test_net_next(&net);

        if (!sl_loop_turn(loop, false) && next == SL_QUIC_NEVER)
            return;
        if (next != SL_QUIC_NEVER)
            test_net_move(&net, next);
    }
}

/* All that can happen, with what a network that loses datagrams needs for it. */
static void settle(void)
{
    (void)test_net_run(&net, 5000, NULL, NULL);
}

/* --- links --- */

static bool is_by_quic; /* the newest link */

static void choose_link(void)
{
    is_by_quic = carriers == BY_QUIC || (carriers == BY_BOTH && roll(2) == 0);
}

static uint8_t offered[SL_RESUME_TICKET]; /* another one for each connection */
static struct test_lobby lobby;
static struct test_quic_side *lobby_side; /* of a connection; NULL: the stream is all */
static int n_resumed[2];                  /* links over frames, and over QUIC */

static void leave_lobby(void)
{
    if (lobby_side == NULL)
        sl_stream_free(&lobby.stream, SL_CLOSE_ABORT);
    test_lobby_leave(&lobby);
    lobby_side = NULL;
}

static void on_first(struct test_lobby *l, const struct sl_tunnel_terms *terms,
                     const uint8_t *first, size_t n_first)
{
    struct test_quic_side *side = lobby_side;
    int rc;

    lobby_side = NULL;
    n_resumed[side != NULL]++;
    if (side == NULL) {
        rc = sl_tunnel_attach_frames(hub, &l->stream, terms, first, n_first);
    } else {
        l->stream = NULL; /* the side's */
        rc = sl_tunnel_attach_quic(hub, &side->quic, &side->control, terms, first, n_first);
    }
    sl_check(rc == 0);
}

static void enter_lobby(struct sl_stream *s, struct test_quic_side *side)
{
    memcpy(lobby.ticket, offered, sizeof(offered));
    lobby_side = side;
    test_lobby_enter(&lobby, s, on_first, NULL);
}

static struct sl_tunnel_terms next_terms(void)
{
    struct sl_tunnel_terms terms = {.is_sluice = true};

    offered[0]++;
    memcpy(terms.ticket, offered, sizeof(offered));
    return terms;
}

static void on_edge(struct test_quic_side *side)
{
    struct sl_tunnel_terms terms = next_terms();

    sl_check(sl_tunnel_attach_quic(edge, &side->quic, &side->control, &terms, NULL, 0) == 0);
}

static void on_hub(struct test_quic_side *side)
{
    enter_lobby(side->control, side);
}

static bool is_joined(void *user)
{
    (void)user;
    return sl_tunnel_is_up(edge) && sl_tunnel_is_up(hub);
}

/* An attempt that was given up must not arrive after the next one. */
static void lose_all_datagrams(void)
{
    sl_list_each(&net.under_way, it)
    {
        sl_link_remove(it);
        sl_free(sl_container_of(it, struct test_datagram, link));
    }
}

static void join_again(void)
{
    struct sl_tunnel_terms terms;
    struct sl_stream *ends[2];

    leave_lobby();
    test_quic_side_drop(&quic.edge);
    test_quic_side_drop(&quic.hub);
    lose_all_datagrams();
    choose_link();
    if (is_by_quic) {
        test_quic_connect(&quic, &hub_at);
        return;
    }
    sl_pair_new(ends, loop, 16 * 1024);
    terms = next_terms();
    sl_check(sl_tunnel_attach_frames(edge, &ends[0], &terms, NULL, 0) == 0);
    enter_lobby(ends[1], NULL);
}

static void join_first(void)
{
    join_again();
    sl_check(test_net_run(&net, 60000, is_joined, NULL));
    sl_check(n_anew[0] == 1 && n_anew[1] == 1);
}

/* --- the checks --- */

static void set_up(void)
{
    memset(visitors, 0, sizeof(visitors));
    memset(targets, 0, sizeof(targets));
    n_targets = n_down = n_anew[0] = n_anew[1] = 0;
    edge = make(true);
    hub = make(false);
    join_first();
}

static void open_visitor(int i)
{
    struct end *e = &visitors[i];
    char opening[64];

    *e = (struct end){
        .wants = roll(LONGEST) * 10 + 1, .seed_out = (unsigned)i, .seed_in = 100u + (unsigned)i};
    snprintf(opening, sizeof(opening), "PROXY TCP4 192.0.2.1 198.51.100.2 %d 443\r\n", i);
    e->stream = sl_tunnel_open(edge, sl_str_c(opening), &handler, e);
}

static size_t n_left(const struct sl_tunnel *t)
{
    struct sl_tunnel_stats stats;

    sl_tunnel_stats(t, &stats);
    return stats.n_streams;
}

static bool aborts; /* ends go away at random */

static bool has_ended(const struct end *e)
{
    return e->stream == NULL || e->code != 0 || (e->got_fin && e->stream->sent_fin);
}

/* Both ends do something; true when there is nothing left to do. */
static bool step(void)
{
    bool is_done = true;

    for (int i = 0; i < N_STREAMS; i++) {
        struct end *both[] = {&visitors[i], &targets[i]};

        for (int k = 0; k < 2; k++) {
            if (has_ended(both[k]))
                continue;
            is_done = false;
            if (aborts && roll(150) == 0) {
                sl_stream_free(&both[k]->stream, SL_CLOSE_ABORT);
                continue;
            }
            send_more(both[k]);
            sl_stream_read(both[k]->stream, true);
        }
    }
    return is_done && n_left(edge) == 0 && n_left(hub) == 0;
}

static void cut_and_join(void)
{
    if (roll(2) == 0)
        sl_tunnel_detach(roll(2) == 0 ? edge : hub, SL_E_TIMEOUT, "cut by the test");
    turn((int)roll(4));
    join_again(); /* a half-open link is replaced, too */
}

static void check_all(void)
{
    for (int i = 0; i < N_STREAMS; i++) {
        sl_check(visitors[i].code == 0 && targets[i].code == 0);
        sl_check(visitors[i].n_wrong == 0 && targets[i].n_wrong == 0);
        sl_check(visitors[i].n_in == targets[i].wants && targets[i].n_in == visitors[i].wants);
        sl_check(visitors[i].got_fin && targets[i].got_fin);
    }
}

static void tear_down(void)
{
    for (int i = 0; i < N_STREAMS; i++) {
        sl_stream_free(&visitors[i].stream, SL_CLOSE_ABORT);
        sl_stream_free(&targets[i].stream, SL_CLOSE_ABORT);
    }
    sl_tunnel_free(edge);
    sl_tunnel_free(hub);
    leave_lobby();
    test_quic_side_drop(&quic.edge);
    test_quic_side_drop(&quic.hub);
    turn(100);
}

static void run_with_cuts(unsigned seed)
{
    int n_steps = 0;

    dice = seed;
    set_up();
    for (int i = 0; i < N_STREAMS; i++)
        open_visitor(i);
    while (!step() && n_steps++ < 100000) {
        /* Memory would else leave nothing to the links over QUIC. */
        bool is_fast = carriers == BY_BOTH && !is_by_quic;

        turn((int)roll(is_fast ? 3 : TURNS));
        if (n_steps < 2000 && roll(is_joined(NULL) ? (is_fast ? 2 : 6) : 30) == 0)
            cut_and_join();
        if (n_steps > 2000 && !is_joined(NULL) && quic.edge.quic == NULL)
            join_again();
        if (n_steps > 2000) {
            settle();                 /* time goes on for both clocks */
            sl_loop_skip(loop, 2000); /* receipts that are owed */
        }
    }
}

/* Whatever is lost on the way: nobody waits for somebody who has gone. */
static void abrupt_ends_are_heard_of_whenever_the_link_breaks(void)
{
    aborts = true;
    for (unsigned seed = 1; seed <= N_SEEDS; seed++) {
        run_with_cuts(seed);
        sl_check(n_left(edge) == 0 && n_left(hub) == 0);
        for (int i = 0; i < N_STREAMS; i++) {
            sl_check(has_ended(&visitors[i]) && has_ended(&targets[i]));
            sl_check(visitors[i].n_wrong == 0 && targets[i].n_wrong == 0);
            sl_check(targets[i].n_in <= visitors[i].n_out);
        }
        tear_down();
    }
    aborts = false;
}

static void every_byte_arrives_once_whenever_the_link_breaks(void)
{
    for (unsigned seed = 1; seed <= N_SEEDS; seed++) {
        run_with_cuts(seed);
        sl_check(n_targets == N_STREAMS);
        check_all();
        tear_down();
    }
}

/* A hub that was restarted knows nothing: its streams are gone, and visitors are told. Those whom
 * it has never heard of, or never heard a word of, are opened there. */
static void streams_go_on_with_a_new_hub_unless_the_old_one_knew_them(void)
{
    dice = 1;
    set_up();
    open_visitor(0);
    send_more(&visitors[0]);
    open_visitor(1);
    settle();
    sl_check(n_targets == 2);
    sl_tunnel_detach(edge, SL_E_TIMEOUT, "no answer");
    open_visitor(2);
    send_more(&visitors[2]);
    sl_tunnel_free(hub);
    hub = make(false);
    for (int i = 0; i < 2; i++) {
        sl_stream_free(&targets[i].stream, SL_CLOSE_ABORT);
        targets[i] = (struct end){0};
    }
    settle();
    join_again();
    settle();
    sl_check(is_joined(NULL) && n_anew[0] == 2 && n_anew[1] == 2);
    sl_check(visitors[0].code == SL_E_RESET && !targets[0].was_seen);
    sl_check(visitors[1].code == 0 && targets[1].was_seen);
    sl_check(visitors[2].code == 0 && targets[2].was_seen);
    for (int i = 1; i < 3; i++)
        sl_stream_read(targets[i].stream, true);
    send_more(&visitors[1]);
    settle();
    sl_check(targets[1].n_in > 0 && targets[2].n_in > 0);
    sl_check(targets[1].n_wrong + targets[2].n_wrong == 0);
    join_again(); /* and go on under the new ticket */
    settle();
    sl_check(is_joined(NULL) && n_anew[0] == 2 && n_anew[1] == 2 && visitors[1].code == 0);
    tear_down();
}

/* The edge was restarted: the hub has one that does not know what the other one had. */
static void streams_of_an_edge_that_was_restarted_end(void)
{
    dice = 1;
    set_up();
    open_visitor(0);
    settle();
    sl_tunnel_free(edge);
    edge = make(true);
    settle();
    join_again();
    settle();
    sl_check(is_joined(NULL) && n_anew[0] == 2 && n_anew[1] == 2);
    sl_check(targets[0].code == SL_E_RESET && n_left(hub) == 0);
    targets[0].was_seen = false;
    sl_stream_free(&targets[0].stream, SL_CLOSE_ABORT);
    sl_stream_free(&visitors[0].stream, SL_CLOSE_ABORT);
    open_visitor(0);
    settle();
    sl_check(targets[0].was_seen && n_left(hub) == 1);
    tear_down();
}

static bool are_both_down(void *user)
{
    (void)user;
    return n_down == 2;
}

static void streams_end_when_the_tunnel_gives_up(void)
{
    dice = 1;
    set_up();
    open_visitor(0);
    settle();
    sl_tunnel_detach(edge, SL_E_TIMEOUT, "no answer");
    /* A goodbye over QUIC may get lost: the hub then learns it from the silence. */
    sl_check(test_net_run(&net, 120 * 1000, are_both_down, NULL) && visitors[0].code == 0);
    sl_tunnel_give_up(edge);
    settle();
    sl_check(visitors[0].code == SL_E_TIMEOUT);
    tear_down();
}

/* A stream that one side has dropped while the link was down is dropped by the other, too. */
static void an_abrupt_end_in_the_meantime_is_heard_of(void)
{
    dice = 1;
    set_up();
    open_visitor(0);
    open_visitor(1);
    settle();
    sl_tunnel_detach(edge, SL_E_TIMEOUT, "no answer");
    settle();
    sl_stream_free(&visitors[0].stream, SL_CLOSE_ABORT);
    sl_stream_free(&targets[1].stream, SL_CLOSE_ABORT);
    join_again();
    settle();
    sl_check(targets[0].code == SL_E_RESET && visitors[1].code == SL_E_RESET);
    sl_check(n_left(edge) == 0 && n_left(hub) == 0);
    tear_down();
}

/* Its reset can tell nobody which stream it was: the control stream does. */
static void a_stream_that_waits_for_a_quic_stream_can_end(void)
{
    uint32_t *max = &quic.streams.settings.max_streams_bidi, usual = *max;

    dice = 1;
    set_up();
    open_visitor(0);
    open_visitor(1);
    settle();
    sl_check(n_targets == 2);
    *max = 1; /* the control stream */
    sl_quic_endpoint_set_settings(quic.streams.server.endpoint, &quic.streams.settings);
    sl_tunnel_detach(edge, SL_E_TIMEOUT, "no answer");
    settle();
    join_again();
    settle();
    sl_check(is_joined(NULL));
    sl_stream_free(&visitors[0].stream, SL_CLOSE_ABORT);
    sl_stream_free(&targets[1].stream, SL_CLOSE_ABORT);
    settle();
    sl_check(targets[0].code == SL_E_RESET && visitors[1].code == SL_E_RESET);
    sl_check(n_left(edge) == 0 && n_left(hub) == 0);
    tear_down();
    *max = usual;
    sl_quic_endpoint_set_settings(quic.streams.server.endpoint, &quic.streams.settings);
}

/* What an edge says by hand. The hub's end of the link that takes it; the other one is freed. */
static int say_by_hand(const struct sl_resume *head, const struct sl_resume_entry *e)
{
    struct sl_tunnel_terms terms = {.is_sluice = true};
    struct sl_stream *ends[2];
    struct sl_buf payload = {0};
    struct sl_resume peer;
    int rc;

    sl_resume_begin(&payload, head);
    if (e != NULL)
        sl_resume_add(&payload, e);
    sl_check(sl_resume_parse(sl_buf_at(&payload), sl_buf_len(&payload), &peer) == 0);
    terms.peer = &peer;
    sl_pair_new(ends, loop, 1024);
    rc = sl_tunnel_attach_frames(hub, &ends[0], &terms, NULL, 0);
    sl_check((ends[0] != NULL) == (rc < 0));
    sl_stream_free(&ends[0], SL_CLOSE_ABORT);
    sl_stream_free(&ends[1], SL_CLOSE_ABORT);
    sl_buf_clear(&payload);
    return rc;
}

static struct sl_resume head_of(uint32_t attempt)
{
    struct sl_resume head = {.attempt = attempt};

    memcpy(head.ticket, offered, sizeof(offered));
    return head;
}

/* What cannot be true ends the link, not the process. */
static void a_peer_that_claims_too_much_is_cut_off(void)
{
    struct sl_resume_entry e = {.id = 1, .received = 1 << 20, .granted = 1 << 20};
    struct sl_resume head;

    dice = 1;
    set_up();
    head = head_of(2);
    open_visitor(0);
    settle();
    sl_check(say_by_hand(&head, &e) == 0);
    sl_check(!sl_tunnel_is_up(hub));
    settle();
    tear_down();
}

/* What an edge had said before it tried again, and what was long under way: it does not know of the
 * streams that came since. */
static void a_late_attempt_changes_nothing(void)
{
    struct sl_resume head;

    dice = 1;
    set_up();
    head = head_of(1);
    for (int i = 0; i < 2; i++) {
        open_visitor(i);
        settle();
        sl_check(targets[i].was_seen && sl_tunnel_is_up(hub));
        sl_check(say_by_hand(&head, NULL) == SL_E_REFUSED);
        settle();
        sl_check(is_joined(NULL) && targets[i].code == 0 && visitors[i].code == 0);
        sl_tunnel_detach(edge, SL_E_TIMEOUT, "no answer");
        settle();
        sl_check(say_by_hand(&head, NULL) == SL_E_REFUSED); /* without a link, too */
        join_again();
        settle();
    }
    sl_check(n_anew[1] == 1 && n_left(hub) == 2);
    tear_down();
}

static void make_network(void)
{
    test_net_init(&net, 1);
    net.loss = 10;
    net.jitter = 10 * SL_QUIC_MS; /* streams come in another order than they were opened in */
    loop = net.loop;
    test_quic_init(&quic, loop);
    quic.on_edge = on_edge;
    quic.on_hub = on_hub;
    quic.streams.settings.idle_timeout = 30 * 1000;
    quic.streams.server.endpoint =
        test_net_endpoint(&net, "10.0.0.1", 443, test_quic_opts(&quic, true));
    quic.streams.client.endpoint =
        test_net_endpoint(&net, "10.0.0.2", 50000, test_quic_opts(&quic, false));
    sl_assert(sl_addr_parse(&hub_at, SL_STR("10.0.0.1"), 443) == 0);
}

int main(void)
{
    make_network();
    for (carriers = BY_FRAMES; carriers <= BY_BOTH; carriers++) {
        n_resumed[0] = n_resumed[1] = 0;
        every_byte_arrives_once_whenever_the_link_breaks();
        sl_check((n_resumed[0] > N_SEEDS / 3) == (carriers != BY_QUIC));
        sl_check((n_resumed[1] > N_SEEDS / 3) == (carriers != BY_FRAMES));
        abrupt_ends_are_heard_of_whenever_the_link_breaks();
        streams_go_on_with_a_new_hub_unless_the_old_one_knew_them();
        streams_of_an_edge_that_was_restarted_end();
        streams_end_when_the_tunnel_gives_up();
        an_abrupt_end_in_the_meantime_is_heard_of();
    }
    carriers = BY_QUIC;
    a_stream_that_waits_for_a_quic_stream_can_end();
    carriers = BY_FRAMES;
    a_peer_that_claims_too_much_is_cut_off();
    a_late_attempt_changes_nothing();
    test_quic_clear(&quic);
    test_net_clear(&net);
    return sl_check_done();
}
