#include "script/url.h"

#include "base/check.h"

static void good(const char *text, bool is_tls, const char *host, uint16_t port, const char *path,
                 const char *query)
{
    struct sl_url url;

    sl_check(sl_url_parse(sl_str_c(text), &url) == 0);
    sl_check(url.is_tls == is_tls && url.port == port);
    sl_check_str(url.host, sl_str_c(host));
    sl_check_str(url.path, sl_str_c(path));
    sl_check((url.query.p == NULL) == (query == NULL));
    if (query != NULL)
        sl_check_str(url.query, sl_str_c(query));
}

static void bad(struct sl_str text)
{
    struct sl_url url;

    sl_check(sl_url_parse(text, &url) == SL_E_CONFIG);
}

int main(void)
{
    static const char *const bad_ones[] = {
        "",
        "http:/a",
        "ftp://a/",
        "http://",
        "http:///x",
        "http://a:0/",
        "http://a:/",
        "http://a:65536",
        "http://a:1x/",
        "http://u@a/",
        "http://a b/",
        "http://a/b c",
        "http://[::1",
        "http://[]/",
        "http://[::1]x/",
        "http://:80/",
        "http://a\\b/",
        "http://a/\r\nx: y",
        "http://a%00/",
        "//a/b",
        "a.example",
        "http://[::1]:0/",
        "http://a]/",
    };
    struct sl_url url;

    good("http://a", false, "a", 80, "/", NULL);
    good("HTTPS://Example.com", true, "Example.com", 443, "/", NULL);
    good("http://a:8080/b/c?d=e&f", false, "a", 8080, "/b/c", "d=e&f");
    good("http://a?x", false, "a", 80, "/", "x");
    good("http://a/?", false, "a", 80, "/", "");
    good("http://a/b#c?d", false, "a", 80, "/b", NULL);
    good("https://[2001:db8::1]:444/x", true, "2001:db8::1", 444, "/x", NULL);
    good("http://[::1]", false, "::1", 80, "/", NULL);
    good("http://a//b/../c", false, "a", 80, "//b/../c", NULL);
    sl_check(sl_url_parse(SL_STR("http://a:81/"), &url) == 0);
    sl_check_str(url.authority, SL_STR("a:81"));
    for (size_t i = 0; i < SL_COUNT(bad_ones); i++)
        bad(sl_str_c(bad_ones[i]));
    bad(SL_STR("http://a\0b/"));
    bad(SL_STR("http://a/\0"));
    return sl_check_done();
}
