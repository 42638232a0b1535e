/*
 * A multiplexed exchange between a handler (the rig's) and a version that keeps what it is told.
 */
#include "base/check.h"
#include "http/mux.h"

static struct sl_loop *loop;

/* --- a version that sends what its window allows, at the end of the turn --- */

static struct {
    struct sl_list streams;
    struct sl_buf sent;
    size_t window, n_consumed;
    int n_submits, n_interims, n_resets, n_resumes, n_live;
    enum sl_mux_error why;
    struct sl_arena arena;
    struct sl_str head, trailers;
    bool submit_fin, takes_writes, wrote_fin;
} wire;

static struct sl_str text_of(const struct sl_field *fields, size_t n)
{
    struct sl_str text = SL_STR("");

    for (size_t i = 0; i < n; i++) {
        if (!sl_str_eq(fields[i].name, SL_STR("date")))
            text = sl_arena_printf(&wire.arena, "%.*s%.*s=%.*s|", SL_STR_FMT(text),
                                   SL_STR_FMT(fields[i].name), SL_STR_FMT(fields[i].value));
    }
    return text;
}

static void on_submit(struct sl_mux_stream *s, const struct sl_field *fields, size_t n, bool fin)
{
    wire.n_submits++;
    wire.head = text_of(fields, n);
    wire.submit_fin = fin;
    if (fin)
        sl_mux_on_end_sent(s);
}

static void on_submit_interim(struct sl_mux_stream *s, const struct sl_field *fields, size_t n)
{
    (void)s;
    wire.n_interims++;
    wire.head = text_of(fields, n);
}

static void check_end(struct sl_mux_stream *s)
{
    if (s->n_unsent > 0 || !s->out_ended || s->ex.response_ended)
        return;
    wire.wrote_fin = true;
    wire.trailers = text_of(s->trailers, s->n_trailers);
    sl_mux_on_end_sent(s);
}

static size_t on_write(struct sl_mux_stream *s, const struct iovec *iov, int n_iov)
{
    size_t n = n_iov > 0 ? SL_MIN(iov[0].iov_len, wire.window) : 0;

    (void)s;
    if (!wire.takes_writes)
        return 0;
    sl_buf_append(&wire.sent, iov[0].iov_base, n);
    wire.window -= n;
    return n;
}

static void pump(struct sl_mux_stream *s)
{
    struct iovec iov[3];
    size_t moved = 0;
    int n = sl_mux_peek(s, iov, 3, wire.window);

    for (int i = 0; i < n; i++) {
        sl_buf_append(&wire.sent, iov[i].iov_base, iov[i].iov_len);
        moved += iov[i].iov_len;
    }
    wire.window -= moved;
    sl_mux_sent(s, moved);
    sl_mux_acked(s, moved);
    check_end(s);
}

static void on_resume(struct sl_mux_stream *s)
{
    wire.n_resumes++;
    if (s->n_unsent == 0)
        check_end(s);
}

static void on_consume(struct sl_mux_stream *s, size_t n)
{
    (void)s;
    wire.n_consumed += n;
}

static void on_reset(struct sl_mux_stream *s, enum sl_mux_error why)
{
    (void)s;
    wire.n_resets++;
    wire.why = why;
}

static const struct sl_mux_ops ops = {on_submit, on_submit_interim, on_write,
                                      on_resume, on_consume,        on_reset};

/* --- a handler that remembers --- */

static struct {
    struct sl_exchange *ex;
    struct sl_buf body;
    int n_requests, n_calls, n_fin, n_written, n_done, n_abort, abort_code, refused;
} seen;

static void on_body(struct sl_exchange *ex, const uint8_t *bytes, size_t len, bool fin)
{
    sl_check(ex == seen.ex);
    sl_buf_append(&seen.body, bytes, len);
    seen.n_calls++;
    seen.n_fin += fin;
}

static void on_written(struct sl_exchange *ex)
{
    sl_check(ex == seen.ex);
    seen.n_written++;
}

static void on_done(struct sl_exchange *ex)
{
    sl_check(ex == seen.ex);
    seen.ex = NULL;
    seen.n_done++;
}

static void on_abort(struct sl_exchange *ex, int code)
{
    sl_check(ex == seen.ex);
    seen.ex = NULL;
    seen.n_abort++;
    seen.abort_code = code;
}

static void on_request(struct sl_exchange *ex)
{
    static const struct sl_exchange_handler handler = {on_body, on_written, on_done, on_abort};

    ex->handler = &handler;
    seen.ex = ex;
    seen.n_requests++;
}

static void on_refused(const struct sl_peer *peer, int status, const char *why)
{
    sl_check(why != NULL && peer != NULL);
    seen.refused = status;
}

static const struct sl_http_service service = {
    .on_request = on_request, .on_refused = on_refused, .limits = SL_HTTP_LIMITS_DEFAULT};
static const struct sl_peer peer = {.is_tls = true};

static void settle(void)
{
    while (sl_loop_turn(loop, false))
        ;
}

static void field(struct sl_mux_stream *s, const char *name, const char *value)
{
    sl_head_field(&s->head, sl_str_c(name), sl_str_c(value));
}

static struct sl_mux_stream *open_stream(const char *method)
{
    struct sl_mux_stream *s = sl_mux_new(&ops, &service, &peer, loop, SL_HTTP_2);

    wire.window = 1 << 30;
    sl_list_append(&wire.streams, &s->link);
    field(s, ":method", method);
    field(s, ":scheme", "http");
    field(s, ":authority", "a");
    field(s, ":path", "/");
    return s;
}

static struct sl_mux_stream *request(const char *method, bool fin)
{
    struct sl_mux_stream *s = open_stream(method);

    sl_mux_on_head(s, fin);
    return s;
}

static void begin(void)
{
    memset(&seen, 0, sizeof(seen));
    memset(&wire, 0, sizeof(wire));
    sl_list_init(&wire.streams);
}

/* Every stream must be gone by now. */
static void end(void)
{
    settle();
    sl_check(sl_list_is_empty(&wire.streams) && seen.ex == NULL);
    sl_check(seen.n_done + seen.n_abort <= seen.n_requests);
    sl_buf_clear(&seen.body);
    sl_buf_clear(&wire.sent);
    sl_arena_clear(&wire.arena);
}

static void respond(int status, uint64_t length)
{
    struct sl_response res = {.status = status, .content_length = length};

    sl_exchange_respond(seen.ex, &res);
}

static int write_text(const char *text, bool fin)
{
    struct iovec iov = {(void *)text, strlen(text)};

    return sl_exchange_write(seen.ex, &iov, 1, fin);
}

static void a_short_answer_ends_the_exchange(void)
{
    struct sl_mux_stream *s;

    begin();
    s = request("GET", true);
    sl_check_str(seen.ex->req.scheme, SL_STR("https")); /* what the connection is, not ":scheme" */
    sl_exchange_reply(seen.ex, 200, SL_STR("text/plain"), SL_STR("ok"), NULL);
    sl_check_str(wire.head, SL_STR(":status=200|content-type=text/plain|content-length=2|"));
    sl_check(!wire.submit_fin && s->n_unsent == 2 && seen.n_done == 0);
    pump(s);
    sl_check(seen.n_done == 0); /* at the end of the turn */
    sl_mux_on_closed(s);
    settle();
    sl_check(seen.n_done == 1 && wire.n_resets == 0);
    sl_check_str(sl_buf_str(&wire.sent), SL_STR("ok"));
    end();
}

static void an_answer_without_body_is_one_frame(void)
{
    struct sl_mux_stream *s;

    begin();
    s = request("HEAD", true);
    respond(200, 5);
    sl_check(write_text("hello", true) == 0);
    sl_check(wire.submit_fin && s->n_unsent == 0);
    sl_check_str(wire.head, SL_STR(":status=200|content-length=5|"));
    sl_mux_on_closed(s);
    settle();
    sl_check(seen.n_done == 1);
    s = request("GET", true);
    respond(204, 0);
    sl_check(write_text("", true) == 0 && wire.submit_fin);
    sl_mux_on_closed(s);
    end();
    sl_check(seen.n_done == 2);
}

static void a_body_waits_until_it_is_wanted(void)
{
    static const uint8_t big[16 * 1024];
    struct sl_mux_stream *s;

    begin();
    s = request("POST", false);
    sl_mux_on_body(s, (const uint8_t *)"abc", 3, false);
    settle();
    sl_check(sl_buf_len(&seen.body) == 0 && wire.n_consumed == 0);
    sl_exchange_read(seen.ex, true);
    sl_check(sl_buf_len(&seen.body) == 0); /* not inside the call */
    settle();
    sl_check_str(sl_buf_str(&seen.body), SL_STR("abc"));
    sl_check(wire.n_consumed == 3);
    sl_mux_on_body(s, (const uint8_t *)"d", 1, false);
    sl_mux_on_body(s, (const uint8_t *)"e", 1, false);
    sl_check(seen.n_calls == 1);
    settle();
    sl_check(seen.n_calls == 2 && wire.n_consumed == 5); /* small pieces come together */
    sl_mux_on_body(s, big, sizeof(big), false);
    sl_check(seen.n_calls == 3 && wire.n_consumed == 5 + sizeof(big));
    sl_exchange_read(seen.ex, false);
    field(s, "x-sum", "1");
    sl_mux_on_body(s, (const uint8_t *)"f", 1, true);
    sl_check(seen.n_fin == 0 && !seen.ex->request_ended);
    sl_exchange_read(seen.ex, true);
    settle();
    sl_check(sl_buf_len(&seen.body) == 6 + sizeof(big));
    sl_check(seen.n_fin == 1 && seen.n_calls == 4 && wire.n_consumed == 6 + sizeof(big) &&
             seen.ex->request_ended);
    sl_check_str(sl_headers_get(&seen.ex->req.trailers, SL_STR("x-sum")), SL_STR("1"));
    sl_mux_kill(s, SL_E_RESET);
    sl_check(seen.n_abort == 1 && seen.abort_code == SL_E_RESET);
    end();
}

static void an_early_answer_ends_the_request(void)
{
    struct sl_mux_stream *s;

    begin();
    s = request("POST", false);
    sl_mux_on_body(s, (const uint8_t *)"abc", 3, false);
    sl_exchange_fail(seen.ex, 401);
    pump(s);
    sl_check(wire.n_resets == 1 && wire.why == SL_MUX_NO_ERROR);
    settle();
    sl_check(seen.n_done == 1 && wire.n_consumed == 3);
    sl_mux_on_body(s, (const uint8_t *)"de", 2, false); /* on its way already */
    sl_check(wire.n_consumed == 5);
    sl_mux_on_closed(s);
    end();
}

static void a_slow_reader_stops_the_writer(void)
{
    static char big[SL_MUX_HIGH + 1];
    struct iovec iov = {big, sizeof(big)};
    struct sl_mux_stream *s;

    begin();
    memset(big, 'x', sizeof(big));
    s = request("GET", true);
    respond(200, SL_LENGTH_UNKNOWN);
    sl_check(sl_exchange_write(seen.ex, &iov, 1, false) == SL_E_AGAIN);
    wire.window = sizeof(big) - SL_MUX_LOW - 1;
    pump(s);
    settle();
    sl_check(seen.n_written == 0 && s->n_unsent == SL_MUX_LOW + 1);
    wire.window = 1;
    pump(s);
    sl_check(seen.n_written == 0);
    settle();
    sl_check(seen.n_written == 1);
    wire.window = 1 << 20;
    sl_check(write_text("end", true) == 0);
    pump(s);
    sl_check(sl_buf_len(&wire.sent) == sizeof(big) + 3 && wire.wrote_fin);
    sl_mux_on_closed(s);
    end();
    sl_check(seen.n_done == 1);
}

static void what_the_version_takes_at_once_is_not_copied(void)
{
    struct sl_mux_stream *s;

    begin();
    wire.takes_writes = true;
    s = request("GET", true);
    wire.window = 3;
    respond(200, 5);
    sl_check(write_text("hello", true) == 0);
    sl_check_str(sl_buf_str(&wire.sent), SL_STR("hel"));
    sl_check(s->n_unsent == 2 && wire.n_resumes == 1);
    wire.window = 9;
    pump(s);
    sl_check_str(sl_buf_str(&wire.sent), SL_STR("hello"));
    sl_mux_on_closed(s);
    end();
    sl_check(seen.n_done == 1);
}

static void a_body_must_have_its_length(void)
{
    struct sl_mux_stream *s;

    begin();
    s = request("GET", true);
    respond(200, 5);
    sl_check(write_text("hell", false) == 0);
    sl_check(write_text("o!", false) == SL_E_PROTOCOL);
    sl_exchange_abort(seen.ex);
    seen.ex = NULL;
    sl_check(wire.n_resets == 1 && wire.why == SL_MUX_INTERNAL);
    sl_mux_on_closed(s);
    end();
    sl_check(seen.n_done + seen.n_abort == 0); /* it knows */
}

static void trailers_follow_the_body(void)
{
    struct sl_headers trailers = {0};
    struct sl_mux_stream *s;

    begin();
    s = request("GET", true);
    respond(200, SL_LENGTH_UNKNOWN);
    sl_headers_add(&trailers, &seen.ex->arena, SL_STR("Grpc-Status"), SL_STR("0"));
    seen.ex->res_trailers = &trailers;
    sl_check(write_text("", true) == 0);
    sl_check(!wire.submit_fin);
    sl_check_str(wire.trailers, SL_STR("grpc-status=0|"));
    sl_mux_on_closed(s);
    end();
    sl_check(seen.n_done == 1);
}

static void interim_responses_come_first(void)
{
    struct sl_response hints = {.status = 103, .content_length = SL_LENGTH_UNKNOWN};
    struct sl_mux_stream *s;

    begin();
    s = open_stream("POST");
    field(s, "expect", "100-continue");
    sl_mux_on_head(s, false);
    sl_exchange_read(seen.ex, true);
    sl_check_str(wire.head, SL_STR(":status=100|"));
    sl_exchange_read(seen.ex, false);
    sl_exchange_read(seen.ex, true);
    sl_check(wire.n_interims == 1);
    seen.ex->ops->interim(seen.ex, &hints);
    sl_check(wire.n_interims == 2 && wire.n_submits == 0);
    sl_mux_kill(s, SL_E_RESET);
    end();
}

static void bad_heads_and_trailers_are_refused(void)
{
    struct sl_mux_stream *s;

    begin();
    s = open_stream("GET");
    field(s, "host", "other");
    sl_mux_on_head(s, false);
    sl_check(seen.n_requests == 0 && seen.refused == 400);
    pump(s);
    sl_check(wire.n_resets == 1 && wire.why == SL_MUX_NO_ERROR);
    sl_mux_on_closed(s);
    settle();
    s = request("POST", false);
    for (int i = 0; i < 1000; i++)
        field(s, "x", "y");
    sl_mux_on_body(s, NULL, 0, true);
    sl_check(wire.n_resets == 2 && wire.why == SL_MUX_PROTOCOL);
    settle();
    sl_check(seen.n_abort == 1 && seen.abort_code == SL_E_PROTOCOL && seen.n_fin == 0);
    sl_mux_on_closed(s);
    end();
}

static void a_reset_aborts(void)
{
    struct sl_mux_stream *s;

    begin();
    s = request("GET", true);
    respond(200, 5);
    sl_check(write_text("he", false) == 0);
    sl_mux_on_reset(s, SL_E_CANCELLED);
    sl_check(seen.n_abort == 0);
    sl_check(write_text("llo", true) == SL_E_CLOSED);
    sl_mux_on_closed(s);
    settle();
    sl_check(seen.n_abort == 1 && seen.abort_code == SL_E_CANCELLED);
    end();
}

static void an_upgrade_is_a_raw_channel(void)
{
    struct sl_mux_stream *s;

    begin();
    s = open_stream("CONNECT");
    field(s, ":protocol", "websocket");
    field(s, "sec-websocket-version", "13");
    sl_mux_on_head(s, false);
    sl_check(seen.ex->request_ended);
    sl_check_str(seen.ex->req.upgrade, SL_STR("websocket"));
    sl_mux_on_body(s, (const uint8_t *)"early", 5, false);
    sl_exchange_read(seen.ex, true);
    settle();
    sl_check(sl_buf_len(&seen.body) == 0);
    respond(101, SL_LENGTH_UNKNOWN);
    sl_check(write_text("", false) == 0);
    sl_check_str(wire.head, SL_STR(":status=200|"));
    settle();
    sl_check_str(sl_buf_str(&seen.body), SL_STR("early"));
    sl_check(write_text("bye", true) == 0);
    pump(s);
    settle();
    sl_check(seen.n_done == 0 && wire.n_resets == 0); /* the client may go on */
    sl_mux_on_body(s, (const uint8_t *)"!", 1, true);
    settle();
    sl_check_str(sl_buf_str(&seen.body), SL_STR("early!"));
    sl_check(seen.n_done == 1 && seen.n_fin == 1);
    sl_mux_on_closed(s);
    end();
}

static void pass(uint64_t ms)
{
    for (uint64_t left = ms; left > 0; left -= SL_MIN(left, 50)) {
        sl_loop_skip(loop, SL_MIN(left, 50));
        settle();
    }
}

static void a_body_that_does_not_come_is_refused(void)
{
    struct sl_mux_stream *s;

    begin();
    s = request("POST", false);
    pass(service.limits.body_timeout * 2);
    sl_check(seen.n_abort == 0); /* nobody has asked for it */
    sl_exchange_read(seen.ex, true);
    pass(service.limits.body_timeout - 1000);
    sl_mux_on_body(s, (const uint8_t *)"a", 1, false);
    sl_check(seen.n_abort == 0);
    pass(2000);
    sl_check(seen.n_abort == 1 && seen.abort_code == SL_E_TIMEOUT && seen.refused == 408);
    pump(s);
    sl_check(wire.n_resets == 1 && wire.why == SL_MUX_NO_ERROR);
    sl_mux_on_closed(s);
    end();
}

/* One byte now and then holds the stream no longer than silence does; enough of them do. */
static void a_body_has_a_pace(void)
{
    static const uint8_t bytes[20000];
    struct sl_mux_stream *s;
    unsigned n = 0;

    begin();
    s = request("POST", false);
    sl_exchange_read(seen.ex, true);
    for (int i = 0; i < 5; i++) {
        pass(service.limits.body_timeout - 1000);
        sl_mux_on_body(s, bytes, sizeof(bytes), false);
        settle();
    }
    sl_check(seen.n_abort == 0);
    for (; n < 20 && seen.n_abort == 0; n++) {
        pass(service.limits.body_timeout / 8);
        sl_mux_on_body(s, bytes, 1, false);
        settle();
    }
    sl_check(n >= 7 && n <= 9 && seen.refused == 408);
    pump(s);
    sl_mux_on_closed(s);
    end();
}

static void a_dribbling_reader_is_reset(void)
{
    static const char text[2 * SL_MUX_PROGRESS];
    struct iovec iov = {(void *)text, sizeof(text)};
    struct sl_mux_stream *s;
    uint64_t passed = 0;

    begin();
    s = request("GET", true);
    respond(200, SL_LENGTH_UNKNOWN);
    sl_check(sl_exchange_write(seen.ex, &iov, 1, false) == 0);
    wire.window = SL_MUX_PROGRESS;
    pass(service.limits.write_timeout - 1000);
    pump(s); /* enough */
    pass(service.limits.write_timeout - 1000);
    sl_check(seen.n_abort == 0);
    for (; seen.n_abort == 0 && passed < service.limits.write_timeout; passed += 500) {
        wire.window = 1;
        pump(s);
        pass(500);
    }
    sl_check(passed < 2500 && wire.n_resets == 1 && wire.why == SL_MUX_TIMEOUT);
    sl_check(seen.abort_code == SL_E_TIMEOUT);
    sl_mux_on_closed(s);
    end();
}

int main(void)
{
    sl_check(sl_loop_new(&loop) == 0);
    a_short_answer_ends_the_exchange();
    an_answer_without_body_is_one_frame();
    a_body_waits_until_it_is_wanted();
    an_early_answer_ends_the_request();
    a_slow_reader_stops_the_writer();
    what_the_version_takes_at_once_is_not_copied();
    a_body_must_have_its_length();
    trailers_follow_the_body();
    interim_responses_come_first();
    bad_heads_and_trailers_are_refused();
    a_reset_aborts();
    an_upgrade_is_a_raw_channel();
    a_body_that_does_not_come_is_refused();
    a_body_has_a_pace();
    a_dribbling_reader_is_reset();
    sl_loop_free(loop);
    return sl_check_done();
}
