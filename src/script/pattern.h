/*
 * Lua patterns, matched within a bounded number of steps: what string.find, match, gmatch and gsub
 * of scripts stand on. No hook interrupts a C function, so Lua's own matcher could hold a worker
 * for hours with ".-.-.-.-b".
 *
 * A pattern is compiled into a row of nodes first. Patterns have no nested repetition, so each node
 * is passed at most once on the way to a match, and the state for going back fits into the node
 * itself: no recursion and no stack, whatever the pattern.
 *
 * The language is that of Lua 5.1 with %f and %g, as LuaJIT has it; classes are ASCII. A malformed
 * pattern is refused when it is compiled, while Lua notices only when it gets there.
 *
 * Knows no Lua. Memory: the caller's, sl_pattern_size() bytes; nothing to free.
 *
 *     struct sl_pattern *p = sl_pattern_compile(memory, SL_STR("(%w+)=(%w*)"), false, &why);
 *     struct sl_match m = {.subject = text, .steps = sl_pattern_steps(text.len)};
 *
 *     if (sl_pattern_search(p, &m, 0) == SL_PATTERN_FOUND)
 *         use(m.start, m.end, m.captures, m.n_captures);
 */
#ifndef SL_SCRIPT_PATTERN_H
#define SL_SCRIPT_PATTERN_H

#include <signal.h>
#include "base/str.h"

enum { SL_PATTERN_MAX_CAPTURES = 32 };

struct sl_pattern;

enum sl_pattern_result {
    SL_PATTERN_NONE,
    SL_PATTERN_FOUND,
    SL_PATTERN_TOO_COMPLEX, /* out of steps */
    SL_PATTERN_STOPPED,     /* *stop became true */
};

#define SL_PATTERN_POSITION ((size_t)-1)

struct sl_capture {
    size_t start;
    size_t len; /* SL_PATTERN_POSITION: it stands for its place */
};

struct sl_match {
    struct sl_str subject;
    uint64_t steps;                    /* left; may be shared by many searches */
    const volatile sig_atomic_t *stop; /* looked at now and then; may be NULL */
    /* the result */
    size_t start, end;
    struct sl_capture captures[SL_PATTERN_MAX_CAPTURES];
    unsigned n_captures;
};

/* Bytes that a pattern of this length may need. */
size_t sl_pattern_size(struct sl_str text);
/* Compiles into `memory` (aligned for any type). `literal_anchor`: a leading "^" is a character, as
   in gmatch. NULL: malformed, and
   `*why` says how. */
struct sl_pattern *sl_pattern_compile(void *memory, struct sl_str text, bool literal_anchor,
                                      const char **why);
bool sl_pattern_is_anchored(const struct sl_pattern *p);
/* Whether the text is a plain string, without any character that means something. */
bool sl_pattern_is_plain(struct sl_str text);
/* The usual limit: a million, and a hundred for each byte of the subject, so that simple patterns
   pass through long subjects. */
uint64_t sl_pattern_steps(size_t subject_len);

/* A match that begins at `at` exactly. */
enum sl_pattern_result sl_pattern_match(struct sl_pattern *p, struct sl_match *m, size_t at);
/* The first match that begins at `from` or later; at `from` only when the pattern is anchored. */
enum sl_pattern_result sl_pattern_search(struct sl_pattern *p, struct sl_match *m, size_t from);

#endif
