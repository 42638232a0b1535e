/*
 * Where the lines of the log go: to the log file (base/log_file.h) when one is open, else to
 * stderr, without ever waiting for whoever reads it. A pipe, socket or disk that is full loses
 * lines, and the next one that fits is followed by how many; files and terminals are written as
 * usual. Any thread.
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
/* What is said in the moment of a crash, in lines: to stderr, and to the log file as well, since
 * nobody sees the stderr of a daemon. Legal in a signal handler. */
void sl_log_out_last_words(const char *text, size_t len);
/* Lines lost since this was asked last. */
unsigned sl_log_out_lost(void);

#endif
