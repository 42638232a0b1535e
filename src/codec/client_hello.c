#include "codec/client_hello.h"

/*
 * Two machines, one in the other. The outer one takes the record heads out; what is left is the
 * handshake message, which the inner one reads as a row of small fields. Each state collects `want`
 * bytes into `field`, and its handler says how many to skip and which state is next.
 */

enum state {
    MESSAGE_HEAD, /* type and length */
    SESSION_ID,   /* version, random, length of the session id */
    CIPHERS,      /* length of the cipher suites */
    COMPRESSION,  /* length of the compression methods */
    BODY_END,     /* extensions may follow, or nothing */
    EXTENSIONS,   /* length of all extensions */
    EXTENSION_HEAD,
    EXTENSION_BODY,
    EXTENSION_END, /* another extension follows, or nothing */
    DONE,
};

enum {
    RECORD_HANDSHAKE = 22,
    RECORD_MAX = 16384,
    MESSAGE_CLIENT_HELLO = 1,
    SESSION_ID_MAX = 32,
    TLS_1_3 = 0x0304,
    NAME_TYPE_HOST = 0,
};

static uint16_t load16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

/* --- the extensions that are looked into --- */

static bool is_name_char(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

static int store_name(struct sl_client_hello *h, const uint8_t *name, size_t len)
{
    if (len > 0 && name[len - 1] == '.')
        len--;
    if (len == 0 || len > sizeof(h->name))
        return SL_E_PROTOCOL;
    for (size_t i = 0; i < len; i++) {
        h->name[i] = (char)sl_lower(name[i]);
        if (!is_name_char((unsigned char)h->name[i]))
            return SL_E_PROTOCOL;
    }
    h->name_len = (uint16_t)len;
    return 0;
}

/* A list of names, each with its type. Only host names were ever defined, and one of each type is
   allowed: so the list is one entry. Whoever sends two hopes that we and the target read different
   ones. */
static int on_server_name(struct sl_client_hello *h, const uint8_t *p, size_t len)
{
    if (len < 5 || load16(p) != len - 2 || p[2] != NAME_TYPE_HOST || load16(p + 3) != len - 5)
        return SL_E_PROTOCOL;
    return store_name(h, p + 5, len - 5);
}

static int on_alpn(struct sl_client_hello *h, const uint8_t *p, size_t len)
{
    if (len < 4 || load16(p) != len - 2)
        return SL_E_PROTOCOL;
    h->alpn_len = (uint16_t)(len - 2);
    memcpy(h->alpn, p + 2, h->alpn_len);
    for (size_t i = 0; i < h->alpn_len; i += 1u + h->alpn[i]) {
        if (h->alpn[i] == 0 || h->alpn[i] >= h->alpn_len - i)
            return SL_E_PROTOCOL;
    }
    return 0;
}

static int on_versions(struct sl_client_hello *h, const uint8_t *p, size_t len)
{
    if (len < 3 || p[0] != len - 1 || p[0] % 2 != 0)
        return SL_E_PROTOCOL;
    for (size_t i = 1; i < len; i += 2) {
        if (load16(p + i) == TLS_1_3)
            h->offers_tls13 = true;
    }
    return 0;
}

static const struct extension {
    uint16_t type;
    int (*read)(struct sl_client_hello *h, const uint8_t *p, size_t len);
} extensions[] = {
    {0, on_server_name},
    {16, on_alpn},
    {43, on_versions},
};

/* --- the message --- */

/* Skips `skip` bytes and then collects what `next` wants, if the message is that long. */
static int go(struct sl_client_hello *h, enum state next, uint32_t skip, uint16_t want)
{
    if (skip + want > h->message_left)
        return SL_E_PROTOCOL;
    h->state = (uint8_t)next;
    h->skip = skip;
    h->want = want;
    return 0;
}

static int on_message_head(struct sl_client_hello *h)
{
    uint32_t len = (uint32_t)h->field[1] << 16 | load16(h->field + 2);

    if (h->field[0] != MESSAGE_CLIENT_HELLO)
        return SL_E_PROTOCOL;
    if (len > SL_CLIENT_HELLO_MAX)
        return SL_E_LIMIT;
    h->message_left = len;
    return go(h, SESSION_ID, 0, 35);
}

static int on_session_id(struct sl_client_hello *h)
{
    uint8_t len = h->field[34];

    return h->field[0] == 3 && len <= SESSION_ID_MAX ? go(h, CIPHERS, len, 2) : SL_E_PROTOCOL;
}

static int on_ciphers(struct sl_client_hello *h)
{
    uint16_t len = load16(h->field);

    return len >= 2 && len % 2 == 0 ? go(h, COMPRESSION, len, 1) : SL_E_PROTOCOL;
}

static int on_compression(struct sl_client_hello *h)
{
    uint8_t len = h->field[0];

    return len >= 1 ? go(h, BODY_END, len, 0) : SL_E_PROTOCOL;
}

static int on_body_end(struct sl_client_hello *h)
{
    return h->message_left == 0 ? go(h, DONE, 0, 0) : go(h, EXTENSIONS, 0, 2);
}

/* The extensions fill the rest of the message, so that its end is also theirs. */
static int on_extensions(struct sl_client_hello *h)
{
    return load16(h->field) == h->message_left ? go(h, EXTENSION_END, 0, 0) : SL_E_PROTOCOL;
}

static int on_extension_end(struct sl_client_hello *h)
{
    return h->message_left == 0 ? go(h, DONE, 0, 0) : go(h, EXTENSION_HEAD, 0, 4);
}

static int on_extension_head(struct sl_client_hello *h)
{
    uint16_t type = load16(h->field), len = load16(h->field + 2);

    for (size_t i = 0; i < SL_COUNT(extensions); i++) {
        if (extensions[i].type != type)
            continue;
        if (h->seen & 1u << i)
            return SL_E_PROTOCOL;
        if (len > sizeof(h->field))
            return SL_E_LIMIT;
        h->seen |= (uint8_t)(1u << i);
        h->extension = (uint16_t)i;
        return go(h, EXTENSION_BODY, 0, len);
    }
    return go(h, EXTENSION_END, len, 0);
}

static int on_extension_body(struct sl_client_hello *h)
{
    int rc = extensions[h->extension].read(h, h->field, h->want);

    return rc < 0 ? rc : go(h, EXTENSION_END, 0, 0);
}

static int (*const handlers[DONE])(struct sl_client_hello *h) = {
    [MESSAGE_HEAD] = on_message_head,
    [SESSION_ID] = on_session_id,
    [CIPHERS] = on_ciphers,
    [COMPRESSION] = on_compression,
    [BODY_END] = on_body_end,
    [EXTENSIONS] = on_extensions,
    [EXTENSION_HEAD] = on_extension_head,
    [EXTENSION_BODY] = on_extension_body,
    [EXTENSION_END] = on_extension_end,
};

/* Runs handlers until one needs bytes that are not there. */
static int advance(struct sl_client_hello *h)
{
    int rc = 0;

    while (rc == 0 && h->state != DONE && h->skip == 0 && h->n_field == h->want) {
        h->n_field = 0;
        rc = handlers[h->state](h);
    }
    return rc;
}

/* Takes a run of message bytes, as many as the current field or gap has room for. */
static int take_message(struct sl_client_hello *h, const uint8_t *bytes, size_t len, size_t *used)
{
    size_t room = h->skip > 0 ? h->skip : (size_t)(h->want - h->n_field);
    size_t n = SL_MIN(len, room);

    if (h->skip > 0) {
        h->skip -= (uint32_t)n;
    } else {
        memcpy(h->field + h->n_field, bytes, n);
        h->n_field += (uint16_t)n;
    }
    if (h->state != MESSAGE_HEAD)
        h->message_left -= (uint32_t)n;
    h->record_left -= (uint16_t)n;
    *used = n;
    return advance(h);
}

/* --- the records --- */

static int take_record_head(struct sl_client_hello *h, uint8_t byte)
{
    uint8_t *head = h->record_head;

    head[h->n_record_head++] = byte;
    if (head[0] != RECORD_HANDSHAKE || (h->n_record_head >= 2 && head[1] != 3))
        return SL_E_PROTOCOL;
    if (h->n_record_head < sizeof(h->record_head))
        return 0;
    h->n_record_head = 0;
    h->record_left = load16(head + 3);
    return h->record_left >= 1 && h->record_left <= RECORD_MAX ? 0 : SL_E_PROTOCOL;
}

static int take(struct sl_client_hello *h, const uint8_t *bytes, size_t len, size_t *used)
{
    if (h->record_left > 0)
        return take_message(h, bytes, SL_MIN(len, (size_t)h->record_left), used);
    *used = 1;
    return take_record_head(h, bytes[0]);
}

int sl_client_hello_feed(struct sl_client_hello *h, const uint8_t *bytes, size_t len)
{
    size_t used;

    if (h->state == MESSAGE_HEAD)
        h->want = 4; /* here, so that a zeroed struct is ready for use */
    while (h->failure == 0 && h->state != DONE && len > 0) {
        if (h->n_raw >= SL_CLIENT_HELLO_MAX) {
            h->failure = SL_E_LIMIT;
            break;
        }
        h->failure = take(h, bytes, SL_MIN(len, (size_t)(SL_CLIENT_HELLO_MAX - h->n_raw)), &used);
        h->n_raw += (uint32_t)used;
        bytes += used;
        len -= used;
    }
    if (h->failure < 0)
        return h->failure;
    return h->state == DONE ? 0 : SL_E_PARTIAL;
}
