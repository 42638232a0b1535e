#include "codec/request_line.h"

#include <stdlib.h>
#include "base/check.h"

/* `query` NULL: none. */
static const struct good {
    const char *line, *method, *authority, *path, *query;
    int minor;
    bool is_absolute;
} good[] = {
    {"GET / HTTP/1.1", "GET", "", "/", NULL, 1, false},
    {"GET /a/b?x=1&y HTTP/1.0", "GET", "", "/a/b", "x=1&y", 0, false},
    {"GET /? HTTP/1.1", "GET", "", "/", "", 1, false},
    {"GET /a?b?c HTTP/1.1", "GET", "", "/a", "b?c", 1, false},
    {"GET // HTTP/1.1", "GET", "", "//", NULL, 1, false},
    {"GET /%00%2f..;/\"<>[]^`{|}\\ HTTP/1.1", "GET", "", "/%00%2f..;/\"<>[]^`{|}\\", NULL, 1,
     false},
    {"get / HTTP/1.1", "get", "", "/", NULL, 1, false},
    {"M-SEARCH!#$%&'*+-.^_`|~09 / HTTP/1.1", "M-SEARCH!#$%&'*+-.^_`|~09", "", "/", NULL, 1, false},
    {"OPTIONS * HTTP/1.1", "OPTIONS", "", "*", NULL, 1, false},
    {"CONNECT a.example:443 HTTP/1.1", "CONNECT", "a.example:443", "", NULL, 1, false},
    {"GET http://a.example/x HTTP/1.1", "GET", "a.example", "/x", NULL, 1, true},
    {"GET HTTPS://a.example:8443?q HTTP/1.1", "GET", "a.example:8443", "/", "q", 1, true},
    {"GET http://a.example HTTP/1.1", "GET", "a.example", "/", NULL, 1, true},
    {"GET http://u@[::1]:80/ HTTP/1.1", "GET", "u@[::1]:80", "/", NULL, 1, true},
    {"GET / HTTP/1.9", "GET", "", "/", NULL, 1, false},
};

static const struct bad {
    const char *line;
    int status;
} bad[] = {
    {"", 400},
    {" ", 400},
    {"GET", 400},
    {"GET /", 400},           /* HTTP/0.9 */
    {"GET  / HTTP/1.1", 400}, /* two spaces */
    {" GET / HTTP/1.1", 400},
    {"GET / HTTP/1.1 ", 400},
    {"GET /  HTTP/1.1", 400},
    {"GET /a b HTTP/1.1", 400},
    {"GET\t/\tHTTP/1.1", 400},
    {"GET /\x0b HTTP/1.1", 400},
    {"GET /\x7f HTTP/1.1", 400},
    {"GET /\xc3\xa4 HTTP/1.1", 400},
    {"GET /#frag HTTP/1.1", 400},
    {"GET ! HTTP/1.1", 400},
    {"GET a.example HTTP/1.1", 400},
    {"GET * HTTP/1.1", 400},
    {"OPTIONS ** HTTP/1.1", 400},
    {"GET http:// HTTP/1.1", 400},
    {"GET http:///x HTTP/1.1", 400},
    {"GET ftp://a.example/ HTTP/1.1", 400},
    {"GET http:/a.example/ HTTP/1.1", 400},
    {"G=\":<>(e) / HTTP/1.1", 400},
    {"G@T / HTTP/1.1", 400},
    {"GET: / HTTP/1.1", 400},
    {"\xff / HTTP/1.1", 400},
    {"AMETHODOFMORETHANTHIRTYTWOLETTERS / HTTP/1.1", 400},
    {"GET / HTTP/2.0", 505},
    {"GET / HTTP/0.9", 505},
    {"PRI * HTTP/2.0", 505},
    {"GET / HTTP/1.", 400},
    {"GET / HTTP/1", 400},
    {"GET / HTTP/11", 400},
    {"GET / HTTP/1.11", 400},
    {"GET / HTTP/01.1", 400},
    {"GET / HTTP/1,1", 400},
    {"GET / HTTP/1.a", 400},
    {"GET / HTTP/a.1", 400},
    {"GET / http/1.1", 400},
    {"GET / HTTPS/1.1", 400},
    {"GET / ICE/1.0", 400},
};

static void check_good(const struct good *row)
{
    struct sl_request_line got;

    sl_check(sl_request_line_parse(&got, sl_str_c(row->line)) == 0);
    sl_check_str(got.method, sl_str_c(row->method));
    sl_check_str(got.authority, sl_str_c(row->authority));
    sl_check_str(got.path, sl_str_c(row->path));
    sl_check((got.query.p != NULL) == (row->query != NULL));
    sl_check_str(got.query, sl_str_c(row->query));
    sl_check(got.minor == row->minor && got.is_absolute == row->is_absolute);
}

static void check_bad(const struct bad *row)
{
    struct sl_request_line got;
    int status = sl_request_line_parse(&got, sl_str_c(row->line));

    if (status != row->status)
        fprintf(stderr, "\"%s\": %d instead of %d\n", row->line, status, row->status);
    sl_check(status == row->status);
}

static void a_nul_is_no_end(void)
{
    struct sl_request_line got;

    sl_check(sl_request_line_parse(&got, SL_STR("GET /\0 HTTP/1.1")) == 400);
    sl_check(sl_request_line_parse(&got, SL_STR("G\0T / HTTP/1.1")) == 400);
    sl_check(sl_request_line_parse(&got, SL_STR("GET / HTTP/1.1\0")) == 400);
    sl_check(sl_request_line_parse(&got, SL_STR_NONE) == 400);
}

static void the_longest_method(void)
{
    struct sl_request_line got;

    sl_check(sl_request_line_parse(&got, SL_STR("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF / HTTP/1.1")) ==
             0);
    sl_check(got.method.len == SL_METHOD_MAX);
}

/* --- the end of the line --- */

static const struct {
    const char *bytes;
    long want;
} ends[] = {
    {"", SL_E_PARTIAL},
    {"GET", SL_E_PARTIAL},
    {"GET /\r", SL_E_PARTIAL},
    {"\r\n", 0},
    {"GET /\r\n", 5},
    {"GET /\r\nHost: a\r\n", 5},
    {"GET /\n", SL_E_PROTOCOL},
    {"\n", SL_E_PROTOCOL},
    {"GET\r/\r\n", SL_E_PROTOCOL},
    {"GET /\r\r\n", SL_E_PROTOCOL},
    {"G\rT", SL_E_PROTOCOL},
    {"GET /\nX\r\n", SL_E_PROTOCOL},
};

/* The same answer for every way in which the bytes may come in two pieces; room of the exact size
 * shows a read past the end. */
static void check_end(const char *text, long want)
{
    size_t len = strlen(text);

    for (size_t cut = 0; cut <= len; cut++) {
        uint8_t *bytes = malloc(len + 1);
        long got;

        memcpy(bytes, text, len);
        got = sl_request_line_find_end(bytes, cut, 0);
        if (got == SL_E_PARTIAL)
            got = sl_request_line_find_end(bytes, len, cut);
        if (got != want)
            fprintf(stderr, "\"%s\" cut at %zu: %ld instead of %ld\n", text, cut, got, want);
        sl_check(got == want);
        free(bytes);
    }
}

int main(void)
{
    for (size_t i = 0; i < SL_COUNT(good); i++)
        check_good(&good[i]);
    for (size_t i = 0; i < SL_COUNT(bad); i++)
        check_bad(&bad[i]);
    a_nul_is_no_end();
    the_longest_method();
    for (size_t i = 0; i < SL_COUNT(ends); i++)
        check_end(ends[i].bytes, ends[i].want);
    return sl_check_done();
}
