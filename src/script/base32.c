#include "script/base32.h"

static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";

size_t sl_base32_encode(char *out, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    char *at = out;
    uint32_t bits = 0;
    unsigned n_bits = 0;

    for (size_t i = 0; i < len; i++) {
        bits = (bits << 8 | p[i]) & 0xffff;
        for (n_bits += 8; n_bits >= 5; n_bits -= 5)
            *at++ = digits[bits >> (n_bits - 5) & 31];
    }
    if (n_bits > 0)
        *at++ = digits[bits << (5 - n_bits) & 31];
    return (size_t)(at - out);
}

static int digit_of(char c)
{
    unsigned char lower = sl_lower((unsigned char)c);

    if (lower >= 'a' && lower <= 'z')
        return lower - 'a';
    return c >= '2' && c <= '7' ? c - '2' + 26 : -1;
}

ssize_t sl_base32_decode(uint8_t *out, struct sl_str text)
{
    uint8_t *at = out;
    uint32_t bits = 0;
    unsigned n_bits = 0;

    for (size_t i = 0; i < text.len; i++) {
        int digit = digit_of(text.p[i]);

        if (digit < 0)
            return SL_E_PROTOCOL;
        bits = bits << 5 | (uint32_t)digit;
        n_bits += 5;
        if (n_bits >= 8) {
            n_bits -= 8;
            *at++ = (uint8_t)(bits >> n_bits);
            bits &= (1u << n_bits) - 1;
        }
    }
    return bits == 0 && n_bits < 5 ? at - out : SL_E_PROTOCOL;
}
