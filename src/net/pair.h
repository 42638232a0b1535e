/*
 * A pair of streams in memory: what is written to one end is read from the other. For tests, and
 * for handing an exchange to a script.
 *
 * Not a pipe between threads: both ends live on one loop. Nothing is delivered inside a call; each
 * end calls back from the loop.
 *
 * Owner: each end has its own and is freed on its own. An end freed with SL_CLOSE_ABORT resets the
 * other one; with SL_CLOSE_LINGER the other one still reads what was written, then the fin, and
 * what it writes is swallowed.
 *
 *     struct sl_stream *ends[2];
 *     sl_pair_new(ends, loop, 64 * 1024);
 *     sl_stream_write1(ends[0], "ping", 4, false);
 */
#ifndef SL_NET_PAIR_H
#define SL_NET_PAIR_H

#include "net/stream.h"

/* `limit`: bytes that may wait in each direction before its writer is told SL_E_AGAIN. Both ends
 * start paused. */
void sl_pair_new(struct sl_stream *ends[2], struct sl_loop *loop, size_t limit);

#endif
