/* What an edge that is connected may do to a hub: frames that must not be, links that come, go and
   take each other's place, and silence. */
#include "tunnel/test_raw_edge.h"

static void set_up(const struct sl_hub_opts *opts)
{
    world_begin();
    world_hub(opts);
    world_edges(2, &(struct sl_edge_opts){0});
}

static struct sl_tunnel_status last_status;

static void take_status(void *arg, struct sl_str id, const struct sl_tunnel_status *status)
{
    if (sl_str_eq(id, sl_str_c(arg)))
        last_status = *status;
}

static struct sl_tunnel_status status_of(const char *id)
{
    sl_hub_each(hub, take_status, (void *)id);
    return last_status;
}

/* --- openings --- */

static void an_opening_says_who_the_visitor_is(void)
{
    static const char bare[] = "PROXY TCP6 2001:db8::1 2001:db8::2 7 8443";
    uint8_t ip[16];
    struct sl_addr want;
    struct raw r;

    set_up(&(struct sl_hub_opts){0});
    raw_sluice(&r, &edges[0]);
    raw_open(&r, 1);
    sl_check(last_from.has_addresses && last_from.from_port == 5555 && last_from.to_port == 443);
    raw_frame(&r, 2, SL_FRAME_OPEN, bare, sizeof(bare) - 1); /* without the end of its line */
    sl_assert(sl_addr_parse(&want, SL_STR("2001:db8::1"), 7) == 0);
    sl_addr_to_ip16(&want, ip);
    sl_check(n_taken == 2 && memcmp(last_from.from, ip, 16) == 0 && last_from.to_port == 8443);
    raw_frame(&r, 3, SL_FRAME_OPEN, "PROXY UNKNOWN\r\n", 15);
    sl_check(n_taken == 3 && !last_from.has_addresses);
    raw_end(&r);
    world_end();
}

static void an_opening_that_is_none_ends_its_stream_alone(void)
{
    static const char *const bad[] = {"", "GET / HTTP/1.1\r\n", "PROXY TCP4 1.2.3.4\r\n",
                                      "PROXY TCP4 192.0.2.1 198.51.100.2 5555 443\r\nmore"};
    struct raw r;

    set_up(&(struct sl_hub_opts){0});
    raw_sluice(&r, &edges[0]);
    for (uint32_t i = 0; i < SL_COUNT(bad); i++) {
        raw_frame(&r, i + 1, SL_FRAME_OPEN, bad[i], strlen(bad[i]));
        sl_check(raw_got(&r, SL_FRAME_RESET, i + 1));
    }
    raw_open(&r, 100);
    sl_check(n_taken == 1 && n_calls == 1 && n_closed == SL_COUNT(bad));
    sl_check(status_of("e0").streams.streams_reset == SL_COUNT(bad));
    raw_end(&r);
    world_end();
}

/* --- frames that must not be --- */

/* Attack U-01. Nobody knows all types of the original; a sluice uses none but those it names. */
static void a_type_that_nobody_knows_is_counted(void)
{
    struct raw original, sluice;

    set_up(&(struct sl_hub_opts){0});
    raw_original(&original, &edges[0]);
    raw_sluice(&sluice, &edges[1]);
    raw_frame(&original, 3, 0x7f, "what", 4);
    raw_frame(&sluice, 3, 0x7f, "what", 4);
    sl_check(n_calls == 3 && is_call(2, "down e1") && raw_is_over(&sluice));
    sl_check(status_of("e0").streams.frames_unknown == 1 && !raw_is_over(&original));
    raw_end(&original);
    raw_end(&sluice);
    world_end();
}

static void check_that_it_ends(void (*fn)(struct raw *r))
{
    struct raw bad, good;

    set_up(&(struct sl_hub_opts){0});
    raw_sluice(&bad, &edges[0]);
    raw_sluice(&good, &edges[1]);
    raw_open(&bad, 1);
    raw_open(&good, 1);
    fn(&bad);
    sl_check(raw_is_over(&bad) && is_call(2, "down e0") && n_calls == 3);
    sl_check(!raw_is_over(&good) && taken[1]->code == 0);
    raw_end(&bad);
    raw_end(&good);
    world_end();
}

/* Attack U-02. */
static void say_too_long(struct raw *r)
{
    uint8_t head[SL_FRAME_HEAD];

    sl_frame_head(head, 1, SL_FRAME_DATA, 16 << 20);
    head[8] = 1; /* one byte more than there may be */
    raw_say_n(r, head, sizeof(head));
}

static void say_4_gigabytes(struct raw *r)
{
    static const uint8_t head[SL_FRAME_HEAD] = {0, 0, 0, 1, SL_FRAME_UDP_OPEN, 255, 255, 255, 255};

    raw_say_n(r, head, sizeof(head));
}

/* Attack U-04. */
static void open_it_again(struct raw *r)
{
    raw_open(r, 1);
}

static void open_0(struct raw *r)
{
    raw_open(r, 0);
}

static void say_what_a_hub_says(struct raw *r)
{
    raw_frame(r, 1, SL_FRAME_DATA_BACK, "x", 1);
}

static void resume_again(struct raw *r)
{
    raw_resume(r, r->ticket, 2);
}

/* Attack U-05. */
static void ignore_the_window(struct raw *r)
{
    static uint8_t bytes[1 << 20];

    sl_stream_read(taken[0]->stream, false);
    for (int i = 0; i < 6 && !raw_is_over(r); i++)
        raw_frame(r, 1, SL_FRAME_DATA, bytes, sizeof(bytes));
}

/* Attack U-07: the streams of one edge are counted, and the others have theirs. */
static void streams_beyond_the_limit_are_reset(void)
{
    enum { MAX = 1000, N = 100 * 1000, AT_ONCE = 1000 };
    struct sl_buf many = {0};
    uint8_t head[SL_FRAME_HEAD];
    struct raw bad, good;

    set_up(&(struct sl_hub_opts){.max_streams = MAX});
    raw_sluice(&bad, &edges[0]);
    raw_sluice(&good, &edges[1]);
    for (uint32_t i = 1; i <= N; i++) {
        sl_frame_head(head, i, SL_FRAME_OPEN, sizeof(opening) - 1);
        sl_buf_append(&many, head, sizeof(head));
        sl_buf_append(&many, opening, sizeof(opening) - 1);
        if (i % AT_ONCE != 0)
            continue;
        raw_say_n(&bad, sl_buf_at(&many), sl_buf_len(&many));
        sl_buf_reset(&many);
        sl_check(bad.code == 0);
    }
    sl_buf_clear(&many);
    sl_check(n_taken == MAX && raw_got(&bad, SL_FRAME_RESET, N));
    raw_open(&good, 1);
    sl_check(n_taken == MAX + 1 && status_of("e0").streams.n_streams == MAX);
    raw_end(&bad);
    raw_end(&good);
    world_end();
}

/* --- links that come and go --- */

static void the_newest_connection_of_an_edge_wins(void)
{
    struct raw old, young;

    set_up(&(struct sl_hub_opts){0});
    raw_original(&old, &edges[0]);
    raw_open(&old, 1);
    raw_original(&young, &edges[0]);
    sl_check(is_call(0, "up e0") && is_call(1, "down e0") && is_call(2, "up e0") && n_calls == 3);
    sl_check(raw_is_over(&old) && !raw_is_over(&young) && taken[0]->code == SL_E_CLOSED);
    sl_check(stats_of_hub().n_edges_up == 1 && status_of("e0").links == 2);
    raw_end(&old);
    raw_open(&young, 1);
    sl_check(n_taken == 2 && n_calls == 3);
    raw_end(&young);
    world_end();
}

/* An edge that has made a new connection has no use for what the old one may still say. */
static void what_was_greeted_before_is_out_of_date(void)
{
    struct raw old, young;

    set_up(&(struct sl_hub_opts){0});
    raw_begin(&old);
    raw_greet(&old, &edges[0]);
    raw_sluice(&young, &edges[0]);
    sl_check(raw_is_over(&old) && !raw_is_over(&young) && n_calls == 1);
    raw_end(&old);
    raw_end(&young);
    world_end();
}

static void streams_go_on_over_the_next_link(void)
{
    struct raw old, young;

    set_up(&(struct sl_hub_opts){0});
    raw_sluice(&old, &edges[0]);
    raw_open(&old, 1);
    say(taken[0], "waits", false);
    sl_stream_free(&old.stream, SL_CLOSE_ABORT);
    settle();
    sl_check(is_call(1, "down e0") && taken[0]->code == 0 && !status_of("e0").is_up);
    raw_begin(&young);
    raw_greet(&young, &edges[0]);
    raw_resume_with(&young, old.ticket, 2, 1);
    sl_check(is_call(2, "up e0") && n_calls == 3 && taken[0]->code == 0);
    sl_check(raw_got(&young, SL_FRAME_DATA_BACK, 1) && raw_has(&young, "waits"));
    raw_frame(&young, 1, SL_FRAME_DATA, "on", 2);
    sl_check(has(taken[0], "on") && n_taken == 1 && n_closed == 0);
    raw_end(&old);
    raw_end(&young);
    world_end();
}

/* It takes over from one that is still there, too: the edge knows better. */
static void a_link_may_take_over_from_one_that_lives(void)
{
    struct raw old, young, late;

    set_up(&(struct sl_hub_opts){0});
    raw_sluice(&old, &edges[0]);
    raw_open(&old, 1);
    raw_begin(&young);
    raw_greet(&young, &edges[0]);
    raw_resume_with(&young, old.ticket, 3, 1);
    sl_check(is_call(1, "down e0") && is_call(2, "up e0") && n_calls == 3);
    sl_check(raw_is_over(&old) && taken[0]->code == 0);
    raw_begin(&late);
    raw_greet(&late, &edges[0]);
    raw_resume_with(&late, old.ticket, 2, 1); /* an attempt that the edge has given up since */
    sl_check(raw_is_over(&late) && !raw_is_over(&young) && n_calls == 3);
    raw_frame(&young, 1, SL_FRAME_DATA, "on", 2);
    sl_check(has(taken[0], "on"));
    raw_end(&old);
    raw_end(&young);
    raw_end(&late);
    world_end();
}

/* A ticket is worth nothing without the id and the secret of its edge. */
static void another_edge_cannot_go_on_with_a_ticket(void)
{
    static const uint8_t nothing[SL_RESUME_TICKET];
    struct raw e0, thief;

    set_up(&(struct sl_hub_opts){0});
    raw_sluice(&e0, &edges[0]);
    raw_open(&e0, 1);
    raw_begin(&thief);
    raw_greet(&thief, &edges[1]);
    raw_resume_with(&thief, e0.ticket, 9, 1);
    sl_check(is_call(1, "up e1") && n_calls == 2 && !raw_is_over(&e0) && taken[0]->code == 0);
    sl_check(raw_got(&thief, SL_FRAME_RESUME, 0)); /* begins anew: zeros */
    sl_check(memmem(sl_buf_at(&thief.in), sl_buf_len(&thief.in), nothing, sizeof(nothing)) != NULL);
    raw_frame(&thief, 1, SL_FRAME_DATA, "mine?", 5);
    sl_check(sl_buf_len(&taken[0]->in) == 0);
    raw_end(&e0);
    raw_end(&thief);
    world_end();
}

static void streams_wait_for_a_link_only_so_long(void)
{
    struct raw r;

    set_up(&(struct sl_hub_opts){.resume_ms = 5000});
    raw_sluice(&r, &edges[0]);
    raw_open(&r, 1);
    raw_end(&r);
    sl_loop_skip(loop, 4500);
    settle();
    sl_check(taken[0]->code == 0 && n_closed == 0);
    sl_loop_skip(loop, 1000);
    settle();
    sl_check(taken[0]->code == SL_E_TIMEOUT && n_closed == 1);
    sl_check(n_calls == 2); /* it was down already */
    raw_begin(&r);
    raw_greet(&r, &edges[0]);
    raw_resume_with(&r, r.ticket, 2, 0);
    sl_check(is_call(2, "up e0"));
    raw_end(&r);
    world_end();
}

/* --- silence --- */

/* Attack U-11. */
static void a_hub_asks_and_ends_what_does_not_answer(void)
{
    struct raw dumb, good;

    set_up(&(struct sl_hub_opts){.ping_ms = 1000, .dead_ms = 3000});
    raw_sluice(&dumb, &edges[0]);
    raw_sluice(&good, &edges[1]);
    for (int i = 0; i < 8; i++) {
        sl_buf_reset(&good.in);
        sl_loop_skip(loop, 500);
        settle();
        if (raw_got(&good, SL_FRAME_PING, 0))
            raw_frame(&good, 0, SL_FRAME_PONG, NULL, 0);
    }
    settle();
    sl_check(is_call(2, "down e0") && n_calls == 3 && raw_is_over(&dumb) && !raw_is_over(&good));
    raw_end(&dumb);
    raw_end(&good);
    world_end();
}

/* Configs do not pile up for an edge that takes nothing; it gets the last one when it does. */
static void only_the_last_config_waits_for_a_slow_edge(void)
{
    static char config[200 * 1000];
    struct sl_hub_edge_spec spec = {SL_STR("e0"), SL_STR("secret-e0"), SL_STR("{}")};
    struct sl_frame_reader reader = {0};
    const uint8_t *at;
    struct sl_frame f;
    struct raw r;
    size_t len;
    int n = 0;

    set_up(&(struct sl_hub_opts){0});
    raw_original(&r, &edges[0]);
    sl_stream_read(r.stream, false);
    memset(config, ' ', sizeof(config));
    config[0] = '{';
    config[sizeof(config) - 1] = '}';
    spec.config = sl_str(config, sizeof(config));
    for (int i = 0; i < 1000; i++) {
        config[1 + i] = '\t';
        sl_hub_set_edges(hub, &spec, 1);
        settle();
    }
    sl_check(status_of("e0").streams.n_control < 1 << 20);
    sl_stream_read(r.stream, true);
    settle();
    raw_frame(&r, 0, SL_FRAME_PONG, NULL, 0);
    at = sl_buf_at(&r.in);
    len = sl_buf_len(&r.in);
    while (sl_frame_next(&reader, &at, &len, &f) > 0)
        n += f.type == SL_FRAME_CONFIG && f.len == sizeof(config);
    sl_check(n > 1 && n < 200 && memcmp(f.bytes, config, sizeof(config)) == 0);
    sl_frame_reader_clear(&reader);
    raw_end(&r);
    world_end();
}

int main(void)
{
    an_opening_says_who_the_visitor_is();
    an_opening_that_is_none_ends_its_stream_alone();
    a_type_that_nobody_knows_is_counted();
    check_that_it_ends(say_too_long);
    check_that_it_ends(say_4_gigabytes);
    check_that_it_ends(open_it_again);
    check_that_it_ends(open_0);
    check_that_it_ends(say_what_a_hub_says);
    check_that_it_ends(resume_again);
    check_that_it_ends(ignore_the_window);
    streams_beyond_the_limit_are_reset();
    the_newest_connection_of_an_edge_wins();
    what_was_greeted_before_is_out_of_date();
    streams_go_on_over_the_next_link();
    a_link_may_take_over_from_one_that_lives();
    another_edge_cannot_go_on_with_a_ticket();
    streams_wait_for_a_link_only_so_long();
    a_hub_asks_and_ends_what_does_not_answer();
    only_the_last_config_waits_for_a_slow_edge();
    return sl_check_done();
}
