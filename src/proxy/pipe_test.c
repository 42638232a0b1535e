/* Raw routes: bytes that nobody looks into, with and without TLS around them. */
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

static void raw_bytes(void)
{
    begin();
    o.answer = NULL;
    world_add(&w, 0, &(struct sl_route_spec){.protocol = SL_PROTOCOL_TCP}, &o, NULL);
    publish(SL_HOOK_CONNECT | SL_HOOK_DONE);
    client_open(&c, &w, 0);
    client_say(&c, "any\r\nbytes\n");
    run_until(w.loop, o.n_conns == 1 && sl_str_eq(origin_text(&o, 0), SL_STR("any\r\nbytes\n")));
    origin_say(&o, 0, "back");
    run_until(w.loop, client_got(&c, "back"));
    client_fin(&c);
    run_until(w.loop, o.conns[0].n_fin == 1);
    sl_check(w.n_done == 0 && !client_is_closed(&c)); /* half-closed */
    origin_say(&o, 0, " and more");
    origin_fin(&o, 0);
    run_until(w.loop, c.n_fin == 1 && w.n_done == 1);
    sl_check(client_got_tail(&c, "back and more") && c.n_error == 0);
    sl_check(!w.done_is_exchange && w.done_in == 11 && w.done_out == 13);
    sl_check_str(sl_str_c(w.done_route), SL_STR("app"));
    end();
}

static void raw_bytes_with_slow_sides(void)
{
    static char part[100001];
    int sent = 0;

    memset(part, 'p', sizeof(part) - 1);
    begin();
    o.answer = NULL;
    o.starts_paused = true;
    world_add(&w, 0, &(struct sl_route_spec){.protocol = SL_PROTOCOL_TCP}, &o, NULL);
    publish(0);
    client_open(&c, &w, 0);
    for (int n_stuck = 0; sent < 300 && n_stuck < 100; sl_loop_turn(w.loop, false)) {
        n_stuck = c.stream->is_writing ? n_stuck + 1 : 0;
        if (n_stuck == 0) {
            client_say(&c, part);
            sent++;
        }
    }
    sl_check(sent < 300);
    sl_stream_read(o.conns[0].stream, true);
    run_until(w.loop, sl_buf_len(&o.conns[0].got) == (size_t)sent * (sizeof(part) - 1));
    client_say(&c, "end");
    run_until(w.loop, sl_str_ends(origin_text(&o, 0), SL_STR("end")));
    end();
}

static void raw_ends(bool by_client)
{
    begin();
    o.answer = NULL;
    world_add(&w, 0, &(struct sl_route_spec){.protocol = SL_PROTOCOL_TCP}, &o, NULL);
    publish(SL_HOOK_DONE);
    client_open(&c, &w, 0);
    client_say(&c, "x");
    run_until(w.loop, o.n_conns == 1 && sl_buf_len(&o.conns[0].got) == 1);
    if (by_client)
        sl_stream_free(&c.stream, SL_CLOSE_ABORT);
    else
        origin_close(&o, 0, SL_CLOSE_ABORT);
    run_until(w.loop, w.n_done == 1);
    run_until(w.loop, by_client ? o.conns[0].n_error == 1 : c.n_error == 1);
    sl_check(w.done_error[0] != '\0');
    end();
}

static void nothing_moves_for_too_long(void)
{
    begin();
    o.answer = NULL;
    world_add(&w, 0, &(struct sl_route_spec){.protocol = SL_PROTOCOL_TCP}, &o, NULL);
    publish(SL_HOOK_DONE);
    client_open(&c, &w, 0);
    run_until(w.loop, o.n_conns == 1);
    sl_loop_skip(w.loop, w.settings.pipe_timeout - 1000);
    client_say(&c, "x");
    run_until(w.loop, sl_buf_len(&o.conns[0].got) == 1);
    sl_loop_skip(w.loop, w.settings.pipe_timeout - 1000);
    run_quiet(w.loop);
    sl_check(w.n_done == 0);
    sl_loop_skip(w.loop, 2000);
    run_until(w.loop, w.n_done == 1 && client_is_closed(&c));
    end();
}

static void raw_with_a_proxy_header(void)
{
    begin();
    o.answer = NULL;
    world_add(&w, 0, &(struct sl_route_spec){.protocol = SL_PROTOCOL_TCP, .send_proxy = 1}, &o,
              NULL);
    publish(0);
    client_open(&c, &w, 0);
    client_say(&c, "first");
    run_until(w.loop, o.n_conns == 1 && sl_str_ends(origin_text(&o, 0), SL_STR("\r\nfirst")));
    sl_check(sl_str_starts(origin_text(&o, 0), SL_STR("PROXY TCP4 127.0.0.1 127.0.0.1 ")));
    end();
}

static void no_target_for_raw_bytes(void)
{
    begin();
    world_add(&w, 0, &(struct sl_route_spec){.protocol = SL_PROTOCOL_TCP}, &o, NULL);
    publish(SL_HOOK_DONE);
    sl_listener_free(o.listener);
    run_quiet(w.loop);
    client_open(&c, &w, 0);
    run_until(w.loop, client_is_closed(&c) && w.n_done == 1);
    sl_check(w.done_error[0] != '\0');
    o.listener = sl_listener_new(w.loop, listen_on_loopback(&o.at), origin_on_accept, &o);
    end();
}

static void a_raw_route_has_lists_and_limits(void)
{
    const struct sl_str block = SL_STR("127.0.0.1");
    struct client second;

    begin();
    o.answer = NULL;
    world_add(&w, 0,
              &(struct sl_route_spec){.protocol = SL_PROTOCOL_TCP, .block = &block, .n_block = 1},
              &o, NULL);
    world_add(&w, 1,
              &(struct sl_route_spec){
                  .name = SL_STR("few"), .protocol = SL_PROTOCOL_TCP, .max_connections = 1},
              &o, NULL);
    publish(0);
    client_open(&c, &w, 0);
    client_say(&c, "x");
    run_until(w.loop, client_is_closed(&c));
    sl_check(o.n_conns == 0);
    client_close(&c);
    client_open(&c, &w, 1);
    run_until(w.loop, o.n_conns == 1);
    client_open(&second, &w, 1);
    run_until(w.loop, client_is_closed(&second));
    sl_check(!client_is_closed(&c) && o.n_conns == 1);
    client_close(&second);
    end();
}

/* The handshake goes through untouched; the name in it chooses. */
static void tls_passes_through_by_name(void)
{
    struct tls_client t;

    begin();
    o.answer = NULL;
    world_add(&w, 0,
              &(struct sl_route_spec){.name = SL_STR("through"),
                                      .tls = SL_TLS_PASSTHROUGH,
                                      .protocol = SL_PROTOCOL_TCP},
              &o, "through.example");
    world_add_tls(&w, 0, "here", &o, "a.example", SL_PROTOCOL_ANY);
    publish(SL_HOOK_DONE);
    tls_open(&t, &w, 0, "through.example");
    run_until(w.loop, o.n_conns == 1 && sl_buf_len(&o.conns[0].got) > 100);
    sl_check(origin_got(&o, 0, "through.example")); /* the ClientHello itself */
    origin_say(&o, 0, "HTTP/1.1 400 no TLS here\r\n\r\n");
    run_until(w.loop, client_is_closed(&t.c));
    tls_close(&t);
    run_until(w.loop, w.n_done == 1);
    sl_check_str(sl_str_c(w.done_route), SL_STR("through"));
    o.answer = OK;
    tls_open(&t, &w, 0, "a.example");
    run_until(w.loop, t.c.n_ready == 1);
    client_say(&t.c, GET);
    run_until(w.loop, client_got_status(&t.c, 200));
    tls_close(&t);
    client_open(&c, &w, 0);
    end();
}

/* A raw route beside those that end TLS takes the names that none of them knows, and not the
 * visitors whom they refuse. */
static void a_raw_route_takes_the_other_names(void)
{
    const struct sl_str block = SL_STR("127.0.0.1");
    struct sl_cert *cert = NULL;
    struct tls_client t;

    begin();
    o.answer = NULL;
    world_add_tls(&w, 0, "here", &o, "a.example", SL_PROTOCOL_ANY);
    sl_assert(sl_cert_self_signed(&cert, SL_STR("b.example"), NULL) == 0);
    world_add(&w, 0,
              &(struct sl_route_spec){.name = SL_STR("blocked"),
                                      .tls = SL_TLS_TERMINATE,
                                      .tls_data = cert,
                                      .release_tls = world_release_cert,
                                      .block = &block,
                                      .n_block = 1},
              &o, "b.example");
    world_add(&w, 0,
              &(struct sl_route_spec){
                  .name = SL_STR("rest"), .protocol = SL_PROTOCOL_TCP, .priority = -1},
              &o, NULL);
    publish(0);
    tls_open(&t, &w, 0, "b.example");
    run_until(w.loop, client_is_closed(&t.c));
    sl_check(o.n_conns == 0);
    tls_close(&t);
    tls_open(&t, &w, 0, "other.example");
    run_until(w.loop, o.n_conns == 1 && origin_got(&o, 0, "other.example"));
    tls_close(&t);
    tls_open(&t, &w, 0, "a.example");
    run_until(w.loop, t.c.n_ready == 1);
    tls_close(&t);
    client_open(&c, &w, 0);
    client_say(&c, GET); /* whatever else it is */
    run_until(w.loop, o.n_conns == 2 && origin_got(&o, 1, "a.example"));
    end();
}

/* What no route for requests wants is passed on as it came, byte by byte or at once. */
static void begin_beside_requests(void)
{
    begin();
    o.answer = NULL;
    world_add(&w, 0, &(struct sl_route_spec){.name = SL_STR("web")}, &o, "a.example");
    world_add(&w, 0,
              &(struct sl_route_spec){
                  .name = SL_STR("rest"), .protocol = SL_PROTOCOL_TCP, .priority = -1},
              &o, NULL);
    publish(0);
    client_open(&c, &w, 0);
}

static void beside_requests(const char *text, bool is_request, bool at_once)
{
    begin_beside_requests();
    if (at_once)
        client_say(&c, text);
    for (const char *p = text; *p != '\0' && !at_once; p++) {
        client_send(&c, sl_str(p, 1));
        sl_loop_turn(w.loop, false);
    }
    run_until(w.loop, o.n_conns == 1 && sl_str_ends(origin_text(&o, 0),
                                                    sl_str_c(is_request ? "\r\n\r\n" : text)));
    sl_check(origin_got(&o, 0, "X-Forwarded-For") == is_request);
    sl_check(is_request || sl_buf_len(&o.conns[0].got) == strlen(text));
    end();
}

static void a_raw_route_takes_what_is_no_request_of_ours(bool at_once)
{
    beside_requests(GET, true, at_once);
    beside_requests("GET / HTTP/1.1\r\nX: y\r\nhost:A.Example:80\r\n\r\n", true, at_once);
    beside_requests("GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", true, at_once);
    beside_requests("GET / HTTP/1.1\r\nHost: b.example\r\nX-Host: a.example\r\n\r\n", false,
                    at_once);
    beside_requests("GET / HTTP/1.0\r\n\r\n", false, at_once);
    beside_requests("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false, at_once);
    beside_requests("EHLO there\r\n", false, at_once);
    beside_requests("\x16\x03\x01", false, at_once);
    beside_requests("\x01 is no method", false, at_once);
    beside_requests("nor-is-this-because-it-is-much-too-long", false, at_once);
}

static void a_head_that_is_too_long_is_a_request(void)
{
    static char head[9000];

    memset(head, 'x', sizeof(head) - 1);
    memcpy(head, "GET / HTTP/1.1\r\nX: ", 19);
    begin_beside_requests();
    client_say(&c, head);
    run_quiet(w.loop);
    client_say(&c, "\r\nHost: a.example\r\n\r\n");
    run_until(w.loop, o.n_conns == 1 && origin_got(&o, 0, "X-Forwarded-For"));
    end();
}

static void who_says_nothing_is_no_request(void)
{
    begin_beside_requests();
    client_say(&c, "GET ");
    run_quiet(w.loop);
    sl_loop_skip(w.loop, w.settings.handshake_timeout + 1000);
    run_until(w.loop, client_is_closed(&c));
    sl_check(o.n_conns == 0);
    end();
}

static void tls_ended_here_with_raw_bytes_inside(void)
{
    struct tls_client t;

    begin();
    o.answer = NULL;
    world_add_tls(&w, 0, "app", &o, "a.example", SL_PROTOCOL_TCP);
    publish(SL_HOOK_DONE);
    tls_open(&t, &w, 0, "a.example");
    run_until(w.loop, t.c.n_ready == 1);
    client_say(&t.c, "raw");
    run_until(w.loop, o.n_conns == 1 && sl_str_eq(origin_text(&o, 0), SL_STR("raw")));
    origin_say(&o, 0, "back");
    origin_fin(&o, 0);
    run_until(w.loop, client_got(&t.c, "back") && t.c.n_fin == 1);
    client_fin(&t.c);
    run_until(w.loop, w.n_done == 1 && o.conns[0].n_fin == 1);
    tls_close(&t);
    client_open(&c, &w, 0);
    end();
}

int main(void)
{
    raw_bytes();
    raw_bytes_with_slow_sides();
    raw_ends(true);
    raw_ends(false);
    nothing_moves_for_too_long();
    raw_with_a_proxy_header();
    no_target_for_raw_bytes();
    a_raw_route_has_lists_and_limits();
    tls_passes_through_by_name();
    a_raw_route_takes_the_other_names();
    a_raw_route_takes_what_is_no_request_of_ours(true);
    a_raw_route_takes_what_is_no_request_of_ours(false);
    a_head_that_is_too_long_is_a_request();
    who_says_nothing_is_no_request();
    tls_ended_here_with_raw_bytes_inside();
    return sl_check_done();
}
