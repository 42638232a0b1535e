/* Between mux.c and mux_out.c only. */
#ifndef SL_HTTP_MUX_INTERNAL_H
#define SL_HTTP_MUX_INTERNAL_H

#include "http/mux.h"

/* mux_out.c: copies all but the first `skip` bytes into `out`; frees `out`. */
void sl_mux_queue(struct sl_mux_stream *s, const struct iovec *iov, int n_iov, size_t skip);
void sl_mux_drop_out(struct sl_mux_stream *s);
/* mux.c: bytes have left `out`. */
void sl_mux_moved(struct sl_mux_stream *s);

#endif
