/*
 * What breaks the rules, or is at their edge, and the answer that is safe. Each row is sent at once
 * and then byte by byte; the answer must be the same. `n_handled` counts the requests that reach
 * the handler: a row that is refused by its head reaches none, and one that is refused by its body
 * never delivers a byte of it nor its end when it comes in one piece.
 */
#include "http/test_server.h"

#define HEAD(method) method " / HTTP/1.1\r\nHost: a\r\n"
#define CHUNKED HEAD("POST") "Transfer-Encoding: chunked\r\n\r\n"

enum fate { KEPT, CLOSED };

static const struct row {
    const char *name;
    struct sl_str bytes;
    const char *statuses;
    int n_handled;
    enum fate fate;
} rows[] = {
#define ROW(name, bytes, statuses, n, fate) {name, SL_STR(bytes), statuses, n, fate}
    /* both lengths */
    ROW("H1-01", HEAD("POST") "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "400", 0, CLOSED),
    ROW("H1-01 other order",
        HEAD("POST") "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", "400", 0,
        CLOSED),
    ROW("H1-01 length 0", HEAD("POST") "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "400", 0, CLOSED),
    /* lengths */
    ROW("H1-02", HEAD("POST") "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "400", 0,
        CLOSED),
    ROW("H1-02 equal", HEAD("POST") "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "400", 0,
        CLOSED),
    ROW("H1-02 list", HEAD("POST") "Content-Length: 5, 5\r\n\r\nhello", "400", 0, CLOSED),
    ROW("H1-04", HEAD("POST") "Content-Length:\r\n\r\n", "400", 0, CLOSED),
    ROW("H1-04 blank", HEAD("POST") "Content-Length: \t \r\n\r\n", "400", 0, CLOSED),
    ROW("H1-05", HEAD("POST") "Content-Length:\r\nContent-Length: 43\r\n\r\n", "400", 0, CLOSED),
    ROW("H1-07", HEAD("POST") "Content-Length: 18446744073709551617\r\n\r\n", "400", 0, CLOSED),
    ROW("H1-07 2^64-1", HEAD("POST") "Content-Length: 18446744073709551615\r\n\r\n", "400", 0,
        CLOSED),
    ROW("H1-07 2^63", HEAD("POST") "Content-Length: 9223372036854775808\r\n\r\n", "400", 0, CLOSED),
    ROW("length +5", HEAD("POST") "Content-Length: +5\r\n\r\nhello", "400", 0, CLOSED),
    ROW("length -5", HEAD("POST") "Content-Length: -5\r\n\r\nhello", "400", 0, CLOSED),
    ROW("length 0x5", HEAD("POST") "Content-Length: 0x5\r\n\r\nhello", "400", 0, CLOSED),
    ROW("length 5 5", HEAD("POST") "Content-Length: 5 5\r\n\r\nhello", "400", 0, CLOSED),
    ROW("length 5.0", HEAD("POST") "Content-Length: 5.0\r\n\r\nhello", "400", 0, CLOSED),
    ROW("length 1_0", HEAD("POST") "Content-Length: 1_0\r\n\r\nhello", "400", 0, CLOSED),
    ROW("length 5;", HEAD("POST") "Content-Length: 5;\r\n\r\nhello", "400", 0, CLOSED),
    ROW("length with zeros", HEAD("POST") "Content-Length: 0005\r\n\r\nhello", "200", 1, KEPT),
    ROW("length with blanks", HEAD("POST") "Content-Length:   5  \r\n\r\nhello", "200", 1, KEPT),
    /* codings */
    ROW("H1-08",
        HEAD("POST") "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "400", 0, CLOSED),
    ROW("H1-08 list", HEAD("POST") "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", "400", 0,
        CLOSED),
    ROW("H1-08 empty",
        HEAD("POST") "Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "501", 0,
        CLOSED),
    ROW("H1-10", HEAD("POST") "Transfer-Encoding: blegh\r\n\r\n", "501", 0, CLOSED),
    ROW("coding identity", HEAD("POST") "Transfer-Encoding: identity\r\n\r\n", "501", 0, CLOSED),
    ROW("coding xchunked", HEAD("POST") "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "501", 0,
        CLOSED),
    ROW("coding chunkedx", HEAD("POST") "Transfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n", "501", 0,
        CLOSED),
    ROW("coding \"chunked\"", HEAD("POST") "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", "501",
        0, CLOSED),
    ROW("coding with VT",
        HEAD("POST") "Transfer-Encoding: \x0b"
                     "chunked\r\n\r\n0\r\n\r\n",
        "400", 0, CLOSED),
    ROW("coding with parameter", HEAD("POST") "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
        "501", 0, CLOSED),
    ROW("H1-11", HEAD("POST") "Transfer-Encoding: chunked, gzip\r\n\r\n", "400", 0, CLOSED),
    ROW("gzip, chunked", HEAD("POST") "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "400", 0,
        CLOSED),
    ROW("coding in HTTP/1.0",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400", 0,
        CLOSED),
    ROW("coding in capitals", HEAD("POST") "TRANSFER-ENCODING: CHUNKED\r\n\r\n0\r\n\r\n", "200", 1,
        KEPT),
    ROW("Transfer_Encoding is another header", HEAD("GET") "Transfer_Encoding: chunked\r\n\r\n",
        "200", 1, KEPT),
    /* chunk sizes */
    ROW("H1-13 0_2e", CHUNKED "0_2e\r\n", "400", 1, CLOSED),
    ROW("H1-13 0x5", CHUNKED "0x5\r\nhello\r\n0\r\n\r\n", "400", 1, CLOSED),
    ROW("H1-13 -0x0", CHUNKED "-0x0\r\n\r\n", "400", 1, CLOSED),
    ROW("H1-13 -1", CHUNKED "-1\r\n\r\n", "400", 1, CLOSED),
    ROW("H1-13 +5", CHUNKED "+5\r\nhello\r\n0\r\n\r\n", "400", 1, CLOSED),
    ROW("H1-13 blank 5", CHUNKED " 5\r\nhello\r\n0\r\n\r\n", "400", 1, CLOSED),
    ROW("H1-13 5 blank", CHUNKED "5 \r\nhello\r\n0\r\n\r\n", "400", 1, CLOSED),
    ROW("H1-13 5 tab", CHUNKED "5\t\r\nhello\r\n0\r\n\r\n", "400", 1, CLOSED),
    ROW("H1-13 2^64", CHUNKED "10000000000000000\r\n", "400", 1, CLOSED),
    ROW("H1-13 g", CHUNKED "g\r\n", "400", 1, CLOSED),
    ROW("H1-13 5,5", CHUNKED "5,5\r\nhello\r\n0\r\n\r\n", "400", 1, CLOSED),
    ROW("H1-13 NUL", CHUNKED "5\0\r\nhello\r\n0\r\n\r\n", "400", 1, CLOSED),
    ROW("chunk size with zeros", CHUNKED "0000000000000000000005\r\nhello\r\n00\r\n\r\n", "200", 1,
        KEPT),
    ROW("chunk size in hex", CHUNKED "A\r\n0123456789\r\n0\r\n\r\n", "200", 1, KEPT),
    ROW("H1-14", CHUNKED "\r\nhello\r\n0\r\n\r\n", "400", 1, CLOSED),
    ROW("H1-14 with extension", CHUNKED ";a\r\n\r\n", "400", 1, CLOSED),
    /* ends of chunk lines */
    ROW("H1-16", CHUNKED "5\nhello\r\n0\r\n\r\n", "400", 1, CLOSED),
    ROW("H1-16 behind an extension", CHUNKED "5;a\nhello\r\n0\r\n\r\n", "400", 1, CLOSED),
    ROW("H1-16 behind a value", CHUNKED "5;a=b\nhello\r\n0\r\n\r\n", "400", 1, CLOSED),
    ROW("H1-16 behind the data", CHUNKED "5\r\nhello\n0\r\n\r\n", "400", 1, CLOSED),
    ROW("H1-16 behind the last chunk", CHUNKED "0\n\r\n", "400", 1, CLOSED),
    ROW("H1-16 at the end", CHUNKED "0\r\n\n", "400", 1, CLOSED),
    ROW("H1-17", CHUNKED "5\rXhello\r\n0\r\n\r\n", "400", 1, CLOSED),
    ROW("H1-17 in an extension", CHUNKED "5;a\rX\r\nhello\r\n0\r\n\r\n", "400", 1, CLOSED),
    ROW("H1-17 behind the data", CHUNKED "5\r\nhello\rX0\r\n\r\n", "400", 1, CLOSED),
    ROW("data longer than its chunk", CHUNKED "5\r\nhello!\r\n0\r\n\r\n", "400", 1, CLOSED),
    ROW("H1-20", CHUNKED "0\r\nXX\r\n", "400", 1, CLOSED),
    ROW("H1-20 and another request", CHUNKED "0\r\nXX" HEAD("GET") "\r\n", "400", 1, CLOSED),
    ROW("H1-20 behind data", CHUNKED "5\r\nhello\r\n0\r\nab\r\n\r\n", "400", 1, CLOSED),
    /* trailers */
    ROW("H1-22", CHUNKED "0\r\nContent-Length: 5\r\nHost: x\r\nX-Sum: 1\r\n\r\n", "200", 1, KEPT),
    ROW("H1-22 bad length", CHUNKED "0\r\nContent-Length: x\r\n\r\n", "400", 1, CLOSED),
    ROW("H1-22 coding", CHUNKED "0\r\nTransfer-Encoding: gzip\r\n\r\n", "400", 1, CLOSED),
    ROW("trailer with a bad name", CHUNKED "0\r\na b: c\r\n\r\n", "400", 1, CLOSED),
    ROW("trailer that is folded", CHUNKED "0\r\nA: b\r\n c\r\n\r\n", "400", 1, CLOSED),
    /* header fields */
    ROW("H1-23", HEAD("GET") "X : y\r\n\r\n", "400", 0, CLOSED),
    ROW("H1-23 length", HEAD("POST") "Content-Length : 5\r\n\r\nhello", "400", 0, CLOSED),
    ROW("H1-23 tab", HEAD("GET") "X\t: y\r\n\r\n", "400", 0, CLOSED),
    ROW("H1-25", HEAD("GET") "X: y\r\n z\r\n\r\n", "400", 0, CLOSED),
    ROW("H1-25 tab", HEAD("GET") "X: y\r\n\tz\r\n\r\n", "400", 0, CLOSED),
    ROW("H1-25 empty", HEAD("GET") "X: y\r\n \r\n\r\n", "400", 0, CLOSED),
    ROW("H1-25 behind an empty value", HEAD("POST") "Content-Length:\r\n 5\r\n\r\nhello", "400", 0,
        CLOSED),
    ROW("H1-25 in front of all", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", "400", 0, CLOSED),
    ROW("H1-26", HEAD("GET") ": x\r\n\r\n", "400", 0, CLOSED),
    ROW("H1-26 all empty", HEAD("GET") ":\r\n\r\n", "400", 0, CLOSED),
    ROW("no colon", HEAD("GET") "X\r\n\r\n", "400", 0, CLOSED),
    ROW("H1-28 value", HEAD("GET") "X: y\0z\r\n\r\n", "400", 0, CLOSED),
    ROW("H1-28 name", HEAD("GET") "X\0Y: z\r\n\r\n", "400", 0, CLOSED),
    ROW("H1-29 value", HEAD("GET") "X: y\rz\r\n\r\n", "400", 0, CLOSED),
    ROW("H1-29 name", HEAD("GET") "X\rY: z\r\n\r\n", "400", 0, CLOSED),
    ROW("CR CR LF", HEAD("GET") "X: y\r\r\n\r\n", "400", 0, CLOSED),
    ROW("bare LF behind a field", HEAD("GET") "X: y\n\r\n", "400", 0, CLOSED),
    ROW("bare LF behind the line", "GET / HTTP/1.1\nHost: a\r\n\r\n", "400", 0, CLOSED),
    ROW("bare LF at the end", HEAD("GET") "\n", "400", 0, CLOSED),
    ROW("control byte in a value", HEAD("GET") "X: y\x01\r\n\r\n", "400", 0, CLOSED),
    ROW("DEL in a value", HEAD("GET") "X: y\x7f\r\n\r\n", "400", 0, CLOSED),
    ROW("quote in a name", HEAD("GET") "X\"Y: z\r\n\r\n", "400", 0, CLOSED),
    ROW("high byte in a name", HEAD("GET") "X\xe4: z\r\n\r\n", "400", 0, CLOSED),
    ROW("high byte in a value", HEAD("GET") "X: \xe4\r\n\r\n", "200", 1, KEPT),
    ROW("H1-31", HEAD("GET") "\rX", "400", 0, CLOSED),
    ROW("H1-32", HEAD("POST") "Transfer-\r\nEncoding: chunked\r\n\r\n0\r\n\r\n", "400", 0, CLOSED),
    /* the request line */
    ROW("H1-34", "G=\":<>(e) / HTTP/1.1\r\nHost: a\r\n\r\n", "400", 0, CLOSED),
    ROW("H1-34 small letters", HEAD("get") "\r\n", "200", 1, KEPT),
    ROW("H1-35", "GET ! HTTP/1.1\r\nHost: a\r\n\r\n", "400", 0, CLOSED),
    ROW("H1-35 space", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "400", 0, CLOSED),
    ROW("H1-35 fragment", "GET /#frag HTTP/1.1\r\nHost: a\r\n\r\n", "400", 0, CLOSED),
    ROW("H1-37", "GET /\r\n", "400", 0, CLOSED),
    ROW("HTTP/2 by mistake", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505", 0, CLOSED),
    ROW("TLS by mistake", "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n", "400", 0, CLOSED),
    ROW("PROXY header from nobody", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" HEAD("GET") "\r\n", "400",
        0, CLOSED),
    /* Host */
    ROW("H1-38 none", "GET / HTTP/1.1\r\n\r\n", "400", 0, CLOSED),
    ROW("H1-38 two", HEAD("GET") "Host: a\r\n\r\n", "400", 0, CLOSED),
    ROW("H1-38 two in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "400", 0, CLOSED),
    ROW("H1-38 @", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "400", 0, CLOSED),
    ROW("H1-38 /", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400", 0, CLOSED),
    ROW("H1-38 list", "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", "400", 0, CLOSED),
    ROW("H1-38 blank inside", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400", 0, CLOSED),
    ROW("H1-38 absolute", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "400", 0, CLOSED),
    ROW("H1-38 absolute without Host", "GET http://b/ HTTP/1.1\r\n\r\n", "400", 0, CLOSED),
    ROW("absolute, other port", "GET http://a:81/ HTTP/1.1\r\nHost: a:80\r\n\r\n", "400", 0,
        CLOSED),
    ROW("absolute, the same", "GET http://A:81/ HTTP/1.1\r\nHost: a:81\r\n\r\n", "200", 1, KEPT),
    ROW("an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "200", 1, KEPT),
    /* what follows */
    ROW("H1-40", CHUNKED "0\r\n\r\nX", "200", 1, KEPT),
    ROW("H1-40 a whole line", CHUNKED "0\r\n\r\nX\r\n", "200 400", 1, CLOSED),
    ROW("H1-40 a NUL and a line", CHUNKED "0\r\n\r\n\0\r\n", "200 400", 1, CLOSED),
    ROW("H1-40 bare LF", CHUNKED "0\r\n\r\n\n", "200 400", 1, CLOSED),
    ROW("an empty line between", HEAD("GET") "\r\n\r\n\r\n" HEAD("GET") "\r\n", "200 200", 2, KEPT),
    ROW("a body that is longer", HEAD("POST") "Content-Length: 5\r\n\r\nhelloX\r\n", "200 400", 1,
        CLOSED),
    ROW("H1-41", HEAD("GET") "Content-Length: 5\r\n\r\nhello", "200", 1, KEPT),
    ROW("H1-43",
        HEAD("GET") "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                    "HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        "200", 1, KEPT),
    ROW("H1-44", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nContent-Length: 5\r\n\r\nhello", "405",
        0, CLOSED),
    ROW("H1-44 without body", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "405", 0, CLOSED),
#undef ROW
};

static struct sl_loop *loop;

static void check_row(const struct row *row, bool slowly)
{
    int n_before = sl_check_failures;
    struct rig r;

    rig_begin(&r, loop);
    if (slowly)
        rig_send_slowly(&r, row->bytes);
    else
        rig_send(&r, row->bytes);
    sl_check_str(rig_statuses(&r), sl_str_c(row->statuses));
    sl_check(r.n_requests == row->n_handled);
    sl_check(rig_is_closed(&r) == (row->fate == CLOSED));
    sl_check(r.n_refused == (row->fate == CLOSED) && r.n_error == 0);
    if (row->fate == CLOSED)
        sl_check(r.n_fin == 1 && rig_got(&r, "Connection: close\r\n"));
    if (r.n_abort > 0) { /* refused by the body */
        sl_check(r.abort_code == SL_E_PROTOCOL && r.n_body_fin == 0);
        sl_check(slowly || r.n_body_calls == 0);
    }
    if (sl_check_failures != n_before)
        fprintf(stderr, "in %s%s\n", row->name, slowly ? ", byte by byte" : "");
    rig_end(&r);
}

/* --- rows that a table cannot say --- */

static struct sl_str repeat(struct rig *r, const char *head, const char *unit, size_t n,
                            const char *tail)
{
    size_t unit_len = strlen(unit), len = strlen(head) + n * unit_len + strlen(tail);
    char *text = sl_arena_alloc(&r->arena, len + 1), *out = text;

    out = stpcpy(out, head);
    for (size_t i = 0; i < n; i++, out += unit_len)
        memcpy(out, unit, unit_len);
    stpcpy(out, tail);
    return sl_str(text, len);
}

static void check_refused(struct rig *r, const char *status, int n_handled)
{
    sl_check_str(rig_statuses(r), sl_str_c(status));
    sl_check(r->n_requests == n_handled && r->n_body_calls == 0);
    sl_check(r->n_fin == 1 && r->n_closed == 1);
    rig_end(r);
}

static void flood(const char *status, int n_handled, const char *head, const char *unit, size_t n,
                  const char *tail)
{
    struct rig r;

    rig_begin(&r, loop);
    rig_send(&r, repeat(&r, head, unit, n, tail));
    check_refused(&r, status, n_handled);
    rig_begin(&r, loop);
    for (size_t i = 0; i <= n && !rig_is_closed(&r); i += 100) /* no end of the line ever comes */
        rig_send(&r, repeat(&r, i == 0 ? head : "", unit, 100, ""));
    check_refused(&r, status, n_handled);
}

static void floods_are_bounded(void)
{
    flood("414", 0, "GET /", "a", 64 * 1024, " HTTP/1.1\r\nHost: a\r\n\r\n"); /* LM-01 */
    flood("414", 0, "", "A", 64 * 1024, " / HTTP/1.1\r\nHost: a\r\n\r\n");
    flood("431", 0, HEAD("GET") "X: ", "a", 64 * 1024, "\r\n\r\n"); /* LM-02 */
    flood("431", 0, HEAD("GET"), "a", 64 * 1024, ": b\r\n\r\n");
    flood("431", 0, HEAD("GET"), "X: y\r\n", 20000, "\r\n");
    flood("431", 0, HEAD("GET"), "X:\r\n", 20000, "\r\n");
    flood("400", 1, CHUNKED "5;", "a", 64 * 1024, "\r\nhello\r\n0\r\n\r\n"); /* H1-19 */
    flood("400", 1, CHUNKED "5;a=", "b", 64 * 1024, "\r\nhello\r\n0\r\n\r\n");
    flood("400", 1, CHUNKED "5;a=\"", "b", 64 * 1024, "\"\r\nhello\r\n0\r\n\r\n");
    flood("431", 1, CHUNKED "0\r\n", "X: y\r\n", 20000, "\r\n");
    flood("431", 1, CHUNKED "0\r\nX: ", "a", 64 * 1024, "\r\n\r\n");
}

/* H1-19: an extension of 1 KiB is a lot, and allowed. */
static void small_extensions_pass(void)
{
    struct rig r;

    rig_begin(&r, loop);
    rig_send(&r, repeat(&r, CHUNKED "5;", "a", 1000, "\r\nhello\r\n0;b=\"c;\"\r\n\r\n"));
    sl_check_str(rig_statuses(&r), SL_STR("200"));
    sl_check_str(sl_buf_str(&r.body), SL_STR("hello"));
    rig_end(&r);
}

static void only_harmless_trailers_pass(void)
{
    struct rig r;

    rig_begin(&r, loop);
    rig_say(&r, CHUNKED "2\r\nab\r\n0\r\nContent-Length: 5\r\nHost: x\r\nX-Sum: 1\r\n"
                        "Authorization: y\r\nX-Forwarded-For: z\r\n\r\n" HEAD("GET") "\r\n");
    sl_check_str(rig_statuses(&r), SL_STR("200 200"));
    sl_check_str(r.trailers, SL_STR("X-Sum=1|"));
    sl_check_str(r.seen, SL_STR("GET a /"));
    rig_end(&r);
}

/* H1-34: it is passed on as it is and is not taken for GET. */
static void a_method_in_small_letters_is_another(void)
{
    struct rig r;

    rig_begin(&r, loop);
    rig_say(&r, "head / HTTP/1.1\r\nHost: a\r\n\r\n");
    sl_check_str(r.seen, SL_STR("head a /"));
    sl_check_str(rig_last_body(&r), SL_STR("ok")); /* it is not HEAD */
    rig_end(&r);
}

static void look_at_upgrade(struct rig *r)
{
    const struct sl_headers *h = &r->ex->req.headers;

    sl_check(r->ex->req.upgrade.len == 0);
    sl_check(sl_headers_find_id(h, SL_H_HTTP2_SETTINGS) == NULL);
    sl_check(sl_headers_find(h, SL_STR("x-hop")) == NULL);
    sl_check(sl_headers_find(h, SL_STR("x-stays")) != NULL);
    rig_default_request(r);
}

static void h2c_is_ignored(void)
{
    struct rig r;

    rig_begin(&r, loop);
    r.on_request = look_at_upgrade;
    rig_say(&r,
            HEAD("GET") "Connection: Upgrade, HTTP2-Settings, X-Hop\r\nUpgrade: websocket, h2c\r\n"
                        "HTTP2-Settings: AAMAAABkAAQAAP__\r\nX-Hop: 1\r\nx-hop: 2\r\nX-Stays: "
                        "1\r\n\r\n");
    rig_say(&r, HEAD("POST") "Connection: Upgrade, x-hop\r\nUpgrade: websocket\r\nX-Stays: 1\r\n"
                             "Content-Length: 2\r\n\r\nab"); /* an upgrade has no body */
    sl_check(r.n_requests == 2);
    sl_check_str(rig_statuses(&r), SL_STR("200 200"));
    rig_end(&r);
}

/* A stream of empty lines is no request: it is bounded by the time for the first one. */
static void empty_lines_do_not_buy_time(void)
{
    struct rig r;

    rig_begin(&r, loop);
    for (int i = 0; i < 30 && !rig_is_closed(&r); i++) {
        rig_say(&r, "\r\n");
        sl_loop_skip(loop, 1000);
        rig_settle(&r);
    }
    sl_check_str(rig_statuses(&r), SL_STR("408"));
    rig_end(&r);
}

int main(void)
{
    sl_assert(sl_loop_new(&loop) == 0);
    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        check_row(&rows[i], false);
        check_row(&rows[i], true);
    }
    floods_are_bounded();
    small_extensions_pass();
    only_harmless_trailers_pass();
    a_method_in_small_letters_is_another();
    h2c_is_ignored();
    empty_lines_do_not_buy_time();
    sl_loop_free(loop);
    return sl_check_done();
}
