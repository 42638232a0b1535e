/* Between mux.c, mux_out.c and mux_spare.c only. */
#ifndef SL_HTTP_MUX_INTERNAL_H
#define SL_HTTP_MUX_INTERNAL_H

#include "http/mux.h"

/* mux_out.c: copies all but the first `skip` bytes into `out`; frees `out`. */
void sl_mux_queue(struct sl_mux_stream *s, const struct iovec *iov, int n_iov, size_t skip);
void sl_mux_drop_out(struct sl_mux_stream *s);
/* mux_spare.c: zero, but for an empty arena that may have memory; takes it back. */
struct sl_mux_stream *sl_mux_take(void);
void sl_mux_give(struct sl_mux_stream *s);
/* mux.c: bytes have left `out`. */
void sl_mux_moved(struct sl_mux_stream *s);

#endif
