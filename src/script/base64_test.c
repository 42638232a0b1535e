#include "script/base64.h"

#include "base/check.h"

static void round_trip(struct sl_str bytes, const char *plain, const char *url)
{
    char text[64];
    uint8_t back[64];

    sl_check_str(sl_str(text, sl_base64_encode(text, bytes.p, bytes.len, false)), sl_str_c(plain));
    sl_check_str(sl_str(text, sl_base64_encode(text, bytes.p, bytes.len, true)), sl_str_c(url));
    sl_check(sl_base64_decode(back, sl_str_c(plain), false) == (ssize_t)bytes.len);
    sl_check_str(sl_str((char *)back, bytes.len), bytes);
    sl_check(sl_base64_decode(back, sl_str_c(url), true) == (ssize_t)bytes.len);
    sl_check_str(sl_str((char *)back, bytes.len), bytes);
}

static void refused(const char *text, bool url)
{
    uint8_t out[64];

    sl_check(sl_base64_decode(out, sl_str_c(text), url) == SL_E_PROTOCOL);
}

int main(void)
{
    uint8_t out[64];

    round_trip(SL_STR(""), "", "");
    round_trip(SL_STR("f"), "Zg==", "Zg");
    round_trip(SL_STR("fo"), "Zm8=", "Zm8");
    round_trip(SL_STR("foo"), "Zm9v", "Zm9v");
    round_trip(SL_STR("foob"), "Zm9vYg==", "Zm9vYg");
    round_trip(SL_STR("\xfb\xff\xfe"), "+//+", "-__-");
    round_trip(SL_STR("\0\0"), "AAA=", "AAA");
    sl_check(sl_base64_decode(out, SL_STR("Zg=="), true) == 1);
    refused("Zg", false);
    refused("Zg=", false);
    refused("Zg=", true);
    refused("Zg===", false);
    refused("Z", true);
    refused("Zm9v=", false);
    refused("=", false);
    refused("====", false);
    refused("Zh==", false); /* bits left over */
    refused("Zm9=", false);
    refused("-__-", false);
    refused("+//+", true);
    refused("Zm 9v", false);
    refused("Zm9v\n", false);
    refused("Z=g=", false);
    return sl_check_done();
}
