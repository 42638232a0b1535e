/*
 * Patterns matched in the obvious way, for tests: every possibility is tried. Slow; texts must be
 * short.
 */
#ifndef SL_ROUTE_REFERENCE_H
#define SL_ROUTE_REFERENCE_H

#include "base/str.h"

static inline struct sl_str reference_from(struct sl_str s, size_t at)
{
    return sl_str(s.p + at, s.len - at);
}

static inline bool reference_glob_matches(struct sl_str glob, struct sl_str text)
{
    if (glob.len == 0)
        return text.len == 0;
    if (glob.p[0] == '*')
        return reference_glob_matches(reference_from(glob, 1), text) ||
               (text.len > 0 && reference_glob_matches(glob, reference_from(text, 1)));
    return text.len > 0 &&
           sl_lower((unsigned char)glob.p[0]) == sl_lower((unsigned char)text.p[0]) &&
           reference_glob_matches(reference_from(glob, 1), reference_from(text, 1));
}

static inline bool reference_is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* Does the pattern match the front of the path, or all of it? */
static inline bool reference_path_tail(struct sl_str pattern, struct sl_str path, bool to_the_end)
{
    size_t name_end = 1;

    if (pattern.len == 0)
        return !to_the_end || path.len == 0;
    if (pattern.p[0] == '*') {
        for (size_t i = 0; i <= path.len; i++) {
            if (reference_path_tail(reference_from(pattern, 1), reference_from(path, i),
                                    to_the_end))
                return true;
        }
        return false;
    }
    if (pattern.len > 1 && pattern.p[0] == ':' && reference_is_name(pattern.p[1])) {
        while (name_end < pattern.len && reference_is_name(pattern.p[name_end]))
            name_end++;
        for (size_t i = 0; i < path.len && path.p[i] != '/'; i++) {
            if (reference_path_tail(reference_from(pattern, name_end), reference_from(path, i + 1),
                                    to_the_end))
                return true;
        }
        return false;
    }
    return path.len > 0 && pattern.p[0] == path.p[0] &&
           reference_path_tail(reference_from(pattern, 1), reference_from(path, 1), to_the_end);
}

static inline bool reference_path_matches(struct sl_str pattern, struct sl_str path)
{
    bool is_prefix = pattern.len == 0 || pattern.p[pattern.len - 1] == '/';

    for (size_t i = 0; i < pattern.len; i++)
        is_prefix = is_prefix || pattern.p[i] == '*' || pattern.p[i] == ':';
    return reference_path_tail(pattern, path, !is_prefix);
}

#endif
