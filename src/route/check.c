/* What can be wrong with a route, each thing with a sentence that names the field and says what
 * would be right. */
#include "route/compiled.h"
#include "route/match.h"

enum {
    NAME_MAX_LEN = 253,
    UNIX_PATH_MAX_LEN = 107,
    CREDENTIALS_MAX_LEN = 512, /* auth.c decodes at most that much */
    WEIGHT_MAX = 65535,
};

/* For "%.*s": operators' texts are shown, but not whole books of them. */
#define SHOW(s) (int)SL_MIN((s).len, (size_t)80), (s).p

#define fail(err, ...) sl_err_set(err, SL_E_CONFIG, __VA_ARGS__)

/* --- characters --- */

static bool is_token_char(unsigned char c)
{
    return (c >= '0' && c <= '9') || (unsigned)(c | 0x20) - 'a' < 26 ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_token(struct sl_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!is_token_char((unsigned char)s.p[i]))
            return false;
    }
    return s.len > 0;
}

static bool has_control(struct sl_str s, bool allow_tab)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if ((c < ' ' && !(c == '\t' && allow_tab)) || c == 0x7f)
            return true;
    }
    return false;
}

static bool is_name_char(unsigned char c)
{
    return (c >= '0' && c <= '9') || (unsigned)(c | 0x20) - 'a' < 26 || c == '-' || c == '_' ||
           c == '.';
}

static bool is_v6(struct sl_str s)
{
    char text[INET6_ADDRSTRLEN];

    return sl_domain_ipv6(s, text);
}

/* What is wrong with a host name, or NULL. Stars are for patterns only. */
static const char *name_fault(struct sl_str name, bool is_pattern)
{
    char before = '.';

    if (name.len > NAME_MAX_LEN)
        return "is longer than 253 characters";
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.p[i];

        if (c >= 0x80)
            return "is not ASCII; write its xn-- form";
        if (!is_name_char(c) && !(is_pattern && c == '*'))
            return is_pattern ? "may hold letters, digits, \"-\", \"_\", \".\" and \"*\" only"
                              : "may hold letters, digits, \"-\", \"_\" and \".\" only";
        if (c == '.' && before == '.')
            return "has an empty label";
        before = (char)c;
    }
    return name.len == 0 ? "is empty" : NULL;
}

/* --- match --- */

static int check_ports(const struct sl_route_spec *spec, struct sl_err *err)
{
    if (spec->n_ports == 0)
        return fail(err, "match.ports: a route needs at least one port");
    for (size_t i = 0; i < spec->n_ports; i++) {
        const struct sl_port_range *p = &spec->ports[i];

        if (p->from == 0 || p->to == 0)
            return fail(err, "match.ports[%zu]: 0 is not a port (1 to 65535)", i);
        if (p->from > p->to)
            return fail(err, "match.ports[%zu]: the range from %u to %u is empty; swap its ends", i,
                        p->from, p->to);
    }
    return 0;
}

static int check_transport(const struct sl_route_spec *spec, struct sl_err *err)
{
    return (unsigned)spec->transport <= SL_TRANSPORT_ALL
               ? 0
               : fail(err, "match.transport: %u is none (tcp, udp or all)",
                      (unsigned)spec->transport);
}

static int check_domains(const struct sl_route_spec *spec, struct sl_err *err)
{
    for (size_t i = 0; i < spec->n_domains; i++) {
        struct sl_str name = sl_domain_trim(spec->domains[i]);
        const char *fault = is_v6(name) ? NULL : name_fault(name, true);

        if (fault != NULL)
            return fail(err, "match.domains[%zu]: \"%.*s\" %s", i, SHOW(name), fault);
    }
    return 0;
}

static int check_path_pattern(struct sl_str path, const char *field, struct sl_err *err)
{
    if (path.len == 0)
        return 0;
    if (path.len > SL_MAX_PATH_PATTERN)
        return fail(err, "%s: is longer than %d characters", field, SL_MAX_PATH_PATTERN);
    if (path.p[0] != '/' && path.p[0] != '*')
        return fail(err, "%s: \"%.*s\" must begin with \"/\"", field, SHOW(path));
    if (has_control(path, false) || memchr(path.p, ' ', path.len) != NULL)
        return fail(err, "%s: must not hold spaces or control characters", field);
    if (memchr(path.p, '?', path.len) != NULL || memchr(path.p, '#', path.len) != NULL)
        return fail(
            err, "%s: \"%.*s\" has a query, which is not matched; end it before the \"?\" or \"#\"",
            field, SHOW(path));
    return 0;
}

static int check_header_matches(const struct sl_route_spec *spec, struct sl_err *err)
{
    for (size_t i = 0; i < spec->n_headers; i++) {
        if (!is_token(spec->headers[i].name))
            return fail(err, "match.headers[%zu]: \"%.*s\" is not a header name", i,
                        SHOW(spec->headers[i].name));
    }
    return 0;
}

static bool sees_requests(const struct sl_route_spec *spec)
{
    return spec->tls != SL_TLS_PASSTHROUGH && spec->protocol != SL_PROTOCOL_TCP;
}

static int check_match(const struct sl_route_spec *spec, struct sl_err *err)
{
    int rc;

    if ((rc = check_ports(spec, err)) < 0 || (rc = check_transport(spec, err)) < 0 ||
        (rc = check_domains(spec, err)) < 0 ||
        (rc = check_path_pattern(spec->path, "match.path", err)) < 0 ||
        (rc = check_header_matches(spec, err)) < 0)
        return rc;
    if (sees_requests(spec))
        return 0;
    if (spec->path.len > 0)
        return fail(err,
                    "match.path: this route passes bytes on and never sees a path; leave it out");
    if (spec->n_headers > 0)
        return fail(
            err,
            "match.headers: this route passes bytes on and never sees headers; leave them out");
    return 0;
}

/* --- action --- */

static int check_target_address(const struct sl_target_spec *t, struct sl_err *err)
{
    const char *fault;

    if (t->host.len == 0 && t->unix_path.len == 0 && t->tunnel.len == 0)
        return fail(err, "host: is missing");
    if ((t->host.len > 0) + (t->unix_path.len > 0) + (t->tunnel.len > 0) > 1)
        return fail(err,
                    "host: a target has a host, a Unix path or a tunnel, and only one of them");
    if (t->tunnel.len > NAME_MAX_LEN)
        return fail(err, "tunnel: is longer than %d characters", NAME_MAX_LEN);
    if (t->tunnel.len > 0)
        return 0;
    if (t->unix_path.len > UNIX_PATH_MAX_LEN)
        return fail(err, "unix: is longer than %d characters", UNIX_PATH_MAX_LEN);
    if (t->unix_path.len > 0)
        return t->unix_path.p[0] == '/' && memchr(t->unix_path.p, '\0', t->unix_path.len) == NULL
                   ? 0
                   : fail(err, "unix: must be an absolute path");
    fault = is_v6(t->host) ? NULL : name_fault(sl_domain_trim(t->host), false);
    return fault != NULL ? fail(err, "host: \"%.*s\" %s", SHOW(t->host), fault) : 0;
}

static int check_target_fits(const struct sl_route_spec *spec, const struct sl_target_spec *t,
                             struct sl_err *err)
{
    bool has_datagrams = spec->transport & SL_TRANSPORT_UDP && spec->protocol == SL_PROTOCOL_TCP &&
                         spec->tls == SL_TLS_NONE;

    if (t->tunnel.len > 0 && (sees_requests(spec) || t->tls))
        return fail(err, "tunnel: takes bytes as they come, not requests (match.protocol tcp)");
    if (t->unix_path.len > 0 && has_datagrams)
        return fail(err, "unix: datagrams do not go to Unix sockets");
    return 0;
}

static int check_target(const struct sl_route_spec *spec, const struct sl_target_spec *t,
                        struct sl_err *err)
{
    int rc;

    if ((rc = check_target_address(t, err)) < 0 || (rc = check_target_fits(spec, t, err)) < 0)
        return rc;
    if (t->weight > WEIGHT_MAX)
        return fail(err, "weight: %u is too much (1 to %d)", t->weight, WEIGHT_MAX);
    for (size_t i = 0; i < t->n_methods; i++) {
        if (!is_token(t->methods[i]))
            return fail(err, "match.method[%zu]: \"%.*s\" is not a method", i, SHOW(t->methods[i]));
    }
    return check_path_pattern(t->path, "match.path", err);
}

static int check_forward(const struct sl_route_spec *spec, struct sl_err *err)
{
    if (spec->n_targets == 0)
        return fail(err, "action.targets: a forward route needs at least one target");
    if (spec->n_targets > SL_MAX_TARGETS)
        return fail(err, "action.targets: %zu targets are more than a route can have (%d)",
                    spec->n_targets, SL_MAX_TARGETS);
    for (size_t i = 0; i < spec->n_targets; i++) {
        if (check_target(spec, &spec->targets[i], err) < 0)
            return sl_err_prefix(err, "action.targets[%zu].", i);
    }
    return spec->send_proxy <= 2
               ? 0
               : fail(err, "action.sendProxyProtocol: there is no version %u (1 or 2)",
                      spec->send_proxy);
}

static int check_redirect(const struct sl_route_spec *spec, struct sl_err *err)
{
    static const int known[] = {0, 301, 302, 303, 307, 308};

    if (spec->location.len == 0)
        return fail(err, "action.location: a redirect needs a location");
    if (has_control(spec->location, false))
        return fail(err, "action.location: must not hold control characters");
    for (size_t i = 0; i < SL_COUNT(known); i++) {
        if (spec->status == known[i])
            return 0;
    }
    return fail(err, "action.status: %d does not redirect (301, 302, 303, 307 or 308)",
                spec->status);
}

static int check_reply(const struct sl_route_spec *spec, struct sl_err *err)
{
    if (spec->status != 0 && (spec->status < 200 || spec->status > 599))
        return fail(err, "action.status: %d is not a final status (200 to 599)", spec->status);
    if (has_control(spec->content_type, false))
        return fail(err, "action.contentType: must not hold control characters");
    return 0;
}

static int check_action(const struct sl_route_spec *spec, struct sl_err *err)
{
    if (spec->action == SL_ACTION_FORWARD)
        return check_forward(spec, err);
    if (!sees_requests(spec))
        return fail(err, "action.type: a route that passes bytes on can only forward");
    return spec->action == SL_ACTION_REDIRECT ? check_redirect(spec, err) : check_reply(spec, err);
}

/* --- headers, security --- */

static int check_edits(const struct sl_header_spec *edits, size_t n, const char *field,
                       struct sl_err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (!is_token(edits[i].name))
            return fail(err, "%s[%zu]: \"%.*s\" is not a header name", field, i,
                        SHOW(edits[i].name));
        if (has_control(edits[i].value, true))
            return fail(err, "%s[%zu]: the value of \"%.*s\" must not hold control characters",
                        field, i, SHOW(edits[i].name));
    }
    return 0;
}

static int check_headers(const struct sl_route_spec *spec, struct sl_err *err)
{
    int rc = check_edits(spec->request_headers, spec->n_request_headers, "headers.request", err);

    return rc < 0 ? rc
                  : check_edits(spec->response_headers, spec->n_response_headers,
                                "headers.response", err);
}

static int check_user(const struct sl_user_spec *user, struct sl_err *err)
{
    if (user->name.len == 0)
        return fail(err, "username: is empty");
    if (memchr(user->name.p, ':', user->name.len) != NULL)
        return fail(err, "username: \"%.*s\" must not hold a \":\"", SHOW(user->name));
    if (has_control(user->name, false) || has_control(user->password, false))
        return fail(err, "username, password: must not hold control characters");
    if (user->name.len + 1 + user->password.len > CREDENTIALS_MAX_LEN)
        return fail(err, "username, password: longer than %d characters together",
                    CREDENTIALS_MAX_LEN - 1);
    return 0;
}

/* It is sent between quotes. */
static int check_realm(struct sl_str realm, struct sl_err *err)
{
    for (size_t i = 0; i < realm.len; i++) {
        if (realm.p[i] == '"' || realm.p[i] == '\\')
            return fail(err, "security.basicAuth.realm: must not hold quotes or backslashes");
    }
    return has_control(realm, false)
               ? fail(err, "security.basicAuth.realm: must not hold control characters")
               : 0;
}

static int check_auth(const struct sl_route_spec *spec, struct sl_err *err)
{
    if (spec->n_users > 0 && !sees_requests(spec))
        return fail(err,
                    "security.basicAuth: this route passes bytes on and cannot ask for a password");
    for (size_t i = 0; i < spec->n_users; i++) {
        if (check_user(&spec->users[i], err) < 0)
            return sl_err_prefix(err, "security.basicAuth.users[%zu].", i);
    }
    return check_realm(spec->realm, err);
}

int sl_route_check(const struct sl_route_spec *spec, struct sl_err *err)
{
    static int (*const checks[])(const struct sl_route_spec *, struct sl_err *) = {
        check_match, check_action, check_headers, check_auth};
    int rc = 0;

    for (size_t i = 0; i < SL_COUNT(checks) && rc == 0; i++)
        rc = checks[i](spec, err);
    return rc;
}
