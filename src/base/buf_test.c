#include "base/buf.h"
#include "base/check.h"

static void an_empty_buffer_holds_no_memory(void)
{
    struct sl_buf b = {0};

    sl_buf_append(&b, NULL, 0);
    sl_check(b.base == NULL && sl_buf_len(&b) == 0);
    sl_check(sl_buf_at(&b) == NULL && sl_buf_str(&b).len == 0);
    sl_buf_append(&b, "x", 1);
    sl_check(b.base != NULL);
    sl_buf_clear(&b);
    sl_check(b.base == NULL && b.cap == 0);
}

static void bytes_come_out_as_they_went_in(void)
{
    struct sl_buf b = {0};

    sl_buf_append(&b, "one ", 4);
    sl_buf_append_str(&b, SL_STR("two"));
    sl_buf_printf(&b, " %d%s", 3, "!");
    sl_check_str(sl_buf_str(&b), SL_STR("one two 3!"));
    sl_buf_consume(&b, 4);
    sl_check_str(sl_buf_str(&b), SL_STR("two 3!"));
    memcpy(sl_buf_reserve(&b, 3), "end", 3);
    sl_buf_commit(&b, 3);
    sl_check_str(sl_buf_str(&b), SL_STR("two 3!end"));
    sl_buf_consume(&b, sl_buf_len(&b));
    sl_check(b.start == 0 && b.end == 0 && b.cap > 0);
    sl_buf_clear(&b);
}

/* A queue that is always nearly empty must not grow with what has passed through it. */
static void a_queue_reuses_its_room(void)
{
    struct sl_buf b = {0};
    uint8_t next_in = 0, next_out = 0;

    for (int i = 0; i < 100000; i++) {
        for (int k = 0; k < 3; k++, next_in++)
            sl_buf_append(&b, &next_in, 1);
        for (int k = 0; k < 3 - (i < 50); k++) {
            sl_check(*sl_buf_at(&b) == next_out++);
            sl_buf_consume(&b, 1);
        }
    }
    sl_check(sl_buf_len(&b) == 50 && b.cap <= 1024);
    sl_buf_clear(&b);
}

static void what_is_kept_survives_growing(void)
{
    static char big[100000];
    struct sl_buf b = {0};

    memset(big, 'b', sizeof(big));
    sl_buf_append(&b, "0123456789", 10);
    sl_buf_consume(&b, 7);
    sl_buf_append(&b, big, sizeof(big));
    sl_check(sl_buf_len(&b) == sizeof(big) + 3);
    sl_check(memcmp(sl_buf_at(&b), "789", 3) == 0);
    sl_check(memcmp(sl_buf_at(&b) + 3, big, sizeof(big)) == 0);
    sl_buf_reset(&b);
    sl_check(sl_buf_len(&b) == 0 && b.cap > sizeof(big));
    sl_buf_clear(&b);
}

int main(void)
{
    an_empty_buffer_holds_no_memory();
    bytes_come_out_as_they_went_in();
    a_queue_reuses_its_room();
    what_is_kept_survives_growing();
    return sl_check_done();
}
