/* Raw connections into a tunnel and out of it again: visitor - edge - hub - origin, and every order
 * in which they may end. */
#include "proxy/test_tunnels.h"

enum { EDGE_PORT = 0, HUB_PORT = 1 };

static struct world w;
static struct tunnels t;
static struct origin o;
static struct client c;

/* --- the way in and out --- */

static void add_edge_route(const struct sl_target_spec *targets, size_t n_targets)
{
    const struct sl_port_range range = {w.ports[EDGE_PORT], w.ports[EDGE_PORT]};

    world_route(&w, &(struct sl_route_spec){.name = SL_STR("edge"),
                                            .protocol = SL_PROTOCOL_TCP,
                                            .ports = &range,
                                            .n_ports = 1,
                                            .targets = targets,
                                            .n_targets = n_targets});
}

static void begin_with(const struct sl_target_spec *other)
{
    struct sl_target_spec targets[2] = {{.tunnel = SL_STR("main"), .priority = 1}};
    struct sl_route_spec inner = {
        .name = SL_STR("hub"), .protocol = SL_PROTOCOL_TCP, .is_tunnelled = true};

    if (other != NULL)
        targets[1] = *other;
    add_edge_route(targets, other != NULL ? 2 : 1);
    world_add(&w, HUB_PORT, &inner, &o, NULL);
    world_publish(&w);
    world_hooks_on(&w, SL_HOOK_DONE);
}

static void begin(void)
{
    world_begin(&w);
    origin_begin(&o, w.loop);
    tunnels_begin(&t, &w, HUB_PORT);
}

static void begin_up(void)
{
    begin();
    begin_with(NULL);
    tunnels_connect(&t);
}

static uint32_t active_on_routes(void)
{
    struct sl_route *const *routes;
    uint32_t n = 0;

    for (size_t i = 0, count = sl_snapshot_routes(w.snapshot, &routes); i < count; i++)
        n += routes[i]->n_active;
    return n;
}

/* Nothing is left of anybody. */
static void end(void)
{
    run_until(w.loop, world_active(&w) == 0 && tunnels_streams(&t) == 0);
    sl_check(active_on_routes() == 0);
    client_close(&c);
    origin_end(&o);
    tunnels_end(&t);
    world_end(&w);
}

/* A visitor whose bytes have come through, and who has an answer. */
static void talk(void)
{
    client_open(&c, &w, EDGE_PORT);
    client_say(&c, "hello");
    run_until(w.loop, o.n_conns == 1 && sl_str_eq(origin_text(&o, 0), SL_STR("hello")));
    origin_say(&o, 0, "back");
    run_until(w.loop, client_got_tail(&c, "back"));
}

static void bytes_go_both_ways(void)
{
    struct sl_addr local;
    uint8_t ip[16];

    begin_up();
    talk();
    sl_assert(sl_tcp_addrs(c.stream, &local, NULL) == 0);
    sl_addr_to_ip16(&local, ip);
    sl_check(memcmp(t.from.from, ip, 16) == 0 && t.from.from_port == sl_addr_port(&local));
    sl_check(t.from.to_port == w.ports[EDGE_PORT] && t.n_streams == 1);
    client_fin(&c);
    run_until(w.loop, o.conns[0].n_fin == 1);
    origin_fin(&o, 0);
    run_until(w.loop, c.n_fin == 1 && w.n_done == 2);
    sl_check(w.done_in == 5 && w.done_out == 4 && w.done_error[0] == '\0');
    end();
}

/* --- all orders of the end --- */

static void the_visitor_ends_first(void)
{
    begin_up();
    talk();
    client_say(&c, " and bye");
    client_fin(&c);
    run_until(w.loop, o.conns[0].n_fin == 1);
    sl_check_str(origin_text(&o, 0), SL_STR("hello and bye"));
    origin_say(&o, 0, " and more");
    run_until(w.loop, client_got_tail(&c, "back and more"));
    sl_check(!client_is_closed(&c) && w.n_done == 0);
    origin_say(&o, 0, ", the end");
    origin_fin(&o, 0);
    run_until(w.loop, c.n_fin == 1 && w.n_done == 2);
    sl_check(client_got_tail(&c, "back and more, the end") && c.n_error == 0);
    end();
}

static void the_origin_ends_first(void)
{
    begin_up();
    talk();
    origin_say(&o, 0, ", the end");
    origin_fin(&o, 0);
    run_until(w.loop, c.n_fin == 1);
    sl_check(client_got_tail(&c, "back, the end") && w.n_done == 0);
    client_say(&c, " and more");
    client_fin(&c);
    run_until(w.loop, o.conns[0].n_fin == 1 && w.n_done == 2);
    sl_check_str(origin_text(&o, 0), SL_STR("hello and more"));
    sl_check(c.n_error == 0 && o.conns[0].n_error == 0);
    end();
}

static void both_end_at_once(void)
{
    begin_up();
    talk();
    client_say(&c, " and bye");
    client_fin(&c);
    origin_say(&o, 0, ", the end");
    origin_fin(&o, 0);
    run_until(w.loop, c.n_fin == 1 && o.conns[0].n_fin == 1 && w.n_done == 2);
    sl_check(client_got_tail(&c, "back, the end") && c.n_error == 0);
    sl_check_str(origin_text(&o, 0), SL_STR("hello and bye"));
    sl_check(w.done_error[0] == '\0' && o.conns[0].n_error == 0);
    end();
}

/* A reset stays one all the way: nobody takes a part for the whole. */
static void one_is_reset(bool by_visitor, bool after_fin)
{
    begin_up();
    talk();
    if (after_fin && by_visitor) {
        origin_fin(&o, 0);
        run_until(w.loop, c.n_fin == 1);
    } else if (after_fin) {
        client_fin(&c);
        run_until(w.loop, o.conns[0].n_fin == 1);
    }
    if (by_visitor)
        sl_stream_free(&c.stream, SL_CLOSE_ABORT);
    else
        origin_close(&o, 0, SL_CLOSE_ABORT);
    run_until(w.loop, w.n_done == 2 && (by_visitor ? o.conns[0].n_error : c.n_error) == 1);
    sl_check(by_visitor || c.code == SL_E_RESET);
    sl_check(w.done_error[0] != '\0');
    end();
}

/* The target of the hub refuses: so does the edge. */
static void nobody_is_behind_the_hub(void)
{
    begin_up();
    sl_listener_free(o.listener);
    run_quiet(w.loop);
    client_open(&c, &w, EDGE_PORT);
    run_until(w.loop, c.n_error == 1 && w.n_done == 2);
    sl_check(c.code == SL_E_RESET && c.n_got == 0);
    o.listener = sl_listener_new(w.loop, listen_on_loopback(&o.at), origin_on_accept, &o);
    end();
}

static void the_tunnel_is_lost_for_good(void)
{
    begin_up();
    talk();
    tunnels_cut(&t);
    run_quiet(w.loop);
    sl_check(!client_is_closed(&c) && w.n_done == 0);
    sl_edge_give_up(t.edge);
    run_until(w.loop, c.n_error == 1 && w.n_done == 1);
    sl_check(c.code == SL_E_RESET);
    sl_loop_skip(w.loop, 61000); /* the hub gives up by itself */
    run_until(w.loop, o.conns[0].n_error == 1 && w.n_done == 2);
    end();
}

static void the_original_does_not_resume(void)
{
    begin();
    t.is_original = true;
    begin_with(NULL);
    tunnels_connect(&t);
    talk();
    tunnels_cut(&t);
    run_until(w.loop, c.n_error == 1 && o.conns[0].n_error == 1 && w.n_done == 2);
    sl_check(c.code == SL_E_RESET);
    end();
}

static void the_edge_is_freed_under_a_visitor(void)
{
    begin_up();
    talk();
    sl_edge_free(t.edge);
    t.edge = sl_edge_new(&(struct sl_edge_opts){.loop = w.loop, .dns = w.dns});
    run_until(w.loop, c.n_error == 1);
    run_quiet(w.loop);
    sl_loop_skip(w.loop, 61000);
    end();
}

/* --- a pause --- */

/* Also longer than a pipe may be silent else. */
static void a_transfer_survives_its_link(void)
{
    static char part[65537];
    const int n = 200;

    memset(part, 'p', sizeof(part) - 1);
    begin();
    w.settings.pipe_timeout = 2000;
    world_settings_changed(&w);
    begin_with(NULL);
    tunnels_connect(&t);
    talk();
    for (int i = 0; i < n; i++) {
        if (i == n / 2) {
            tunnels_cut(&t);
            for (int k = 0; k < 5; k++) {
                sl_loop_skip(w.loop, 5000);
                run_quiet(w.loop);
            }
            tunnels_connect(&t);
            sl_check(t.n_resumed == 1);
        }
        run_until(w.loop, !c.stream->is_writing);
        client_say(&c, part);
    }
    client_fin(&c);
    run_until(w.loop, o.conns[0].n_fin == 1);
    sl_check(sl_buf_len(&o.conns[0].got) == 5 + (size_t)n * (sizeof(part) - 1));
    origin_fin(&o, 0);
    run_until(w.loop, c.n_fin == 1 && w.n_done == 2);
    sl_check(w.done_error[0] == '\0');
    end();
}

/* Also when both have said all, and what is left is in the tunnel alone. */
static void the_last_bytes_survive_the_link(void)
{
    static char part[100001];

    memset(part, 'p', sizeof(part) - 1);
    begin_up();
    talk();
    client_fin(&c);
    run_until(w.loop, o.conns[0].n_fin == 1);
    tunnels_cut(&t);
    origin_say(&o, 0, part);
    origin_fin(&o, 0);
    run_until(w.loop, w.n_done == 1);
    for (int i = 0; i < 5; i++) {
        sl_loop_skip(w.loop, 9000);
        run_quiet(w.loop);
    }
    tunnels_connect(&t);
    run_until(w.loop, client_is_closed(&c));
    sl_check(c.n_got == 4 + sizeof(part) - 1 && c.n_fin == 1);
    end();
}

/* --- without a link --- */

static void a_visitor_waits_for_the_link(void)
{
    begin();
    begin_with(NULL);
    client_open(&c, &w, EDGE_PORT);
    client_say(&c, "hello");
    sl_loop_skip(w.loop, sl_edge_hold_ms(t.edge) - 1000);
    run_quiet(w.loop);
    sl_check(!client_is_closed(&c) && t.n_streams == 0);
    tunnels_connect(&t);
    run_until(w.loop, o.n_conns == 1 && sl_str_eq(origin_text(&o, 0), SL_STR("hello")));
    sl_loop_skip(w.loop, 2000); /* the time for which he would have waited is over */
    run_quiet(w.loop);
    sl_check(!client_is_closed(&c));
    origin_close(&o, 0, SL_CLOSE_LINGER);
    client_fin(&c);
    run_until(w.loop, c.n_fin == 1);
    end();
}

static void a_visitor_does_not_wait_for_ever(void)
{
    begin();
    begin_with(NULL);
    client_open(&c, &w, EDGE_PORT);
    client_say(&c, "hello");
    run_quiet(w.loop);
    sl_loop_skip(w.loop, sl_edge_hold_ms(t.edge) + 1000);
    run_until(w.loop, w.n_done == 1 && client_is_closed(&c));
    sl_check_str(sl_str_c(w.done_target), SL_STR("tunnel:main"));
    sl_check_str(sl_str_c(w.done_error), SL_STR("the tunnel is down"));
    end();
}

static void another_target_is_up(void)
{
    struct sl_target_spec spare = {.host = SL_STR("127.0.0.1")};

    begin();
    spare.port = origin_port(&o);
    begin_with(&spare);
    client_open(&c, &w, EDGE_PORT);
    client_say(&c, "hello");
    run_until(w.loop, o.n_conns == 1 && sl_str_eq(origin_text(&o, 0), SL_STR("hello")));
    sl_check(t.n_streams == 0);
    client_fin(&c);
    origin_fin(&o, 0);
    end();
}

static void nobody_has_such_a_tunnel(void)
{
    const struct sl_target_spec target = {.tunnel = SL_STR("other")};

    begin();
    add_edge_route(&target, 1);
    world_publish(&w);
    world_hooks_on(&w, SL_HOOK_DONE);
    client_open(&c, &w, EDGE_PORT);
    run_until(w.loop, client_is_closed(&c) && w.n_done == 1);
    sl_check_str(sl_str_c(w.done_error), SL_STR("the tunnel is down"));
    end();
}

/* --- who it is --- */

static void the_hub_is_told(const char *header, const char *ip, uint16_t port)
{
    const struct sl_str text = SL_STR("127.0.0.1");
    struct sl_addr from;
    char got[SL_ADDR_TEXT_LEN];

    begin();
    sl_assert(sl_ip_set_init(&w.settings.trusted, &text, 1, "trusted", NULL) == 0);
    w.settings.accept_proxy = true;
    begin_with(NULL);
    tunnels_connect(&t);
    client_open(&c, &w, EDGE_PORT);
    client_say(&c, header);
    run_until(w.loop, t.n_streams == 1);
    sl_addr_from_ip16(&from, t.from.from, t.from.from_port);
    sl_check_str(sl_str_c(sl_addr_ip(&from, got)), sl_str_c(ip));
    sl_check(t.from.from_port == port && t.from.to_port == w.ports[EDGE_PORT]);
    client_close(&c);
    sl_ip_set_clear(&w.settings.trusted);
    end();
}

int main(void)
{
    bytes_go_both_ways();
    the_visitor_ends_first();
    the_origin_ends_first();
    both_end_at_once();
    one_is_reset(true, false);
    one_is_reset(false, false);
    one_is_reset(true, true);
    one_is_reset(false, true);
    nobody_is_behind_the_hub();
    the_tunnel_is_lost_for_good();
    the_original_does_not_resume();
    the_edge_is_freed_under_a_visitor();
    a_transfer_survives_its_link();
    the_last_bytes_survive_the_link();
    a_visitor_waits_for_the_link();
    a_visitor_does_not_wait_for_ever();
    another_target_is_up();
    nobody_has_such_a_tunnel();
    the_hub_is_told("PROXY TCP4 203.0.113.7 198.51.100.2 4711 443\r\n", "203.0.113.7", 4711);
    the_hub_is_told("PROXY TCP6 2001:db8::7 2001:db8::2 4711 443\r\n", "2001:db8::7", 4711);
    return sl_check_done();
}
