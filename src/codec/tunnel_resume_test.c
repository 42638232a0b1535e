#include "codec/tunnel_resume.h"

#include "base/check.h"

static const uint8_t ticket[SL_RESUME_TICKET] = "0123456789abcde";

static void what_is_written_is_read(void)
{
    struct sl_resume_entry e = {.id = 7, .received = 1ull << 40 | 5, .granted = UINT64_MAX};
    static const uint8_t want[] = {0, 0, 0,    7,    0,    0,    1,    0,    0,    0,
                                   0, 5, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    struct sl_buf buf = {0};
    struct sl_resume r;

    sl_resume_begin(&buf, ticket, 9);
    sl_check(sl_resume_parse(sl_buf_at(&buf), sl_buf_len(&buf), &r) == 0 && r.n == 0);
    sl_resume_add(&buf, &e);
    sl_check(memcmp(sl_buf_at(&buf) + SL_RESUME_HEAD, want, sizeof(want)) == 0);
    sl_check(sl_resume_parse(sl_buf_at(&buf), sl_buf_len(&buf), &r) == 0);
    sl_check(r.n == 1 && r.last_id == 9 && memcmp(r.ticket, ticket, sizeof(ticket)) == 0);
    e = sl_resume_at(&r, 0);
    sl_check(e.id == 7 && e.received == (1ull << 40 | 5) && e.granted == UINT64_MAX);
    sl_buf_clear(&buf);
}

static void other_lengths_are_refused(void)
{
    uint8_t bytes[SL_RESUME_HEAD + 2 * SL_RESUME_ENTRY] = {0};
    struct sl_resume r;

    for (size_t n = 0; n <= sizeof(bytes); n++) {
        bool fits = n >= SL_RESUME_HEAD && (n - SL_RESUME_HEAD) % SL_RESUME_ENTRY == 0;

        sl_check(sl_resume_parse(bytes, n, &r) == (fits ? 0 : SL_E_PROTOCOL));
    }
}

int main(void)
{
    what_is_written_is_read();
    other_lengths_are_refused();
    return sl_check_done();
}
