#include "base/check.h"
#include "http/ws_handshake.h"

static struct sl_arena arena;

static void add(struct sl_headers *h, const char *name, const char *value)
{
    sl_headers_add(h, &arena, sl_str_c(name), sl_str_c(value));
}

/* The example of RFC 6455, 1.3. */
static void the_proof_is_that_of_the_rfc(void)
{
    char accept[SL_WS_ACCEPT_LEN];

    sl_ws_make_accept(SL_STR("dGhlIHNhbXBsZSBub25jZQ=="), accept);
    sl_check_str(sl_str(accept, sizeof(accept)), SL_STR("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
}

static void keys_differ(void)
{
    char one[SL_WS_KEY_LEN], two[SL_WS_KEY_LEN];

    sl_ws_make_key(one);
    sl_ws_make_key(two);
    sl_check(memcmp(one, two, sizeof(one)) != 0);
    sl_check(one[22] == '=' && one[23] == '=');
}

/* --- client --- */

struct answer {
    int status;
    const char *upgrade, *connection, *accept, *extensions, *protocol; /* NULL: not there */
};

static const struct answer good = {
    101, "websocket", "Upgrade", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", NULL, NULL};

static void add_some(struct sl_headers *h, const char *name, const char *value)
{
    if (value != NULL)
        add(h, name, value);
}

static const char *check_answer(const struct answer *a, const char *offered,
                                struct sl_str *protocol)
{
    struct sl_ws_asked asked = {SL_STR("dGhlIHNhbXBsZSBub25jZQ=="), sl_str_c(offered)};
    struct sl_response res = {.status = a->status};
    const char *why = "fine";

    add_some(&res.headers, "Upgrade", a->upgrade);
    add_some(&res.headers, "Connection", a->connection);
    add_some(&res.headers, "Sec-WebSocket-Accept", a->accept);
    add_some(&res.headers, "Sec-WebSocket-Extensions", a->extensions);
    add_some(&res.headers, "Sec-WebSocket-Protocol", a->protocol);
    (void)sl_ws_check_answer(&res, &arena, &asked, protocol, &why);
    return why;
}

static void refuses(struct answer a, const char *offered, const char *why)
{
    struct sl_str protocol;

    sl_check_str(sl_str_c(check_answer(&a, offered, &protocol)), sl_str_c(why));
}

static void right_answers_are_taken(void)
{
    struct answer a = good;
    struct sl_str protocol;

    sl_check_str(sl_str_c(check_answer(&a, "", &protocol)), SL_STR("fine"));
    sl_check(protocol.len == 0);
    a.upgrade = "WebSocket";
    a.connection = "keep-alive, upgrade";
    a.protocol = "b";
    sl_check_str(sl_str_c(check_answer(&a, "a, b", &protocol)), SL_STR("fine"));
    sl_check_str(protocol, SL_STR("b"));
}

static void wrong_answers_are_not(void)
{
    struct answer a = good;

    a.status = 200;
    refuses(a, "", "the server does not speak WebSocket");
    a = good;
    a.upgrade = NULL;
    refuses(a, "", "the server does not speak WebSocket");
    a.upgrade = "h2c";
    refuses(a, "", "the server does not speak WebSocket");
    a = good;
    a.connection = "close";
    refuses(a, "", "the server does not speak WebSocket");
    a = good;
    a.accept = NULL;
    refuses(a, "", "wrong Sec-WebSocket-Accept");
    a.accept = "S3PPLMBITXAQ9KYGZZHZRBK+XOO=";
    refuses(a, "", "wrong Sec-WebSocket-Accept");
    a = good;
    a.extensions = "permessage-deflate";
    refuses(a, "", "the server chose an extension that was not offered");
    a = good;
    a.protocol = "a";
    refuses(a, "", "the server chose a subprotocol that was not offered");
    refuses(a, "A, b", "the server chose a subprotocol that was not offered");
    a.protocol = "a, b";
    refuses(a, "a, b", "the server chose a subprotocol that was not offered");
}

static void a_request_asks(void)
{
    struct sl_ws_asked asked = {SL_STR("dGhlIHNhbXBsZSBub25jZQ=="), SL_STR("a, b")};
    struct sl_request req = {.method = SL_STR("GET")};

    sl_ws_ask(&req, &arena, &asked);
    sl_check(sl_ws_check_request(&req) == 0);
    sl_check_str(sl_headers_get(&req.headers, SL_STR("sec-websocket-protocol")), SL_STR("a, b"));
}

/* --- server --- */

static struct sl_request request(const char *key)
{
    struct sl_request req = {.method = SL_STR("GET"), .upgrade = SL_STR("websocket")};

    add(&req.headers, "Sec-WebSocket-Version", "13");
    add(&req.headers, "Sec-WebSocket-Key", key);
    return req;
}

static void requests_are_checked(void)
{
    struct sl_request req = request("dGhlIHNhbXBsZSBub25jZQ==");

    sl_check(sl_ws_check_request(&req) == 0);
    add(&req.headers, "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    sl_check(sl_ws_check_request(&req) == 400);
    req = request("short");
    sl_check(sl_ws_check_request(&req) == 400);
    req = request("dGhlIHNhbXBsZSBub25jZXh4");
    sl_check(sl_ws_check_request(&req) == 400);
    req = request("\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"==");
    sl_check(sl_ws_check_request(&req) == 400);
    req = request("dGhlIHNhbXBsZSBub25jZQ==");
    req.method = SL_STR("POST");
    sl_check(sl_ws_check_request(&req) == 400);
    req = request("dGhlIHNhbXBsZSBub25jZQ==");
    req.upgrade = SL_STR("h2c");
    sl_check(sl_ws_check_request(&req) == 426);
    req = request("dGhlIHNhbXBsZSBub25jZQ==");
    sl_headers_set(&req.headers, &arena, SL_STR("Sec-WebSocket-Version"), SL_STR("8"));
    sl_check(sl_ws_check_request(&req) == 426);
}

/* RFC 8441, section 5: extended CONNECT needs no proof. */
static void http2_does_without_a_key(void)
{
    struct sl_request req = request("");
    struct sl_response res = {0};
    struct sl_str protocol;

    sl_headers_remove(&req.headers, SL_STR("Sec-WebSocket-Key"));
    sl_check(sl_ws_check_request(&req) == 400);
    req.version = SL_HTTP_2;
    sl_check(sl_ws_check_request(&req) == 0);
    sl_ws_answer(&res, &arena, &req, SL_STR(""), &protocol);
    sl_check(res.status == 101);
    sl_check(sl_headers_get(&res.headers, SL_STR("sec-websocket-accept")).p == NULL);
}

static void chooses(const char *offered, const char *ours, const char *chosen)
{
    struct sl_request req = request("dGhlIHNhbXBsZSBub25jZQ==");
    struct sl_response res = {0};
    struct sl_str protocol, sent;

    if (offered[0] != '\0')
        add(&req.headers, "Sec-WebSocket-Protocol", offered);
    sl_ws_answer(&res, &arena, &req, sl_str_c(ours), &protocol);
    sent = sl_headers_get(&res.headers, SL_STR("sec-websocket-protocol"));
    sl_check_str(protocol, sl_str_c(chosen));
    sl_check_str(sent.p != NULL ? sent : SL_STR(""), sl_str_c(chosen));
    sl_check(res.status == 101);
    sl_check_str(sl_headers_get(&res.headers, SL_STR("sec-websocket-accept")),
                 SL_STR("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
}

static void the_server_chooses_what_was_offered(void)
{
    chooses("", "", "");
    chooses("a, b", "", "");
    chooses("a, b", "b, a", "b");
    chooses("a,b", "c", "");
    chooses("A", "a", "");
    chooses("", "a", "");
}

static void lists_of_protocols(void)
{
    sl_check(sl_ws_protocols_ok(SL_STR("a")));
    sl_check(sl_ws_protocols_ok(SL_STR("graphql-ws, chat.v2")));
    sl_check(!sl_ws_protocols_ok(SL_STR("a, a")));
    sl_check(!sl_ws_protocols_ok(SL_STR("a b")));
    sl_check(!sl_ws_protocols_ok(SL_STR("a,,b")));
    sl_check(!sl_ws_protocols_ok(SL_STR("a\r\nb")));
}

int main(void)
{
    the_proof_is_that_of_the_rfc();
    keys_differ();
    right_answers_are_taken();
    wrong_answers_are_not();
    a_request_asks();
    requests_are_checked();
    http2_does_without_a_key();
    the_server_chooses_what_was_offered();
    lists_of_protocols();
    sl_arena_clear(&arena);
    return sl_check_done();
}
