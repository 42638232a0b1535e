#include "http/utf8.h"

/* The first byte of a character of several: how many follow, and what the first of them may be. The
 * narrow ranges shut out long forms, surrogates and what lies past U+10FFFF. */
static bool begin(struct sl_utf8 *u, uint8_t c)
{
    u->least = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    u->most = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (c >= 0xc2 && c <= 0xdf)
        u->left = 1;
    else if (c >= 0xe0 && c <= 0xef)
        u->left = 2;
    else if (c >= 0xf0 && c <= 0xf4)
        u->left = 3;
    return u->left > 0;
}

/* The count of ASCII bytes at the front, eight at a time. */
static size_t skip_ascii(const uint8_t *bytes, size_t len)
{
    size_t i = 0;
    uint64_t word;

    for (; i + sizeof(word) <= len; i += sizeof(word)) {
        memcpy(&word, bytes + i, sizeof(word));
        if ((word & UINT64_C(0x8080808080808080)) != 0)
            break;
    }
    return i;
}

static bool feed_byte(struct sl_utf8 *u, uint8_t c)
{
    if (u->left == 0)
        return c < 0x80 || begin(u, c);
    if (c < u->least || c > u->most)
        return false;
    u->left--;
    u->least = 0x80;
    u->most = 0xbf;
    return true;
}

bool sl_utf8_feed(struct sl_utf8 *u, const uint8_t *bytes, size_t len)
{
    size_t i = 0;

    while (i < len) {
        if (u->left == 0)
            i += skip_ascii(bytes + i, len - i);
        if (i < len && !feed_byte(u, bytes[i++]))
            return false;
    }
    return true;
}
