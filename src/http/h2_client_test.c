/* Calls over HTTP/2: what is sent and heard, both bodies with their flow control, trailers, resets,
 * WebSockets, time, and freeing in every callback. Which connection a call gets is the business of
 * h2_client_conn_test.c. */
#include "http/test_call.h"
#include "http/test_h2_target.h"
#include "http/ws_handshake.h"

static struct sl_loop *loop;
static struct sl_dns *dns;
static struct sl_pool *pool;
static struct target t;
static struct caller c;

static void again(void)
{
    caller_begin(&c, loop, pool, NULL);
    c.target.port = sl_addr_port(&t.at);
    c.target.protocol = SL_CALL_HTTP2;
}

static void begin(void)
{
    sl_assert(sl_pool_new(&pool, loop, dns, NULL, NULL) == 0);
    target_begin(&t, loop);
    again();
}

static void end(void)
{
    caller_end(&c);
    target_end(&t);
    sl_pool_free(pool);
    run_quiet(loop);
}

/* A request has come in whole, and waits for its answer. */
static void ask(void)
{
    t.waits = true;
    caller_start(&c);
    run_until(loop, t.n_streams == 1 && t.streams[0].has_ended);
}

/* The call is there, the caller sends by hand. */
static void connect_only(void)
{
    t.waits = true;
    c.sends_at_once = false;
    caller_start(&c);
    run_until(loop, c.n_connected == 1);
}

static int write_len(const char *text, size_t len, bool fin)
{
    struct iovec iov = {(void *)text, len};

    return sl_call_write(c.call, &iov, len > 0 ? 1 : 0, fin);
}

static int write_part(const char *text, bool fin)
{
    return write_len(text, strlen(text), fin);
}

static char big[600 * 1024];

static void fill_big(void)
{
    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (char)('a' + i % 26 + (i >> 12) % 3);
}

static bool is_big(const struct sl_buf *b, size_t len)
{
    return sl_buf_len(b) == len && memcmp(sl_buf_at(b), big, len) == 0;
}

/* --- requests --- */

static void a_request_as_it_appears(void)
{
    begin();
    c.req.path = SL_STR("/p");
    c.req.query = SL_STR("q=1");
    sl_headers_add(&c.req.headers, &c.arena, SL_STR("X-A"), SL_STR("1"));
    sl_headers_add(&c.req.headers, &c.arena, SL_STR("Connection"), SL_STR("x"));
    sl_headers_add(&c.req.headers, &c.arena, SL_STR("Upgrade"), SL_STR("h2c"));
    sl_headers_add(&c.req.headers, &c.arena, SL_STR("Host"), SL_STR("b.example"));
    sl_headers_add(&c.req.headers, &c.arena, SL_STR("TE"), SL_STR("gzip"));
    ask();
    sl_check_str(target_text(&t.streams[0].head),
                 SL_STR(":method=GET|:scheme=http|:authority=a.example|:path=/p?q=1|x-a=1|"));
    target_answer(&t.streams[0], ":status=200|X-b=2|content-length=2", "ok", NULL);
    end();
}

static void a_response_as_it_is_told(void)
{
    begin();
    ask();
    target_answer(&t.streams[0], ":status=404|x-b=2|content-length=5|server=x", "hello", NULL);
    run_until(loop, caller_is_over(&c));
    sl_check(c.n_fin == 1 && c.n_head == 1);
    sl_check_str(c.heads, SL_STR("404 x-b=2|content-length=5|server=x|"));
    sl_check_str(sl_buf_str(&c.body), SL_STR("hello"));
    sl_check(c.call->res.version == SL_HTTP_2 && c.call->res.content_length == 5);
    sl_check(c.call->bytes_in == 5 && c.call->stage == SL_CALL_DONE);
    end();
}

static void a_response_without_a_body(const char *method, const char *head, uint64_t length)
{
    begin();
    c.req.method = sl_str_c(method);
    ask();
    target_answer(&t.streams[0], head, NULL, NULL);
    run_until(loop, caller_is_over(&c));
    sl_check(c.n_fin == 1 && sl_buf_len(&c.body) == 0 && c.call->res.content_length == length);
    end();
}

/* gRPC lives on these: te in the request, a status behind the body. */
static void trailers_both_ways(void)
{
    struct sl_headers trailers = {0};

    begin();
    connect_only();
    c.req.method = SL_STR("POST");
    c.req.content_length = SL_LENGTH_UNKNOWN;
    sl_headers_add(&c.req.headers, &c.arena, SL_STR("TE"), SL_STR("trailers"));
    sl_headers_add(&c.req.headers, &c.arena, SL_STR("Content-Type"), SL_STR("application/grpc"));
    sl_headers_add(&trailers, &c.arena, SL_STR("X-Sum"), SL_STR("7"));
    sl_headers_add(&trailers, &c.arena, SL_STR("Connection"), SL_STR("x"));
    sl_call_send(c.call, &c.req);
    sl_check(write_part("ping", false) == 0);
    c.call->req_trailers = &trailers;
    sl_check(write_part("", true) == 0);
    run_until(loop, t.n_streams == 1 && t.streams[0].has_ended);
    sl_check(target_has(&t.streams[0], "te=trailers|"));
    sl_check(target_has(&t.streams[0], "content-type=application/grpc|"));
    sl_check_str(target_text(&t.streams[0].body), SL_STR("ping"));
    sl_check_str(target_text(&t.streams[0].trailers), SL_STR("x-sum=7|"));
    target_answer(&t.streams[0], ":status=200|content-type=application/grpc", "pong",
                  "grpc-status=0|authorization=x");
    run_until(loop, caller_is_over(&c));
    sl_check_str(sl_buf_str(&c.body), SL_STR("pong"));
    sl_check_str(c.trailers, SL_STR("grpc-status=0|"));
    end();
}

/* gRPC's "trailers only": the head is the end. */
static void a_head_that_says_it_all(void)
{
    begin();
    ask();
    target_answer(&t.streams[0], ":status=200|grpc-status=12", NULL, NULL);
    run_until(loop, caller_is_over(&c));
    sl_check(c.n_fin == 1);
    sl_check_str(c.heads, SL_STR("200 grpc-status=12|"));
    end();
}

static void interim_responses(void)
{
    begin();
    ask();
    target_interim(&t.streams[0], ":status=103|link=x");
    run_until(loop, c.n_interim == 1);
    sl_check(c.last_interim == 103 && c.n_head == 0);
    target_answer(&t.streams[0], ":status=200|x=1", "ok", NULL);
    run_until(loop, caller_is_over(&c));
    sl_check_str(c.heads, SL_STR("200 x=1|"));
    end();
}

static void too_many_interim_responses(void)
{
    begin();
    ask();
    for (int i = 0; i < 40; i++)
        target_interim(&t.streams[0], ":status=103");
    run_until(loop, caller_is_over(&c));
    sl_check(c.n_error == 1 && c.code == SL_E_LIMIT);
    end();
}

/* --- bodies --- */

static void a_large_body_to_the_target(bool in_pieces)
{
    size_t sent = 0;

    begin();
    connect_only();
    c.req.method = SL_STR("POST");
    c.req.content_length = sizeof(big);
    sl_call_send(c.call, &c.req);
    while (sent < sizeof(big)) {
        size_t n = SL_MIN(in_pieces ? (size_t)1500 : (size_t)100000, sizeof(big) - sent);
        int n_written = c.n_written;
        int rc = write_len(big + sent, n, sent + n == sizeof(big));

        sl_check(rc == 0 || rc == SL_E_AGAIN);
        sent += n;
        if (rc == SL_E_AGAIN && sent < sizeof(big))
            run_until(loop, c.n_written > n_written);
    }
    run_until(loop, t.n_streams == 1 && t.streams[0].has_ended);
    sl_check(is_big(&t.streams[0].body, sizeof(big)));
    sl_check(c.call->bytes_out == sizeof(big));
    end();
}

static void a_target_that_takes_no_more(void)
{
    begin();
    t.no_updates = true;
    connect_only();
    c.req.method = SL_STR("POST");
    c.req.content_length = SL_LENGTH_UNKNOWN;
    c.opts.response_timeout = 0;
    sl_call_send(c.call, &c.req);
    sl_check(write_len(big, 200000, false) == SL_E_AGAIN);
    run_until(loop, t.n_streams == 1 && sl_buf_len(&t.streams[0].body) == 65535);
    run_quiet(loop);
    sl_check(sl_buf_len(&t.streams[0].body) == 65535 && c.n_written == 0);
    (void)nghttp2_session_consume(t.conns[0].session, t.streams[0].id, 65535);
    t.no_updates = false;
    target_flush(&t.conns[0]);
    run_until(loop, c.n_written == 1 && sl_buf_len(&t.streams[0].body) == 200000);
    sl_check(write_part("", true) == 0);
    run_until(loop, t.streams[0].has_ended);
    sl_check(is_big(&t.streams[0].body, 200000));
    end();
}

static void a_large_body_from_the_target(void)
{
    begin();
    ask();
    target_answer_len(&t.streams[0], ":status=200", big, sizeof(big), NULL);
    run_until(loop, caller_is_over(&c));
    sl_check(is_big(&c.body, sizeof(big)));
    end();
}

/* What a paused caller does not take stays with the target, but for one window; other calls on the
 * connection do not notice. */
static void a_caller_that_takes_no_more(void)
{
    struct caller other;
    size_t before;

    begin();
    ask();
    c.pauses = true;
    target_answer_len(&t.streams[0], ":status=200", big, sizeof(big), NULL);
    run_until(loop, c.n_body > 0 && t.streams[0].text_at >= 256 * 1024);
    run_quiet(loop);
    before = sl_buf_len(&c.body);
    sl_check(t.streams[0].text_at == 256 * 1024 && before < 256 * 1024 && c.n_fin == 0);

    t.waits = false;
    caller_begin(&other, loop, pool, NULL);
    other.target = c.target;
    for (int i = 0; i < 3; i++) {
        caller_start(&other);
        run_until(loop, caller_is_over(&other));
        sl_check(other.n_fin == 1 && t.n_conns == 1);
        caller_end(&other);
        caller_begin(&other, loop, pool, NULL);
        other.target = c.target;
    }
    caller_end(&other);

    c.pauses = false;
    sl_call_read(c.call, true);
    sl_check(sl_buf_len(&c.body) == before); /* never inside the call */
    run_until(loop, caller_is_over(&c));
    sl_check(is_big(&c.body, sizeof(big)));
    end();
}

static void the_end_waits_for_a_paused_caller(void)
{
    begin();
    ask();
    c.pauses = true;
    t.streams[0].holds = true;
    target_answer(&t.streams[0], ":status=200", "first", "x-t=1");
    run_until(loop, sl_buf_len(&c.body) == 5);
    t.streams[0].holds = false;
    target_go_on(&t.streams[0]);
    run_until(loop, t.streams[0].is_closed);
    run_quiet(loop);
    sl_check(c.n_fin == 0);
    sl_call_read(c.call, true);
    run_until(loop, caller_is_over(&c));
    sl_check_str(sl_buf_str(&c.body), SL_STR("first"));
    sl_check_str(c.trailers, SL_STR("x-t=1|"));
    end();
}

/* The answer may come before the request has ended, which is then not wanted any more. */
static void an_early_answer(void)
{
    begin();
    connect_only();
    c.req.method = SL_STR("POST");
    c.req.content_length = SL_LENGTH_UNKNOWN;
    sl_call_send(c.call, &c.req);
    sl_check(write_part("part", false) == 0);
    run_until(loop, t.n_streams == 1 && sl_buf_len(&t.streams[0].body) == 4);
    target_answer(&t.streams[0], ":status=413", NULL, NULL);
    target_reset(&t.streams[0], NGHTTP2_NO_ERROR);
    run_until(loop, c.n_fin == 1);
    run_quiet(loop);
    sl_check(c.n_error == 0 && write_part("more", false) == 0 && write_part("", true) == 0);
    sl_call_free(&c.call);
    run_quiet(loop);
    sl_check(sl_pool_idle(pool) == 1); /* the connection is as good as new */
    end();
}

/* --- ends that are none --- */

static void a_reset(uint32_t error, int code, bool is_unprocessed)
{
    begin();
    ask();
    target_reset(&t.streams[0], error);
    run_until(loop, caller_is_over(&c));
    sl_check(c.n_error == 1 && c.code == code && c.call->is_unprocessed == is_unprocessed);
    sl_check(!c.got_bytes && c.call->detail != NULL && sl_pool_idle(pool) == 1);
    end();
}

static void a_reset_in_the_body(void)
{
    begin();
    ask();
    t.streams[0].holds = true;
    target_answer(&t.streams[0], ":status=200", "part", NULL);
    run_until(loop, sl_buf_len(&c.body) == 4);
    target_reset(&t.streams[0], NGHTTP2_INTERNAL_ERROR);
    run_until(loop, caller_is_over(&c));
    sl_check(c.n_error == 1 && c.code == SL_E_RESET && c.got_bytes && !c.call->is_unprocessed);
    sl_check_str(sl_str_c(c.call->detail), SL_STR("INTERNAL_ERROR"));
    end();
}

static void the_connection_ends(enum sl_close how)
{
    begin();
    ask();
    target_close(&t, 0, how);
    run_until(loop, caller_is_over(&c));
    sl_check(c.n_error == 1 && c.code == (how == SL_CLOSE_ABORT ? SL_E_RESET : SL_E_CLOSED));
    sl_check(!c.call->is_unprocessed); /* nobody knows */
    end();
}

static void a_call_given_up(void)
{
    begin();
    ask();
    sl_call_free(&c.call);
    run_until(loop, t.streams[0].is_closed);
    sl_check(t.streams[0].error == NGHTTP2_CANCEL && sl_pool_idle(pool) == 1);
    end();
}

static void no_reset_after_a_clean_end(void)
{
    begin();
    caller_start(&c);
    run_until(loop, c.n_fin == 1);
    sl_call_free(&c.call);
    run_until(loop, t.streams[0].is_closed);
    run_quiet(loop);
    sl_check(t.streams[0].error == NGHTTP2_NO_ERROR && sl_pool_idle(pool) == 1);
    end();
}

/* --- time --- */

static void expect_timeout(enum sl_call_stage stage)
{
    sl_check(c.n_error == 0);
    sl_loop_skip(loop, 5500);
    run_until(loop, caller_is_over(&c));
    sl_check(c.n_error == 1 && c.code == SL_E_TIMEOUT && c.stage_at_error == stage);
    end();
}

static void waiting_for_the_head(void)
{
    begin();
    c.opts.response_timeout = 5000;
    ask();
    expect_timeout(SL_CALL_HEAD);
}

static void waiting_for_the_body(void)
{
    begin();
    c.opts.body_timeout = 5000;
    ask();
    t.streams[0].holds = true;
    target_answer(&t.streams[0], ":status=200", "part", NULL);
    run_until(loop, sl_buf_len(&c.body) == 4);
    expect_timeout(SL_CALL_BODY);
}

static void waiting_for_the_first_of_the_body(void)
{
    begin();
    c.opts.body_timeout = 5000;
    ask();
    t.streams[0].holds = true;
    target_answer(&t.streams[0], ":status=200", "", NULL);
    run_until(loop, c.n_head == 1);
    expect_timeout(SL_CALL_BODY);
}

static void waiting_to_send(void)
{
    begin();
    c.opts.response_timeout = 5000;
    t.no_updates = true;
    connect_only();
    c.req.content_length = SL_LENGTH_UNKNOWN;
    sl_call_send(c.call, &c.req);
    sl_check(write_len(big, 200000, false) == SL_E_AGAIN);
    expect_timeout(SL_CALL_SENDING);
}

static void we_are_the_slow_side(void)
{
    begin();
    c.opts.body_timeout = 5000;
    c.pauses = true;
    ask();
    target_answer_len(&t.streams[0], ":status=200", big, sizeof(big), NULL);
    run_until(loop, c.n_body > 0);
    sl_loop_skip(loop, 60000);
    sl_check(c.n_error == 0);
    end();
}

/* --- freeing --- */

static void free_on(enum caller_event what)
{
    begin();
    c.frees_on = what;
    if (what == CALLER_CONNECTED)
        c.sends_at_once = false;
    t.waits = true;
    caller_start(&c);
    if (what != CALLER_CONNECTED) {
        run_until(loop, t.n_streams == 1);
        target_interim(&t.streams[0], ":status=100");
        if (what == CALLER_ERROR)
            target_reset(&t.streams[0], NGHTTP2_CANCEL);
        else
            target_answer_len(&t.streams[0], ":status=200", big, sizeof(big), "x=1");
    }
    run_until(loop, c.call == NULL && (c.n_connected | c.n_error) > 0);
    end();
}

static void free_on_written(void)
{
    begin();
    c.frees_on = CALLER_WRITTEN;
    connect_only();
    c.req.content_length = SL_LENGTH_UNKNOWN;
    sl_call_send(c.call, &c.req);
    sl_check(write_len(big, sizeof(big), false) == SL_E_AGAIN);
    run_until(loop, c.n_written == 1);
    sl_check(c.call == NULL);
    end();
}

/* --- WebSockets --- */

static const nghttp2_settings_entry connect_on[] = {
    {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
    {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 100},
};

static void begin_websocket(void)
{
    begin();
    t.waits = true;
    t.settings = connect_on;
    t.n_settings = SL_COUNT(connect_on);
    c.opts.is_upgrade = true;
    c.req.upgrade = SL_STR("websocket");
    sl_headers_add(&c.req.headers, &c.arena, SL_STR("Upgrade"), SL_STR("websocket"));
    sl_headers_add(&c.req.headers, &c.arena, SL_STR("Sec-WebSocket-Version"), SL_STR("13"));
}

static void a_websocket(void)
{
    begin_websocket();
    sl_headers_add(&c.req.headers, &c.arena, SL_STR("Sec-WebSocket-Key"),
                   SL_STR("dGhlIHNhbXBsZSBub25jZQ=="));
    caller_start(&c);
    run_until(loop, t.n_streams == 1);
    sl_check_str(target_text(&t.streams[0].head),
                 SL_STR(":method=CONNECT|:protocol=websocket|:scheme=http|:authority=a.example|"
                        ":path=/|sec-websocket-version=13|"));
    sl_check(!t.streams[0].has_ended);
    t.streams[0].holds = true;
    target_answer(&t.streams[0], ":status=200", "hello", NULL);
    run_until(loop, sl_buf_len(&c.body) == 5);
    sl_check_str(c.heads, SL_STR("101 Upgrade=websocket|"
                                 "Sec-WebSocket-Accept=s3pPLMBiTxaQ9kYGzzhZRbK+xOo=|"));
    sl_check(write_part("raw", false) == 0);
    run_until(loop, sl_buf_len(&t.streams[0].body) == 3);
    sl_check(write_part("end", true) == 0);
    run_until(loop, t.streams[0].has_ended);
    t.streams[0].holds = false;
    target_go_on(&t.streams[0]);
    run_until(loop, c.n_fin == 1);
    sl_check_str(target_text(&t.streams[0].body), SL_STR("rawend"));
    end();
}

static void a_websocket_that_is_refused(void)
{
    begin_websocket();
    caller_start(&c);
    run_until(loop, t.n_streams == 1);
    target_answer(&t.streams[0], ":status=403", "no", NULL);
    run_until(loop, c.n_fin == 1);
    sl_check_str(c.heads, SL_STR("403 "));
    sl_check_str(sl_buf_str(&c.body), SL_STR("no"));
    sl_call_free(&c.call);
    run_until(loop, t.streams[0].is_closed);
    sl_check(sl_pool_idle(pool) == 1);
    end();
}

static void no_websockets_here(void)
{
    begin_websocket();
    t.n_settings = 0;
    caller_start(&c);
    run_until(loop, caller_is_over(&c));
    sl_check(c.n_error == 1 && c.code == SL_E_PROTOCOL && c.n_connected == 0);
    sl_check(c.stage_at_error != SL_CALL_CONNECTING && c.call->detail != NULL);
    end();
}

int main(void)
{
    sl_assert(sl_loop_new(&loop) == 0 && sl_dns_new(&dns, loop) == 0);
    fill_big();
    a_request_as_it_appears();
    a_response_as_it_is_told();
    a_response_without_a_body("HEAD", ":status=200|content-length=10", 10);
    a_response_without_a_body("HEAD", ":status=200", SL_LENGTH_UNKNOWN);
    a_response_without_a_body("GET", ":status=204", SL_LENGTH_UNKNOWN);
    a_response_without_a_body("GET", ":status=304|content-length=7", 7);
    a_response_without_a_body("GET", ":status=200", 0);
    trailers_both_ways();
    a_head_that_says_it_all();
    interim_responses();
    too_many_interim_responses();
    a_large_body_to_the_target(false);
    a_large_body_to_the_target(true);
    a_target_that_takes_no_more();
    a_large_body_from_the_target();
    a_caller_that_takes_no_more();
    the_end_waits_for_a_paused_caller();
    an_early_answer();
    a_reset(NGHTTP2_REFUSED_STREAM, SL_E_REFUSED, true);
    a_reset(NGHTTP2_INTERNAL_ERROR, SL_E_RESET, false);
    a_reset(NGHTTP2_NO_ERROR, SL_E_RESET, false);
    a_reset_in_the_body();
    the_connection_ends(SL_CLOSE_ABORT);
    the_connection_ends(SL_CLOSE_LINGER);
    a_call_given_up();
    no_reset_after_a_clean_end();
    waiting_for_the_head();
    waiting_for_the_body();
    waiting_for_the_first_of_the_body();
    waiting_to_send();
    we_are_the_slow_side();
    free_on(CALLER_CONNECTED);
    free_on(CALLER_INTERIM);
    free_on(CALLER_HEAD);
    free_on(CALLER_BODY);
    free_on(CALLER_ERROR);
    free_on_written();
    a_websocket();
    a_websocket_that_is_refused();
    no_websockets_here();
    sl_dns_free(dns);
    sl_loop_free(loop);
    return sl_check_done();
}
