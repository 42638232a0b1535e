/*
 * The one list of checks that every kind of stream must pass: order, backpressure, half-close,
 * abort, pausing, and freeing in every callback. For tests alone; it makes no streams itself.
 *
 * `make` is called once for each check and gives two ends that are joined and ready; both start
 * paused. It may run the loop with sl_loop_turn(). The checks free both ends.
 *
 *     sl_check(sl_stream_conformance(loop, "tcp", make_ends, NULL) == 0);
 */
#ifndef SL_NET_STREAM_CONFORMANCE_H
#define SL_NET_STREAM_CONFORMANCE_H

#include "net/stream.h"

typedef void sl_make_ends(struct sl_stream *ends[2], struct sl_loop *loop, void *user);

/* The number of checks that failed; each was reported on stderr with the name of the kind. */
int sl_stream_conformance(struct sl_loop *loop, const char *kind, sl_make_ends *make, void *user);

#endif
