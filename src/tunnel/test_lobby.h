/*
 * For tests: what a hub does with a link before it knows whose it is: reads the first frame, and
 * says on which terms the link may be attached.
 *
 *     test_lobby_enter(&lobby, stream, on_first, user);
 *     ... on_first() attaches with the terms, or frees the stream ...
 */
#ifndef SL_TUNNEL_TEST_LOBBY_H
#define SL_TUNNEL_TEST_LOBBY_H

#include "base/check.h"
#include "tunnel/tunnel.h"

struct test_lobby {
    struct sl_stream *stream; /* the callee's in on_first() */
    struct sl_buf in;
    uint8_t ticket[SL_RESUME_TICKET]; /* what is offered */
    void (*on_first)(struct test_lobby *l, const struct sl_tunnel_terms *terms,
                     const uint8_t *first, size_t n_first);
    void *user;
};

/* The stream is that of its holder again. */
static inline void test_lobby_leave(struct test_lobby *l)
{
    l->stream = NULL;
    sl_buf_clear(&l->in);
}

static inline void test_lobby_on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    struct test_lobby *l = s->user;
    struct sl_tunnel_terms terms = {0};
    struct sl_buf in;
    struct sl_resume peer;
    size_t n = 0;
    int rc;

    sl_buf_append(&l->in, bytes, len);
    rc = sl_resume_first(sl_buf_at(&l->in), sl_buf_len(&l->in), &peer, &n);
    if (rc == 0)
        return;
    sl_check(rc == 1 || rc == SL_E_REFUSED);
    terms.is_sluice = rc == 1;
    terms.peer = rc == 1 ? &peer : NULL;
    memcpy(terms.ticket, l->ticket, sizeof(terms.ticket));
    sl_stream_read(s, false);
    in = l->in;
    l->in = (struct sl_buf){0};
    l->on_first(l, &terms, sl_buf_at(&in) + n, sl_buf_len(&in) - n);
    sl_buf_clear(&in);
}

static inline void test_lobby_ignore(struct sl_stream *s)
{
    (void)s;
}

static inline void test_lobby_on_error(struct sl_stream *s, int code)
{
    (void)s;
    (void)code;
}

static const struct sl_stream_handler test_lobby_handler = {
    .on_data = test_lobby_on_data,
    .on_fin = test_lobby_ignore,
    .on_written = test_lobby_ignore,
    .on_error = test_lobby_on_error,
};

static inline void test_lobby_enter(struct test_lobby *l, struct sl_stream *s,
                                    void (*on_first)(struct test_lobby *l,
                                                     const struct sl_tunnel_terms *terms,
                                                     const uint8_t *first, size_t n_first),
                                    void *user)
{
    l->stream = s;
    l->on_first = on_first;
    l->user = user;
    sl_stream_set_handler(s, &test_lobby_handler, l);
    sl_stream_read(s, true);
}

#endif
