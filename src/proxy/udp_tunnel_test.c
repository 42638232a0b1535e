/* Raw UDP with a tunnel at either end: sessions of a hub on the visitor's side, of an edge on the
 * target's. The other end of the tunnel is the test. */
#include "proxy/test_udp.h"

static struct udp_world u;
static struct spot target, visitor;

static void begin(void)
{
    udp_begin(&u);
    spot_open(&target, u.w.loop);
    spot_open(&visitor, u.w.loop);
}

static void end(void)
{
    spot_close(&target);
    spot_close(&visitor);
    udp_end(&u);
}

/* --- a hub: the visitor is a session --- */

/* A visitor 203.0.113.9:4711 of the edge "nyc". */
static struct sl_session *take_session(void)
{
    struct sl_tunnelled from = {.port = u.port, .edge = SL_STR("nyc")};
    struct sl_session *s = sl_zalloc(sizeof(*s)), *given = s;

    sl_assert(sl_addr_parse(&from.remote, SL_STR("203.0.113.9"), 4711) == 0);
    sl_assert(sl_addr_parse(&from.local, SL_STR("198.51.100.1"), u.port) == 0);
    sl_proxy_take_session(u.w.proxy, &given, &from);
    sl_check(given == NULL);
    return s;
}

static void say(struct sl_session *s, const char *text)
{
    s->handler->on_datagram(s, (const uint8_t *)text, strlen(text));
}

static bool got_header(const struct spot *s, int i)
{
    return sl_proxy_header_is_v2(sl_buf_at(&s->got[i]), sl_buf_len(&s->got[i]));
}

static struct sl_proxy_header header_of(const struct spot *s, int i)
{
    struct sl_proxy_header header = {0};
    const char *why;

    sl_check(sl_proxy_header_parse(sl_buf_at(&s->got[i]), sl_buf_len(&s->got[i]), &header, &why) ==
             (int)sl_buf_len(&s->got[i]));
    return header;
}

static void add_tunnelled_route(unsigned send_proxy)
{
    const struct sl_target_spec to = udp_target(&target);

    udp_add(&u, &(struct sl_route_spec){.is_tunnelled = true, .send_proxy = send_proxy}, &to);
    world_publish(&u.w);
}

static void a_session_goes_to_its_route(void)
{
    struct sl_session *s;

    begin();
    add_tunnelled_route(0);
    target.answer = "pong";
    s = take_session();
    say(s, "ping");
    run_until(u.w.loop, tunnel.n_sent == 1);
    sl_check_str(sl_buf_str(&target.got[0]), SL_STR("ping"));
    sl_check_str(sl_buf_str(&tunnel.sent), SL_STR("pong"));
    sl_check(udp_sessions(&u) == 1);
    s->handler->on_closed(s);
    sl_check(udp_sessions(&u) == 0 && tunnel.n_freed == 1);
    end();
}

/* Routes for what comes through tunnels are not for what comes to the port. */
static void a_route_for_tunnels_is_for_nobody_else(void)
{
    begin();
    add_tunnelled_route(0);
    udp_say(&u, &visitor, "x");
    run_until(u.w.loop, udp_stats(&u)->udp_dropped == 1);
    sl_check(udp_sessions(&u) == 0);
    end();
}

static void a_session_without_a_route_ends(void)
{
    begin();
    world_publish(&u.w);
    (void)take_session();
    sl_check(tunnel.n_freed == 1 && udp_sessions(&u) == 0);
    end();
}

static void a_silent_session_ends(void)
{
    struct sl_session *s;

    begin();
    add_tunnelled_route(0);
    s = take_session();
    say(s, "x");
    run_until(u.w.loop, target.n_got == 1);
    sl_loop_skip(u.w.loop, 61000);
    run_until(u.w.loop, udp_sessions(&u) == 0);
    sl_check(tunnel.n_freed == 1);
    end();
}

/* First who it is, then what he says. */
static void the_target_is_told_who_it_is(void)
{
    static const uint8_t ip[16] = {[10] = 0xff, 0xff, 203, 0, 113, 9};
    struct sl_proxy_header header;

    begin();
    add_tunnelled_route(1); /* datagrams have version 2 only */
    say(take_session(), "ping");
    run_until(u.w.loop, target.n_got == 2);
    header = header_of(&target, 0);
    sl_check(header.version == 2 && header.is_datagram && memcmp(header.from, ip, 16) == 0);
    sl_check(header.from_port == 4711 && header.to_port == u.port);
    sl_check_str(sl_buf_str(&target.got[1]), SL_STR("ping"));
    end();
}

/* What a visitor says of himself must not reach a target that would believe it. */
static void a_forged_header_is_dropped(void)
{
    static const uint8_t forged[] = "\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c"
                                    "\x01\x02\x03\x04\x01\x02\x03\x04\0\x01\0\x02";
    struct sl_session *s;

    begin();
    add_tunnelled_route(2);
    s = take_session();
    s->handler->on_datagram(s, forged, sizeof(forged) - 1);
    say(s, "x");
    run_until(u.w.loop, target.n_got == 2);
    sl_check_str(sl_buf_str(&target.got[1]), SL_STR("x"));
    sl_check(udp_stats(&u)->udp_dropped == 1);
    add_tunnelled_route(0); /* to others it is what anything is */
    s = take_session();
    s->handler->on_datagram(s, forged, sizeof(forged) - 1);
    run_until(u.w.loop, target.n_got == 3);
    sl_check(sl_buf_len(&target.got[2]) == sizeof(forged) - 1);
    end();
}

/* A target that was away does not know what it was told before. */
static void a_target_that_comes_back_is_told_again(void)
{
    uint16_t port;
    struct sl_session *s;

    begin();
    add_tunnelled_route(2);
    port = spot_port(&target);
    spot_close(&target);
    s = take_session();
    say(s, "lost");
    run_until(u.w.loop, udp_stats(&u)->udp_refused > 0);
    sl_check(udp_sessions(&u) == 1);
    spot_open_at(&target, u.w.loop, "127.0.0.1", port);
    say(s, "there");
    run_until(u.w.loop, target.n_got == 2);
    sl_check(got_header(&target, 0));
    sl_check_str(sl_buf_str(&target.got[1]), SL_STR("there"));
    say(s, "and on");
    run_until(u.w.loop, target.n_got == 3);
    sl_check_str(sl_buf_str(&target.got[2]), SL_STR("and on"));
    end();
}

static void the_hook_denies(void)
{
    begin();
    add_tunnelled_route(0);
    world_hooks_on(&u.w, SL_HOOK_STREAM);
    u.w.stream.verdict.kind = SL_VERDICT_DENY;
    (void)take_session();
    sl_check(tunnel.n_freed == 1 && u.w.stream.n_calls == 1 && u.w.n_forgotten == 1);
    end();
}

static void the_hook_names_a_target(void)
{
    struct sl_session *s;

    begin();
    world_publish(&u.w);
    world_hooks_on(&u.w, SL_HOOK_STREAM | SL_HOOK_DONE);
    u.w.stream.verdict = (struct sl_verdict){.kind = SL_VERDICT_TARGET,
                                             .target_host = SL_STR("127.0.0.1"),
                                             .target_port = spot_port(&target)};
    s = take_session();
    say(s, "ping");
    run_until(u.w.loop, target.n_got == 2);
    sl_check(got_header(&target, 0));
    sl_check_str(sl_buf_str(&target.got[1]), SL_STR("ping"));
    s->handler->on_closed(s);
    sl_check(u.w.n_done == 1 && u.w.done_in == 4);
    end();
}

static void the_hook_is_not_asked_about_others(void)
{
    begin();
    udp_forward(&u, &target);
    world_hooks_on(&u.w, SL_HOOK_STREAM);
    udp_say(&u, &visitor, "x");
    run_until(u.w.loop, target.n_got == 1);
    sl_check(u.w.stream.n_calls == 0);
    end();
}

/* --- names --- */

/* The name is looked up first: what comes meanwhile waits, but not all of it. */
static void what_comes_before_the_name_is_known_waits(void)
{
    static uint8_t big[9000];
    struct sl_target_spec to;
    struct spot silent;
    struct sl_dns *dns;
    struct sl_session *s;
    char text[SL_ADDR_TEXT_LEN];

    begin();
    spot_open(&silent, u.w.loop);
    sl_assert(sl_dns_new_with(&dns, u.w.loop,
                              &(struct sl_dns_opts){.servers = sl_addr_text(&silent.at, text)}) ==
              0);
    u.w.proxy->dns = dns;
    to = udp_target(&target);
    to.host = SL_STR("target.example");
    udp_add(&u, &(struct sl_route_spec){.is_tunnelled = true}, &to);
    world_publish(&u.w);
    s = take_session();
    s->handler->on_datagram(s, big, sizeof(big));
    sl_check(udp_sessions(&u) == 1 && u.w.proxy->flows->n_waiting == sizeof(big) + 2);
    s->handler->on_datagram(s, big, sizeof(big));
    sl_check(udp_stats(&u)->udp_dropped == 1);
    run_until(u.w.loop, silent.n_got > 0);
    s->handler->on_closed(s);
    sl_check(u.w.proxy->flows->n_waiting == 0 && udp_sessions(&u) == 0);
    sl_dns_free(dns);
    spot_close(&silent);
    end();
}

static void a_name_is_found(void)
{
    struct sl_target_spec to;
    struct sl_session *s;

    begin();
    to = udp_target(&target);
    to.host = SL_STR("localhost");
    udp_add(&u, &(struct sl_route_spec){.is_tunnelled = true}, &to);
    world_publish(&u.w);
    s = take_session();
    say(s, "1");
    say(s, "2");
    run_until(u.w.loop, target.n_got == 2);
    sl_check_str(sl_buf_str(&target.got[0]), SL_STR("1"));
    sl_check_str(sl_buf_str(&target.got[1]), SL_STR("2"));
    end();
}

/* --- an edge: the target is a session --- */

static void add_edge_route(const struct sl_target_spec *other)
{
    const struct sl_port_range range = {u.port, u.port};
    struct sl_target_spec targets[2] = {{.tunnel = SL_STR("main"), .priority = 1}};

    if (other != NULL)
        targets[1] = *other;
    world_route(&u.w, &(struct sl_route_spec){.name = SL_STR("edge"),
                                              .ports = &range,
                                              .n_ports = 1,
                                              .transport = SL_TRANSPORT_UDP,
                                              .protocol = SL_PROTOCOL_TCP,
                                              .targets = targets,
                                              .n_targets = other != NULL ? 2 : 1});
    world_publish(&u.w);
    u.found = &u.edge;
    u.edge.is_up = true;
}

static void a_visitor_goes_into_the_tunnel(void)
{
    uint8_t ip[16];

    begin();
    add_edge_route(NULL);
    udp_say(&u, &visitor, "ping");
    run_until(u.w.loop, tunnel.n_sent == 1);
    sl_addr_to_ip16(&visitor.at, ip);
    sl_check(u.edge.from.has_addresses && u.edge.from.is_datagram);
    sl_check(memcmp(u.edge.from.from, ip, 16) == 0 && u.edge.from.to_port == u.port);
    sl_check(u.edge.from.from_port == spot_port(&visitor));
    sl_check_str(sl_buf_str(&tunnel.sent), SL_STR("ping"));
    u.edge.last->handler->on_datagram(u.edge.last, (const uint8_t *)"pong", 4);
    run_until(u.w.loop, visitor.n_got == 1);
    sl_check_str(sl_buf_str(&visitor.got[0]), SL_STR("pong"));
    sl_check(sl_addr_eq(&visitor.remote, &u.at));
    end();
    sl_check(tunnel.n_freed == 1);
}

static void the_hub_ends_a_session(void)
{
    begin();
    add_edge_route(NULL);
    udp_say(&u, &visitor, "1");
    run_until(u.w.loop, tunnel.n_sent == 1);
    u.edge.last->handler->on_closed(u.edge.last);
    sl_check(udp_sessions(&u) == 0 && tunnel.n_freed == 1);
    udp_say(&u, &visitor, "2");
    run_until(u.w.loop, tunnel.n_sent == 2);
    sl_check(u.edge.n_opened == 2);
    end();
}

/* A datagram that the link cannot take is lost, and no more. */
static void a_busy_link_drops(void)
{
    begin();
    add_edge_route(NULL);
    tunnel.rc = SL_E_AGAIN;
    udp_say(&u, &visitor, "1");
    run_until(u.w.loop, udp_stats(&u)->udp_dropped == 1);
    tunnel.rc = 0;
    udp_say(&u, &visitor, "2");
    run_until(u.w.loop, tunnel.n_sent == 2);
    sl_check(u.edge.n_opened == 1 && udp_stats(&u)->udp_dropped == 1);
    end();
}

static void without_a_link_others_are_tried_first(void)
{
    struct sl_target_spec other;

    begin();
    other = udp_target(&target);
    add_edge_route(&other);
    u.edge.is_up = false;
    udp_say(&u, &visitor, "1");
    run_until(u.w.loop, target.n_got == 1);
    sl_check(u.edge.n_opened == 0);
    end();
    begin();
    add_edge_route(NULL);
    u.edge.is_up = false; /* the last resort */
    udp_say(&u, &visitor, "1");
    run_until(u.w.loop, u.edge.n_opened == 1);
    end();
}

static void a_full_tunnel_ends_the_session(void)
{
    begin();
    add_edge_route(NULL);
    u.edge.is_full = true;
    udp_say(&u, &visitor, "1");
    run_until(u.w.loop, udp_stats(&u)->udp_dropped == 1);
    sl_check(udp_sessions(&u) == 0);
    u.found = NULL; /* nor is there an edge of that name */
    udp_say(&u, &visitor, "1");
    run_until(u.w.loop, udp_stats(&u)->udp_dropped == 2);
    end();
}

/* The process is an edge and a hub: from one tunnel into the other. */
static void a_session_goes_into_another_tunnel(void)
{
    struct sl_session *s;

    begin();
    add_edge_route(NULL);
    s = take_session();
    say(s, "through");
    sl_check(u.edge.n_opened == 1 && tunnel.n_sent == 1);
    sl_check_str(sl_buf_str(&tunnel.sent), SL_STR("through"));
    u.edge.last->handler->on_datagram(u.edge.last, (const uint8_t *)"back", 4);
    sl_check_str(sl_buf_str(&tunnel.sent), SL_STR("back"));
    s->handler->on_closed(s);
    sl_check(tunnel.n_freed == 2);
    end();
}

int main(void)
{
    a_session_goes_to_its_route();
    a_route_for_tunnels_is_for_nobody_else();
    a_session_without_a_route_ends();
    a_silent_session_ends();
    the_target_is_told_who_it_is();
    a_forged_header_is_dropped();
    a_target_that_comes_back_is_told_again();
    the_hook_denies();
    the_hook_names_a_target();
    the_hook_is_not_asked_about_others();
    what_comes_before_the_name_is_known_waits();
    a_name_is_found();
    a_visitor_goes_into_the_tunnel();
    the_hub_ends_a_session();
    a_busy_link_drops();
    without_a_link_others_are_tried_first();
    a_full_tunnel_ends_the_session();
    a_session_goes_into_another_tunnel();
    return sl_check_done();
}
