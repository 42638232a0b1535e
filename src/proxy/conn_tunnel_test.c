/* What a hub's edges have accepted: the visitor is the one whom the edge has named, everywhere. */
#include "net/pair.h"
#include "proxy/test_world.h"
#include "route/target.h"

#define GET "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static struct world w;
static struct origin o;
static struct client c;

static void begin(void)
{
    world_begin(&w);
    origin_begin(&o, w.loop);
    o.answer = OK;
}

static void publish(unsigned hooks)
{
    world_publish(&w);
    world_hooks_on(&w, hooks);
}

/* A visitor of the edge "nyc" calls 198.51.100.2 on this port. */
static void visit(struct client *v, const char *ip, int port)
{
    char edge[] = "nyc";
    struct sl_tunnelled from = {.port = w.ports[port], .edge = sl_str_c(edge)};
    struct sl_stream *ends[2];

    *v = (struct client){.loop = w.loop};
    sl_assert(sl_addr_parse(&from.remote, sl_str_c(ip), 4711) == 0);
    sl_assert(sl_addr_parse(&from.local, SL_STR("198.51.100.2"), w.ports[port]) == 0);
    sl_pair_new(ends, w.loop, 64 * 1024);
    v->stream = ends[1];
    sl_stream_set_handler(v->stream, &client_handler, v);
    sl_stream_read(v->stream, true);
    sl_proxy_take_stream(w.proxy, &ends[0], &from);
    sl_check(ends[0] == NULL);
    memset(edge, 'x', 3); /* it was copied */
}

static void end(void)
{
    client_close(&c);
    run_until(w.loop, world_active(&w) == 0);
    origin_end(&o);
    world_end(&w);
}

static void expect_reset(void)
{
    run_until(w.loop, client_is_closed(&c));
    sl_check(c.code == SL_E_RESET && c.n_got == 0 && o.n_conns == 0);
    end();
}

static struct sl_route_spec raw(void)
{
    return (struct sl_route_spec){.protocol = SL_PROTOCOL_TCP, .is_tunnelled = true};
}

/* --- who it is --- */

static void requests_name_the_visitor(void)
{
    begin();
    world_add(&w, 0, &(struct sl_route_spec){.is_tunnelled = true}, &o, NULL);
    publish(SL_HOOK_CONNECT | SL_HOOK_DONE);
    visit(&c, "203.0.113.7", 0);
    client_say(&c, "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n");
    run_until(w.loop, client_got_tail(&c, "ok"));
    sl_check(origin_got(&o, 0, "\r\nX-Forwarded-For: 203.0.113.7\r\n"));
    sl_check(origin_got(&o, 0, "\r\nX-Real-IP: 203.0.113.7\r\n"));
    sl_check(w.connect.n_calls == 1);
    end();
}

/* That this address would be believed in front of us is nothing to a visitor of an edge. */
static void a_visitor_is_never_trusted(void)
{
    const struct sl_str text = SL_STR("203.0.113.7");

    begin();
    world_add(&w, 0, &(struct sl_route_spec){.is_tunnelled = true}, &o, NULL);
    publish(0);
    sl_assert(sl_ip_set_init(&w.settings.trusted, &text, 1, "trusted", NULL) == 0);
    w.settings.accept_proxy = true;
    visit(&c, "203.0.113.7", 0);
    client_say(&c, "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n");
    run_until(w.loop, client_got_tail(&c, "ok"));
    sl_check(origin_got(&o, 0, "\r\nX-Forwarded-For: 203.0.113.7\r\n"));
    sl_ip_set_clear(&w.settings.trusted);
    end();
}

static void a_target_of_requests_is_told_who_it_is(void)
{
    begin();
    world_add(&w, 0, &(struct sl_route_spec){.is_tunnelled = true, .send_proxy = 1}, &o, NULL);
    publish(0);
    visit(&c, "203.0.113.7", 0);
    client_say(&c, GET);
    run_until(w.loop, client_got_tail(&c, "ok"));
    sl_check(
        sl_str_starts(origin_text(&o, 0), SL_STR("PROXY TCP4 203.0.113.7 198.51.100.2 4711 ")));
    end();
}

static void a_target_is_told_who_it_is(const char *ip, const char *want)
{
    struct sl_route_spec spec = raw();
    char line[128];

    spec.send_proxy = 1;
    begin();
    o.answer = NULL;
    world_add(&w, 0, &spec, &o, NULL);
    publish(0);
    visit(&c, ip, 0);
    client_say(&c, "hello");
    snprintf(line, sizeof(line), want, w.ports[0]);
    run_until(w.loop, o.n_conns == 1 && sl_str_ends(origin_text(&o, 0), SL_STR("hello")));
    sl_check_str(origin_text(&o, 0), sl_str_c(line));
    end();
}

static void check_peer(struct world *world, const struct sl_peer *peer)
{
    char text[SL_ADDR_TEXT_LEN];

    sl_check_str(sl_str_c(sl_addr_text(&peer->remote, text)), SL_STR("203.0.113.7:4711"));
    sl_check(sl_addr_port(&peer->local) == world->ports[0]);
    sl_check_str(peer->edge, SL_STR("nyc"));
}

static void hooks_see_the_visitor_and_his_edge(void)
{
    struct sl_route_spec spec = raw();

    begin();
    o.answer = NULL;
    world_add(&w, 0, &spec, &o, NULL);
    w.on_connect_hook = check_peer;
    publish(SL_HOOK_CONNECT | SL_HOOK_STREAM);
    visit(&c, "203.0.113.7", 0);
    client_say(&c, "x");
    run_until(w.loop, o.n_conns == 1 && origin_got(&o, 0, "x"));
    sl_check(w.connect.n_calls == 1 && w.stream.n_calls == 1);
    end();
    sl_check(w.n_forgotten == 1);
}

static void lists_and_limits_are_about_the_visitor(void)
{
    const struct sl_str block = SL_STR("203.0.113.0/24");
    struct client second;

    begin();
    world_add(&w, 0, &(struct sl_route_spec){.is_tunnelled = true}, &o, NULL);
    w.policy = (struct sl_policy_spec){.block = &block, .n_block = 1, .max_connections_per_ip = 1};
    publish(0);
    visit(&c, "203.0.113.7", 0);
    run_until(w.loop, c.code == SL_E_RESET);
    client_close(&c);
    visit(&c, "192.0.2.1", 0);
    visit(&second, "192.0.2.1", 0);
    run_until(w.loop, second.code == SL_E_RESET);
    client_close(&second);
    visit(&second, "192.0.2.2", 0);
    client_say(&second, GET);
    run_until(w.loop, client_got_tail(&second, "ok"));
    sl_check(!client_is_closed(&c));
    client_close(&second);
    end();
}

/* --- where it goes --- */

static void a_route_for_tunnels_is_for_nobody_else(void)
{
    begin();
    world_add(
        &w, 0,
        &(struct sl_route_spec){.name = SL_STR("hidden"), .is_tunnelled = true, .priority = 1}, &o,
        NULL);
    publish(SL_HOOK_DONE);
    client_open(&c, &w, 0);
    client_say(&c, GET);
    run_until(w.loop, client_got_status(&c, 404));
    client_close(&c);
    visit(&c, "203.0.113.7", 0);
    client_say(&c, GET);
    run_until(w.loop, client_got_status(&c, 200) && w.n_done == 2);
    sl_check_str(sl_str_c(w.done_route), SL_STR("hidden"));
    end();
}

static void a_port_without_a_route(void)
{
    struct sl_route_spec spec = raw();

    begin();
    world_add(&w, 0, &spec, &o, NULL);
    publish(0);
    visit(&c, "203.0.113.7", 1);
    expect_reset();
}

static void a_port_that_has_routes_for_datagrams_alone(void)
{
    struct sl_route_spec spec = raw();

    begin();
    spec.transport = SL_TRANSPORT_UDP;
    world_add(&w, 0, &spec, &o, NULL);
    publish(0);
    visit(&c, "203.0.113.7", 0);
    expect_reset();
}

static void tls_is_ended_for_visitors_of_an_edge(void)
{
    struct sl_tls_client *context;
    struct sl_stream *below;
    struct sl_cert *cert = NULL;

    begin();
    sl_assert(sl_cert_self_signed(&cert, SL_STR("a.example"), NULL) == 0);
    world_add(&w, 0,
              &(struct sl_route_spec){.is_tunnelled = true,
                                      .tls = SL_TLS_TERMINATE,
                                      .tls_data = cert,
                                      .release_tls = world_release_cert},
              &o, "a.example");
    publish(0);
    visit(&c, "203.0.113.7", 0);
    sl_stream_read(c.stream, false);
    below = c.stream;
    sl_assert(sl_tls_client_new(&context, &(struct sl_tls_client_opts){.alpn = "\x08http/1.1"},
                                NULL) == 0);
    c.stream = sl_tls_connect(&below, context, SL_STR("a.example"), &client_handler, &c);
    run_until(w.loop, c.n_ready == 1);
    client_say(&c, GET);
    run_until(w.loop, client_got_tail(&c, "ok"));
    sl_check(origin_got(&o, 0, "X-Forwarded-For: 203.0.113.7\r\n"));
    sl_check(origin_got(&o, 0, "X-Forwarded-Proto: https\r\n"));
    end();
    sl_tls_client_free(context);
}

/* --- on_stream --- */

static void a_hook_names_the_target(void)
{
    begin();
    o.answer = NULL;
    w.stream.verdict = (struct sl_verdict){.kind = SL_VERDICT_TARGET,
                                           .target_host = SL_STR("127.0.0.1"),
                                           .target_port = origin_port(&o)};
    publish(SL_HOOK_STREAM | SL_HOOK_DONE); /* and no route at all */
    visit(&c, "203.0.113.7", 0);
    client_say(&c, "hello");
    run_until(w.loop, o.n_conns == 1 && sl_str_ends(origin_text(&o, 0), SL_STR("\r\nhello")));
    sl_check(
        sl_str_starts(origin_text(&o, 0), SL_STR("PROXY TCP4 203.0.113.7 198.51.100.2 4711 ")));
    origin_say(&o, 0, "back");
    origin_fin(&o, 0);
    run_until(w.loop, client_got_tail(&c, "back") && c.n_fin == 1);
    client_fin(&c);
    run_until(w.loop, w.n_done == 1);
    sl_check(w.done_in == 5 && w.done_out == 4 && w.done_route[0] == '\0');
    sl_check(sl_str_starts(sl_str_c(w.done_target), SL_STR("127.0.0.1:")));
    end();
    sl_check(sl_target_states() == 0);
}

static void nobody_is_where_the_hook_says(void)
{
    begin();
    w.stream.verdict = (struct sl_verdict){
        .kind = SL_VERDICT_TARGET, .target_host = SL_STR("127.0.0.1"), .target_port = w.ports[2]};
    sl_proxy_unlisten(w.proxy, w.ports[2]);
    publish(SL_HOOK_STREAM | SL_HOOK_DONE);
    visit(&c, "203.0.113.7", 0);
    run_until(w.loop, w.n_done == 1);
    sl_check(w.done_error[0] != '\0');
    expect_reset();
}

static void a_hook_refuses(enum sl_verdict_kind kind)
{
    struct sl_route_spec spec = raw();

    begin();
    world_add(&w, 0, &spec, &o, NULL);
    w.stream.verdict.kind = kind;
    publish(SL_HOOK_STREAM);
    visit(&c, "203.0.113.7", 0);
    sl_check(w.stream.n_calls == 1);
    expect_reset();
}

static void on_connect_comes_first(void)
{
    begin();
    w.connect.verdict.kind = SL_VERDICT_DENY;
    publish(SL_HOOK_CONNECT | SL_HOOK_STREAM);
    visit(&c, "203.0.113.7", 0);
    sl_check(w.connect.n_calls == 1 && w.stream.n_calls == 0);
    expect_reset();
}

static void on_stream_is_not_for_who_comes_by_himself(void)
{
    begin();
    world_forward(&w, 0, "app", &o);
    w.stream.verdict.kind = SL_VERDICT_DENY;
    publish(SL_HOOK_STREAM);
    client_open(&c, &w, 0);
    client_say(&c, GET);
    run_until(w.loop, client_got_tail(&c, "ok"));
    sl_check(w.stream.n_calls == 0);
    end();
}

/* --- the end --- */

static void on_drained(void *user)
{
    ((struct world *)user)->n_drained++;
}

static void it_drains_like_every_other(void)
{
    struct client late, idle;

    begin();
    o.answer = NULL;
    world_add(&w, 0, &(struct sl_route_spec){.is_tunnelled = true}, &o, NULL);
    publish(0);
    visit(&c, "203.0.113.7", 0);
    visit(&idle, "203.0.113.8", 0);
    client_say(&c, GET);
    run_until(w.loop, o.n_conns == 1 && origin_got(&o, 0, "\r\n\r\n"));
    sl_proxy_drain(w.proxy, 0, on_drained, &w);
    run_until(w.loop, client_is_closed(&idle));
    visit(&late, "203.0.113.9", 0);
    run_until(w.loop, late.code == SL_E_RESET);
    sl_check(w.n_drained == 0);
    origin_say(&o, 0, OK);
    run_until(w.loop, client_got_tail(&c, "ok") && w.n_drained == 1);
    client_close(&late);
    client_close(&idle);
    end();
}

static void a_proxy_with_visitors_is_freed(void)
{
    struct sl_route_spec spec = raw();
    struct client other;

    begin();
    o.answer = NULL;
    world_add(&w, 0, &spec, &o, NULL);
    world_add(&w, 1, &(struct sl_route_spec){.is_tunnelled = true}, &o, NULL);
    publish(SL_HOOK_STREAM);
    visit(&c, "203.0.113.7", 0);
    visit(&other, "203.0.113.7", 1);
    client_say(&other, GET);
    run_until(w.loop, o.n_conns == 2);
    sl_proxy_free(w.proxy);
    w.proxy = NULL;
    run_until(w.loop, c.code == SL_E_RESET && client_is_closed(&other));
    sl_check(w.n_forgotten == 2);
    client_close(&c);
    client_close(&other);
    origin_end(&o);
    world_end(&w);
}

int main(void)
{
    requests_name_the_visitor();
    a_visitor_is_never_trusted();
    a_target_of_requests_is_told_who_it_is();
    a_target_is_told_who_it_is("203.0.113.7",
                               "PROXY TCP4 203.0.113.7 198.51.100.2 4711 %u\r\nhello");
    a_target_is_told_who_it_is("::ffff:203.0.113.7",
                               "PROXY TCP4 203.0.113.7 198.51.100.2 4711 %u\r\nhello");
    hooks_see_the_visitor_and_his_edge();
    lists_and_limits_are_about_the_visitor();
    a_route_for_tunnels_is_for_nobody_else();
    a_port_without_a_route();
    a_port_that_has_routes_for_datagrams_alone();
    tls_is_ended_for_visitors_of_an_edge();
    a_hook_names_the_target();
    nobody_is_where_the_hook_says();
    a_hook_refuses(SL_VERDICT_DENY);
    a_hook_refuses(SL_VERDICT_ERROR);
    on_connect_comes_first();
    on_stream_is_not_for_who_comes_by_himself();
    it_drains_like_every_other();
    a_proxy_with_visitors_is_freed();
    return sl_check_done();
}
