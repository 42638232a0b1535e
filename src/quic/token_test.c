#include <sys/wait.h>
#include <unistd.h>
#include "base/check.h"
#include "quic/cid.h"
#include "quic/token.h"

static struct sl_addr at(const char *ip, uint16_t port)
{
    struct sl_addr a;

    sl_assert(sl_addr_parse(&a, sl_str_c(ip), port) == 0);
    return a;
}

static ngtcp2_pkt_hd header(const uint8_t *token, size_t len, const ngtcp2_cid *dcid)
{
    ngtcp2_pkt_hd hd = {.version = NGTCP2_PROTO_VER_V1, .token = token, .tokenlen = len};

    hd.dcid = *dcid;
    return hd;
}

static void test_retry(void)
{
    uint8_t token[SL_QUIC_TOKEN_MAX];
    struct sl_addr from = at("192.0.2.1", 1234), port = at("192.0.2.1", 1235);
    uint64_t now = 5000 * NGTCP2_SECONDS;
    ngtcp2_cid first, ours, odcid;
    ngtcp2_pkt_hd hd;
    size_t len;

    ngtcp2_cid_init(&first, (const uint8_t *)"12345678", 8);
    sl_check(sl_quic_cid_make(&ours, 7) == 0 && sl_quic_cid_worker(ours.data) == 7);
    hd = header(NULL, 0, &first);
    sl_check(sl_quic_token_check(&hd, &from, now, &odcid) == SL_QUIC_TOKEN_NONE);
    len = sl_quic_token_retry(token, &hd, &ours, &from, now);
    sl_check(len > 0 && len <= sizeof(token));
    hd = header(token, len, &ours);
    sl_check(sl_quic_token_check(&hd, &from, now + NGTCP2_SECONDS, &odcid) == SL_QUIC_TOKEN_RETRY);
    sl_check(ngtcp2_cid_eq(&odcid, &first));
    sl_check(sl_quic_token_check(&hd, &port, now, &odcid) == SL_QUIC_TOKEN_INVALID);
    sl_check(sl_quic_token_check(&hd, &from, now + 11 * NGTCP2_SECONDS, &odcid) ==
             SL_QUIC_TOKEN_INVALID);
    for (size_t i = 1; i < len; i++) { /* each of its bytes counts */
        token[i] ^= 1;
        sl_check(sl_quic_token_check(&hd, &from, now, &odcid) != SL_QUIC_TOKEN_RETRY);
        token[i] ^= 1;
        hd = header(token, i, &ours);
        sl_check(sl_quic_token_check(&hd, &from, now, &odcid) == SL_QUIC_TOKEN_NONE);
        hd = header(token, len, &ours);
    }
}

static void test_known(void)
{
    uint8_t token[SL_QUIC_TOKEN_MAX];
    struct sl_addr from = at("2001:db8::1", 1234), port = at("2001:db8::1", 9),
                   other = at("2001:db8::2", 1234);
    uint64_t now = 5000 * NGTCP2_SECONDS;
    ngtcp2_cid id, odcid;
    ngtcp2_pkt_hd hd;
    size_t len = sl_quic_token_new(token, &from, now);

    ngtcp2_cid_init(&id, (const uint8_t *)"12345678", 8);
    sl_check(len > 0);
    hd = header(token, len, &id);
    sl_check(sl_quic_token_check(&hd, &from, now, &odcid) == SL_QUIC_TOKEN_KNOWN);
    sl_check(sl_quic_token_check(&hd, &port, now, &odcid) == SL_QUIC_TOKEN_KNOWN);
    sl_check(sl_quic_token_check(&hd, &other, now, &odcid) == SL_QUIC_TOKEN_NONE);
    sl_check(sl_quic_token_check(&hd, &from, now + 4000 * NGTCP2_SECONDS, &odcid) ==
             SL_QUIC_TOKEN_NONE);
}

static void test_ids(void)
{
    struct sl_map table = {0};
    struct sl_list list, other;
    uint8_t a[16], b[16];
    ngtcp2_cid id, same;

    sl_list_init(&list);
    sl_list_init(&other);
    for (int i = 0; i < 100; i++) {
        sl_check(sl_quic_cid_make(&id, 255) == 0);
        sl_check(sl_quic_cid_add(&table, &list, &id, NULL) == 0);
    }
    sl_check(sl_quic_cid_add(&table, &other, &id, NULL) == SL_E_IN_USE);
    sl_check(sl_quic_cid_find(&table, id.data, id.datalen) != NULL);
    sl_check(sl_quic_cid_find(&table, id.data, id.datalen - 1) == NULL);
    same = id;
    sl_check(sl_quic_reset_token(a, &id) == 0 && sl_quic_reset_token(b, &same) == 0);
    sl_check(memcmp(a, b, sizeof(a)) == 0);
    same.data[8] ^= 1;
    sl_check(sl_quic_reset_token(b, &same) == 0 && memcmp(a, b, sizeof(a)) != 0);
    sl_quic_cid_remove(&table, &id);
    sl_check(sl_quic_cid_find(&table, id.data, id.datalen) == NULL && table.n == 99);
    sl_quic_cid_remove_all(&table, &list);
    sl_check(table.n == 0 && sl_list_is_empty(&list));
    sl_map_clear(&table);
}

/* Before anything else has drawn: what a process proves, the one that comes after it can, too. */
static void test_survives_a_crash(void)
{
    uint8_t ours[NGTCP2_STATELESS_RESET_TOKENLEN], theirs[NGTCP2_STATELESS_RESET_TOKENLEN];
    ngtcp2_cid id = {.datalen = 8, .data = {1}};
    int ends[2];
    pid_t child;

    sl_quic_token_draw();
    sl_assert(pipe(ends) == 0);
    if ((child = fork()) == 0) {
        bool ok = sl_quic_reset_token(theirs, &id) == 0 &&
                  write(ends[1], theirs, sizeof(theirs)) == (ssize_t)sizeof(theirs);

        _exit(ok ? 0 : 1);
    }
    sl_check(child > 0 && read(ends[0], theirs, sizeof(theirs)) == (ssize_t)sizeof(theirs));
    sl_check(waitpid(child, NULL, 0) == child);
    sl_check(sl_quic_reset_token(ours, &id) == 0 && memcmp(ours, theirs, sizeof(ours)) == 0);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    test_survives_a_crash();
    test_retry();
    test_known();
    test_ids();
    return sl_check_done();
}
