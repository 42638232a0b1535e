/* Any bytes: both readers say the same for every prefix until the answer is there, and what an
   edge's line said can be written and read again. */
#include "codec/tunnel_greeting.h"

static void check_line(const uint8_t *bytes, size_t len)
{
    uint8_t out[SL_GREETING_MAX];
    struct sl_greeting g, again;
    int rc = SL_E_PARTIAL;
    size_t n;

    for (size_t i = 0; i <= len && rc == SL_E_PARTIAL; i++)
        rc = sl_greeting_parse(bytes, i, &g);
    sl_assert(rc == sl_greeting_parse(bytes, len, &g));
    if (rc <= 0)
        return;
    n = sl_greeting_write(out, sizeof(out), &g);
    sl_assert(sl_greeting_parse(out, n, &again) == (int)n);
    sl_assert(sl_str_eq(again.id, g.id) && sl_str_eq(again.secret, g.secret));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct sl_str line = SL_STR_NONE;
    uint8_t *copy;
    int rc;

    if (len == 0 || len > SL_GREETING_MAX + 100)
        return 0;
    copy = sl_alloc(len);
    memcpy(copy, bytes, len);
    check_line(copy, len);
    rc = sl_greeting_answer(copy, len, &line);
    sl_assert(rc <= (int)len && (rc > 0 || rc == SL_E_PARTIAL || rc == SL_E_REFUSED));
    sl_assert(line.len <= len);
    sl_free(copy);
    return 0;
}
