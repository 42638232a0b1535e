#include "base/arena.h"
#include "base/check.h"
#include "route/snapshot.h"

static const struct sl_expand with = {.domain = {"a.example", 9},
                                      .path = {"/x?y={port}", 11},
                                      .client_ip = {"2001:db8::1", 11},
                                      .port = 8443};

static void templates_are_filled_in(void)
{
    static const struct {
        const char *template, *want;
    } rows[] = {
        {"", ""},
        {"plain", "plain"},
        {"https://{domain}{path}", "https://a.example/x?y={port}"}, /* values are not templates */
        {"https://{domain}:{port}/", "https://a.example:8443/"},
        {"{clientIp}", "2001:db8::1"},
        {"{port}{port}", "84438443"},
        {"{\"json\": \"{domain}\"}", "{\"json\": \"a.example\"}"},
        {"{unknown} {", "{unknown} {"},
        {"{{domain}}", "{a.example}"},
        {"{}", "{}"},
        {"{Domain}", "{Domain}"},
        {"{domain", "{domain"},
    };
    struct sl_arena arena = {0};

    for (size_t i = 0; i < SL_COUNT(rows); i++)
        sl_check_str(sl_route_expand(sl_str_c(rows[i].template), &with, &arena),
                     sl_str_c(rows[i].want));
    sl_arena_clear(&arena);
}

static void a_template_without_variables_is_not_copied(void)
{
    struct sl_str template = SL_STR("x-y");

    sl_check(sl_route_expand(template, &with, NULL).p == template.p);
}

static void values_cannot_split_a_header(void)
{
    const struct sl_expand evil = {.path = SL_STR("/a\r\nset-cookie: b\0\x7f\xc3\xbc")};
    struct sl_arena arena = {0};

    sl_check_str(sl_route_expand(SL_STR("[{path}]"), &evil, &arena),
                 SL_STR("[/a%0D%0Aset-cookie:%20b%00%7F\xc3\xbc]"));
    sl_arena_clear(&arena);
}

static void empty_values_leave_nothing(void)
{
    const struct sl_expand empty = {0};
    struct sl_arena arena = {0};

    sl_check_str(sl_route_expand(SL_STR("<{domain}{path}{port}>"), &empty, &arena), SL_STR("<0>"));
    sl_arena_clear(&arena);
}

int main(void)
{
    templates_are_filled_in();
    a_template_without_variables_is_not_copied();
    values_cannot_split_a_header();
    empty_values_leave_nothing();
    return sl_check_done();
}
