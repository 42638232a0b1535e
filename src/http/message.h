/*
 * HTTP messages, the same for every version: heads with their headers, kept in an arena. No
 * framing, no sockets.
 *
 * Header names keep the case in which they came; look-ups ignore it. Well-known names carry an id,
 * so that the hot path compares numbers. Removing a header marks it (id SL_H_REMOVED); order is
 * kept.
 */
#ifndef SL_HTTP_MESSAGE_H
#define SL_HTTP_MESSAGE_H

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"

/* id, name in lower case */
#define SL_HEADER_NAMES(X)                                                                         \
    X(HOST, "host")                                                                                \
    X(CONNECTION, "connection")                                                                    \
    X(CONTENT_LENGTH, "content-length")                                                            \
    X(TRANSFER_ENCODING, "transfer-encoding")                                                      \
    X(UPGRADE, "upgrade")                                                                          \
    X(KEEP_ALIVE, "keep-alive")                                                                    \
    X(PROXY_CONNECTION, "proxy-connection")                                                        \
    X(TE, "te")                                                                                    \
    X(TRAILER, "trailer")                                                                          \
    X(EXPECT, "expect")                                                                            \
    X(HTTP2_SETTINGS, "http2-settings")                                                            \
    X(AUTHORIZATION, "authorization")                                                              \
    X(COOKIE, "cookie")                                                                            \
    X(USER_AGENT, "user-agent")                                                                    \
    X(ACCEPT, "accept")                                                                            \
    X(X_FORWARDED_FOR, "x-forwarded-for")                                                          \
    X(X_FORWARDED_PROTO, "x-forwarded-proto")                                                      \
    X(X_FORWARDED_HOST, "x-forwarded-host")                                                        \
    X(X_FORWARDED_PORT, "x-forwarded-port")                                                        \
    X(X_REAL_IP, "x-real-ip")                                                                      \
    X(FORWARDED, "forwarded")                                                                      \
    X(SEC_WEBSOCKET_KEY, "sec-websocket-key")                                                      \
    X(SERVER, "server")                                                                            \
    X(DATE, "date")                                                                                \
    X(CONTENT_TYPE, "content-type")                                                                \
    X(LOCATION, "location")                                                                        \
    X(ALT_SVC, "alt-svc")                                                                          \
    X(WWW_AUTHENTICATE, "www-authenticate")

enum sl_header_id {
    SL_H_OTHER,
#define SL_HEADER_ENUM(id, name) SL_H_##id,
    SL_HEADER_NAMES(SL_HEADER_ENUM)
#undef SL_HEADER_ENUM
        SL_H_REMOVED,
};

struct sl_header {
    struct sl_str name, value;
    enum sl_header_id id;
};

struct sl_headers {
    struct sl_header *at;
    unsigned n, cap;
};

enum sl_http_version { SL_HTTP_10 = 10, SL_HTTP_11 = 11, SL_HTTP_2 = 20, SL_HTTP_3 = 30 };

#define SL_LENGTH_UNKNOWN UINT64_MAX

struct sl_request {
    enum sl_http_version version;
    struct sl_str method;
    struct sl_str scheme;    /* "http", "https" */
    struct sl_str authority; /* as sent: Host or :authority */
    struct sl_str host;  /* of the authority: lower case, no port, no trailing dot, no brackets */
    struct sl_str path;  /* origin form without the query, as sent; "*" for OPTIONS * */
    struct sl_str query; /* without "?"; p == NULL when there is none */
    struct sl_headers headers, trailers;
    uint64_t content_length; /* SL_LENGTH_UNKNOWN: chunked or open-ended; 0: no body */
    struct sl_str upgrade;   /* asked-for protocol ("websocket"), empty if none; extended CONNECT
                                lands here, too */
    bool expects_continue;
    bool is_early; /* came before the handshake was complete (0-RTT): it may be a replay */
};

struct sl_response {
    enum sl_http_version version;
    int status;
    struct sl_headers headers, trailers;
    uint64_t content_length;
};

/* status, reason phrase */
#define SL_STATUSES(X)                                                                             \
    X(100, "Continue")                                                                             \
    X(101, "Switching Protocols")                                                                  \
    X(103, "Early Hints")                                                                          \
    X(200, "OK")                                                                                   \
    X(201, "Created")                                                                              \
    X(202, "Accepted")                                                                             \
    X(203, "Non-Authoritative Information")                                                        \
    X(204, "No Content")                                                                           \
    X(205, "Reset Content")                                                                        \
    X(206, "Partial Content")                                                                      \
    X(207, "Multi-Status")                                                                         \
    X(300, "Multiple Choices")                                                                     \
    X(301, "Moved Permanently")                                                                    \
    X(302, "Found")                                                                                \
    X(303, "See Other")                                                                            \
    X(304, "Not Modified")                                                                         \
    X(307, "Temporary Redirect")                                                                   \
    X(308, "Permanent Redirect")                                                                   \
    X(400, "Bad Request")                                                                          \
    X(401, "Unauthorized")                                                                         \
    X(402, "Payment Required")                                                                     \
    X(403, "Forbidden")                                                                            \
    X(404, "Not Found")                                                                            \
    X(405, "Method Not Allowed")                                                                   \
    X(406, "Not Acceptable")                                                                       \
    X(408, "Request Timeout")                                                                      \
    X(409, "Conflict")                                                                             \
    X(410, "Gone")                                                                                 \
    X(411, "Length Required")                                                                      \
    X(412, "Precondition Failed")                                                                  \
    X(413, "Content Too Large")                                                                    \
    X(414, "URI Too Long")                                                                         \
    X(415, "Unsupported Media Type")                                                               \
    X(416, "Range Not Satisfiable")                                                                \
    X(417, "Expectation Failed")                                                                   \
    X(421, "Misdirected Request")                                                                  \
    X(422, "Unprocessable Content")                                                                \
    X(425, "Too Early")                                                                            \
    X(426, "Upgrade Required")                                                                     \
    X(428, "Precondition Required")                                                                \
    X(429, "Too Many Requests")                                                                    \
    X(431, "Request Header Fields Too Large")                                                      \
    X(451, "Unavailable For Legal Reasons")                                                        \
    X(500, "Internal Server Error")                                                                \
    X(501, "Not Implemented")                                                                      \
    X(502, "Bad Gateway")                                                                          \
    X(503, "Service Unavailable")                                                                  \
    X(504, "Gateway Timeout")                                                                      \
    X(505, "HTTP Version Not Supported")                                                           \
    X(507, "Insufficient Storage")                                                                 \
    X(508, "Loop Detected")                                                                        \
    X(511, "Network Authentication Required")

enum sl_header_id sl_header_id(struct sl_str name);
/* The name of a known header in lower case. */
struct sl_str sl_header_name(enum sl_header_id id);
/* Made by each server and client from the framing that it chose, or meaningful on one connection
 * only: never copied from one message to another. True for SL_H_REMOVED, too. */
bool sl_header_is_framing(enum sl_header_id id);
/* May stand among trailers: changes neither framing nor routing nor authentication after the fact
 * (RFC 9110, 6.5.1). */
bool sl_header_may_trail(enum sl_header_id id);
/* Appends; the strings are not copied. */
void sl_headers_add(struct sl_headers *h, struct sl_arena *a, struct sl_str name,
                    struct sl_str value);
void sl_headers_add_id(struct sl_headers *h, struct sl_arena *a, enum sl_header_id id,
                       struct sl_str name, struct sl_str value);
/* The first with this name, or NULL. */
struct sl_header *sl_headers_find(const struct sl_headers *h, struct sl_str name);
struct sl_header *sl_headers_find_id(const struct sl_headers *h, enum sl_header_id id);
/* The value of the first, or SL_STR_NONE. */
struct sl_str sl_headers_get(const struct sl_headers *h, struct sl_str name);
/* All values with this name joined by ", " ("; " for cookie), or SL_STR_NONE. */
struct sl_str sl_headers_get_all(const struct sl_headers *h, struct sl_str name,
                                 struct sl_arena *a);
/* Replaces all with this name by one; value.p == NULL removes. Copies both into the arena. */
void sl_headers_set(struct sl_headers *h, struct sl_arena *a, struct sl_str name,
                    struct sl_str value);
void sl_headers_remove(struct sl_headers *h, struct sl_str name);
void sl_headers_remove_id(struct sl_headers *h, enum sl_header_id id);

/* RFC 9110: token characters only, not empty. */
bool sl_header_name_ok(struct sl_str name);
/* No CR, LF, NUL or other control byte but tab. */
bool sl_header_value_ok(struct sl_str value);
bool sl_method_is_idempotent(struct sl_str method);
/* Reason phrase of a status, "" when unknown. */
const char *sl_status_text(int status);
/* Is a Content-Length to be sent? */
bool sl_response_has_length(const struct sl_response *res);
/* The value of a Date header that is made now; valid on this thread until the next call. */
struct sl_str sl_http_date(void);
/* Splits Host or :authority into the normalized host (in the arena) and port (0: none). 0 or
 * SL_E_PROTOCOL. */
int sl_authority_split(struct sl_str authority, struct sl_arena *a, struct sl_str *host,
                       uint16_t *port);

#endif
