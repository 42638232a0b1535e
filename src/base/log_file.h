/*
 * A log file that stays within a limit, however many threads and processes write to it. When it is
 * full it is renamed: logs/core.log becomes logs/core-2026-01-31T23-59-59.123.log (local time), a
 * new one begins, and the oldest go until all together fit into the limit again.
 *
 * The file is full at an eighth of the limit, so that a little more than that is lost at a time.
 * Who renames holds a lock on the file (flock), and the others notice by its size before their next
 * line, so that nobody writes to an old one for long. When no new file can be had the old one may
 * become twice as long; after that lines are lost.
 *
 * One for the process; opened before threads start and never closed. Writing waits for the disk, as
 * with any file.
 */
#ifndef SL_BASE_LOG_FILE_H
#define SL_BASE_LOG_FILE_H

#include <sys/types.h>
#include "base/error.h"

/* Makes the file and the folders above it, and tries whether there is room for a line. 0, or
 * negative with a sentence. Opened again, the one before it is forgotten (tests). */
int sl_log_file_open(const char *path, uint64_t max_bytes, struct sl_err *err);
bool sl_log_file_is_open(void);
/* A line with its end; as write(2). Any thread, and processes that were forked after opening. */
ssize_t sl_log_file_write(const void *line, size_t len);
/* The same without anything that a signal handler may not do, and so without renaming. */
ssize_t sl_log_file_write_now(const void *line, size_t len);

#endif
