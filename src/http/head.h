/*
 * The heads of HTTP/2 and HTTP/3 messages: from fields with pseudo-header fields to sl_request, and
 * from sl_response to fields (RFC 9113 section 8.3, RFC 9114 section 4.3). nghttp2 and nghttp3 have
 * checked the syntax of names and values and the set of pseudo-headers; here is what they leave to
 * the user, and the limits.
 */
#ifndef SL_HTTP_HEAD_H
#define SL_HTTP_HEAD_H

#include "http/exchange.h"

/* A request head that is being received. Lives beside its exchange. */
struct sl_head {
    struct sl_request *req;
    struct sl_arena *arena;
    const struct sl_http_limits *limits;
    struct sl_str protocol; /* :protocol of an extended CONNECT (RFC 8441, RFC 9220) */
    struct sl_str target;   /* :path */
    size_t n_bytes;
    unsigned n_fields;
    bool in_trailers;
    int status; /* of the first thing that was wrong, else 0 */
    const char *why;
};

void sl_head_begin(struct sl_head *h, struct sl_request *req, struct sl_arena *arena,
                   const struct sl_http_limits *limits, enum sl_http_version version);
/* One field; name and value are copied. What is too much is not stored, but counted: h->status says
 * 431 then. After sl_head_finish() fields are trailers, with limits of their own; those that may
 * be none are dropped. */
void sl_head_field(struct sl_head *h, struct sl_str name, struct sl_str value);
/* The head is complete; `ended`: no body follows. 0 or an HTTP status with h->why: 400, 405, 414,
 * 431. `:authority` and Host must agree (attack H2-20), and there is a Host header afterwards;
 * cookies are joined; extended CONNECT becomes GET with req->upgrade and an Upgrade header. The
 * scheme is what the client says: the caller knows the truth. */
int sl_head_finish(struct sl_head *h, bool ended);

/* A field as both libraries take it; the strings live in the arena of the exchange. */
struct sl_field {
    struct sl_str name, value; /* name in lower case */
};
/* The fields of a response head: ":status" first, names in lower case, no connection-specific
 * fields; Content-Length and Date where they belong. 101 becomes the 200 of an extended CONNECT.
 * In the arena; returns the count. */
size_t sl_head_response(struct sl_arena *a, const struct sl_response *res, struct sl_field **out);
size_t sl_head_trailers(struct sl_arena *a, const struct sl_headers *trailers,
                        struct sl_field **out);

#endif
