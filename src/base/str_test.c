#include "base/check.h"

static void case_is_ignored_in_ascii_alone(void)
{
    sl_check(sl_str_ieq(SL_STR("Content-LENGTH"), SL_STR("content-length")));
    sl_check(!sl_str_ieq(SL_STR("a"), SL_STR("ab")));
    sl_check(!sl_str_ieq(SL_STR("@[`{"), SL_STR("`{@["))); /* next to the letters */
    sl_check(!sl_str_ieq(SL_STR("\xc4"), SL_STR("\xe4"))); /* a letter in Latin-1 */
    sl_check(sl_str_ieq(SL_STR_NONE, SL_STR("")));
    sl_check(sl_str_eq(SL_STR_NONE, SL_STR("")) && !sl_str_eq(SL_STR("a"), SL_STR("A")));
}

static void heads_and_tails(void)
{
    sl_check(sl_str_starts(SL_STR("http://x"), SL_STR("http://")));
    sl_check(!sl_str_starts(SL_STR("http"), SL_STR("http://")));
    sl_check(sl_str_ends(SL_STR("a.example"), SL_STR(".example")));
    sl_check(!sl_str_ends(SL_STR("example"), SL_STR(".example")));
    sl_check(sl_str_starts(SL_STR("x"), SL_STR("")) && sl_str_ends(SL_STR("x"), SL_STR("")));
}

static void only_blanks_and_tabs_are_trimmed(void)
{
    sl_check_str(sl_str_trim(SL_STR(" \t a b\t ")), SL_STR("a b"));
    sl_check_str(sl_str_trim(SL_STR(" \t ")), SL_STR(""));
    sl_check_str(sl_str_trim(SL_STR("\r\n")), SL_STR("\r\n"));
}

static void check_items(struct sl_str list, const char *const *want, size_t n)
{
    struct sl_str item;
    size_t i = 0;

    while (sl_str_next(&list, ',', &item)) {
        sl_check(i < n);
        if (i < n)
            sl_check_str(item, sl_str_c(want[i]));
        i++;
    }
    sl_check(i == n);
}

static void lists_are_cut_into_items(void)
{
    check_items(SL_STR("a, b ,c"), (const char *const[]){"a", "b", "c"}, 3);
    check_items(SL_STR(",a,,"), (const char *const[]){"", "a", "", ""}, 4);
    check_items(SL_STR(""), (const char *const[]){""}, 1);
    check_items(SL_STR_NONE, NULL, 0);
}

static void tokens_are_whole_items(void)
{
    sl_check(sl_str_has_token(SL_STR("keep-alive, Upgrade"), SL_STR("upgrade")));
    sl_check(!sl_str_has_token(SL_STR("keep-alive"), SL_STR("keep")));
    sl_check(!sl_str_has_token(SL_STR("close x"), SL_STR("close")));
    sl_check(!sl_str_has_token(SL_STR_NONE, SL_STR("close")));
}

static void numbers_have_digits_only_and_a_maximum(void)
{
    static const struct {
        const char *text;
        uint64_t max, want;
        bool ok;
    } rows[] = {
        {"0", 0, 0, true},
        {"1", 0, 0, false},
        {"9", 5, 0, false},
        {"5", 5, 5, true},
        {"00065535", 65535, 65535, true},
        {"65536", 65535, 0, false},
        {"18446744073709551615", UINT64_MAX, UINT64_MAX, true},
        {"18446744073709551616", UINT64_MAX, 0, false},
        {"99999999999999999999", UINT64_MAX, 0, false},
        {"9223372036854775808", INT64_MAX, 0, false},
        {"", UINT64_MAX, 0, false},
        {"+1", UINT64_MAX, 0, false},
        {"-1", UINT64_MAX, 0, false},
        {" 1", UINT64_MAX, 0, false},
        {"1 ", UINT64_MAX, 0, false},
        {"0x1", UINT64_MAX, 0, false},
        {"1_0", UINT64_MAX, 0, false},
        {"1,1", UINT64_MAX, 0, false},
    };

    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        uint64_t got = 0;
        bool ok = sl_str_to_u64(sl_str_c(rows[i].text), rows[i].max, &got) == 0;

        if (ok != rows[i].ok || got != rows[i].want)
            fprintf(stderr, "\"%s\" up to %llu\n", rows[i].text, (unsigned long long)rows[i].max);
        sl_check(ok == rows[i].ok && got == rows[i].want);
    }
}

static void secrets_are_compared_whole(void)
{
    sl_check(sl_str_eq_secret(SL_STR("token"), SL_STR("token")));
    sl_check(!sl_str_eq_secret(SL_STR("tokem"), SL_STR("token")));
    sl_check(
        !sl_str_eq_secret(SL_STR("tokentoken"), SL_STR("token"))); /* it is compared in turns */
    sl_check(!sl_str_eq_secret(SL_STR("tok"), SL_STR("token")));
    sl_check(!sl_str_eq_secret(SL_STR(""), SL_STR("token")));
    sl_check(!sl_str_eq_secret(SL_STR("token"), SL_STR("")));
    sl_check(sl_str_eq_secret(SL_STR(""), SL_STR("")));
}

int main(void)
{
    case_is_ignored_in_ascii_alone();
    heads_and_tails();
    only_blanks_and_tabs_are_trimmed();
    lists_are_cut_into_items();
    tokens_are_whole_items();
    numbers_have_digits_only_and_a_maximum();
    secrets_are_compared_whole();
    return sl_check_done();
}
