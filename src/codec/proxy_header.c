#include "codec/proxy_header.h"

#include <arpa/inet.h>
#include <stdio.h>
#include "base/str.h"

/* --- what both versions share --- */

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool is_v4(const uint8_t ip[16])
{
    return memcmp(ip, mapped, sizeof(mapped)) == 0;
}

static void set_v4(uint8_t ip[16], const uint8_t bytes[4])
{
    memcpy(ip, mapped, sizeof(mapped));
    memcpy(ip + sizeof(mapped), bytes, 4);
}

static int refuse(const char **why, const char *reason)
{
    *why = reason;
    return SL_E_PROTOCOL;
}

/* --- version 1: one line of text --- */

static const struct sl_str v1_start = {"PROXY ", 6};

/* Cuts the text up to the next space, or to the end. Two spaces in a row give an empty word, which
 * nothing accepts. */
static struct sl_str take_word(struct sl_str *line)
{
    const char *space = line->len > 0 ? memchr(line->p, ' ', line->len) : NULL;
    size_t len = space != NULL ? (size_t)(space - line->p) : line->len;
    struct sl_str word = sl_str(line->p, len);
    size_t used = space != NULL ? len + 1 : len;

    *line = sl_str(line->p + used, line->len - used);
    return word;
}

static bool parse_ip(struct sl_str word, int family, uint8_t ip[16])
{
    char text[INET6_ADDRSTRLEN];
    uint8_t v4[4];

    if (word.len >= sizeof(text) || memchr(word.p, '\0', word.len) != NULL)
        return false;
    memcpy(text, word.p, word.len);
    text[word.len] = '\0';
    if (family == AF_INET6)
        return inet_pton(AF_INET6, text, ip) == 1;
    if (inet_pton(AF_INET, text, v4) != 1)
        return false;
    set_v4(ip, v4);
    return true;
}

static bool parse_port(struct sl_str word, uint16_t *port)
{
    uint64_t value;

    if (sl_str_to_u64(word, UINT16_MAX, &value) < 0 || (word.len > 1 && word.p[0] == '0'))
        return false;
    *port = (uint16_t)value;
    return true;
}

/* The line behind "PROXY ", without its end. */
static int parse_v1_line(struct sl_str line, struct sl_proxy_header *out, const char **why)
{
    struct sl_str protocol = take_word(&line);
    int family = sl_str_eq(protocol, SL_STR("TCP6")) ? AF_INET6 : AF_INET;
    bool ends_early = line.len == 0 || line.p[line.len - 1] == ' ';

    if (sl_str_eq(protocol, SL_STR("UNKNOWN")))
        return 0;
    if (family == AF_INET && !sl_str_eq(protocol, SL_STR("TCP4")))
        return refuse(why, "version 1: neither TCP4, TCP6 nor UNKNOWN");
    if (!parse_ip(take_word(&line), family, out->from) ||
        !parse_ip(take_word(&line), family, out->to))
        return refuse(why, "version 1: not an address of the family that was named");
    if (!parse_port(take_word(&line), &out->from_port) ||
        !parse_port(take_word(&line), &out->to_port))
        return refuse(why, "version 1: not a port");
    if (line.len > 0 || ends_early)
        return refuse(why, "version 1: something follows the ports");
    out->has_addresses = true;
    return 0;
}

static int parse_v1(const uint8_t *bytes, size_t len, struct sl_proxy_header *out, const char **why)
{
    size_t most = SL_MIN(len, (size_t)SL_PROXY_V1_MAX);
    const uint8_t *cr = memchr(bytes, '\r', most);
    const uint8_t *lf = memchr(bytes, '\n', most);
    size_t line_len;
    int rc;

    out->version = 1;
    if (lf != NULL && (cr == NULL || lf < cr))
        return refuse(why, "version 1: a line feed without a carriage return");
    if (cr == NULL || cr + 1 == bytes + most)
        return len < SL_PROXY_V1_MAX ? SL_E_PARTIAL
                                     : refuse(why, "version 1: the line is longer than 107 bytes");
    if (cr[1] != '\n')
        return refuse(why, "version 1: a carriage return without a line feed");
    line_len = (size_t)(cr - bytes);
    rc = parse_v1_line(sl_str((const char *)bytes + v1_start.len, line_len - v1_start.len), out,
                       why);
    return rc < 0 ? rc : (int)line_len + 2;
}

/* --- version 2: binary --- */

static const struct sl_str v2_start = {"\r\n\r\n\0\r\nQUIT\n", 12};

enum { V2_HEAD = 16, V2_LOCAL = 0x20, V2_PROXY = 0x21 };

/* Byte 13 of the header names family and transport. Any other value is refused. */
static const struct v2_form {
    uint8_t byte;
    uint8_t ip_len; /* 0: no IP addresses */
    bool is_datagram;
    uint8_t block_len; /* of both addresses and ports */
} v2_forms[] = {
    {0x00, 0, false, 0},  {0x11, 4, false, 12},  {0x12, 4, true, 12},  {0x21, 16, false, 36},
    {0x22, 16, true, 36}, {0x31, 0, false, 216}, {0x32, 0, true, 216},
};

static const struct v2_form *find_form(uint8_t byte)
{
    for (size_t i = 0; i < SL_COUNT(v2_forms); i++) {
        if (v2_forms[i].byte == byte)
            return &v2_forms[i];
    }
    return NULL;
}

static uint16_t load16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

/* Extensions are of no use to us, but they must be whole. */
static bool tlvs_are_whole(const uint8_t *p, size_t len)
{
    while (len >= 3) {
        size_t tlv_len = 3 + (size_t)load16(p + 1);

        if (tlv_len > len)
            return false;
        p += tlv_len;
        len -= tlv_len;
    }
    return len == 0;
}

static void read_addresses(const uint8_t *p, const struct v2_form *form,
                           struct sl_proxy_header *out)
{
    size_t ip_len = form->ip_len;

    if (ip_len == 4) {
        set_v4(out->from, p);
        set_v4(out->to, p + ip_len);
    } else {
        memcpy(out->from, p, sizeof(out->from));
        memcpy(out->to, p + ip_len, sizeof(out->to));
    }
    out->from_port = load16(p + 2 * ip_len);
    out->to_port = load16(p + 2 * ip_len + 2);
    out->has_addresses = true;
}

/* The fixed head: every fault that can be seen is reported before the rest is waited for. `*form`
   is NULL for LOCAL, whose family is not looked at. */
static int check_v2_head(const uint8_t *bytes, size_t len, const struct v2_form **form,
                         const char **why)
{
    size_t rest;

    *form = NULL;
    if (len > 12 && bytes[12] >> 4 != 2)
        return refuse(why, "version 2: another version number");
    if (len > 12 && bytes[12] != V2_LOCAL && bytes[12] != V2_PROXY)
        return refuse(why, "version 2: neither LOCAL nor PROXY");
    if (len > 13 && bytes[12] == V2_PROXY && (*form = find_form(bytes[13])) == NULL)
        return refuse(why, "version 2: unknown address family or transport");
    if (len < V2_HEAD)
        return SL_E_PARTIAL;
    rest = load16(bytes + 14);
    if (*form != NULL && rest < (*form)->block_len)
        return refuse(why, "version 2: too short for its addresses");
    if (rest > SL_PROXY_V2_TLV_MAX + (*form != NULL ? (*form)->block_len : 0u))
        return refuse(why, "version 2: the extensions are longer than 4096 bytes");
    return 0;
}

static int parse_v2(const uint8_t *bytes, size_t len, struct sl_proxy_header *out, const char **why)
{
    const struct v2_form *form;
    size_t rest;
    int rc = check_v2_head(bytes, len, &form, why);

    out->version = 2;
    if (rc < 0)
        return rc;
    rest = load16(bytes + 14);
    if (len < V2_HEAD + rest)
        return SL_E_PARTIAL;
    if (form == NULL || form->byte == 0)
        return (int)(V2_HEAD + rest); /* the standard says to skip what follows, whatever it is */
    if (!tlvs_are_whole(bytes + V2_HEAD + form->block_len, rest - form->block_len))
        return refuse(why, "version 2: an extension reaches past the end");
    out->is_datagram = form->is_datagram;
    if (form->ip_len > 0)
        read_addresses(bytes + V2_HEAD, form, out);
    return (int)(V2_HEAD + rest);
}

/* --- parsing and writing --- */

/* Does the text begin with `start`, as far as it goes? */
static bool may_start(const uint8_t *bytes, size_t len, struct sl_str start)
{
    return memcmp(bytes, start.p, SL_MIN(len, start.len)) == 0;
}

int sl_proxy_header_parse(const uint8_t *bytes, size_t len, struct sl_proxy_header *out,
                          const char **why)
{
    *out = (struct sl_proxy_header){0};
    *why = "";
    if (len == 0)
        return SL_E_PARTIAL;
    if (may_start(bytes, len, v2_start))
        return len < v2_start.len ? SL_E_PARTIAL : parse_v2(bytes, len, out, why);
    if (may_start(bytes, len, v1_start))
        return len < v1_start.len ? SL_E_PARTIAL : parse_v1(bytes, len, out, why);
    return refuse(why, "not a PROXY header");
}

static size_t write_v1(uint8_t *out, const struct sl_proxy_header *h)
{
    bool v4 = is_v4(h->from) && is_v4(h->to);
    int family = v4 ? AF_INET : AF_INET6;
    size_t skip = v4 ? sizeof(mapped) : 0;
    char from[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN];
    int n;

    if (!h->has_addresses || h->is_datagram) {
        memcpy(out, "PROXY UNKNOWN\r\n", 15);
        return 15;
    }
    inet_ntop(family, h->from + skip, from, sizeof(from));
    inet_ntop(family, h->to + skip, to, sizeof(to));
    n = snprintf((char *)out, SL_PROXY_HEADER_WRITE_MAX, "PROXY %s %s %s %u %u\r\n",
                 v4 ? "TCP4" : "TCP6", from, to, h->from_port, h->to_port);
    sl_assert(n > 0 && n <= SL_PROXY_V1_MAX);
    return (size_t)n;
}

bool sl_proxy_header_is_v2(const uint8_t *bytes, size_t len)
{
    return len >= v2_start.len && memcmp(bytes, v2_start.p, v2_start.len) == 0;
}

static uint8_t *put16(uint8_t *p, uint16_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
    return p + 2;
}

static size_t write_v2(uint8_t *out, const struct sl_proxy_header *h)
{
    bool v4 = is_v4(h->from) && is_v4(h->to);
    size_t skip = v4 ? sizeof(mapped) : 0, ip_len = sizeof(h->from) - skip;
    size_t block_len = h->has_addresses ? 2 * ip_len + 4 : 0;
    uint8_t *p = out + v2_start.len;

    memcpy(out, v2_start.p, v2_start.len);
    *p++ = h->has_addresses ? V2_PROXY : V2_LOCAL;
    *p++ = h->has_addresses ? (uint8_t)((v4 ? 0x10 : 0x20) | (h->is_datagram ? 2 : 1)) : 0;
    p = put16(p, (uint16_t)block_len);
    if (h->has_addresses) {
        memcpy(p, h->from + skip, ip_len);
        memcpy(p + ip_len, h->to + skip, ip_len);
        put16(put16(p + 2 * ip_len, h->from_port), h->to_port);
    }
    return V2_HEAD + block_len;
}

size_t sl_proxy_header_write(uint8_t out[SL_PROXY_HEADER_WRITE_MAX], int version,
                             const struct sl_proxy_header *header)
{
    sl_assert(version == 1 || version == 2);
    return version == 1 ? write_v1(out, header) : write_v2(out, header);
}
