#include "tls/facts.h"

#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include "net/addr.h"
#include "tls/cert_internal.h"

static void add_name(struct sl_buf *names, struct sl_str name)
{
    /* A NUL inside would make two names of one. */
    if (name.len > 0 && memchr(name.p, '\0', name.len) == NULL) {
        sl_buf_append_str(names, name);
        sl_buf_append(names, "", 1);
    }
}

static void add_ip(struct sl_buf *names, const ASN1_STRING *value)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    const uint8_t *bytes = ASN1_STRING_get0_data(value);
    char text[SL_ADDR_TEXT_LEN];
    struct sl_addr addr;
    uint8_t ip[16];

    if (ASN1_STRING_length(value) == 4) {
        memcpy(ip, mapped, sizeof(mapped));
        memcpy(ip + sizeof(mapped), bytes, 4);
    } else if (ASN1_STRING_length(value) == 16) {
        memcpy(ip, bytes, 16);
    } else {
        return;
    }
    sl_addr_from_ip16(&addr, ip, 0);
    add_name(names, sl_str_c(sl_addr_ip(&addr, text)));
}

static void read_names(struct sl_buf *out, const X509 *x)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);

    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        int type;
        const ASN1_STRING *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type);

        if (type == GEN_DNS)
            add_name(out, sl_str((const char *)ASN1_STRING_get0_data(value),
                                 (size_t)ASN1_STRING_length(value)));
        else if (type == GEN_IPADD)
            add_ip(out, value);
    }
    GENERAL_NAMES_free(names);
}

static bool take(struct sl_cert_id *out, const unsigned char *bytes, long len)
{
    if (len < 0 || len > SL_CERT_ID_MAX)
        return false;
    memcpy(out->bytes, bytes, (size_t)len);
    out->len = (size_t)len;
    return true;
}

static bool read_serial(struct sl_cert_id *out, const X509 *x)
{
    unsigned char *der = NULL;
    int len = i2d_ASN1_INTEGER(X509_get0_serialNumber(x), &der), tag, tag_class;
    const unsigned char *at = der;
    bool ok;
    long n;

    ok = len > 0 && (ASN1_get_object(&at, &n, &tag, &tag_class, len) & 0x80) == 0 &&
         take(out, at, n);
    OPENSSL_free(der);
    return ok;
}

static void read_issuer(struct sl_cert_facts *out, const X509 *x)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    long len;

    if (bio != NULL && X509_NAME_print_ex(bio, X509_get_issuer_name(x), 0, XN_FLAG_RFC2253) >= 0 &&
        (len = BIO_get_mem_data(bio, &text)) > 0) {
        out->issuer_len = SL_MIN((size_t)len, sizeof(out->issuer));
        memcpy(out->issuer, text, out->issuer_len);
    }
    BIO_free(bio);
}

static int read_facts(struct sl_cert_facts *out, X509 *x, struct sl_err *err)
{
    const ASN1_OCTET_STRING *authority = X509_get0_authority_key_id(x);

    out->not_before = sl_cert_seconds(X509_get0_notBefore(x));
    out->not_after = sl_cert_seconds(X509_get0_notAfter(x));
    read_issuer(out, x);
    if (!read_serial(&out->serial_der, x))
        return sl_err_set(err, SL_E_CONFIG, "the serial number has more than %d bytes",
                          SL_CERT_ID_MAX);
    if (authority != NULL && !take(&out->authority_key_id, ASN1_STRING_get0_data(authority),
                                   ASN1_STRING_length(authority)))
        return sl_err_set(err, SL_E_CONFIG, "the authority key identifier has more than %d bytes",
                          SL_CERT_ID_MAX);
    if (sl_cert_pin_of(x, out->pin) < 0)
        return sl_err_set(err, SL_E_CONFIG, "OpenSSL cannot write its public key");
    return 0;
}

int sl_cert_facts_of_pem(struct sl_cert_facts *out, struct sl_buf *names, struct sl_str pem,
                         struct sl_err *err)
{
    struct sl_pem_certs found = {0};
    int rc = sl_pem_read_certs(&found, pem, err);

    *out = (struct sl_cert_facts){0};
    if (rc == 0 && (rc = read_facts(out, found.leaf, err)) == 0)
        read_names(names, found.leaf);
    X509_free(found.leaf);
    sl_cert_chain_unref(found.chain);
    ERR_clear_error();
    return rc;
}
