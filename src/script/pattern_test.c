/* Compares our patterns with LuaJIT's own string library, on cases chosen by hand and by chance. */
#include <lauxlib.h>
#include <lualib.h>
#include "base/check.h"
#include "script/pattern.h"

static lua_State *L;
static uint64_t seed = 88172645463325252u;

static unsigned roll(unsigned n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed >> 33) % n;
}

/* What a search found, as text: "3-5 (4,) (7,2)"; "none"; "error". */
static void describe_ours(struct sl_str text, struct sl_str subject, char *out, size_t room)
{
    char memory[16384] __attribute__((aligned(16)));
    struct sl_match m = {.subject = subject, .steps = sl_pattern_steps(subject.len)};
    struct sl_pattern *p;
    const char *why;
    size_t n;

    sl_check(sl_pattern_size(text) <= sizeof(memory));
    p = sl_pattern_compile(memory, text, false, &why);
    if (p == NULL || sl_pattern_search(p, &m, 0) != SL_PATTERN_FOUND) {
        snprintf(out, room, p == NULL ? "error" : "none");
        return;
    }
    n = (size_t)snprintf(out, room, "%zu-%zu", m.start + 1, m.end);
    for (unsigned i = 0; i < m.n_captures; i++) {
        if (m.captures[i].len == SL_PATTERN_POSITION)
            n += (size_t)snprintf(out + n, room - n, " @%zu", m.captures[i].start + 1);
        else
            n += (size_t)snprintf(out + n, room - n, " (%.*s)", (int)m.captures[i].len,
                                  subject.p + m.captures[i].start);
    }
}

static void describe_theirs(struct sl_str text, struct sl_str subject, char *out, size_t room)
{
    size_t n;

    lua_settop(L, 0);
    lua_getglobal(L, "string");
    lua_getfield(L, -1, "find");
    lua_remove(L, 1);
    lua_pushlstring(L, subject.p, subject.len);
    lua_pushlstring(L, text.p, text.len);
    if (lua_pcall(L, 2, LUA_MULTRET, 0) != 0 || lua_isnil(L, 1)) {
        snprintf(out, room, lua_isnil(L, 1) ? "none" : "error");
        return;
    }
    n = (size_t)snprintf(out, room, "%d-%d", (int)lua_tointeger(L, 1), (int)lua_tointeger(L, 2));
    for (int i = 3; i <= lua_gettop(L); i++) {
        bool is_position = lua_type(L, i) == LUA_TNUMBER;

        n +=
            (size_t)snprintf(out + n, room - n, is_position ? " @%s" : " (%s)", lua_tostring(L, i));
    }
}

/* Ours refuses a malformed pattern at once, Lua only when it gets there: then it finds nothing. */
static bool agree(const char *ours, const char *theirs)
{
    return strcmp(ours, theirs) == 0 || (strcmp(ours, "error") == 0 && strcmp(theirs, "none") == 0);
}

static void compare(struct sl_str text, struct sl_str subject)
{
    char ours[1024], theirs[1024];

    /* Without special characters string.find looks for plain text: another function. */
    if (sl_pattern_is_plain(text))
        return;
    describe_ours(text, subject, ours, sizeof(ours));
    describe_theirs(text, subject, theirs, sizeof(theirs));
    if (!agree(ours, theirs))
        fprintf(stderr, "pattern \"%.*s\" on \"%.*s\": ours %s, Lua %s\n", SL_STR_FMT(text),
                SL_STR_FMT(subject), ours, theirs);
    sl_check(agree(ours, theirs));
}

static void test_by_hand(void)
{
    static const char *const patterns[] = {
        ".",
        ".*",
        ".-",
        ".+",
        "a*",
        "a-b",
        "a?b",
        "^a",
        "a$",
        "^",
        "$",
        "^$",
        "a$b",
        "^^",
        "%a+",
        "%A+",
        "%d",
        "%D",
        "%s*",
        "%w-%p",
        "%x+",
        "%X",
        "%l%u",
        "%g+",
        "%c",
        "%z",
        "[abc]+",
        "[^abc]+",
        "[]]",
        "[^]]",
        "[a-c]*",
        "[a-]",
        "[-a]",
        "[a%-c]",
        "[%a%d]+",
        "[^%s]+",
        "[a-%]",
        "[a-%]]",
        "[%]]",
        "[[]",
        "[",
        "[]",
        "[^",
        "[^]",
        "[%",
        "[a",
        "%",
        "(",
        ")",
        "(a",
        "a)",
        "()",
        "(a)",
        "(.)(.)",
        "((a)(b))",
        "()a()",
        "(a*(.)%w(%s*))",
        "(.)%1",
        "(.-)%1",
        "%1",
        "(a%1)",
        "()%1",
        "%0",
        "(%w)(%w)%2%1",
        "%b()",
        "%bxx",
        "%b(",
        "%b",
        "%f[%a]%a+%f[%A]",
        "%f[%z]",
        "%f",
        "%fa",
        "%f[",
        "*",
        "*a",
        "**",
        "+",
        "?",
        "-",
        "a**",
        "(*)",
        "()*",
        "a-$",
        "^a-$",
        "^(.-)%s*$",
        "%(",
        "%)",
        "%.",
        "%%",
        "[%(]",
        "a.-b.-c",
        "([^,]*),?",
        "^%s*(.-)%s*$",
        "%-?%d+%.?%d*",
        "[%w_]+",
        "x?x?x?xxx",
        "(a?)(a?)",
        "[+-]",
        "%u%l*",
        "[a-zA-Z_][%w_]*",
        "(%d+)-(%d+)-(%d+)",
        "",
        "a",
        "b",
    };
    static const char *const subjects[] = {
        "",           "a",         "aaa",         "abc",
        "aab",        "b",         "hello world", "THE (quick) fox",
        "f(a(b)c)d",  "a,b,,c",    "  trim me  ", "abab",
        "2024-01-31", "-12.5e3",   "xxxx",        "a]b-c",
        "[x]",        "%",         "x-y",         "aXbX",
        "\t\n",       "key=value", "a\177b\200c",
    };

    for (size_t i = 0; i < SL_COUNT(patterns); i++) {
        for (size_t j = 0; j < SL_COUNT(subjects); j++)
            compare(sl_str_c(patterns[i]), sl_str_c(subjects[j]));
    }
    compare(SL_STR("a\0b"), SL_STR("xa\0b"));
    compare(SL_STR("[^%z]+$"), SL_STR("xa\0\0b"));
}

/* LuaJIT takes a zero byte inside a set for the end of the pattern; to us it is a character. */
static void test_zero_in_set(void)
{
    char ours[64];

    describe_ours(SL_STR("[\0]+"), SL_STR("xa\0\0b"), ours, sizeof(ours));
    sl_check_str(sl_str_c(ours), SL_STR("3-4"));
}

static void test_by_chance(void)
{
    static const char *const pieces[] = {
        "a",  "b", ".", "%a", "%d", "%W", "[ab]", "[^a]", "[a-c%d]", "*",           "+",
        "-",  "?", "(", ")",  "()", "%1", "%2",   "%b()", "%f[%w]",  "^",           "$",
        "%.", "[", "]", "%",  "x",  "1",  "(a)",  "(.-)", "\200",    "[%z\1-\177]",
    };
    static const char letters[] = "aab1(). x\200";

    for (int round = 0; round < 200000; round++) {
        char pattern[64] = "", subject[24];
        size_t len = roll(sizeof(subject));

        for (unsigned n = 1 + roll(6); n > 0; n--)
            strcat(pattern, pieces[roll(SL_COUNT(pieces))]);
        for (size_t i = 0; i < len; i++)
            subject[i] = letters[roll(sizeof(letters) - 1)];
        compare(sl_str_c(pattern), sl_str(subject, len));
    }
}

/* Attack L-04, and others of its class: each stops within the limit. */
static void test_limit(void)
{
    static const char *const patterns[] = {".-.-.-.-b", "(.*)(.*)(.*)(.*)b",
                                           "a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a-b",
                                           "a*a*a*a*a*b", "%b()%b()"};
    static char subject[2048];
    char memory[8192] __attribute__((aligned(16)));
    const char *why;

    memset(subject, 'a', sizeof(subject));
    for (size_t i = 0; i < SL_COUNT(patterns); i++) {
        struct sl_match m = {.subject = sl_str(subject, sizeof(subject)),
                             .steps = sl_pattern_steps(sizeof(subject))};
        struct sl_pattern *p = sl_pattern_compile(memory, sl_str_c(patterns[i]), false, &why);
        enum sl_pattern_result result = sl_pattern_search(p, &m, 0);

        sl_check(result == (patterns[i][0] == '%' ? SL_PATTERN_NONE : SL_PATTERN_TOO_COMPLEX));
    }
}

static void test_stop(void)
{
    static char subject[100000];
    char memory[4096] __attribute__((aligned(16)));
    volatile sig_atomic_t stop = 1;
    struct sl_match m = {
        .subject = sl_str(subject, sizeof(subject)), .steps = UINT64_MAX, .stop = &stop};
    const char *why;
    struct sl_pattern *p = sl_pattern_compile(memory, SL_STR(".-x"), false, &why);

    sl_check(sl_pattern_search(p, &m, 0) == SL_PATTERN_STOPPED);
}

/* A long subject is no reason to give up on a simple pattern. */
static void test_long_subject(void)
{
    enum { LEN = 8 * 1024 * 1024 };
    char memory[4096] __attribute__((aligned(16)));
    char *subject = sl_alloc(LEN);
    struct sl_match m = {.subject = sl_str(subject, LEN), .steps = sl_pattern_steps(LEN)};
    const char *why;
    struct sl_pattern *p = sl_pattern_compile(memory, SL_STR("%d+%s*[xyz]"), false, &why);

    memset(subject, 'a', LEN);
    memcpy(subject + LEN - 4, "12 z", 4);
    sl_check(sl_pattern_search(p, &m, 0) == SL_PATTERN_FOUND);
    sl_check(m.start == LEN - 4 && m.end == LEN);
    sl_free(subject);
}

int main(void)
{
    L = luaL_newstate();
    luaL_openlibs(L);
    test_by_hand();
    test_zero_in_set();
    test_by_chance();
    test_limit();
    test_stop();
    test_long_subject();
    lua_close(L);
    return sl_check_done();
}
