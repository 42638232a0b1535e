#include "route/match.h"

#include "base/check.h"
#include "base/clock.h"
#include "route/reference.h"
#include "route/snapshot.h"

static void domains_match(void)
{
    static const struct {
        const char *pattern, *host;
        bool matches;
    } rows[] = {
        {"example.com", "example.com", true},
        {"example.com", "EXAMPLE.com", true},
        {"Example.COM.", "example.com", true},
        {"example.com", "example.com.", true},
        {" example.com ", "example.com", true},
        {"example.com", "example.co", false},
        {"example.com", "example.com.uk", false},
        {"example.com", "www.example.com", false},
        {"example.com", "", false},
        {"*.example.com", "a.example.com", true},
        {"*.example.com", "a.b.example.com", true},
        {"*.example.com", "example.com", false},
        {"*.example.com", "a.example.org", false},
        {"*.example.com", "aexample.com", false},
        {"*.EXAMPLE.com", "A.example.COM", true},
        {"*", "example.com", true},
        {"*", "", true},
        {"", "", true},
        {"", "a", false},
        {"**", "a", true},
        {"app-*.example.com", "app-1.example.com", true},
        {"app-*.example.com", "app-.example.com", true},
        {"app-*.example.com", "app.example.com", false},
        {"app.*", "app.example.com", true},
        {"a*b*c", "a.b.c", true},
        {"a*b*c", "abxbc", true},
        {"a*b*c", "acb", false},
        {"*a*", "bbb", false},
        {"*.*", "localhost", false},
        {"*.*", "a.b", true},
    };

    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        bool got = sl_domain_matches(sl_str_c(rows[i].pattern), sl_str_c(rows[i].host));

        if (got != rows[i].matches)
            fprintf(stderr, "row %zu: \"%s\" on \"%s\"\n", i, rows[i].pattern, rows[i].host);
        sl_check(got == rows[i].matches);
    }
}

static void paths_match(void)
{
    static const struct {
        const char *pattern, *path;
        bool matches;
    } rows[] = {
        {"", "/anything", true},
        {"", "", true},
        {"/api", "/api", true},
        {"/api", "/api/", false},
        {"/api", "/api/x", false},
        {"/api", "/API", false},
        {"/api", "/ap", false},
        {"/api", "", false},
        {"/api/", "/api/", true},
        {"/api/", "/api/x/y", true},
        {"/api/", "/api", false},
        {"/", "/anything", true},
        {"/", "", false},
        {"/api/*", "/api/", true},
        {"/api/*", "/api/x/y", true},
        {"/api/*", "/api", false},
        {"/*", "/", true},
        {"*", "", true},
        {"*.php", "/a/b.php", true},
        {"*.php", "/a/b.php5", true}, /* not anchored at the end */
        {"*.php", "/a/b.html", false},
        {"/a/*/c", "/a/b/c", true},
        {"/a/*/c", "/a/b/b/c/d", true},
        {"/a/*/c", "/a//c", true},
        {"/a/*/c", "/a/c", false},
        {"/a*b*c", "/axxbxxc", true},
        {"/a*b*c", "/acb", false},
        {"/u/:id", "/u/5", true},
        {"/u/:id", "/u/5/extra", true},
        {"/u/:id", "/u/", false},
        {"/u/:id", "/u", false},
        {"/u/:id", "/u//", false},
        {"/u/:id/x", "/u/5/x", true},
        {"/u/:id/x", "/u/5/xy", true},
        {"/u/:id/x", "/u/5/6/x", false},
        {"/u/:id.json", "/u/5.json", true},
        {"/u/:id.json", "/u/5.6.json", true},
        {"/u/:id.json", "/u/.json", false},
        {"/u/:id.json", "/u/5/6.json", false},
        {"/:a-:b", "/x-y", true},
        {"/:a-:b", "/x--", true},
        {"/:a-:b", "/-x", false},
        {"/:a-:b", "/x-", false},
        {"/:a-:b/c", "/x-y-z/c", true},
        {"/:a:b", "/xy", true},
        {"/:a:b", "/x", false},
        {"*/:a/z", "/1/2/3/z", true},
        {"*x:a/z", "/x1/x2/z", true},
        {"*x:a/z", "/xx/z", true},
        {"*x:a/z", "/x/z", false},
        {"*/x:a/:b/y", "/x1/2/x3/4/y", true},
        {"/a:", "/a:", true}, /* a colon without a name is a colon */
        {"/a:", "/a:b", true},
        {"/a:/b", "/ax/b", false},
        {"/a:.b", "/a:.b", true},
        {"/api/", "*", false}, /* OPTIONS * */
    };

    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        struct sl_str pattern = sl_str_c(rows[i].pattern), path = sl_str_c(rows[i].path);

        if (sl_path_matches(pattern, path) != rows[i].matches)
            fprintf(stderr, "row %zu: \"%s\" on \"%s\"\n", i, rows[i].pattern, rows[i].path);
        sl_check(sl_path_matches(pattern, path) == rows[i].matches);
        sl_check(reference_path_matches(pattern, path) == rows[i].matches);
    }
}

static uint32_t dice_state = 7;

static uint32_t dice(uint32_t sides)
{
    dice_state = dice_state * 1664525 + 1013904223;
    return (dice_state >> 8) % sides;
}

static struct sl_str random_text(char *room, const char *alphabet, uint32_t max_len)
{
    uint32_t len = dice(max_len + 1);

    for (uint32_t i = 0; i < len; i++)
        room[i] = alphabet[dice((uint32_t)strlen(alphabet))];
    return sl_str(room, len);
}

/* Short texts over few letters, where everything nearly matches, against the obvious and slow way.
 */
static void shortcuts_do_not_change_the_answer(void)
{
    char a[16], b[16];
    unsigned n_matches = 0, n_wrong = 0;

    for (int i = 0; i < 300000; i++) {
        struct sl_str pattern = random_text(a, "/ab*:-", 8), path = random_text(b, "/ab-", 10);
        bool want = reference_path_matches(pattern, path);

        n_matches += want;
        if (sl_path_matches(pattern, path) != want && n_wrong++ < 10)
            fprintf(stderr, "\"%.*s\" on \"%.*s\"\n", SL_STR_FMT(pattern), SL_STR_FMT(path));
        n_wrong += sl_glob_matches(pattern, path) != reference_glob_matches(pattern, path);
    }
    sl_check(n_wrong == 0);
    sl_check(n_matches > 1000);
}

/* Patterns that send a backtracking matcher into the woods. Each would take years if any step were
 * tried twice. */
static void no_pattern_is_slow(void)
{
    static const char *const patterns[] = {
        "*a*a*a*a*a*a*a*a*a*a*a*a*b", "*a:x-b",     "*:x-:y-:z-b",
        "/:a:b:c:d:e:f:g:h:i:j-b",    "*a:x/a:y/b",
    };
    enum { LEN = 16384 };
    char *text = sl_alloc(LEN);
    uint64_t begin = sl_clock_ns();

    memset(text, 'a', LEN);
    for (size_t i = 0; i < SL_COUNT(patterns); i++) {
        text[0] = '/';
        sl_check(!sl_path_matches(sl_str_c(patterns[i]), sl_str(text, LEN)));
        sl_check(!sl_glob_matches(sl_str_c(patterns[i]), sl_str(text, LEN)));
    }
    for (size_t i = 0; i < LEN; i += 3)
        text[i] = '/';
    for (size_t i = 0; i < SL_COUNT(patterns); i++)
        sl_check(!sl_path_matches(sl_str_c(patterns[i]), sl_str(text, LEN)));
    sl_check(sl_clock_ns() - begin < 2000000000u);
    sl_free(text);
}

/* In each row the earlier one is more specific. */
static void paths_are_ordered(void)
{
    static const char *const order[] = {
        "/api/users/me", "/api/users/:name", "/api/v1/*", "/api", "/a*", "*",
    };
    static const char *const nothing[] = {"", "/", "/*", "*", "**", "/:id"};

    for (size_t i = 1; i < SL_COUNT(order); i++)
        sl_check(sl_path_specificity(sl_str_c(order[i - 1])) >
                 sl_path_specificity(sl_str_c(order[i])));
    for (size_t i = 0; i < SL_COUNT(nothing); i++)
        sl_check(sl_path_specificity(sl_str_c(nothing[i])) == 0);
    sl_check(sl_path_specificity(SL_STR("/abc")) > sl_path_specificity(SL_STR("/abc*")));
    sl_check(sl_path_specificity(SL_STR("/abc/")) > sl_path_specificity(SL_STR("/abc")));
}

int main(void)
{
    domains_match();
    paths_match();
    shortcuts_do_not_change_the_answer();
    no_pattern_is_slow();
    paths_are_ordered();
    return sl_check_done();
}
