#include "net/addr.h"

#include <sys/un.h>
#include "base/check.h"

static const struct {
    const char *ip;
    uint16_t port;
    const char *text, *ip_text; /* NULL: not an address */
} rows[] = {
    {"127.0.0.1", 80, "127.0.0.1:80", "127.0.0.1"},
    {"0.0.0.0", 0, "0.0.0.0:0", "0.0.0.0"},
    {"255.255.255.255", 65535, "255.255.255.255:65535", "255.255.255.255"},
    {"::1", 443, "[::1]:443", "::1"},
    {"[::1]", 443, "[::1]:443", "::1"},
    {"::", 1, "[::]:1", "::"},
    {"2001:DB8::0:1", 8080, "[2001:db8::1]:8080", "2001:db8::1"},
    {"1111:2222:3333:4444:5555:6666:7777:8888", 65535,
     "[1111:2222:3333:4444:5555:6666:7777:8888]:65535", "1111:2222:3333:4444:5555:6666:7777:8888"},
    {"::ffff:192.0.2.1", 80, "192.0.2.1:80", "192.0.2.1"},
    {"", 80, NULL, NULL},
    {"[]", 80, NULL, NULL},
    {"[", 80, NULL, NULL},
    {"[::1", 80, NULL, NULL},
    {"::1]", 80, NULL, NULL},
    {"127.0.0.1 ", 80, NULL, NULL},
    {"127.1", 80, NULL, NULL},
    {"127.0.0.01", 80, NULL, NULL},
    {"127.0.0.256", 80, NULL, NULL},
    {"0x7f.0.0.1", 80, NULL, NULL},
    {"2130706433", 80, NULL, NULL},
    {"localhost", 80, NULL, NULL},
    {"fe80::1%eth0", 80, NULL, NULL},
    {"1:2:3:4:5:6:7:8:9", 80, NULL, NULL},
    {":::", 80, NULL, NULL},
    {"1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc", 80, NULL, NULL},
};

static void literals_are_parsed_and_written(void)
{
    char text[SL_ADDR_TEXT_LEN];
    struct sl_addr a;

    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        int rc = sl_addr_parse(&a, sl_str_c(rows[i].ip), rows[i].port);

        if (rc != (rows[i].text != NULL ? 0 : SL_E_CONFIG))
            fprintf(stderr, "%s\n", rows[i].ip);
        sl_check(rc == (rows[i].text != NULL ? 0 : SL_E_CONFIG));
        if (rc < 0)
            continue;
        sl_check_str(sl_str_c(sl_addr_text(&a, text)), sl_str_c(rows[i].text));
        sl_check_str(sl_str_c(sl_addr_ip(&a, text)), sl_str_c(rows[i].ip_text));
        sl_check(sl_addr_port(&a) == rows[i].port);
    }
    sl_check(sl_addr_parse(&a, sl_str("127.0.0.1\0x", 11), 80) == SL_E_CONFIG);
    sl_check(sl_addr_parse(&a, SL_STR_NONE, 80) == SL_E_CONFIG);
}

static struct sl_addr addr(const char *ip, uint16_t port)
{
    struct sl_addr a;

    sl_assert(sl_addr_parse(&a, sl_str_c(ip), port) == 0);
    return a;
}

static void sixteen_bytes_and_back(void)
{
    static const char *const ips[] = {"192.0.2.1", "::1", "2001:db8::7", "0.0.0.0"};
    uint8_t ip[16];

    for (size_t i = 0; i < SL_COUNT(ips); i++) {
        struct sl_addr a = addr(ips[i], 99), back;

        sl_addr_to_ip16(&a, ip);
        sl_addr_from_ip16(&back, ip, 99);
        sl_check(sl_addr_eq(&a, &back) && sl_addr_len(&a) == sl_addr_len(&back));
        sl_addr_set_port(&back, 100);
        sl_check(sl_addr_port(&back) == 100 && !sl_addr_eq(&a, &back));
    }
    sl_addr_to_ip16(
        &(struct sl_addr){.in4 = {.sin_family = AF_INET, .sin_addr = {htonl(0xc0000201)}}}, ip);
    sl_check(memcmp(ip, "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\1", 16) == 0);
}

static void equal_is_ip_and_port(void)
{
    struct sl_addr a = addr("192.0.2.1", 80), b = addr("192.0.2.2", 80), c = addr("::1", 80);

    sl_check(sl_addr_eq(&a, &a) && !sl_addr_eq(&a, &b) && !sl_addr_eq(&a, &c));
}

static void loopback_in_all_its_forms(void)
{
    static const struct {
        const char *ip;
        bool is_loopback;
    } ips[] = {
        {"127.0.0.1", true},    {"127.255.0.3", true},
        {"::1", true},          {"::ffff:127.0.0.1", true},
        {"126.0.0.1", false},   {"128.0.0.1", false},
        {"::2", false},         {"::", false},
        {"::127.0.0.1", false}, {"0.0.0.0", false},
        {"7f00::1", false},
    };
    struct sl_addr local = {.sa = {.sa_family = AF_UNIX}};

    for (size_t i = 0; i < SL_COUNT(ips); i++) {
        struct sl_addr a = addr(ips[i].ip, 1);

        sl_check(sl_addr_is_loopback(&a) == ips[i].is_loopback);
    }
    sl_check(sl_addr_is_loopback(&local));
}

static void what_the_kernel_says_is_taken_over(void)
{
    struct sl_addr from = addr("2001:db8::7", 99), a;
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    char text[SL_ADDR_TEXT_LEN];

    sl_check(sl_addr_from_sockaddr(&a, &from.sa, sizeof(from.in6)) == 0 && sl_addr_eq(&a, &from));
    sl_check(sl_addr_from_sockaddr(&a, &from.sa, sizeof(from.in6) - 1) == SL_E_CONFIG);
    sl_check(sl_addr_from_sockaddr(&a, (struct sockaddr *)&un, sizeof(un)) == 0);
    sl_check_str(sl_str_c(sl_addr_text(&a, text)), SL_STR("unix"));
    un.sun_family = AF_PACKET;
    sl_check(sl_addr_from_sockaddr(&a, (struct sockaddr *)&un, sizeof(un)) == SL_E_CONFIG);
}

int main(void)
{
    literals_are_parsed_and_written();
    sixteen_bytes_and_back();
    equal_is_ip_and_port();
    loopback_in_all_its_forms();
    what_the_kernel_says_is_taken_over();
    return sl_check_done();
}
