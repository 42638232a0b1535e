#include "tls/record.h"

#include <openssl/crypto.h>
#include "base/check.h"

enum { BIG = SL_RECORD_PLAIN_MAX + SL_RECORD_OVERHEAD };

static const unsigned numbers[] = {0x1301, 0x1302, 0x1303};

/* The client's traffic secret and its first record of application data in RFC 8448, section 3. */
static const char rfc_secret[] = "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5";
static const char rfc_record[] = "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2"
                                 "b9819a8a5b46b395bd54a9a20441e2b"
                                 "62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4";

static size_t from_hex(uint8_t *out, size_t cap, const char *hex)
{
    size_t len = 0;

    sl_assert(OPENSSL_hexstr2buf_ex(out, cap, &len, hex, '\0') == 1);
    return len;
}

static void make_pair(struct sl_record_key *tx, struct sl_record_key *rx, unsigned number)
{
    const struct sl_record_suite *suite = sl_record_suite(number);
    uint8_t secret[SL_RECORD_SECRET_MAX] = {1, 2, 3};

    *tx = *rx = (struct sl_record_key){0};
    sl_check(sl_record_key_init(tx, suite, secret, true) == 0);
    sl_check(sl_record_key_init(rx, suite, secret, false) == 0);
}

static void clear_pair(struct sl_record_key *tx, struct sl_record_key *rx)
{
    sl_record_key_clear(tx);
    sl_record_key_clear(rx);
}

static void test_rfc_vector(void)
{
    uint8_t secret[64], want[128], rec[128], plain[128], type;
    size_t want_len = from_hex(want, sizeof(want), rfc_record), len;
    struct sl_record_key tx = {0}, rx = {0};

    from_hex(secret, sizeof(secret), rfc_secret);
    sl_check(sl_record_key_init(&tx, sl_record_suite(0x1301), secret, true) == 0);
    sl_check(sl_record_key_init(&rx, sl_record_suite(0x1301), secret, false) == 0);
    for (uint8_t i = 0; i < 50; i++)
        rec[SL_RECORD_HEAD + i] = i;
    sl_check(sl_record_seal(&tx, SL_RECORD_DATA, rec, 50) == want_len);
    sl_check(memcmp(rec, want, want_len) == 0);
    sl_check(sl_record_open(&rx, want, want_len, plain, &len, &type) == 0);
    sl_check(len == 50 && type == SL_RECORD_DATA && plain[0] == 0 && plain[49] == 49);
    clear_pair(&tx, &rx);
}

static void test_round_trip(unsigned number)
{
    static const size_t lens[] = {0, 1, 15, 16, 17, 1000, SL_RECORD_PLAIN_MAX};
    static uint8_t rec[BIG], plain[BIG];
    struct sl_record_key tx, rx;

    make_pair(&tx, &rx, number);
    for (size_t i = 0; i < SL_COUNT(lens); i++) {
        size_t rec_len, len, framed;
        uint8_t type;

        memset(rec + SL_RECORD_HEAD, (int)i + 1, lens[i]);
        rec_len = sl_record_seal(&tx, SL_RECORD_HANDSHAKE, rec, lens[i]);
        sl_check(rec_len == lens[i] + SL_RECORD_OVERHEAD);
        sl_check(sl_record_frame(rec, rec_len + 1, &framed) == 0 && framed == rec_len);
        sl_check(sl_record_open(&rx, rec, rec_len, plain, &len, &type) == 0);
        sl_check(len == lens[i] && type == SL_RECORD_HANDSHAKE);
        sl_check(len == 0 || (plain[0] == i + 1 && plain[len - 1] == i + 1));
    }
    clear_pair(&tx, &rx);
}

static void test_update(unsigned number)
{
    struct sl_record_key tx, rx;
    uint8_t rec[64] = {0}, plain[64], type, first_iv[12];
    size_t rec_len, len;

    make_pair(&tx, &rx, number);
    memcpy(first_iv, tx.iv, sizeof(first_iv));
    rec_len = sl_record_seal(&tx, SL_RECORD_DATA, rec, 5);
    sl_check(sl_record_open(&rx, rec, rec_len, plain, &len, &type) == 0);
    sl_check(sl_record_key_update(&tx) == 0 && sl_record_key_update(&rx) == 0);
    sl_check(tx.seq == 0 && memcmp(tx.iv, first_iv, sizeof(first_iv)) != 0);
    rec_len = sl_record_seal(&tx, SL_RECORD_DATA, rec, 5);
    sl_check(sl_record_open(&rx, rec, rec_len, plain, &len, &type) == 0 && len == 5);
    sl_check(sl_record_key_update(&tx) == 0); /* the other side has not heard of it */
    rec_len = sl_record_seal(&tx, SL_RECORD_DATA, rec, 5);
    sl_check(sl_record_open(&rx, rec, rec_len, plain, &len, &type) == SL_ALERT_BAD_RECORD_MAC);
    clear_pair(&tx, &rx);
}

/* One flipped bit anywhere is noticed, and so is a record that comes twice. */
static void test_forgery(void)
{
    struct sl_record_key tx, rx;
    uint8_t rec[64] = {0}, plain[64], type;
    size_t rec_len, len;

    make_pair(&tx, &rx, 0x1301);
    rec_len = sl_record_seal(&tx, SL_RECORD_DATA, rec, 20);
    for (size_t i = 0; i < rec_len; i++) {
        rx.seq = 0;
        rec[i] ^= 0x10;
        sl_check(sl_record_open(&rx, rec, rec_len, plain, &len, &type) == SL_ALERT_BAD_RECORD_MAC);
        rec[i] ^= 0x10;
    }
    rx.seq = 0;
    sl_check(sl_record_open(&rx, rec, rec_len, plain, &len, &type) == 0);
    sl_check(sl_record_open(&rx, rec, rec_len, plain, &len, &type) == SL_ALERT_BAD_RECORD_MAC);
    clear_pair(&tx, &rx);
}

/* Content with the type behind it and zeros behind that, sealed as if it were content. */
static size_t seal_padded(struct sl_record_key *tx, uint8_t *rec, size_t len, uint8_t type,
                          size_t n_zeros)
{
    rec[SL_RECORD_HEAD + len] = type;
    memset(rec + SL_RECORD_HEAD + len + 1, 0, n_zeros);
    return sl_record_seal(tx, (enum sl_record_type)0, rec, len + 1 + n_zeros - (n_zeros > 0));
}

static void test_padding(void)
{
    static uint8_t rec[BIG + 300], plain[BIG + 300];
    struct sl_record_key tx, rx;
    uint8_t type;
    size_t rec_len, len;

    make_pair(&tx, &rx, 0x1301);
    rec_len = seal_padded(&tx, rec, 7, SL_RECORD_ALERT, 100);
    sl_check(sl_record_open(&rx, rec, rec_len, plain, &len, &type) == 0);
    sl_check(len == 7 && type == SL_RECORD_ALERT);
    memset(rec + SL_RECORD_HEAD, 0, 10);
    rec_len = sl_record_seal(&tx, (enum sl_record_type)0, rec, 10); /* zeros and nothing else */
    sl_check(sl_record_open(&rx, rec, rec_len, plain, &len, &type) == SL_ALERT_UNEXPECTED_MESSAGE);
    clear_pair(&tx, &rx);
}

static void test_frame(void)
{
    uint8_t rec[] = {23, 3, 3, 0, 20};
    size_t n;

    sl_check(sl_record_frame(rec, 0, &n) == SL_E_PARTIAL && n == 5);
    sl_check(sl_record_frame(rec, 3, &n) == SL_E_PARTIAL && n == 2);
    sl_check(sl_record_frame(rec, 5, &n) == SL_E_PARTIAL && n == 20);
    rec[4] = 16;
    sl_check(sl_record_frame(rec, 5, &n) == SL_ALERT_DECODE_ERROR);
    rec[3] = 0x41;
    rec[4] = 0;
    sl_check(sl_record_frame(rec, 5, &n) == SL_E_PARTIAL && n == SL_RECORD_BODY_MAX);
    rec[4] = 1;
    sl_check(sl_record_frame(rec, 5, &n) == SL_ALERT_RECORD_OVERFLOW);
    rec[0] = 20;
    sl_check(sl_record_frame(rec, 1, &n) == SL_ALERT_UNEXPECTED_MESSAGE);
}

static void test_suites(void)
{
    sl_check(sl_record_suite(0x1304) == NULL && sl_record_suite(0xc02b) == NULL);
    sl_check(sl_record_secret_len(sl_record_suite(0x1301)) == 32);
    sl_check(sl_record_secret_len(sl_record_suite(0x1302)) == 48);
}

static void test_wear(void)
{
    struct sl_record_key tx, rx;

    make_pair(&tx, &rx, 0x1302);
    sl_check(!sl_record_key_is_worn(&tx));
    tx.seq = (uint64_t)1 << 24;
    sl_check(sl_record_key_is_worn(&tx));
    sl_check(sl_record_key_update(&tx) == 0 && !sl_record_key_is_worn(&tx));
    clear_pair(&tx, &rx);
}

int main(void)
{
    test_rfc_vector();
    for (size_t i = 0; i < SL_COUNT(numbers); i++) {
        test_round_trip(numbers[i]);
        test_update(numbers[i]);
    }
    test_forgery();
    test_padding();
    test_frame();
    test_suites();
    test_wear();
    return sl_check_done();
}
