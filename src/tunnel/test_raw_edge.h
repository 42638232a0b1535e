/*
 * For tests of hubs: an edge that is written by hand, on a stream in memory in the place of TLS.
 *
 *     raw_begin(&r);
 *     raw_say(&r, "EDGE e0 secret-e0\n");
 *     sl_check(raw_has(&r, "{\"listenPorts\""));
 *     raw_end(&r);
 */
#ifndef SL_TUNNEL_TEST_RAW_EDGE_H
#define SL_TUNNEL_TEST_RAW_EDGE_H

#include "net/pair.h"
#include "tunnel/hub_internal.h"
#include "tunnel/test_ends.h"

struct raw {
    struct sl_stream *stream;
    struct sl_buf in;
    bool got_fin;
    int code;
    uint8_t ticket[SL_RESUME_TICKET]; /* that the hub offered */
};

static void raw_on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    sl_buf_append(&((struct raw *)s->user)->in, bytes, len);
}

static void raw_on_fin(struct sl_stream *s)
{
    ((struct raw *)s->user)->got_fin = true;
}

static void raw_on_error(struct sl_stream *s, int code)
{
    ((struct raw *)s->user)->code = code;
}

static const struct sl_stream_handler raw_handler = {raw_on_data, raw_on_fin, on_written,
                                                     raw_on_error, NULL};

static inline void settle(void)
{
    while (sl_loop_turn(loop, false))
        ;
}

static inline void raw_begin_at(struct raw *r, const char *ip)
{
    struct sl_stream *ends[2];
    struct sl_addr at;

    *r = (struct raw){0};
    sl_assert(sl_addr_parse(&at, sl_str_c(ip), 50000) == 0);
    sl_pair_new(ends, loop, 16 << 20);
    sl_hub_conn_accept_ready(hub, &ends[0], &at);
    r->stream = ends[1];
    sl_stream_set_handler(r->stream, &raw_handler, r);
    sl_stream_read(r->stream, true);
    settle();
}

static inline void raw_begin(struct raw *r)
{
    raw_begin_at(r, "192.0.2.7");
}

static inline void raw_end(struct raw *r)
{
    sl_stream_free(&r->stream, SL_CLOSE_ABORT);
    sl_buf_clear(&r->in);
    settle();
}

static inline void raw_say_n(struct raw *r, const void *bytes, size_t len)
{
    (void)sl_stream_write1(r->stream, bytes, len, false);
    settle();
}

static inline void raw_say(struct raw *r, const char *text)
{
    raw_say_n(r, text, strlen(text));
}

static inline void raw_frame(struct raw *r, uint32_t id, unsigned type, const void *payload,
                             size_t len)
{
    struct sl_buf frame = {0};
    uint8_t head[SL_FRAME_HEAD];

    sl_frame_head(head, id, (enum sl_frame_type)type, (uint32_t)len);
    sl_buf_append(&frame, head, sizeof(head));
    sl_buf_append(&frame, payload, len);
    raw_say_n(r, sl_buf_at(&frame), sl_buf_len(&frame));
    sl_buf_clear(&frame);
}

static inline bool raw_has(const struct raw *r, const char *text)
{
    return sl_buf_len(&r->in) > 0 &&
           memmem(sl_buf_at(&r->in), sl_buf_len(&r->in), text, strlen(text)) != NULL;
}

/* Has a frame of this type come? What came is looked at from its begin, which must be that of a
 * frame. */
static inline bool raw_got(const struct raw *r, unsigned type, uint32_t id)
{
    struct sl_frame_reader reader = {0};
    const uint8_t *at = sl_buf_at(&r->in);
    size_t len = sl_buf_len(&r->in);
    struct sl_frame f;
    bool is_there = false;

    while (!is_there && sl_frame_next(&reader, &at, &len, &f) > 0)
        is_there = f.type == type && f.stream == id;
    sl_frame_reader_clear(&reader);
    return is_there;
}

/* Greets, and takes the answer with the PING behind it. */
static inline void raw_greet(struct raw *r, const struct test_edge *as)
{
    char line[128];
    struct sl_edge_terms terms;
    const uint8_t *end;
    int n = snprintf(line, sizeof(line), "EDGE %s %s\n", as->id, as->secret);

    sl_assert(n > 0 && (size_t)n < sizeof(line));
    raw_say(r, line);
    terms = terms_of(sl_buf_str(&r->in));
    sl_check(terms.is_sluice);
    memcpy(r->ticket, terms.ticket, sizeof(r->ticket));
    end = sl_buf_len(&r->in) > 0 ? memchr(sl_buf_at(&r->in), '\n', sl_buf_len(&r->in)) : NULL;
    sl_assert(end != NULL);
    sl_buf_consume(&r->in, (size_t)(end + 1 - sl_buf_at(&r->in)));
    sl_check(raw_got(r, SL_FRAME_PING, 0));
    sl_buf_reset(&r->in);
}

/* The first frame of a sluice: so many streams, from 1 on, of which nothing has arrived. */
static inline void raw_resume_with(struct raw *r, const uint8_t ticket[SL_RESUME_TICKET],
                                   uint32_t attempt, uint32_t n_streams)
{
    struct sl_resume head = {.attempt = attempt};
    struct sl_buf payload = {0};

    memcpy(head.ticket, ticket, sizeof(head.ticket));
    sl_resume_begin(&payload, &head);
    for (uint32_t id = 1; id <= n_streams; id++)
        sl_resume_add(&payload, &(struct sl_resume_entry){.id = id, .granted = 1 << 20});
    raw_frame(r, 0, SL_FRAME_RESUME, sl_buf_at(&payload), sl_buf_len(&payload));
    sl_buf_clear(&payload);
}

static inline void raw_resume(struct raw *r, const uint8_t ticket[SL_RESUME_TICKET],
                              uint32_t attempt)
{
    raw_resume_with(r, ticket, attempt, 0);
}

/* An edge of the original that is up. */
static inline void raw_original(struct raw *r, const struct test_edge *as)
{
    raw_begin(r);
    raw_greet(r, as);
    raw_frame(r, 0, SL_FRAME_PONG, NULL, 0);
}

/* A sluice that is up. */
static inline void raw_sluice(struct raw *r, const struct test_edge *as)
{
    raw_begin(r);
    raw_greet(r, as);
    raw_resume(r, r->ticket, 1);
    sl_check(raw_got(r, SL_FRAME_RESUME, 0));
    sl_buf_reset(&r->in);
}

static const char opening[] = "PROXY TCP4 192.0.2.1 198.51.100.2 5555 443\r\n";

static inline void raw_open(struct raw *r, uint32_t id)
{
    raw_frame(r, id, SL_FRAME_OPEN, opening, sizeof(opening) - 1);
}

static inline bool raw_is_over(const struct raw *r)
{
    return r->got_fin || r->code != 0;
}

#endif
