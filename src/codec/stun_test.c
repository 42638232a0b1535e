#include "codec/stun.h"

#include <arpa/inet.h>
#include "base/check.h"

/* The sample of RFC 5769, section 2.2 and 2.3: 192.0.2.1 and 2001:db8:…, port 32853, without the
 * attributes that protect it. */
static const uint8_t id[SL_STUN_ID_LEN] = {0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34,
                                           0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae};

static uint8_t ip[16];
static uint16_t port;

static bool ip_is(const char *text)
{
    uint8_t want[16];

    return inet_pton(AF_INET6, text, want) == 1 && memcmp(ip, want, 16) == 0;
}

/* A response of this type with these attributes, read from memory of exactly its size. */
static int respond(unsigned type, const uint8_t *attributes, size_t len)
{
    uint8_t *bytes = sl_alloc(SL_STUN_REQUEST_LEN + len);
    int rc;

    sl_stun_request(bytes, id);
    bytes[0] = (uint8_t)(type >> 8);
    bytes[1] = (uint8_t)type;
    bytes[2] = (uint8_t)(len >> 8);
    bytes[3] = (uint8_t)len;
    if (len > 0)
        memcpy(bytes + SL_STUN_REQUEST_LEN, attributes, len);
    rc = sl_stun_response(bytes, SL_STUN_REQUEST_LEN + len, id, ip, &port);
    for (size_t n = 0; n < SL_STUN_REQUEST_LEN + len; n++) /* cut short anywhere, it is no answer */
        sl_check(sl_stun_response(bytes, n, id, ip, &port) < 0);
    if (rc == 0)
        rc = sl_stun_response(bytes, SL_STUN_REQUEST_LEN + len, id, ip, &port);
    sl_free(bytes);
    return rc;
}

static void a_request_is_twenty_bytes(void)
{
    static const uint8_t want[] = {0x00, 0x01, 0x00, 0x00, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7,
                                   0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae};
    uint8_t out[SL_STUN_REQUEST_LEN];

    sl_stun_request(out, id);
    sl_check(memcmp(out, want, sizeof(want)) == 0);
}

static void masked_addresses_are_read(void)
{
    static const uint8_t v4[] = {0x00, 0x20, 0x00, 0x08, 0x00, 0x01,
                                 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43};
    static const uint8_t v6[] = {0x00, 0x20, 0x00, 0x14, 0x00, 0x02, 0xa1, 0x47,
                                 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79,
                                 0xbc, 0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9};

    sl_check(respond(0x0101, v4, sizeof(v4)) == 0);
    sl_check(ip_is("::ffff:192.0.2.1") && port == 32853);
    sl_check(respond(0x0101, v6, sizeof(v6)) == 0);
    sl_check(ip_is("2001:db8:1234:5678:11:2233:4455:6677") && port == 32853);
}

static void a_plain_address_is_the_second_choice(void)
{
    static const uint8_t both[] = {
        0x80, 0x22, 0x00, 0x03, 'a',  'b',  'c',  0,                         /* SOFTWARE, padded */
        0x00, 0x01, 0x00, 0x08, 0x00, 0x01, 0x12, 0x34, 10,   0,    0,    1, /* in the clear */
        0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43, /* masked */
    };

    sl_check(respond(0x0101, both, 20) == 0);
    sl_check(ip_is("::ffff:10.0.0.1") && port == 0x1234);
    sl_check(respond(0x0101, both, sizeof(both)) == 0);
    sl_check(ip_is("::ffff:192.0.2.1") && port == 32853);
}

static void what_is_no_answer_is_told_apart(void)
{
    static const uint8_t too_long[] = {0x00, 0x20, 0x00, 0x09, 0, 1, 0, 0, 1, 2, 3, 4};
    static const uint8_t no_family[] = {0x00, 0x20, 0x00, 0x08, 0, 3, 0, 0, 1, 2, 3, 4};
    static const uint8_t v6_in_v4[] = {0x00, 0x20, 0x00, 0x08, 0, 2, 0, 0, 1, 2, 3, 4};
    uint8_t other[SL_STUN_REQUEST_LEN];

    sl_check(respond(0x0101, NULL, 0) == SL_E_PROTOCOL);
    sl_check(respond(0x0101, too_long, sizeof(too_long)) == SL_E_PROTOCOL);
    sl_check(respond(0x0101, no_family, sizeof(no_family)) == SL_E_PROTOCOL);
    sl_check(respond(0x0101, v6_in_v4, sizeof(v6_in_v4)) == SL_E_PROTOCOL);
    sl_check(respond(0x0111, NULL, 0) == SL_E_REFUSED);
    sl_check(respond(0x0001, NULL, 0) == SL_E_NOT_FOUND);
    sl_stun_request(other, id);
    other[0] = other[1] = 1;
    other[19] ^= 1; /* somebody else's */
    sl_check(sl_stun_response(other, sizeof(other), id, ip, &port) == SL_E_NOT_FOUND);
}

int main(void)
{
    a_request_is_twenty_bytes();
    masked_addresses_are_read();
    a_plain_address_is_the_second_choice();
    what_is_no_answer_is_told_apart();
    return sl_check_done();
}
