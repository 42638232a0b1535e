/*
 * Where the lines of the log go: stderr, without ever waiting for whoever reads it. A pipe or
 * socket that is full loses lines, and the next one that fits is followed by how many; files and
 * terminals are written as usual. Any thread.
 */
#ifndef SL_BASE_LOG_OUT_H
#define SL_BASE_LOG_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Looks at what stderr is; before threads start. Without it writes may wait. */
void sl_log_out_open(void);
/* One line, with its end. False: lost. */
bool sl_log_out(const uint8_t *line, size_t len);
/* Lines lost since this was asked last. */
unsigned sl_log_out_lost(void);

#endif
