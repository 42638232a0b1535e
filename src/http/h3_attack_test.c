/*
 * What breaks the rules of HTTP/3 and QPACK, or goes to their edge, and the answer that is safe.
 *
 * nghttp3 knows no malformed message that is a matter of its stream alone: its stream errors are
 * connection errors here, which RFC 9114, 8 allows.
 */
#include "http/test_h3.h"

static struct sl_loop *loop;
static struct rig rig;
static struct rig *const r = &rig;

/* --- one input, one error --- */

enum {
    MESSAGE_ERROR = 0x10e,
    UNEXPECTED = 0x105,
    FRAME_ERROR = 0x106,
    SETTINGS_ERROR = 0x109,
    LOAD = 0x107,
};

/* Bytes on a stream, raw. Without control streams of a client before them. */
static const struct raw_row {
    const char *name;
    int64_t id;
    struct sl_str bytes;
    bool fin;
    uint64_t error;
} raw_rows[] = {
#define RAW(name, id, bytes, error) {name, id, SL_STR(bytes), false, error}
#define RAW_FIN(name, id, bytes, error) {name, id, SL_STR(bytes), true, error}
    /* frames on the wrong stream or at the wrong time */
    RAW("Q-23 DATA before HEADERS", 0, "\x00\x01x", UNEXPECTED),
    RAW("Q-23 second SETTINGS", 2, "\x00\x04\x00\x04\x00", UNEXPECTED),
    RAW("no SETTINGS first", 2, "\x00\x07\x01\x00", 0x10a),
    RAW("SETTINGS in a request", 0, "\x04\x00", UNEXPECTED),
    RAW("GOAWAY in a request", 0, "\x07\x01\x00", UNEXPECTED),
    RAW("PUSH_PROMISE in a request", 0, "\x05\x01\x00", UNEXPECTED),
    RAW("CANCEL_PUSH in a request", 0, "\x03\x01\x00", UNEXPECTED),
    RAW("MAX_PUSH_ID in a request", 0, "\x0d\x01\x00", UNEXPECTED),
    RAW("PRIORITY of HTTP/2", 0, "\x02\x00", UNEXPECTED),
    RAW("PING of HTTP/2", 0, "\x06\x00", UNEXPECTED),
    RAW("WINDOW_UPDATE of HTTP/2", 0, "\x08\x00", UNEXPECTED),
    RAW("CONTINUATION of HTTP/2", 0, "\x09\x00", UNEXPECTED),
    RAW("DATA on the control stream", 2, "\x00\x04\x00\x00\x01x", UNEXPECTED),
    RAW("HEADERS on the control stream", 2, "\x00\x04\x00\x01\x01x", UNEXPECTED),
    RAW("PING of HTTP/2 on the control stream", 2, "\x00\x04\x00\x06\x00", UNEXPECTED),
    RAW("empty GOAWAY", 2, "\x00\x04\x00\x07\x00", FRAME_ERROR),
    RAW("MAX_PUSH_ID that goes back", 2, "\x00\x04\x00\x0d\x01\x05\x0d\x01\x04", FRAME_ERROR),
    RAW("GOAWAY that goes on", 2, "\x00\x04\x00\x07\x01\x00\x07\x01\x04", 0x108),
    RAW("PRIORITY_UPDATE of a push", 2, "\x00\x04\x00\x80\x0f\x07\x01\x01\x00", 0x108),
    RAW("PRIORITY_UPDATE far ahead", 2, "\x00\x04\x00\x80\x0f\x07\x00\x02\x50\x00", 0x108),
    RAW("PRIORITY_UPDATE of our stream", 2, "\x00\x04\x00\x80\x0f\x07\x00\x01\x03", 0x108),
    /* settings */
    RAW("Q-23 HTTP/2 setting 2", 2, "\x00\x04\x02\x02\x00", SETTINGS_ERROR),
    RAW("Q-23 HTTP/2 setting 3", 2, "\x00\x04\x02\x03\x00", SETTINGS_ERROR),
    RAW("Q-23 HTTP/2 setting 4", 2, "\x00\x04\x02\x04\x00", SETTINGS_ERROR),
    RAW("Q-23 HTTP/2 setting 5", 2, "\x00\x04\x02\x05\x00", SETTINGS_ERROR),
    RAW("Q-23 duplicate setting", 2, "\x00\x04\x04\x01\x20\x01\x20", SETTINGS_ERROR),
    RAW("Q-23 other duplicate setting", 2, "\x00\x04\x04\x07\x20\x07\x20", SETTINGS_ERROR),
    RAW("datagrams: 2", 2, "\x00\x04\x02\x33\x02", SETTINGS_ERROR),
    RAW("half a setting", 2, "\x00\x04\x01\x01", FRAME_ERROR),
    /* streams */
    RAW("push from a client", 2, "\x01\x00", 0x103),
    RAW_FIN("the control stream ends", 2, "\x00\x04\x00", 0x104),
    RAW_FIN("the encoder stream ends", 2, "\x02", 0x104),
    RAW_FIN("the decoder stream ends", 2, "\x03", 0x104),
    RAW_FIN("a frame that is cut", 0, "\x01\x05\x00", FRAME_ERROR),
    RAW_FIN("a frame header that is cut", 0, "\x01", FRAME_ERROR),
    RAW_FIN("no request at all", 0, "", UNEXPECTED),
    /* QPACK */
    RAW("Q-25 static index 99", 0, "\x01\x04\x00\x00\xff\x24", 0x200),
    RAW("Q-25 static name 99", 0, "\x01\x05\x00\x00\x5f\x54\x00", 0x200),
    RAW("Q-25 dynamic index of an empty table", 0, "\x01\x03\x00\x00\x80", 0x200),
    RAW("Q-25 insert count beyond the table", 0, "\x01\x04\xff\xff\x01\x00", 0x200),
    RAW("Q-25 base below 0", 0, "\x01\x03\x00\x80\xc1", 0x200),
    RAW("Q-25 integer without end", 0,
        "\x01\x10\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x00", 0x200),
    RAW("Q-25 bad Huffman code", 0, "\x01\x08\x00\x00\x51\x84\xff\xff\xff\xff", 0x200),
    RAW("Q-25 capacity 4097", 2, "\x02\x3f\xe2\x1f", 0x201),
    RAW("Q-25 insert without capacity", 2, "\x02\xc0\x01x", 0x201),
    RAW("Q-25 static name 99 in an insert", 2, "\x02\x3f\xe1\x1f\xff\x24\x01x", 0x201),
    RAW("Q-25 duplicate of nothing", 2, "\x02\x3f\xe1\x1f\x00", 0x201),
    RAW("Q-25 insert count 0", 2, "\x03\x00", 0x202),
    RAW("Q-25 insert count beyond ours", 2, "\x03\x01", 0x202),
    RAW("Q-25 acknowledges what nobody sent", 2, "\x03\x80", 0x202),
#undef RAW
#undef RAW_FIN
};

static void begin_bare(void)
{
    rig_begin_with(r, loop);
    rig_serve(r);
}

static void check_error(const char *name, uint64_t error)
{
    if (r->quic.is_closed && r->quic.error == error && r->n_requests == 0)
        return;
    fprintf(stderr, "%s: closed %d, error 0x%llx, %d requests\n", name, r->quic.is_closed,
            (unsigned long long)r->quic.error, r->n_requests);
    sl_check(!"the right error");
}

static void say_slowly(int64_t id, struct sl_str bytes, bool fin)
{
    for (size_t i = 0; i < bytes.len; i++)
        rig_say(r, id, sl_str(bytes.p + i, 1), false);
    if (fin)
        rig_say(r, id, SL_STR(""), true);
}

static void test_raw_rows(void)
{
    for (size_t i = 0; i < SL_COUNT(raw_rows); i++) {
        const struct raw_row *row = &raw_rows[i];

        begin_bare();
        rig_say(r, row->id, row->bytes, row->fin);
        check_error(row->name, row->error);
        rig_end(r);
        begin_bare();
        say_slowly(row->id, row->bytes, row->fin);
        if (!row->fin)
            check_error(row->name, row->error);
        else
            sl_check(r->quic.is_closed && r->n_requests == 0);
        rig_end(r);
    }
}

/* --- heads (Q-26) --- */

#define REST "|:scheme: https|:path: /|:authority: a"

static const struct head_row {
    const char *name, *fields;
    bool is_good;
} head_rows[] = {
    {"no :method", ":scheme: https|:path: /|:authority: a", false},
    {"no :scheme", ":method: GET|:path: /|:authority: a", false},
    {"no :path", ":method: GET|:scheme: https|:authority: a", false},
    {"no :authority, no Host", ":method: GET|:scheme: https|:path: /", false},
    {"empty :path", ":method: GET|:scheme: https|:path: |:authority: a", false},
    {"two :method", ":method: GET|:method: GET" REST, false},
    {"two :path", RIG_GET("/") "|:path: /b", false},
    {"two :scheme", RIG_GET("/") "|:scheme: https", false},
    {"two :authority", RIG_GET("/") "|:authority: a", false},
    {":status", RIG_GET("/") "|:status: 200", false},
    {"unknown pseudo-header", RIG_GET("/") "|:evil: 1", false},
    {"pseudo-header behind a field", ":method: GET|x: y" REST, false},
    {"Connection", RIG_GET("/") "|connection: close", false},
    {"Keep-Alive", RIG_GET("/") "|keep-alive: 5", false},
    {"Proxy-Connection", RIG_GET("/") "|proxy-connection: close", false},
    {"Transfer-Encoding", RIG_POST("/") "|transfer-encoding: chunked", false},
    {"Upgrade", RIG_GET("/") "|upgrade: websocket", false},
    {"TE: gzip", RIG_GET("/") "|te: gzip", false},
    {"TE: trailers", RIG_GET("/") "|te: trailers", true},
    {"upper case", RIG_GET("/") "|X-Upper: 1", false},
    {"bad Content-Length", RIG_POST("/") "|content-length: 5x", false},
    {"two Content-Length", RIG_POST("/") "|content-length: 0|content-length: 0", false},
    {"body shorter than it should be", RIG_POST("/") "|content-length: 5", false},
    {":protocol without CONNECT", RIG_GET("/") "|:protocol: websocket", false},
    {"Host in place of :authority", ":method: GET|:scheme: https|:path: /|host: a", true},
};

static void test_head_rows(void)
{
    for (size_t i = 0; i < SL_COUNT(head_rows); i++) {
        const struct head_row *row = &head_rows[i];

        rig_begin(r, loop);
        r->on_request = rig_leave_it;
        rig_ask(r, 0, row->fields, "");
        if (row->is_good) {
            sl_check(!r->quic.is_closing && r->n_requests == 1);
        } else if (!r->quic.is_closed || r->quic.error != MESSAGE_ERROR) {
            fprintf(stderr, "%s: error 0x%llx\n", row->name, (unsigned long long)r->quic.error);
            sl_check(!"the right error");
        }
        rig_end(r);
    }
}

/* A body that is longer than it was said to be: its handler has seen no more than was said. */
static void test_long_body(void)
{
    rig_begin(r, loop);
    rig_ask(r, 0, RIG_POST("/") "|content-length: 5", "hello, world");
    sl_check(r->quic.error == MESSAGE_ERROR && r->reqs[0].n_abort == 1);
    sl_check(sl_buf_len(&r->reqs[0].body) <= 5 && r->reqs[0].n_fin == 0);
    rig_end(r);
}

/* Fields that no header of HTTP/1 could be do not reach anybody. */
static void test_dropped_fields(void)
{
    struct sl_buf section = {0}, b = {0};

    rig_begin(r, loop);
    r->on_request = rig_leave_it;
    put_section(&section, RIG_GET("/"));
    put_field(&section, SL_STR("a b"), SL_STR("1"));
    put_field(&section, SL_STR("a\r\nb"), SL_STR("1"));
    put_field(&section, SL_STR("c"), SL_STR("1\r\nevil: 1"));
    put_field(&section, SL_STR("d"), SL_STR("1\0"));
    put_field(&section, SL_STR("good"), SL_STR("1"));
    put_frame(&b, RIG_HEADERS, sl_buf_str(&section));
    rig_say_buf(r, 0, &b, true);
    sl_buf_clear(&section);
    sl_check(r->n_requests == 1 && r->reqs[0].ex->req.headers.n == 2); /* good and Host */
    sl_check_str(sl_headers_get(&r->reqs[0].ex->req.headers, SL_STR("good")), SL_STR("1"));
    rig_end(r);
}

/* What nghttp3 leaves to us is a matter of the request alone. */
static void test_refused(void)
{
    rig_begin(r, loop);
    rig_ask(r, 0, RIG_GET("/") "|host: other", "");
    rig_ask(r, 4, ":method: CONNECT|:authority: a:443", "");
    rig_ask(r, 8, RIG_GET("/a#b"), "");
    rig_ask(r, 12, ":method: GET|:scheme: ftp|:path: /|:authority: a", "");
    rig_ask(r, 16, RIG_GET("/"), "");
    sl_check_str(rig_seen(r, 0).status, SL_STR("400"));
    sl_check_str(rig_seen(r, 4).status, SL_STR("405"));
    sl_check_str(rig_seen(r, 8).status, SL_STR("400"));
    sl_check_str(rig_seen(r, 12).status, SL_STR("400"));
    sl_check_str(rig_seen(r, 16).status, SL_STR("200"));
    sl_check(r->n_requests == 1 && r->n_refused == 4);
    rig_end(r);
}

/* --- streams --- */

static void test_critical_streams(void)
{
    rig_begin(r, loop);
    rig_say(r, 14, SL_STR("\x00\x04\x00"), false);
    sl_check(r->quic.error == 0x103); /* a second control stream */
    rig_end(r);
    rig_begin(r, loop);
    rig_say(r, 14, SL_STR("\x02"), false);
    sl_check(r->quic.error == 0x103); /* a second encoder stream */
    rig_end(r);
    rig_begin(r, loop);
    fake_reset(&r->quic, 2, 0x10c);
    rig_settle(r);
    sl_check(r->quic.error == 0x104);
    rig_end(r);
    rig_begin(r, loop);
    fake_stop(&r->quic, 3, 0x10c);
    rig_settle(r);
    sl_check(r->quic.error == 0x104);
    rig_end(r);
}

/* Requests before we could open our own streams: the client broke the rules by not allowing them.
 */
static void test_no_streams_for_us(void)
{
    rig_begin_with(r, loop);
    r->quic.max_own = 2;
    rig_serve(r);
    rig_ask(r, 0, RIG_GET("/"), "");
    sl_check(r->quic.is_closed && r->quic.error == 0x101 && r->n_requests == 0);
    rig_end(r);
}

/* Unknown streams and frames are grease; only so much of it. */
static void test_grease(void)
{
    struct sl_buf b = {0};

    rig_begin(r, loop);
    rig_say(r, 14, SL_STR("\x21grease"), false);
    sl_check(rig_stream(r, 14)->was_stopped && !r->quic.is_closing);
    rig_say(r, 18, SL_STR("\x40\x54grease"), true);
    rig_say(r, 22, SL_STR(""), true);
    fake_reset(&r->quic, 26, 0);
    rig_settle(r);
    put_frame(&b, 0x21, SL_STR("grease"));
    put_frame(&b, 0xf0700, SL_STR("\x00u=1"));
    rig_say_buf(r, 2, &b, false);
    rig_ask(r, 0, RIG_GET("/"), "");
    sl_check_str(rig_seen(r, 0).status, SL_STR("200"));
    for (int i = 0; i < 2000; i++)
        put_frame(&b, 0x21, SL_STR(""));
    rig_say_buf(r, 2, &b, false);
    sl_check(r->quic.is_closed && r->quic.error == LOAD);
    rig_end(r);
}

static void test_flood_of_streams(void)
{
    rig_begin(r, loop);
    for (int64_t id = 14; id < 14 + 4 * 2000; id += 4)
        rig_say(r, id, SL_STR("\x21"), true);
    sl_check(r->quic.is_closed && r->quic.error == LOAD);
    rig_end(r);
}

/* One reset for each request, as browsers do it now and then. */
static void reset_many(int n)
{
    for (int i = 0; i < n && !r->quic.is_closing; i++) {
        int64_t id = 4 * (int64_t)r->n_requests;

        r->on_request = rig_leave_it;
        rig_ask(r, id, RIG_GET("/"), "");
        fake_stop(&r->quic, id, 0x10c);
        rig_settle(r);
    }
}

static void test_rapid_resets(void)
{
    rig_begin_with(r, loop);
    r->service.limits.max_resets = 20;
    rig_serve(r);
    rig_open_control(r, SL_STR(""));
    reset_many(20);
    sl_check(!r->quic.is_closing);
    rig_pass(r, 61000);
    reset_many(20);
    sl_check(!r->quic.is_closing && r->n_requests == 40);
    reset_many(1);
    sl_check(r->quic.is_closed && r->quic.error == LOAD);
    rig_end(r);
}

/* Trailers that are too much, again and again: we are made to reset. */
static void test_provoked_resets(void)
{
    struct sl_buf fields = {0};

    rig_begin_with(r, loop);
    r->service.limits.max_resets = 5;
    rig_serve(r);
    rig_open_control(r, SL_STR(""));
    for (int i = 0; i < 300; i++)
        sl_buf_printf(&fields, "x-%d: y|", i);
    sl_buf_append(&fields, "", 1);
    for (int i = 0; i < 6; i++) {
        sl_check(!r->quic.is_closing);
        rig_head(r, 4 * i, RIG_POST("/"), false);
        rig_head(r, 4 * i, (char *)sl_buf_at(&fields), true);
        sl_check(r->reqs[i].n_abort == 1 && rig_stream(r, 4 * i)->reset_error == MESSAGE_ERROR);
    }
    sl_check(r->quic.is_closed && r->quic.error == LOAD);
    sl_buf_clear(&fields);
    rig_end(r);
}

/* --- sizes --- */

static void test_big_heads(void)
{
    struct sl_buf fields = {0};

    rig_begin(r, loop);
    sl_buf_append_str(&fields, SL_STR(RIG_GET("/")));
    for (int i = 0; i < 1000; i++)
        sl_buf_printf(&fields, "|x-%d: y", i);
    sl_buf_append(&fields, "", 1);
    rig_ask(r, 0, (char *)sl_buf_at(&fields), "and a body");
    sl_check_str(rig_seen(r, 0).status, SL_STR("431"));
    sl_buf_reset(&fields);
    sl_buf_append_str(&fields, SL_STR(":method: GET|:scheme: https|:authority: a|:path: /"));
    for (int i = 0; i < 20000; i++)
        sl_buf_append(&fields, "x", 1);
    sl_buf_append(&fields, "", 1);
    rig_ask(r, 4, (char *)sl_buf_at(&fields), "");
    sl_check_str(rig_seen(r, 4).status, SL_STR("414"));
    sl_check(r->n_requests == 0 && !r->quic.is_closing);
    sl_buf_clear(&fields);
    rig_end(r);
}

/* A frame that announces more than anybody will wait for, and a field that nghttp3 does not take.
 */
static void test_endless_head(void)
{
    static const char value[60000];
    struct sl_buf field = {0}, frame = {0};

    rig_begin(r, loop);
    put_varint(&frame, RIG_HEADERS);
    put_varint(&frame, 1 << 29);
    sl_buf_append(&frame, "\0\0", 2);
    rig_say_buf(r, 0, &frame, false);
    put_field(&field, SL_STR("x"), sl_str(value, sizeof(value)));
    memset(sl_buf_at(&field) + 5, 'v', sl_buf_len(&field) - 5);
    for (int i = 0; i < 20 && !r->quic.is_closing; i++)
        rig_say(r, 0, sl_buf_str(&field), false);
    sl_check(r->quic.is_closed && r->quic.error == LOAD && r->n_requests == 0);
    sl_buf_clear(&field);
    rig_end(r);
    rig_begin(r, loop);
    put_varint(&frame, RIG_HEADERS);
    put_varint(&frame, 1 << 29);
    sl_buf_append(&frame, "\0\0", 2);
    put_number(&frame, 0x20, 3, 1 << 20);
    rig_say_buf(r, 0, &frame, false);
    sl_check(r->quic.is_closed && r->quic.error == LOAD);
    rig_end(r);
}

/* --- time --- */

static void test_slow_head(void)
{
    /* a frame of 64 bytes: the prefix of a section, and a name of 71 bytes that begins */
    static const char head[] = "\x40\x40\0\0\x27\x40xy";

    rig_begin(r, loop);
    rig_say(r, 0, SL_STR("\x01"), false);
    for (int i = 0; i < 8; i++) {
        rig_pass(r, 2000);
        rig_say(r, 0, sl_str(head + i, 1), false);
    }
    sl_check(rig_stream(r, 0)->was_reset && rig_stream(r, 0)->reset_error == 0x10b);
    sl_check(rig_stream(r, 0)->was_stopped && !r->quic.is_closing);
    fake_reset(&r->quic, 0, 0);
    rig_settle(r);
    sl_check(sl_http_conn_is_idle(r->conn));
    rig_ask(r, 4, RIG_GET("/"), "");
    sl_check_str(rig_seen(r, 4).status, SL_STR("200"));
    rig_end(r);
}

/* A head that names an entry of the table that has not come (required insert count 1): no stream
 * may wait for one. */
static void test_head_before_its_table(void)
{
    rig_begin(r, loop);
    rig_say(r, 6, SL_STR("\x3f\xe1\x1f"), false);
    rig_say(r, 0, SL_STR("\x01\x03\x02\x00\x80"), true);
    sl_check(r->quic.is_closed && r->quic.error == 0x200 && r->n_requests == 0);
    rig_end(r);
}

/* LM-05 */
static void test_body_that_never_comes(void)
{
    rig_begin(r, loop);
    rig_head(r, 0, RIG_POST("/") "|content-length: 5", false);
    rig_pass(r, 29000);
    sl_check(r->reqs[0].ex != NULL);
    rig_pass(r, 3000);
    sl_check_str(rig_seen(r, 0).status, SL_STR("408"));
    sl_check(rig_seen(r, 0).fin && rig_stream(r, 0)->was_stopped);
    sl_check(r->reqs[0].n_abort == 1 && r->reqs[0].abort_code == SL_E_TIMEOUT);
    rig_ask(r, 4, RIG_GET("/"), "");
    sl_check_str(rig_seen(r, 4).status, SL_STR("200"));
    rig_end(r);
}

/* LM-07: the client asks, and reads nothing. However small the answer is. */
static void check_unread(size_t len)
{
    rig_begin_with(r, loop);
    r->quic.window = 0;
    rig_serve(r);
    rig_open_control(r, SL_STR(""));
    r->on_request = rig_leave_it;
    rig_ask(r, 0, RIG_GET("/"), "");
    rig_respond(&r->reqs[0], 200, len);
    (void)rig_write(&r->reqs[0], sl_str(sl_arena_alloc(&r->arena, len), len), true);
    rig_pass(r, 58000);
    sl_check(r->reqs[0].ex != NULL);
    rig_pass(r, 4000);
    sl_check(r->reqs[0].n_abort == 1 && r->reqs[0].abort_code == SL_E_TIMEOUT);
    sl_check(rig_stream(r, 0)->was_reset && rig_stream(r, 0)->reset_error == 0x10c);
    sl_check(!r->quic.is_closing && sl_http_conn_is_idle(r->conn));
    rig_end(r);
}

static void test_unread_answers(void)
{
    check_unread(2);
    check_unread(2000);
    check_unread(200000);
}

int main(void)
{
    sl_assert(sl_loop_new(&loop) == 0);
    test_raw_rows();
    test_head_rows();
    test_long_body();
    test_dropped_fields();
    test_refused();
    test_critical_streams();
    test_no_streams_for_us();
    test_grease();
    test_flood_of_streams();
    test_rapid_resets();
    test_provoked_resets();
    test_big_heads();
    test_endless_head();
    test_slow_head();
    test_head_before_its_table();
    test_body_that_never_comes();
    test_unread_answers();
    sl_loop_free(loop);
    return sl_check_done();
}
