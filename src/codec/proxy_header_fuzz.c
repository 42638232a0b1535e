/* Any bytes: the parser must answer the same whether they come at once or one by one, and what it
   accepted must survive being written and read again. */
#include "codec/proxy_header.h"
#include "base/str.h"

static int parse(const uint8_t *bytes, size_t len, struct sl_proxy_header *out)
{
    const char *why;
    int rc = sl_proxy_header_parse(bytes, len, out, &why);

    sl_assert(rc == SL_E_PARTIAL || rc == SL_E_PROTOCOL || (rc > 0 && (size_t)rc <= len));
    sl_assert((rc == SL_E_PROTOCOL) == (why[0] != '\0'));
    return rc;
}

static void check_prefixes(const uint8_t *bytes, size_t len, int whole)
{
    struct sl_proxy_header header;
    int rc = SL_E_PARTIAL;

    for (size_t i = 0; i <= len && rc == SL_E_PARTIAL; i++) {
        rc = parse(bytes, i, &header);
        sl_assert(i < SL_PROXY_HEADER_MAX || rc != SL_E_PARTIAL);
    }
    sl_assert(rc == whole);
}

static void check_round_trip(const struct sl_proxy_header *header, int version)
{
    uint8_t bytes[SL_PROXY_HEADER_WRITE_MAX];
    size_t len = sl_proxy_header_write(bytes, version, header);
    struct sl_proxy_header again;

    sl_assert(parse(bytes, len, &again) == (int)len);
    if (version == 1 && header->is_datagram)
        return; /* cannot be said in version 1 */
    sl_assert(again.has_addresses == header->has_addresses);
    if (!header->has_addresses)
        return;
    sl_assert(memcmp(again.from, header->from, 16) == 0 && memcmp(again.to, header->to, 16) == 0);
    sl_assert(again.from_port == header->from_port && again.to_port == header->to_port);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct sl_proxy_header header;
    int rc;

    len = SL_MIN(len, (size_t)SL_PROXY_HEADER_MAX + 64);
    rc = parse(bytes, len, &header);
    check_prefixes(bytes, len, rc);
    if (rc > 0) {
        check_round_trip(&header, 1);
        check_round_trip(&header, 2);
    }
    return 0;
}
