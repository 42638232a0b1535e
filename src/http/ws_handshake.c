#include "http/ws_handshake.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

enum { NONCE_LEN = 16, SHA1_LEN = 20 };

/* EVP_EncodeBlock() ends its text with a NUL. */
static void encode(char *out, const uint8_t *bytes, int len, size_t out_len)
{
    unsigned char text[SL_WS_ACCEPT_LEN + 1];
    int n = EVP_EncodeBlock(text, bytes, len);

    sl_assert(n == (int)out_len);
    memcpy(out, text, out_len);
}

void sl_ws_make_key(char key[SL_WS_KEY_LEN])
{
    uint8_t nonce[NONCE_LEN];
    int ok = RAND_bytes(nonce, sizeof(nonce));

    sl_assert(ok == 1);
    encode(key, nonce, sizeof(nonce), SL_WS_KEY_LEN);
}

void sl_ws_make_accept(struct sl_str key, char accept[SL_WS_ACCEPT_LEN])
{
    struct sl_str guid = SL_STR("258EAFA5-E914-47DA-95CA-C5AB0DC85B11"); /* RFC 6455, 1.3 */
    uint8_t text[SL_WS_KEY_LEN + 36], digest[SHA1_LEN];
    int ok;

    sl_assert(key.len == SL_WS_KEY_LEN && key.len + guid.len == sizeof(text));
    memcpy(text, key.p, key.len);
    memcpy(text + key.len, guid.p, guid.len);
    ok = EVP_Digest(text, sizeof(text), digest, NULL, EVP_sha1(), NULL);
    sl_assert(ok == 1);
    encode(accept, digest, sizeof(digest), SL_WS_ACCEPT_LEN);
}

/* Subprotocols are compared byte for byte, unlike other tokens. */
static bool is_listed(struct sl_str list, struct sl_str protocol)
{
    struct sl_str item;

    while (sl_str_next(&list, ',', &item)) {
        if (sl_str_eq(item, protocol))
            return true;
    }
    return false;
}

bool sl_ws_protocols_ok(struct sl_str protocols)
{
    struct sl_str item;

    while (sl_str_next(&protocols, ',', &item)) {
        if (!sl_header_name_ok(item) || is_listed(protocols, item))
            return false;
    }
    return true;
}

/* --- client --- */

void sl_ws_ask(struct sl_request *req, struct sl_arena *a, const struct sl_ws_asked *asked)
{
    req->upgrade = SL_STR("websocket");
    sl_headers_add_id(&req->headers, a, SL_H_UPGRADE, SL_STR("Upgrade"), req->upgrade);
    sl_headers_add_id(&req->headers, a, SL_H_SEC_WEBSOCKET_KEY, SL_STR("Sec-WebSocket-Key"),
                      asked->key);
    sl_headers_add(&req->headers, a, SL_STR("Sec-WebSocket-Version"), SL_STR("13"));
    if (asked->protocols.len > 0)
        sl_headers_add(&req->headers, a, SL_STR("Sec-WebSocket-Protocol"), asked->protocols);
}

static bool has_token(const struct sl_headers *h, struct sl_arena *a, struct sl_str name,
                      struct sl_str token)
{
    return sl_str_has_token(sl_headers_get_all(h, name, a), token);
}

static bool is_proof(struct sl_str given, struct sl_str key)
{
    char accept[SL_WS_ACCEPT_LEN];

    sl_ws_make_accept(key, accept);
    return sl_str_eq(given, sl_str(accept, sizeof(accept)));
}

int sl_ws_check_answer(const struct sl_response *res, struct sl_arena *a,
                       const struct sl_ws_asked *asked, struct sl_str *protocol, const char **why)
{
    const struct sl_headers *h = &res->headers;
    struct sl_str accept = sl_headers_get_all(h, SL_STR("sec-websocket-accept"), a);

    *protocol = sl_headers_get_all(h, SL_STR("sec-websocket-protocol"), a);
    if (res->status != 101 || !has_token(h, a, SL_STR("upgrade"), SL_STR("websocket")) ||
        !has_token(h, a, SL_STR("connection"), SL_STR("upgrade")))
        *why = "the server does not speak WebSocket";
    else if (!is_proof(accept, asked->key))
        *why = "wrong Sec-WebSocket-Accept";
    else if (sl_headers_find(h, SL_STR("sec-websocket-extensions")) != NULL)
        *why = "the server chose an extension that was not offered";
    else if (protocol->p != NULL && !is_listed(asked->protocols, *protocol))
        *why = "the server chose a subprotocol that was not offered";
    else
        return 0;
    return SL_E_PROTOCOL;
}

/* --- server --- */

static bool is_key(struct sl_str key)
{
    unsigned char nonce[SL_WS_KEY_LEN];

    return key.len == SL_WS_KEY_LEN && key.p[key.len - 1] == '=' && key.p[key.len - 2] == '=' &&
           EVP_DecodeBlock(nonce, (const unsigned char *)key.p, SL_WS_KEY_LEN) > 0;
}

static unsigned count(const struct sl_headers *h, struct sl_str name)
{
    unsigned n = 0;

    for (unsigned i = 0; i < h->n; i++)
        n += h->at[i].id != SL_H_REMOVED && sl_str_ieq(h->at[i].name, name);
    return n;
}

int sl_ws_check_request(const struct sl_request *req)
{
    const struct sl_headers *h = &req->headers;

    if (!sl_str_has_token(req->upgrade, SL_STR("websocket")) ||
        !sl_str_eq(sl_headers_get(h, SL_STR("sec-websocket-version")), SL_STR("13")))
        return 426;
    if (!sl_str_eq(req->method, SL_STR("GET")))
        return 400;
    if (req->version >= SL_HTTP_2) /* no cache can mistake extended CONNECT: RFC 8441, section 5 */
        return 0;
    return count(h, SL_STR("sec-websocket-key")) == 1 &&
                   is_key(sl_headers_get(h, SL_STR("sec-websocket-key")))
               ? 0
               : 400;
}

static struct sl_str choose(struct sl_str ours, struct sl_str offered)
{
    struct sl_str item;

    while (sl_str_next(&ours, ',', &item)) {
        if (is_listed(offered, item))
            return item;
    }
    return SL_STR("");
}

static void add_accept(struct sl_response *res, struct sl_arena *a, struct sl_str key)
{
    char *accept = sl_arena_alloc(a, SL_WS_ACCEPT_LEN);

    sl_ws_make_accept(key, accept);
    sl_headers_add(&res->headers, a, SL_STR("Sec-WebSocket-Accept"),
                   sl_str(accept, SL_WS_ACCEPT_LEN));
}

void sl_ws_answer(struct sl_response *res, struct sl_arena *a, const struct sl_request *req,
                  struct sl_str protocols, struct sl_str *protocol)
{
    struct sl_str offered = sl_headers_get_all(&req->headers, SL_STR("sec-websocket-protocol"), a);

    *protocol = choose(protocols, offered);
    res->status = 101;
    res->content_length = SL_LENGTH_UNKNOWN;
    sl_headers_add_id(&res->headers, a, SL_H_UPGRADE, SL_STR("Upgrade"), SL_STR("websocket"));
    if (req->version < SL_HTTP_2)
        add_accept(res, a, sl_headers_get(&req->headers, SL_STR("sec-websocket-key")));
    if (protocol->len > 0)
        sl_headers_add(&res->headers, a, SL_STR("Sec-WebSocket-Protocol"), *protocol);
}

void sl_ws_require(struct sl_headers *headers, struct sl_arena *a)
{
    sl_headers_add_id(headers, a, SL_H_UPGRADE, SL_STR("Upgrade"), SL_STR("websocket"));
    sl_headers_add(headers, a, SL_STR("Sec-WebSocket-Version"), SL_STR("13"));
}
