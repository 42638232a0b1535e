/*
 * One sluice takes over from another that runs, without a moment in which nobody listens: the
 * sockets of the TCP ports go from process to process (offer.h, take.h), and both accept on them
 * until the newcomer is live. The one that was there then ends as after a signal, but leaves
 * clients the time to learn of it: a request on an idle connection is answered still, with
 * "Connection: close". Who waits in the queue of a socket when its first owner lets go of it is
 * accepted by the second, since the queue is the socket's.
 *
 * UDP sockets stay: QUIC connections need the process that has their keys. The newcomer opens its
 * own when the other process has ended. Tunnels, WebSockets and other long connections stay as
 * well, until drain_timeout.
 *
 * Owner: the control thread. Scripts come and go; an offer and what was taken stay.
 */
#ifndef SL_APP_TAKEOVER_H
#define SL_APP_TAKEOVER_H

#include "app/runtime.h"
#include "script/takeover.h"

struct sl_takeover;

struct sl_takeover *sl_takeover_new(struct sl_runtime *rt);
/* NULL in a check, where there is nothing to take over. */
const struct sl_script_takeover *sl_takeover_services(const struct sl_takeover *t);
/* The script's stop() has ended, and the workers have been told to drain. */
void sl_takeover_stopped(struct sl_takeover *t);
/* The workers have ended. */
void sl_takeover_stop(struct sl_takeover *t);
/* All that the program had is free. NULL is legal. */
void sl_takeover_free(struct sl_takeover *t);

#endif
