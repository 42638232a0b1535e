/* From accept to the protocol: PROXY headers, TLS or plain, names, limits, draining. */
#include "proxy/test_world.h"

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

static void end(void)
{
    client_close(&c);
    run_until(w.loop, world_active(&w) == 0);
    origin_end(&o);
    world_end(&w);
}

static void publish(unsigned hooks)
{
    world_publish(&w);
    world_hooks_on(&w, hooks);
}

static void expect_cut(void)
{
    run_until(w.loop, client_is_closed(&c));
    sl_check(sl_buf_len(&c.got) == 0 && o.n_conns == 0);
    end();
}

/* --- PROXY headers from in front of us (attacks P-01 to P-05) --- */

static void begin_behind_a_proxy(const char *trusted)
{
    const struct sl_str text = sl_str_c(trusted);

    begin();
    world_add(&w, 0, &(struct sl_route_spec){.priority = 0}, &o, NULL);
    publish(SL_HOOK_CONNECT | SL_HOOK_DONE);
    sl_assert(sl_ip_set_init(&w.settings.trusted, &text, 1, "trusted", NULL) == 0);
    w.settings.accept_proxy = true;
    client_open(&c, &w, 0);
}

static void end_behind_a_proxy(void)
{
    struct sl_ip_set trusted = w.settings.trusted;

    end();
    sl_ip_set_clear(&trusted);
}

static void the_visitor_is_the_one_who_was_named(struct sl_str header, const char *ip)
{
    char want[128];

    begin_behind_a_proxy("127.0.0.1");
    client_send(&c, header);
    run_until(w.loop, w.connect.n_calls == 1);
    client_say(&c, "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n");
    run_until(w.loop, client_got_tail(&c, "ok"));
    snprintf(want, sizeof(want), "\r\nX-Forwarded-For: %s\r\n", ip);
    sl_check(origin_got(&o, 0, want)); /* the visitor's own claims are dropped still */
    end_behind_a_proxy();
    begin_behind_a_proxy("127.0.0.1"); /* byte by byte, and the request right behind it */
    for (size_t i = 0; i + 1 < header.len; i++) {
        client_send(&c, sl_str(header.p + i, 1));
        sl_loop_turn(w.loop, false);
    }
    client_send(&c, sl_str(header.p + header.len - 1, 1));
    client_say(&c, GET);
    run_until(w.loop, client_got_tail(&c, "ok"));
    sl_check(origin_got(&o, 0, want));
    end_behind_a_proxy();
}

static void a_bad_header(struct sl_str bytes)
{
    begin_behind_a_proxy("127.0.0.1");
    client_send(&c, bytes);
    run_until(w.loop, client_is_closed(&c));
    sl_check(sl_buf_len(&c.got) == 0 && o.n_conns == 0 && w.connect.n_calls == 0);
    end_behind_a_proxy();
}

static void bad_headers(void)
{
    a_bad_header(SL_STR(GET));
    a_bad_header(SL_STR("PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n" GET));
    a_bad_header(SL_STR("PROXY TCP4 1.2.3.999 5.6.7.8 1 2\r\n" GET));
    a_bad_header(SL_STR("\r\n\r\n\0\r\nQUIT\r\x21\x11\0\x0c" GET));           /* signature */
    a_bad_header(SL_STR("\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c............"));   /* version 3 */
    a_bad_header(SL_STR("\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff............")); /* 64 KB of TLV */
    a_bad_header(SL_STR("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04...."));           /* too short */
}

static void no_header_comes(void)
{
    begin_behind_a_proxy("127.0.0.1");
    run_until(w.loop, world_active(&w) == 1);
    sl_loop_skip(w.loop, 2500);
    run_quiet(w.loop);
    sl_check(!client_is_closed(&c));
    sl_loop_skip(w.loop, 1000); /* P-02: 3 s */
    run_until(w.loop, client_is_closed(&c));
    sl_check(w.connect.n_calls == 0);
    end_behind_a_proxy();
}

static void a_header_from_a_stranger(void)
{
    begin_behind_a_proxy("10.0.0.1");
    client_say(&c, "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" GET);
    run_until(w.loop, client_is_closed(&c));
    sl_check(client_got_status(&c, 400) && o.n_conns == 0);
    end_behind_a_proxy();
}

/* --- TLS --- */

static void tls_is_ended_here(void)
{
    struct tls_client t;

    begin();
    world_add_tls(&w, 0, "app", &o, "a.example", SL_PROTOCOL_ANY);
    publish(SL_HOOK_DONE);
    tls_open(&t, &w, 0, "A.example.");
    run_until(w.loop, t.c.n_ready == 1);
    client_say(&t.c, GET);
    run_until(w.loop, client_got_tail(&t.c, "ok"));
    sl_check(origin_got(&o, 0, "X-Forwarded-Proto: https\r\n"));
    tls_close(&t);
    client_open(&c, &w, 0);
    end();
}

static void a_name_nobody_serves(void)
{
    struct tls_client t;

    begin();
    world_add_tls(&w, 0, "app", &o, "a.example", SL_PROTOCOL_ANY);
    publish(0);
    tls_open(&t, &w, 0, "b.example");
    run_until(w.loop, client_is_closed(&t.c));
    sl_check(t.c.n_ready == 0);
    tls_close(&t);
    client_open(&c, &w, 0);
    end();
}

/* T-01: the connection was made for one name, the request is for another with its own policy. */
static void a_request_for_another_name(void)
{
    struct tls_client t;

    begin();
    world_add_tls(&w, 0, "a", &o, "a.example", SL_PROTOCOL_ANY);
    world_add_tls(&w, 0, "b", &o, "b.example", SL_PROTOCOL_ANY);
    publish(SL_HOOK_DONE);
    tls_open(&t, &w, 0, "a.example");
    run_until(w.loop, t.c.n_ready == 1);
    client_say(&t.c, "GET / HTTP/1.1\r\nHost: b.example\r\n\r\n");
    run_until(w.loop, client_got_status(&t.c, 421));
    sl_check(o.n_conns == 0);
    client_say(&t.c, GET);
    run_until(w.loop, client_got_status(&t.c, 200));
    tls_close(&t);
    client_open(&c, &w, 0);
    end();
}

static void plain_http_on_a_tls_port(void)
{
    static const char body[] = "This port speaks HTTPS: use https:// there.\n";
    char want[128];

    begin();
    world_add_tls(&w, 0, "app", &o, "a.example", SL_PROTOCOL_ANY);
    publish(0);
    client_open(&c, &w, 0);
    client_say(&c, GET);
    run_until(w.loop, client_is_closed(&c));
    snprintf(want, sizeof(want), "Content-Length: %zu\r\n\r\n%s", sizeof(body) - 1, body);
    sl_check(client_got_status(&c, 400) && client_got_tail(&c, want));
    sl_check(c.n_fin == 1 && o.n_conns == 0);
    end();
}

static void plain_and_tls_on_one_port(void)
{
    struct tls_client t;

    begin();
    world_add_tls(&w, 0, "secure", &o, "a.example", SL_PROTOCOL_ANY);
    world_add(&w, 0, &(struct sl_route_spec){.name = SL_STR("plain")}, &o, "p.example");
    publish(SL_HOOK_DONE);
    tls_open(&t, &w, 0, "a.example");
    run_until(w.loop, t.c.n_ready == 1);
    client_say(&t.c, GET);
    run_until(w.loop, client_got_status(&t.c, 200));
    sl_check_str(sl_str_c(w.done_route), SL_STR("secure"));
    client_open(&c, &w, 0);
    client_say(&c, "GET / HTTP/1.1\r\nHost: p.example\r\n\r\n");
    run_until(w.loop, client_got_status(&c, 200));
    sl_check_str(sl_str_c(w.done_route), SL_STR("plain"));
    client_forget(&c);
    client_say(&c, GET); /* the other one does not exist without TLS */
    run_until(w.loop, client_got_status(&c, 404));
    tls_close(&t);
    end();
}

static void a_handshake_that_never_ends(void)
{
    begin();
    world_add_tls(&w, 0, "app", &o, "a.example", SL_PROTOCOL_ANY);
    publish(0);
    client_open(&c, &w, 0);
    client_send(&c, SL_STR("\x16\x03\x01"));
    run_until(w.loop, world_active(&w) == 1);
    sl_loop_skip(w.loop, w.settings.handshake_timeout + 200);
    expect_cut();
}

static void a_hook_gives_the_certificate(bool waits)
{
    struct tls_client t;
    struct sl_verdict v = {.kind = SL_VERDICT_CERT};

    begin();
    world_add_tls(&w, 0, "app", &o, "a.example", SL_PROTOCOL_ANY);
    publish(SL_HOOK_HELLO);
    sl_assert(sl_cert_self_signed(&v.cert, SL_STR("b.example"), NULL) == 0);
    w.hello.verdict = v;
    w.hello.rc = waits ? SL_E_AGAIN : 0;
    tls_open(&t, &w, 0, "b.example");
    run_until(w.loop, w.hello.n_calls == 1);
    if (waits) {
        run_quiet(w.loop);
        sl_check(t.c.n_ready == 0);
        sl_hook_resume(w.hello.slot, &v);
    }
    run_until(w.loop, t.c.n_ready == 1);
    tls_close(&t);
    client_open(&c, &w, 0);
    end();
}

static void a_hook_is_for_want_of_certificates(bool lacks_one)
{
    const struct sl_route_spec bare = {.name = SL_STR("bare"), .tls = SL_TLS_TERMINATE};
    struct tls_client t;

    begin();
    world_add_tls(&w, 0, "app", &o, "a.example", SL_PROTOCOL_ANY);
    if (lacks_one)
        world_add(&w, 0, &bare, &o, "b.example");
    w.settings.no_hello_hook = true;
    publish(SL_HOOK_HELLO);
    tls_open(&t, &w, 0, "a.example");
    run_until(w.loop, t.c.n_ready == 1);
    sl_check(w.hello.n_calls == (lacks_one ? 1 : 0));
    tls_close(&t);
    client_open(&c, &w, 0);
    end();
}

static void a_hook_refuses_the_name(bool waits)
{
    struct tls_client t;
    const struct sl_verdict v = {.kind = SL_VERDICT_DENY};

    begin();
    world_add_tls(&w, 0, "app", &o, "a.example", SL_PROTOCOL_ANY);
    publish(SL_HOOK_HELLO);
    w.hello.verdict = v;
    w.hello.rc = waits ? SL_E_AGAIN : 0;
    tls_open(&t, &w, 0, "a.example");
    run_until(w.loop, w.hello.n_calls == 1);
    if (waits)
        sl_hook_resume(w.hello.slot, &v);
    run_until(w.loop, client_is_closed(&t.c));
    sl_check(t.c.n_ready == 0);
    tls_close(&t);
    client_open(&c, &w, 0);
    end();
}

static void the_client_goes_while_a_hook_waits(void)
{
    struct tls_client t;

    begin();
    world_add_tls(&w, 0, "app", &o, "a.example", SL_PROTOCOL_ANY);
    publish(SL_HOOK_HELLO);
    w.hello.rc = SL_E_AGAIN;
    tls_open(&t, &w, 0, "a.example");
    run_until(w.loop, w.hello.n_calls == 1);
    tls_close(&t);
    run_until(w.loop, w.hello.slot == NULL);
    sl_check(w.n_forgotten == 1);
    client_open(&c, &w, 0);
    end();
}

static void a_hook_waits_for_too_long(void)
{
    struct tls_client t;

    begin();
    world_add_tls(&w, 0, "app", &o, "a.example", SL_PROTOCOL_ANY);
    publish(SL_HOOK_HELLO);
    w.hello.rc = SL_E_AGAIN;
    tls_open(&t, &w, 0, "a.example");
    run_until(w.loop, w.hello.n_calls == 1);
    sl_loop_skip(w.loop, w.settings.hook_timeout + 200);
    run_until(w.loop, client_is_closed(&t.c));
    sl_check(w.n_forgotten == 1);
    tls_close(&t);
    client_open(&c, &w, 0);
    end();
}

/* --- limits --- */

static void begin_plain(void)
{
    begin();
    world_add(&w, 0, &(struct sl_route_spec){.priority = 0}, &o, NULL);
}

static void an_address_holds_so_many_connections(void)
{
    struct client more[2];

    begin_plain();
    w.policy.max_connections_per_ip = 2;
    publish(0);
    client_open(&c, &w, 0);
    client_open(&more[0], &w, 0);
    run_until(w.loop, world_active(&w) == 2);
    client_open(&more[1], &w, 0);
    run_until(w.loop, client_is_closed(&more[1]));
    client_close(&more[1]);
    client_close(&more[0]);
    run_until(w.loop, world_active(&w) == 1);
    client_open(&more[0], &w, 0); /* its place is free again */
    client_say(&more[0], GET);
    run_until(w.loop, client_got_status(&more[0], 200));
    client_close(&more[0]);
    end();
}

static void a_blocked_address(void)
{
    const struct sl_str block = SL_STR("127.0.0.1");

    begin_plain();
    w.policy.block = &block;
    w.policy.n_block = 1;
    publish(SL_HOOK_CONNECT);
    client_open(&c, &w, 0);
    run_until(w.loop, client_is_closed(&c));
    sl_check(w.connect.n_calls == 0);
    end();
}

static void the_policy_closes_what_is_blocked_now(void)
{
    const struct sl_str block = SL_STR("127.0.0.1");
    struct client raw;

    begin_plain();
    o.answer = NULL;
    world_add(&w, 1, &(struct sl_route_spec){.name = SL_STR("raw"), .protocol = SL_PROTOCOL_TCP},
              &o, NULL);
    publish(SL_HOOK_DONE);
    client_open(&c, &w, 0);
    client_say(&c, GET);
    client_open(&raw, &w, 1);
    run_until(w.loop, o.n_conns == 2);
    w.policy.block = &block;
    w.policy.n_block = 1;
    world_publish(&w);
    sl_proxy_apply_policy(w.proxy);
    sl_check(world_active(&w) == 0);
    run_until(w.loop, client_is_closed(&c) && client_is_closed(&raw) && w.n_done == 2);
    client_close(&raw);
    end();
}

/* LM-08: at the cap the one that has been idle makes room; without an idle one the new one goes. */
static void a_worker_holds_so_many_connections(bool of_all)
{
    struct client busy, late;

    begin_plain();
    o.answer = NULL;
    publish(0);
    *(of_all ? &w.settings.max_connections_all : &w.settings.max_connections) = 2;
    client_open(&c, &w, 0);
    client_open(&busy, &w, 0);
    client_say(&busy, GET);
    run_until(w.loop, o.n_conns == 1 && origin_got(&o, 0, "\r\n\r\n"));
    client_open(&late, &w, 0);
    client_say(&late, GET);
    run_until(w.loop, client_is_closed(&c) && o.n_conns == 2);
    sl_check(!client_is_closed(&busy) && !client_is_closed(&late));
    client_close(&c);
    client_open(&c, &w, 0);
    run_until(w.loop, client_is_closed(&c));
    sl_check(!client_is_closed(&busy) && !client_is_closed(&late));
    client_close(&busy);
    client_close(&late);
    end();
}

static void a_port_without_routes(void)
{
    begin_plain();
    publish(0);
    client_open(&c, &w, 2);
    run_until(w.loop, client_is_closed(&c));
    end();
}

static void a_port_that_is_not_listened_to_any_more(void)
{
    struct client second;
    struct sl_addr at;

    begin_plain();
    publish(0);
    client_open(&c, &w, 0);
    sl_proxy_unlisten(w.proxy, w.ports[0]);
    run_quiet(w.loop);
    client_say(&c, GET); /* what exists goes on */
    run_until(w.loop, client_got_status(&c, 200));
    second = (struct client){.loop = w.loop};
    sl_assert(sl_addr_parse(&at, SL_STR("127.0.0.1"), w.ports[0]) == 0);
    sl_assert(sl_tcp_connect(&second.stream, w.loop, &at, NULL, 0, &client_handler, &second) == 0);
    run_until(w.loop, second.n_error == 1);
    sl_check(second.code == SL_E_REFUSED);
    client_close(&second);
    end();
}

/* --- draining --- */

static void on_drained(void *user)
{
    ((struct world *)user)->n_drained++;
}

static void a_proxy_drains(void)
{
    struct client busy, raw;

    begin_plain();
    o.answer = NULL;
    world_add(&w, 1, &(struct sl_route_spec){.name = SL_STR("raw"), .protocol = SL_PROTOCOL_TCP},
              &o, NULL);
    publish(0);
    client_open(&c, &w, 0); /* idle */
    client_open(&busy, &w, 0);
    client_say(&busy, GET);
    run_until(w.loop, o.n_conns == 1 && origin_got(&o, 0, "\r\n\r\n"));
    client_open(&raw, &w, 1);
    run_until(w.loop, o.n_conns == 2);
    sl_proxy_drain(w.proxy, 0, on_drained, &w);
    run_until(w.loop, c.n_fin == 1);
    sl_check(w.n_drained == 0 && !client_is_closed(&busy) && !client_is_closed(&raw));
    origin_say(&o, 0, OK);
    run_until(w.loop, busy.n_fin == 1);
    sl_check(client_got_status(&busy, 200) && client_got(&busy, "Connection: close\r\n"));
    sl_check(w.n_drained == 0 && !client_is_closed(&raw));
    client_fin(&raw);
    origin_fin(&o, 1);
    run_until(w.loop, w.n_drained == 1);
    sl_check(world_active(&w) == 0);
    client_close(&busy);
    client_close(&raw);
    end();
}

/* One that has just come, one between two requests, and one that says nothing more. */
static void a_grace_is_for_who_is_idle(void)
{
    struct client kept, silent;

    begin_plain();
    publish(0);
    client_open(&c, &w, 0);
    client_open(&kept, &w, 0);
    client_open(&silent, &w, 0);
    client_say(&kept, GET);
    run_until(w.loop, client_got_status(&kept, 200) && world_active(&w) == 3);
    client_forget(&kept);
    sl_proxy_drain(w.proxy, 3000, on_drained, &w);
    sl_loop_skip(w.loop, 2500);
    run_quiet(w.loop);
    sl_check(!client_is_closed(&c) && !client_is_closed(&kept) && w.n_drained == 0);
    client_say(&c, GET);
    client_say(&kept, GET);
    run_until(w.loop, c.n_fin == 1 && kept.n_fin == 1);
    sl_check(client_got_status(&c, 200) && client_got(&c, "Connection: close\r\n"));
    sl_check(client_got_status(&kept, 200) && client_got(&kept, "Connection: close\r\n"));
    sl_check(w.n_drained == 0);
    sl_loop_skip(w.loop, 1000);
    run_until(w.loop, w.n_drained == 1 && silent.n_fin == 1);
    client_close(&kept);
    client_close(&silent);
    end();
}

static void an_idle_proxy_drains_at_once(void)
{
    begin_plain();
    publish(0);
    sl_proxy_drain(w.proxy, 0, on_drained, &w);
    sl_check(w.n_drained == 1);
    origin_end(&o);
    world_end(&w);
}

/* Freeing closes everything inside the call, whatever it is doing. */
static void a_busy_proxy_is_freed(void)
{
    struct client raw, half;
    struct tls_client t;

    begin_plain();
    o.answer = NULL;
    world_add(&w, 1, &(struct sl_route_spec){.name = SL_STR("raw"), .protocol = SL_PROTOCOL_TCP},
              &o, NULL);
    world_add_tls(&w, 2, "tls", &o, "a.example", SL_PROTOCOL_ANY);
    publish(SL_HOOK_CONNECT | SL_HOOK_REQUEST | SL_HOOK_HELLO | SL_HOOK_DONE);
    client_open(&c, &w, 0);
    client_say(&c, GET);
    client_open(&half, &w, 0);
    client_say(&half, "GET / HT");
    client_open(&raw, &w, 1);
    run_until(w.loop, o.n_conns == 2);
    w.hello.rc = SL_E_AGAIN;
    tls_open(&t, &w, 2, "a.example");
    run_until(w.loop, w.hello.n_calls == 1);
    sl_proxy_free(w.proxy);
    sl_check(w.n_done == 2 && w.request.slot == NULL && w.hello.slot == NULL);
    sl_check(w.connect.slot == NULL && w.n_released == 1);
    run_until(w.loop, client_is_closed(&c) && client_is_closed(&half) && client_is_closed(&raw));
    run_until(w.loop, client_is_closed(&t.c));
    client_close(&c);
    client_close(&half);
    client_close(&raw);
    tls_close(&t);
    origin_end(&o);
    sl_pool_free(w.pool);
    sl_dns_free(w.dns);
    run_quiet(w.loop);
    sl_tls_server_free(w.tls);
    sl_loop_free(w.loop);
}

int main(void)
{
    the_visitor_is_the_one_who_was_named(SL_STR("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"), "1.2.3.4");
    the_visitor_is_the_one_who_was_named(
        SL_STR("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08\0\x01\0\x02"),
        "1.2.3.4");
    the_visitor_is_the_one_who_was_named(SL_STR("\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"), "127.0.0.1");
    bad_headers();
    no_header_comes();
    a_header_from_a_stranger();
    tls_is_ended_here();
    a_name_nobody_serves();
    a_request_for_another_name();
    plain_http_on_a_tls_port();
    plain_and_tls_on_one_port();
    a_handshake_that_never_ends();
    a_hook_gives_the_certificate(false);
    a_hook_gives_the_certificate(true);
    a_hook_is_for_want_of_certificates(false);
    a_hook_is_for_want_of_certificates(true);
    a_hook_refuses_the_name(false);
    a_hook_refuses_the_name(true);
    the_client_goes_while_a_hook_waits();
    a_hook_waits_for_too_long();
    an_address_holds_so_many_connections();
    a_blocked_address();
    the_policy_closes_what_is_blocked_now();
    a_worker_holds_so_many_connections(false);
    a_worker_holds_so_many_connections(true);
    a_port_without_routes();
    a_port_that_is_not_listened_to_any_more();
    a_proxy_drains();
    a_grace_is_for_who_is_idle();
    an_idle_proxy_drains_at_once();
    a_busy_proxy_is_freed();
    return sl_check_done();
}
