#include "codec/tunnel_resume.h"

#include "codec/tunnel_frame.h"

uint64_t sl_resume_u64(const uint8_t *p)
{
    return (uint64_t)sl_frame_u32(p) << 32 | sl_frame_u32(p + 4);
}

void sl_resume_put_u64(uint8_t *p, uint64_t n)
{
    sl_frame_put_u32(p, (uint32_t)(n >> 32));
    sl_frame_put_u32(p + 4, (uint32_t)n);
}

int sl_resume_parse(const uint8_t *payload, size_t len, struct sl_resume *out)
{
    if (len < SL_RESUME_HEAD || (len - SL_RESUME_HEAD) % SL_RESUME_ENTRY != 0)
        return SL_E_PROTOCOL;
    memcpy(out->ticket, payload, SL_RESUME_TICKET);
    out->attempt = sl_frame_u32(payload + SL_RESUME_TICKET);
    out->last_id = sl_frame_u32(payload + SL_RESUME_TICKET + 4);
    out->entries = payload + SL_RESUME_HEAD;
    out->n = (len - SL_RESUME_HEAD) / SL_RESUME_ENTRY;
    return 0;
}

int sl_resume_first(const uint8_t *bytes, size_t len, struct sl_resume *out, size_t *n)
{
    size_t payload;

    if (len > 4 && bytes[4] != SL_FRAME_RESUME)
        return SL_E_REFUSED;
    if (len < SL_FRAME_HEAD)
        return 0;
    payload = sl_frame_u32(bytes + 5);
    if (payload > SL_FRAME_RESUME_MAX)
        return SL_E_LIMIT;
    if (len - SL_FRAME_HEAD < payload)
        return 0;
    *n = SL_FRAME_HEAD + payload;
    return sl_resume_parse(bytes + SL_FRAME_HEAD, payload, out) < 0 ? SL_E_PROTOCOL : 1;
}

struct sl_resume_entry sl_resume_at(const struct sl_resume *r, size_t i)
{
    const uint8_t *p = r->entries + i * SL_RESUME_ENTRY;

    return (struct sl_resume_entry){
        .id = sl_frame_u32(p), .received = sl_resume_u64(p + 4), .granted = sl_resume_u64(p + 12)};
}

void sl_resume_begin(struct sl_buf *to, const struct sl_resume *r)
{
    uint8_t head[SL_RESUME_HEAD];

    memcpy(head, r->ticket, SL_RESUME_TICKET);
    sl_frame_put_u32(head + SL_RESUME_TICKET, r->attempt);
    sl_frame_put_u32(head + SL_RESUME_TICKET + 4, r->last_id);
    sl_buf_append(to, head, sizeof(head));
}

void sl_resume_add(struct sl_buf *to, const struct sl_resume_entry *e)
{
    uint8_t entry[SL_RESUME_ENTRY];

    sl_frame_put_u32(entry, e->id);
    sl_resume_put_u64(entry + 4, e->received);
    sl_resume_put_u64(entry + 12, e->granted);
    sl_buf_append(to, entry, sizeof(entry));
}
