/*
 * From the flat route tables of lua/sluice/routes.lua to struct sl_route_spec, and the digest by
 * which an unchanged route is known again. Control only.
 *
 * The tables were checked in Lua; what is still wrong with their types is a bug of the caller and
 * throws. The spec points into the table's strings and into `arena`: it is good until either
 * changes.
 */
#ifndef SL_SCRIPT_ROUTE_SPEC_H
#define SL_SCRIPT_ROUTE_SPEC_H

#include <lua.h>
#include "base/arena.h"
#include "base/buf.h"
#include "route/snapshot.h"

/* What a route says about its certificate. */
struct sl_route_cert {
    struct sl_str cert, key; /* PEM */
    bool is_self_signed;
    uint8_t
        pin[32]; /* SELF-SIGNED: of the one it gets now, so that a renewed one makes a new digest */
};

/* Reads the table at `at` (absolute index). `tls_data` is left to the caller. */
void sl_route_spec_read(lua_State *L, int at, struct sl_arena *arena, struct sl_route_spec *out,
                        struct sl_route_cert *cert);
/* Appends every field in a fixed order, so that equal texts are equal routes. */
void sl_route_spec_write(struct sl_buf *out, const struct sl_route_spec *spec,
                         const struct sl_route_cert *cert);

/* Fields of any table at an absolute index, for others that read such tables. They throw on another
   type; nil gives the empty list. */
struct sl_str sl_spec_str(lua_State *L, int at, const char *name);
const struct sl_str *sl_spec_strs(lua_State *L, int at, const char *name, struct sl_arena *arena,
                                  size_t *n);
int64_t sl_spec_int(lua_State *L, int at, const char *name, int64_t least, int64_t most,
                    int64_t otherwise);

#endif
