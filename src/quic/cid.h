/*
 * Connection ids (RFC 9000, section 5.1): how ours look, and the table of an endpoint that finds
 * whom a datagram is for.
 *
 * All ids that we choose have SL_QUIC_CID_LEN bytes: first the worker, so that a datagram finds its
 * socket (quic/steer.h), then random ones, which nobody can guess. The id that a client chose for
 * its first packets is in the table, too.
 */
#ifndef SL_QUIC_CID_H
#define SL_QUIC_CID_H

#include <ngtcp2/ngtcp2.h>
#include "base/list.h"
#include "base/map.h"

enum { SL_QUIC_CID_LEN = 9 };

struct sl_qconn;
struct sl_quic_ghost;

/* An id that leads to a connection, or to what is left of one. Owned by the list of its owner. */
struct sl_quic_cid {
    struct sl_link link;
    struct sl_qconn *conn;       /* NULL when it has ended */
    struct sl_quic_ghost *ghost; /* then this */
    uint8_t len, bytes[NGTCP2_MAX_CIDLEN];
};

/* A new id of ours. 0, or SL_E_SYSTEM without randomness. */
int sl_quic_cid_make(ngtcp2_cid *out, unsigned worker);
/* The worker in an id of ours. */
static inline unsigned sl_quic_cid_worker(const uint8_t *cid)
{
    return cid[0];
}

/* Adds an id for `conn` to the table and to its list. 0, or SL_E_IN_USE when somebody has it. */
int sl_quic_cid_add(struct sl_map *table, struct sl_list *list, const ngtcp2_cid *cid,
                    struct sl_qconn *conn);
void sl_quic_cid_remove(struct sl_map *table, const ngtcp2_cid *cid);
/* Removes all of the list. */
void sl_quic_cid_remove_all(struct sl_map *table, struct sl_list *list);
struct sl_quic_cid *sl_quic_cid_find(const struct sl_map *table, const uint8_t *bytes, size_t len);

#endif
