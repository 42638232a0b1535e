#include "script/pattern.h"

/* --- sets of characters --- */

struct set {
    uint64_t bits[4];
};

static bool has(const struct set *set, unsigned char c)
{
    return set->bits[c >> 6] >> (c & 63) & 1;
}

static void add_range(struct set *set, unsigned char from, unsigned char to)
{
    for (unsigned c = from; c <= to; c++)
        set->bits[c >> 6] |= UINT64_C(1) << (c & 63);
}

static void invert(struct set *set)
{
    for (size_t i = 0; i < SL_COUNT(set->bits); i++)
        set->bits[i] = ~set->bits[i];
}

/* The ASCII classes, bit c for character c. */
static const struct {
    char letter;
    uint64_t low, high; /* 0 to 63, 64 to 127 */
} classes[] = {
    {'a', 0, 0x07fffffe07fffffe},
    {'c', 0x00000000ffffffff, 0x8000000000000000},
    {'d', 0x03ff000000000000, 0},
    {'g', 0xfffffffe00000000, 0x7fffffffffffffff},
    {'l', 0, 0x07fffffe00000000},
    {'p', 0xfc00fffe00000000, 0x78000001f8000001},
    {'s', 0x0000000100003e00, 0},
    {'u', 0, 0x0000000007fffffe},
    {'w', 0x03ff000000000000, 0x07fffffe07fffffe},
    {'x', 0x03ff000000000000, 0x0000007e0000007e},
    {'z', 1, 0},
};

/* The set of %a, or of %A, which is its complement; false when the letter names no class. */
static bool class_set(struct set *set, unsigned char letter)
{
    for (size_t i = 0; i < SL_COUNT(classes); i++) {
        if (classes[i].letter != sl_lower(letter))
            continue;
        *set = (struct set){{classes[i].low, classes[i].high, 0, 0}};
        if (letter != sl_lower(letter))
            invert(set);
        return true;
    }
    return false;
}

static void add_class_or_char(struct set *set, unsigned char letter)
{
    struct set other;

    if (!class_set(&other, letter)) {
        add_range(set, letter, letter);
        return;
    }
    for (size_t i = 0; i < SL_COUNT(set->bits); i++)
        set->bits[i] |= other.bits[i];
}

/* --- nodes --- */

enum kind {
    NODE_ANY, /* these three consume one character and may repeat */
    NODE_CHAR,
    NODE_SET,
    NODE_OPEN,
    NODE_CLOSE,
    NODE_POSITION,
    NODE_BACK,
    NODE_BALANCE,
    NODE_FRONTIER,
    NODE_END,
};

enum repeat { ONCE, GREEDY, LAZY };

struct node {
    enum kind kind;
    enum repeat repeat;
    unsigned char a, b; /* the character; the pair of %b; the number of the capture */
    bool is_single;     /* GREEDY: at most one, as "?" */
    bool needs_one;     /* GREEDY: at least one, as "+" */
    int choice_before;  /* the nearest repeating node before this one, -1: none */
    struct set *set;
    /* while matching: how far this repetition went, and how far back it may go */
    size_t at, least;
};

struct sl_pattern {
    bool is_anchored;
    unsigned n_captures;
    int n_nodes, n_sets;
    struct set *sets;
    struct node nodes[];
};

size_t sl_pattern_size(struct sl_str text)
{
    size_t n_sets = 0;

    for (size_t i = 0; i < text.len; i++)
        n_sets += text.p[i] == '[' || text.p[i] == '%';
    return sizeof(struct sl_pattern) + text.len * sizeof(struct node) + n_sets * sizeof(struct set);
}

bool sl_pattern_is_anchored(const struct sl_pattern *p)
{
    return p->is_anchored;
}

bool sl_pattern_is_plain(struct sl_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] != '\0' && strchr("^$*+?.([%-", text.p[i]) != NULL)
            return false;
    }
    return true;
}

uint64_t sl_pattern_steps(size_t subject_len)
{
    return 1000000 + 100 * (uint64_t)subject_len;
}

/* --- compiling --- */

struct compiler {
    struct sl_pattern *pattern;
    const char *p, *end;
    const char *why;
    int last_choice;
    unsigned char open[SL_PATTERN_MAX_CAPTURES]; /* captures that wait for their ")" */
    unsigned n_open;
    uint32_t closed, positions; /* captures as bits */
};

static bool fail(struct compiler *c, const char *why)
{
    c->why = why;
    return false;
}

static struct node *add_node(struct compiler *c, enum kind kind)
{
    struct node *node = &c->pattern->nodes[c->pattern->n_nodes++];

    *node = (struct node){.kind = kind, .choice_before = c->last_choice};
    return node;
}

static struct set *add_set(struct compiler *c)
{
    struct set *set = &c->pattern->sets[c->pattern->n_sets++];

    *set = (struct set){0};
    return set;
}

/* The "]" that ends the set whose contents begin at `p`. The first character is always part of it,
 * as in "[]]". */
static const char *find_set_end(const char *p, const char *end)
{
    do {
        if (p == end)
            return NULL;
        p += *p == '%' ? 2 : 1;
    } while (p < end && *p != ']');
    return p < end ? p : NULL;
}

/* A set; c->p is behind its "[". */
static bool compile_set(struct compiler *c, struct set **out)
{
    bool is_inverted = c->p < c->end && *c->p == '^';
    const char *p = c->p + is_inverted;
    const char *close = find_set_end(p, c->end);

    if (close == NULL)
        return fail(c, "malformed pattern (missing ']')");
    *out = add_set(c);
    while (p < close) {
        if (*p == '%') {
            add_class_or_char(*out, (unsigned char)p[1]);
            p += 2;
        } else if (close - p > 2 && p[1] == '-') {
            add_range(*out, (unsigned char)p[0], (unsigned char)p[2]);
            p += 3;
        } else {
            add_range(*out, (unsigned char)*p, (unsigned char)*p);
            p++;
        }
    }
    if (is_inverted)
        invert(*out);
    c->p = close + 1;
    return true;
}

static void compile_repeat(struct compiler *c, struct node *node)
{
    char mark = c->p < c->end ? *c->p : '\0';

    if (mark == '\0' || strchr("*+?-", mark) == NULL)
        return;
    c->p++;
    node->repeat = mark == '-' ? LAZY : GREEDY;
    node->is_single = mark == '?';
    node->needs_one = mark == '+';
    c->last_choice = c->pattern->n_nodes - 1;
}

/* "%a", or an escaped character; c->p is at the letter. */
static void compile_class(struct compiler *c)
{
    unsigned char letter = (unsigned char)*c->p++;
    struct node *node = add_node(c, NODE_CHAR);
    struct set set;

    node->a = letter;
    if (class_set(&set, letter)) {
        node->kind = NODE_SET;
        node->set = add_set(c);
        *node->set = set;
    }
    compile_repeat(c, node);
}

static bool compile_single(struct compiler *c)
{
    unsigned char letter = (unsigned char)*c->p++;
    struct node *node = add_node(c, letter == '.'   ? NODE_ANY
                                    : letter == '[' ? NODE_SET
                                                    : NODE_CHAR);

    node->a = letter;
    if (letter == '[' && !compile_set(c, &node->set))
        return false;
    compile_repeat(c, node);
    return true;
}

static bool compile_open(struct compiler *c)
{
    struct sl_pattern *p = c->pattern;
    bool is_position = c->p < c->end && *c->p == ')';
    struct node *node;

    if (p->n_captures == SL_PATTERN_MAX_CAPTURES)
        return fail(c, "too many captures");
    node = add_node(c, is_position ? NODE_POSITION : NODE_OPEN);
    node->a = (unsigned char)p->n_captures++;
    if (is_position) {
        c->p++;
        c->closed |= 1u << node->a;
        c->positions |= 1u << node->a;
    } else {
        c->open[c->n_open++] = node->a;
    }
    return true;
}

static bool compile_close(struct compiler *c)
{
    if (c->n_open == 0)
        return fail(c, "invalid pattern capture");
    add_node(c, NODE_CLOSE)->a = c->open[--c->n_open];
    c->closed |= 1u << c->open[c->n_open];
    return true;
}

static bool compile_back(struct compiler *c)
{
    unsigned number = (unsigned char)*c->p++ - (unsigned)'1'; /* %0 becomes a huge one */

    if (number >= c->pattern->n_captures || (c->closed >> number & 1) == 0)
        return fail(c, "invalid capture index");
    add_node(c, NODE_BACK)->a = (unsigned char)number;
    return true;
}

static bool compile_balance(struct compiler *c)
{
    struct node *node;

    if (c->end - c->p < 2)
        return fail(c, "unbalanced pattern");
    node = add_node(c, NODE_BALANCE);
    node->a = (unsigned char)c->p[0];
    node->b = (unsigned char)c->p[1];
    c->p += 2;
    return true;
}

static bool compile_frontier(struct compiler *c)
{
    struct set *set;

    if (c->p == c->end || *c->p != '[')
        return fail(c, "missing '[' after '%f' in pattern");
    c->p++;
    if (!compile_set(c, &set))
        return false;
    add_node(c, NODE_FRONTIER)->set = set;
    return true;
}

/* What follows a "%". */
static bool compile_escape(struct compiler *c)
{
    if (c->p == c->end)
        return fail(c, "malformed pattern (ends with '%')");
    if (*c->p >= '0' && *c->p <= '9')
        return compile_back(c);
    if (*c->p == 'b' || *c->p == 'f')
        return *c->p++ == 'b' ? compile_balance(c) : compile_frontier(c);
    compile_class(c);
    return true;
}

static bool compile_item(struct compiler *c)
{
    switch (*c->p) {
    case '(':
        c->p++;
        return compile_open(c);
    case ')':
        c->p++;
        return compile_close(c);
    case '%':
        c->p++;
        return compile_escape(c);
    case '$':
        if (c->p + 1 == c->end) {
            c->p++;
            add_node(c, NODE_END);
            return true;
        }
        return compile_single(c);
    default:
        return compile_single(c);
    }
}

struct sl_pattern *sl_pattern_compile(void *memory, struct sl_str text, bool literal_anchor,
                                      const char **why)
{
    struct sl_pattern *p = memory;
    struct compiler c = {.pattern = p, .p = text.p, .end = text.p + text.len, .last_choice = -1};

    *p = (struct sl_pattern){0};
    p->sets = (struct set *)(p->nodes + text.len);
    if (!literal_anchor && text.len > 0 && text.p[0] == '^') {
        p->is_anchored = true;
        c.p++;
    }
    while (c.p < c.end && compile_item(&c))
        ;
    if (c.why == NULL && c.n_open > 0)
        c.why = "unfinished capture";
    *why = c.why;
    return c.why == NULL ? p : NULL;
}

/* --- matching --- */

enum { STEPS_PER_LOOK = 65536 };

/* Takes `n` steps off; false when none are left or somebody said stop. */
static bool take_steps(struct sl_match *m, size_t n)
{
    uint64_t looks = m->steps / STEPS_PER_LOOK;

    m->steps = m->steps > n ? m->steps - n : 0;
    if (m->steps / STEPS_PER_LOOK != looks && m->stop != NULL && *m->stop)
        m->steps = 0;
    return m->steps > 0;
}

static enum sl_pattern_result why_out_of_steps(const struct sl_match *m)
{
    return m->stop != NULL && *m->stop ? SL_PATTERN_STOPPED : SL_PATTERN_TOO_COMPLEX;
}

static bool is_one(const struct node *node, unsigned char c)
{
    switch (node->kind) {
    case NODE_ANY:
        return true;
    case NODE_CHAR:
        return c == node->a;
    default:
        return has(node->set, c);
    }
}

static bool is_one_at(const struct sl_match *m, const struct node *node, size_t at)
{
    return at < m->subject.len && is_one(node, (unsigned char)m->subject.p[at]);
}

/* As many as there are; the choice to take fewer stays in the node. */
static bool match_greedy(struct sl_match *m, struct node *node, size_t *at)
{
    size_t most = node->is_single ? SL_MIN(*at + 1, m->subject.len) : m->subject.len;
    size_t end = *at;

    if (node->kind == NODE_ANY)
        end = most;
    while (end < most && is_one(node, (unsigned char)m->subject.p[end]))
        end++;
    node->least = *at + node->needs_one;
    node->at = end;
    if (!take_steps(m, end - *at))
        return false;
    *at = end;
    return end >= node->least;
}

static bool match_balance(struct sl_match *m, const struct node *node, size_t *at)
{
    const char *s = m->subject.p;
    size_t depth = 1;

    if (*at >= m->subject.len || (unsigned char)s[*at] != node->a)
        return false;
    for (size_t i = *at + 1; i < m->subject.len; i++) {
        unsigned char c = (unsigned char)s[i];

        if (c == node->b) {
            if (--depth == 0) {
                bool may_go_on = take_steps(m, i - *at);

                *at = i + 1;
                return may_go_on;
            }
        } else if (c == node->a) {
            depth++;
        }
    }
    take_steps(m, m->subject.len - *at);
    return false;
}

static bool match_frontier(const struct sl_match *m, const struct node *node, size_t at)
{
    unsigned char before = at > 0 ? (unsigned char)m->subject.p[at - 1] : 0;
    unsigned char here = at < m->subject.len ? (unsigned char)m->subject.p[at] : 0;

    return !has(node->set, before) && has(node->set, here);
}

static bool match_back(struct sl_match *m, const struct node *node, size_t *at)
{
    const struct sl_capture *capture = &m->captures[node->a];

    if (capture->len > m->subject.len - *at) /* never true of a position, which has no text */
        return false;
    if (memcmp(m->subject.p + capture->start, m->subject.p + *at, capture->len) != 0)
        return false;
    *at += capture->len;
    return take_steps(m, capture->len / 16);
}

/* Matches one node at `*at` and moves on. */
static bool match_node(struct sl_match *m, struct node *node, size_t *at)
{
    switch (node->kind) {
    case NODE_ANY:
    case NODE_CHAR:
    case NODE_SET:
        if (node->repeat == GREEDY)
            return match_greedy(m, node, at);
        if (node->repeat == LAZY) {
            node->at = *at;
            return true;
        }
        return is_one_at(m, node, *at) && ++*at;
    case NODE_OPEN:
        m->captures[node->a].start = *at;
        return true;
    case NODE_CLOSE:
        m->captures[node->a].len = *at - m->captures[node->a].start;
        return true;
    case NODE_POSITION:
        m->captures[node->a] = (struct sl_capture){*at, SL_PATTERN_POSITION};
        return true;
    case NODE_BACK:
        return match_back(m, node, at);
    case NODE_BALANCE:
        return match_balance(m, node, at);
    case NODE_FRONTIER:
        return match_frontier(m, node, *at);
    case NODE_END:
        return *at == m->subject.len;
    }
    return false;
}

/* Goes back to the last repetition before node `i` that can take one less or one more. The node to
 * go on with, or -1. */
static int go_back(struct sl_pattern *p, struct sl_match *m, int i, size_t *at)
{
    for (i = p->nodes[i].choice_before; i >= 0; i = p->nodes[i].choice_before) {
        struct node *node = &p->nodes[i];

        if (node->repeat == GREEDY && node->at > node->least) {
            *at = --node->at;
            return i + 1;
        }
        if (node->repeat == LAZY && is_one_at(m, node, node->at)) {
            *at = ++node->at;
            return i + 1;
        }
    }
    return -1;
}

enum sl_pattern_result sl_pattern_match(struct sl_pattern *p, struct sl_match *m, size_t at)
{
    int i = 0;

    m->start = at;
    m->n_captures = p->n_captures;
    while (i < p->n_nodes) {
        if (!take_steps(m, 1))
            return why_out_of_steps(m);
        if (match_node(m, &p->nodes[i], &at))
            i++;
        else if ((i = go_back(p, m, i, &at)) < 0)
            return m->steps > 0 ? SL_PATTERN_NONE : why_out_of_steps(m);
    }
    m->end = at;
    return SL_PATTERN_FOUND;
}

enum sl_pattern_result sl_pattern_search(struct sl_pattern *p, struct sl_match *m, size_t from)
{
    enum sl_pattern_result result = SL_PATTERN_NONE;

    for (size_t at = from; at <= m->subject.len && result == SL_PATTERN_NONE; at++) {
        result = sl_pattern_match(p, m, at);
        if (p->is_anchored)
            break;
    }
    return result;
}
