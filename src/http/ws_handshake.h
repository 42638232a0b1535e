/*
 * The opening handshake of a WebSocket (RFC 6455, 4), both sides: what stands in the request and in
 * the answer, and whether that of the other side is right. Pure functions of messages; no sockets,
 * no frames (http/websocket.h).
 *
 *     sl_ws_make_key(key);
 *     sl_ws_ask(&req, &arena, sl_str(key, SL_WS_KEY_LEN), SL_STR("chat"));
 *     …
 *     if (sl_ws_check_answer(&res, &arena, &asked, &protocol, &why) < 0)
 *         fail(why);
 */
#ifndef SL_HTTP_WS_HANDSHAKE_H
#define SL_HTTP_WS_HANDSHAKE_H

#include "http/message.h"

enum { SL_WS_KEY_LEN = 24, SL_WS_ACCEPT_LEN = 28 };

/* What a client asked with. */
struct sl_ws_asked {
    struct sl_str key;
    struct sl_str protocols; /* separated by commas, best first; empty: none */
};

/* A key that was never used before, without a NUL. */
void sl_ws_make_key(char key[SL_WS_KEY_LEN]);
/* The proof that the server understood the key, without a NUL. */
void sl_ws_make_accept(struct sl_str key, char accept[SL_WS_ACCEPT_LEN]);

/* Client: turns the request into one for an upgrade; strings must live as long as it does. */
void sl_ws_ask(struct sl_request *req, struct sl_arena *a, const struct sl_ws_asked *asked);
/* Client: 0 and the subprotocol that the server chose (empty: none), or SL_E_PROTOCOL and a phrase
 * that says what is wrong with an answer 101. */
int sl_ws_check_answer(const struct sl_response *res, struct sl_arena *a,
                       const struct sl_ws_asked *asked, struct sl_str *protocol, const char **why);

/* Server: 0, or the status with which a request is refused that does not ask for a WebSocket (426)
 * or does not do it right (400). */
int sl_ws_check_request(const struct sl_request *req);
/* Server: fills in the answer 101 (which HTTP/2 and 3 make a 200 of), and `*protocol` with the
 * first of ours that the client offers.
 */
void sl_ws_answer(struct sl_response *res, struct sl_arena *a, const struct sl_request *req,
                  struct sl_str protocols, struct sl_str *protocol);
/* Server: the headers of an answer 426. */
void sl_ws_require(struct sl_headers *headers, struct sl_arena *a);

/* Tokens of RFC 9110, separated by commas, each once. */
bool sl_ws_protocols_ok(struct sl_str protocols);

#endif
