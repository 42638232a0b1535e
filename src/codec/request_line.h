/*
 * The first line of an HTTP/1 request (RFC 9112, section 3): pure, one complete line in, its parts
 * out.
 *
 * Why not llhttp: it knows a fixed list of methods, while RFC 9110 lets any token be one, and it
 * lets a target through that others read differently. Header fields and bodies stay llhttp's.
 */
#ifndef SL_CODEC_REQUEST_LINE_H
#define SL_CODEC_REQUEST_LINE_H

#include "base/error.h"
#include "base/str.h"

enum { SL_METHOD_MAX = 32 };

struct sl_request_line {
    struct sl_str method;
    struct sl_str target; /* as sent */
    struct sl_str
        authority;       /* of an absolute target ("http://host/path") or of CONNECT, else empty */
    struct sl_str path;  /* begins with "/", or is "*"; empty for CONNECT */
    struct sl_str query; /* p == NULL: none */
    int minor;           /* HTTP/1.<minor>: 0 or 1 */
    bool is_absolute;
};

/* `line` is without its CRLF. Parts point into it. 0, or the HTTP status to refuse with: 400, 505.
 */
int sl_request_line_parse(struct sl_request_line *out, struct sl_str line);

/* Looks for the end of the line in the `len` bytes at `p`, from `from` on (an earlier call has seen
   that no LF is among the bytes before it). The length of the line without CRLF, SL_E_PARTIAL when
   it is not there yet, or SL_E_PROTOCOL for a bare LF or a bare CR. Other bytes are for
   sl_request_line_parse() to judge. */
long sl_request_line_find_end(const uint8_t *p, size_t len, size_t from);

/* Its parts, for HTTP/2 and 3, which have no such line. */
bool sl_method_ok(struct sl_str method);
/* Visible ASCII, not empty; "#" begins a fragment, which is never sent. */
bool sl_request_target_ok(struct sl_str target);
/* `query` is SL_STR_NONE when there is none. */
void sl_target_split(struct sl_str target, struct sl_str *path, struct sl_str *query);

#endif
