/*
 * What two sluices say to each other when one takes over from the other (offer.h, take.h): messages
 * of a SOCK_SEQPACKET Unix socket. Of each the first byte says what it is.
 *
 *     newcomer                  the one that is there
 *     HELLO, version        ->
 *                           <-  SOCKETS, with up to SL_HANDOVER_FDS descriptors; as often as needed
 *                           <-  END
 *     DONE                  ->
 *                           <-  OVER: everything else that it had is free
 *
 * Instead of what is said here for it, the one that is there may say REFUSED and why. Whoever
 * closes the connection before DONE leaves everything as it was. After it the one that is there
 * keeps the connection until its process has ended.
 */
#ifndef SL_APP_HANDOVER_H
#define SL_APP_HANDOVER_H

#include <sys/types.h>
#include "base/error.h"
#include "base/str.h"
#include "net/fds.h"

enum sl_handover_kind {
    SL_HANDOVER_HELLO = 'h',
    SL_HANDOVER_SOCKETS = 's',
    SL_HANDOVER_END = 'e',
    SL_HANDOVER_DONE = 'd',
    SL_HANDOVER_OVER = 'o',
    SL_HANDOVER_REFUSED = 'r',
};

enum { SL_HANDOVER_VERSION = 1, SL_HANDOVER_FDS = 64, SL_HANDOVER_MAX = 256 };

/* A message that has come. */
struct sl_handover {
    char kind; /* one of sl_handover_kind, if the other side keeps to them */
    char body[SL_HANDOVER_MAX];
    size_t body_len;
};

/* The user and the process at the other end. */
struct sl_handover_peer {
    uid_t uid;
    pid_t pid;
};

/* Connects to, or listens in the place of, `path`. 0 with a non-blocking descriptor; else a
   sentence, and SL_E_CONFIG: no such path can be; connect: SL_E_NOT_FOUND: nobody listens there;
   listen: what is wrong with the path. What is at `path` is replaced in one step, so that there is
   no moment without a socket. */
int sl_handover_connect(int *fd, const char *path, struct sl_err *err);
int sl_handover_listen(int *fd, const char *path, struct sl_err *err);

/* Is the other end a process of ours or of root's? 0, or SL_E_DENIED. */
int sl_handover_check_peer(int fd, struct sl_handover_peer *peer);

/* 0, SL_E_AGAIN, or another code: the other one has gone, or the system refuses. */
int sl_handover_send(int fd, enum sl_handover_kind kind, struct sl_str body);
int sl_handover_send_fds(int fd, const int *fds, size_t n);
/* The next message; its descriptors go into `fds`, NULL: such are not taken. 0; SL_E_AGAIN;
   SL_E_CLOSED; SL_E_LIMIT: no descriptor is left for them; SL_E_PROTOCOL: it is too long. */
int sl_handover_receive(int fd, struct sl_handover *out, struct sl_fds *fds);

#endif
