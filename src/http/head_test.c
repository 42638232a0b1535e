#include "http/head.h"

#include "base/check.h"

static struct sl_arena arena;
static struct sl_request req;
static struct sl_head head;
static struct sl_http_limits limits = SL_HTTP_LIMITS_DEFAULT;

static void begin(void)
{
    memset(&req, 0, sizeof(req));
    sl_head_begin(&head, &req, &arena, &limits, SL_HTTP_2);
}

static void field(const char *name, const char *value)
{
    sl_head_field(&head, sl_str_c(name), sl_str_c(value));
}

static void begin_get(const char *path)
{
    begin();
    field(":method", "GET");
    field(":scheme", "https");
    field(":authority", "Shop.Example:8443");
    field(":path", path);
}

/* One more field on a plain GET, then the end of the head. */
static int finish_with(const char *name, const char *value)
{
    begin_get("/");
    field(name, value);
    return sl_head_finish(&head, true);
}

static void a_head_becomes_a_request(void)
{
    begin_get("/a/b?c=d");
    field("user-agent", "test");
    field("x-custom", "1");
    sl_check(sl_head_finish(&head, true) == 0);
    sl_check(req.version == SL_HTTP_2 && req.content_length == 0);
    sl_check_str(req.method, SL_STR("GET"));
    sl_check_str(req.authority, SL_STR("Shop.Example:8443"));
    sl_check_str(req.host, SL_STR("shop.example"));
    sl_check_str(req.path, SL_STR("/a/b"));
    sl_check_str(req.query, SL_STR("c=d"));
    sl_check_str(sl_headers_get(&req.headers, SL_STR("user-agent")), SL_STR("test"));
    sl_check_str(sl_headers_get(&req.headers, SL_STR("x-custom")), SL_STR("1"));
    sl_check_str(sl_headers_get(&req.headers, SL_STR("host")), SL_STR("Shop.Example:8443"));
    sl_check(req.headers.n == 3 && req.upgrade.len == 0);
}

static void the_length_of_the_body_is_told_or_open(void)
{
    begin_get("/");
    sl_check(sl_head_finish(&head, false) == 0 && req.content_length == SL_LENGTH_UNKNOWN);
    begin_get("/");
    field("content-length", "12");
    sl_check(sl_head_finish(&head, false) == 0 && req.content_length == 12);
    sl_check(finish_with("content-length", "0x1") == 400);
    sl_check(finish_with("content-length", "9223372036854775808") == 400);
    begin_get("/");
    field("content-length", "1");
    field("content-length", "1");
    sl_check(sl_head_finish(&head, false) == 400);
}

static void authority_and_host_must_agree(void)
{
    sl_check(finish_with("host", "shop.example:8443") == 0);
    sl_check(req.headers.n == 1);
    sl_check(finish_with("host", "other.example") == 400);
    begin();
    field(":method", "GET");
    field(":scheme", "http");
    field(":path", "/");
    field("host", "a.example");
    sl_check(sl_head_finish(&head, true) == 0);
    sl_check_str(req.authority, SL_STR("a.example"));
    begin();
    field(":method", "GET");
    field(":scheme", "http");
    field(":path", "/");
    sl_check(sl_head_finish(&head, true) == 400);
    begin_get("/");
    field("host", "Shop.Example:8443");
    field("host", "Shop.Example:8443");
    sl_check(sl_head_finish(&head, true) == 400);
}

static int with_pseudo(const char *method, const char *scheme, const char *authority,
                       const char *path)
{
    begin();
    field(":method", method);
    field(":scheme", scheme);
    field(":authority", authority);
    field(":path", path);
    return sl_head_finish(&head, true);
}

static void what_the_libraries_let_through_is_refused(void)
{
    sl_check(with_pseudo("GET", "https", "a", "/") == 0);
    sl_check(with_pseudo("OPTIONS", "https", "a", "*") == 0);
    sl_check(with_pseudo("GET", "https", "a", "*") == 400);
    sl_check(with_pseudo("GET", "https", "a", "a") == 400);
    sl_check(with_pseudo("GET", "https", "a", "/#x") == 400);
    sl_check(with_pseudo("GET", "https", "a", "/\xc3\xa4") == 400);
    sl_check(with_pseudo("GET", "https", "a", "") == 400);
    sl_check(with_pseudo("GET", "ftp", "a", "/") == 400);
    sl_check(with_pseudo("GET", "https", "user@a", "/") == 400);
    sl_check(with_pseudo("GET", "https", "a/b", "/") == 400);
    sl_check(with_pseudo("GET", "https", "", "/") == 400);
    sl_check(with_pseudo("G T", "https", "a", "/") == 400);
    sl_check(with_pseudo("AMETHODTHATISLONGERTHANALLMETHODS", "https", "a", "/") == 400);
    sl_check(with_pseudo("get", "https", "a", "/") == 0);
    sl_check_str(req.method, SL_STR("get")); /* methods have a case */
    begin();
    field(":method", "CONNECT");
    field(":authority", "a:443");
    sl_check(sl_head_finish(&head, false) == 405);
}

static void cookies_are_put_together_again(void)
{
    begin_get("/");
    field("cookie", "a=b");
    field("x", "y");
    field("cookie", "c=d");
    field("cookie", "e=f");
    sl_check(sl_head_finish(&head, true) == 0);
    sl_check_str(sl_headers_get(&req.headers, SL_STR("cookie")), SL_STR("a=b; c=d; e=f"));
    sl_check_str(sl_headers_get_all(&req.headers, SL_STR("cookie"), &arena),
                 SL_STR("a=b; c=d; e=f"));
}

static int connect_with(const char *protocol, const char *version)
{
    begin();
    field(":method", "CONNECT");
    field(":protocol", protocol);
    field(":scheme", "https");
    field(":authority", "a");
    field(":path", "/chat");
    if (version != NULL)
        field("sec-websocket-version", version);
    return sl_head_finish(&head, false);
}

static void extended_connect_becomes_an_upgrade(void)
{
    sl_check(connect_with("websocket", "13") == 0);
    sl_check_str(req.method, SL_STR("GET"));
    sl_check_str(req.upgrade, SL_STR("websocket"));
    sl_check_str(sl_headers_get(&req.headers, SL_STR("upgrade")), SL_STR("websocket"));
    sl_check_str(req.path, SL_STR("/chat"));
    sl_check(req.content_length == 0);
    sl_check(connect_with("websocket", "12") == 400);
    sl_check(connect_with("websocket", NULL) == 400);
    sl_check(connect_with("other", NULL) == 0);
    sl_check_str(req.upgrade, SL_STR("other"));
}

static void limits_hold(void)
{
    static char big[60000];

    memset(big, 'a', sizeof(big) - 1);
    sl_check(finish_with("x", big) == 431);
    sl_check(sl_headers_find(&req.headers, SL_STR("x")) == NULL);
    big[0] = '/';
    begin_get(big);
    sl_check(sl_head_finish(&head, true) == 431); /* above the sum, too */
    big[20000] = '\0';
    begin_get(big);
    sl_check(sl_head_finish(&head, true) == 414);
    begin_get("/");
    for (int i = 0; i < 1000; i++)
        field("x", "y");
    sl_check(sl_head_finish(&head, true) == 431);
    sl_check(req.headers.n <= limits.max_headers);
}

static void trailers_are_filtered_and_limited(void)
{
    begin_get("/");
    sl_check(sl_head_finish(&head, false) == 0);
    field("x-sum", "1");
    field("content-length", "5");
    field("host", "b");
    field("authorization", "c");
    sl_check(req.trailers.n == 1 && head.status == 0);
    sl_check_str(sl_headers_get(&req.trailers, SL_STR("x-sum")), SL_STR("1"));
    for (int i = 0; i < 1000; i++)
        field("x", "y");
    sl_check(req.trailers.n <= limits.max_headers && head.status == 431);
}

/* "name=value|…" */
static struct sl_str text_of(const struct sl_field *fields, size_t n)
{
    struct sl_str text = SL_STR("");

    for (size_t i = 0; i < n; i++) {
        if (!sl_str_eq(fields[i].name, SL_STR("date")))
            text = sl_arena_printf(&arena, "%.*s%.*s=%.*s|", SL_STR_FMT(text),
                                   SL_STR_FMT(fields[i].name), SL_STR_FMT(fields[i].value));
    }
    return text;
}

static struct sl_str response(int status, uint64_t length, const char *name, const char *value)
{
    struct sl_response res = {.status = status, .content_length = length};
    struct sl_field *fields;
    size_t n;

    sl_headers_add(&res.headers, &arena, sl_str_c(name), sl_str_c(value));
    n = sl_head_response(&arena, &res, &fields);
    return text_of(fields, n);
}

static void responses_become_fields(void)
{
    struct sl_headers trailers = {0};
    struct sl_field *fields;
    size_t n;

    sl_check_str(response(200, 12, "X-Big", "Y"), SL_STR(":status=200|x-big=Y|content-length=12|"));
    sl_check_str(response(200, SL_LENGTH_UNKNOWN, "Server", "s"), SL_STR(":status=200|server=s|"));
    sl_check_str(response(204, 0, "Connection", "close"), SL_STR(":status=204|"));
    sl_check_str(response(304, 0, "Transfer-Encoding", "chunked"), SL_STR(":status=304|"));
    sl_check_str(response(304, 7, "Keep-Alive", "x"), SL_STR(":status=304|content-length=7|"));
    sl_check_str(response(103, SL_LENGTH_UNKNOWN, "Link", "</a>"),
                 SL_STR(":status=103|link=</a>|"));
    sl_check_str(response(101, SL_LENGTH_UNKNOWN, "Sec-WebSocket-Accept", "x"),
                 SL_STR(":status=200|"));
    sl_check_str(response(101, SL_LENGTH_UNKNOWN, "Sec-WebSocket-Protocol", "chat"),
                 SL_STR(":status=200|sec-websocket-protocol=chat|"));
    sl_check(sl_head_trailers(&(struct sl_arena){0}, &trailers, &fields) == 0);
    sl_headers_add(&trailers, &arena, SL_STR("X-Sum"), SL_STR("1"));
    sl_headers_add(&trailers, &arena, SL_STR("Connection"), SL_STR("x"));
    n = sl_head_trailers(&arena, &trailers, &fields);
    sl_check_str(text_of(fields, n), SL_STR("x-sum=1|"));
}

int main(void)
{
    a_head_becomes_a_request();
    the_length_of_the_body_is_told_or_open();
    authority_and_host_must_agree();
    what_the_libraries_let_through_is_refused();
    cookies_are_put_together_again();
    extended_connect_becomes_an_upgrade();
    limits_hold();
    trailers_are_filtered_and_limited();
    responses_become_fields();
    sl_arena_clear(&arena);
    return sl_check_done();
}
