/* log.c – messages to the journal or to stderr, rate limited per call site: see log.h. Called from everywhere.
 *
 * The journal is used when systemd connected stderr to it (JOURNAL_STREAM names stderr's device and inode);
 * started by hand, a daemon writes lines to the terminal. What peers send may end up in a message, so
 * control characters are replaced: a packet cannot forge a second line. */
#include "log.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-daemon.h>
#include <systemd/sd-journal.h>

#define LOG_LINE 1024
#define LOG_WINDOW (5 * NSEC_PER_SEC)
#define LOG_BURST 10

static struct {
	char layer[16], instance[64];
	int level;
	bool journal;
	char error[LOG_LINE];	/* what log_err() said last */
} log_ = { .level = LOG_INFO };

static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
	       st.st_dev == dev && st.st_ino == ino;
}

void log_open(const char *layer, const char *instance)
{
	snprintf(log_.layer, sizeof(log_.layer), "%s", layer);
	snprintf(log_.instance, sizeof(log_.instance), "%s", instance);
	log_.journal = stderr_is_journal();
}

void log_set_level(int syslog_priority)
{
	log_.level = syslog_priority;
}

static void log_write(int prio, char *line)
{
	for (char *c = line; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = *c == '\t' ? ' ' : '?';
	/* A journal that cannot be reached must not silence us: stderr is then still connected to it. */
	if (log_.journal &&
	    sd_journal_send("MESSAGE=%s", line, "PRIORITY=%i", prio, "SYSLOG_IDENTIFIER=strata-%s", log_.layer,
			    "STRATA_LAYER=%s", log_.layer, "STRATA_INSTANCE=%s", log_.instance, NULL) == 0)
		return;
	if (log_.layer[0])
		fprintf(stderr, "strata-%s[%s]: %s\n", log_.layer, log_.instance, line);
	else
		fprintf(stderr, "%s\n", line);
}

/* May this site write now? Opens a new window when the old one is over, and says what was held back in it. */
static bool log_admit(struct log_site *site, int prio)
{
	struct timespec ts;
	u64 now;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
	if (!site->window || now - site->window >= LOG_WINDOW) {
		u64 suppressed = site->suppressed;

		*site = (struct log_site){ .window = now };
		if (suppressed) {
			char line[64];

			snprintf(line, sizeof(line), "(%llu lines like the next one were suppressed)",
				 (unsigned long long)suppressed);
			log_write(prio, line);
		}
	}
	if (site->n == LOG_BURST) {
		site->suppressed++;
		return false;
	}
	site->n++;
	return true;
}

void log_at(struct log_site *site, int prio, const char *fmt, ...)
{
	int saved = errno;	/* callers log first and return -errno then */
	char line[LOG_LINE];
	va_list ap;

	if (prio > log_.level || !log_admit(site, prio))
		return;
	errno = saved;		/* for %m */
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	log_write(prio, line);
	if (prio <= LOG_ERR)
		memcpy(log_.error, line, sizeof(line));	/* without control characters by now */
	errno = saved;
}

static bool passes_by_itself(int error)
{
	return error == -ECONNRESET || error == -ECONNREFUSED || error == -EPIPE || error == -ENOTCONN;
}

void log_give_up(int error)
{
	struct timespec wait = { .tv_sec = 1 };
	sigset_t end;

	if (error == -EINTR)
		return;		/* SIGTERM has come already */
	if (passes_by_itself(error))
		wait = (struct timespec){ .tv_nsec = 50 * NSEC_PER_MSEC };
	sd_notifyf(0, "STATUS=cannot start: %s\nERRNO=%d", log_.error[0] ? log_.error : strerror(-error), -error);
	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	sigaddset(&end, SIGINT);
	sigtimedwait(&end, NULL, &wait);	/* EAGAIN: the time is over, as it mostly will be */
}
