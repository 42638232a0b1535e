/*
 * What targets may answer: each row is sent by a real server on the loopback, at once and then byte
 * by byte, and must be understood in the same way. Then the target closes its side.
 */
#include "http/test_call.h"

#define OK "HTTP/1.1 200 OK\r\n"
#define CHUNKED OK "Transfer-Encoding: chunked\r\n\r\n"

enum outcome { REUSED, CLOSED, UNTIL_CLOSE, FAILS, FAILS_AT_CLOSE };

static const struct row {
    const char *name, *method;
    struct sl_str bytes;
    const char *heads; /* "status name=value|…", NULL: none is given */
    const char *body;
    enum outcome outcome;
    int code, n_interim;
} rows[] = {
#define ROW(name, method, bytes, heads, body, outcome, ...)                                        \
    {name, method, SL_STR(bytes), heads, body, outcome, __VA_ARGS__}
    ROW("length", "GET", OK "Content-Length: 5\r\n\r\nhello", "200 Content-Length=5|", "hello",
        REUSED, 0, 0),
    ROW("length 0", "GET", OK "Content-Length: 0\r\n\r\n", "200 Content-Length=0|", "", REUSED, 0,
        0),
    ROW("length 0 to POST", "POST", OK "content-length:0\r\n\r\n", "200 content-length=0|", "",
        REUSED, 0, 0),
    ROW("chunks", "GET", CHUNKED "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        "200 Transfer-Encoding=chunked|", "hello", REUSED, 0, 0),
    ROW("an empty body in chunks", "GET", CHUNKED "0\r\n\r\n", "200 Transfer-Encoding=chunked|", "",
        REUSED, 0, 0),
    ROW("chunks with extensions", "GET", CHUNKED "5;a=b;c=\"d\"\r\nhello\r\n0;x\r\n\r\n",
        "200 Transfer-Encoding=chunked|", "hello", REUSED, 0, 0),
    ROW("until it closes", "GET", OK "\r\nhello", "200 ", "hello", UNTIL_CLOSE, 0, 0),
    ROW("nothing until it closes", "GET", OK "\r\n", "200 ", "", UNTIL_CLOSE, 0, 0),
    ROW("an old server", "GET", "HTTP/1.0 200 OK\r\n\r\nhello", "200 ", "hello", UNTIL_CLOSE, 0, 0),
    ROW("an old server with length", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "200 Content-Length=5|", "hello", CLOSED, 0, 0),
    ROW("an old server that stays", "GET",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
        "200 Connection=keep-alive|Content-Length=5|", "hello", REUSED, 0, 0),
    ROW("an old server with chunks", "GET",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "200 Connection=keep-alive|Transfer-Encoding=chunked|", "", CLOSED, 0, 0),
    ROW("it says close", "GET", OK "Connection: x, Close\r\nContent-Length: 5\r\n\r\nhello",
        "200 Connection=x, Close|Content-Length=5|", "hello", CLOSED, 0, 0),
    ROW("HEAD with length", "HEAD", OK "Content-Length: 5\r\n\r\n", "200 Content-Length=5|", "",
        REUSED, 0, 0),
    ROW("HEAD with chunks", "HEAD", CHUNKED, "200 Transfer-Encoding=chunked|", "", REUSED, 0, 0),
    ROW("HEAD without length", "HEAD", OK "\r\n", "200 ", "", REUSED, 0, 0),
    ROW("HEAD with a body", "HEAD", OK "Content-Length: 5\r\n\r\nhello", "200 Content-Length=5|",
        "", CLOSED, 0, 0),
    ROW("204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", "204 ", "", REUSED, 0, 0),
    ROW("304 with length", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        "304 Content-Length=5|", "", REUSED, 0, 0),
    ROW("no reason", "GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "200 Content-Length=0|",
        "", REUSED, 0, 0),
    ROW("an unknown status", "GET", "HTTP/1.1 799 X\r\nContent-Length: 0\r\n\r\n",
        "799 Content-Length=0|", "", REUSED, 0, 0),
    ROW("bytes nobody asked for", "GET", OK "Content-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n",
        "200 Content-Length=5|", "hello", CLOSED, 0, 0),
    ROW("interim responses", "GET",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" OK
        "Content-Length: 5\r\n\r\nhello",
        "200 Content-Length=5|", "hello", REUSED, 0, 2),
    ROW("an interim response with a length", "GET",
        "HTTP/1.1 103 X\r\nContent-Length: 9\r\n\r\n" OK "Content-Length: 0\r\n\r\n",
        "200 Content-Length=0|", "", REUSED, 0, 1),
    /* cut off */
    ROW("nothing", "GET", "", NULL, "", FAILS_AT_CLOSE, SL_E_CLOSED, 0),
    ROW("cut in the head", "GET", OK "Content-Le", NULL, "", FAILS_AT_CLOSE, SL_E_CLOSED, 0),
    ROW("cut behind an interim head", "GET", "HTTP/1.1 100 Continue\r\n\r\n", NULL, "",
        FAILS_AT_CLOSE, SL_E_CLOSED, 1),
    ROW("cut in the body", "GET", OK "Content-Length: 9\r\n\r\nhello", "200 Content-Length=9|",
        "hello", FAILS_AT_CLOSE, SL_E_CLOSED, 0),
    ROW("cut in a chunk", "GET", CHUNKED "9\r\nhello", "200 Transfer-Encoding=chunked|", "hello",
        FAILS_AT_CLOSE, SL_E_CLOSED, 0),
    ROW("cut between chunks", "GET", CHUNKED "5\r\nhello\r\n", "200 Transfer-Encoding=chunked|",
        "hello", FAILS_AT_CLOSE, SL_E_CLOSED, 0),
    ROW("cut in the trailers", "GET", CHUNKED "0\r\nX: y\r\n", "200 Transfer-Encoding=chunked|", "",
        FAILS_AT_CLOSE, SL_E_CLOSED, 0),
    /* broken */
    ROW("garbage", "GET", "SSH-2.0-OpenSSH_9.2\r\n", NULL, "", FAILS, SL_E_PROTOCOL, 0),
    ROW("TLS", "GET", "\x15\x03\x01\0\x02\x02\x46", NULL, "", FAILS, SL_E_PROTOCOL, 0),
    ROW("HTTP/2", "GET", "HTTP/2.0 200 OK\r\n\r\n", NULL, "", FAILS, SL_E_PROTOCOL, 0),
    ROW("HTTP/0.9", "GET", "HTTP/0.9 200 OK\r\n\r\n", NULL, "", FAILS, SL_E_PROTOCOL, 0),
    ROW("a status of 99", "GET", "HTTP/1.1 099 X\r\n\r\n", NULL, "", FAILS, SL_E_PROTOCOL, 0),
    ROW("a status of four digits", "GET", "HTTP/1.1 2000 X\r\n\r\n", NULL, "", FAILS, SL_E_PROTOCOL,
        0),
    ROW("no status", "GET", "HTTP/1.1 OK\r\n\r\n", NULL, "", FAILS, SL_E_PROTOCOL, 0),
    ROW("length and chunks", "GET",
        OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", NULL, "", FAILS,
        SL_E_PROTOCOL, 0),
    ROW("chunks and length", "GET",
        OK "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", NULL, "", FAILS,
        SL_E_PROTOCOL, 0),
    ROW("two lengths", "GET", OK "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", NULL, "",
        FAILS, SL_E_PROTOCOL, 0),
    ROW("two equal lengths", "GET", OK "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", NULL,
        "", FAILS, SL_E_PROTOCOL, 0),
    ROW("a bad length", "GET", OK "Content-Length: 5x\r\n\r\nhello", NULL, "", FAILS, SL_E_PROTOCOL,
        0),
    ROW("an empty length", "GET", OK "Content-Length:\r\n\r\n", NULL, "", FAILS, SL_E_PROTOCOL, 0),
    ROW("a huge length", "GET", OK "Content-Length: 18446744073709551617\r\n\r\n", NULL, "", FAILS,
        SL_E_PROTOCOL, 0),
    ROW("two codings", "GET",
        OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", NULL, "",
        FAILS, SL_E_PROTOCOL, 0),
    ROW("a coding we do not know", "GET", OK "Transfer-Encoding: gzip\r\n\r\n", NULL, "", FAILS,
        SL_E_PROTOCOL, 0),
    ROW("two codings in one", "GET", OK "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", NULL,
        "", FAILS, SL_E_PROTOCOL, 0),
    ROW("a folded header", "GET", OK "X: a\r\n b\r\n\r\n", NULL, "", FAILS, SL_E_PROTOCOL, 0),
    ROW("a blank before the colon", "GET", OK "X : a\r\n\r\n", NULL, "", FAILS, SL_E_PROTOCOL, 0),
    ROW("no colon", "GET", OK "X\r\n\r\n", NULL, "", FAILS, SL_E_PROTOCOL, 0),
    ROW("a NUL", "GET", OK "X: a\0b\r\n\r\n", NULL, "", FAILS, SL_E_PROTOCOL, 0),
    ROW("a bare CR", "GET", OK "X: a\rb\r\n\r\n", NULL, "", FAILS, SL_E_PROTOCOL, 0),
    ROW("a bare LF", "GET", OK "X: a\nY: b\r\n\r\n", NULL, "", FAILS, SL_E_PROTOCOL, 0),
    ROW("a bad chunk size", "GET", CHUNKED "0x5\r\nhello\r\n", "200 Transfer-Encoding=chunked|", "",
        FAILS, SL_E_PROTOCOL, 0),
    ROW("a chunk that is longer", "GET", CHUNKED "5\r\nhello!\r\n",
        "200 Transfer-Encoding=chunked|", NULL, FAILS, SL_E_PROTOCOL, 0),
#undef ROW
};

static struct sl_loop *loop;
static struct sl_dns *dns;
static struct sl_pool *pool;
static struct origin o;
static struct caller c;

static void begin(void)
{
    origin_begin(&o, loop);
    caller_begin(&c, loop, pool, &o);
}

static void begin_asked(const char *method)
{
    begin();
    c.req.method = sl_str_c(method);
    caller_start(&c);
    run_until(loop, o.n_conns == 1 && origin_got(&o, 0, "\r\n\r\n"));
}

static void end(void)
{
    caller_end(&c);
    origin_end(&o);
    run_until(loop, sl_pool_idle(pool) == 0);
}

static void send_row(struct sl_str bytes, bool slowly)
{
    for (size_t i = 0; slowly && i < bytes.len; i++) {
        if (o.conns[0].stream->error == 0)
            (void)sl_stream_write1(o.conns[0].stream, bytes.p + i, 1, false);
        for (int k = 0; k < 4; k++)
            sl_loop_turn(loop, false);
    }
    if (!slowly && bytes.len > 0)
        (void)sl_stream_write1(o.conns[0].stream, bytes.p, bytes.len, false);
}

static bool ends_by_itself(enum outcome outcome)
{
    return outcome == REUSED || outcome == CLOSED || outcome == FAILS;
}

static void check_row(const struct row *row, bool slowly)
{
    int n_before = sl_check_failures;

    begin_asked(row->method);
    send_row(row->bytes, slowly);
    if (ends_by_itself(row->outcome)) {
        run_until(loop, caller_is_over(&c));
    } else {
        run_quiet(loop);
        sl_check(!caller_is_over(&c));
        origin_fin(&o, 0);
        run_until(loop, caller_is_over(&c));
    }
    sl_check(c.n_head == (row->heads != NULL) && c.n_interim == row->n_interim);
    if (row->heads != NULL)
        sl_check_str(c.heads, sl_str_c(row->heads));
    if (row->body != NULL)
        sl_check_str(sl_buf_len(&c.body) > 0 ? sl_buf_str(&c.body) : SL_STR(""),
                     sl_str_c(row->body));
    sl_check((c.n_error == 1) == (row->outcome == FAILS || row->outcome == FAILS_AT_CLOSE));
    sl_check(c.code == row->code && c.n_fin + c.n_error == 1);
    if (row->bytes.len == 0)
        sl_check(!c.got_bytes);
    run_quiet(loop);
    sl_call_free(&c.call);
    sl_check(sl_pool_idle(pool) == (row->outcome == REUSED));
    if (sl_check_failures != n_before)
        fprintf(stderr, "in %s%s\n", row->name, slowly ? ", byte by byte" : "");
    end();
}

/* --- what a table cannot say --- */

static void flood(const char *head, const char *unit, size_t n, int code)
{
    begin_asked("GET");
    origin_say(&o, 0, head);
    for (size_t i = 0; i < n && !caller_is_over(&c); i++) {
        if (!o.conns[0].stream->is_writing)
            origin_say(&o, 0, unit);
        sl_loop_turn(loop, false);
    }
    run_until(loop, caller_is_over(&c));
    sl_check(c.n_error == 1 && c.code == code && c.n_head <= 1);
    end();
}

static void floods_are_bounded(void)
{
    char unit[1001];

    memset(unit, 'a', sizeof(unit) - 1);
    unit[sizeof(unit) - 1] = '\0';
    flood(OK "X: ", unit, 100000, SL_E_LIMIT);
    flood(OK, unit, 100000, SL_E_LIMIT);
    flood(OK, "X: y\r\nX: y\r\nX: y\r\nX: y\r\n", 100000, SL_E_LIMIT);
    flood("", "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n", 100000, SL_E_LIMIT);
    flood(CHUNKED "5;", unit, 100000, SL_E_PROTOCOL);
    flood(CHUNKED "0\r\nX: ", unit, 100000, SL_E_LIMIT);
}

static void trailers_come_with_the_end(void)
{
    begin_asked("GET");
    origin_say(&o, 0,
               CHUNKED "5\r\nhello\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\nAlt-Svc: a\r\n\r\n");
    run_until(loop, c.n_fin == 1);
    sl_check_str(c.trailers, SL_STR("X-Sum=1|"));
    end();
}

static void a_large_body_arrives_whole(bool is_chunked)
{
    enum { N = 200, LEN = 10000 };
    static char part[LEN + 1];
    int sent = 0;

    memset(part, 'p', LEN);
    begin_asked("GET");
    origin_say(&o, 0, is_chunked ? CHUNKED : OK "Content-Length: 2000000\r\n\r\n");
    while (sent < N) {
        run_until(loop, !o.conns[0].stream->is_writing);
        if (is_chunked)
            origin_say(&o, 0, "2710\r\n");
        run_until(loop, !o.conns[0].stream->is_writing);
        origin_say(&o, 0, part);
        run_until(loop, !o.conns[0].stream->is_writing);
        if (is_chunked)
            origin_say(&o, 0, "\r\n");
        sent++;
    }
    run_until(loop, !o.conns[0].stream->is_writing);
    if (is_chunked)
        origin_say(&o, 0, "0\r\n\r\n");
    run_until(loop, c.n_fin == 1);
    sl_check(sl_buf_len(&c.body) == (size_t)N * LEN);
    end();
}

int main(void)
{
    sl_assert(sl_loop_new(&loop) == 0 && sl_dns_new(&dns, loop) == 0);
    sl_assert(sl_pool_new(&pool, loop, dns, NULL, NULL) == 0);
    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        check_row(&rows[i], false);
        check_row(&rows[i], true);
    }
    floods_are_bounded();
    trailers_come_with_the_end();
    a_large_body_arrives_whole(false);
    a_large_body_arrives_whole(true);
    sl_pool_free(pool);
    sl_dns_free(dns);
    sl_loop_free(loop);
    return sl_check_done();
}
