/*
 * The side of a takeover that is there: listens on a Unix socket (0600) for another sluice of the
 * same user, or of root, and hands its sockets over to it (handover.h). Which sockets that are and
 * what ends afterwards is the owner's business.
 *
 * One newcomer at a time: others are refused. One that is silent for too long is dropped, and one
 * that goes before it has said DONE leaves everything as it was.
 *
 * Owner: the thread of `loop`. Callbacks may call everything but sl_offer_free().
 */
#ifndef SL_APP_OFFER_H
#define SL_APP_OFFER_H

#include "app/handover.h"
#include "loop/loop.h"

struct sl_offer;

/* ms: for the newcomer's greeting and for each message that it has to take; and from its last
 * socket to DONE, in which it starts. */
enum { SL_OFFER_PATIENCE = 5000, SL_OFFER_START = 120000 };

struct sl_offer_handler {
    /* Sockets are wanted: sl_offer_give(), maybe later. */
    void (*on_wanted)(void *user);
    /* The newcomer is live. What it was given is not to be listened on any more, the socket of the
     * offer is gone; sl_offer_over() when everything else is free, too. */
    void (*on_taken)(void *user);
};

/* `path` is replaced, whoever listens there. 0, or a code of sl_handover_listen(). */
int sl_offer_new(struct sl_offer **out, struct sl_loop *loop, const char *path,
                 const struct sl_offer_handler *handler, void *user, struct sl_err *err);
/* The answer to on_wanted(): takes the descriptors and empties `fds`. NULL: they cannot be had. It
 * is no harm when the newcomer has gone meanwhile. */
void sl_offer_give(struct sl_offer *o, struct sl_fds *fds);
/* After on_taken(). */
void sl_offer_over(struct sl_offer *o);
/* The connection to whoever has taken over, which the caller closes when all else is free; or -1.
 */
int sl_offer_keep(struct sl_offer *o);
const char *sl_offer_path(const struct sl_offer *o);
/* Removes the file, unless somebody else listens there by now. NULL is legal. */
void sl_offer_free(struct sl_offer *o);

#endif
