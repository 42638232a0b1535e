/*
 * The frames of a tunnel over TLS: a header of 9 bytes (stream id, type, payload length, all
 * big-endian), then the payload. What remoteingress 4 documents, and RESET and RESUME, which two
 * sluices use between themselves. Byte order and the form of the credit are our reading of it, not
 * verified against the original.
 *
 * Pure functions of bytes: no socket, no clock; any thread. The payload of DATA comes out in the
 * pieces in which it came in, however large the frame; every other frame comes out whole, with a
 * limit of its own that is checked before anything is kept. What the frames mean - ids that are
 * open, windows, who may send what - is the multiplexer's business.
 *
 *     struct sl_frame_reader r = {0};
 *     while ((rc = sl_frame_next(&r, &bytes, &len, &frame)) > 0)
 *         take(&frame);
 *     if (rc < 0)
 *         fail(rc); // the tunnel is over
 */
#ifndef SL_CODEC_TUNNEL_FRAME_H
#define SL_CODEC_TUNNEL_FRAME_H

#include "base/buf.h"
#include "base/error.h"
#include "base/str.h"

/* name, type, who sends it, largest payload that is taken, what the payload is */
#define SL_FRAMES(X)                                                                               \
    X(OPEN, 0x01, EDGE, 256)                  /* PROXY v1 line */                                  \
    X(DATA, 0x02, EDGE, SL_FRAME_MAX)         /* bytes of the visitor */                           \
    X(CLOSE, 0x03, EDGE, 256)                 /* empty: the visitor has said all */                \
    X(DATA_BACK, 0x04, HUB, SL_FRAME_MAX)     /* bytes of the target */                            \
    X(CLOSE_BACK, 0x05, HUB, 256)             /* empty: the target has said all */                 \
    X(CONFIG, 0x06, HUB, SL_FRAME_CONFIG_MAX) /* JSON: ports and the like */                       \
    X(PING, 0x07, HUB, 256)                   /* comes back as it is */                            \
    X(PONG, 0x08, EDGE, 256)                                                                       \
    X(WINDOW_UPDATE, 0x09, EDGE, 256)          /* bytes that the edge consumed */                  \
    X(WINDOW_UPDATE_BACK, 0x0A, HUB, 256)      /* bytes that the hub consumed */                   \
    X(UDP_OPEN, 0x0B, EDGE, 4352)              /* PROXY v2 header */                               \
    X(UDP_DATA, 0x0C, EDGE, 65535)             /* one datagram */                                  \
    X(UDP_DATA_BACK, 0x0D, HUB, 65535)         /* one datagram */                                  \
    X(UDP_CLOSE, 0x0E, BOTH, 256)              /* empty: the session has ended */                  \
    X(RESET, 0x0F, BOTH, 256)                  /* why (u32): the stream ended abruptly */          \
    X(RESUME, 0x10, BOTH, SL_FRAME_RESUME_MAX) /* codec/tunnel_resume.h */

enum {
    SL_FRAME_HEAD = 9,
    SL_FRAME_MAX = 16 << 20, /* payload; more ends the tunnel before anything is allocated */
    SL_FRAME_CONFIG_MAX = 1 << 20,
    SL_FRAME_RESUME_MAX = 2 << 20, /* some 100,000 streams */
};

enum sl_frame_type {
#define SL_FRAME_ENUM(name, type, from, max) SL_FRAME_##name = type,
    SL_FRAMES(SL_FRAME_ENUM)
#undef SL_FRAME_ENUM
};

enum sl_frame_sender { SL_FRAME_FROM_EDGE = 1, SL_FRAME_FROM_HUB = 2, SL_FRAME_FROM_BOTH = 3 };

/* A frame, or a piece of one that carries data. */
struct sl_frame {
    uint32_t stream;
    uint8_t type;         /* enum sl_frame_type, or a number that nobody knows */
    const uint8_t *bytes; /* valid until the next call */
    size_t len;
    uint32_t left; /* of the payload, behind this piece */
};

/* Zeroed at first; sl_frame_reader_clear() at the end. */
struct sl_frame_reader {
    uint8_t head[SL_FRAME_HEAD];
    uint8_t n_head;
    bool is_inside;     /* the header is complete */
    uint32_t left;      /* of the payload */
    struct sl_buf kept; /* a payload that comes in pieces and is wanted whole */
    struct sl_frame frame;
};

/* Takes bytes off the front of `*bytes` until there is a frame, or a piece of one: 1. 0: all bytes
 * were taken, more are needed. SL_E_LIMIT: a payload that is too long for its type; the reader is
 * of no use after that. The payload of an unknown type is skipped, and its frame comes out without
 * bytes, to be counted. */
int sl_frame_next(struct sl_frame_reader *r, const uint8_t **bytes, size_t *len,
                  struct sl_frame *out);
void sl_frame_reader_clear(struct sl_frame_reader *r);

/* Writes the header of a frame with `len` bytes of payload, at most SL_FRAME_MAX. */
void sl_frame_head(uint8_t out[SL_FRAME_HEAD], uint32_t stream, enum sl_frame_type type,
                   uint32_t len);
/* Who may send this type; 0 for an unknown one. */
unsigned sl_frame_senders(uint8_t type);
/* "WINDOW_UPDATE"; "unknown" for a number that nobody knows. */
const char *sl_frame_name(uint8_t type);

/* Between two sluices the credit of WINDOW_UPDATE is followed by the number of bytes that have
 * arrived on the stream since its begin (u64), and one more when its end has: what need not be sent
 * again. */
enum { SL_FRAME_CREDIT_LEN = 4, SL_FRAME_RECEIPT_LEN = 12 };

/* Numbers inside payloads, credit and the code of a reset. Look at the length first: a payload may
 * be shorter than it should be. */
static inline uint32_t sl_frame_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void sl_frame_put_u32(uint8_t *p, uint32_t n)
{
    p[0] = (uint8_t)(n >> 24);
    p[1] = (uint8_t)(n >> 16);
    p[2] = (uint8_t)(n >> 8);
    p[3] = (uint8_t)n;
}

#endif
