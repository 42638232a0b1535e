/*
 * A bound and listening TCP or Unix socket that hands out accepted descriptors.
 *
 * Binding (sl_socket_*) and accepting (sl_listener_*) are apart: the control thread binds, so that
 * a port that cannot be had fails once and with a clear error, and each worker accepts on its own
 * SO_REUSEPORT socket.
 */
#ifndef SL_NET_LISTENER_H
#define SL_NET_LISTENER_H

#include "loop/loop.h"
#include "net/addr.h"

/* Binds and listens, non-blocking, close-on-exec. `at` gets the real port when it was 0. 0, or
   SL_E_IN_USE, SL_E_DENIED, … with a sentence in `err`. */
int sl_socket_listen(int *out, struct sl_addr *at, bool reuseport, struct sl_err *err);
int sl_socket_listen_unix(int *out, const char *path, int mode, struct sl_err *err);

struct sl_listener;

/* Called once per accepted connection; owns `fd` (non-blocking). Must not free the listener. */
typedef void sl_on_accept(void *user, int fd, const struct sl_addr *remote);

/* Owns `fd` from now on. When descriptors run out it pauses for 100 ms instead of spinning, and
 * logs once. */
struct sl_listener *sl_listener_new(struct sl_loop *loop, int fd, sl_on_accept *on_accept,
                                    void *user);
void sl_listener_free(struct sl_listener *l);
/* Its own. */
int sl_listener_fd(const struct sl_listener *l);
/* For a cap on connections: stops accepting and begins again. */
void sl_listener_pause(struct sl_listener *l, bool paused);

#endif
