/*
 * Datagrams for any number of sockets, collected over a turn of the loop and sent at its end: those
 * that follow each other to one socket in one system call, and those to one address that are
 * equally long as one message with GSO.
 *
 * Nothing waits for longer than that: what a full socket does not take is dropped and counted.
 *
 * Owner: whoever made it, on the loop's thread.
 */
#ifndef SL_NET_UDP_BATCH_H
#define SL_NET_UDP_BATCH_H

#include "net/udp.h"

struct sl_udp_batch;

struct sl_udp_batch *sl_udp_batch_new(struct sl_loop *loop);
/* Sends what is left. NULL is legal. */
void sl_udp_batch_free(struct sl_udp_batch *b);
/* Copied; more datagrams than one message can have are legal. The socket must live until the end of
 * the turn, or until sl_udp_batch_flush(). */
void sl_udp_batch_add(struct sl_udp_batch *b, struct sl_udp *u, const struct sl_udp_send *msg);
void sl_udp_batch_flush(struct sl_udp_batch *b);
/* Datagrams that did not fit into their sockets. */
uint64_t sl_udp_batch_dropped(const struct sl_udp_batch *b);

#endif
