/*
 * Collects HTTP/1 header fields from llhttp's callbacks into an arena, within limits. Shared by the
 * server (requests) and the client (responses): parser->data of both points to this struct, which
 * they embed.
 */
#ifndef SL_HTTP_H1_FIELDS_H
#define SL_HTTP_H1_FIELDS_H

#include <llhttp.h>
#include <sys/types.h>
#include "http/message.h"

struct sl_h1_fields {
    struct sl_headers *into; /* headers, later trailers */
    struct sl_arena *arena;
    struct sl_str name, value; /* of the field being read */
    size_t name_cap, value_cap;
    uint32_t n_bytes, n_fields, n_chunk_ext;
    uint32_t max_bytes, max_fields, max_chunk_ext;
    bool in_trailers;
    /* body bytes of the batch being parsed */
    const uint8_t *body;
    size_t body_len;
    uint8_t *gather; /* scratch for a body that comes in several pieces */
    bool head_done, message_done;
    int refuse; /* HTTP status to refuse with, set by a callback that failed; 0: none */
    const char *why;
};

/* Callbacks for all but on_headers_complete, which differs. */
void sl_h1_fields_settings(llhttp_settings_t *settings);
/* Begins a head: fields go to `into`. Limits stay. */
void sl_h1_fields_begin(struct sl_h1_fields *f, struct sl_headers *into, struct sl_arena *arena);
/* The head is done: from now on fields are trailers and go to `into`. Those that may not be
 * trailers (RFC 9110, 6.5.1) are dropped. */
void sl_h1_fields_trailers(struct sl_h1_fields *f, llhttp_t *parser, struct sl_headers *into);
/* Parses a batch. The count of bytes used, or a negative code: SL_E_LIMIT or SL_E_PROTOCOL with
   f->refuse and f->why set. Stops early (fewer bytes used) when the head or the message is
   complete. f->body holds the body bytes of this batch. */
ssize_t sl_h1_fields_execute(struct sl_h1_fields *f, llhttp_t *parser, const uint8_t *bytes,
                             size_t len);

#endif
