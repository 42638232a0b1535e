/*
 * The inside of the HTTP/1 server, for its files only: h1_server.c (connection and phases),
 * h1_exchange.c (what the handler calls), h1_request.c (from fields to a valid request),
 * h1_response.c (heads and framing of what goes out).
 */
#ifndef SL_HTTP_H1_H
#define SL_HTTP_H1_H

#include "base/buf.h"
#include "http/exchange.h"
#include "http/h1_fields.h"
#include "http/pace.h"

enum sl_h1_phase {
    SL_H1_IDLE, /* between requests */
    SL_H1_LINE, /* a part of the request line is there */
    SL_H1_HEADERS,
    SL_H1_BODY,
    SL_H1_WAIT,   /* the request was read; the response is being made or written */
    SL_H1_RAW,    /* after 101: bytes both ways */
    SL_H1_CLOSED, /* freed at the end of the turn */
};

/* What the deadline of a connection is for. */
enum sl_h1_timing {
    SL_H1_UNTIMED,
    SL_H1_TIMES_FIRST, /* the first byte of all */
    SL_H1_TIMES_IDLE,  /* the first byte of the next request */
    SL_H1_TIMES_DRAIN, /* the same, when it is the last one */
    SL_H1_TIMES_HEAD,
    SL_H1_TIMES_BODY,
    SL_H1_TIMES_WRITE,
    SL_H1_TIMES_RAW,
    SL_H1_TIMES_RAW_END, /* we have said all */
};

struct sl_h1_conn {
    struct sl_http_conn base;
    struct sl_stream *stream;
    const struct sl_http_service *service;
    const struct sl_peer *peer;
    struct sl_loop *loop;
    enum sl_h1_phase phase;
    struct sl_exchange ex;
    llhttp_t parser;
    struct sl_h1_fields fields;
    struct sl_buf in;   /* bytes that were read but not parsed yet */
    struct sl_buf held; /* of the response, behind an interim one that is still in flight */
    struct sl_deadline deadline;
    enum sl_h1_timing timing;
    struct sl_pace pace;       /* of the request body */
    struct sl_task_link later; /* goes on at the end of the turn */
    uint64_t n_requests;
    uint64_t body_left; /* of the response, when it has a length */
    uint64_t n_discarded;
    struct sl_str staged; /* the response head that goes out with the next write */
    bool has_exchange;    /* the handler knows ex */
    bool body_on;         /* the handler takes body bytes */
    bool keep_alive;
    bool is_draining;
    bool is_chunked, no_body; /* framing of the response */
    bool is_head_request;
    bool is_finishing; /* the response was handed over completely */
    bool got_fin;
    bool is_consuming; /* in consume(): no second one on the stack */
    bool is_raw;       /* 101 was staged */
    bool raw_fin_in, raw_fin_out;
    bool is_interim_in_flight, held_fin;
    bool is_over; /* on_closed() was called */
};

/* h1_server.c: the connection's one way to change its phase, to end, to go on at the end of the
   turn, and to decide what it reads and which deadline runs (after every change). */
void sl_h1_set_phase(struct sl_h1_conn *c, enum sl_h1_phase phase);
void sl_h1_close(struct sl_h1_conn *c, enum sl_close how, int code);
void sl_h1_later(struct sl_h1_conn *c);
void sl_h1_update(struct sl_h1_conn *c);
/* h1_exchange.c */
extern const struct sl_exchange_ops sl_h1_exchange_ops;

/* The state of a parser that has read "POST / HTTP/1.<minor>\r\n" (the method decides nothing about
 * framing in requests). */
void sl_h1_parser_begin(llhttp_t *parser, int minor);
/* Fills ex->req from the request line's parts and the fields; 0 or an HTTP status with *why. */
int sl_h1_request_finish(struct sl_h1_conn *c, const char **why);
/* Reads the request line of `len` bytes; 0 or an HTTP status with *why. */
int sl_h1_request_line(struct sl_h1_conn *c, const uint8_t *line, size_t len, const char **why);

/* Decides framing and connection persistence, and serializes the head into the arena of the
 * exchange. */
void sl_h1_stage_head(struct sl_h1_conn *c, const struct sl_response *res);
/* Serializes an interim response head. */
struct sl_str sl_h1_interim_head(struct sl_arena *a, const struct sl_response *res);
/* Trailers and the end of a chunked body. */
struct sl_str sl_h1_last_chunk(struct sl_arena *a, const struct sl_headers *trailers);
/* Header fields of any head: appends "name: value\r\n" for all but the removed and the hop-by-hop
 * ones. Returns the new end. */
char *sl_h1_put_headers(char *out, const struct sl_headers *h, bool keep_upgrade);
size_t sl_h1_headers_room(const struct sl_headers *h);

#endif
