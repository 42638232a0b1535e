#include "codec/stun.h"

enum {
    HEAD_LEN = 20,
    BINDING_REQUEST = 0x0001,
    BINDING_SUCCESS = 0x0101,
    BINDING_ERROR = 0x0111,
    MAPPED_ADDRESS = 0x0001,
    XOR_MAPPED_ADDRESS = 0x0020,
    FAMILY_IPV4 = 1,
    FAMILY_IPV6 = 2,
};

/* The magic cookie; it and the id are what addresses are XORed with, so that no NAT on the way
 * "corrects" them. */
static const uint8_t cookie[4] = {0x21, 0x12, 0xA4, 0x42};

static unsigned u16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

void sl_stun_request(uint8_t out[SL_STUN_REQUEST_LEN], const uint8_t id[SL_STUN_ID_LEN])
{
    memset(out, 0, SL_STUN_REQUEST_LEN);
    out[1] = BINDING_REQUEST;
    memcpy(out + 4, cookie, sizeof(cookie));
    memcpy(out + 8, id, SL_STUN_ID_LEN);
}

/* The value of an address attribute: a zero byte, the family, the port, the address. `mask` is all
 * zeros for one in the clear. */
static int read_address(const uint8_t *value, size_t len, const uint8_t mask[16], uint8_t ip[16],
                        uint16_t *port)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    size_t n = len < 4 ? 0 : value[1] == FAMILY_IPV4 ? 4 : value[1] == FAMILY_IPV6 ? 16 : 0;

    if (n == 0 || len != 4 + n)
        return SL_E_PROTOCOL;
    memcpy(ip, mapped, sizeof(mapped));
    for (size_t i = 0; i < n; i++)
        ip[16 - n + i] = value[4 + i] ^ mask[i];
    *port = (uint16_t)(u16(value + 2) ^ u16(mask));
    return 0;
}

/* The address that is masked wins over the one in the clear, wherever it stands. */
static int read_attributes(const uint8_t *at, size_t len, const uint8_t mask[16], uint8_t ip[16],
                           uint16_t *port)
{
    static const uint8_t none[16];
    int rc = SL_E_PROTOCOL;

    while (len >= 4) {
        unsigned type = u16(at);
        size_t n = u16(at + 2), padded = (n + 3) & ~(size_t)3;

        if (padded > len - 4)
            return SL_E_PROTOCOL;
        if (type == XOR_MAPPED_ADDRESS)
            return read_address(at + 4, n, mask, ip, port);
        if (type == MAPPED_ADDRESS)
            rc = read_address(at + 4, n, none, ip, port);
        at += 4 + padded;
        len -= 4 + padded;
    }
    return rc;
}

int sl_stun_response(const uint8_t *bytes, size_t len, const uint8_t id[SL_STUN_ID_LEN],
                     uint8_t ip[16], uint16_t *port)
{
    uint8_t mask[16];

    if (len < HEAD_LEN || len > SL_STUN_RESPONSE_MAX || memcmp(bytes + 4, cookie, 4) != 0 ||
        memcmp(bytes + 8, id, SL_STUN_ID_LEN) != 0)
        return SL_E_NOT_FOUND;
    if (u16(bytes) == BINDING_ERROR)
        return SL_E_REFUSED;
    if (u16(bytes) != BINDING_SUCCESS)
        return SL_E_NOT_FOUND;
    if (u16(bytes + 2) != len - HEAD_LEN)
        return SL_E_PROTOCOL;
    memcpy(mask, bytes + 4, sizeof(mask)); /* the cookie and the id */
    return read_attributes(bytes + HEAD_LEN, len - HEAD_LEN, mask, ip, port);
}
