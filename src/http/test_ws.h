/*
 * For the tests of WebSockets: one end on a channel that a test plays, with all that was heard of
 * it as text: "text:hello|sent|closed:1000:bye|over|".
 *
 *     ws_rig_begin(&r, loop, &opts);
 *     ws_rig_frame(&r, 0x81, SL_STR("hello"));
 *     sl_check_str(sl_buf_str(&r.heard), SL_STR("text:hello|"));
 *     ws_rig_end(&r);
 */
#ifndef SL_HTTP_TEST_WS_H
#define SL_HTTP_TEST_WS_H

#include "base/buf.h"
#include "base/check.h"
#include "http/websocket.h"

struct ws_rig {
    struct sl_loop *loop;
    struct sl_ws *ws;
    bool is_client;
    struct sl_buf heard;
    struct sl_buf out; /* what it wrote */
    bool is_reading, got_fin;
    bool is_stuck;   /* the channel takes bytes but does not get rid of them */
    bool is_writing; /* one of them is in flight */
    bool is_dead;    /* the channel refuses */
    bool pauses;     /* after each message */
    bool frees_on_message, frees_on_closed;
    size_t n_over;
};

static inline int ws_rig_write(void *user, const struct iovec *iov, int n_iov, bool fin)
{
    struct ws_rig *r = user;

    sl_check(!r->is_writing && !r->got_fin);
    if (r->is_dead)
        return SL_E_RESET;
    for (int i = 0; i < n_iov; i++)
        sl_buf_append(&r->out, iov[i].iov_base, iov[i].iov_len);
    r->got_fin = fin;
    r->is_writing = r->is_stuck;
    return r->is_stuck ? SL_E_AGAIN : 0;
}

static inline void ws_rig_read(void *user, bool on)
{
    ((struct ws_rig *)user)->is_reading = on;
}

static inline void ws_rig_on_message(void *user, enum sl_ws_kind kind, struct sl_str bytes)
{
    struct ws_rig *r = user;

    sl_check(r->ws != NULL && r->n_over == 0);
    sl_buf_printf(&r->heard, "%s:", kind == SL_WS_TEXT ? "text" : "binary");
    sl_buf_append_str(&r->heard, bytes);
    sl_buf_append(&r->heard, "|", 1);
    if (r->pauses)
        sl_ws_read(r->ws, false);
    if (r->frees_on_message)
        sl_ws_free(&r->ws);
}

static inline void ws_rig_on_sent(void *user)
{
    sl_buf_append(&((struct ws_rig *)user)->heard, "sent|", 5);
}

static inline void ws_rig_on_closed(void *user, int code, struct sl_str reason)
{
    struct ws_rig *r = user;

    sl_check(r->ws != NULL && r->n_over == 0);
    sl_buf_printf(&r->heard, "closed:%d:", code);
    sl_buf_append_str(&r->heard, reason);
    sl_buf_append(&r->heard, "|", 1);
    if (r->frees_on_closed)
        sl_ws_free(&r->ws);
}

static inline void ws_rig_on_over(void *user)
{
    struct ws_rig *r = user;

    sl_buf_append(&r->heard, "over|", 5);
    r->n_over++;
    sl_ws_free(&r->ws);
}

static inline void ws_rig_begin(struct ws_rig *r, struct sl_loop *loop,
                                const struct sl_ws_opts *opts)
{
    static const struct sl_ws_io io = {ws_rig_write, ws_rig_read};
    static const struct sl_ws_handler handler = {ws_rig_on_message, ws_rig_on_sent,
                                                 ws_rig_on_closed, ws_rig_on_over};

    *r = (struct ws_rig){.loop = loop, .is_client = opts->is_client};
    r->ws = sl_ws_new(loop, opts, &io, &handler, r);
    sl_ws_read(r->ws, true);
}

static inline void ws_rig_settle(struct ws_rig *r)
{
    for (int i = 0; i < 4; i++)
        sl_loop_turn(r->loop, false);
}

static inline void ws_rig_end(struct ws_rig *r)
{
    sl_ws_free(&r->ws);
    ws_rig_settle(r);
    sl_buf_clear(&r->heard);
    sl_buf_clear(&r->out);
}

static inline void ws_rig_input(struct ws_rig *r, const void *bytes, size_t len)
{
    if (r->ws != NULL)
        sl_ws_input(r->ws, bytes, len);
}

static const uint8_t ws_rig_mask[4] = {0x12, 0x34, 0x56, 0x78};

/* The bytes of a frame, masked or not. `first`: fin, reserved bits and opcode. */
static inline void ws_rig_put(struct sl_buf *b, uint8_t first, bool is_masked,
                              struct sl_str payload)
{
    uint8_t head[10] = {first, is_masked ? 0x80 : 0};
    size_t n = 2;

    if (payload.len < 126) {
        head[1] |= (uint8_t)payload.len;
    } else if (payload.len < 65536) {
        head[1] |= 126;
        head[n++] = (uint8_t)(payload.len >> 8);
        head[n++] = (uint8_t)payload.len;
    } else {
        head[1] |= 127;
        for (int shift = 56; shift >= 0; shift -= 8)
            head[n++] = (uint8_t)((uint64_t)payload.len >> shift);
    }
    sl_buf_append(b, head, n);
    if (is_masked)
        sl_buf_append(b, ws_rig_mask, 4);
    for (size_t i = 0; i < payload.len; i++) {
        uint8_t c = (uint8_t)payload.p[i] ^ (is_masked ? ws_rig_mask[i % 4] : 0);

        sl_buf_append(b, &c, 1);
    }
}

/* A frame from the peer, as its role demands. */
static inline void ws_rig_frame(struct ws_rig *r, uint8_t first, struct sl_str payload)
{
    struct sl_buf b = {0};

    ws_rig_put(&b, first, !r->is_client, payload);
    ws_rig_input(r, sl_buf_at(&b), sl_buf_len(&b));
    sl_buf_clear(&b);
}

/* What was in flight has left. */
static inline void ws_rig_drain(struct ws_rig *r)
{
    r->is_stuck = r->is_writing = false;
    if (r->ws != NULL)
        sl_ws_written(r->ws);
}

#endif
