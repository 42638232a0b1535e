/* Patterns and templates against texts, all from the input: its first byte says where the pattern
   ends. Short ones are compared with the obvious way of matching; an expanded template never holds
   a byte that could split a header. */
#include "base/arena.h"
#include "route/match.h"
#include "route/reference.h"
#include "route/snapshot.h"

enum { SHORT = 12 };

static void check_matching(struct sl_str pattern, struct sl_str text)
{
    bool path = sl_path_matches(pattern, text), glob = sl_glob_matches(pattern, text);

    sl_domain_matches(pattern, text);
    sl_path_specificity(pattern);
    if (pattern.len > SHORT || text.len > SHORT)
        return;
    sl_assert(path == reference_path_matches(pattern, text));
    sl_assert(glob == reference_glob_matches(pattern, text));
}

static void check_range(struct sl_str text)
{
    struct sl_ip_range r;
    struct sl_err err = {0};
    struct sl_ip_set set;
    int rc = sl_ip_range_parse(text, &r, &err);

    sl_assert(rc == 0 ? memcmp(r.from, r.to, 16) <= 0 : rc == SL_E_CONFIG && err.text[0] != '\0');
    sl_assert(sl_ip_set_init(&set, &text, 1, "list", &err) == rc);
    if (rc == 0)
        sl_assert(sl_ip_set_has(&set, r.from) && sl_ip_set_has(&set, r.to));
    sl_ip_set_clear(&set);
}

static void check_expansion(struct sl_str template, struct sl_str value)
{
    const struct sl_expand with = {value, value, value, 65535};
    struct sl_arena arena = {0};
    struct sl_str out = sl_route_expand(template, &with, &arena);

    for (size_t i = 0; i < out.len; i++) {
        if ((unsigned char)out.p[i] <= ' ' || out.p[i] == 0x7f)
            sl_assert(memchr(template.p, out.p[i], template.len) != NULL);
    }
    sl_arena_clear(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    size_t pattern_len;
    struct sl_str pattern, text;

    if (len < 1)
        return 0;
    pattern_len = SL_MIN((size_t)bytes[0], len - 1);
    pattern = sl_str((const char *)bytes + 1, pattern_len);
    text = sl_str((const char *)bytes + 1 + pattern_len, len - 1 - pattern_len);
    check_matching(pattern, text);
    check_range(pattern);
    check_expansion(pattern, text);
    return 0;
}
