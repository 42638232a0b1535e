#include <openssl/err.h>
#include <openssl/pem.h>
#include "tls/cert_internal.h"
#include "tls/weak.h"

enum {
    TEXT_MAX = 1 << 20,
    CHAIN_MAX = 16, /* certificates above the leaf; browsers give up earlier */
};

struct sl_cert_chain {
    struct sl_weak weak;
    STACK_OF(X509) * certs;
};

static void free_chain(struct sl_weak *w)
{
    struct sl_cert_chain *chain = sl_container_of(w, struct sl_cert_chain, weak);

    sk_X509_pop_free(chain->certs, X509_free);
    sl_free(chain);
}

static struct sl_weak_table chains = SL_WEAK_TABLE(free_chain);

void sl_cert_chain_unref(struct sl_cert_chain *chain)
{
    if (chain != NULL)
        sl_weak_unref(&chains, &chain->weak);
}

STACK_OF(X509) * sl_cert_chain_certs(const struct sl_cert_chain *chain)
{
    return chain != NULL ? chain->certs : NULL;
}

char *sl_pem_unescape(struct sl_str text, size_t *len)
{
    char *copy;
    size_t n = 0;

    if (memchr(text.p, '\n', text.len) != NULL || memmem(text.p, text.len, "\\n", 2) == NULL)
        return NULL;
    copy = sl_alloc(text.len);
    for (size_t i = 0; i < text.len; i++) {
        bool is_escape = text.p[i] == '\\' && i + 1 < text.len && text.p[i + 1] == 'n';

        copy[n++] = is_escape ? '\n' : text.p[i];
        i += is_escape;
    }
    *len = n;
    return copy;
}

void sl_pem_free(char *copy, size_t len)
{
    if (copy != NULL)
        OPENSSL_cleanse(copy, len);
    sl_free(copy);
}

/* The DER bytes of the certificates in a text. */
struct ders {
    struct der {
        unsigned char *bytes;
        long len;
    } item[1 + CHAIN_MAX];
    int n;
    bool is_too_many;
};

/* Other blocks (a key in the same file) are stepped over and wiped. */
static void read_ders(struct ders *d, BIO *bio)
{
    struct der der;
    char *name, *header;

    while (!d->is_too_many && PEM_read_bio(bio, &name, &header, &der.bytes, &der.len) == 1) {
        bool is_cert = strcmp(name, PEM_STRING_X509) == 0 || strcmp(name, PEM_STRING_X509_OLD) == 0;

        if (is_cert && d->n < (int)SL_COUNT(d->item)) {
            d->item[d->n++] = der;
        } else {
            d->is_too_many = is_cert;
            OPENSSL_clear_free(der.bytes, (size_t)der.len);
        }
        OPENSSL_free(name);
        OPENSSL_free(header);
    }
    ERR_clear_error(); /* that it found no further one is no error */
}

static void free_ders(struct ders *d)
{
    for (int i = 0; i < d->n; i++)
        OPENSSL_free(d->item[i].bytes);
}

static X509 *parse(const struct der *der)
{
    const unsigned char *at = der->bytes;

    return d2i_X509(NULL, &at, der->len);
}

static void hash_chain(const struct ders *d, uint8_t out[SL_WEAK_KEY_LEN])
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    int ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;

    for (int i = 1; i < d->n; i++)
        ok = ok && EVP_DigestUpdate(md, d->item[i].bytes, (size_t)d->item[i].len) == 1;
    ok = ok && EVP_DigestFinal_ex(md, out, NULL) == 1;
    sl_assert(ok);
    EVP_MD_CTX_free(md);
}

static struct sl_cert_chain *parse_chain(const struct ders *d)
{
    struct sl_cert_chain *chain = sl_zalloc(sizeof(*chain));

    chain->certs = sk_X509_new_reserve(NULL, d->n - 1);
    for (int i = 1; i < d->n; i++) {
        X509 *cert = parse(&d->item[i]);

        if (cert == NULL || sk_X509_push(chain->certs, cert) == 0) {
            X509_free(cert);
            free_chain(&chain->weak);
            return NULL;
        }
    }
    return chain;
}

/* The chain above the leaf, made once for all that share it. NULL when it cannot be parsed. */
static struct sl_cert_chain *find_chain(const struct ders *d)
{
    struct sl_cert_chain *chain;
    uint8_t digest[SL_WEAK_KEY_LEN];
    struct sl_weak *w;

    hash_chain(d, digest);
    w = sl_weak_find(&chains, digest);
    if (w == NULL) {
        chain = parse_chain(d);
        if (chain == NULL)
            return NULL;
        w = sl_weak_add(&chains, &chain->weak, digest);
    }
    return sl_container_of(w, struct sl_cert_chain, weak);
}

static int use_ders(struct sl_pem_certs *out, const struct ders *d, struct sl_err *err)
{
    if (d->n == 0)
        return sl_err_set(err, SL_E_CONFIG, "certificate.cert: not a PEM certificate");
    if (d->is_too_many)
        return sl_err_set(err, SL_E_CONFIG,
                          "certificate.cert: more than %d certificates; keep the leaf and the "
                          "intermediates that clients need",
                          1 + CHAIN_MAX);
    out->leaf = parse(&d->item[0]);
    if (out->leaf == NULL)
        return sl_err_set(err, SL_E_CONFIG,
                          "certificate.cert: the PEM block holds no X.509 certificate");
    if (d->n > 1 && (out->chain = find_chain(d)) == NULL)
        return sl_err_set(err, SL_E_CONFIG,
                          "certificate.cert: a certificate after the first one is damaged");
    return 0;
}

int sl_pem_read_certs(struct sl_pem_certs *out, struct sl_str text, struct sl_err *err)
{
    struct ders d = {0};
    BIO *bio;
    int rc;

    if (text.len > TEXT_MAX)
        return sl_err_set(err, SL_E_CONFIG, "certificate.cert: longer than 1 MiB");
    bio = BIO_new_mem_buf(text.p, (int)text.len);
    sl_assert(bio != NULL);
    read_ders(&d, bio);
    BIO_free(bio);
    rc = use_ders(out, &d, err);
    free_ders(&d);
    ERR_clear_error();
    return rc;
}

int sl_pem_no_password(char *buf, int size, int rwflag, void *user)
{
    (void)buf;
    (void)size;
    (void)rwflag;
    (void)user;
    return -1;
}

static int no_key(struct sl_str text, struct sl_err *err)
{
    if (memmem(text.p, text.len, "ENCRYPTED", 9) != NULL)
        return sl_err_set(err, SL_E_CONFIG, "the key is encrypted; store it without a passphrase");
    return sl_err_set(err, SL_E_CONFIG, "not a PEM private key");
}

int sl_pem_read_key(EVP_PKEY **out, struct sl_str text, struct sl_err *err)
{
    BIO *bio;

    if (text.len > TEXT_MAX)
        return sl_err_set(err, SL_E_CONFIG, "longer than 1 MiB");
    bio = BIO_new_mem_buf(text.p, (int)text.len);
    sl_assert(bio != NULL);
    *out = PEM_read_bio_PrivateKey(bio, NULL, sl_pem_no_password, NULL);
    BIO_free(bio);
    ERR_clear_error();
    return *out != NULL ? 0 : no_key(text, err);
}

bool sl_pem_take(BIO *from, char *out, size_t room, size_t *len)
{
    char *text;
    long n = BIO_get_mem_data(from, &text);

    if (n <= 0 || (size_t)n > room)
        return false;
    memcpy(out, text, (size_t)n);
    *len = (size_t)n;
    return true;
}
