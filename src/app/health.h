/*
 * `sluice health URL`: asks a plain HTTP URL once. For container health checks, where no curl is at
 * hand.
 */
#ifndef SL_APP_HEALTH_H
#define SL_APP_HEALTH_H

/* The exit code: 0 for a 2xx answer within 5 s, 1 otherwise (with a line on stderr). */
int sl_health(const char *url);

#endif
