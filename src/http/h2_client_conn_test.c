/* Which connection a call over HTTP/2 gets: sharing, waiting for one that is being made, what the
 * target chose, GOAWAY, limits, and connections that look dead. */
#include "http/test_call.h"
#include "http/test_h2_target.h"

enum { MANY = 250 };

static struct sl_loop *loop;
static struct sl_dns *dns;
static struct sl_pool *pool;
static struct target t;
static struct caller many[MANY];

static void prepare(struct caller *c)
{
    caller_begin(c, loop, pool, NULL);
    c->target.port = sl_addr_port(&t.at);
    c->target.protocol = SL_CALL_HTTP2;
}

static void begin(int n)
{
    sl_assert(sl_pool_new(&pool, loop, dns, NULL, NULL) == 0);
    target_begin(&t, loop);
    for (int i = 0; i < n; i++)
        prepare(&many[i]);
}

static void begin_tls(int n, const char *alpn)
{
    begin(n);
    target_use_tls(&t, alpn);
    for (int i = 0; i < n; i++) {
        many[i].target.tls = true;
        many[i].target.protocol = SL_CALL_AUTO;
    }
}

static void end(int n)
{
    for (int i = 0; i < n; i++)
        caller_end(&many[i]);
    target_end(&t);
    sl_pool_free(pool);
    run_quiet(loop);
}

static void start(int from, int to)
{
    for (int i = from; i < to; i++)
        caller_start(&many[i]);
}

static int n_over(int n)
{
    int over = 0;

    for (int i = 0; i < n; i++)
        over += caller_is_over(&many[i]);
    return over;
}

static int n_well(int n)
{
    int well = 0;

    for (int i = 0; i < n; i++)
        well += many[i].n_fin == 1 && sl_str_eq(sl_buf_str(&many[i].body), SL_STR("ok"));
    return well;
}

static void finish(int n)
{
    run_until(loop, n_over(n) == n);
    sl_check(n_well(n) == n);
}

/* One call that ends well, and leaves its connection in the pool. */
static void warm_up(void)
{
    struct caller c;

    prepare(&c);
    c.target = many[0].target;
    caller_start(&c);
    run_until(loop, caller_is_over(&c));
    sl_check(c.n_fin == 1);
    caller_end(&c);
}

/* --- sharing --- */

static void calls_wait_for_one_connection(void)
{
    begin(50);
    start(0, 50);
    finish(50);
    sl_check(t.n_conns == 1 && t.conns[0].n_streams == 50);
    for (int i = 0; i < 50; i++)
        sl_check(!many[i].was_reused);
    end(50);
}

static void calls_share_a_connection(void)
{
    begin(50);
    warm_up();
    sl_check(sl_pool_idle(pool) == 1);
    start(0, 50);
    sl_check(sl_pool_idle(pool) == 0);
    finish(50);
    sl_check(t.n_conns == 1 && many[0].was_reused);
    for (int i = 0; i < 50; i++)
        sl_call_free(&many[i].call);
    run_quiet(loop);
    sl_check(sl_pool_idle(pool) == 1);
    end(50);
}

/* More than a connection may carry: further ones are made, and each is waited for by many. */
static void more_calls_than_one_connection_carries(void)
{
    static const nghttp2_settings_entry few[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 100}};

    begin(MANY);
    t.settings = few;
    t.n_settings = 1;
    t.waits = true;
    start(0, MANY);
    run_until(loop, t.n_streams == MANY);
    sl_check(t.n_conns == 3);
    sl_check(t.conns[0].n_streams <= 100 && t.conns[1].n_streams <= 100);
    for (int i = 0; i < MANY; i++)
        target_answer(&t.streams[i], ":status=200", "ok", NULL);
    finish(MANY);
    end(MANY);
}

/* The target allows fewer than have waited: the others get connections of their own, none of which
 * is asked for more than it carries. */
static void fewer_than_one_thinks(void)
{
    static const nghttp2_settings_entry two[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 2}};

    begin(20);
    t.settings = two;
    t.n_settings = 1;
    t.waits = true;
    start(0, 20);
    run_until(loop, t.n_streams == 20);
    sl_check(t.n_conns == 10);
    for (int i = 0; i < 20; i++)
        target_answer(&t.streams[i], ":status=200", "ok", NULL);
    finish(20);
    end(20);
}

static void the_one_that_began_goes_first(void)
{
    char *name = sl_strdup("127.0.0.1");

    begin(3);
    many[0].target.host = sl_str_c(name);
    start(0, 3);
    sl_call_free(&many[0].call);
    memset(name, 'x', strlen(name)); /* the strings of a target live as long as its call */
    run_until(loop, n_over(3) == 2);
    sl_check(t.n_conns == 1 && many[1].n_fin == 1 && many[2].n_fin == 1);
    end(3);
    sl_free(name);
}

static void nobody_waits_any_more(void)
{
    begin(2);
    start(0, 2);
    sl_call_free(&many[0].call);
    sl_call_free(&many[1].call);
    run_quiet(loop);
    warm_up();
    end(2);
}

static void a_waiting_call_runs_out_of_time(void)
{
    begin(2);
    t.listener = (sl_listener_free(t.listener), NULL);
    many[0].target.host = many[1].target.host = SL_STR("192.0.2.1"); /* answers nobody */
    many[1].opts.connect_timeout = 1000;
    start(0, 2);
    run_quiet(loop);
    sl_loop_skip(loop, 1500);
    run_until(loop, many[1].n_error == 1 || many[0].n_error == 1);
    sl_check(many[0].n_error == 1 || many[1].code == SL_E_TIMEOUT);
    sl_check(many[1].stage_at_error == SL_CALL_CONNECTING);
    end(2);
}

static void a_failure_reaches_all_that_wait(void)
{
    begin(10);
    sl_listener_free(t.listener);
    run_quiet(loop);
    start(0, 10);
    run_until(loop, n_over(10) == 10);
    for (int i = 0; i < 10; i++)
        sl_check(many[i].code == SL_E_REFUSED && many[i].stage_at_error == SL_CALL_CONNECTING);
    t.listener = NULL;
    end(10);
}

static void one_frees_the_next(void)
{
    begin(3);
    many[0].frees_on = CALLER_CONNECTED;
    many[0].sends_at_once = false;
    start(0, 3);
    run_until(loop, n_over(3) == 2);
    sl_check(n_well(3) == 2 && many[0].call == NULL);
    end(3);
}

static void calls_that_share_nothing(void)
{
    begin(3);
    for (int i = 0; i < 3; i++)
        many[i].target.id = 0;
    start(0, 3);
    finish(3);
    sl_check(t.n_conns == 3);
    for (int i = 0; i < 3; i++)
        sl_call_free(&many[i].call);
    run_until(loop, t.conns[0].is_over && t.conns[1].is_over && t.conns[2].is_over);
    sl_check(sl_pool_idle(pool) == 0);
    end(3);
}

static void a_fresh_connection(void)
{
    begin(2);
    warm_up();
    many[0].opts.fresh = true;
    start(0, 2);
    finish(2);
    sl_check(t.n_conns == 2 && !many[0].was_reused && many[1].was_reused);
    end(2);
}

/* --- what the target chooses --- */

static void the_target_chooses_http2(void)
{
    begin_tls(20, "\x02h2\x08http/1.1");
    start(0, 10);
    finish(10);
    start(10, 20);
    finish(20);
    sl_check(t.n_conns == 1);
    end(20);
}

/* Those that waited go their own ways, and later ones do not wait. */
static void the_target_chooses_http1(const char *alpn)
{
    begin_tls(6, alpn);
    start(0, 3);
    run_until(loop, t.n_conns == 1);
    finish(3);
    sl_check(t.n_conns == 3);
    for (int i = 0; i < 3; i++)
        sl_call_free(&many[i].call);
    run_quiet(loop);
    sl_check(sl_pool_idle(pool) == 3);
    start(3, 6);
    finish(6);
    sl_check(t.n_conns == 3 && many[5].was_reused);
    end(6);
}

static void the_target_changes_its_mind(void)
{
    begin_tls(4, "\x08http/1.1");
    many[0].opts.fresh = many[2].opts.fresh = true;
    start(0, 1);
    finish(1);
    sl_tls_server_free(t.tls);
    sl_cert_unref(t.cert);
    target_use_tls(&t, "\x02h2");
    start(2, 3);
    run_until(loop, many[2].n_fin == 1);
    sl_check(t.n_conns == 2 && t.conns[1].n_streams == 1);
    start(3, 4);
    run_until(loop, many[3].n_fin == 1);
    sl_check(t.n_conns == 2 && t.conns[1].n_streams == 2);
    end(4);
}

static void http2_or_nothing(const char *alpn)
{
    begin_tls(2, alpn);
    many[0].target.protocol = many[1].target.protocol = SL_CALL_HTTP2;
    start(0, 2);
    run_until(loop, n_over(2) == 2);
    for (int i = 0; i < 2; i++)
        sl_check(many[i].n_error == 1 && many[i].stage_at_error == SL_CALL_CONNECTING &&
                 many[i].call->detail != NULL);
    end(2);
}

static void a_websocket_needs_http1(void)
{
    begin_tls(2, "\x02h2\x08http/1.1");
    many[1].opts.is_upgrade = true;
    many[1].req.upgrade = SL_STR("websocket");
    start(0, 2);
    run_until(loop, n_over(2) == 2);
    sl_check(n_well(2) == 2 && t.n_conns == 2 && t.conns[1].is_http1);
    end(2);
}

/* --- GOAWAY --- */

static void goaway_ends_what_was_not_looked_at(void)
{
    begin(3);
    t.waits = true;
    start(0, 2);
    run_until(loop, t.n_streams == 2);
    (void)nghttp2_submit_goaway(t.conns[0].session, 0, t.streams[0].id, NGHTTP2_NO_ERROR, NULL, 0);
    target_flush(&t.conns[0]);
    run_until(loop, many[1].n_error == 1);
    sl_check(many[1].call->is_unprocessed && many[0].n_error == 0);
    start(2, 3); /* on a connection of its own */
    run_until(loop, t.n_conns == 2 && t.n_streams == 3);
    target_answer(&t.streams[0], ":status=200", "ok", NULL);
    target_answer(&t.streams[2], ":status=200", "ok", NULL);
    run_until(loop, many[0].n_fin == 1 && many[2].n_fin == 1);
    sl_call_free(&many[0].call);
    run_until(loop, t.conns[0].is_over);
    end(3);
}

/* The caller is connected, and has sent nothing when the GOAWAY comes. */
static void goaway_before_the_request(void)
{
    begin(1);
    warm_up();
    many[0].sends_at_once = false;
    start(0, 1);
    sl_check(many[0].n_connected == 1);
    (void)nghttp2_submit_goaway(t.conns[0].session, 0, t.streams[0].id, NGHTTP2_NO_ERROR, NULL, 0);
    target_flush(&t.conns[0]);
    run_quiet(loop);
    sl_call_send(many[0].call, &many[0].req);
    (void)sl_call_write(many[0].call, NULL, 0, true);
    run_until(loop, many[0].n_error == 1);
    sl_check(many[0].call->is_unprocessed && many[0].was_reused);
    end(1);
}

static void closed_before_the_request(void)
{
    begin(1);
    warm_up();
    many[0].sends_at_once = false;
    start(0, 1);
    target_close(&t, 0, SL_CLOSE_ABORT);
    run_until(loop, many[0].n_error == 1);
    sl_check(many[0].call->is_unprocessed);
    end(1);
}

/* --- is it alive? --- */

static void rests_are_limited(void)
{
    begin(1);
    warm_up();
    sl_check(sl_pool_idle(pool) == 1);
    sl_loop_skip(loop, 61000);
    run_until(loop, sl_pool_idle(pool) == 0 && t.conns[0].is_over);
    sl_check(t.conns[0].n_goaway == 1);
    end(1);
}

/* One call has timed out on a connection from which nothing comes any more: the next one goes
 * elsewhere, the others on it are left alone. */
static void a_dead_connection_gets_no_new_calls(void)
{
    begin(3);
    warm_up();
    sl_stream_read(t.conns[0].stream, false);
    many[0].opts.response_timeout = 5000;
    start(0, 2);
    run_quiet(loop);
    sl_loop_skip(loop, 5500);
    run_until(loop, many[0].n_error == 1);
    sl_check(many[0].code == SL_E_TIMEOUT);
    sl_call_free(&many[0].call);
    start(2, 3);
    run_until(loop, many[2].n_fin == 1);
    sl_check(t.n_conns == 2 && many[1].n_error == 0);
    end(3);
}

/* It takes nothing any more, either: it ends with its last call all the same. */
static void a_stuck_connection_ends_with_its_last_call(void)
{
    static const char bytes[60000];
    struct iovec iov = {(void *)bytes, sizeof(bytes)};

    begin(2);
    warm_up();
    sl_stream_read(t.conns[0].stream, false);
    many[0].sends_at_once = false;
    many[0].req.content_length = SL_LENGTH_UNKNOWN;
    many[0].opts.response_timeout = 5000;
    start(0, 1);
    sl_call_send(many[0].call, &many[0].req);
    (void)sl_call_write(many[0].call, &iov, 1, true);
    run_quiet(loop);
    sl_loop_skip(loop, 5500);
    run_until(loop, many[0].n_error == 1);
    sl_call_free(&many[0].call);
    start(1, 2);
    sl_stream_read(t.conns[0].stream, true);
    run_until(loop, t.conns[0].is_over && many[1].n_fin == 1);
    end(2);
}

/* The call was slow, not the connection: it answers the PING. */
static void a_slow_call_is_no_dead_connection(void)
{
    begin(3);
    warm_up();
    t.waits = true;
    many[0].opts.response_timeout = 5000;
    start(0, 2);
    run_until(loop, t.n_streams == 3);
    sl_loop_skip(loop, 5500);
    run_until(loop, many[0].n_error == 1 && t.conns[0].n_ping == 1);
    sl_call_free(&many[0].call);
    run_quiet(loop);
    t.waits = false;
    start(2, 3);
    run_until(loop, many[2].n_fin == 1);
    sl_check(t.n_conns == 1);
    end(3);
}

static void silence_is_asked_about(void)
{
    begin(2);
    warm_up();
    t.waits = true;
    start(0, 1);
    run_until(loop, t.n_streams == 2);
    sl_loop_skip(loop, 16000);
    run_until(loop, t.conns[0].n_ping == 1); /* and answered */
    run_quiet(loop);
    sl_stream_read(t.conns[0].stream, false);
    sl_loop_skip(loop, 16000);
    run_quiet(loop);
    sl_loop_skip(loop, 6000);
    run_quiet(loop);
    t.waits = false;
    start(1, 2);
    run_until(loop, many[1].n_fin == 1);
    sl_check(t.n_conns == 2 && many[0].n_error == 0);
    end(2);
}

int main(void)
{
    sl_assert(sl_loop_new(&loop) == 0 && sl_dns_new(&dns, loop) == 0);
    calls_wait_for_one_connection();
    calls_share_a_connection();
    more_calls_than_one_connection_carries();
    fewer_than_one_thinks();
    the_one_that_began_goes_first();
    nobody_waits_any_more();
    a_waiting_call_runs_out_of_time();
    a_failure_reaches_all_that_wait();
    one_frees_the_next();
    calls_that_share_nothing();
    a_fresh_connection();
    the_target_chooses_http2();
    the_target_chooses_http1("\x08http/1.1");
    the_target_changes_its_mind();
    http2_or_nothing("\x08http/1.1");
    a_websocket_needs_http1();
    goaway_ends_what_was_not_looked_at();
    goaway_before_the_request();
    closed_before_the_request();
    rests_are_limited();
    a_dead_connection_gets_no_new_calls();
    a_stuck_connection_ends_with_its_last_call();
    a_slow_call_is_no_dead_connection();
    silence_is_asked_about();
    sl_dns_free(dns);
    sl_loop_free(loop);
    return sl_check_done();
}
