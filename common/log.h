/* log.h – messages to the journal when there is one, to stderr otherwise; rate limited per call site.
 *
 * log_info("text %d", n): one line, no newline. At most 10 lines in 5 s per call site, then a count of what
 * was suppressed. Priorities are syslog's. With the journal, fields STRATA_INSTANCE= and STRATA_LAYER= are set. */
#ifndef STRATA_LOG_H
#define STRATA_LOG_H

#include "base.h"

struct log_site { u64 window; u32 n, suppressed; };
void log_open(const char *layer, const char *instance);	/* "tcpd", "demo" */
void log_set_level(int syslog_priority);
/* This process cannot go on, `error` (-errno) and the last log_err() say why: systemd shows that as its STATUS=, and a
 * while passes before we return and it exits, or Restart= without a delay would spin until somebody mends it. A second;
 * a moment only if a neighbour's death is the reason, which passes by itself. SIGTERM ends the wait. */
void log_give_up(int error);
void log_at(struct log_site *site, int prio, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#define LOG_AT(prio, ...) do { static struct log_site site_; log_at(&site_, prio, __VA_ARGS__); } while (0)
#define log_err(...) LOG_AT(3, __VA_ARGS__)
#define log_warn(...) LOG_AT(4, __VA_ARGS__)
#define log_notice(...) LOG_AT(5, __VA_ARGS__)
#define log_info(...) LOG_AT(6, __VA_ARGS__)
#define log_debug(...) LOG_AT(7, __VA_ARGS__)

#endif
