#include "codec/tunnel_resume.h"

#include "base/check.h"
#include "codec/tunnel_frame.h"

static const uint8_t ticket[SL_RESUME_TICKET] = "0123456789abcde";

static const struct sl_resume_entry entry = {
    .id = 7, .received = 1ull << 40 | 5, .granted = UINT64_MAX};

/* What both ends have to agree on, as it travels. */
static const uint8_t vector[] = {
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 0, /* ticket */
    0,   0,   1,   4,                                                             /* attempt */
    0,   0,   0,   9,                                                             /* last id */
    0,   0,   0,   7,                                                             /* id */
    0,   0,   1,   0,   0,   0,   0,   5,                                         /* received */
    255, 255, 255, 255, 255, 255, 255, 255,                                       /* granted */
};

static void write_vector(struct sl_buf *buf)
{
    struct sl_resume r = {.attempt = 260, .last_id = 9};

    memcpy(r.ticket, ticket, sizeof(ticket));
    sl_resume_begin(buf, &r);
    sl_resume_add(buf, &entry);
}

static void what_is_written_is_read(void)
{
    struct sl_resume_entry e;
    struct sl_buf buf = {0};
    struct sl_resume r;

    write_vector(&buf);
    sl_check(sl_buf_len(&buf) == sizeof(vector) &&
             memcmp(sl_buf_at(&buf), vector, sizeof(vector)) == 0);
    sl_check(sl_resume_parse(sl_buf_at(&buf), sl_buf_len(&buf), &r) == 0);
    sl_check(r.n == 1 && r.attempt == 260 && r.last_id == 9);
    sl_check(memcmp(r.ticket, ticket, sizeof(ticket)) == 0);
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

/* Byte after byte, with what comes behind it, and a frame that is another one. */
static void a_first_frame_says_whether_the_edge_is_a_sluice(void)
{
    uint8_t bytes[SL_FRAME_HEAD + sizeof(vector) + 3] = {0};
    struct sl_resume r;
    size_t n = 0;

    sl_frame_head(bytes, 0, SL_FRAME_RESUME, sizeof(vector));
    memcpy(bytes + SL_FRAME_HEAD, vector, sizeof(vector));
    for (size_t len = 0; len < SL_FRAME_HEAD + sizeof(vector); len++)
        sl_check(sl_resume_first(bytes, len, &r, &n) == 0);
    for (size_t len = SL_FRAME_HEAD + sizeof(vector); len <= sizeof(bytes); len++) {
        sl_check(sl_resume_first(bytes, len, &r, &n) == 1);
        sl_check(n == SL_FRAME_HEAD + sizeof(vector) && r.n == 1 && r.attempt == 260);
    }
    bytes[4] = SL_FRAME_OPEN;
    sl_check(sl_resume_first(bytes, 4, &r, &n) == 0);
    sl_check(sl_resume_first(bytes, 5, &r, &n) == SL_E_REFUSED);
}

static void a_first_frame_that_cannot_be_is_refused(void)
{
    uint8_t bytes[SL_FRAME_HEAD + 5] = {0};
    struct sl_resume r;
    size_t n;

    sl_frame_head(bytes, 0, SL_FRAME_RESUME, SL_FRAME_RESUME_MAX + 1);
    sl_check(sl_resume_first(bytes, SL_FRAME_HEAD, &r, &n) == SL_E_LIMIT);
    sl_frame_head(bytes, 0, SL_FRAME_RESUME, 5);
    sl_check(sl_resume_first(bytes, sizeof(bytes), &r, &n) == SL_E_PROTOCOL);
}

int main(void)
{
    what_is_written_is_read();
    other_lengths_are_refused();
    a_first_frame_says_whether_the_edge_is_a_sluice();
    a_first_frame_that_cannot_be_is_refused();
    return sl_check_done();
}
