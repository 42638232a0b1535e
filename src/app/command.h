/*
 * Commands that are written in Lua: `sluice token` is lua/sluice/commands/token.lua. Such a module
 * is a script whose check() is the command; what it refuses with is the one line of the error.
 *
 * It runs on a loop of its own, without workers, resolver and log.
 */
#ifndef SL_APP_COMMAND_H
#define SL_APP_COMMAND_H

/* The exit code: 0, or 1 with a line on stderr. `args` ends with NULL. */
int sl_command_run(const char *name, const char *const *args);

#endif
