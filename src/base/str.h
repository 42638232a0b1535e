/*
 * Strings that carry their length: a view into bytes somebody else owns. Not NUL-terminated unless
 * said so.
 *
 *     struct sl_str host = SL_STR("Example.com");
 *     if (sl_str_ieq(host, SL_STR("example.com")))
 *         ...
 */
#ifndef SL_BASE_STR_H
#define SL_BASE_STR_H

#include <string.h>
#include "base/mem.h"

struct sl_str {
    const char *p;
    size_t len;
};

#define SL_STR(literal) ((struct sl_str){"" literal, sizeof(literal) - 1})
#define SL_STR_NONE ((struct sl_str){NULL, 0})
/* For printf("%.*s", SL_STR_FMT(s)). */
#define SL_STR_FMT(s) (int)(s).len, (s).p

static inline struct sl_str sl_str(const char *p, size_t len)
{
    return (struct sl_str){p, len};
}

static inline struct sl_str sl_str_c(const char *p)
{
    return (struct sl_str){p, p != NULL ? strlen(p) : 0};
}

static inline bool sl_str_eq(struct sl_str a, struct sl_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

static inline unsigned char sl_lower(unsigned char c)
{
    return (unsigned)c - 'A' < 26 ? c | 0x20 : c;
}

/* Equal when ASCII case is ignored. */
bool sl_str_ieq(struct sl_str a, struct sl_str b);
/* Does `s` end in `tail`, byte for byte? */
bool sl_str_ends(struct sl_str s, struct sl_str tail);
bool sl_str_starts(struct sl_str s, struct sl_str head);
/* Without leading and trailing spaces and tabs. */
struct sl_str sl_str_trim(struct sl_str s);
/* Cuts the next item off a list separated by `sep`, trimmed; false at the end. Empty items are
 * returned, too. */
bool sl_str_next(struct sl_str *list, char sep, struct sl_str *item);
/* Does the comma-separated header value hold this token (case ignored)? */
bool sl_str_has_token(struct sl_str list, struct sl_str token);
/* Decimal digits only, the whole string, at most `max`. 0, or -1 when it is not such a number. */
int sl_str_to_u64(struct sl_str s, uint64_t max, uint64_t *out);
/* Equal in a time that depends on the length of `given` alone (for tokens and passwords). */
bool sl_str_eq_secret(struct sl_str given, struct sl_str secret);

#endif
