/* Calls and the pool under them: what is sent, when a connection is used again, time, and freeing
 * in every callback. What targets answer is the business of h1_response_test.c. */
#include <stdlib.h>
#include <unistd.h>
#include "http/test_call.h"
#include "tls/stream.h"

#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static struct sl_loop *loop;
static struct sl_dns *dns;
static struct sl_pool *pool;
static struct origin o;
static struct caller c;

static void begin(void)
{
    sl_assert(sl_pool_new(&pool, loop, dns, NULL, NULL) == 0);
    origin_begin(&o, loop);
    caller_begin(&c, loop, pool, &o);
}

static void end(void)
{
    caller_end(&c);
    origin_end(&o);
    sl_pool_free(pool);
    run_quiet(loop);
}

static void another_call(void)
{
    struct sl_call_target target = c.target;

    caller_end(&c);
    caller_begin(&c, loop, pool, &o);
    c.target = target;
}

static int write_part(const char *text, bool fin)
{
    struct iovec iov = {(void *)text, strlen(text)};

    return sl_call_write(c.call, &iov, iov.iov_len > 0 ? 1 : 0, fin);
}

/* Starts a call that sends nothing by itself. */
static void connect_only(void)
{
    c.sends_at_once = false;
    caller_start(&c);
    run_until(loop, c.n_connected == 1 && o.n_conns == 1);
}

static void start_and_finish(void)
{
    int n_before = o.n_conns;

    o.answer = OK;
    caller_start(&c);
    run_until(loop, caller_is_over(&c));
    sl_check(c.n_fin == 1 && o.n_conns <= n_before + 1);
    sl_check_str(sl_buf_str(&c.body), SL_STR("ok"));
}

/* --- what is sent --- */

static void a_request_as_it_appears(void)
{
    begin();
    c.req.path = SL_STR("/p");
    c.req.query = SL_STR("q=1");
    sl_headers_add(&c.req.headers, &c.arena, SL_STR("X-A"), SL_STR("1"));
    sl_headers_add(&c.req.headers, &c.arena, SL_STR("Connection"), SL_STR("x"));
    sl_headers_add(&c.req.headers, &c.arena, SL_STR("Upgrade"), SL_STR("h2c"));
    sl_headers_add(&c.req.headers, &c.arena, SL_STR("TE"), SL_STR("trailers"));
    sl_headers_add(&c.req.headers, &c.arena, SL_STR("X-Gone"), SL_STR("1"));
    c.req.headers.at[4].id = SL_H_REMOVED;
    start_and_finish();
    sl_check_str(origin_text(&o, 0),
                 SL_STR("GET /p?q=1 HTTP/1.1\r\nHost: a.example\r\nX-A: 1\r\n\r\n"));
    end();
}

static void bodies_as_they_appear(uint64_t length, const char *want)
{
    begin();
    connect_only();
    c.req.method = SL_STR("POST");
    c.req.content_length = length;
    sl_call_send(c.call, &c.req);
    sl_check(write_part("", false) == 0); /* the head alone */
    run_until(loop, origin_got(&o, 0, "\r\n\r\n"));
    sl_check(write_part("hel", false) == 0);
    sl_check(write_part("", false) == 0);
    sl_check(write_part("lo", true) == 0);
    run_until(loop, sl_str_ends(origin_text(&o, 0), sl_str_c(want)));
    sl_check(c.call->bytes_out == 5);
    end();
}

/* What came as an extended CONNECT lacks the header and the key of HTTP/1.1. */
static void an_upgrade_that_was_none(void)
{
    begin();
    c.req.upgrade = SL_STR("websocket");
    sl_headers_add(&c.req.headers, &c.arena, SL_STR("Sec-WebSocket-Version"), SL_STR("13"));
    caller_start(&c);
    run_until(loop, o.n_conns == 1 && origin_got(&o, 0, "\r\n\r\n"));
    sl_check(
        sl_str_starts(origin_text(&o, 0),
                      SL_STR("GET / HTTP/1.1\r\nHost: a.example\r\nSec-WebSocket-Version: 13\r\n"
                             "Connection: upgrade\r\nUpgrade: websocket\r\n"
                             "Sec-WebSocket-Key: ")));
    sl_check(sl_str_ends(origin_text(&o, 0), SL_STR("==\r\n\r\n")));
    end();
}

static void trailers_go_with_the_last_chunk(void)
{
    struct sl_headers trailers = {0};

    begin();
    connect_only();
    c.req.method = SL_STR("POST");
    c.req.content_length = SL_LENGTH_UNKNOWN;
    sl_headers_add(&trailers, &c.arena, SL_STR("X-Sum"), SL_STR("7"));
    sl_call_send(c.call, &c.req);
    c.call->req_trailers = &trailers;
    sl_check(write_part("hello", true) == 0);
    run_until(loop,
              sl_str_ends(origin_text(&o, 0), SL_STR("\r\n5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n")));
    end();
}

static void a_length_of_zero_is_said_if_it_was(void)
{
    begin();
    c.req.method = SL_STR("POST");
    sl_headers_add(&c.req.headers, &c.arena, SL_STR("Content-Length"), SL_STR("0"));
    start_and_finish();
    sl_check(origin_got(&o, 0, "Content-Length: 0\r\n\r\n"));
    end();
}

static void a_preface_comes_first(void)
{
    begin();
    c.target.preface = "PROXY UNKNOWN\r\n";
    c.target.preface_len = 15;
    start_and_finish();
    sl_check(sl_str_starts(origin_text(&o, 0), SL_STR("PROXY UNKNOWN\r\nGET / ")));
    sl_call_free(&c.call);
    sl_check(sl_pool_idle(pool) == 0); /* this connection belongs to one visitor */
    end();
}

static void over_a_unix_socket(void)
{
    char path[] = "/tmp/sluice-test-XXXXXX";

    begin();
    sl_listener_free(o.listener);
    close(mkstemp(path));
    unlink(path);
    origin_begin_unix(&o, loop, path);
    c.target.unix_path = sl_str_c(path);
    start_and_finish();
    end();
    unlink(path);
}

/* --- keeping connections --- */

static void a_connection_is_used_again(void)
{
    begin();
    for (int i = 0; i < 3; i++) {
        start_and_finish();
        sl_check(c.was_reused == (i > 0) && o.n_conns == 1);
        another_call();
        sl_check(sl_pool_idle(pool) == 1);
    }
    c.target.id = 8; /* another target, be it at the same place */
    start_and_finish();
    sl_check(!c.was_reused && o.n_conns == 2);
    another_call();
    c.opts.fresh = true;
    start_and_finish();
    sl_check(!c.was_reused && o.n_conns == 3);
    another_call();
    c.target.id = 0;
    start_and_finish();
    sl_check(!c.was_reused && o.n_conns == 4);
    another_call();
    sl_check(sl_pool_idle(pool) == 3);
    end();
}

static void what_a_resting_connection_says_ends_it(void (*what)(void))
{
    begin();
    start_and_finish();
    another_call();
    sl_check(sl_pool_idle(pool) == 1);
    what();
    run_until(loop, sl_pool_idle(pool) == 0);
    start_and_finish();
    sl_check(!c.was_reused && o.n_conns == 2);
    end();
}

static void it_closes(void)
{
    origin_fin(&o, 0);
}

static void it_speaks(void)
{
    origin_say(&o, 0, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
}

static void it_resets(void)
{
    origin_close(&o, 0, SL_CLOSE_ABORT);
}

static void rests_are_limited(void)
{
    begin();
    sl_pool_free(pool);
    sl_assert(sl_pool_new(&pool, loop, dns,
                          &(struct sl_pool_opts){.idle_timeout = 2000, .max_idle = 1}, NULL) == 0);
    c.pool = pool;
    for (int i = 0; i < 2; i++) {
        struct caller more;

        start_and_finish();
        caller_begin(&more, loop, pool, &o);
        caller_start(&more);
        run_until(loop, more.n_fin == 1);
        caller_end(&more);
        another_call();
        sl_check(sl_pool_idle(pool) == 1);
    }
    sl_loop_skip(loop, 1000);
    sl_check(sl_pool_idle(pool) == 1);
    sl_loop_skip(loop, 1500);
    sl_check(sl_pool_idle(pool) == 0);
    end();
}

/* The target closes a connection at the moment at which it is used again: the caller can tell, and
 * that nothing of the request has arrived. */
static void a_stale_connection(enum sl_close how)
{
    begin();
    start_and_finish();
    another_call();
    o.answer = NULL;
    origin_close(&o, 0, how); /* the loop has not noticed it yet */
    caller_start(&c);
    sl_check(c.was_reused);
    run_until(loop, caller_is_over(&c));
    sl_check(c.n_error == 1 && !c.got_bytes && c.stage_at_error != SL_CALL_CONNECTING);
    sl_check(c.call->is_unprocessed);
    end();
}

/* It may have read the request and acted on it. */
static void a_connection_that_ends_with_the_request(void)
{
    begin();
    start_and_finish();
    another_call();
    o.answer = NULL;
    caller_start(&c);
    run_until(loop, sl_str_ends(origin_text(&o, 0),
                                SL_STR("\r\n\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n")));
    origin_close(&o, 0, SL_CLOSE_ABORT);
    run_until(loop, caller_is_over(&c));
    sl_check(c.n_error == 1 && !c.got_bytes && !c.call->is_unprocessed);
    end();
}

static void an_early_answer_ends_the_connection(void)
{
    begin();
    connect_only();
    c.req.method = SL_STR("POST");
    c.req.content_length = 100;
    sl_call_send(c.call, &c.req);
    sl_check(write_part("part", false) == 0);
    origin_say(&o, 0, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n");
    run_until(loop, c.n_fin == 1);
    sl_call_free(&c.call);
    run_quiet(loop);
    sl_check(sl_pool_idle(pool) == 0);
    end();
}

static void a_call_given_up_ends_the_connection(void)
{
    begin();
    caller_start(&c);
    run_until(loop, o.n_conns == 1 && origin_got(&o, 0, "\r\n\r\n"));
    sl_call_free(&c.call);
    run_until(loop, o.conns[0].n_error == 1); /* a reset, not an orderly end */
    sl_check(sl_pool_idle(pool) == 0);
    end();
}

/* --- failing to connect --- */

static void nobody_is_there(void)
{
    begin();
    sl_listener_free(o.listener);
    run_quiet(loop);
    caller_start(&c);
    sl_check(c.n_error == 0); /* never inside the call */
    run_until(loop, c.n_error == 1);
    sl_check(c.code == SL_E_REFUSED && c.stage_at_error == SL_CALL_CONNECTING);
    caller_end(&c);
    sl_pool_free(pool);
    run_quiet(loop);
}

static void no_such_name(void)
{
    begin();
    c.target.host = SL_STR("bad name");
    caller_start(&c);
    run_until(loop, c.n_error == 1);
    sl_check(c.stage_at_error == SL_CALL_CONNECTING && c.call->detail != NULL);
    end();
}

/* --- time --- */

static void expect_timeout(enum sl_call_stage stage)
{
    run_until(loop, caller_is_over(&c));
    sl_check(c.n_error == 1 && c.code == SL_E_TIMEOUT && c.stage_at_error == stage);
    end();
}

static void waiting_for_the_head(void)
{
    begin();
    c.opts.response_timeout = 5000;
    caller_start(&c);
    run_until(loop, o.n_conns == 1 && origin_got(&o, 0, "\r\n\r\n"));
    sl_loop_skip(loop, 4000);
    origin_say(&o, 0, "HTTP/1.1 200 OK\r\nX-"); /* a part of it does not help */
    run_quiet(loop);
    sl_check(!caller_is_over(&c));
    sl_loop_skip(loop, 1500);
    expect_timeout(SL_CALL_HEAD);
}

static void waiting_for_the_body(void)
{
    begin();
    c.opts.response_timeout = 5000;
    c.opts.body_timeout = 5000;
    caller_start(&c);
    run_until(loop, o.n_conns == 1);
    origin_say(&o, 0, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
    run_until(loop, c.n_head == 1);
    for (int i = 1; i < 4; i++) {
        sl_loop_skip(loop, 4000);
        origin_say(&o, 0, "x");
        run_until(loop, sl_buf_len(&c.body) == (size_t)i);
    }
    sl_loop_skip(loop, 5500);
    expect_timeout(SL_CALL_BODY);
}

static void we_are_the_slow_side(void)
{
    begin();
    c.opts.body_timeout = 5000;
    c.pauses = true;
    caller_start(&c);
    run_until(loop, o.n_conns == 1);
    origin_say(&o, 0, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
    run_until(loop, sl_buf_len(&c.body) == 1);
    sl_loop_skip(loop, 100000);
    run_quiet(loop);
    sl_check(!caller_is_over(&c));
    origin_say(&o, 0, "k");
    run_quiet(loop);
    sl_check(sl_buf_len(&c.body) == 1); /* a pause is a pause */
    sl_call_read(c.call, true);
    run_until(loop, c.n_fin == 1);
    end();
}

static void fill(size_t *sent)
{
    static char part[50000];
    struct iovec iov = {part, sizeof(part)};
    int rc = 0;

    while (rc == 0 && *sent < (64 << 20)) {
        rc = sl_call_write(c.call, &iov, 1, false);
        *sent += sizeof(part);
    }
    sl_check(rc == SL_E_AGAIN);
}

static void begin_upload(size_t *sent)
{
    begin();
    o.starts_paused = true;
    c.opts.response_timeout = 5000;
    connect_only();
    c.req.method = SL_STR("PUT");
    c.req.content_length = SL_LENGTH_UNKNOWN;
    sl_call_send(c.call, &c.req);
    fill(sent);
}

/* A target that takes nothing of what it is sent. */
static void waiting_to_send(void)
{
    size_t sent = 0;

    begin_upload(&sent);
    sl_loop_skip(loop, 4000);
    run_quiet(loop);
    sl_check(!caller_is_over(&c) && c.n_written == 0);
    sl_loop_skip(loop, 1500);
    expect_timeout(SL_CALL_SENDING);
}

static void a_target_that_takes_its_time_with_each_part(void)
{
    size_t sent = 0;

    begin_upload(&sent);
    for (int i = 1; i < 4; i++) {
        sl_loop_skip(loop, 4000);
        sl_stream_read(o.conns[0].stream, true);
        run_until(loop, c.n_written == i);
        sl_loop_skip(loop, 4000); /* our own time is not the target's */
        sl_stream_read(o.conns[0].stream, false);
        run_quiet(loop);
        fill(&sent);
    }
    sl_stream_read(o.conns[0].stream, true);
    run_until(loop, c.n_written == 4);
    sl_check(write_part("", true) == 0 && !caller_is_over(&c));
    run_until(loop, sl_buf_len(&o.conns[0].got) > sent);
    sl_check(sl_str_ends(origin_text(&o, 0), SL_STR("\r\n0\r\n\r\n")));
    end();
}

/* A full queue of connections, so that connecting hangs. */
static void waiting_to_connect(void)
{
    struct sl_addr at;
    socklen_t len = sizeof(at);
    int listener = socket(AF_INET, SOCK_STREAM, 0), first = socket(AF_INET, SOCK_STREAM, 0);

    begin();
    sl_assert(sl_addr_parse(&at, SL_STR("127.0.0.1"), 0) == 0);
    sl_assert(bind(listener, &at.sa, sl_addr_len(&at)) == 0 && listen(listener, 0) == 0);
    sl_assert(getsockname(listener, &at.sa, &len) == 0);
    sl_assert(connect(first, &at.sa, sl_addr_len(&at)) == 0);
    c.target.port = sl_addr_port(&at);
    c.opts.connect_timeout = 3000;
    caller_start(&c);
    run_quiet(loop);
    sl_loop_skip(loop, 4000);
    close(first);
    close(listener);
    expect_timeout(SL_CALL_CONNECTING);
}

/* --- freeing in every callback --- */

static void free_on(enum caller_event event)
{
    begin();
    c.frees_on = event;
    caller_start(&c);
    run_until(loop, o.n_conns == 1);
    if (event == CALLER_ERROR)
        origin_fin(&o, 0);
    else
        origin_say(&o, 0, "HTTP/1.1 103 Early Hints\r\n\r\n" OK);
    run_until(loop, c.call == NULL);
    run_quiet(loop);
    sl_check(c.n_error == (event == CALLER_ERROR) && c.n_body == (event == CALLER_BODY));
    sl_check(c.n_head == (event == CALLER_HEAD || event == CALLER_BODY));
    end();
}

static void free_on_written(void)
{
    size_t sent = 0;

    begin_upload(&sent);
    c.frees_on = CALLER_WRITTEN;
    sl_stream_read(o.conns[0].stream, true);
    run_until(loop, c.call == NULL);
    run_quiet(loop);
    sl_check(c.n_written == 1);
    end();
}

/* A pooled connection is ours inside sl_call_start(). */
static void free_on_reuse(void)
{
    begin();
    start_and_finish();
    another_call();
    c.frees_on = CALLER_CONNECTED;
    caller_start(&c);
    sl_check(c.was_reused && c.call == NULL);
    run_quiet(loop);
    end();
}

static void free_before_anything(void)
{
    begin();
    caller_start(&c);
    sl_call_free(&c.call);
    sl_call_free(&c.call);
    run_quiet(loop);
    sl_check(c.n_connected == 0 && c.n_error == 0);
    end();
}

/* --- raw channels --- */

static void begin_raw(void)
{
    begin();
    connect_only();
    c.req.upgrade = SL_STR("websocket");
    sl_headers_add(&c.req.headers, &c.arena, SL_STR("Upgrade"), SL_STR("websocket"));
    sl_call_send(c.call, &c.req);
    sl_check(write_part("", true) == 0);
    run_until(loop, origin_got(&o, 0, "\r\n\r\n"));
    sl_check(origin_got(&o, 0, "Upgrade: websocket\r\nConnection: upgrade\r\n"));
    origin_say(&o, 0, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nearly ");
    run_until(loop, sl_buf_len(&c.body) == 6);
}

static void bytes_go_both_ways(void)
{
    begin_raw();
    sl_check(c.call->res.status == 101 && write_part("HTTP?", false) == 0);
    origin_say(&o, 0, "HTTP/1.1 500 no head\r\n\r\n");
    run_until(loop, origin_got(&o, 0, "\r\n\r\nHTTP?") && sl_buf_len(&c.body) > 20);
    sl_check_str(sl_buf_str(&c.body), SL_STR("early HTTP/1.1 500 no head\r\n\r\n"));
    sl_check(write_part("", true) == 0); /* half-closed */
    run_until(loop, o.conns[0].n_fin == 1);
    origin_say(&o, 0, "more");
    origin_fin(&o, 0);
    run_until(loop, c.n_fin == 1);
    sl_check(sl_str_ends(sl_buf_str(&c.body), SL_STR("more")));
    sl_call_free(&c.call);
    sl_check(sl_pool_idle(pool) == 0);
    end();
}

static void the_target_ends_first(void)
{
    begin_raw();
    origin_fin(&o, 0);
    run_until(loop, c.n_fin == 1);
    sl_check(write_part("more", false) == 0 && write_part("", true) == 0);
    run_until(loop, o.conns[0].n_fin == 1);
    sl_check(sl_str_ends(origin_text(&o, 0), SL_STR("more")));
    end();
}

static void a_raw_channel_is_reset(void)
{
    begin_raw();
    origin_close(&o, 0, SL_CLOSE_ABORT);
    run_until(loop, c.n_error == 1);
    sl_check(c.code == SL_E_RESET);
    end();
}

/* --- TLS --- */

static struct sl_tls_server *tls_context;
static struct sl_stream *tls_end; /* the origin's */
static bool tls_is_ready;

static int on_hello(void *user, struct sl_stream *tls, const struct sl_tls_hello *hello,
                    struct sl_cert **cert)
{
    (void)user;
    (void)tls;
    sl_check_str(hello->sni, SL_STR("a.example"));
    return sl_cert_self_signed(cert, SL_STR("a.example"), NULL);
}

static void on_tls_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    sl_buf_append(s->user, bytes, len);
}

static void on_tls_event(struct sl_stream *s)
{
    (void)s;
}

static void on_tls_error(struct sl_stream *s, int code)
{
    (void)s;
    (void)code;
}

static void on_tls_ready(struct sl_stream *s)
{
    tls_is_ready = true;
    sl_stream_read(s, true);
}

static const struct sl_stream_handler tls_handler = {on_tls_data, on_tls_event, on_tls_event,
                                                     on_tls_error, on_tls_ready};

/* A call over TLS whose request has arrived. */
static void begin_tls(struct sl_buf *got)
{
    static const struct sl_tls_accept accept = {.on_hello = on_hello};

    begin();
    tls_is_ready = false;
    sl_assert(sl_tls_server_new(&tls_context, &(struct sl_tls_server_opts){0}, NULL) == 0);
    c.target.tls = true;
    c.target.server_name = SL_STR("a.example");
    o.starts_paused = true;
    caller_start(&c);
    run_until(loop, o.n_conns == 1);
    tls_end = sl_tls_accept(&o.conns[0].stream, tls_context, &accept, &tls_handler, got, NULL, 0);
    run_until(loop, tls_is_ready && sl_buf_len(got) > 4);
    sl_check(sl_str_starts(sl_buf_str(got), SL_STR("GET / HTTP/1.1\r\n")));
}

static void end_tls(struct sl_buf *got)
{
    sl_stream_free(&tls_end, SL_CLOSE_ABORT);
    sl_tls_server_free(tls_context);
    sl_buf_clear(got);
    end();
}

/* A body that ends with the connection is whole only if its end was signed. */
static void the_end_of_a_body_over_tls(bool is_cut)
{
    static const char text[] = "HTTP/1.1 200 OK\r\n\r\nhello";
    struct sl_buf got = {0};

    begin_tls(&got);
    sl_check(sl_stream_write1(tls_end, text, sizeof(text) - 1, !is_cut) == 0);
    if (is_cut)
        (void)sl_stream_write(sl_stream_below(tls_end), NULL, 0, true);
    run_until(loop, caller_is_over(&c));
    sl_check_str(sl_buf_str(&c.body), SL_STR("hello"));
    sl_check(c.n_error == is_cut && (!is_cut || c.code == SL_E_CLOSED));
    end_tls(&got);
}

static void a_stranger_is_refused(void)
{
    static const struct sl_tls_accept accept = {.on_hello = on_hello};
    struct sl_buf got = {0};

    begin();
    sl_assert(sl_tls_server_new(&tls_context, &(struct sl_tls_server_opts){0}, NULL) == 0);
    c.target.tls = c.target.tls_verify = true;
    c.target.server_name = SL_STR("a.example");
    o.starts_paused = true;
    caller_start(&c);
    run_until(loop, o.n_conns == 1);
    tls_end = sl_tls_accept(&o.conns[0].stream, tls_context, &accept, &tls_handler, &got, NULL, 0);
    run_until(loop, caller_is_over(&c));
    sl_check(c.n_error == 1 && c.code == SL_E_TLS && c.n_connected == 0);
    sl_check(c.stage_at_error == SL_CALL_CONNECTING && c.call->detail != NULL);
    end_tls(&got);
}

int main(void)
{
    sl_assert(sl_loop_new(&loop) == 0 && sl_dns_new(&dns, loop) == 0);
    a_request_as_it_appears();
    bodies_as_they_appear(5, "\r\nContent-Length: 5\r\n\r\nhello");
    bodies_as_they_appear(SL_LENGTH_UNKNOWN,
                          "\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n");
    an_upgrade_that_was_none();
    trailers_go_with_the_last_chunk();
    a_length_of_zero_is_said_if_it_was();
    a_preface_comes_first();
    over_a_unix_socket();
    a_connection_is_used_again();
    what_a_resting_connection_says_ends_it(it_closes);
    what_a_resting_connection_says_ends_it(it_speaks);
    what_a_resting_connection_says_ends_it(it_resets);
    rests_are_limited();
    a_stale_connection(SL_CLOSE_ABORT);
    a_stale_connection(SL_CLOSE_LINGER);
    a_connection_that_ends_with_the_request();
    an_early_answer_ends_the_connection();
    a_call_given_up_ends_the_connection();
    nobody_is_there();
    no_such_name();
    waiting_for_the_head();
    waiting_for_the_body();
    we_are_the_slow_side();
    waiting_to_send();
    a_target_that_takes_its_time_with_each_part();
    waiting_to_connect();
    free_on(CALLER_CONNECTED);
    free_on(CALLER_INTERIM);
    free_on(CALLER_HEAD);
    free_on(CALLER_BODY);
    free_on(CALLER_ERROR);
    free_on_written();
    free_on_reuse();
    free_before_anything();
    bytes_go_both_ways();
    the_target_ends_first();
    a_raw_channel_is_reset();
    the_end_of_a_body_over_tls(false);
    the_end_of_a_body_over_tls(true);
    a_stranger_is_refused();
    sl_dns_free(dns);
    sl_loop_free(loop);
    return sl_check_done();
}
