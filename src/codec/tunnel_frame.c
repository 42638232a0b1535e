#include "codec/tunnel_frame.h"

static const struct rule {
    const char *name;
    uint32_t max;
    uint8_t senders;
} rules[] = {
#define SL_FRAME_RULE(name, type, from, max) [type] = {#name, max, SL_FRAME_FROM_##from},
    SL_FRAMES(SL_FRAME_RULE)
#undef SL_FRAME_RULE
};

/* NULL for a type that nobody knows. */
static const struct rule *rule_of(uint8_t type)
{
    return type < SL_COUNT(rules) && rules[type].name != NULL ? &rules[type] : NULL;
}

static bool is_data(uint8_t type)
{
    return type == SL_FRAME_DATA || type == SL_FRAME_DATA_BACK;
}

static int check(const struct sl_frame_reader *r)
{
    const struct rule *rule = rule_of(r->frame.type);

    return r->left > (rule != NULL ? rule->max : (uint32_t)SL_FRAME_MAX) ? SL_E_LIMIT : 0;
}

/* 0, or what is wrong with the header. It may still be incomplete. */
static int take_head(struct sl_frame_reader *r, const uint8_t **bytes, size_t *len)
{
    size_t n = SL_MIN(*len, (size_t)SL_FRAME_HEAD - r->n_head);

    if (n == 0)
        return 0;
    memcpy(r->head + r->n_head, *bytes, n);
    r->n_head = (uint8_t)(r->n_head + n);
    *bytes += n;
    *len -= n;
    if (r->n_head < SL_FRAME_HEAD)
        return 0;
    r->n_head = 0;
    r->is_inside = true;
    r->frame = (struct sl_frame){.stream = sl_frame_u32(r->head), .type = r->head[4]};
    r->left = sl_frame_u32(r->head + 5);
    return check(r);
}

/* The frame or the piece that `bytes` complete. */
static int give(struct sl_frame_reader *r, const uint8_t *bytes, size_t len, struct sl_frame *out)
{
    r->is_inside = r->left > 0;
    *out = r->frame;
    out->bytes = bytes;
    out->len = len;
    out->left = r->left;
    return 1;
}

static int take_whole(struct sl_frame_reader *r, const uint8_t *bytes, size_t n,
                      struct sl_frame *out)
{
    if (sl_buf_len(&r->kept) == 0 && r->left == 0)
        return give(r, bytes, n, out);
    sl_buf_append(&r->kept, bytes, n);
    if (r->left > 0)
        return 0;
    return give(r, sl_buf_at(&r->kept), sl_buf_len(&r->kept), out);
}

static int take_payload(struct sl_frame_reader *r, const uint8_t **bytes, size_t *len,
                        struct sl_frame *out)
{
    const uint8_t *at = *bytes;
    size_t n = SL_MIN(*len, (size_t)r->left);

    *bytes += n;
    *len -= n;
    r->left -= (uint32_t)n;
    if (is_data(r->frame.type))
        return give(r, at, n, out);
    if (rule_of(r->frame.type) != NULL)
        return take_whole(r, at, n, out);
    return r->left > 0 ? 0 : give(r, NULL, 0, out);
}

int sl_frame_next(struct sl_frame_reader *r, const uint8_t **bytes, size_t *len,
                  struct sl_frame *out)
{
    int rc = 0;

    if (!r->is_inside) {
        sl_buf_clear(&r->kept); /* of the frame before this one */
        if ((rc = take_head(r, bytes, len)) < 0)
            return rc;
        if (!r->is_inside)
            return 0;
    }
    /* An empty payload is complete without a further byte. */
    while (rc == 0 && r->is_inside && (*len > 0 || r->left == 0))
        rc = take_payload(r, bytes, len, out);
    return rc;
}

void sl_frame_reader_clear(struct sl_frame_reader *r)
{
    sl_buf_clear(&r->kept);
    *r = (struct sl_frame_reader){0};
}

void sl_frame_head(uint8_t out[SL_FRAME_HEAD], uint32_t stream, enum sl_frame_type type,
                   uint32_t len)
{
    sl_assert(len <= SL_FRAME_MAX);
    sl_frame_put_u32(out, stream);
    out[4] = (uint8_t)type;
    sl_frame_put_u32(out + 5, len);
}

unsigned sl_frame_senders(uint8_t type)
{
    const struct rule *rule = rule_of(type);

    return rule != NULL ? rule->senders : 0;
}

const char *sl_frame_name(uint8_t type)
{
    const struct rule *rule = rule_of(type);

    return rule != NULL ? rule->name : "unknown";
}
