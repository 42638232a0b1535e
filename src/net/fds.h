/*
 * A list of descriptors that it owns: whoever takes one out says so by writing -1 in its place.
 * Embedded in its owner; all zero is an empty one.
 */
#ifndef SL_NET_FDS_H
#define SL_NET_FDS_H

#include "base/mem.h"

struct sl_fds {
    int *at;
    size_t n, cap;
};

/* Takes the descriptor. */
void sl_fds_add(struct sl_fds *fds, int fd);
/* Adds another descriptor of what `fd` is, close-on-exec. 0, or SL_E_LIMIT: none is left. */
int sl_fds_add_copy(struct sl_fds *fds, int fd);
/* Closes what is left and frees the memory: empty again. */
void sl_fds_clear(struct sl_fds *fds);

#endif
