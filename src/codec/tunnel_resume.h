/*
 * What the two ends of a tunnel tell each other when a lost link is replaced, so that every stream
 * goes on at the exact byte: the payload of a RESUME frame. All numbers big-endian:
 *
 *     16 bytes  ticket    which tunnel; the hub gave it to the edge
 *      4 bytes  last id   the highest stream id that the sender has seen; streams above it are new
 * to it then for each of its streams, 20 bytes: 4 bytes  id 8 bytes  received  bytes that arrived,
 * and 1 more when the end did 8 bytes  granted   bytes that the other side may send, counted from
 * the begin
 *
 * A hub that does not know the ticket answers with one of zeros and no streams. Ours, between two
 * sluices. Pure functions; any thread.
 */
#ifndef SL_CODEC_TUNNEL_RESUME_H
#define SL_CODEC_TUNNEL_RESUME_H

#include "base/buf.h"
#include "base/error.h"

enum { SL_RESUME_TICKET = 16, SL_RESUME_HEAD = 20, SL_RESUME_ENTRY = 20 };

struct sl_resume {
    uint8_t ticket[SL_RESUME_TICKET];
    uint32_t last_id;
    const uint8_t *entries; /* in the payload */
    size_t n;
};

struct sl_resume_entry {
    uint32_t id;
    uint64_t received, granted;
};

/* 0 or SL_E_PROTOCOL. `out` points into the payload. */
int sl_resume_parse(const uint8_t *payload, size_t len, struct sl_resume *out);
struct sl_resume_entry sl_resume_at(const struct sl_resume *r, size_t i);
/* Appends the part before the entries, then each of them. */
void sl_resume_begin(struct sl_buf *to, const uint8_t ticket[SL_RESUME_TICKET], uint32_t last_id);
void sl_resume_add(struct sl_buf *to, const struct sl_resume_entry *e);

uint64_t sl_resume_u64(const uint8_t *p);
void sl_resume_put_u64(uint8_t *p, uint64_t n);

#endif
