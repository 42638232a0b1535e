#include "codec/tunnel_frame.h"

#include "base/check.h"

/* What a reader gave, with the pieces of a data frame joined. */
struct got {
    uint32_t stream;
    uint8_t type;
    struct sl_buf payload;
};

static struct got got[16];
static size_t n_got;
static bool goes_on; /* the last one is not complete */

static void forget(void)
{
    for (size_t i = 0; i < n_got; i++)
        sl_buf_clear(&got[i].payload);
    n_got = 0;
    goes_on = false;
}

static void note(const struct sl_frame *f)
{
    struct got *g;

    if (!goes_on)
        got[n_got++] = (struct got){.stream = f->stream, .type = f->type};
    g = &got[n_got - 1];
    sl_check(g->stream == f->stream && g->type == f->type);
    if (f->len > 0)
        sl_buf_append(&g->payload, f->bytes, f->len);
    goes_on = f->left > 0;
}

/* Feeds in pieces of `piece` bytes from memory of exactly that size. */
static int feed(const void *bytes, size_t len, size_t piece)
{
    struct sl_frame_reader r = {0};
    struct sl_frame frame;
    int rc = 0;

    forget();
    for (size_t at = 0; at < len && rc == 0; at += piece) {
        size_t n = SL_MIN(piece, len - at), left = n;
        uint8_t *copy = sl_alloc(n);
        const uint8_t *p = copy;

        memcpy(copy, (const uint8_t *)bytes + at, n);
        while ((rc = sl_frame_next(&r, &p, &left, &frame)) > 0)
            note(&frame);
        sl_check(rc < 0 || left == 0);
        sl_free(copy);
    }
    sl_frame_reader_clear(&r);
    return rc;
}

static void frames_are_read_in_pieces_of_any_size(void)
{
    static const uint8_t wire[] = {
        0,    0,    0,    1,    0x01, 0,   0,   0,   15,   'P',  'R',  'O', 'X', 'Y',
        ' ',  'U',  'N',  'K',  'N',  'O', 'W', 'N', '\r', '\n',                      /* OPEN */
        0,    0,    0,    1,    0x02, 0,   0,   0,   5,    'h',  'e',  'l', 'l', 'o', /* DATA */
        0,    0,    0,    1,    0x02, 0,   0,   0,   0,                        /* DATA, empty */
        0,    0,    0,    1,    0x0A, 0,   0,   0,   4,    0,    0x10, 0,   0, /* credit of 1 MiB */
        0,    0,    0,    0,    0x77, 0,   0,   0,   3,    'x',  'y',  'z',    /* of the future */
        0xff, 0xff, 0xff, 0xff, 0x03, 0,   0,   0,   0,                        /* CLOSE */
        0,    0,    0,    7,    0x0F, 0,   0,   0,   4,    0,    0,    0,   2, /* RESET */
    };

    for (size_t piece = 1; piece <= sizeof(wire); piece++) {
        sl_check(feed(wire, sizeof(wire), piece) == 0);
        sl_check(n_got == 7 && !goes_on);
        sl_check(got[0].type == SL_FRAME_OPEN && got[0].stream == 1);
        sl_check_str(sl_buf_str(&got[0].payload), SL_STR("PROXY UNKNOWN\r\n"));
        sl_check_str(sl_buf_str(&got[1].payload), SL_STR("hello"));
        sl_check(got[2].type == SL_FRAME_DATA && sl_buf_len(&got[2].payload) == 0);
        sl_check(sl_frame_u32(sl_buf_at(&got[3].payload)) == 1 << 20);
        sl_check(got[4].type == 0x77 && sl_buf_len(&got[4].payload) == 0);
        sl_check(got[5].type == SL_FRAME_CLOSE && got[5].stream == UINT32_MAX);
        sl_check(got[6].type == SL_FRAME_RESET && sl_buf_len(&got[6].payload) == 4);
    }
}

/* Attack U-02: the length is judged with the header, before a byte of payload. */
static void what_is_too_long_is_refused_with_its_header(void)
{
    static const struct {
        uint8_t type;
        uint32_t len;
        int rc;
    } rows[] = {
        {SL_FRAME_DATA, SL_FRAME_MAX, 0},
        {SL_FRAME_DATA, SL_FRAME_MAX + 1, SL_E_LIMIT},
        {SL_FRAME_DATA_BACK, UINT32_MAX, SL_E_LIMIT},
        {SL_FRAME_CONFIG, SL_FRAME_CONFIG_MAX, 0},
        {SL_FRAME_CONFIG, SL_FRAME_CONFIG_MAX + 1, SL_E_LIMIT},
        {SL_FRAME_OPEN, 257, SL_E_LIMIT},
        {SL_FRAME_PING, 257, SL_E_LIMIT},
        {SL_FRAME_UDP_DATA, 65535, 0},
        {SL_FRAME_UDP_DATA, 65536, SL_E_LIMIT},
        {SL_FRAME_WINDOW_UPDATE, 4, 0},
        {SL_FRAME_WINDOW_UPDATE_BACK, 257, SL_E_LIMIT},
        {0x11, SL_FRAME_MAX, 0}, /* an unknown type is skipped */
        {0x11, SL_FRAME_MAX + 1, SL_E_LIMIT},
        {0, 1, 0},
    };

    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        uint8_t head[SL_FRAME_HEAD] = {0, 0, 0, 1, rows[i].type};

        sl_frame_put_u32(head + 5, rows[i].len);
        sl_check(feed(head, sizeof(head), 1) == rows[i].rc);
        sl_check(feed(head, sizeof(head), sizeof(head)) == rows[i].rc);
        sl_check(n_got == 0);
    }
}

/* 16 MiB of DATA pass through without being kept. */
static void data_is_not_kept(void)
{
    static uint8_t bytes[1 << 16];
    struct sl_frame_reader r = {0};
    struct sl_frame f;
    uint8_t head[SL_FRAME_HEAD];
    const uint8_t *p = head;
    size_t len = sizeof(head), n = 0;

    sl_frame_head(head, 9, SL_FRAME_DATA, SL_FRAME_MAX);
    sl_check(sl_frame_next(&r, &p, &len, &f) == 0);
    while (n < SL_FRAME_MAX) {
        p = bytes;
        len = sizeof(bytes);
        sl_check(sl_frame_next(&r, &p, &len, &f) == 1 && f.bytes == bytes);
        n += f.len;
        sl_check(f.left == SL_FRAME_MAX - n && r.kept.base == NULL);
    }
    sl_check(!r.is_inside);
    sl_frame_reader_clear(&r);
}

static void a_header_is_nine_bytes_in_network_order(void)
{
    static const uint8_t want[] = {0x01, 0x02, 0x03, 0x04, 0x06, 0x00, 0x0a, 0x0b, 0x0c};
    uint8_t head[SL_FRAME_HEAD];

    sl_frame_head(head, 0x01020304, SL_FRAME_CONFIG, 0x0a0b0c);
    sl_check(memcmp(head, want, sizeof(want)) == 0);
}

static void types_have_names_and_senders(void)
{
    sl_check_str(sl_str_c(sl_frame_name(SL_FRAME_UDP_DATA_BACK)), SL_STR("UDP_DATA_BACK"));
    sl_check_str(sl_str_c(sl_frame_name(0)), SL_STR("unknown"));
    sl_check_str(sl_str_c(sl_frame_name(0xff)), SL_STR("unknown"));
    sl_check(sl_frame_senders(SL_FRAME_OPEN) == SL_FRAME_FROM_EDGE);
    sl_check(sl_frame_senders(SL_FRAME_CONFIG) == SL_FRAME_FROM_HUB);
    sl_check(sl_frame_senders(SL_FRAME_UDP_CLOSE) == SL_FRAME_FROM_BOTH);
    sl_check(sl_frame_senders(0x11) == 0);
}

int main(void)
{
    frames_are_read_in_pieces_of_any_size();
    what_is_too_long_is_refused_with_its_header();
    data_is_not_kept();
    a_header_is_nine_bytes_in_network_order();
    types_have_names_and_senders();
    forget();
    return sl_check_done();
}
