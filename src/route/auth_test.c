#include "route/test_routes.h"

static struct sl_snapshot *make(const struct sl_user_spec *users, size_t n)
{
    const struct sl_port_range port = {80, 80};
    const struct sl_target_spec target = {.host = SL_STR("target"), .port = 1};
    const struct sl_route_spec spec = {.ports = &port,
                                       .n_ports = 1,
                                       .targets = &target,
                                       .n_targets = 1,
                                       .users = users,
                                       .n_users = n};
    struct sl_snapshot_builder *b = sl_snapshot_begin(NULL);

    sl_check(sl_snapshot_add(b, &spec, NULL) == 0);
    return sl_snapshot_finish(b);
}

static void passwords_are_checked(void)
{
    static const struct sl_user_spec users[] = {
        {SL_STR("admin"), SL_STR("secret")},
        {SL_STR("a"), SL_STR("")},
        {SL_STR("u\xc3\xbc"), SL_STR("p:q")},
        {SL_STR("Aladdin"), SL_STR("open sesame")},
    };
    static const struct {
        struct sl_str value;
        bool ok;
    } rows[] = {
        {SL_STR("Basic YWRtaW46c2VjcmV0"), true}, /* admin:secret */
        {SL_STR("basic YWRtaW46c2VjcmV0"), true},
        {SL_STR("BASIC  YWRtaW46c2VjcmV0 "), true},
        {SL_STR("Basic YTo="), true},         /* a: */
        {SL_STR("Basic dcO8OnA6cQ=="), true}, /* uü:p:q */
        {SL_STR("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), true},
        {SL_STR("Basic YWRtaW46c2VjcmV1"), false},     /* admin:secreu */
        {SL_STR("Basic YWRtaW46c2VjcmU="), false},     /* admin:secre */
        {SL_STR("Basic YWRtaW46c2VjcmV0cw=="), false}, /* admin:secrets */
        {SL_STR("Basic YWRtaW46"), false},             /* admin: */
        {SL_STR("Basic YTpzZWNyZXQ="), false},         /* a:secret, of two users */
        {SL_STR("Basic Og=="), false},                 /* : */
        {SL_STR("Basic YWRtaW46c2VjcmV0AA=="), false}, /* admin:secret and NUL */
        {SL_STR("Basic "), false},
        {SL_STR("Basic"), false},
        {SL_STR(""), false},
        {SL_STR("Bearer YWRtaW46c2VjcmV0"), false},
        {SL_STR("YWRtaW46c2VjcmV0"), false},
        {SL_STR("Basic YWRtaW46c2VjcmV"), false}, /* not a multiple of four */
        {SL_STR("Basic YWRt aW46c2VjcmV0"), false},
        {SL_STR("Basic YWRtaW46c2Vjcm-0"), false},
        {SL_STR("Basic YTp="), false}, /* bits behind the end */
        {SL_STR("Basic YTo=YTo="), false},
        {SL_STR("Basic ===="), false},
        {SL_STR("Basic YQ==="), false},
    };
    struct sl_snapshot *s = make(users, SL_COUNT(users));
    struct sl_route *r = test_find(s, 80, "", "");

    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        if (sl_route_auth_ok(r, rows[i].value) != rows[i].ok)
            fprintf(stderr, "row %zu: %.*s\n", i, SL_STR_FMT(rows[i].value));
        sl_check(sl_route_auth_ok(r, rows[i].value) == rows[i].ok);
    }
    sl_snapshot_unref(s);
}

/* The longest credentials that a route may have, and one more. */
static void lengths_are_bounded(void)
{
    static char password[510], text[6 + 688];
    const struct sl_user_spec longest = {SL_STR("a"), {password, sizeof(password)}};
    struct sl_snapshot *s;

    /* "a:aaa…", 512 bytes: 170 times three bytes, and then two */
    memset(password, 'a', sizeof(password));
    s = make(&longest, 1);
    memcpy(text, "Basic ", 6);
    for (size_t i = 0; i < 170; i++)
        memcpy(text + 6 + 4 * i, i == 0 ? "YTph" : "YWFh", 4);
    memcpy(text + 6 + 680, "YWE=", 4);
    sl_check(sl_route_auth_ok(test_find(s, 80, "", ""), sl_str(text, 6 + 684)));
    memcpy(text + 6 + 680, "YWFhYWFh", 8);
    sl_check(!sl_route_auth_ok(test_find(s, 80, "", ""), sl_str(text, 6 + 688)));
    sl_snapshot_unref(s);
}

static void without_users_nobody_is_known(void)
{
    struct sl_snapshot *s = make(NULL, 0);

    sl_check(test_find(s, 80, "", "")->n_users == 0);
    sl_check(!sl_route_auth_ok(test_find(s, 80, "", ""), SL_STR("Basic Og==")));
    sl_snapshot_unref(s);
}

int main(void)
{
    passwords_are_checked();
    lengths_are_bounded();
    without_users_nobody_is_known();
    return sl_check_done();
}
