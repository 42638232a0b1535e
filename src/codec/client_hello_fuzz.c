/* Any bytes, in pieces that the first byte chooses: the answer must be that for all bytes at once.
 */
#include "codec/client_hello.h"

static int feed_in_pieces(struct sl_client_hello *h, const uint8_t *bytes, size_t len, size_t piece)
{
    int rc = SL_E_PARTIAL;

    for (size_t at = 0; at < len && rc == SL_E_PARTIAL; at += piece)
        rc = sl_client_hello_feed(h, bytes + at, SL_MIN(piece, len - at));
    return rc;
}

static void check_found(const struct sl_client_hello *h)
{
    struct sl_str name = sl_client_hello_sni(h);

    for (size_t i = 0; i < name.len; i++)
        sl_assert(name.p[i] > ' ' &&
                  sl_lower((unsigned char)name.p[i]) == (unsigned char)name.p[i]);
    sl_assert(h->alpn_len <= sizeof(h->alpn));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct sl_client_hello whole = {0}, pieces = {0};
    int rc;

    if (len < 2)
        return 0;
    rc = sl_client_hello_feed(&whole, bytes + 1, len - 1);
    sl_assert(feed_in_pieces(&pieces, bytes + 1, len - 1, 1u + bytes[0]) == rc);
    sl_assert(rc == 0 || rc == SL_E_PARTIAL || rc == SL_E_PROTOCOL || rc == SL_E_LIMIT);
    sl_assert(rc != SL_E_PARTIAL || len - 1 <= SL_CLIENT_HELLO_MAX);
    if (rc != 0)
        return 0;
    sl_assert(sl_str_eq(sl_client_hello_sni(&whole), sl_client_hello_sni(&pieces)));
    sl_assert(whole.alpn_len == pieces.alpn_len && whole.offers_tls13 == pieces.offers_tls13);
    check_found(&whole);
    return 0;
}
