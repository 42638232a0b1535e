#include "tls/issue.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include "tls/cert_internal.h"
#include "tls/key_internal.h"
#include "tls/names.h"
#include "tls/openssl.h"

enum { COMMON_NAME_MAX = 64 };

/* --- certificates --- */

static bool set_serial(X509 *x)
{
    unsigned char bytes[16];
    BIGNUM *number;
    bool ok;

    if (RAND_bytes(bytes, sizeof(bytes)) != 1)
        return false;
    bytes[0] = (bytes[0] & 0x7f) | 0x40; /* positive, and of one length */
    number = BN_bin2bn(bytes, sizeof(bytes), NULL);
    ok = number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x)) != NULL;
    BN_free(number);
    return ok;
}

/* A name that is too long for a common name lives in the alternative names alone, where clients
 * look. */
static bool set_subject(X509 *x, const char *first_name)
{
    const char *common = strlen(first_name) <= COMMON_NAME_MAX ? first_name : "sluice";
    X509_NAME *subject = X509_get_subject_name(x);

    return X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)common,
                                      -1, -1, 0) == 1 &&
           X509_set_issuer_name(x, subject) == 1;
}

static bool add_extension(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    bool ok = ext != NULL && X509_add_ext(x, ext, -1) == 1;

    X509_EXTENSION_free(ext);
    return ok;
}

/* A critical extension that holds an OCTET STRING. */
static bool add_acme_identifier(X509 *x, const uint8_t *identifier)
{
    uint8_t der[2 + SL_ACME_IDENTIFIER_LEN] = {V_ASN1_OCTET_STRING, SL_ACME_IDENTIFIER_LEN};
    ASN1_OBJECT *oid = OBJ_txt2obj("1.3.6.1.5.5.7.1.31", 1);
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    X509_EXTENSION *ext = NULL;
    bool ok;

    memcpy(der + 2, identifier, SL_ACME_IDENTIFIER_LEN);
    if (oid != NULL && value != NULL && ASN1_OCTET_STRING_set(value, der, sizeof(der)) == 1)
        ext = X509_EXTENSION_create_by_OBJ(NULL, oid, 1, value);
    ok = ext != NULL && X509_add_ext(x, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    ASN1_OCTET_STRING_free(value);
    ASN1_OBJECT_free(oid);
    return ok;
}

static bool fill(X509 *x, const struct sl_key *key, const struct sl_issue *what)
{
    time_t now = (time_t)what->now;

    return X509_set_version(x, X509_VERSION_3) == 1 && set_serial(x) &&
           X509_time_adj_ex(X509_getm_notBefore(x), -1, 0, &now) != NULL &&
           X509_time_adj_ex(X509_getm_notAfter(x), what->days, 0, &now) != NULL &&
           X509_set_pubkey(x, key->pkey) == 1 &&
           add_extension(x, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(x, NID_key_usage, "critical,digitalSignature") &&
           add_extension(x, NID_ext_key_usage, "serverAuth") &&
           (what->acme_identifier == NULL || add_acme_identifier(x, what->acme_identifier));
}

static bool set_names(X509 *x, const struct sl_issue *what, GENERAL_NAMES *names)
{
    char first[SL_CERT_NAME_MAX + 1];
    bool is_ip;

    return sl_name_clean(first, what->names[0], &is_ip, NULL) == 0 && set_subject(x, first) &&
           X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1;
}

int sl_issue_cert(X509 **out, const struct sl_key *key, const struct sl_issue *what,
                  struct sl_err *err)
{
    GENERAL_NAMES *names;
    X509 *x;
    int rc = sl_names_new(&names, what->names, what->n_names, err);

    if (rc < 0)
        return rc;
    sl_assert(key->is_private && what->n_names > 0);
    x = X509_new();
    if (x == NULL || !fill(x, key, what) || !set_names(x, what, names) ||
        X509_sign(x, key->pkey, sl_key_digest(key)) <= 0) {
        rc = sl_openssl_error(err, "cannot make a certificate");
        X509_free(x);
    } else {
        *out = x;
    }
    GENERAL_NAMES_free(names);
    return rc;
}

int sl_issue_self_signed(struct sl_buf *pem, const struct sl_key *key, const struct sl_issue *what,
                         struct sl_err *err)
{
    BIO *bio;
    char *text;
    long len;
    X509 *x;
    int rc = sl_issue_cert(&x, key, what, err);

    if (rc < 0)
        return rc;
    bio = BIO_new(BIO_s_mem());
    if (bio != NULL && PEM_write_bio_X509(bio, x) == 1 && (len = BIO_get_mem_data(bio, &text)) > 0)
        sl_buf_append(pem, text, (size_t)len);
    else
        rc = sl_openssl_error(err, "cannot write a certificate");
    BIO_free(bio);
    X509_free(x);
    return rc;
}

/* --- requests --- */

static bool add_names(X509_REQ *req, GENERAL_NAMES *names)
{
    STACK_OF(X509_EXTENSION) *list = NULL;
    bool ok = X509V3_add1_i2d(&list, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1 &&
              X509_REQ_add_extensions(req, list) == 1;

    sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
    return ok;
}

static bool write_csr(struct sl_buf *der, const struct sl_key *key, GENERAL_NAMES *names)
{
    X509_REQ *req = X509_REQ_new();
    unsigned char *bytes = NULL;
    int len = -1;

    if (req != NULL && X509_REQ_set_version(req, X509_REQ_VERSION_1) == 1 &&
        X509_REQ_set_pubkey(req, key->pkey) == 1 && add_names(req, names) &&
        X509_REQ_sign(req, key->pkey, sl_key_digest(key)) > 0)
        len = i2d_X509_REQ(req, &bytes);
    if (len > 0)
        sl_buf_append(der, bytes, (size_t)len);
    OPENSSL_free(bytes);
    X509_REQ_free(req);
    return len > 0;
}

int sl_issue_csr(struct sl_buf *der, const struct sl_key *key, const struct sl_str *names, size_t n,
                 struct sl_err *err)
{
    GENERAL_NAMES *list;
    int rc = sl_names_new(&list, names, n, err);

    if (rc < 0)
        return rc;
    sl_assert(key->is_private && n > 0);
    if (!write_csr(der, key, list))
        rc = sl_openssl_error(err, "cannot make a request");
    GENERAL_NAMES_free(list);
    return rc;
}
