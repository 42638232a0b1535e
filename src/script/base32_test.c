#include "script/base32.h"

#include "base/check.h"

static void round_trip(struct sl_str bytes, const char *want)
{
    char text[64];
    uint8_t back[64];

    sl_check_str(sl_str(text, sl_base32_encode(text, bytes.p, bytes.len)), sl_str_c(want));
    sl_check(sl_base32_decode(back, sl_str_c(want)) == (ssize_t)bytes.len);
    sl_check_str(sl_str((char *)back, bytes.len), bytes);
}

static void refused(const char *text)
{
    uint8_t out[64];

    sl_check(sl_base32_decode(out, sl_str_c(text)) == SL_E_PROTOCOL);
}

int main(void)
{
    uint8_t out[64];

    /* RFC 4648, section 10, in lower case and without padding */
    round_trip(SL_STR(""), "");
    round_trip(SL_STR("f"), "my");
    round_trip(SL_STR("fo"), "mzxq");
    round_trip(SL_STR("foo"), "mzxw6");
    round_trip(SL_STR("foob"), "mzxw6yq");
    round_trip(SL_STR("fooba"), "mzxw6ytb");
    round_trip(SL_STR("foobar"), "mzxw6ytboi");
    round_trip(SL_STR("\xff\xff\xff\xff\xff\xff"), "7777777774");
    sl_check(sl_base32_decode(out, SL_STR("MZXW6")) == 3 && memcmp(out, "foo", 3) == 0);
    refused("m");
    refused("mzx");
    refused("mzxw6y");
    refused("mz"); /* bits left over */
    refused("my======");
    refused("m0");
    refused("m1");
    refused("m8");
    refused("m y");
    refused("my\n");
    return sl_check_done();
}
