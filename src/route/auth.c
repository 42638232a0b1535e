#include "route/compiled.h"

enum {
    DECODED_MAX = 512, /* check.c lets no longer credentials in */
    TEXT_MAX = (DECODED_MAX + 2) / 3 * 4,
};

static int digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Base64 with its padding, and with nothing in the bits that no byte uses: one text for one value.
 * -1 if it is not that. */
static int decode(struct sl_str text, char out[DECODED_MAX + 3])
{
    size_t n = 0, padding = 0;
    uint32_t bits = 0;

    if (text.len % 4 != 0 || text.len > TEXT_MAX)
        return -1;
    while (padding < 2 && padding < text.len && text.p[text.len - 1 - padding] == '=')
        padding++;
    for (size_t i = 0; i < text.len; i++) {
        int value = i < text.len - padding ? digit(text.p[i]) : 0;

        if (value < 0)
            return -1;
        bits = bits << 6 | (uint32_t)value;
        if (i % 4 != 3)
            continue;
        out[n++] = (char)(bits >> 16);
        out[n++] = (char)(bits >> 8);
        out[n++] = (char)bits;
    }
    for (size_t i = 0; i < padding; i++) {
        if (out[--n] != 0)
            return -1;
    }
    return (int)n;
}

/* All users are compared, whether one has matched already or not. */
static bool is_known(const struct sl_route *r, struct sl_str credentials)
{
    unsigned found = 0;

    for (size_t i = 0; i < r->n_users; i++)
        found |= sl_str_eq_secret(credentials, r->priv->credentials[i]);
    return found != 0;
}

bool sl_route_auth_ok(const struct sl_route *r, struct sl_str authorization)
{
    static const struct sl_str scheme = {"basic ", 6};
    char credentials[DECODED_MAX + 3];
    bool ok;
    int len;

    if (authorization.len < scheme.len || !sl_str_ieq(sl_str(authorization.p, scheme.len), scheme))
        return false;
    len = decode(sl_str_trim(sl_str(authorization.p + scheme.len, authorization.len - scheme.len)),
                 credentials);
    if (len < 0)
        return false;
    ok = is_known(r, sl_str(credentials, (size_t)len));
    explicit_bzero(credentials, (size_t)len);
    return ok;
}
