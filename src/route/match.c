#include "route/match.h"

#include <arpa/inet.h>
#include "route/snapshot.h"

#define NOWHERE SIZE_MAX

/* --- domains --- */

struct sl_str sl_domain_trim(struct sl_str name)
{
    name = sl_str_trim(name);
    if (name.len > 0 && name.p[name.len - 1] == '.')
        name.len--;
    return name;
}

bool sl_domain_ipv6(struct sl_str name, char out[INET6_ADDRSTRLEN])
{
    uint8_t ip[16];

    if (name.len > 2 && name.p[0] == '[' && name.p[name.len - 1] == ']')
        name = sl_str(name.p + 1, name.len - 2);
    if (name.len == 0 || name.len >= INET6_ADDRSTRLEN || memchr(name.p, '\0', name.len) != NULL)
        return false;
    memcpy(out, name.p, name.len);
    out[name.len] = '\0';
    return inet_pton(AF_INET6, out, ip) == 1 &&
           inet_ntop(AF_INET6, ip, out, INET6_ADDRSTRLEN) != NULL;
}

/* When a character does not fit, only the last star is made longer: whatever an earlier star could
   swallow in addition, the last one can, too. This keeps the time below the product of both
   lengths. */
bool sl_glob_matches(struct sl_str glob, struct sl_str text)
{
    size_t g = 0, t = 0, star = NOWHERE, star_end = 0;

    while (t < text.len) {
        if (g < glob.len && glob.p[g] == '*') {
            star = g++;
            star_end = t;
        } else if (g < glob.len &&
                   sl_lower((unsigned char)glob.p[g]) == sl_lower((unsigned char)text.p[t])) {
            g++;
            t++;
        } else if (star != NOWHERE) {
            g = star + 1;
            t = ++star_end;
        } else {
            return false;
        }
    }
    while (g < glob.len && glob.p[g] == '*')
        g++;
    return g == glob.len;
}

bool sl_domain_matches(struct sl_str pattern, struct sl_str host)
{
    return sl_glob_matches(sl_domain_trim(pattern), sl_domain_trim(host));
}

/* --- paths --- */

static bool is_name_char(char c)
{
    return (unsigned)sl_lower((unsigned char)c) - 'a' < 26 || (unsigned)c - '0' < 10 || c == '_';
}

/* The length of the parameter (":name") at the front, 0 when there is none. */
static size_t param_len(struct sl_str pattern)
{
    size_t len = 1;

    if (pattern.len < 2 || pattern.p[0] != ':' || !is_name_char(pattern.p[1]))
        return 0;
    while (len < pattern.len && is_name_char(pattern.p[len]))
        len++;
    return len;
}

static struct sl_str cut(struct sl_str *s, size_t len)
{
    struct sl_str head = sl_str(s->p, len);

    *s = sl_str(s->p + len, s->len - len);
    return head;
}

static struct sl_str cut_literal(struct sl_str *pattern)
{
    size_t len = 0;

    while (len < pattern->len && param_len(sl_str(pattern->p + len, pattern->len - len)) == 0)
        len++;
    return cut(pattern, len);
}

/* What stands before the next star; the star goes, too. False at the end. */
static bool cut_chunk(struct sl_str *pattern, struct sl_str *chunk)
{
    const char *star;

    if (pattern->p == NULL)
        return false;
    star = pattern->len > 0 ? memchr(pattern->p, '*', pattern->len) : NULL;
    *chunk = cut(pattern, star != NULL ? (size_t)(star - pattern->p) : pattern->len);
    if (star != NULL)
        cut(pattern, 1);
    else
        *pattern = SL_STR_NONE;
    return true;
}

static bool has_at(struct sl_str path, size_t at, struct sl_str literal)
{
    return literal.len <= path.len - at && memcmp(path.p + at, literal.p, literal.len) == 0;
}

/* A parameter at `at`, as short as possible, and `literal` behind it: the end of both, or NOWHERE.
 */
static size_t match_param(struct sl_str path, size_t at, struct sl_str literal)
{
    while (at < path.len && path.p[at] != '/') {
        if (has_at(path, ++at, literal))
            return at + literal.len;
    }
    return NOWHERE;
}

/* A part of a pattern that has no star, at exactly this place: its earliest end, or NOWHERE.
   `*param` is where its first parameter began, if it came that far. A longer run of an earlier
   parameter never helps a later one, because both end at the next slash: so nothing is tried twice.
 */
static size_t match_chunk(struct sl_str chunk, struct sl_str path, size_t at, size_t *param)
{
    struct sl_str literal = cut_literal(&chunk);

    *param = NOWHERE;
    if (!has_at(path, at, literal))
        return NOWHERE;
    at += literal.len;
    while (chunk.len > 0 && at != NOWHERE) {
        cut(&chunk, param_len(chunk));
        if (*param == NOWHERE)
            *param = at;
        at = match_param(path, at, cut_literal(&chunk));
    }
    return at;
}

/* The same at the first place from `at` on where it fits. After a parameter failed, no other start
   helps whose parameter would begin before the next slash: so a path is gone through once, not once
   per character. */
static size_t find_chunk(struct sl_str chunk, struct sl_str path, size_t at)
{
    struct sl_str rest = chunk;
    size_t literal_len = cut_literal(&rest).len, param, end;
    const char *slash;

    while (at <= path.len) {
        end = match_chunk(chunk, path, at, &param);
        if (end != NOWHERE)
            return end;
        if (param == NOWHERE) {
            at++;
            continue;
        }
        slash = param < path.len ? memchr(path.p + param, '/', path.len - param) : NULL;
        if (slash == NULL)
            return NOWHERE;
        at = (size_t)(slash + 1 - path.p) - literal_len;
    }
    return NOWHERE;
}

/* How much of the pattern is found in the path letter by letter, at most up to its first star or
 * colon. */
static size_t plain_len(struct sl_str pattern, struct sl_str path)
{
    size_t most = SL_MIN(pattern.len, path.len), i = 0;

    while (i < most && pattern.p[i] == path.p[i] && pattern.p[i] != '*' && pattern.p[i] != ':')
        i++;
    return i;
}

/* Most patterns are decided by their plain beginning. */
bool sl_path_matches(struct sl_str pattern, struct sl_str path)
{
    size_t at = plain_len(pattern, path), param;
    struct sl_str chunk;

    if (at == pattern.len)
        return at == 0 || path.len == at || pattern.p[at - 1] == '/';
    if (pattern.p[at] != '*' && pattern.p[at] != ':')
        return false;
    cut(&pattern, at);
    cut_chunk(&pattern, &chunk);
    at = match_chunk(chunk, path, at, &param);
    while (at != NOWHERE && cut_chunk(&pattern, &chunk))
        at = find_chunk(chunk, path, at);
    return at != NOWHERE;
}

static bool must_match_to_the_end(struct sl_str pattern)
{
    return pattern.len > 0 && pattern.p[pattern.len - 1] != '/' &&
           memchr(pattern.p, '*', pattern.len) == NULL &&
           memchr(pattern.p, ':', pattern.len) == NULL;
}

unsigned sl_path_specificity(struct sl_str pattern)
{
    bool exact = must_match_to_the_end(pattern);
    unsigned n_literal = 0;

    while (pattern.len > 0) {
        size_t len = param_len(pattern);

        if (len == 0)
            n_literal += pattern.p[0] != '*';
        cut(&pattern, len > 0 ? len : 1);
    }
    return n_literal > 1 ? 2 * (n_literal - 1) + exact : 0; /* every path has the first slash */
}
