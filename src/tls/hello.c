#include "tls/hello.h"

#include "tls/record.h"

enum { HOST_NAME = 0 };

/* Cuts `n` bytes off the front; false when there are fewer. */
static bool cut(struct sl_str *from, size_t n, struct sl_str *out)
{
    if (from->len < n)
        return false;
    *out = sl_str(from->p, n);
    from->p += n;
    from->len -= n;
    return true;
}

/* Cuts a vector off the front: its length in `n_head` bytes (1 or 2), then its bytes. */
static bool cut_vector(struct sl_str *from, size_t n_head, struct sl_str *out)
{
    struct sl_str head;
    size_t len = 0;

    if (!cut(from, n_head, &head))
        return false;
    for (size_t i = 0; i < n_head; i++)
        len = len << 8 | (uint8_t)head.p[i];
    return cut(from, len, out);
}

/* The letters of host names as they occur, '_' included; the look at passed-through connections
 * (codec/client_hello.h) takes the same. */
static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

static int normalize(struct sl_str name, char *out, size_t *len)
{
    if (name.len > 0 && name.p[name.len - 1] == '.')
        name.len--;
    if (name.len == 0 || name.len > SL_HELLO_NAME_MAX)
        return SL_ALERT_ILLEGAL_PARAMETER;
    for (size_t i = 0; i < name.len; i++) {
        out[i] = (char)sl_lower((unsigned char)name.p[i]);
        if (!is_name_char(out[i]))
            return SL_ALERT_ILLEGAL_PARAMETER;
    }
    out[name.len] = '\0';
    *len = name.len;
    return 0;
}

int sl_hello_name(struct sl_str ext, char out[SL_HELLO_NAME_MAX + 1], size_t *len)
{
    struct sl_str list, type, name, host = SL_STR_NONE;

    if (!cut_vector(&ext, 2, &list) || ext.len != 0 || list.len == 0)
        return SL_ALERT_DECODE_ERROR;
    while (list.len > 0) {
        if (!cut(&list, 1, &type) || !cut_vector(&list, 2, &name))
            return SL_ALERT_DECODE_ERROR;
        if (type.p[0] != HOST_NAME)
            continue;
        if (host.p != NULL)
            return SL_ALERT_ILLEGAL_PARAMETER;
        host = name;
    }
    if (host.p == NULL)
        return SL_ALERT_ILLEGAL_PARAMETER;
    return normalize(host, out, len);
}

struct sl_str sl_hello_alpn(struct sl_str ext)
{
    struct sl_str list, rest, protocol;

    if (!cut_vector(&ext, 2, &list) || ext.len != 0)
        return SL_STR_NONE;
    for (rest = list; rest.len > 0;)
        if (!cut_vector(&rest, 1, &protocol) || protocol.len == 0)
            return SL_STR_NONE;
    return list;
}

bool sl_hello_offers(struct sl_str ext, unsigned version)
{
    struct sl_str list;

    if (!cut_vector(&ext, 1, &list))
        return false;
    for (size_t i = 0; i + 1 < list.len; i += 2)
        if (((unsigned)(uint8_t)list.p[i] << 8 | (uint8_t)list.p[i + 1]) == version)
            return true;
    return false;
}
