#include "script/base64.h"

static const char plain_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

size_t sl_base64_encode(char *out, const void *bytes, size_t len, bool url)
{
    const char *digits = url ? url_digits : plain_digits;
    const uint8_t *p = bytes;
    char *at = out;

    for (; len > 0; p += 3) {
        size_t n = SL_MIN(len, 3);
        uint32_t group =
            (uint32_t)p[0] << 16 | (n > 1 ? (uint32_t)p[1] << 8 : 0) | (n > 2 ? p[2] : 0u);

        for (size_t i = 0; i <= n; i++)
            *at++ = digits[group >> (18 - 6 * i) & 63];
        for (size_t i = n; i < 3 && !url; i++)
            *at++ = '=';
        len -= n;
    }
    return (size_t)(at - out);
}

static int digit_of(char c, bool url)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == (url ? '-' : '+'))
        return 62;
    return c == (url ? '_' : '/') ? 63 : -1;
}

/* Takes the padding off; false when it is not what the form has. */
static bool strip_padding(struct sl_str *text, bool url)
{
    size_t whole = text->len;

    while (text->len > 0 && whole - text->len < 2 && text->p[text->len - 1] == '=')
        text->len--;
    if (text->len % 4 == 1)
        return false;
    if (whole == text->len)
        return url || whole % 4 == 0;
    return whole % 4 == 0;
}

ssize_t sl_base64_decode(uint8_t *out, struct sl_str text, bool url)
{
    uint8_t *at = out;
    uint32_t bits = 0;
    unsigned n_bits = 0;

    if (!strip_padding(&text, url))
        return SL_E_PROTOCOL;
    for (size_t i = 0; i < text.len; i++) {
        int digit = digit_of(text.p[i], url);

        if (digit < 0)
            return SL_E_PROTOCOL;
        bits = bits << 6 | (uint32_t)digit;
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            *at++ = (uint8_t)(bits >> n_bits);
            bits &= (1u << n_bits) - 1;
        }
    }
    return bits == 0 ? at - out : SL_E_PROTOCOL;
}
