/* Any line: what is accepted must consist of parts of the line, in their order, that mean the same
 * when they are put together again. Any bytes: the end of the line does not depend on the pieces in
 * which they came. */
#include "codec/request_line.h"

#include <stdio.h>

static void check_part(struct sl_str line, struct sl_str part)
{
    if (part.len == 0 || part.p[0] == '/')
        return; /* "/" may be ours: an absolute target without a path */
    sl_assert(part.p >= line.p && part.p + part.len <= line.p + line.len);
}

static void check_bytes(struct sl_str part)
{
    for (size_t i = 0; i < part.len; i++)
        sl_assert(part.p[i] > ' ' && part.p[i] < 0x7f && part.p[i] != '#');
}

static void check_accepted(const struct sl_request_line *r, struct sl_str line)
{
    sl_assert(r->method.len > 0 && r->method.len <= SL_METHOD_MAX);
    sl_assert(r->minor == 0 || r->minor == 1);
    sl_assert(r->path.len == 0 ? sl_str_eq(r->method, SL_STR("CONNECT"))
                               : r->path.p[0] == '/' || sl_str_eq(r->path, SL_STR("*")));
    sl_assert(r->path.len == 0 || memchr(r->path.p, '?', r->path.len) == NULL);
    sl_assert(!r->is_absolute || r->authority.len > 0);
    check_part(line, r->method);
    check_part(line, r->authority);
    check_part(line, r->query);
    check_bytes(r->authority);
    check_bytes(r->path);
    check_bytes(r->query);
}

static void check_again(const struct sl_request_line *r)
{
    static char text[70000];
    struct sl_request_line again;
    int n = snprintf(text, sizeof(text), "%.*s %.*s%.*s%s%.*s HTTP/1.%d", SL_STR_FMT(r->method),
                     SL_STR_FMT(r->path.len == 0 ? r->authority : SL_STR_NONE), SL_STR_FMT(r->path),
                     r->query.p != NULL ? "?" : "", SL_STR_FMT(r->query), r->minor);

    sl_assert(n > 0 && (size_t)n < sizeof(text));
    sl_assert(sl_request_line_parse(&again, sl_str(text, (size_t)n)) == 0);
    sl_assert(sl_str_eq(again.path, r->path) && sl_str_eq(again.query, r->query));
    sl_assert(sl_str_eq(again.method, r->method) && again.minor == r->minor);
}

static void check_end(const uint8_t *bytes, size_t len)
{
    long whole = sl_request_line_find_end(bytes, len, 0), piece = SL_E_PARTIAL;

    for (size_t n = 0; n <= len && piece == SL_E_PARTIAL; n++)
        piece = sl_request_line_find_end(bytes, n, n > 0 ? n - 1 : 0);
    sl_assert(piece == whole);
    sl_assert(whole < 0 || ((size_t)whole + 2 <= len && bytes[whole] == '\r'));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct sl_str line = sl_str((const char *)bytes, SL_MIN(len, 60000u));
    struct sl_request_line r;
    int status = sl_request_line_parse(&r, line);

    sl_assert(status == 0 || status == 400 || status == 505);
    if (status == 0) {
        check_accepted(&r, line);
        check_again(&r);
    }
    check_end(bytes, SL_MIN(len, 2000u));
    return 0;
}
