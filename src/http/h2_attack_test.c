/*
 * What breaks the rules of HTTP/2, or is at their edge, and the answer that is safe. Each case is
 * sent at once and then byte by byte; the answer must be the same. After an error of a stream the
 * connection must still serve; after an error of the connection it must be gone.
 */
#include "http/test_h2.h"

static struct sl_loop *loop;
static struct h2_rig r;
static struct sl_buf out;

/* --- what a client may send --- */

static void frame(int type, int flags, uint32_t id, const char *payload, size_t len)
{
    h2_put(&out, type, flags, id, payload, len);
}

#define FRAME(type, flags, id, literal) frame(type, flags, id, literal, sizeof(literal) - 1)

static void head(uint32_t id, int flags, struct sl_buf *fields)
{
    frame(NGHTTP2_HEADERS, flags | END_HEADERS, id, (const char *)sl_buf_at(fields),
          sl_buf_len(fields));
    sl_buf_clear(fields);
}

static void request(uint32_t id, const char *method, int flags)
{
    struct sl_buf fields = {0};

    h2_put_request(&fields, method, "/");
    head(id, flags, &fields);
}

/* A GET with one more field behind its own. */
static void get_with(uint32_t id, const char *name, const char *value)
{
    struct sl_buf fields = {0};

    h2_put_request(&fields, "GET", "/");
    h2_put_field(&fields, name, value);
    head(id, FIN, &fields);
}

static void number(int type, uint32_t id, uint32_t value)
{
    uint8_t bytes[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
                        (uint8_t)value};

    frame(type, 0, id, (const char *)bytes, 4);
}

/* --- the answers --- */

static void serves_on(const char *name, uint32_t id)
{
    char want[40];
    struct sl_str seen;

    h2_get(&r, id, "/next");
    snprintf(want, sizeof(want), "%u:200 %u:d2.", id, id);
    seen = h2_seen(&r);
    if (!sl_str_eq(seen, sl_str_c(want)))
        fprintf(stderr, "%s: the next request was not served\n", name);
    sl_check_str(seen, sl_str_c(want));
}

static void run(const char *name, const char *want, int n_handled, bool slowly)
{
    bool is_fatal = strstr(want, "GOAWAY") != NULL;
    struct sl_str seen;

    r.service.limits = sl_http_limits_default;
    if (slowly) /* nghttp2 counts the pieces in which they arrive */
        r.service.limits.max_continuations = 64;
    h2_begin(&r, loop);
    for (size_t i = 0; slowly && i < sl_buf_len(&out); i++)
        h2_send(&r, sl_buf_at(&out) + i, 1);
    if (!slowly)
        h2_send(&r, sl_buf_at(&out), sl_buf_len(&out));
    seen = h2_seen(&r);
    if (!sl_str_eq(seen, sl_str_c(want)) || r.n_requests != n_handled)
        fprintf(stderr, "%s%s: %d handled\n", name, slowly ? " slowly" : "", r.n_requests);
    sl_check_str(seen, sl_str_c(want));
    sl_check(r.n_requests == n_handled);
    sl_check(h2_is_closed(&r) == is_fatal);
    sl_check(!is_fatal || (r.n_refused == 1 && sl_buf_len(&r.why) > 0));
    if (!is_fatal)
        serves_on(name, 99);
    h2_end(&r);
}

/* Sends what was put together so far. */
static void check(const char *name, const char *want, int n_handled)
{
    run(name, want, n_handled, false);
    run(name, want, n_handled, true);
    sl_buf_clear(&out);
}

/* --- connections --- */

static void bad_prefaces(void)
{
    static const char *const prefaces[] = {
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\rX",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" /* then no SETTINGS */
        "\0\0\x08\x06\0\0\0\0\0"
        "12345678",
    };
    static const size_t lens[] = {24, 27, 24 + 9 + 8};

    for (size_t i = 0; i < SL_COUNT(prefaces); i++) {
        h2_begin_quiet(&r, loop, H2_PIPE);
        h2_send(&r, prefaces[i], lens[i]);
        h2_check(&r, "SETTINGS 0:+983041 GOAWAY(0,PROTOCOL_ERROR)");
        sl_check(h2_is_closed(&r) && r.n_refused == 1 && r.refused_status == 400);
        h2_end(&r);
    }
}

static void frames_that_are_too_large(void)
{
    static char big[16385];

    request(1, "POST", 0);
    frame(NGHTTP2_DATA, 0, 1, big, sizeof(big));
    check("H2-02", "GOAWAY(1,FRAME_SIZE_ERROR)", 1);
    frame(NGHTTP2_HEADERS, END_HEADERS, 1, big, sizeof(big));
    check("H2-02 HEADERS", "GOAWAY(0,FRAME_SIZE_ERROR)", 0);
    FRAME(NGHTTP2_PING, 0, 0, "1234567");
    check("short PING", "GOAWAY(0,FRAME_SIZE_ERROR)", 0);
    request(1, "GET", 0);
    FRAME(NGHTTP2_RST_STREAM, 0, 1, "123");
    check("short RST_STREAM", "GOAWAY(1,FRAME_SIZE_ERROR)", 1);
}

static void bad_hpack(void)
{
    FRAME(NGHTTP2_HEADERS, FIN | END_HEADERS, 1, "\xff\xff\xff\xff\xff\x0f");
    check("H2-04 number too large", "GOAWAY(1,COMPRESSION_ERROR)", 0);
    FRAME(NGHTTP2_HEADERS, FIN | END_HEADERS, 1, "\xbf");
    check("H2-04 index 63", "GOAWAY(1,COMPRESSION_ERROR)", 0);
    FRAME(NGHTTP2_HEADERS, FIN | END_HEADERS, 1, "\x80");
    check("H2-04 index 0", "GOAWAY(1,COMPRESSION_ERROR)", 0);
    FRAME(NGHTTP2_HEADERS, FIN | END_HEADERS, 1, "\x3f\xe2\x1f\x82");
    check("H2-04 table of 4097", "GOAWAY(1,COMPRESSION_ERROR)", 0);
    FRAME(NGHTTP2_HEADERS, FIN | END_HEADERS, 1, "\x82\x20");
    check("H2-04 late table size", "GOAWAY(1,COMPRESSION_ERROR)", 0);
    FRAME(NGHTTP2_HEADERS, FIN | END_HEADERS, 1,
          "\x00\x05"
          "ab");
    check("H2-04 cut short", "GOAWAY(1,COMPRESSION_ERROR)", 0);
    FRAME(NGHTTP2_HEADERS, FIN | END_HEADERS, 1,
          "\x00\x81\xff\x01"
          "a");
    check("H2-04 padding of Huffman code", "GOAWAY(1,COMPRESSION_ERROR)", 0);
}

static void continuations_out_of_order(void)
{
    FRAME(NGHTTP2_HEADERS, 0, 1, "\x82");
    FRAME(NGHTTP2_PING, 0, 0, "12345678");
    check("H2-05 PING", "GOAWAY(1,PROTOCOL_ERROR)", 0);
    FRAME(NGHTTP2_HEADERS, 0, 1, "\x82");
    FRAME(NGHTTP2_DATA, 0, 1, "x");
    check("H2-05 DATA", "GOAWAY(1,PROTOCOL_ERROR)", 0);
    FRAME(NGHTTP2_HEADERS, 0, 1, "\x82");
    FRAME(NGHTTP2_CONTINUATION, END_HEADERS, 3, "\x86");
    check("H2-05 of another stream", "GOAWAY(1,PROTOCOL_ERROR)", 0);
    FRAME(NGHTTP2_HEADERS, 0, 1, "\x82");
    FRAME(0x77, 0, 0, "unknown");
    check("H2-05 unknown frame", "GOAWAY(1,PROTOCOL_ERROR)", 0);
    FRAME(NGHTTP2_CONTINUATION, END_HEADERS, 1, "\x82");
    check("H2-05 CONTINUATION alone", "GOAWAY(0,PROTOCOL_ERROR)", 0);
}

static void more_streams_than_allowed(void)
{
    struct sl_buf fields = {0};

    r.on_request = h2_leave_it;
    r.service.limits = sl_http_limits_default;
    r.service.limits.max_streams = 2;
    h2_begin(&r, loop);
    sl_check(r.max_streams == 2);
    h2_get(&r, 1, "/");
    h2_get(&r, 3, "/");
    h2_get(&r, 5, "/");
    h2_request(&r, 7, "POST", "/", 0);
    h2_data(&r, 7, "body", 0);
    h2_check(&r, "5:RST(REFUSED_STREAM) 7:RST(REFUSED_STREAM)");
    h2_answer(&r, r.ex[0]);
    h2_settle(&r);
    h2_check(&r, "1:200 1:d2.");
    h2_put_request(&fields, "GET", "/again");
    h2_head(&r, 9, FIN, &fields);
    sl_check(r.n_requests == 3 && r.n_refused == 0);
    h2_end(&r);
}

static void frames_on_wrong_streams(void)
{
    FRAME(NGHTTP2_DATA, 0, 0, "x");
    check("H2-08 DATA on 0", "GOAWAY(0,PROTOCOL_ERROR)", 0);
    FRAME(NGHTTP2_DATA, 0, 5, "x");
    check("DATA on an idle stream", "GOAWAY(0,PROTOCOL_ERROR)", 0);
    FRAME(NGHTTP2_HEADERS, FIN | END_HEADERS, 0, "\x82");
    check("HEADERS on 0", "GOAWAY(0,PROTOCOL_ERROR)", 0);
    FRAME(NGHTTP2_HEADERS, FIN | END_HEADERS, 2, "\x82");
    check("HEADERS on an even stream", "GOAWAY(0,PROTOCOL_ERROR)", 0);
    number(NGHTTP2_RST_STREAM, 5, 8);
    check("H2-10", "GOAWAY(0,PROTOCOL_ERROR)", 0);
    number(NGHTTP2_RST_STREAM, 0, 8);
    check("RST_STREAM on 0", "GOAWAY(0,PROTOCOL_ERROR)", 0);
    number(NGHTTP2_WINDOW_UPDATE, 5, 8);
    check("WINDOW_UPDATE on an idle stream", "GOAWAY(0,PROTOCOL_ERROR)", 0);
    FRAME(NGHTTP2_SETTINGS, 0, 1, "");
    check("SETTINGS on a stream", "GOAWAY(0,PROTOCOL_ERROR)", 0);
    FRAME(NGHTTP2_PUSH_PROMISE, END_HEADERS, 1, "\0\0\0\x02\x82");
    check("PUSH_PROMISE", "GOAWAY(0,PROTOCOL_ERROR)", 0);
}

/* nghttp2 makes an error of the connection of some errors of streams, as anybody may (RFC 9113,
 * 5.4.1). */
static void data_on_closed_streams(void)
{
    r.on_request = h2_leave_it;
    h2_begin(&r, loop);
    h2_get(&r, 1, "/");
    h2_data(&r, 1, "x", 0);
    h2_check(&r, "GOAWAY(1,STREAM_CLOSED)"); /* H2-08 */
    sl_check(h2_is_closed(&r) && r.n_abort == 1);
    h2_end(&r);
    h2_begin(&r, loop);
    h2_get(&r, 1, "/");
    h2_check(&r, "1:200 1:d2.");
    h2_data(&r, 1, "x", 0); /* nobody remembers it any more */
    h2_check(&r, "");
    serves_on("DATA on a stream that is over", 3);
    h2_end(&r);
}

static void bad_settings(void)
{
    FRAME(NGHTTP2_SETTINGS, ACK, 0, "\0\x03\0\0\0\x01");
    check("H2-11 ACK with payload", "GOAWAY(0,FRAME_SIZE_ERROR)", 0);
    FRAME(NGHTTP2_SETTINGS, 0, 0, "\0\x03\0\0\0");
    check("H2-11 five bytes", "GOAWAY(0,FRAME_SIZE_ERROR)", 0);
    FRAME(NGHTTP2_SETTINGS, 0, 0, "\0\x02\0\0\0\x02");
    check("ENABLE_PUSH 2", "GOAWAY(0,PROTOCOL_ERROR)", 0);
    FRAME(NGHTTP2_SETTINGS, 0, 0, "\0\x04\x80\0\0\0");
    check("window of 2^31", "GOAWAY(0,FLOW_CONTROL_ERROR)", 0);
    FRAME(NGHTTP2_SETTINGS, 0, 0, "\0\x05\0\0\x3f\xff");
    check("MAX_FRAME_SIZE 16383", "GOAWAY(0,PROTOCOL_ERROR)", 0);
    FRAME(NGHTTP2_SETTINGS, 0, 0, "\0\x77\0\0\0\x02");
    check("unknown setting", "ACK", 0);
}

static void bad_windows(void)
{
    number(NGHTTP2_WINDOW_UPDATE, 0, 0);
    check("H2-13 connection", "GOAWAY(0,PROTOCOL_ERROR)", 0);
    request(1, "POST", 0);
    number(NGHTTP2_WINDOW_UPDATE, 1, 0);
    check("H2-13 stream", "GOAWAY(1,PROTOCOL_ERROR)", 1);
    number(NGHTTP2_WINDOW_UPDATE, 0, 0x7fffffff);
    check("H2-14 connection", "GOAWAY(0,FLOW_CONTROL_ERROR)", 0);
    request(1, "POST", 0);
    number(NGHTTP2_WINDOW_UPDATE, 1, 0x7fffffff);
    check("H2-14 stream", "1:RST(FLOW_CONTROL_ERROR)", 1);
}

/* --- heads --- */

static void bad_fields(void)
{
    static const struct {
        const char *name, *field, *value;
    } rows[] = {
        {"H2-16 upper case", "X-Upper", "1"},
        {"H2-16 connection", "connection", "close"},
        {"H2-16 keep-alive", "keep-alive", "1"},
        {"H2-16 proxy-connection", "proxy-connection", "1"},
        {"H2-16 transfer-encoding", "transfer-encoding", "chunked"},
        {"H2-16 upgrade", "upgrade", "websocket"},
        {"H2-16 te", "te", "gzip"},
        {"H2-17 doubled", ":path", "/b"},
        {"H2-17 unknown", ":unknown", "x"},
        {"H2-17 of a response", ":status", "200"},
        {"H2-17 :protocol on GET", ":protocol", "websocket"},
        {"H2-19 CR", "x", "a\rb"},
        {"H2-19 LF", "x", "a\nb: c"},
        {"H2-19 leading space", "x", " a"},
        {"H2-19 trailing space", "x", "a "},
        {"H2-19 trailing tab", "x", "a\t"},
        {"H2-19 empty name", "", "a"},
        {"H2-19 space in name", "a b", "c"},
        {"H2-19 colon in name", "a:b", "c"},
        {"H2-19 LF in name", "a\nb", "c"},
        {"two lengths", "content-length", "5, 5"},
        {"a length without a body", "content-length", "5"},
        {"negative length", "content-length", "-1"},
    };

    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        get_with(1, rows[i].field, rows[i].value);
        check(rows[i].name, "1:RST(PROTOCOL_ERROR)", 0);
    }
    get_with(1, "te", "trailers");
    check("te: trailers", "1:200 1:d2.", 1);
}

static void a_nul_in_a_value(void)
{
    struct sl_buf fields = {0};

    h2_put_request(&fields, "GET", "/");
    sl_buf_append(&fields, "\0\1x\3a\0b", 7);
    head(1, FIN, &fields);
    check("H2-19 NUL", "1:RST(PROTOCOL_ERROR)", 0);
    h2_put_request(&fields, "GET", "/");
    sl_buf_append(&fields, "\0\3a\0b\1x", 7);
    head(1, FIN, &fields);
    check("H2-19 NUL in name", "1:RST(PROTOCOL_ERROR)", 0);
}

/* The fields of `which`, by number, of the usual four. */
static void only(const char *name, const char *which, const char *path)
{
    static const char *const names[] = {":method", ":scheme", ":authority", ":path"};
    const char *values[] = {"GET", "http", "a", path};
    struct sl_buf fields = {0};

    for (; *which != '\0'; which++)
        h2_put_field(&fields, names[*which - '0'], values[*which - '0']);
    head(1, FIN, &fields);
    check(name, "1:RST(PROTOCOL_ERROR)", 0);
}

static void bad_pseudo_headers(void)
{
    struct sl_buf fields = {0};

    only("H2-17 no method", "123", "/");
    only("H2-17 no scheme", "023", "/");
    only("H2-17 no path", "012", "/");
    only("H2-17 empty path", "0123", "");
    only("H2-17 path without a slash", "0123", "index");
    only("H2-17 GET *", "0123", "*");
    only("H2-17 doubled", "01233", "/");
    h2_put_field(&fields, ":method", "GET");
    h2_put_field(&fields, "x", "y");
    h2_put_field(&fields, ":scheme", "http");
    h2_put_field(&fields, ":path", "/");
    head(1, FIN, &fields);
    check("H2-17 late", "1:RST(PROTOCOL_ERROR)", 0);
    request(1, "POST", 0);
    h2_put_field(&fields, ":path", "/b");
    head(1, FIN, &fields);
    check("H2-17 in trailers", "1:RST(PROTOCOL_ERROR)", 1);
    request(1, "POST", 0);
    h2_put_field(&fields, "x", "y");
    head(1, 0, &fields);
    check("trailers that end nothing", "1:RST(PROTOCOL_ERROR)", 1);
}

/* These are answered: the client has kept to HTTP/2, its request is what is wrong. */
static void bad_requests(void)
{
    struct sl_buf fields = {0};

    get_with(1, "host", "b");
    check("H2-20", "1:400 1:d37.", 0);
    get_with(1, "host", "A");
    check("H2-20 equal", "1:200 1:d2.", 1);
    h2_put_field(&fields, ":method", "GET");
    h2_put_field(&fields, ":scheme", "http");
    h2_put_field(&fields, ":path", "/");
    head(1, FIN, &fields);
    check("no authority", "1:RST(PROTOCOL_ERROR)", 0);
    h2_put_field(&fields, ":method", "CONNECT");
    h2_put_field(&fields, ":authority", "a:443");
    head(1, 0, &fields);
    check("CONNECT", "1:405 1:d44. 1:RST(NO_ERROR)", 0);
    h2_put_request(&fields, "CONNECT", "/");
    h2_put_field(&fields, ":protocol", "websocket");
    h2_put_field(&fields, "sec-websocket-version", "12");
    head(1, 0, &fields);
    check("H2-28", "1:400 1:d37. 1:RST(NO_ERROR)", 0);
}

static void bodies_that_are_not_as_long_as_said(void)
{
    struct sl_buf fields = {0};

    h2_put_request(&fields, "POST", "/");
    h2_put_field(&fields, "content-length", "5");
    head(1, 0, &fields);
    FRAME(NGHTTP2_DATA, FIN, 1, "four");
    check("too short", "1:RST(PROTOCOL_ERROR)", 1);
    h2_put_request(&fields, "POST", "/");
    h2_put_field(&fields, "content-length", "5");
    head(1, 0, &fields);
    FRAME(NGHTTP2_DATA, FIN, 1, "sixsix");
    check("too long", "1:RST(PROTOCOL_ERROR)", 1);
}

/* One entry of 4,000 bytes in the table, and 8,000 times its index. */
static void an_hpack_bomb(void)
{
    static char value[4000], refs[8000];
    struct sl_buf fields = {0};

    memset(value, 'v', sizeof(value) - 1);
    memset(refs, 0xbe, sizeof(refs));
    h2_put_request(&fields, "GET", "/");
    sl_buf_append(&fields, "\x40", 1); /* a literal that enters the table */
    h2_put_text(&fields, "x", 1);
    h2_put_text(&fields, value, sizeof(value) - 1);
    sl_buf_append(&fields, refs, sizeof(refs));
    head(1, FIN, &fields);
    check("H2-26", "1:431 1:d57.", 0);
    h2_put_request(&fields, "GET", "/");
    for (int i = 0; i < 300; i++)
        h2_put_field(&fields, "x", "y");
    head(1, FIN, &fields);
    check("H2-26 many", "1:431 1:d57.", 0);
}

int main(void)
{
    sl_check(sl_loop_new(&loop) == 0);
    bad_prefaces();
    frames_that_are_too_large();
    bad_hpack();
    continuations_out_of_order();
    more_streams_than_allowed();
    frames_on_wrong_streams();
    data_on_closed_streams();
    bad_settings();
    bad_windows();
    bad_fields();
    a_nul_in_a_value();
    bad_pseudo_headers();
    bad_requests();
    bodies_that_are_not_as_long_as_said();
    an_hpack_bomb();
    sl_loop_free(loop);
    return sl_check_done();
}
