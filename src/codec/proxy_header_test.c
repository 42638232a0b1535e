#include "codec/proxy_header.h"

#include <arpa/inet.h>
#include "base/check.h"

static struct sl_proxy_header got;
static const char *why;

static int parse(const void *bytes, size_t len)
{
    return sl_proxy_header_parse(bytes, len, &got, &why);
}

/* Byte by byte, from exact-size memory so that a read past the end is seen by the sanitizer: the
   first answer that is not "more". */
static int parse_slowly(const void *bytes, size_t len)
{
    int rc = SL_E_PARTIAL;

    for (size_t n = 0; n <= len && rc == SL_E_PARTIAL; n++) {
        uint8_t *copy = sl_alloc(SL_MAX(n, (size_t)1));

        memcpy(copy, bytes, n);
        rc = parse(copy, n);
        sl_check(rc < 0 ||
                 (size_t)rc == n); /* a header is complete with its last byte, not later */
        sl_free(copy);
    }
    return rc;
}

static bool ip_is(const uint8_t ip[16], const char *text)
{
    uint8_t want[16];

    return inet_pton(AF_INET6, text, want) == 1 && memcmp(ip, want, 16) == 0;
}

static void version_1_is_read(void)
{
    static const struct {
        struct sl_str line;
        const char *from, *to; /* NULL: no addresses */
        unsigned from_port, to_port;
    } rows[] = {
        {SL_STR("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"), "::ffff:192.0.2.1",
         "::ffff:198.51.100.2", 56324, 443},
        {SL_STR("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"),
         "::ffff:255.255.255.255", "::ffff:255.255.255.255", 65535, 65535},
        {SL_STR("PROXY TCP6 2001:db8::1 ::1 0 1\r\n"), "2001:db8::1", "::1", 0, 1},
        {SL_STR("PROXY TCP6 ::ffff:192.0.2.1 ::1 7 8\r\n"), "::ffff:192.0.2.1", "::1", 7, 8},
        {SL_STR("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
         65535, 65535},
        {SL_STR("PROXY UNKNOWN\r\n"), NULL, NULL, 0, 0},
        {SL_STR("PROXY UNKNOWN whatever \x01 follows\r\n"), NULL, NULL, 0, 0},
        {SL_STR("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"), /* 107 bytes */
         NULL, NULL, 0, 0},
    };

    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        sl_check(parse_slowly(rows[i].line.p, rows[i].line.len) == (int)rows[i].line.len);
        sl_check(parse(rows[i].line.p, rows[i].line.len) == (int)rows[i].line.len);
        sl_check(got.version == 1 && !got.is_datagram);
        sl_check(got.has_addresses == (rows[i].from != NULL));
        if (rows[i].from == NULL)
            continue;
        sl_check(ip_is(got.from, rows[i].from) && ip_is(got.to, rows[i].to));
        sl_check(got.from_port == rows[i].from_port && got.to_port == rows[i].to_port);
    }
}

static void version_1_is_refused(void)
{
    static const struct sl_str rows[] = {
        SL_STR("GET / HTTP/1.1\r\n"),
        SL_STR("proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n"),
        SL_STR("PROXY\r\n"),
        SL_STR("PROXY \r\n"),
        SL_STR("PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n"),
        SL_STR("PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n"),
        SL_STR("PROXY TCP4\r\n"),
        SL_STR("PROXY TCP4 1.2.3.4\r\n"),
        SL_STR("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n"),
        SL_STR("PROXY TCP4 1.2.3.4 1.2.3.4 1 \r\n"),
        SL_STR("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n"),
        SL_STR("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n"),
        SL_STR("PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n"),
        SL_STR("PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n"),
        SL_STR("PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n"),
        SL_STR("PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n"),
        SL_STR("PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n"),
        SL_STR("PROXY TCP4 ::1 ::1 1 2\r\n"),
        SL_STR("PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n"),
        SL_STR("PROXY TCP4 1.2.3.4\0 1.2.3.4 1 2\r\n"),
        SL_STR("PROXY TCP6 fe80::1%lo ::1 1 2\r\n"),
        SL_STR("PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n"),
        SL_STR("PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n"),
        SL_STR("PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n"),
        SL_STR("PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n"),
        SL_STR("PROXY TCP4 1.2.3.4 1.2.3.4 99999999999999999999 2\r\n"),
        SL_STR("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n"),
        SL_STR("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\rX"),
        SL_STR("PROXY UNKNOWN \rX\r\n"),
        SL_STR("PROXY UNKNOWN \n\r\n"),
    };

    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        sl_check(parse_slowly(rows[i].p, rows[i].len) == SL_E_PROTOCOL);
        sl_check(why[0] != '\0');
        sl_check(parse(rows[i].p, rows[i].len) == SL_E_PROTOCOL);
        sl_check(!got.has_addresses);
    }
}

static void version_1_is_at_most_107_bytes(void)
{
    char line[SL_PROXY_V1_MAX + 2];

    memset(line, 'x', sizeof(line));
    memcpy(line, "PROXY UNKNOWN ", 14);
    sl_check(parse(line, SL_PROXY_V1_MAX - 1) == SL_E_PARTIAL);
    sl_check(parse_slowly(line, SL_PROXY_V1_MAX) == SL_E_PROTOCOL);
    line[SL_PROXY_V1_MAX - 1] = '\r'; /* the end would be byte 108 */
    line[SL_PROXY_V1_MAX] = '\n';
    sl_check(parse(line, SL_PROXY_V1_MAX + 1) == SL_E_PROTOCOL);
    sl_check(parse_slowly(line, SL_PROXY_V1_MAX + 1) == SL_E_PROTOCOL);
    line[SL_PROXY_V1_MAX - 2] = '\r';
    line[SL_PROXY_V1_MAX - 1] = '\n';
    sl_check(parse(line, SL_PROXY_V1_MAX + 2) == SL_PROXY_V1_MAX);
}

#define SIG "\r\n\r\n\0\r\nQUIT\n"
#define V4                                                                                         \
    "\xc0\x00\x02\x01\xc6\x33\x64\x02\xdc\x04\x01\xbb" /* 192.0.2.1:56324 to 198.51.100.2:443 */
#define V6                                                                                         \
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x05\x00\x06"

static void version_2_is_read(void)
{
    static const struct {
        struct sl_str bytes;
        const char *from, *to;
        bool is_datagram;
    } rows[] = {
        {SL_STR(SIG "\x21\x11\0\x0c" V4), "::ffff:192.0.2.1", "::ffff:198.51.100.2", false},
        {SL_STR(SIG "\x21\x12\0\x0c" V4), "::ffff:192.0.2.1", "::ffff:198.51.100.2", true},
        {SL_STR(SIG "\x21\x21\0\x24" V6), "2001:db8::1", "::1", false},
        {SL_STR(SIG "\x21\x22\0\x24" V6), "2001:db8::1", "::1", true},
        /* extensions: an empty one, one of two bytes, the checksum that nobody asked us to verify
         */
        {SL_STR(SIG "\x21\x11\0\x1b" V4 "\x04\0\0"
                    "\x01\0\x02h2"
                    "\x03\0\x04\xde\xad\xbe\xef"),
         "::ffff:192.0.2.1", "::ffff:198.51.100.2", false},
        {SL_STR(SIG "\x20\0\0\0"), NULL, NULL, false},
        {SL_STR(SIG "\x20\x77\0\x03\xff\xff\xff"), NULL, NULL,
         false}, /* LOCAL: the rest is skipped */
        {SL_STR(SIG "\x21\0\0\0"), NULL, NULL, false},
        {SL_STR(SIG "\x21\0\0\x02\xff\xff"), NULL, NULL, false},
    };

    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        sl_check(parse_slowly(rows[i].bytes.p, rows[i].bytes.len) == (int)rows[i].bytes.len);
        sl_check(parse(rows[i].bytes.p, rows[i].bytes.len) == (int)rows[i].bytes.len);
        sl_check(got.version == 2 && got.is_datagram == rows[i].is_datagram);
        sl_check(got.has_addresses == (rows[i].from != NULL));
        if (rows[i].from != NULL)
            sl_check(ip_is(got.from, rows[i].from) && ip_is(got.to, rows[i].to));
    }
    parse(rows[0].bytes.p, rows[0].bytes.len);
    sl_check(got.from_port == 56324 && got.to_port == 443);
    parse(rows[2].bytes.p, rows[2].bytes.len);
    sl_check(got.from_port == 5 && got.to_port == 6);
}

static void version_2_is_refused(void)
{
    static const struct sl_str rows[] = {
        SL_STR("\r\n\r\n\0\r\nQUIX\n\x21\x11\0\x0c" V4), /* signature */
        SL_STR("\r\n\r\n\0\r\n\r\n"),
        SL_STR(SIG "\x31\x11\0\x0c" V4), /* version 3 */
        SL_STR(SIG "\x11\x11\0\x0c" V4), /* version 1 in binary */
        SL_STR(SIG "\x22\x11\0\x0c" V4), /* unknown command */
        SL_STR(SIG "\x21\x41\0\x0c" V4), /* unknown family */
        SL_STR(SIG "\x21\x13\0\x0c" V4), /* unknown transport */
        SL_STR(SIG "\x21\x10\0\x0c" V4), /* IPv4 without a transport */
        SL_STR(SIG "\x21\x01\0\x0c" V4), /* a transport without a family */
        SL_STR(SIG "\x21\x11\0\x0b" V4), /* too short for the addresses */
        SL_STR(SIG "\x21\x21\0\x0c" V4),
        SL_STR(SIG "\x21\x11\0\x0d" V4 "\x01"),        /* extension: half a head */
        SL_STR(SIG "\x21\x11\0\x10" V4 "\x01\0\x02h"), /* extension: past the end */
        SL_STR(SIG
               "\x21\x11\xff\xff" V4), /* 64 KiB of extensions: at once, not when they have come */
        SL_STR(SIG "\x20\0\xff\xff"),
    };

    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        sl_check(parse_slowly(rows[i].p, rows[i].len) == SL_E_PROTOCOL);
        sl_check(why[0] != '\0');
        sl_check(!got.has_addresses);
    }
}

static void unix_sockets_have_no_ip(void)
{
    uint8_t bytes[16 + 216] = SIG "\x21\x31\0\xd8";

    sl_check(parse_slowly(bytes, sizeof(bytes)) == sizeof(bytes));
    sl_check(!got.has_addresses);
}

static void extensions_are_bounded(void)
{
    uint8_t bytes[16 + 12 + SL_PROXY_V2_TLV_MAX] = SIG "\x21\x11\x10\x0c" V4;

    /* one extension that fills the limit: 4096 - 3 = 0x0ffd */
    bytes[28] = 0xea;
    bytes[29] = 0x0f;
    bytes[30] = 0xfd;
    sl_check(parse(bytes, sizeof(bytes)) == sizeof(bytes));
    sl_check(got.has_addresses);
    bytes[15]++; /* one byte more than the limit */
    sl_check(parse(bytes, 16) == SL_E_PROTOCOL);
    bytes[15]--;
    memset(bytes + 28, 0,
           SL_PROXY_V2_TLV_MAX); /* empty extensions: 1365 of them and one odd byte */
    sl_check(parse(bytes, sizeof(bytes)) == SL_E_PROTOCOL);
}

static void faults_show_at_the_first_wrong_byte(void)
{
    sl_check(parse("", 0) == SL_E_PARTIAL);
    sl_check(parse("P", 1) == SL_E_PARTIAL);
    sl_check(parse("PX", 2) == SL_E_PROTOCOL);
    sl_check(parse("\r\n\r\n", 4) == SL_E_PARTIAL);
    sl_check(parse("\r\n\r\nX", 5) == SL_E_PROTOCOL);
    sl_check(parse(SIG "\x30", 13) == SL_E_PROTOCOL);
    sl_check(parse(SIG "\x21\x44", 14) == SL_E_PROTOCOL);
    sl_check(parse(SIG "\x20\x44", 14) == SL_E_PARTIAL);
}

static void what_follows_the_header_is_left_alone(void)
{
    static const struct sl_str v1 = SL_STR("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\nGET / HTTP/1.1\r\n");
    static const struct sl_str v2 = SL_STR(SIG "\x21\x11\0\x0c" V4 "\x16\x03\x01");

    sl_check(parse(v1.p, v1.len) == 32);
    sl_check(parse(v2.p, v2.len) == 28);
}

static struct sl_proxy_header make(const char *from, const char *to, bool is_datagram)
{
    struct sl_proxy_header h = {.has_addresses = from != NULL,
                                .is_datagram = is_datagram,
                                .from_port = 56324,
                                .to_port = 443};

    if (from != NULL) {
        inet_pton(AF_INET6, from, h.from);
        inet_pton(AF_INET6, to, h.to);
    }
    return h;
}

static void headers_are_written(void)
{
    static const struct {
        const char *from, *to;
        bool is_datagram;
        int version;
        struct sl_str want;
    } rows[] = {
        {"::ffff:192.0.2.1", "::ffff:198.51.100.2", false, 1,
         SL_STR("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n")},
        {"2001:db8::1", "::1", false, 1, SL_STR("PROXY TCP6 2001:db8::1 ::1 56324 443\r\n")},
        {"::ffff:192.0.2.1", "::1", false, 1,
         SL_STR("PROXY TCP6 ::ffff:192.0.2.1 ::1 56324 443\r\n")},
        {"::ffff:192.0.2.1", "::ffff:198.51.100.2", true, 1, SL_STR("PROXY UNKNOWN\r\n")},
        {NULL, NULL, false, 1, SL_STR("PROXY UNKNOWN\r\n")},
        {"::ffff:192.0.2.1", "::ffff:198.51.100.2", false, 2, SL_STR(SIG "\x21\x11\0\x0c" V4)},
        {"::ffff:192.0.2.1", "::ffff:198.51.100.2", true, 2, SL_STR(SIG "\x21\x12\0\x0c" V4)},
        {"2001:db8::1", "::1", true, 2,
         SL_STR(SIG "\x21\x22\0\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
                    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\xdc\x04\x01\xbb")},
        {NULL, NULL, false, 2, SL_STR(SIG "\x20\0\0\0")},
    };

    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        struct sl_proxy_header h = make(rows[i].from, rows[i].to, rows[i].is_datagram);
        uint8_t out[SL_PROXY_HEADER_WRITE_MAX];
        size_t len = sl_proxy_header_write(out, rows[i].version, &h);

        sl_check_str(sl_str((char *)out, len), rows[i].want);
        sl_check(parse_slowly(out, len) == (int)len);
    }
}

int main(void)
{
    version_1_is_read();
    version_1_is_refused();
    version_1_is_at_most_107_bytes();
    version_2_is_read();
    version_2_is_refused();
    unix_sockets_have_no_ip();
    extensions_are_bounded();
    faults_show_at_the_first_wrong_byte();
    what_follows_the_header_is_left_alone();
    headers_are_written();
    return sl_check_done();
}
