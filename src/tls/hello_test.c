#include "tls/hello.h"

#include "base/check.h"
#include "tls/record.h"

/* A server_name extension with one host name. */
static struct sl_str name_ext(char *buf, struct sl_str name)
{
    size_t list = name.len + 3;

    buf[0] = (char)(list >> 8);
    buf[1] = (char)list;
    buf[2] = 0;
    buf[3] = (char)(name.len >> 8);
    buf[4] = (char)name.len;
    memcpy(buf + 5, name.p, name.len);
    return sl_str(buf, name.len + 5);
}

static int parse(struct sl_str name, struct sl_str *out)
{
    static char found[SL_HELLO_NAME_MAX + 1];
    char ext[1024];
    size_t len = 0;
    int alert = sl_hello_name(name_ext(ext, name), found, &len);

    *out = sl_str(found, len);
    return alert;
}

static void test_normalizes(void)
{
    struct sl_str out;

    sl_check(parse(SL_STR("A.eXample.COM"), &out) == 0);
    sl_check_str(out, SL_STR("a.example.com"));
    sl_check(parse(SL_STR("a.example.com."), &out) == 0);
    sl_check_str(out, SL_STR("a.example.com"));
    sl_check(parse(SL_STR("xn--bcher-kva.example"), &out) == 0);
    sl_check_str(out, SL_STR("xn--bcher-kva.example"));
}

static void test_refuses_what_is_no_name(void)
{
    char longest[257];
    struct sl_str out;

    memset(longest, 'a', sizeof(longest));
    sl_check(parse(sl_str(longest, 255), &out) == 0 && out.len == 255);
    sl_check(parse(sl_str(longest, 256), &out) == SL_ALERT_ILLEGAL_PARAMETER);
    longest[255] = '.';
    sl_check(parse(sl_str(longest, 256), &out) == 0 && out.len == 255);
    sl_check(parse(SL_STR(""), &out) == SL_ALERT_ILLEGAL_PARAMETER);
    sl_check(parse(SL_STR("."), &out) == SL_ALERT_ILLEGAL_PARAMETER);
    sl_check(parse(SL_STR("a.example\0.evil"), &out) == SL_ALERT_ILLEGAL_PARAMETER);
    sl_check(parse(SL_STR("a b"), &out) == SL_ALERT_ILLEGAL_PARAMETER);
    sl_check(parse(SL_STR("*.example"), &out) == SL_ALERT_ILLEGAL_PARAMETER);
    sl_check(parse(SL_STR("a/../b"), &out) == SL_ALERT_ILLEGAL_PARAMETER);
}

static void test_one_host_name(void)
{
    char found[SL_HELLO_NAME_MAX + 1];
    size_t len;

    sl_check(sl_hello_name(SL_STR("\0\10\0\0\1a\0\0\1b"), found, &len) ==
             SL_ALERT_ILLEGAL_PARAMETER);
    /* a name of a type that nobody knows does not count */
    sl_check(sl_hello_name(SL_STR("\0\10\7\0\1a\0\0\1b"), found, &len) == 0 && len == 1 &&
             found[0] == 'b');
    sl_check(sl_hello_name(SL_STR("\0\4\7\0\1a"), found, &len) == SL_ALERT_ILLEGAL_PARAMETER);
}

static void test_malformed(void)
{
    static const char whole[] = "\0\10\0\0\5local";
    char found[SL_HELLO_NAME_MAX + 1];
    size_t len;

    sl_check(sl_hello_name(sl_str(whole, 10), found, &len) == 0);
    for (size_t n = 0; n < 10; n++) /* cut anywhere */
        sl_check(sl_hello_name(sl_str(whole, n), found, &len) == SL_ALERT_DECODE_ERROR);
    sl_check(sl_hello_name(sl_str(whole, 11), found, &len) == SL_ALERT_DECODE_ERROR);
    sl_check(sl_hello_name(SL_STR("\0\0"), found, &len) == SL_ALERT_DECODE_ERROR);
    sl_check(sl_hello_name(SL_STR("\0\4\0\0\2a"), found, &len) == SL_ALERT_DECODE_ERROR);
}

static void test_alpn(void)
{
    sl_check_str(sl_hello_alpn(SL_STR("\0\14\2h2\10http/1.1")), SL_STR("\2h2\10http/1.1"));
    sl_check_str(sl_hello_alpn(SL_STR("\0\14\2h2\10http/1.")), SL_STR(""));
    sl_check_str(sl_hello_alpn(SL_STR("\0\4\2h2\5")), SL_STR(""));
    sl_check_str(sl_hello_alpn(SL_STR("\0\4\0\2h2")), SL_STR(""));
    sl_check_str(sl_hello_alpn(SL_STR("")), SL_STR(""));
}

static void test_versions(void)
{
    sl_check(sl_hello_offers(SL_STR("\4\3\4\3\3"), 0x0304));
    sl_check(sl_hello_offers(SL_STR("\4\x0a\x0a\3\4"), 0x0304));
    sl_check(!sl_hello_offers(SL_STR("\2\3\3"), 0x0304));
    sl_check(!sl_hello_offers(SL_STR("\3\3\3\3"), 0x0303 + 1));
    sl_check(!sl_hello_offers(SL_STR("\4\3\4"), 0x0304));
    sl_check(!sl_hello_offers(SL_STR(""), 0x0304));
}

int main(void)
{
    test_normalizes();
    test_refuses_what_is_no_name();
    test_one_host_name();
    test_malformed();
    test_alpn();
    test_versions();
    return sl_check_done();
}
