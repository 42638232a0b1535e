#include "base/error.h"
#include "base/check.h"

#include <errno.h>

static void every_code_has_a_text_of_its_own(void)
{
    static const int codes[] = {
#define SL_ERROR_CODE(name, number, text) SL_E_##name,
        SL_ERRORS(SL_ERROR_CODE)
#undef SL_ERROR_CODE
    };

    for (size_t i = 0; i < SL_COUNT(codes); i++) {
        sl_check(codes[i] < 0 && sl_error_text(codes[i])[0] != '\0');
        for (size_t k = 0; k < i; k++)
            sl_check(strcmp(sl_error_text(codes[i]), sl_error_text(codes[k])) != 0);
    }
    sl_check_str(sl_str_c(sl_error_text(0)), SL_STR("no error"));
    sl_check_str(sl_str_c(sl_error_text(-12345)), SL_STR("unknown error"));
}

static void errno_values_become_codes(void)
{
    static const int rows[][2] = {
        {EAGAIN, SL_E_AGAIN},      {ECONNREFUSED, SL_E_REFUSED}, {ECONNRESET, SL_E_RESET},
        {EPIPE, SL_E_RESET},       {ETIMEDOUT, SL_E_TIMEOUT},    {ENETUNREACH, SL_E_UNREACHABLE},
        {EADDRINUSE, SL_E_IN_USE}, {EACCES, SL_E_DENIED},        {EMFILE, SL_E_LIMIT},
        {ENOMEM, SL_E_MEMORY},     {ENOENT, SL_E_NOT_FOUND},     {EINVAL, SL_E_SYSTEM},
    };

    for (size_t i = 0; i < SL_COUNT(rows); i++)
        sl_check(sl_error_from_errno(rows[i][0]) == rows[i][1]);
}

static void a_path_is_built_from_the_inside_out(void)
{
    struct sl_err err;

    sl_check(sl_err_set(&err, SL_E_CONFIG, "%d is not a port", 0) == SL_E_CONFIG);
    sl_check(sl_err_prefix(&err, "match.ports[%d]: ", 1) == SL_E_CONFIG);
    sl_check(sl_err_prefix(&err, "routes[%d].", 3) == SL_E_CONFIG);
    sl_check_str(sl_str_c(err.text), SL_STR("routes[3].match.ports[1]: 0 is not a port"));
    sl_check(err.code == SL_E_CONFIG);
    sl_check(sl_err_set(NULL, SL_E_TLS, "nobody listens") == SL_E_TLS);
}

static void long_sentences_are_cut_at_the_end(void)
{
    struct sl_err err;
    char name[600];

    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    sl_err_set(&err, SL_E_CONFIG, "%s", name);
    sl_check(strlen(err.text) == sizeof(err.text) - 1);
    sl_err_prefix(&err, "routes[%d]: ", 7);
    sl_check(strlen(err.text) == sizeof(err.text) - 1);
    sl_check(sl_str_starts(sl_str_c(err.text), SL_STR("routes[7]: nnn")));
    sl_err_prefix(&err, "%s", name);
    sl_check(strlen(err.text) == sizeof(err.text) - 1);
}

int main(void)
{
    every_code_has_a_text_of_its_own();
    errno_values_become_codes();
    a_path_is_built_from_the_inside_out();
    long_sentences_are_cut_at_the_end();
    return sl_check_done();
}
