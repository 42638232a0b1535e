/* Any pattern on any subject ends in bounded time and reads nothing outside. The first line of the
   input is the pattern. */
#include "script/pattern.h"

static void check_captures(const struct sl_match *m)
{
    sl_assert(m->start <= m->end && m->end <= m->subject.len);
    for (unsigned i = 0; i < m->n_captures; i++) {
        const struct sl_capture *c = &m->captures[i];

        sl_assert(c->start <= m->subject.len);
        sl_assert(c->len == SL_PATTERN_POSITION || c->len <= m->subject.len - c->start);
    }
}

static void search_all(struct sl_pattern *p, struct sl_str subject)
{
    struct sl_match m = {.subject = subject, .steps = 100000};
    size_t at = 0;

    while (at <= subject.len && sl_pattern_search(p, &m, at) == SL_PATTERN_FOUND) {
        check_captures(&m);
        at = m.end + (m.end == m.start);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const uint8_t *line = memchr(data, '\n', len);
    struct sl_str text = sl_str((const char *)data, line != NULL ? (size_t)(line - data) : len);
    struct sl_str subject =
        line != NULL ? sl_str((const char *)line + 1, len - text.len - 1) : SL_STR("");
    void *memory = sl_alloc(sl_pattern_size(text)); /* exactly: an overrun shows */
    const char *why;

    for (int literal = 0; literal < 2; literal++) {
        struct sl_pattern *p = sl_pattern_compile(memory, text, literal, &why);

        sl_assert(p != NULL || why != NULL);
        if (p != NULL)
            search_all(p, subject);
    }
    sl_free(memory);
    return 0;
}
