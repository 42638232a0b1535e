/* Any bytes: a reader must say the same whether they come at once or in pieces, and keep no more
   than the largest frame that is wanted whole. */
#include "codec/tunnel_frame.h"

/* A digest of all that was read: headers of frames and every byte of payload, in order. */
static uint64_t read_all(const uint8_t *bytes, size_t len, size_t piece, int *rc)
{
    struct sl_frame_reader r = {0};
    struct sl_frame f;
    uint64_t digest = 0;
    bool goes_on = false;

    *rc = 0;
    for (size_t at = 0; at < len && *rc == 0; at += piece) {
        const uint8_t *p = bytes + at;
        size_t left = SL_MIN(piece, len - at);

        while ((*rc = sl_frame_next(&r, &p, &left, &f)) > 0) {
            if (!goes_on)
                digest = digest * 31 + f.type * 7u + f.stream;
            for (size_t i = 0; i < f.len; i++)
                digest = digest * 131 + f.bytes[i];
            goes_on = f.left > 0;
        }
        sl_assert(*rc == 0 || *rc == SL_E_LIMIT);
        sl_assert(sl_buf_len(&r.kept) <= SL_FRAME_RESUME_MAX);
    }
    sl_frame_reader_clear(&r);
    return digest;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    int rc, again;
    uint64_t digest = read_all(bytes, len, SL_MAX(len, (size_t)1), &rc);

    sl_assert(read_all(bytes, len, 1, &again) == digest && again == rc);
    sl_assert(read_all(bytes, len, 7, &again) == digest && again == rc);
    return 0;
}
