#include "tls/names.h"

#include "net/addr.h"
#include "tls/openssl.h"

/* Letters, digits, '-', '_' and '.', or such a name behind "*.": what a certificate may hold. */
static bool is_host_name(struct sl_str name)
{
    if (name.len > 2 && name.p[0] == '*' && name.p[1] == '.')
        name = sl_str(name.p + 2, name.len - 2);
    for (size_t i = 0; i < name.len; i++) {
        char c = (char)sl_lower((unsigned char)name.p[i]);

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.'))
            return false;
    }
    return name.len > 0 && name.len <= SL_CERT_NAME_MAX - 2;
}

int sl_name_clean(char text[SL_CERT_NAME_MAX + 1], struct sl_str name, bool *is_ip,
                  struct sl_err *err)
{
    struct sl_addr addr;

    *is_ip = sl_addr_parse(&addr, name, 0) == 0;
    if (*is_ip)
        sl_addr_ip(&addr, text);
    else if (is_host_name(name))
        snprintf(text, SL_CERT_NAME_MAX + 1, "%.*s", SL_STR_FMT(name));
    else
        return sl_err_set(err, SL_E_CONFIG, "no certificate can be made for the name \"%.*s\"",
                          (int)SL_MIN(name.len, (size_t)100), name.p);
    return 0;
}

static bool fill(GENERAL_NAME *to, const char *text, bool is_ip)
{
    ASN1_STRING *value = is_ip ? a2i_IPADDRESS(text) : ASN1_IA5STRING_new();

    if (value == NULL || (!is_ip && ASN1_STRING_set(value, text, -1) != 1)) {
        ASN1_STRING_free(value);
        return false;
    }
    GENERAL_NAME_set0_value(to, is_ip ? GEN_IPADD : GEN_DNS, value);
    return true;
}

static int add(GENERAL_NAMES *names, struct sl_str name, struct sl_err *err)
{
    char text[SL_CERT_NAME_MAX + 1];
    GENERAL_NAME *general;
    bool is_ip;
    int rc = sl_name_clean(text, name, &is_ip, err);

    if (rc < 0)
        return rc;
    general = GENERAL_NAME_new();
    if (general != NULL && fill(general, text, is_ip) && sk_GENERAL_NAME_push(names, general) > 0)
        return 0;
    GENERAL_NAME_free(general);
    return sl_openssl_error(err, "cannot write a name");
}

int sl_names_new(GENERAL_NAMES **out, const struct sl_str *names, size_t n, struct sl_err *err)
{
    GENERAL_NAMES *list = sk_GENERAL_NAME_new_null();
    int rc = list != NULL ? 0 : sl_openssl_error(err, "cannot write names");

    for (size_t i = 0; i < n && rc == 0; i++)
        rc = add(list, names[i], err);
    if (rc < 0)
        GENERAL_NAMES_free(list);
    else
        *out = list;
    return rc;
}
