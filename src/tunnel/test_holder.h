/*
 * A holder of streams for the fuzzers of tunnels, whom the bytes tell what to do: a batch that
 * begins with 'p' makes it stop reading, one with 'e' comes back, half of them with the end.
 */
#ifndef SL_TUNNEL_TEST_HOLDER_H
#define SL_TUNNEL_TEST_HOLDER_H

#include "net/stream.h"

static inline void holder_on_data(struct sl_stream *s, const uint8_t *bytes, size_t len)
{
    if (bytes[0] == 'p')
        sl_stream_read(s, false);
    else if (bytes[0] == 'e' && !s->is_writing && !s->sent_fin)
        (void)sl_stream_write1(s, bytes, len, len % 2 == 0);
}

static inline void holder_ignore(struct sl_stream *s)
{
    (void)s;
}

static inline void holder_on_error(struct sl_stream *s, int code)
{
    sl_assert(code < 0 && s->error == code);
}

static const struct sl_stream_handler holder_handler = {holder_on_data, holder_ignore,
                                                        holder_ignore, holder_on_error, NULL};

#endif
