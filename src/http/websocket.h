/*
 * One end of a WebSocket (RFC 6455) on any channel that carries bytes both ways: a stream, a call
 * or an exchange after its 101. Whole messages in, whole messages out; fragments, masks, pings and
 * the closing handshake are done in here. Not the opening handshake (http/ws_handshake.h), and no
 * extensions: nobody offered any, so their bits are refused.
 *
 * The owner feeds what arrives (sl_ws_input(), sl_ws_input_end(), sl_ws_written(), sl_ws_broken())
 * and gives two functions that write and pause, with the contract of net/stream.h.
 *
 *     static const struct sl_ws_io io = {write_, read_};
 *
 *     ws = sl_ws_new(loop, &opts, &io, &handler, user);
 *     sl_ws_read(ws, true);
 *     rc = sl_ws_send(ws, SL_WS_TEXT, SL_STR("hello"));
 *
 * Reading starts paused. on_message() may pause it; then no further message comes, though a few KB
 * that have arrived wait in here.
 *
 * Sending takes the whole message. 0: send on at will; SL_E_AGAIN: taken, but no more until
 * on_sent(). Of pings that arrive while nothing can go out, the last one alone is answered.
 *
 * The end: on_closed() says how it ended, once; neither on_message() nor on_sent() comes after it.
 * on_over(), once and last, says that the channel is of no more use: now close it and call
 * sl_ws_free(). Both come from the functions that the owner calls with what arrived and from the
 * loop; never from sl_ws_send(), sl_ws_close() or sl_ws_read().
 *
 * Owner: whoever made it, on one thread. sl_ws_free() is legal in every callback.
 */
#ifndef SL_HTTP_WEBSOCKET_H
#define SL_HTTP_WEBSOCKET_H

#include <sys/uio.h>
#include "loop/loop.h"

struct sl_ws;

enum sl_ws_kind { SL_WS_TEXT = 1, SL_WS_BINARY = 2 };

/* How a connection ended; RFC 6455, 7.4.1. The two that never go over the wire: */
enum {
    SL_WS_NORMAL = 1000,
    SL_WS_GOING_AWAY = 1001,
    SL_WS_PROTOCOL_ERROR = 1002,
    SL_WS_NO_CODE = 1005,  /* a close frame without a code */
    SL_WS_ABNORMAL = 1006, /* no close frame at all */
    SL_WS_BAD_TEXT = 1007,
    SL_WS_TOO_BIG = 1009,
    SL_WS_INTERNAL_ERROR = 1011,
};
enum { SL_WS_MAX_REASON = 123 };

struct sl_ws_io {
    int (*write)(void *user, const struct iovec *iov, int n_iov, bool fin);
    void (*read)(void *user, bool on);
};

struct sl_ws_handler {
    /* The bytes are valid during the call, and a NUL follows them. Text is UTF-8. */
    void (*on_message)(void *user, enum sl_ws_kind kind, struct sl_str bytes);
    void (*on_sent)(void *user);
    /* `reason`: what the peer wrote into its close frame, or why we gave up; valid during the call.
     */
    void (*on_closed)(void *user, int code, struct sl_str reason);
    void (*on_over)(void *user);
};

/* Times in ms. */
struct sl_ws_opts {
    bool is_client;         /* which side masks */
    size_t max_message;     /* bytes, all fragments together */
    uint32_t ping_interval; /* of silence, until we ask whether the peer is there; 0: never */
    uint32_t ping_timeout;  /* for its answer */
    uint32_t write_timeout; /* for what is on its way out */
    uint32_t close_timeout; /* for the closing handshake and the end of the connection */
};

/* 64 MiB, 30 s, 20 s, 120 s, 5 s; the server side. */
extern const struct sl_ws_opts sl_ws_opts_default;

struct sl_ws *sl_ws_new(struct sl_loop *loop, const struct sl_ws_opts *opts,
                        const struct sl_ws_io *io, const struct sl_ws_handler *handler, void *user);
/* Without a word to the peer. NULL inside is legal. */
void sl_ws_free(struct sl_ws **ws);

void sl_ws_input(struct sl_ws *ws, const uint8_t *bytes, size_t len);
/* The peer closed its direction. */
void sl_ws_input_end(struct sl_ws *ws);
void sl_ws_written(struct sl_ws *ws);
/* The channel failed with this SL_E_*. */
void sl_ws_broken(struct sl_ws *ws, int code);

void sl_ws_read(struct sl_ws *ws, bool on);
/* 0, SL_E_AGAIN as above, SL_E_CLOSED when it was closed, or what the channel's write returned. */
int sl_ws_send(struct sl_ws *ws, enum sl_ws_kind kind, struct sl_str bytes);
/* Begins the closing handshake; what was sent goes out before. `code`: one that sl_ws_code_ok()
 * takes. Does nothing the second time. */
void sl_ws_close(struct sl_ws *ws, int code, struct sl_str reason);
bool sl_ws_is_open(const struct sl_ws *ws);

/* May this code stand in a close frame? */
bool sl_ws_code_ok(int code);

#endif
