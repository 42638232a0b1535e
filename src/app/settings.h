/*
 * Data-plane settings by name: what a script's `limits` table and core.settings() may say. The
 * table in settings.c is the list of names, and docs/limits.md describes each.
 */
#ifndef SL_APP_SETTINGS_H
#define SL_APP_SETTINGS_H

#include "proxy/proxy.h"
#include "script/state.h"

/* Of the program around the proxy. */
struct sl_settings {
    struct sl_proxy_settings proxy;
    uint32_t drain_timeout;      /* ms from SIGTERM to the end of the last connection */
    struct sl_addr bind_address; /* for the ports of routes; AF_UNSPEC: all */
};

void sl_settings_init(struct sl_settings *s);
void sl_settings_clear(struct sl_settings *s);
/* Changes the named ones; `s` is untouched on failure. 0, or SL_E_CONFIG with a sentence that
 * begins at the name. */
int sl_settings_apply(struct sl_settings *s, const struct sl_setting *rows, size_t n,
                      struct sl_err *err);

#endif
