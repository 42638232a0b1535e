/*
 * What the two ends of a tunnel tell each other when a lost link is replaced, so that every stream
 * goes on at the exact byte: the payload of a RESUME frame. All numbers big-endian:
 *
 *     16 bytes  ticket    which tunnel; the hub gave it to the edge
 *      4 bytes  attempt   the edge counts its attempts to go on; the hub repeats the number
 *      4 bytes  last id   the highest stream id that the sender has seen; streams above it are
 *                         new to it
 *
 * then for each of its streams, 20 bytes:
 *
 *      4 bytes  id
 *      8 bytes  received  bytes that arrived, and 1 more when the end did
 *      8 bytes  granted   bytes that the other side may send, counted from the begin
 *
 * A sluice's edge sends it as its first frame on every link. A hub that does not know the ticket
 * answers with one of zeros and no streams. The attempt tells a RESUME that was under way when the
 * edge had given it up already from the one that it sent after. Ours, between two sluices. Pure
 * functions; any thread.
 */
#ifndef SL_CODEC_TUNNEL_RESUME_H
#define SL_CODEC_TUNNEL_RESUME_H

#include "base/buf.h"
#include "base/error.h"

enum { SL_RESUME_TICKET = 16, SL_RESUME_HEAD = 24, SL_RESUME_ENTRY = 20 };

struct sl_resume {
    uint8_t ticket[SL_RESUME_TICKET];
    uint32_t attempt, last_id;
    const uint8_t *entries; /* in the payload */
    size_t n;
};

struct sl_resume_entry {
    uint32_t id;
    uint64_t received, granted;
};

/* 0 or SL_E_PROTOCOL. `out` points into the payload. */
int sl_resume_parse(const uint8_t *payload, size_t len, struct sl_resume *out);
/* Looks at all bytes that an edge has sent behind its greeting for the frame that tells whether it
 * is a sluice. 1: it is, and the first `*n` bytes are its RESUME, into which `out` points. 0: more
 * bytes are needed, no more than SL_FRAME_HEAD + SL_FRAME_RESUME_MAX in all. SL_E_REFUSED: the
 * first frame is another one. SL_E_LIMIT, SL_E_PROTOCOL: a RESUME that cannot be. */
int sl_resume_first(const uint8_t *bytes, size_t len, struct sl_resume *out, size_t *n);
struct sl_resume_entry sl_resume_at(const struct sl_resume *r, size_t i);
/* Appends the part before the entries (of `r` the first three), then each of them. */
void sl_resume_begin(struct sl_buf *to, const struct sl_resume *r);
void sl_resume_add(struct sl_buf *to, const struct sl_resume_entry *e);

uint64_t sl_resume_u64(const uint8_t *p);
void sl_resume_put_u64(uint8_t *p, uint64_t n);

#endif
