/*
 * The hooks of a script for the proxy: turns the calls of `struct sl_hooks` into tasks and what
 * they return into verdicts. The proxy gets the table from sl_script_hooks(); this header is for
 * the bindings that read verbs (sluice.serve).
 *
 * A verb is a plain table {verb = "reply", status = 200, …}, made by lua/sluice/verbs.lua.
 */
#ifndef SL_SCRIPT_HOST_H
#define SL_SCRIPT_HOST_H

#include "proxy/hooks.h"
#include "script/handle.h"
#include "script/state.h"
#include "script/task.h"

/* Verbs as a set. */
enum {
    SL_VERB_DENY = 1 << SL_VERDICT_DENY,
    SL_VERB_REPLY = 1 << SL_VERDICT_REPLY,
    SL_VERB_REDIRECT = 1 << SL_VERDICT_REDIRECT,
    SL_VERB_ROUTE = 1 << SL_VERDICT_ROUTE,
    SL_VERB_TARGET = 1 << SL_VERDICT_TARGET,
    SL_VERB_CERT = 1 << SL_VERDICT_CERT,
    SL_VERB_PASSTHROUGH = 1 << SL_VERDICT_PASSTHROUGH,
    SL_VERB_SERVE = 1 << SL_VERDICT_SERVE, /* a WebSocket, or a reply with a body function */
};

/* For on_end of a task that returned: reads its first result (nil: SL_VERDICT_NONE) into `v`, with
   every string copied into the arena of the exchange of `h` (of the script, for connections). A
   verb that serves takes over the body that `h` reads. Only the verbs in `allowed` are taken. 0, or
   SL_E_SCRIPT with a sentence that begins at the verb ("reply.headers: a value holds a line
   break"); a certificate that cannot be parsed is SL_E_CONFIG. */
int sl_verb_read(struct sl_task *t, struct sl_handle *h, unsigned allowed, struct sl_verdict *v,
                 struct sl_err *err);

#endif
