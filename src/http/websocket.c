/*
 * Bytes enter at sl_ws_input() and go through wslay, which knows the form of frames, into take():
 * a data frame adds to the message, a control frame is acted upon. What nobody wants yet waits in
 * ws->stash. update() is the one place that decides whether to read.
 *
 * Going out, there is one write in flight. Meanwhile a message waits in ws->out, and control frames
 * are no more than flags, so that a peer cannot make anything grow. flush() writes.
 */
#include "http/websocket.h"

#include <openssl/rand.h>
#include <wslay/wslay.h>
#include "base/buf.h"
#include "http/utf8.h"

enum {
    MAX_CONTROL = 125,
    KEPT_ROOM = 64 * 1024,
    MAX_SWALLOWED = 4 * 1024 * 1024, /* bytes, of a peer that talks on after the end */
};

const struct sl_ws_opts sl_ws_opts_default = {
    .max_message = 64 * 1024 * 1024,
    .ping_interval = 30 * 1000,
    .ping_timeout = 20 * 1000,
    .write_timeout = 120 * 1000,
    .close_timeout = 5 * 1000,
};

struct control {
    uint8_t bytes[MAX_CONTROL];
    size_t len;
};

struct sl_ws {
    struct sl_loop *loop;
    struct sl_ws_opts opts;
    const struct sl_ws_io *io;
    const struct sl_ws_handler *handler;
    void *user; /* of io and handler */
    wslay_frame_context_ptr frames;

    const uint8_t *in; /* the batch that wslay reads from */
    size_t in_len;
    struct sl_buf stash;
    struct sl_task_link soon; /* takes what waits, when reading goes on */
    uint64_t frame_off;       /* bytes taken of the frame that is being read */
    bool in_frame;
    struct control control; /* a control frame may come between the fragments of a message */
    struct sl_buf message;
    struct sl_utf8 utf8;
    uint8_t kind; /* of the message; 0: none has begun */

    struct sl_buf out;
    struct control pong, last; /* `last`: the close frame */
    bool is_on;                /* the owner wants messages */
    bool is_reading;           /* the channel was told to read */
    bool is_parsing;
    bool is_writing;
    bool has_message; /* the owner waits for on_sent() */
    bool wants_pong, wants_ping, wants_close, wants_fin;
    bool sent_close, sent_fin, got_fin;
    bool is_done;   /* no frame is read any more */
    bool is_told;   /* on_closed() was called */
    bool is_over;   /* on_over() was called */
    bool is_broken; /* the channel takes nothing more */
    bool is_freed;
    bool is_waiting; /* for the answer to a ping */
    size_t n_swallowed;
    uint64_t heard_ms; /* when something came last */
    struct sl_deadline beat, writing, closing;
};

/* --- the end --- */

static void over(struct sl_ws *ws)
{
    if (ws->is_over || ws->is_freed)
        return;
    ws->is_over = ws->is_done = ws->is_broken = true;
    sl_loop_unsoon(&ws->soon);
    sl_deadline_clear(&ws->beat);
    sl_deadline_clear(&ws->writing);
    sl_deadline_clear(&ws->closing);
    ws->handler->on_over(ws->user);
}

static void tell(struct sl_ws *ws, int code, struct sl_str reason)
{
    ws->is_done = true;
    sl_buf_clear(&ws->stash);
    sl_buf_clear(&ws->message);
    sl_deadline_clear(&ws->beat);
    if (ws->is_told || ws->is_freed)
        return;
    ws->is_told = true;
    ws->handler->on_closed(ws->user, code, reason);
}

static void give_up(struct sl_ws *ws, const char *why)
{
    tell(ws, SL_WS_ABNORMAL, sl_str_c(why));
    over(ws);
}

/* --- sending --- */

static void update(struct sl_ws *ws);

static ssize_t append_out(const uint8_t *bytes, size_t len, int flags SL_UNUSED, void *user)
{
    struct sl_ws *ws = user;

    sl_buf_append(&ws->out, bytes, len);
    return (ssize_t)len;
}

/* RFC 6455, 10.3: masks that a page cannot foresee. */
static int make_mask(uint8_t *mask, size_t len, void *user SL_UNUSED)
{
    return RAND_bytes(mask, (int)len) == 1 ? 0 : -1;
}

static void put_frame(struct sl_ws *ws, uint8_t opcode, const void *bytes, size_t len)
{
    enum { MAX_HEAD = 14 };
    struct wslay_frame_iocb frame = {
        .fin = 1,
        .opcode = opcode,
        .payload_length = len,
        .mask = ws->opts.is_client,
        .data = bytes,
        .data_length = len,
    };
    ssize_t n;

    sl_buf_reserve(&ws->out, len + MAX_HEAD);
    n = wslay_frame_send(ws->frames, &frame);
    sl_assert(n == (ssize_t)len);
}

static void put_control(struct sl_ws *ws)
{
    if (ws->wants_pong)
        put_frame(ws, WSLAY_PONG, ws->pong.bytes, ws->pong.len);
    if (ws->wants_ping)
        put_frame(ws, WSLAY_PING, NULL, 0);
    if (ws->wants_close && !ws->sent_close) {
        put_frame(ws, WSLAY_CONNECTION_CLOSE, ws->last.bytes, ws->last.len);
        ws->sent_close = true;
    }
    ws->wants_pong = ws->wants_ping = false;
}

/* Writes what waits, unless a write is in flight: then sl_ws_written() does. */
static int flush(struct sl_ws *ws)
{
    struct iovec iov;
    bool fin;
    int rc;

    if (ws->is_broken)
        return SL_E_CLOSED;
    if (ws->is_writing)
        return SL_E_AGAIN;
    if (!ws->sent_close)
        put_control(ws);
    fin = ws->wants_fin && !ws->sent_fin;
    iov = (struct iovec){sl_buf_at(&ws->out), sl_buf_len(&ws->out)};
    if (iov.iov_len == 0 && !fin)
        return 0;
    ws->sent_fin = ws->sent_fin || fin;
    rc = ws->io->write(ws->user, &iov, iov.iov_len > 0 ? 1 : 0, fin);
    sl_buf_reset(&ws->out);
    if (ws->out.cap > KEPT_ROOM)
        sl_buf_clear(&ws->out);
    ws->is_writing = rc == SL_E_AGAIN;
    ws->is_broken = rc < 0 && rc != SL_E_AGAIN;
    if (ws->is_writing && !ws->is_over)
        sl_deadline_set(&ws->writing, ws->opts.write_timeout);
    return rc;
}

int sl_ws_send(struct sl_ws *ws, enum sl_ws_kind kind, struct sl_str bytes)
{
    int rc;

    sl_assert(!ws->has_message);
    if (!sl_ws_is_open(ws))
        return SL_E_CLOSED;
    put_frame(ws, (uint8_t)kind, bytes.p, bytes.len);
    rc = flush(ws);
    ws->has_message = rc == SL_E_AGAIN;
    return rc;
}

void sl_ws_written(struct sl_ws *ws)
{
    ws->is_writing = false;
    sl_deadline_clear(&ws->writing);
    if (ws->is_over || flush(ws) != 0 || !ws->has_message || ws->is_told)
        return;
    ws->has_message = false;
    ws->handler->on_sent(ws->user);
}

/* --- closing --- */

bool sl_ws_code_ok(int code)
{
    if (code >= 3000 && code <= 4999)
        return true;
    return code >= 1000 && code <= 1014 && code != 1004 && code != SL_WS_NO_CODE &&
           code != SL_WS_ABNORMAL;
}

/* The last frame that we send; the first cause is the one that counts. */
static void want_close(struct sl_ws *ws, int code, struct sl_str reason)
{
    size_t len = SL_MIN(reason.len, (size_t)SL_WS_MAX_REASON);

    if (ws->wants_close)
        return;
    ws->wants_close = true;
    if (code != SL_WS_NO_CODE) {
        ws->last.bytes[0] = (uint8_t)(code >> 8);
        ws->last.bytes[1] = (uint8_t)code;
        memcpy(ws->last.bytes + 2, reason.p != NULL ? reason.p : "", len);
        ws->last.len = len + 2;
    }
    sl_deadline_clear(&ws->beat);
    sl_deadline_set(&ws->closing, ws->opts.close_timeout);
}

void sl_ws_close(struct sl_ws *ws, int code, struct sl_str reason)
{
    sl_assert(sl_ws_code_ok(code));
    if (ws->is_told || ws->is_over)
        return;
    want_close(ws, code, reason);
    (void)flush(ws); /* a channel that fails says so itself */
    update(ws);
}

bool sl_ws_is_open(const struct sl_ws *ws)
{
    return !ws->wants_close && !ws->is_told && !ws->is_broken;
}

/* Both have said goodbye, or nothing that comes can be trusted. The server ends the connection
   first, so that it is the client's port that rests (RFC 6455, 7.1.1); who was wronged does not
   wait. */
static void finish(struct sl_ws *ws, int code, struct sl_str reason, bool fin)
{
    ws->is_done = true;
    ws->wants_fin = fin;
    (void)flush(ws);
    tell(ws, code, reason);
    if (ws->is_freed)
        return;
    if (ws->got_fin)
        over(ws);
    else
        sl_deadline_set(&ws->closing, ws->opts.close_timeout);
}

static void fail(struct sl_ws *ws, int code, const char *why)
{
    want_close(ws, code, sl_str_c(why));
    finish(ws, code, sl_str_c(why), true);
}

static void on_closing_due(struct sl_deadline *d)
{
    give_up(d->user, "timed out");
}

static void on_writing_due(struct sl_deadline *d)
{
    give_up(d->user, "the peer does not read");
}

/* --- is the peer there? --- */

static void on_beat(struct sl_deadline *d)
{
    struct sl_ws *ws = d->user;
    uint64_t silence = sl_loop_now_ms(ws->loop) - ws->heard_ms;
    bool is_deaf = !ws->is_reading; /* an answer would wait unread: no verdict */

    if (silence < ws->opts.ping_interval) {
        sl_deadline_set(d, ws->opts.ping_interval - silence);
    } else if (is_deaf) {
        ws->is_waiting = false;
        sl_deadline_set(d, ws->opts.ping_interval);
    } else if (ws->is_waiting && !ws->is_writing) {
        give_up(ws, "the peer did not answer a ping");
    } else {
        ws->is_waiting = ws->wants_ping = true;
        sl_deadline_set(d, ws->opts.ping_timeout);
        (void)flush(ws);
    }
}

static void hear(struct sl_ws *ws)
{
    ws->heard_ms = sl_loop_now_ms(ws->loop);
    ws->is_waiting = false; /* on_beat() sees how long the silence is */
}

/* --- receiving --- */

static ssize_t take_in(uint8_t *room, size_t len, int flags SL_UNUSED, void *user)
{
    struct sl_ws *ws = user;
    size_t n = SL_MIN(len, ws->in_len);

    if (n == 0)
        return -1;
    memcpy(room, ws->in, n);
    ws->in += n;
    ws->in_len -= n;
    return (ssize_t)n;
}

/* RFC 6455, 5.5.1. */
static void take_close(struct sl_ws *ws)
{
    const struct control *c = &ws->control;
    int code = c->len >= 2 ? c->bytes[0] << 8 | c->bytes[1] : SL_WS_NO_CODE;
    struct sl_str reason = SL_STR("");

    if (c->len >= 2)
        reason = sl_str((const char *)c->bytes + 2, c->len - 2);
    if (c->len == 1 || (c->len >= 2 && !sl_ws_code_ok(code))) {
        fail(ws, SL_WS_PROTOCOL_ERROR, "a close frame with a bad code");
    } else if (!sl_utf8_ok(reason)) {
        fail(ws, SL_WS_BAD_TEXT, "a close reason that is not UTF-8");
    } else {
        want_close(ws, code, SL_STR_NONE);
        finish(ws, code, reason, !ws->opts.is_client);
    }
}

static void take_control(struct sl_ws *ws, uint8_t opcode)
{
    if (opcode == WSLAY_CONNECTION_CLOSE) {
        take_close(ws);
    } else if (opcode == WSLAY_PING && !ws->wants_close) {
        ws->pong = ws->control;
        ws->wants_pong = true;
        (void)flush(ws);
    }
}

static void end_message(struct sl_ws *ws)
{
    enum sl_ws_kind kind = ws->kind;

    ws->kind = 0;
    if (kind == SL_WS_TEXT && !sl_utf8_is_whole(&ws->utf8)) {
        fail(ws, SL_WS_BAD_TEXT, "a text message that is not UTF-8");
        return;
    }
    *sl_buf_reserve(&ws->message, 1) = '\0'; /* behind the message: see websocket.h */
    if (!ws->wants_close) /* else we have closed: messages mean nothing any more */
        ws->handler->on_message(ws->user, kind, sl_buf_str(&ws->message));
    sl_buf_reset(&ws->message);
    if (ws->message.cap > KEPT_ROOM || ws->is_freed)
        sl_buf_clear(&ws->message);
}

/* The head of a frame is there: 0, or the code with which the connection fails. */
static int begin_frame(struct sl_ws *ws, const struct wslay_frame_iocb *f, const char **why)
{
    bool is_control = wslay_is_ctrl_frame(f->opcode);

    *why = "a reserved bit, opcode or mask";
    if (f->rsv != 0 || f->mask == ws->opts.is_client || f->opcode > WSLAY_PONG ||
        (f->opcode > WSLAY_BINARY_FRAME && !is_control))
        return SL_WS_PROTOCOL_ERROR;
    ws->control.len = 0;
    if (is_control)
        return 0;
    *why = "a fragment out of order";
    if ((f->opcode == WSLAY_CONTINUATION_FRAME) != (ws->kind != 0))
        return SL_WS_PROTOCOL_ERROR;
    if (ws->kind == 0) {
        ws->kind = f->opcode;
        ws->utf8 = (struct sl_utf8){0};
    }
    *why = "a message that is too long";
    return f->payload_length > ws->opts.max_message - sl_buf_len(&ws->message) ? SL_WS_TOO_BIG : 0;
}

static int take_payload(struct sl_ws *ws, const struct wslay_frame_iocb *f, const char **why)
{
    if (wslay_is_ctrl_frame(f->opcode)) { /* wslay has seen to it that it fits */
        memcpy(ws->control.bytes + ws->control.len, f->data, f->data_length);
        ws->control.len += f->data_length;
        return 0;
    }
    *why = "a text message that is not UTF-8";
    if (ws->kind == SL_WS_TEXT && !sl_utf8_feed(&ws->utf8, f->data, f->data_length))
        return SL_WS_BAD_TEXT;
    if (!ws->wants_close)
        sl_buf_append(&ws->message, f->data, f->data_length);
    return 0;
}

/* A piece of a frame, with what is known of the whole. */
static void take(struct sl_ws *ws, const struct wslay_frame_iocb *f)
{
    const char *why;
    int code = ws->in_frame ? 0 : begin_frame(ws, f, &why);

    ws->in_frame = true;
    if (code == 0)
        code = take_payload(ws, f, &why);
    if (code != 0) {
        fail(ws, code, why);
        return;
    }
    ws->frame_off += f->data_length;
    if (ws->frame_off < f->payload_length)
        return;
    ws->in_frame = false;
    ws->frame_off = 0;
    if (wslay_is_ctrl_frame(f->opcode))
        take_control(ws, f->opcode);
    else if (f->fin)
        end_message(ws);
}

static bool wants_frames(const struct sl_ws *ws)
{
    return !ws->is_done && !ws->is_freed && (ws->is_on || ws->wants_close);
}

/* Reads frames until the bytes are used up or nobody wants more; the count of bytes left. */
static size_t parse(struct sl_ws *ws, const uint8_t *bytes, size_t len)
{
    struct wslay_frame_iocb frame;
    ssize_t n = 0;

    ws->in = bytes;
    ws->in_len = len;
    ws->is_parsing = true;
    while (wants_frames(ws) && (n = wslay_frame_recv(ws->frames, &frame)) >= 0)
        take(ws, &frame);
    ws->is_parsing = false;
    if (n < 0 && n != WSLAY_ERR_WANT_READ && !ws->is_done && !ws->is_freed)
        fail(ws, SL_WS_PROTOCOL_ERROR, "a malformed frame");
    if (n == WSLAY_ERR_WANT_READ && ws->got_fin && !ws->is_done && !ws->is_freed)
        give_up(ws, "closed");
    return ws->is_done || ws->is_freed ? 0 : ws->in_len;
}

static void take_stash(void *user)
{
    struct sl_ws *ws = user;
    size_t len = sl_buf_len(&ws->stash);
    size_t left = parse(ws, sl_buf_at(&ws->stash), len);

    if (ws->is_freed)
        return;
    if (left > 0)
        sl_buf_consume(&ws->stash, len - left);
    else
        sl_buf_clear(&ws->stash);
    update(ws);
}

static void update(struct sl_ws *ws)
{
    bool on = !ws->got_fin && (ws->is_done || (wants_frames(ws) && sl_buf_len(&ws->stash) == 0));

    if (ws->is_freed || ws->is_over || ws->is_parsing || on == ws->is_reading)
        return;
    ws->is_reading = on;
    ws->io->read(ws->user, on);
}

void sl_ws_input(struct sl_ws *ws, const uint8_t *bytes, size_t len)
{
    size_t left = len;

    hear(ws);
    if (ws->is_done) { /* what comes after the end means nothing */
        ws->n_swallowed += len;
        if (ws->n_swallowed > MAX_SWALLOWED)
            over(ws);
        return;
    }
    if (sl_buf_len(&ws->stash) == 0)
        left = parse(ws, bytes, len);
    if (ws->is_freed)
        return;
    if (left > 0)
        sl_buf_append(&ws->stash, bytes + (len - left), left);
    update(ws);
}

void sl_ws_input_end(struct sl_ws *ws)
{
    ws->got_fin = true;
    if (ws->is_done)
        over(ws);
    else if (wants_frames(ws))
        sl_loop_soon(ws->loop, &ws->soon, take_stash, ws); /* learns there that nothing follows */
}

void sl_ws_broken(struct sl_ws *ws, int code)
{
    ws->is_broken = true;
    give_up(ws, code == SL_E_CLOSED ? "closed" : sl_error_text(code));
}

void sl_ws_read(struct sl_ws *ws, bool on)
{
    if (ws->is_on == on || ws->is_over)
        return;
    ws->is_on = on;
    if (on && !ws->is_parsing) /* wslay may hold the next frame, too */
        sl_loop_soon(ws->loop, &ws->soon, take_stash, ws);
    update(ws);
}

/* --- life --- */

static void free_ws(void *ptr)
{
    struct sl_ws *ws = ptr;

    wslay_frame_context_free(ws->frames);
    sl_buf_clear(&ws->stash);
    sl_buf_clear(&ws->message);
    sl_buf_clear(&ws->out);
    sl_free(ws);
}

struct sl_ws *sl_ws_new(struct sl_loop *loop, const struct sl_ws_opts *opts,
                        const struct sl_ws_io *io, const struct sl_ws_handler *handler, void *user)
{
    static const struct wslay_frame_callbacks callbacks = {append_out, take_in, make_mask};
    struct sl_ws *ws = sl_zalloc(sizeof(*ws));
    int rc = wslay_frame_context_init(&ws->frames, &callbacks, ws);

    sl_assert(rc == 0);
    ws->loop = loop;
    ws->opts = *opts;
    ws->io = io;
    ws->handler = handler;
    ws->user = user;
    ws->heard_ms = sl_loop_now_ms(loop);
    sl_deadline_init(&ws->beat, loop, on_beat, ws);
    sl_deadline_init(&ws->writing, loop, on_writing_due, ws);
    sl_deadline_init(&ws->closing, loop, on_closing_due, ws);
    if (opts->ping_interval > 0)
        sl_deadline_set(&ws->beat, opts->ping_interval);
    return ws;
}

void sl_ws_free(struct sl_ws **pws)
{
    struct sl_ws *ws = *pws;

    if (ws == NULL)
        return;
    *pws = NULL;
    ws->is_freed = true;
    sl_loop_unsoon(&ws->soon);
    sl_deadline_stop(&ws->beat);
    sl_deadline_stop(&ws->writing);
    sl_deadline_stop(&ws->closing);
    sl_loop_defer(ws->loop, ws, free_ws);
}
