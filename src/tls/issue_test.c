/* What keys sign for names, and what certificates say (facts.h). */
#include "tls/issue.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include "base/check.h"
#include "tls/cert_internal.h"
#include "tls/facts.h"
#include "tls/key_internal.h"

enum { NOW = 1700000000, DAY_S = 24 * 3600 };

static struct sl_key *key;
static const struct sl_str names[] = {
    {"a.example", 9}, {"*.b.example", 11}, {"192.0.2.7", 9}, {"2001:db8::7", 11}};

static X509 *issue(const struct sl_issue *what)
{
    X509 *x = NULL;

    sl_assert(sl_issue_cert(&x, key, what, NULL) == 0);
    sl_check(X509_verify(x, key->pkey) == 1);
    return x;
}

static void test_names(void)
{
    struct sl_issue what = {names, SL_COUNT(names), NOW, 7, NULL};
    X509 *x = issue(&what);

    sl_check(X509_check_host(x, "a.example", 0, 0, NULL) == 1);
    sl_check(X509_check_host(x, "x.b.example", 0, 0, NULL) == 1);
    sl_check(X509_check_host(x, "b.example", 0, 0, NULL) == 0);
    sl_check(X509_check_ip_asc(x, "192.0.2.7", 0) == 1);
    sl_check(X509_check_ip_asc(x, "2001:db8::7", 0) == 1);
    sl_check(sl_cert_seconds(X509_get0_notBefore(x)) == NOW - DAY_S);
    sl_check(sl_cert_seconds(X509_get0_notAfter(x)) == NOW + 7 * DAY_S);
    sl_check(X509_get_ext_count(x) == 4);
    X509_free(x);
}

static void test_acme_identifier(void)
{
    uint8_t identifier[SL_ACME_IDENTIFIER_LEN], want[2 + SL_ACME_IDENTIFIER_LEN] = {4, 32};
    struct sl_issue what = {names, 1, NOW, 7, identifier};
    ASN1_OBJECT *oid = OBJ_txt2obj("1.3.6.1.5.5.7.1.31", 1);
    const ASN1_OCTET_STRING *value;
    X509_EXTENSION *ext;
    X509 *x;

    memset(identifier, 0xa5, sizeof(identifier));
    memcpy(want + 2, identifier, sizeof(identifier));
    x = issue(&what);
    ext = X509_get_ext(x, X509_get_ext_by_OBJ(x, oid, -1));
    sl_assert(ext != NULL);
    value = X509_EXTENSION_get_data(ext);
    sl_check(X509_EXTENSION_get_critical(ext) == 1);
    sl_check_str(
        sl_str((const char *)ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value)),
        sl_str((const char *)want, sizeof(want)));
    ASN1_OBJECT_free(oid);
    X509_free(x);
}

static void test_csr(void)
{
    struct sl_buf der = {0};
    const unsigned char *at;
    STACK_OF(X509_EXTENSION) * list;
    X509_REQ *req;

    sl_check(sl_issue_csr(&der, key, names, SL_COUNT(names), NULL) == 0);
    at = sl_buf_at(&der);
    req = d2i_X509_REQ(NULL, &at, (long)sl_buf_len(&der));
    sl_assert(req != NULL);
    sl_check(at == sl_buf_at(&der) + sl_buf_len(&der));
    sl_check(X509_REQ_verify(req, key->pkey) == 1);
    sl_check(X509_NAME_entry_count(X509_REQ_get_subject_name(req)) == 0);
    list = X509_REQ_get_extensions(req);
    sl_check(sk_X509_EXTENSION_num(list) == 1);
    sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
    X509_REQ_free(req);
    sl_buf_clear(&der);
}

static void test_bad_names(void)
{
    static const struct sl_str bad[] = {
        {"", 0},         {"a b", 3},           {"a,DNS:b", 7}, {"a\0b", 3}, {"*", 1},
        {"*.*.test", 8}, {"\xc3\xa9.test", 7}, {"a/b", 3},     {"a:1", 3},
    };
    struct sl_buf out = {0};
    struct sl_err err;

    for (size_t i = 0; i < SL_COUNT(bad); i++) {
        struct sl_str two[] = {names[0], bad[i]};
        struct sl_issue what = {two, 2, NOW, 7, NULL};

        sl_check(sl_issue_self_signed(&out, key, &what, &err) == SL_E_CONFIG);
        sl_check(sl_issue_csr(&out, key, two, 2, &err) == SL_E_CONFIG);
    }
    sl_check(sl_buf_len(&out) == 0);
    sl_buf_clear(&out);
}

/* --- facts --- */

static void write_pem(X509 *x, struct sl_buf *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    long len;

    sl_assert(X509_sign(x, key->pkey, EVP_sha256()) > 0 && PEM_write_bio_X509(bio, x) == 1);
    len = BIO_get_mem_data(bio, &text);
    sl_buf_reset(out);
    sl_buf_append(out, text, (size_t)len);
    BIO_free(bio);
}

static void test_facts(void)
{
    static const char want[] = "a.example\0*.b.example\0"
                               "192.0.2.7\0"
                               "2001:db8::7";
    struct sl_issue what = {names, SL_COUNT(names), NOW, 7, NULL};
    struct sl_buf pem = {0}, found = {0};
    struct sl_cert_facts facts;
    uint8_t pin[32];

    sl_check(sl_issue_self_signed(&pem, key, &what, NULL) == 0);
    sl_check(sl_cert_facts_of_pem(&facts, &found, sl_buf_str(&pem), NULL) == 0);
    sl_check_str(sl_buf_str(&found), sl_str(want, sizeof(want)));
    sl_check(facts.not_before == NOW - DAY_S && facts.not_after == NOW + 7 * DAY_S);
    sl_check_str(sl_str(facts.issuer, facts.issuer_len), SL_STR("CN=a.example"));
    sl_check(facts.serial_der.len == 16 && facts.authority_key_id.len == 0);
    sl_check(sl_cert_pin_of_pem(sl_buf_str(&pem), pin, NULL) == 0 &&
             memcmp(pin, facts.pin, 32) == 0);
    sl_buf_clear(&found);
    sl_buf_clear(&pem);
}

/* What an authority may have written, or somebody who wants to see what we do. */
static void test_strange_facts(void)
{
    struct sl_issue what = {names, 1, NOW, 7, NULL};
    struct sl_buf pem = {0}, found = {0};
    struct sl_cert_facts facts;
    struct sl_err err;
    X509 *x = issue(&what);
    BIGNUM *serial = NULL;

    sl_assert(BN_hex2bn(&serial, "F0") > 0);
    BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(x));
    write_pem(x, &pem);
    sl_check(sl_cert_facts_of_pem(&facts, &found, sl_buf_str(&pem), NULL) == 0);
    sl_check(facts.serial_der.len == 2 && memcmp(facts.serial_der.bytes, "\0\xf0", 2) == 0);

    BN_lshift(serial, serial, 8 * SL_CERT_ID_MAX);
    BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(x));
    write_pem(x, &pem);
    sl_check(sl_cert_facts_of_pem(&facts, &found, sl_buf_str(&pem), &err) == SL_E_CONFIG);
    sl_check(strstr(err.text, "serial number") != NULL);

    for (size_t len = 0; len < sl_buf_len(&pem) - 1; len += 7)
        sl_check(sl_cert_facts_of_pem(&facts, &found, sl_str((char *)sl_buf_at(&pem), len), &err) ==
                 SL_E_CONFIG);
    BN_free(serial);
    X509_free(x);
    sl_buf_clear(&pem);
    sl_buf_clear(&found);
}

static X509 *with_name(const char *bytes, size_t len)
{
    struct sl_issue what = {names, 1, NOW, 7, NULL};
    X509 *x = issue(&what);
    GENERAL_NAMES *list = sk_GENERAL_NAME_new_null();
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *value = ASN1_IA5STRING_new();

    sl_assert(ASN1_STRING_set(value, bytes, (int)len) == 1);
    GENERAL_NAME_set0_value(name, GEN_DNS, value);
    sk_GENERAL_NAME_push(list, name);
    sl_assert(X509_add1_ext_i2d(x, NID_subject_alt_name, list, 0, X509V3_ADD_REPLACE) == 1);
    GENERAL_NAMES_free(list);
    return x;
}

/* "good.example\0.evil.example" is neither of them. */
static void test_name_with_a_nul(void)
{
    static const char name[] = "good.example\0.evil.example";
    struct sl_buf pem = {0}, found = {0};
    X509 *x = with_name(name, sizeof(name) - 1);
    struct sl_cert_facts facts;

    write_pem(x, &pem);
    sl_check(sl_cert_facts_of_pem(&facts, &found, sl_buf_str(&pem), NULL) == 0);
    sl_check(sl_buf_len(&found) == 0);
    X509_free(x);
    sl_buf_clear(&pem);
    sl_buf_clear(&found);
}

int main(void)
{
    sl_assert(sl_key_new(&key, SL_STR("P-384"), NULL) == 0);
    test_names();
    test_acme_identifier();
    test_csr();
    test_bad_names();
    test_facts();
    test_strange_facts();
    test_name_with_a_nul();
    sl_key_free(key);
    return sl_check_done();
}
