#include "tls/cert.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include "net/addr.h"
#include "tls/cert_internal.h"
#include "tls/weak.h"

enum { SECURITY_BITS_MIN = 112 }; /* RSA with 2048 bits; below it OpenSSL refuses to use the key */

struct sl_cert {
    struct sl_weak weak;
    X509 *leaf;
    EVP_PKEY *key;
    struct sl_cert_chain *chain;
    int64_t not_after;
    uint8_t id[32]; /* the SHA-256 of the leaf */
    char *made_for; /* see cert_internal.h */
    bool is_kept;   /* guarded by kept.lock */
};

static void free_cert(struct sl_weak *w)
{
    struct sl_cert *c = sl_container_of(w, struct sl_cert, weak);

    X509_free(c->leaf);
    EVP_PKEY_free(c->key);
    sl_cert_chain_unref(c->chain);
    sl_free(c->made_for);
    sl_free(c);
}

static struct sl_weak_table certs = SL_WEAK_TABLE(free_cert);
static atomic_ullong n_parsed;

struct sl_cert *sl_cert_ref(struct sl_cert *c)
{
    sl_weak_ref(&c->weak);
    return c;
}

void sl_cert_unref(struct sl_cert *c)
{
    if (c != NULL)
        sl_weak_unref(&certs, &c->weak);
}

int64_t sl_cert_not_after(const struct sl_cert *c)
{
    return c->not_after;
}

uint64_t sl_cert_parsed(void)
{
    return atomic_load_explicit(&n_parsed, memory_order_relaxed);
}

int64_t sl_cert_seconds(const ASN1_TIME *time)
{
    struct tm tm = {0};

    return ASN1_TIME_to_tm(time, &tm) == 1 ? timegm(&tm) : 0;
}

/* What OpenSSL knows of the leaf, in the form in which it is asked for. */
static void note_leaf(struct sl_cert *c)
{
    c->not_after = sl_cert_seconds(X509_get0_notAfter(c->leaf));
    sl_assert(X509_digest(c->leaf, EVP_sha256(), c->id, NULL) == 1);
}

static struct sl_cert *add(struct sl_cert *c, const uint8_t key[SL_WEAK_KEY_LEN])
{
    return sl_container_of(sl_weak_add(&certs, &c->weak, key), struct sl_cert, weak);
}

const char *sl_cert_made_for(const struct sl_cert *c)
{
    return c->made_for;
}

struct sl_cert *sl_cert_adopt(X509 *leaf, struct sl_cert_chain *chain, EVP_PKEY *key,
                              const char *made_for)
{
    struct sl_cert *c = sl_zalloc(sizeof(*c));

    c->leaf = leaf;
    c->chain = chain;
    c->key = key;
    c->made_for = made_for != NULL ? sl_strndup(made_for, strlen(made_for)) : NULL;
    note_leaf(c);
    return add(c, c->id);
}

static int check_key(const struct sl_cert *c, struct sl_err *err)
{
    if (X509_check_private_key(c->leaf, c->key) != 1)
        return sl_err_set(err, SL_E_CONFIG,
                          "certificate.key: the key does not belong to the first certificate of "
                          "certificate.cert");
    if (EVP_PKEY_get_security_bits(c->key) < SECURITY_BITS_MIN)
        return sl_err_set(err, SL_E_CONFIG,
                          "certificate.key: %s with %d bits is too weak; use RSA with 2048 bits or "
                          "an EC key",
                          EVP_PKEY_get0_type_name(c->key), EVP_PKEY_get_bits(c->key));
    return 0;
}

static int parse(struct sl_cert *c, struct sl_str cert_pem, struct sl_str key_pem,
                 struct sl_err *err)
{
    struct sl_pem_certs found = {0};
    int rc = sl_pem_read_certs(&found, cert_pem, err);

    c->leaf = found.leaf;
    c->chain = found.chain;
    if (rc == 0 && (rc = sl_pem_read_key(&c->key, key_pem, err)) < 0)
        sl_err_prefix(err, "certificate.key: ");
    if (rc == 0)
        rc = check_key(c, err);
    if (rc == 0)
        note_leaf(c);
    ERR_clear_error();
    return rc;
}

static int parse_escaped(struct sl_cert *c, struct sl_str cert_pem, struct sl_str key_pem,
                         struct sl_err *err)
{
    size_t cert_len = cert_pem.len, key_len = key_pem.len;
    char *cert_copy = sl_pem_unescape(cert_pem, &cert_len);
    char *key_copy = sl_pem_unescape(key_pem, &key_len);
    int rc = parse(c, sl_str(cert_copy != NULL ? cert_copy : cert_pem.p, cert_len),
                   sl_str(key_copy != NULL ? key_copy : key_pem.p, key_len), err);

    sl_pem_free(cert_copy, cert_len);
    sl_pem_free(key_copy, key_len);
    return rc;
}

/* The length in front tells where the certificate ends and the key begins. */
static void hash_texts(struct sl_str cert_pem, struct sl_str key_pem, uint8_t out[SL_WEAK_KEY_LEN])
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    int ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
             EVP_DigestUpdate(md, &cert_pem.len, sizeof(cert_pem.len)) == 1 &&
             EVP_DigestUpdate(md, cert_pem.p, cert_pem.len) == 1 &&
             EVP_DigestUpdate(md, key_pem.p, key_pem.len) == 1 &&
             EVP_DigestFinal_ex(md, out, NULL) == 1;

    sl_assert(ok);
    EVP_MD_CTX_free(md);
}

int sl_cert_from_pem(struct sl_cert **out, struct sl_str cert_pem, struct sl_str key_pem,
                     struct sl_err *err)
{
    uint8_t key[SL_WEAK_KEY_LEN];
    struct sl_weak *known;
    struct sl_cert *c;
    int rc;

    hash_texts(cert_pem, key_pem, key);
    known = sl_weak_find(&certs, key);
    if (known != NULL) {
        *out = sl_container_of(known, struct sl_cert, weak);
        return 0;
    }
    atomic_fetch_add_explicit(&n_parsed, 1, memory_order_relaxed);
    c = sl_zalloc(sizeof(*c));
    if ((rc = parse_escaped(c, cert_pem, key_pem, err)) < 0) {
        free_cert(&c->weak);
        return rc;
    }
    *out = add(c, key);
    return 0;
}

/* Those that scripts have shown lately, which no route holds. */
static struct {
    pthread_mutex_t lock;
    struct sl_cert *ring[SL_CERT_KEPT];
    size_t next;
} kept = {.lock = PTHREAD_MUTEX_INITIALIZER};

void sl_cert_keep(struct sl_cert *c)
{
    struct sl_cert *old = NULL;

    pthread_mutex_lock(&kept.lock);
    if (!c->is_kept) {
        old = kept.ring[kept.next];
        kept.ring[kept.next] = sl_cert_ref(c);
        kept.next = (kept.next + 1) % SL_CERT_KEPT;
        c->is_kept = true;
        if (old != NULL)
            old->is_kept = false;
    }
    pthread_mutex_unlock(&kept.lock);
    sl_cert_unref(old);
}

int sl_cert_pin_of(const X509 *x, uint8_t out[32])
{
    unsigned char *der = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
    int ok = len > 0 && EVP_Digest(der, (size_t)len, out, NULL, EVP_sha256(), NULL) == 1;

    OPENSSL_free(der);
    return ok ? 0 : SL_E_TLS;
}

void sl_cert_pin(const struct sl_cert *c, uint8_t out[32])
{
    sl_assert(sl_cert_pin_of(c->leaf, out) == 0);
}

int sl_cert_pin_of_pem(struct sl_str cert_pem, uint8_t out[32], struct sl_err *err)
{
    struct sl_pem_certs found = {0};
    int rc = sl_pem_read_certs(&found, cert_pem, err);

    if (rc == 0 && sl_cert_pin_of(found.leaf, out) < 0)
        rc = sl_err_set(err, SL_E_CONFIG, "certificate.cert: OpenSSL cannot write its public key");
    X509_free(found.leaf);
    sl_cert_chain_unref(found.chain);
    return rc;
}

bool sl_cert_covers(const struct sl_cert *c, struct sl_str host)
{
    struct sl_addr addr;
    char text[SL_ADDR_TEXT_LEN];
    bool covers;

    if (host.len == 0 || host.p[0] == '.') /* OpenSSL would take that for "any name below" */
        return false;
    if (sl_addr_parse(&addr, host, 0) == 0)
        covers = X509_check_ip_asc(c->leaf, sl_addr_ip(&addr, text), 0) == 1;
    else
        covers = X509_check_host(c->leaf, host.p, host.len, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS,
                                 NULL) == 1;
    ERR_clear_error();
    return covers;
}

int sl_cert_use(const struct sl_cert *c, SSL *ssl)
{
    bool ok = SSL_use_cert_and_key(ssl, c->leaf, c->key, sl_cert_chain_certs(c->chain), 1) == 1 &&
              SSL_set_session_id_context(ssl, c->id, sizeof(c->id)) == 1;

    return ok ? 0 : SL_E_TLS;
}
