/* Any bytes, as the payload of a RESUME: what was read and is written again are the same bytes. And
   as what an edge says first: the answer comes with the bytes that decide it, and stays. */
#include "codec/tunnel_resume.h"

#include "codec/tunnel_frame.h"

static void check_payload(const uint8_t *bytes, size_t len)
{
    struct sl_buf again = {0};
    struct sl_resume r;
    int rc = sl_resume_parse(bytes, len, &r);

    sl_assert(rc == 0 || rc == SL_E_PROTOCOL);
    if (rc < 0)
        return;
    sl_resume_begin(&again, &r);
    for (size_t i = 0; i < r.n; i++) {
        struct sl_resume_entry e = sl_resume_at(&r, i);

        sl_resume_add(&again, &e);
    }
    sl_assert(sl_buf_len(&again) == len && memcmp(sl_buf_at(&again), bytes, len) == 0);
    sl_buf_clear(&again);
}

static void check_first(const uint8_t *bytes, size_t len)
{
    struct sl_resume r;
    size_t n_whole = 0, n;
    int whole = sl_resume_first(bytes, len, &r, &n_whole), rc;

    sl_assert(whole != 1 || (n_whole <= len &&
                             n_whole == SL_FRAME_HEAD + SL_RESUME_HEAD + r.n * SL_RESUME_ENTRY));
    for (size_t i = 0; i <= SL_MIN(len, (size_t)256); i++) {
        rc = sl_resume_first(bytes, i, &r, &n);
        sl_assert(rc == 0 || rc == whole);
        sl_assert(rc != 1 || (n == n_whole && i >= n));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    check_payload(bytes, len);
    check_first(bytes, len);
    return 0;
}
