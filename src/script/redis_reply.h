/*
 * Replies of Redis: hiredis' reader, which makes bounded trees of what arrives. Bytes in, replies
 * out; no socket and no Lua.
 *
 * Owner: whoever made the parser, on one thread. A server that sends too much, too deep or what is
 * no reply is an error, after which the parser is of no more use.
 *
 *     sl_redis_parser_feed(p, bytes, len);
 *     while ((rc = sl_redis_parser_next(p, &reply)) > 0)
 *         take(reply);
 */
#ifndef SL_SCRIPT_REDIS_REPLY_H
#define SL_SCRIPT_REDIS_REPLY_H

#include "base/error.h"
#include "base/str.h"

enum {
    SL_REDIS_MAX_DEPTH = 8,                /* arrays in arrays */
    SL_REDIS_MAX_ELEMENTS = 1024 * 1024,   /* of one array */
    SL_REDIS_MAX_REPLY = 16 * 1024 * 1024, /* bytes of one reply, with what its elements cost */
};

enum sl_redis_kind {
    SL_REDIS_NIL,
    SL_REDIS_TEXT, /* status and bulk alike */
    SL_REDIS_INTEGER,
    SL_REDIS_ARRAY,
    SL_REDIS_ERROR, /* `text` says which */
};

struct sl_redis_reply {
    enum sl_redis_kind kind;
    struct sl_str text;
    int64_t integer;
    struct sl_redis_reply *items;
    size_t n;
};

struct sl_redis_parser;

struct sl_redis_parser *sl_redis_parser_new(void);
/* NULL is legal. */
void sl_redis_parser_free(struct sl_redis_parser *p);
void sl_redis_parser_feed(struct sl_redis_parser *p, const void *bytes, size_t len);
/* 1: `*out` is the next reply, valid until the next call; 0: more bytes are needed;
 * SL_E_PROTOCOL; SL_E_LIMIT. */
int sl_redis_parser_next(struct sl_redis_parser *p, const struct sl_redis_reply **out);

#endif
