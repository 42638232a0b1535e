#include "route/access.h"

#include <arpa/inet.h>
#include <stdlib.h>

enum { IP_LEN = 16, IP_TEXT_LEN = INET6_ADDRSTRLEN, SHOWN_LEN = 80 };

/* Where the IPv4 addresses lie among the IPv6 ones. */
static const struct sl_ip_range v4_block = {
    {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0},
    {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
};
enum { V4_PREFIX_LEN = 12 };

static int compare(const uint8_t a[IP_LEN], const uint8_t b[IP_LEN])
{
    return memcmp(a, b, IP_LEN);
}

static bool is_v4(const uint8_t ip[IP_LEN])
{
    return memcmp(ip, v4_block.from, V4_PREFIX_LEN) == 0;
}

/* --- one entry --- */

/* Parses an address; `*bits` is the width of its family, as prefixes count it. */
static bool parse_ip(struct sl_str text, uint8_t ip[IP_LEN], unsigned *bits)
{
    char copy[IP_TEXT_LEN];

    if (text.len == 0 || text.len >= sizeof(copy) || memchr(text.p, '\0', text.len) != NULL)
        return false;
    memcpy(copy, text.p, text.len);
    copy[text.len] = '\0';
    *bits = memchr(text.p, ':', text.len) != NULL ? 128 : 32;
    if (*bits == 128)
        return inet_pton(AF_INET6, copy, ip) == 1;
    memcpy(ip, v4_block.from, V4_PREFIX_LEN);
    return inet_pton(AF_INET, copy, ip + V4_PREFIX_LEN) == 1;
}

/* Splits at the first `at`; false when there is none. */
static bool split(struct sl_str text, char at, struct sl_str *left, struct sl_str *right)
{
    const char *p = text.len > 0 ? memchr(text.p, at, text.len) : NULL;

    if (p == NULL)
        return false;
    *left = sl_str_trim(sl_str(text.p, (size_t)(p - text.p)));
    *right = sl_str_trim(sl_str(p + 1, (size_t)(text.p + text.len - p - 1)));
    return true;
}

/* Keeps the first `prefix` bits of both ends and sets the rest to zeros and ones. */
static void spread(struct sl_ip_range *r, unsigned prefix)
{
    for (unsigned i = 0; i < IP_LEN; i++) {
        unsigned kept = prefix >= 8 * (i + 1) ? 8 : prefix <= 8 * i ? 0 : prefix - 8 * i;
        uint8_t host = (uint8_t)(0xff >> kept);

        r->from[i] &= (uint8_t)~host;
        r->to[i] |= host;
    }
}

static bool parse_cidr(struct sl_str ip, struct sl_str prefix, struct sl_ip_range *out)
{
    uint64_t n;
    unsigned bits;

    if (!parse_ip(ip, out->from, &bits) || sl_str_to_u64(prefix, bits, &n) < 0)
        return false;
    memcpy(out->to, out->from, IP_LEN);
    spread(out, 128 - bits + (unsigned)n);
    return true;
}

static bool parse_from_to(struct sl_str from, struct sl_str to, struct sl_ip_range *out)
{
    unsigned bits;

    return parse_ip(from, out->from, &bits) && parse_ip(to, out->to, &bits) &&
           is_v4(out->from) == is_v4(out->to) && compare(out->from, out->to) <= 0;
}

/* "10.0.*.*" or, for short, "10.0.*": octets, then stars only. */
static bool parse_glob(struct sl_str text, struct sl_ip_range *out)
{
    unsigned n_octets = 0, n_stars = 0;
    struct sl_str item;
    uint64_t octet;

    *out = v4_block;
    while (sl_str_next(&text, '.', &item)) {
        if (n_octets + n_stars == 4)
            return false;
        if (sl_str_eq(item, SL_STR("*"))) {
            n_stars++;
            continue;
        }
        if (n_stars > 0 || sl_str_to_u64(item, 255, &octet) < 0)
            return false;
        out->from[V4_PREFIX_LEN + n_octets] = out->to[V4_PREFIX_LEN + n_octets] = (uint8_t)octet;
        n_octets++;
    }
    return n_octets > 0 && n_stars > 0;
}

static bool parse_any(struct sl_str text, struct sl_ip_range *out)
{
    struct sl_str left, right;
    unsigned bits;

    if (sl_str_eq(text, SL_STR("*"))) {
        memset(out->from, 0, IP_LEN);
        memset(out->to, 0xff, IP_LEN);
        return true;
    }
    if (split(text, '/', &left, &right))
        return parse_cidr(left, right, out);
    if (split(text, '-', &left, &right))
        return parse_from_to(left, right, out);
    if (text.len > 0 && memchr(text.p, '*', text.len) != NULL)
        return parse_glob(text, out);
    if (!parse_ip(text, out->from, &bits))
        return false;
    memcpy(out->to, out->from, IP_LEN);
    return true;
}

int sl_ip_range_parse(struct sl_str text, struct sl_ip_range *out, struct sl_err *err)
{
    text = sl_str_trim(text);
    if (parse_any(text, out))
        return 0;
    return sl_err_set(err, SL_E_CONFIG,
                      "\"%.*s\" is not an address; write 10.0.0.1, 10.0.0.0/8, 10.0.0.1-10.0.0.9, "
                      "10.0.*.*, 2001:db8::/32 or *",
                      (int)SL_MIN(text.len, (size_t)SHOWN_LEN), text.p);
}

/* --- sets --- */

static void step(uint8_t ip[IP_LEN], int by)
{
    uint8_t carried_on = by > 0 ? 0xff : 0;

    for (size_t i = IP_LEN; i-- > 0;) {
        bool carries = ip[i] == carried_on;

        ip[i] = (uint8_t)(ip[i] + by);
        if (!carries)
            return;
    }
}

/* Adds a range. One of IPv6 addresses that spans the IPv4 block is added as what lies before and
   behind it: who blocks
   "::/0" means IPv6. */
static void add(struct sl_ip_set *set, const struct sl_ip_range *r)
{
    struct sl_ip_range before = *r, behind = *r;

    if (is_v4(r->from) || is_v4(r->to) || compare(r->from, v4_block.from) > 0 ||
        compare(r->to, v4_block.to) < 0) {
        set->ranges[set->n++] = *r;
        return;
    }
    memcpy(before.to, v4_block.from, IP_LEN);
    step(before.to, -1);
    memcpy(behind.from, v4_block.to, IP_LEN);
    step(behind.from, 1);
    set->ranges[set->n++] = before;
    set->ranges[set->n++] = behind;
}

static int by_start(const void *a, const void *b)
{
    return compare(((const struct sl_ip_range *)a)->from, ((const struct sl_ip_range *)b)->from);
}

/* Joins ranges that overlap, so that at most one can hold an address. */
static void merge(struct sl_ip_set *set)
{
    size_t n = 0;

    qsort(set->ranges, set->n, sizeof(*set->ranges), by_start);
    for (size_t i = 0; i < set->n; i++) {
        struct sl_ip_range *last = n > 0 ? &set->ranges[n - 1] : NULL;

        if (last == NULL || compare(set->ranges[i].from, last->to) > 0)
            set->ranges[n++] = set->ranges[i];
        else if (compare(set->ranges[i].to, last->to) > 0)
            memcpy(last->to, set->ranges[i].to, IP_LEN);
    }
    set->n = n;
}

int sl_ip_set_init(struct sl_ip_set *set, const struct sl_str *texts, size_t n, const char *path,
                   struct sl_err *err)
{
    struct sl_ip_range range;

    *set = (struct sl_ip_set){0};
    if (n == 0)
        return 0;
    set->ranges = sl_alloc(2 * n * sizeof(*set->ranges));
    for (size_t i = 0; i < n; i++) {
        if (sl_ip_range_parse(texts[i], &range, err) < 0) {
            sl_ip_set_clear(set);
            return sl_err_prefix(err, "%s[%zu]: ", path, i);
        }
        if (sl_str_eq(sl_str_trim(texts[i]), SL_STR("*")))
            set->all = true;
        else
            add(set, &range);
    }
    merge(set);
    return 0;
}

void sl_ip_set_copy(struct sl_ip_set *to, const struct sl_ip_set *from)
{
    *to = *from;
    to->ranges = NULL;
    if (from->n > 0) {
        to->ranges = sl_alloc(from->n * sizeof(*to->ranges));
        memcpy(to->ranges, from->ranges, from->n * sizeof(*to->ranges));
    }
}

void sl_ip_set_clear(struct sl_ip_set *set)
{
    sl_free(set->ranges);
    *set = (struct sl_ip_set){0};
}

bool sl_ip_set_has(const struct sl_ip_set *set, const uint8_t ip[16])
{
    size_t low = 0, high = set->n;

    if (set->all)
        return true;
    while (low < high) { /* the ranges before `low` begin at or before `ip`, those from `high` on
                            behind it */
        size_t middle = low + (high - low) / 2;

        if (compare(set->ranges[middle].from, ip) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && compare(ip, set->ranges[low - 1].to) <= 0;
}

bool sl_access_allows(const struct sl_access *a, const uint8_t ip[16])
{
    if (sl_ip_set_has(&a->block, ip))
        return false;
    return (a->allow.n == 0 && !a->allow.all) || sl_ip_set_has(&a->allow, ip);
}
