#include "codec/client_hello.h"

#include "base/buf.h"
#include "base/check.h"

/* What OpenSSL 3 sends for "WWW.Example.com" with h2 and http/1.1. */
static const char openssl_hello[] =
    "16030100de010000da0303e3e3a15fa7d8695650a55a002728ebaf142245a36925627aa34983c102056c7120"
    "2dc01c4c4c3dbbcf1e418a42ae9091da68dc646eb9d5af65278222f3d7d79f3a00061301c02b00ff0100008b"
    "00000014001200000f5757572e4578616d706c652e636f6d000b000403000102000a00040002001d00230000"
    "0010000e000c02683208687474702f312e310016000000170000000d000400020403002b0009080304030303"
    "020301002d00020101003300260024001d002048407b08409233637198560cab5eb07f2330743958f65133bd"
    "93b368586efa35";

/* --- making hellos --- */

static void put16(struct sl_buf *b, size_t value)
{
    uint8_t bytes[2] = {(uint8_t)(value >> 8), (uint8_t)value};

    sl_buf_append(b, bytes, 2);
}

static void put_zeros(struct sl_buf *b, size_t len)
{
    memset(sl_buf_reserve(b, len), 0, len);
    sl_buf_commit(b, len);
}

static void put_extension(struct sl_buf *b, unsigned type, struct sl_str body)
{
    put16(b, type);
    put16(b, body.len);
    sl_buf_append_str(b, body);
}

static void put_sni(struct sl_buf *b, struct sl_str name)
{
    put16(b, 0);
    put16(b, name.len + 5);
    put16(b, name.len + 3);
    sl_buf_append(b, "", 1);
    put16(b, name.len);
    sl_buf_append_str(b, name);
}

/* The handshake message; `extensions` with p NULL leaves even their length out. */
static void put_message(struct sl_buf *b, struct sl_str extensions)
{
    size_t len = 2 + 32 + 1 + 4 + 2 + (extensions.p != NULL ? 2 + extensions.len : 0);

    sl_buf_append(b, "\x01", 2); /* with the first byte of the length, which is 0 */
    put16(b, len);
    put16(b, 0x0303);
    put_zeros(b, 32);
    sl_buf_append(b, "", 1);                         /* no session id */
    sl_buf_append(b, "\x00\x02\x13\x01\x01\x00", 6); /* a cipher, no compression */
    if (extensions.p == NULL)
        return;
    put16(b, extensions.len);
    sl_buf_append_str(b, extensions);
}

static void put_records(struct sl_buf *b, struct sl_str message, size_t record_len)
{
    while (message.len > 0) {
        size_t n = SL_MIN(message.len, record_len);

        sl_buf_append(b, "\x16\x03\x01", 3);
        put16(b, n);
        sl_buf_append(b, message.p, n);
        message = sl_str(message.p + n, message.len - n);
    }
}

/* Records of a hello with these extensions. The caller clears the buffer. */
static struct sl_buf make(struct sl_str extensions, size_t record_len)
{
    struct sl_buf message = {0}, out = {0};

    put_message(&message, extensions);
    put_records(&out, sl_buf_str(&message), record_len);
    sl_buf_clear(&message);
    return out;
}

/* --- feeding them --- */

/* In pieces, each in memory of exactly its size, so that the sanitizer sees a read past the end. */
static int feed(struct sl_client_hello *h, struct sl_str bytes, size_t piece)
{
    int rc = SL_E_PARTIAL;

    *h = (struct sl_client_hello){0};
    for (size_t at = 0; at < bytes.len && rc == SL_E_PARTIAL; at += piece) {
        size_t n = SL_MIN(piece, bytes.len - at);
        uint8_t *copy = sl_alloc(n);

        memcpy(copy, bytes.p + at, n);
        rc = sl_client_hello_feed(h, copy, n);
        sl_free(copy);
    }
    return rc;
}

/* The answer for these extensions, which must not depend on records and pieces. */
static int answer(struct sl_client_hello *h, struct sl_str extensions)
{
    static const size_t sizes[] = {1, 2, 3, 7, 100, 16384};
    int first = 1;

    for (size_t i = 0; i < SL_COUNT(sizes) * SL_COUNT(sizes); i++) {
        struct sl_buf bytes = make(extensions, sizes[i / SL_COUNT(sizes)]);
        int rc = feed(h, sl_buf_str(&bytes), sizes[i % SL_COUNT(sizes)]);

        first = first == 1 ? rc : first;
        sl_check(rc == first);
        sl_buf_clear(&bytes);
    }
    return first;
}

static int answer_to_name(struct sl_client_hello *h, struct sl_str name)
{
    struct sl_buf b = {0};
    int rc;

    put_sni(&b, name);
    rc = answer(h, sl_buf_str(&b));
    sl_buf_clear(&b);
    return rc;
}

/* --- the tests --- */

static unsigned hex_digit(char c)
{
    return c <= '9' ? (unsigned)c - '0' : (unsigned)c - 'a' + 10;
}

static void a_hello_of_openssl_is_read(void)
{
    struct sl_client_hello h;
    char bytes[sizeof(openssl_hello) / 2];

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] =
            (char)(hex_digit(openssl_hello[2 * i]) << 4 | hex_digit(openssl_hello[2 * i + 1]));
    for (size_t piece = 1; piece <= sizeof(bytes); piece++) {
        sl_check(feed(&h, sl_str(bytes, sizeof(bytes)), piece) == 0);
        sl_check_str(sl_client_hello_sni(&h), SL_STR("www.example.com"));
        sl_check_str(sl_str((char *)h.alpn, h.alpn_len), SL_STR("\x02h2\x08http/1.1"));
        sl_check(h.offers_tls13);
    }
    for (size_t len = 0; len < sizeof(bytes); len++)
        sl_check(feed(&h, sl_str(bytes, len), 16) == SL_E_PARTIAL);
}

static void without_extensions_there_is_no_name(void)
{
    struct sl_client_hello h;

    sl_check(answer(&h, SL_STR_NONE) == 0);
    sl_check(h.name_len == 0 && h.alpn_len == 0 && !h.offers_tls13);
    sl_check(answer(&h, SL_STR("")) == 0);
    sl_check(h.name_len == 0);
}

static void names_are_normalized(void)
{
    static const struct {
        struct sl_str name, want; /* p NULL: refused */
    } rows[] = {
        {SL_STR("A.eXample.COM."), SL_STR("a.example.com")},
        {SL_STR("x"), SL_STR("x")},
        {SL_STR("under_score-1.test"), SL_STR("under_score-1.test")},
        {SL_STR("10.0.0.1"), SL_STR("10.0.0.1")},
        {SL_STR(""), SL_STR_NONE},
        {SL_STR("."), SL_STR_NONE},
        {SL_STR("a b"), SL_STR_NONE},
        {SL_STR("a\0b"), SL_STR_NONE},
        {SL_STR("a\r\nb"), SL_STR_NONE},
        {SL_STR("*.example.com"), SL_STR_NONE},
        {SL_STR("b\xc3\xbc"
                "cher.example"),
         SL_STR_NONE},
        {SL_STR("a/b"), SL_STR_NONE},
    };
    struct sl_client_hello h;

    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        int rc = answer_to_name(&h, rows[i].name);

        sl_check(rc == (rows[i].want.p != NULL ? 0 : SL_E_PROTOCOL));
        if (rc == 0)
            sl_check_str(sl_client_hello_sni(&h), rows[i].want);
    }
}

static void names_are_bounded(void)
{
    char name[SL_CLIENT_HELLO_NAME_MAX + 2];
    struct sl_client_hello h;

    memset(name, 'a', sizeof(name));
    sl_check(answer_to_name(&h, sl_str(name, SL_CLIENT_HELLO_NAME_MAX)) == 0);
    sl_check(h.name_len == SL_CLIENT_HELLO_NAME_MAX);
    sl_check(answer_to_name(&h, sl_str(name, SL_CLIENT_HELLO_NAME_MAX + 1)) == SL_E_PROTOCOL);
}

static void malformed_extensions_are_refused(void)
{
    static const struct sl_str rows[] = {
        SL_STR("\0\0\0\0"),                           /* empty SNI */
        SL_STR("\0\0\0\x05\0\x03\0\0\0"),             /* empty name */
        SL_STR("\0\0\0\x06\0\x04\x01\0\x01x"),        /* not a host name */
        SL_STR("\0\0\0\x06\0\x05\0\0\x01x"),          /* list longer than extension */
        SL_STR("\0\0\0\x06\0\x03\0\0\x01x"),          /* list shorter */
        SL_STR("\0\0\0\x06\0\x04\0\0\x02x"),          /* name longer than list */
        SL_STR("\0\0\0\x0a\0\x08\0\0\x01x\0\0\x01y"), /* two names */
        SL_STR("\0\0\0\x06\0\x04\0\0\x01x\0\0\0\x06\0\x04\0\0\x01y"), /* two name extensions */
        SL_STR("\0\x10\0\x02\0\0"),                                   /* ALPN without protocols */
        SL_STR("\0\x10\0\x03\0\x01\0"),                               /* ALPN: empty protocol */
        SL_STR("\0\x10\0\x05\0\x03\x03h2"),                           /* ALPN: past the end */
        SL_STR("\0\x10\0\x05\0\x04\x02h2"),                           /* ALPN: list past the end */
        SL_STR("\0\x2b\0\x01\0"),                                     /* no versions */
        SL_STR("\0\x2b\0\x02\x01\x03"),                               /* half a version */
        SL_STR("\0\x2b\0\x03\x04\x03\x04"),                           /* versions past the end */
        SL_STR("\0\x17\0"),                                           /* half a head */
        SL_STR("\0\x17\0\x01"),                                       /* extension past the end */
        SL_STR("\0\x10\0\x09\0\x01\x01"), /* known extension past the end */
    };
    struct sl_client_hello h;

    for (size_t i = 0; i < SL_COUNT(rows); i++)
        sl_check(answer(&h, rows[i]) == SL_E_PROTOCOL);
}

static void protocols_and_versions_are_found(void)
{
    struct sl_client_hello h;

    sl_check(answer(&h, SL_STR("\0\x17\0\0\0\x10\0\x05\0\x03\x02h2\0\x2b\0\x03\x02\x03\x03")) == 0);
    sl_check_str(sl_str((char *)h.alpn, h.alpn_len), SL_STR("\x02h2"));
    sl_check(!h.offers_tls13);
    sl_check(answer(&h, SL_STR("\0\x2b\0\x05\x04\x7a\x7a\x03\x04")) == 0);
    sl_check(h.offers_tls13);
}

/* A body of 39 bytes: version, random, session id, ciphers, compression, and then the faults. */
static void malformed_bodies_are_refused(void)
{
    static const struct {
        size_t at;
        uint8_t value;
    } rows[] = {
        {0, 0x17},  /* application data */
        {0, 0x80},  /* SSL 2 */
        {1, 2},     /* SSL 2 again */
        {3, 0x41},  /* a record longer than 16 KiB */
        {5, 2},     /* ServerHello */
        {8, 0x01},  /* message ends in the middle of the random */
        {9, 1},     /* version 1.x */
        {43, 33},   /* session id too long */
        {43, 32},   /* session id past the end */
        {45, 3},    /* odd cipher suites */
        {45, 0},    /* no cipher suites */
        {44, 0x10}, /* cipher suites past the end */
        {48, 0},    /* no compression method */
        {48, 9},    /* compression methods past the end */
        {51, 1},    /* extensions shorter than the message */
        {51, 9},    /* extensions longer than the message */
    };
    struct sl_client_hello h;

    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        struct sl_buf b = make(SL_STR("\0\x17\0\0"), 16384);

        sl_check(feed(&h, sl_buf_str(&b), 16384) == 0);
        sl_buf_at(&b)[rows[i].at] = rows[i].value;
        sl_check(feed(&h, sl_buf_str(&b), 16384) == SL_E_PROTOCOL);
        sl_check(feed(&h, sl_buf_str(&b), 1) == SL_E_PROTOCOL);
        sl_buf_clear(&b);
    }
}

static void other_records_in_between_are_refused(void)
{
    struct sl_client_hello h;

    sl_check(feed(&h, SL_STR("\x16\x03\x01\0\x01\x01\x14\x03\x01\0\x01\x01"), 100) ==
             SL_E_PROTOCOL);
    sl_check(feed(&h, SL_STR("\x16\x03\x01\0\x01\x01\x16\x03\x01\0\0"), 100) == SL_E_PROTOCOL);
    sl_check(feed(&h, SL_STR("GET / HTTP/1.1\r\n"), 100) == SL_E_PROTOCOL);
}

static void the_answer_stays(void)
{
    struct sl_client_hello h = {0};
    struct sl_buf b = make(SL_STR_NONE, 16384);

    sl_check(sl_client_hello_feed(&h, NULL, 0) == SL_E_PARTIAL);
    sl_buf_append(&b, "junk behind the end", 19);
    sl_check(sl_client_hello_feed(&h, sl_buf_at(&b), sl_buf_len(&b)) == 0);
    sl_check(sl_client_hello_feed(&h, (const uint8_t *)"x", 1) == 0);
    h = (struct sl_client_hello){0};
    sl_check(sl_client_hello_feed(&h, (const uint8_t *)"x", 1) == SL_E_PROTOCOL);
    sl_check(sl_client_hello_feed(&h, sl_buf_at(&b), sl_buf_len(&b)) == SL_E_PROTOCOL);
    sl_buf_clear(&b);
}

/* An extension of 16 KiB that nobody looks at (as big key shares are), and then the name. */
static void large_hellos_are_read(void)
{
    struct sl_client_hello h;
    struct sl_buf b = {0}, raw;

    put16(&b, 51);
    put16(&b, 16384);
    put_zeros(&b, 16384);
    put_sni(&b, SL_STR("late.example"));
    raw = make(sl_buf_str(&b), 16384);
    sl_check(feed(&h, sl_buf_str(&raw), 1) == 0);
    sl_check_str(sl_client_hello_sni(&h), SL_STR("late.example"));
    sl_buf_clear(&raw);
    raw = make(sl_buf_str(&b), 1); /* 96 KiB in records of one byte */
    sl_check(feed(&h, sl_buf_str(&raw), 1000) == SL_E_LIMIT);
    sl_check(h.n_raw == SL_CLIENT_HELLO_MAX);
    sl_buf_clear(&raw);
    sl_buf_clear(&b);
}

static void sizes_are_bounded(void)
{
    struct sl_client_hello h;
    struct sl_buf b = {0};

    sl_check(feed(&h, SL_STR("\x16\x03\x01\0\x04\x01\x01\0\x01"), 1) == SL_E_LIMIT); /* 65537 */
    put16(&b, 16);
    put16(&b, SL_CLIENT_HELLO_FIELD_MAX + 1);
    put_zeros(&b, SL_CLIENT_HELLO_FIELD_MAX + 1);
    sl_check(answer(&h, sl_buf_str(&b)) == SL_E_LIMIT);
    sl_buf_clear(&b);
}

static void unknown_extensions_may_repeat(void)
{
    struct sl_buf b = {0};
    struct sl_client_hello h;

    put_extension(&b, 0x1a1a, SL_STR(""));
    put_extension(&b, 0x1a1a, SL_STR("x"));
    put_sni(&b, SL_STR("x.example"));
    sl_check(answer(&h, sl_buf_str(&b)) == 0);
    sl_check_str(sl_client_hello_sni(&h), SL_STR("x.example"));
    sl_buf_clear(&b);
}

int main(void)
{
    a_hello_of_openssl_is_read();
    without_extensions_there_is_no_name();
    names_are_normalized();
    names_are_bounded();
    malformed_extensions_are_refused();
    protocols_and_versions_are_found();
    malformed_bodies_are_refused();
    other_records_in_between_are_refused();
    the_answer_stays();
    large_hellos_are_read();
    sizes_are_bounded();
    unknown_extensions_may_repeat();
    return sl_check_done();
}
