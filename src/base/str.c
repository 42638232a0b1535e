#include "base/str.h"

bool sl_str_ieq(struct sl_str a, struct sl_str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        if (sl_lower((unsigned char)a.p[i]) != sl_lower((unsigned char)b.p[i]))
            return false;
    }
    return true;
}

bool sl_str_ends(struct sl_str s, struct sl_str tail)
{
    return s.len >= tail.len && memcmp(s.p + s.len - tail.len, tail.p, tail.len) == 0;
}

bool sl_str_starts(struct sl_str s, struct sl_str head)
{
    return s.len >= head.len && memcmp(s.p, head.p, head.len) == 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct sl_str sl_str_trim(struct sl_str s)
{
    while (s.len > 0 && is_blank(s.p[0])) {
        s.p++;
        s.len--;
    }
    while (s.len > 0 && is_blank(s.p[s.len - 1]))
        s.len--;
    return s;
}

bool sl_str_next(struct sl_str *list, char sep, struct sl_str *item)
{
    const char *end;

    if (list->p == NULL)
        return false;
    end = list->len > 0 ? memchr(list->p, sep, list->len) : NULL;
    if (end == NULL) {
        *item = sl_str_trim(*list);
        *list = SL_STR_NONE;
        return true;
    }
    *item = sl_str_trim(sl_str(list->p, (size_t)(end - list->p)));
    list->len -= (size_t)(end + 1 - list->p);
    list->p = end + 1;
    return true;
}

bool sl_str_has_token(struct sl_str list, struct sl_str token)
{
    struct sl_str item;

    while (sl_str_next(&list, ',', &item)) {
        if (sl_str_ieq(item, token))
            return true;
    }
    return false;
}

int sl_str_to_u64(struct sl_str s, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;

    if (s.len == 0)
        return -1;
    for (size_t i = 0; i < s.len; i++) {
        unsigned digit = (unsigned)(unsigned char)s.p[i] - '0';

        if (digit > 9 || digit > max || value > (max - digit) / 10)
            return -1;
        value = value * 10 + digit;
    }
    *out = value;
    return 0;
}

bool sl_str_eq_secret(struct sl_str given, struct sl_str secret)
{
    volatile unsigned char diff = given.len != secret.len;

    for (size_t i = 0; i < given.len; i++)
        diff |= (unsigned char)given.p[i] ^
                (unsigned char)(secret.len > 0 ? secret.p[i % secret.len] : 1);
    return diff == 0;
}
