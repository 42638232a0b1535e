/* Links that break at any moment, and streams that go on at the exact byte. */
#include "tunnel/tunnel.h"

#include <stdlib.h>
#include "base/check.h"
#include "net/pair.h"

enum { N_STREAMS = 12, N_SEEDS = 25, TURNS = 20, LONGEST = 60000 /* tens of bytes */ };

/* One end of a stream: sends a pattern of its own, checks that of the other end. */
struct end {
    struct sl_stream *stream;
    uint64_t n_out, n_in, wants; /* bytes; wants: to send in all */
    unsigned seed_out, seed_in;
    bool got_fin;
    int n_wrong, code;
};

static const uint8_t ticket[SL_RESUME_TICKET] = "ticket of a test";

static struct sl_loop *loop;
static struct sl_tunnel *edge, *hub;
static struct end visitors[N_STREAMS], targets[N_STREAMS];
static int n_targets, n_down;
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

    while (e->stream != NULL && !e->stream->is_writing && !e->stream->sent_fin) {
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
    int i = atoi(opening.p);
    struct end *e = &targets[i];

    (void)user;
    sl_assert(e->stream == NULL && i < N_STREAMS);
    *e = (struct end){.stream = s,
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

static const struct sl_tunnel_handler tunnel_handler = {on_stream, on_frame, on_down};

static struct sl_tunnel *make(bool is_edge, const uint8_t with[SL_RESUME_TICKET])
{
    struct sl_tunnel_opts opts = {
        .loop = loop, .handler = &tunnel_handler, .is_edge = is_edge, .resumes = true};

    memcpy(opts.ticket, with, sizeof(opts.ticket));
    return sl_tunnel_new(&opts);
}

static void turn(int n)
{
    for (int i = 0; i < n && sl_loop_turn(loop, false); i++)
        ;
}

/* --- links --- */

static void join_first(void)
{
    struct sl_stream *ends[2];

    sl_pair_new(ends, loop, 16 * 1024);
    sl_tunnel_attach_frames(edge, &ends[0], NULL, 0);
    sl_tunnel_attach_frames(hub, &ends[1], NULL, 0);
}

/* What a hub does with a link before it knows whose it is: reads the RESUME. */
struct lobby {
    struct sl_stream *stream;
    struct sl_frame_reader reader;
};

static void on_lobby_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    struct lobby *l = s->user;
    struct sl_resume peer;
    struct sl_frame f;

    if (sl_frame_next(&l->reader, &bytes, &len, &f) <= 0)
        return;
    sl_check(f.type == SL_FRAME_RESUME && sl_resume_parse(f.bytes, f.len, &peer) == 0);
    sl_stream_read(s, false);
    sl_tunnel_resume_frames(hub, &l->stream, &peer, bytes, len);
    sl_frame_reader_clear(&l->reader);
}

static void on_lobby_error(struct sl_stream *s, int code)
{
    struct lobby *l = s->user;

    (void)code;
    sl_frame_reader_clear(&l->reader);
    sl_stream_free(&l->stream, SL_CLOSE_ABORT);
}

static void on_lobby_fin(struct sl_stream *s)
{
    (void)s;
}

static const struct sl_stream_handler lobby_handler = {on_lobby_data, on_lobby_fin, on_written,
                                                       on_lobby_error, NULL};
static struct lobby lobby;

static void join_again(void)
{
    struct sl_stream *ends[2];

    if (lobby.stream != NULL)
        on_lobby_error(lobby.stream, 0);
    sl_pair_new(ends, loop, 16 * 1024);
    sl_tunnel_resume_frames(edge, &ends[0], NULL, NULL, 0);
    lobby = (struct lobby){.stream = ends[1]};
    sl_stream_set_handler(ends[1], &lobby_handler, &lobby);
    sl_stream_read(ends[1], true);
}

/* --- the checks --- */

static void set_up(void)
{
    memset(visitors, 0, sizeof(visitors));
    memset(targets, 0, sizeof(targets));
    n_targets = n_down = 0;
    edge = make(true, ticket);
    hub = make(false, ticket);
    join_first();
}

static void open_visitor(int i)
{
    struct end *e = &visitors[i];
    char opening[8];

    *e = (struct end){
        .wants = roll(LONGEST) * 10 + 1, .seed_out = (unsigned)i, .seed_in = 100u + (unsigned)i};
    snprintf(opening, sizeof(opening), "%d", i);
    e->stream = sl_tunnel_open(edge, sl_str_c(opening), &handler, e);
}

static size_t n_left(const struct sl_tunnel *t)
{
    struct sl_tunnel_stats stats;

    sl_tunnel_stats(t, &stats);
    return stats.n_streams;
}

/* Both ends do something; true when there is nothing left to do. */
static bool step(void)
{
    bool is_done = true;

    for (int i = 0; i < N_STREAMS; i++) {
        struct end *both[] = {&visitors[i], &targets[i]};

        for (int k = 0; k < 2; k++) {
            if (both[k]->stream == NULL || (both[k]->got_fin && both[k]->stream->sent_fin))
                continue;
            is_done = false;
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
    if (lobby.stream != NULL)
        on_lobby_error(lobby.stream, 0);
    turn(100);
}

static void every_byte_arrives_once_whenever_the_link_breaks(void)
{
    for (unsigned seed = 1; seed <= N_SEEDS; seed++) {
        int n_steps = 0;

        dice = seed;
        set_up();
        for (int i = 0; i < N_STREAMS; i++)
            open_visitor(i);
        while (!step() && n_steps++ < 100000) {
            turn((int)roll(TURNS));
            if (n_steps < 2000 && roll(6) == 0)
                cut_and_join();
            if (n_steps > 2000)
                sl_loop_skip(loop, 1100); /* receipts that are owed */
        }
        sl_check(n_targets == N_STREAMS);
        check_all();
        tear_down();
    }
}

/* A hub that was restarted knows nothing: its streams are gone, and visitors are told. */
static void streams_end_when_the_hub_has_forgotten_them(void)
{
    static const uint8_t other[SL_RESUME_TICKET] = "another";

    dice = 1;
    set_up();
    open_visitor(0);
    send_more(&visitors[0]);
    turn(100);
    sl_tunnel_free(hub);
    targets[0].code = 0;
    hub = make(false, other);
    turn(100);
    join_again();
    turn(100);
    sl_check(visitors[0].code == SL_E_RESET && n_left(edge) == 0);
    tear_down();
}

static void streams_end_when_the_tunnel_gives_up(void)
{
    dice = 1;
    set_up();
    open_visitor(0);
    turn(100);
    sl_tunnel_detach(edge, SL_E_TIMEOUT, "no answer");
    turn(100);
    sl_check(visitors[0].code == 0 && n_down == 2);
    sl_tunnel_give_up(edge);
    turn(100);
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
    turn(100);
    sl_tunnel_detach(edge, SL_E_TIMEOUT, "no answer");
    turn(100);
    sl_stream_free(&visitors[0].stream, SL_CLOSE_ABORT);
    sl_stream_free(&targets[1].stream, SL_CLOSE_ABORT);
    join_again();
    turn(100);
    sl_check(targets[0].code == SL_E_RESET && visitors[1].code == SL_E_RESET);
    sl_check(n_left(edge) == 0 && n_left(hub) == 0);
    tear_down();
}

/* What cannot be true ends the link, not the process. */
static void a_peer_that_claims_too_much_is_cut_off(void)
{
    struct sl_resume_entry e = {.id = 1, .received = 1 << 20, .granted = 1 << 20};
    struct sl_stream *ends[2];
    struct sl_buf payload = {0};
    struct sl_resume peer;

    dice = 1;
    set_up();
    open_visitor(0);
    turn(100);
    sl_resume_begin(&payload, ticket, 1);
    sl_resume_add(&payload, &e);
    sl_check(sl_resume_parse(sl_buf_at(&payload), sl_buf_len(&payload), &peer) == 0);
    sl_pair_new(ends, loop, 1024);
    sl_tunnel_resume_frames(hub, &ends[0], &peer, NULL, 0);
    sl_check(!sl_tunnel_is_up(hub));
    sl_stream_free(&ends[1], SL_CLOSE_ABORT);
    sl_buf_clear(&payload);
    turn(100);
    tear_down();
}

int main(void)
{
    sl_check(sl_loop_new(&loop) == 0);
    every_byte_arrives_once_whenever_the_link_breaks();
    streams_end_when_the_hub_has_forgotten_them();
    streams_end_when_the_tunnel_gives_up();
    an_abrupt_end_in_the_meantime_is_heard_of();
    a_peer_that_claims_too_much_is_cut_off();
    sl_loop_free(loop);
    return sl_check_done();
}
