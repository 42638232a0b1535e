#include "tls/cert.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <time.h>
#include "base/buf.h"
#include "base/check.h"

/* --- PEM texts made on the spot --- */

static struct sl_str take_text(BIO *bio)
{
    char *bytes;
    long len = BIO_get_mem_data(bio, &bytes);
    struct sl_str text = sl_str(sl_strndup(bytes, (size_t)len), (size_t)len);

    BIO_free(bio);
    return text;
}

static X509 *make_cert(EVP_PKEY *key, const char *alternative)
{
    X509 *x = X509_new();
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, alternative);

    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_add_ext(x, ext, -1);
    X509_EXTENSION_free(ext);
    X509_set_pubkey(x, key);
    sl_assert(X509_sign(x, key, EVP_sha256()) > 0);
    return x;
}

static struct sl_str cert_text(EVP_PKEY *key, const char *alternative)
{
    BIO *bio = BIO_new(BIO_s_mem());
    X509 *x = make_cert(key, alternative);

    PEM_write_bio_X509(bio, x);
    X509_free(x);
    return take_text(bio);
}

static struct sl_str key_text(EVP_PKEY *key, const EVP_CIPHER *cipher)
{
    BIO *bio = BIO_new(BIO_s_mem());

    PEM_write_bio_PKCS8PrivateKey(bio, key, cipher, "secret", 6, NULL, NULL);
    return take_text(bio);
}

static struct sl_str join(struct sl_str a, struct sl_str b)
{
    struct sl_buf both = {0};

    sl_buf_append_str(&both, a);
    sl_buf_append_str(&both, b);
    return sl_buf_str(&both);
}

static void drop(struct sl_str text)
{
    sl_free((char *)text.p);
}

static EVP_PKEY *new_key(void)
{
    return EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
}

/* A certificate and its key for most tests. */
static EVP_PKEY *the_key;
static struct sl_str the_cert, the_key_text;

static int load(struct sl_cert **out, struct sl_str cert, struct sl_str key, struct sl_err *err)
{
    int rc = sl_cert_from_pem(out, cert, key, err);

    sl_check(ERR_peek_error() == 0);
    return rc;
}

/* Fails with a sentence that has these words. */
static void check_refused(struct sl_str cert, struct sl_str key, const char *words)
{
    struct sl_cert *c = NULL;
    struct sl_err err = {0};

    sl_check(load(&c, cert, key, &err) == SL_E_CONFIG && c == NULL);
    if (strstr(err.text, words) == NULL)
        fprintf(stderr, "said: %s\n", err.text);
    sl_check(strstr(err.text, words) != NULL);
}

/* --- tests --- */

static void test_cache(void)
{
    uint64_t before = sl_cert_parsed();
    struct sl_cert *first, *second;

    sl_check(load(&first, the_cert, the_key_text, NULL) == 0);
    sl_check(load(&second, the_cert, the_key_text, NULL) == 0);
    sl_check(first == second && sl_cert_parsed() == before + 1);
    sl_check(sl_cert_ref(first) == first);
    sl_cert_unref(first);
    sl_cert_unref(first);
    sl_cert_unref(second);
    sl_check(load(&first, the_cert, the_key_text, NULL) == 0);
    sl_check(sl_cert_parsed() == before + 2); /* nobody had it, so it was gone */
    sl_check(sl_cert_not_after(first) - time(NULL) > 3500 &&
             sl_cert_not_after(first) - time(NULL) <= 3600);
    sl_cert_unref(first);
    sl_cert_unref(NULL);
}

/* Returns non-NULL when something went wrong. */
static void *load_and_drop(void *failed)
{
    for (int i = 0; i < 200; i++) {
        struct sl_cert *c;

        if (sl_cert_from_pem(&c, the_cert, the_key_text, NULL) < 0)
            return failed;
        sl_cert_unref(sl_cert_ref(c));
        sl_cert_unref(c);
    }
    return NULL;
}

/* The last reference goes and the next look-up comes, again and again, at the same time. */
static void test_threads(void)
{
    pthread_t threads[4];
    void *failed;

    for (size_t i = 0; i < SL_COUNT(threads); i++)
        pthread_create(&threads[i], NULL, load_and_drop, threads);
    for (size_t i = 0; i < SL_COUNT(threads); i++) {
        pthread_join(threads[i], &failed);
        sl_check(failed == NULL);
    }
}

/* As texts come out of environment variables and JSON. */
static struct sl_str escape(struct sl_str text)
{
    struct sl_buf out = {0};

    for (size_t i = 0; i < text.len; i++)
        sl_buf_append(&out, text.p[i] == '\n' ? "\\n" : &text.p[i], text.p[i] == '\n' ? 2 : 1);
    return sl_buf_str(&out);
}

static void test_escaped(void)
{
    struct sl_str cert = escape(the_cert), key = escape(the_key_text);
    struct sl_cert *c;

    sl_check(load(&c, cert, key, NULL) == 0);
    sl_check(sl_cert_covers(c, SL_STR("a.example")));
    sl_cert_unref(c);
    drop(cert);
    drop(key);
}

static void test_refusals(void)
{
    EVP_PKEY *other = new_key();
    struct sl_str other_key = key_text(other, NULL),
                  encrypted = key_text(the_key, EVP_aes_256_cbc());
    struct sl_str damaged = sl_str(sl_strndup(the_cert.p, the_cert.len), the_cert.len);

    ((char *)damaged.p)[40] = '!';
    check_refused(SL_STR("hello"), the_key_text, "certificate.cert: not a PEM certificate");
    check_refused(SL_STR(""), SL_STR(""), "certificate.cert: not a PEM certificate");
    check_refused(the_key_text, the_key_text, "certificate.cert: not a PEM certificate");
    check_refused(damaged, the_key_text, "certificate.cert");
    check_refused(the_cert, SL_STR("hello"), "certificate.key: not a PEM private key");
    check_refused(the_cert, the_cert, "certificate.key: not a PEM private key");
    check_refused(the_cert, other_key, "does not belong");
    check_refused(the_cert, encrypted, "without a passphrase");
    drop(other_key);
    drop(encrypted);
    drop(damaged);
    EVP_PKEY_free(other);
}

static void test_weak_key(void)
{
    EVP_PKEY *rsa = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)1024);
    struct sl_str cert = cert_text(rsa, "DNS:a.example"), key = key_text(rsa, NULL);

    check_refused(cert, key, "RSA with 1024 bits is too weak");
    drop(cert);
    drop(key);
    EVP_PKEY_free(rsa);
}

static void test_key_types(void)
{
    EVP_PKEY *keys[] = {EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048),
                        EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-384")};

    for (size_t i = 0; i < SL_COUNT(keys); i++) {
        struct sl_str cert = cert_text(keys[i], "DNS:a.example"), key = key_text(keys[i], NULL);
        struct sl_cert *c = NULL;

        sl_check(load(&c, cert, key, NULL) == 0);
        sl_cert_unref(c);
        drop(cert);
        drop(key);
        EVP_PKEY_free(keys[i]);
    }
}

/* `openssl ecparam -genkey` puts a block of parameters in front of the key; some keep all in one
 * file. */
static void test_blocks_around(void)
{
    struct sl_str params =
        SL_STR("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n");
    struct sl_str key = join(params, the_key_text), all = join(the_key_text, the_cert);
    struct sl_cert *c = NULL;

    sl_check(load(&c, the_cert, key, NULL) == 0);
    sl_cert_unref(c);
    sl_check(load(&c, all, all, NULL) == 0);
    sl_cert_unref(c);
    drop(key);
    drop(all);
}

static int chain_len(const struct sl_cert *c)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    SSL *ssl = SSL_new(ctx);
    STACK_OF(X509) *chain = NULL;
    int n;

    sl_check(sl_cert_use(c, ssl) == 0);
    SSL_get0_chain_certs(ssl, &chain);
    n = chain != NULL ? sk_X509_num(chain) : 0;
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    return n;
}

static void test_chain(void)
{
    EVP_PKEY *key = new_key();
    struct sl_str above = cert_text(key, "DNS:ca.example"), whole = join(the_cert, above),
                  many = whole;
    struct sl_cert *c = NULL;

    sl_check(load(&c, whole, the_key_text, NULL) == 0 && chain_len(c) == 1);
    sl_cert_unref(c);
    sl_check(load(&c, the_cert, the_key_text, NULL) == 0 && chain_len(c) == 0);
    sl_cert_unref(c);
    for (int i = 0; i < 17; i++) {
        struct sl_str longer = join(many, above);

        if (i > 0)
            drop(many);
        many = longer;
    }
    check_refused(many, the_key_text, "more than 17 certificates");
    drop(above);
    drop(whole);
    drop(many);
    EVP_PKEY_free(key);
}

static void test_covers(void)
{
    EVP_PKEY *key = new_key();
    struct sl_str cert = cert_text(key, "DNS:*.b.example,DNS:b.example,IP:10.0.0.1,IP:::1"),
                  text = key_text(key, NULL);
    struct sl_cert *c;

    sl_check(load(&c, cert, text, NULL) == 0);
    sl_check(sl_cert_covers(c, SL_STR("b.example")) && sl_cert_covers(c, SL_STR("B.Example")));
    sl_check(sl_cert_covers(c, SL_STR("x.b.example")));
    sl_check(!sl_cert_covers(c, SL_STR("x.y.b.example"))); /* one label */
    sl_check(!sl_cert_covers(c, SL_STR(".b.example")) && !sl_cert_covers(c, SL_STR("xb.example")));
    sl_check(!sl_cert_covers(c, SL_STR("")) && !sl_cert_covers(c, SL_STR("example")));
    sl_check(sl_cert_covers(c, SL_STR("10.0.0.1")) && !sl_cert_covers(c, SL_STR("10.0.0.2")));
    sl_check(sl_cert_covers(c, SL_STR("::1")) && sl_cert_covers(c, SL_STR("[::1]")));
    sl_check(ERR_peek_error() == 0);
    sl_cert_unref(c);
    drop(cert);
    drop(text);
    EVP_PKEY_free(key);
}

static void test_self_signed(void)
{
    struct sl_cert *a, *again, *other, *ip, *wild;
    struct sl_err err;

    sl_check(sl_cert_self_signed(&a, SL_STR("a.example"), &err) == 0);
    sl_check(sl_cert_self_signed(&again, SL_STR("a.example"), &err) == 0 && a == again);
    sl_check(sl_cert_self_signed(&other, SL_STR("b.example"), &err) == 0 && other != a);
    sl_check(sl_cert_self_signed(&ip, SL_STR("192.0.2.1"), &err) == 0);
    sl_check(sl_cert_self_signed(&wild, SL_STR("*.w.example"), &err) == 0);
    sl_check(sl_cert_covers(a, SL_STR("a.example")) && !sl_cert_covers(a, SL_STR("b.example")));
    sl_check(sl_cert_covers(ip, SL_STR("192.0.2.1")));
    sl_check(sl_cert_covers(wild, SL_STR("x.w.example")));
    sl_check(sl_cert_not_after(a) - time(NULL) > 89 * 86400);
    sl_check(sl_cert_self_signed(&a, SL_STR("a,DNS:evil"), &err) == SL_E_CONFIG);
    sl_check(sl_cert_self_signed(&a, SL_STR(""), &err) == SL_E_CONFIG);
    sl_check(sl_cert_self_signed(&a, SL_STR("a b"), &err) == SL_E_CONFIG);
    sl_cert_unref(a);
    sl_cert_unref(again);
    sl_cert_unref(other);
    sl_cert_unref(ip);
    sl_cert_unref(wild);
}

/* What is kept as text is a certificate like any other, with a key of its own. */
static void test_made_for_keeping(void)
{
    struct sl_cert_pem first, second;
    struct sl_cert *c;
    uint8_t pin[32], same[32], other[32];
    struct sl_err err;

    sl_check(sl_cert_make_pem(&first, SL_STR("hub.example"), 3650, &err) == 0);
    sl_check(sl_cert_make_pem(&second, SL_STR("hub.example"), 3650, &err) == 0);
    sl_check(sl_cert_from_pem(&c, sl_str(first.cert, first.cert_len),
                              sl_str(first.key, first.key_len), &err) == 0);
    sl_check(sl_cert_covers(c, SL_STR("hub.example")));
    sl_check(sl_cert_not_after(c) - time(NULL) > 3649LL * 86400);
    sl_cert_pin(c, pin);
    sl_check(sl_cert_pin_of_pem(sl_str(first.cert, first.cert_len), same, &err) == 0);
    sl_check(sl_cert_pin_of_pem(sl_str(second.cert, second.cert_len), other, &err) == 0);
    sl_check(memcmp(pin, same, sizeof(pin)) == 0 && memcmp(pin, other, sizeof(pin)) != 0);
    sl_check(sl_cert_pin_of_pem(SL_STR("x"), same, &err) == SL_E_CONFIG);
    sl_check(sl_cert_make_pem(&first, SL_STR("a,DNS:evil"), 1, &err) == SL_E_CONFIG);
    sl_check(ERR_peek_error() == 0);
    sl_cert_unref(c);
}

static void keep_others(int from, int n)
{
    struct sl_cert *c;
    char name[32];

    for (int i = from; i < from + n; i++) {
        snprintf(name, sizeof(name), "k%d.example", i);
        sl_check(sl_cert_self_signed(&c, sl_str_c(name), NULL) == 0);
        sl_cert_keep(c);
        sl_cert_unref(c);
    }
}

/* How many times it was parsed to be used once more. */
static uint64_t use_again(void)
{
    uint64_t before = sl_cert_parsed();
    struct sl_cert *c;

    sl_check(load(&c, the_cert, the_key_text, NULL) == 0);
    sl_cert_keep(c);
    sl_cert_unref(c);
    return sl_cert_parsed() - before;
}

static void test_kept(void)
{
    sl_check(use_again() == 1);
    sl_check(use_again() == 0);
    keep_others(0, SL_CERT_KEPT - 1);
    sl_check(use_again() == 0);
    keep_others(SL_CERT_KEPT, 1);
    sl_check(use_again() == 1);
}

/* A process that publishes nothing for months goes on with certificates that are valid. */
static void test_self_signed_is_renewed(void)
{
    const int64_t now = time(NULL), day = 86400;
    struct sl_str text = cert_text(the_key, "DNS:own.example");
    struct sl_cert *c, *first, *next, *again, *own;

    sl_check(sl_cert_self_signed(&c, SL_STR("r.example"), NULL) == 0);
    first = sl_cert_ref(c);
    c = sl_cert_renew(c, now + 59 * day);
    sl_check(c == first);
    next = sl_cert_renew(c, now + 61 * day);
    sl_check(next != first && sl_cert_covers(next, SL_STR("r.example")));
    sl_check(sl_cert_not_after(next) > now + 150 * day);
    again = sl_cert_renew(first, now + 62 * day);
    sl_check(again == next);
    sl_check(sl_cert_self_signed(&first, SL_STR("r.example"), NULL) == 0 && first == next);
    sl_check(sl_cert_from_pem(&own, text, the_key_text, NULL) == 0);
    sl_check(sl_cert_renew(own, now + 9999 * day) == own);
    sl_cert_unref(own);
    sl_cert_unref(next);
    sl_cert_unref(again);
    sl_cert_unref(first);
    drop(text);
}

/* A stranger who asks for name after name cannot make the process keep them all. */
static void test_self_signed_is_bounded(void)
{
    struct sl_cert *first, *c;
    char name[32];

    sl_check(sl_cert_self_signed(&first, SL_STR("first.example"), NULL) == 0);
    for (int i = 0; i < 1100; i++) {
        snprintf(name, sizeof(name), "n%d.example", i);
        sl_check(sl_cert_self_signed(&c, sl_str_c(name), NULL) == 0);
        sl_cert_unref(c);
    }
    sl_check(sl_cert_self_signed(&c, SL_STR("first.example"), NULL) == 0 && c != first);
    sl_cert_unref(first);
    sl_cert_unref(c);
}

static void test_pin(void)
{
    struct sl_str again = cert_text(the_key, "DNS:other.example");
    uint8_t pin[32], same_key[32];
    struct sl_cert *c;

    sl_check(load(&c, the_cert, the_key_text, NULL) == 0);
    sl_cert_pin(c, pin);
    sl_cert_unref(c);
    sl_check(load(&c, again, the_key_text, NULL) == 0);
    sl_cert_pin(c, same_key);
    sl_cert_unref(c);
    sl_check(memcmp(pin, same_key, sizeof(pin)) == 0);
    drop(again);
}

int main(void)
{
    the_key = new_key();
    the_cert = cert_text(the_key, "DNS:a.example");
    the_key_text = key_text(the_key, NULL);
    test_cache();
    test_threads();
    test_escaped();
    test_refusals();
    test_weak_key();
    test_key_types();
    test_blocks_around();
    test_chain();
    test_covers();
    test_self_signed();
    test_made_for_keeping();
    test_self_signed_is_renewed();
    test_self_signed_is_bounded();
    test_kept();
    test_pin();
    drop(the_cert);
    drop(the_key_text);
    EVP_PKEY_free(the_key);
    return sl_check_done();
}
