/* Targets that break the rules of HTTP/2, or keep them in ways that cost us dear: each ends the
 * call with a reason, and what it can make us hold or do is bounded. Frames are written by hand. */
#include "http/test_call.h"
#include "http/test_h2_target.h"

static struct sl_loop *loop;
static struct sl_dns *dns;
static struct sl_pool *pool;
static struct target t;
static struct caller c;
static struct sl_buf wire; /* what the target is about to say */

/* --- frames --- */

static void put_frame(uint8_t type, uint8_t flags, uint32_t stream, const void *payload, size_t len)
{
    uint8_t head[9] = {(uint8_t)(len >> 16),
                       (uint8_t)(len >> 8),
                       (uint8_t)len,
                       type,
                       flags,
                       (uint8_t)(stream >> 24),
                       (uint8_t)(stream >> 16),
                       (uint8_t)(stream >> 8),
                       (uint8_t)stream};

    sl_buf_append(&wire, head, sizeof(head));
    sl_buf_append(&wire, payload, len);
}

static void put_settings(void)
{
    put_frame(NGHTTP2_SETTINGS, 0, 0, NULL, 0);
}

/* RFC 7541, 5.1, with a prefix of 7 bits. */
static void put_length(struct sl_buf *b, size_t len)
{
    uint8_t byte = (uint8_t)SL_MIN(len, (size_t)127);

    sl_buf_append(b, &byte, 1);
    if (len < 127)
        return;
    for (len -= 127; len >= 128; len >>= 7) {
        byte = (uint8_t)(len & 127) | 128;
        sl_buf_append(b, &byte, 1);
    }
    byte = (uint8_t)len;
    sl_buf_append(b, &byte, 1);
}

/* A literal that enters no table. */
static void put_field(struct sl_buf *b, struct sl_str name, struct sl_str value)
{
    sl_buf_append(b, "", 1);
    put_length(b, name.len);
    sl_buf_append_str(b, name);
    put_length(b, value.len);
    sl_buf_append_str(b, value);
}

/* "name=value|name=value", in one frame. */
static void put_head(const char *text, uint8_t flags)
{
    struct sl_str left = sl_str_c(text), field;
    struct sl_buf block = {0};

    while (sl_str_next(&left, '|', &field)) {
        const char *eq = memchr(field.p, '=', field.len);
        size_t len = (size_t)(eq - field.p);

        put_field(&block, sl_str(field.p, len), sl_str(eq + 1, field.len - len - 1));
    }
    put_frame(NGHTTP2_HEADERS, flags | NGHTTP2_FLAG_END_HEADERS, 1, sl_buf_at(&block),
              sl_buf_len(&block));
    sl_buf_clear(&block);
}

static void say(void)
{
    if (sl_buf_len(&wire) > 0)
        target_raw(&t, 0, sl_buf_at(&wire), sl_buf_len(&wire));
    sl_buf_clear(&wire);
}

/* --- one call --- */

static void begin(void)
{
    sl_assert(sl_pool_new(&pool, loop, dns, NULL, NULL) == 0);
    target_begin(&t, loop);
    t.is_raw = true;
    caller_begin(&c, loop, pool, NULL);
    c.target.port = sl_addr_port(&t.at);
    c.target.protocol = SL_CALL_HTTP2;
    caller_start(&c);
    run_until(loop, t.n_conns == 1);
}

static void end(void)
{
    caller_end(&c);
    target_end(&t);
    sl_pool_free(pool);
    run_quiet(loop);
}

/* `why`: part of the reason. */
static void expect_failure(int code, const char *why)
{
    say();
    run_until(loop, caller_is_over(&c));
    sl_check(c.n_error == 1 && c.code == code);
    sl_check(c.call->detail != NULL && strstr(c.call->detail, why) != NULL);
    if (c.call->detail == NULL || strstr(c.call->detail, why) == NULL)
        sl_check_str(sl_str_c(c.call->detail != NULL ? c.call->detail : ""), sl_str_c(why));
}

/* The connection goes on: only the stream was wrong. */
static void expect_bad_stream(int code, const char *why)
{
    expect_failure(code, why);
    run_quiet(loop);
    sl_check(sl_pool_idle(pool) == 1);
    end();
}

static void expect_bad_connection(int code, const char *why)
{
    expect_failure(code, why);
    run_quiet(loop);
    sl_check(sl_pool_idle(pool) == 0);
    run_until(loop, t.conns[0].is_over);
    end();
}

/* --- no HTTP/2 at all --- */

static void what_is_no_http2(const char *text)
{
    begin();
    sl_buf_append(&wire, text, strlen(text));
    expect_bad_connection(SL_E_PROTOCOL, "does not speak HTTP/2");
}

static void settings_must_come_first(void)
{
    begin();
    put_head(":status=200", NGHTTP2_FLAG_END_STREAM);
    expect_bad_connection(SL_E_PROTOCOL, "");
}

/* --- malformed responses --- */

static void a_bad_head(const char *head, uint8_t flags, const char *why)
{
    begin();
    put_settings();
    put_head(head, flags);
    expect_bad_stream(SL_E_PROTOCOL, why);
}

static void a_body_before_its_head(void)
{
    begin();
    put_settings();
    put_frame(NGHTTP2_DATA, 0, 1, "x", 1);
    expect_bad_connection(SL_E_PROTOCOL, "");
}

static void a_body_of_another_length(const char *length)
{
    begin();
    put_settings();
    put_head(length, 0);
    put_frame(NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, "abc", 3);
    expect_bad_stream(SL_E_PROTOCOL, "");
}

static void a_body_for_head(void)
{
    sl_assert(sl_pool_new(&pool, loop, dns, NULL, NULL) == 0);
    target_begin(&t, loop);
    t.is_raw = true;
    caller_begin(&c, loop, pool, NULL);
    c.target.port = sl_addr_port(&t.at);
    c.target.protocol = SL_CALL_HTTP2;
    c.req.method = SL_STR("HEAD");
    caller_start(&c);
    run_until(loop, t.n_conns == 1);
    put_settings();
    put_head(":status=200|content-length=3", 0);
    put_frame(NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, "abc", 3);
    expect_bad_stream(SL_E_PROTOCOL, "");
}

static void a_push(void)
{
    begin();
    put_settings();
    put_frame(NGHTTP2_PUSH_PROMISE, NGHTTP2_FLAG_END_HEADERS, 1, "\0\0\0\2\x88", 5);
    expect_bad_connection(SL_E_PROTOCOL, "pushes");
}

static void a_stream_that_nobody_opened(void)
{
    begin();
    put_settings();
    put_frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 7, "\x88", 1);
    expect_bad_connection(SL_E_PROTOCOL, "");
}

static void a_broken_head_block(void)
{
    begin();
    put_settings();
    put_frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, "\xff\xff\xff\xff\xff\xff", 6);
    expect_bad_connection(SL_E_PROTOCOL, "");
}

/* More than the window that was given, while the caller takes nothing. */
static void more_than_the_window(void)
{
    static const char kilo[16 * 1024];

    begin();
    c.pauses = true;
    put_settings();
    put_head(":status=200", 0);
    for (int i = 0; i < 17; i++)
        put_frame(NGHTTP2_DATA, 0, 1, kilo, sizeof(kilo));
    expect_failure(SL_E_PROTOCOL, "");
    sl_check(sl_buf_len(&c.body) <= 256 * 1024);
    end();
}

/* --- heads without end --- */

static struct sl_str many_bytes(size_t len)
{
    char *text = sl_arena_alloc(&c.arena, len);

    memset(text, 'x', len);
    return sl_str(text, len);
}

static void a_large_head(void)
{
    struct sl_buf block = {0};

    begin();
    put_settings();
    put_field(&block, SL_STR(":status"), SL_STR("200"));
    for (int i = 0; i < 6; i++)
        put_field(&block, SL_STR("x"), many_bytes(12000));
    put_frame(NGHTTP2_HEADERS, 0, 1, sl_buf_at(&block), 16000);
    sl_buf_consume(&block, 16000);
    for (; sl_buf_len(&block) > 16000; sl_buf_consume(&block, 16000))
        put_frame(NGHTTP2_CONTINUATION, 0, 1, sl_buf_at(&block), 16000);
    put_frame(NGHTTP2_CONTINUATION, NGHTTP2_FLAG_END_HEADERS, 1, sl_buf_at(&block),
              sl_buf_len(&block));
    sl_buf_clear(&block);
    expect_bad_stream(SL_E_LIMIT, "the head is too large");
}

static void many_headers(bool as_trailers)
{
    struct sl_buf block = {0};

    begin();
    put_settings();
    if (as_trailers)
        put_head(":status=200", 0);
    else
        put_field(&block, SL_STR(":status"), SL_STR("200"));
    for (int i = 0; i < 600; i++)
        put_field(&block, SL_STR("x-a"), SL_STR("1"));
    put_frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, 1,
              sl_buf_at(&block), sl_buf_len(&block));
    sl_buf_clear(&block);
    expect_bad_stream(SL_E_LIMIT, "too many headers");
}

/* One field that enters the table, then thousands of bytes that each stand for it (HPACK bomb). */
static void a_head_from_a_small_block(void)
{
    struct sl_buf block = {0};
    uint8_t indexed = 0x80 | 62;

    begin();
    put_settings();
    put_field(&block, SL_STR(":status"), SL_STR("200"));
    sl_buf_append(&block, "\x40\x01x", 3);
    put_length(&block, 3900);
    sl_buf_append_str(&block, many_bytes(3900));
    for (int i = 0; i < 10000; i++)
        sl_buf_append(&block, &indexed, 1);
    put_frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, sl_buf_at(&block), sl_buf_len(&block));
    sl_buf_clear(&block);
    expect_bad_stream(SL_E_LIMIT, "the head is too large");
}

static void continuation_without_end(void)
{
    begin();
    put_settings();
    put_frame(NGHTTP2_HEADERS, 0, 1, NULL, 0);
    for (int i = 0; i < 1000; i++)
        put_frame(NGHTTP2_CONTINUATION, 0, 1, NULL, 0);
    expect_bad_connection(SL_E_PROTOCOL, "CONTINUATION");
}

/* --- floods --- */

static void a_flood(uint8_t type, uint8_t flags, uint32_t stream, const char *payload, size_t len)
{
    begin();
    put_settings();
    put_head(":status=200", 0);
    for (int i = 0; i < 3000; i++)
        put_frame(type, flags, stream, payload, len);
    expect_bad_connection(SL_E_PROTOCOL, "lood"); /* nghttp2 finds some by itself */
}

/* A stream that has ended is reset again and again. */
static void resets_of_what_has_ended(void)
{
    begin();
    put_settings();
    put_head(":status=200", NGHTTP2_FLAG_END_STREAM);
    say();
    run_until(loop, c.n_fin == 1);
    for (int i = 0; i < 3000; i++)
        put_frame(NGHTTP2_RST_STREAM, 0, 1, "\0\0\0\0", 4);
    say();
    run_until(loop, t.conns[0].is_over);
    sl_check(sl_pool_idle(pool) == 0 && c.n_error == 0);
    end();
}

/* As many as an honest target may send in a long life do no harm. */
static void no_flood(void)
{
    begin();
    put_settings();
    say();
    for (int i = 0; i < 5; i++) {
        for (int k = 0; k < 900; k++)
            put_frame(NGHTTP2_PING, 0, 0, "12345678", 8);
        say();
        run_quiet(loop);
        sl_loop_skip(loop, 1100);
        run_quiet(loop);
    }
    put_head(":status=200", NGHTTP2_FLAG_END_STREAM);
    say();
    run_until(loop, caller_is_over(&c));
    sl_check(c.n_fin == 1);
    end();
}

int main(void)
{
    sl_assert(sl_loop_new(&loop) == 0 && sl_dns_new(&dns, loop) == 0);
    what_is_no_http2("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    what_is_no_http2("SSH-2.0-OpenSSH_9.9 and some more bytes\r\n");
    settings_must_come_first();
    a_bad_head("x-a=1", NGHTTP2_FLAG_END_STREAM, "");
    a_bad_head(":status=20", NGHTTP2_FLAG_END_STREAM, "");
    a_bad_head(":status=002", NGHTTP2_FLAG_END_STREAM, "bad status");
    a_bad_head(":status=200|:status=200", NGHTTP2_FLAG_END_STREAM, "");
    a_bad_head(":status=101", NGHTTP2_FLAG_END_STREAM, "");
    a_bad_head(":status=103", NGHTTP2_FLAG_END_STREAM, "");
    a_bad_head(":status=200|connection=close", NGHTTP2_FLAG_END_STREAM, "");
    a_bad_head(":status=200|transfer-encoding=chunked", 0, "");
    a_bad_head(":status=200|X-A=1", NGHTTP2_FLAG_END_STREAM, "");
    a_bad_head(":status=200|x-a=1\r\nx-b: 2", NGHTTP2_FLAG_END_STREAM, "bad header field");
    a_bad_head(":status=200|:path=/", NGHTTP2_FLAG_END_STREAM, "");
    a_bad_head(":status=200|content-length=1|content-length=2", 0, "");
    a_bad_head(":status=200|content-length=-1", 0, "");
    a_body_before_its_head();
    a_body_of_another_length(":status=200|content-length=5");
    a_body_of_another_length(":status=200|content-length=2");
    a_body_for_head();
    a_push();
    a_stream_that_nobody_opened();
    a_broken_head_block();
    more_than_the_window();
    a_large_head();
    many_headers(false);
    many_headers(true);
    a_head_from_a_small_block();
    continuation_without_end();
    a_flood(NGHTTP2_PING, 0, 0, "12345678", 8);
    a_flood(NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, "12345678", 8);
    a_flood(NGHTTP2_SETTINGS, 0, 0, "", 0);
    a_flood(NGHTTP2_PRIORITY, 0, 1, "\0\0\0\0\1", 5);
    a_flood(NGHTTP2_DATA, 0, 1, "", 0);
    a_flood(NGHTTP2_GOAWAY, 0, 0, "\0\0\0\1\0\0\0\0", 8);
    resets_of_what_has_ended();
    no_flood();
    sl_dns_free(dns);
    sl_loop_free(loop);
    return sl_check_done();
}
