#include "quic/cid.h"

#include <openssl/rand.h>
#include "base/error.h"

int sl_quic_cid_make(ngtcp2_cid *out, unsigned worker)
{
    out->datalen = SL_QUIC_CID_LEN;
    out->data[0] = (uint8_t)worker;
    return RAND_bytes(out->data + 1, SL_QUIC_CID_LEN - 1) == 1 ? 0 : SL_E_SYSTEM;
}

static struct sl_str key(const uint8_t *bytes, size_t len)
{
    return sl_str((const char *)bytes, len);
}

int sl_quic_cid_add(struct sl_map *table, struct sl_list *list, const ngtcp2_cid *cid,
                    struct sl_qconn *conn)
{
    struct sl_quic_cid *c;

    if (sl_quic_cid_find(table, cid->data, cid->datalen) != NULL)
        return SL_E_IN_USE;
    c = sl_zalloc(sizeof(*c));
    c->conn = conn;
    c->len = (uint8_t)cid->datalen;
    memcpy(c->bytes, cid->data, cid->datalen);
    sl_list_append(list, &c->link);
    *sl_map_at(table, key(c->bytes, c->len)) = c;
    return 0;
}

static void drop(struct sl_map *table, struct sl_quic_cid *c)
{
    sl_map_remove(table, key(c->bytes, c->len));
    sl_link_remove(&c->link);
    sl_free(c);
}

void sl_quic_cid_remove(struct sl_map *table, const ngtcp2_cid *cid)
{
    struct sl_quic_cid *c = sl_quic_cid_find(table, cid->data, cid->datalen);

    if (c != NULL)
        drop(table, c);
}

void sl_quic_cid_remove_all(struct sl_map *table, struct sl_list *list)
{
    sl_list_each(list, it)
    {
        drop(table, sl_container_of(it, struct sl_quic_cid, link));
    }
}

struct sl_quic_cid *sl_quic_cid_find(const struct sl_map *table, const uint8_t *bytes, size_t len)
{
    return sl_map_get(table, key(bytes, len));
}
