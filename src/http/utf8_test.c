#include "base/check.h"
#include "http/utf8.h"

static bool ok(struct sl_str text)
{
    struct sl_utf8 u = {0};
    bool whole = sl_utf8_ok(text), bytewise = true;

    for (size_t i = 0; i < text.len && bytewise; i++)
        bytewise = sl_utf8_feed(&u, (const uint8_t *)text.p + i, 1);
    sl_check((bytewise && sl_utf8_is_whole(&u)) == whole);
    return whole;
}

static void text_is_taken(void)
{
    sl_check(ok(SL_STR("")));
    sl_check(ok(SL_STR("plain text that is longer than a word")));
    sl_check(ok(SL_STR("\0 too")));
    sl_check(ok(SL_STR("gr\xc3\xbc\xc3\x9f dich, \xe2\x82\xac 5, \xf0\x9f\xa6\x86")));
    sl_check(ok(SL_STR("\xc2\x80 \xdf\xbf \xe0\xa0\x80 \xef\xbf\xbf \xf0\x90\x80\x80")));
    sl_check(ok(SL_STR("\xed\x9f\xbf \xee\x80\x80 \xf4\x8f\xbf\xbf")));
}

static void other_bytes_are_not(void)
{
    sl_check(!ok(SL_STR("\x80"))); /* nothing to continue */
    sl_check(!ok(SL_STR("eight bytes \xbf")));
    sl_check(!ok(SL_STR("\xc0\xaf \xc1\xbf"))); /* long forms */
    sl_check(!ok(SL_STR("\xe0\x9f\xbf")));
    sl_check(!ok(SL_STR("\xf0\x8f\xbf\xbf")));
    sl_check(!ok(SL_STR("\xed\xa0\x80"))); /* a surrogate */
    sl_check(!ok(SL_STR("\xed\xbf\xbf")));
    sl_check(!ok(SL_STR("\xf4\x90\x80\x80"))); /* past the end */
    sl_check(!ok(SL_STR("\xf5\x80\x80\x80")));
    sl_check(!ok(SL_STR("\xff")));
    sl_check(!ok(SL_STR("\xe2\x82 "))); /* cut short by another character */
}

static void a_cut_character_is_not_whole(void)
{
    struct sl_utf8 u = {0};

    sl_check(!ok(SL_STR("abc\xe2\x82")));
    sl_check(sl_utf8_feed(&u, (const uint8_t *)"\xf0\x9f\xa6", 3) && !sl_utf8_is_whole(&u));
    sl_check(sl_utf8_feed(&u, (const uint8_t *)"\x86", 1) && sl_utf8_is_whole(&u));
}

static void a_bad_byte_shows_at_once(void)
{
    struct sl_utf8 u = {0};

    sl_check(!sl_utf8_feed(&u, (const uint8_t *)"\xf4\x90", 2));
}

int main(void)
{
    text_is_taken();
    other_bytes_are_not();
    a_cut_character_is_not_whole();
    a_bad_byte_shows_at_once();
    return sl_check_done();
}
